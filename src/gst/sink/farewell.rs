//! The end of a broadcast: how long its last pieces are on their way to viewers.

use std::time::{Duration, Instant};

/// Nobody wants anything any more when nothing was taken for so long.
const QUIET: Duration = Duration::from_secs(3);
/// How often to look.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A broadcast that has ended, and waits for its viewers.
#[derive(Debug)]
pub(super) struct Farewell {
    until: Instant,
    quiet_since: Instant,
    uploaded: u64,
}

impl Farewell {
    /// Begins; `uploaded` bytes have gone to viewers so far.
    pub(super) fn new(now: Instant, linger: Duration, uploaded: u64) -> Self {
        Self { until: now + linger, quiet_since: now, uploaded }
    }

    /// Whether somebody still fetches the last pieces.
    pub(super) fn goes_on(&mut self, now: Instant, viewers: usize, uploaded: u64) -> bool {
        if self.uploaded != uploaded {
            (self.uploaded, self.quiet_since) = (uploaded, now);
        }
        viewers > 0 && now < self.until && now.saturating_duration_since(self.quiet_since) < QUIET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_while_viewers_take_something_but_no_longer_than_asked() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut farewell = Farewell::new(begun, Duration::from_secs(10), 5);
        assert!(!farewell.goes_on(begun, 0, 5), "nobody is there");
        assert!(farewell.goes_on(at(2), 1, 5));
        assert!(farewell.goes_on(at(4), 1, 6));
        assert!(farewell.goes_on(at(6), 1, 6));
        assert!(!farewell.goes_on(at(7), 1, 6), "they are there and take nothing");
        assert!(!farewell.goes_on(at(10), 1, 7), "the time is over");
    }
}
