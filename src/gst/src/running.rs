//! One playback, from the element's start to its stop: the engine's handle, the reader, and the messenger.
//!
//! Nothing here waits for the network except [`Running::read`], and [`Running::set_flushing`] ends that.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::board::Board;
use super::load::Loaded;
use super::settings::Settings;
use super::{SwarmSrc, messenger};
use crate::gst::messages::{self, Level};
use crate::net::session::{
    self, Handle, LivePiece, LiveReader, OpenError, Options, ReadError, Reader, Trouble,
};
use crate::rate::ByteRate;
use crate::stream::live_piece::CaptureTime;
use crate::swarm::event::{PlaybackStats, Stats};

/// A started element.
pub(super) struct Running {
    handle: Handle,
    reader: AnyReader,
    board: Arc<Board>,
    file: Range<u64>,
    /// Where the last read was.
    position: AtomicU64,
    /// Pieces of a broadcast that were skipped, as far as the application was told.
    dropped: AtomicU64,
    /// When the first piece of a live source was captured, and the running time at which it was given.
    first: Mutex<Option<(CaptureTime, gst::ClockTime)>>,
    tags: gst::TagList,
    tags_are_due: AtomicBool,
}

/// Who takes the bytes.
enum AnyReader {
    /// A film's file.
    Film(Reader),
    /// A broadcast.
    Live(LiveReader),
}

impl AnyReader {
    fn set_flushing(&self, flushing: bool) {
        match self {
            Self::Film(reader) => reader.set_flushing(flushing),
            Self::Live(reader) => reader.set_flushing(flushing),
        }
    }

    fn set_playing(&self, playing: bool) {
        match self {
            Self::Film(reader) => reader.set_playing(playing),
            Self::Live(reader) => reader.set_playing(playing),
        }
    }

    fn clock(&self, running_time: Duration) {
        match self {
            Self::Film(reader) => reader.clock(running_time),
            Self::Live(reader) => reader.clock(running_time),
        }
    }

    fn position(&self) -> Option<(u32, CaptureTime)> {
        match self {
            Self::Film(_) => None,
            Self::Live(reader) => reader.position(),
        }
    }

    fn stats(&self) -> PlaybackStats {
        match self {
            Self::Film(reader) => reader.stats(),
            Self::Live(reader) => reader.stats(),
        }
    }
}

/// What there is of the file, for BUFFERING queries.
pub(super) struct Buffered {
    /// Is playback waiting, and how full is the buffer?
    pub level: Level,
    /// Verified ranges within the file.
    pub ranges: Vec<Range<u64>>,
    /// The one that playback is in; empty at the playhead when nothing is there.
    pub current: Range<u64>,
    /// Bytes in the file.
    pub length: u64,
    /// Time until all of it is there at the present rate.
    pub total: Option<Duration>,
}

impl Running {
    /// Opens the torrent; connects to nobody yet.
    pub(super) fn start(
        element: &SwarmSrc,
        loaded: &Loaded,
        options: Options,
        settings: &Settings,
    ) -> Result<Self, gst::ErrorMessage> {
        let handle = session::open(loaded.metainfo.clone(), options).map_err(|e| open_failed(&e))?;
        let board = Arc::new(Board::new());
        let notified = board.clone();
        let silent = loaded.is_live() && settings.is_live;
        let notify = Box::new(move |notice| {
            if !silent {
                notified.set_level(Level::from(notice));
            }
        });
        let reader = match loaded.is_live() {
            true => AnyReader::Live(handle.live_reader(settings.viewing(), notify)),
            false => AnyReader::Film(handle.reader(loaded.file, settings.buffer_time(false), notify)),
        };
        messenger::start(element, board.clone(), handle.clone())
            .map_err(|e| gst::error_msg!(gst::ResourceError::Failed, ("cannot start a thread: {e}")))?;
        Ok(Self {
            handle,
            reader,
            board,
            file: loaded.metainfo.layout.files[loaded.file].range.clone(),
            position: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            first: Mutex::default(),
            tags: messages::tags(&loaded.metainfo, loaded.file),
            tags_are_due: AtomicBool::new(true),
        })
    }

    /// Waits for bytes at `offset`: exactly `length` of them when pulled (unless the file ends), else up to that.
    pub(super) fn read(&self, offset: u64, length: usize, pulled: bool) -> Result<Vec<Bytes>, ReadError> {
        let AnyReader::Film(reader) = &self.reader else { return Err(ReadError::End) };
        self.position.store(offset, Ordering::Relaxed);
        let slices = self.board.during(|| match pulled {
            true => reader.read_exact(offset, length),
            false => reader.read(offset, length),
        });
        match &slices {
            // A demuxer that pulls the end looks for an index; who is pushed the end has everything.
            Ok(slices) if !pulled && offset + total(slices) >= self.length() => self.board.end(),
            Err(ReadError::Storage { .. } | ReadError::Gone) => self.board.fail(),
            _ => {}
        }
        slices
    }

    /// Waits for the next piece of a broadcast.
    pub(super) fn next_piece(&self) -> Result<LivePiece, ReadError> {
        let AnyReader::Live(reader) = &self.reader else { return Err(ReadError::End) };
        let piece = self.board.during(|| reader.next());
        match &piece {
            Err(ReadError::End) => self.board.end(),
            Err(ReadError::Storage { .. } | ReadError::Gone) => self.board.fail(),
            _ => {}
        }
        piece
    }

    /// The running time at which something is to be shown that was captured then: the first piece now, the others
    /// as much later as they were captured.
    pub(super) fn time_of(
        &self,
        captured: CaptureTime,
        now: Option<gst::ClockTime>,
    ) -> Option<gst::ClockTime> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, shown) = *first.get_or_insert((captured, now?));
        let later = gst::ClockTime::from_useconds(captured.micros().saturating_sub(start.micros()));
        Some(shown + later)
    }

    /// The QOS message that is due when pieces were skipped in front of this one.
    pub(super) fn dropped(&self, piece: &LivePiece) -> Option<gst::message::QosBuilder<'static>> {
        let before = self.dropped.swap(piece.dropped, Ordering::Relaxed);
        let given = self.board.served();
        (piece.dropped > before).then(|| {
            gst::message::Qos::builder(true)
                .values(0, 1.0, 1_000_000)
                .stats(gst::format::Buffers::from_u64(given), gst::format::Buffers::from_u64(piece.dropped))
        })
    }

    /// Whether it is a broadcast.
    pub(super) const fn is_live(&self) -> bool {
        matches!(self.reader, AnyReader::Live(_))
    }

    /// Bytes in the file.
    pub(super) const fn length(&self) -> u64 {
        self.file.end - self.file.start
    }

    /// Ends a waiting read and refuses new ones, or allows them again.
    pub(super) fn set_flushing(&self, flushing: bool) {
        self.reader.set_flushing(flushing);
    }

    /// A seek: playback starts over.
    pub(super) fn flushed(&self) {
        // A broadcast cannot be seeked in: after a flush it goes on where it was.
        if let (AnyReader::Film(reader), 1..) = (&self.reader, self.board.served()) {
            self.board.flush();
            reader.flushed();
        }
    }

    /// The pipeline plays or pauses.
    pub(super) fn set_playing(&self, playing: bool) {
        self.reader.set_playing(playing);
    }

    /// A sink shows media of this running time.
    pub(super) fn clock(&self, running_time: Duration) {
        self.reader.clock(running_time);
    }

    /// More peers.
    pub(super) fn add_peers(&self, peers: Vec<String>) {
        self.handle.add_peers(peers);
    }

    /// New limits.
    pub(super) fn set_limits(&self, (upload, download): (u64, u64)) {
        self.handle.set_limits(upload, download);
    }

    /// No message after this.
    pub(super) fn stop(&self) {
        self.board.stop();
        self.reader.set_flushing(true);
    }

    /// What the metainfo says about the file.
    pub(super) const fn tags(&self) -> &gst::TagList {
        &self.tags
    }

    /// The same, the first time only.
    pub(super) fn take_tags(&self) -> Option<gst::TagList> {
        self.tags_are_due.swap(false, Ordering::Relaxed).then(|| self.tags.clone())
    }

    /// What there is.
    pub(super) fn buffered(&self) -> Buffered {
        let within = |at: u64| at.clamp(self.file.start, self.file.end) - self.file.start;
        let ranges = self.handle.ranges(&self.file).iter().map(|r| within(r.start)..within(r.end)).collect();
        let rate = self.handle.stats().download_rate;
        Buffered::new(self.board.level(), ranges, self.position.load(Ordering::Relaxed), self.length(), rate)
    }

    /// Figures for the property `stats`.
    pub(super) fn stats(&self) -> gst::Structure {
        let stats = self.handle.stats();
        structure(stats.state.as_str(), &stats, &self.reader.stats(), self.reader.position())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.board.stop();
    }
}

impl Buffered {
    fn new(level: Level, ranges: Vec<Range<u64>>, position: u64, length: u64, rate: ByteRate) -> Self {
        let there = ranges.iter().map(|r| r.end - r.start).sum();
        let current = ranges.iter().find(|r| r.contains(&position)).cloned().unwrap_or(position..position);
        Self { level, current, length, total: rate.time_for(length.saturating_sub(there)), ranges }
    }
}

fn total(slices: &[Bytes]) -> u64 {
    slices.iter().map(|s| s.len() as u64).sum()
}

/// The figures of an element that does nothing.
pub(in crate::gst) fn idle_stats() -> gst::Structure {
    structure("stopped", &Stats::default(), &PlaybackStats::default(), None)
}

/// The figures as `application/x-swarm-stats`; times in ns, `GST_CLOCK_TIME_NONE` where not known.
fn structure(
    state: &str,
    stats: &Stats,
    playback: &PlaybackStats,
    position: Option<(u32, CaptureTime)>,
) -> gst::Structure {
    let live = stats.live.unwrap_or_default();
    let of_position = |value: &dyn Fn(u32, CaptureTime) -> Duration| {
        position.map_or(u64::MAX, |(number, time)| nanos_of(value(number, time)))
    };
    let nanos = nanos_of;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    gst::Structure::builder("application/x-swarm-stats")
        .field("state", state)
        .field("peers", count(stats.peers))
        .field("seeds", count(stats.seeds))
        .field("candidates", count(stats.candidates))
        .field("tried", stats.dialled)
        .field("banned", count(stats.banned))
        .field("download-rate", stats.download_rate.get())
        .field("upload-rate", stats.upload_rate.get())
        .field("bytes-downloaded", stats.downloaded)
        .field("bytes-uploaded", stats.uploaded)
        .field("bytes-wasted", stats.wasted)
        .field("bytes-verified", stats.have)
        .field("hash-failures", stats.hash_failures)
        .field("bitrate", playback.bitrate.unwrap_or(0))
        .field("buffer-bytes", playback.buffer_bytes)
        .field("buffer-time", playback.buffer_time.map_or(u64::MAX, nanos))
        .field("stalls", playback.stalls)
        .field("stall-time", nanos(playback.stall_time))
        .field("start-up-time", playback.start_up.map_or(u64::MAX, nanos))
        .field("position", position.map_or(u64::MAX, |(number, _)| number.into()))
        .field(
            "delay",
            of_position(&|_, captured| unix_time().saturating_sub(Duration::from_micros(captured.micros()))),
        )
        .field("lag", of_position(&|number, _| live.piece_time * live.newest.saturating_sub(number)))
        .field("window", nanos(live.piece_time * live.window))
        .field("standstill", live.still.map_or(u64::MAX, nanos))
        .field("dropped", playback.dropped)
        .field("rehook-ins", playback.rehooked)
        .field("bad-signatures", live.bad_stamps)
        .build()
}

fn nanos_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// By this machine's clock, since the Unix epoch.
fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// A failed read for the bus.
pub(super) fn read_failed(error: &ReadError) -> gst::ErrorMessage {
    match error {
        ReadError::Storage { message, trouble: Trouble::Full } => gst::error_msg!(
            gst::ResourceError::NoSpaceLeft,
            ("No space left: {message}. Make room, or set download-dir or a smaller cache-size")
        ),
        ReadError::Storage { message, trouble: Trouble::InUse } => gst::error_msg!(
            gst::ResourceError::Busy,
            ("Another program has this torrent: {message}. End it, or set another download-dir")
        ),
        ReadError::Storage { message, trouble: Trouble::Other } => {
            gst::error_msg!(gst::ResourceError::Write, ("Cannot keep what arrives: {message}"))
        }
        ReadError::Gone | ReadError::Flushing | ReadError::End => {
            gst::error_msg!(gst::ResourceError::Failed, ("{error}"))
        }
    }
}

fn open_failed(error: &OpenError) -> gst::ErrorMessage {
    match error {
        OpenError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            gst::error_msg!(gst::ResourceError::Busy, ("{error}"))
        }
        OpenError::Listen { .. } => gst::error_msg!(gst::ResourceError::Settings, ("{error}")),
        OpenError::Watched => gst::error_msg!(gst::ResourceError::Busy, ("{error}")),
        OpenError::Runtime(_) => gst::error_msg!(gst::ResourceError::Failed, ("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffered(position: u64) -> Buffered {
        Buffered::new(Level::FULL, vec![0..100, 300..400], position, 1_000, ByteRate(400))
    }

    #[test]
    fn the_current_range_is_the_one_that_playback_is_in() {
        assert_eq!(buffered(50).current, 0..100);
        assert_eq!(buffered(300).current, 300..400);
        assert_eq!(buffered(100).current, 100..100);
        assert_eq!(buffered(0).total, Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_is_wrong_with_the_disk_is_said() {
        for (trouble, text) in [
            (Trouble::Full, "No space left: /d: it"),
            (Trouble::InUse, "Another program has this torrent: /d: it"),
            (Trouble::Other, "Cannot keep what arrives: /d: it"),
        ] {
            let error = read_failed(&ReadError::Storage { message: "/d: it".into(), trouble }).to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn statistics_have_every_figure_from_the_start() {
        gst::init().unwrap();
        let structure = idle_stats();
        assert_eq!(structure.get("state"), Ok("stopped"));
        assert_eq!(structure.get("buffer-time"), Ok(u64::MAX));
        assert_eq!(structure.n_fields(), 27);
    }
}
