#!/usr/bin/env python3
"""Lets a broadcast run, and viewers come, go and crash.

One source, and viewers that pass the stream on to each other (the source may send three copies of it): the first
one stays, the others are stopped or killed (kill -9) and come back, at random. Some play the stream, in its own time,
and some save it as it comes. What each is given is looked at byte by byte. Ends with a table, and with 1 if

  * a viewer was given nothing for 20 s, anything that is not the stream, or a jump in it that its figures do not tell
  * a process ended that should not, did not end when it was asked to, or panicked
  * at the end of the stream somebody did not have the last packet
  * the source or the viewer that stays uses --growth MiB more memory at the end than after a tenth of the time

Everybody is on 127.0.0.x. Needs 60 MB in TMPDIR and half a processor. Ctrl-C ends it.
"""
import argparse
import os
import random
import shutil
import signal
import statistics
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from audience import ENDS_WITHIN, MIB, TICK, Source, Stage, Viewer, options, say, table  # noqa: E402

# Seconds: of the window; how long visits and absences last; between two looks at memory and figures.
WINDOW = 60
VISIT, ABSENCE = (15, 120), (2, 15)
SAMPLE = 3
# Who is given nothing for so long is stuck.
STUCK = 20
# A jump is in the figures (one line a second) after so long.
TOLD_WITHIN = 3
# Nobody comes or goes so shortly before the end.
QUIET = 30


class Seat:
    """Where one viewer comes and goes."""

    def __init__(self, soak, number):
        self.soak, self.number, self.lives = soak, number, 0
        self.random = random.Random(f"{soak.seed}, seat {number}")
        self.viewer = self.stopping = None
        self.stuck = False
        self.due = 0 if number == 0 else self.random.uniform(0, VISIT[0])

    def join(self):
        if self.lives and self.random.random() < 0.5:
            self.soak.forget(self.number)
        # The others save the stream as it comes.
        plays = self.number == 0 or self.random.random() < 0.5
        self.viewer = Viewer(self.soak.stage, self.soak.source, self.number, self.lives, plays, more=["-v"])
        self.lives += 1
        self.stuck, self.stopping = False, None
        self.soak.count["joins"] += 1
        self.due = float("inf") if self.number == 0 else time.monotonic() + self.random.uniform(*VISIT)

    def leave(self):
        if self.random.random() < 0.5:
            self.soak.count["kills"] += 1
            self.viewer.kill()
            self.gone()
        else:
            self.soak.count["stops"] += 1
            self.viewer.signal(signal.SIGINT)
            self.stopping = time.monotonic()

    def gone(self, last=False):
        self.viewer.read(last)
        self.viewer.look()
        self.soak.done(self.viewer)
        self.viewer.close()
        self.viewer = None
        self.due = time.monotonic() + self.random.uniform(*ABSENCE)

    def look(self, now, may_move):
        viewer = self.viewer
        if viewer is None:
            if may_move and now >= self.due:
                self.join()
            return
        viewer.read()
        if not viewer.runs():
            if self.stopping is None or viewer.child.returncode != 130:
                self.soak.fail("died", viewer, f"ended with {viewer.child.returncode}")
            self.gone()
        elif self.stopping:
            if now - self.stopping > ENDS_WITHIN:
                self.soak.fail("died", viewer, "does not stop")
                viewer.kill()
                self.gone()
        elif viewer.silent() > STUCK:
            if not self.stuck:
                self.soak.fail("stuck", viewer, f"was given nothing for {STUCK} s")
            self.stuck = True
        else:
            self.stuck = False
            if may_move and now >= self.due:
                self.leave()


class Soak:
    def __init__(self, stage, arguments, seed):
        self.stage, self.seed, self.seconds = stage, seed, arguments.minutes * 60
        self.source = Source(stage, arguments.rate, arguments.ring // 4, 3 * arguments.rate, more=["-v"])
        names = "joins kills stops stuck died dropped stalls late rehooked wrong uncounted backward cut panics"
        self.count = dict.fromkeys(names.split(), 0)
        # (part of the time, bytes of the source, of the viewer that stays, of the largest viewer)
        self.samples = []
        self.given = self.peak = 0
        self.seats = [Seat(self, n) for n in range(arguments.viewers)]

    def fail(self, what, viewer, why):
        self.count[what] += 1
        say(f"after {time.monotonic() - self.begun:.1f} s {viewer.name} {why}: {viewer.check.given} bytes given, "
            f"jumps {[jump[1:] for jump in viewer.check.jumps]}\n{viewer.story()}")

    def forget(self, number):
        shutil.rmtree(self.stage.path(f"viewer-{number}"), ignore_errors=True)

    def done(self, viewer):
        for name in ("dropped", "rehooked"):
            self.count[name] += viewer.figure(name)
        self.count["stalls" if viewer.pace else "late"] += viewer.figure("stalls")
        self.given += viewer.check.given
        back = sum(to < expected for _, expected, to in viewer.check.jumps)
        untold = viewer.uncounted(time.monotonic() - TOLD_WITHIN)
        for name, number in (("wrong", viewer.check.wrong), ("uncounted", untold), ("backward", back),
                             ("panics", int(viewer.panicked()))):
            if number:
                self.fail(name, viewer, f"{name}: {number}")
                self.count[name] += number - 1

    def run(self):
        self.begun, sampled, told = time.monotonic(), 0, 0
        self.source.until_fed(WINDOW / 4)
        self.begun = now = time.monotonic()
        while now - self.begun < self.seconds:
            left = self.seconds - (now - self.begun)
            for seat in self.seats:
                seat.look(now, left > QUIET or seat.lives == 0)
            if now - sampled >= SAMPLE:
                sampled = now
                self.sample((now - self.begun) / self.seconds)
            if now - told >= 60:
                told = now
                self.tell(left)
            time.sleep(TICK)
            now = time.monotonic()
        self.end()

    def sample(self, part):
        source = self.source.process
        source.look()
        if not source.runs() or not self.source.feed.runs():
            sys.exit(f"the broadcast ended\n{source.story()}")
        viewers = [seat.viewer.memory() for seat in self.seats if seat.viewer]
        for seat in self.seats:
            if seat.viewer:
                seat.viewer.look()
                self.peak = max(self.peak, seat.viewer.memory("VmHWM"))
        first = self.seats[0].viewer
        self.samples.append((part, source.memory(), first.memory() if first else 0, max(viewers, default=0)))
        self.source_peak = source.memory("VmHWM")

    def tell(self, left):
        viewers = [seat.viewer for seat in self.seats if seat.viewer]
        behind = [f"{v.figure('delay_ms') / 1000:.1f}" for v in viewers]
        say(f"{left / 60:.0f} minutes left, {len(viewers)} viewers, {' '.join(behind)} s behind")

    def end(self):
        """The stream ends: whoever is there gets all of it."""
        packets, now = self.source.end(), time.monotonic()
        end = now + 3 * ENDS_WITHIN
        waiting = [seat for seat in self.seats if seat.viewer]
        while waiting and now < end:
            for seat in list(waiting):
                viewer = seat.viewer
                viewer.read()
                viewer.look()
                if not viewer.runs():
                    waiting.remove(seat)
                    if seat.stopping is None and (viewer.child.returncode != 0 or self.cut(viewer, packets)):
                        self.fail("cut", viewer, f"ended with {viewer.child.returncode} before packet {packets}")
                    seat.gone(last=seat.stopping is None)
            time.sleep(TICK)
            now = time.monotonic()
        for seat in waiting:
            self.fail("cut", seat.viewer, f"does not end; the last packet is {packets}")
            seat.viewer.kill()
            seat.gone()
        if self.source.process.panicked():
            self.count["panics"] += 1

    def cut(self, viewer, packets):
        viewer.read(last=True)
        return viewer.check.next != packets

    def at(self, part, column):
        """Bytes at a moment: the middle of what was seen shortly before."""
        seen = [s[column] for s in self.samples if part - 0.06 < s[0] <= part and s[column]]
        return statistics.median(seen) if seen else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15, help="[default: 15]")
    parser.add_argument("--viewers", type=int, default=5, help="[default: 5]")
    parser.add_argument("--rate", type=int, default=125_000, help="bytes a second of the stream [default: 125000]")
    parser.add_argument("--seed", type=int, help="of who comes and goes when [default: another one each time]")
    parser.add_argument("--ring", type=int, default=4 * WINDOW, metavar="SECONDS",
                        help=f"what the source keeps; a quarter of it is the window [default: {4 * WINDOW}]")
    parser.add_argument("--growth", type=float, default=16, help="MiB [default: 16]")
    options(parser)
    arguments = parser.parse_args()
    if not (1 <= arguments.viewers <= 250 and arguments.minutes > 0.5 and arguments.rate >= 10_000):
        parser.error("1 to 250 viewers, more than half a minute, 10000 bytes a second or more")
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    with Stage("soak", arguments) as stage:
        say(f"seed {seed}")
        soak = Soak(stage, arguments, seed)
        soak.run()
        sys.exit(report(soak, arguments, seed))


def report(soak, arguments, seed):
    count = soak.count
    rows = [("minutes", f"{arguments.minutes:g}"), ("seed", seed)]
    rows += [(name, count[name]) for name in ("joins", "kills", "stops")]
    rows += [("MiB given", f"{soak.given / MIB:.0f}"), ("dropped pieces", count["dropped"]),
             ("stalls of who plays it", count["stalls"]), ("of who saves it", count["late"]),
             ("rehooks", count["rehooked"]), ("stuck viewers", count["stuck"]),
             ("died or did not stop", count["died"]), ("wrong bytes", count["wrong"]),
             ("jumps that no figure tells", count["uncounted"]), ("jumps back", count["backward"]),
             ("without the last packet", count["cut"]), ("panics", count["panics"])]
    table(rows)
    rows = [("memory, MiB, after", "10 %", "50 %", "100 %", "peak")]
    grown = []
    stays = max(sample[2] for sample in soak.samples)
    for name, column, peak in (("source", 1, soak.source_peak), ("viewer that stays", 2, stays),
                               ("largest viewer", 3, soak.peak)):
        values = [soak.at(part, column) / MIB for part in (0.1, 0.5, 1)]
        rows.append((name, *(f"{value:.1f}" for value in (*values, peak / MIB))))
        if column < 3 and values[2] - values[0] > arguments.growth:
            grown.append(f"{name}: memory grew by {values[2] - values[0]:.1f} MiB, more than {arguments.growth:g}")
    table(rows)
    wrong = "stuck died wrong uncounted backward cut panics".split()
    failed = grown + [f"{name}: {count[name]}" for name in wrong if count[name]]
    print("\n" + ("FAILED: " + "; ".join(failed) if failed else "nothing stuck, nothing wrong"))
    return 1 if failed else 0


if __name__ == "__main__":
    main()
