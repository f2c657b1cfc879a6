//! A host that runs the real engine: hands in what happens, does what comes out, lets its viewers act.
//!
//! The simulator's counterpart of the tokio task in `net`, with the same contract: one input, then all outputs
//! until the engine waits.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::Geometry;
use crate::swarm::event::{Event, PlaybackStats, ReaderId, Stats};
use crate::swarm::torrent::Torrent;
use crate::swarm::{Config, Direction, Input, Job, Output, PeerKey, Verdict};
use crate::time::Instant;
use crate::wire::handshake::Hello;

use super::arrivals::Arrivals;
use super::checks::Checks;
use super::conduct::Conduct;
use super::disk::{Disk, DiskPlan, Matter};
use super::held::Held;
use super::live_source::LiveSource;
use super::live_viewer::{LivePlan, LiveViewer};
use super::peer_table::PeerTable;
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
    /// Who watches a broadcast there.
    pub watchers: Vec<LivePlan>,
    /// The broadcast is made there.
    pub source: Option<LiveSource>,
    /// How it keeps to the rules.
    pub conduct: Conduct,
    /// Whom it praises, if it lies.
    pub praises: Option<SocketAddr>,
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
    watchers: Vec<LiveViewer>,
    source: Option<LiveSource>,
    conduct: Conduct,
    praises: Option<SocketAddr>,
    checks: Checks,
    ends: PeerTable<End>,
    events: Vec<(Instant, Event)>,
    arrivals: Arrivals,
    calls: Calls,
    completed: bool,
    /// Until when the engine waits, as it said last.
    waits: Instant,
    /// When viewers and source want to be looked at again.
    look: Instant,
    /// What a step still has to hand in; empty between steps.
    inputs: VecDeque<Input>,
}

impl EngineHost {
    /// A host for a film of this geometry and bitrate, or for a broadcast; `engine_seed` decides the engine's ties,
    /// `seed` and `name` are for messages.
    pub fn new(
        plan: HostPlan,
        geometry: Geometry,
        (matter, bitrate): (Matter, u64),
        engine_seed: u64,
        seed: u64,
        name: &str,
    ) -> Self {
        let have = if plan.complete { Bitfield::full(&geometry) } else { Bitfield::empty(&geometry) };
        let written = if plan.complete { Held::Film(have.clone()) } else { Held::empty(&geometry) };
        let viewers = plan.viewers.into_iter().zip(0..);
        let viewer = |(plan, id)| Viewer::new(ReaderId(id), plan, geometry, bitrate);
        let watchers = plan.watchers.into_iter().zip(0..).filter_map(|(plan, id)| match &matter {
            Matter::Film => None,
            Matter::Live(broadcast) => Some(LiveViewer::new(ReaderId(id), plan, broadcast.clone())),
        });
        Self {
            viewers: viewers.map(viewer).collect(),
            watchers: watchers.collect(),
            source: plan.source,
            conduct: plan.conduct,
            praises: plan.praises,
            checks: Checks::new(seed, name.to_owned(), geometry, matter.clone(), &plan.config),
            torrent: Torrent::new(plan.config, geometry, have, Instant::ZERO, engine_seed),
            disk: Disk::new(geometry, plan.disk, written, matter),
            geometry,
            ends: PeerTable::default(),
            events: Vec::new(),
            arrivals: Arrivals::default(),
            calls: Calls::default(),
            completed: plan.complete,
            waits: Instant::ZERO,
            look: Instant::ZERO,
            inputs: VecDeque::new(),
        }
    }

    /// A peer has shaken hands; `honest`: what it says can be told from what it means. `None`: it is not wanted.
    pub fn connect(
        &mut self,
        now: Instant,
        end: End,
        addr: std::net::SocketAddr,
        direction: Direction,
        (hello, honest): (Hello, bool),
    ) -> Option<PeerKey> {
        if direction == Direction::Outgoing {
            self.checks.on_dialled();
        }
        let peer = self.torrent.connect(now, addr, direction, hello).ok()?;
        self.checks.on_connected(peer, hello.fast, honest);
        self.ends.insert(peer, end);
        Some(peer)
    }

    /// A dial came to nothing.
    pub fn dial_failed(&mut self, now: Instant, addr: std::net::SocketAddr, deeds: &mut Vec<Deed>) {
        self.checks.on_dialled();
        self.step(now, Input::DialFailed { addr }, deeds);
    }

    /// Something happened: hands it in and adds what has to be done to `deeds`. Call with [`Input::Timeout`] after
    /// [`EngineHost::connect`] and at the latest at [`EngineHost::wake`].
    pub fn step(&mut self, now: Instant, input: Input, deeds: &mut Vec<Deed>) {
        if let Some(answer) = self.conduct.answers(&input) {
            return deeds.push(Deed::Output(answer));
        }
        // What peers say changes nothing for viewers, unless the engine tells them something.
        if now < self.look && matches!(input, Input::Message { .. } | Input::Sent { .. }) {
            self.handle(now, input);
            self.drain(now, deeds);
            if now < self.look {
                self.checks.ensure(now, self.waits > now, "waits for the past");
                return self.checks.on_step(now, deeds.len(), &self.disk);
            }
        } else {
            self.inputs.push_back(input);
        }
        self.step_all(now, deeds);
        let viewers = self.viewers.iter().map(Viewer::wake).chain(self.watchers.iter().map(LiveViewer::wake));
        let source = self.source.iter().map(LiveSource::wake);
        self.look = viewers.chain(source).fold(Instant::FAR_FUTURE, Instant::min);
    }

    fn step_all(&mut self, now: Instant, deeds: &mut Vec<Deed>) {
        self.capture(now);
        for _ in 0..MAX_ROUNDS {
            while let Some(input) = self.inputs.pop_front() {
                self.handle(now, input);
                self.drain(now, deeds);
            }
            self.viewers_act(now);
            if self.inputs.is_empty() {
                self.checks.ensure(now, self.waits > now, "waits for the past");
                return self.checks.on_step(now, deeds.len(), &self.disk);
            }
        }
        self.checks.ensure(now, false, "viewer and engine never come to rest");
    }

    /// When it wants to be stepped again, as it was after the last step.
    pub fn wake(&self) -> Instant {
        self.waits.min(self.look)
    }

    /// The connection of one of its peers.
    pub fn end(&self, peer: PeerKey) -> Option<End> {
        self.ends.get(peer).copied()
    }

    /// Forgets a connection that is closed, and gives it.
    pub fn disconnected(&mut self, peer: PeerKey) -> Option<End> {
        self.ends.remove(peer)
    }

    /// Whether it has everything that it wants and its viewers have seen all.
    pub fn is_done(&self) -> bool {
        if self.viewers.is_empty() { self.completed } else { self.viewers.iter().all(Viewer::has_ended) }
    }

    /// Its figures.
    pub fn stats(&self, now: Instant) -> Stats {
        self.torrent.stats(now)
    }

    /// Bytes of the torrent.
    pub const fn total(&self) -> u64 {
        self.geometry.total()
    }

    /// The first byte from this one on that is not there.
    pub fn missing_from(&self, byte: u64) -> Option<u64> {
        let there = self.torrent.have();
        let mut pieces = self.geometry.pieces_in(&(byte..self.geometry.total()));
        let piece = pieces.find(|piece| !there.has(*piece))?;
        Some(self.geometry.piece_range(piece).start.max(byte))
    }

    /// What the engine says of a viewer's playback.
    pub fn playback(&self, now: Instant, viewer: ReaderId) -> PlaybackStats {
        self.torrent.playback_stats(now, viewer)
    }

    /// Its viewers.
    pub fn viewers(&self) -> &[Viewer] {
        &self.viewers
    }

    /// Those who watch a broadcast.
    pub fn watchers(&self) -> &[LiveViewer] {
        &self.watchers
    }

    /// How pieces of a broadcast came.
    pub const fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Over how many hosts the piece came that is meant by an index.
    pub fn depth(&self, index: u32) -> u8 {
        let piece = self.disk.matter().piece(&self.geometry, index);
        piece.map_or(0, |piece| self.arrivals.depth(piece.number()))
    }

    /// A block comes from somebody who has it in this depth.
    pub fn comes_from(&mut self, index: u32, depth: u8) {
        if let (Matter::Live(_), Some(piece)) =
            (self.disk.matter(), self.disk.matter().piece(&self.geometry, index))
        {
            self.arrivals.on_block(piece.number(), depth);
        }
    }

    /// Whether the broadcast is made here.
    pub const fn is_source(&self) -> bool {
        self.source.is_some()
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
        self.note_arrival(now, &input);
        self.calls.inputs += 1;
        self.torrent.handle(now, input);
    }

    fn drain(&mut self, now: Instant, deeds: &mut Vec<Deed>) {
        loop {
            let output = self.torrent.poll(now);
            self.calls.outputs += 1;
            self.checks.on_output(now, &output, self.disk.written());
            match output {
                Output::Wait(at) => {
                    self.waits = at;
                    return;
                }
                Output::Start(job) => self.start(now, job, deeds),
                Output::Event(event) => self.on_event(now, event),
                Output::Send { peer, message } => {
                    let said = self.conduct.says(message, self.praises);
                    deeds.extend(said.map(|message| Deed::Output(Output::Send { peer, message })));
                }
                Output::Close { .. } | Output::Dial { .. } | Output::WantPeers => {
                    deeds.push(Deed::Output(output));
                }
            }
        }
    }

    fn start(&mut self, now: Instant, job: Job, deeds: &mut Vec<Deed>) {
        if let Some((at, answer)) = self.disk.start(now, job) {
            deeds.push(Deed::Due(at, answer));
        }
    }

    /// Notes when pieces come, and how long those take that are made while somebody watches.
    fn note_arrival(&mut self, now: Instant, input: &Input) {
        let Input::Verified { piece, verdict: Verdict::Good, .. } = input else { return };
        let Matter::Live(broadcast) = self.disk.matter() else {
            let range = self.geometry.piece_range(*piece);
            return self.viewers.iter_mut().for_each(|viewer| viewer.on_piece(now, range.clone()));
        };
        let hooked_in = self.watchers.first().and_then(|viewer| viewer.notes().hooked_in.first());
        let captured = broadcast.captured(piece.number());
        if let (Some(captured), Some((since, _))) = (captured, hooked_in)
            && captured >= *since
        {
            self.arrivals.on_piece(now, piece.number(), captured);
        }
    }

    /// The source makes what is due.
    fn capture(&mut self, now: Instant) {
        let Some(source) = &mut self.source else { return };
        for (piece, stamp) in source.act(now) {
            self.disk.write(piece);
            self.inputs.push_back(Input::Captured { stamp: Box::new(stamp) });
        }
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        self.look = now;
        match event {
            Event::Buffering { reader, percent, .. } => {
                let viewer = self.viewers.iter_mut().find(|v| v.id() == reader);
                viewer.into_iter().for_each(|v| v.on_buffering(now, percent));
                let watcher = self.watchers.iter_mut().find(|v| v.id() == reader);
                watcher.into_iter().for_each(|v| v.on_buffering(now, percent));
            }
            Event::Moved { reader, to, why } => {
                let watcher = self.watchers.iter_mut().find(|v| v.id() == reader);
                watcher.into_iter().for_each(|v| v.on_moved(now, to, why));
            }
            event => {
                self.completed |= event == Event::Completed;
                self.events.push((now, event));
            }
        }
    }

    fn viewers_act(&mut self, now: Instant) {
        let (have, geometry) = (self.torrent.have(), self.geometry);
        for viewer in &mut self.viewers {
            let reader = viewer.id();
            let there = |range: &std::ops::Range<u64>| {
                let all = geometry.pieces_in(range).all(|p| have.has(p));
                if all {
                    self.checks.on_delivered(now, geometry.pieces_in(range), self.disk.written());
                }
                all
            };
            self.inputs.extend(viewer.act(now, there).map(|input| Input::Reader { reader, input }));
        }
        for watcher in &mut self.watchers {
            let reader = watcher.id();
            let (said, wrong) = watcher.act(now, &self.disk);
            wrong.into_iter().for_each(|rule| self.checks.ensure(now, false, rule));
            self.inputs.extend(said.map(|input| Input::Reader { reader, input }));
        }
    }
}
