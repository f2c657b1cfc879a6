"""A broadcast of the stream that transport.py makes, and its viewers: processes of `swarm` on 127.0.0.x, which end
with the script that started them. What they say of themselves is read from their --json lines."""
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from transport import Check

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MIB = 1 << 20
# How long whoever is asked to end may take, and a broadcast until it is on air.
ENDS_WITHIN, ON_AIR_WITHIN = 20, 20
# The stream's way out of a viewer holds so many bytes, or so much of its time, and who plays it a second more.
PIPE, PIPE_TIME = 64 << 10, 1 / 8
QUEUE = 1
TICK = 0.05
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 1, 22, 38, 2
LISTEN = {"x86_64": 50, "aarch64": 201}
libc = ctypes.CDLL(None, use_errno=True)


def say(text):
    print(f"==> {text}", flush=True)


def options(parser):
    """The options of every script."""
    parser.add_argument("--swarm", metavar="FILE", help="the command to measure [default: built from here (release), "
                        "with what is missing installed]")
    parser.add_argument("--keep", action="store_true", help="leave the folder with everybody's log")


def command(given):
    """The command to measure."""
    if given:
        return os.path.abspath(given)
    build = 'set -euo pipefail; here=$1; source "$here/pipelines/need.sh"; build_swarm >&2; printf %s "$swarm"'
    built = subprocess.run(["bash", "-c", build, "-", HERE], stdout=subprocess.PIPE, text=True)
    if built.returncode:
        sys.exit(built.returncode)
    return built.stdout


class Stage:
    """A folder in TMPDIR, and the processes that end with it."""

    def __init__(self, name, arguments):
        self.name, self.keep, self.swarm = name, arguments.keep, command(arguments.swarm)
        self.processes = []

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
        self.folder = tempfile.mkdtemp(prefix=f"swarm-{self.name}.")
        return self

    def __exit__(self, *_):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        running = [process for process in self.processes if process.runs()]
        for process in running:
            process.signal(signal.SIGTERM)
        end = time.monotonic() + ENDS_WITHIN / 4
        while any(process.runs() for process in running) and time.monotonic() < end:
            time.sleep(TICK)
        for process in running:
            process.kill()
        if self.keep:
            say(f"the logs are in {self.folder}")
        else:
            shutil.rmtree(self.folder)

    def path(self, *names):
        return os.path.join(self.folder, *names)


class Process:
    """A process; its output and errors go to files. One that is `shut` takes no connections, as behind a router:
    for it, listening succeeds and does nothing."""

    def __init__(self, stage, name, arguments, shut=False, stdin=subprocess.DEVNULL, stdout=None):
        self.name, self.log = name, stage.path(f"{name}.log")
        self.lines, self.figures, self.broken = stage.path(f"{name}.json"), {}, ""
        with open(self.log, "wb") as log, open(self.lines, "wb") as lines:
            self.child = subprocess.Popen(
                arguments, stdin=stdin, stdout=stdout or lines, stderr=log, start_new_session=True,
                env={**os.environ, "XDG_CACHE_HOME": stage.folder}, preexec_fn=lambda: before(shut))
        self.lines = open(self.lines)
        self.started = time.monotonic()
        stage.processes.append(self)

    def runs(self):
        return self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        self.child.kill()
        self.child.wait()

    def look(self):
        """Takes in what it has said of itself; the newest counts."""
        for line in self.lines:
            # The last line may be half there.
            self.broken += line
            if self.broken.endswith("\n"):
                if self.broken.startswith("{"):
                    self.figures = json.loads(self.broken)
                self.broken = ""
        return self.figures

    def figure(self, name):
        return self.figures.get(name) or 0

    def memory(self, field="VmRSS"):
        """Bytes; 0 when it has ended."""
        try:
            with open(f"/proc/{self.child.pid}/status") as status:
                fields = dict(line.split(":", 1) for line in status)
            return int(fields.get(field, "0 kB").split()[0]) * 1024
        except (FileNotFoundError, ProcessLookupError):
            return 0

    def cpu(self):
        """Seconds of a processor that it has used."""
        with open(f"/proc/{self.child.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def story(self):
        with open(self.log, errors="replace") as log:
            return f"--- {self.name}: {self.figures}\n{log.read()[-2000:]}"

    def panicked(self):
        with open(self.log, errors="replace") as log:
            return "panicked" in log.read()


def before(shut):
    """In the child, before it is the program."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if not shut:
        return

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]

    def step(code, yes, no, k):
        return code.to_bytes(2, sys.byteorder) + bytes([yes, no]) + k.to_bytes(4, sys.byteorder)

    # Load the call's number; is it listen? then "no error", else let it happen.
    code = [step(0x20, 0, 0, 0), step(0x15, 0, 1, LISTEN[os.uname().machine]), step(6, 0, 0, 0x5_0000),
            step(6, 0, 0, 0x7FFF_0000)]
    program = Filter(len(code), b"".join(code))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
            PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


class Source:
    """`swarm live` on 127.0.0.1, and its feed."""

    def __init__(self, stage, rate, window, limit=0, more=("-q",)):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        feed = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "transport.py"), str(rate)]
        self.feed = Process(stage, "feed", feed, stdout=subprocess.PIPE)
        self.process = Process(stage, "source", [
            stage.swarm, *more, "live", "--name", "cam.ts", "--json", "--destdir", stage.folder, "--bind", "127.0.0.1",
            "--port", str(self.port), "--bitrate", str(rate), "--duration", str(4 * window), "--window", str(window),
            "--max-upload-rate", str(limit)], stdin=self.feed.child.stdout)
        self.feed.child.stdout.close()
        self.tstream, self.rate = stage.path("cam.ts.tstream"), rate

    def until_fed(self, seconds):
        """Waits until it has so much of the stream."""
        end = time.monotonic() + seconds + ON_AIR_WITHIN
        while self.process.look().get("input", 0) < seconds * self.rate:
            if not self.process.runs() or time.monotonic() > end:
                sys.exit(f"there is no broadcast\n{self.process.story()}")
            time.sleep(TICK)

    def end(self):
        """Ends the stream; gives the number of its packets."""
        self.feed.signal(signal.SIGTERM)
        self.feed.child.wait()
        with open(self.feed.log) as log:
            return int(log.read().split()[-1])


class Viewer(Process):
    """`swarm get` on 127.0.0.(2 + number); what it is given is looked at and thrown away, in the stream's own time if
    it `plays`, else at once."""

    def __init__(self, stage, source, number, life=0, plays=True, shut=False, direct=False, limit=0, more=("-q",)):
        name, self.number, self.pace = f"viewer-{number}.{life}", number, source.rate if plays else None
        # Bytes that its player takes next; seconds that it had none after it began.
        self.due, self.starved, self.looked = 0, 0, time.monotonic()
        self.check, self.first, self.grown = Check(), None, time.monotonic()
        out = stage.path(f"{name}.ts")
        os.mkfifo(out)
        self.out = os.open(out, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self.out, fcntl.F_SETPIPE_SZ, max(PIPE, int(source.rate * PIPE_TIME)))
        direct = ["--no-trackers", "--peer", f"127.0.0.1:{source.port}"] if direct else []
        super().__init__(stage, name, [
            stage.swarm, *more, "get", source.tstream, "--json", "-o", out, "--dir", stage.path(f"viewer-{number}"),
            "--bind", f"127.0.0.{2 + number}", "--max-upload-rate", str(limit), *direct], shut=shut)

    def read(self, last=False):
        """Takes what it was given since; `last`: it has ended, and all of it has to be there."""
        now = time.monotonic()
        if self.pace and self.first:
            self.due = min(self.due + (now - self.looked) * self.pace, QUEUE * self.pace)
            if self.due == QUEUE * self.pace:
                self.starved += now - self.looked
        self.looked = now
        while self.out is not None:
            # The first bytes say when it began.
            most = int(self.due) if self.pace and self.first and not last else PIPE
            try:
                data = os.read(self.out, min(most, PIPE))
            except BlockingIOError:
                break
            if not data:
                break
            self.due = max(0, self.due - len(data))
            self.grown = now
            self.first = self.first or now - self.started
            self.check.take(data)
        if last:
            self.check.take(b"", last=True)

    def close(self):
        """Forgets the way out of one that has ended."""
        os.close(self.out)
        self.out = None
        self.lines.close()

    def silent(self):
        """Seconds since it was given anything."""
        return time.monotonic() - self.grown

    def uncounted(self, before):
        """Jumps from before this time that its figures do not tell of."""
        jumps = sum(at < before for at, *_ in self.check.jumps)
        return max(0, jumps - self.figure("dropped") - self.figure("rehooked"))


def tell(numbers, digits=0, unit=""):
    """The median, and the worst."""
    numbers = list(numbers)
    return f"{statistics.median(numbers):.{digits}f}{unit} / {max(numbers):.{digits}f}{unit}" if numbers else "-"


def table(rows):
    """Prints rows of equally many cells."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    print()
    for first, *cells in rows:
        print(first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:])), sep="  ", flush=True)
