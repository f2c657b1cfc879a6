//! Where the engine lays verified pieces and readers take them: the only lock between the two worlds.
//!
//! A piece lies here from the moment its hash is known to be right, before it is written, so that a waiting
//! reader goes on at once. Invariant: a piece that is not written yet stays; written ones stay until a reader
//! has passed them, or until [`CACHE`] bytes push them out. What is told to be there is written.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::session::{Trackers, Trouble};
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{BLOCK_LENGTH, Geometry, PieceIndex};
use crate::store::Storage;
use crate::swarm::event::{Moved, PlaybackStats, ReaderId, Stats};

/// Bytes of written pieces kept for readers.
const CACHE: u64 = 16 * 1024 * 1024;

/// A piece in memory.
struct Lying {
    blocks: Vec<Bytes>,
    written: bool,
    /// Pieces are pushed out in the order in which they came.
    number: u64,
}

/// Why readers get nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For users, escaped.
    pub(super) message: String,
    /// In one word.
    pub(super) trouble: Trouble,
}

struct Inner {
    /// Written pieces.
    have: Bitfield,
    lying: BTreeMap<PieceIndex, Lying>,
    by_age: BTreeMap<u64, PieceIndex>,
    bytes: u64,
    number: u64,
    storage: Option<Arc<dyn Storage>>,
    failure: Option<Failure>,
    gone: bool,
    stats: Arc<Stats>,
    trackers: Trackers,
    playback: BTreeMap<ReaderId, PlaybackStats>,
    /// What a broadcast's decoder is given first.
    headers: Option<Bytes>,
    /// Where live viewers were told to go on, and how often so far.
    moves: BTreeMap<ReaderId, Move>,
}

/// An order to a live viewer.
#[derive(Copy, Clone, Debug)]
pub(super) struct Move {
    /// How many there were, this one included.
    pub(super) count: u64,
    /// Number of the piece to go on with.
    pub(super) to: u32,
    /// It enters the broadcast, as opposed to skipping a hole.
    pub(super) enters: bool,
    /// Pieces skipped by all orders so far.
    pub(super) dropped: u64,
}

/// What a reader finds at a place.
pub(super) enum Found {
    /// Slices of memory, in order.
    Memory(Vec<Bytes>),
    /// Verified, but only on disk.
    Disk(Arc<dyn Storage>),
    /// Not there yet.
    Nothing,
}

/// The shelf of one torrent.
pub(super) struct Shelf {
    geometry: Geometry,
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Shelf {
    pub(super) fn new(geometry: Geometry) -> Self {
        let inner = Inner {
            have: Bitfield::empty(&geometry),
            lying: BTreeMap::new(),
            by_age: BTreeMap::new(),
            bytes: 0,
            number: 0,
            storage: None,
            failure: None,
            gone: false,
            stats: Arc::default(),
            trackers: Trackers::default(),
            playback: BTreeMap::new(),
            headers: None,
            moves: BTreeMap::new(),
        };
        Self { geometry, inner: Mutex::new(inner), changed: Condvar::new() }
    }

    pub(super) const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The storage is open; this is there already.
    pub(super) fn opened(&self, storage: Arc<dyn Storage>, have: Bitfield) {
        let mut inner = self.lock();
        inner.storage = Some(storage);
        inner.have = have;
        self.changed.notify_all();
    }

    /// A piece's hash is right.
    pub(super) fn lay(&self, piece: PieceIndex, blocks: Vec<Bytes>) {
        let size = u64::from(self.geometry.piece_size(piece));
        let mut inner = self.lock();
        inner.number += 1;
        let number = inner.number;
        if inner.lying.insert(piece, Lying { blocks, written: false, number }).is_none() {
            inner.bytes += size;
            inner.by_age.insert(number, piece);
        }
        inner.trim(&self.geometry);
        self.changed.notify_all();
    }

    /// A piece is written and may be pushed out.
    pub(super) fn written(&self, piece: PieceIndex) {
        let mut inner = self.lock();
        inner.have.insert(piece);
        if let Some(lying) = inner.lying.get_mut(&piece) {
            lying.written = true;
        }
    }

    /// A piece's bytes are gone.
    pub(super) fn discard(&self, piece: PieceIndex) {
        let mut inner = self.lock();
        inner.have.remove(piece);
        inner.take(piece, &self.geometry);
    }

    /// A reader in order has passed this piece.
    pub(super) fn passed(&self, piece: PieceIndex) {
        let mut inner = self.lock();
        if inner.lying.get(&piece).is_some_and(|l| l.written) {
            inner.take(piece, &self.geometry);
        }
    }

    /// A part of a piece that lies in memory, for uploads.
    pub(super) fn slice(&self, piece: PieceIndex, range: Range<u32>) -> Option<Bytes> {
        let inner = self.lock();
        let lying = inner.lying.get(&piece)?;
        let mut parts = parts_of(&lying.blocks, range);
        match (parts.pop(), parts.is_empty()) {
            (Some(only), true) => Some(only),
            _ => None,
        }
    }

    /// Waits until something changes or `until` says that it is enough; then looks again.
    pub(super) fn wait<T>(&self, mut look: impl FnMut(&Look<'_>) -> Option<T>) -> T {
        let mut inner = self.lock();
        loop {
            if let Some(found) = look(&Look(&inner)) {
                return found;
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Has waiting readers look again.
    pub(super) fn nudge(&self) {
        // The lock makes sure that nobody is between its look and its wait.
        drop(self.lock());
        self.changed.notify_all();
    }

    pub(super) fn fail(&self, failure: Failure) {
        self.lock().failure = Some(failure);
        self.changed.notify_all();
    }

    /// How the trackers answer now.
    pub(super) fn set_trackers(&self, trackers: Trackers) {
        self.lock().trackers = trackers;
    }

    pub(super) fn trackers(&self) -> Trackers {
        self.lock().trackers.clone()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.lock().failure.is_some()
    }

    /// Why, for users.
    pub(super) fn failure(&self) -> Option<String> {
        self.lock().failure.as_ref().map(|failure| failure.message.clone())
    }

    /// What a broadcast's decoder is given first.
    pub(super) fn set_headers(&self, headers: Bytes) {
        self.lock().headers = Some(headers);
    }

    pub(super) fn headers(&self) -> Option<Bytes> {
        self.lock().headers.clone()
    }

    /// A live viewer is to go on with this piece.
    pub(super) fn move_reader(&self, reader: ReaderId, to: u32, why: Moved) {
        let mut inner = self.lock();
        let old = inner.moves.get(&reader).copied();
        let (enters, dropped) = match why {
            Moved::HookedIn => (true, 0),
            Moved::Dropped { pieces } => (false, pieces),
        };
        let count = old.map_or(0, |old| old.count) + 1;
        let dropped = old.map_or(0, |old| old.dropped) + dropped;
        inner.moves.insert(reader, Move { count, to, enters, dropped });
        self.changed.notify_all();
    }

    /// A live viewer has left.
    pub(super) fn forget_reader(&self, reader: ReaderId) {
        self.lock().moves.remove(&reader);
    }

    /// Waits until the storage is open. `None`: it never will be.
    pub(super) fn storage_at_last(&self) -> Option<Arc<dyn Storage>> {
        self.wait(|Look(inner)| match &inner.storage {
            None if inner.failure.is_none() && !inner.gone => None,
            storage => Some(storage.clone()),
        })
    }

    /// The engine ends.
    pub(super) fn close(&self) {
        self.lock().gone = true;
        self.changed.notify_all();
    }

    pub(super) fn ranges(&self, within: &Range<u64>) -> Vec<Range<u64>> {
        let inner = self.lock();
        let mut out: Vec<Range<u64>> = Vec::new();
        for piece in self.geometry.pieces_in(within).filter(|p| inner.have.has(*p)) {
            let range = self.geometry.piece_range(piece);
            let range = range.start.max(within.start)..range.end.min(within.end);
            match out.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => out.push(range),
            }
        }
        out
    }

    pub(super) fn set_stats(&self, stats: Stats, playback: BTreeMap<ReaderId, PlaybackStats>) {
        let mut inner = self.lock();
        inner.stats = Arc::new(stats);
        inner.playback = playback;
    }

    pub(super) fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.lock().stats)
    }

    pub(super) fn playback(&self, reader: ReaderId) -> PlaybackStats {
        self.lock().playback.get(&reader).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that can panic runs under the lock; a poisoned one is as good as any.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shelf while a reader looks at it.
pub(super) struct Look<'a>(&'a Inner);

impl Look<'_> {
    pub(super) fn find(&self, piece: PieceIndex, range: Range<u32>) -> Result<Found, Failure> {
        self.0.find(piece, range)
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.0.gone
    }

    /// Why nothing comes any more, if the disk failed.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.0.failure.clone()
    }

    /// The last order to a live viewer.
    pub(super) fn order(&self, reader: ReaderId) -> Option<Move> {
        self.0.moves.get(&reader).copied()
    }
}

impl Inner {
    fn find(&self, piece: PieceIndex, range: Range<u32>) -> Result<Found, Failure> {
        if let Some(lying) = self.lying.get(&piece) {
            return Ok(Found::Memory(parts_of(&lying.blocks, range)));
        }
        match (&self.storage, &self.failure) {
            (Some(storage), _) if self.have.has(piece) => Ok(Found::Disk(Arc::clone(storage))),
            (_, Some(failure)) => Err(failure.clone()),
            _ => Ok(Found::Nothing),
        }
    }

    fn take(&mut self, piece: PieceIndex, geometry: &Geometry) {
        if let Some(lying) = self.lying.remove(&piece) {
            self.by_age.remove(&lying.number);
            self.bytes -= u64::from(geometry.piece_size(piece));
        }
    }

    fn trim(&mut self, geometry: &Geometry) {
        while self.bytes > CACHE {
            let written = |p: &&PieceIndex| self.lying.get(p).is_some_and(|l| l.written);
            let Some(oldest) = self.by_age.values().find(written).copied() else { return };
            self.take(oldest, geometry);
        }
    }
}

/// The slices of a piece's blocks that make up a range of it.
fn parts_of(blocks: &[Bytes], range: Range<u32>) -> Vec<Bytes> {
    let (start, end) = (range.start as usize, range.end as usize);
    let first = start / BLOCK_LENGTH as usize;
    let mut at = first * BLOCK_LENGTH as usize;
    let mut parts = Vec::new();
    for block in blocks.iter().skip(first) {
        if at >= end {
            break;
        }
        let (from, to) = (start.saturating_sub(at), (end - at).min(block.len()));
        if from < to {
            parts.push(block.slice(from..to));
        }
        at += block.len();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn shelf() -> (Shelf, Vec<u8>) {
        let length = u64::from(BLOCK_LENGTH) * 2;
        let geometry = Geometry::new(length, length * 600).unwrap();
        let bytes = (0..length).map(|i| (i % 251) as u8).collect();
        (Shelf::new(geometry), bytes)
    }

    /// What a reader would see at once.
    fn look(shelf: &Shelf, piece: PieceIndex, range: Range<u32>) -> Result<Found, Failure> {
        shelf.wait(|look| Some(look.find(piece, range.clone())))
    }

    fn blocks(bytes: &[u8]) -> Vec<Bytes> {
        bytes.chunks(BLOCK_LENGTH as usize).map(Bytes::copy_from_slice).collect()
    }

    #[test]
    fn any_part_of_a_piece_is_given_without_copying() {
        let (shelf, bytes) = shelf();
        let piece = shelf.geometry().piece(3).unwrap();
        assert!(matches!(look(&shelf, piece, 0..5), Ok(Found::Nothing)));
        shelf.lay(piece, blocks(&bytes));
        for (start, end) in [(0, 32768), (5, 7), (16383, 16385), (20000, 32768)] {
            let Ok(Found::Memory(parts)) = look(&shelf, piece, start..end) else { panic!("it lies there") };
            assert_eq!(parts.concat(), bytes[start as usize..end as usize]);
        }
        assert_eq!(shelf.ranges(&(0..400_000)), [], "it may never reach the disk");
        shelf.written(piece);
        assert_eq!(shelf.ranges(&(0..400_000)), [shelf.geometry().piece_range(piece)]);
    }

    #[test]
    fn what_is_not_written_stays_and_the_rest_is_bounded() {
        let (shelf, bytes) = shelf();
        let all: Vec<_> = shelf.geometry().all().collect();
        for piece in &all {
            shelf.lay(*piece, blocks(&bytes));
        }
        assert!(all.iter().all(|p| matches!(look(&shelf, *p, 0..1), Ok(Found::Memory(_)))));
        all.iter().skip(1).for_each(|p| shelf.written(*p));
        shelf.lay(all[5], blocks(&bytes));
        assert!(shelf.lock().bytes <= CACHE);
        assert!(matches!(look(&shelf, all[0], 0..1), Ok(Found::Memory(_))), "not written");
        assert!(matches!(look(&shelf, all[1], 0..1), Ok(Found::Nothing)), "pushed out, and no storage here");
    }

    #[test]
    fn the_storage_is_waited_for_unless_it_never_comes() {
        let waited = |change: fn(&Shelf)| {
            let (shelf, _) = shelf();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| shelf.storage_at_last().is_some());
                change(&shelf);
                waiting.join().unwrap()
            })
        };
        let memory = |shelf: &Shelf| {
            let geometry = *shelf.geometry();
            shelf.opened(Arc::new(MemoryStore::new(geometry, u64::MAX)), Bitfield::empty(&geometry));
        };
        assert!(waited(memory));
        assert!(!waited(Shelf::close));
        assert!(!waited(|shelf| shelf.fail(Failure { message: String::new(), trouble: Trouble::Other })));
    }

    #[test]
    fn a_failure_reaches_those_who_look_for_what_is_not_there() {
        let (shelf, bytes) = shelf();
        let piece = shelf.geometry().piece(0).unwrap();
        shelf.lay(piece, blocks(&bytes));
        let failure = Failure { message: "disk full".to_owned(), trouble: Trouble::Full };
        shelf.fail(failure.clone());
        assert!(matches!(look(&shelf, piece, 0..1), Ok(Found::Memory(_))));
        let other = shelf.geometry().piece(1).unwrap();
        assert_eq!(look(&shelf, other, 0..1).err(), Some(failure));
    }
}
