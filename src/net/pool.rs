//! Memory for blocks, used again and again.
//!
//! A block goes from a socket to a player through threads that each would otherwise allocate or free it, and fresh
//! memory has to be zeroed before a socket may fill it.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::metainfo::geometry::BLOCK_LENGTH;

/// Unused blocks that are kept, of the whole process: 4 MiB.
const KEPT: usize = 256;

static UNUSED: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// [`BLOCK_LENGTH`] bytes, of any content; go back to where they came from when they are dropped.
pub(super) struct PooledBlock(Box<[u8]>);

impl PooledBlock {
    pub(super) fn new() -> Self {
        let unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(unused.unwrap_or_else(|| vec![0; BLOCK_LENGTH as usize].into()))
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Shares the first `length` bytes.
    pub(super) fn freeze(self, length: usize) -> Bytes {
        Bytes::from_owner(self).slice(..length)
    }
}

impl AsRef<[u8]> for PooledBlock {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for PooledBlock {
    fn drop(&mut self) {
        let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
        if unused.len() < KEPT {
            unused.push(std::mem::take(&mut self.0));
        }
    }
}
