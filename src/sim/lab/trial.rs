//! One run of a scenario: the plan becomes a world, and the world an outcome.

use std::ops::ControlFlow;

use rand::RngExt as _;
use rand_pcg::Pcg64;

use crate::rate::ByteRate;
use crate::sim::host::HostPlan;
use crate::sim::link::{Change, LOSS_UNIT, Link};
use crate::sim::live_scenario::LiveScenario;
use crate::sim::scenario::Scenario;
use crate::sim::viewer::ViewerPlan;
use crate::sim::world::{HostId, World, address};
use crate::swarm::policy::Policy;
use crate::time::{Duration, Instant};

use super::arrival::exponential;
use super::class::Class;
use super::level::{Level, ahead};
use super::outcome::{HostOutcome, Outcome};
use super::plan::Plan;
use super::programme::Programme;
use super::stage::Stage;

/// Seeks, and pauses, of one viewer.
const MAX_BREAKS: usize = 64;

/// Which run of a scenario.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// What all chance comes from.
    pub seed: u64,
    /// What engines follow whose class names nothing else.
    pub policy: Policy,
}

/// A host's class and when it comes.
struct Member {
    class: usize,
    joins: Duration,
}

impl Trial {
    /// Runs it; `tick` hears now and then what time it is there, and may end it, which leaves no outcome.
    pub fn run(self, plan: &Plan, tick: impl FnMut(Instant) -> ControlFlow<()>) -> Option<Outcome> {
        match plan.programme {
            Programme::Film(film) => self.play(plan, Scenario::new(self.seed, film), tick),
            Programme::Broadcast(show) => self.play(plan, LiveScenario::new(self.seed, show), tick),
        }
    }

    fn play(
        self,
        plan: &Plan,
        mut stage: impl Stage,
        mut tick: impl FnMut(Instant) -> ControlFlow<()>,
    ) -> Option<Outcome> {
        stage.set(plan.limit, plan.tracker);
        let mut members = Vec::new();
        for number in 0..plan.classes.len() {
            self.populate(plan, number, &mut stage, &mut members);
        }
        let (mut levels, mut ended) = (vec![Vec::new(); plan.classes.len() + 1], false);
        let world = stage.run(Level::pause(plan.limit), |world| {
            look(world, plan, &members, &mut levels);
            let next = tick(world.now());
            ended = next.is_break();
            next
        });
        if ended {
            return None;
        }
        let mut outcome = Outcome::new(plan, world.now(), levels);
        for (host, member) in world.hosts().iter().zip(members) {
            let role = plan.classes[member.class].role;
            outcome.classes[member.class].extend(HostOutcome::new(world.now(), host, role, member.joins));
        }
        Some(outcome)
    }

    /// Puts the hosts of a class into the world.
    fn populate(self, plan: &Plan, number: usize, stage: &mut impl Stage, members: &mut Vec<Member>) {
        let class = &plan.classes[number];
        let arrivals = class.arrival.times(class.count, stage.rng());
        let first = members.len();
        for (n, joins) in arrivals.into_iter().enumerate() {
            let link = link(plan, class, stage.rng());
            let stays = class.stay.draw(stage.rng());
            let host = stage.host(plan, class, joins, class.policy(self.policy));
            let praises =
                class.conduct.praised(n, class.count).map(|praised| address(HostId(first + praised)));
            let host = HostPlan { conduct: class.conduct, praises, ..host };
            let id = stage.add(&class.name, link, joins, host);
            if is_nth(n, class.nat) {
                stage.unreachable(id);
            }
            if let Some(linger) = class.stay.linger().filter(|_| class.is_fed()) {
                stage.lingers(id, linger);
            }
            for at in stays.map(|stays| joins + stays).into_iter().chain(class.leave) {
                stage.change(at.max(joins), id, Change::Leave);
            }
            members.push(Member { class: number, joins });
        }
    }
}

fn link(plan: &Plan, class: &Class, rng: &mut Pcg64) -> Link {
    let access = &class.access;
    Link {
        up: ByteRate(plan.up(class)),
        down: ByteRate(access.down.of(plan.programme.bitrate())),
        latency: rng.random_range(access.latency.clone()),
        jitter: access.jitter,
        loss: (access.loss * f64::from(LOSS_UNIT)).round() as u32,
    }
}

/// Notes what the viewers of each class, and all of them, have ahead.
fn look(world: &World, plan: &Plan, members: &[Member], levels: &mut [Vec<Level>]) {
    let (now, bitrate) = (world.now(), ByteRate(plan.programme.bitrate()));
    let hosts = world.hosts().iter().zip(members);
    let ahead = hosts.filter_map(|(host, member)| Some((member.class, ahead(now, host, bitrate)?)));
    let ahead: Vec<_> = ahead.collect();
    for (class, levels) in levels.iter_mut().enumerate() {
        let all = class == plan.classes.len();
        let of = ahead.iter().filter(|(theirs, _)| all || *theirs == class);
        levels.extend(Level::of(now, of.map(|(_, ahead)| *ahead)));
    }
}

/// Whether this one of many is one of those that make up a share of them, spread evenly.
fn is_nth(n: usize, share: f64) -> bool {
    ((n + 1) as f64 * share).floor() > (n as f64 * share).floor()
}

/// What somebody of this class is going to watch.
pub(super) fn watches(class: &Class, opens: Duration, total: u64, rng: &mut Pcg64) -> ViewerPlan {
    let (mut seeks, mut pauses) = (Vec::new(), Vec::new());
    let mut at = opens;
    for gap in std::iter::repeat_n(class.seeks, MAX_BREAKS).flatten() {
        at += exponential(gap, rng);
        seeks.push((at, rng.random_range(0..total * 9 / 10)));
    }
    at = opens;
    for habit in std::iter::repeat_n(class.pauses, MAX_BREAKS).flatten() {
        at += exponential(habit.mean_gap, rng);
        let length = exponential(habit.mean_length, rng);
        pauses.push((at, length));
        at += length;
    }
    ViewerPlan { opens, seeks, pauses, ..ViewerPlan::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_hosts_is_spread_evenly_and_exact() {
        let chosen = |share| (0..20).filter(|n| is_nth(*n, share)).count();
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(chosen), [0, 5, 10, 20]);
    }
}
