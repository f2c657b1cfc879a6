//! Live broadcasts among attackers: no wrong byte is given to viewers, the guilty are banned, and nobody else is kept
//! out.
#![allow(clippy::disallowed_methods, reason = "tests are outside of the core: they look at the clock")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gstswarm::metainfo::torrent::Metainfo;
use gstswarm::wire::handshake::Hello;
use gstswarm::wire::ids::PeerId;
use gstswarm::wire::message::Message;
use support::attacks::{Attack, Due};
use support::broadcast::{self, PATIENCE, Plan, Watcher};
use support::crowd::Crowd;
use support::feed;
use support::files::scratch;
use support::film::Film;
use support::line::encoded;
use support::live_attacks::{self, Ring};
use support::pages::get;
use support::stranger::{Stranger, address};
use support::subject::{descriptors, peak_memory};
use support::transport::runs;
use support::wait;

/// Groups of addresses (see `stranger::address`): the broadcasters', and those of each test's viewers.
const SOURCES: u8 = 50;
const PORT: u8 = 56;
const CROWD: u8 = 57;
const HOSTILE: u8 = 59;
const CALLED: u8 = 60;
const CALLERS: u8 = 61;
const CALLERS_OF_SOURCE: u8 = 62;
/// Most memory of a process, by its `VmHWM`.
const MOST_MEMORY: u64 = 100 << 20;

/// Silent callers, some that begin a request and never end it, and some that shake hands and want everything.
#[test]
fn five_hundred_callers_keep_out_no_viewer_and_break_nothing() {
    let scratch = scratch("crowd");
    let plan = Plan::new(scratch.path(), address(SOURCES, 10));
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let watch = |name, number| {
        Watcher::start(name, scratch.path(), &plan.tstream(), address(PORT, number), &[plan.at], &[])
    };
    let early = watch("early", 1);
    early.until_given(0);
    let tstream = fs::read(&source.tstream).expect("it is there");
    let info_hash = Metainfo::parse(&tstream).expect("it is one").info_hash;
    let words = move |n: u16| {
        let mut id = *b"-XX0000-crowd.......";
        id[14..16].copy_from_slice(&n.to_be_bytes());
        let hello = Hello::ours(info_hash, PeerId(id)).encode();
        match n % 4 {
            0 => Vec::new(),
            1 => b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ".to_vec(),
            2 => b"\x13BitTorrent".to_vec(),
            _ => [&hello[..], &encoded(&Message::HaveAll), &encoded(&Message::Interested)].concat(),
        }
    };
    let crowd = Crowd::start(CROWD, (500, 250), source.at, words);
    let all = || crowd.made() >= 500;
    wait::until("the crowd to be there", PATIENCE, all, || format!("{} of them", crowd.made()));
    let begun = Instant::now();
    let late = watch("late", 2);
    late.until_given(0);
    println!("joined after {:?} among {} of {} calls", begun.elapsed(), crowd.connected(), crowd.made());
    let (status, ..) = get(source.at, "/");
    assert_eq!(status, 200);
    feed.until_more(2 * feed::packets_per_second(plan.rate));
    let (memory, descriptors) = (peak_memory(source.process.id()), descriptors(source.process.id()));
    println!("{} MiB, {descriptors} descriptors, {}", memory >> 20, source.figures());
    assert!(memory < MOST_MEMORY, "{memory} bytes of memory");
    drop(crowd);
    let end = feed.stop();
    for mut viewer in [early, late] {
        viewer.until_over();
        let runs = runs(&viewer.given());
        assert!(runs.len() == 1 && runs[0].end == end, "{runs:?} of {end}\n{}", viewer.process.story());
    }
    source.until_over();
}

/// Every kind of attacker at once, of those that a viewer calls and of those that call it, beside the honest source.
#[test]
fn a_viewer_among_attackers_is_given_no_wrong_byte_and_goes_on() {
    let scratch = scratch("hostile");
    let plan = hostile_plan(scratch.path(), 12);
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    source.until("some pieces", |figures| figures["piece"].as_u64() > Some(8));
    let (ring, film) = (Ring::open(&source.tstream), Film::named(&source.tstream));
    let called = (0..).zip(live_attacks::all(&ring)).map(|(number, attack)| {
        let stranger = Stranger::listens(address(CALLED, number), &film, Arc::clone(&attack.script));
        (attack, stranger)
    });
    let mut attackers: Vec<_> = called.collect();
    let peers: Vec<_> = attackers.iter().map(|(_, stranger)| stranger.address()).chain([source.at]).collect();
    let mut viewer =
        Watcher::start("viewer", scratch.path(), &source.tstream, address(HOSTILE, 0), &peers, &[]);
    attackers.extend((0..).zip(live_attacks::all(&ring)).map(|(number, attack)| {
        let stranger =
            Stranger::calls(address(CALLERS, number), viewer.at, &film, Arc::clone(&attack.script));
        (attack, stranger)
    }));
    let of_source: Vec<_> = (0..)
        .zip(live_attacks::all(&ring).into_iter().chain(live_attacks::withhold(&ring)))
        .map(|(number, attack)| {
            let from = address(CALLERS_OF_SOURCE, number);
            let stranger = Stranger::calls(from, source.at, &film, Arc::clone(&attack.script));
            (attack, stranger)
        })
        .collect();
    viewer.until_given(plan.rate);
    // Who was never asked for a piece has given no wrong one.
    let guilty = || {
        deserve(&attackers, |attack, stranger| {
            attack.due == Due::Ban
                && (!attack.name.starts_with(live_attacks::GIVES) || stranger.tally().given() > PIECE_OF_TWO)
        })
    };
    let free = || -> Vec<_> {
        let banned = viewer.banned().into_iter().collect();
        guilty().difference(&banned).map(|ip| name_of(&attackers, *ip)).collect()
    };
    wait::until(
        "the guilty to be banned",
        PATIENCE,
        || free().is_empty(),
        || format!("not banned: {:#?}\n{}", free(), viewer.process.story()),
    );
    feed.until_more(5 * feed::packets_per_second(plan.rate));
    assert_eq!(free(), Vec::<&str>::new(), "{}", viewer.process.story());
    for (attackers, log) in [(&attackers, viewer.process.log()), (&of_source, source.process.log())] {
        let spared = deserve(attackers, |attack, _| attack.due == Due::Mercy);
        let innocent = broadcast::banned(&log).into_iter().filter(|ip| spared.contains(ip));
        let innocent: Vec<_> = innocent.map(|ip| name_of(attackers, ip)).collect();
        assert!(innocent.is_empty(), "banned without guilt: {innocent:?}\n{log}");
    }
    let liars = deserve(&of_source, |attack, _| {
        attack.due == Due::Ban && !attack.name.starts_with(live_attacks::GIVES)
    });
    source.until("the liars to be banned", |figures| figures["banned"].as_u64() >= Some(liars.len() as u64));
    let memory = peak_memory(source.process.id());
    println!("source: {} MiB at most, {}", memory >> 20, source.figures());
    assert!(memory < MOST_MEMORY, "{memory} bytes of memory");
    let (memory, figures) = (viewer.peak_memory(), viewer.figures());
    println!("{} MiB at most, {figures}", memory >> 20);
    assert!(memory < MOST_MEMORY, "{memory} bytes of memory");
    assert!(
        figures["banned"].as_u64() >= Some(guilty().len() as u64) && figures["bad_stamps"].as_u64() > Some(0)
    );
    let end = feed.stop();
    viewer.until_over();
    assert_lost(&viewer, end, 8);
    drop((attackers, of_source));
    source.until_over();
}

/// What is announced and not given is had from somebody else in time: the window is longer than anybody is waited for.
#[test]
fn a_viewer_is_not_stopped_by_those_who_do_not_give_what_they_announce() {
    let scratch = scratch("withheld");
    let plan = hostile_plan(scratch.path(), 13);
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    source.until("some pieces", |figures| figures["piece"].as_u64() > Some(8));
    let (ring, film) = (Ring::open(&source.tstream), Film::named(&source.tstream));
    let attackers = (20..).zip(live_attacks::withhold(&ring));
    let strangers: Vec<_> = attackers
        .map(|(number, attack)| Stranger::listens(address(HOSTILE, number), &film, attack.script))
        .collect();
    let peers: Vec<_> = strangers.iter().map(Stranger::address).chain([source.at]).collect();
    let mut viewer =
        Watcher::start("viewer", scratch.path(), &source.tstream, address(HOSTILE, 1), &peers, &[]);
    viewer.until_given(0);
    let (begun, mut longest, mut last) = (Instant::now(), Duration::ZERO, (viewer.length(), Instant::now()));
    while begun.elapsed() < Duration::from_secs(12) {
        if viewer.length() > last.0 {
            longest = longest.max(last.1.elapsed());
            last = (viewer.length(), Instant::now());
        }
        thread::park_timeout(Duration::from_millis(10));
    }
    let asked: Vec<_> = strangers.iter().map(|stranger| stranger.tally().asked()).collect();
    println!("asked {asked:?} times, waited {longest:?} at most, {}", viewer.figures());
    assert!(viewer.banned().is_empty(), "{}", viewer.process.story());
    let end = feed.stop();
    viewer.until_over();
    assert_lost(&viewer, end, 3);
    drop(strangers);
    source.until_over();
}

/// Bytes in a piece of two blocks.
const PIECE_OF_TWO: u64 = 32 << 10;

/// Two megabits a second in pieces of two blocks; a window of fifteen seconds.
fn hostile_plan(scratch: &Path, number: u16) -> Plan {
    let plan = Plan::new(scratch, address(SOURCES, number));
    Plan { rate: 250_000, seconds: 60, piece: PIECE_OF_TWO as u32, ..plan }
}

/// Demands that a viewer was given everything to the end but for so many pieces. Who has announced what it does not
/// give holds a piece up for five seconds; two of them one after the other cost it.
fn assert_lost(viewer: &Watcher, end: u64, pieces: u64) {
    let runs = runs(&viewer.given());
    let lost: u64 = runs.windows(2).map(|pair| pair[1].start - pair[0].end).sum();
    println!("{runs:?} of {end}");
    assert!(runs.is_sorted_by(|a, b| a.end < b.start), "back in time: {runs:?}");
    let enough = lost <= pieces * PIECE_OF_TWO.div_ceil(188);
    assert!(enough && runs[runs.len() - 1].end == end, "{runs:?} of {end}\n{}", viewer.process.story());
}

fn deserve(attackers: &[(Attack, Stranger)], what: impl Fn(&Attack, &Stranger) -> bool) -> BTreeSet<IpAddr> {
    let they = attackers.iter().filter(|(attack, stranger)| what(attack, stranger));
    they.map(|(_, stranger)| stranger.address().ip()).collect()
}

fn name_of(attackers: &[(Attack, Stranger)], ip: IpAddr) -> &'static str {
    let known = attackers.iter().find(|(_, stranger)| stranger.address().ip() == ip);
    known.map_or("the source or a viewer", |(attack, _)| attack.name)
}
