//! A live broadcast in playbin and playbin3: how an application sees that a piece is dropped, that playback stalls
//! and goes on, and that the broadcast is over.

#![allow(clippy::disallowed_methods, reason = "tests are outside of the core: they wait by the clock")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use support::files::{folder, scratch};
use support::filter::Filter;
use support::network::{Network, free_port};
use support::process::Running;
use support::{commands, wait};

/// Both players of GStreamer.
const PLAYERS: [&str; 2] = ["playbin", "playbin3"];
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// How far behind the live point to begin.
const BUFFER: gst::ClockTime = gst::ClockTime::from_seconds(3);
/// H.264 and AAC with a key frame each half second, as MPEG-TS, in real time.
const TEST_PATTERN: &str = "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=180,framerate=25/1 ! \
    x264enc tune=zerolatency speed-preset=ultrafast key-int-max=12 bitrate=400 ! h264parse config-interval=-1 ! \
    mpegtsmux name=m ! filesink location=PIPE sync=false buffer-mode=unbuffered \
    audiotestsrc is-live=true ! audio/x-raw,rate=48000 ! avenc_aac bitrate=64000 ! aacparse ! m.";

fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().expect("GStreamer can be initialised");
        gstswarm::plugin_register_static().expect("our plugin can be registered");
    });
}

/// A camera, `swarm live`, and a named pipe between them.
struct Broadcast {
    camera: gst::Element,
    process: Running,
    scratch: PathBuf,
    at: SocketAddr,
    tstream: PathBuf,
}

impl Broadcast {
    fn start(scratch: &Path) -> Self {
        let (files, at) =
            (folder(scratch, "source"), SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port()));
        rustix::fs::mknodat(rustix::fs::CWD, files.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("a named pipe can be made");
        let (camera, process) = Self::on_air(scratch, at);
        let broadcast =
            Self { camera, process, scratch: scratch.into(), at, tstream: files.join("cam.tstream") };
        // So old that a viewer finds its whole buffer in it.
        let old = || newest_piece(&broadcast.process.log()) > 20;
        wait::until("a broadcast as long as a buffer", PATIENCE, old, || broadcast.process.story());
        broadcast
    }

    /// The source is killed; it comes back with a camera that counts its time from zero.
    fn crash(&mut self) {
        self.process.kill();
        self.camera.set_state(gst::State::Null).expect("a camera is switched off");
        (self.camera, self.process) = Self::on_air(&self.scratch, self.at);
    }

    fn on_air(scratch: &Path, at: SocketAddr) -> (gst::Element, Running) {
        let files = folder(scratch, "source");
        let pipe = files.join("pipe");
        let mut swarm = commands::swarm(&Network::Loopback, &files);
        swarm
            .arg("live")
            .arg("--source")
            .arg(&pipe)
            .arg("--destdir")
            .arg(&files)
            .args(["--name", "cam", "--json"]);
        swarm.args(["--bind", &at.ip().to_string(), "--port", &at.port().to_string(), "--bitrate", "70000"]);
        swarm.args(["--duration", "10:00", "--window", "2:00", "--piece-length", "16KiB"]);
        let mut process = Running::start("broadcast", scratch, swarm);
        let camera = gst::parse::launch(&TEST_PATTERN.replace("PIPE", pipe.to_str().expect("a plain path")));
        let camera = camera.expect("the plugins are installed");
        camera.set_state(gst::State::Playing).expect("a test pattern starts");
        process.until_printed("on air at ", PATIENCE);
        (camera, process)
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        // It ends with its pipe otherwise.
        let _ = self.camera.set_state(gst::State::Null);
    }
}

/// The last number that `swarm live --json` printed.
fn newest_piece(log: &str) -> u64 {
    let number = log.rsplit(r#""piece":"#).next().and_then(|rest| rest.split(',').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What an application is told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Buffering(i32),
    Dropped(u64),
    Eos,
}

/// An application that obeys BUFFERING messages, and what it was told.
struct Player {
    playbin: gst::Element,
    told: Vec<Told>,
    discontinuities: Arc<Mutex<usize>>,
    /// Our element within it.
    ours: Arc<Mutex<Option<gst::Element>>>,
}

impl Player {
    fn start(factory: &str, broadcast: &Broadcast, peer: SocketAddr) -> Self {
        let discontinuities = Arc::new(Mutex::new(0));
        let sink = || {
            gst::ElementFactory::make("fakesink").property("sync", true).build().expect("it is in the core")
        };
        let playbin = gst::ElementFactory::make(factory)
            .property("uri", commands::swarm_uri(&broadcast.tstream, peer))
            .property_from_str("flags", "video+audio")
            .property("video-sink", sink())
            .property("audio-sink", sink())
            .build()
            .expect("playbin is part of the base plugins");
        let ours = Arc::new(Mutex::new(None));
        let (counted, found) = (Arc::clone(&discontinuities), Arc::clone(&ours));
        playbin.connect("deep-element-added", false, move |arguments| {
            let element = arguments[2].get::<gst::Element>().expect("the signal has the element third");
            if is_ours(element.upcast_ref()) {
                set_up(&element, &counted);
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(element);
            }
            None
        });
        playbin.set_state(gst::State::Playing).expect("a playbin starts");
        Self { playbin, told: Vec::new(), discontinuities, ours }
    }

    /// Does an application's work until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let bus = self.playbin.bus().expect("a playbin is a pipeline");
        let since = Instant::now();
        while !done(self) {
            assert!(since.elapsed() < PATIENCE, "waited for {what}: {}", self.story());
            let Some(message) = bus.timed_pop(gst::ClockTime::from_mseconds(20)) else { continue };
            match message.view() {
                gst::MessageView::Error(error) => panic!("{} ({:?})", error.error(), error.debug()),
                gst::MessageView::Buffering(buffering) => self.obey(buffering.percent()),
                gst::MessageView::Eos(_) => self.told.push(Told::Eos),
                gst::MessageView::Qos(qos) => {
                    if let (_, gst::GenericFormattedValue::Buffers(Some(dropped))) = qos.stats()
                        && message.src().is_some_and(is_ours)
                    {
                        self.told.push(Told::Dropped(*dropped));
                    }
                }
                _ => {}
            }
        }
    }

    fn obey(&mut self, percent: i32) {
        if self.told.last() == Some(&Told::Buffering(percent)) {
            return;
        }
        self.told.push(Told::Buffering(percent));
        let state = if percent < 100 { gst::State::Paused } else { gst::State::Playing };
        self.playbin.set_state(state).expect("a playbin pauses and plays");
    }

    /// What it was told and how it stands.
    fn story(&self) -> String {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = ours.as_ref().map(|ours| ours.property::<gst::Structure>("stats"));
        format!("{:?} at {:?}\n{stats:?}", self.told, self.position())
    }

    fn position(&self) -> Duration {
        self.playbin.query_position::<gst::ClockTime>().map(Duration::from).unwrap_or_default()
    }

    /// Plays for so long from now on.
    fn play(&mut self, time: Duration) {
        let until = self.position() + time;
        self.until("the picture to move", |player| player.position() >= until);
    }

    /// Pictures shown so far.
    fn pictures(&self) -> u64 {
        let sink = self.playbin.property::<gst::Element>("video-sink");
        sink.property::<gst::Structure>("stats").get("rendered").expect("a sink counts")
    }

    fn discontinuities(&self) -> usize {
        *self.discontinuities.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // A failed test may leave an element that cannot stop: that is not what it failed for.
        let _ = self.playbin.set_state(gst::State::Null);
    }
}

/// Both players at one broadcast, each of which has played for so long.
fn both_playing(broadcast: &Broadcast, time: Duration) -> Vec<Player> {
    let mut players: Vec<_> =
        PLAYERS.iter().map(|factory| Player::start(factory, broadcast, broadcast.at)).collect();
    players.iter_mut().for_each(|player| player.play(time));
    players
}

fn is_ours(object: &gst::Object) -> bool {
    let factory = object.downcast_ref::<gst::Element>().and_then(gst::Element::factory);
    factory.is_some_and(|factory| factory.name() == "swarmsrc")
}

fn set_up(source: &gst::Element, discontinuities: &Arc<Mutex<usize>>) {
    source.set_property("buffer-time", BUFFER.nseconds());
    source.set_property("trackers", false);
    source.set_property("linger", 0_u64);
    source.set_property("bind-address", "127.0.0.1");
    let (counted, first) = (Arc::clone(discontinuities), Mutex::new(true));
    let pad = source.static_pad("src").expect("a source has a source pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        // The very first buffer of a pad is one by nature.
        let first = std::mem::take(&mut *first.lock().unwrap_or_else(PoisonError::into_inner));
        if info.buffer().is_some_and(|buffer| buffer.flags().contains(gst::BufferFlags::DISCONT)) && !first {
            *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
        gst::PadProbeReturn::Ok
    });
}

#[test]
fn a_hole_with_half_a_buffer_behind_it_is_dropped_and_the_application_hears_of_it() {
    init();
    let scratch = scratch("live-drop");
    let broadcast = Broadcast::start(scratch.path());
    for factory in PLAYERS {
        let filter = Filter::start(broadcast.at);
        let mut player = Player::start(factory, &broadcast, filter.address());
        player.play(Duration::from_secs(2));
        let before = player.told.clone();
        let lost = filter.newest() + 4;
        println!("lost {lost}");
        filter.lose(lost);
        player.until("the drop", |player| player.told.iter().any(|told| matches!(told, Told::Dropped(_))));
        player.play(Duration::from_secs(2));
        assert_eq!(player.told[before.len()..], [Told::Dropped(1)], "{factory}: {:?}", player.told);
        assert_eq!(player.discontinuities(), 1, "{factory}");
    }
}

#[test]
fn a_hole_with_nothing_behind_it_stalls_and_ends_with_one_100() {
    init();
    let scratch = scratch("live-stall");
    let mut broadcast = Broadcast::start(scratch.path());
    for factory in PLAYERS {
        let filter = Filter::start(broadcast.at);
        let mut player = Player::start(factory, &broadcast, filter.address());
        player.play(Duration::from_secs(1));
        let before = player.told.len();
        filter.close(true);
        player.until("the stall", |player| matches!(player.told.get(before), Some(Told::Buffering(0..=99))));
        filter.close(false);
        player.until("playback to go on", |player| player.told.last() == Some(&Told::Buffering(100)));
        player.play(Duration::from_secs(2));
        let full = player.told[before..].iter().filter(|told| **told == Told::Buffering(100)).count();
        assert_eq!(full, 1, "{factory}: {:?}", player.told);
        assert_eq!(player.discontinuities(), 0, "{factory}: nothing is lost by waiting");
    }
    assert!(broadcast.process.runs());
}

/// Its time begins anew, as after every restart of an encoder: a demuxer that takes that for the next round of a clock
/// of 26 hours would have the picture stand still as long.
#[test]
fn the_picture_goes_on_when_the_source_was_killed_and_comes_back() {
    init();
    let scratch = scratch("live-crash");
    let mut broadcast = Broadcast::start(scratch.path());
    let mut players = both_playing(&broadcast, Duration::from_secs(2));
    broadcast.crash();
    for (player, factory) in players.iter_mut().zip(PLAYERS) {
        let shown = player.pictures() + 25 * (BUFFER.seconds() + 4);
        player.until("pictures of the new source", |player| player.pictures() >= shown);
        println!("{factory}: {}", player.story());
        assert_eq!(player.discontinuities(), 1, "{factory}");
    }
}

#[test]
fn the_end_of_the_broadcast_is_the_end_of_the_stream() {
    init();
    let scratch = scratch("live-end");
    let mut broadcast = Broadcast::start(scratch.path());
    let mut players = both_playing(&broadcast, Duration::from_secs(1));
    broadcast.camera.set_state(gst::State::Null).expect("a camera is switched off");
    for player in &mut players {
        player.until("the end", |player| player.told.last() == Some(&Told::Eos));
    }
    wait::until("the source to end", PATIENCE, || !broadcast.process.runs(), String::new);
}
