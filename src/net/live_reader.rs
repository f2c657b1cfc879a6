//! One viewer of a live broadcast: takes verified pieces off the shelf in order and gives their payload, on its own
//! thread.
//!
//! Where it begins and what it skips is the engine's to say ([`Moved`](crate::swarm::event::Moved)). It begins at a
//! random access point, with the stream's headers in front.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::seat::{Seat, find, gone};
use super::session::{Handle, ReadError};
use super::shelf::{Found, Move};
use crate::metainfo::geometry::{Block, PieceIndex};
use crate::stream::live_piece::{CaptureTime, Stamp, payload_of, stamp_of};
use crate::swarm::ReaderInput;
use crate::swarm::event::{PlaybackStats, ReaderId};

/// Who finds no random access point in so many pieces begins anywhere.
const MAX_SEARCH: u32 = 512;

/// A piece of a live broadcast for a player.
#[derive(Clone, Debug)]
pub struct LivePiece {
    /// Its number.
    pub number: u32,
    /// Its payload (or the part from where a decoder may begin), slices of memory in order.
    pub payload: Vec<Bytes>,
    /// What a decoder has to be given first.
    pub headers: Option<Bytes>,
    /// Bytes that were given before it.
    pub offset: u64,
    /// It does not go on where the piece before ended.
    pub discontinuity: bool,
    /// Pieces skipped so far because they did not come in time.
    pub dropped: u64,
    /// When its last byte was captured, by the source's clock.
    pub time: CaptureTime,
}

/// One viewer.
pub struct LiveReader {
    seat: Seat,
    /// Locked while a piece is waited for, by the one thread that reads.
    place: Mutex<Place>,
    given: Mutex<Option<(u32, CaptureTime)>>,
}

/// Where it is.
#[derive(Debug, Default)]
struct Place {
    /// The number of the next piece, once it has been told.
    next: Option<u32>,
    /// Orders followed.
    orders: u64,
    dropped: u64,
    /// Pieces looked at so far for a random access point to begin at, while it does.
    search: Option<u32>,
    /// Something was given already.
    begun: bool,
    /// Bytes given so far.
    given: u64,
    discontinuity: bool,
    ended: bool,
}

/// What a look at the shelf ends in.
enum Seen {
    Order(Move),
    Found(Found),
}

impl LiveReader {
    pub(super) fn new(handle: Handle, id: ReaderId) -> Self {
        Self { seat: Seat::new(handle, id), place: Mutex::default(), given: Mutex::default() }
    }

    /// Waits for the next piece. Blocks the calling thread; [`LiveReader::set_flushing`] ends it at once.
    ///
    /// # Errors
    /// [`ReadError::End`] behind the last piece of the broadcast, [`ReadError::Flushing`], or a failed disk.
    pub fn next(&self) -> Result<LivePiece, ReadError> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if place.ended {
                return Err(ReadError::End);
            }
            match self.look(&place)? {
                Seen::Order(order) => place.follow(order),
                Seen::Found(found) => {
                    if let Some(piece) = self.open(&mut place, found)? {
                        let given = Some((piece.number, piece.time));
                        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = given;
                        return Ok(piece);
                    }
                }
            }
        }
    }

    /// `true` ends a waiting read with [`ReadError::Flushing`] and refuses new ones; `false` allows them again.
    pub fn set_flushing(&self, flushing: bool) {
        self.seat.set_flushing(flushing);
    }

    /// The application plays (or pauses).
    pub fn set_playing(&self, playing: bool) {
        self.seat.say(ReaderInput::Playing(playing));
    }

    /// A sink reports through QOS that media of this running time is being shown.
    pub fn clock(&self, running_time: Duration) {
        self.seat.say(ReaderInput::Clock(running_time));
    }

    /// The piece that was given last, and when it was captured.
    pub fn position(&self) -> Option<(u32, CaptureTime)> {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its figures.
    pub fn stats(&self) -> PlaybackStats {
        self.seat.stats()
    }

    fn piece(&self, place: &Place) -> Option<PieceIndex> {
        self.seat.shelf().geometry().piece(place.next?)
    }

    fn look(&self, place: &Place) -> Result<Seen, ReadError> {
        let (next, geometry) = (self.piece(place), self.seat.shelf().geometry());
        if let Some(piece) = next {
            self.seat.say(ReaderInput::Read(geometry.piece_range(piece)));
        }
        self.seat.wait(|shelf| {
            if let Some(order) = shelf.order(self.seat.id()).filter(|order| order.count > place.orders) {
                return Some(Ok(Seen::Order(order)));
            }
            let found = match next {
                Some(piece) => find(shelf, piece, 0..geometry.piece_length()),
                None => gone(shelf),
            };
            found.map(|found| found.map(Seen::Found))
        })
    }

    /// Takes a piece out of its wrapping; `None` when it is not to be given.
    fn open(&self, place: &mut Place, found: Found) -> Result<Option<LivePiece>, ReadError> {
        let Some(piece) = self.piece(place) else { return Ok(None) };
        let piece_length = self.seat.shelf().geometry().piece_length();
        let blocks = self.seat.take(found, Block { piece, begin: 0, length: piece_length })?;
        self.seat.shelf().passed(piece);
        let stamp = stamp_of(&blocks, piece_length).ok().filter(|stamp| stamp.seq == piece.number());
        place.next = Some(piece.number().saturating_add(1));
        // Its slot was used again: it is so old that the engine will say where to go on.
        let Some(stamp) = stamp else { return Ok(None) };
        let payload = payload_of(&blocks, stamp.payload_length);
        Ok(place.give(&stamp, payload, || self.seat.shelf().headers()))
    }
}

impl Place {
    fn follow(&mut self, order: Move) {
        self.orders = order.count;
        self.dropped = order.dropped;
        if self.begun && self.next.is_some_and(|next| next >= order.to) {
            // What it waited for has come meanwhile: nothing is given twice.
            return;
        }
        self.next = Some(order.to);
        self.discontinuity |= self.begun;
        if order.enters {
            self.search = Some(0);
        }
    }

    fn give(
        &mut self,
        stamp: &Stamp,
        mut payload: Vec<Bytes>,
        headers: impl FnOnce() -> Option<Bytes>,
    ) -> Option<LivePiece> {
        self.discontinuity |= stamp.flags.discontinuity && self.begun;
        self.ended |= stamp.flags.end;
        let mut first = None;
        if let Some(searched) = self.search {
            match stamp.rap {
                Some(rap) => skip(&mut payload, rap as usize),
                None if searched < MAX_SEARCH && !stamp.flags.end => {
                    self.search = Some(searched + 1);
                    return None;
                }
                None => {}
            }
            first = headers();
            self.search = None;
        }
        self.begun = true;
        let offset = self.given;
        self.given += payload.iter().chain(&first).map(|part| part.len() as u64).sum::<u64>();
        Some(LivePiece {
            number: stamp.seq,
            payload,
            headers: first,
            offset,
            discontinuity: std::mem::take(&mut self.discontinuity),
            dropped: self.dropped,
            time: stamp.time,
        })
    }
}

/// Leaves out the first bytes.
fn skip(parts: &mut Vec<Bytes>, mut bytes: usize) {
    while let Some(part) = parts.first_mut().filter(|_| bytes > 0) {
        let gone = bytes.min(part.len());
        *part = part.slice(gone..);
        bytes -= gone;
        if part.is_empty() {
            parts.remove(0);
        }
    }
}
