//! Short films in every container that we promise, made by GStreamer once and kept in `target/tmp/media`
//! under a name that depends on how they are made.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use sha1::{Digest, Sha1};

use super::files;

/// Pictures a second of all films.
pub const FRAME_RATE: u32 = 25;
/// Samples a second of all films.
const SAMPLE_RATE: u32 = 48_000;
/// Samples in one buffer of the tone.
const SAMPLES: u32 = 960;
/// Making a film takes a few seconds; more than this is a hang.
const MADE_WITHIN: gst::ClockTime = gst::ClockTime::from_seconds(120);

/// How a film is packed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Container {
    /// MP4 with its index at the end, as cameras write it.
    Mp4,
    /// MP4 with its index in front.
    Mp4FastStart,
    /// Matroska.
    Mkv,
    /// Matroska that is not to be sought in, as live streams are.
    MkvLive,
    /// MPEG transport stream.
    MpegTs,
    /// WebM with VP8 and Vorbis.
    WebM,
    /// Ogg with Theora and Vorbis.
    Ogg,
}

impl Container {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Mp4, Self::Mp4FastStart, Self::Mkv, Self::MpegTs, Self::WebM, Self::Ogg];

    const fn extension(self) -> &'static str {
        match self {
            Self::Mp4 | Self::Mp4FastStart => "mp4",
            Self::Mkv | Self::MkvLive => "mkv",
            Self::MpegTs => "ts",
            Self::WebM => "webm",
            Self::Ogg => "ogg",
        }
    }

    const fn muxer(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4mux",
            Self::Mp4FastStart => "mp4mux faststart=true",
            Self::Mkv => "matroskamux",
            Self::MkvLive => "matroskamux streamable=true",
            Self::MpegTs => "mpegtsmux",
            Self::WebM => "webmmux",
            Self::Ogg => "oggmux",
        }
    }

    const fn video_encoder(self) -> &'static str {
        match self {
            Self::WebM => "vp8enc deadline=1 keyframe-max-dist=25 target-bitrate=800000",
            Self::Ogg => "theoraenc keyframe-force=25 keyframe-freq=25 speed-level=2 bitrate=800",
            _ => "x264enc speed-preset=ultrafast key-int-max=25 bitrate=800 threads=1 ! h264parse",
        }
    }

    const fn audio_encoder(self) -> &'static str {
        match self {
            Self::WebM | Self::Ogg => "vorbisenc",
            _ => "avenc_aac bitrate=96000 ! aacparse",
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mp4 => "MP4 with its index at the end",
            Self::Mp4FastStart => "MP4 with its index in front",
            Self::Mkv => "Matroska",
            Self::MkvLive => "live Matroska",
            Self::MpegTs => "MPEG-TS",
            Self::WebM => "WebM",
            Self::Ogg => "Ogg",
        })
    }
}

/// What a film shows.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// Noise: every picture differs from every other, and the file is not tiny.
    Snow,
    /// Colour bars: easy to recognise on a screenshot.
    Bars,
}

/// The path of a film of `seconds` seconds; makes it when it is not there yet.
///
/// # Panics
/// When GStreamer cannot make it.
pub fn film(container: Container, picture: Picture, seconds: u32) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let recipe = recipe(container, picture, seconds);
    let key: String = Sha1::digest(&recipe)[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = files::folder(Path::new(env!("CARGO_TARGET_TMPDIR")), "media");
    let path = folder.join(format!("{key}.{}", container.extension()));
    if !path.exists() {
        // Another process may make the same film: whoever is last replaces it by an equal one.
        let part = folder.join(format!("{key}.{}.part", std::process::id()));
        run(&format!("{recipe} ! filesink location={}", part.display()));
        std::fs::rename(&part, &path).expect("a file can be renamed in its folder");
    }
    path
}

/// The pipeline up to the muxer.
fn recipe(container: Container, picture: Picture, seconds: u32) -> String {
    let pattern = match picture {
        Picture::Snow => "snow",
        Picture::Bars => "smpte",
    };
    format!(
        "videotestsrc num-buffers={frames} pattern={pattern} \
           ! video/x-raw,format=I420,width=320,height=180,framerate={FRAME_RATE}/1 ! timeoverlay \
           ! {video} ! queue ! mux. \
         audiotestsrc num-buffers={sounds} samplesperbuffer={SAMPLES} wave=ticks \
           ! audio/x-raw,rate={SAMPLE_RATE},channels=2 ! audioconvert ! {audio} ! queue ! mux. \
         {muxer} name=mux",
        frames = seconds * FRAME_RATE,
        sounds = seconds * SAMPLE_RATE / SAMPLES,
        video = container.video_encoder(),
        audio = container.audio_encoder(),
        muxer = container.muxer(),
    )
}

fn run(description: &str) {
    let pipeline = gst::parse::launch(description).unwrap_or_else(|e| panic!("{description}: {e}"));
    let bus = pipeline.bus().expect("a pipeline has a bus");
    pipeline.set_state(gst::State::Playing).unwrap_or_else(|e| panic!("{description}: {e}"));
    let last = bus.timed_pop_filtered(MADE_WITHIN, &[gst::MessageType::Eos, gst::MessageType::Error]);
    // Nothing can be done about a pipeline that does not end; the message tells more.
    let _ = pipeline.set_state(gst::State::Null);
    let last = last.unwrap_or_else(|| panic!("not made within {MADE_WITHIN}: {description}"));
    if let gst::MessageView::Error(error) = last.view() {
        panic!("{}: {} ({:?})\n{description}", error.error(), error.error(), error.debug());
    }
}
