//! Is a viewer of a broadcast in need? It is when it is alone, or when nothing new comes: the source is gone, or nobody
//! who could tell is in reach.

use crate::time::{Duration, Instant};

/// A viewer of a broadcast who is alone for so long is in need of peers, or at the beginning for so long, ...
const ALONE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// ... and one who hears of no new piece for so long (stamps are told every other second), or for so many times as long
/// as a piece lasts.
const STANDSTILL: (Duration, u32) = (Duration::from_secs(3), 2);

/// Since when a viewer has been alone, and since when nothing new has come.
#[derive(Debug)]
pub(super) struct Standstill {
    newest: Option<u32>,
    /// When it was found to be another one than before.
    moved: Instant,
    /// When there was anybody last.
    company: Instant,
    need: Option<Instant>,
    still: bool,
}

impl Standstill {
    pub(super) const fn new(now: Instant) -> Self {
        Self { newest: None, moved: now, company: now, need: None, still: false }
    }

    /// For how long there has been a need for peers, if there is one now.
    pub(super) fn look(
        &mut self,
        now: Instant,
        alone: bool,
        newest: Option<u32>,
        piece_time: Duration,
    ) -> Option<Duration> {
        if !alone {
            self.company = now;
        }
        if std::mem::replace(&mut self.newest, newest) != newest {
            self.moved = now;
        }
        let begun = newest.is_some();
        self.still = begun && now - self.moved >= STANDSTILL.0.max(piece_time * STANDSTILL.1);
        if !self.still && now - self.company < if begun { ALONE.0 } else { ALONE.1 } {
            self.need = None;
            return None;
        }
        Some(now - *self.need.get_or_insert(now))
    }

    /// Whether there was a need when it was looked at last.
    pub(super) const fn is_in_need(&self) -> bool {
        self.need.is_some()
    }

    /// For how long no new piece has been heard of, if that is long.
    pub(super) fn lasts(&self, now: Instant) -> Option<Duration> {
        self.still.then(|| now - self.moved)
    }
}
