//! The broadcast that a live world watches: what the source has made, and who looked at which stamp.
//!
//! Pieces are real: signed by a key, with the digest of what is in them. As the whole world shares one book, five
//! hundred viewers cost one signature and one check of it a piece; whatever is not byte for byte what the source
//! made is checked by the real rules, and has to fail them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use crate::metainfo::geometry::{Geometry, PieceIndex};
use crate::metainfo::keys::{SigningKey, VerifyingKey};
use crate::rate::ByteRate;
use crate::stream::live_headers::{Headers, VerifiedHeaders};
use crate::stream::live_piece::{
    CaptureTime, Draft, Flags, STAMP_LENGTH, Stamp, VerifiedStamp, check_piece, payload_area, seal,
};
use crate::stream::window::Ring;
use crate::swarm::live::LiveConfig;
use crate::time::{Duration, Instant};

use super::disk::payload;
use super::world::INFO_HASH;

/// The world began at this time by the source's clock, µs since the Unix epoch.
const EPOCH: u64 = 1_234_567_890_000_000;
/// The source's key is made of this.
const SECRET: [u8; 32] = [0x21; 32];

/// What is broadcast.
#[derive(Copy, Clone, Debug)]
pub struct Show {
    /// Bytes/s of media.
    pub bitrate: u64,
    /// Bytes in a piece.
    pub piece_length: u32,
    /// Media that the ring holds.
    pub ring: Duration,
    /// Media that is kept; a quarter of the ring when it does not say.
    pub window: Option<Duration>,
}

impl Show {
    /// How it is cut.
    ///
    /// # Panics
    /// When the ring cannot be one.
    pub fn geometry(&self) -> Geometry {
        let length = u64::from(self.piece_length);
        let total = u64::from(self.pieces_in(self.ring)) * length;
        Geometry::new(length, total).expect("a ring that can be cut").live()
    }

    /// Slots and window.
    ///
    /// # Panics
    /// When there is no such ring.
    pub fn live_ring(&self) -> Ring {
        let window = self.window.map(|window| self.pieces_in(window));
        Ring::new(self.geometry().slots(), window).expect("a ring with a window")
    }

    /// How an engine runs it.
    pub fn live_config(&self, source: bool) -> LiveConfig {
        LiveConfig { ring: self.live_ring(), nominal: Some(self.bitrate), source }
    }

    /// Media time of a piece.
    pub fn piece_time(&self) -> Duration {
        ByteRate(self.bitrate).time_for(self.area().into()).unwrap_or_default()
    }

    /// Bytes/s of pieces, stamps included.
    pub fn piece_rate(&self) -> u64 {
        ByteRate::of(self.piece_length.into(), self.piece_time()).get()
    }

    fn area(&self) -> u32 {
        payload_area(self.piece_length).expect("room for a stamp")
    }

    fn pieces_in(&self, time: Duration) -> u32 {
        u32::try_from(time.as_micros() / self.piece_time().as_micros().max(1)).unwrap_or(u32::MAX)
    }
}

/// What the source has made.
#[derive(Debug)]
struct Book {
    show: Show,
    geometry: Geometry,
    key: SigningKey,
    verifying: VerifyingKey,
    pieces: BTreeMap<u32, (Bytes, VerifiedStamp)>,
    next: u32,
    /// Stamps that somebody looked at.
    checked: BTreeMap<[u8; STAMP_LENGTH], Option<VerifiedStamp>>,
    /// Signatures looked at.
    checks: u64,
}

/// One broadcast, known to the whole world.
#[derive(Clone, Debug)]
pub struct Broadcast(Rc<RefCell<Book>>);

impl Broadcast {
    /// Nothing is made yet.
    ///
    /// # Panics
    /// When the show cannot be cut.
    pub fn new(show: Show) -> Self {
        let key = SigningKey::from_random(&SECRET).expect("a key");
        Self(Rc::new(RefCell::new(Book {
            show,
            geometry: show.geometry(),
            verifying: key.verifying_key(),
            key,
            pieces: BTreeMap::new(),
            next: 0,
            checked: BTreeMap::new(),
            checks: 0,
        })))
    }

    /// What is broadcast.
    pub fn show(&self) -> Show {
        self.0.borrow().show
    }

    /// The source makes its next piece.
    ///
    /// # Panics
    /// When numbers run out.
    pub fn make(&self, now: Instant, flags: Flags) -> (PieceIndex, VerifiedStamp) {
        let mut book = self.0.borrow_mut();
        let (seq, length) = (book.next, book.show.piece_length);
        let payload = payload(seq, book.show.area());
        let draft = Draft { flags, rap: Some(0), seq, time: capture_time(now) };
        let (piece, stamp) = seal(draft, &payload, length, INFO_HASH, &book.key).expect("it fits");
        book.checked.insert(stamp.encode(), Some(stamp.clone()));
        book.pieces.insert(seq, (piece, stamp.clone()));
        book.next += 1;
        (book.geometry.piece(seq).expect("numbers last for a year"), stamp)
    }

    /// A restarted source leaves these numbers out.
    pub fn skip(&self, numbers: u32) {
        self.0.borrow_mut().next += numbers;
    }

    /// The stream's headers with this number, signed.
    ///
    /// # Panics
    /// Never: they are short.
    pub fn headers(&self, number: u32) -> VerifiedHeaders {
        let text = Bytes::from(format!("headers {number}"));
        VerifiedHeaders::seal(number, text, INFO_HASH, &self.0.borrow().key).expect("short headers")
    }

    /// Number of the newest piece made.
    pub fn newest(&self) -> Option<u32> {
        self.0.borrow().pieces.last_key_value().map(|(seq, _)| *seq)
    }

    /// The piece that a slot means now.
    pub fn near(&self, slot: u32) -> Option<PieceIndex> {
        let newest = self.newest()?;
        let book = self.0.borrow();
        book.geometry.piece(book.show.live_ring().near(slot, newest)?)
    }

    /// A part of a piece as the source made it; `None` while it is not made.
    pub fn content(&self, piece: PieceIndex, begin: u32, length: u32) -> Option<Bytes> {
        let book = self.0.borrow();
        let (bytes, _) = book.pieces.get(&piece.number())?;
        let (begin, end) = (begin as usize, begin.checked_add(length)? as usize);
        (end <= bytes.len()).then(|| bytes.slice(begin..end))
    }

    /// What the source signed of a piece.
    pub fn stamp(&self, number: u32) -> Option<VerifiedStamp> {
        self.0.borrow().pieces.get(&number).map(|(_, stamp)| stamp.clone())
    }

    /// When a piece was captured, in the world's time.
    pub fn captured(&self, number: u32) -> Option<Instant> {
        let stamp = self.stamp(number)?;
        Some(Instant::ZERO + stamp.time.since(CaptureTime(EPOCH)))
    }

    /// Looks at a piece as a worker does: `None` when it is not the one with this number.
    ///
    /// # Panics
    /// When something that the source has not made passes for a piece of it.
    pub fn check(&self, piece: PieceIndex, blocks: &[Bytes]) -> Option<VerifiedStamp> {
        if let Some(stamp) = self.stamp(piece.number()).filter(|_| self.is_original(piece, blocks)) {
            return Some(stamp);
        }
        let book = self.0.borrow();
        let checked = check_piece(blocks, book.show.piece_length, INFO_HASH, &book.verifying).ok()?;
        assert_ne!(checked.seq, piece.number(), "the source has not made this");
        None
    }

    /// Looks at a stamp as a worker does.
    pub fn check_stamp(&self, stamp: Stamp) -> Option<VerifiedStamp> {
        let mut book = self.0.borrow_mut();
        let bytes = stamp.encode();
        if let Some(known) = book.checked.get(&bytes) {
            return known.clone();
        }
        book.checks += 1;
        let checked = stamp.verify(INFO_HASH, &book.verifying).ok();
        book.checked.insert(bytes, checked.clone());
        checked
    }

    /// Looks at stream headers as a worker does.
    pub fn check_headers(&self, headers: Headers) -> Option<VerifiedHeaders> {
        headers.verify(INFO_HASH, &self.0.borrow().verifying).ok()
    }

    /// Signatures that had to be looked at: of what the source has not made.
    pub fn checks(&self) -> u64 {
        self.0.borrow().checks
    }

    fn is_original(&self, piece: PieceIndex, blocks: &[Bytes]) -> bool {
        let length: usize = blocks.iter().map(Bytes::len).sum();
        let mut begin = 0;
        length == self.0.borrow().show.piece_length as usize
            && blocks.iter().all(|block| {
                let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
                let right = self.content(piece, begin, length);
                begin += length;
                right.is_some_and(|right| same(&right, block))
            })
    }
}

/// When something is captured at this moment of the world.
pub const fn capture_time(now: Instant) -> CaptureTime {
    CaptureTime(EPOCH + now.micros())
}

/// Whether two runs of bytes are equal; mostly they are one and the same.
pub(super) fn same(a: &Bytes, b: &Bytes) -> bool {
    a.len() == b.len() && (a.as_ptr() == b.as_ptr() || a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broadcast() -> Broadcast {
        let ring = Duration::from_secs(60);
        Broadcast::new(Show { bitrate: 65_536, piece_length: 32_768, ring, window: None })
    }

    fn blocks(broadcast: &Broadcast, piece: PieceIndex) -> Vec<Bytes> {
        [0, 16_384].map(|begin| broadcast.content(piece, begin, 16_384).unwrap()).to_vec()
    }

    #[test]
    fn what_the_source_made_is_good_under_its_own_number_only() {
        let broadcast = broadcast();
        let [first, second] = [0, 1].map(|n| broadcast.make(Instant::from_secs(n), Flags::default()).0);
        let good = blocks(&broadcast, first);
        assert_eq!(broadcast.check(first, &good).map(|s| s.seq), Some(0));
        assert_eq!(broadcast.check(second, &good), None);
        let mut bad = good.clone();
        bad[0] = Bytes::from(vec![0; 16_384]);
        assert_eq!(broadcast.check(first, &bad), None);
        assert_eq!(broadcast.captured(1), Some(Instant::from_secs(1)));
    }

    #[test]
    fn a_stamp_is_checked_once() {
        let broadcast = broadcast();
        let (_, stamp) = broadcast.make(Instant::ZERO, Flags::default());
        assert!(broadcast.check_stamp((*stamp).clone()).is_some());
        assert_eq!(broadcast.checks(), 0, "the source has looked at it");
        let forged = Stamp { seq: 7, ..(*stamp).clone() };
        for _ in 0..3 {
            assert!(broadcast.check_stamp(forged.clone()).is_none());
        }
        assert_eq!(broadcast.checks(), 1);
    }

    #[test]
    fn a_ring_is_cut_by_time() {
        let broadcast = broadcast();
        assert_eq!((broadcast.show().geometry().slots(), broadcast.show().live_ring().window()), (120, 30));
        (0..130).for_each(|n| _ = broadcast.make(Instant::from_secs(n), Flags::default()));
        assert_eq!(broadcast.near(5).map(PieceIndex::number), Some(125));
        broadcast.skip(10);
        assert_eq!(broadcast.make(Instant::from_secs(200), Flags::default()).0.number(), 140);
    }
}
