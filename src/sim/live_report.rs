//! What came out of a live run: host by host, and over all viewers.

use std::fmt;

use crate::swarm::event::{Ban, Event, PlaybackStats};
use crate::time::{Duration, Instant};

use super::arrivals::{Arrivals, FAR};
use super::broadcast::Broadcast;
use super::host::EngineHost;
use super::live_viewer::LiveNotes;
use super::report::seconds;
use super::world::{HostId, Mind, World};

/// One live run.
#[derive(Clone, Debug)]
pub struct LiveReport {
    /// What the run was made from.
    pub seed: u64,
    /// When it ended.
    pub end: Instant,
    /// Events of the world.
    pub events: u64,
    /// Signatures that were looked at beside the source's own.
    pub checks: u64,
    /// The hosts in the order in which they were put in.
    pub rows: Vec<LiveRow>,
}

/// One host at the end of a live run.
#[derive(Clone, Debug, Default)]
pub struct LiveRow {
    /// Which.
    pub name: String,
    /// The broadcast was made there.
    pub source: bool,
    /// Payload in, out, and in for nothing.
    pub traffic: [u64; 3],
    /// What its viewer wrote down.
    pub notes: Option<LiveNotes>,
    /// What its engine says of that.
    pub playback: PlaybackStats,
    /// How pieces came.
    pub arrivals: Arrivals,
    /// Addresses that its engine banned, with the reasons.
    pub bans: Vec<(std::net::IpAddr, Ban)>,
    /// Bytes on its disk.
    pub kept: u64,
    /// Connected peers.
    pub peers: usize,
}

impl LiveReport {
    /// Looks at all hosts of a world.
    pub fn new(seed: u64, broadcast: &Broadcast, world: &World) -> Self {
        let rows = world.hosts().iter().map(|host| match &host.mind {
            Mind::Engine(engine) => LiveRow::of_engine(world.now(), &host.name, engine),
            Mind::Scripted(scripted) => {
                LiveRow { name: host.name.clone(), traffic: [0, scripted.given(), 0], ..LiveRow::default() }
            }
        });
        Self {
            seed,
            end: world.now(),
            events: world.handled(),
            checks: broadcast.checks(),
            rows: rows.collect(),
        }
    }

    /// The row of a host.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn row(&self, host: HostId) -> &LiveRow {
        &self.rows[host.0]
    }

    /// The notes of all who watched.
    pub fn notes(&self) -> impl Iterator<Item = &LiveNotes> {
        self.rows.iter().filter_map(|row| row.notes.as_ref())
    }

    /// The time within which this part of a hundred viewers could see something; of those who watched for so long
    /// at least.
    pub fn start_up(&self, percent: usize) -> Option<Duration> {
        let patient =
            self.notes().filter(|n| n.start_up.is_some() || self.end - n.opened > Duration::from_secs(20));
        percentile(patient.map(|n| n.start_up.unwrap_or(Duration::MAX)).collect(), percent)
    }

    /// Viewers that lost less than this of ten thousand pieces, in parts of ten thousand viewers.
    pub fn viewers_below(&self, drop_rate: u64) -> u64 {
        let watched: Vec<_> = self.notes().filter(|n| n.taken > 0 || n.dropped > 0).collect();
        let good = watched.iter().filter(|n| n.drop_rate() < drop_rate).count() as u64;
        good * 10_000 / (watched.len() as u64).max(1)
    }

    /// Pieces that viewers took and that they lost.
    pub fn pieces(&self) -> (u64, u64) {
        self.notes().fold((0, 0), |(taken, lost), n| (taken + u64::from(n.taken), lost + n.dropped))
    }

    /// Pauses after playback had begun, over all viewers.
    pub fn stalls(&self) -> u32 {
        self.notes().map(|n| n.stalls).sum()
    }

    /// The source's part of all payload sent, in parts of ten thousand.
    pub fn source_share(&self) -> u64 {
        let sum = |rows: &mut dyn Iterator<Item = &LiveRow>| rows.map(|row| row.traffic[1]).sum::<u64>();
        let all = sum(&mut self.rows.iter());
        sum(&mut self.rows.iter().filter(|row| row.source)) * 10_000 / all.max(1)
    }

    /// From capture to verification over so many hosts: how many pieces, and the time within which half and 95 % of
    /// them came.
    pub fn delay(&self, depth: u8) -> Option<(usize, Duration, Duration)> {
        let delays = self.rows.iter().filter_map(|row| row.arrivals.delays().get(&depth));
        let delays: Vec<_> = delays.flatten().copied().collect();
        Some((delays.len(), percentile(delays.clone(), 50)?, percentile(delays, 95)?))
    }

    /// One line a host, for small swarms.
    pub fn table(&self) -> String {
        let head =
            ["host", "down KiB", "up KiB", "waste", "start s", "stalls", "taken", "drops", "hooks", "lag s"];
        let mut out =
            format!("seed {}, end {} s\n{:<12}", self.seed, seconds(Some(self.end - Instant::ZERO)), head[0]);
        head[1..].iter().for_each(|word| out.push_str(&format!("{word:>9}")));
        out.push('\n');
        self.rows.iter().for_each(|row| out.push_str(&row.to_string()));
        out
    }
}

/// The least of these that is not below `percent` of a hundred of them.
fn percentile(mut times: Vec<Duration>, percent: usize) -> Option<Duration> {
    times.sort_unstable();
    times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

/// Parts of ten thousand as a percentage.
fn percent(parts: u64) -> String {
    format!("{}.{:02} %", parts / 100, parts % 100)
}

impl LiveRow {
    fn of_engine(now: Instant, name: &str, engine: &EngineHost) -> Self {
        let stats = engine.stats(now);
        let bans = engine.events().iter().filter_map(|(_, event)| match event {
            Event::Banned { addr, why } => Some((*addr, *why)),
            _ => None,
        });
        let viewer = engine.watchers().first();
        Self {
            name: name.to_owned(),
            source: engine.is_source(),
            traffic: [stats.downloaded, stats.uploaded, stats.wasted],
            notes: viewer.map(|viewer| viewer.notes().clone()),
            playback: viewer.map(|viewer| engine.playback(now, viewer.id())).unwrap_or_default(),
            arrivals: engine.arrivals().clone(),
            bans: bans.collect(),
            kept: engine.disk().used(),
            peers: stats.peers,
        }
    }
}

impl fmt::Display for LiveRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [down, up, wasted] = self.traffic.map(|bytes| bytes / 1024);
        write!(f, "{:<12}{down:>9}{up:>9}{wasted:>9}", self.name)?;
        let Some(notes) = &self.notes else { return writeln!(f) };
        let (start, lag) = (seconds(notes.start_up), seconds(notes.lag.map(|(.., last)| last)));
        let hooks = notes.hooked_in.len();
        writeln!(f, "{start:>9}{:>9}{:>9}{:>9}{hooks:>9}{lag:>9}", notes.stalls, notes.taken, notes.dropped)
    }
}

impl fmt::Display for LiveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (taken, lost) = self.pieces();
        let underruns: u32 = self.notes().map(|n| n.underruns).sum();
        let hooks: usize = self.notes().map(|n| n.hooked_in.len()).sum();
        let never = self.notes().filter(|n| n.start_up.is_none()).count();
        let wasted: u64 = self.rows.iter().map(|row| row.traffic[2]).sum();
        let down: u64 = self.rows.iter().map(|row| row.traffic[0]).sum();
        writeln!(f, "seed {}, end {} s", self.seed, seconds(Some(self.end - Instant::ZERO)))?;
        writeln!(f, "viewers: {}, {never} of them saw nothing", self.notes().count())?;
        let [half, most] = [50, 95].map(|percent| seconds(self.start_up(percent)));
        writeln!(f, "start-up: {half} s, 95 %: {most} s")?;
        let losses = percent(lost * 10_000 / (taken + lost).max(1));
        writeln!(f, "pieces: {taken} taken, {lost} dropped ({losses})")?;
        writeln!(f, "viewers with less than 1 % dropped: {}", percent(self.viewers_below(100)))?;
        writeln!(f, "stalls: {}, underruns: {underruns}, hook-ins: {hooks}", self.stalls())?;
        let share = percent(self.source_share());
        writeln!(f, "sent by the source: {share}, wasted: {}", percent(wasted * 10_000 / down.max(1)))?;
        for depth in 1..=FAR {
            if let Some((pieces, half, most)) = self.delay(depth) {
                let (half, most) = (seconds(Some(half)), seconds(Some(most)));
                let more = if depth == FAR { "+" } else { "" };
                writeln!(f, "depth {depth}{more}: {pieces} pieces, after {half} s, 95 %: {most} s")?;
            }
        }
        Ok(())
    }
}
