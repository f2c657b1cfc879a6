//! A store in memory, for tests and the simulator.
//!
//! Invariant: never holds more than its limit. It keeps the blocks as they were given: nothing is copied on
//! writing, nor on reading inside one block.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};

use super::{Storage, StoreError, guard};
use crate::metainfo::geometry::{Block, Geometry, PieceIndex};

/// Pieces in memory.
#[derive(Debug)]
pub struct MemoryStore {
    geometry: Geometry,
    limit: u64,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    pieces: BTreeMap<PieceIndex, Vec<Bytes>>,
    /// Bytes in them.
    bytes: u64,
}

impl MemoryStore {
    /// A store that holds at most `limit` bytes.
    pub const fn new(geometry: Geometry, limit: u64) -> Self {
        Self { geometry, limit, held: Mutex::new(Held { pieces: BTreeMap::new(), bytes: 0 }) }
    }

    fn size(&self, piece: PieceIndex) -> u64 {
        u64::from(self.geometry.piece_size(piece))
    }
}

impl Storage for MemoryStore {
    fn write(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StoreError> {
        let (got, expected) = (length_of(blocks), self.size(piece));
        if got != expected {
            return Err(StoreError::PieceLength { piece, got, expected });
        }
        let mut held = guard(&self.held);
        let new = if held.pieces.contains_key(&piece) { 0 } else { expected };
        if held.bytes + new > self.limit {
            return Err(StoreError::MemoryFull { limit: self.limit });
        }
        held.pieces.insert(piece, blocks.to_vec());
        held.bytes += new;
        Ok(())
    }

    fn read(&self, block: Block) -> Result<Bytes, StoreError> {
        let held = guard(&self.held);
        let blocks = held.pieces.get(&block.piece).ok_or(StoreError::NotHeld { piece: block.piece })?;
        let (begin, length) = (block.begin as usize, block.length as usize);
        let mut out = BytesMut::new();
        let mut start = 0;
        for bytes in blocks {
            let end = start + bytes.len();
            let (from, to) = (begin.max(start), (begin + length).min(end));
            if to.saturating_sub(from) == length {
                return Ok(bytes.slice(from - start..to - start));
            }
            if from < to {
                out.extend_from_slice(&bytes[from - start..to - start]);
            }
            start = end;
        }
        Ok(out.freeze())
    }

    fn discard(&self, piece: PieceIndex) -> Result<(), StoreError> {
        let mut held = guard(&self.held);
        if held.pieces.remove(&piece).is_some() {
            held.bytes -= self.size(piece);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Bytes in all blocks.
pub(super) fn length_of(blocks: &[Bytes]) -> u64 {
    blocks.iter().map(|block| block.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(limit: u64) -> (Geometry, MemoryStore) {
        let geometry = Geometry::new(10, 25).unwrap();
        (geometry, MemoryStore::new(geometry, limit))
    }

    #[test]
    fn reads_inside_a_block_and_across_blocks() {
        let (g, store) = store(100);
        let piece = g.piece(1).unwrap();
        let blocks = [Bytes::from_static(b"abcd"), Bytes::new(), Bytes::from_static(b"efghij")];
        store.write(piece, &blocks).unwrap();
        let read = |begin, length| store.read(Block { piece, begin, length }).unwrap();
        assert_eq!(read(1, 2), "bc");
        assert_eq!(read(2, 5), "cdefg");
        assert_eq!(read(0, 10), "abcdefghij");
    }

    #[test]
    fn the_limit_holds_and_discarding_makes_room() {
        let (g, store) = store(15);
        let (first, second) = (g.piece(0).unwrap(), g.piece(1).unwrap());
        let ten = [Bytes::from_static(b"0123456789")];
        store.write(first, &ten).unwrap();
        store.write(first, &ten).unwrap();
        assert!(store.write(second, &ten).unwrap_err().is_full());
        store.discard(first).unwrap();
        store.write(second, &ten).unwrap();
        let gone = store.read(Block { piece: first, begin: 0, length: 1 });
        assert!(matches!(gone, Err(StoreError::NotHeld { .. })));
    }

    #[test]
    fn blocks_that_are_not_the_piece_are_refused() {
        let (g, store) = store(100);
        let error = store.write(g.piece(2).unwrap(), &[Bytes::from_static(b"123456")]).unwrap_err();
        assert!(matches!(error, StoreError::PieceLength { got: 6, expected: 5, .. }));
    }
}
