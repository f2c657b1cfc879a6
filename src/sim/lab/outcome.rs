//! What came out of one run, host by host.

use crate::sim::host::EngineHost;
use crate::sim::world::{Host, Mind};
use crate::swarm::event::Event;
use crate::time::{Duration, Instant};

use super::class::Role;
use super::level::Level;
use super::plan::Plan;

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// When it ended.
    pub end: Instant,
    /// The hosts that came, by class in the order of the plan.
    pub classes: Vec<Vec<HostOutcome>>,
    /// What viewers had ahead: by class, and behind them all of them together.
    levels: Vec<Vec<Level>>,
}

/// What became of one host. Times are in seconds since it came.
#[derive(Clone, Debug, PartialEq)]
pub struct HostOutcome {
    /// What it wanted.
    pub role: Role,
    /// How long it was there.
    pub stay: f64,
    /// Whether it left.
    pub left: bool,
    /// Payload out.
    pub given: u64,
    /// Payload in.
    pub got: u64,
    /// Payload in that was of no use.
    pub wasted: u64,
    /// When it had everything.
    pub completed: Option<f64>,
    /// Of those who watch.
    pub viewing: Option<Viewing>,
}

/// What somebody saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Viewing {
    /// When it began to play; infinite if it never did.
    pub start_up: f64,
    /// Pauses that the engine asked for after that.
    pub stalls: u32,
    /// Time spent in them.
    pub stall_time: f64,
    /// Times when there was nothing to show.
    pub underruns: u32,
    /// The start-up with which a player with an endless buffer would never have had to wait, as far as it watched;
    /// `None` of those who sought.
    pub needed: Option<f64>,
    /// Whether it saw the end.
    pub ended: bool,
    /// Whether it saw the end, or left when it wanted to; of a broadcast, whether it saw all of its time.
    pub content: bool,
    /// Of those who watch a broadcast.
    pub live: Option<LiveViewing>,
}

/// What somebody saw of a broadcast.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct LiveViewing {
    /// Pieces.
    pub taken: u64,
    /// Pieces that were skipped.
    pub dropped: u64,
    /// From capture to the screen, of the last piece that it took.
    pub delay: Option<f64>,
}

impl Outcome {
    pub(super) fn new(plan: &Plan, end: Instant, levels: Vec<Vec<Level>>) -> Self {
        Self { end, classes: vec![Vec::new(); plan.classes.len()], levels }
    }

    /// What viewers had ahead; those of a class, or all.
    pub fn levels(&self, class: Option<usize>) -> &[Level] {
        &self.levels[class.unwrap_or(self.classes.len())]
    }

    /// All hosts that came.
    pub fn hosts(&self) -> impl Iterator<Item = &HostOutcome> {
        self.classes.iter().flatten()
    }
}

impl HostOutcome {
    /// A host that was to come after `joins`; `None` when it has not come yet.
    pub(super) fn new(now: Instant, host: &Host, role: Role, joins: Duration) -> Option<Self> {
        let (Mind::Engine(engine), joined) = (&host.mind, Instant::ZERO + joins) else { return None };
        if joined > now {
            return None;
        }
        let stats = engine.stats(now);
        let left = host.left().unwrap_or(now);
        let completed = engine.events().iter().find(|(_, event)| *event == Event::Completed);
        let completed = completed.map(|(at, _)| (*at - joined).as_secs_f64());
        Some(Self {
            role,
            stay: (left - joined).as_secs_f64(),
            left: host.left().is_some(),
            given: stats.uploaded,
            got: stats.downloaded,
            wasted: stats.wasted,
            completed: completed.filter(|_| role.is_fed()),
            viewing: Viewing::new(left, engine, host.left().is_some())
                .or_else(|| Viewing::live(left, engine)),
        })
    }
}

impl Viewing {
    fn new(end: Instant, engine: &EngineHost, left: bool) -> Option<Self> {
        let viewer = engine.viewers().first()?;
        let notes = viewer.notes();
        // What is not there at the end comes later than that.
        let missing = engine.missing_from(0).map_or(Duration::ZERO, |byte| viewer.needs(end, byte));
        let needed = notes.needed.max(missing).as_secs_f64();
        Some(Self {
            start_up: notes.start_up.map_or(f64::INFINITY, |time| time.as_secs_f64()),
            stalls: notes.stalls,
            stall_time: viewer.stall_time(end).as_secs_f64(),
            underruns: notes.underruns,
            needed: notes.seeks.is_empty().then_some(needed),
            ended: notes.ended.is_some(),
            content: notes.ended.is_some() || left,
            live: None,
        })
    }

    fn live(end: Instant, engine: &EngineHost) -> Option<Self> {
        let viewer = engine.watchers().first()?;
        let notes = viewer.notes();
        Some(Self {
            start_up: notes.start_up.map_or(f64::INFINITY, |time| time.as_secs_f64()),
            stalls: notes.stalls,
            stall_time: viewer.stall_time(end).as_secs_f64(),
            underruns: notes.underruns,
            needed: None,
            ended: false,
            content: notes.dropped == 0,
            live: Some(LiveViewing {
                taken: notes.taken.into(),
                dropped: notes.dropped,
                delay: notes.lag.map(|(.., last)| last.as_secs_f64()),
            }),
        })
    }

    /// Whether it saw what it wanted to see without waiting after the start.
    pub fn is_smooth(&self) -> bool {
        self.content && self.start_up.is_finite() && self.stalls == 0 && self.underruns == 0
    }
}
