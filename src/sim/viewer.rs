//! Somebody who watches: reads like a demuxer, obeys BUFFERING like an application, and takes notes.
//!
//! It reads up to `READ_AHEAD` of media beyond what it shows, in runs of `CHUNK`, pauses when it is told a
//! percentage below 100 and plays on at 100. As in `net`, the engine is told of reads that have to wait, and of
//! the first one in each piece. An *underrun* is what nobody should ever see: it plays, and the
//! next byte is not there. A *stall* is a pause that the engine asked for after playback had begun.

use std::ops::Range;

use crate::metainfo::geometry::{Geometry, PieceIndex};
use crate::rate::ByteRate;
use crate::swarm::ReaderInput;
use crate::swarm::event::ReaderId;
use crate::time::{Duration, Instant};

/// Media that demuxer and queues take in beyond what is shown.
const READ_AHEAD: Duration = Duration::from_secs(1);
/// Media to be decoded before the first picture.
const PREROLL: Duration = Duration::from_millis(100);
/// Bytes of one read.
const CHUNK: u64 = 64 * 1024;
/// Sinks report their clock this often.
const REPORT: Duration = Duration::from_millis(250);

/// How a viewer takes bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At the film's bitrate, as a player does.
    Film,
    /// As fast as they come, as a file sink does.
    Greedy,
}

/// What somebody is going to watch.
#[derive(Clone, Debug)]
pub struct ViewerPlan {
    /// When, since the world began.
    pub opens: Duration,
    /// Bytes of the torrent; `None`: all.
    pub file: Option<Range<u64>>,
    /// Whether the metainfo tells the bitrate.
    pub told: bool,
    /// How fast.
    pub pace: Pace,
    /// Whether sinks report their clock (QOS).
    pub reports: bool,
    /// Media to have before the engine lets playback start.
    pub start_buffer: Duration,
    /// Flushing seeks: when, and to which byte of the torrent.
    pub seeks: Vec<(Duration, u64)>,
    /// When it pauses, and for how long; in order, one after the other.
    pub pauses: Vec<(Duration, Duration)>,
}

impl Default for ViewerPlan {
    /// The whole film from the beginning, with what the metainfo and the sinks can tell.
    fn default() -> Self {
        Self {
            opens: Duration::ZERO,
            file: None,
            told: true,
            pace: Pace::Film,
            reports: true,
            start_buffer: Duration::from_secs(2),
            seeks: Vec::new(),
            pauses: Vec::new(),
        }
    }
}

/// A viewer's notes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// From opening to the first moving picture.
    pub start_up: Option<Duration>,
    /// Pauses that the engine asked for after playback had begun, seeks left out.
    pub stalls: u32,
    /// Time spent in them.
    pub stall_time: Duration,
    /// Times when it played and had nothing to show.
    pub underruns: u32,
    /// Times when it was told 100.
    pub hundreds: u32,
    /// From each seek to the first bytes of the new place.
    pub seeks: Vec<Duration>,
    /// The least wait after opening with which a player with an endless buffer would never have had to wait, by
    /// the pieces that came since; means nothing after a seek.
    pub needed: Duration,
    /// Bytes read.
    pub bytes: u64,
    /// When it had seen everything.
    pub ended: Option<Instant>,
}

/// One viewer.
#[derive(Debug)]
pub struct Viewer {
    id: ReaderId,
    plan: ViewerPlan,
    file: Range<u64>,
    bitrate: u64,
    geometry: Geometry,
    /// The piece that the engine was last told of.
    told: Option<PieceIndex>,
    opened: Option<Instant>,
    /// Next byte to read, and where reading began after the last seek.
    position: u64,
    base: u64,
    waiting: Option<Range<u64>>,
    /// Media shown since the last seek, at `since` if the clock runs.
    shown: Duration,
    since: Option<Instant>,
    prerolled: bool,
    buffering: bool,
    starving: bool,
    told_playing: bool,
    next_report: Instant,
    seeking: Option<Instant>,
    stalled: Option<Instant>,
    next_seek: usize,
    /// Beginnings and ends of pauses that are over: an odd number while it pauses.
    pause_edges: usize,
    notes: Notes,
}

impl Viewer {
    /// A viewer of a film of this geometry at `bitrate` bytes/s.
    pub fn new(id: ReaderId, plan: ViewerPlan, geometry: Geometry, bitrate: u64) -> Self {
        let file = plan.file.clone().unwrap_or_else(|| 0..geometry.total());
        Self {
            id,
            position: file.start,
            base: file.start,
            file,
            plan,
            bitrate,
            geometry,
            told: None,
            opened: None,
            waiting: None,
            shown: Duration::ZERO,
            since: None,
            prerolled: false,
            buffering: false,
            starving: false,
            told_playing: false,
            next_report: Instant::ZERO,
            seeking: None,
            stalled: None,
            next_seek: 0,
            pause_edges: 0,
            notes: Notes::default(),
        }
    }

    /// Which reader of its engine it is.
    pub const fn id(&self) -> ReaderId {
        self.id
    }

    /// What it wrote down.
    pub const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Whether it has seen everything.
    pub const fn has_ended(&self) -> bool {
        self.notes.ended.is_some()
    }

    /// When it began, if it did.
    pub const fn opened(&self) -> Option<Instant> {
        self.opened
    }

    /// The byte that is shown, while it watches.
    pub fn shown_byte(&self, now: Instant) -> Option<u64> {
        let byte = self.base + ByteRate(self.bitrate).bytes_in(self.shown_at(now));
        (self.opened.is_some() && !self.has_ended()).then(|| byte.min(self.position))
    }

    /// Time spent in stalls, with the one that it is in.
    pub fn stall_time(&self, now: Instant) -> Duration {
        self.notes.stall_time + self.stalled.map_or(Duration::ZERO, |since| now - since)
    }

    /// A wait after opening that is needed if the piece that begins at this byte comes no sooner than now.
    pub fn needs(&self, now: Instant, begin: u64) -> Duration {
        let due = ByteRate(self.bitrate).time_for(begin.saturating_sub(self.file.start)).unwrap_or_default();
        self.opened.map_or(Duration::ZERO, |opened| (now - opened).saturating_sub(due))
    }

    /// A piece is there.
    pub fn on_piece(&mut self, now: Instant, piece: Range<u64>) {
        if piece.start < self.file.end && piece.end > self.file.start {
            self.notes.needed = self.notes.needed.max(self.needs(now, piece.start));
        }
    }

    /// The engine tells how full the buffer is.
    pub fn on_buffering(&mut self, now: Instant, percent: u8) {
        let filling = percent < 100;
        if filling && !self.buffering && self.notes.start_up.is_some() && self.seeking.is_none() {
            self.notes.stalls += 1;
            self.stalled = Some(now);
        }
        if !filling {
            self.notes.hundreds += 1;
            self.notes.stall_time += self.stalled.take().map_or(Duration::ZERO, |since| now - since);
        }
        self.buffering = filling;
    }

    /// What it does next, now that `there` says which bytes can be read; `None` when it is content.
    pub fn act(&mut self, now: Instant, there: impl Fn(&Range<u64>) -> bool) -> Option<ReaderInput> {
        if self.opened.is_none() {
            return (now >= Instant::ZERO + self.plan.opens).then(|| self.open(now));
        }
        if self.has_ended() {
            return None;
        }
        if let Some(&(at, byte)) = self.plan.seeks.get(self.next_seek)
            && now >= Instant::ZERO + at
        {
            return Some(self.seek(now, byte));
        }
        while self.pause_edge().is_some_and(|at| now >= at) {
            self.pause_edges += 1;
        }
        loop {
            if self.waiting.as_ref().is_some_and(&there) {
                self.on_read(now);
            }
            self.run(now);
            if let Some(said) = self.tell(now) {
                return Some(said);
            }
            let range = self.read(now)?;
            let piece = self.geometry.piece_at(range.start);
            if self.told != piece || !there(&range) {
                self.told = piece;
                return Some(ReaderInput::Read(range));
            }
        }
    }

    /// When it wants to be looked at again.
    pub fn wake(&self) -> Instant {
        if self.opened.is_none() {
            return Instant::ZERO + self.plan.opens;
        }
        if self.has_ended() {
            return Instant::FAR_FUTURE;
        }
        let seek = self.plan.seeks.get(self.next_seek).map(|(at, _)| Instant::ZERO + *at);
        let seek = seek.into_iter().chain(self.pause_edge()).min();
        let Some(since) = self.since else {
            return seek.unwrap_or(Instant::FAR_FUTURE);
        };
        let moment = |media: Duration| since + media.saturating_sub(self.shown) + Duration::from_micros(1);
        let mut wake = moment(self.taken());
        if self.waiting.is_none() && self.position < self.file.end {
            wake = wake.min(moment(self.taken().saturating_sub(READ_AHEAD)));
        }
        if self.plan.reports {
            wake = wake.min(self.next_report);
        }
        wake.min(seek.unwrap_or(Instant::FAR_FUTURE))
    }

    fn open(&mut self, now: Instant) -> ReaderInput {
        self.opened = Some(now);
        ReaderInput::Open {
            file: self.file.clone(),
            bitrate: self.plan.told.then_some(self.bitrate),
            start_buffer: self.plan.start_buffer,
        }
    }

    fn seek(&mut self, now: Instant, byte: u64) -> ReaderInput {
        self.next_seek += 1;
        (self.position, self.base, self.waiting) = (byte, byte, None);
        (self.shown, self.since) = (Duration::ZERO, None);
        (self.prerolled, self.starving) = (false, false);
        self.seeking = Some(now);
        self.told = None;
        ReaderInput::Flushed
    }

    fn on_read(&mut self, now: Instant) {
        let Some(range) = self.waiting.take() else { return };
        self.notes.bytes += range.end - range.start;
        self.position = range.end;
        if let Some(since) = self.seeking
            && self.notes.seeks.len() < self.next_seek
        {
            self.notes.seeks.push(now - since);
        }
    }

    /// When the next pause begins, or this one ends.
    fn pause_edge(&self) -> Option<Instant> {
        let (at, long) = self.plan.pauses.get(self.pause_edges / 2)?;
        let ends = self.pause_edges % 2 == 1;
        Some(Instant::ZERO + *at + if ends { *long } else { Duration::ZERO })
    }

    const fn is_paused(&self) -> bool {
        self.pause_edges % 2 == 1
    }

    /// Media time of what was read since the last seek.
    fn taken(&self) -> Duration {
        ByteRate(self.bitrate).time_for(self.position - self.base).unwrap_or_default()
    }

    fn shown_at(&self, now: Instant) -> Duration {
        self.shown + self.since.map_or(Duration::ZERO, |since| now - since)
    }

    /// Moves the clock: preroll, running dry, the end.
    fn run(&mut self, now: Instant) {
        let (taken, all) = (self.taken(), self.position >= self.file.end);
        if self.plan.pace == Pace::Greedy {
            self.prerolled = true;
            self.notes.ended = all.then_some(now);
            return;
        }
        self.prerolled |= taken >= PREROLL || all;
        if self.since.is_some() && self.shown_at(now) >= taken {
            (self.shown, self.since) = (taken, None);
            if all {
                self.notes.ended = Some(now);
                return;
            }
            self.starving = true;
            self.notes.underruns += 1;
        }
        self.starving &= taken <= self.shown;
        let runs = self.prerolled && !self.buffering && !self.starving && !self.is_paused();
        if runs && self.since.is_none() {
            self.since = Some(now);
            self.next_report = now;
            self.seeking = None;
            self.notes.start_up = self.notes.start_up.or_else(|| self.opened.map(|opened| now - opened));
        } else if !runs && self.since.is_some() {
            (self.shown, self.since) = (self.shown_at(now), None);
        }
    }

    /// What the engine hears of the player's state and clock.
    fn tell(&mut self, now: Instant) -> Option<ReaderInput> {
        let playing = !self.buffering && !self.is_paused() && (self.prerolled || self.told_playing);
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

    fn read(&mut self, now: Instant) -> Option<Range<u64>> {
        let hungry = self.plan.pace == Pace::Greedy || self.taken() < self.shown_at(now) + READ_AHEAD;
        if self.waiting.is_some() || self.position >= self.file.end || !hungry {
            return None;
        }
        let range = self.position..(self.position + CHUNK).min(self.file.end);
        self.waiting = Some(range.clone());
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a viewer act as far as it can at one moment; gives what it said.
    fn settle(viewer: &mut Viewer, now: Instant, there: u64) -> Vec<ReaderInput> {
        std::iter::from_fn(|| viewer.act(now, |range| range.end <= there)).collect()
    }

    fn viewer(plan: ViewerPlan) -> Viewer {
        Viewer::new(ReaderId(0), plan, Geometry::new(1 << 18, 1_000_000).unwrap(), 100_000)
    }

    fn silent() -> ViewerPlan {
        ViewerPlan { reports: false, ..ViewerPlan::default() }
    }

    #[test]
    fn it_reads_a_second_ahead_of_what_it_shows() {
        let mut viewer = viewer(silent());
        settle(&mut viewer, Instant::ZERO, 1_000_000);
        assert_eq!(viewer.notes().bytes, 2 * CHUNK);
        assert_eq!(viewer.notes().start_up, Some(Duration::ZERO));
        let mut now = Instant::ZERO;
        while !viewer.has_ended() {
            now = viewer.wake();
            settle(&mut viewer, now, 1_000_000);
        }
        assert_eq!(now.micros() / 1_000_000, 10, "ten seconds of film");
        assert_eq!((viewer.notes().underruns, viewer.notes().bytes), (0, 1_000_000));
    }

    #[test]
    fn nothing_to_show_is_an_underrun_and_a_percentage_is_a_stall() {
        let mut viewer = viewer(silent());
        settle(&mut viewer, Instant::ZERO, CHUNK);
        settle(&mut viewer, Instant::from_millis(700), CHUNK);
        assert_eq!((viewer.notes().underruns, viewer.notes().stalls), (1, 0));
        viewer.on_buffering(Instant::from_secs(1), 10);
        assert_eq!(settle(&mut viewer, Instant::from_secs(1), CHUNK), [ReaderInput::Playing(false)]);
        viewer.on_buffering(Instant::from_secs(3), 100);
        assert_eq!((viewer.notes().stalls, viewer.notes().hundreds), (1, 1));
        assert_eq!(viewer.notes().stall_time, Duration::from_secs(2));
    }

    #[test]
    fn a_pause_stops_the_clock_and_the_film_ends_later() {
        let pauses = vec![(Duration::from_secs(2), Duration::from_secs(5))];
        let mut viewer = viewer(ViewerPlan { pauses, ..silent() });
        let (mut now, mut said) = (Instant::ZERO, Vec::new());
        while !viewer.has_ended() {
            said.extend(settle(&mut viewer, now, 1_000_000));
            now = viewer.wake();
        }
        let played = |playing| said.iter().filter(|s| **s == ReaderInput::Playing(playing)).count();
        assert_eq!((played(true), played(false)), (2, 1));
        let ended = viewer.notes().ended.expect("it ends").micros() / 1_000_000;
        assert_eq!((ended, viewer.notes().stalls, viewer.notes().underruns), (15, 0, 0));
    }

    #[test]
    fn what_an_endless_buffer_would_have_needed_is_told_by_the_pieces() {
        let mut viewer = viewer(silent());
        settle(&mut viewer, Instant::from_secs(1), 0);
        viewer.on_piece(Instant::from_secs(2), 0..1 << 18);
        assert_eq!(viewer.notes().needed, Duration::from_secs(1));
        // Half of a film of ten seconds: due after five.
        viewer.on_piece(Instant::from_secs(5), 500_000..700_000);
        assert_eq!(viewer.notes().needed, Duration::from_secs(1));
        viewer.on_piece(Instant::from_secs(9), 500_000..700_000);
        assert_eq!(viewer.notes().needed, Duration::from_secs(3));
    }

    #[test]
    fn a_seek_flushes_and_its_latency_is_noted() {
        let mut viewer = viewer(ViewerPlan { seeks: vec![(Duration::from_secs(1), 500_000)], ..silent() });
        settle(&mut viewer, Instant::ZERO, CHUNK);
        let said = settle(&mut viewer, Instant::from_secs(1), CHUNK);
        assert_eq!(said, [ReaderInput::Flushed, ReaderInput::Read(500_000..500_000 + CHUNK)]);
        settle(&mut viewer, Instant::from_millis(1_300), 1_000_000);
        assert_eq!(viewer.notes().seeks, [Duration::from_millis(300)]);
    }
}
