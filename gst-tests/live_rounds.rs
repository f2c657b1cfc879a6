//! A broadcast that goes round its ring: a test of its own, as half a second's window is no time for a machine that
//! runs a dozen other broadcasts.
#![allow(clippy::disallowed_methods, reason = "tests are outside of the core: they look at the clock")]

mod support;

use support::broadcast::{Plan, Watcher, number_in};
use support::files::scratch;
use support::live_attacks::Ring;
use support::stranger::address;
use support::transport::runs;

/// Groups of addresses: the broadcaster's, and those of the viewers.
const SOURCES: u8 = 50;
const ROUNDS: u8 = 55;

/// A ring of two seconds, of which half a second is kept.
#[test]
fn a_tiny_ring_goes_round_ten_times_and_nobody_is_given_anything_old() {
    let scratch = scratch("rounds");
    let plan =
        Plan { rate: 63_488, seconds: 2, piece: 4_096, ..Plan::new(scratch.path(), address(SOURCES, 8)) };
    let (in_a_piece, window, ring_pieces) = ((plan.piece as u64 - 128) / 188, 8, 32);
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    feed.until_more(in_a_piece * window);
    let mut viewers: Vec<(u64, Watcher)> = Vec::new();
    for round in 0..10 {
        let end = feed.next() + ring_pieces * in_a_piece;
        // In turn from the source and from who came last.
        let upstream = viewers.last().filter(|_| round % 2 == 1).map_or(source.at, |(_, viewer)| viewer.at);
        let (name, at) = (format!("viewer-{round}"), address(ROUNDS, round));
        let viewer = Watcher::start(&name, scratch.path(), &source.tstream, at, &[upstream], &[]);
        viewers.push((feed.next(), viewer));
        feed.until_more(end.saturating_sub(feed.next()));
    }
    let end = feed.stop();
    let (mut given, mut gaps) = (0, 0);
    let wanted: u64 = viewers.iter().map(|(since, _)| end - since).sum();
    for (since, viewer) in &mut viewers {
        viewer.until_over();
        let runs = runs(&viewer.given());
        assert!(
            runs.is_sorted_by(|a, b| a.end < b.start),
            "back in time: {runs:?}\n{}",
            viewer.process.story()
        );
        // Whom it has it from may be behind itself, but not by a round.
        let oldest = since.saturating_sub(ring_pieces * in_a_piece);
        assert!(runs[0].start >= oldest, "{runs:?} was given after {since}");
        assert_eq!(
            (runs[runs.len() - 1].end, viewer.figure("banned")),
            (end, 0),
            "{}",
            viewer.process.story()
        );
        given += runs.iter().map(|run| run.end - run.start).sum::<u64>();
        gaps += runs.len() - 1;
    }
    source.until_over();
    println!("{given} of {wanted} packets, {gaps} gaps");
    // What has left the window lies in the ring still, until it is written over.
    let (ring, newest) = (Ring::open(&source.tstream), number_in(&plan.file(".restart")) - 1);
    let there = (newest + 1 - ring_pieces..=newest).filter(|seq| ring.piece(*seq as u32).is_some()).count();
    assert_eq!(there as u64, ring_pieces);
    assert!(given >= wanted * 9 / 10, "{given} of {wanted} packets, {gaps} gaps");
}
