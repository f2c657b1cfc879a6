//! What applications are told on the bus, built from plain values.
//!
//! Invariant: every BUFFERING episode that applications see ends in exactly one 100 ([`Episode`]); a torrent's
//! texts are a stranger's and are escaped before they get here or here.

use std::time::Duration;

use crate::metainfo::text::escape;
use crate::metainfo::torrent::Metainfo;
use crate::net::session::ReaderNotice;

/// Image formats that a thumbnail may have, by their first bytes.
const IMAGES: [(&[u8], &str); 3] =
    [(b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF8", "image/gif")];

/// How full the buffer is, as BUFFERING messages and queries tell it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// 0..=100; 100 = not waiting.
    pub percent: u8,
    /// Bytes/s in.
    pub rate_in: u64,
    /// Bytes/s of media, 0 = not known.
    pub rate_out: u64,
    /// Time until 100, where it can be told.
    pub left: Option<Duration>,
}

impl Level {
    /// Nobody waits.
    pub(super) const FULL: Self = Self { percent: 100, rate_in: 0, rate_out: 0, left: None };

    /// Average rates in and out, bytes/s, and the time left in ms (-1 = not known), as GStreamer wants them.
    pub(super) fn stats(&self) -> (i32, i32, i64) {
        let rate = |r: u64| i32::try_from(r).unwrap_or(i32::MAX);
        (rate(self.rate_in), rate(self.rate_out), self.left.map_or(-1, millis))
    }
}

impl From<ReaderNotice> for Level {
    fn from(notice: ReaderNotice) -> Self {
        let ReaderNotice::Buffering { percent, rate_in, rate_out, left } = notice;
        Self { percent: percent.min(100), rate_in, rate_out, left }
    }
}

/// Decides which levels become messages: changes only, and a 100 only to end what a lower one began.
#[derive(Debug, Default)]
pub(super) struct Episode {
    shown: Option<u8>,
}

impl Episode {
    /// Whether this level is news to the application.
    pub(super) fn is_news(&mut self, percent: u8) -> bool {
        let next = (percent < 100).then_some(percent);
        std::mem::replace(&mut self.shown, next) != next
    }
}

/// Milliseconds for GStreamer's signed fields.
pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The BUFFERING message for a level.
pub(super) fn buffering(src: &gst::Object, level: &Level) -> gst::Message {
    let (rate_in, rate_out, left) = level.stats();
    gst::message::Buffering::builder(level.percent.into())
        .stats(gst::BufferingMode::Stream, rate_in, rate_out, left)
        .src(src)
        .build()
}

/// An INFO message. `gst-launch-1.0` shows nothing of one but what is there for debugging: it says the same.
pub(super) fn info(src: &gst::Object, about: impl gst::MessageErrorDomain, text: &str) -> gst::Message {
    gst::message::Info::builder(about, text).debug(text).src(src).build()
}

/// What the metainfo knows about a file before its first byte is there: title, duration, thumbnail.
pub(super) fn tags(metainfo: &Metainfo, file: usize) -> gst::TagList {
    let mut tags = gst::TagList::new();
    let list = tags.make_mut();
    list.set_scope(gst::TagScope::Global);
    let title = escape(metainfo.title.as_ref().unwrap_or(&metainfo.name));
    if !title.is_empty() {
        list.add::<gst::tags::Title>(&title.as_str(), gst::TagMergeMode::Replace);
    }
    if let Some(time) = metainfo.duration(Some(file)).and_then(|d| gst::ClockTime::try_from(d).ok()) {
        list.add::<gst::tags::Duration>(&time, gst::TagMergeMode::Replace);
    }
    if let Some(sample) = metainfo.thumbnail.as_ref().and_then(preview) {
        list.add::<gst::tags::PreviewImage>(&sample, gst::TagMergeMode::Replace);
    }
    tags
}

fn preview(image: &bytes::Bytes) -> Option<gst::Sample> {
    let (_, kind) = IMAGES.iter().find(|(magic, _)| image.starts_with(magic))?;
    let buffer = gst::Buffer::from_slice(image.clone());
    Some(gst::Sample::builder().buffer(&buffer).caps(&gst::Caps::new_empty_simple(*kind)).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_tells_changes_and_ends_in_one_hundred() {
        let mut episode = Episode::default();
        let news: Vec<u8> = [100, 100, 0, 0, 40, 40, 39, 100, 100, 7, 100]
            .into_iter()
            .filter(|p| episode.is_news(*p))
            .collect();
        assert_eq!(news, [0, 40, 39, 100, 7, 100]);
    }

    #[test]
    fn levels_beyond_what_gstreamer_can_say_are_cut() {
        let level =
            Level { percent: 3, rate_in: u64::MAX, rate_out: 7, left: Some(Duration::from_millis(1_500)) };
        assert_eq!(level.stats(), (i32::MAX, 7, 1_500));
        assert_eq!(Level::FULL.stats().2, -1);
    }

    #[test]
    fn only_images_become_previews() {
        gst::init().unwrap();
        let sample = preview(&bytes::Bytes::from_static(b"\xff\xd8\xff\xe0jpeg")).unwrap();
        assert_eq!(sample.caps().unwrap().to_string(), "image/jpeg");
        assert_eq!(sample.buffer().unwrap().size(), 8);
        assert!(preview(&bytes::Bytes::from_static(b"<svg onload=...>")).is_none());
    }
}
