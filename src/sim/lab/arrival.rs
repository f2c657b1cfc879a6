//! When the hosts of a class come.

use rand::RngExt as _;
use rand_pcg::Pcg64;

use crate::time::Duration;

use super::error::ScenarioError;
use super::section::Section;
use super::values::{Span, one_of};

/// How many come in each part of an evening of equal parts, in no unit: slowly at first, most of them when it begins
/// to be watched everywhere, few when it is late.
const EVENING: [f64; 12] = [1.0, 1.5, 2.5, 4.0, 6.5, 9.0, 10.0, 9.0, 6.0, 3.5, 2.0, 1.0];
/// What may be said of arrivals.
const KINDS: [&str; 4] = ["at once", "regular", "poisson", "evening"];

/// When the hosts of a class come.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Arrival {
    /// All within this time.
    AtOnce {
        /// From the first to the last, at most.
        spread: Duration,
    },
    /// One after the other.
    Regular {
        /// From the beginning to the first, and between two of them.
        gap: Duration,
    },
    /// One after the other, none knowing of the others.
    Poisson {
        /// Between two of them.
        mean_gap: Duration,
    },
    /// Over an evening, most of them in the middle of it.
    Evening {
        /// From the first to the last, at most.
        duration: Duration,
    },
}

impl Default for Arrival {
    fn default() -> Self {
        Self::AtOnce { spread: Duration::ZERO }
    }
}

impl Arrival {
    pub(super) fn read(class: &mut Section) -> Result<Self, ScenarioError> {
        let Some(mut section) = class.section("arrival")? else { return Ok(Self::default()) };
        let kind = section.require::<String>("kind")?;
        let arrival = match kind.as_str() {
            "at once" => Self::AtOnce { spread: section.or("spread", Duration::ZERO)? },
            "regular" => Self::Regular { gap: section.require::<Span>("gap")?.0 },
            "poisson" => Self::Poisson { mean_gap: section.require::<Span>("mean-gap")?.0 },
            "evening" => Self::Evening { duration: section.require::<Span>("duration")?.0 },
            _ => return Err(section.wrong("kind", &kind.into(), one_of(KINDS))),
        };
        section.finish()?;
        Ok(arrival)
    }

    /// When so many of them come, since the world began, in order.
    pub(super) fn times(self, count: usize, rng: &mut Pcg64) -> Vec<Duration> {
        let mut times: Vec<_> = (0..count).map(|_| self.draw(rng)).collect();
        match self {
            Self::Regular { .. } | Self::Poisson { .. } => {
                let mut now = Duration::ZERO;
                times.iter_mut().for_each(|time| {
                    now += *time;
                    *time = now;
                });
            }
            Self::AtOnce { .. } | Self::Evening { .. } => times.sort_unstable(),
        }
        times
    }

    /// When one comes; where they come one after the other, how long after the one before.
    fn draw(self, rng: &mut Pcg64) -> Duration {
        match self {
            Self::Regular { gap } => gap,
            Self::AtOnce { spread } => spread.mul_f64(rng.random_range(0.0..1.0)),
            Self::Poisson { mean_gap } => exponential(mean_gap, rng),
            Self::Evening { duration } => duration.mul_f64(evening(rng.random_range(0.0..1.0))),
        }
    }
}

/// The part of an evening that is over when this part of all has come.
fn evening(share: f64) -> f64 {
    let mut left = share * EVENING.iter().sum::<f64>();
    for (part, come) in EVENING.iter().enumerate() {
        if left < *come {
            return (part as f64 + left / come) / EVENING.len() as f64;
        }
        left -= come;
    }
    1.0
}

/// A time of which the mean of many is `mean`.
pub(super) fn exponential(mean: Duration, rng: &mut Pcg64) -> Duration {
    let uniform: f64 = rng.random_range(0.0..1.0);
    mean.mul_f64(-(1.0 - uniform).ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn those_who_come_at_random_have_the_mean_that_was_asked_for() {
        let mut rng = Pcg64::seed_from_u64(1);
        let times = Arrival::Poisson { mean_gap: Duration::from_secs(2) }.times(1_000, &mut rng);
        assert!(times.is_sorted());
        assert!((1_800..2_200).contains(&times[999].as_secs()), "{:?}", times[999]);
    }

    #[test]
    fn those_who_come_regularly_leave_nothing_to_chance() {
        let times = |seed| {
            let arrival = Arrival::Regular { gap: Duration::from_secs(2) };
            arrival.times(3, &mut Pcg64::seed_from_u64(seed))
        };
        assert_eq!(times(1), [2, 4, 6].map(Duration::from_secs));
        assert_eq!(times(1), times(2));
    }

    #[test]
    fn most_come_in_the_middle_of_an_evening() {
        let mut rng = Pcg64::seed_from_u64(1);
        let times = Arrival::Evening { duration: Duration::from_secs(1_200) }.times(1_000, &mut rng);
        let before = |s| times.iter().filter(|t| t.as_secs() < s).count();
        assert!(before(300) < 150 && before(900) - before(400) > 600 && before(1_200) == 1_000);
        assert_eq!((evening(0.0), evening(1.0)), (0.0, 1.0));
    }
}
