//! A download of `get` under way: shows how far it is, and notices how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::BinaryBytes;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::engine::Engine;
use super::get::{Args, Wanted};
use super::goal::Goal;
use super::output;
use super::progress::{Bar, Status, clock, say};
use super::signals::Interrupt;
use super::sink::{self, End};
use crate::net::session::Reader;
use crate::swarm::event::{State, Stats};

/// How often the picture of progress is renewed.
const TICK: Duration = Duration::from_millis(200);
/// How often `--json` prints.
const JSON_EVERY: Duration = Duration::from_secs(1);
/// How far ahead of its reader the engine insists on the order of the file.
const BUFFER_TIME: Duration = Duration::from_secs(10);

/// How fetching ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Everything wanted is there.
    Complete,
    /// The player at the other end of the pipe is gone.
    Closed,
    /// The user asked for it.
    Interrupted,
    /// Nothing came for as long as the user wanted to wait.
    GaveUp,
}

/// The answer of the thread that reads.
type Answer = oneshot::Receiver<anyhow::Result<End>>;

/// A download under way.
pub(super) struct Run {
    pub(super) engine: Engine,
    pub(super) wanted: Wanted,
    /// The file's reader, kept while its thread runs, and the thread's answer.
    pump: Option<(Arc<Reader>, Answer)>,
    bar: Option<Bar>,
    json: bool,
    json_at: Instant,
    patience: Patience,
}

impl Run {
    pub(super) fn new(args: &Args, wanted: Wanted, goal: &Goal, engine: Engine) -> anyhow::Result<Self> {
        let mut pump = None;
        if let Some(file) = wanted.file {
            let reader = Arc::new(engine.handle.reader(file, BUFFER_TIME, Box::new(|_| {})));
            let answer = sink::start(sink::film(Arc::clone(&reader)), goal.stream()?)?;
            pump = Some((reader, answer));
        }
        let bar = Some(Bar::new(wanted.name.clone(), wanted.total()));
        let patience = Patience::new(args.give_up);
        Ok(Self { engine, wanted, pump, bar, json: args.json, json_at: Instant::now(), patience })
    }

    /// Verified bytes of what is wanted.
    pub(super) fn have(&self) -> u64 {
        let ranges = self.engine.handle.ranges(&self.wanted.range);
        ranges.iter().map(|range| range.end - range.start).sum()
    }

    pub(super) async fn until_there(&mut self, interrupt: &Interrupt) -> anyhow::Result<Ended> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                end = pump_ended(&mut self.pump) => break end?,
                _ = interrupt.asked() => break Ended::Interrupted,
                _ = tick.tick() => {
                    if let Some(ended) = self.on_tick()? {
                        break ended;
                    }
                }
            }
        };
        if let Some((reader, _)) = &self.pump {
            reader.set_flushing(true);
        }
        self.bar = None;
        Ok(ended)
    }

    fn on_tick(&mut self) -> anyhow::Result<Option<Ended>> {
        self.engine.listen();
        let (have, stats) = (self.have(), self.engine.handle.stats());
        if let Some(bar) = &self.bar {
            match stats.state {
                State::Checking => bar.set(self.engine.checked_bytes(), "checking what is there".to_owned()),
                _ => bar.set(have, self.words(have, &stats)),
            }
        }
        if self.json && self.json_at.elapsed() >= JSON_EVERY {
            self.json_at = Instant::now();
            self.print_json()?;
        }
        if let Some(why) = self.engine.failure() {
            bail!("{why}");
        }
        if self.pump.is_none() && have == self.wanted.total() {
            return Ok(Some(Ended::Complete));
        }
        let waits = stats.state != State::Checking && have < self.wanted.total();
        Ok(self.patience.is_over(have, waits).then_some(Ended::GaveUp))
    }

    fn words(&self, have: u64, stats: &Stats) -> String {
        let left = self.wanted.total().saturating_sub(have);
        if stats.download_rate.get() == 0 && left > 0 {
            return self.engine.waiting_for(stats);
        }
        let time = stats.download_rate.time_for(left).map_or_else(|| "?".to_owned(), clock);
        format!("{}, {time} left, {} peers ({} seeds)", stats.download_rate, stats.peers, stats.seeds)
    }

    pub(super) fn print_json(&self) -> anyhow::Result<()> {
        let (metainfo, stats) = (self.engine.handle.metainfo(), self.engine.handle.stats());
        output::json(&Line {
            info_hash: metainfo.info_hash.to_string(),
            listening: self.engine.handle.local_addr(),
            state: stats.state.as_str(),
            have: self.have(),
            length: self.wanted.total(),
            downloaded: stats.downloaded,
            uploaded: stats.uploaded,
            wasted: stats.wasted,
            hash_failures: stats.hash_failures,
            banned: stats.banned,
            download_rate: stats.download_rate.get(),
            upload_rate: stats.upload_rate.get(),
            peers: stats.peers,
            seeds: stats.seeds,
        })
    }

    /// The file gets its name now; others are served until the user ends it.
    pub(super) async fn seed_on(
        &mut self,
        goal: &Goal,
        force: bool,
        interrupt: &Interrupt,
    ) -> anyhow::Result<()> {
        goal.deliver(self.engine.handle.metainfo(), self.wanted.file, force, true)?;
        say(&format!("{}: complete{}; seeding until Ctrl-C", self.wanted.name, goal.words()));
        let mut status = Status::new();
        while !interrupt.is_set() {
            let stats = self.engine.handle.stats();
            let sent = BinaryBytes(stats.uploaded);
            let line = format!(
                "{}: seeding, {} peers, up {} ({sent} so far)",
                self.wanted.name, stats.peers, stats.upload_rate
            );
            status.show(std::slice::from_ref(&line), &line);
            if self.json {
                self.print_json()?;
            }
            // Either the second is over or the user has asked; the loop's head tells which.
            let _ = tokio::time::timeout(JSON_EVERY, interrupt.asked()).await;
        }
        Ok(())
    }
}

/// Waits for the reading thread; for ever where there is none.
async fn pump_ended(pump: &mut Option<(Arc<Reader>, Answer)>) -> anyhow::Result<Ended> {
    let Some((_, answer)) = pump else { return std::future::pending().await };
    match answer.await {
        Ok(Ok(End::Complete)) => Ok(Ended::Complete),
        Ok(Ok(End::Closed)) => Ok(Ended::Closed),
        Ok(Ok(End::Stopped)) => Ok(Ended::Interrupted),
        Ok(Err(error)) => Err(error),
        Err(_) => bail!("the thread that reads the torrent ended early"),
    }
}

/// How long nothing may arrive.
pub(super) struct Patience {
    limit: Option<Duration>,
    have: u64,
    since: Instant,
}

impl Patience {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { limit, have: 0, since: Instant::now() }
    }

    /// Whether `limit` passed in which nothing came although something was waited for.
    pub(super) fn is_over(&mut self, have: u64, waits: bool) -> bool {
        if have != self.have || !waits {
            (self.have, self.since) = (have, Instant::now());
        }
        self.limit.is_some_and(|limit| self.since.elapsed() >= limit)
    }
}

/// What `--json` prints every second, and once more at the end. Bytes, bytes/s.
#[derive(Serialize)]
struct Line {
    info_hash: String,
    listening: SocketAddr,
    state: &'static str,
    have: u64,
    length: u64,
    downloaded: u64,
    uploaded: u64,
    wasted: u64,
    /// Pieces that failed their hash.
    hash_failures: u64,
    /// Addresses that are not dealt with any more.
    banned: usize,
    download_rate: u64,
    upload_rate: u64,
    peers: usize,
    seeds: usize,
}
