//! Who is there, what they watch, and what changes: everything that a run depends on, with its seed.

use std::ops::ControlFlow;

use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

use crate::metainfo::geometry::Geometry;
use crate::rate::ByteRate;
use crate::swarm::Config;
use crate::swarm::policy::Policy;
use crate::swarm::serving::Serving;
use crate::time::{Duration, Instant};

use super::behaviour::{Behaviour, Honest};
use super::conduct::Conduct;
use super::disk::{DiskPlan, Matter};
use super::host::{EngineHost, HostPlan};
use super::link::{Change, Link};
use super::report::Report;
use super::scripted::Scripted;
use super::viewer::ViewerPlan;
use super::world::{HostId, Mind, Tracker, Until, World, hello};

/// A run ends after this time, unless the scenario says otherwise.
const LIMIT: Duration = Duration::from_secs(600);
/// Connections of one engine, unless the scenario says otherwise.
const MAX_PEERS: usize = 80;

/// The film that everybody has or wants.
#[derive(Copy, Clone, Debug)]
pub struct Film {
    /// How long it plays.
    pub seconds: u64,
    /// Bytes/s of media.
    pub bitrate: u64,
    /// Bytes in a piece.
    pub piece_length: u32,
}

impl Film {
    /// Its bytes.
    pub const fn total(&self) -> u64 {
        self.seconds * self.bitrate
    }
}

/// A world being put together.
pub struct Scenario {
    seed: u64,
    film: Film,
    geometry: Geometry,
    world: World,
    rng: Pcg64,
    limit: Duration,
    hosts: usize,
}

/// An engine's settings in scenarios: nothing limited. The name is given by the scenario.
pub fn config() -> Config {
    Config {
        hello: hello(HostId(0), true),
        listen_port: 6881,
        max_peers: MAX_PEERS,
        whole: false,
        budget: None,
        upload_limit: ByteRate(0),
        download_limit: ByteRate(0),
        serving: Serving::default(),
        policy: Policy::default(),
        live: None,
    }
}

impl Scenario {
    /// A world with this film and nobody in it.
    ///
    /// # Panics
    /// When the film cannot be a torrent.
    pub fn new(seed: u64, film: Film) -> Self {
        let geometry =
            Geometry::new(u64::from(film.piece_length), film.total()).expect("a film that can be cut");
        let mut rng = Pcg64::seed_from_u64(seed);
        let world = World::new(Pcg64::seed_from_u64(rng.next_u64()));
        Self { seed, film, geometry, world, rng, limit: LIMIT, hosts: 0 }
    }

    /// How the film is cut.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Chance for whoever puts the scenario together.
    pub const fn rng(&mut self) -> &mut Pcg64 {
        &mut self.rng
    }

    /// The run ends after this time at the latest.
    pub const fn limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The tracker tells so many addresses (all of them, unless this is called).
    pub const fn tracker(&mut self, tracker: Tracker) {
        self.world.set_tracker(tracker);
    }

    /// A scripted seed that does what it should.
    pub fn seed(&mut self, link: Link) -> HostId {
        self.scripted(link, Box::new(Honest))
    }

    /// A scripted peer.
    pub fn scripted(&mut self, link: Link, behaviour: Box<dyn Behaviour>) -> HostId {
        let rng = Pcg64::seed_from_u64(self.rng.next_u64());
        let scripted = Scripted::new(behaviour, self.geometry, rng);
        let name = format!("{} {}", scripted.name(), self.hosts);
        self.add(name, Mind::Scripted(Box::new(scripted)), link, Duration::ZERO)
    }

    /// A seed that runs the engine.
    pub fn engine_seed(&mut self, link: Link) -> HostId {
        let plan = HostPlan { complete: true, ..plan(config()) };
        self.engine("engine", link, Duration::ZERO, plan)
    }

    /// Somebody who wants all of it and watches nothing, from `joins` on.
    pub fn leecher(&mut self, link: Link, joins: Duration) -> HostId {
        self.engine("leecher", link, joins, plan(Config { whole: true, ..config() }))
    }

    /// Somebody who watches.
    pub fn viewer(&mut self, link: Link, viewer: ViewerPlan) -> HostId {
        let joins = viewer.opens;
        self.engine("viewer", link, joins, HostPlan { viewers: vec![viewer], ..plan(config()) })
    }

    /// An engine with any plan.
    pub fn engine(&mut self, name: &str, link: Link, joins: Duration, mut plan: HostPlan) -> HostId {
        plan.config.hello = hello(HostId(self.hosts), true);
        let name = format!("{name} {}", self.hosts);
        let seed = self.rng.next_u64();
        let host =
            EngineHost::new(plan, self.geometry, (Matter::Film, self.film.bitrate), seed, self.seed, &name);
        self.add(name, Mind::Engine(Box::new(host)), link, joins)
    }

    /// Nobody can call this host.
    pub fn unreachable(&mut self, host: HostId) {
        self.world.set_unreachable(host);
    }

    /// This host leaves so long after it has all that it wants.
    pub fn lingers(&mut self, host: HostId, lingers: Duration) {
        self.world.set_lingering(host, lingers);
    }

    /// Something about a host's link changes at that time.
    pub fn change(&mut self, at: Duration, host: HostId, change: Change) {
        self.world.change(at, host, change);
    }

    /// Runs until everybody who wants something has it, or the limit is reached.
    pub fn run(mut self) -> Report {
        self.world.run(Instant::ZERO + self.limit, Until::AllDone);
        Report::new(self.seed, &self.world)
    }

    /// Runs like [`run`](Self::run), and looks at the world again and again, as long as `look` wants to go on.
    pub fn run_watched(self, every: Duration, look: impl FnMut(&World) -> ControlFlow<()>) -> World {
        watch(self.world, Instant::ZERO + self.limit, Until::AllDone, every, look)
    }

    fn add(&mut self, name: String, mind: Mind, link: Link, joins: Duration) -> HostId {
        self.hosts += 1;
        self.world.add(name, mind, link, joins)
    }
}

/// A host's plan with nothing special about it.
pub fn plan(config: Config) -> HostPlan {
    HostPlan {
        config,
        disk: DiskPlan::default(),
        complete: false,
        viewers: Vec::new(),
        watchers: Vec::new(),
        source: None,
        conduct: Conduct::default(),
        praises: None,
    }
}

/// Runs a world until `end` or `until`, and looks at it again and again, as long as `look` wants to go on.
pub(super) fn watch(
    mut world: World,
    end: Instant,
    until: Until,
    every: Duration,
    mut look: impl FnMut(&World) -> ControlFlow<()>,
) -> World {
    while look(&world).is_continue() && world.now() < end {
        let next = end.min(world.now() + every);
        if !world.run(next, until) {
            break;
        }
    }
    world
}
