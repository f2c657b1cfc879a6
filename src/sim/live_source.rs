//! The one who makes a broadcast: a piece each piece time, whether or not anybody takes it.

use crate::metainfo::geometry::PieceIndex;
use crate::stream::live_piece::{Flags, VerifiedStamp};
use crate::time::{Duration, Instant};

use super::broadcast::Broadcast;

/// The input of an engine that runs a broadcast.
#[derive(Clone, Debug)]
pub struct LiveSource {
    broadcast: Broadcast,
    next: Instant,
    until: Instant,
    /// It comes after another one: the first piece does not go on where the one before ended, and leaves out so many
    /// numbers.
    again: Option<u32>,
}

impl LiveSource {
    /// A source that begins at `from` and breaks off at `until`; one that comes `again` after another says so, and
    /// leaves out so many numbers.
    pub fn new(broadcast: Broadcast, from: Duration, until: Option<Duration>, again: Option<u32>) -> Self {
        let until = until.map_or(Instant::FAR_FUTURE, |until| Instant::ZERO + until);
        Self { broadcast, next: Instant::ZERO + from, until, again }
    }

    /// Makes what is due.
    pub fn act(&mut self, now: Instant) -> Vec<(PieceIndex, VerifiedStamp)> {
        let mut made = Vec::new();
        while self.next <= now && self.next < self.until {
            self.next += self.broadcast.show().piece_time();
            let again = self.again.take();
            self.broadcast.skip(again.unwrap_or_default());
            made.push(self.broadcast.make(now, Flags { discontinuity: again.is_some(), end: false }));
        }
        made
    }

    /// When it wants to be looked at again.
    pub fn wake(&self) -> Instant {
        if self.next < self.until { self.next } else { Instant::FAR_FUTURE }
    }
}
