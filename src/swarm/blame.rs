//! Who spoiled a piece.
//!
//! A bad piece with one giver is its giver's fault. With several, a digest of each block is kept, and the piece
//! is asked again from one peer alone: if that fails too, the one giver is guilty; once it is good, every digest
//! that differs from the good block's convicts whoever gave it (what libtorrent calls smart ban).
//! Bounded: evidence beyond [`MAX_EVIDENCE`] blocks is dropped, that of the first piece first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bytes::Bytes;
use sha1::{Digest as _, Sha1};

use crate::metainfo::geometry::PieceIndex;

/// Most blocks of bad pieces that are remembered: 1 GiB of them, in 4 MiB.
const MAX_EVIDENCE: usize = 64 * 1024;

/// Digests of the blocks of one failed attempt, with who gave them.
type Attempt = Vec<(IpAddr, [u8; 20])>;

/// The evidence.
#[derive(Debug, Default)]
pub struct Blame {
    attempts: BTreeMap<PieceIndex, Vec<Attempt>>,
    /// Blocks in them.
    blocks: usize,
}

/// What a failed piece means.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// One address gave all of it.
    Guilty(IpAddr),
    /// One of these gave something wrong; ask one peer alone.
    Suspects(BTreeSet<IpAddr>),
}

impl Blame {
    /// A piece failed; `blocks` are its blocks in order with who gave them.
    pub fn failed(&mut self, piece: PieceIndex, blocks: &[(IpAddr, Bytes)]) -> Finding {
        let suspects: BTreeSet<_> = blocks.iter().map(|(ip, _)| *ip).collect();
        if let (Some(ip), 1) = (suspects.first(), suspects.len()) {
            return Finding::Guilty(*ip);
        }
        self.blocks += blocks.len();
        let attempt = blocks.iter().map(|(ip, block)| (*ip, digest(block))).collect();
        self.attempts.entry(piece).or_default().push(attempt);
        while self.blocks > MAX_EVIDENCE {
            let Some((_, dropped)) = self.attempts.pop_first() else { break };
            self.blocks -= dropped.iter().map(Vec::len).sum::<usize>();
        }
        Finding::Suspects(suspects)
    }

    /// The piece is good now: who gave wrong blocks before?
    pub fn convict(&mut self, piece: PieceIndex, good: &[Bytes]) -> BTreeSet<IpAddr> {
        let Some(attempts) = self.attempts.remove(&piece) else { return BTreeSet::new() };
        self.blocks -= attempts.iter().map(Vec::len).sum::<usize>();
        let good: Vec<_> = good.iter().map(|block| digest(block)).collect();
        let gave = attempts.iter().flat_map(|attempt| attempt.iter().zip(&good));
        gave.filter(|((_, gave), good)| gave != *good).map(|((ip, _), _)| *ip).collect()
    }

    /// Whether this piece failed before and its spoiler is not found.
    pub fn is_suspect(&self, piece: PieceIndex) -> bool {
        self.attempts.contains_key(&piece)
    }
}

fn digest(block: &[u8]) -> [u8; 20] {
    Sha1::digest(block).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::geometry::Geometry;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn piece(n: u32) -> PieceIndex {
        Geometry::new(1, 100).unwrap().piece(n).unwrap()
    }

    #[test]
    fn one_giver_is_guilty_at_once() {
        let blocks = vec![(ip(1), Bytes::from_static(b"x")), (ip(1), Bytes::from_static(b"y"))];
        assert_eq!(Blame::default().failed(piece(0), &blocks), Finding::Guilty(ip(1)));
    }

    #[test]
    fn of_several_the_one_whose_block_differs_is_convicted_in_the_end() {
        let mut blame = Blame::default();
        let [good, bad] = [Bytes::from_static(b"good"), Bytes::from_static(b"evil")];
        let mixed = vec![(ip(1), good.clone()), (ip(2), bad), (ip(3), good.clone())];
        assert_eq!(blame.failed(piece(5), &mixed), Finding::Suspects(BTreeSet::from([ip(1), ip(2), ip(3)])));
        assert!(blame.is_suspect(piece(5)));
        assert_eq!(blame.convict(piece(5), &[good.clone(), good.clone(), good]), BTreeSet::from([ip(2)]));
        assert_eq!((blame.blocks, blame.is_suspect(piece(5))), (0, false));
    }

    #[test]
    fn evidence_is_bounded() {
        let mut blame = Blame::default();
        let mut half = vec![(ip(1), Bytes::new()); MAX_EVIDENCE / 2 - 1];
        half[0].0 = ip(2);
        for n in 0..5 {
            blame.failed(piece(n), &half);
            assert!(blame.blocks <= MAX_EVIDENCE);
        }
        assert!(!blame.is_suspect(piece(0)) && blame.is_suspect(piece(4)));
    }
}
