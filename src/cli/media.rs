//! What GStreamer knows about a media file: its duration, and a small picture of it.
//!
//! Both are extras: whatever goes wrong here is a warning, never the end of the command, and takes bounded
//! time. The picture has the size that the original system asked for.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use gst::prelude::*;
use gst_pbutils::Discoverer;
use gst_pbutils::prelude::*;

/// Longest look at one file.
const PROBE_TIME: gst::ClockTime = gst::ClockTime::from_seconds(15);
/// Longest wait for a picture to be decoded.
const PICTURE_TIME: gst::ClockTime = gst::ClockTime::from_seconds(10);
/// The picture fits into this (16:9).
const PICTURE_SIZE: (u32, u32) = (171, 96);
/// How far into the film the picture is taken: behind logos and titles.
const PICTURE_PLACE: u64 = 10;
/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Media {
    /// How long it plays.
    pub(super) duration: Option<Duration>,
    /// The title in its tags.
    pub(super) title: Option<String>,
    /// Width and height of the first video as shown (square pixels).
    pub(super) picture: Option<(u32, u32)>,
}

/// Looks into a file.
///
/// # Errors
/// When GStreamer does not work, or does not find media in the file.
pub(super) fn probe(path: &Path) -> anyhow::Result<Media> {
    gst::init().context("GStreamer does not start: is it installed?")?;
    let discoverer = Discoverer::new(PROBE_TIME).context("GStreamer cannot look into files")?;
    let info = discoverer.discover_uri(&uri(path)?)?;
    let video = info.video_streams().into_iter().next();
    let tags = info.container_streams().into_iter().filter_map(|stream| stream.tags());
    let tags = tags.chain(info.stream_list().into_iter().filter_map(|stream| stream.tags()));
    let title =
        tags.filter_map(|tags| tags.get::<gst::tags::Title>()).map(|title| title.get().to_owned()).next();
    Ok(Media {
        duration: info.duration().filter(|time| !time.is_zero()).map(Duration::from),
        title,
        picture: video.filter(|video| !video.is_image()).and_then(|video| {
            let (numer, denom) = (video.par().numer(), video.par().denom());
            square(video.width(), video.height(), numer, denom)
        }),
    })
}

/// A JPEG of what the file shows after a tenth of its duration.
///
/// # Errors
/// When the file cannot be decoded in time or there is no JPEG encoder.
pub(super) fn thumbnail(path: &Path, media: &Media) -> anyhow::Result<Bytes> {
    let (width, height) = fit(media.picture.context("the file has no video")?);
    let player = Player::new(&uri(path)?)?;
    let place = media.duration.unwrap_or_default() / u32::try_from(PICTURE_PLACE)?;
    player.go_to(place)?;
    let caps = gst::Caps::builder("image/jpeg")
        .field("width", i32::try_from(width)?)
        .field("height", i32::try_from(height)?)
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .build();
    let sample = player.playbin.emit_by_name::<Option<gst::Sample>>("convert-sample", &[&caps]);
    let sample = sample.context("the picture cannot be made into a JPEG (is jpegenc there?)")?;
    let buffer = sample.buffer().context("GStreamer made an empty picture")?;
    let bytes = buffer.map_readable().context("GStreamer's picture cannot be read")?;
    Ok(Bytes::copy_from_slice(&bytes))
}

/// A playbin that shows nothing, stopped when dropped.
struct Player {
    playbin: gst::Element,
    bus: gst::Bus,
}

impl Player {
    fn new(uri: &str) -> anyhow::Result<Self> {
        let silent = || gst::ElementFactory::make("fakesink").property("sync", false).build();
        let playbin = gst::ElementFactory::make("playbin")
            .property("uri", uri)
            .property_from_str("flags", "video")
            .property("video-sink", silent()?)
            .property("audio-sink", silent()?)
            .build()
            .context("GStreamer has no playbin: install gstreamer1.0-plugins-base")?;
        let bus = playbin.bus().context("a pipeline without a bus")?;
        Ok(Self { playbin, bus })
    }

    /// Shows the key frame at or before this place.
    fn go_to(&self, place: Duration) -> anyhow::Result<()> {
        self.playbin.set_state(gst::State::Paused).context("the file cannot be decoded")?;
        self.settle()?;
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        let place = gst::ClockTime::try_from(place)?;
        // A file that cannot be sought still shows its first frame.
        if !place.is_zero() && self.playbin.seek_simple(flags, place).is_ok() {
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&self) -> anyhow::Result<()> {
        let kinds = [gst::MessageType::AsyncDone, gst::MessageType::Error, gst::MessageType::Eos];
        let message = self.bus.timed_pop_filtered(PICTURE_TIME, &kinds);
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::AsyncDone(_)) => Ok(()),
            Some(gst::MessageView::Error(error)) => bail!("{}", error.error()),
            Some(_) => bail!("the file ends before its first frame"),
            None => bail!("no frame was decoded within {PICTURE_TIME:.0}"),
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Stopping cannot fail in a way that matters to a picture that is taken already.
        let _ = self.playbin.set_state(gst::State::Null);
    }
}

fn uri(path: &Path) -> anyhow::Result<String> {
    let whole = path.canonicalize().with_context(|| format!("cannot resolve {}", path.display()))?;
    Ok(glib::filename_to_uri(whole, None)?.into())
}

/// The size in square pixels.
fn square(width: u32, height: u32, numer: i32, denom: i32) -> Option<(u32, u32)> {
    let (numer, denom) = (u64::try_from(numer).ok()?, u64::try_from(denom).ok()?);
    let width = (u64::from(width) * numer).checked_div(denom)?;
    let width = u32::try_from(width).ok()?;
    (width > 0 && height > 0).then_some((width, height))
}

/// The largest size of the same shape inside [`PICTURE_SIZE`], at least 1 × 1.
fn fit((width, height): (u32, u32)) -> (u32, u32) {
    let (most_wide, most_high) = (u64::from(PICTURE_SIZE.0), u64::from(PICTURE_SIZE.1));
    let (w, h) = (u64::from(width.max(1)), u64::from(height.max(1)));
    let fitted = if w * most_high >= h * most_wide {
        (most_wide, (most_wide * h + w / 2) / w)
    } else {
        ((most_high * w + h / 2) / h, most_high)
    };
    let small = |n: u64| u32::try_from(n.max(1)).unwrap_or(1);
    (small(fitted.0), small(fitted.1))
}

/// Refuses what players would not show as a picture.
///
/// # Errors
/// When the bytes are not a JPEG.
pub(super) fn check_jpeg(bytes: &[u8]) -> anyhow::Result<()> {
    ensure!(
        bytes.starts_with(&[0xff, 0xd8, 0xff]),
        "it is of another kind; ffmpeg -i PICTURE thumb.jpg converts one"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pictures_keep_their_shape() {
        assert_eq!(fit((1920, 1080)), (171, 96));
        assert_eq!(fit((640, 480)), (128, 96));
        assert_eq!(fit((2000, 100)), (171, 9));
        assert_eq!(square(720, 576, 16, 11), Some((1047, 576)));
        assert_eq!(square(720, 576, 16, 0), None);
    }

    proptest! {
        #[test]
        fn every_picture_fits(width in any::<u32>(), height in any::<u32>()) {
            let (w, h) = fit((width, height));
            prop_assert!((1..=PICTURE_SIZE.0).contains(&w) && (1..=PICTURE_SIZE.1).contains(&h));
        }
    }

    #[test]
    fn a_thumbnail_must_be_a_jpeg() {
        assert!(check_jpeg(&[0xff, 0xd8, 0xff, 0xe0]).is_ok());
        assert!(check_jpeg(b"\x89PNG").is_err() && check_jpeg(b"").is_err());
    }
}
