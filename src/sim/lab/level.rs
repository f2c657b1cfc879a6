//! What viewers have ahead of them, looked at again and again.

use crate::rate::ByteRate;
use crate::sim::world::{Host, Mind};
use crate::time::{Duration, Instant};

use super::spread::percentile;

/// Looks at one run, about.
const MAX_LOOKS: u32 = 4_000;

/// Media that viewers have ahead of what they show, at one moment, in seconds.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Level {
    /// When, in seconds since the world began.
    pub at: u64,
    /// One of twenty has less.
    pub low: f64,
    /// Half of them have less.
    pub middle: f64,
    /// One of twenty has more.
    pub high: f64,
}

impl Level {
    /// Time between two looks at a run of this length: a second, of long ones more.
    pub(super) fn pause(limit: Duration) -> Duration {
        Duration::from_secs((limit / MAX_LOOKS).as_secs() + 1)
    }

    /// Looks at what each of them has ahead.
    pub(super) fn of(now: Instant, ahead: impl Iterator<Item = f64>) -> Option<Self> {
        let mut ahead: Vec<_> = ahead.collect();
        ahead.sort_unstable_by(f64::total_cmp);
        Some(Self {
            at: now.micros() / 1_000_000,
            low: percentile(&ahead, 5)?,
            middle: percentile(&ahead, 50)?,
            high: percentile(&ahead, 95)?,
        })
    }
}

/// What a host that watches has ahead, in seconds.
pub(super) fn ahead(now: Instant, host: &Host, bitrate: ByteRate) -> Option<f64> {
    let Mind::Engine(engine) = &host.mind else { return None };
    let shown = engine.viewers().first().filter(|_| host.left().is_none())?.shown_byte(now)?;
    let missing = engine.missing_from(shown).unwrap_or_else(|| engine.total());
    Some(bitrate.time_for(missing - shown)?.as_secs_f64())
}
