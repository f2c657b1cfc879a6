//! A live swarm being put together: who makes the broadcast, who watches it from when to when, and what goes wrong.

use std::ops::ControlFlow;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use crate::metainfo::geometry::Geometry;
use crate::swarm::Config;
use crate::time::{Duration, Instant};

use super::behaviour::Behaviour;
use super::broadcast::{Broadcast, Show};
use super::disk::Matter;
use super::host::{EngineHost, HostPlan};
use super::link::{Change, Link};
use super::live_report::LiveReport;
use super::live_source::LiveSource;
use super::live_viewer::LivePlan;
use super::scenario::{config, plan, watch};
use super::scripted::Scripted;
use super::world::{HostId, Mind, Tracker, Until, World, hello};

/// Addresses that the tracker tells at once.
const TOLD: (usize, usize) = (30, 50);
/// Connections of one engine.
const MAX_PEERS: usize = 50;

/// A live world being put together.
pub struct LiveScenario {
    seed: u64,
    broadcast: Broadcast,
    world: World,
    rng: Pcg64,
    limit: Duration,
    hosts: usize,
}

impl LiveScenario {
    /// A world in which nobody makes this broadcast yet.
    pub fn new(seed: u64, show: Show) -> Self {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut world = World::new(Pcg64::seed_from_u64(rng.next_u64()));
        world.set_tracker(Tracker::Some(TOLD.0, TOLD.1));
        let limit = Duration::from_secs(60);
        Self { seed, broadcast: Broadcast::new(show), world, rng, limit, hosts: 0 }
    }

    /// What is broadcast.
    pub const fn broadcast(&self) -> &Broadcast {
        &self.broadcast
    }

    /// Chance for whoever puts the scenario together.
    pub const fn rng(&mut self) -> &mut Pcg64 {
        &mut self.rng
    }

    /// A time of which the mean of many is `mean`: between arrivals that know nothing of each other, or of stays.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let uniform: f64 = self.rng.random_range(0.0..1.0);
        mean.mul_f64(-(1.0 - uniform).ln())
    }

    /// The run ends after this time.
    pub const fn limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The tracker tells so many addresses (thirty to fifty, unless this is called).
    pub const fn tracker(&mut self, tracker: Tracker) {
        self.world.set_tracker(tracker);
    }

    /// The one who makes the broadcast, from the beginning of the world to the end.
    pub fn source(&mut self, link: Link) -> HostId {
        let source = LiveSource::new(self.broadcast.clone(), Duration::ZERO, None, None);
        self.source_of(link, Duration::ZERO, source)
    }

    /// The one who makes the broadcast, from `joins` on.
    pub fn source_of(&mut self, link: Link, joins: Duration, source: LiveSource) -> HostId {
        let live = Some(self.broadcast.show().live_config(true));
        let plan =
            HostPlan { source: Some(source), ..plan(Config { live, max_peers: MAX_PEERS, ..config() }) };
        self.engine("source", link, joins, plan)
    }

    /// Somebody who watches from `joins` on.
    pub fn viewer(&mut self, link: Link, joins: Duration, viewer: LivePlan) -> HostId {
        let live = Some(self.broadcast.show().live_config(false));
        let plan =
            HostPlan { watchers: vec![viewer], ..plan(Config { live, max_peers: MAX_PEERS, ..config() }) };
        self.engine("viewer", link, joins, plan)
    }

    /// An engine with any plan.
    pub fn engine(&mut self, name: &str, link: Link, joins: Duration, mut plan: HostPlan) -> HostId {
        plan.config.hello = hello(HostId(self.hosts), true);
        let name = format!("{name} {}", self.hosts);
        let seed = self.rng.next_u64();
        let matter = (Matter::Live(self.broadcast.clone()), self.broadcast.show().piece_rate());
        let host = EngineHost::new(plan, self.geometry(), matter, seed, self.seed, &name);
        self.add(name, Mind::Engine(Box::new(host)), link, joins)
    }

    /// A scripted peer, from the beginning on.
    pub fn scripted(&mut self, link: Link, behaviour: Box<dyn Behaviour>) -> HostId {
        let rng = Pcg64::seed_from_u64(self.rng.next_u64());
        let scripted = Scripted::live(behaviour, self.broadcast.clone(), rng);
        let name = format!("{} {}", scripted.name(), self.hosts);
        self.add(name, Mind::Scripted(Box::new(scripted)), link, Duration::ZERO)
    }

    /// Nobody can call this host.
    pub fn unreachable(&mut self, host: HostId) {
        self.world.set_unreachable(host);
    }

    /// This host hears of these only.
    pub fn knows(&mut self, host: HostId, known: Vec<HostId>) {
        self.world.set_known(host, known);
    }

    /// A host that joins where another one has been before.
    pub fn take_over(&mut self, old: HostId, new: HostId) {
        self.world.take_over(old, new);
    }

    /// Something about a host changes at that time.
    pub fn change(&mut self, at: Duration, host: HostId, change: Change) {
        self.world.change(at, host, change);
    }

    /// Runs until the limit.
    pub fn run(mut self) -> LiveReport {
        self.world.run(Instant::ZERO + self.limit, Until::End);
        LiveReport::new(self.seed, &self.broadcast, &self.world)
    }

    /// Runs until the limit, and looks at the world again and again, as long as `look` wants to go on.
    pub fn run_watched(self, every: Duration, look: impl FnMut(&World) -> ControlFlow<()>) -> World {
        watch(self.world, Instant::ZERO + self.limit, Until::End, every, look)
    }

    fn geometry(&self) -> Geometry {
        self.broadcast.show().geometry()
    }

    fn add(&mut self, name: String, mind: Mind, link: Link, joins: Duration) -> HostId {
        self.hosts += 1;
        self.world.add(name, mind, link, joins)
    }
}
