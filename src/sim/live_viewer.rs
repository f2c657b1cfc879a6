//! Somebody who watches a broadcast: takes pieces in order from where the engine says, shows them at the rate at
//! which they were captured, obeys BUFFERING, and takes notes.
//!
//! It takes up to `READ_AHEAD` of media beyond what it shows, and goes where [`Moved`] sends it: behind a hole its
//! clock goes on through the hole, and where it is hooked in anew its clock goes on from there.

use crate::metainfo::geometry::{Geometry, PieceIndex};
use crate::stream::hole::StallPolicy;
use crate::stream::playback::Viewing;
use crate::swarm::ReaderInput;
use crate::swarm::event::{Moved, ReaderId};
use crate::time::{Duration, Instant};

use super::broadcast::Broadcast;
use super::disk::Disk;
use super::live_checks::Order;

/// Media that demuxer and queues take in beyond what is shown.
const READ_AHEAD: Duration = Duration::from_secs(1);
/// Media to be decoded before the first picture.
const PREROLL: Duration = Duration::from_millis(100);
/// Sinks report their clock this often.
const REPORT: Duration = Duration::from_millis(250);

/// How somebody is going to watch.
#[derive(Copy, Clone, Debug)]
pub struct LivePlan {
    /// How far behind the live point.
    pub buffer: Duration,
    /// What happens at holes.
    pub policy: StallPolicy,
    /// Whether sinks report their clock (QOS).
    pub reports: bool,
}

impl Default for LivePlan {
    /// What the element does when nobody says otherwise.
    fn default() -> Self {
        Self { buffer: Duration::from_secs(10), policy: StallPolicy::Auto, reports: true }
    }
}

/// A live viewer's notes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveNotes {
    /// When it began to watch.
    pub opened: Instant,
    /// From opening to the first moving picture.
    pub start_up: Option<Duration>,
    /// Pauses that the engine asked for after playback had begun.
    pub stalls: u32,
    /// Time spent in them.
    pub stall_time: Duration,
    /// Times when it played and had nothing to show.
    pub underruns: u32,
    /// Times when it was told 100.
    pub hundreds: u32,
    /// Pieces that it took.
    pub taken: u32,
    /// Pieces that were skipped.
    pub dropped: u64,
    /// When it was hooked in, and where.
    pub hooked_in: Vec<(Instant, u32)>,
    /// Numbers of the first and the last piece that it took.
    pub span: Option<(u32, u32)>,
    /// Behind capture, of what it showed: the least and the most, and of the last piece.
    pub lag: Option<(Duration, Duration, Duration)>,
}

impl LiveNotes {
    /// Pieces skipped, in parts of ten thousand of those that were due.
    pub fn drop_rate(&self) -> u64 {
        self.dropped * 10_000 / (self.dropped + u64::from(self.taken)).max(1)
    }
}

/// One viewer of a broadcast.
#[derive(Debug)]
pub struct LiveViewer {
    id: ReaderId,
    plan: LivePlan,
    geometry: Geometry,
    broadcast: Broadcast,
    opened: bool,
    /// The next piece to take, once it is told.
    next: Option<u32>,
    /// It waits for that piece.
    waiting: bool,
    /// This piece is shown at this time of its clock.
    base: (u32, Duration),
    /// Its clock, at `since` if it runs.
    shown: Duration,
    since: Option<Instant>,
    buffering: bool,
    starving: bool,
    prerolled: bool,
    told_playing: bool,
    next_report: Instant,
    stalled: Option<Instant>,
    order: Order,
    notes: LiveNotes,
}

impl LiveViewer {
    /// A viewer who begins to watch at once.
    pub fn new(id: ReaderId, plan: LivePlan, broadcast: Broadcast) -> Self {
        Self {
            id,
            plan,
            geometry: broadcast.show().geometry(),
            broadcast,
            opened: false,
            next: None,
            waiting: false,
            base: (0, Duration::ZERO),
            shown: Duration::ZERO,
            since: None,
            buffering: false,
            starving: false,
            prerolled: false,
            told_playing: false,
            next_report: Instant::ZERO,
            stalled: None,
            order: Order::default(),
            notes: LiveNotes::default(),
        }
    }

    /// Which reader of its engine it is.
    pub const fn id(&self) -> ReaderId {
        self.id
    }

    /// What it wrote down.
    pub const fn notes(&self) -> &LiveNotes {
        &self.notes
    }

    /// Time spent in stalls, with the one that it is in.
    pub fn stall_time(&self, now: Instant) -> Duration {
        self.notes.stall_time + self.stalled.map_or(Duration::ZERO, |since| now - since)
    }

    /// The engine tells how full the buffer is.
    pub fn on_buffering(&mut self, now: Instant, percent: u8) {
        let filling = percent < 100;
        if filling && !self.buffering && self.notes.start_up.is_some() {
            self.notes.stalls += 1;
            self.stalled = Some(now);
        }
        if !filling {
            self.notes.hundreds += 1;
            self.notes.stall_time += self.stalled.take().map_or(Duration::ZERO, |since| now - since);
        }
        self.buffering = filling;
    }

    /// The engine sends it somewhere else.
    pub fn on_moved(&mut self, now: Instant, to: u32, why: Moved) {
        match why {
            Moved::HookedIn => {
                self.notes.hooked_in.push((now, to));
                self.base = (to, self.shown_at(now));
            }
            Moved::Dropped { pieces } => self.notes.dropped += pieces,
        }
        (self.next, self.waiting) = (Some(to), false);
    }

    /// What it does next, given what is on the disk; `None` when it is content. The second is what is wrong with
    /// what it got.
    pub fn act(&mut self, now: Instant, disk: &Disk) -> (Option<ReaderInput>, Option<&'static str>) {
        if !self.opened {
            (self.opened, self.notes.opened) = (true, now);
            let LivePlan { buffer, policy, .. } = self.plan;
            return (Some(ReaderInput::Watch(Viewing { buffer, policy, max_lag: None })), None);
        }
        if let Some(piece) = self.awaited().filter(|piece| disk.written().has(*piece)) {
            let wrong = self.order.on_piece(&self.geometry, piece, disk);
            self.take(now, piece);
            if wrong.is_some() {
                return (None, wrong);
            }
        }
        self.run(now);
        let said = self.tell(now).or_else(|| self.read(now));
        (said, None)
    }

    /// When it wants to be looked at again.
    pub fn wake(&self) -> Instant {
        let Some(since) = self.since else { return Instant::FAR_FUTURE };
        let moment = |media: Duration| since + media.saturating_sub(self.shown) + Duration::from_micros(1);
        let mut wake = moment(self.taken());
        if !self.waiting && self.next.is_some() {
            wake = wake.min(moment(self.taken().saturating_sub(READ_AHEAD)));
        }
        if self.plan.reports { wake.min(self.next_report) } else { wake }
    }

    fn read(&mut self, now: Instant) -> Option<ReaderInput> {
        let hungry = self.taken() < self.shown_at(now) + READ_AHEAD;
        let piece = self.piece().filter(|_| hungry && !self.waiting)?;
        self.waiting = true;
        Some(ReaderInput::Read(self.geometry.piece_range(piece)))
    }

    fn piece(&self) -> Option<PieceIndex> {
        self.geometry.piece(self.next?)
    }

    fn awaited(&self) -> Option<PieceIndex> {
        self.piece().filter(|_| self.waiting)
    }

    fn take(&mut self, now: Instant, piece: PieceIndex) {
        let number = piece.number();
        // It is shown when its turn comes, if nothing holds the player up until then.
        let shown = now + self.time_at(number).saturating_sub(self.shown_at(now));
        (self.next, self.waiting) = (Some(number + 1), false);
        self.notes.taken += 1;
        let first = self.notes.span.map_or(number, |(first, _)| first);
        self.notes.span = Some((first, number));
        if let Some(captured) = self.broadcast.captured(number) {
            let lag = shown - captured;
            let (least, most, _) = self.notes.lag.unwrap_or((lag, lag, lag));
            self.notes.lag = Some((least.min(lag), most.max(lag), lag));
        }
    }

    /// The time of its clock at which a piece is shown.
    fn time_at(&self, number: u32) -> Duration {
        let (base, at) = self.base;
        at + self.broadcast.show().piece_time() * number.saturating_sub(base)
    }

    /// Media time of what it has taken.
    fn taken(&self) -> Duration {
        self.next.map_or(Duration::ZERO, |next| self.time_at(next))
    }

    fn shown_at(&self, now: Instant) -> Duration {
        self.shown + self.since.map_or(Duration::ZERO, |since| now - since)
    }

    /// Moves the clock: preroll, running dry.
    fn run(&mut self, now: Instant) {
        let taken = self.taken();
        self.prerolled |= taken >= PREROLL && self.notes.taken > 0;
        if self.since.is_some() && self.shown_at(now) >= taken {
            (self.shown, self.since) = (taken, None);
            self.starving = true;
            self.notes.underruns += 1;
        }
        self.starving &= taken <= self.shown;
        let runs = self.prerolled && !self.buffering && !self.starving;
        if runs && self.since.is_none() {
            self.since = Some(now);
            self.next_report = now;
            let start_up = now - self.notes.opened;
            self.notes.start_up.get_or_insert(start_up);
        } else if !runs && self.since.is_some() {
            (self.shown, self.since) = (self.shown_at(now), None);
        }
    }

    /// What the engine hears of the player's state and clock.
    fn tell(&mut self, now: Instant) -> Option<ReaderInput> {
        let playing = !self.buffering && (self.prerolled || self.told_playing);
        if playing != self.told_playing {
            self.told_playing = playing;
            return Some(ReaderInput::Playing(playing));
        }
        if self.plan.reports && self.since.is_some() && now >= self.next_report {
            self.next_report = now + REPORT;
            return Some(ReaderInput::Clock(self.shown_at(now)));
        }
        None
    }
}
