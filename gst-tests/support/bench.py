"""The benchmark behind gst-tests/bench.sh.

bench.py all SWARM FOLDER MIB RUNS                     makes the file, measures everybody, prints the table
bench.py read deadline|sequential TORRENT FOLDER       libtorrent as a reader: each piece once, in order

Time is from the start of a client's process to its end, which comes with the last byte. CPU time and memory are
what the system accounts to that process when it has ended (wait4): its own, nobody else's.
"""
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

PIECE_LENGTH = "1MiB"
# How far ahead of the reader libtorrent is given deadlines, and how they are spaced.
WINDOW = 32 << 20
SPACING_MS = 20
# A client that takes longer has failed; the seed must be up by then.
LIMIT = 120
READY_WITHIN = 20


def read(mode, torrent, folder):
    import libtorrent as lt

    alerts = lt.alert.category_t.status_notification | lt.alert.category_t.piece_progress_notification
    session = lt.session({
        "alert_mask": alerts | lt.alert.category_t.error_notification,
        "alert_queue_size": 100_000,
        "allow_multiple_connections_per_ip": True,
        "listen_interfaces": "127.0.0.1:0",
        **dict.fromkeys(["enable_dht", "enable_lsd", "enable_natpmp", "enable_upnp"], False),
    })
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    params.save_path = folder
    params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    if mode == "sequential":
        params.flags |= lt.torrent_flags.sequential_download
    handle = session.add_torrent(params)
    pieces, window = params.ti.num_pieces(), max(1, WINDOW // params.ti.piece_length())
    there, asked, next_piece, total = {}, 0, 0, 0
    while next_piece < pieces:
        while mode == "deadline" and asked < min(pieces, next_piece + window):
            # The flag: give the bytes when they are there.
            handle.set_piece_deadline(asked, SPACING_MS * (asked - next_piece), 1)
            asked += 1
        session.wait_for_alert(1000)
        for alert in session.pop_alerts():
            if isinstance(alert, lt.read_piece_alert):
                there[alert.piece] = alert.buffer
            elif isinstance(alert, lt.piece_finished_alert) and mode == "sequential":
                handle.read_piece(alert.piece_index)
        while next_piece in there:
            total += len(there.pop(next_piece))
            next_piece += 1
    if total != params.ti.total_size():
        sys.exit(f"{total} bytes instead of {params.ti.total_size()}")
    # Without the goodbye to the tracker, which takes seconds.
    os._exit(0)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def clients(torrent, folder, peer):
    """Name and command of everybody."""
    reader = [sys.executable, os.path.abspath(__file__), "read"]
    source = ["swarmsrc", f"location={torrent}", f"download-dir={folder}", "bind-address=127.0.0.1", "linger=0"]
    return {
        "swarmsrc, in order": ["gst-launch-1.0", "-q", *source, "!", "fakesink", "sync=false"],
        "libtorrent, deadlines": [*reader, "deadline", torrent, folder],
        "libtorrent, sequential": [*reader, "sequential", torrent, folder],
        "aria2, in no order": [
            "aria2c", "--no-conf=true", "--quiet=true", "--file-allocation=none", "--seed-time=0",
            "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--disable-ipv6=true",
            "--interface=127.0.0.1", f"--listen-port={peer}", f"--dir={folder}", torrent,
        ],
    }


def run(command, log):
    """Seconds, CPU seconds and MiB of memory at most; None when it failed."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    signal.signal(signal.SIGALRM, lambda *_: child.kill())
    signal.alarm(LIMIT)
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:
        child.kill()
        raise
    finally:
        signal.alarm(0)
    seconds = time.monotonic() - start
    return (seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024) if status == 0 else None


def until_listening(port, seed):
    end = time.monotonic() + READY_WITHIN
    while time.monotonic() < end and seed.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit("swarm seed does not listen")


def measure(swarm, folder, mebibytes, runs, log):
    original, torrent, out = (os.path.join(folder, name) for name in ("random.bin", "random.torrent", "out"))
    tracker, seed_port, peer = free_port(), free_port(), free_port()
    print(f"==> making {mebibytes} MiB and their torrent", flush=True)
    with open(original, "wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(1 << 20))
    subprocess.run([swarm, "-q", "create", original, "--piece-length", PIECE_LENGTH, "--no-media", "-o", torrent,
                    "--tracker", f"http://127.0.0.1:{tracker}/announce"], check=True)
    serving = ["--bind", "127.0.0.1", "--port", str(seed_port), "--tracker", f"127.0.0.1:{tracker}"]
    seed = subprocess.Popen([swarm, "-q", "seed", torrent, *serving],
                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    results = {}
    try:
        until_listening(tracker, seed)
        until_listening(seed_port, seed)
        # GStreamer looks at its plugins once.
        subprocess.run(["gst-inspect-1.0", "swarmsrc"], stdout=log, stderr=log, check=True)
        for number in range(runs):
            for name, command in clients(torrent, out, peer).items():
                os.mkdir(out)
                print(f"==> run {number + 1} of {runs}: {name}", flush=True)
                results.setdefault(name, []).append(run(command, log))
                shutil.rmtree(out)
    finally:
        seed.terminate()
        seed.wait()
    return results


def table(results, mebibytes):
    rows = {}
    for name, runs in results.items():
        done = [r for r in runs if r]
        if done:
            seconds, cpu, memory = (statistics.median(column) for column in zip(*done))
            rows[name] = (mebibytes / seconds, cpu * 1024 / mebibytes, memory)
        else:
            rows[name] = None
    ours = next(iter(rows.values()))
    print(f"\n{'medians; in brackets: against swarmsrc':38}{'MiB/s':>15}{'CPU-s/GiB':>16}{'peak RSS, MiB':>19}")
    for name, row in rows.items():
        cells = ""
        for width, digits, mine, value in zip((7, 8, 11), (0, 2, 0), ours or (), row or ()):
            cells += f"{value:{width}.{digits}f} ({value / mine:5.2f})"
        print(f"{name:38}{cells or '   failed'}")
    print("libtorrent 2 maps its files: their pages count as its memory, though the system can take them back.")


def all_of_it(swarm, folder, mebibytes, runs):
    mebibytes = int(mebibytes)
    path = os.path.join(folder, "log")
    with open(path, "wb") as log:
        results = measure(swarm, folder, mebibytes, int(runs), log)
    table(results, mebibytes)
    if not all(all(runs) for runs in results.values()):
        with open(path, errors="replace") as log:
            sys.exit("a client failed; the end of what all of them said:\n" + log.read()[-2000:])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    command, *arguments = sys.argv[1:]
    {"read": read, "all": all_of_it}[command](*arguments)
