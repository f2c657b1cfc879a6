//! A broadcast on air, and its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::claim::Claim;
use super::farewell::{Farewell, LOOK_EVERY};
use super::input::Item;
use super::{CAT, errors};
use crate::metainfo::text::escape;
use crate::net::berth::Berth;
use crate::net::broadcast::{BroadcastStats, Broadcaster, Figures, OPAQUE};
use crate::net::runtime;
use crate::net::session::{Handle, Notice, OpenError};
use crate::net::station::{Plan, Station, StationError};
use crate::net::tracker::Tracker;
use crate::rate::ByteRate;
use crate::swarm::event::Stats;

/// A socket of the broadcast that was here before may be on its way out: so often, and so long each time.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// A station that works.
pub(super) struct OnAir {
    handle: Handle,
    broadcaster: Broadcaster,
    figures: Figures,
    /// It answers as long as it is here.
    _tracker: Tracker,
    notices: Mutex<Receiver<Notice>>,
    claim: Arc<Claim>,
    /// Where viewers find it.
    words: String,
    ended: AtomicBool,
    warned: AtomicBool,
}

impl OnAir {
    /// Goes on air. Reads and writes some small files, and waits for nobody.
    pub(super) fn open(plan: &Plan, berth: Berth, claim: Arc<Claim>) -> Result<Self, StationError> {
        let runtime = runtime::handle().map_err(StationError::System)?;
        let _inside = runtime.enter();
        let station = Station::open(plan, berth)?;
        let words = words(&station, plan.bitrate);
        let Station { handle, broadcaster, tracker, .. } = station;
        Ok(Self {
            words,
            figures: broadcaster.figures(),
            notices: Mutex::new(handle.notices()),
            handle,
            broadcaster,
            _tracker: tracker,
            claim,
            ended: AtomicBool::new(false),
            warned: AtomicBool::new(false),
        })
    }

    /// Where viewers find it, fit for print.
    pub(super) fn words(&self) -> &str {
        &self.words
    }

    /// Takes something of the stream, and when it came. Never waits.
    pub(super) fn give(&self, came: Instant, item: Item) {
        match item {
            Item::Bytes(bytes) => self.broadcaster.push_late(came, bytes),
            Item::Headers(headers) => self.broadcaster.set_headers(headers),
            Item::Gap => self.broadcaster.gap(),
        }
    }

    /// Ends the stream; waits until the last piece is made.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.broadcaster.end();
    }

    /// Lets the end come at once, whatever still waits to be made into pieces.
    pub(super) fn hurry(&self) {
        self.broadcaster.hurry();
    }

    /// Whether the stream has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Looks after those who fetch the last pieces.
    pub(super) fn farewell(&self, linger: Duration) -> Farewell {
        Farewell::new(Instant::now(), linger, self.handle.stats().uploaded)
    }

    /// Whether somebody still does.
    pub(super) fn is_wanted(&self, farewell: &mut Farewell) -> bool {
        let stats = self.handle.stats();
        farewell.goes_on(Instant::now(), stats.peers, stats.uploaded)
    }

    /// Ends all of it, in the background: the stream at once, the rest when the viewers have the last pieces.
    pub(super) fn leave(self: Arc<Self>, linger: Duration) {
        self.hurry();
        let goodbye = move || {
            self.end();
            self.claim.release();
            let mut farewell = self.farewell(linger);
            while self.is_wanted(&mut farewell) {
                thread::sleep(LOOK_EVERY);
            }
        };
        // Without a thread it ends here and now, and viewers do without the last pieces.
        if let Err(error) = thread::Builder::new().name("swarm-goodbye".to_owned()).spawn(goodbye) {
            gst::warning!(CAT, "no thread to end a broadcast in an orderly way: {error}");
        }
    }

    /// What makes it useless to go on, the first time that it is asked for.
    pub(super) fn trouble(&self) -> Option<gst::ErrorMessage> {
        if self.figures.stats().failed {
            return Some(errors::no_more_pieces());
        }
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match notices.try_recv() {
                Ok(Notice::StorageFailed { message, trouble }) => {
                    return Some(errors::storage(&message, trouble));
                }
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// What is not as it should be, although it goes on; told once.
    pub(super) fn warning(&self) -> Option<&'static str> {
        let due = self.figures.stats().opaque && !self.warned.swap(true, Ordering::Relaxed);
        due.then_some(OPAQUE)
    }

    /// Another limit, bytes/s.
    pub(super) fn set_limit(&self, upload: u64) {
        self.handle.set_limits(upload, 0);
    }

    /// What came in and what went out.
    pub(super) fn stats(&self) -> (BroadcastStats, Arc<Stats>) {
        (self.figures.stats(), self.handle.stats())
    }
}

/// Where viewers find a broadcast: its address, and its `.tstream`.
fn words(station: &Station, bitrate: u64) -> String {
    let (metainfo, path) = (station.handle.metainfo(), escape(&station.tstream.to_string_lossy()));
    let file = match station.resumed {
        true => format!("{path} is taken up again"),
        false => format!("{path} is made, for {} ({} kbit/s)", ByteRate(bitrate), bitrate * 8 / 1000),
    };
    match metainfo.trackers.iter().flatten().next() {
        Some(url) => {
            let (base, name) = (escape(url.trim_end_matches("/announce")), escape(&metainfo.name));
            format!("on air at {base}/ ({name}.tstream there); {file}")
        }
        None => format!("on air; {file}"),
    }
}

/// Takes the port, and looks at the files. Waits for nobody, or hardly.
pub(super) fn berth(plan: &Plan) -> Result<Berth, StationError> {
    let mut tries = 1;
    loop {
        match Berth::take(plan) {
            Err(error) if is_taken(&error) && tries < TRIES => thread::sleep(BETWEEN_TRIES),
            berth => return berth,
        }
        tries += 1;
    }
}

/// Looks up the names in a plan. Waits for that.
pub(super) fn resolve(plan: &mut Plan) -> Result<(), StationError> {
    let runtime = runtime::handle().map_err(StationError::System)?;
    Ok(runtime.block_on(plan.aux_seeds.resolve())?)
}

fn is_taken(error: &StationError) -> bool {
    matches!(error, StationError::Open(OpenError::Listen { source, .. })
        if source.kind() == std::io::ErrorKind::AddrInUse)
}
