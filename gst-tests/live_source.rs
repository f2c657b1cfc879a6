//! What makes a broadcast, from outside: `swarm live` with its files, options, errors and pages.
#![allow(clippy::disallowed_methods, reason = "tests are outside of the core: they look at the clock")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gst::prelude::*;
use gstswarm::metainfo::torrent::Metainfo;
use rustix::process::Signal;
use support::broadcast::{PATIENCE, Plan, Watcher};
use support::commands;
use support::feed::{self, Feed};
use support::files::scratch;
use support::live_attacks::Ring;
use support::network::{Network, free_port};
use support::pages::{ask, get};
use support::process::Running;
use support::stranger::address;
use support::transport::runs;

/// Groups of addresses (see `stranger::address`): the broadcasters', and those of each test's viewers.
const SOURCES: u8 = 50;
const PORT: u8 = 56;
const SERVICE: u8 = 66;

/// Runs `swarm live` that must not go on air; what it says.
fn refuses(plan: &Plan, more: &[&str]) -> String {
    let mut process = plan.launch(more);
    let status = process.until_ended(PATIENCE);
    assert_eq!(status.code(), Some(1), "{}", process.story());
    let log = process.log();
    assert!(!log.contains("panicked") && !log.contains("on air at"), "{log}");
    log
}

#[test]
fn a_broadcasts_files_are_kept_and_a_wrong_one_is_named() {
    let scratch = scratch("files");
    let plan = Plan::new(scratch.path(), address(SOURCES, 2));
    let read = |ending: &str| fs::read(plan.file(ending)).unwrap_or_default();
    plan.airs(&[]);
    let mode = plan.file(".sauth").metadata().expect("a key was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (key, tstream) = (read(".sauth"), read(".tstream"));
    plan.airs(&[]);
    assert_eq!((read(".sauth"), read(".tstream")), (key.clone(), tstream.clone()), "taken up again");

    // Another one of the same name, twice: every key is still there.
    plan.airs(&["--new"]);
    let second = read(".sauth");
    assert!(second != key && read(".tstream") != tstream);
    assert_eq!((read(".sauth.old"), read(".tstream.old")), (key.clone(), tstream.clone()));
    assert!(plan.file(".old").exists() && plan.file("").exists(), "what was broadcast, too");
    plan.airs(&["--new"]);
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
    plan.airs(&[]);
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
    plan.airs(&["--window", "10"]);
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

fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn an_auxiliary_seeder_that_cannot_be_found_is_named_before_anything_is_made() {
    let scratch = scratch("aux");
    let plan = Plan::new(scratch.path(), address(SOURCES, 21));
    let log = refuses(&plan, &["--aux-seed", "127.0.0.1", "--aux-seed", "nobody.invalid"]);
    assert!(log.contains("the auxiliary seeder nobody.invalid has no address"), "{log}");
    assert!(fs::read_dir(&plan.folder).expect("it can be listed").next().is_none());
}

/// Makes a film of two seconds.
fn film(path: &Path, streams: &str) {
    gst::init().expect("GStreamer can be initialised");
    let line = format!("webmmux name=m ! filesink location={} {streams}", path.display());
    let pipeline = gst::parse::launch(&line).expect("the plugins are installed");
    pipeline.set_state(gst::State::Playing).expect("it can play");
    let bus = pipeline.bus().expect("a pipeline has a bus");
    let last = bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &[gst::MessageType::Eos]);
    assert!(last.is_some(), "{line}");
    pipeline.set_state(gst::State::Null).expect("it can always be stopped");
}

#[test]
fn of_a_film_goes_out_what_fits_into_mpeg_ts_and_its_end_is_the_end() {
    const PICTURE: &str =
        "videotestsrc num-buffers=50 ! video/x-raw,width=64,height=48,framerate=25/1 ! vp8enc ! m.";
    const SOUND: &str = "audiotestsrc num-buffers=86 ! audioconvert ! audioresample ! opusenc ! m.";
    let scratch = scratch("fits");
    let (whole, mute) = (scratch.path().join("whole.webm"), scratch.path().join("mute.webm"));
    film(&whole, &format!("{PICTURE} {SOUND}"));
    film(&mute, PICTURE);
    let launch = |number, film: &Path| {
        let plan = Plan { rate: 0, ..Plan::new(scratch.path(), address(SOURCES, number)) };
        plan.launch(&["--source", film.to_str().expect("a plain path")])
    };
    let mut process = launch(34, &mute);
    assert_eq!(process.until_ended(PATIENCE).code(), Some(1), "{}", process.story());
    assert!(process.log().contains("it holds no stream that MPEG-TS takes"), "{}", process.story());
    let mut process = launch(35, &whole);
    process.until_succeeded(PATIENCE);
    assert!(process.log().contains("left out, MPEG-TS does not take it: video/x-vp8"), "{}", process.story());
}

#[test]
fn a_host_that_is_none_makes_no_broadcast() {
    let scratch = scratch("host");
    let plan = Plan::new(scratch.path(), address(SOURCES, 36));
    for host in ["http://tv.example.org/", "tv.example.org:80", "a b", "me@tv.example.org"] {
        let said = refuses(&plan, &["--announce-address", host]);
        assert!(said.contains(host) && said.contains("no host under which viewers can find"), "{said}");
    }
    assert!(fs::read_dir(&plan.folder).expect("it can be listed").next().is_none());
}
