//! How long the hosts of a class stay.

use rand_pcg::Pcg64;

use crate::time::Duration;

use super::arrival::exponential;
use super::error::ScenarioError;
use super::section::Section;
use super::values::{Span, one_of};

/// How long somebody gives after the end, unless it is said: the element's own time.
const LINGER: Duration = Duration::from_secs(5);
/// What may be said of departures.
const KINDS: [&str; 3] = ["never", "at the end", "early"];

/// How long the hosts of a class stay.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub enum Stay {
    /// To the end of the run.
    #[default]
    Forever,
    /// Until everything is seen, or fetched, and then for this time.
    ToTheEnd {
        /// After the end.
        linger: Duration,
    },
    /// Until they have had enough, and at the longest as above.
    Early {
        /// From arrival to departure.
        mean_stay: Duration,
        /// After the end.
        linger: Duration,
    },
}

impl Stay {
    pub(super) fn read(class: &mut Section) -> Result<Self, ScenarioError> {
        let Some(mut section) = class.section("departure")? else { return Ok(Self::default()) };
        let kind = section.require::<String>("kind")?;
        let stay = match kind.as_str() {
            "never" => Self::Forever,
            "at the end" => Self::ToTheEnd { linger: section.or("linger", LINGER)? },
            "early" => Self::Early {
                mean_stay: section.require::<Span>("mean-stay")?.0,
                linger: section.or("linger", LINGER)?,
            },
            _ => return Err(section.wrong("kind", &kind.into(), one_of(KINDS))),
        };
        section.finish()?;
        Ok(stay)
    }

    /// How long one of them stays at most.
    pub(super) fn draw(self, rng: &mut Pcg64) -> Option<Duration> {
        match self {
            Self::Early { mean_stay, .. } => Some(exponential(mean_stay, rng)),
            Self::Forever | Self::ToTheEnd { .. } => None,
        }
    }

    /// How long one stays after the end.
    pub(super) const fn linger(self) -> Option<Duration> {
        match self {
            Self::Forever => None,
            Self::ToTheEnd { linger } | Self::Early { linger, .. } => Some(linger),
        }
    }
}
