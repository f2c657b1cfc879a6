//! Films that are shown while they arrive, in real time, from a seed whose rate the test decides.
//!
//! All cases run side by side, since each takes as long as its film: `SWARM_TEST_SECONDS` (25) long.
//! `SWARM_TEST_CASE` runs those whose name contains it.

mod support;

use std::path::PathBuf;
use std::sync::Once;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use gst::prelude::*;
use support::files::{folder, scratch};
use support::media::{Container, Picture, film};
use support::torrents::{self, Offer};
use support::viewer::{Heard, Viewer, Word};
use support::wire_seed::{Manner, UNLIMITED, WireSeed};
use tempfile::TempDir;

/// Length of the films unless `SWARM_TEST_SECONDS` says otherwise.
const SECONDS: u32 = 25;
const PIECE_LENGTH: u32 = 32 * 1024;
/// The index of a film, 350 bytes/s of it, lies in several of these.
const SMALL_PIECE_LENGTH: u32 = 4 * 1024;
/// Beyond this a picture is so late that somebody should have told the application to wait.
const LATE: Duration = Duration::from_secs(1);
/// What should happen at once may take this long on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// The start of a JPEG, which is all that anybody looks at.
const THUMBNAIL: &[u8] = b"\xff\xd8\xff\xe0\x00\x10JFIF";

fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().expect("GStreamer can be initialised");
        gstswarm::plugin_register_static().expect("our plugin can be registered");
    });
}

fn seconds() -> u32 {
    let text = std::env::var("SWARM_TEST_SECONDS");
    text.map_or(SECONDS, |text| text.parse().expect("SWARM_TEST_SECONDS is a number"))
}

/// Longer than any show takes: a hang.
fn limit() -> Duration {
    Duration::from_secs(120) + Duration::from_secs(seconds().into()) * 3
}

/// A film, its torrent and its seed.
struct Show {
    scratch: TempDir,
    torrent: PathBuf,
    bytes: u64,
    seed: WireSeed,
}

impl Show {
    /// The seed gives `speed` times what the film needs; infinity: whatever goes.
    fn new(container: Container, speed: f64) -> Self {
        Self::in_pieces(container, speed, PIECE_LENGTH)
    }

    fn in_pieces(container: Container, speed: f64, piece_length: u32) -> Self {
        let playtime = Some(Duration::from_secs(seconds().into()));
        Self::with_offer(container, speed, Offer { playtime, piece_length, ..Offer::default() })
    }

    fn with_offer(container: Container, speed: f64, offer: Offer) -> Self {
        let original = film(container, Picture::Snow, seconds());
        let scratch = scratch("streaming");
        let extension = original.extension().and_then(|e| e.to_str()).expect("a film has an extension");
        let case = thread::current().name().expect("a case has a name").replace(' ', "-");
        let offer = Offer {
            name: format!("{case}.{extension}"),
            title: Some(case),
            thumbnail: Some(Bytes::from_static(THUMBNAIL)),
            ..offer
        };
        let torrent = torrents::offer(scratch.path(), &original, &offer);
        let bytes = std::fs::metadata(&original).expect("the film is there").len();
        let seed = WireSeed::start(&torrent, &original, rate(bytes, speed), Manner::Serves);
        Self { scratch, torrent, bytes, seed }
    }

    fn set_speed(&self, speed: f64) {
        self.seed.set_rate(rate(self.bytes, speed));
    }

    /// A viewer who knows the seed.
    fn viewer(&self, factory: &str) -> Viewer {
        self.viewer_of(factory, &format!("?x.pe={}", self.seed.address()))
    }

    fn viewer_of(&self, factory: &str, query: &str) -> Viewer {
        let uri = format!("swarm://{}{query}", self.torrent.display());
        Viewer::new(factory, &uri, manners(folder(self.scratch.path(), "download")))
    }
}

/// Bytes/s that are `speed` times what a film of so many bytes needs.
fn rate(bytes: u64, speed: f64) -> u64 {
    if speed.is_infinite() {
        return UNLIMITED;
    }
    (bytes as f64 / f64::from(seconds()) * speed) as u64
}

/// Keeps what our elements do on this machine and in this folder.
fn manners(place: PathBuf) -> impl Fn(&gst::Element) + Send + Sync {
    move |element| {
        if element.has_property("download-dir") {
            element.set_property("download-dir", place.to_str().expect("our own paths are UTF-8"));
            element.set_property("bind-address", "127.0.0.1");
            element.set_property("trackers", false);
            element.set_property("linger", 0_u64);
        }
    }
}

/// A part of the film's time.
fn part(of: f64) -> gst::ClockTime {
    gst::ClockTime::from_seconds_f64(f64::from(seconds()) * of)
}

fn until_playing(viewer: &mut Viewer) {
    viewer.until("the film to start", limit(), |v| v.is_playing() && !v.is_buffering());
}

fn until_at(viewer: &mut Viewer, place: gst::ClockTime) {
    viewer.until(&format!("the film to reach {place}"), limit(), |v| v.position() >= Some(place));
}

fn until_ended(viewer: &mut Viewer) {
    viewer.until("the end of the film", limit(), Viewer::has_ended);
    let (at, end) = (viewer.position().expect("a film has a position"), part(1.0));
    assert!(at + gst::ClockTime::SECOND > end, "ended at {at} of {end}: {}", viewer.story());
    assert!(!viewer.is_buffering(), "ended while it waits: {}", viewer.story());
}

/// No picture came so late that the application should have been told to wait.
fn assert_smooth(viewer: &Viewer) {
    assert!(viewer.lateness() < LATE, "a stall that nobody was told of: {}", viewer.story());
}

/// The seed cannot deliver the film in the time in which it is shown: the start waits until it can.
fn a_slow_seed(container: Container, piece_length: u32, factory: &str) {
    let show = Show::in_pieces(container, 0.8, piece_length);
    let mut viewer = show.viewer(factory);
    viewer.play();
    until_playing(&mut viewer);
    let fetched = show.seed.served() as f64 / show.bytes as f64;
    assert!((0.2..0.35).contains(&fetched), "started with {fetched} of the film: {}", viewer.story());
    until_ended(&mut viewer);
    assert_eq!(viewer.episodes().len(), 1, "{}", viewer.story());
    assert_eq!(viewer.figure("stalls"), 0, "{}", viewer.story());
    assert_smooth(&viewer);
}

/// The seed is fast enough until it gives only half of that for ten seconds.
fn a_seed_that_flags(container: Container, factory: &str) {
    let show = Show::new(container, 1.1);
    let mut viewer = show.viewer(factory);
    viewer.play();
    until_playing(&mut viewer);
    let at_start = viewer.episodes().len();
    assert!(at_start <= 1, "{}", viewer.story());
    until_at(&mut viewer, part(0.33));
    show.set_speed(0.5);
    viewer.during(Duration::from_secs(10));
    show.set_speed(1.1);
    until_ended(&mut viewer);
    assert_eq!(viewer.episodes().len(), at_start + 1, "{}", viewer.story());
    assert_eq!(viewer.figure("stalls"), 1, "{}", viewer.story());
    assert!(viewer.figure("stall-time") > 0, "{}", viewer.stats());
    assert_smooth(&viewer);
}

/// Nothing has to be waited for but the first bytes.
fn a_fast_seed() {
    let show = Show::new(Container::Mp4, f64::INFINITY);
    let mut viewer = show.viewer("playbin");
    viewer.play();
    until_playing(&mut viewer);
    until_ended(&mut viewer);
    assert!(viewer.episodes().len() <= 1, "{}", viewer.story());
    assert_smooth(&viewer);
    assert_progress_ends(&viewer);
    assert_tags(&viewer);
    assert_figures(&viewer, show.bytes);
}

/// Every stage that was named has started and is complete.
fn assert_progress_ends(viewer: &Viewer) {
    let mut open = Vec::new();
    for Heard { word, .. } in viewer.heard() {
        let Word::Progress(how, code, text) = word else { continue };
        assert!(!text.is_empty(), "{code}");
        match how {
            gst::ProgressType::Start => open.push(code),
            gst::ProgressType::Continue => assert!(open.contains(&code), "{}", viewer.story()),
            gst::ProgressType::Complete => {
                let at = open.iter().position(|started| *started == code);
                open.remove(at.unwrap_or_else(|| panic!("{code}: {}", viewer.story())));
            }
            other => panic!("{other:?}: {}", viewer.story()),
        }
    }
    assert!(open.is_empty(), "{open:?} never ended: {}", viewer.story());
}

/// The torrent's title, duration and picture were told.
fn assert_tags(viewer: &Viewer) {
    let tags = viewer.heard().iter().find_map(|heard| match &heard.word {
        Word::Tags(tags) => Some(tags),
        _ => None,
    });
    let tags = tags.unwrap_or_else(|| panic!("no tags: {}", viewer.story()));
    let title = tags.get::<gst::tags::Title>().expect("a title").get().to_owned();
    assert_eq!(title, thread::current().name().expect("a case has a name").replace(' ', "-"));
    let duration = tags.get::<gst::tags::Duration>().expect("a duration").get();
    assert_eq!(duration, part(1.0));
    let picture = tags.get::<gst::tags::PreviewImage>().expect("a thumbnail").get();
    assert_eq!(picture.buffer().expect("a picture has bytes").size(), THUMBNAIL.len());
}

/// When the demuxer looks at the end, requests are taken back, and their blocks may be on the way already: 64 of
/// them at most, which is much of so short a film.
const ON_THE_WAY: u64 = 64 * 16 * 1024;

/// The figures of a film that was fetched once, from one seed.
fn assert_figures(viewer: &Viewer, bytes: u64) {
    let stats = viewer.stats();
    let figure = |name: &str| viewer.figure(name);
    assert_eq!(stats.get::<&str>("state"), Ok("seeding"), "{stats}");
    let wasted = bytes / 33 + ON_THE_WAY;
    assert!((bytes..bytes + wasted).contains(&figure("bytes-downloaded")), "{bytes}: {stats}");
    assert!(figure("bytes-wasted") < wasted, "{stats}");
    assert_eq!(figure("bytes-verified"), bytes, "{stats}");
    for none in ["bytes-uploaded", "stalls", "stall-time", "hash-failures", "banned"] {
        assert_eq!(figure(none), 0, "{none}: {stats}");
    }
    assert!(figure("tried") >= 1, "{stats}");
    assert_eq!(figure("bitrate"), bytes / u64::from(seconds()), "{stats}");
    assert!(figure("start-up-time") < u64::MAX, "{stats}");
    for known in ["peers", "seeds", "candidates", "download-rate", "upload-rate", "buffer-bytes"] {
        figure(known);
    }
    assert!(figure("buffer-time") < gst::ClockTime::from_seconds(u64::from(seconds())).nseconds(), "{stats}");
}

/// The torrent does not say how long the film is: that is learned while it is shown.
fn a_torrent_without_a_duration(container: Container, factory: &str) {
    let offer = Offer { playtime: None, piece_length: PIECE_LENGTH, ..Offer::default() };
    let show = Show::with_offer(container, 1.3, offer);
    let mut viewer = show.viewer(factory);
    viewer.play();
    until_playing(&mut viewer);
    until_at(&mut viewer, part(0.25));
    let (learned, real) = (viewer.figure("bitrate"), show.bytes / u64::from(seconds()));
    assert!((real * 3 / 4..=real * 4 / 3).contains(&learned), "{learned}, not {real}: {}", viewer.story());
    let before = viewer.episodes().len();
    show.set_speed(0.0);
    viewer.until("the film to stall", limit(), Viewer::is_buffering);
    show.set_speed(1.3);
    until_ended(&mut viewer);
    assert_eq!(viewer.episodes().len(), before + 1, "{}", viewer.story());
    assert_smooth(&viewer);
}

/// The application keeps paused what the user has paused, whatever the buffer says, and the buffer fills once.
fn a_pause_while_it_waits() {
    let show = Show::new(Container::Mp4, 1.5);
    let mut viewer = show.viewer("playbin3");
    viewer.play();
    viewer.until("the film to wait", SOON, Viewer::is_buffering);
    viewer.pause();
    // The sink may still be on its way to its first picture, and know no position.
    viewer.until("the buffer to fill", limit(), |v| !v.is_buffering() && v.position().is_some());
    let at = viewer.position();
    viewer.during(Duration::from_secs(3));
    assert_eq!(viewer.position(), at, "a paused film stays: {}", viewer.story());
    viewer.play();
    until_at(&mut viewer, gst::ClockTime::from_seconds(4));
    viewer.pause();
    viewer.during(Duration::from_secs(2));
    viewer.play();
    until_at(&mut viewer, gst::ClockTime::from_seconds(6));
    assert_eq!(viewer.episodes().len(), 1, "{}", viewer.story());
    assert_smooth(&viewer);
}

/// Seeks to what is not there, the second while the film waits for the first, and back to what is there.
fn seeks(container: Container, factory: &str) {
    let show = Show::new(container, 1.5);
    let mut viewer = show.viewer(factory);
    viewer.play();
    until_playing(&mut viewer);
    until_at(&mut viewer, gst::ClockTime::from_seconds(3));
    let before = viewer.episodes().len();
    viewer.seek(part(0.6));
    viewer.until("the film to wait", SOON, Viewer::is_buffering);
    viewer.seek(part(0.8));
    // The message of the first seek may still be on its way.
    viewer.during(Duration::from_millis(500));
    viewer.until("the film to go on", limit(), |v| !v.is_buffering() && v.position() > Some(part(0.82)));
    assert_eq!(viewer.episodes().len(), before + 1, "both seeks wait once: {}", viewer.story());
    viewer.seek(gst::ClockTime::SECOND);
    viewer.until("the film to be back", SOON, |v| {
        v.is_playing() && v.position().is_some_and(|at| at < part(0.5) && at > gst::ClockTime::SECOND * 2)
    });
    assert_eq!(viewer.episodes().len(), before + 1, "what is there needs no wait: {}", viewer.story());
    until_ended(&mut viewer);
    viewer.episodes();
    assert_smooth(&viewer);
}

/// The end of the film is nearer than the buffer that a start wants.
fn the_end_while_it_waits(container: Container, factory: &str) {
    let show = Show::new(container, 0.5);
    let mut viewer = show.viewer(factory);
    viewer.pause();
    viewer
        .until("the film's duration", limit(), |v| v.pipeline().query_duration::<gst::ClockTime>().is_some());
    viewer.until("the first picture", limit(), |v| v.position().is_some());
    viewer.play();
    viewer.seek(part(1.0).saturating_sub(gst::ClockTime::from_mseconds(700)));
    until_ended(&mut viewer);
    viewer.seek(part(1.0));
    let ends = |v: &Viewer| v.heard().iter().filter(|heard| matches!(heard.word, Word::Ended)).count();
    viewer.until("the second end of the film", limit(), |v| ends(v) == 2);
    let episodes = viewer.episodes();
    assert!(!viewer.is_buffering(), "{}", viewer.story());
    assert!(episodes.iter().all(|episode| episode.last() == Some(&100)), "{}", viewer.story());
}

/// What was fetched by an earlier viewer is not waited for.
fn a_film_that_is_there() {
    let show = Show::new(Container::Mkv, f64::INFINITY);
    let mut viewer = show.viewer("playbin");
    viewer.pause();
    viewer.until("all of the film to be there", limit(), |v| v.figure("bytes-verified") == show.bytes);
    drop(viewer);
    let served = show.seed.served();
    let mut viewer = show.viewer_of("playbin3", "");
    viewer.play();
    until_at(&mut viewer, gst::ClockTime::from_seconds(2));
    viewer.seek(part(0.7));
    until_ended(&mut viewer);
    assert!(viewer.episodes().is_empty(), "{}", viewer.story());
    assert_eq!(show.seed.served(), served, "nothing is fetched again");
    assert_smooth(&viewer);
}

/// Nobody has the film: after a while a warning says so, and when somebody comes it plays.
fn nobody_comes() {
    let show = Show::new(Container::MpegTs, f64::INFINITY);
    let mut viewer = show.viewer_of("playbin", "");
    viewer.play();
    let warned = |v: &Viewer| v.heard().iter().any(|heard| matches!(heard.word, Word::Warning(_)));
    viewer.until("a warning", Duration::from_secs(60), warned);
    let Some(Heard { at, word: Word::Warning(text) }) =
        viewer.heard().iter().find(|h| matches!(h.word, Word::Warning(_)))
    else {
        unreachable!("it was just seen")
    };
    assert!(*at >= Duration::from_secs(20), "warned after {at:?}");
    assert!(text.contains("no peers"), "{text}");
    viewer.source().set_property("peers", show.seed.address().to_string());
    until_playing(&mut viewer);
    until_at(&mut viewer, gst::ClockTime::from_seconds(2));
    assert_progress_ends(&viewer);
    assert!(viewer.episodes().len() <= 1, "{}", viewer.story());
}

/// A case of its own thread.
type Case = (&'static str, fn());

const CASES: [Case; 18] = [
    ("slow seed, ts", || a_slow_seed(Container::MpegTs, PIECE_LENGTH, "playbin")),
    ("slow seed, mp4", || a_slow_seed(Container::Mp4, PIECE_LENGTH, "playbin3")),
    ("slow seed, mkv", || a_slow_seed(Container::Mkv, PIECE_LENGTH, "playbin")),
    ("slow seed, mp4, index of several pieces", || {
        a_slow_seed(Container::Mp4, SMALL_PIECE_LENGTH, "playbin")
    }),
    ("flagging seed, ts", || a_seed_that_flags(Container::MpegTs, "playbin3")),
    ("flagging seed, mp4", || a_seed_that_flags(Container::Mp4, "playbin")),
    ("flagging seed, mkv", || a_seed_that_flags(Container::Mkv, "playbin3")),
    ("fast seed", a_fast_seed),
    ("no duration, ts", || a_torrent_without_a_duration(Container::MpegTs, "playbin")),
    ("no duration, mkv", || a_torrent_without_a_duration(Container::Mkv, "playbin3")),
    ("pause", a_pause_while_it_waits),
    ("seeks, mp4", || seeks(Container::Mp4, "playbin")),
    ("seeks, ts", || seeks(Container::MpegTs, "playbin3")),
    ("seeks, mkv", || seeks(Container::Mkv, "playbin")),
    ("end, mp4", || the_end_while_it_waits(Container::Mp4, "playbin3")),
    ("end, mkv", || the_end_while_it_waits(Container::Mkv, "playbin")),
    ("film is there", a_film_that_is_there),
    ("nobody comes", nobody_comes),
];

#[test]
fn films_are_shown_while_they_arrive_and_waited_for_as_rarely_as_can_be() {
    init();
    let wanted = std::env::var("SWARM_TEST_CASE").unwrap_or_default();
    let cases = CASES.iter().filter(|(name, _)| name.contains(&wanted));
    let running: Vec<_> = cases
        .map(|(name, case)| {
            let thread = thread::Builder::new().name((*name).to_owned()).spawn(case);
            (name, thread.expect("a thread can be started"))
        })
        .collect();
    let failed: Vec<_> =
        running.into_iter().filter_map(|(name, case)| case.join().err().map(|_| name)).collect();
    assert!(failed.is_empty(), "failed: {failed:?} (see above)");
}
