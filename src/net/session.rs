//! The door of the engine for elements and commands: open a torrent, read from it, look at it.
//!
//! One engine a process and info-hash: a second `open` of the same torrent gets the same one, and it lives on
//! for `linger` after its last handle is dropped. Nothing here waits for the network or for the disk.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use super::listen::{Listener, Visitor};
pub use super::live_reader::{LivePiece, LiveReader};
pub use super::reader::Reader;
use super::runtime;
use super::shelf::Shelf;
use super::task::{self, Control, Notify};
use super::workers::Workers;
use crate::metainfo::torrent::Metainfo;
use crate::store::StoreError;
pub use crate::store::place::Place;
use crate::stream::playback::Viewing;
use crate::swarm::event::{ReaderId, Stats};
use crate::swarm::serving::Serving;
use crate::swarm::{Input, ReaderInput};
use crate::wire::ids::InfoHash;

/// Notices kept for a listener that is slow; older ones are lost to it.
const NOTICES: usize = 64;

/// How to run a torrent. What the first opener says holds; later openers add their peers and set the limits, and a
/// broadcast's source says whom to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its bytes are kept.
    pub place: Place,
    /// Ask the torrent's trackers.
    pub trackers: bool,
    /// Peers to try, `host:port`.
    pub peers: Vec<String>,
    /// Address to listen on and to dial from (`None`: any).
    pub bind_address: Option<IpAddr>,
    /// Port to listen on; 0 = any.
    pub listen_port: u16,
    /// Bytes/s up; 0 = no limit.
    pub max_upload_rate: u64,
    /// Bytes/s down; 0 = no limit.
    pub max_download_rate: u64,
    /// Most connections.
    pub max_peers: usize,
    /// How long to go on seeding after the last handle is gone.
    pub linger: Duration,
    /// Fetch everything, not only what a reader wants (`swarm seed`, `swarm get`).
    pub whole: bool,
    /// We make this live broadcast: nothing is asked of others.
    pub source: bool,
    /// Whom we serve.
    pub serving: Serving,
    /// Hash everything on disk before starting, whatever the resume file says.
    pub recheck: bool,
}

/// What a handle's owner is told. Kept in a bounded queue; the oldest are lost when nobody listens.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The engine listens here.
    Listening(SocketAddr),
    /// Checking what is on disk.
    Checking {
        /// Pieces looked at.
        done: u32,
        /// Pieces to look at.
        total: u32,
    },
    /// Peers tried and connected so far.
    Peers {
        /// Connection attempts.
        tried: u64,
        /// Connected now.
        connected: usize,
    },
    /// Everything wanted is there.
    Completed,
    /// The disk failed; readers get the same error.
    StorageFailed {
        /// What to tell the user, escaped for print.
        message: String,
        /// In one word.
        trouble: Trouble,
    },
}

/// How the trackers answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trackers {
    /// Trackers that may be asked: those of the torrent, unless none are to be.
    pub known: usize,
    /// Those asked so far.
    pub asked: usize,
    /// Those that answered at least once.
    pub answered: usize,
    /// The last failure of one that never answered, escaped for print.
    pub failure: Option<String>,
}

/// What a reader's owner is told; called in order on a thread that holds no lock and drives nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderNotice {
    /// 0..=99 while waiting for the start rule, then 100 exactly once per episode.
    Buffering {
        /// Percent.
        percent: u8,
        /// Bytes/s in.
        rate_in: u64,
        /// Bytes/s of media (0 = not known).
        rate_out: u64,
        /// Time until 100, where it can be told.
        left: Option<Duration>,
    },
}

/// What is wrong with a storage, as far as users can do something about it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No space left (`ENOSPC`, `EDQUOT`).
    Full,
    /// Another process has the torrent open in the same place.
    InUse,
    /// Anything else.
    Other,
}

impl From<&StoreError> for Trouble {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Full { .. } => Self::Full,
            StoreError::Locked { .. } => Self::InUse,
            _ => Self::Other,
        }
    }
}

/// Why a torrent cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The port is taken or the address is not ours.
    #[error("cannot listen on {addr}: {source}; choose another port or address")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The engine's threads cannot be started.
    #[error("cannot start the engine's threads: {0}")]
    Runtime(#[from] std::io::Error),
    /// What is to be broadcast is open already, and not as its source.
    #[error("this process has the broadcast open already, as a viewer or at another port: end that first")]
    Watched,
}

/// Why a read gives nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// [`Reader::set_flushing`] was called.
    #[error("the read was cancelled")]
    Flushing,
    /// At or behind the end of the file.
    #[error("end of file")]
    End,
    /// The disk failed (message is fit for users, escaped).
    #[error("{message}")]
    Storage {
        /// What to tell the user.
        message: String,
        /// In one word.
        trouble: Trouble,
    },
    /// The engine ended under the reader.
    #[error("the engine has ended")]
    Gone,
}

/// A running torrent. Cheap to clone; the engine ends `linger` after the last clone is dropped.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// What the clones of all handles of one torrent share.
pub(super) struct Shared {
    metainfo: Arc<Metainfo>,
    shelf: Arc<Shelf>,
    controls: mpsc::UnboundedSender<Control>,
    notices: broadcast::Sender<Notice>,
    listener: Arc<Listener>,
    readers: AtomicU32,
    linger: Mutex<Duration>,
}

/// An engine that runs, and how often it was left by its last handle.
struct Running {
    shelf: Arc<Shelf>,
    controls: mpsc::UnboundedSender<Control>,
    notices: broadcast::Sender<Notice>,
    listener: Arc<Listener>,
    metainfo: Arc<Metainfo>,
    /// It is the source of this live broadcast.
    source: bool,
    /// Of the current generation of handles.
    shared: std::sync::Weak<Shared>,
    generation: u64,
}

static RUNNING: Mutex<BTreeMap<InfoHash, Running>> = Mutex::new(BTreeMap::new());

/// Opens a torrent in this process's engine.
///
/// # Errors
/// When the engine's threads or its listening socket cannot be made, or a broadcast is open and not as its source.
pub fn open(metainfo: Arc<Metainfo>, options: Options) -> Result<Handle, OpenError> {
    let mut running = running();
    let info_hash = metainfo.info_hash;
    if let Some(engine) = running.get_mut(&info_hash).filter(|e| e.is_usable()) {
        if options.source && !(engine.source && engine.listener.addr().port() == options.listen_port) {
            return Err(OpenError::Watched);
        }
        let shared = engine.shared.upgrade().unwrap_or_else(|| engine.share(options.linger));
        let handle = Handle { shared };
        handle.set_limits(options.max_upload_rate, options.max_download_rate);
        handle.control(Control::Join { peers: options.peers, whole: options.whole });
        if options.source {
            handle.control(Control::Made(Input::Serve(options.serving)));
        }
        return Ok(handle);
    }
    if let Some(failed) = running.remove(&info_hash) {
        // It has ended, or its disk failed: a new one may have more luck.
        let _ = failed.controls.send(Control::Stop { done: None });
    }
    let runtime = runtime::handle()?;
    let workers = Workers::shared()?;
    let listener = Listener::shared(&runtime, options.bind_address, options.listen_port)
        .map_err(|(addr, source)| OpenError::Listen { addr, source })?;
    let (controls, orders) = mpsc::unbounded_channel();
    let mut engine = Running {
        shelf: Arc::new(Shelf::new(metainfo.engine_geometry())),
        controls,
        notices: broadcast::channel(NOTICES).0,
        listener: Arc::clone(&listener),
        metainfo,
        source: options.source,
        shared: std::sync::Weak::new(),
        generation: 0,
    };
    let shared = engine.share(options.linger);
    runtime.spawn(task::run(task::Parts {
        metainfo: Arc::clone(&engine.metainfo),
        options,
        shelf: Arc::clone(&engine.shelf),
        listener,
        workers,
        orders,
        notices: engine.notices.clone(),
    }));
    running.insert(info_hash, engine);
    Ok(Handle { shared })
}

impl Handle {
    /// What the torrent is.
    pub fn metainfo(&self) -> &Arc<Metainfo> {
        &self.shared.metainfo
    }

    /// Its figures, at most half a second old.
    pub fn stats(&self) -> Arc<Stats> {
        self.shared.shelf.stats()
    }

    /// How its trackers answer.
    pub fn trackers(&self) -> Trackers {
        self.shared.shelf.trackers()
    }

    /// Why its disk refused, if it did; fit for print.
    pub fn failure(&self) -> Option<String> {
        self.shared.shelf.failure()
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.listener.addr()
    }

    /// Verified ranges of a part of the torrent's byte space, in order, merged.
    pub fn ranges(&self, within: &Range<u64>) -> Vec<Range<u64>> {
        self.shared.shelf.ranges(within)
    }

    /// What happens from now on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.shared.notices.subscribe()
    }

    /// More peers, `host:port`.
    pub fn add_peers(&self, peers: Vec<String>) {
        self.control(Control::Join { peers, whole: false });
    }

    /// New limits in bytes/s; 0 = none.
    pub fn set_limits(&self, upload: u64, download: u64) {
        self.control(Control::Limits { upload, download });
    }

    /// A reader of one file (its index in the layout). `notify` is called in order, off the caller's threads.
    pub fn reader(
        &self,
        file: usize,
        buffer_time: Duration,
        notify: Box<dyn Fn(ReaderNotice) + Send + Sync>,
    ) -> Reader {
        let id = ReaderId(self.shared.readers.fetch_add(1, Ordering::Relaxed));
        let metainfo = self.metainfo();
        let range = metainfo.layout.files.get(file).map_or(0..0, |f| f.range.clone());
        self.control(Control::Listen { reader: id, notify: Notify::from(notify) });
        let input = ReaderInput::Open {
            file: range.clone(),
            bitrate: metainfo.bitrate(Some(file)),
            start_buffer: buffer_time,
        };
        self.control(Control::Reader { reader: id, input });
        Reader::new(self.clone(), id, range)
    }

    /// A viewer of a live broadcast. `notify` as for [`Handle::reader`].
    pub fn live_reader(
        &self,
        viewing: Viewing,
        notify: Box<dyn Fn(ReaderNotice) + Send + Sync>,
    ) -> LiveReader {
        let id = ReaderId(self.shared.readers.fetch_add(1, Ordering::Relaxed));
        self.control(Control::Listen { reader: id, notify: Notify::from(notify) });
        self.control(Control::Reader { reader: id, input: ReaderInput::Watch(viewing) });
        LiveReader::new(self.clone(), id)
    }

    /// Ends now, without linger: saves, tells the trackers `stopped`, and returns when that is done or after
    /// `patience`.
    pub async fn shut_down(self, patience: Duration) {
        let (done, ended) = oneshot::channel();
        self.control(Control::Stop { done: Some(done) });
        // Late or lost, the engine ends by itself.
        let _ = tokio::time::timeout(patience, ended).await;
    }

    /// Callers at its port that do not speak BitTorrent come here from now on.
    pub(super) fn visitors(&self) -> mpsc::Receiver<Visitor> {
        self.shared.listener.visitors()
    }

    pub(super) fn notices_sender(&self) -> &broadcast::Sender<Notice> {
        &self.shared.notices
    }

    pub(super) fn shelf(&self) -> &Shelf {
        &self.shared.shelf
    }

    pub(super) fn control(&self, control: Control) {
        // An engine that has ended has closed its shelf, and readers are told there.
        let _ = self.shared.controls.send(control);
    }
}

impl Running {
    fn is_usable(&self) -> bool {
        !self.controls.is_closed() && !self.shelf.has_failed()
    }

    /// A new generation of handles.
    fn share(&mut self, linger: Duration) -> Arc<Shared> {
        self.generation += 1;
        let shared = Arc::new(Shared {
            metainfo: Arc::clone(&self.metainfo),
            shelf: Arc::clone(&self.shelf),
            controls: self.controls.clone(),
            notices: self.notices.clone(),
            listener: Arc::clone(&self.listener),
            // Ids of an earlier generation are not used again.
            readers: AtomicU32::new(u32::try_from(self.generation << 16).unwrap_or_default()),
            linger: Mutex::new(linger),
        });
        self.shared = Arc::downgrade(&shared);
        shared
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Ok(runtime) = runtime::handle() else { return };
        let info_hash = self.metainfo.info_hash;
        let linger = *self.linger.get_mut().unwrap_or_else(PoisonError::into_inner);
        let generation = running().get(&info_hash).map_or(0, |e| e.generation);
        runtime.spawn(async move {
            tokio::time::sleep(linger).await;
            let mut running = running();
            let idle = |e: &Running| e.generation == generation && e.shared.strong_count() == 0;
            if running.get(&info_hash).is_some_and(idle)
                && let Some(engine) = running.remove(&info_hash)
            {
                // The task may have ended by itself.
                let _ = engine.controls.send(Control::Stop { done: None });
            }
        });
    }
}

fn running() -> MutexGuard<'static, BTreeMap<InfoHash, Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
