//! Live broadcasts from outside: `swarm live` and `swarm get` in processes of their own, on addresses of their own.
//! What viewers were given is compared with what the source was, byte by byte.

mod support;

use std::time::Duration;

use support::broadcast::{Plan, Watcher, delays};
use support::files::scratch;
use support::stranger::address;
use support::transport::runs;

/// Groups of addresses (see `stranger::address`): the broadcasters', and those of each test's viewers.
const SOURCES: u8 = 50;
const CHAIN: u8 = 51;

#[test]
fn a_chain_of_viewers_passes_on_every_byte_to_the_end() {
    let scratch = scratch("chain");
    let plan = Plan::new(scratch.path(), address(SOURCES, 0));
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let mut viewers: Vec<Watcher> = Vec::new();
    for (number, name) in (0..).zip(["a", "b", "c"]) {
        // Each knows only its upstream.
        let upstream = viewers.last().map_or(source.at, |viewer| viewer.at);
        let at = address(CHAIN, number);
        let viewer =
            Watcher::start(name, scratch.path(), &source.tstream, at, &[upstream], &["--buffer", "1s"]);
        viewer.until_given(0);
        viewers.push(viewer);
    }
    let all: Vec<_> = viewers.iter().collect();
    for (hop, delays) in (1..).zip(delays(&all, &feed, Duration::from_secs(4))) {
        let at = |percent: usize| delays[(delays.len() - 1) * percent / 100];
        println!("hop {hop}: {} pieces, delay {:?} (median), {:?} (95 %)", delays.len(), at(50), at(95));
        assert!(at(50) < Duration::from_secs(1), "hop {hop}: {delays:?}");
    }
    let end = feed.stop();
    for viewer in &mut viewers {
        viewer.until_over();
        let runs = runs(&viewer.given());
        assert!(runs.len() == 1 && runs[0].end == end, "{runs:?} of {end}\n{}", viewer.process.story());
        assert_eq!(viewer.length(), viewer.given().len() as u64);
        assert_eq!((viewer.figure("dropped"), viewer.figure("rehooked")), (0, 0));
    }
    source.until_over();
}
