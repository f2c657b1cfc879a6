//! Live broadcasts from outside: `swarm live` and `swarm get` in processes of their own, on addresses of their own.
//! What viewers were given is compared with what the source was, byte by byte.

mod support;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use support::broadcast::{Plan, Watcher, all_figures, delays};
use support::files::scratch;
use support::stranger::address;
use support::transport::runs;

/// Groups of addresses (see `stranger::address`): the broadcasters', and those of each test's viewers.
const SOURCES: u8 = 50;
const CHAIN: u8 = 51;
const RESTART: u8 = 52;
/// How long a source stays away.
const AWAY: Duration = Duration::from_secs(2);

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

#[test]
fn viewers_go_on_by_themselves_when_the_source_was_killed_and_comes_back() {
    let scratch = scratch("restart");
    let plan = Plan::new(scratch.path(), address(SOURCES, 1));
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let watch = |name, number, upstream| {
        let options = ["--buffer", "2s"];
        Watcher::start(name, scratch.path(), &plan.tstream(), address(RESTART, number), &[upstream], &options)
    };
    let near = watch("near", 0, source.at);
    near.until_given(0);
    let far = watch("far", 1, near.at);
    far.until_given(0);
    feed.until_more(plan.rate * 3 / 188);
    source.process.kill();
    let cut = feed.stop();
    let made = all_figures(&source.process).iter().filter_map(|f| f["piece"].as_u64()).max().unwrap_or(0);
    let saved = number_in(&plan.file(".restart"));
    assert!(made > 0 && saved >= made, "piece {made} was made, and {saved} saved");
    thread::park_timeout(AWAY);

    let mut source = plan.start();
    let from = cut + 100;
    let feed = source.feed(from, plan.rate);
    let back = Instant::now();
    let mut viewers = [near, far];
    for viewer in &viewers {
        viewer.until_packet(from);
        println!("{}: goes on after {:?}", viewer.at.ip(), back.elapsed());
    }
    let first = all_figures(&source.process).iter().filter_map(|f| f["piece"].as_u64()).min();
    assert!(first >= Some(saved), "piece {first:?} after {saved} was saved");
    feed.until_more(plan.rate / 188);
    let end = feed.stop();
    for viewer in &mut viewers {
        viewer.until_over();
        let runs = runs(&viewer.given());
        println!("{}: {runs:?}, {}", viewer.at.ip(), viewer.figures());
        assert!(runs.len() == 2 && runs[0].end <= cut && runs[1] == (from..end), "{runs:?} of {from}..{end}");
    }
    source.until_over();
    assert!(number_in(&plan.file(".restart")) > saved);
}

fn number_in(path: &Path) -> u64 {
    let text = fs::read_to_string(path).expect("the file is there");
    text.trim().parse().expect("it holds a number")
}
