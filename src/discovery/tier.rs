//! One tier of trackers (BEP 12): whom to ask next, and when.
//!
//! A tier asks its trackers in order until one answers; that one moves to the front and is asked from then on.
//! Two things are added to the BEP, so that a dead tracker costs a viewer nothing: when the one asked is silent
//! for [`HEDGE`] the next is asked as well, and a tier that failed altogether is tried again soon at first.
//! Invariant: `order` holds each of the tier's trackers once.

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::time::{Duration, Instant};
use crate::wire::announce::AnnounceResponse;

/// A tracker that is silent for this long is not waited for: the next of its tier is asked too.
pub const HEDGE: Duration = Duration::from_secs(3);
/// First retry when no tracker of a tier answers; it doubles from there.
pub const FIRST_RETRY: Duration = Duration::from_secs(5);
/// Longest wait between retries, before jitter.
pub const LAST_RETRY: Duration = Duration::from_secs(30 * 60);
/// Where the tracker is most likely the source of a broadcast, which may come back at any moment, ...
pub const EAGER_RETRY: Duration = Duration::from_secs(1);
/// ... retries become slower after so many, ...
pub const EAGER_RETRIES: u32 = 20;
/// ... up to this, before jitter as long again.
pub const LAST_EAGER_RETRY: Duration = Duration::from_secs(5);
/// Whatever a tracker says, it is not asked more often than this.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);
/// Whatever a tracker says, it is asked this often: most forget a peer that is silent for long.
pub const LONGEST_INTERVAL: Duration = Duration::from_secs(6 * 3_600);
/// An early announce (peers are short) keeps this distance even if the tracker allows less.
pub const EARLY_FLOOR: Duration = Duration::from_secs(15);
/// An early announce keeps this distance when the tracker names no `min interval`.
pub const EARLY_DEFAULT: Duration = Duration::from_secs(120);

/// Early announces double their distance while they do not help, this often at most.
const MAX_STREAK: u32 = 10;

/// Index of a tracker in the announcer.
pub type TrackerIndex = usize;

/// A tier's place in its round.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Not asked yet.
    Fresh,
    /// Asking; `asked` of the order so far, one more at `hedge`.
    Asking { asked: usize, hedge: Instant },
    /// One answered: again at `regular`, or at `early` when peers are short.
    Answered { regular: Instant, early: Instant },
    /// None answered: again at this time.
    Failed(Instant),
}

/// A tier's order and clock. The trackers themselves belong to the announcer.
#[derive(Debug)]
pub(super) struct Tier {
    order: Vec<TrackerIndex>,
    phase: Phase,
    failures: u32,
    streak: u32,
    /// Ask a second one while the first is silent.
    hedges: bool,
    /// Try again soon after a failure, however many there were.
    eager: bool,
}

impl Tier {
    pub(super) const fn new(order: Vec<TrackerIndex>, hedges: bool, eager: bool) -> Self {
        Self { order, phase: Phase::Fresh, failures: 0, streak: 0, hedges, eager }
    }

    /// Its trackers, the best first.
    pub(super) fn order(&self) -> &[TrackerIndex] {
        &self.order
    }

    pub(super) const fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Asking { .. })
    }

    /// When it wants to do something. `hungry`: peers are short; `urgent`: an event must be told.
    pub(super) const fn due(&self, hungry: bool, urgent: bool) -> Instant {
        match self.phase {
            Phase::Fresh => Instant::ZERO,
            Phase::Answered { .. } if urgent => Instant::ZERO,
            Phase::Answered { early, .. } if hungry => early,
            Phase::Answered { regular, .. } => regular,
            Phase::Asking { hedge, .. } => hedge,
            Phase::Failed(until) => until,
        }
    }

    /// Starts a round if none is under way.
    pub(super) fn begin(&mut self, now: Instant, hungry: bool) {
        if self.is_asking() {
            return;
        }
        let early = matches!(self.phase, Phase::Answered { regular, .. } if hungry && now < regular);
        self.streak = if early { (self.streak + 1).min(MAX_STREAK) } else { 0 };
        self.phase = Phase::Asking { asked: 0, hedge: Instant::FAR_FUTURE };
    }

    /// Whom to ask next in this round; `free` says who can be asked at all.
    pub(super) fn next(&mut self, now: Instant, free: impl Fn(TrackerIndex) -> bool) -> Option<TrackerIndex> {
        let Phase::Asking { asked, hedge } = &mut self.phase else { return None };
        let next = self.order[*asked..].iter().position(|t| free(*t));
        *asked = next.map_or(self.order.len(), |n| *asked + n + 1);
        let more = self.hedges && *asked < self.order.len();
        *hedge = if more { now + HEDGE } else { Instant::FAR_FUTURE };
        next.map(|_| self.order[*asked - 1])
    }

    /// A tracker answered. The first of a round ends it; the answer of a later one is a bonus.
    pub(super) fn on_answer(&mut self, now: Instant, tracker: TrackerIndex, response: &AnnounceResponse) {
        if !self.is_asking() {
            return;
        }
        if let Some(place) = self.order.iter().position(|t| *t == tracker) {
            self.order[..=place].rotate_right(1);
        }
        let regular = response.interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        let early = response.min_interval.unwrap_or(EARLY_DEFAULT).max(EARLY_FLOOR);
        let early = early.saturating_mul(1 << self.streak).min(regular);
        self.failures = 0;
        self.phase = Phase::Answered { regular: now + regular, early: now + early };
    }

    /// Nobody of this round answered: wait, longer each time, but not before any tracker is willing at all.
    pub(super) fn on_failure(&mut self, now: Instant, willing: Instant, rng: &mut Pcg64) {
        let (wait, part) = match self.eager {
            true => ((EAGER_RETRY * (1 + self.failures / EAGER_RETRIES)).min(LAST_EAGER_RETRY), 1),
            false => (FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LAST_RETRY), 4),
        };
        let jitter = rng.random_range(0..=u64::try_from(wait.as_micros()).unwrap_or(u64::MAX) / part);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Failed(willing.max(now + wait + Duration::from_micros(jitter)));
    }
}
