//! One reader of the torrent: where it is, what it needs by when, and whether its player may run.
//!
//! *Reads are not the playhead.* Demuxers jump to an index at the end and back. A read is urgent for its own
//! pieces; the window moves only when reading goes on in order, or after a flush (a seek).
//!
//! *Starving*: a read waits, and what is buffered behind the player's clock is nearly used up. Until the
//! [start rule](super::start) is met (again), the player is told percentages, and 100 exactly once at the end of
//! each episode; where nothing ever has to be waited for, nothing is told.
//!
//! A viewer of a live broadcast reads in order from where it is [hooked in](Playback::hook_in); what does not come in
//! time may be [dropped](super::hole) instead of waited for.

use std::ops::Range;

use super::bitrate::{Bitrate, READ_AHEAD};
use super::clock::PlayClock;
use super::container::MAX_PLACES;
use super::hole::{Missing, StallPolicy, at_hole, is_given_up};
use super::live_start::{self, LiveBuffer};
use super::start::{Buffer, Media, Supply, readiness};
use crate::rate::ByteRate;
use crate::time::{Duration, Instant};

/// The high set reaches this far behind the playhead (Give-to-Get's h).
const HIGH: Duration = Duration::from_secs(10);
/// The high set of a live viewer is this part of its buffer; all of it, where the buffer does not fill in its own time.
const LIVE_HIGH_PART: u32 = 3;
/// The mid set ends at this multiple of h (Give-to-Get's µ).
const MID_FACTOR: u64 = 4;
/// Least bytes in the high set, and what it is while the bitrate is unknown.
const MIN_HIGH: u64 = 1 << 20;
const UNKNOWN_HIGH: u64 = 8 << 20;
/// A waiting read starves the player when less media than this is left before it.
const STARVING: Duration = Duration::from_millis(400);
/// ... or, where media time cannot be told, when it has waited so long.
const STARVING_WAIT: Duration = Duration::from_millis(300);
/// A player that was not held up for so long is in a steady state: byte and media position are tied anew.
const STEADY: Duration = Duration::from_secs(2);
/// What a viewer that has stopped lacks may be on its way still for so long after the buffer is full behind it.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// A flush that no read has followed for so long ends the episode that it came into: who goes to the very end
/// reads nothing, and would wait for ever.
const NOTHING_READ: Duration = Duration::from_secs(1);
/// A gap in reading up to here is still reading in order (demuxers skip atoms they do not need).
const SKIP: u64 = 64 * 1024;
/// A live viewer that lags more than this (or than twice its buffer) does not begin there.
const LAG_AT_START: Duration = Duration::from_secs(10);
/// Who goes on reading so far behind a look aside stays there. (An index is one read, and then one of what
/// follows it, or a few short ones.)
const SETTLED: u64 = 64 * 1024;

/// The parts of the torrent that a reader wants, most urgent first. Byte ranges of the torrent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// What a read waits for.
    pub urgent: Range<u64>,
    /// What reads will jump to, in order.
    pub soon: Vec<Range<u64>>,
    /// In order.
    pub high: Range<u64>,
    /// Rarest first.
    pub mid: Range<u64>,
}

/// Something to tell the application.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Buffering {
    /// 0..=99, or 100 to end the episode.
    pub percent: u8,
    /// Media in the buffer.
    pub level: Option<Duration>,
    /// Time until 100.
    pub left: Option<Duration>,
}

/// What a look at the clock gives.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// To be told to the application.
    Buffering(Buffering),
    /// The piece that a live viewer waits for is given up: [`Playback::skip_to`] what is there behind it.
    Drop,
}

/// How a live broadcast is watched.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Viewing {
    /// How far behind the live point to begin, and how much media the buffer is to hold.
    pub buffer: Duration,
    /// What happens at holes.
    pub policy: StallPolicy,
    /// Who lags more than this goes on nearer to the live point.
    pub max_lag: Option<Duration>,
}

/// A viewer of a live broadcast.
#[derive(Copy, Clone, Debug)]
struct Live {
    viewing: Viewing,
    /// Where it was hooked in last, and when.
    hooked_in: Option<(u64, Instant)>,
    /// Since when the buffer is full behind what it lacks.
    full: Option<Instant>,
}

/// Figures over a reader's life.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Times the player starved after it had started.
    pub stalls: u64,
    /// Time it spent so.
    pub stall_time: Duration,
    /// From opening to the first start.
    pub start_up: Option<Duration>,
    /// Live pieces given up.
    pub dropped: u64,
    /// Times that a live viewer was hooked in anew after it had taken something.
    pub rehooked: u64,
}

/// A read that jumped, and those that went on there.
#[derive(Copy, Clone, Debug)]
struct Jump {
    start: u64,
    end: u64,
    /// Where the first that went on began.
    onward: Option<u64>,
    /// Everything from the end to here is verified; reads of what is there need not all be told.
    there: u64,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for the start rule since then; the application was told this percentage.
    Filling { since: Instant, told: Option<u8>, stall: bool },
    /// The player may run.
    Running,
}

/// One reader.
#[derive(Debug)]
pub struct Playback {
    file: Range<u64>,
    start_buffer: Duration,
    bitrate: Bitrate,
    clock: PlayClock,
    opened: Instant,
    /// Where reading goes on in order.
    playhead: u64,
    /// Everything from the playhead to here is verified.
    contiguous: u64,
    /// What was read in order ends here. Reads of what is there need not all be told.
    read_to: u64,
    /// What it will jump to and is not all there.
    expected: Vec<Range<u64>>,
    /// A look aside; who goes on reading there moves the playhead.
    jumped: Option<Jump>,
    /// The next read is the new place, wherever it is, since this flush.
    flushed: Option<Instant>,
    /// The application was told so much in this episode and at this place: less would look like a mistake.
    floor: u8,
    waiting: Option<(Range<u64>, Instant)>,
    /// When a read last had to wait.
    held_up: Instant,
    /// This byte is shown at this time of the player's clock.
    anchor: (u64, Duration),
    phase: Phase,
    tally: Tally,
    live: Option<Live>,
}

impl Playback {
    /// A reader of the bytes `file` of the torrent that starts at its beginning.
    pub fn new(now: Instant, file: Range<u64>, bitrate: Option<u64>, start_buffer: Duration) -> Self {
        Self {
            playhead: file.start,
            contiguous: file.start,
            read_to: file.start,
            anchor: (file.start, Duration::ZERO),
            file,
            start_buffer,
            bitrate: Bitrate::new(bitrate),
            clock: PlayClock::default(),
            opened: now,
            expected: Vec::new(),
            jumped: None,
            flushed: Some(now),
            floor: 0,
            waiting: None,
            held_up: now,
            phase: Phase::Filling { since: now, told: None, stall: false },
            tally: Tally::default(),
            live: None,
        }
    }

    /// A viewer of a live broadcast, not hooked in yet.
    pub fn live(now: Instant, viewing: Viewing) -> Self {
        let live = Some(Live { viewing, hooked_in: None, full: None });
        Self { live, ..Self::new(now, 0..u64::MAX, None, viewing.buffer) }
    }

    /// Whether a live viewer that lags so much is to go on nearer to the live point: while it watches, if it wants to,
    /// and before it does, always. (Who had answered first may have lagged itself.)
    pub fn lags_too_much(&self, now: Instant, lag: Duration) -> bool {
        let Some(live) = self.live else { return false };
        let (lag, most) = if self.tally.start_up.is_some() {
            (lag, live.viewing.max_lag)
        } else {
            // Who has begun to take what comes, however slowly, was only hooked in too far behind if it lagged then.
            let since = self.taken_since().map_or(Duration::ZERO, |since| now - since);
            (lag.saturating_sub(since), Some(LAG_AT_START))
        };
        // Nearer than its buffer it would only lag again.
        most.is_some_and(|most| lag > most.max(self.start_buffer * 2))
    }

    /// When a live viewer was hooked in, if anything has come there that it may have taken.
    fn taken_since(&self) -> Option<Instant> {
        self.live?.hooked_in.filter(|(byte, _)| self.contiguous > *byte).map(|(_, since)| since)
    }

    /// A live viewer goes on from this byte.
    pub fn hook_in(&mut self, now: Instant, byte: u64) {
        // Where nothing came it was never watched from: the place was out of date already.
        self.tally.rehooked += u64::from(self.taken_since().is_some());
        if let Some(live) = &mut self.live {
            (live.hooked_in, live.full) = (Some((byte, now)), None);
        }
        self.start_at(now, byte, false);
        (self.waiting, self.flushed) = (None, Some(now));
        if self.phase == Phase::Running {
            self.phase = Phase::Filling { since: now, told: None, stall: self.tally.start_up.is_some() };
        }
    }

    /// Whether it knows where it begins. (A film's reader always does.)
    pub fn is_hooked_in(&self) -> bool {
        self.live.is_none_or(|live| live.hooked_in.is_some())
    }

    /// A live viewer goes on behind a hole of so many pieces. Its media time goes on too: the hole is part of it.
    pub fn skip_to(&mut self, byte: u64, dropped: u64) {
        self.tally.dropped += dropped;
        self.live.iter_mut().for_each(|live| live.full = None);
        (self.playhead, self.contiguous, self.read_to) = (byte, byte, byte);
        (self.waiting, self.jumped) = (None, None);
    }

    /// Bytes/s of media by the stamps of a live broadcast.
    pub fn set_media_rate(&mut self, rate: u64) {
        self.bitrate.set_media(rate);
    }

    /// How much media a viewer's buffer is to hold.
    pub const fn buffer_span(&self) -> Duration {
        self.start_buffer
    }

    /// The bytes it may read.
    pub const fn file(&self) -> &Range<u64> {
        &self.file
    }

    /// It reads these bytes now; `there`: they are all verified. Gives `true` when it begins or goes somewhere
    /// else, so that requests for other places stand in the way.
    pub fn read(&mut self, now: Instant, range: Range<u64>, there: bool) -> bool {
        let fresh = self.flushed.take().is_some();
        let place = self.place(&range, fresh);
        let moved = fresh || place == Place::Elsewhere;
        if fresh {
            // Where a broadcast goes on elsewhere, running time goes on.
            let shown = if self.live.is_some() { self.clock.at(now) } else { Duration::ZERO };
            self.anchor = (range.start, shown);
            self.read_to = range.start;
        }
        match place {
            Place::InOrder => {
                self.bitrate.consumed(now, range.end.saturating_sub(self.read_to));
                self.read_to = self.read_to.max(range.end);
                self.playhead = self.playhead.max(range.start);
                self.jumped = None;
                self.tie(now, range.start);
            }
            Place::Elsewhere => self.start_at(now, range.start, fresh),
            Place::Aside => self.look_aside(&range),
        }
        self.contiguous = self.contiguous.max(self.playhead);
        if there {
            self.waiting = None;
        } else {
            self.held_up = now;
            self.waiting = Some((range, now));
        }
        moved
    }

    /// A flushing seek: the next read is the new place.
    pub fn flush(&mut self, now: Instant) {
        self.flushed = Some(now);
        self.floor = 0;
        self.jumped = None;
        self.waiting = None;
        self.clock.reset(now);
        self.bitrate.reset();
        if self.phase == Phase::Running {
            self.phase = Phase::Filling { since: now, told: None, stall: false };
        }
    }

    /// It will jump to these places soon; those outside of its file are none.
    pub fn expect(&mut self, places: Vec<Range<u64>>) {
        let file = &self.file;
        let inside = places.into_iter().map(|p| p.start.max(file.start)..p.end.min(file.end));
        self.expected = inside.filter(|p| !p.is_empty()).take(MAX_PLACES).collect();
    }

    /// The application plays or pauses.
    pub fn set_playing(&mut self, now: Instant, playing: bool) {
        self.clock.set_playing(now, playing);
    }

    /// A sink shows media of this running time.
    pub fn shown(&mut self, now: Instant, media: Duration) {
        // What a sink said before it was flushed counts from another zero.
        if self.flushed.is_none() {
            self.clock.report(now, media);
        }
    }

    /// Verified bytes have come: `first_missing(from)` is the first byte at or behind `from` that is not there.
    pub fn refresh(&mut self, first_missing: impl Fn(u64) -> u64) {
        self.contiguous = first_missing(self.contiguous).min(self.file.end).max(self.playhead);
        if let Some((range, _)) = &self.waiting
            && first_missing(range.start) >= range.end
        {
            self.waiting = None;
        }
        if let Some(jump) = &mut self.jumped {
            jump.there = first_missing(jump.end).max(jump.end);
        }
        self.expected.retain(|place| first_missing(place.start) < place.end);
    }

    /// What it wants, up to the byte where what may be kept for it ends.
    pub fn sets(&self, now: Instant, reach: u64) -> Sets {
        if !self.is_hooked_in() {
            return Sets::default();
        }
        if self.live.is_some() {
            return self.live_sets(now, reach);
        }
        // How fast somebody reads who has to wait says nothing of the media.
        let least = if self.bitrate.media().is_some() { MIN_HIGH } else { UNKNOWN_HIGH };
        let demand = self.bitrate.demand(now).unwrap_or_default();
        let high = demand.saturating_mul(HIGH.as_secs()).max(least);
        let end = |bytes: u64| self.playhead.saturating_add(bytes).min(self.file.end).min(reach);
        // Who has much in front of its playhead goes on in order, until it is safe.
        let there = self.contiguous - self.playhead;
        let mid = end(there.saturating_add(high.saturating_mul(MID_FACTOR)));
        let high = end(there.saturating_add(high).min(high.saturating_mul(MID_FACTOR)));
        let soon = self.expected.iter().filter(|place| place.end <= reach).cloned().collect();
        Sets { urgent: self.waits_for(), soon, high: self.playhead..high, mid: high..mid }
    }

    /// What is needed soon is fetched in order; the rest, up to the live point, is what neighbours trade.
    fn live_sets(&self, now: Instant, reach: u64) -> Sets {
        let rate = ByteRate(self.bitrate.media().unwrap_or_default());
        // Over a link slower than the media most of what is traded comes, and never all of what is to be shown first.
        let patient = |since: Instant| if now - since > self.start_buffer { 1 } else { LIVE_HIGH_PART };
        let part = match self.phase {
            Phase::Filling { since, .. } => patient(since),
            Phase::Running => LIVE_HIGH_PART,
        };
        let high = self.playhead.saturating_add(rate.bytes_in(self.start_buffer / part)).min(reach);
        let high = self.playhead..high.max(self.playhead);
        Sets { urgent: self.waits_for(), soon: Vec::new(), mid: high.end..reach.max(high.end), high }
    }

    /// Time until the player needs one of these bytes: zero for what a read waits for, none when it cannot be
    /// told or they are not needed.
    pub fn due(&self, now: Instant, bytes: &Range<u64>) -> Option<Duration> {
        let waits = |(waiting, _): &(Range<u64>, _)| waiting.start < bytes.end && bytes.start < waiting.end;
        if self.waiting.as_ref().is_some_and(waits) {
            return Some(Duration::ZERO);
        }
        let byte = bytes.start.max(self.playhead);
        if byte >= bytes.end || byte >= self.file.end {
            return None;
        }
        let ahead = self.bitrate.time_of(byte - self.playhead)?;
        let running = self.phase == Phase::Running;
        Some(if running { self.lead_at(now, byte).unwrap_or(ahead).min(ahead) } else { ahead })
    }

    /// Bytes/s at which the reader may take what comes, where known.
    pub fn demand(&self, now: Instant) -> Option<u64> {
        self.bitrate.demand(now)
    }

    /// Bytes/s of media, where known.
    pub fn media_rate(&self) -> Option<u64> {
        self.bitrate.media()
    }

    /// The first byte behind the playhead that is not there.
    pub const fn first_missing(&self) -> u64 {
        self.contiguous
    }

    /// Where reading goes on.
    pub const fn playhead(&self) -> u64 {
        self.playhead
    }

    /// What a read waits for; empty when none does.
    pub fn waits_for(&self) -> Range<u64> {
        self.waiting.as_ref().map(|(range, _)| range.clone()).unwrap_or_default()
    }

    /// Whether it waits for the start rule (and `supply.left` has to be known).
    pub fn is_filling(&self) -> bool {
        self.phase != Phase::Running
    }

    /// Whether a read waits.
    pub const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Looks at the clock: may the player start, does it starve? Gives what the application has to be told.
    pub fn tick(&mut self, now: Instant, supply: Supply) -> Option<Told> {
        if let (Some(flushed), None) = (self.flushed, self.live) {
            return self.rest(now - flushed).map(Told::Buffering);
        }
        if self.clock.is_playing() {
            self.bitrate.shown(self.clock.at(now));
        }
        match self.phase {
            Phase::Running if self.starves(now) => {
                if self.drops(supply) {
                    return Some(Told::Drop);
                }
                self.tally.stalls += 1;
                self.live.iter_mut().for_each(|live| live.full = None);
                self.phase = Phase::Filling { since: now, told: None, stall: true };
                self.fill(now, supply).map(Told::Buffering)
            }
            Phase::Running => None,
            Phase::Filling { stall, .. } => {
                self.look_behind(now, supply);
                if stall && self.waiting.is_some() && self.gives_up(now) {
                    return Some(Told::Drop);
                }
                self.fill(now, supply).map(Told::Buffering)
            }
        }
    }

    /// Whether a live viewer gives up what it waits for.
    fn drops(&self, supply: Supply) -> bool {
        let behind = self.bitrate.time_of(supply.behind).unwrap_or_default();
        let missing = self.live.map(|live| at_hole(live.viewing.policy, behind, self.start_buffer));
        // Where nothing is there behind it, there is nothing to go on with.
        missing == Some(Missing::Drop) && supply.behind > 0
    }

    /// Is a live viewer's buffer full behind what it lacks?
    fn look_behind(&mut self, now: Instant, supply: Supply) {
        let behind = self.bitrate.time_of(supply.behind).unwrap_or_default();
        if let Some(live) = &mut self.live {
            let full = is_given_up(live.viewing.policy, behind, self.start_buffer);
            live.full = if full { live.full.or(Some(now)) } else { None };
        }
    }

    /// Whether a live viewer does not wait any more for what it lacks.
    fn gives_up(&self, now: Instant) -> bool {
        self.live.and_then(|live| live.full).is_some_and(|since| now - since >= ON_ITS_WAY)
    }

    /// Figures for statistics: buffered bytes, buffered media, stalls and start-up.
    pub fn tally(&self, now: Instant) -> (u64, Option<Duration>, Tally) {
        let bytes = self.contiguous - self.playhead;
        let mut tally = self.tally;
        if let Phase::Filling { since, stall: true, .. } = self.phase {
            tally.stall_time += now - since;
        }
        (bytes, self.bitrate.time_of(bytes), tally)
    }

    fn place(&self, range: &Range<u64>, fresh: bool) -> Place {
        if fresh {
            return if range.start == self.playhead { Place::InOrder } else { Place::Elsewhere };
        }
        if (self.playhead..=self.contiguous.saturating_add(SKIP)).contains(&range.start) {
            return Place::InOrder;
        }
        let since = self.jumped.filter(|jump| jump.goes_on(range)).and_then(|jump| jump.onward);
        if since.is_some_and(|since| range.start - since >= SETTLED) {
            Place::Elsewhere
        } else {
            Place::Aside
        }
    }

    fn look_aside(&mut self, range: &Range<u64>) {
        let Range { start, end } = *range;
        let fresh = Jump { start, end, onward: None, there: end };
        let jump =
            self.jumped.filter(|j| (j.start..j.end).contains(&start) || j.goes_on(range)).unwrap_or(fresh);
        let onward = jump.onward.or_else(|| (start >= jump.end).then_some(start));
        let end = jump.end.max(end);
        self.jumped = Some(Jump { end, onward, there: jump.there.max(end), ..jump });
    }

    fn start_at(&mut self, now: Instant, byte: u64, fresh: bool) {
        self.playhead = byte;
        self.contiguous = byte;
        self.read_to = byte;
        self.jumped = None;
        if !fresh {
            self.anchor = (byte, self.clock.at(now));
        }
    }

    /// Media time left before the player needs `byte`, by the byte position tied to its clock.
    fn lead_at(&self, now: Instant, byte: u64) -> Option<Duration> {
        let (anchor, shown) = self.anchor;
        let ahead = self.bitrate.time_of(byte.saturating_sub(anchor))?;
        Some((shown + ahead).saturating_sub(self.clock.at(now)))
    }

    fn starves(&self, now: Instant) -> bool {
        let Some((range, since)) = &self.waiting else { return false };
        if !self.clock.is_playing() {
            return false;
        }
        match self.lead_at(now, range.start.max(self.contiguous)) {
            Some(lead) => lead < STARVING,
            None => now - *since > STARVING_WAIT,
        }
    }

    /// In steady play the reader asks for more when it has room: it is then a known time ahead of the clock,
    /// whatever the momentary bitrate.
    fn tie(&mut self, now: Instant, byte: u64) {
        let steady = self.phase == Phase::Running && now - self.held_up > STEADY;
        if steady && self.clock.is_playing() {
            self.anchor = (byte, self.clock.at(now) + READ_AHEAD);
        }
    }

    /// Nothing was read since the flush: nobody waits.
    fn rest(&mut self, time: Duration) -> Option<Buffering> {
        let Phase::Filling { told, .. } = &mut self.phase else { return None };
        if time < NOTHING_READ {
            return None;
        }
        told.take().map(|_| self.buffering(100, Some(Duration::ZERO)))
    }

    fn fill(&mut self, now: Instant, supply: Supply) -> Option<Buffering> {
        let Phase::Filling { since, told, stall } = self.phase else { return None };
        let (percent, left) = self.progress(now, supply);
        if percent == 100 {
            (self.phase, self.floor) = (Phase::Running, 0);
            if stall {
                self.tally.stall_time += now - since;
            } else if self.tally.start_up.is_none() {
                self.tally.start_up = Some(now - self.opened);
            }
            self.held_up = now;
            return told.map(|_| self.buffering(100, Some(Duration::ZERO)));
        }
        let percent = percent.max(self.floor);
        self.floor = percent;
        if told == Some(percent) {
            return None;
        }
        self.phase = Phase::Filling { since, told: Some(percent), stall };
        Some(self.buffering(percent, left))
    }

    fn buffering(&self, percent: u8, left: Option<Duration>) -> Buffering {
        Buffering { percent, level: self.bitrate.time_of(self.contiguous - self.playhead), left }
    }

    /// How near the start rule is: percent, and the time that is left where it can be told.
    fn progress(&self, now: Instant, supply: Supply) -> (u8, Option<Duration>) {
        if self.live.is_some() {
            return self.live_progress(now, supply);
        }
        if self.contiguous >= self.file.end.min(supply.reach) {
            return (100, Some(Duration::ZERO));
        }
        let media = || {
            Some(Media {
                there: self.lead_at(now, self.contiguous)?,
                rest: self.lead_at(now, self.file.end)?,
                wanted: self.start_buffer,
                bitrate: ByteRate(self.bitrate.media()?),
            })
        };
        readiness(Buffer { bytes: self.contiguous - self.playhead, media: media() }, supply)
    }

    fn live_progress(&self, now: Instant, supply: Supply) -> (u8, Option<Duration>) {
        let (Some(there), Some(media)) = (self.lead_at(now, self.contiguous), self.bitrate.media()) else {
            return (0, None);
        };
        if !self.is_hooked_in() {
            return (0, None);
        }
        if self.contiguous > self.playhead && self.gives_up(now) {
            // What is decided at the hole is decided when playback comes to it.
            return (100, Some(Duration::ZERO));
        }
        live_start::readiness(LiveBuffer {
            there,
            wanted: self.start_buffer,
            bitrate: ByteRate(media),
            rate: supply.rate,
        })
    }
}

impl Jump {
    fn goes_on(&self, range: &Range<u64>) -> bool {
        (self.end..=self.there.saturating_add(SKIP)).contains(&range.start)
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Where reading goes on.
    InOrder,
    /// The reader has moved.
    Elsewhere,
    /// A look somewhere else; reading may come back.
    Aside,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    /// A film of a minute at 1 MiB/s.
    fn film() -> Playback {
        Playback::new(at(0), 0..60 * MIB, Some(MIB), Duration::from_secs(2))
    }

    /// Bytes come in at `rate` and everything up to `have` is there.
    fn tick(playback: &mut Playback, now: Instant, rate: u64, have: u64) -> Option<u8> {
        playback.refresh(|from| from.max(have));
        let supply =
            Supply { rate: ByteRate(rate), left: 60 * MIB - have, next: 0, reach: u64::MAX, behind: 0 };
        match playback.tick(now, supply)? {
            Told::Buffering(told) => Some(told.percent),
            Told::Drop => unreachable!("a film has no hole"),
        }
    }

    #[test]
    fn enough_speed_starts_with_the_start_buffer() {
        let mut playback = film();
        playback.read(at(0), 0..1000, false);
        assert_eq!(tick(&mut playback, at(100), 2 * MIB, MIB), Some(50));
        assert_eq!(tick(&mut playback, at(200), 2 * MIB, 2 * MIB - 1), Some(99));
        assert_eq!(tick(&mut playback, at(300), 2 * MIB, 2 * MIB), Some(100));
        assert_eq!(tick(&mut playback, at(400), 2 * MIB, 2 * MIB), None);
    }

    #[test]
    fn who_has_watched_for_long_goes_on_soon_where_it_is_hooked_in_anew() {
        let viewing = Viewing { buffer: Duration::from_secs(10), policy: StallPolicy::Auto, max_lag: None };
        let mut playback = Playback::live(at(0), viewing);
        playback.set_media_rate(MIB / 10);
        playback.hook_in(at(0), 0);
        playback.read(at(0), 0..1000, true);
        assert_eq!(tick(&mut playback, at(100), 10 * MIB, MIB), None, "never told");
        playback.set_playing(at(100), true);
        playback.hook_in(at(3_600_000), 50 * MIB);
        playback.read(at(3_600_000), 50 * MIB..50 * MIB + 1000, false);
        assert_eq!(tick(&mut playback, at(3_600_100), 10 * MIB, 50 * MIB), Some(0));
        playback.set_playing(at(3_600_100), false);
        assert_eq!(tick(&mut playback, at(3_601_000), 10 * MIB, 51 * MIB), Some(100));
    }

    /// Who had taken the beginning had a hole behind it, of which nobody was told.
    #[test]
    fn who_is_slow_to_begin_is_not_moved_away_from_what_it_has_taken() {
        let viewing = Viewing { buffer: Duration::from_secs(4), policy: StallPolicy::Auto, max_lag: None };
        let seconds = Duration::from_secs;
        let hooked_in = |have: u64| {
            let mut playback = Playback::live(at(0), viewing);
            playback.set_media_rate(MIB);
            playback.hook_in(at(0), 0);
            playback.read(at(0), 0..1000, false);
            playback.refresh(|from| from.max(have));
            playback
        };
        // The broadcast goes on for half a minute.
        let lags =
            |playback: &Playback, at_start: u64| playback.lags_too_much(at(30_000), seconds(at_start + 30));
        let (mut slow, mut idle) = (hooked_in(1), hooked_in(0));
        assert_eq!([4, 10, 11].map(|start| lags(&slow, start)), [false, false, true], "its place was wrong");
        assert!(lags(&idle, 4), "nothing came");
        for (playback, times) in [(&mut slow, 1), (&mut idle, 0)] {
            playback.hook_in(at(30_000), 30 * MIB);
            assert_eq!(playback.tally.rehooked, times);
        }
    }

    /// The original waited for the piece for ever.
    #[test]
    fn a_stop_at_a_hole_ends_when_the_buffer_is_full_behind_it() {
        let told = |policy| {
            let viewing = Viewing { buffer: Duration::from_secs(10), policy, max_lag: None };
            let mut playback = Playback::live(at(0), viewing);
            playback.set_media_rate(MIB);
            playback.hook_in(at(0), 0);
            playback.read(at(0), 0..MIB, false);
            assert_eq!(tick(&mut playback, at(0), 10 * MIB, 10 * MIB), None, "never told");
            playback.set_playing(at(0), true);
            playback.read(at(1_000), 10 * MIB..11 * MIB, false);
            let behind = |seconds| Supply {
                rate: ByteRate(MIB),
                left: MIB,
                next: MIB,
                reach: u64::MAX,
                behind: seconds * MIB,
            };
            let stopped = playback.tick(at(10_000), behind(4));
            assert!(
                matches!(stopped, Some(Told::Buffering(Buffering { percent: 0..=99, .. }))),
                "{stopped:?}"
            );
            playback.set_playing(at(10_000), false);
            let looks = [(10_001, 9), (13_000, 9), (13_001, 10), (15_000, 10), (15_001, 10)];
            let told = looks.map(|(ms, seconds)| playback.tick(at(ms), behind(seconds)));
            playback.skip_to(11 * MIB, 1);
            assert_eq!(tick(&mut playback, at(15_002), MIB, 21 * MIB), Some(100));
            told
        };
        assert_eq!(told(StallPolicy::Auto), [None, None, None, None, Some(Told::Drop)]);
        assert_eq!(told(StallPolicy::Stall), [None; 5]);
    }

    #[test]
    fn what_the_demuxer_has_taken_already_counts_as_buffered() {
        let mut playback = film();
        playback.read(at(0), 0..1000, true);
        playback.refresh(|from| from.max(2 * MIB));
        playback.read(at(0), MIB - 1000..MIB, true);
        assert_eq!(
            tick(&mut playback, at(300), 2 * MIB, 2 * MIB),
            None,
            "never told, so nothing to take back"
        );
        assert!(!playback.is_filling());
    }

    #[test]
    fn too_little_speed_waits_until_the_rest_comes_in_time() {
        let mut playback = film();
        playback.read(at(0), 0..1000, false);
        // At 0.8 x bitrate, 60 x 0.95 x 0.8 = 45.6 MiB come while it plays: 14.4 have to be there.
        assert!(tick(&mut playback, at(100), MIB * 8 / 10, 14 * MIB).is_some_and(|p| p < 100));
        assert_eq!(tick(&mut playback, at(200), MIB * 8 / 10, 31 * MIB / 2), Some(100));
    }

    #[test]
    fn where_no_more_may_be_kept_it_starts_with_what_is_there() {
        let mut playback = film();
        playback.read(at(0), 0..1000, false);
        playback.refresh(|from| from.max(10 * MIB));
        let supply =
            Supply { rate: ByteRate(MIB / 10), left: 50 * MIB, next: MIB, reach: 10 * MIB, behind: 0 };
        playback.tick(at(100), supply);
        assert!(!playback.is_filling());
    }

    #[test]
    fn a_read_that_waits_while_media_runs_out_is_one_stall_until_100() {
        let mut playback = film();
        playback.read(at(0), 0..1000, false);
        playback.set_playing(at(0), false);
        tick(&mut playback, at(0), 2 * MIB, MIB);
        assert_eq!(tick(&mut playback, at(0), 2 * MIB, 2 * MIB), Some(100));
        playback.set_playing(at(0), true);
        playback.read(at(1_000), 2 * MIB..2 * MIB + 1000, false);
        assert_eq!(tick(&mut playback, at(1_500), MIB / 2, 2 * MIB), None, "half a second is left");
        assert_eq!(tick(&mut playback, at(1_700), MIB / 2, 2 * MIB), Some(15));
        playback.set_playing(at(1_700), false);
        assert_eq!(tick(&mut playback, at(2_000), MIB / 2, 2 * MIB), None, "nothing new to tell");
        assert_eq!(tick(&mut playback, at(5_000), 2 * MIB, 4 * MIB), Some(100));
        let (.., tally) = playback.tally(at(6_000));
        assert_eq!((tally.stalls, tally.stall_time), (1, Duration::from_millis(3_300)));
        assert_eq!(tally.start_up, Some(Duration::ZERO));
    }

    #[test]
    fn told_once_a_piece_is_enough_to_learn_the_bitrate() {
        let mut playback = Playback::new(at(0), 0..60 * MIB, None, Duration::from_secs(2));
        playback.refresh(|_| 60 * MIB);
        playback.set_playing(at(0), true);
        for second in 0..10 {
            // One second ahead of what is shown; of each MiB only the first bytes are told.
            playback.read(at(second * 1_000), second * MIB..second * MIB + 4_096, true);
            playback.shown(at(second * 1_000), Duration::from_secs(second));
            tick(&mut playback, at(second * 1_000), MIB, 60 * MIB);
        }
        let rate = playback.media_rate().unwrap();
        assert!((MIB * 8 / 10..MIB * 11 / 10).contains(&rate), "{rate}");
    }

    #[test]
    fn a_look_at_the_index_does_not_move_the_window_and_reading_on_there_does() {
        let mut playback = film();
        assert!(playback.read(at(0), 0..1000, true), "the first read says where it begins");
        assert!(!playback.read(at(1), 50 * MIB..50 * MIB + 100, false));
        assert_eq!(
            (playback.playhead(), playback.sets(at(1), u64::MAX).urgent),
            (0, 50 * MIB..50 * MIB + 100)
        );
        assert!(!playback.read(at(2), 1000..2000, true), "back in order");
        let mut reads = 0;
        let mut goes_on_from = |playback: &mut Playback, start, end| {
            reads += 1;
            playback.read(at(2 + reads), start..end, false)
        };
        // The head of an index, all of it piece by piece, and what is behind.
        for (start, end) in [(50 * MIB, 50 * MIB + 16), (50 * MIB, 54 * MIB), (52 * MIB, 54 * MIB)] {
            assert!(!goes_on_from(&mut playback, start, end));
        }
        assert!(!goes_on_from(&mut playback, 54 * MIB, 54 * MIB + 16));
        assert_eq!((playback.playhead(), playback.first_missing()), (1000, 1000));
        // Reading on, of which not everything is told.
        assert!(!goes_on_from(&mut playback, 54 * MIB + 16, 54 * MIB + 1_000));
        playback.refresh(|from| if from > 54 * MIB { 55 * MIB } else { from });
        assert!(goes_on_from(&mut playback, 55 * MIB, 55 * MIB + 100));
        assert_eq!(playback.playhead(), 55 * MIB);
    }

    #[test]
    fn who_waits_wants_no_less_while_the_bitrate_is_unknown() {
        let mut playback = Playback::new(at(0), 0..100 * MIB, None, Duration::from_secs(2));
        playback.read(at(0), 0..1_000, true);
        playback.read(at(500), 1_000..9_000, false);
        assert!(playback.demand(at(500)).is_some_and(|pace| pace < MIB));
        assert_eq!(playback.sets(at(500), u64::MAX).high, 1_000..1_000 + UNKNOWN_HIGH);
    }

    #[test]
    fn a_seek_moves_the_window_with_the_next_read() {
        let mut playback = film();
        playback.read(at(0), 0..1000, true);
        playback.flush(at(10));
        assert!(playback.read(at(11), 30 * MIB..30 * MIB + 10, false));
        let sets = playback.sets(at(11), u64::MAX);
        assert_eq!((sets.high.start, sets.high.end), (30 * MIB, 40 * MIB));
        assert_eq!((sets.mid.start, sets.mid.end), (40 * MIB, 60 * MIB));
        assert_eq!(playback.due(at(11), &(29 * MIB..31 * MIB)), Some(Duration::ZERO));
        assert_eq!(playback.due(at(11), &(31 * MIB..32 * MIB)), Some(Duration::from_secs(1)));
        assert_eq!(playback.due(at(11), &(10 * MIB..11 * MIB)), None);
    }
}
