//! How fast wanted bytes come in, for the start rule.
//!
//! The clock of this measurement runs only while something is wanted: when everything that may be fetched is
//! there (a window that is full, a film that is complete), nothing comes, and that says nothing about what the
//! swarm could give. The smaller of a long and a short look back counts, so that one slow moment delays playback
//! and one fast moment does not start it.

use crate::rate::{ByteRate, RateMeter};
use crate::time::{Duration, Instant};

/// The two looks back.
const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_secs(3);

/// The meter.
#[derive(Debug)]
pub struct SupplyMeter {
    long: RateMeter,
    short: RateMeter,
    /// Time in which something was wanted, until `since`, which is set while it is.
    active: Duration,
    since: Option<Instant>,
}

impl Default for SupplyMeter {
    fn default() -> Self {
        Self { long: RateMeter::new(LONG), short: RateMeter::new(SHORT), active: Duration::ZERO, since: None }
    }
}

impl SupplyMeter {
    /// Whether something is wanted from now on.
    pub fn set_wanting(&mut self, now: Instant, wanting: bool) {
        if wanting != self.since.is_some() {
            self.active = self.clock(now) - Instant::ZERO;
            self.since = wanting.then_some(now);
        }
    }

    /// Bytes came in.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        let clock = self.clock(now);
        self.long.add(clock, bytes);
        self.short.add(clock, bytes);
    }

    /// Bytes/s that come in while something is wanted.
    pub fn rate(&self, now: Instant) -> ByteRate {
        let clock = self.clock(now);
        self.long.rate(clock).min(self.short.rate(clock))
    }

    fn clock(&self, now: Instant) -> Instant {
        Instant::ZERO + self.active + self.since.map_or(Duration::ZERO, |since| now - since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(meter: &mut SupplyMeter, ms: std::ops::Range<u64>) {
        ms.step_by(10).for_each(|ms| meter.add(Instant::from_millis(ms), 10_000));
    }

    #[test]
    fn a_pause_in_wanting_does_not_count_and_a_pause_in_giving_does() {
        let mut meter = SupplyMeter::default();
        meter.set_wanting(Instant::ZERO, true);
        flow(&mut meter, 0..20_000);
        meter.set_wanting(Instant::from_secs(20), false);
        let rate = meter.rate(Instant::from_secs(90)).get();
        assert!((950_000..1_050_000).contains(&rate), "{rate}");
        meter.set_wanting(Instant::from_secs(100), true);
        assert!(meter.rate(Instant::from_secs(102)).get() < 500_000);
        assert_eq!(meter.rate(Instant::from_secs(104)).get(), 0, "the short look back counts");
        flow(&mut meter, 104_000..108_000);
        assert!(meter.rate(Instant::from_secs(108)).get() < 800_000, "the long one as well");
    }
}
