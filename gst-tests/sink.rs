//! `swarmsink` as applications meet it: what goes in comes out elsewhere, errors are named, nothing is left behind.

#![allow(clippy::disallowed_methods, reason = "tests are outside of the core: they wait by the clock")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstswarm::metainfo::torrent::Metainfo;
use support::asker::Asker;
use support::files::{folder, scratch};
use support::live_attacks::Ring;
use support::network::{Network, free_port};
use support::process::Running;
use support::{commands, leaks, wait};
use tempfile::TempDir;

/// Anything that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// A stop takes no longer than this while data flows.
const STOP_WITHIN: Duration = Duration::from_millis(300);
/// Starts and stops that are counted, after `WARM_UP` that are not.
const CYCLES: usize = 20;
const WARM_UP: usize = 5;
/// A camera, without its muxer: about 60 kB/s, a key frame a second.
const CAMERA: &str = "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=180,framerate=25/1 \
    ! timeoverlay ! x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max=25 bitrate=400 \
    ! h264parse config-interval=-1";
/// Bytes without meaning, as fast as they are taken.
const FLOOD: &str = "fakesrc sizetype=fixed sizemax=16384 filltype=pattern";

fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstswarm::plugin_register_static().unwrap();
    });
}

/// A place for a broadcast.
struct Place {
    scratch: TempDir,
    port: u16,
}

impl Place {
    fn new(name: &str) -> Self {
        init();
        let place = Self { scratch: scratch(name), port: free_port() };
        folder(place.scratch.path(), "source");
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn tstream(&self) -> PathBuf {
        self.file("source/cam.tstream")
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The element's description.
    fn sink(&self, more: &str) -> String {
        let location = self.tstream();
        let port = self.port;
        format!("swarmsink name=s location={} port={port} bind-address=127.0.0.1 {more}", location.display())
    }

    /// A pipeline that also keeps what it broadcasts in the file `in`.
    fn camera(&self, muxer: &str, more: &str) -> Pipeline {
        let kept = self.file("in");
        Pipeline::start(&format!(
            "{CAMERA} ! {muxer} ! tee name=t ! queue ! {} t. ! queue ! filesink async=false location={}",
            self.sink(more),
            kept.display()
        ))
    }

    /// Waits until the broadcast is there.
    fn until_on_air(&self, pipeline: &Pipeline, pieces: u64) {
        let made = || pipeline.figure::<u64>("pieces") >= pieces;
        wait::until("pieces", PATIENCE, made, || format!("{}", pipeline.stats()));
    }

    /// `swarm get` in a process of its own, into the file `copy`.
    fn get(&self) -> Running {
        let mut command = commands::swarm(&Network::Loopback, self.scratch.path());
        command.arg("get").arg(self.tstream()).arg("-o").arg(self.file("copy"));
        command.args(["--buffer", "1s", "--bind", "127.0.0.1"]);
        Running::start("get", self.scratch.path(), command)
    }

    /// Demands that the copy is a part of what went in, up to the end, behind what `is_head` takes for headers.
    fn assert_suffix(&self, is_head: impl Fn(&[u8]) -> bool) {
        let (given, copy) = (fs::read(self.file("in")).unwrap(), fs::read(self.file("copy")).unwrap());
        assert!(copy.len() > 100_000, "{} bytes", copy.len());
        // The last bytes of the headers may stand in front of that part in the source as well, by chance.
        let is_part = |n: &usize| given.ends_with(&copy[*n..]) && is_head(&copy[..*n]);
        let first = (0..copy.len()).find(|n| given.ends_with(&copy[*n..]));
        let from = (0..copy.len()).find(is_part);
        let from = from.unwrap_or_else(|| panic!("{first:?} bytes of {} are none of the source", copy.len()));
        assert!(copy.len() - from < given.len(), "the viewer came late");
    }
}

/// A pipeline that ends with its owner.
struct Pipeline(gst::Element);

impl Pipeline {
    fn start(line: &str) -> Self {
        let pipeline = gst::parse::launch(line).unwrap();
        let started = pipeline.set_state(gst::State::Playing);
        let why = || pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        assert!(started.is_ok(), "{line} does not start: {:?}", why());
        Self(pipeline)
    }

    fn sink(&self) -> gst::Element {
        let bin = self.0.downcast_ref::<gst::Bin>();
        bin.map_or_else(|| self.0.clone(), |bin| bin.by_name("s").unwrap())
    }

    fn stats(&self) -> gst::Structure {
        self.sink().property("stats")
    }

    fn figure<T: for<'a> glib::value::FromValue<'a> + 'static>(&self, name: &str) -> T {
        self.stats().get(name).unwrap()
    }

    fn message(&self, kind: gst::MessageType) -> gst::Message {
        let bus = self.0.bus().unwrap();
        let limit = gst::ClockTime::try_from(PATIENCE).unwrap();
        let message =
            bus.timed_pop_filtered(limit, &[kind, gst::MessageType::Error]).expect("a message in time");
        assert_eq!(message.type_(), kind, "{message:?}");
        message
    }

    /// Sends EOS and waits until it has come through.
    fn end(&self) {
        assert!(self.0.send_event(gst::event::Eos::new()));
        self.message(gst::MessageType::Eos);
    }

    fn stop(&self) -> Duration {
        let asked = Instant::now();
        self.0.set_state(gst::State::Null).unwrap();
        asked.elapsed()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

/// The error of a pipeline that does not start.
fn error_of(line: &str) -> glib::Error {
    init();
    let pipeline = gst::parse::launch(line).unwrap();
    // An element alone has no bus; that it fails is told in another way.
    let bus = pipeline.bus().unwrap_or_default();
    pipeline.set_bus(Some(&bus));
    assert!(pipeline.set_state(gst::State::Paused).is_err(), "{line} starts");
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &[gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    bus.set_flushing(true);
    let message = message.expect("an error is posted");
    let gst::MessageView::Error(error) = message.view() else { unreachable!("filtered") };
    error.error()
}

fn assert_error<T: glib::error::ErrorDomain>(error: &glib::Error, kind: T, text: &str) {
    assert!(error.matches(kind), "{error:?}");
    assert!(error.message().contains(text), "{error}");
}

#[test]
fn every_property_says_what_it_means() {
    init();
    let factory = gst::ElementFactory::find("swarmsink").unwrap();
    assert_eq!((factory.rank(), factory.klass()), (gst::Rank::NONE, "Sink/Network"));
    let element = factory.create().build().unwrap();
    let specs = element.list_properties();
    let own: Vec<_> = specs.iter().filter(|p| p.owner_type() == element.type_()).collect();
    assert_eq!(own.len(), 20);
    for spec in own {
        assert!(spec.blurb().is_some_and(|blurb| blurb.len() > 20), "{}", spec.name());
    }
    assert!(element.property::<bool>("sync"), "a file is paced");
    let stats = element.property::<gst::Structure>("stats");
    assert_eq!(
        (stats.name().as_str(), stats.get("state")),
        ("application/x-swarm-sink-stats", Ok("stopped"))
    );
    let weak = element.downgrade();
    drop(element);
    assert!(weak.upgrade().is_none());
}

/// The viewer is `swarmsrc` in a process of its own, and knows the source by the `.tstream` and its port.
#[test]
fn what_goes_in_comes_out_of_swarmsrc_in_another_process() {
    let place = Place::new("sink-src");
    let pipeline = place.camera("mpegtsmux", "bitrate=80000");
    place.until_on_air(&pipeline, 6);
    assert_eq!(pipeline.figure::<String>("state"), "on-air");
    let (cache, copy) = (folder(place.scratch.path(), "cache"), place.file("copy"));
    let more = ["buffer-time=1000000000"];
    let viewer =
        commands::element(&Network::Loopback, &cache, &place.tstream(), &copy, place.address(), &more);
    let mut viewer = Running::start("viewer", place.scratch.path(), viewer);
    wait::until("a viewer", PATIENCE, || pipeline.figure::<u32>("viewers") == 1, || viewer.story());
    place.until_on_air(&pipeline, 12);
    assert!(pipeline.figure::<u64>("bytes-uploaded") > 0 && pipeline.figure::<u64>("input-rate") > 10_000);
    pipeline.end();
    assert_eq!(pipeline.figure::<String>("state"), "ended");
    assert_eq!((pipeline.figure::<u64>("lost"), pipeline.figure::<u32>("banned")), (0, 0));
    // EOS came when the viewer had it all: a process that ends now takes nothing from it.
    pipeline.stop();
    viewer.until_succeeded(PATIENCE);
    place.assert_suffix(|head| head.len().is_multiple_of(188));
}

/// The text of an INFO or a WARNING, and what `gst-launch-1.0` shows of it.
fn text_of(message: &gst::Message) -> (String, String) {
    let text = |error: glib::Error, debug: Option<glib::GString>| {
        (error.message().to_owned(), debug.map(String::from).unwrap_or_default())
    };
    match message.view() {
        gst::MessageView::Info(info) => text(info.error(), info.debug()),
        gst::MessageView::Warning(warning) => text(warning.error(), warning.debug()),
        _ => unreachable!("filtered"),
    }
}

#[test]
fn the_application_is_told_where_the_broadcast_is_on_air() {
    let place = Place::new("sink-told");
    for (more, file) in [("bitrate=80000", "is made, for 78 KiB/s"), ("", "is taken up again")] {
        let pipeline = place.camera("mpegtsmux", more);
        let (text, shown) = text_of(&pipeline.message(gst::MessageType::Info));
        let url = format!("on air at http://{}/ (cam.tstream there)", place.address());
        let tstream = place.tstream().display().to_string();
        for words in [&*url, &tstream, file] {
            assert!(text.contains(words) && shown.contains(words), "`{words}` is missing in {text}");
        }
        pipeline.stop();
    }
}

#[test]
fn a_stream_that_ends_before_its_bitrate_is_known_is_not_passed_over_in_silence() {
    let place = Place::new("sink-short");
    let pipeline =
        Pipeline::start(&format!("fakesrc num-buffers=3 sizetype=fixed sizemax=5000 ! {}", place.sink("")));
    let (text, _) = text_of(&pipeline.message(gst::MessageType::Warning));
    assert!(text.contains("still being measured") && text.contains("set bitrate"), "{text}");
    pipeline.message(gst::MessageType::Eos);
    pipeline.stop();

    let nothing = Place::new("sink-empty");
    let pipeline = Pipeline::start(&format!("fakesrc num-buffers=0 ! {}", nothing.sink("")));
    let (text, _) = text_of(&pipeline.message(gst::MessageType::Warning));
    assert!(text.contains("nothing was broadcast"), "{text}");
    pipeline.message(gst::MessageType::Eos);
}

/// Nobody can join Matroska in the middle without its headers, and at something else than a cluster.
#[test]
fn a_late_viewer_of_matroska_gets_its_headers() {
    let place = Place::new("sink-mkv");
    let pipeline = place.camera("matroskamux streamable=true", "bitrate=80000");
    place.until_on_air(&pipeline, 8);
    let mut viewer = place.get();
    wait::until("a viewer", PATIENCE, || pipeline.figure::<u32>("viewers") == 1, || viewer.story());
    place.until_on_air(&pipeline, 14);
    pipeline.end();
    viewer.until_succeeded(PATIENCE);
    let copy = fs::read(place.file("copy")).unwrap();
    place.assert_suffix(|head| {
        head.starts_with(b"\x1a\x45\xdf\xa3") && copy[head.len()..].starts_with(b"\x1f\x43\xb6\x75")
    });
    let copied = place.file("copy");
    let line =
        format!("filesrc location={} ! matroskademux ! h264parse ! avdec_h264 ! fakesink", copied.display());
    Pipeline::start(&line).message(gst::MessageType::Eos);
}

/// Who has the old ones takes those with a higher number only.
#[test]
fn stream_headers_get_a_higher_number_with_each_start_however_soon_it_comes() {
    let place = Place::new("sink-numbers");
    let number = |header: &str| {
        let caps = format!("capsfilter caps=\"video/x-test,streamheader=(buffer)<{header}>\"");
        let source = "fakesrc is-live=true datarate=500000 sizetype=fixed sizemax=4096";
        let pipeline =
            Pipeline::start(&format!("{source} ! {caps} ! {}", place.sink("bitrate=500000 sync=false")));
        place.until_on_air(&pipeline, 1);
        let metainfo = Metainfo::parse(&fs::read(place.tstream()).unwrap()).unwrap();
        let mut asker = Asker::call([127, 66, 0, 1].into(), place.address(), metainfo.info_hash);
        let told = || {
            asker.listen().expect("it is not hung up on");
            asker.headers
        };
        let number = wait::until_some("headers", PATIENCE, told, || format!("{}", pipeline.stats()));
        pipeline.stop();
        number
    };
    let numbers = ["aa", "bb", "cc"].map(number);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[test]
fn an_unknown_bitrate_is_measured_and_nothing_is_lost_meanwhile() {
    let place = Place::new("sink-measure");
    let pipeline = place.camera("mpegtsmux", "title=Camera");
    let measures =
        || pipeline.figure::<String>("state") == "measuring" && pipeline.figure::<u64>("bytes") > 0;
    wait::until("the measurement", PATIENCE, measures, || format!("{}", pipeline.stats()));
    assert!(!place.tstream().exists());
    place.until_on_air(&pipeline, 6);
    let times = Ring::open(&place.tstream()).times(0..6);
    let span = times[5].since(times[0]);
    assert!(span > Duration::from_secs(1) && span < Duration::from_secs(7), "{times:?}");
    let metainfo = Metainfo::parse(&fs::read(place.tstream()).unwrap()).unwrap();
    assert_eq!(metainfo.title.as_deref(), Some("Camera"));
    let bitrate = metainfo.bitrate(None).unwrap();
    assert!((20_000..200_000).contains(&bitrate), "{bitrate} bytes/s");
    let mut viewer = place.get();
    wait::until("a viewer", PATIENCE, || pipeline.figure::<u32>("viewers") == 1, || viewer.story());
    pipeline.end();
    viewer.until_succeeded(PATIENCE);
    // It began with what was held back.
    let kept = fs::metadata(place.file("in")).unwrap().len();
    assert_eq!(pipeline.figure::<u64>("bytes"), kept);
}

#[test]
fn a_stream_that_is_over_at_once_is_broadcast_too() {
    let place = Place::new("sink-short");
    let pipeline =
        Pipeline::start(&format!("fakesrc num-buffers=3 sizetype=fixed sizemax=1000 ! {}", place.sink("")));
    pipeline.message(gst::MessageType::Eos);
    assert_eq!(pipeline.figure::<String>("state"), "ended");
    assert_eq!((pipeline.figure::<u64>("bytes"), pipeline.figure::<u64>("pieces")), (3000, 1));
    assert!(place.tstream().exists());
    let nothing = Place::new("sink-nothing");
    let pipeline = Pipeline::start(&format!("fakesrc num-buffers=0 ! {}", nothing.sink("")));
    pipeline.message(gst::MessageType::Eos);
    assert_eq!(
        (pipeline.figure::<String>("state").as_str(), nothing.tstream().exists()),
        ("measuring", false)
    );
}

#[test]
fn a_stream_of_no_known_kind_is_broadcast_with_a_warning() {
    let place = Place::new("sink-opaque");
    let pipeline = Pipeline::start(&format!("{FLOOD} num-buffers=9 ! {}", place.sink("bitrate=100000")));
    let message = pipeline.message(gst::MessageType::Warning);
    let gst::MessageView::Warning(warning) = message.view() else { unreachable!("filtered") };
    assert_error(&warning.error(), gst::StreamError::TypeNotFound, "not recognised as MPEG-TS");
    pipeline.message(gst::MessageType::Eos);
}

#[test]
fn settings_that_make_no_broadcast_are_named() {
    let place = Place::new("sink-settings");
    let settings = gst::ResourceError::Settings;
    assert_error(&error_of("swarmsink"), gst::ResourceError::NotFound, "no location");
    assert_error(&error_of("swarmsink location=/tmp/x.ts"), settings, ".tstream");
    for wrong in [
        "bind-address=localhost",
        "announce-address=http://x",
        "trackers=x",
        "aux-seeds=a/b",
        "piece-length=1",
    ] {
        let name = wrong.split_once('=').unwrap().0;
        let text = if name == "piece-length" { "piece" } else { name };
        assert_error(&error_of(&format!("{} bitrate=1000 {wrong}", place.sink(""))), settings, text);
    }
    let picture = format!("{} thumbnail=/nowhere/t.jpg", place.sink(""));
    assert_error(&error_of(&picture), gst::ResourceError::NotFound, "/nowhere/t.jpg");
    for known in ["", "bitrate=1000"] {
        let nowhere = format!("swarmsink {known} location=/nowhere/x.tstream");
        assert_error(&error_of(&nowhere), gst::ResourceError::OpenWrite, "/nowhere/x.tstream");
    }
}

#[test]
fn a_port_that_is_taken_is_busy() {
    let place = Place::new("sink-port");
    let taker = TcpListener::bind(place.address()).unwrap();
    let text = place.port.to_string();
    assert_error(&error_of(&place.sink("bitrate=1000")), gst::ResourceError::Busy, &text);
    // Before the bitrate is measured.
    assert_error(&error_of(&place.sink("new=true")), gst::ResourceError::Busy, &text);
    drop(taker);
    Pipeline::start(&format!("{FLOOD} num-buffers=9 ! {}", place.sink("bitrate=1000")))
        .message(gst::MessageType::Eos);
}

#[test]
fn what_nobody_signs_is_played_where_that_is_allowed() {
    let place = Place::new("sink-unsigned");
    let line = format!("{FLOOD} num-buffers=9 ! {}", place.sink("bitrate=100000 unsigned=true"));
    Pipeline::start(&line).message(gst::MessageType::Eos);
    let cache = folder(place.scratch.path(), "cache");
    let source = format!(
        "swarmsrc location={} download-dir={} trackers=false linger=0",
        place.tstream().display(),
        cache.display()
    );
    assert_error(&error_of(&source), gst::StreamError::WrongType, "allow-unsigned");
    drop(Pipeline::start(&format!("{source} allow-unsigned=true ! fakesink")));
}

/// The names are looked up behind the application's back.
#[test]
fn auxiliary_seeders_are_looked_up_before_it_goes_on_air() {
    let place = Place::new("sink-aux");
    let line = |more: &str| {
        format!("{FLOOD} num-buffers=9 ! {}", place.sink(&format!("bitrate=100000 aux-seeds={more}")))
    };
    let pipeline = Pipeline::start(&line("nobody.invalid"));
    let message = pipeline.message(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!("filtered") };
    assert_error(&error.error(), gst::ResourceError::NotFound, "nobody.invalid");
    assert!(!place.tstream().exists());
    drop(pipeline);
    let pipeline = Pipeline::start(&line("localhost:8764"));
    pipeline.message(gst::MessageType::Eos);
    assert_eq!(pipeline.figure::<u64>("bytes"), 9 * 16384, "nothing is lost meanwhile");
}

#[test]
fn one_location_makes_one_broadcast() {
    let place = Place::new("sink-twice");
    let pipeline = Pipeline::start(&format!("fakesrc is-live=true ! {}", place.sink("bitrate=1000")));
    let other = place.sink(&format!("bitrate=1000 port={}", free_port()));
    assert_error(&error_of(&other), gst::ResourceError::Busy, "cam");
    pipeline.stop();
}

/// One process has one engine a broadcast: that of a viewer makes no pieces.
#[test]
fn a_broadcast_that_this_process_watches_cannot_be_made_in_it() {
    let place = Place::new("sink-watched");
    let line = format!("fakesrc is-live=true num-buffers=3 ! {}", place.sink("bitrate=1000"));
    Pipeline::start(&line).message(gst::MessageType::Eos);
    let cache = folder(place.scratch.path(), "cache");
    let source = format!("swarmsrc location={} linger=0 trackers=false", place.tstream().display());
    let viewer = || Pipeline::start(&format!("{source} download-dir={} ! fakesink", cache.display()));
    // The source's own engine has to be gone first.
    let refused = || {
        let _viewer = viewer();
        let sink = gst::parse::launch(&place.sink("bitrate=1000")).unwrap();
        let refused = sink.set_state(gst::State::Paused).is_err();
        sink.set_state(gst::State::Null).unwrap();
        refused
    };
    wait::until("a viewer's engine", PATIENCE, refused, String::new);
    let _viewer = viewer();
    assert_error(&error_of(&place.sink("bitrate=1000")), gst::ResourceError::Busy, "viewer");
}

#[test]
fn a_broadcast_is_taken_up_again_unless_a_new_one_is_wanted() {
    let place = Place::new("sink-again");
    let line = |more| format!("{FLOOD} num-buffers=9 ! {}", place.sink(more));
    let run = |line: &str| {
        let pipeline = Pipeline::start(line);
        pipeline.message(gst::MessageType::Eos);
        (fs::read(place.tstream()).unwrap(), pipeline.figure::<u64>("next-piece"))
    };
    let (first, next) = run(&line("bitrate=100000"));
    let (second, later) = run(&line(""));
    assert_eq!((first == second, next, later), (true, 5, 10));
    let (third, next) = run(&line("bitrate=100000 new=true"));
    assert_eq!((first == third, next), (false, 5));
    let impossible = place.sink("bitrate=100000 new=true piece-length=5000");
    assert_error(&error_of(&impossible), gst::ResourceError::Settings, "cannot be made");
    assert_eq!(fs::read(place.tstream()).unwrap(), third, "nothing was put aside");
    assert_eq!(fs::read(place.file("source/cam.tstream.old")).unwrap(), first);
}

#[test]
fn pieces_that_cannot_be_made_any_more_are_an_error() {
    let place = Place::new("sink-counter");
    let pipeline = Pipeline::start(&format!("{FLOOD} datarate=2000000 ! {}", place.sink("bitrate=100000")));
    place.until_on_air(&pipeline, 1);
    // The counter's file is replaced by way of this one.
    fs::create_dir(place.file("source/cam.restart.new")).unwrap();
    let message = pipeline.message(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!("filtered") };
    assert_error(&error.error(), gst::ResourceError::Write, "no more pieces");
    assert_eq!(pipeline.figure::<String>("state"), "failed");
}

#[test]
fn a_stop_while_data_flows_is_quick() {
    let place = Place::new("sink-stop");
    for (rate, more) in [("", "bitrate=1000000"), ("datarate=1000000", "bitrate=1000000"), ("", "new=true")] {
        let line = format!("{FLOOD} {rate} ! {}", place.sink(more));
        let mut times: Vec<_> = (0..7)
            .map(|n| {
                let pipeline = Pipeline::start(&line);
                // Stops meet every stage of the start.
                std::thread::sleep(Duration::from_millis(n * 20));
                pipeline.stop()
            })
            .collect();
        times.sort();
        // Other tests may hold the processor for longer once or twice.
        assert!(times[3] < STOP_WITHIN, "{rate} {more}: {times:?}");
    }
}

/// A stop without EOS: the goodbye happens behind the application's back.
#[test]
fn viewers_of_a_stopped_element_see_the_end() {
    let place = Place::new("sink-goodbye");
    let pipeline = place.camera("mpegtsmux", "bitrate=80000");
    place.until_on_air(&pipeline, 4);
    let mut viewer = place.get();
    wait::until("a viewer", PATIENCE, || pipeline.figure::<u64>("bytes-uploaded") > 0, || viewer.story());
    let took = pipeline.stop();
    assert!(took < STOP_WITHIN * 3, "{took:?}");
    viewer.until_succeeded(PATIENCE);
}

#[test]
fn starts_and_stops_leave_nothing_behind() {
    leaks::run_alone("starts_and_stops");
}

#[test]
#[ignore = "needs a process of its own: starts_and_stops_leave_nothing_behind makes it one"]
fn starts_and_stops() {
    let place = Place::new("sink-cycles");
    // On air, still measuring, and opened at the end.
    let lines = [
        format!("{FLOOD} ! {}", place.sink("bitrate=1000000")),
        format!("{FLOOD} datarate=1000000 ! {}", place.sink("new=true")),
        format!("{FLOOD} num-buffers=3 ! {}", place.sink("new=true")),
    ];
    let cycle = |line: &str, n: usize| {
        let pipeline = Pipeline::start(line);
        std::thread::sleep(Duration::from_millis(n as u64 % 10 * 5));
        pipeline.stop();
    };
    let all = |cycles| lines.iter().for_each(|line| (0..cycles).for_each(|n| cycle(line, n)));
    all(WARM_UP);
    let base = leaks::settled(usize::MAX);
    let tracer = leaks::tracer();
    all(CYCLES);
    let now = leaks::settled(base);
    assert!(now <= base, "{now} threads and descriptors after {base}: {}", leaks::held());
    assert_eq!(leaks::left_objects(&tracer), BTreeMap::new());
    assert!(place.tstream().exists());
}
