//! Live swarms in the simulator: a source, viewers who feed each other, and what goes wrong.
//!
//! `SWARM_SEED=17` runs everything with another seed; a failure names its own.

use std::time::Duration;

use gstswarm::sim::broadcast::Show;
use gstswarm::sim::link::Link;
use gstswarm::sim::live_report::LiveReport;
use gstswarm::sim::live_scenario::LiveScenario;
use gstswarm::sim::live_viewer::LivePlan;
use rand::RngExt as _;

/// 512 kbit/s, as broadcasts of 2008 had, in two pieces a second.
const SHOW: Show = Show { bitrate: 64 * 1024, piece_length: 32 * 1024, ring: s(600), window: None };

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn seed() -> u64 {
    environment("SWARM_SEED", 1)
}

/// A link that sends so many hundredths of the broadcast's rate and takes in ten times as much, somewhere.
fn link(scenario: &mut LiveScenario, percent: u64) -> Link {
    let rate = scenario.broadcast().show().piece_rate() * percent / 100;
    let latency = ms(scenario.rng().random_range(5..40));
    Link::up(rate).down(rate * 10).latency(latency)
}

/// Four in a row, of whom each knows only the one before.
fn chain(seed: u64) -> LiveReport {
    let mut scenario = LiveScenario::new(seed, SHOW);
    let near = Link::up(SHOW.bitrate * 8).latency(ms(10));
    let mut before = scenario.source(near);
    for _ in 0..4 {
        let viewer = scenario.viewer(near, s(20), LivePlan::default());
        scenario.knows(viewer, vec![before]);
        before = viewer;
    }
    scenario.limit(s(120));
    scenario.run()
}

/// Viewers who can send one and a half times what they watch, and a source that can send three times.
fn twenty(seed: u64, unreachable_percent: u32) -> LiveReport {
    let mut scenario = LiveScenario::new(seed, SHOW);
    let up = link(&mut scenario, 300);
    scenario.source(up);
    for n in 0..20u32 {
        let up = link(&mut scenario, 150);
        let joins = s(15) + ms(scenario.rng().random_range(0..20_000));
        let viewer = scenario.viewer(up, joins, LivePlan::default());
        if n * 100 < 20 * unreachable_percent {
            scenario.unreachable(viewer);
        }
    }
    scenario.limit(s(150));
    scenario.run()
}

#[test]
fn a_chain_of_four_plays_everything() {
    let report = chain(seed());
    println!("{}\n{report}", report.table());
}

#[test]
fn twenty_viewers_carry_each_other() {
    for unreachable in [0, 40] {
        let report = twenty(seed(), unreachable);
        println!("{}\n{report}", report.table());
    }
}
