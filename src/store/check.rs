//! Finds out which pieces are on disk by hashing them, on as many threads as the driver likes.
//!
//! Invariant: each piece is looked at once and reported once, in the order given (as far as one worker sees
//! it), so pieces near the playhead can come first. Holes cost one system call each, not their length.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use sha1::{Digest, Sha1};

use super::disk::DiskStore;
use crate::metainfo::geometry::PieceIndex;
use crate::metainfo::torrent::Metainfo;

/// Bytes read at once.
const READ_LENGTH: u32 = 1 << 20;

/// The pieces to look at, shared by all workers.
#[derive(Debug)]
pub struct Checker {
    store: Arc<DiskStore>,
    metainfo: Arc<Metainfo>,
    pieces: Vec<PieceIndex>,
    next: AtomicUsize,
    /// SHA-1 of a whole piece of zeros, which is what a hole reads as.
    zeros: OnceLock<[u8; 20]>,
}

impl Checker {
    /// Looks at these pieces, which should be the doubtful ones.
    pub fn new(
        store: Arc<DiskStore>,
        metainfo: Arc<Metainfo>,
        pieces: impl IntoIterator<Item = PieceIndex>,
    ) -> Self {
        let pieces = pieces.into_iter().collect();
        Self { store, metainfo, pieces, next: AtomicUsize::new(0), zeros: OnceLock::new() }
    }

    /// Pieces in all.
    pub const fn total(&self) -> usize {
        self.pieces.len()
    }

    /// Pieces given to workers so far.
    pub fn started(&self) -> usize {
        self.next.load(Ordering::Relaxed).min(self.pieces.len())
    }

    /// One thread's share: takes the next piece that no other worker took, says whether it is there. Dropping
    /// it stops after the piece at hand; what nobody looked at stays doubtful for the next start.
    pub fn worker(&self) -> Worker<'_> {
        let length = READ_LENGTH.min(self.metainfo.geometry.piece_length());
        Worker { checker: self, buffer: vec![0; length as usize], hole: 0..0 }
    }

    fn zeros(&self) -> &[u8; 20] {
        self.zeros.get_or_init(|| {
            let length = self.metainfo.geometry.piece_length();
            let chunk = vec![0; READ_LENGTH.min(length) as usize];
            let mut hash = Sha1::new();
            for start in (0..length).step_by(chunk.len()) {
                hash.update(&chunk[..chunk.len().min((length - start) as usize)]);
            }
            hash.finalize().into()
        })
    }
}

/// One thread's share of a check: `(piece, whether it is there)`.
#[derive(Debug)]
pub struct Worker<'a> {
    checker: &'a Checker,
    buffer: Vec<u8>,
    /// Bytes of the torrent known to be a hole.
    hole: Range<u64>,
}

impl Iterator for Worker<'_> {
    type Item = (PieceIndex, bool);

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.checker.next.fetch_add(1, Ordering::Relaxed);
        let piece = *self.checker.pieces.get(number)?;
        let there = self.is_there(piece);
        self.checker.store.mark_checked(piece);
        Some((piece, there))
    }
}

impl Worker<'_> {
    /// What cannot be read is not there: fetching it again will tell the user what is wrong with the disk.
    fn is_there(&mut self, piece: PieceIndex) -> bool {
        let metainfo = &self.checker.metainfo;
        let (range, expected) = (metainfo.geometry.piece_range(piece), metainfo.piece_hash(piece));
        let whole = range.end - range.start == u64::from(metainfo.geometry.piece_length());
        if whole && self.is_hole(&range) && expected != *self.checker.zeros() {
            return false;
        }
        self.hash(range).is_some_and(|hash| hash == expected)
    }

    fn is_hole(&mut self, range: &Range<u64>) -> bool {
        if !self.hole.contains(&range.start) {
            self.hole = range.start..self.checker.store.files().data_from(range.start);
        }
        range.end <= self.hole.end
    }

    fn hash(&mut self, range: Range<u64>) -> Option<[u8; 20]> {
        let mut hash = Sha1::new();
        let mut start = range.start;
        while start < range.end {
            let length = usize::try_from(range.end - start).unwrap_or(usize::MAX).min(self.buffer.len());
            let buffer = &mut self.buffer[..length];
            self.checker.store.files().read_at(start, buffer).ok()?;
            hash.update(&*buffer);
            start += length as u64;
        }
        Some(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Storage;
    use super::super::testing::{World, layout, metainfo};
    use super::*;
    use proptest::prelude::*;
    use std::fs::File;
    use std::path::Path;

    fn results(world: &World, threads: usize) -> Vec<(u32, bool)> {
        let opened = world.open();
        let metainfo = Arc::new(world.metainfo.clone());
        let checker = Checker::new(opened.store, metainfo, world.metainfo.geometry.all());
        let share = || checker.worker().map(|(piece, there)| (piece.number(), there)).collect::<Vec<_>>();
        let mut all: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!((checker.started(), checker.total()), (all.len(), all.len()));
        all.sort_unstable();
        all
    }

    /// A sparse file of this length at the place of the torrent's first.
    fn sparse(folder: &Path, length: u64) {
        std::fs::create_dir_all(folder.join("t")).unwrap();
        File::create(folder.join("t/f0")).unwrap().set_len(length).unwrap();
    }

    proptest! {
        #[test]
        fn exactly_the_right_pieces_are_found_whatever_the_threads(
            piece_length in 1u64..9_000, files in prop::collection::vec((0u64..9_000, prop::bool::weighted(0.2)), 1..8),
            some in any::<u64>(), threads in 1usize..4,
        ) {
            let total: u64 = files.iter().map(|f| f.0).sum();
            prop_assume!(total > 0 && total.div_ceil(piece_length) <= 64);
            let temp = tempfile::tempdir().unwrap();
            let world = World::new(temp.path(), piece_length, &files);
            let written = |piece: u32| some >> (piece % 64) & 1 == 1;
            let opened = world.open();
            let pieces = world.metainfo.geometry.pieces();
            world.write(&opened, (0..pieces).filter(|p| written(*p)));
            drop(opened);
            for (piece, there) in results(&world, threads) {
                let range = world.metainfo.geometry.piece_range(world.piece(piece));
                let zeros = world.bytes[range.start as usize..range.end as usize].iter().all(|b| *b == 0);
                // Zeros are right in a pad file and nowhere else.
                prop_assert_eq!(there, written(piece) || zeros, "{}", piece);
            }
        }
    }

    #[test]
    fn a_huge_empty_file_holds_nothing_and_is_not_read() {
        let temp = tempfile::tempdir().unwrap();
        let length = 1 << 40;
        sparse(temp.path(), length);
        let layout = layout(&[(length, false)]);
        let mut world = World::new(temp.path(), 4 << 20, &[(10, false)]);
        // Reading the tebibyte would take an hour.
        world.metainfo = Metainfo {
            geometry: crate::metainfo::geometry::Geometry::new(4 << 20, length).unwrap(),
            hashes: vec![1; 20 << 18].into(),
            layout,
            ..world.metainfo
        };
        assert_eq!(results(&world, 2), (0..1 << 18).map(|n| (n, false)).collect::<Vec<_>>());
    }

    #[test]
    fn a_hole_is_right_where_zeros_are() {
        let temp = tempfile::tempdir().unwrap();
        sparse(temp.path(), 40_000);
        let layout = layout(&[(50_000, false)]);
        let place = World::new(temp.path(), 1, &[(1, false)]).place;
        let bytes = vec![0; 50_000];
        let world = World { metainfo: metainfo(b'w', 20_000, layout, &bytes), bytes, place };
        assert_eq!(results(&world, 1), [(0, true), (1, true), (2, false)], "the file ends before the last");
    }

    #[test]
    fn one_wrong_bit_is_found() {
        let temp = tempfile::tempdir().unwrap();
        let world = World::new(temp.path(), 3 << 20, &[(7 << 20, false)]);
        let opened = world.open();
        world.write(&opened, 0..3);
        let mut wrong = world.blocks(1);
        let mut block = wrong[2].to_vec();
        *block.last_mut().unwrap() ^= 0x80;
        wrong[2] = block.into();
        opened.store.write(world.piece(1), &wrong).unwrap();
        drop(opened);
        assert_eq!(results(&world, 2), [(0, true), (1, false), (2, true)]);
    }
}
