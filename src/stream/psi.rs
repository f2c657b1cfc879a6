//! The two tables of a transport stream that lead to its media: PAT (which programmes there are) and PMT (which
//! streams make one), from ISO/IEC 13818-1, section 2.4.4.
//!
//! What is kept is what a viewer that joins needs: the packets as they came. Tables of several sections are not made
//! for one broadcast; of those, only the first section is read.

use smallvec::SmallVec;

use super::ts::{PACKET, Packet};

/// Most bytes of a section, and most packets that carry one.
const MAX_SECTION: usize = 1024;
const MAX_PACKETS: usize = 8;
/// Bytes of a section up to its length, and up to its entries; behind these is a checksum.
const LENGTH: usize = 3;
const FIXED: usize = 8;
const CHECKSUM: usize = 4;
/// Most programmes, and streams of one, that are looked at.
const MAX_PROGRAMS: usize = 64;
const MAX_STREAMS: usize = 32;
/// Kinds of video: MPEG-1 and 2, MPEG-4, H.264, H.265 and H.266.
const VIDEO: [u8; 6] = [0x01, 0x02, 0x10, 0x1B, 0x24, 0x33];

/// A table that comes in.
#[derive(Debug, Default)]
pub(super) struct Part {
    pid: u16,
    packets: Vec<u8>,
    section: Vec<u8>,
}

/// A table that is there, its checksum right, and the packets it came in.
#[derive(Debug)]
pub(super) struct Table {
    packets: Vec<u8>,
    section: Vec<u8>,
}

/// A programme, and its streams.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) number: u16,
    /// Of its PMT.
    pub(super) pid: u16,
    /// The first one of video.
    pub(super) video: Option<u16>,
    pub(super) streams: SmallVec<[u16; 4]>,
}

impl Part {
    /// A packet of the table. Gives the table when it is whole.
    pub(super) fn add(&mut self, packet: &Packet) -> Option<Table> {
        let bytes = match (packet.begins, packet.payload) {
            (true, [before, rest @ ..]) => {
                *self = Self { pid: packet.pid, ..Self::default() };
                rest.get(usize::from(*before)..)?
            }
            (false, more) if packet.pid == self.pid && !self.packets.is_empty() => more,
            _ => return None,
        };
        self.packets.extend_from_slice(packet.raw);
        self.section.extend_from_slice(bytes);
        let length = match self.section.first_chunk::<LENGTH>() {
            Some([_, high, low]) => LENGTH + usize::from(u16::from_be_bytes([high & 0x0F, *low])),
            None => MAX_SECTION,
        };
        if self.section.len() < length && self.packets.len() < MAX_PACKETS * PACKET && length <= MAX_SECTION {
            return None;
        }
        let Self { packets, mut section, .. } = std::mem::take(self);
        section.truncate(length);
        let whole = section.len() == length && length >= FIXED + CHECKSUM && checksum(&section) == 0;
        whole.then_some(Table { packets, section })
    }
}

impl Table {
    pub(super) fn packets(&self) -> &[u8] {
        &self.packets
    }

    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.section == other.section
    }

    /// What is behind the fixed fields, if this is the first section of a table of this kind that is in force.
    fn entries(&self, kind: u8) -> Option<&[u8]> {
        let in_force = self.section.get(5)? & 1 != 0 && self.section.get(6) == Some(&0);
        let entries = self.section.get(FIXED..self.section.len().checked_sub(CHECKSUM)?)?;
        (in_force && self.section.first() == Some(&kind)).then_some(entries)
    }
}

/// Numbers and PIDs of a PAT's programmes.
pub(super) fn programs(table: &Table) -> Option<SmallVec<[(u16, u16); 1]>> {
    let entries = table.entries(0)?.chunks_exact(4);
    let programs = entries.map(|entry| (u16::from_be_bytes([entry[0], entry[1]]), pid(entry[2], entry[3])));
    // Number 0 is the network's.
    Some(programs.filter(|(number, _)| *number != 0).take(MAX_PROGRAMS).collect())
}

/// The programme of a PMT that came with this PID.
pub(super) fn program(table: &Table, own: u16) -> Option<Program> {
    let (fixed, rest) = table.entries(2)?.split_first_chunk::<4>()?;
    let number = table.section.get(3..5)?;
    let number = u16::from_be_bytes([number[0], number[1]]);
    let mut program = Program { number, pid: own, video: None, streams: SmallVec::new() };
    let mut rest = rest.get(length(fixed[2], fixed[3])..)?;
    while let Some(([kind, high, low, more @ ..], behind)) = rest.split_first_chunk::<5>()
        && program.streams.len() < MAX_STREAMS
    {
        let stream = pid(*high, *low);
        program.streams.push(stream);
        if VIDEO.contains(kind) {
            program.video.get_or_insert(stream);
        }
        rest = behind.get(length(more[0], more[1])..).unwrap_or_default();
    }
    Some(program)
}

const fn pid(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high & 0x1F, low])
}

fn length(high: u8, low: u8) -> usize {
    usize::from(u16::from_be_bytes([high & 0x0F, low]))
}

/// CRC-32/MPEG-2; 0 for what ends with its own.
fn checksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04C1_1DB7;
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| {
            if sum >> 31 == 0 { sum << 1 } else { sum << 1 ^ POLYNOMIAL }
        })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A section with its checksum.
    pub(in crate::stream) fn section(kind: u8, number: u16, entries: &[u8]) -> Vec<u8> {
        let length = (entries.len() + FIXED + CHECKSUM - LENGTH) as u16 | 0xB000;
        let fixed = [&[kind][..], &length.to_be_bytes(), &number.to_be_bytes(), &[0xC1, 0, 0]].concat();
        let mut out = [&fixed[..], entries].concat();
        out.extend(checksum(&out).to_be_bytes());
        out
    }

    fn table(section: Vec<u8>) -> Table {
        Table { packets: Vec::new(), section }
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(checksum(b"123456789"), 0x0376_E6E7);
        assert_eq!(checksum(&section(0, 1, &[1, 2, 3, 4])), 0);
    }

    #[test]
    fn tables_are_read() {
        let pat = table(section(0, 1, &[0, 0, 0xE0, 0x10, 0, 7, 0xF0, 0x01]));
        assert_eq!(programs(&pat).unwrap().as_slice(), [(7, 0x1001)]);
        let streams = [[0x0F, 0xE1, 1, 0xF0, 2].as_slice(), &[9, 9], &[0x1B, 0xE1, 0, 0xF0, 0]].concat();
        let pmt = table(section(2, 7, &[&[0xE1, 0, 0xF0, 1, 9][..], &streams].concat()));
        let film = program(&pmt, 0x1001).unwrap();
        assert_eq!((film.number, film.pid, film.video), (7, 0x1001, Some(0x100)));
        assert_eq!(film.streams.as_slice(), [0x101, 0x100]);
        assert!(program(&pat, 0).is_none() && programs(&pmt).is_none(), "not of this kind");
    }
}
