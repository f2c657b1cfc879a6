//! MPEG transport streams: packets of 188 bytes (ISO/IEC 13818-1).
//!
//! One can join where a packet of video says that it is a random access point, better with the tables (PAT, PMT) that
//! directly precede it; in a programme without video, where a frame of audio begins. The newest tables are the
//! stream's headers. Of several programmes, the first one whose PMT comes is followed.

use smallvec::SmallVec;

use super::psi::{self, Part, Program, Table};
use super::scan::{Headers, Mark, Step};

/// Bytes of a packet.
pub(super) const PACKET: usize = 188;
/// What each packet begins with.
pub(super) const SYNC: u8 = 0x47;
/// Packets in a row that make a transport stream, among arbitrary bytes.
const PACKETS_IN_ROW: usize = 5;
/// And when there is no time to wait for more.
const PACKETS_IN_HURRY: usize = 2;
const PAT_PID: u16 = 0;
/// PIDs of streams; below and above are tables and filling.
const STREAM_PIDS: std::ops::Range<u16> = 0x20..0x1FFF;

/// Reads the packets of a stream.
#[derive(Debug, Default)]
pub(super) struct Ts {
    /// Known to be where a packet begins; else one is looked for.
    found: bool,
    /// Tables that come in.
    pat_part: Part,
    pmt_part: Part,
    /// The newest ones, and what they say.
    pat: Option<Table>,
    pmt: Option<Table>,
    /// Numbers and PIDs of the programmes.
    programs: SmallVec<[(u16, u16); 1]>,
    program: Option<Program>,
}

/// What matters of a packet.
pub(super) struct Packet<'a> {
    pub(super) raw: &'a [u8; PACKET],
    pub(super) pid: u16,
    /// A section or a frame begins in it.
    pub(super) begins: bool,
    random_access: bool,
    pub(super) payload: &'a [u8],
}

impl Ts {
    /// Is this a transport stream, as far as can be seen?
    pub(super) const fn found(&self) -> bool {
        self.found
    }

    pub(super) fn gap(&mut self) {
        self.found = false;
        self.pat_part = Part::default();
        self.pmt_part = Part::default();
    }

    pub(super) fn step(&mut self, bytes: &[u8], hurry: bool, headers: &mut Headers) -> Step {
        if self.found && bytes.first() != Some(&SYNC) {
            self.gap();
        }
        if !self.found {
            match look(bytes, hurry) {
                Err(step) => return step,
                Ok(()) => self.found = true,
            }
        }
        let Some(raw) = bytes.first_chunk() else { return Step::Hold };
        let mark = Packet::parse(raw).map_or(Mark::None, |packet| self.on_packet(&packet, headers));
        Step::Take { bytes: PACKET, whole: true, mark }
    }

    fn on_packet(&mut self, packet: &Packet, headers: &mut Headers) -> Mark {
        if packet.pid == PAT_PID {
            if let Some(table) = self.pat_part.add(packet) {
                self.on_pat(table, headers);
            }
            return if packet.begins { Mark::Prelude } else { Mark::None };
        }
        if self.programs.iter().any(|(_, pid)| *pid == packet.pid) {
            if let Some(table) = self.pmt_part.add(packet) {
                self.on_pmt(table, packet.pid, headers);
            }
            return Mark::None;
        }
        self.program.as_ref().map_or(Mark::None, |program| media(program, packet))
    }

    fn on_pat(&mut self, table: Table, headers: &mut Headers) {
        if self.pat.as_ref().is_some_and(|pat| pat.says_the_same(&table)) {
            return;
        }
        let Some(programs) = psi::programs(&table) else { return };
        self.programs = programs;
        self.pat = Some(table);
        let programs = &self.programs;
        if self.program.take_if(|p| !programs.contains(&(p.number, p.pid))).is_some() {
            self.pmt = None;
        }
        self.tell(headers);
    }

    fn on_pmt(&mut self, table: Table, pid: u16, headers: &mut Headers) {
        if self.pmt.as_ref().is_some_and(|pmt| pmt.says_the_same(&table)) {
            return;
        }
        let Some(program) = psi::program(&table, pid) else { return };
        let followed = self.program.as_ref().is_none_or(|p| (p.number, p.pid) == (program.number, pid));
        if followed && self.programs.contains(&(program.number, pid)) {
            self.program = Some(program);
            self.pmt = Some(table);
            self.tell(headers);
        }
    }

    /// The newest tables are the headers, once both are there.
    fn tell(&self, headers: &mut Headers) {
        if let (Some(pat), Some(pmt)) = (&self.pat, &self.pmt) {
            headers.set(Some([pat.packets(), pmt.packets()].concat().into()));
        }
    }
}

/// What a packet means to those who follow this programme.
fn media(program: &Program, packet: &Packet) -> Mark {
    let entry = match program.video {
        Some(video) if video != packet.pid => return Mark::None,
        Some(_) => packet.random_access,
        None if !STREAM_PIDS.contains(&packet.pid) => return Mark::None,
        None => packet.begins && program.streams.contains(&packet.pid) && is_audio(packet.payload),
    };
    match entry {
        true => Mark::Entry,
        false if packet.payload.is_empty() => Mark::None,
        false => Mark::Media,
    }
}

/// Does a frame of audio begin so (or a private one, as newer codecs have them)?
fn is_audio(payload: &[u8]) -> bool {
    matches!(payload, [0, 0, 1, 0xC0..=0xDF | 0xBD | 0xFD, ..])
}

impl<'a> Packet<'a> {
    /// `None`: the packet says that it is damaged, or makes no sense.
    fn parse(raw: &'a [u8; PACKET]) -> Option<Self> {
        let [_, high, low, control, rest @ ..] = raw;
        let field = match control & 0x20 {
            0 => &[][..],
            _ => rest.get(1..1 + usize::from(rest[0]))?,
        };
        let before = if control & 0x20 == 0 { 0 } else { 1 + field.len() };
        let packet = Self {
            raw,
            pid: u16::from_be_bytes([high & 0x1F, *low]),
            begins: high & 0x40 != 0,
            random_access: field.first().is_some_and(|flags| flags & 0x40 != 0),
            payload: if control & 0x10 == 0 { &[] } else { &rest[before..] },
        };
        (high & 0x80 == 0).then_some(packet)
    }
}

/// Does a packet begin here? Else, what to do to get there.
fn look(bytes: &[u8], hurry: bool) -> Result<(), Step> {
    let packets = |at: usize| bytes[at..].iter().step_by(PACKET).take(PACKETS_IN_ROW);
    let Some(at) = (0..bytes.len()).find(|at| packets(*at).all(|byte| *byte == SYNC)) else {
        return Err(Step::plain(bytes.len()));
    };
    let wanted = if hurry { PACKETS_IN_HURRY } else { PACKETS_IN_ROW };
    match packets(at).len() {
        _ if at > 0 => Err(Step::plain(at)),
        there if there >= wanted => Ok(()),
        _ if hurry => Err(Step::plain(bytes.len())),
        _ => Err(Step::Hold),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stream::psi::tests::section;

    pub(in crate::stream) const PMT_PID: u16 = 0x1000;
    pub(in crate::stream) const VIDEO_PID: u16 = 0x100;
    pub(in crate::stream) const AUDIO_PID: u16 = 0x101;

    /// A packet with this payload, filled up by its adaptation field.
    pub(in crate::stream) fn packet(pid: u16, begins: bool, random_access: bool, payload: &[u8]) -> Vec<u8> {
        let field = PACKET - 4 - payload.len();
        let begins = if begins { 0x40 } else { 0 };
        let mut out = vec![SYNC, begins | (pid >> 8) as u8, pid as u8, if field > 0 { 0x30 } else { 0x10 }];
        if field > 0 {
            out.push(field as u8 - 1);
        }
        if field > 1 {
            out.push(if random_access { 0x40 } else { 0 });
        }
        out.resize(PACKET - payload.len(), 0xFF);
        out.extend(payload);
        out
    }

    /// A table in as many packets as it takes.
    pub(in crate::stream) fn table(pid: u16, section: &[u8]) -> Vec<u8> {
        let payload = [&[0], section].concat();
        let packets = payload.chunks(PACKET - 4).enumerate();
        packets.flat_map(|(number, part)| packet(pid, number == 0, false, part)).collect()
    }

    pub(in crate::stream) fn pat() -> Vec<u8> {
        table(PAT_PID, &section(0, 1, &[0, 1, 0xF0, 0x00]))
    }

    pub(in crate::stream) fn pmt(kinds: &[(u8, u16)]) -> Vec<u8> {
        let entry = |(kind, pid): &(u8, u16)| [*kind, 0xE0 | (*pid >> 8) as u8, *pid as u8, 0xF0, 0];
        let entries = [vec![0xE1, 0, 0xF0, 0], kinds.iter().flat_map(entry).collect()].concat();
        table(PMT_PID, &section(2, 1, &entries))
    }

    fn key() -> Vec<u8> {
        packet(VIDEO_PID, true, true, &[0, 0, 1, 0xE0])
    }

    fn rest() -> Vec<u8> {
        packet(VIDEO_PID, false, false, &[3; 184])
    }

    fn audio(begins: bool) -> Vec<u8> {
        packet(AUDIO_PID, begins, begins, &[0, 0, 1, 0xC0, 1, 1])
    }

    fn run(ts: &mut Ts, headers: &mut Headers, stream: &[u8]) -> Vec<Mark> {
        let (mut at, mut marks) = (0, Vec::new());
        while let Step::Take { bytes, whole, mark } = ts.step(&stream[at..], true, headers) {
            marks.extend(whole.then_some(mark));
            at += bytes;
            if at == stream.len() {
                break;
            }
        }
        marks
    }

    #[test]
    fn a_key_frame_is_an_entry_with_the_tables_before_it() {
        let film = [(0x0F, AUDIO_PID), (0x1B, VIDEO_PID)];
        let stream = [key(), pat(), pmt(&film), audio(true), key(), rest(), pat(), rest()].concat();
        let (mut ts, mut headers) = (Ts::default(), Headers::default());
        let marks = run(&mut ts, &mut headers, &stream);
        use Mark::{Entry, Media, None, Prelude};
        assert_eq!(marks, [None, Prelude, None, None, Entry, Media, Prelude, Media]);
        assert_eq!(headers.newest(), Some((1, &[pat(), pmt(&film)].concat().into())));
        // Another sound; the same tables again are no change.
        let other = [(0x0F, AUDIO_PID), (0x03, 0x102), (0x1B, VIDEO_PID)];
        run(&mut ts, &mut headers, &[pat(), pmt(&film), pmt(&other), pmt(&other)].concat());
        assert_eq!(headers.newest(), Some((2, &[pat(), pmt(&other)].concat().into())));
    }

    #[test]
    fn without_video_audio_is_an_entry() {
        let stream = [pat(), audio(true), pmt(&[(0x0F, AUDIO_PID)]), audio(true), audio(false)].concat();
        let marks = run(&mut Ts::default(), &mut Headers::default(), &stream);
        assert_eq!(marks, [Mark::Prelude, Mark::None, Mark::None, Mark::Entry, Mark::Media]);
    }

    #[test]
    fn a_long_table_takes_several_packets_and_a_damaged_one_is_none() {
        let many: Vec<_> = (0..100).map(|n| (0x0F, 0x200 + n)).collect();
        let long = pmt(&many);
        assert_eq!(long.len(), 3 * PACKET);
        let mut headers = Headers::default();
        let mut damaged = long.clone();
        damaged[2 * PACKET - 1] ^= 1;
        run(&mut Ts::default(), &mut headers, &[pat(), damaged].concat());
        assert_eq!(headers.newest(), None);
        run(&mut Ts::default(), &mut headers, &[pat(), long.clone(), audio(true)].concat());
        assert_eq!(headers.newest(), Some((1, &[pat(), long].concat().into())));
    }

    #[test]
    fn a_programme_that_is_gone_is_followed_no_longer() {
        let film = [(0x1B, VIDEO_PID)];
        let other = table(PAT_PID, &section(0, 1, &[0, 2, 0xF0, 0x00]));
        let (mut ts, mut headers) = (Ts::default(), Headers::default());
        let stream = [pat(), pmt(&film), key(), other, key(), pmt(&film), key()].concat();
        let marks = run(&mut ts, &mut headers, &stream);
        assert_eq!(marks.iter().filter(|mark| **mark == Mark::Entry).count(), 1);
        assert_eq!(
            headers.newest().map(|(count, _)| count),
            Some(1),
            "the old ones stay until there are new ones"
        );
    }

    #[test]
    fn packets_are_found_again_behind_damage() {
        let step = |ts: &mut Ts, bytes: &[u8]| ts.step(bytes, false, &mut Headers::default());
        let mut ts = Ts::default();
        let stream = rest().repeat(5);
        let junk = [&[SYNC, 1, SYNC][..], &stream].concat();
        assert_eq!(step(&mut ts, &junk), Step::plain(3));
        assert_eq!(step(&mut ts, &stream[..4 * PACKET]), Step::Hold);
        let packet = Step::Take { bytes: PACKET, whole: true, mark: Mark::None };
        assert_eq!(step(&mut ts, &stream), packet);
        assert_eq!(step(&mut ts, &stream[..PACKET]), packet);
        assert_eq!(step(&mut ts, &stream[..PACKET - 1]), Step::Hold);
        assert_eq!(step(&mut ts, &stream[1..]), Step::plain(PACKET - 1));
    }
}
