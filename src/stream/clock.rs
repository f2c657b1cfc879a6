//! Where the player is: media time shown since the last flush.
//!
//! Sinks report it through QOS (elements hand it in as running time); between two reports, and where none come
//! (matroskademux swallows them), it goes on with the wall clock while the application plays.

use crate::time::{Duration, Instant};

/// The player's clock.
#[derive(Copy, Clone, Debug, Default)]
pub struct PlayClock {
    /// Media time at `since`.
    base: Duration,
    /// Set while playing.
    since: Option<Instant>,
}

impl PlayClock {
    /// Media time shown now.
    pub fn at(&self, now: Instant) -> Duration {
        self.base + self.since.map_or(Duration::ZERO, |since| now - since)
    }

    /// A sink reports what it shows.
    pub fn report(&mut self, now: Instant, shown: Duration) {
        self.base = shown;
        self.since = self.since.map(|_| now);
    }

    /// The application plays or pauses.
    pub fn set_playing(&mut self, now: Instant, playing: bool) {
        self.base = self.at(now);
        self.since = playing.then_some(now);
    }

    /// Whether it runs.
    pub const fn is_playing(&self) -> bool {
        self.since.is_some()
    }

    /// A flush: running time starts over.
    pub fn reset(&mut self, now: Instant) {
        self.base = Duration::ZERO;
        self.since = self.since.map(|_| now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_while_playing_and_follows_reports() {
        let mut clock = PlayClock::default();
        let at = Instant::from_secs;
        assert_eq!(clock.at(at(5)), Duration::ZERO);
        clock.set_playing(at(5), true);
        assert_eq!(clock.at(at(7)), Duration::from_secs(2));
        clock.report(at(8), Duration::from_millis(2_500));
        assert_eq!(clock.at(at(9)), Duration::from_millis(3_500));
        clock.set_playing(at(9), false);
        assert_eq!(clock.at(at(20)), Duration::from_millis(3_500));
        clock.reset(at(20));
        assert_eq!(clock.at(at(21)), Duration::ZERO);
    }
}
