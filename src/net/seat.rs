//! What the readers of films and those of broadcasts have in common: one consumer's seat at the shelf, where it
//! waits for verified bytes until it is told to give up.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::session::{Handle, ReadError, Trouble};
use super::shelf::{Failure, Found, Look, Shelf};
use super::task::Control;
use crate::metainfo::geometry::{Block, PieceIndex};
use crate::store::StoreError;
use crate::swarm::ReaderInput;
use crate::swarm::event::{PlaybackStats, ReaderId};

/// One consumer's seat. The engine forgets the consumer when it is dropped.
pub(super) struct Seat {
    handle: Handle,
    id: ReaderId,
    flushing: AtomicBool,
}

impl Seat {
    pub(super) const fn new(handle: Handle, id: ReaderId) -> Self {
        Self { handle, id, flushing: AtomicBool::new(false) }
    }

    pub(super) const fn id(&self) -> ReaderId {
        self.id
    }

    pub(super) fn shelf(&self) -> &Shelf {
        self.handle.shelf()
    }

    /// `true` ends the waiting with [`ReadError::Flushing`] and refuses more of it; `false` allows it again.
    pub(super) fn set_flushing(&self, flushing: bool) {
        self.flushing.store(flushing, Ordering::SeqCst);
        if flushing {
            self.shelf().nudge();
        }
    }

    /// Tells the engine something.
    pub(super) fn say(&self, input: ReaderInput) {
        self.handle.control(Control::Reader { reader: self.id, input });
    }

    pub(super) fn stats(&self) -> PlaybackStats {
        self.shelf().playback(self.id)
    }

    /// Waits until a look at the shelf gives something.
    pub(super) fn wait<T>(
        &self,
        mut look: impl FnMut(&Look<'_>) -> Option<Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        self.shelf().wait(|shelf| {
            if self.flushing.load(Ordering::SeqCst) { Some(Err(ReadError::Flushing)) } else { look(shelf) }
        })
    }

    /// The bytes of a part of a piece that was found, slices of memory where they lie there.
    pub(super) fn take(&self, found: Found, block: Block) -> Result<Vec<Bytes>, ReadError> {
        match found {
            Found::Memory(slices) => Ok(slices),
            Found::Disk(storage) => Ok(vec![storage.read(block)?]),
            Found::Nothing => Err(ReadError::Gone),
        }
    }
}

/// Looks for a part of a piece; `None`: it is worth waiting for.
pub(super) fn find(
    shelf: &Look<'_>,
    piece: PieceIndex,
    range: Range<u32>,
) -> Option<Result<Found, ReadError>> {
    match shelf.find(piece, range) {
        Err(failure) => Some(Err(failure.into())),
        Ok(Found::Nothing) => gone(shelf),
        Ok(found) => Some(Ok(found)),
    }
}

/// Nothing comes any more when the disk has failed or the engine has ended.
pub(super) fn gone<T>(shelf: &Look<'_>) -> Option<Result<T, ReadError>> {
    let failed = shelf.failure().map(ReadError::from);
    failed.or_else(|| shelf.is_gone().then_some(ReadError::Gone)).map(Err)
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.say(ReaderInput::Close);
        self.shelf().forget_reader(self.id);
    }
}

impl From<Failure> for ReadError {
    fn from(Failure { message, trouble }: Failure) -> Self {
        Self::Storage { message, trouble }
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Storage { message: error.to_string(), trouble: Trouble::from(&error) }
    }
}
