//! A few fixed threads that hash and touch disks, shared by all torrents of the process.
//!
//! The queue is bounded by the engines: each limits its bytes in flight and the reads of every peer.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use once_cell::sync::OnceCell;

use super::runtime;

/// Threads: hashing is worth as many as there are cores, disks are not worth more than this.
const MAX_THREADS: usize = 4;

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    work: Mutex<VecDeque<Work>>,
    ready: Condvar,
}

/// The threads. Cheap to clone.
#[derive(Clone)]
pub(super) struct Workers {
    queue: Arc<Queue>,
}

impl Workers {
    /// The process's workers, started if need be.
    pub(super) fn shared() -> io::Result<Self> {
        static WORKERS: OnceCell<Workers> = OnceCell::new();
        let threads = thread::available_parallelism().map_or(1, usize::from).clamp(1, MAX_THREADS);
        WORKERS.get_or_try_init(|| Self::start(threads, "swarm-work")).cloned()
    }

    /// The one thread on which applications are told things, in order; they may take their time there.
    pub(super) fn ears() -> io::Result<Self> {
        static EARS: OnceCell<Workers> = OnceCell::new();
        EARS.get_or_try_init(|| Self::start(1, "swarm-tell")).cloned()
    }

    fn start(threads: usize, name: &str) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        for n in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("{name}-{n}")).spawn(move || queue.run())?;
        }
        Ok(Self { queue })
    }

    /// Has a thread do this, after what was given before.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) {
        self.queue.work.lock().unwrap_or_else(PoisonError::into_inner).push_back(Box::new(work));
        self.queue.ready.notify_one();
    }
}

impl Queue {
    fn run(&self) {
        runtime::enter_thread();
        loop {
            let work = self.next();
            // A panic is a bug of ours in one job; the other torrents' jobs must go on.
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!("a worker's job panicked");
            }
        }
    }

    fn next(&self) -> Work {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(next) = work.pop_front() {
                return next;
            }
            work = self.ready.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
