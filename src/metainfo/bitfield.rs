//! Which pieces a peer has: one bit a piece, most significant bit first, as the wire writes it (BEP 3).
//!
//! Invariant: spare bits behind the last piece are zero, and `count` is the number of ones.

use std::fmt;

use super::geometry::{Geometry, PieceIndex};

/// A set of pieces of one torrent.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Vec<u8>,
    pieces: u32,
    count: u32,
}

/// Why a received bitfield is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BitfieldError {
    /// Not the number of bytes that the torrent's pieces need.
    #[error("a bitfield of {got} bytes where {expected} are due")]
    Length {
        /// Bytes received.
        got: usize,
        /// Bytes that the number of pieces needs.
        expected: usize,
    },
    /// A bit behind the last piece is set.
    #[error("a bitfield with spare bits set")]
    SpareBits,
}

impl Bitfield {
    /// The empty set.
    pub fn empty(geometry: &Geometry) -> Self {
        let pieces = geometry.slots();
        Self { bytes: vec![0; bytes_for(pieces)], pieces, count: 0 }
    }

    /// The set of all pieces.
    pub fn full(geometry: &Geometry) -> Self {
        let pieces = geometry.slots();
        let mut bytes = vec![0xff; bytes_for(pieces)];
        if let Some(last) = bytes.last_mut() {
            *last &= !spare_mask(pieces);
        }
        Self { bytes, pieces, count: pieces }
    }

    /// Reads what a peer (or a resume file) wrote.
    ///
    /// # Errors
    /// When the length is not that of the torrent or a spare bit is set: such a peer is closed (BEP 3).
    pub fn from_wire(geometry: &Geometry, bytes: &[u8]) -> Result<Self, BitfieldError> {
        let pieces = geometry.slots();
        let expected = bytes_for(pieces);
        if bytes.len() != expected {
            return Err(BitfieldError::Length { got: bytes.len(), expected });
        }
        if bytes.last().is_some_and(|last| last & spare_mask(pieces) != 0) {
            return Err(BitfieldError::SpareBits);
        }
        let count = bytes.iter().map(|b| b.count_ones()).sum();
        Ok(Self { bytes: bytes.to_vec(), pieces, count })
    }

    /// The bytes that the wire carries.
    pub fn as_wire(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the piece is in the set.
    #[inline]
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.bytes[piece.index() / 8] & bit(piece) != 0
    }

    /// Puts a piece in; `true` when it was not there yet.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        let new = !self.has(piece);
        self.bytes[piece.index() / 8] |= bit(piece);
        self.count += u32::from(new);
        new
    }

    /// Takes a piece out; `true` when it was there.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        let there = self.has(piece);
        self.bytes[piece.index() / 8] &= !bit(piece);
        self.count -= u32::from(there);
        there
    }

    /// Number of pieces in the set.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether every piece is in the set.
    pub const fn is_full(&self) -> bool {
        self.count == self.pieces
    }

    /// Whether no piece is in the set.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Bitfield {
    /// Whether it has a piece of `these` that is not among `those`. All are sets of one torrent.
    pub fn has_any(&self, these: &Self, those: &Self) -> bool {
        let bytes = self.bytes.iter().zip(&these.bytes).zip(&those.bytes);
        bytes.into_iter().any(|((ours, these), those)| ours & these & !those != 0)
    }

    /// Whether it has a piece of `these`, which is a set of the same torrent.
    pub fn has_one_of(&self, these: &Self) -> bool {
        let ((ours, our_rest), (these, rest)) = (self.bytes.as_chunks::<8>(), these.bytes.as_chunks::<8>());
        let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
        let words = ours.iter().zip(these).fold(0, |all, (a, b)| all | word(a) & word(b));
        words != 0 || our_rest.iter().zip(rest).any(|(a, b)| a & b != 0)
    }

    /// The slot of the first piece that is in this set and not in the other one, of the same torrent.
    pub fn first_not_in(&self, other: &Self) -> Option<u32> {
        let bytes = self.bytes.iter().zip(&other.bytes).map(|(ours, theirs)| ours & !theirs);
        first_one(0, bytes)
    }

    /// The first slot from this one on that is not in the set.
    pub fn first_missing(&self, from: u32) -> Option<u32> {
        let first = from as usize / 8;
        let before = !(0xff >> (from % 8));
        let bytes = self.bytes.iter().skip(first).enumerate();
        let missing = bytes.map(|(n, byte)| if n == 0 { !(byte | before) } else { !byte });
        first_one(first, missing).filter(|slot| *slot < self.pieces)
    }

    /// Pieces of this range of numbers that are in the set; numbers beyond the last piece are not.
    pub fn count_in(&self, range: std::ops::Range<u32>) -> u32 {
        let (start, end) = (range.start.min(self.pieces), range.end.min(self.pieces));
        if start >= end {
            return 0;
        }
        let (first, last) = (start as usize / 8, (end as usize - 1) / 8);
        let ones: u32 = self.bytes[first..=last].iter().map(|b| b.count_ones()).sum();
        let before = self.bytes[first] & !(0xff >> (start % 8));
        let behind = self.bytes[last] & spare_mask(end);
        ones - before.count_ones() - behind.count_ones()
    }
}

impl fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bitfield({} of {})", self.count, self.pieces)
    }
}

/// The slot of the first bit that is set in these bytes, the first of which has this number.
fn first_one(number: usize, mut bytes: impl Iterator<Item = u8>) -> Option<u32> {
    let (mut at, mut found) = (number, 0);
    bytes.find(|byte| {
        found = *byte;
        at += usize::from(found == 0);
        found != 0
    })?;
    u32::try_from(at * 8).ok().map(|slot| slot + found.leading_zeros())
}

fn bytes_for(pieces: u32) -> usize {
    pieces.div_ceil(8) as usize
}

/// The bits of the last byte that belong to no piece.
fn spare_mask(pieces: u32) -> u8 {
    match pieces % 8 {
        0 => 0,
        used => 0xff >> used,
    }
}

fn bit(piece: PieceIndex) -> u8 {
    0x80 >> (piece.index() % 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry(pieces: u32) -> Geometry {
        Geometry::new(1, u64::from(pieces)).unwrap()
    }

    #[test]
    fn the_first_piece_is_the_top_bit() {
        let g = geometry(10);
        let mut b = Bitfield::empty(&g);
        assert!(b.insert(g.piece(0).unwrap()) && b.insert(g.piece(9).unwrap()));
        assert!(!b.insert(g.piece(9).unwrap()));
        assert_eq!((b.as_wire(), b.count()), (&[0x80, 0x40][..], 2));
    }

    #[test]
    fn a_difference_is_seen() {
        let g = geometry(20);
        let of = |numbers: &[u32]| {
            let mut b = Bitfield::empty(&g);
            numbers.iter().for_each(|n| assert!(b.insert(g.piece(*n).unwrap())));
            b
        };
        assert!(of(&[3, 17]).has_any(&of(&[17]), &of(&[3])));
        assert!(!of(&[3, 17]).has_any(&of(&[17]), &of(&[17])));
        assert!(!of(&[3]).has_any(&of(&[17]), &of(&[])));
    }

    #[test]
    fn a_piece_in_common_is_seen_wherever_it_is() {
        let g = geometry(200);
        let (full, none) = (Bitfield::full(&g), Bitfield::empty(&g));
        for piece in g.all() {
            let (mut one, mut others) = (none.clone(), full.clone());
            one.insert(piece);
            others.remove(piece);
            assert!(full.has_one_of(&one) && one.has_one_of(&full));
            assert!(!one.has_one_of(&others) && !others.has_one_of(&one));
        }
    }

    #[test]
    fn wrong_length_and_spare_bits_are_refused() {
        let g = geometry(10);
        assert_eq!(Bitfield::from_wire(&g, &[0]), Err(BitfieldError::Length { got: 1, expected: 2 }));
        assert_eq!(Bitfield::from_wire(&g, &[0, 0x20]), Err(BitfieldError::SpareBits));
        assert!(Bitfield::from_wire(&g, &[0xff, 0xc0]).unwrap().is_full());
        assert_eq!(Bitfield::full(&g), Bitfield::from_wire(&g, &[0xff, 0xc0]).unwrap());
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(pieces in 1u32..200, steps in prop::collection::vec((any::<bool>(), 0u32..200), 0..300)) {
            let g = geometry(pieces);
            let (mut field, mut set) = (Bitfield::empty(&g), std::collections::BTreeSet::new());
            for (add, n) in steps {
                let Some(piece) = g.piece(n % pieces) else { unreachable!("taken modulo") };
                if add {
                    prop_assert_eq!(field.insert(piece), set.insert(piece));
                } else {
                    prop_assert_eq!(field.remove(piece), set.remove(&piece));
                }
            }
            for (a, b) in [(0, pieces), (3, pieces + 9), (pieces / 3, pieces / 2), (8, 16), (9, 9)] {
                let expected = set.iter().filter(|p| (a..b).contains(&p.number())).count();
                prop_assert_eq!(field.count_in(a..b) as usize, expected);
            }
            prop_assert_eq!(field.count() as usize, set.len());
            let (none, first) = (Bitfield::empty(&g), set.first().map(|piece| piece.slot()));
            let is_missing = |n: &u32| !g.piece(*n).is_some_and(|piece| set.contains(&piece));
            prop_assert_eq!(field.first_not_in(&none), first);
            prop_assert_eq!(none.first_not_in(&field), None);
            let missing = (0..pieces).find(is_missing);
            prop_assert_eq!(Bitfield::full(&g).first_not_in(&field), missing);
            for from in [0, 3, 8, pieces / 2, pieces - 1, pieces, pieces + 20] {
                prop_assert_eq!(field.first_missing(from), (from..pieces).find(is_missing));
            }
            prop_assert!(g.all().all(|p| field.has(p) == set.contains(&p)));
            prop_assert_eq!(Bitfield::from_wire(&g, field.as_wire()).unwrap(), field);
        }
    }
}
