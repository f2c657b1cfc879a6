//! The command `swarm` from outside: what it prints, writes and returns.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use gst::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

const COMMANDS: [&str; 6] = ["create", "seed", "tracker", "get", "show", "sim"];
/// Reads a torrent with libtorrent, checks every piece against the data below the given folder and prints
/// what it saw as JSON.
const LIBTORRENT: &str = r#"
import hashlib, json, os, sys
import libtorrent
info = libtorrent.torrent_info(sys.argv[1])
files = info.files()
data = b"".join(open(os.path.join(sys.argv[2], files.file_path(i)), "rb").read() for i in range(files.num_files()))
length = info.piece_length()
for piece in range(info.num_pieces()):
    assert info.hash_for_piece(piece) == hashlib.sha1(data[piece * length:(piece + 1) * length]).digest(), piece
tiers = {}
for tracker in info.trackers():
    tiers.setdefault(tracker.tier, []).append(tracker.url)
# libtorrent shuffles within a tier, as BEP 12 wants it.
print(json.dumps({
    "info_hash": str(info.info_hash()),
    "name": info.name(),
    "piece_length": length,
    "length": info.total_size(),
    "private": info.priv(),
    "files": [[files.file_path(i), files.file_size(i)] for i in range(files.num_files())],
    "trackers": [sorted(tiers[tier]) for tier in sorted(tiers)],
}))
"#;

fn command(folder: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarm"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    for name in ["SWARM_LOG", "SOURCE_DATE_EPOCH"] {
        command.env_remove(name);
    }
    if args.contains(&"get") {
        command.env("XDG_CACHE_HOME", folder.path().join(".cache"));
    }
    command
}

fn swarm(folder: &TempDir, args: &[&str]) -> Output {
    command(folder, args).output().expect("the command starts")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// Runs a command that must succeed.
fn done(folder: &TempDir, args: &[&str]) -> Output {
    let output = swarm(folder, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    output
}

/// Runs a command that must end with this code; what it says on standard error.
fn fails(folder: &TempDir, args: &[&str], code: i32) -> String {
    let output = swarm(folder, args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
    text(&output.stderr).to_owned()
}

fn show(folder: &TempDir, torrent: &str) -> Value {
    serde_json::from_slice(&done(folder, &["show", "--json", torrent]).stdout).expect("JSON")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

fn libtorrent(folder: &TempDir, torrent: &str) -> Value {
    let python = Command::new("/usr/bin/python3")
        .args(["-c", LIBTORRENT, torrent, "."])
        .current_dir(folder)
        .output()
        .expect("python3 starts");
    assert!(python.status.success(), "is python3-libtorrent installed? {}", text(&python.stderr));
    serde_json::from_slice(&python.stdout).expect("JSON")
}

/// A command that runs until it is told to stop, and prints JSON lines meanwhile. Killed when dropped.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(folder: &TempDir, args: &[&str]) -> Self {
        let mut child =
            command(folder, args).arg("--json").stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, lines }
    }

    /// The first line from now on that is as wanted. A test that waits in vain is ended by its runner.
    fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).expect("output") > 0, "it ended");
            let line: Value = serde_json::from_str(&line).expect("JSON");
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Sends what Ctrl-C sends and waits for the end.
    fn interrupt(self) -> Option<i32> {
        self.signal("-INT")
    }

    /// Sends what a service manager sends and waits for the end.
    fn terminate(self) -> Option<i32> {
        self.signal("-TERM")
    }

    fn signal(mut self, signal: &str) -> Option<i32> {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill starts").success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already in most cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn http_get(addr: &str, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("it answers");
    reply
}

fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Makes a film of two seconds: motion JPEG in AVI.
fn film(path: &Path) {
    gst::init().expect("GStreamer starts");
    let line = "videotestsrc num-buffers=50 ! video/x-raw,width=320,height=180,framerate=25/1 ! jpegenc \
                ! avimux ! filesink name=out";
    let pipeline = gst::parse::launch(line).expect("a pipeline").downcast::<gst::Pipeline>().expect("one");
    pipeline.by_name("out").expect("a sink").set_property("location", path.to_str().expect("UTF-8"));
    pipeline.set_state(gst::State::Playing).expect("it runs");
    let bus = pipeline.bus().expect("a bus");
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).expect("an end");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    pipeline.set_state(gst::State::Null).expect("it stops");
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let dir = folder();
    let help = done(&dir, &["--help"]);
    let help = text(&help.stdout);
    for word in COMMANDS.iter().chain(&["Exit codes", "130", "SWARM_LOG", "powers of 1024"]) {
        assert!(help.contains(word), "{word}");
    }
    for name in COMMANDS {
        let help = done(&dir, &[name, "--help"]);
        assert!(text(&help.stdout).contains(&format!("  swarm {name}")), "{name} has no example");
    }
}

#[test]
fn scenarios_are_listed_shown_and_run_the_same_again() {
    let dir = folder();
    let list = done(&dir, &["sim", "--list"]);
    assert!(text(&list.stdout).contains("flash-crowd       All at once"), "{}", text(&list.stdout));
    let shown = done(&dir, &["sim", "--show", "flash-crowd"]);
    fs::write(dir.path().join("own.toml"), text(&shown.stdout).replace("count = 20", "count = 3")).unwrap();
    let run =
        |args: &[&str]| done(&dir, &[&["sim", "own.toml", "--set", "film.length=10s"], args].concat()).stdout;
    let table = run(&[]);
    assert!(text(&table).starts_with("own: all at once"), "{}", text(&table));
    assert_eq!(table, run(&[]), "the same bytes");
    assert_ne!(table, run(&["--seed", "2"]));
    let json: Value =
        serde_json::from_slice(&run(&["--json", "--seeds", "2", "--compare", "give-to-get,sequential"]))
            .expect("JSON");
    assert_eq!((&json["scenario"], &json["seeds"]), (&"own".into(), &serde_json::json!([1, 2])));
    assert_eq!(json["results"][1]["policy"], "sequential");
    assert_eq!(json["results"][1]["classes"]["viewers"]["viewers"]["mean"], 3.0);
    let vary = ["--vary", "hosts.viewers.count=2,4", "--compare", "give-to-get,sequential"];
    let table = run(&[&vary[..], &["--figures", "viewers"]].concat());
    let table: Vec<_> = text(&table).lines().skip(5).map(str::to_owned).collect();
    assert_eq!(table.len(), 5, "{table:?}");
    assert!(table[0].starts_with("viewers") && table[0].contains("hosts.viewers.count"), "{table:?}");
    assert!(table[4].starts_with("sequential") && table[4].ends_with('4'), "{table:?}");
    let json: Value = serde_json::from_slice(&run(&[&vary[..], &["--json"]].concat())).expect("JSON");
    assert_eq!(json["cases"][1]["set"]["hosts.viewers.count"], "4");
    assert_eq!(json["cases"][1]["results"][1]["classes"]["viewers"]["viewers"]["mean"], 4.0);
}

#[test]
fn a_scenario_that_is_none_says_what_is_allowed() {
    let dir = folder();
    let said = fails(&dir, &["sim", "no-such.toml"], 1);
    assert!(said.contains("flash-crowd") && said.contains("no-such.toml"), "{said}");
    let said = fails(&dir, &["sim", "flash-crowd", "--set", "hosts.viewers.nat=2"], 1);
    assert!(said.contains("flash-crowd: hosts.viewers.nat = 2: write a share from 0.0 to 1.0"), "{said}");
    let said = fails(&dir, &["sim", "flash-crowd", "--compare", "give-to-get,best"], 2);
    assert!(said.contains("'best' is no policy; there are give-to-get"), "{said}");
    fails(&dir, &["sim", "flash-crowd", "--compare", "sequential,sequential"], 2);
    let said = fails(&dir, &["sim", "flash-crowd", "--vary", "supply=2,3,2"], 2);
    assert!(said.contains("2 is there twice"), "{said}");
    let said = fails(&dir, &["sim", "flash-crowd", "--figures", "delays"], 2);
    assert!(said.contains("'delays' is no figure; there are viewers, start_up_p50"), "{said}");
    let many = (0..120).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    fails(&dir, &["sim", "flash-crowd", "--vary", &format!("seed={many}")], 2);
    fails(&dir, &["sim", "flash-crowd", "--set", "count"], 2);
}

#[test]
fn what_cannot_be_understood_is_told_from_what_fails() {
    let dir = folder();
    fs::write(dir.path().join("junk.torrent"), b"not bencode").unwrap();
    for args in [
        &["create"][..],
        &["create", "x", "--piece-length", "17"],
        &["create", "x", "--duration", "soon"],
        &["create", "x", "--tracker", "http:/oops"],
        &["create", "x", "--json", "-o", "-"],
        &["seed"],
        &["seed", "x", "--max-upload-rate", "8Mbit"],
        &["seed", "--tracker", "junk.torrent"],
        &["get", "junk.torrent", "--peer", "nowhere"],
        &["live", "--name", "cam", "--aux-seed", "a b"],
        &["live", "--name", "cam", "--bitrate", "0"],
        &["live", "--name", "cam", "--bind", "tv.example.org"],
        &["frobnicate"],
        &[],
    ] {
        fails(&dir, args, 2);
    }
    for (args, word) in [
        (&["create", "absent.mkv"][..], "absent.mkv"),
        (&["show", "absent.torrent"], "absent.torrent"),
        (&["show", "junk.torrent"], "junk.torrent"),
        (&["show", "."], "folder"),
        (&["get", "junk.torrent"], "junk.torrent"),
        (&["seed", "junk.torrent"], "junk.torrent"),
    ] {
        let said = fails(&dir, args, 1);
        assert!(said.contains(word), "{args:?}: {said}");
        let junk = word != "junk.torrent" || said.contains("first bytes: 'not bencode'");
        assert!(junk, "{args:?}: {said}");
    }
}

#[test]
fn the_command_line_of_the_original_works_as_written() {
    let dir = folder();
    let jpeg = [&[0xff, 0xd8, 0xff, 0xe0][..], &noise(500, 1)].concat();
    fs::write(dir.path().join("weather.avi"), noise(100_000, 2)).unwrap();
    fs::write(dir.path().join("weather.jpg"), &jpeg).unwrap();
    done(&dir, &["create", "--name", "weather.avi", "--duration", "4:15", "--thumb", "weather.jpg"]);
    let seen = show(&dir, "weather.avi.torrent");
    assert_eq!(seen["name"], "weather.avi");
    assert_eq!(seen["duration"], 255.0);
    assert_eq!(seen["bitrate"], 100_000 / 255);
    assert_eq!(seen["thumbnail"], jpeg.len());
    assert_eq!(libtorrent(&dir, "weather.avi.torrent")["info_hash"], seen["info_hash"]);
}

#[test]
fn a_name_beside_a_file_is_the_name_in_the_torrent() {
    let dir = folder();
    fs::write(dir.path().join("raw.ts"), noise(1_000, 3)).unwrap();
    done(&dir, &["create", "--source", "raw.ts", "--name", "Film.ts", "--no-media"]);
    assert_eq!(show(&dir, "Film.ts.torrent")["name"], "Film.ts");
    fails(&dir, &["create", "raw.ts", "--name", "../Film.ts", "--no-media"], 1);
}

#[test]
fn libtorrent_reads_the_same_from_a_single_file() {
    let dir = folder();
    fs::write(dir.path().join("film ü.bin"), noise(3_000_001, 4)).unwrap();
    let trackers =
        ["--tracker", "http://a.example/announce,udp://b.example:1", "--tracker", "https://c.example/x"];
    let args =
        ["create", "film ü.bin", "--no-media", "--private", "--piece-length", "64KiB", "-o", "f.torrent"];
    done(&dir, &[&args[..], &trackers].concat());
    let (ours, theirs) = (show(&dir, "f.torrent"), libtorrent(&dir, "f.torrent"));
    for key in ["info_hash", "name", "piece_length", "length", "private", "trackers"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    assert_eq!(ours["trackers"][0].as_array().map(Vec::len), Some(2));
}

#[test]
fn libtorrent_reads_the_same_from_a_folder() {
    let dir = folder();
    let files = [("show/b/2.ts", 70_000), ("show/a.ts", 100_000), ("show/b/10.ts", 1), ("show/empty", 0)];
    fs::create_dir_all(dir.path().join("show/b")).unwrap();
    for (number, (name, length)) in (0..).zip(files) {
        fs::write(dir.path().join(name), noise(length, number)).unwrap();
    }
    fs::write(dir.path().join("show/.hidden"), b"private").unwrap();
    done(&dir, &["create", "show", "--no-media"]);
    let (ours, theirs) = (show(&dir, "show.torrent"), libtorrent(&dir, "show.torrent"));
    assert_eq!(ours["info_hash"], theirs["info_hash"]);
    let ours: Vec<_> = ours["files"].as_array().unwrap().iter().collect();
    let seen = ours
        .iter()
        .map(|file| (format!("show/{}", file["path"].as_str().unwrap()), file["length"].as_u64().unwrap()));
    let theirs: Vec<(String, u64)> = serde_json::from_value(theirs["files"].clone()).unwrap();
    assert_eq!(seen.collect::<Vec<_>>(), theirs);
    assert_eq!(
        theirs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["show/a.ts", "show/b/10.ts", "show/b/2.ts", "show/empty"]
    );
}

#[test]
fn duration_and_thumbnail_are_found_in_a_film() {
    let dir = folder();
    film(&dir.path().join("film.avi"));
    let made = done(&dir, &["create", "film.avi", "--json"]);
    let seen: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(seen["duration"], 2.0);
    assert!(seen["thumbnail"].as_u64().is_some_and(|bytes| bytes > 200), "{seen}");
    let torrent = fs::read(dir.path().join("film.avi.torrent")).unwrap();
    let jpeg = torrent.windows(4).position(|bytes| bytes == b"JFIF");
    assert!(jpeg.is_some(), "no JPEG in the torrent");
    fs::create_dir(dir.path().join("show")).unwrap();
    fs::copy(dir.path().join("film.avi"), dir.path().join("show/1.avi")).unwrap();
    fs::write(dir.path().join("show/2.avi"), noise(9_000_000, 9)).unwrap();
    fs::write(dir.path().join("show/read.me"), b"text").unwrap();
    let said = text(&done(&dir, &["create", "show"]).stderr).to_owned();
    assert!(said.contains("2.avi") && !said.contains("read.me"), "{said}");
    let seen = show(&dir, "show.torrent");
    assert_eq!(seen["files"][0]["duration"], 2.0);
    assert_eq!(seen["files"][1]["duration"], Value::Null);
    assert!(seen["thumbnail"].is_u64());
}

#[test]
fn the_same_input_gives_the_same_torrent() {
    let dir = folder();
    film(&dir.path().join("film.avi"));
    done(&dir, &["create", "film.avi", "--no-date", "-o", "one"]);
    let other = done(&dir, &["create", "film.avi", "--no-date", "-o", "-"]).stdout;
    assert!(fs::read(dir.path().join("one")).unwrap() == other);
    assert_eq!(show(&dir, "one")["creation_date"], Value::Null);
    let dated =
        command(&dir, &["create", "film.avi"]).env("SOURCE_DATE_EPOCH", "1216299452").output().unwrap();
    assert!(dated.status.success());
    assert_eq!(show(&dir, "film.avi.torrent")["creation_date"], 1_216_299_452);
}

#[test]
fn a_torrent_is_not_written_over_without_force() {
    let dir = folder();
    fs::write(dir.path().join("a.bin"), noise(10, 5)).unwrap();
    let args = ["create", "a.bin", "--no-media", "--no-date"];
    done(&dir, &args);
    fs::write(dir.path().join("a.bin"), noise(20, 5)).unwrap();
    let said = fails(&dir, &args, 1);
    assert!(said.contains("--force") && said.contains("a.bin.torrent"), "{said}");
    assert_eq!(show(&dir, "a.bin.torrent")["length"], 10);
    done(&dir, &[&args[..], &["--force"]].concat());
    assert_eq!(show(&dir, "a.bin.torrent")["length"], 20);
    assert_eq!(names(dir.path()), ["a.bin", "a.bin.torrent"].map(String::from).into());
}

#[test]
fn a_thumbnail_that_is_no_jpeg_is_refused_with_what_to_do() {
    let dir = folder();
    fs::write(dir.path().join("a.bin"), b"x").unwrap();
    fs::write(dir.path().join("t.jpg"), b"\x89PNG\r\n").unwrap();
    fs::write(dir.path().join("huge.jpg"), vec![0xff; 9 << 20]).unwrap();
    let live = ["live", "--name", "cam", "--bitrate", "1M", "--port", "0"];
    for (picture, words) in [
        ("t.jpg", &["a JPEG file", "leave it out", "another kind"][..]),
        ("absent.jpg", &["a JPEG file", "leave it out", "No such file"]),
        ("huge.jpg", &["make it smaller"]),
    ] {
        for command in [&["create", "a.bin"][..], &live] {
            let said = fails(&dir, &[command, &["--thumb", picture]].concat(), 1);
            assert!(words.iter().all(|word| said.contains(word)) && said.contains(picture), "{said}");
        }
    }
    assert_eq!(names(dir.path()), ["a.bin", "huge.jpg", "t.jpg"].map(String::from).into());
}

/// A torrent whose every text tries to take the terminal over.
fn hostile() -> (Vec<u8>, String) {
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\u{202e}gpj.exe\u{9b}31m".to_owned();
    let string = |text: &str| format!("{}:{text}", text.len());
    let mut torrent =
        format!("d8:announce12:udp://a.b/\u{7}c7:comment{}10:created by{}", string(&evil), string(&evil));
    torrent += &format!("4:infod5:filesld6:lengthi1e4:pathl{}eee4:name{}", string(&evil), string(&evil));
    torrent += "12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";
    (torrent.into_bytes(), evil)
}

#[test]
fn strangers_names_cannot_reach_the_terminal() {
    let dir = folder();
    let (torrent, evil) = hostile();
    fs::write(dir.path().join("evil.torrent"), torrent).unwrap();
    let shown = done(&dir, &["show", "evil.torrent"]).stdout;
    let shown = text(&shown);
    let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!shown.contains(harmful), "{shown:?}");
    assert!(shown.contains("gpj.exe") && shown.lines().all(|line| !line.starts_with("gpj")), "{shown}");
    let json = done(&dir, &["show", "--json", "evil.torrent"]).stdout;
    assert!(json.trim_ascii_end().iter().all(|byte| (b' '..=b'~').contains(byte)));
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap()["name"], evil);
}

/// What the live `.tstream` files of 2008-2010 say, as a decoder that shares no code with ours reads it.
const BROADCASTS: [Broadcast; 5] = [
    Broadcast {
        name: "ArnoCamJip512-32k.mpegts",
        info_hash: "683ad7b722bceb0c7f659be1d879fbcb88d9bf34",
        length: 235_929_600,
        piece_length: 32_768,
        pieces: 7_200,
        speed: 65_536,
        scheme: "ECDSA on the curve K-233",
        tracker: "http://130.37.198.236:7764/announce",
        thumbnail: None,
        created: 1_207_897_814,
        lines: [
            ("pieces", "7200 of 32 KiB"),
            ("live", "a broadcast over a ring of 1:00:00"),
            ("window", "1800 pieces, 15:00"),
            (
                "signature",
                "ECDSA on the curve K-233 (obsolete, of 2008-2010: cannot be verified any more, so it cannot be played)",
            ),
            ("bitrate", "64 KiB/s (524 kbit/s)"),
            ("thumbnail", "none"),
            ("created", "2008-04-11T07:10:14Z"),
        ],
    },
    Broadcast {
        name: "Babs512-32k.mpegts",
        info_hash: "9e7505cabc445b75565c3dc7342d22a89ca109e7",
        length: 235_929_600,
        piece_length: 32_768,
        pieces: 7_200,
        speed: 65_536,
        scheme: "ECDSA on the curve K-233",
        tracker: "http://130.161.158.211:7764/announce",
        thumbnail: None,
        created: 1_209_027_429,
        lines: [
            ("pieces", "7200 of 32 KiB"),
            ("live", "a broadcast over a ring of 1:00:00"),
            ("window", "1800 pieces, 15:00"),
            (
                "signature",
                "ECDSA on the curve K-233 (obsolete, of 2008-2010: cannot be verified any more, so it cannot be played)",
            ),
            ("bitrate", "64 KiB/s (524 kbit/s)"),
            ("thumbnail", "none"),
            ("created", "2008-04-24T08:57:09Z"),
        ],
    },
    Broadcast {
        name: "Harry.mpegts",
        info_hash: "3222e8ac7adaee8bcd2ee687ddfddfe24189b293",
        length: 1_415_577_600,
        piece_length: 131_072,
        pieces: 10_800,
        speed: 393_216,
        scheme: "ECDSA on the curve K-233",
        tracker: "http://130.161.159.89:7764/announce",
        thumbnail: None,
        created: 1_209_385_148,
        lines: [
            ("pieces", "10800 of 128 KiB"),
            ("live", "a broadcast over a ring of 1:00:00"),
            ("window", "2700 pieces, 15:00"),
            (
                "signature",
                "ECDSA on the curve K-233 (obsolete, of 2008-2010: cannot be verified any more, so it cannot be played)",
            ),
            ("bitrate", "384 KiB/s (3145 kbit/s)"),
            ("thumbnail", "none"),
            ("created", "2008-04-28T12:19:08Z"),
        ],
    },
    Broadcast {
        name: "ParadisoCam.mpegts",
        info_hash: "0efe5423162cc35c0d7287f46d8695f5f8c11eec",
        length: 235_929_600,
        piece_length: 32_768,
        pieces: 7_200,
        speed: 65_536,
        scheme: "ECDSA on the curve K-233",
        tracker: "http://130.161.211.198:8764/announce",
        thumbnail: Some(5_771),
        created: 1_216_299_452,
        lines: [
            ("pieces", "7200 of 32 KiB"),
            ("live", "a broadcast over a ring of 1:00:00"),
            ("window", "1800 pieces, 15:00"),
            (
                "signature",
                "ECDSA on the curve K-233 (obsolete, of 2008-2010: cannot be verified any more, so it cannot be played)",
            ),
            ("bitrate", "64 KiB/s (524 kbit/s)"),
            ("thumbnail", "5771 bytes"),
            ("created", "2008-07-17T12:57:32Z"),
        ],
    },
    Broadcast {
        name: "modulix1-live-p2p.ogg",
        info_hash: "ebafc78435603941b21d5fca454ba28ef800a07c",
        length: 468_647_936,
        piece_length: 32_768,
        pieces: 14_302,
        speed: 130_172,
        scheme: "RSA",
        tracker: "http://130.37.198.236:7764/announce",
        thumbnail: None,
        created: 1_267_516_261,
        lines: [
            ("pieces", "14302 of 32 KiB"),
            ("live", "a broadcast over a ring of 1:00:00"),
            ("window", "3575 pieces, 15:00"),
            (
                "signature",
                "RSA (obsolete, of 2008-2010: cannot be verified any more, so it cannot be played)",
            ),
            ("bitrate", "127 KiB/s (1041 kbit/s)"),
            ("thumbnail", "none"),
            ("created", "2010-03-02T07:51:01Z"),
        ],
    },
];

struct Broadcast {
    /// Of file, ring, and in all of them also the title.
    name: &'static str,
    info_hash: &'static str,
    length: u64,
    piece_length: u32,
    pieces: u32,
    speed: u64,
    scheme: &'static str,
    tracker: &'static str,
    thumbnail: Option<u64>,
    created: u64,
    /// What the text has in its lines.
    lines: [(&'static str, &'static str); 7],
}

fn broadcast(name: &str) -> String {
    format!("{}/gst-tests/fixtures/tstream/{name}.tstream", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn everything_in_live_broadcasts_of_2008_to_2010_is_shown() {
    let dir = folder();
    for b in BROADCASTS {
        let path = broadcast(b.name);
        let seen = show(&dir, &path);
        let quarter = b.pieces / 4;
        let seconds = |pieces: u32| f64::from(pieces) * f64::from(b.piece_length) / b.speed as f64;
        for (key, value) in [
            ("name", b.name.into()),
            ("title", b.name.into()),
            ("info_hash", b.info_hash.into()),
            ("length", b.length.into()),
            ("piece_length", b.piece_length.into()),
            ("pieces", b.pieces.into()),
            ("bitrate", b.speed.into()),
            ("trackers", serde_json::json!([[b.tracker]])),
            ("thumbnail", b.thumbnail.into()),
            ("creation_date", b.created.into()),
            ("private", false.into()),
            ("duration", Value::Null),
            ("description", Value::Null),
            ("created_by", Value::Null),
        ] {
            assert_eq!(seen[key], value, "{}: {key}", b.name);
        }
        let live = &seen["live"];
        assert_eq!((&live["scheme"], &live["support"]), (&b.scheme.into(), &"obsolete".into()));
        assert_eq!(live["window"], quarter);
        for (key, pieces) in [("ring_duration", b.pieces), ("window_duration", quarter)] {
            let shown = live[key].as_f64().unwrap();
            assert!((shown - seconds(pieces)).abs() < 1e-5, "{}: {key}: {shown}", b.name);
        }
        let shown = done(&dir, &["show", &path]).stdout;
        for (label, value) in b.lines {
            let line = format!("{label:<13} {value}\n");
            assert!(text(&shown).contains(&line), "{}: {line}{}", b.name, text(&shown));
        }
        for value in [b.name, b.info_hash, b.tracker, &format!("({} bytes)", b.length), b.scheme] {
            assert!(text(&shown).contains(value), "{}: {value}", b.name);
        }
    }
}

#[test]
fn a_live_broadcast_is_not_opened_and_the_reason_is_said() {
    let dir = folder();
    let old = broadcast("ParadisoCam.mpegts");
    let info = "4:infod6:lengthi1048576e4:lived10:authmethod4:Nonee4:name3:Cam12:piece lengthi32768ee";
    fs::write(dir.path().join("cam.tstream"), format!("d{info}e")).unwrap();
    for command in ["get", "seed"] {
        let said = fails(&dir, &[command, &old], 1);
        assert!(said.contains("'ParadisoCam.mpegts' is signed with ECDSA on the curve K-233"), "{said}");
        assert!(said.contains("obsolete") && said.contains("cannot be played"), "{said}");
        let said = fails(&dir, &[command, "cam.tstream"], 1);
        assert!(said.contains("live broadcast 'Cam' is not signed, and its pieces have no stamps"), "{said}");
    }
    assert_eq!(show(&dir, "cam.tstream")["live"]["support"], "obsolete");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let dir = folder();
    fs::write(dir.path().join("a.bin"), b"x").unwrap();
    done(&dir, &["create", "a.bin", "--no-media"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = command(&dir, &["show", "a.bin.torrent"]).stdout(writer).output().unwrap();
    assert_eq!((ended.status.code(), text(&ended.stderr)), (Some(0), ""));
}

#[test]
fn nothing_is_redrawn_where_there_is_no_terminal() {
    let dir = folder();
    fs::write(dir.path().join("a.bin"), noise(30_000_000, 6)).unwrap();
    let said = done(&dir, &["create", "a.bin", "--no-media"]);
    assert!(said.stdout.is_empty());
    let said = text(&said.stderr);
    assert!(said.contains("a.bin.torrent") && !said.contains(['\u{1b}', '\r']), "{said:?}");
    assert!(
        done(&dir, &["-q", "create", "a.bin", "--no-media", "--force", "--tracker", "udp://a"])
            .stderr
            .is_empty()
    );
}

#[test]
fn get_does_not_write_over_what_is_not_the_torrents() {
    let dir = folder();
    fs::write(dir.path().join("notes.txt"), noise(50_000, 7)).unwrap();
    done(&dir, &["create", "notes.txt", "--no-media"]);
    let mine = noise(50_000, 8);
    fs::write(dir.path().join("notes.txt"), &mine).unwrap();
    for args in [&["get", "notes.txt.torrent"][..], &["get", "notes.txt.torrent", "-o", "notes.txt"]] {
        let said = fails(&dir, args, 1);
        assert!(said.contains("notes.txt") && said.contains("--force"), "{said}");
    }
    let said = fails(&dir, &["seed", "notes.txt.torrent"], 1);
    assert!(said.contains("nothing of this torrent"), "{said}");
    assert!(fs::read(dir.path().join("notes.txt")).unwrap() == mine);
    fails(&dir, &["get", "notes.txt.torrent", "-o", "x", "--dir", "y"], 2);
    fails(&dir, &["get", "notes.txt.torrent", "-o", "-", "--json"], 2);
    let said = fails(&dir, &["get", "notes.txt.torrent", "--file", "1"], 1);
    assert!(said.contains("--file 1"), "{said}");
    assert_eq!(names(dir.path()), ["notes.txt", "notes.txt.torrent"].map(String::from).into());
}

#[test]
fn the_tracker_answers_and_ends_by_ctrl_c_with_success() {
    let dir = folder();
    let mut tracker = Running::start(&dir, &["tracker", "--bind", "127.0.0.1", "--port", "0"]);
    let addr = tracker.wait_for(|_| true)["addr"].as_str().expect("an address").to_owned();
    let query =
        "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=-XX0000-123456789012&port=7001&uploaded=0&downloaded=0";
    let reply = http_get(&addr, &format!("/announce?{query}&left=0&compact=1&event=started"));
    assert!(reply.windows(10).any(|bytes| bytes == b"8:interval"), "{}", String::from_utf8_lossy(&reply));
    let seen = tracker.wait_for(|line| line["announces"] == 1);
    assert_eq!((&seen["torrents"], &seen["peers"]), (&1.into(), &1.into()));
    let taken =
        fails(&dir, &["tracker", "--bind", "127.0.0.1", "--port", addr.rsplit(':').next().unwrap()], 1);
    assert!(taken.contains(&addr), "{taken}");
    assert_eq!(tracker.interrupt(), Some(0));
}

/// A file `name` and its torrent `name.torrent` in a folder `home`, in pieces of 32 KiB.
fn share(dir: &TempDir, name: &str, length: usize, tracker: &[&str]) -> Vec<u8> {
    let home = dir.path().join("home");
    fs::create_dir_all(&home).unwrap();
    let content = noise(length, 11);
    fs::write(home.join(name), &content).unwrap();
    let (path, torrent) = (format!("home/{name}"), format!("home/{name}.torrent"));
    let args = ["create", &path, "--no-media", "--piece-length", "32KiB", "--force", "-o", &torrent];
    done(dir, &[&args[..], tracker].concat());
    content
}

/// Starts a seed on this machine that is ready when this returns, and its address for `--peer`.
fn seed(dir: &TempDir, args: &[&str]) -> (Running, String) {
    let mut seed = Running::start(dir, &[&["seed", "--bind", "127.0.0.1", "-v"][..], args].concat());
    let ready = |line: &Value| line["torrents"][0]["state"] == "seeding";
    let addr = seed.wait_for(ready)["torrents"][0]["listening"].as_str().expect("an address").to_owned();
    (seed, addr)
}

const HERE: [&str; 2] = ["--bind", "127.0.0.1"];

#[test]
fn a_file_goes_from_seed_to_get_by_the_embedded_tracker_over_http_and_udp() {
    let dir = folder();
    share(&dir, "film.ts", 3_000_001, &[]);
    let mut seed = Running::start(
        &dir,
        &["seed", "home/film.ts.torrent", "--bind", "127.0.0.1", "--tracker", "127.0.0.1:0"],
    );
    // It announces itself to its own tracker although the torrent does not name it.
    let addr =
        seed.wait_for(|line| line["tracker"]["peers"] == 1)["tracker"]["addr"].as_str().unwrap().to_owned();
    for (number, url) in [format!("http://{addr}/announce"), format!("udp://{addr}")].iter().enumerate() {
        let content = share(&dir, "film.ts", 3_000_001, &["--tracker", url]);
        let out = format!("{number}.ts");
        done(&dir, &[&["get", "home/film.ts.torrent", "-o", &out][..], &HERE].concat());
        assert!(fs::read(dir.path().join(&out)).unwrap() == content, "{url}");
    }
    assert_eq!(names(dir.path()), ["0.ts", "1.ts", "home"].map(String::from).into());
    let told = seed.wait_for(|line| line["torrents"][0]["uploaded"].as_u64() >= Some(6_000_000));
    assert_eq!(told["torrents"][0]["state"], "seeding");
    assert_eq!(seed.interrupt(), Some(0));
}

#[test]
fn a_torrent_goes_to_a_folder_a_pipe_and_a_named_pipe() {
    let dir = folder();
    let content = share(&dir, "film.ts", 1_500_000, &[]);
    let (seed, addr) = seed(&dir, &["home/film.ts.torrent"]);
    let get = |args: &[&str]| {
        done(&dir, &[&["get", "home/film.ts.torrent", "--peer", &addr][..], &HERE, args].concat()).stdout
    };
    assert!(get(&["-o", "-"]) == content);
    let last = get(&["--dir", "new/folder", "--json"]);
    assert!(fs::read(dir.path().join("new/folder/film.ts")).unwrap() == content);
    let last: Value =
        serde_json::from_slice(last.split(|byte| *byte == b'\n').rev().nth(1).unwrap()).unwrap();
    assert_eq!((&last["have"], &last["length"]), (&1_500_000.into(), &1_500_000.into()));
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn(move || fs::read(pipe).unwrap());
    get(&["-o", "pipe"]);
    assert!(reader.join().unwrap() == content);
    assert_eq!(seed.interrupt(), Some(0));
}

#[test]
fn one_file_of_many_is_fetched_alone() {
    let dir = folder();
    fs::create_dir_all(dir.path().join("home/show")).unwrap();
    let files = [("1.ts", 400_001), ("2.ts", 300_007), ("3.ts", 900_000)];
    for (number, (name, length)) in (20..).zip(files) {
        fs::write(dir.path().join("home/show").join(name), noise(length, number)).unwrap();
    }
    let args = ["create", "home/show", "--no-media", "--piece-length", "32KiB", "-o", "home/show.torrent"];
    done(&dir, &args);
    let (seed, addr) = seed(&dir, &["home/show.torrent"]);
    let get = |args: &[&str]| {
        done(&dir, &[&["get", "home/show.torrent", "--peer", &addr][..], &HERE, args].concat());
    };
    get(&["--file", "1", "-o", "second.ts"]);
    assert!(fs::read(dir.path().join("second.ts")).unwrap() == noise(300_007, 21));
    get(&["-o", "largest.ts"]);
    assert!(fs::read(dir.path().join("largest.ts")).unwrap() == noise(900_000, 22));
    get(&["--dir", "all"]);
    for (number, (name, length)) in (20..).zip(files) {
        assert!(fs::read(dir.path().join("all/show").join(name)).unwrap() == noise(length, number), "{name}");
    }
    assert_eq!(seed.interrupt(), Some(0));
}

#[test]
fn an_interrupted_get_says_so_and_goes_on_where_it_stopped() {
    let dir = folder();
    let content = share(&dir, "film.ts", 4_000_000, &[]);
    let (mut seed, addr) = seed(&dir, &["home/film.ts.torrent", "--max-upload-rate", "1M"]);
    let args = ["get", "home/film.ts.torrent", "-o", "film.ts", "--peer", &addr];
    let args = [&args[..], &HERE].concat();
    let mut get = Running::start(&dir, &args);
    get.wait_for(|line| line["have"].as_u64() >= Some(1_000_000));
    assert_eq!(get.interrupt(), Some(130));
    assert!(!dir.path().join("film.ts").exists());
    // A run that gets nowhere takes nothing away.
    let alone = [&["get", "home/film.ts.torrent", "-o", "film.ts", "--give-up", "1s"][..], &HERE].concat();
    fails(&dir, &alone, 3);
    let before = seed.wait_for(|line| line["torrents"][0]["peers"] == 0)["torrents"][0]["uploaded"].as_u64();
    done(&dir, &args);
    assert!(fs::read(dir.path().join("film.ts")).unwrap() == content);
    let after = seed.wait_for(|line| line["torrents"][0]["peers"] == 0)["torrents"][0]["uploaded"].as_u64();
    let again = after.unwrap() - before.unwrap();
    assert!(again < 3_300_000, "{again} bytes were fetched again");
    assert_eq!(names(dir.path()), ["film.ts", "home"].map(String::from).into());
}

#[test]
fn get_gives_up_when_it_may_and_leaves_nothing_behind() {
    let dir = folder();
    share(&dir, "film.ts", 100_000, &[]);
    let args = ["get", "home/film.ts.torrent", "-o", "film.ts", "--give-up", "1s"];
    let said = fails(&dir, &[&args[..], &HERE].concat(), 3);
    for words in ["gave up", "for 1s", "no peer known", "the torrent names no tracker"] {
        assert!(said.contains(words), "`{words}` is missing in\n{said}");
    }
    assert_eq!(names(dir.path()), ["home"].map(String::from).into());
}

#[test]
fn a_stream_that_cannot_be_kept_says_what_to_do() {
    let dir = folder();
    share(&dir, "film.ts", 100_000, &[]);
    fs::write(dir.path().join("file"), "x").unwrap();
    let get = [&["get", "home/film.ts.torrent", "-o", "-"][..], &HERE].concat();
    let output = command(&dir, &get).env("XDG_CACHE_HOME", dir.path().join("file/cache")).output().unwrap();
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("file/cache") && said.contains("--dir"),
        "{said}"
    );
    let (first, _) = seed(&dir, &["home/film.ts.torrent"]);
    let said = fails(&dir, &[&get[..], &["--dir", "home"]].concat(), 1);
    assert!(said.contains("in use by process") && said.contains("end that one"), "{said}");
    assert_eq!(first.interrupt(), Some(0));
}

#[test]
fn the_folder_of_an_output_is_not_made() {
    let dir = folder();
    share(&dir, "film.ts", 100_000, &[]);
    fs::write(dir.path().join("file"), "x").unwrap();
    for (out, words) in [("no/where/film.ts", "no/where: make that folder"), ("file/film.ts", "no folder")] {
        let said = fails(&dir, &[&["get", "home/film.ts.torrent", "-o", out][..], &HERE].concat(), 1);
        assert!(said.contains(words) && said.contains("-o"), "{said}");
        let said = fails(&dir, &["create", "home/film.ts", "-o", out], 1);
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(names(dir.path()), ["file", "home"].map(String::from).into());
}

#[test]
fn a_player_that_quits_ends_get_with_success() {
    let dir = folder();
    share(&dir, "film.ts", 4_000_000, &[]);
    let (_seed, addr) = seed(&dir, &["home/film.ts.torrent"]);
    let args = ["get", "home/film.ts.torrent", "-o", "-", "--peer", &addr];
    let mut get = command(&dir, &[&args[..], &HERE].concat()).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1_000];
    get.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(get.wait().unwrap().code(), Some(0));
}

#[test]
fn a_seed_fetches_what_it_lacks_unless_told_not_to() {
    let dir = folder();
    let content = share(&dir, "film.ts", 500_000, &[]);
    let (_first, addr) = seed(&dir, &["home/film.ts.torrent"]);
    let mut idle = Running::start(
        &dir,
        &[
            "seed",
            "home/film.ts.torrent",
            "--dir",
            "idle",
            "--no-download",
            "--peer",
            &addr,
            "--bind",
            "127.0.0.1",
        ],
    );
    idle.wait_for(|line| line["torrents"][0]["state"] != "checking");
    let (_second, _) = seed(&dir, &["home/film.ts.torrent", "--dir", "copy", "--peer", &addr]);
    assert!(fs::read(dir.path().join("copy/film.ts")).unwrap() == content);
    // Who has nothing and wants nothing has no reason to call anybody.
    let line = idle.wait_for(|line| line["torrents"][0]["name"] == "film.ts");
    assert_eq!((&line["torrents"][0]["have"], &line["torrents"][0]["peers"]), (&0.into(), &0.into()));
    assert!(!dir.path().join("idle/film.ts").exists());
    assert_eq!(idle.interrupt(), Some(0));
}

#[test]
fn a_seed_leaves_out_what_it_cannot_use_and_says_so_at_the_end() {
    let dir = folder();
    share(&dir, "film.ts", 50_000, &[]);
    fs::write(dir.path().join("home/zzz.torrent"), b"junk").unwrap();
    let (seed, _) = seed(&dir, &["home"]);
    assert_eq!(seed.interrupt(), Some(3));
}

#[test]
fn a_seed_says_at_once_that_another_process_has_the_torrent() {
    let dir = folder();
    share(&dir, "film.ts", 50_000, &[]);
    let (first, _) = seed(&dir, &["home/film.ts.torrent"]);
    let told = fails(&dir, &["seed", "home/film.ts.torrent", "--bind", "127.0.0.1"], 1);
    for words in ["in use by process", "--dir", "no torrent can be shared"] {
        assert!(told.contains(words), "`{words}` is missing in\n{told}");
    }
    share(&dir, "other.ts", 60_000, &[]);
    let args = ["seed", "--bind", "127.0.0.1", "home/film.ts.torrent", "home/other.ts.torrent"];
    let mut second = Running::start(&dir, &args);
    let line = second.wait_for(|line| line["torrents"].as_array().is_some_and(|all| all.len() == 1));
    assert_eq!(line["torrents"][0]["name"], "other.ts");
    assert_eq!(second.interrupt(), Some(3));
    assert_eq!(first.terminate(), Some(0), "what ends a service is an orderly end, too");
}

#[test]
fn a_folder_of_torrents_is_looked_at_again() {
    let dir = folder();
    share(&dir, "one.ts", 50_000, &[]);
    let mut seed = Running::start(&dir, &["seed", "home", "--bind", "127.0.0.1", "--rescan", "1s"]);
    let names = |line: &Value| {
        let torrents = line["torrents"].as_array().expect("a list").iter();
        torrents.map(|torrent| torrent["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    seed.wait_for(|line| names(line) == ["one.ts"]);
    share(&dir, "two.ts", 60_000, &[]);
    let both = seed.wait_for(|line| names(line) == ["one.ts", "two.ts"]);
    assert_eq!(both["torrents"][0]["state"], "seeding");
    fs::remove_file(dir.path().join("home/one.ts.torrent")).unwrap();
    seed.wait_for(|line| names(line) == ["two.ts"]);
    assert_eq!(seed.interrupt(), Some(0));
}

#[test]
fn get_goes_on_seeding_the_file_that_it_has_named() {
    let dir = folder();
    let content = share(&dir, "film.ts", 700_000, &[]);
    let (first, addr) = seed(&dir, &["home/film.ts.torrent"]);
    let args = ["get", "home/film.ts.torrent", "-o", "film.ts", "--seed", "--port", "0", "--peer", &addr];
    let mut get = Running::start(&dir, &[&args[..], &HERE].concat());
    let at =
        get.wait_for(|line| line["state"] == "seeding")["listening"].as_str().expect("an address").to_owned();
    assert_eq!(first.interrupt(), Some(0));
    let args = ["get", "home/film.ts.torrent", "-o", "again.ts", "--peer", &at];
    done(&dir, &[&args[..], &HERE].concat());
    assert!(fs::read(dir.path().join("film.ts")).unwrap() == content);
    assert!(fs::read(dir.path().join("again.ts")).unwrap() == content);
    assert_eq!(get.interrupt(), Some(0));
    assert_eq!(names(dir.path()), ["again.ts", "film.ts", "home"].map(String::from).into());
}
