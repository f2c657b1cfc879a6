//! One consumer of one file: takes verified bytes off the shelf, on its own thread.
//!
//! What is there is given without entering tokio. What is not is asked for ([`ReaderInput::Read`]) and waited
//! for; flushing ends the wait at once.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::seat::{Seat, find};
use super::session::{Handle, ReadError};
use super::shelf::Found;
use crate::metainfo::geometry::{Block, PieceIndex};
use crate::stream::container;
use crate::swarm::ReaderInput;
use crate::swarm::event::{PlaybackStats, ReaderId};

/// Most slices that one read gives (a GStreamer buffer takes sixteen without copying).
const MAX_SLICES: usize = 16;
/// No piece yet: every piece differs from it.
const NOWHERE: u32 = u32::MAX;

/// One consumer of one file's bytes. Offsets are within the file.
pub struct Reader {
    seat: Seat,
    /// The file's bytes in the torrent.
    file: Range<u64>,
    /// The piece of the last read that the engine was told of.
    told: AtomicU32,
    /// The engine was told what the head of the file points at.
    foreseen: AtomicBool,
}

impl Reader {
    pub(super) const fn new(handle: Handle, id: ReaderId, file: Range<u64>) -> Self {
        Self {
            seat: Seat::new(handle, id),
            file,
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
        let geometry = self.seat.shelf().geometry();
        let piece = geometry.piece_at(start).ok_or(ReadError::End)?;
        let whole = geometry.piece_range(piece);
        self.tell(piece, whole.end, start..end);
        let within = |at: u64| u32::try_from(at - whole.start).expect("pieces are shorter than 4 GiB");
        let range = within(start)..within(end.min(whole.end));
        let found = self.find(piece, range.clone(), start..end)?;
        let block = Block { piece, begin: range.start, length: range.end - range.start };
        let mut slices = self.seat.take(found, block)?;
        slices.truncate(MAX_SLICES);
        let given: usize = slices.iter().map(Bytes::len).sum();
        if start + given as u64 == whole.end {
            self.seat.shelf().passed(piece);
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
        self.seat.set_flushing(flushing);
    }

    /// The application plays (or pauses): drives the wall-clock model of playback where no QOS arrives.
    pub fn set_playing(&self, playing: bool) {
        self.seat.say(ReaderInput::Playing(playing));
    }

    /// A sink reports through QOS that media of this running time (since the last flush) is being shown.
    pub fn clock(&self, running_time: Duration) {
        self.seat.say(ReaderInput::Clock(running_time));
    }

    /// A flushing seek happened: playback starts over at wherever the next reads go.
    pub fn flushed(&self) {
        self.told.store(NOWHERE, Ordering::Relaxed);
        self.seat.say(ReaderInput::Flushed);
    }

    /// Its figures.
    pub fn stats(&self) -> PlaybackStats {
        self.seat.stats()
    }

    /// Finds a part of a piece on the shelf; where it is not there, asks for it and waits.
    fn find(&self, piece: PieceIndex, range: Range<u32>, bytes: Range<u64>) -> Result<Found, ReadError> {
        let mut asked = false;
        self.seat.wait(|shelf| {
            let found = find(shelf, piece, range.clone());
            if found.is_none() && !std::mem::replace(&mut asked, true) {
                self.seat.say(ReaderInput::Read(bytes.clone()));
            }
            found
        })
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
            self.seat.say(ReaderInput::Expects(places));
        }
    }

    /// Where reading is, once a piece; of a read that goes beyond the piece, how far.
    fn tell(&self, piece: PieceIndex, piece_end: u64, bytes: Range<u64>) {
        if self.told.swap(piece.number(), Ordering::Relaxed) != piece.number() || bytes.end > piece_end {
            self.seat.say(ReaderInput::Read(bytes));
        }
    }
}
