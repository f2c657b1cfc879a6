#!/usr/bin/env python3
"""What a broadcast costs its source and its viewers, and how well a crowd watches it. Promises nothing.

  gst-tests/crowd.py                          20 viewers; the source sends three copies of the stream, each viewer 1.5
  gst-tests/crowd.py --unreachable 40         40 % of the viewers take no connections, as behind a router
  gst-tests/crowd.py --direct --viewers 100   a source without a limit; viewers know only it and give each other nothing
  gst-tests/crowd.py --cost                   a source and one viewer at 1, 8 and 25 Mbit/s, 20 s each

Everything is measured from when the last viewer has joined, for --seconds. "CPU" is of one processor; the memory is
the most that a process ever had (VmHWM). Ends with 1 when something was wrong: bytes that are not the stream, a
process that failed. Everybody is on 127.0.0.x. Needs 10 MB in TMPDIR for each viewer. Ctrl-C ends it.
"""
import argparse
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from audience import LISTEN, MIB, TICK, Source, Stage, Viewer, options, say, table, tell  # noqa: E402

RATE = 125_000
# What the source and the viewers may send, in copies of the stream.
SOURCE_COPIES, VIEWER_COPIES = 3, 1.5
# Seconds: of the window; of the stream before anybody comes; from one viewer to the next.
WINDOW, LEAD, SPREAD = 60, 12, 0.15
# Who was given nothing for so long does not play.
SILENT = 5
# How long viewers may take to the end of the stream when it ends.
ENDS_WITHIN = 60
# What a piece of 32 KiB holds.
PAYLOAD = (32 << 10) - 128
COST_RATES, COST_SECONDS = (1, 8, 25), 20
SAMPLE = 1


class Meter:
    """Of a process: its processor time from now on, and its memory."""

    def __init__(self, process):
        self.process, self.start, self.peak = process, process.cpu(), 0
        self.uploaded, self.downloaded = (process.figure(name) for name in ("uploaded", "downloaded"))

    def stop(self):
        self.cpu, self.peak = self.process.cpu() - self.start, self.process.memory("VmHWM") / MIB
        self.sent = self.process.figure("uploaded") - self.uploaded
        self.got = self.process.figure("downloaded") - self.downloaded


class Show:
    """One broadcast with its viewers, measured."""

    def __init__(self, stage, rate, viewers, seconds, direct=False, unreachable=0):
        self.rate, self.seconds, self.viewers, self.failures = rate, seconds, [], []
        source_limit, limit = (0, 0) if direct else (int(SOURCE_COPIES * rate), int(VIEWER_COPIES * rate))
        self.source = Source(stage, rate, WINDOW, source_limit)
        self.source.until_fed(LEAD)
        for number in range(viewers):
            shut = direct or (number + 1) * unreachable // 100 > number * unreachable // 100
            self.viewers.append(Viewer(stage, self.source, number, shut=shut, direct=direct, limit=limit))
            self.watch(SPREAD)
        # The first figures of the last one, and the rush at the beginning, are not part of it.
        self.watch(5)
        self.measure()
        self.end()

    def watch(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for viewer in self.viewers:
                viewer.read()
            time.sleep(TICK)
        for process in [self.source.process, *self.viewers]:
            process.look()
            if not process.runs():
                sys.exit(f"{process.name} ended with {process.child.returncode}\n{process.story()}")

    def measure(self):
        begun = time.monotonic()
        meters = [Meter(process) for process in [self.source.process, *self.viewers]]
        while (left := begun + self.seconds - time.monotonic()) > 0:
            self.watch(min(left, SAMPLE))
        for meter in meters:
            meter.stop()
        self.time = time.monotonic() - begun
        self.source_meter, *self.meters = meters
        self.starved = [viewer.starved for viewer in self.viewers]
        self.playing = sum(v.first is not None and v.silent() < SILENT for v in self.viewers)

    def end(self):
        packets, end = self.source.end(), time.monotonic() + ENDS_WITHIN
        waiting = list(self.viewers)
        while waiting and time.monotonic() < end:
            for viewer in list(waiting):
                runs = viewer.runs()
                viewer.read(last=not runs)
                viewer.look()
                if not runs:
                    waiting.remove(viewer)
            time.sleep(TICK)
        self.complete = sum(v.check.next == packets and not v.runs() for v in self.viewers)
        for viewer in self.viewers:
            if viewer.check.wrong:
                self.failures.append(f"{viewer.name}: {viewer.check.wrong} wrong bytes")
            if not viewer.runs() and viewer.child.returncode or viewer.panicked():
                self.failures.append(f"{viewer.name} ended with {viewer.child.returncode}\n{viewer.story()}")
            viewer.kill()
            viewer.close()
        self.source.process.kill()

    def rows(self):
        viewers, source = self.viewers, self.source_meter
        dropped = sum(v.figure("dropped") for v in viewers)
        given = sum(v.check.given for v in viewers) / PAYLOAD
        got = sum(meter.got for meter in self.meters)
        starts = [v.first for v in viewers if v.first is not None]
        return [
            ("play", f"{self.playing} of {len(viewers)}"),
            ("were given the stream to its last packet", f"{self.complete} of {len(viewers)}"),
            ("dropped pieces", f"{dropped} ({100 * dropped / max(1, dropped + given):.2f} %)"),
            ("stalls; hooked in anew", f"{self.sum('stalls')}; {self.sum('rehooked')}"),
            ("sent by the source",
             f"{100 * source.sent / max(1, got):.0f} %, {source.sent / self.time / self.rate:.2f} copies"),
            ("first bytes after, median / worst", tell(starts, 2, " s")),
            ("then without any, median / worst", tell(self.starved, 1, " s")),
            (f"source: CPU in {self.time:.0f} s", f"{source.cpu:.2f} s, {100 * source.cpu / self.time:.1f} %"),
            ("source: memory", f"{source.peak:.1f} MiB"),
            (f"viewer: CPU in {self.time:.0f} s, median / worst", tell((m.cpu for m in self.meters), 2, " s")),
            ("viewer: memory, median / worst", tell((m.peak for m in self.meters), 1, " MiB")),
        ]

    def sum(self, name):
        return sum(viewer.figure(name) for viewer in self.viewers)


def cost(arguments):
    rows = [("Mbit/s", "source: CPU-s", "% of one", "MiB", "viewer: CPU-s", "% of one", "MiB", "of the stream")]
    failures = []
    for megabits in COST_RATES:
        say(f"{megabits} Mbit/s")
        with Stage("cost", arguments) as stage:
            show = Show(stage, megabits * 125_000, 1, COST_SECONDS, direct=True)
        cells = []
        for meter in (show.source_meter, show.meters[0]):
            cells += [f"{meter.cpu:.2f}", f"{100 * meter.cpu / show.time:.1f}", f"{meter.peak:.1f}"]
        rows.append((megabits, *cells, "all" if show.complete and not show.viewers[0].check.jumps else "NOT ALL"))
        failures += show.failures
    table(rows)
    print(f"CPU-s in {COST_SECONDS} s")
    return failures


def crowd(arguments):
    with Stage("crowd", arguments) as stage:
        say(f"{arguments.viewers} viewers at {RATE * 8 / 1e6:g} Mbit/s, {arguments.seconds} s")
        show = Show(stage, RATE, arguments.viewers, arguments.seconds, arguments.direct, arguments.unreachable)
    table(show.rows())
    return show.failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=20, help="[default: 20]")
    parser.add_argument("--seconds", type=int, default=60, help="[default: 60]")
    parser.add_argument("--unreachable", type=int, default=0, metavar="PERCENT", help="[default: 0]")
    parser.add_argument("--direct", action="store_true", help="everybody from the source")
    parser.add_argument("--cost", action="store_true", help="the table of costs instead")
    options(parser)
    arguments = parser.parse_args()
    if not (1 <= arguments.viewers <= 250 and arguments.seconds >= 5 and 0 <= arguments.unreachable <= 100):
        parser.error("1 to 250 viewers, 5 seconds or more, 0 to 100 percent")
    if (arguments.unreachable or arguments.direct or arguments.cost) and os.uname().machine not in LISTEN:
        parser.error(f"not on {os.uname().machine}: support/audience.py cannot keep a viewer from listening there")
    failures = (cost if arguments.cost else crowd)(arguments)
    if failures:
        sys.exit("\n".join(["", *failures]))


if __name__ == "__main__":
    main()
