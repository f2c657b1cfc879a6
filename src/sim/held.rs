//! Which pieces somebody has, by slot: of a live broadcast a slot is used again and again, and what lies in it has a
//! number.

use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{Geometry, PieceIndex};

/// No piece has this number.
const NONE: u32 = u32::MAX;

/// A set of pieces of which no two take the same slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Of a film, where nothing but a piece's own slot tells it from others.
    Film(Bitfield),
    /// Of a broadcast.
    Live {
        /// Which piece lies in each slot.
        numbers: Vec<u32>,
        /// How many slots are taken.
        count: u32,
    },
}

impl Held {
    /// Nothing.
    pub fn empty(geometry: &Geometry) -> Self {
        if geometry.is_live() {
            Self::Live { numbers: vec![NONE; geometry.slots() as usize], count: 0 }
        } else {
            Self::Film(Bitfield::empty(geometry))
        }
    }

    /// Whether this very piece is there.
    pub fn has(&self, piece: PieceIndex) -> bool {
        match self {
            Self::Film(bits) => bits.has(piece),
            Self::Live { numbers, .. } => numbers[piece.index()] == piece.number(),
        }
    }

    /// Puts a piece into its slot, whatever is there; `true` when it was not there yet.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        match self {
            Self::Film(bits) => bits.insert(piece),
            Self::Live { numbers, count } => {
                let old = std::mem::replace(&mut numbers[piece.index()], piece.number());
                *count += u32::from(old == NONE);
                old != piece.number()
            }
        }
    }

    /// Takes a piece out; `true` when it was there.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        match self {
            Self::Film(bits) => bits.remove(piece),
            Self::Live { numbers, count } => {
                let there = numbers[piece.index()] == piece.number();
                if there {
                    numbers[piece.index()] = NONE;
                    *count -= 1;
                }
                there
            }
        }
    }

    /// Pieces in it.
    pub const fn count(&self) -> u32 {
        match self {
            Self::Film(bits) => bits.count(),
            Self::Live { count, .. } => *count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_holds_one_round_at_a_time() {
        let geometry = Geometry::new(10, 100).unwrap().live();
        let [old, new] = [3, 13].map(|number| geometry.piece(number).unwrap());
        let mut held = Held::empty(&geometry);
        assert!(held.insert(old) && !held.insert(old) && held.has(old) && !held.has(new));
        assert!(held.insert(new) && !held.has(old) && held.has(new));
        assert_eq!(held.count(), 1);
        assert!(!held.remove(old) && held.remove(new));
        assert_eq!(held.count(), 0);
    }
}
