//! Live broadcasts from outside: `swarm live` and `swarm get` in processes of their own, on addresses of their own.
//! What viewers were given is compared with what the source was, byte by byte.
#![allow(clippy::disallowed_methods, reason = "tests are outside of the core: they look at the clock")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gstswarm::metainfo::torrent::Metainfo;
use gstswarm::stream::cutter::MAX_HEADERS;
use gstswarm::wire::handshake::Hello;
use gstswarm::wire::ids::PeerId;
use gstswarm::wire::message::Message;
use rustix::process::Signal;
use serde_json::Value;
use support::asker::Asker;
use support::attacks::{Attack, Due};
use support::broadcast::{self, PATIENCE, Plan, Source, Watcher, all_figures, delays, number_in};
use support::commands;
use support::crowd::Crowd;
use support::decoding::decode;
use support::feed::{self, Feed};
use support::files::{self, scratch};
use support::film::Film;
use support::line::encoded;
use support::live_attacks::{self, Ring};
use support::media::{self, Container, Picture};
use support::network::{Network, free_port};
use support::process::Running;
use support::stranger::{Stranger, address};
use support::subject::{descriptors, peak_memory};
use support::transport::runs;
use support::wait;

/// Groups of addresses (see `stranger::address`): the broadcasters', and those of each test's viewers.
const SOURCES: u8 = 50;
const CHAIN: u8 = 51;
const RESTART: u8 = 52;
const CUT: u8 = 53;
const STOPPED: u8 = 54;
const PORT: u8 = 56;
const CROWD: u8 = 57;
const FOUND: u8 = 58;
const HOSTILE: u8 = 59;
const MEDIA: u8 = 63;
const CALLED: u8 = 60;
const CALLERS: u8 = 61;
const CALLERS_OF_SOURCE: u8 = 62;
const ASKERS: u8 = 64;
const UNSIGNED: u8 = 65;
const SERVICE: u8 = 66;
const TWO_PLAYERS: u8 = 67;
/// Most memory of a process, by its `VmHWM`.
const MOST_MEMORY: u64 = 100 << 20;
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

/// Runs `swarm live` that must not go on air; what it says.
fn refuses(plan: &Plan, more: &[&str]) -> String {
    let mut process = plan.launch(more);
    let status = process.until_ended(PATIENCE);
    assert_eq!(status.code(), Some(1), "{}", process.story());
    let log = process.log();
    assert!(!log.contains("panicked") && !log.contains("on air at"), "{log}");
    log
}

/// Goes on air with these options, and off again.
fn airs(plan: &Plan, more: &[&str]) {
    let mut process = plan.launch(more);
    process.until_printed("on air at ", PATIENCE);
    assert!(process.interrupt().success(), "{}", process.story());
}

#[test]
fn a_broadcasts_files_are_kept_and_a_wrong_one_is_named() {
    let scratch = scratch("files");
    let plan = Plan::new(scratch.path(), address(SOURCES, 2));
    let read = |ending: &str| fs::read(plan.file(ending)).unwrap_or_default();
    airs(&plan, &[]);
    let mode = plan.file(".sauth").metadata().expect("a key was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (key, tstream) = (read(".sauth"), read(".tstream"));
    airs(&plan, &[]);
    assert_eq!((read(".sauth"), read(".tstream")), (key.clone(), tstream.clone()), "taken up again");

    // Another one of the same name, twice: every key is still there.
    airs(&plan, &["--new"]);
    let second = read(".sauth");
    assert!(second != key && read(".tstream") != tstream);
    assert_eq!((read(".sauth.old"), read(".tstream.old")), (key.clone(), tstream.clone()));
    assert!(plan.file(".old").exists() && plan.file("").exists(), "what was broadcast, too");
    airs(&plan, &["--new"]);
    let entries = fs::read_dir(&plan.folder).expect("it can be listed");
    let kept: Vec<_> = entries.map(|e| fs::read(e.expect("an entry").path()).unwrap_or_default()).collect();
    for old in [&key, &tstream, &second] {
        assert!(kept.contains(old), "one of the old files is gone");
    }

    // What can be no broadcast is found out before anything is put aside.
    let names = || {
        let entries = fs::read_dir(&plan.folder).expect("it can be listed");
        let names: BTreeSet<_> = entries.map(|e| e.expect("an entry").file_name()).collect();
        (names, read(".sauth"), read(".tstream"), read(".restart"))
    };
    let before = names();
    for impossible in [Plan { piece: 5_000, ..plan.clone() }, Plan { rate: 1, seconds: 1, ..plan.clone() }] {
        let said = refuses(&impossible, &["--new"]);
        assert!(said.contains("cannot be made"), "{said}");
        assert_eq!(names(), before);
    }

    // Nor is somebody else's file written over.
    let film = Plan { name: "film.ts".to_owned(), ..plan.clone() };
    for ending in ["", ".restart"] {
        fs::write(film.file(ending), b"a film").expect("it can be written");
        for options in [&[][..], &["--new"]] {
            let said = refuses(&film, options);
            let words = format!("film.ts{ending} is there already, and is none of a broadcast's files");
            assert!(said.contains(&words) && said.contains("another name or folder"), "{said}");
            assert_eq!(fs::read(film.file(ending)).expect("it is there"), b"a film");
        }
        fs::remove_file(film.file(ending)).expect("it can be removed");
    }

    // Whatever is wrong, the file is named and nothing is changed.
    let (good, restart) = (read(".sauth"), read(".restart"));
    let spoil = |ending: &str, bytes: Option<&[u8]>, words: &[&str]| {
        let before = read(ending);
        match bytes {
            Some(bytes) => fs::write(plan.file(ending), bytes).expect("it can be written"),
            None => fs::remove_file(plan.file(ending)).expect("it is there"),
        }
        let said = refuses(&plan, &[]);
        for word in words.iter().copied().chain([plan.file(ending).to_str().expect("UTF-8")]) {
            assert!(said.contains(word), "`{word}` is missing in\n{said}");
        }
        assert_eq!(read(ending), bytes.unwrap_or_default());
        fs::write(plan.file(ending), before).expect("it can be written");
    };
    spoil(".sauth", Some(&key), &["was not made with the key", "--new"]);
    spoil(".sauth", None, &["but not its key", "another name", "--new"]);
    spoil(".sauth", Some(b"-----BEGIN PRIVATE KEY-----\n"), &["holds no key", "--new"]);
    spoil(".sauth", Some(&vec![b'x'; 1 << 20]), &["too many"]);
    spoil(".restart", Some(b"soon"), &["holds no number", "higher than", "newest", "--new"]);
    spoil(".restart", Some(b"-3"), &["holds no number"]);
    spoil(".restart", Some(b"99999999999"), &["holds no number"]);
    spoil(".restart", Some(&[b'7'; 100]), &["holds no number"]);
    spoil(".restart", None, &["is missing", "higher than", "newest", "--new"]);
    spoil(".tstream", Some(&tstream[..tstream.len() / 2]), &["is no broadcast's", "--new"]);
    assert_eq!((read(".sauth"), read(".restart")), (good, restart));
    // What a crash has left is written over.
    fs::write(plan.file(".restart.new"), b"half of").expect("it can be written");
    airs(&plan, &[]);
    assert!(!plan.file(".restart.new").exists());
}

/// Goes on air with these options until it says so; what it says.
fn says_on_air(plan: &Plan, more: &[&str]) -> String {
    let mut process = plan.launch(more);
    process.until_printed("on air at ", PATIENCE);
    process.signal(Signal::TERM);
    assert!(process.until_ended(PATIENCE).success(), "{}", process.story());
    process.log()
}

#[test]
fn a_broadcast_that_is_taken_up_elsewhere_says_where_it_is_and_that_viewers_do_not_come() {
    let scratch = scratch("elsewhere");
    let plan = Plan::new(scratch.path(), address(SOURCES, 30));
    let (ip, port) = (plan.at.ip(), plan.at.port());
    says_on_air(&plan, &[]);
    let same = says_on_air(&plan, &["--announce-address", &ip.to_string()]);
    assert!(!same.contains("viewers to"), "{same}");
    let elsewhere = Plan { at: SocketAddr::new(ip, free_port()), ..plan.clone() };
    let said = says_on_air(&elsewhere, &[]);
    for words in [format!("on air at http://{}/", elsewhere.at), format!("--port {port}"), "--new".to_owned()]
    {
        assert!(said.contains(&words), "`{words}` is missing in\n{said}");
    }
    let named = says_on_air(&plan, &["--announce-address", "tv.example.org"]);
    for words in [&format!("viewers to {ip}, not to tv.example.org"), "on air at http://tv.example.org:"] {
        assert!(named.contains(words), "`{words}` is missing in\n{named}");
    }
}

#[test]
fn options_that_a_broadcast_does_not_follow_when_it_is_taken_up_are_named() {
    let scratch = scratch("unheeded");
    let plan = Plan::new(scratch.path(), address(SOURCES, 31));
    let made = ["--title", "Cam", "--window", "4", "--tracker", "http://127.0.0.1:1/announce"];
    let window = |plan: &Plan, window: &str| {
        let mut process = plan.launch(&["--window", window]);
        assert_eq!(process.until_ended(PATIENCE).code(), Some(2), "{}", process.story());
        let said = process.log();
        assert!(said.contains(&format!("--window {window} is more than a quarter of")), "{said}");
    };
    window(&plan, "0:05");
    says_on_air(&plan, &made);
    let tstream = fs::read(plan.tstream()).expect("it is there");
    let same = says_on_air(&plan, &made);
    assert!(!same.contains("for a new broadcast only"), "{same}");
    let other = Plan { rate: 400_000, piece: 32 << 10, seconds: 20, ..plan.clone() };
    let more =
        ["--title", "Other", "--window", "2", "--unsigned", "--tracker", "http://127.0.0.1:2/announce"];
    let said = says_on_air(&other, &more);
    let all =
        "--tracker, --duration, --window, --bitrate, --piece-length, --title, --unsigned count for a new";
    assert!(said.contains(all), "{said}");
    window(&other, "0:05");
    assert_eq!(fs::read(plan.tstream()).expect("it is there"), tstream);
}

/// Its pieces go out part-filled, two a second.
#[test]
fn a_slow_stream_has_a_ring_for_its_whole_duration() {
    let scratch = scratch("slow");
    let plan = Plan { rate: 4_000, seconds: 60, ..Plan::new(scratch.path(), address(SOURCES, 23)) };
    airs(&plan, &["--window", "10"]);
    let metainfo = Metainfo::parse(&fs::read(plan.tstream()).expect("it is there")).expect("it is one");
    assert_eq!((metainfo.geometry.pieces(), metainfo.live.map(|live| live.window)), (120, Some(20)));
}

#[test]
fn pieces_of_the_time_in_which_the_bitrate_is_measured_are_as_old_as_what_is_in_them() {
    let scratch = scratch("measured");
    let plan = Plan { rate: 0, seconds: 60, ..Plan::new(scratch.path(), address(SOURCES, 24)) };
    let mut process = plan.launch(&[]);
    let feed = Feed::start(process.stdin(), 0, feed::packets_per_second(100_000));
    process.until_printed("on air at ", PATIENCE);
    feed.until_more(feed::packets_per_second(100_000));
    let times = Ring::open(&plan.tstream()).times(0..30);
    // Six of them a second, or so.
    let span = times[29].since(times[0]);
    assert!((3..7).contains(&span.as_secs()), "{span:?}: {times:?}");
    let most = times.windows(2).map(|pair| pair[1].since(pair[0])).max();
    assert!(times.is_sorted() && most < Some(Duration::from_secs(1)), "{times:?}");
    feed.stop();
    process.until_succeeded(PATIENCE);
    // All that was measured is fed at once: that is no reason to judge it by its first packets.
    assert!(!process.log().contains("is not recognised"), "{}", process.story());
}

/// Nobody feeds it: it would wait for ever.
#[test]
fn what_will_not_do_is_told_before_the_source_is_read() {
    let scratch = scratch("early");
    let plan = Plan { rate: 0, ..Plan::new(scratch.path(), address(SOURCES, 27)) };
    let taker = TcpListener::bind(plan.at).expect("the port is free");
    let said = refuses(&plan, &[]);
    assert!(said.contains("cannot listen on"), "{said}");
    assert_eq!(said.matches("Address already in use").count(), 1, "{said}");
    drop(taker);
    let in_folder = |folder: &str| {
        let mut command = commands::swarm(&Network::Loopback, scratch.path());
        command.args(["live", "--name", "cam.ts", "--destdir", folder]);
        let mut process = Running::start("elsewhere", scratch.path(), command);
        assert_eq!(process.until_ended(PATIENCE).code(), Some(1), "{}", process.story());
        process.log()
    };
    let nowhere = in_folder("/proc/q");
    assert!(nowhere.contains("/proc/q/cam.ts.tstream") && nowhere.contains("No such file"), "{nowhere}");
    let file = in_folder("/proc/version");
    assert!(file.contains("in /proc/version: not a directory"), "{file}");
    let folders = refuses(&Plan { name: "a/b.ts".to_owned(), ..plan.clone() }, &[]);
    assert!(folders.contains("'a/b.ts'"), "{folders}");
    assert!(fs::read_dir(&plan.folder).expect("it can be listed").next().is_none());
}

/// Neither when a broadcast is new nor for those who wait for one that is taken up.
#[test]
fn a_source_that_gives_nothing_makes_nothing_and_ends_nothing() {
    let scratch = scratch("no-source");
    let plan = Plan::new(scratch.path(), address(SOURCES, 29));
    let note = scratch.path().join("note.txt");
    fs::write(&note, "this is no film").expect("it can be written");
    let note = note.to_str().expect("UTF-8");
    let cannot = |source: &str| {
        let said = refuses(&plan, &["--source", source]);
        assert!(said.contains(source) && said.contains("cannot read the source"), "{said}");
    };
    let wrong = [note, "missing.mkv", "nosuch://x", "http://127.0.0.1:1/x.mkv"];
    wrong.into_iter().for_each(cannot);
    assert!(["", ".tstream", ".sauth", ".restart"].iter().all(|ending| !plan.file(ending).exists()));

    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let mut viewer =
        Watcher::start("viewer", scratch.path(), &plan.tstream(), address(SERVICE, 10), &[source.at], &[]);
    viewer.until_given(0);
    source.process.signal(Signal::TERM);
    assert!(source.process.until_ended(PATIENCE).success(), "{}", source.process.story());
    let cut = feed.stop();
    wrong.into_iter().for_each(cannot);
    // What feeds it has failed, say.
    let mut unfed = plan.launch(&[]);
    assert_eq!(unfed.close().code(), Some(1), "{}", unfed.story());
    assert!(unfed.log().contains("before anything came"), "{}", unfed.story());
    assert!(viewer.process.runs(), "{}", viewer.process.story());

    let mut source = plan.start();
    let feed = source.feed(cut, plan.rate);
    viewer.until_packet(cut);
    feed.stop();
    source.until_over();
    let said = source.process.log();
    assert!(said.contains("is over; Ctrl-C ends at once"), "{said}");
    viewer.until_over();
}

#[test]
fn what_is_no_media_goes_on_air_with_a_warning() {
    let scratch = scratch("opaque");
    let plan = Plan::new(scratch.path(), address(SOURCES, 28));
    // Too much of it for a ring is told with what to do, and leaves nothing behind.
    let said = refuses(&Plan { rate: 1 << 42, ..plan.clone() }, &[]);
    for words in ["pieces are more than", "4194304.0 MiB/s", "piece-length", "duration", "bitrate"] {
        assert!(said.contains(words), "`{words}` is missing in\n{said}");
    }
    assert!(fs::read_dir(&plan.folder).expect("it can be listed").next().is_none());

    let mut source = plan.start();
    let noise = Arc::new((0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect());
    let feed = Feed::bytes(source.process.stdin(), noise, 500_000);
    source.process.until_printed("is not recognised as MPEG-TS", PATIENCE);
    source.until("pieces", |f| f["piece"].as_u64() >= Some(6));
    feed.stop();
    source.until_over();
    assert_eq!(source.process.log().matches("is not recognised").count(), 1);

    let mut media = plan.start();
    let feed = media.feed(0, plan.rate);
    media.until("what tells what it is", |f| f["input"].as_u64() > Some(100_000));
    drop(feed);
    media.until_over();
    assert!(!media.process.log().contains("is not recognised"), "{}", media.process.story());
}

#[test]
fn a_broadcast_on_air_is_not_disturbed_by_another_of_its_name() {
    let scratch = scratch("twice");
    let plan = Plan::new(scratch.path(), address(SOURCES, 3));
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    source.until("pieces", |f| f["piece"].as_u64() > Some(10));
    let tstream = fs::read(&source.tstream).expect("it is there");
    let elsewhere = Plan { at: SocketAddr::new(address(SOURCES, 4), plan.at.port()), ..plan.clone() };
    let taken = format!("is on air already, by process {}: end that first", source.process.id());
    for plan in [&plan, &elsewhere] {
        for more in [&["--new"][..], &[]] {
            let log = refuses(plan, more);
            assert!(log.contains(&taken), "`{taken}` is missing in\n{log}");
        }
    }
    assert_eq!(fs::read(&source.tstream).expect("it is there"), tstream);
    let watcher =
        Watcher::start("viewer", scratch.path(), &plan.tstream(), address(SOURCES, 5), &[source.at], &[]);
    watcher.until_given(plan.rate / 2);
    assert_eq!(runs(&watcher.given()).len(), 1);
    drop(feed);
    source.until_over();
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

/// The answer to a request: its status, its headers, and its body.
fn ask(at: SocketAddr, request: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(at).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("it speaks HTTP");
    let body = answer.split_off(head + 4);
    let head = String::from_utf8(answer).expect("a head is text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("it has a status"), head.to_ascii_lowercase(), body)
}

fn get(at: SocketAddr, path: &str) -> (u16, String, Vec<u8>) {
    ask(at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n"))
}

#[test]
fn the_pages_are_on_the_port_of_the_peers() {
    let scratch = scratch("port");
    let name = "<b>&\"cam'.ts";
    let more = ["--title", "</title><script>alert(1)</script>", "--announce-address", "tv.example.org"];
    let plan = Plan::new(scratch.path(), address(SOURCES, 9));
    let plan = Plan { name: name.to_owned(), more: more.map(str::to_owned).into(), ..plan };
    let mut source = plan.start();
    let feed = source.feed(0, plan.rate);
    let mut viewer =
        Watcher::start("viewer", scratch.path(), &plan.tstream(), address(PORT, 0), &[source.at], &[]);
    viewer.until_given(0);

    let (status, head, page) = get(source.at, "/");
    let page = String::from_utf8(page).expect("a page is text");
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("default-src 'none'"), "{head}");
    assert!(page.contains("&lt;b&gt;&amp;&quot;cam&#39;.ts") && page.contains("viewers connected"), "{page}");
    for markup in ["<b>", "<script", "cam'"] {
        assert!(!page.contains(markup), "`{markup}` in\n{page}");
    }
    // As the page itself links to it, and with as little escaped as possible.
    let link = page.split_once("href=\"").and_then(|(_, rest)| rest.split_once('"')).expect("a link").0;
    let tstream = fs::read(&source.tstream).expect("it is there");
    for path in [link, "/%3Cb%3E&%22cam'.ts.tstream"] {
        let (status, _, body) = get(source.at, path);
        assert!(status == 200 && body == tstream, "{path}: {status}");
    }
    let metainfo = Metainfo::parse(&tstream).expect("it is one");
    let hash = metainfo.info_hash.0.map(|byte| format!("%{byte:02x}")).concat();
    let own = "peer_id=-XX0000-123456789012&port=7&uploaded=0&downloaded=0&left=1&compact=1";
    let (status, _, body) = get(source.at, &format!("/announce?info_hash={hash}&{own}"));
    assert!(status == 200 && body.starts_with(b"d") && find(&body, b"5:peers"), "{status}");
    let (status, _, body) = get(source.at, &format!("/scrape?info_hash={hash}"));
    assert!(status == 200 && find(&body, &metainfo.info_hash.0), "{status}");
    let (_, _, body) = get(source.at, &format!("/announce?info_hash={}&{own}", "%01".repeat(20)));
    assert!(find(&body, b"failure reason"), "another torrent's announce was answered");

    let files =
        [".sauth", ".restart", "", ".tstream.old"].map(|ending| format!("/%3Cb%3E&%22cam'.ts{ending}"));
    let elsewhere = ["/x", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//", "/thumbnail.jpg"];
    for path in files.iter().map(String::as_str).chain(elsewhere) {
        assert_eq!(get(source.at, path).0, 404, "{path}");
    }
    assert_eq!(
        ask(source.at, &format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", plan.at)).0,
        405
    );
    for (host, status) in [
        ("evil.example.com", 421),
        ("tv.example.org.evil.example.com", 421),
        ("", 421),
        ("tv.example.org", 200),
        ("TV.example.org:80", 200),
        ("localhost", 200),
        ("[::1]:80", 200),
    ] {
        for path in ["/", link, "/thumbnail.jpg"] {
            let expected = if path == "/thumbnail.jpg" && status == 200 { 404 } else { status };
            let answer =
                ask(source.at, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
            assert_eq!(answer.0, expected, "{path} of {host}");
        }
    }
    let end = feed.stop();
    viewer.until_over();
    assert_eq!(runs(&viewer.given()).last().map(|run| run.end), Some(end));
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

fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

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

/// Made with `--unsigned`, taken up again without.
#[test]
fn a_broadcast_that_nobody_signs_is_watched_by_those_who_allow_it() {
    let scratch = scratch("unsigned");
    let plan = Plan::new(scratch.path(), address(SOURCES, 22));
    airs(&plan, &["--unsigned"]);
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
    let everybody_had_a_turn = || {
        askers.iter_mut().for_each(Asker::listen);
        let let_in: usize = askers.iter().map(|asker| asker.unchokes).sum();
        let turns = askers.iter().filter(|asker| asker.unchokes > 0).count();
        // Who was let in before that may have been choked meanwhile, but not the other way round.
        askers.iter_mut().for_each(Asker::listen);
        let choked: usize = askers.iter().map(|asker| asker.chokes).sum();
        assert!(let_in - choked.min(let_in) <= 2, "{let_in} were let in, {choked} choked");
        turns == askers.len()
    };
    wait::until("everybody to have a turn", PATIENCE, everybody_had_a_turn, || source.process.story());
    favoured.listen();
    assert_eq!(
        (favoured.unchokes, favoured.chokes),
        (1, 0),
        "an auxiliary seeder takes no slot, and keeps on"
    );
    source.process.interrupt();
}

#[test]
fn an_auxiliary_seeder_that_cannot_be_found_is_named_before_anything_is_made() {
    let scratch = scratch("aux");
    let plan = Plan::new(scratch.path(), address(SOURCES, 21));
    let log = refuses(&plan, &["--aux-seed", "127.0.0.1", "--aux-seed", "nobody.invalid"]);
    assert!(log.contains("the auxiliary seeder nobody.invalid has no address"), "{log}");
    assert!(fs::read_dir(&plan.folder).expect("it can be listed").next().is_none());
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
