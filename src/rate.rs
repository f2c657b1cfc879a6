//! Rolling estimators of rates, with units.

use std::fmt;

use crate::time::{Duration, Instant};

/// Bytes per second.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRate(pub u64);

impl ByteRate {
    /// Bytes/s.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The rate at which `bytes` pass in `time`; zero when no time passes.
    pub fn of(bytes: u64, time: Duration) -> Self {
        Self::of_micros(bytes, micros(time))
    }

    /// The same, of a time in µs.
    fn of_micros(bytes: u64, us: u64) -> Self {
        Self(scaled(bytes, 1_000_000, us).unwrap_or_default())
    }

    /// How long `bytes` take; `None` at rate zero.
    pub fn time_for(self, bytes: u64) -> Option<Duration> {
        scaled(bytes, 1_000_000, self.0).map(Duration::from_micros)
    }

    /// Bytes that pass in `time`.
    pub fn bytes_in(self, time: Duration) -> u64 {
        scaled(self.0, micros(time), 1_000_000).unwrap_or(u64::MAX)
    }
}

/// `a * b / c`, or the largest number where that is more; `None` when `c` is zero. Of small numbers, as they mostly
/// are, without the division of long ones.
fn scaled(a: u64, b: u64, c: u64) -> Option<u64> {
    match a.checked_mul(b) {
        Some(product) => product.checked_div(c),
        None => {
            let long = (u128::from(a) * u128::from(b)).checked_div(u128::from(c))?;
            Some(u64::try_from(long).unwrap_or(u64::MAX))
        }
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            r if r >= 1 << 20 => write!(f, "{}.{} MiB/s", r >> 20, (r % (1 << 20)) * 10 / (1 << 20)),
            r if r >= 1 << 10 => write!(f, "{} KiB/s", r >> 10),
            r => write!(f, "{r} B/s"),
        }
    }
}

/// Slots of a [`RateMeter`].
const SLOTS: usize = 10;

/// Bytes over a sliding window, kept in ten slots.
#[derive(Clone, Debug)]
pub struct RateMeter {
    /// µs in a slot.
    slot: u64,
    /// Bytes by slot number, modulo their count: of the newest slot and those before it.
    slots: [u64; SLOTS],
    newest: u64,
    /// What is in the slots.
    sum: u64,
    started: Option<Instant>,
    total: u64,
}

impl RateMeter {
    /// A meter that looks back over `window`.
    pub fn new(window: Duration) -> Self {
        let slot = micros(window) / SLOTS as u64;
        Self { slot: slot.max(1), slots: [0; SLOTS], newest: 0, sum: 0, started: None, total: 0 }
    }

    /// Counts bytes that passed now.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        self.started.get_or_insert(now);
        self.total += bytes;
        let number = self.number(now);
        if number > self.newest {
            self.sum -= self.outdated(number);
            (self.newest + 1..=number).take(SLOTS).for_each(|n| self.slots[index(n)] = 0);
            self.newest = number;
        }
        self.slots[index(self.newest)] += bytes;
        self.sum += bytes;
    }

    /// Bytes/s over the window, or over the time since the first byte when that is shorter (but at least one
    /// slot, so that a first block does not look like an infinite rate).
    pub fn rate(&self, now: Instant) -> ByteRate {
        let Some(started) = self.started else { return ByteRate(0) };
        let bytes = self.sum - self.outdated(self.number(now));
        let covered = (SLOTS as u64 - 1) * self.slot + now.micros() % self.slot;
        ByteRate::of_micros(bytes, covered.min(micros(now - started)).max(self.slot))
    }

    /// Bytes ever counted.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Bytes in slots that are too old when this one is the newest.
    fn outdated(&self, number: u64) -> u64 {
        let passed = number.saturating_sub(self.newest);
        if passed >= SLOTS as u64 {
            return self.sum;
        }
        (self.newest + 1..=self.newest + passed).map(|n| self.slots[index(n)]).sum()
    }

    const fn number(&self, now: Instant) -> u64 {
        now.micros() / self.slot
    }
}

/// Where a slot with this number is kept.
const fn index(number: u64) -> usize {
    (number % SLOTS as u64) as usize
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A token bucket: how many bytes a limit allows now. Rate 0 means no limit.
#[derive(Clone, Debug)]
pub struct Limiter {
    rate: ByteRate,
    /// Bytes that may pass; negative after a block that did not fit whole.
    tokens: i64,
    refilled: Instant,
}

/// A limiter saves up at most this much time's worth of bytes.
const BURST: Duration = Duration::from_millis(250);
/// ... but always room for two blocks.
const MIN_BURST: u64 = 32 * 1024;

impl Limiter {
    /// A limiter that starts with an empty bucket at `now`.
    pub const fn new(rate: ByteRate, now: Instant) -> Self {
        Self { rate, tokens: 0, refilled: now }
    }

    /// Changes the limit.
    pub fn set_rate(&mut self, now: Instant, rate: ByteRate) {
        self.refill(now);
        self.rate = rate;
        self.tokens = self.tokens.min(self.burst());
    }

    /// Whether anything may pass now.
    pub fn is_open(&mut self, now: Instant) -> bool {
        if self.rate.0 == 0 {
            return true;
        }
        self.refill(now);
        self.tokens > 0
    }

    /// Counts bytes that passed; the bucket may go below empty, later bytes wait for it.
    pub fn spend(&mut self, bytes: u64) {
        if self.rate.0 > 0 {
            self.tokens = self.tokens.saturating_sub_unsigned(bytes);
        }
    }

    /// When something may pass again; `None` when it may now.
    pub fn opens_at(&mut self, now: Instant) -> Option<Instant> {
        if self.is_open(now) {
            return None;
        }
        let missing = self.tokens.unsigned_abs() + 1;
        self.rate.time_for(missing).map(|wait| now + wait + Duration::from_micros(1))
    }

    fn refill(&mut self, now: Instant) {
        let earned = self.rate.bytes_in(now - self.refilled);
        if earned > 0 || now < self.refilled {
            self.tokens = self.tokens.saturating_add_unsigned(earned).min(self.burst());
            // Only the time that was turned into whole bytes is used up.
            let used = self.rate.time_for(earned).unwrap_or_default();
            self.refilled = if self.tokens == self.burst() { now } else { self.refilled + used };
        }
    }

    fn burst(&self) -> i64 {
        i64::try_from(self.rate.bytes_in(BURST).max(MIN_BURST)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_steady_flow_is_measured_and_forgotten() {
        let mut meter = RateMeter::new(Duration::from_secs(2));
        for ms in (0..3_000).step_by(10) {
            meter.add(Instant::from_millis(ms), 1_000);
        }
        let rate = meter.rate(Instant::from_millis(3_000)).0;
        assert!((95_000..=105_000).contains(&rate), "{rate}");
        assert_eq!(meter.rate(Instant::from_millis(6_000)), ByteRate(0));
        assert_eq!(meter.total(), 300_000);
    }

    #[test]
    fn rates_and_times_invert_each_other() {
        assert_eq!(ByteRate::of(1_000, Duration::from_millis(500)), ByteRate(2_000));
        assert_eq!(ByteRate(2_000).time_for(1_000), Some(Duration::from_millis(500)));
        assert_eq!(ByteRate(0).time_for(1), None);
        assert_eq!(ByteRate(1_572_864).to_string(), "1.5 MiB/s");
    }

    proptest! {
        #[test]
        fn a_limiter_never_lets_more_through_than_rate_and_burst(
            rate in 1_000u64..10_000_000,
            steps in prop::collection::vec((0u64..100_000, 1u64..20_000), 1..200),
        ) {
            let mut limiter = Limiter::new(ByteRate(rate), Instant::ZERO);
            let (mut now, mut passed, mut last) = (Instant::ZERO, 0u64, 0u64);
            for (wait, bytes) in steps {
                now += Duration::from_micros(wait);
                if limiter.is_open(now) {
                    limiter.spend(bytes);
                    passed += bytes;
                    last = bytes;
                } else {
                    let opens = limiter.opens_at(now).unwrap();
                    prop_assert!(opens > now);
                    prop_assert!(limiter.clone().is_open(opens));
                }
            }
            let allowed = rate * now.micros() / 1_000_000 + MIN_BURST.max(rate / 4) + last;
            prop_assert!(passed <= allowed, "{passed} of {allowed}");
        }
    }
}
