//! Elements that wait for a swarm that does not come: they stop at once, say what they wait for, and leave
//! nothing behind.
#![allow(clippy::disallowed_methods, reason = "tests are outside of the core: they wait by the clock")]

mod support;

use std::collections::BTreeMap;
use std::sync::Once;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstswarm::metainfo::create::{Content, Draft, encode};
use support::leaks;
use tempfile::TempDir;

/// Starts and stops of each pipeline: `CYCLES` sets another number.
const CYCLES: usize = 350;
/// Starts and stops before anything is counted: runtimes and registries are made once and stay.
const WARM_UP: usize = 20;
/// A stop takes no longer than this while a read waits.
const STOP_WITHIN: Duration = Duration::from_millis(200);

fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstswarm::plugin_register_static().unwrap();
    });
}

/// A torrent that nobody has, and a folder of its own.
struct Nowhere {
    folder: TempDir,
}

impl Nowhere {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let (content, title) = (Content::File(1 << 20), Some("Nowhere".into()));
        let playtime = Some(Duration::from_secs(10));
        let draft =
            Draft { name: "x.ts".into(), content, piece_length: 32_768, title, playtime, ..Draft::default() };
        std::fs::write(folder.path().join("x.torrent"), encode(&draft, &[[7; 20]; 32]).unwrap()).unwrap();
        Self { folder }
    }

    /// Properties that keep everything of this torrent in its folder and on this machine.
    fn properties(&self) -> String {
        format!(
            "download-dir={} trackers=false bind-address=127.0.0.1 linger=0",
            self.folder.path().display()
        )
    }

    fn source(&self) -> String {
        format!("swarmsrc location={} {}", self.torrent().display(), self.properties())
    }

    fn demuxer(&self) -> String {
        format!("filesrc location={} ! swarmdemux {}", self.torrent().display(), self.properties())
    }

    fn torrent(&self) -> std::path::PathBuf {
        self.folder.path().join("x.torrent")
    }

    /// Pipelines whose source waits for its first byte: pushed, pulled, and inside of the demuxer.
    fn lines(&self) -> [String; 3] {
        let pushed = format!("{} ! fakesink", self.source());
        let pulled = format!("{} ! decodebin ! fakesink", self.source());
        let demuxed = format!("{} ! decodebin ! fakesink", self.demuxer());
        [pushed, pulled, demuxed]
    }
}

fn start(line: &str) -> gst::Element {
    let pipeline = gst::parse::launch(line).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    pipeline
}

/// Waits for a message of ours.
fn wait_for(pipeline: &gst::Element, kind: gst::MessageType) -> gst::Message {
    let bus = pipeline.bus().unwrap();
    let kinds = [kind, gst::MessageType::Error];
    let message =
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &kinds).expect("a message in time");
    assert_eq!(message.type_(), kind, "{message:?}");
    message
}

#[test]
fn a_source_that_waits_stops_at_once() {
    init();
    let nowhere = Nowhere::new();
    for line in nowhere.lines() {
        let mut times: Vec<_> = (0..11)
            .map(|_| {
                let pipeline = start(&line);
                // Progress is told of reads that wait.
                wait_for(&pipeline, gst::MessageType::Progress);
                let asked = Instant::now();
                pipeline.set_state(gst::State::Null).unwrap();
                asked.elapsed()
            })
            .collect();
        times.sort();
        // Ten other tests may hold the processor for longer than that once or twice.
        assert!(times[5] < STOP_WITHIN, "{line}: {times:?}");
    }
}

#[test]
fn a_seek_while_the_source_waits_is_taken() {
    init();
    let nowhere = Nowhere::new();
    let pipeline = start(&format!("{} ! fakesink", nowhere.source()));
    wait_for(&pipeline, gst::MessageType::Progress);
    for place in [700_000, 3, 1_048_575] {
        let place = gst::format::Bytes::from_u64(place);
        assert!(pipeline.seek_simple(gst::SeekFlags::FLUSH, place).is_ok(), "{place:?}");
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn what_the_torrent_knows_is_told_before_the_first_byte() {
    init();
    let nowhere = Nowhere::new();
    let pipeline = start(&format!("{} ! fakesink", nowhere.source()));
    let message = wait_for(&pipeline, gst::MessageType::Tag);
    let gst::MessageView::Tag(tag) = message.view() else { unreachable!("filtered") };
    let tags = tag.tags();
    assert_eq!(tags.get::<gst::tags::Title>().unwrap().get(), "Nowhere");
    assert_eq!(tags.get::<gst::tags::Duration>().unwrap().get(), gst::ClockTime::from_seconds(10));
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_started_source_shows_its_figures_and_keeps_its_uri() {
    init();
    let nowhere = Nowhere::new();
    let pipeline = start(&format!("{} name=s ! fakesink", nowhere.source()));
    wait_for(&pipeline, gst::MessageType::Progress);
    let source = pipeline.downcast_ref::<gst::Bin>().unwrap().by_name("s").unwrap();
    let stats = source.property::<gst::Structure>("stats");
    assert_eq!((stats.get("state"), stats.get("peers")), (Ok("downloading"), Ok(0_u32)), "{stats}");
    let error = source.dynamic_cast_ref::<gst::URIHandler>().unwrap().set_uri("swarm:///y").unwrap_err();
    assert!(error.matches(gst::URIError::BadState), "{error}");
    let mut query = gst::query::Buffering::new(gst::Format::Bytes);
    assert!(source.query(&mut query));
    assert_eq!(query.ranges().count(), 0);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_thousand_starts_and_stops_leave_nothing_behind() {
    leaks::run_alone("starts_and_stops");
}

#[test]
#[ignore = "needs a process of its own: a_thousand_starts_and_stops_leave_nothing_behind makes it one"]
fn starts_and_stops() {
    init();
    let cycles = std::env::var("CYCLES").map_or(CYCLES, |n| n.parse().unwrap());
    let nowhere = Nowhere::new();
    let cycle = |line: &str, n: usize| {
        let pipeline = start(line);
        // Stops meet every stage of the start.
        std::thread::sleep(Duration::from_micros(n as u64 % 10 * 500));
        pipeline.set_state(gst::State::Null).unwrap();
    };
    let lines = nowhere.lines();
    lines.iter().for_each(|line| (0..WARM_UP).for_each(|n| cycle(line, n)));
    let base = leaks::settled(usize::MAX);
    let tracer = leaks::tracer();
    lines.iter().for_each(|line| (0..cycles).for_each(|n| cycle(line, n)));
    let now = leaks::settled(base);
    assert!(now <= base, "{now} threads and descriptors after {base}: {}", leaks::held());
    assert_eq!(leaks::left_objects(&tracer), BTreeMap::new());
}
