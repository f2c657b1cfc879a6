//! A host's disk: what every piece must contain, how long work takes, and what is written.
//!
//! Contents of a film are computed from the piece number, so no data is stored: every right block is a view into one
//! pattern; those of a broadcast are in its book. Jobs run on a few workers, first come first served, as the threads of `net` do.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use crate::metainfo::geometry::{Block, Geometry, MAX_REQUEST_LENGTH, PieceIndex};
use crate::rate::ByteRate;
use crate::swarm::{Input, Job, PeerKey, Verdict};
use crate::time::{Duration, Instant};

use super::broadcast::{Broadcast, same};
use super::held::Held;

/// Threads that hash and write.
const WORKERS: usize = 2;
/// The pattern repeats after so many bytes.
const PERIOD: usize = 1 << 18;
/// Pieces start at multiples of this in the pattern; odd, so that the first [`PERIOD`] pieces all differ.
const STRIDE: usize = 40_503;

static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let mut rng = Pcg64::seed_from_u64(20_081_110);
    let period: Vec<u8> = (0..PERIOD).map(|_| rng.random()).collect();
    Bytes::from_iter(period.iter().cycle().take(PERIOD + MAX_REQUEST_LENGTH as usize).copied())
});

/// So many bytes in parts, different ones for each number.
pub(super) fn payload(number: u32, length: u32) -> Vec<Bytes> {
    let begins = (0..length).step_by(MAX_REQUEST_LENGTH as usize);
    begins.map(|begin| run(number as usize, begin, MAX_REQUEST_LENGTH.min(length - begin))).collect()
}

/// The right bytes of a run inside a piece of a film, at most [`MAX_REQUEST_LENGTH`] of them.
pub fn content(piece: PieceIndex, begin: u32, length: u32) -> Bytes {
    run(piece.index(), begin, length)
}

fn run(number: usize, begin: u32, length: u32) -> Bytes {
    let start = (number * STRIDE + begin as usize) % PERIOD;
    PATTERN.slice(start..start + length as usize)
}

/// What pieces have to contain.
#[derive(Clone, Debug)]
pub enum Matter {
    /// A film.
    Film,
    /// What the source of a broadcast makes.
    Live(Broadcast),
}

impl Matter {
    /// The right bytes of a run inside a piece; `None` when there are none (yet).
    pub fn content(&self, piece: PieceIndex, begin: u32, length: u32) -> Option<Bytes> {
        match self {
            Self::Film => Some(content(piece, begin, length)),
            Self::Live(broadcast) => broadcast.content(piece, begin, length),
        }
    }

    /// The piece that an index on the wire means.
    pub fn piece(&self, geometry: &Geometry, index: u32) -> Option<PieceIndex> {
        match self {
            Self::Film => geometry.piece(index),
            Self::Live(broadcast) => broadcast.near(index),
        }
    }
}

/// How a disk behaves.
#[derive(Copy, Clone, Debug)]
pub struct DiskPlan {
    /// Bytes/s that one worker hashes and writes.
    pub speed: ByteRate,
    /// What a read or write takes at least.
    pub access: Duration,
    /// What it takes to check a signature.
    pub signature: Duration,
    /// Bytes that fit; more are refused.
    pub capacity: Option<u64>,
    /// Reads fail.
    pub unreadable: bool,
}

impl Default for DiskPlan {
    /// A worker of this machine: 1.8 GB/s of SHA-1, positioned writes of some µs.
    fn default() -> Self {
        Self {
            speed: ByteRate(1_000_000_000),
            access: Duration::from_micros(20),
            signature: Duration::from_micros(300),
            capacity: None,
            unreadable: false,
        }
    }
}

/// A disk with its workers.
#[derive(Debug)]
pub struct Disk {
    geometry: Geometry,
    plan: DiskPlan,
    written: Held,
    /// The same in order.
    numbers: BTreeSet<u32>,
    matter: Matter,
    used: u64,
    free_at: [Instant; WORKERS],
}

impl Disk {
    /// A disk with these pieces on it.
    pub fn new(geometry: Geometry, plan: DiskPlan, written: Held, matter: Matter) -> Self {
        let there: Vec<_> = geometry.run(0..geometry.slots()).filter(|p| written.has(*p)).collect();
        let used = there.iter().map(|p| u64::from(geometry.piece_size(*p))).sum();
        let numbers = there.into_iter().map(PieceIndex::number).collect();
        Self { geometry, plan, written, numbers, matter, used, free_at: [Instant::ZERO; WORKERS] }
    }

    /// What is on it.
    pub const fn written(&self) -> &Held {
        &self.written
    }

    /// The lowest number on it.
    pub fn oldest(&self) -> Option<u32> {
        self.numbers.first().copied()
    }

    /// What pieces have to contain.
    pub const fn matter(&self) -> &Matter {
        &self.matter
    }

    /// Does a job: when the answer is there, and the answer, if there is one.
    pub fn start(&mut self, now: Instant, job: Job) -> Option<(Instant, Input)> {
        Some(match job {
            Job::Verify { piece, blocks } => self.verify(now, piece, &blocks),
            Job::Read { peer, block } => self.read(now, peer, block),
            Job::Discard { piece } => {
                self.discard(piece);
                return None;
            }
            Job::CheckStamp { peer, stamp, oldest } => {
                let stamp = self.broadcast().and_then(|b| b.check_stamp(*stamp)).map(Box::new);
                (self.check(now), Input::StampChecked { peer, stamp, oldest })
            }
            Job::CheckHeaders { peer, headers } => {
                let headers = self.broadcast().and_then(|b| b.check_headers(*headers)).map(Box::new);
                (self.check(now), Input::HeadersChecked { peer, headers })
            }
        })
    }

    /// Writes a piece that was made here.
    pub fn write(&mut self, piece: PieceIndex) {
        if self.written.insert(piece) {
            self.numbers.insert(piece.number());
            self.used += u64::from(self.geometry.piece_size(piece));
        }
    }

    /// Bytes on it.
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Looks at a piece: when the answer is there, and the answer.
    pub fn verify(&mut self, now: Instant, piece: PieceIndex, blocks: &[Bytes]) -> (Instant, Input) {
        let size = self.geometry.piece_size(piece);
        let stamp = self.broadcast().map(|broadcast| broadcast.check(piece, blocks));
        let right = stamp.as_ref().map_or_else(|| is_right(piece, size, blocks), Option::is_some);
        let verdict = match () {
            () if !right => Verdict::Bad,
            () if self.plan.capacity.is_some_and(|most| self.used + u64::from(size) > most) => {
                Verdict::Unwritten
            }
            () => Verdict::Good,
        };
        if verdict == Verdict::Good {
            self.write(piece);
        }
        let stamp = stamp.flatten().map(Box::new);
        let signed = if stamp.is_some() { self.plan.signature } else { Duration::ZERO };
        (self.work(now, size, signed), Input::Verified { piece, verdict, stamp })
    }

    /// Reads a block for a peer: when the answer is there, and the answer.
    pub fn read(&mut self, now: Instant, peer: PeerKey, block: Block) -> (Instant, Input) {
        let there = self.written.has(block.piece) && !self.plan.unreadable;
        let data = self.matter.content(block.piece, block.begin, block.length).filter(|_| there);
        (self.work(now, block.length, Duration::ZERO), Input::BlockRead { peer, block, data })
    }

    /// Gives a piece's space back.
    pub fn discard(&mut self, piece: PieceIndex) {
        self.numbers.remove(&piece.number());
        if self.written.remove(piece) {
            self.used -= u64::from(self.geometry.piece_size(piece));
        }
    }

    const fn broadcast(&self) -> Option<&Broadcast> {
        match &self.matter {
            Matter::Film => None,
            Matter::Live(broadcast) => Some(broadcast),
        }
    }

    fn check(&mut self, now: Instant) -> Instant {
        self.work(now, 0, self.plan.signature)
    }

    fn work(&mut self, now: Instant, bytes: u32, extra: Duration) -> Instant {
        let time = extra + self.plan.access + self.plan.speed.time_for(u64::from(bytes)).unwrap_or_default();
        let worker = self.free_at.iter_mut().min().expect("there are workers");
        *worker = now.max(*worker) + time;
        *worker
    }
}

fn is_right(piece: PieceIndex, size: u32, blocks: &[Bytes]) -> bool {
    let mut begin = 0;
    for block in blocks {
        let Ok(length) = u32::try_from(block.len()) else { return false };
        if length > MAX_REQUEST_LENGTH || !same(block, &content(piece, begin, length)) {
            return false;
        }
        begin += length;
    }
    begin == size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry() -> Geometry {
        Geometry::new(40_000, 90_000).unwrap()
    }

    fn verdict(disk: &mut Disk, piece: PieceIndex, blocks: &[Bytes]) -> Verdict {
        match disk.verify(Instant::ZERO, piece, blocks).1 {
            Input::Verified { verdict, .. } => verdict,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn right_blocks_are_good_and_one_wrong_byte_is_bad() {
        let g = geometry();
        let mut disk = Disk::new(g, DiskPlan::default(), Held::empty(&g), Matter::Film);
        let piece = g.piece(1).unwrap();
        let blocks = [content(piece, 0, 16_384), content(piece, 16_384, 40_000 - 16_384)];
        let mut wrong = blocks[1].to_vec();
        wrong[100] ^= 1;
        assert_eq!(verdict(&mut disk, piece, &[blocks[0].clone(), wrong.into()]), Verdict::Bad);
        assert_eq!(verdict(&mut disk, piece, &blocks[..1]), Verdict::Bad, "too short");
        assert_eq!(verdict(&mut disk, piece, &blocks), Verdict::Good);
        assert_eq!((disk.used(), disk.written().count()), (40_000, 1));
        assert_ne!(content(piece, 0, 100), content(g.piece(2).unwrap(), 0, 100));
    }

    #[test]
    fn a_full_disk_refuses_and_space_comes_back() {
        let g = geometry();
        let plan = DiskPlan { capacity: Some(50_000), ..DiskPlan::default() };
        let mut disk = Disk::new(g, plan, Held::empty(&g), Matter::Film);
        let whole = |p: PieceIndex| [content(p, 0, g.piece_size(p))];
        let [first, second] = [0, 1].map(|n| g.piece(n).unwrap());
        assert_eq!(verdict(&mut disk, first, &whole(first)), Verdict::Good);
        assert_eq!(verdict(&mut disk, second, &whole(second)), Verdict::Unwritten);
        disk.discard(first);
        assert_eq!(verdict(&mut disk, second, &whole(second)), Verdict::Good);
    }

    #[test]
    fn jobs_queue_up_behind_the_workers() {
        let g = geometry();
        let plan = DiskPlan { speed: ByteRate(40_000), access: Duration::ZERO, ..DiskPlan::default() };
        let mut disk = Disk::new(g, plan, Held::empty(&g), Matter::Film);
        let piece = g.piece(0).unwrap();
        let done: Vec<_> = (0..3).map(|_| disk.verify(Instant::ZERO, piece, &[]).0).collect();
        assert_eq!(done, [1, 1, 2].map(Instant::from_secs));
    }
}
