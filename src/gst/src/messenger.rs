//! Posts an element's messages, on a thread of its own.
//!
//! An application's bus handlers run inside `post_message` and take as long as they like, so neither the
//! engine's threads nor the streaming thread post: they leave word on the [`Board`]. One thread a playback also
//! keeps the messages in order. It ends by itself soon after the stop and is never waited for, because it may
//! be inside a handler that waits for whoever stops us.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use gst::prelude::*;
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

use super::board::{Board, News};
use super::waiting::{Stages, Waiting, Word};
use crate::gst::messages::{self, Episode};
use crate::net::session::{Handle, Notice};

/// A read that waits no longer than this is not worth a word.
const PATIENCE: Duration = Duration::from_millis(250);
/// How often to look at a wait before the first bytes, and later.
const LOOKS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// The thread's state.
struct Messenger {
    element: glib::WeakRef<super::SwarmSrc>,
    board: Arc<Board>,
    handle: Handle,
    notices: Receiver<Notice>,
    stages: Stages,
    /// Somebody was connected some time.
    met: bool,
    waiting: Waiting,
    episode: Episode,
    served: u64,
}

/// Starts the messenger of one playback. It ends with [`Board::stop`].
pub(super) fn start(element: &super::SwarmSrc, board: Arc<Board>, handle: Handle) -> io::Result<()> {
    let messenger = Messenger {
        element: element.downgrade(),
        notices: handle.notices(),
        board,
        handle,
        stages: Stages::default(),
        met: false,
        waiting: Waiting::default(),
        episode: Episode::default(),
        served: 0,
    };
    std::thread::Builder::new().name("swarm-messages".into()).spawn(|| messenger.run()).map(drop)
}

impl Messenger {
    fn run(mut self) {
        while let Some(news) = self.board.wait(LOOKS[usize::from(self.served > 0)]) {
            self.read_notices();
            let source = self.words_of_source(&news);
            for word in self.words(&news).into_iter().chain(source) {
                self.post(|src| match &word {
                    Word::Progress(how, code, text) => {
                        gst::message::Progress::builder(*how, code, text).src(src).build()
                    }
                    Word::Info(text) => messages::info(src, gst::ResourceError::Read, text),
                    Word::Warning(text) => {
                        gst::message::Warning::builder(gst::ResourceError::NotFound, text).src(src).build()
                    }
                });
            }
            if self.episode.is_news(news.level.percent) {
                self.post(|src| messages::buffering(src, &news.level));
            }
        }
    }

    fn words(&mut self, news: &News) -> Vec<Word> {
        if news.failed {
            return self.waiting.failed();
        }
        let stats = self.handle.stats();
        self.met |= stats.peers > 0;
        let served = self.board.served();
        if std::mem::replace(&mut self.served, served) != served {
            return self.waiting.served();
        }
        if self.board.waiting().is_none_or(|time| time < PATIENCE) {
            return Vec::new();
        }
        let metainfo = self.handle.metainfo();
        self.stages.trackers = self.handle.trackers();
        self.stages.named = !metainfo.trackers.is_empty();
        self.stages.live = metainfo.live.is_some();
        (self.stages.tried, self.stages.connected) = (stats.dialled, stats.peers);
        self.stages.met = self.met;
        self.waiting.look(self.board.now(), &self.stages)
    }

    fn words_of_source(&mut self, news: &News) -> Option<Word> {
        let stats = self.handle.stats();
        let live = stats.live.filter(|_| self.served > 0 && !news.failed)?;
        self.waiting.look_at_source(live.still, stats.peers)
    }

    fn read_notices(&mut self) {
        loop {
            match self.notices.try_recv() {
                Ok(Notice::Checking { done, total }) => self.stages.checked = Some((done, total)),
                // Peers are counted by the statistics, trackers elsewhere, and readers get the disk's errors themselves.
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn post(&self, message: impl FnOnce(&gst::Object) -> gst::Message) {
        if self.board.is_stopped() {
            return;
        }
        if let Some(element) = self.element.upgrade() {
            let message = message(element.upcast_ref());
            // Without a bus nobody wants to know.
            let _ = element.post_message(message);
        }
    }
}
