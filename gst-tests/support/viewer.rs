//! An application that shows a film in real time, as gst-play does: it pauses below 100 % of a buffer, plays on
//! at 100 %, and keeps everything that it was told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;

/// `GstPlayFlags`: video and audio, nothing else.
const VIDEO_AND_AUDIO: &str = "video+audio";
/// How often a condition is looked at when no message comes.
const LOOK_EVERY: gst::ClockTime = gst::ClockTime::from_mseconds(10);

/// What an application was told, and when.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Since the viewer was made.
    pub at: Duration,
    /// What.
    pub word: Word,
}

/// The messages that mean something to viewers.
#[derive(Clone, Debug)]
pub enum Word {
    /// BUFFERING, percent.
    Buffering(i32),
    /// PROGRESS: type, code, text.
    Progress(gst::ProgressType, String, String),
    /// WARNING.
    Warning(String),
    /// TAG from our source.
    Tags(gst::TagList),
    /// The user went somewhere else.
    Sought(gst::ClockTime),
    /// EOS.
    Ended,
}

/// A film on show.
pub struct Viewer {
    name: String,
    pipeline: gst::Element,
    bus: gst::Bus,
    made: Instant,
    heard: Vec<Heard>,
    wanted: gst::State,
    buffering: bool,
    source: Arc<Mutex<Option<gst::glib::WeakRef<gst::Element>>>>,
    /// Nanoseconds by which the latest picture came too late.
    latest: Arc<AtomicU64>,
}

impl Viewer {
    /// A stopped viewer with `factory` (`playbin` or `playbin3`) for `uri`. `prepare` sees every element that is
    /// made inside, before it starts.
    pub fn new(factory: &str, uri: &str, prepare: impl Fn(&gst::Element) + Send + Sync + 'static) -> Self {
        let latest = Arc::new(AtomicU64::new(0));
        let video = sink();
        watch_lateness(&video, &latest);
        let pipeline = gst::ElementFactory::make(factory)
            .property("uri", uri)
            .property_from_str("flags", VIDEO_AND_AUDIO)
            .property("video-sink", video)
            .property("audio-sink", sink())
            .build()
            .expect("playbin is part of the base plugins");
        let source = Arc::new(Mutex::new(None));
        let found = Arc::clone(&source);
        pipeline.connect("deep-element-added", false, move |arguments| {
            let element = arguments[2].get::<gst::Element>().expect("the signal has the element third");
            prepare(&element);
            if element.factory().is_some_and(|factory| factory.name() == "swarmsrc") {
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(element.downgrade());
            }
            None
        });
        Self {
            name: std::thread::current().name().unwrap_or_default().to_owned(),
            bus: pipeline.bus().expect("a playbin is a pipeline"),
            pipeline,
            made: Instant::now(),
            heard: Vec::new(),
            wanted: gst::State::Null,
            buffering: false,
            source,
            latest,
        }
    }

    /// The user presses play.
    pub fn play(&mut self) {
        self.want(gst::State::Playing);
    }

    /// The user presses pause.
    pub fn pause(&mut self) {
        self.want(gst::State::Paused);
    }

    /// The user goes somewhere else.
    pub fn seek(&mut self, to: gst::ClockTime) {
        self.note(Word::Sought(to));
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
        self.pipeline.seek_simple(flags, to).unwrap_or_else(|e| panic!("seek to {to}: {e}"));
    }

    /// Does an application's work until `done`.
    ///
    /// # Panics
    /// At an error message, and after `limit`.
    pub fn until(&mut self, what: &str, limit: Duration, mut done: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        loop {
            if let Some(message) = self.bus.timed_pop(LOOK_EVERY) {
                self.hear(&message);
            }
            if done(self) {
                return;
            }
            assert!(start.elapsed() < limit, "waited {limit:?} for {what}: {}", self.story());
        }
    }

    /// Does an application's work for some time.
    pub fn during(&mut self, time: Duration) {
        let start = Instant::now();
        self.until("time to pass", time + Duration::from_secs(60), |_| start.elapsed() >= time);
    }

    /// The running pipeline.
    pub fn pipeline(&self) -> &gst::Element {
        &self.pipeline
    }

    /// Our source inside.
    ///
    /// # Panics
    /// When there is none.
    pub fn source(&self) -> gst::Element {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).clone();
        source.and_then(|weak| weak.upgrade()).expect("the pipeline has a swarmsrc")
    }

    /// Its figures.
    pub fn stats(&self) -> gst::Structure {
        self.source().property("stats")
    }

    /// One of its figures.
    pub fn figure(&self, name: &str) -> u64 {
        let stats = self.stats();
        let value = stats.value(name).unwrap_or_else(|e| panic!("{e} in {stats}"));
        value.get::<u64>().or_else(|_| value.get::<u32>().map(u64::from)).expect("figures are numbers")
    }

    /// Where the film is.
    pub fn position(&self) -> Option<gst::ClockTime> {
        self.pipeline.query_position()
    }

    /// Whether the pipeline has reached PLAYING.
    pub fn is_playing(&self) -> bool {
        self.pipeline.state(gst::ClockTime::ZERO).1 == gst::State::Playing
    }

    /// Whether the application waits for a buffer.
    pub fn is_buffering(&self) -> bool {
        self.buffering
    }

    /// Whether the film has come to its end.
    pub fn has_ended(&self) -> bool {
        self.heard.iter().any(|heard| matches!(heard.word, Word::Ended))
    }

    /// Everything that was heard.
    pub fn heard(&self) -> &[Heard] {
        &self.heard
    }

    /// How much too late the latest picture came, over the time in which the pipeline was PLAYING.
    pub fn lateness(&self) -> Duration {
        Duration::from_nanos(self.latest.load(Ordering::Relaxed))
    }

    /// The percentages of BUFFERING messages, cut behind each 100.
    ///
    /// # Panics
    /// Where an episode is not sound: a 100 that ends nothing, or a percentage that goes down although the user
    /// did not go anywhere.
    pub fn episodes(&self) -> Vec<Vec<i32>> {
        let mut episodes: Vec<Vec<i32>> = Vec::new();
        let mut sought = false;
        for heard in &self.heard {
            match heard.word {
                Word::Sought(_) => sought = true,
                Word::Buffering(percent) => {
                    let open = episodes.last_mut().filter(|episode| episode.last() != Some(&100));
                    assert!(percent < 100 || open.is_some(), "a 100 that ends nothing: {}", self.story());
                    match open {
                        Some(episode) => {
                            let falls = episode.last().is_some_and(|last| *last > percent);
                            assert!(sought || !falls, "{percent} % after more: {}", self.story());
                            episode.push(percent);
                        }
                        None => episodes.push(vec![percent]),
                    }
                    sought = false;
                }
                _ => {}
            }
        }
        episodes
    }

    /// What happened, for failure messages.
    pub fn story(&self) -> String {
        let heard: Vec<_> =
            self.heard.iter().map(|heard| format!("\n  {:9.3?} {:?}", heard.at, heard.word)).collect();
        format!(
            "{}: {:?}, wanted {:?}, buffering {}, at {:?}, pictures up to {:?} late, {}",
            self.name,
            self.pipeline.state(gst::ClockTime::ZERO).1,
            self.wanted,
            self.buffering,
            self.position(),
            self.lateness(),
            heard.concat(),
        )
    }

    fn want(&mut self, state: gst::State) {
        self.wanted = state;
        let state = if self.buffering { gst::State::Paused } else { state };
        // Why it failed comes as an error message.
        let _ = self.pipeline.set_state(state);
    }

    fn note(&mut self, word: Word) {
        self.heard.push(Heard { at: self.made.elapsed(), word });
    }

    fn hear(&mut self, message: &gst::Message) {
        match message.view() {
            gst::MessageView::Error(error) => {
                panic!("{} ({:?}): {}", error.error(), error.debug(), self.story())
            }
            gst::MessageView::Buffering(buffering) => {
                let percent = buffering.percent();
                self.note(Word::Buffering(percent));
                self.obey(percent);
            }
            gst::MessageView::Progress(progress) => {
                let (how, code, text) = progress.get();
                self.note(Word::Progress(how, code.into(), text.into()));
            }
            gst::MessageView::Warning(warning) => self.note(Word::Warning(warning.error().to_string())),
            gst::MessageView::Tag(tag) if self.is_ours(message) => self.note(Word::Tags(tag.tags())),
            gst::MessageView::Eos(_) => self.note(Word::Ended),
            _ => {}
        }
    }

    fn is_ours(&self, message: &gst::Message) -> bool {
        let source = message.src().and_then(|src| src.downcast_ref::<gst::Element>());
        source.and_then(|element| element.factory()).is_some_and(|factory| factory.name() == "swarmsrc")
    }

    /// Pauses below 100 % and goes on at 100 %, as the documentation asks applications to.
    fn obey(&mut self, percent: i32) {
        let buffering = percent < 100;
        if buffering != self.buffering {
            self.buffering = buffering;
            self.want(self.wanted);
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        // A failed test may leave an element that cannot stop: that is not what it failed for.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// A sink that shows at the right time and says how well that goes.
fn sink() -> gst::Element {
    gst::ElementFactory::make("fakesink")
        .property("sync", true)
        .property("qos", true)
        .property("enable-last-sample", false)
        .build()
        .expect("fakesink is part of GStreamer")
}

/// Notes by how much pictures come too late at a sink that plays.
fn watch_lateness(sink: &gst::Element, latest: &Arc<AtomicU64>) {
    let pad = sink.static_pad("sink").expect("a sink has a sink pad");
    let (sink, latest) = (sink.downgrade(), Arc::clone(latest));
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let (Some(sink), Some(buffer)) = (sink.upgrade(), info.buffer())
            && let Some(late) = lateness(&sink, pad, buffer)
        {
            latest.fetch_max(late.nseconds(), Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
}

fn lateness(sink: &gst::Element, pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
    if sink.current_state() != gst::State::Playing || sink.pending_state() != gst::State::VoidPending {
        return None;
    }
    let segment =
        pad.sticky_event::<gst::event::Segment>(0)?.segment().downcast_ref::<gst::ClockTime>()?.clone();
    let due = segment.to_running_time(buffer.pts()?)?;
    sink.current_running_time()?.checked_sub(due)
}
