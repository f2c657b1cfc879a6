//! `swarm get` of a live broadcast: its stream, from now on, to a pipe or a file.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use serde::Serialize;

use super::download::Patience;
use super::engine::{self, NetArgs, PATIENCE};
use super::exit::{Exit, Usage};
use super::get::{Args, gave_up};
use super::output;
use super::progress::{Status, say};
use super::signals::Interrupt;
use super::sink::{self, End};
use crate::metainfo::text::escape;
use crate::metainfo::torrent::Metainfo;
use crate::net::session::{Handle, LiveReader, Place, ReaderNotice};
use crate::stream::hole::StallPolicy;
use crate::stream::playback::Viewing;
use crate::swarm::event::{PlaybackStats, State};

/// How often status and `--json` are renewed.
const TICK: Duration = Duration::from_secs(1);
/// Seconds without a new piece after which it is said that the source is waited for.
const TOO_LONG: u64 = 3;
/// How far behind the live point to begin unless the user says otherwise.
pub(super) const BUFFER: Duration = Duration::from_secs(10);

/// Where the stream goes, and how.
pub(super) struct Watch<'a> {
    pub(super) args: &'a Args,
    pub(super) net: &'a NetArgs,
    pub(super) buffer: Duration,
}

impl Watch<'_> {
    /// Watches until the broadcast ends, or the user has enough.
    pub(super) async fn run(&self, metainfo: Arc<Metainfo>, interrupt: &Interrupt) -> anyhow::Result<Exit> {
        let place = self.args.dir.clone().map_or_else(engine::cache, Place::Folder);
        let out = self.out()?;
        let name = escape(&metainfo.name);
        let mut engine = engine::open(metainfo, self.net.options(place, false))?;
        let reader = watched(&engine.handle, self.buffer);
        let pump = Arc::clone(&reader);
        let written = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&written);
        // Whoever asks for more has written all before.
        let read = move |before| {
            counter.store(before, Ordering::Relaxed);
            let piece = pump.next()?;
            Ok(piece.headers.into_iter().chain(piece.payload).collect())
        };
        let mut ended = sink::start(read, Some(out))?;
        let (mut status, mut patience) = (Status::new(), Patience::new(self.args.give_up));
        let end = loop {
            engine.listen();
            let report = Report::new(&engine.handle, &reader);
            let waiting = || engine.waiting_for(&engine.handle.stats());
            let line = match (report.pieces, report.still_ms.unwrap_or(0) / 1_000) {
                (0, _) => format!("{name}: {}", waiting()),
                (_, ..TOO_LONG) => format!("{name}: {}", report.words()),
                (_, time) => {
                    format!("{name}: waiting for the source, nothing new for {time} s; {}", waiting())
                }
            };
            status.show(std::slice::from_ref(&line), &line);
            if self.args.json {
                output::json(&report)?;
            }
            if let Some(why) = engine.failure() {
                anyhow::bail!("{why}");
            }
            let waits = engine.handle.stats().state != State::Checking;
            if patience.is_over(report.downloaded, waits) {
                break None;
            }
            tokio::select! {
                end = &mut ended => break Some(end.context("the thread that writes the output panicked")??),
                _ = interrupt.asked() => break Some(End::Stopped),
                () = tokio::time::sleep(TICK) => {}
            }
        };
        drop(status);
        reader.set_flushing(true);
        let last = Report::new(&engine.handle, &reader);
        let lacked = engine.waiting_for(&engine.handle.stats());
        if end == Some(End::Complete) {
            engine::let_them_finish(&engine.handle, interrupt).await;
        }
        engine.handle.clone().shut_down(PATIENCE).await;
        let written = written.load(Ordering::Relaxed);
        if written == 0 {
            self.remove_empty();
        }
        say(&format!("{name}: {written} bytes, {} dropped pieces", last.dropped));
        Ok(match end {
            Some(End::Complete | End::Closed) => Exit::Done,
            Some(End::Stopped) => Exit::Interrupted,
            None => {
                say(&format!("{name}: {}", gave_up(self.args.give_up, &lacked)));
                Exit::Partial
            }
        })
    }

    /// A file without content is of no use, and in the way of the next try.
    fn remove_empty(&self) {
        let empty =
            |path: &&Path| path.symlink_metadata().is_ok_and(|file| file.is_file() && file.len() == 0);
        if let Some(path) = self.args.output.as_deref().filter(empty) {
            // If it stays, nothing is lost but order.
            let _ = fs::remove_file(path);
        }
    }

    fn out(&self) -> anyhow::Result<File> {
        match self.args.output.as_deref() {
            None => {
                Err(Usage::new("this is a live broadcast: say where its stream is to go, -o - or -o FILE")
                    .into())
            }
            Some(path) if path == Path::new("-") => sink::stdout(),
            Some(path) => {
                if !sink::is_stream(path) {
                    output::check_free(path, self.args.force)?;
                }
                let mut file = File::options();
                file.write(true).create(true).truncate(true);
                file.open(path).with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }
}

/// A reader whose stream is taken to be watched as it comes, since a pipe has no clock: by somebody who pauses while
/// told to wait.
fn watched(handle: &Handle, buffer: Duration) -> Arc<LiveReader> {
    let viewer = Arc::new(OnceLock::<Weak<LiveReader>>::new());
    let waits = Arc::new(AtomicBool::new(false));
    let (ear, told) = (Arc::clone(&viewer), Arc::clone(&waits));
    let notify = move |notice| {
        let ReaderNotice::Buffering { percent, .. } = notice;
        told.store(percent < 100, Ordering::SeqCst);
        if let Some(reader) = ear.get().and_then(Weak::upgrade) {
            reader.set_playing(percent == 100);
        }
    };
    let reader = Arc::new(
        handle.live_reader(Viewing { buffer, policy: StallPolicy::Auto, max_lag: None }, Box::new(notify)),
    );
    // It is set once only, here.
    let _ = viewer.set(Arc::downgrade(&reader));
    reader.set_playing(!waits.load(Ordering::SeqCst));
    reader
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    pieces: u32,
    newest: u32,
    peers: usize,
    download_rate: u64,
    upload_rate: u64,
    downloaded: u64,
    uploaded: u64,
    /// Milliseconds of media that are there and not given yet.
    buffer_ms: Option<u64>,
    /// Milliseconds since the newest piece at hand was captured, by this machine's clock and the source's.
    delay_ms: Option<i64>,
    /// Milliseconds for which no new piece has been heard of, when the source is waited for.
    still_ms: Option<u64>,
    dropped: u64,
    stalls: u64,
    rehooked: u64,
    bad_stamps: u64,
    banned: usize,
}

impl Report {
    fn new(handle: &Handle, reader: &LiveReader) -> Self {
        let stats = handle.stats();
        let PlaybackStats { buffer_time, dropped, stalls, rehooked, .. } = reader.stats();
        let live = stats.live.unwrap_or_default();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        Self {
            pieces: stats.pieces,
            newest: live.newest,
            peers: stats.peers,
            download_rate: stats.download_rate.get(),
            upload_rate: stats.upload_rate.get(),
            downloaded: stats.downloaded,
            uploaded: stats.uploaded,
            buffer_ms: buffer_time.map(millis),
            still_ms: live.still.map(millis),
            delay_ms: reader
                .position()
                .map(|(_, time)| now - i64::try_from(time.micros() / 1000).unwrap_or(0)),
            dropped,
            stalls,
            rehooked,
            bad_stamps: live.bad_stamps,
            banned: stats.banned,
        }
    }

    fn words(&self) -> String {
        let seconds = |ms: i64| format!("{}.{} s", ms / 1000, ms % 1000 / 100);
        let delay = self.delay_ms.map_or_else(|| "?".to_owned(), seconds);
        format!(
            "{delay} behind, in {}, out {}, {} peers, {} dropped, {} stalls",
            crate::rate::ByteRate(self.download_rate),
            crate::rate::ByteRate(self.upload_rate),
            self.peers,
            self.dropped,
            self.stalls
        )
    }
}
