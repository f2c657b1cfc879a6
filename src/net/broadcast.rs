//! The source of a live broadcast: cuts what comes in, signs the pieces, and gives them to the engine.
//!
//! One thread does it all, and what comes in waits for it in a bounded queue. Where more comes than it can take (a
//! disk that hangs), the newest is lost, which is marked in the stream: the input never waits.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock, SystemTime};

use bytes::Bytes;

use super::jobs;
use super::sequence::{Sequence, SequenceError};
use super::session::Handle;
use super::task::Control;
use crate::metainfo::geometry::{BLOCK_LENGTH, PieceIndex};
use crate::metainfo::signer::Signer;
use crate::rate::{ByteRate, RateMeter};
use crate::stream::cutter::{Container, Cut, Cutter};
use crate::stream::live_headers::VerifiedHeaders;
use crate::stream::live_piece::{CaptureTime, Draft, Flags, payload_area, seal};
use crate::swarm::Input;
use crate::time::Instant;

/// Most bytes that wait to be cut.
const MAX_WAITING: usize = 32 * 1024 * 1024;
/// The rate of the input looks back so far.
const RATE_WINDOW: Duration = Duration::from_secs(3);
/// With nothing to do, this often.
const IDLE: Duration = Duration::from_millis(500);
/// A stream that can be recognised has been after so many bytes.
const RECOGNISED: u64 = 16 * 1024;
/// Bytes may have come so long before there was a broadcast to take them.
const BEFORE: Duration = Duration::from_secs(60);

/// What the input gives.
enum Feed {
    /// Some of the stream, and when it came.
    Bytes(Bytes, Clock),
    Headers(Bytes),
    Gap,
    End,
    Pause,
}

/// What a broadcast has done.
#[derive(Debug)]
struct Tally {
    started: Clock,
    rate: Mutex<RateMeter>,
    bytes: AtomicU64,
    pieces: AtomicU64,
    /// Number of the next piece.
    next: AtomicU64,
    lost: AtomicU64,
    waiting: AtomicUsize,
    failed: AtomicBool,
    opaque: AtomicBool,
    /// What waits is not made any more.
    hurry: AtomicBool,
}

impl Tally {
    fn new() -> Self {
        Self {
            started: Clock::now(),
            rate: Mutex::new(RateMeter::new(RATE_WINDOW)),
            bytes: AtomicU64::new(0),
            pieces: AtomicU64::new(0),
            next: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            opaque: AtomicBool::new(false),
            hurry: AtomicBool::new(false),
        }
    }

    fn count(&self, bytes: usize) {
        let now = Instant::ZERO + self.started.elapsed();
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).add(now, bytes as u64);
    }
}

/// The same for print.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct BroadcastStats {
    /// Bytes that came in.
    pub bytes: u64,
    /// Pieces made.
    pub pieces: u64,
    /// Number of the next piece.
    pub next: u64,
    /// Bytes that came faster than they could be taken, and were lost.
    pub lost: u64,
    /// Bytes/s coming in.
    pub rate: ByteRate,
    /// No piece can be made any more: the reason was logged.
    pub failed: bool,
    /// The stream is none of those that viewers can be helped to begin in the middle of.
    pub opaque: bool,
}

/// What to tell whoever makes a stream that is [`opaque`](BroadcastStats::opaque).
pub const OPAQUE: &str = "the stream is not recognised as MPEG-TS, Matroska, WebM or Ogg: it is passed on as it is, but \
                          viewers who come later may not be able to begin in the middle of it";

/// A view of what a broadcast does.
#[derive(Clone, Debug)]
pub struct Figures(Arc<Tally>);

impl Figures {
    /// What it has done.
    pub fn stats(&self) -> BroadcastStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = Instant::ZERO + self.0.started.elapsed();
        BroadcastStats {
            bytes: read(&self.0.bytes),
            pieces: read(&self.0.pieces),
            next: read(&self.0.next),
            lost: read(&self.0.lost),
            rate: self.0.rate.lock().unwrap_or_else(PoisonError::into_inner).rate(now),
            failed: self.0.failed.load(Ordering::Relaxed),
            opaque: self.0.opaque.load(Ordering::Relaxed),
        }
    }
}

/// A broadcast that is being made. It ends, without an end piece, when this is dropped.
#[derive(Debug)]
pub struct Broadcaster {
    feed: Option<Sender<Feed>>,
    tally: Arc<Tally>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Broadcaster {
    /// Starts to make pieces of the broadcast that `handle` runs (as its source). A part-filled piece is flushed
    /// after `flush_after`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        handle: Handle,
        signer: Signer,
        sequence: Sequence,
        flush_after: Duration,
    ) -> std::io::Result<Self> {
        let (feed, input) = mpsc::channel();
        let tally = Arc::new(Tally::new());
        tally.next.store(sequence.peek().into(), Ordering::Relaxed);
        let maker = Maker::new(handle, signer, sequence, flush_after, tally.clone());
        let thread = std::thread::Builder::new().name("swarm-source".to_owned());
        let thread = thread.spawn(move || maker.run(&input))?;
        Ok(Self { feed: Some(feed), tally, thread: Mutex::new(Some(thread)) })
    }

    /// Takes some of the stream. Never waits.
    pub fn push(&self, bytes: Bytes) {
        self.push_late(Clock::now(), bytes);
    }

    /// Takes some of the stream that came earlier, behind all that came before. Never waits.
    pub fn push_late(&self, came: Clock, bytes: Bytes) {
        let length = bytes.len();
        self.tally.count(length);
        if self.tally.waiting.fetch_add(length, Ordering::Relaxed) > MAX_WAITING {
            self.tally.waiting.fetch_sub(length, Ordering::Relaxed);
            self.tally.lost.fetch_add(length as u64, Ordering::Relaxed);
            return self.say(Feed::Gap);
        }
        self.say(Feed::Bytes(bytes, came));
    }

    /// What a decoder has to be given first, where the stream itself does not tell.
    pub fn set_headers(&self, headers: Bytes) {
        self.say(Feed::Headers(headers));
    }

    /// Something is missing in the stream here.
    pub fn gap(&self) {
        self.say(Feed::Gap);
    }

    /// What it does, for others to see.
    pub fn figures(&self) -> Figures {
        Figures(self.tally.clone())
    }

    /// What waits to be cut is lost from now on, so that the end does not have to wait for that.
    pub fn hurry(&self) {
        self.tally.hurry.store(true, Ordering::Relaxed);
    }

    /// Ends for good: viewers see the end of the stream behind the last piece. Waits until that is made.
    pub fn end(&self) {
        self.say(Feed::End);
        self.join();
    }

    /// Ends so that it can be taken up again: viewers are given what there is, and wait for more. Waits until that is
    /// made.
    pub fn pause(&self) {
        self.say(Feed::Pause);
        self.join();
    }

    fn say(&self, feed: Feed) {
        if let Some(input) = &self.feed {
            // Who cannot make pieces has said so.
            let _ = input.send(feed);
        }
    }

    fn join(&self) {
        // Whoever comes second waits, too.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A panic has been reported by the thread.
            let _ = thread.join();
        }
    }
}

impl Drop for Broadcaster {
    fn drop(&mut self) {
        // The thread ends when nothing can come any more.
        self.feed = None;
        self.join();
    }
}

/// The thread's work.
struct Maker {
    handle: Handle,
    signer: Signer,
    sequence: Sequence,
    cutter: Cutter,
    tally: Arc<Tally>,
    /// Where its time begins, a little before it does.
    begun: Clock,
    /// Wall time then: the clock of stamps does not jump when the machine's is set.
    epoch: Duration,
    /// How far the input is: as long as some of it waits, its time is not now.
    reached: Instant,
    /// Change counter of the headers that were signed last.
    headers: u32,
    first: bool,
    /// Bytes that the cutter was given while it was not known what they are.
    judged: Option<u64>,
    /// Nothing more comes; the last piece says so, unless whoever fed us went away without a word.
    ended: bool,
    /// ... or it is to go on in another process.
    paused: bool,
}

/// Why no piece can be made.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error("no number for a piece: {0}")]
    Sequence(#[from] SequenceError),
    #[error("a piece cannot be made: {0}")]
    Seal(#[from] crate::stream::live_piece::StampError),
}

impl Maker {
    fn new(
        handle: Handle,
        signer: Signer,
        sequence: Sequence,
        flush_after: Duration,
        tally: Arc<Tally>,
    ) -> Self {
        let area = payload_area(handle.metainfo().geometry.piece_length()).unwrap_or(1);
        let now = Clock::now();
        let begun = now.checked_sub(BEFORE).unwrap_or(now);
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let epoch = epoch.saturating_sub(now - begun);
        let cutter = Cutter::new(area as usize, flush_after);
        let first = true;
        Self {
            handle,
            signer,
            sequence,
            cutter,
            tally,
            begun,
            epoch,
            reached: Instant::ZERO,
            headers: 0,
            first,
            judged: Some(0),
            ended: false,
            paused: false,
        }
    }

    fn run(mut self, input: &Receiver<Feed>) {
        while !self.ended {
            let fed = match input.recv_timeout(self.patience()) {
                Ok(feed) => Some(feed),
                Err(RecvTimeoutError::Timeout) => {
                    self.wait_no_more();
                    None
                }
                Err(RecvTimeoutError::Disconnected) => {
                    (self.ended, self.paused) = (true, true);
                    None
                }
            };
            if let Err(error) = self.make_from(fed) {
                tracing::error!(%error, "the broadcast has ended");
                self.tally.failed.store(true, Ordering::Relaxed);
                break;
            }
        }
        if let Err(error) = self.sequence.close() {
            tracing::warn!(%error, "some numbers will be skipped");
        }
    }

    fn now(&self) -> Instant {
        self.at(Clock::now())
    }

    fn at(&self, clock: Clock) -> Instant {
        Instant::ZERO + clock.saturating_duration_since(self.begun)
    }

    /// Nothing has come: what is due goes out. Older input than now may yet come, so the time goes on no further.
    fn wait_no_more(&mut self) {
        let due = self.cutter.next_timeout().filter(|due| *due <= self.now());
        self.reached = self.reached.max(due.unwrap_or(self.reached));
    }

    fn make_from(&mut self, fed: Option<Feed>) -> Result<(), MakeError> {
        if let Some(Feed::Bytes(_, came)) = fed {
            // What was due before these bytes came goes out without them.
            self.reached = self.reached.max(self.at(came));
            self.make()?;
        }
        fed.into_iter().for_each(|feed| self.take(feed));
        self.make()
    }

    fn patience(&self) -> Duration {
        self.cutter.next_timeout().map_or(IDLE, |at| at - self.now()).min(IDLE)
    }

    fn take(&mut self, feed: Feed) {
        match feed {
            Feed::Bytes(bytes, _) => {
                self.tally.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                if self.tally.hurry.load(Ordering::Relaxed) {
                    self.tally.lost.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                } else {
                    let more = bytes.len();
                    self.cutter.push(self.reached, bytes);
                    self.look(more);
                }
            }
            Feed::Headers(headers) => {
                if let Err(error) = self.cutter.set_headers(headers) {
                    tracing::warn!(%error, "viewers will have to do without stream headers");
                }
            }
            Feed::Gap => self.cutter.gap(),
            Feed::End => {
                self.cutter.end();
                self.ended = true;
            }
            Feed::Pause => {
                // The next piece will not go on where this one ends: what there is of a packet is of no use.
                self.cutter.gap();
                (self.ended, self.paused) = (true, true);
            }
        }
    }

    /// Says once whether the stream is one that makes no sense here. What waits for the cutter says nothing yet.
    fn look(&mut self, more: usize) {
        let Some(judged) = &mut self.judged else { return };
        *judged += more as u64;
        if *judged >= RECOGNISED {
            self.judged = None;
            let opaque = self.cutter.container() == Container::Unknown;
            self.tally.opaque.store(opaque, Ordering::Relaxed);
        }
    }

    /// Makes the pieces that are due.
    fn make(&mut self) -> Result<(), MakeError> {
        let mut told_end = false;
        while let Some(cut) = self.cutter.poll(self.reached) {
            told_end = cut.end;
            self.piece(cut)?;
        }
        if self.ended && !told_end && !self.paused {
            let at = self.now();
            self.piece(Cut { payload: Bytes::new(), rap: None, discontinuity: false, end: true, at })?;
        }
        Ok(())
    }

    /// Their number is that of the piece before which they are needed: it comes only once, whenever and however often
    /// the source is started.
    fn sign_headers(&mut self, number: u32) {
        let Some((change, bytes)) = self.cutter.headers() else { return };
        if std::mem::replace(&mut self.headers, change) == change {
            return;
        }
        let signed =
            VerifiedHeaders::seal(number, bytes.clone(), self.handle.metainfo().info_hash, &self.signer);
        match signed {
            Ok(headers) => self.handle.control(Control::Made(Input::StreamHeaders(Box::new(headers)))),
            Err(error) => tracing::warn!(%error, "viewers will have to do without stream headers"),
        }
    }

    fn piece(&mut self, cut: Cut) -> Result<(), MakeError> {
        let seq = self.sequence.take()?;
        self.sign_headers(seq);
        let time = self.epoch + cut.at.since(Instant::ZERO);
        let draft = Draft {
            // The first piece does not go on where the last one before a restart ended.
            flags: Flags {
                discontinuity: cut.discontinuity || std::mem::take(&mut self.first),
                end: cut.end,
            },
            rap: cut.rap,
            seq,
            time: CaptureTime(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        };
        let metainfo = self.handle.metainfo();
        let (piece_length, info_hash) = (metainfo.geometry.piece_length(), metainfo.info_hash);
        let (bytes, stamp) = seal(draft, &[cut.payload], piece_length, info_hash, &self.signer)?;
        if let Some(piece) = self.handle.shelf().geometry().piece(seq) {
            self.lay(piece, &bytes);
        }
        self.tally.pieces.fetch_add(1, Ordering::Relaxed);
        self.tally.next.store(u64::from(seq) + 1, Ordering::Relaxed);
        self.handle.control(Control::Made(Input::Captured { stamp: Box::new(stamp) }));
        Ok(())
    }

    /// Lays a piece on the shelf, for those who are near the live point, and writes it for the others.
    fn lay(&self, piece: PieceIndex, bytes: &Bytes) {
        let step = BLOCK_LENGTH as usize;
        let blocks: Vec<_> =
            (0..bytes.len()).step_by(step).map(|at| bytes.slice(at..bytes.len().min(at + step))).collect();
        let shelf = self.handle.shelf();
        shelf.lay(piece, blocks.clone());
        // The first pieces may be there before their ring is.
        let Some(storage) = shelf.storage_at_last() else { return };
        match storage.write(piece, &blocks) {
            Ok(()) => shelf.written(piece),
            Err(error) => jobs::fail(shelf, self.handle.notices_sender(), &error),
        }
    }
}
