//! Where a live broadcast's pieces lie: each in its slot of a file that holds one round of the ring.
//!
//! What is read back may be of another round, if the slot was used again meanwhile: the stamp in it tells.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Storage, StoreError, guard};
use crate::metainfo::geometry::{Block, PieceIndex};

/// A store of one round, by pieces of any round.
#[derive(Debug)]
pub struct RingStore<S: ?Sized> {
    store: Arc<S>,
    keeps: bool,
    /// Which piece lies in a slot: what is written and discarded at the same time must not be mixed up.
    lying: Mutex<BTreeMap<u32, u32>>,
}

impl<S: Storage + ?Sized> RingStore<S> {
    /// Over a store that knows the pieces of the first round. `keeps`: the last round stays there, as a source has it;
    /// otherwise the space of what is discarded is given back.
    pub const fn new(store: Arc<S>, keeps: bool) -> Self {
        Self { store, keeps, lying: Mutex::new(BTreeMap::new()) }
    }
}

impl<S: Storage + ?Sized> Storage for RingStore<S> {
    fn write(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StoreError> {
        let mut lying = guard(&self.lying);
        if !self.keeps {
            lying.insert(piece.slot(), piece.number());
        }
        self.store.write(piece.in_first_round(), blocks)
    }

    fn read(&self, block: Block) -> Result<Bytes, StoreError> {
        self.store.read(Block { piece: block.piece.in_first_round(), ..block })
    }

    fn discard(&self, piece: PieceIndex) -> Result<(), StoreError> {
        let mut lying = guard(&self.lying);
        // A newer one may lie there already, and what does not lie there is nobody's to discard.
        if lying.get(&piece.slot()) != Some(&piece.number()) {
            return Ok(());
        }
        lying.remove(&piece.slot());
        self.store.discard(piece.in_first_round())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryStore;
    use super::*;
    use crate::metainfo::geometry::Geometry;

    fn ring(keeps: bool) -> (Geometry, RingStore<MemoryStore>) {
        let geometry = Geometry::new(1 << 14, 16 << 14).unwrap();
        let store = MemoryStore::new(geometry, u64::MAX);
        (geometry.live(), RingStore::new(Arc::new(store), keeps))
    }

    fn read(ring: &RingStore<MemoryStore>, geometry: &Geometry, number: u32) -> Option<u8> {
        let piece = geometry.piece(number).unwrap();
        ring.read(Block { piece, begin: 0, length: 1 }).ok().map(|bytes| bytes[0])
    }

    fn write(ring: &RingStore<MemoryStore>, geometry: &Geometry, number: u32) {
        let bytes = Bytes::from(vec![u8::try_from(number).unwrap(); 1 << 14]);
        ring.write(geometry.piece(number).unwrap(), &[bytes]).unwrap();
    }

    #[test]
    fn what_is_discarded_late_is_not_what_has_taken_its_slot() {
        let (geometry, ring) = ring(false);
        write(&ring, &geometry, 3);
        write(&ring, &geometry, 19);
        ring.discard(geometry.piece(3).unwrap()).unwrap();
        assert_eq!(read(&ring, &geometry, 19), Some(19));
        ring.discard(geometry.piece(19).unwrap()).unwrap();
        assert_ne!(read(&ring, &geometry, 19), Some(19));
    }

    #[test]
    fn a_source_keeps_the_last_round() {
        let (geometry, ring) = ring(true);
        (0..20).for_each(|number| write(&ring, &geometry, number));
        (0..16).for_each(|number| ring.discard(geometry.piece(number).unwrap()).unwrap());
        assert!((4..20).all(|number| read(&ring, &geometry, number) == Some(u8::try_from(number).unwrap())));
    }
}
