"""An endless MPEG transport stream in which every packet tells its number, as in transport.rs: a program table, its
map, and pictures of noise. Packet by packet a function of its number, so that nothing has to be remembered in order
to say whether a viewer was given what the source was.

transport.py BYTES_PER_SECOND      writes it to standard output until SIGTERM, then tells how many packets that were
"""
import functools
import hashlib
import signal
import sys
import time

PACKET = 188
# Packets from one random access point to the next.
GROUP = 40
MAP, PICTURE = 0x1000, 0x100
# Ticks of the stream's clock (90 kHz) from one group to the next.
TICKS = 3_600
# Where the number stands: in a packet that begins a picture, and in any other.
NUMBER_AT = {True: 26, False: 4}
# In the noise there is no zero, so that no picture seems to begin in it.
NO_ZERO = bytes([1, *range(1, 256)])
# The headers in front, and a picture with the tables before it.
LOOKAHEAD = 5 * PACKET
PORTION = 0.01


def head(pid, begins, adapts, counter):
    return bytes([0x47, (0x40 if begins else 0) | pid >> 8, pid & 0xFF, (0x30 if adapts else 0x10) | counter % 16])


def section(body):
    crc = 0xFFFF_FFFF
    for byte in body:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C1_1DB7 if crc & 1 << 31 else 0)) & 0xFFFF_FFFF
    return (b"\0" + bytes(body) + crc.to_bytes(4, "big")).ljust(PACKET - 4, b"\xff")


PROGRAMS = section([0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xE0 | MAP >> 8, MAP & 0xFF])
PROGRAM = section([2, 0xB0, 18, 0, 1, 0xC1, 0, 0, 0xE0 | PICTURE >> 8, PICTURE & 0xFF, 0xF0, 0,
                   0x1B, 0xE0 | PICTURE >> 8, PICTURE & 0xFF, 0xF0, 0])


def begin_picture(number):
    """A random access point and the clock, and the head of a picture that is shown at that time."""
    clock = number * TICKS
    stamp = [0x21 | (clock >> 29 & 14), *((clock >> 15 & 0x7FFF) * 2 + 1).to_bytes(2, "big"),
             *((clock & 0x7FFF) * 2 + 1).to_bytes(2, "big")]
    clock = ((clock << 15 | 0x7E00) & (1 << 48) - 1).to_bytes(6, "big")
    return bytes([7, 0x50]) + clock + bytes([0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, *stamp])


@functools.lru_cache(maxsize=4096)
def group(number):
    """All packets of a group."""
    out = [head(0, True, False, number), PROGRAMS, head(MAP, True, False, number), PROGRAM]
    for place in range(2, GROUP):
        begins, packet = place == 2, number * GROUP + place
        start = head(PICTURE, begins, begins, number * (GROUP - 2) + place - 2)
        start += begin_picture(number) if begins else b""
        start += packet.to_bytes(8, "big")
        out += [start, hashlib.shake_128(start).digest(PACKET - len(start)).translate(NO_ZERO)]
    return b"".join(out)


def packets(start, end):
    """The bytes of these packets."""
    first = start // GROUP
    run = b"".join(group(number) for number in range(first, -(-end // GROUP)))
    return run[(start - first * GROUP) * PACKET:(end - first * GROUP) * PACKET]


def number_of(packet):
    """The number in a packet; tables have none."""
    if len(packet) < PACKET or (packet[1] & 0x1F) << 8 | packet[2] != PICTURE:
        return None
    at = NUMBER_AT[packet[1] & 0x40 != 0]
    return int.from_bytes(packet[at:at + 8], "big")


class Check:
    """Says of what a viewer is given whether it is the stream, and where it jumps."""

    def __init__(self):
        # Number of the next packet, once one has come.
        self.next = None
        self.wrong = self.given = 0
        # (when, the packet that should have come, the one that came)
        self.jumps = []
        self.rest = b""

    def take(self, data, last=False):
        """Takes in what was given next. What is not yet enough to be told waits for more, unless it is the last."""
        self.given += len(data)
        data, at = self.rest + data, 0
        while len(data) - at >= PACKET:
            if run := self.expected(data[at:at + GROUP * PACKET]):
                self.next += run
                at += run * PACKET
            elif len(data) - at < LOOKAHEAD and not last:
                break
            elif (number := begins(data[at:at + LOOKAHEAD])) is not None:
                if self.next is not None:
                    self.jumps.append((time.monotonic(), self.next, number))
                self.next = number
            elif is_headers(data[at:at + 2 * PACKET]):
                at += 2 * PACKET
            else:
                self.wrong += PACKET
                at += PACKET
        self.rest = data[at:]
        if last:
            self.wrong += len(self.rest)

    def expected(self, data):
        """How many packets at the beginning are those that come next."""
        if self.next is None:
            return 0
        at = self.next % GROUP * PACKET
        wanted = group(self.next // GROUP)[at:at + len(data) // PACKET * PACKET]
        if data.startswith(wanted):
            return len(wanted) // PACKET
        places = range(0, len(wanted), PACKET)
        return next(n for n, p in enumerate(places) if data[p:p + PACKET] != wanted[p:p + PACKET])


def begins(data):
    """The number of the first of these packets, if it is followed by what follows it in the stream."""
    for tables in range(3):
        number = number_of(data[tables * PACKET:(tables + 1) * PACKET])
        if number is not None:
            run = data[:(tables + 1) * PACKET]
            # A number that came from anywhere may be of any size.
            start = number - tables
            return start if 0 <= start < 1 << 40 and run == packets(start, number + 1) else None
    return None


def is_headers(data):
    """Whether these are the stream's tables, of whatever group."""
    uncounted = bytearray(data)
    for at in range(3, len(uncounted), PACKET):
        uncounted[at] &= 0xF0
    return uncounted == head(0, True, False, 0) + PROGRAMS + head(MAP, True, False, 0) + PROGRAM


def feed(bytes_per_second):
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    begun, at = time.monotonic(), 0
    while not ended:
        due = int((time.monotonic() - begun) * bytes_per_second / PACKET)
        if due > at:
            sys.stdout.buffer.write(packets(at, due))
            sys.stdout.buffer.flush()
            at = due
        time.sleep(PORTION)
    print(at, file=sys.stderr)


if __name__ == "__main__":
    feed(int(sys.argv[1]))
