//! A player as applications are: playbin or playbin3, obeying BUFFERING messages, with every decoded picture
//! reduced to its time and its checksum.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use sha1::{Digest, Sha1};

/// How long any one step of playback may take before it counts as hanging.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// How long a start may be silent before it is tried once more.
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// How often conditions are looked at that no message tells.
const LOOK_EVERY: gst::ClockTime = gst::ClockTime::from_mseconds(5);
/// `GstPlayFlags`: video and audio, nothing else.
const VIDEO_AND_AUDIO: &str = "video+audio";

/// One decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it is shown, in stream time.
    pub time: Option<gst::ClockTime>,
    /// SHA-1 of its pixels.
    pub sum: [u8; 20],
}

/// The pictures that came since the last flush.
#[derive(Default)]
struct Film {
    frames: Vec<Frame>,
    ended: bool,
}

/// Shared by the sink's thread and the test.
#[derive(Default)]
struct Screen {
    film: Mutex<Film>,
    changed: Condvar,
}

impl Screen {
    fn film(&self) -> MutexGuard<'_, Film> {
        self.film.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Film)) {
        change(&mut self.film());
        self.changed.notify_all();
    }
}

/// A playbin that shows to a [`Screen`].
pub struct Player {
    make: Box<dyn Fn() -> gst::Element>,
    playbin: gst::Element,
    screen: Arc<Screen>,
    wanted: gst::State,
    buffering: bool,
    has_buffered: bool,
}

impl Player {
    /// A stopped player of `factory` (`playbin` or `playbin3`) for `uri`. `prepare` sees every element that
    /// is made inside, before it starts.
    pub fn new(factory: &str, uri: &str, prepare: impl Fn(&gst::Element) + Send + Sync + 'static) -> Self {
        let screen = Arc::new(Screen::default());
        let (made_of, uri, seen) = (factory.to_owned(), uri.to_owned(), Arc::clone(&screen));
        let prepare = Arc::new(prepare);
        let make: Box<dyn Fn() -> gst::Element> =
            Box::new(move || playbin(&made_of, &uri, &seen, Arc::clone(&prepare)));
        let playbin = make();
        Self { make, playbin, screen, wanted: gst::State::Null, buffering: false, has_buffered: false }
    }

    /// Goes to PAUSED and waits for the first picture.
    ///
    /// On a busy machine playbin3 of GStreamer 1.22 sometimes does not start even a plain file: it pauses all
    /// its own tasks before the first picture and says nothing. A player that was never heard of by its source
    /// (which sends BUFFERING when it is one of ours) is replaced by a new one, once.
    pub fn preroll(&mut self) {
        self.set_state(gst::State::Paused);
        if self.pump_for(STARTS_WITHIN, |player, _| player.is_settled()) || self.has_buffered {
            return self.until_settled();
        }
        println!("starting another one: {}", self.story());
        // The same one again would fail an assertion of playsink.
        self.stop();
        self.playbin = (self.make)();
        self.set_state(gst::State::Paused);
        self.until_settled();
    }

    /// Plays everything and gives all pictures.
    pub fn play_to_end(&mut self) -> Vec<Frame> {
        self.preroll();
        self.set_state(gst::State::Playing);
        self.pump("the end of the film", |player, message| {
            matches!(message, Some(gst::MessageView::Eos(_))) && player.screen.film().ended
        });
        std::mem::take(&mut self.screen.film().frames)
    }

    /// How long the film is.
    pub fn duration(&self) -> gst::ClockTime {
        self.playbin.query_duration().expect("a prerolled film knows its duration")
    }

    /// A flushing seek in PAUSED, and then the next `count` pictures (fewer at the end of the film).
    pub fn frames_after_seek(
        &mut self,
        to: gst::ClockTime,
        flags: gst::SeekFlags,
        count: usize,
    ) -> Vec<Frame> {
        self.playbin
            .seek_simple(gst::SeekFlags::FLUSH | flags, to)
            .unwrap_or_else(|e| panic!("seek to {to}: {e}"));
        self.until_settled();
        self.set_state(gst::State::Playing);
        let screen = Arc::clone(&self.screen);
        self.pump(&format!("{count} pictures after the seek to {to}"), |_, _| {
            let film = screen.film();
            film.ended || film.frames.len() >= count
        });
        self.set_state(gst::State::Paused);
        let mut frames = self.screen.film().frames.clone();
        frames.truncate(count);
        frames
    }

    fn set_state(&mut self, state: gst::State) {
        self.wanted = state;
        let state = if self.buffering { gst::State::Paused } else { state };
        if self.playbin.set_state(state).is_err() {
            self.pump("an error message", |_, _| false);
        }
    }

    /// Waits until the state change or seek under way is complete.
    fn until_settled(&mut self) {
        self.pump("the state to settle", |player, _| player.is_settled());
    }

    fn is_settled(&self) -> bool {
        let (result, state, _) = self.playbin.state(gst::ClockTime::ZERO);
        result == Ok(gst::StateChangeSuccess::Success) && state >= gst::State::Paused && !self.buffering
    }

    /// Does an application's work until `done`.
    ///
    /// # Panics
    /// At an error message, and when it takes too long.
    fn pump(&mut self, what: &str, done: impl FnMut(&Self, Option<gst::MessageView<'_>>) -> bool) {
        assert!(self.pump_for(STEP_WITHIN, done), "waited {STEP_WITHIN:?} for {what}: {}", self.story());
    }

    /// Does an application's work until `done`, which is asked after each message and from time to time; false
    /// when `limit` has passed before.
    fn pump_for(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&Self, Option<gst::MessageView<'_>>) -> bool,
    ) -> bool {
        let bus = self.playbin.bus().expect("a playbin is a pipeline");
        let start = Instant::now();
        while start.elapsed() < limit {
            let message = bus.timed_pop(LOOK_EVERY);
            let view = message.as_ref().map(|message| message.view());
            match &view {
                Some(gst::MessageView::Error(error)) => panic!("{} ({:?})", error.error(), error.debug()),
                Some(gst::MessageView::Buffering(buffering)) => self.obey(buffering.percent()),
                _ => {}
            }
            if done(self, view) {
                return true;
            }
        }
        false
    }

    /// Pauses below 100 % and goes on at 100 %, as the documentation asks applications to.
    fn obey(&mut self, percent: i32) {
        self.has_buffered = true;
        let buffering = percent < 100;
        if buffering != self.buffering {
            self.buffering = buffering;
            self.set_state(self.wanted);
        }
    }

    fn stop(&mut self) {
        // A failed test may leave an element that cannot stop: that is not what it failed for.
        let _ = self.playbin.set_state(gst::State::Null);
    }

    fn story(&self) -> String {
        let film = self.screen.film();
        format!(
            "state {:?}, buffering {}, {} pictures, ended {}",
            self.playbin.state(gst::ClockTime::ZERO),
            self.buffering,
            film.frames.len(),
            film.ended
        )
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.stop();
    }
}

fn playbin(
    factory: &str,
    uri: &str,
    screen: &Arc<Screen>,
    prepare: Arc<impl Fn(&gst::Element) + Send + Sync + 'static>,
) -> gst::Element {
    let sound = gst::ElementFactory::make("fakesink").property("sync", false).build();
    let playbin = gst::ElementFactory::make(factory)
        .property("uri", uri)
        .property_from_str("flags", VIDEO_AND_AUDIO)
        .property("video-sink", video_sink(screen))
        .property("audio-sink", sound.expect("fakesink is part of GStreamer"))
        .build()
        .expect("playbin is part of the base plugins");
    playbin.connect("deep-element-added", false, move |arguments| {
        let element = arguments[2].get::<gst::Element>().expect("the signal has the element third");
        prepare(&element);
        None
    });
    playbin
}

/// Pictures in a fixed format, as fast as they are decoded, noted on the screen.
fn video_sink(screen: &Arc<Screen>) -> gst::Element {
    let description =
        "videoconvert ! video/x-raw,format=I420 ! fakesink name=end sync=false signal-handoffs=true";
    let bin = gst::parse::bin_from_description(description, true).expect("the base plugins are installed");
    let end = bin.by_name("end").expect("it is in the description");
    let noting = Arc::clone(screen);
    end.connect("handoff", false, move |arguments| {
        let buffer = arguments[1].get::<gst::Buffer>().expect("the signal has the buffer second");
        let pad = arguments[2].get::<gst::Pad>().expect("the signal has the pad third");
        let frame = frame(&buffer, &pad);
        noting.change(|film| film.frames.push(frame));
        None
    });
    let noting = Arc::clone(screen);
    let events = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
    let pad = end.static_pad("sink").expect("a sink has a sink pad");
    pad.add_probe(events, move |_, info| {
        match info.event().map(|event| event.view()) {
            Some(gst::EventView::FlushStop(_)) => noting.change(|film| *film = Film::default()),
            Some(gst::EventView::Eos(_)) => noting.change(|film| film.ended = true),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
    bin.upcast()
}

fn frame(buffer: &gst::BufferRef, pad: &gst::Pad) -> Frame {
    let segment = pad.sticky_event::<gst::event::Segment>(0);
    let segment = segment.and_then(|event| event.segment().downcast_ref::<gst::ClockTime>().cloned());
    let time = segment.and_then(|segment| segment.to_stream_time(buffer.pts()));
    let pixels = buffer.map_readable().expect("a picture in system memory can be read");
    Frame { time, sum: Sha1::digest(pixels.as_slice()).into() }
}
