//! What the wire's piece indices mean to the engine.

use super::torrent::Torrent;
use crate::metainfo::geometry::{Block, PieceIndex};
use crate::wire::message::RawBlock;

impl Torrent {
    /// The piece that a peer means by an index.
    pub(super) fn piece_of(&self, index: u32) -> Option<PieceIndex> {
        let number = match &self.live {
            None => Some(index),
            Some(live) => live.piece_of(index),
        };
        self.pieces.geometry().piece(number?)
    }

    /// The block that a peer means, if it is one of this torrent.
    pub(super) fn block_of(&self, raw: RawBlock) -> Option<Block> {
        self.pieces.geometry().request(self.piece_of(raw.index)?, raw.begin, raw.length)
    }
}
