//! Makes the payloads of pieces out of what the source of a broadcast is given.
//!
//! A piece ends where it is full, in a transport stream behind a whole packet, so that a piece that is missing
//! damages nothing but itself; or when its first byte has waited long enough, so that a slow or paused input is
//! delayed by no more than that. Each says where one can join in it. All bytes are passed on as they came, those
//! that make no sense too, but for the ones before a gap that are no whole unit.
//!
//! After each [`push`](Cutter::push), [`gap`](Cutter::gap) and [`end`](Cutter::end), and at
//! [`next_timeout`](Cutter::next_timeout), take cuts from [`poll`](Cutter::poll) until there are none: what is not
//! taken is kept.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

pub use super::scan::{Container, MAX_HEADERS};
use super::scan::{Headers, MOST_HELD, Mark, Scanner, Step};
use crate::time::{Duration, Instant};

/// The payload of one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// At most as many bytes as a piece can hold. Empty only where the broadcast ends with nothing left.
    pub payload: Bytes,
    /// Where in the payload the first random access point is.
    pub rap: Option<u32>,
    /// Input was lost before this.
    pub discontinuity: bool,
    /// This is the last piece.
    pub end: bool,
    /// When its last byte came.
    pub at: Instant,
}

/// Stream headers are too large to be carried to viewers.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("stream headers of {bytes} bytes, at most {MAX_HEADERS} can be carried")]
pub struct HeadersTooLarge {
    /// How large they are.
    pub bytes: usize,
}

/// Cuts a stream into pieces.
#[derive(Debug)]
pub struct Cutter {
    area: usize,
    flush_after: Duration,
    scanner: Scanner,
    headers: Headers,
    /// The piece that is being filled, and behind it what the scanner has not judged yet.
    buffer: BytesMut,
    piece: Piece,
    /// When the first byte that is not judged came, and the last one of all.
    held_since: Instant,
    newest: Instant,
    /// The scanner holds its bytes although it was pressed.
    pressed: bool,
    ended: bool,
    thrown_away: u64,
    ready: VecDeque<Cut>,
}

/// The piece that is being filled.
#[derive(Debug, Default)]
struct Piece {
    bytes: usize,
    /// When its first byte came.
    since: Option<Instant>,
    prelude: Option<usize>,
    entry: Option<usize>,
    /// The entry is the last one there was, and may turn out to be none.
    entry_is_last: bool,
    discontinuity: bool,
}

impl Cutter {
    /// Cuts payloads of at most `area` bytes. One that is not full goes out when its first byte is `flush_after` old.
    pub fn new(area: usize, flush_after: Duration) -> Self {
        Self {
            area: area.max(1),
            flush_after,
            scanner: Scanner::new(),
            headers: Headers::default(),
            buffer: BytesMut::new(),
            piece: Piece::default(),
            held_since: Instant::ZERO,
            newest: Instant::ZERO,
            pressed: false,
            ended: false,
            thrown_away: 0,
            ready: VecDeque::new(),
        }
    }

    /// Input. Nothing more is taken after the end.
    pub fn push(&mut self, now: Instant, mut bytes: Bytes) {
        if self.ended || bytes.is_empty() {
            return;
        }
        self.newest = now;
        self.pressed = false;
        while !bytes.is_empty() {
            // The scanner leaves room: it holds less than it may, and a full piece has been cut.
            let room = (self.area + MOST_HELD).saturating_sub(self.buffer.len()).clamp(1, bytes.len());
            if self.held() == 0 {
                self.held_since = now;
            }
            self.buffer.extend_from_slice(&bytes.split_to(room));
            self.scan(false);
        }
    }

    /// Stream headers that are known from elsewhere. Those that the stream itself has later on replace them.
    pub fn set_headers(&mut self, headers: Bytes) -> Result<(), HeadersTooLarge> {
        let bytes = headers.len();
        if bytes > MAX_HEADERS {
            return Err(HeadersTooLarge { bytes });
        }
        if bytes > 0 {
            self.headers.set(Some(headers));
        }
        Ok(())
    }

    /// Input was lost, or another stream follows. What is there of a packet is thrown away.
    pub fn gap(&mut self) {
        if self.ended {
            return;
        }
        self.scan(true);
        self.thrown_away += self.held() as u64;
        self.buffer.truncate(self.piece.bytes);
        self.cut_if_any();
        self.piece.discontinuity = true;
        self.scanner.gap();
    }

    /// The broadcast is over. What is there goes out, and the last piece says that it is the last.
    pub fn end(&mut self) {
        if self.ended {
            return;
        }
        self.scan(true);
        if self.held() > 0 {
            self.take(self.held(), true, Mark::None);
        }
        self.ended = true;
        if self.piece.bytes > 0 || self.ready.is_empty() {
            self.cut();
        }
        if let Some(last) = self.ready.back_mut() {
            last.end = true;
        }
    }

    /// The next piece, if there is one.
    pub fn poll(&mut self, now: Instant) -> Option<Cut> {
        if self.ready.is_empty() && self.held_due().is_some_and(|due| due <= now) {
            self.pressed = true;
            self.scan(true);
        }
        if self.ready.is_empty() && self.piece_due().is_some_and(|due| due <= now) {
            self.cut();
        }
        self.ready.pop_front()
    }

    /// When to [`poll`](Self::poll) again although there is no input.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.piece_due().into_iter().chain(self.held_due()).min()
    }

    /// The stream headers that a viewer needs before it can join, and how often they have changed.
    pub fn headers(&self) -> Option<(u32, &Bytes)> {
        self.headers.newest()
    }

    /// What the stream is.
    pub const fn container(&self) -> Container {
        self.scanner.container()
    }

    /// Bytes thrown away at gaps.
    pub const fn thrown_away(&self) -> u64 {
        self.thrown_away
    }

    fn piece_due(&self) -> Option<Instant> {
        self.piece.since.map(|since| since + self.flush_after)
    }

    fn held_due(&self) -> Option<Instant> {
        (self.held() > 0 && !self.pressed).then(|| self.held_since + self.flush_after)
    }

    /// Bytes that have not been judged.
    fn held(&self) -> usize {
        self.buffer.len() - self.piece.bytes
    }

    fn scan(&mut self, hurry: bool) {
        while let Step::Take { bytes, whole, mark } =
            self.scanner.step(&self.buffer[self.piece.bytes..], hurry, &mut self.headers)
        {
            self.take(bytes, whole, mark);
        }
    }

    /// So many bytes more go into pieces.
    fn take(&mut self, bytes: usize, whole: bool, mark: Mark) {
        if whole && self.piece.bytes + bytes > self.area {
            self.cut_if_any();
        }
        self.piece.mark(mark);
        let mut left = bytes;
        while left > 0 {
            let more = left.min(self.area - self.piece.bytes);
            self.piece.since.get_or_insert(self.held_since);
            self.piece.bytes += more;
            left -= more;
            // Units are of one size: where there is no room for this one again, there is none for the next.
            let next = if whole { bytes } else { 1 };
            if left > 0 || self.piece.bytes + next > self.area {
                self.cut();
            }
        }
        // What follows it came with the bytes that completed it.
        self.held_since = self.newest;
    }

    fn cut_if_any(&mut self) {
        if self.piece.bytes > 0 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        // Copied, so that what is kept of a piece is not more than the piece.
        let payload = Bytes::copy_from_slice(&self.buffer[..piece.bytes]);
        self.buffer.advance(piece.bytes);
        self.ready.push_back(Cut {
            payload,
            rap: piece.entry.and_then(|at| u32::try_from(at).ok()),
            discontinuity: piece.discontinuity,
            end: false,
            at: self.newest,
        });
    }
}

impl Piece {
    /// What comes next means this.
    fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::None => {}
            Mark::Prelude => self.prelude = Some(self.bytes),
            Mark::Media => self.prelude = None,
            Mark::Entry => {
                self.entry_is_last = self.entry.is_none();
                self.entry.get_or_insert_with(|| self.prelude.unwrap_or(self.bytes));
            }
            Mark::NoEntry => self.entry = self.entry.filter(|_| !self.entry_is_last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::matroska::tests as matroska;
    use crate::stream::ogg::tests as ogg;
    use crate::stream::ts::tests::{AUDIO_PID, VIDEO_PID, packet, pat, pmt};
    use crate::stream::ts::{PACKET, SYNC};
    use proptest::prelude::*;

    const FLUSH_AFTER: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn all(cutter: &mut Cutter, now: Instant) -> Vec<Cut> {
        std::iter::from_fn(|| cutter.poll(now)).collect()
    }

    fn cuts_of(area: usize, parts: &[&[u8]]) -> (Cutter, Vec<Cut>) {
        let mut cutter = Cutter::new(area, FLUSH_AFTER);
        for part in parts {
            cutter.push(ms(0), Bytes::copy_from_slice(part));
        }
        cutter.end();
        let cuts = all(&mut cutter, ms(0));
        (cutter, cuts)
    }

    fn raps(cuts: &[Cut]) -> Vec<Option<u32>> {
        cuts.iter().map(|cut| cut.rap).collect()
    }

    fn sizes(cuts: &[Cut]) -> Vec<usize> {
        cuts.iter().map(|cut| cut.payload.len()).collect()
    }

    /// A second of film in packets: tables, a key frame, sound, and more of the frame.
    fn group(rest: usize) -> Vec<u8> {
        let key = packet(VIDEO_PID, true, true, &[0, 0, 1, 0xE0]);
        let sound = packet(AUDIO_PID, true, true, &[0, 0, 1, 0xC0]);
        let more = packet(VIDEO_PID, false, false, &[SYNC; PACKET - 4]).repeat(rest);
        [pat(), pmt(&[(0x0F, AUDIO_PID), (0x1B, VIDEO_PID)]), sound, key, more].concat()
    }

    #[test]
    fn pieces_of_a_transport_stream_end_behind_packets_and_name_the_tables_before_a_key_frame() {
        let stream = group(6).repeat(3);
        let (cutter, cuts) = cuts_of(7 * PACKET + 100, &[&stream]);
        assert_eq!(sizes(&cuts), [7 * PACKET, 7 * PACKET, 7 * PACKET, 7 * PACKET, 2 * PACKET]);
        let second = (3 * PACKET) as u32;
        // The third group's PAT ends one piece, its key frame is in the next.
        assert_eq!(raps(&cuts), [Some(0), Some(second), None, Some(2 * PACKET as u32), None]);
        assert_eq!(cutter.container(), Container::MpegTs);
        assert_eq!(cutter.headers().unwrap().1, &stream[..2 * PACKET]);
        assert!(cuts.iter().rev().skip(1).all(|cut| !cut.end) && cuts[4].end);
    }

    #[test]
    fn a_piece_that_is_not_full_goes_out_when_its_first_byte_is_old() {
        let mut cutter = Cutter::new(10_000, FLUSH_AFTER);
        assert_eq!((cutter.poll(ms(9_000)), cutter.next_timeout()), (None, None));
        let stream = Bytes::from(group(6));
        cutter.push(ms(100), stream.slice(..9 * PACKET));
        cutter.push(ms(300), stream.slice(9 * PACKET..9 * PACKET + 50));
        assert_eq!(cutter.next_timeout(), Some(ms(1_100)));
        assert_eq!(cutter.poll(ms(1_099)), None);
        let cut = cutter.poll(ms(1_100)).unwrap();
        assert_eq!((cut.payload.len(), cut.rap, cut.at), (9 * PACKET, Some(0), ms(300)));
        // Half a packet is no use to anybody.
        assert_eq!(cutter.next_timeout(), Some(ms(1_300)));
        assert_eq!((cutter.poll(ms(1_300)), cutter.next_timeout()), (None, None));
        cutter.push(ms(5_000), stream.slice(9 * PACKET + 50..));
        assert_eq!(cutter.poll(ms(5_000)).unwrap().payload, stream[9 * PACKET..]);
        assert_eq!((cutter.poll(ms(5_000)), cutter.next_timeout()), (None, None));
    }

    #[test]
    fn behind_a_gap_the_stream_goes_on_at_the_next_packet() {
        let mut cutter = Cutter::new(10_000, FLUSH_AFTER);
        let stream = Bytes::from(group(6));
        cutter.push(ms(1), stream.slice(..PACKET * 5 + 60));
        cutter.gap();
        assert_eq!(cutter.thrown_away(), 60);
        cutter.push(ms(2), stream.slice(PACKET - 70..));
        cutter.end();
        cutter.end();
        cutter.push(ms(3), stream.slice(..));
        let cuts = all(&mut cutter, ms(3));
        assert_eq!(sizes(&cuts), [5 * PACKET, 9 * PACKET + 70]);
        assert_eq!(cuts[1].payload, stream[PACKET - 70..]);
        assert_eq!(
            cuts.iter().map(|c| (c.discontinuity, c.end)).collect::<Vec<_>>(),
            [(false, false), (true, true)]
        );
        assert_eq!(
            cuts[1].rap,
            Some(70 + 2 * PACKET as u32),
            "the PAT before it is gone, the key frame is not"
        );
    }

    #[test]
    fn an_end_with_nothing_left_is_an_empty_piece() {
        let mut cutter = Cutter::new(100, FLUSH_AFTER);
        cutter.push(ms(7), Bytes::from_static(&[1; 200]));
        assert_eq!(sizes(&all(&mut cutter, ms(7))), [100, 100]);
        cutter.end();
        let end = Cut { payload: Bytes::new(), rap: None, discontinuity: false, end: true, at: ms(7) };
        assert_eq!(all(&mut cutter, ms(8)), [end]);
    }

    #[test]
    fn matroska_is_joined_at_clusters() {
        let good = matroska::cluster(&[(1, true), (2, true), (1, false)]);
        let bad = matroska::cluster(&[(2, true), (1, false)]);
        let head = matroska::head();
        let stream = [&head[..], &good, &bad, &good].concat();
        let (cutter, cuts) = cuts_of(head.len() + good.len(), &[&stream]);
        assert_eq!(raps(&cuts), [Some(head.len() as u32), Some(bad.len() as u32), None]);
        assert_eq!(
            (cutter.container(), cutter.headers().unwrap().1.as_ref()),
            (Container::Matroska, &head[..])
        );
        // Where the piece ends before it can be told, a cluster counts.
        let (_, cuts) = cuts_of(head.len() + 20, &[&head, &bad]);
        assert_eq!(cuts[0].rap, Some(head.len() as u32));
    }

    #[test]
    fn ogg_is_joined_at_pages() {
        let head = [ogg::page_of(2, 0, &[1; 30]), ogg::page_of(0, 0, &[3; 300])].concat();
        let page = ogg::page_of(0, 960, &[4; 700]);
        let (cutter, cuts) = cuts_of(head.len() + 100, &[&head, &page, &page]);
        assert_eq!(raps(&cuts)[..2], [Some(head.len() as u32), None]);
        assert_eq!((cutter.container(), cutter.headers().unwrap().1.as_ref()), (Container::Ogg, &head[..]));
    }

    #[test]
    fn headers_may_be_told_and_are_bounded() {
        let mut cutter = Cutter::new(100, FLUSH_AFTER);
        assert_eq!(cutter.headers(), None);
        let large = cutter.set_headers(vec![0; MAX_HEADERS + 1].into());
        assert_eq!(large, Err(HeadersTooLarge { bytes: MAX_HEADERS + 1 }));
        cutter.set_headers(Bytes::from_static(b"head")).unwrap();
        cutter.set_headers(Bytes::new()).unwrap();
        assert_eq!(cutter.headers(), Some((1, &Bytes::from_static(b"head"))));
    }

    /// A stream of some container, or of none, with damage.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let bit = || {
            prop_oneof![
                4 => (0usize..12).prop_map(group),
                1 => proptest::collection::vec(any::<u8>(), 0..400),
                1 => proptest::collection::vec(proptest::sample::select(vec![SYNC, 0x1F, 0x43, b'O', b'g']), 0..400),
            ]
        };
        let cluster = proptest::collection::vec((1u8..4, any::<bool>()), 0..4);
        let page = (0u8..8, 0u64..3, 0usize..900);
        prop_oneof![
            proptest::collection::vec(bit(), 0..8).prop_map(|bits| bits.concat()),
            (proptest::collection::vec(cluster, 0..6), proptest::collection::vec(bit(), 0..2)).prop_map(
                |(clusters, bits)| {
                    let clusters: Vec<_> = clusters.iter().map(|c| matroska::cluster(c)).collect();
                    [matroska::head(), clusters.concat(), bits.concat(), clusters.concat()].concat()
                }
            ),
            (proptest::collection::vec(page, 1..6), proptest::collection::vec(bit(), 0..2)).prop_map(
                |(pages, bits)| {
                    let page = |(flags, granule, bytes): &(u8, u64, usize)| {
                        ogg::page_of(*flags, *granule, &vec![b'O'; *bytes])
                    };
                    let pages: Vec<u8> = pages.iter().flat_map(page).collect();
                    [&pages[..], &bits.concat(), &pages].concat()
                }
            ),
        ]
    }

    fn check(cuts: &[Cut], area: usize) -> Result<Vec<u8>, TestCaseError> {
        let joined: Vec<u8> = cuts.iter().flat_map(|cut| cut.payload.iter().copied()).collect();
        let mut start = 0;
        for cut in cuts {
            prop_assert!(cut.payload.len() <= area && (cut.end || !cut.payload.is_empty()));
            if let Some(rap) = cut.rap {
                prop_assert!((rap as usize) < cut.payload.len());
                let at = &joined[start + rap as usize..];
                let known = [&[SYNC][..], &[0x1F, 0x43, 0xB6, 0x75], b"OggS"];
                prop_assert!(known.iter().any(|known| at.starts_with(known)), "{:?}", &at[..at.len().min(8)]);
            }
            start += cut.payload.len();
        }
        Ok(joined)
    }

    proptest! {
        #[test]
        fn however_the_input_is_parted_the_pieces_are_the_same(
            stream in stream(),
            area in prop_oneof![1usize..400, 1000usize..3000],
            lengths in proptest::collection::vec(1usize..600, 1..20),
        ) {
            let (_, whole) = cuts_of(area, &[&stream]);
            let (mut parts, mut rest) = (Vec::new(), &stream[..]);
            for length in lengths.iter().cycle() {
                let (part, behind) = rest.split_at((*length).min(rest.len()));
                parts.push(part);
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            let (_, parted) = cuts_of(area, &parts);
            prop_assert_eq!(check(&whole, area)?, stream);
            prop_assert_eq!(whole, parted);
        }

        #[test]
        fn every_byte_comes_out_unless_it_is_thrown_away_at_a_gap(
            stream in stream(),
            area in prop_oneof![1usize..400, 1000usize..3000],
            steps in proptest::collection::vec((0usize..900, 0u64..900, 0u8..8), 1..40),
        ) {
            let mut cutter = Cutter::new(area, FLUSH_AFTER);
            let (mut now, mut rest) = (ms(0), &stream[..]);
            let (mut cuts, mut wanted) = (Vec::new(), Vec::new());
            for (length, wait, kind) in steps {
                let (part, behind) = rest.split_at(length.min(rest.len()));
                rest = behind;
                wanted.extend_from_slice(part);
                cutter.push(now, Bytes::copy_from_slice(part));
                now += Duration::from_millis(wait);
                if kind == 0 {
                    let before = cutter.thrown_away();
                    cutter.gap();
                    let lost = (cutter.thrown_away() - before) as usize;
                    prop_assert!(lost < MOST_HELD);
                    wanted.truncate(wanted.len() - lost);
                }
                if kind > 3 {
                    cuts.extend(all(&mut cutter, now));
                    prop_assert!(cutter.next_timeout().is_none_or(|timeout| timeout > now));
                }
                prop_assert!(cutter.held() < MOST_HELD && cutter.piece.bytes < area);
            }
            cutter.end();
            cuts.extend(all(&mut cutter, now));
            prop_assert_eq!(check(&cuts, area)?, wanted);
            prop_assert!(cuts.last().is_some_and(|cut| cut.end));
        }
    }
}
