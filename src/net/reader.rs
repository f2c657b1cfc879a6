//! One consumer of one file: takes verified bytes off the shelf, on its own thread.
//!
//! What is there is given without entering tokio. What is not is asked for ([`ReaderInput::Read`]) and waited
//! for; flushing ends the wait at once.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::session::{Handle, ReadError, Trouble};
use super::shelf::{Failure, Found, Look};
use super::task::Control;
use crate::metainfo::geometry::{Block, PieceIndex};
use crate::store::StoreError;
use crate::stream::container;
use crate::swarm::ReaderInput;
use crate::swarm::event::{PlaybackStats, ReaderId};

/// Most slices that one read gives (a GStreamer buffer takes sixteen without copying).
const MAX_SLICES: usize = 16;
/// No piece yet: every piece differs from it.
const NOWHERE: u32 = u32::MAX;

/// One consumer of one file's bytes. Offsets are within the file.
pub struct Reader {
    handle: Handle,
    id: ReaderId,
    /// The file's bytes in the torrent.
    file: Range<u64>,
    flushing: AtomicBool,
    /// The piece of the last read that the engine was told of.
    told: AtomicU32,
    /// The engine was told what the head of the file points at.
    foreseen: AtomicBool,
}

/// What a look at the shelf ends in.
enum Seen {
    Found(Found),
    Failed(Failure),
    Flushing,
    Gone,
}

impl Reader {
    pub(super) const fn new(handle: Handle, id: ReaderId, file: Range<u64>) -> Self {
        Self {
            handle,
            id,
            file,
            flushing: AtomicBool::new(false),
            told: AtomicU32::new(NOWHERE),
            foreseen: AtomicBool::new(false),
        }
    }

    /// Bytes in the file.
    pub const fn length(&self) -> u64 {
        self.file.end - self.file.start
    }

    /// The file's bytes in the torrent.
    pub const fn range(&self) -> &Range<u64> {
        &self.file
    }

    /// Waits for verified bytes at `offset` and returns between 1 and `most` of them, without copying where it
    /// can: at most 16 slices. Blocks the calling thread; [`Reader::set_flushing`] ends it at once.
    ///
    /// # Errors
    /// [`ReadError::End`] at the end of the file, [`ReadError::Flushing`], or a failed disk.
    pub fn read(&self, offset: u64, most: usize) -> Result<Vec<Bytes>, ReadError> {
        let start = self.file.start.saturating_add(offset);
        let end = start.saturating_add(most as u64).min(self.file.end);
        if start >= end {
            return Err(ReadError::End);
        }
        let geometry = self.handle.shelf().geometry();
        let piece = geometry.piece_at(start).ok_or(ReadError::End)?;
        let whole = geometry.piece_range(piece);
        self.tell(piece, whole.end, start..end);
        let within = |at: u64| u32::try_from(at - whole.start).expect("pieces are shorter than 4 GiB");
        let range = within(start)..within(end.min(whole.end));
        let mut slices = match self.take(piece, range.clone(), start..end)? {
            Found::Memory(slices) => slices,
            Found::Disk(storage) => {
                let block = Block { piece, begin: range.start, length: range.end - range.start };
                vec![storage.read(block).map_err(disk_failed)?]
            }
            Found::Nothing => return Err(ReadError::Gone),
        };
        slices.truncate(MAX_SLICES);
        let given: usize = slices.iter().map(Bytes::len).sum();
        if start + given as u64 == whole.end {
            self.handle.shelf().passed(piece);
        }
        Ok(slices)
    }

    /// The same, but exactly `length` bytes unless the file ends first (pull mode). Who pulls will jump: what the
    /// head of the file points at is fetched early.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read_exact(&self, offset: u64, length: usize) -> Result<Vec<Bytes>, ReadError> {
        let mut all = self.read(offset, length)?;
        if offset == 0 && !self.foreseen.swap(true, Ordering::Relaxed) {
            self.foresee();
        }
        let mut have: usize = all.iter().map(Bytes::len).sum();
        while have < length {
            match self.read(offset + have as u64, length - have) {
                Ok(more) => {
                    have += more.iter().map(Bytes::len).sum::<usize>();
                    all.extend(more);
                }
                Err(ReadError::End) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// `true` ends a waiting read with [`ReadError::Flushing`] and refuses new ones; `false` allows them again.
    pub fn set_flushing(&self, flushing: bool) {
        self.flushing.store(flushing, Ordering::SeqCst);
        if flushing {
            self.handle.shelf().nudge();
        }
    }

    /// The application plays (or pauses): drives the wall-clock model of playback where no QOS arrives.
    pub fn set_playing(&self, playing: bool) {
        self.say(ReaderInput::Playing(playing));
    }

    /// A sink reports through QOS that media of this running time (since the last flush) is being shown.
    pub fn clock(&self, running_time: Duration) {
        self.say(ReaderInput::Clock(running_time));
    }

    /// A flushing seek happened: playback starts over at wherever the next reads go.
    pub fn flushed(&self) {
        self.told.store(NOWHERE, Ordering::Relaxed);
        self.say(ReaderInput::Flushed);
    }

    /// Its figures.
    pub fn stats(&self) -> PlaybackStats {
        self.handle.shelf().playback(self.id)
    }

    /// Takes a part of a piece off the shelf; where it is not there, asks for it and waits.
    fn take(&self, piece: PieceIndex, range: Range<u32>, bytes: Range<u64>) -> Result<Found, ReadError> {
        let look = |shelf: &Look<'_>| match () {
            () if self.flushing.load(Ordering::SeqCst) => Some(Seen::Flushing),
            () => match shelf.find(piece, range.clone()) {
                Err(failure) => Some(Seen::Failed(failure)),
                Ok(Found::Nothing) if shelf.is_gone() => Some(Seen::Gone),
                Ok(Found::Nothing) => None,
                Ok(found) => Some(Seen::Found(found)),
            },
        };
        let mut asked = false;
        let seen = self.handle.shelf().wait(|shelf| {
            let seen = look(shelf);
            if seen.is_none() && !std::mem::replace(&mut asked, true) {
                self.say(ReaderInput::Read(bytes.clone()));
            }
            seen
        });
        match seen {
            Seen::Found(found) => Ok(found),
            Seen::Failed(failure) => {
                Err(ReadError::Storage { message: failure.message, trouble: failure.trouble })
            }
            Seen::Flushing => Err(ReadError::Flushing),
            Seen::Gone => Err(ReadError::Gone),
        }
    }

    /// Tells the engine what the head of the file points at. Its first piece is there; more is not waited for.
    fn foresee(&self) {
        let most = self.length().min(container::HEAD as u64);
        let Ok(head) = self.read(0, usize::try_from(most).unwrap_or(container::HEAD)) else { return };
        let mut places = container::places(&head.concat(), self.length());
        for place in &mut places {
            *place = self.file.start + place.start..self.file.start + place.end;
        }
        if !places.is_empty() {
            self.say(ReaderInput::Expects(places));
        }
    }

    /// Where reading is, once a piece; of a read that goes beyond the piece, how far.
    fn tell(&self, piece: PieceIndex, piece_end: u64, bytes: Range<u64>) {
        if self.told.swap(piece.number(), Ordering::Relaxed) != piece.number() || bytes.end > piece_end {
            self.say(ReaderInput::Read(bytes));
        }
    }

    fn say(&self, input: ReaderInput) {
        self.handle.control(Control::Reader { reader: self.id, input });
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.say(ReaderInput::Close);
    }
}

fn disk_failed(error: StoreError) -> ReadError {
    ReadError::Storage { message: error.to_string(), trouble: Trouble::from(&error) }
}
