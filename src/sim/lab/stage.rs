//! What a world is put together with, for a film or for a broadcast.

use std::ops::ControlFlow;

use rand_pcg::Pcg64;

use crate::rate::ByteRate;
use crate::sim::host::HostPlan;
use crate::sim::link::{Change, Link};
use crate::sim::live_scenario::LiveScenario;
use crate::sim::live_source::LiveSource;
use crate::sim::live_viewer::LivePlan;
use crate::sim::scenario::{Scenario, config, plan};
use crate::sim::world::{HostId, Tracker, World};
use crate::swarm::Config;
use crate::swarm::policy::Policy;
use crate::time::Duration;

use super::class::{Class, Role};
use super::plan::Plan;
use super::trial::watches;

/// A world in the making.
pub(super) trait Stage {
    fn set(&mut self, limit: Duration, tracker: Tracker);
    fn rng(&mut self) -> &mut Pcg64;
    /// What a host of a class that comes then is made of, with this policy where it follows one.
    fn host(&mut self, plan: &Plan, class: &Class, joins: Duration, policy: Policy) -> HostPlan;
    fn add(&mut self, name: &str, link: Link, joins: Duration, host: HostPlan) -> HostId;
    fn unreachable(&mut self, host: HostId);
    fn lingers(&mut self, host: HostId, lingers: Duration);
    fn change(&mut self, at: Duration, host: HostId, change: Change);
    fn run(self, every: Duration, look: impl FnMut(&World) -> ControlFlow<()>) -> World;
}

/// What engines have in common.
fn settings(plan: &Plan, class: &Class) -> Config {
    Config {
        max_peers: plan.max_peers,
        upload_limit: ByteRate(class.upload_limit.of(plan.programme.bitrate())),
        ..config()
    }
}

impl Stage for Scenario {
    fn set(&mut self, limit: Duration, tracker: Tracker) {
        self.limit(limit);
        self.tracker(tracker);
    }

    fn rng(&mut self) -> &mut Pcg64 {
        Self::rng(self)
    }

    fn host(&mut self, plan: &Plan, class: &Class, joins: Duration, policy: Policy) -> HostPlan {
        let total = self.geometry().total();
        let viewer = (class.role == Role::Viewer).then(|| watches(class, joins, total, Self::rng(self)));
        let config = Config { whole: class.role == Role::Leecher, policy, ..settings(plan, class) };
        HostPlan {
            complete: class.role == Role::Seed,
            viewers: viewer.into_iter().collect(),
            ..self::plan(config)
        }
    }

    fn add(&mut self, name: &str, link: Link, joins: Duration, host: HostPlan) -> HostId {
        self.engine(name, link, joins, host)
    }

    fn unreachable(&mut self, host: HostId) {
        Self::unreachable(self, host);
    }

    fn lingers(&mut self, host: HostId, lingers: Duration) {
        Self::lingers(self, host, lingers);
    }

    fn change(&mut self, at: Duration, host: HostId, change: Change) {
        Self::change(self, at, host, change);
    }

    fn run(self, every: Duration, look: impl FnMut(&World) -> ControlFlow<()>) -> World {
        self.run_watched(every, look)
    }
}

impl Stage for LiveScenario {
    fn set(&mut self, limit: Duration, tracker: Tracker) {
        self.limit(limit);
        self.tracker(tracker);
    }

    fn rng(&mut self) -> &mut Pcg64 {
        Self::rng(self)
    }

    fn host(&mut self, plan: &Plan, class: &Class, joins: Duration, policy: Policy) -> HostPlan {
        let makes = class.role == Role::Broadcaster;
        let live = Some(self.broadcast().show().live_config(makes));
        let source = makes.then(|| LiveSource::new(self.broadcast().clone(), joins, None, None));
        HostPlan {
            source,
            watchers: (!makes).then(LivePlan::default).into_iter().collect(),
            ..self::plan(Config { live, policy, ..settings(plan, class) })
        }
    }

    fn add(&mut self, name: &str, link: Link, joins: Duration, host: HostPlan) -> HostId {
        self.engine(name, link, joins, host)
    }

    fn unreachable(&mut self, host: HostId) {
        Self::unreachable(self, host);
    }

    /// A broadcast has no end behind which anybody could stay.
    fn lingers(&mut self, _host: HostId, _lingers: Duration) {}

    fn change(&mut self, at: Duration, host: HostId, change: Change) {
        Self::change(self, at, host, change);
    }

    fn run(self, every: Duration, look: impl FnMut(&World) -> ControlFlow<()>) -> World {
        self.run_watched(every, look)
    }
}
