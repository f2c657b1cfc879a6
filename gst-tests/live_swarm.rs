//! Live swarms in the simulator: a source, and viewers who feed each other.
//!
//! `SWARM_SEED=17` runs everything with another seed; a failure names its own.

use std::time::Duration;

use gstswarm::sim::broadcast::Show;
use gstswarm::sim::link::Link;
use gstswarm::sim::live_report::LiveReport;
use gstswarm::sim::live_scenario::LiveScenario;
use gstswarm::sim::live_viewer::LivePlan;

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

#[test]
fn a_chain_of_four_plays_everything() {
    let report = chain(seed());
    println!("{}\n{report}", report.table());
    let (taken, dropped) = report.pieces();
    assert!(taken >= 4 * 190 && dropped == 0 && report.stalls() == 0, "{report}");
    // Each gives the next one everything, so the source gives a quarter.
    assert!((2_400..=2_600).contains(&report.source_share()), "{}", report.source_share());
    let delays: Vec<_> = (1..=4).map(|depth| report.delay(depth).expect("one at each depth").1).collect();
    assert!(delays.is_sorted() && delays[3] < ms(1_000), "{delays:?}");
}
