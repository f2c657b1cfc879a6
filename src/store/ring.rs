//! Where a live broadcast's pieces lie: each in its slot of a file that holds one round of the ring.
//!
//! What is read back may be of another round, if the slot was used again meanwhile: the stamp in it tells.

use std::sync::Arc;

use bytes::Bytes;

use super::{Storage, StoreError};
use crate::metainfo::geometry::{Block, PieceIndex};

/// A store of one round, by pieces of any round.
#[derive(Debug)]
pub struct RingStore<S: ?Sized>(Arc<S>);

impl<S: Storage + ?Sized> RingStore<S> {
    /// Over a store that knows the pieces of the first round.
    pub const fn new(store: Arc<S>) -> Self {
        Self(store)
    }
}

impl<S: Storage + ?Sized> Storage for RingStore<S> {
    fn write(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StoreError> {
        self.0.write(piece.in_first_round(), blocks)
    }

    fn read(&self, block: Block) -> Result<Bytes, StoreError> {
        self.0.read(Block { piece: block.piece.in_first_round(), ..block })
    }

    fn discard(&self, piece: PieceIndex) -> Result<(), StoreError> {
        self.0.discard(piece.in_first_round())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.0.sync()
    }
}
