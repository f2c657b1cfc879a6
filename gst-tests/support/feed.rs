//! What a broadcast is fed with: bytes at a pace, and a note of when each was handed over.

use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::transport::{PACKET, packets};
use super::wait;

/// The stream is handed over in portions of so much time.
const PORTION: Duration = Duration::from_millis(5);
/// How long a reader may keep the feed waiting.
const PATIENCE: Duration = Duration::from_secs(30);

/// A thread that writes the [stream](super::transport) into something, until it is told to stop.
pub struct Feed {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    /// Number of the next packet.
    next: AtomicU64,
    /// When all packets before these had been written.
    written: Mutex<Vec<(u64, Instant)>>,
}

impl Feed {
    /// Writes from packet `from` on, so many packets a second; from where it stopped with the next one.
    pub fn start(to: impl Write + Send + 'static, from: u64, packets_per_second: u64) -> Self {
        Self::run(to, from..u64::MAX, packets_per_second, packets)
    }

    /// Writes these bytes, so many a second, and ends behind the last one. Its packets are bytes.
    pub fn bytes(to: impl Write + Send + 'static, bytes: Arc<Vec<u8>>, bytes_per_second: u64) -> Self {
        let all = 0..bytes.len() as u64;
        Self::run(to, all, bytes_per_second, move |run| bytes[run.start as usize..run.end as usize].to_vec())
    }

    fn run(
        mut to: impl Write + Send + 'static,
        all: Range<u64>,
        per_second: u64,
        bytes: impl Fn(Range<u64>) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let Range { start, end } = all;
        let shared =
            Shared { stop: AtomicBool::new(false), next: AtomicU64::new(start), written: Mutex::default() };
        let shared = Arc::new(shared);
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let (begun, mut at) = (Instant::now(), start);
            while at < end && !theirs.stop.load(Ordering::SeqCst) {
                let due = start + begun.elapsed().as_micros() as u64 * per_second / 1_000_000;
                let due = due.min(end);
                // A reader that was killed takes no more: the test knows.
                if due > at && to.write_all(&bytes(at..due)).is_err() {
                    return;
                }
                at = at.max(due);
                theirs.wrote(at);
                thread::park_timeout(PORTION);
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// Number of the packet that comes next.
    pub fn next(&self) -> u64 {
        self.shared.next.load(Ordering::SeqCst)
    }

    /// Waits until so many packets more have been written.
    pub fn until_more(&self, packets: u64) {
        let end = self.next() + packets;
        wait::until(
            "the feed to go on",
            PATIENCE,
            || self.next() >= end,
            || format!("{} of {end}", self.next()),
        );
    }

    /// Since when all packets before this one have been written.
    pub fn written_at(&self, packet: u64) -> Option<Instant> {
        let written = self.shared.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.get(written.partition_point(|(next, _)| *next < packet)).map(|(_, at)| *at)
    }

    /// Ends it: whoever reads sees the end of its input. Gives the number of the first packet that was not written.
    pub fn stop(mut self) -> u64 {
        self.end();
        self.next()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic has been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn wrote(&self, next: u64) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.last().is_none_or(|(last, _)| *last < next) {
            written.push((next, Instant::now()));
        }
        self.next.store(next, Ordering::SeqCst);
    }
}

/// Packets a second that are so many bytes a second.
pub const fn packets_per_second(bytes: u64) -> u64 {
    bytes / PACKET as u64
}
