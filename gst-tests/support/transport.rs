//! An endless MPEG transport stream in which every packet differs from every other: a program table, its map, and
//! pictures of noise. Packet by packet a function of its number, so that nothing has to be remembered in order to
//! say whether a viewer was given what the source was.

use std::ops::Range;

/// Bytes in a packet.
pub const PACKET: usize = 188;
/// Packets from one random access point to the next.
pub const GROUP: u64 = 40;
/// The program map's packets and the picture's.
const MAP: u16 = 0x1000;
const PICTURE: u16 = 0x100;
/// Ticks of the stream's clock (90 kHz) from one group to the next: as if it were of 25 pictures/s.
const TICKS: u64 = 3_600;
/// Where the number stands: in a packet that begins a picture, and in any other.
const NUMBER_AT: (usize, usize) = (26, 4);

/// Packet `number` of the stream.
pub fn packet(number: u64) -> [u8; PACKET] {
    let (group, place) = (number / GROUP, number % GROUP);
    match place {
        0 => section(0, group, &[0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | high(MAP), low(MAP)]),
        1 => {
            let pcr = [0xe0 | high(PICTURE), low(PICTURE)];
            let head = [2, 0xb0, 18, 0, 1, 0xc1, 0, 0, pcr[0], pcr[1], 0xf0, 0];
            section(MAP, group, &[&head[..], &[0x1b, pcr[0], pcr[1], 0xf0, 0]].concat())
        }
        _ => picture(number, group, place),
    }
}

/// The bytes of a run of packets.
pub fn packets(numbers: Range<u64>) -> Vec<u8> {
    numbers.flat_map(packet).collect()
}

/// The runs of packets that somebody was given, in order. At the beginning of a run may stand the stream's headers,
/// which are its tables; they do not count.
///
/// # Panics
/// At the first byte that is not of the stream.
pub fn runs(bytes: &[u8]) -> Vec<Range<u64>> {
    let (given, rest) = bytes.as_chunks::<PACKET>();
    assert!(rest.is_empty(), "{} bytes behind the last whole packet", rest.len());
    let mut runs: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while let Some(bytes) = given.get(at) {
        at += 1;
        if let Some(last) = runs.last_mut().filter(|last| packet(last.end) == *bytes) {
            last.end += 1;
        } else if let Some(number) = begins(&given[at - 1..]) {
            runs.push(number..number + 1);
        } else {
            assert!(
                is_headers(&given[at - 1..]),
                "packet {} of {} is none of the stream's",
                at - 1,
                given.len()
            );
            at += 1;
        }
    }
    runs
}

/// The number of the first of these packets, if it is followed by what follows it in the stream.
fn begins(packets: &[[u8; PACKET]]) -> Option<u64> {
    // Tables have no number: it follows from the picture behind them.
    let tables = (0..3).find(|n| packets.get(*n).is_some_and(|p| number_of(p).is_some()))?;
    let number = number_of(&packets[tables])?.checked_sub(tables as u64)?;
    packets.iter().take(tables + 1).zip(number..).all(|(p, n)| *p == packet(n)).then_some(number)
}

/// Whether these begin with tables, of whatever group.
fn is_headers(packets: &[[u8; PACKET]]) -> bool {
    let uncounted = |mut packet: [u8; PACKET]| {
        packet[3] &= 0xf0;
        packet
    };
    packets.len() >= 2 && (0..2).all(|n| uncounted(packets[n]) == uncounted(packet(n as u64)))
}

/// The number in a packet of the picture.
fn number_of(packet: &[u8; PACKET]) -> Option<u64> {
    let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
    let at = if packet[1] & 0x40 == 0 { NUMBER_AT.1 } else { NUMBER_AT.0 };
    (pid == PICTURE).then(|| u64::from_be_bytes(packet[at..at + 8].try_into().expect("eight bytes")))
}

fn picture(number: u64, group: u64, place: u64) -> [u8; PACKET] {
    let begins = place == 2;
    let counter = group * (GROUP - 2) + place - 2;
    let mut out = Vec::with_capacity(PACKET);
    out.extend(head(PICTURE, begins, begins, counter));
    if begins {
        let clock = group * TICKS;
        // Seven bytes: a random access point, and the clock.
        out.extend([7, 0x50]);
        out.extend(&(clock << 15 | 0x7e00).to_be_bytes()[2..]);
        // A picture that is shown at that time.
        out.extend([0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5]);
        let part = |shift: u64, bits: u64| (clock >> shift) & ((1 << bits) - 1);
        out.push(0x21 | (part(30, 3) as u8) << 1);
        out.extend((part(15, 15) as u16 * 2 + 1).to_be_bytes());
        out.extend((part(0, 15) as u16 * 2 + 1).to_be_bytes());
    }
    out.extend(number.to_be_bytes());
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while out.len() < PACKET {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Never zero, so that no picture seems to begin in the noise.
        out.push(state.to_le_bytes()[3] | 1);
    }
    out.try_into().expect("it was filled up")
}

fn section(pid: u16, group: u64, body: &[u8]) -> [u8; PACKET] {
    let mut out = [0xff; PACKET];
    out[..4].copy_from_slice(&head(pid, true, false, group));
    out[4] = 0;
    out[5..5 + body.len()].copy_from_slice(body);
    out[5 + body.len()..9 + body.len()].copy_from_slice(&checksum(body).to_be_bytes());
    out
}

fn head(pid: u16, begins: bool, adapts: bool, counter: u64) -> [u8; 4] {
    let begins = if begins { 0x40 } else { 0 };
    let adapts = if adapts { 0x30 } else { 0x10 };
    [0x47, begins | high(pid), low(pid), adapts | (counter % 16) as u8]
}

const fn high(pid: u16) -> u8 {
    pid.to_be_bytes()[0]
}

const fn low(pid: u16) -> u8 {
    pid.to_be_bytes()[1]
}

/// The CRC-32 of MPEG.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 << 31 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 };
    bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte) << 24, step))
}
