//! Which pieces somebody has, by slot: of a live broadcast a slot is used again and again, and what lies in it has a
//! number.

use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{Geometry, PieceIndex};

/// No piece has this number.
const NONE: u32 = u32::MAX;

/// A set of pieces of which no two take the same slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    numbers: Vec<u32>,
    count: u32,
}

impl Held {
    /// Nothing.
    pub fn empty(geometry: &Geometry) -> Self {
        Self { numbers: vec![NONE; geometry.slots() as usize], count: 0 }
    }

    /// The pieces of a film that a bitfield names.
    pub fn of_film(geometry: &Geometry, bits: &Bitfield) -> Self {
        let mut held = Self::empty(geometry);
        geometry.all().filter(|piece| bits.has(*piece)).for_each(|piece| _ = held.insert(piece));
        held
    }

    /// Whether this very piece is there.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.numbers[piece.index()] == piece.number()
    }

    /// Puts a piece into its slot, whatever is there; `true` when it was not there yet.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        let old = std::mem::replace(&mut self.numbers[piece.index()], piece.number());
        self.count += u32::from(old == NONE);
        old != piece.number()
    }

    /// Takes a piece out; `true` when it was there.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        let there = self.has(piece);
        if there {
            self.numbers[piece.index()] = NONE;
            self.count -= 1;
        }
        there
    }

    /// Pieces in it.
    pub const fn count(&self) -> u32 {
        self.count
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
