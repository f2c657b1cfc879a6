//! Live broadcasts from outside: `swarm live` and `swarm get` in processes of their own, on addresses of their own.
//! What viewers were given is compared with what the source was, byte by byte.
#![allow(clippy::disallowed_methods, reason = "tests are outside of the core: they look at the clock")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gstswarm::metainfo::torrent::Metainfo;
use gstswarm::stream::cutter::MAX_HEADERS;
use rustix::process::Signal;
use serde_json::Value;
use support::asker::Asker;
use support::broadcast::{PATIENCE, Plan, Source, Watcher, all_figures, delays, number_in};
use support::commands;
use support::decoding::decode;
use support::feed::{self, Feed};
use support::files::{self, scratch};
use support::media::{self, Container, Picture};
use support::network::Network;
use support::process::Running;
use support::stranger::address;
use support::transport::runs;
use support::wait;

/// Groups of addresses (see `stranger::address`): the broadcasters', and those of each test's viewers.
const SOURCES: u8 = 50;
const CHAIN: u8 = 51;
const RESTART: u8 = 52;
const CUT: u8 = 53;
const STOPPED: u8 = 54;
const FOUND: u8 = 58;
const MEDIA: u8 = 63;
const ASKERS: u8 = 64;
const UNSIGNED: u8 = 65;
const SERVICE: u8 = 66;
const TWO_PLAYERS: u8 = 67;
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
    goes_on_after("restart", (SOURCES, 1), RESTART, |source| source.process.kill());
}

#[test]
fn viewers_go_on_by_themselves_when_the_source_was_stopped_by_its_service_and_comes_back() {
    goes_on_after("service", (SOURCES, 25), SERVICE, |source| {
        source.process.signal(Signal::TERM);
        let status = source.process.until_ended(PATIENCE);
        assert!(status.success(), "{status}: {}", source.process.story());
        assert!(source.process.log().contains("viewers wait until"), "{}", source.process.story());
    });
}

/// They find it by its tracker, which is gone with it.
#[test]
fn viewers_say_that_they_wait_for_the_source_and_follow_it_each_time_that_it_comes_back() {
    let scratch = scratch("waits");
    let plan = Plan::new(scratch.path(), address(SOURCES, 32));
    let mut source = plan.start();
    let mut feed = source.feed(0, plan.rate);
    let at = address(TWO_PLAYERS, 1);
    let mut viewer = Watcher::start("viewer", scratch.path(), &plan.tstream(), at, &[], &["--buffer", "2s"]);
    let copy = scratch.path().join("copy.ts");
    let home = files::folder(scratch.path(), "home");
    let player = commands::cached_element(&Network::Loopback, &home, &plan.tstream(), &copy, source.at, &[]);
    let mut player = Running::start("player", scratch.path(), player);
    viewer.until_given(plan.rate);
    for times in 1..=3 {
        source.process.kill();
        let cut = feed.stop();
        let still = |figures: &Value| figures["still_ms"].as_u64() >= Some(3_000);
        viewer.until("the viewer to wait for the source", still);
        let told = || player.log().matches("Waiting for the source: nothing new for").count() == times;
        wait::until("the player to say that it waits", PATIENCE, told, || player.story());
        if times == 1 {
            // A line is printed every ten seconds.
            viewer.process.until_printed("waiting for the source, nothing new for", PATIENCE);
        }
        source = plan.start();
        let from = cut + 100;
        feed = source.feed(from, plan.rate);
        let back = Instant::now();
        viewer.until_packet(from);
        println!("it goes on after {:?}", back.elapsed());
        viewer.until("the viewer not to wait any more", |figures| figures["still_ms"].is_null());
        let told = || player.log().matches("The broadcast goes on after").count() == times;
        wait::until("the player to say that it goes on", PATIENCE, told, || player.story());
    }
    feed.until_more(plan.rate / 188);
    drop(feed);
    viewer.until_over();
    player.until_succeeded(PATIENCE);
    source.until_over();
}

#[test]
fn ctrl_c_ends_the_broadcast_for_its_viewers() {
    let scratch = scratch("ctrl-c");
    let plan = Plan::new(scratch.path(), address(SOURCES, 26));
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let mut viewer =
        Watcher::start("viewer", scratch.path(), &plan.tstream(), address(SERVICE, 9), &[source.at], &[]);
    viewer.until_given(plan.rate / 2);
    source.process.signal(Signal::INT);
    source.until_over();
    assert!(source.process.log().contains("the broadcast is over"), "{}", source.process.story());
    viewer.until_over();
    let told = format!("cam.ts: {} bytes, 0 dropped pieces", viewer.length());
    assert!(viewer.process.log().contains(&told), "`{told}` is missing in\n{}", viewer.process.story());
    drop(feed);
}

/// A source ends in this way, and comes back: viewers are given all of it, and see its end only at the end.
fn goes_on_after(name: &str, (group, number): (u8, u16), viewers: u8, ends: impl Fn(&mut Source)) {
    let scratch = scratch(name);
    let plan = Plan::new(scratch.path(), address(group, number));
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let watch = |name, number, upstream| {
        let options = ["--buffer", "2s"];
        Watcher::start(name, scratch.path(), &plan.tstream(), address(viewers, number), &[upstream], &options)
    };
    let near = watch("near", 0, source.at);
    near.until_given(0);
    let far = watch("far", 1, near.at);
    far.until_given(0);
    feed.until_more(plan.rate * 3 / 188);
    ends(&mut source);
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

/// The names of the folders of broadcasts and films in a user's cache.
fn cached(home: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(home.join("gst-swarm")).into_iter().flatten();
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "CACHEDIR.TAG").collect()
}

#[test]
fn two_players_on_one_machine_both_watch() {
    let scratch = scratch("two-players");
    let plan = Plan::new(scratch.path(), address(SOURCES, 30));
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let hash = Metainfo::parse(&fs::read(plan.tstream()).expect("it is there")).expect("it is one").info_hash;
    let home = files::folder(scratch.path(), "home");
    let player = |name: &str, more: &[&str]| {
        let copy = scratch.path().join(format!("{name}.ts"));
        let network = Network::Loopback;
        let command = commands::cached_element(&network, &home, &plan.tstream(), &copy, source.at, more);
        (Running::start(name, scratch.path(), command), copy)
    };
    let watches = |(player, copy): &(Running, PathBuf)| {
        let given = || copy.metadata().map_or(0, |metadata| metadata.len());
        let before = given();
        wait::until("a player to watch", PATIENCE, || given() > before, || player.story());
    };
    let mut first = player("first", &[]);
    watches(&first);
    let mut second = player("second", &["max-peers=3"]);
    watches(&second);
    assert_eq!(cached(&home), [hash.to_string(), format!("{hash}-2")].into());
    watches(&first);

    // What a crash leaves is found and used, and is gone when its user is.
    second.0.kill();
    let mut third = player("third", &["linger=0"]);
    watches(&third);
    first.0.kill();
    let mut fourth = player("fourth", &["linger=0"]);
    watches(&fourth);
    assert_eq!(cached(&home), [hash.to_string(), format!("{hash}-2")].into());
    third.0.kill();
    fourth.0.kill();
    let fifth = player("fifth", &[]);
    watches(&fifth);
    assert_eq!(cached(&home), [hash.to_string()].into(), "nobody uses the spare folder");
    drop(feed);
}

#[test]
fn a_player_of_a_broadcast_whose_folder_is_taken_is_told_by_whom() {
    let scratch = scratch("taken-folder");
    let plan = Plan::new(scratch.path(), address(SOURCES, 31));
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let at = address(TWO_PLAYERS, 0);
    let first = Watcher::start("first", scratch.path(), &plan.tstream(), at, &[source.at], &[]);
    first.until_given(0);
    let copy = scratch.path().join("second.ts");
    let folder = scratch.path().join("first");
    let command = commands::element(&Network::Loopback, &folder, &plan.tstream(), &copy, source.at, &[]);
    let mut second = Running::start("second", scratch.path(), command);
    assert_eq!(second.until_ended(PATIENCE).code(), Some(1), "{}", second.story());
    let holder = format!("in use by process {}", first.process.id());
    for words in ["Another program has this torrent", &*holder, "download-dir"] {
        assert!(second.log().contains(words), "`{words}` is missing in {}", second.story());
    }
    assert_eq!(second.log().matches("ERROR: from element").count(), 1, "{}", second.story());
    drop(feed);
}

#[test]
fn viewers_wait_while_the_input_is_cut_and_go_on_when_it_is_back() {
    let scratch = scratch("cut");
    let pipe = files::pipe(scratch.path(), "input");
    let more = ["--source", pipe.to_str().expect("UTF-8"), "--on-eof", "wait"].map(str::to_owned);
    let plan = Plan { more: more.into(), ..Plan::new(scratch.path(), address(SOURCES, 6)) };
    let mut process = plan.launch(&[]);
    let rate = feed::packets_per_second(plan.rate);
    let input = Feed::start(files::open_pipe(&pipe, PATIENCE), 0, rate);
    process.until_printed("on air at ", PATIENCE);
    let viewer = |name, number, upstream| {
        Watcher::start(name, scratch.path(), &plan.tstream(), address(CUT, number), &[upstream], &[])
    };
    let near = viewer("near", 0, plan.at);
    let far = viewer("far", 1, near.at);
    far.until_given(plan.rate);
    let cut = input.stop();
    [&near, &far].iter().for_each(|viewer| viewer.until_packet(cut - 1));
    thread::park_timeout(AWAY);
    let mut viewers = [near, far];
    viewers.iter_mut().for_each(|viewer| assert!(viewer.process.runs(), "{}", viewer.process.story()));

    let from = cut + 50;
    let input = Feed::start(files::open_pipe(&pipe, PATIENCE), from, rate);
    let back = Instant::now();
    viewers.iter().for_each(|viewer| viewer.until_packet(from));
    println!("they go on after {:?}", back.elapsed());
    input.until_more(rate / 2);
    let end = input.stop();
    viewers.iter().for_each(|viewer| viewer.until_packet(end - 1));
    assert!(process.interrupt().success(), "{}", process.story());
    for viewer in &mut viewers {
        viewer.until_over();
        let runs = runs(&viewer.given());
        assert!(
            runs.len() == 2 && runs[0].end == cut && runs[1] == (from..end),
            "{runs:?} of {cut}, {from}..{end}"
        );
        let figures = viewer.figures();
        assert!(figures["dropped"] == 0 && figures["rehooked"] == 0, "{figures}");
    }
}

#[test]
fn a_viewer_that_stood_still_for_longer_than_its_window_hooks_in_anew() {
    let scratch = scratch("stopped");
    // A window of two seconds.
    let plan = Plan { seconds: 8, ..Plan::new(scratch.path(), address(SOURCES, 7)) };
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let options = ["--buffer", "1s"];
    let mut viewer = Watcher::start(
        "viewer",
        scratch.path(),
        &source.tstream,
        address(STOPPED, 0),
        &[source.at],
        &options,
    );
    let mut behind = Watcher::start(
        "behind",
        scratch.path(),
        &source.tstream,
        address(STOPPED, 1),
        &[viewer.at],
        &options,
    );
    behind.until_given(plan.rate * 2);
    viewer.process.signal(Signal::STOP);
    feed.until_more(5 * feed::packets_per_second(plan.rate));
    let meanwhile = feed.next();
    viewer.process.signal(Signal::CONT);
    let back = Instant::now();
    [&viewer, &behind].iter().for_each(|viewer| viewer.until_packet(meanwhile));
    println!("they are at the live point after {:?}", back.elapsed());
    feed.until_more(feed::packets_per_second(plan.rate));
    let end = feed.stop();
    for viewer in [&mut viewer, &mut behind] {
        viewer.until_over();
        let runs = runs(&viewer.given());
        let rehooked = viewer.figure("rehooked");
        println!("{}: {runs:?}, {}", viewer.at.ip(), viewer.figures());
        assert!(runs.is_sorted_by(|a, b| a.end < b.start), "back in time: {runs:?}");
        // Once, unless it was so slow that it lost the place again.
        assert!((1..=3).contains(&rehooked), "{rehooked}: {runs:?}");
        // With a buffer of a second it may lose a piece, too.
        assert!(
            runs.len() as u64 <= rehooked + viewer.figure("dropped") + 1,
            "{}: {runs:?}",
            viewer.figures()
        );
        assert_eq!(runs[runs.len() - 1].end, end, "{runs:?}");
    }
    source.until_over();
}

/// Its `.tstream` is at the source, as the README has it.
#[test]
fn a_broadcast_is_watched_by_its_address() {
    let scratch = scratch("by-address");
    let plan = Plan::new(scratch.path(), address(SOURCES, 32));
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let url = format!("http://{}/cam.ts.tstream", plan.at);
    let ip = address(FOUND, 20);
    let watch = |url: &str| Watcher::start("viewer", scratch.path(), Path::new(url), ip, &[source.at], &[]);
    let mut viewer = watch(&url);
    viewer.until_given(plan.rate / 2);
    let mut wrong = watch(&format!("http://{}/cam.tstream", plan.at));
    assert_eq!(wrong.process.until_ended(PATIENCE).code(), Some(1));
    let said = wrong.process.log();
    assert!(said.contains("cannot fetch http://") && said.contains("status 404"), "{said}");
    let end = feed.stop();
    viewer.until_over();
    assert_eq!(runs(&viewer.given()).last().map(|run| run.end), Some(end));
    source.until_over();
}

#[test]
fn a_viewer_gives_up_when_nothing_comes_for_as_long_as_it_was_told() {
    let scratch = scratch("give-up");
    let plan = Plan::new(scratch.path(), address(SOURCES, 33));
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let watch = |name, number, time| {
        let ip = address(FOUND, number);
        Watcher::start(name, scratch.path(), &plan.tstream(), ip, &[source.at], &["--give-up", time])
    };
    let mut patient = watch("patient", 30, "3s");
    patient.until_given(plan.rate * 4);
    source.process.signal(Signal::TERM);
    assert!(source.process.until_ended(PATIENCE).success(), "{}", source.process.story());
    drop(feed);
    let mut late = watch("late", 31, "1s");
    for (viewer, time) in [(&mut patient, "3s"), (&mut late, "1s")] {
        assert_eq!(viewer.process.until_ended(PATIENCE).code(), Some(3), "{}", viewer.process.story());
        let said = viewer.process.log();
        assert!(said.contains(&format!("nothing has come for {time}")), "{said}");
    }
    assert!(patient.length() > plan.rate * 4 && !late.out.exists());
    for options in [&["--seed"][..], &["--file", "0"]] {
        let ip = address(FOUND, 31);
        let mut wrong = Watcher::start("late", scratch.path(), &plan.tstream(), ip, &[source.at], options);
        assert_eq!(wrong.process.until_ended(PATIENCE).code(), Some(2), "{}", wrong.process.story());
        assert!(wrong.process.log().contains("is for torrents"), "{}", wrong.process.story());
    }
}

/// Made with `--unsigned`, taken up again without.
#[test]
fn a_broadcast_that_nobody_signs_is_watched_by_those_who_allow_it() {
    let scratch = scratch("unsigned");
    let plan = Plan::new(scratch.path(), address(SOURCES, 22));
    plan.airs(&["--unsigned"]);
    let tstream = fs::read(plan.tstream()).expect("it is there");
    let mut source = plan.start();
    assert!(source.process.log().contains("it is not signed"), "{}", source.process.story());
    assert_eq!(fs::read(plan.tstream()).expect("it is there"), tstream, "taken up again");
    let feed = source.feed(0, plan.rate);
    let watch = |name, number, upstream, more: &[&str]| {
        Watcher::start(name, scratch.path(), &plan.tstream(), address(UNSIGNED, number), &[upstream], more)
    };
    let mut careful = watch("careful", 0, source.at, &[]);
    assert_eq!(careful.process.until_ended(PATIENCE).code(), Some(1));
    let log = careful.process.log();
    assert!(log.contains("is not signed: anybody could") && log.contains("allow-unsigned"), "{log}");
    let near = watch("near", 1, source.at, &["--allow-unsigned", "--buffer", "1s"]);
    near.until_given(0);
    let far = watch("far", 2, near.at, &["--allow-unsigned", "--buffer", "1s"]);
    far.until_given(plan.rate);
    let end = feed.stop();
    for mut viewer in [near, far] {
        viewer.until_over();
        let runs = runs(&viewer.given());
        assert!(runs.len() == 1 && runs[0].end == end, "{runs:?} of {end}\n{}", viewer.process.story());
    }
    source.until_over();
}

#[test]
fn a_source_serves_no_more_viewers_at_a_time_than_it_is_told_to() {
    let scratch = scratch("uploads");
    let plan = Plan::new(scratch.path(), address(SOURCES, 20));
    let aux = address(ASKERS, 99);
    let more = ["--uploads", "2", "--aux-seed", &format!("{aux}:8764"), "localhost"].map(str::to_owned);
    let plan = Plan { more: more.into(), ..plan };
    let mut source = plan.start();
    let tstream = fs::read(&source.tstream).expect("it is there");
    let info_hash = Metainfo::parse(&tstream).expect("it is one").info_hash;
    let call = |number| Asker::call(address(ASKERS, number), source.at, info_hash);
    let mut askers: Vec<_> = (0..5).map(call).collect();
    let mut favoured = call(99);
    let listen = |asker: &mut Asker| {
        asker.listen().unwrap_or_else(|error| panic!("{error}\n{}", source.process.story()));
    };
    let everybody_had_a_turn = || {
        askers.iter_mut().for_each(listen);
        let let_in: usize = askers.iter().map(|asker| asker.unchokes).sum();
        let turns = askers.iter().filter(|asker| asker.unchokes > 0).count();
        // Who was let in before that may have been choked meanwhile, but not the other way round.
        askers.iter_mut().for_each(listen);
        let choked: usize = askers.iter().map(|asker| asker.chokes).sum();
        assert!(let_in - choked.min(let_in) <= 2, "{let_in} were let in, {choked} choked");
        turns == askers.len()
    };
    wait::until("everybody to have a turn", PATIENCE, everybody_had_a_turn, || source.process.story());
    listen(&mut favoured);
    assert_eq!(
        (favoured.unchokes, favoured.chokes),
        (1, 0),
        "an auxiliary seeder takes no slot, and keeps on"
    );
    source.process.interrupt();
}

#[test]
fn viewers_that_know_the_tracker_only_find_the_source_and_each_other() {
    let scratch = scratch("found");
    let plan = Plan::new(scratch.path(), address(SOURCES, 11));
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let watch = |number| {
        let name = format!("viewer-{number}");
        Watcher::start(&name, scratch.path(), &plan.tstream(), address(FOUND, number), &[], &[])
    };
    let mut viewers = Vec::new();
    for number in 0..3 {
        let viewer = watch(number);
        viewer.until_given(0);
        viewers.push(viewer);
    }
    for viewer in &viewers {
        viewer.until("the source and the two others", |figures| figures["peers"].as_u64() >= Some(3));
    }
    source.until("all of them", |figures| figures["viewers"].as_u64() == Some(3));
    let end = feed.stop();
    for viewer in &mut viewers {
        viewer.until_over();
        let runs = runs(&viewer.given());
        assert!(runs.len() == 1 && runs[0].end == end, "{runs:?} of {end}\n{}", viewer.process.story());
    }
    source.until_over();
}

/// Seconds of the films that are broadcast, and how many times faster than they are to be watched.
const FILM: u32 = 12;

const SPEED: u64 = 2;

/// One viewer is there from the beginning, and others come later: what each was given is the stream's headers and the
/// rest of the film, and decodes.
fn late_joiners_can_decode(container: Container, number: u16) {
    let scratch = scratch("media");
    gst::init().expect("GStreamer can be initialised");
    let film = Arc::new(fs::read(media::film(container, Picture::Snow, FILM)).expect("it was made"));
    let rate = film.len() as u64 * SPEED / u64::from(FILM);
    let plan = Plan { rate, seconds: 60, ..Plan::new(scratch.path(), address(SOURCES, number)) };
    let mut source = plan.start();
    let watch = |place: u16| {
        let at = address(MEDIA, number * 10 + place);
        // The first one begins at the beginning, the others where the broadcast is.
        let options = ["--buffer", if place == 0 { "10s" } else { "1s" }];
        Watcher::start(&format!("viewer-{place}"), scratch.path(), &source.tstream, at, &[plan.at], &options)
    };
    let mut viewers = vec![watch(0)];
    viewers[0].until("the source", |figures| figures["peers"].as_u64() == Some(1));
    let feed = Feed::bytes(source.process.stdin(), Arc::clone(&film), rate);
    for place in 1..3 {
        let third = film.len() as u64 * u64::from(place) / 3;
        wait::until("a third of the film", PATIENCE, || feed.next() > third, String::new);
        viewers.push(watch(place));
    }
    for (viewer, whole) in viewers.iter_mut().zip([true, false, false]) {
        viewer.until_over();
        let given = fs::read(&viewer.out).expect("it was written");
        let same = given.iter().rev().zip(film.iter().rev()).take_while(|(a, b)| a == b).count();
        let headers = &given[..given.len() - same];
        assert!(headers.len() <= MAX_HEADERS && film.starts_with(headers), "{} bytes", headers.len());
        assert!(!whole || same == film.len(), "{same} of {} bytes", film.len());
        let decoded = decode(&viewer.out);
        let part = same as f64 / film.len() as f64;
        println!("{container}: {:.0} % and {} bytes of headers, {decoded:?}", part * 100.0, headers.len());
        let wanted = part * f64::from(FILM * media::FRAME_RATE) * 0.9;
        assert!(
            decoded.pictures as f64 > wanted && decoded.sounds > 0 && decoded.damaged == 0,
            "{decoded:?}"
        );
    }
    drop(feed);
    source.until_over();
}

#[test]
fn late_joiners_can_decode_a_transport_stream() {
    late_joiners_can_decode(Container::MpegTs, 20);
}

#[test]
fn late_joiners_can_decode_matroska() {
    late_joiners_can_decode(Container::MkvLive, 21);
}

#[test]
fn late_joiners_can_decode_ogg() {
    late_joiners_can_decode(Container::Ogg, 22);
}
