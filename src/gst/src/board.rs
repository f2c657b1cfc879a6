//! Where the streaming thread and the engine leave word for the element's messenger.
//!
//! Invariant: bounded by design, since only the latest level is kept: a 100 that was overtaken by a new episode
//! before anyone saw it joins the two. Leaving word never waits for the application.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::gst::messages::Level;

/// The board of one playback.
pub(super) struct Board {
    slots: Mutex<Slots>,
    bell: Condvar,
    started: Instant,
    /// Microseconds from `started` at which the read that waits began, plus one; 0 = none.
    waiting_since: AtomicU64,
    /// Reads that gave bytes.
    served: AtomicU64,
}

struct Slots {
    level: Level,
    news: bool,
    /// The end of the file was handed out: nobody waits for a buffer any more.
    ended: bool,
    failed: bool,
    stopped: bool,
}

/// What the messenger finds.
pub(super) struct News {
    /// How full the buffer is.
    pub level: Level,
    /// A read failed for good.
    pub failed: bool,
}

impl Board {
    pub(super) fn new() -> Self {
        let slots = Slots { level: Level::FULL, news: false, ended: false, failed: false, stopped: false };
        Self {
            slots: Mutex::new(slots),
            bell: Condvar::new(),
            started: Instant::now(),
            waiting_since: AtomicU64::new(0),
            served: AtomicU64::new(0),
        }
    }

    /// The engine's view of the buffer.
    pub(super) fn set_level(&self, level: Level) {
        self.change(|slots| slots.level = if slots.ended { Level::FULL } else { level });
    }

    /// How full the buffer is.
    pub(super) fn level(&self) -> Level {
        self.slots().level
    }

    /// The last byte went out: whatever episode was open is over.
    pub(super) fn end(&self) {
        self.change(|slots| (slots.ended, slots.level) = (true, Level::FULL));
    }

    /// Playback starts over somewhere else.
    pub(super) fn flush(&self) {
        self.slots().ended = false;
    }

    /// A read failed for good.
    pub(super) fn fail(&self) {
        self.change(|slots| slots.failed = true);
    }

    /// No message after this.
    pub(super) fn stop(&self) {
        self.change(|slots| slots.stopped = true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.slots().stopped
    }

    /// Runs a read, known to the messenger as long as it lasts; the first one that gives bytes rings.
    pub(super) fn during<T, E>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.waiting_since.store(micros(self.started.elapsed()) + 1, Ordering::Relaxed);
        let result = read();
        self.waiting_since.store(0, Ordering::Relaxed);
        if result.is_ok() && self.served.fetch_add(1, Ordering::Release) == 0 {
            self.change(|_| {});
        }
        result
    }

    /// Reads that gave bytes so far.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Acquire)
    }

    /// For how long the current read has been waiting.
    pub(super) fn waiting(&self) -> Option<Duration> {
        let since = self.waiting_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.started.elapsed().saturating_sub(Duration::from_micros(since)))
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits for news, or until `patience` is over; `None` after [`Self::stop`].
    pub(super) fn wait(&self, patience: Duration) -> Option<News> {
        let quiet = |slots: &mut Slots| !slots.news && !slots.stopped;
        let waited = self.bell.wait_timeout_while(self.slots(), patience, quiet);
        let (mut slots, _) = waited.unwrap_or_else(PoisonError::into_inner);
        slots.news = false;
        (!slots.stopped).then_some(News { level: slots.level, failed: slots.failed })
    }

    fn change(&self, how: impl FnOnce(&mut Slots)) {
        let mut slots = self.slots();
        how(&mut slots);
        slots.news = true;
        drop(slots);
        self.bell.notify_one();
    }

    /// Nothing that can panic runs under this lock.
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(percent: u8) -> Level {
        Level { percent, ..Level::FULL }
    }

    #[test]
    fn the_latest_level_is_found_and_the_end_fills_it_until_a_flush() {
        let board = Board::new();
        board.set_level(level(3));
        board.set_level(level(5));
        assert_eq!(board.wait(Duration::MAX).unwrap().level, level(5));
        board.end();
        board.set_level(level(6));
        assert_eq!(board.wait(Duration::MAX).unwrap().level, Level::FULL);
        board.flush();
        board.set_level(level(7));
        assert_eq!(board.wait(Duration::ZERO).unwrap().level, level(7));
    }

    #[test]
    fn nothing_is_found_after_the_stop() {
        let board = Board::new();
        board.set_level(level(3));
        board.stop();
        assert!(board.is_stopped() && board.wait(Duration::MAX).is_none());
    }

    #[test]
    fn a_read_is_known_while_it_waits_and_only_success_counts() {
        let board = Board::new();
        assert_eq!(board.during(|| board.waiting().map(|_| ()).ok_or(())), Ok(()));
        assert_eq!(board.during(|| Err::<(), _>("no")), Err("no"));
        assert_eq!((board.waiting(), board.served()), (None, 1));
        assert!(board.wait(Duration::MAX).is_some(), "the first bytes ring");
    }
}
