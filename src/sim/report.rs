//! What came out of a run, as values and as a table that can be kept as a snapshot.

use std::fmt;

use crate::rate::ByteRate;
use crate::swarm::event::{Ban, Event, Stats};
use crate::time::{Duration, Instant};

use super::host::{Calls, EngineHost};
use super::viewer::Notes;
use super::world::{Host, Mind, World};

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What the run was made from.
    pub seed: u64,
    /// When it ended.
    pub end: Instant,
    /// Events of the world.
    pub events: u64,
    /// The hosts in the order in which they were put in.
    pub rows: Vec<Row>,
}

/// One host at the end of a run. Scripted hosts have only a name and what they gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which.
    pub name: String,
    /// Its engine's figures.
    pub stats: Stats,
    /// What its viewers wrote down.
    pub viewers: Vec<Notes>,
    /// Stalls as the engine counted them, viewer by viewer.
    pub stalls: Vec<u64>,
    /// When its engine said that everything is there.
    pub completed: Option<Instant>,
    /// Addresses that its engine banned, with the reasons.
    pub bans: Vec<(std::net::IpAddr, Ban)>,
    /// Bytes on its disk.
    pub kept: u64,
    /// Calls of its engine.
    pub calls: Calls,
}

impl Report {
    /// Looks at all hosts of a world.
    pub fn new(seed: u64, world: &World) -> Self {
        let now = world.now();
        Self {
            seed,
            end: now,
            events: world.handled(),
            rows: world.hosts().iter().map(|h| Row::new(now, h)).collect(),
        }
    }

    /// The notes of the only viewer.
    ///
    /// # Panics
    /// When there is none.
    pub fn viewer(&self) -> &Notes {
        self.rows.iter().flat_map(|r| &r.viewers).next().expect("somebody watches")
    }

    /// The row of a host.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn row(&self, host: super::world::HostId) -> &Row {
        &self.rows[host.0]
    }
}

impl Row {
    fn new(now: Instant, host: &Host) -> Self {
        let name = host.name.clone();
        match &host.mind {
            Mind::Engine(engine) => Self::of_engine(now, name, engine),
            Mind::Scripted(scripted) => Self {
                name,
                stats: Stats { uploaded: scripted.given(), ..Stats::default() },
                viewers: Vec::new(),
                stalls: Vec::new(),
                completed: None,
                bans: Vec::new(),
                kept: 0,
                calls: Calls::default(),
            },
        }
    }

    fn of_engine(now: Instant, name: String, engine: &EngineHost) -> Self {
        let bans = engine.events().iter().filter_map(|(_, event)| match event {
            Event::Banned { addr, why } => Some((*addr, *why)),
            _ => None,
        });
        let completed = engine.events().iter().find(|(_, event)| *event == Event::Completed);
        Self {
            name,
            stats: engine.stats(now),
            viewers: engine.viewers().iter().map(|v| v.notes().clone()).collect(),
            stalls: engine.viewers().iter().map(|v| engine.playback(now, v.id()).stalls).collect(),
            completed: completed.map(|(at, _)| *at),
            bans: bans.collect(),
            kept: engine.disk().used(),
            calls: engine.calls(),
        }
    }

    /// Mean rate in from the beginning to when everything was there.
    pub fn mean_rate(&self, joined: Duration) -> ByteRate {
        let end = self.completed.unwrap_or_default();
        ByteRate::of(self.stats.have, end - (Instant::ZERO + joined))
    }

    /// Bytes in that were of no use, in parts of ten thousand of all.
    pub fn waste(&self) -> u64 {
        self.stats.wasted * 10_000 / self.stats.downloaded.max(1)
    }
}

/// Seconds with two digits, or a dash.
pub(super) fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |t| format!("{}.{:02}", t.as_secs(), t.subsec_millis() / 10))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, end {} s", self.seed, seconds(Some(self.end - Instant::ZERO)))?;
        let head = ["host", "down KiB", "up KiB", "waste %", "bad", "bans", "complete s"];
        writeln!(
            f,
            "{:<14}{:>10}{:>10}{:>9}{:>5}{:>6}{:>12}",
            head[0], head[1], head[2], head[3], head[4], head[5], head[6]
        )?;
        for row in &self.rows {
            row.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waste = format!("{}.{:02}", self.waste() / 100, self.waste() % 100);
        writeln!(
            f,
            "{:<14}{:>10}{:>10}{:>9}{:>5}{:>6}{:>12}",
            self.name,
            self.stats.downloaded / 1024,
            self.stats.uploaded / 1024,
            waste,
            self.stats.hash_failures,
            self.bans.len(),
            seconds(self.completed.map(|at| at - Instant::ZERO)),
        )?;
        for notes in &self.viewers {
            writeln!(
                f,
                "  watches: start-up {} s, {} stalls ({} s), {} underruns, {} x 100, ended at {} s",
                seconds(notes.start_up),
                notes.stalls,
                seconds(Some(notes.stall_time)),
                notes.underruns,
                notes.hundreds,
                seconds(notes.ended.map(|at| at - Instant::ZERO)),
            )?;
            for seek in &notes.seeks {
                writeln!(f, "  seek: {} ms to the first byte", seek.as_millis())?;
            }
        }
        Ok(())
    }
}
