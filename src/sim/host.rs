//! A host that runs the real engine: hands in what happens, does what comes out, lets its viewers act.
//!
//! The simulator's counterpart of the tokio task in `net`, with the same contract: one input, then all outputs
//! until the engine waits.

use std::collections::{BTreeMap, VecDeque};

use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::Geometry;
use crate::swarm::event::{Event, PlaybackStats, Stats};
use crate::swarm::torrent::Torrent;
use crate::swarm::{Config, Input, Job, Output, PeerKey};
use crate::time::Instant;
use crate::wire::handshake::Hello;

use super::checks::Checks;
use super::disk::{Disk, DiskPlan};
use super::viewer::{Viewer, ViewerPlan};
use super::world::End;

/// Steps of viewer and engine at one moment; more is a loop.
const MAX_ROUNDS: usize = 10_000;

/// What an engine host is made of.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// The engine's settings.
    pub config: Config,
    /// Its disk.
    pub disk: DiskPlan,
    /// Whether it has everything from the start.
    pub complete: bool,
    /// Who watches there.
    pub viewers: Vec<ViewerPlan>,
}

/// What a step leaves for the world to do.
#[derive(Debug)]
pub enum Deed {
    /// What the engine said; jobs are taken care of already.
    Output(Output),
    /// A job's answer that is due then.
    Due(Instant, Input),
}

/// Calls of the engine, as a measure of what an event costs.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Inputs handed in.
    pub inputs: u64,
    /// Outputs drained, waits included.
    pub outputs: u64,
}

/// An engine with its disk, its viewers and its watcher.
pub struct EngineHost {
    torrent: Torrent,
    geometry: Geometry,
    disk: Disk,
    viewers: Vec<Viewer>,
    checks: Checks,
    ends: BTreeMap<PeerKey, End>,
    events: Vec<(Instant, Event)>,
    calls: Calls,
    completed: bool,
}

impl EngineHost {
    /// A host for a film of this geometry and bitrate; `engine_seed` decides the engine's ties, `seed` and
    /// `name` are for messages.
    pub fn new(
        plan: HostPlan,
        geometry: Geometry,
        bitrate: u64,
        engine_seed: u64,
        seed: u64,
        name: &str,
    ) -> Self {
        let have = if plan.complete { Bitfield::full(&geometry) } else { Bitfield::empty(&geometry) };
        let (most, budget) = (plan.config.max_peers, plan.config.budget);
        let viewers = plan.viewers.into_iter().zip(0..);
        let viewer = |(plan, id)| Viewer::new(crate::swarm::event::ReaderId(id), plan, geometry, bitrate);
        Self {
            viewers: viewers.map(viewer).collect(),
            torrent: Torrent::new(plan.config, geometry, have.clone(), Instant::ZERO, engine_seed),
            disk: Disk::new(geometry, plan.disk, have),
            checks: Checks::new(seed, name.to_owned(), geometry, most, budget),
            geometry,
            ends: BTreeMap::new(),
            events: Vec::new(),
            calls: Calls::default(),
            completed: plan.complete,
        }
    }

    /// A peer has shaken hands. `false`: it is not wanted.
    pub fn connect(
        &mut self,
        now: Instant,
        end: End,
        addr: std::net::SocketAddr,
        direction: crate::swarm::Direction,
        hello: Hello,
    ) -> bool {
        if direction == crate::swarm::Direction::Outgoing {
            self.checks.on_dialled();
        }
        let Ok(peer) = self.torrent.connect(now, addr, direction, hello) else { return false };
        self.checks.on_connected(now, peer, hello.fast);
        self.ends.insert(peer, end);
        true
    }

    /// A dial came to nothing.
    pub fn dial_failed(&mut self, now: Instant, addr: std::net::SocketAddr) -> Vec<Deed> {
        self.checks.on_dialled();
        self.step(now, Input::DialFailed { addr })
    }

    /// Something happened: hands it in and gives what has to be done. Call with [`Input::Timeout`] after
    /// [`EngineHost::connect`] and at the latest at [`EngineHost::wake`].
    pub fn step(&mut self, now: Instant, input: Input) -> Vec<Deed> {
        let (mut deeds, mut inputs) = (Vec::new(), VecDeque::from([input]));
        for _ in 0..MAX_ROUNDS {
            while let Some(input) = inputs.pop_front() {
                self.handle(now, input);
                self.drain(now, &mut deeds);
            }
            inputs.extend(self.viewers_act(now));
            if inputs.is_empty() {
                self.checks.on_step(now, deeds.len(), self.disk.used());
                return deeds;
            }
        }
        self.checks.ensure(now, false, "viewer and engine never come to rest");
        deeds
    }

    /// When it wants to be stepped again.
    pub fn wake(&mut self, now: Instant) -> Instant {
        let engine = match self.torrent.poll(now) {
            Output::Wait(at) => at,
            other => unreachable!("steps drain everything, and here is {other:?}"),
        };
        self.checks.ensure(now, engine > now, "waits for the past");
        self.viewers.iter().map(Viewer::wake).fold(engine, Instant::min)
    }

    /// The connection of one of its peers.
    pub fn end(&self, peer: PeerKey) -> Option<End> {
        self.ends.get(&peer).copied()
    }

    /// The peer at the other side of a connection.
    pub fn peer(&self, end: End) -> Option<PeerKey> {
        self.ends.iter().find(|(_, e)| **e == end).map(|(peer, _)| *peer)
    }

    /// Forgets a connection that is closed.
    pub fn disconnected(&mut self, peer: PeerKey) {
        self.ends.remove(&peer);
    }

    /// Whether it has everything that it wants and its viewers have seen all.
    pub fn is_done(&self) -> bool {
        if self.viewers.is_empty() { self.completed } else { self.viewers.iter().all(Viewer::has_ended) }
    }

    /// Its figures.
    pub fn stats(&self, now: Instant) -> Stats {
        self.torrent.stats(now)
    }

    /// What the engine says of a viewer's playback.
    pub fn playback(&self, now: Instant, viewer: &Viewer) -> PlaybackStats {
        self.torrent.playback_stats(now, viewer.id())
    }

    /// Its viewers.
    pub fn viewers(&self) -> &[Viewer] {
        &self.viewers
    }

    /// What the engine told, buffering left out.
    pub fn events(&self) -> &[(Instant, Event)] {
        &self.events
    }

    /// Calls of the engine so far.
    pub const fn calls(&self) -> Calls {
        self.calls
    }

    /// Its disk.
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    fn handle(&mut self, now: Instant, input: Input) {
        self.checks.on_input(&input);
        self.calls.inputs += 1;
        self.torrent.handle(now, input);
    }

    fn drain(&mut self, now: Instant, deeds: &mut Vec<Deed>) {
        loop {
            let output = self.torrent.poll(now);
            self.calls.outputs += 1;
            self.checks.on_output(now, &output, self.disk.written());
            match output {
                Output::Wait(_) => return,
                Output::Start(job) => self.start(now, job, deeds),
                Output::Event(event) => self.on_event(now, event),
                Output::Close { .. } | Output::Send { .. } | Output::Dial { .. } | Output::WantPeers => {
                    deeds.push(Deed::Output(output));
                }
            }
        }
    }

    fn start(&mut self, now: Instant, job: Job, deeds: &mut Vec<Deed>) {
        let (at, answer) = match job {
            Job::Verify { piece, blocks } => self.disk.verify(now, piece, &blocks),
            Job::Read { peer, block } => self.disk.read(now, peer, block),
            Job::Discard { piece } => return self.disk.discard(piece),
            Job::CheckStamp { .. } | Job::CheckHeaders { .. } => unreachable!("only films are simulated"),
        };
        deeds.push(Deed::Due(at, answer));
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        if let Event::Buffering { reader, percent, .. } = event {
            let viewer = self.viewers.iter_mut().find(|v| v.id() == reader);
            viewer.into_iter().for_each(|v| v.on_buffering(now, percent));
        } else {
            self.completed |= event == Event::Completed;
            self.events.push((now, event));
        }
    }

    fn viewers_act(&mut self, now: Instant) -> Vec<Input> {
        let (have, geometry) = (self.torrent.have(), self.geometry);
        let mut inputs = Vec::new();
        for viewer in &mut self.viewers {
            let reader = viewer.id();
            let there = |range: &std::ops::Range<u64>| {
                let all = geometry.pieces_in(range).all(|p| have.has(p));
                if all {
                    self.checks.on_delivered(now, geometry.pieces_in(range), self.disk.written());
                }
                all
            };
            inputs.extend(viewer.act(now, there).map(|input| Input::Reader { reader, input }));
        }
        inputs
    }
}
