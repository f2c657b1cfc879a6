//! What `seed` and `get` have in common: reading a torrent, the options of the network, and what the engine
//! says while one waits.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::progress::warn;
use super::signals::Interrupt;
use super::values;
use crate::metainfo::text::escape;
use crate::metainfo::torrent::{MAX_METAINFO, Metainfo};
use crate::net::session::{Handle, Notice, Options, Place, Trackers, Trouble};
use crate::net::web::{self, is_url};
use crate::swarm::event::{State, Stats};
use crate::swarm::serving::Serving;

/// Longest wait for the trackers to hear that we leave.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Room on disk for what is fetched without a place of its own, as in the element.
const CACHE_CAP: u64 = 5 << 30;

/// How long after the end of a broadcast others may still fetch its last pieces from us.
const LAST_PIECES: Duration = Duration::from_secs(15);
/// ... but not when nobody has taken anything for so long: who waited for somebody else in vain comes to us after
/// five seconds.
const NOBODY: Duration = Duration::from_secs(8);
/// ... nor when everybody has the last piece, which is looked at so often.
const LOOK: Duration = Duration::from_millis(400);

/// The network's options.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(super) struct NetArgs {
    /// Address to listen on and to connect from [default: any]
    #[arg(long, value_name = "ADDR", value_parser = values::address)]
    pub(super) bind: Option<IpAddr>,
    /// Port to listen on; 0 takes any that is free
    #[arg(long, value_name = "P", default_value_t = 0)]
    port: u16,
    /// A peer to try besides those that the trackers name; may be repeated
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = values::peer, value_delimiter = ',')]
    peers: Vec<String>,
    /// Do not ask the torrent's trackers
    #[arg(long)]
    no_trackers: bool,
    /// Most bytes a second to others, e.g. 500KiB/s or 1M; 0 = no limit
    #[arg(long, value_name = "R", value_parser = values::rate, default_value = "0")]
    max_upload_rate: u64,
    /// Most bytes a second from others; 0 = no limit
    #[arg(long, value_name = "R", value_parser = values::rate, default_value = "0")]
    max_download_rate: u64,
    /// Most connections a torrent
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    max_peers: u16,
    /// Hash everything on disk first, whatever was noted at the last run
    #[arg(long)]
    recheck: bool,
}

impl NetArgs {
    /// The engine's options for data at this place.
    pub(super) fn options(&self, place: Place, whole: bool) -> Options {
        Options {
            place,
            trackers: !self.no_trackers,
            peers: self.peers.clone(),
            bind_address: self.bind,
            listen_port: self.port,
            max_upload_rate: self.max_upload_rate,
            max_download_rate: self.max_download_rate,
            max_peers: self.max_peers.into(),
            linger: Duration::ZERO,
            whole,
            source: false,
            serving: Serving::default(),
            recheck: self.recheck,
        }
    }
}

/// The user's own cache folder.
pub(super) fn cache() -> Place {
    Place::Cache { folder: None, cap: CACHE_CAP }
}

/// Reads a `.torrent` file's bytes.
///
/// # Errors
/// When it cannot be read or is far too large to be one.
fn read_torrent(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
    let length = metadata.len();
    ensure!(!metadata.is_dir(), "{shown} is a folder: name a torrent file in it");
    ensure!(
        length <= MAX_METAINFO as u64,
        "{shown} has {length} bytes: too large for a torrent file (is it the film?)"
    );
    std::fs::read(path).with_context(|| format!("cannot read the torrent {shown}"))
}

/// Reads a torrent file's bytes from the web where this is a URL, else from disk.
fn fetch_torrent(place: &Path, bind: Option<IpAddr>) -> anyhow::Result<Vec<u8>> {
    match place.to_str().filter(|_| !place.exists()) {
        Some(url) if is_url(url) => block_on(async {
            let fetched = web::fetch(url, MAX_METAINFO, bind).await;
            fetched.with_context(|| format!("cannot fetch {url}"))
        }),
        Some(other) if other.contains("://") || other.starts_with("magnet:") => {
            bail!("{other} cannot be read: name a torrent file, or an http:// or https:// URL of one")
        }
        _ => read_torrent(place),
    }
}

/// Reads a torrent from disk or from the web, whether or not what is in it can be had.
///
/// # Errors
/// When the file cannot be read or is not a torrent.
pub(super) fn read(place: &Path, bind: Option<IpAddr>) -> anyhow::Result<Metainfo> {
    let bytes = fetch_torrent(place, bind)?;
    Metainfo::parse(&bytes).with_context(|| unusable(place))
}

/// Reads a torrent from disk or from the web, to have what is in it.
///
/// # Errors
/// When the file cannot be read or is not a torrent that can be fetched.
pub(super) fn load(place: &Path, bind: Option<IpAddr>, allow_unsigned: bool) -> anyhow::Result<Metainfo> {
    let metainfo = read(place, bind)?;
    metainfo.playable(allow_unsigned).with_context(|| unusable(place))?;
    Ok(metainfo)
}

/// Reads a torrent from disk, to share what is in it.
///
/// # Errors
/// When the file cannot be read or is not a torrent that can be shared.
pub(super) fn load_file(path: &Path) -> anyhow::Result<Metainfo> {
    let metainfo = Metainfo::parse(&read_torrent(path)?).with_context(|| unusable(path))?;
    metainfo.playable(false).with_context(|| unusable(path))?;
    Ok(metainfo)
}

fn unusable(path: &Path) -> String {
    format!("{} cannot be used", path.display())
}

/// Opens a torrent in the engine.
///
/// # Errors
/// When the engine cannot listen or start.
pub(super) fn open(metainfo: Arc<Metainfo>, options: Options) -> anyhow::Result<Engine> {
    let handle = crate::net::session::open(metainfo, options)
        .context("the network cannot be used (another --port or --bind may help)")?;
    Ok(Engine { notices: handle.notices(), handle, checked: None, silence: None, failure: None })
}

/// Waits while the last pieces of a broadcast, and word of its end, are on their way to others. Who is asked to end
/// meanwhile does; who was before is a little quicker.
pub(super) async fn let_them_finish(handle: &Handle, interrupt: &Interrupt) {
    let asked_before = interrupt.is_set();
    let (begun, mut quiet, mut sent) = (Instant::now(), Instant::now(), handle.stats().uploaded);
    while begun.elapsed() < LAST_PIECES && quiet.elapsed() < NOBODY {
        // The figures are a moment old: what was made last does not count at once.
        tokio::time::sleep(LOOK).await;
        if interrupt.is_set() && !asked_before {
            return;
        }
        let stats = handle.stats();
        if std::mem::replace(&mut sent, stats.uploaded) != stats.uploaded {
            quiet = Instant::now();
        } else if stats.live.is_none_or(|live| live.behind == 0)
            || asked_before && quiet.elapsed() > PATIENCE / 3
        {
            return;
        }
    }
}

/// A running torrent and what was heard of it.
pub(super) struct Engine {
    /// The engine's door.
    pub(super) handle: Handle,
    notices: Receiver<Notice>,
    /// Pieces looked at, and how many there are.
    checked: Option<(u32, u32)>,
    /// Why no tracker answered, as the user was told.
    silence: Option<String>,
    failure: Option<(String, Trouble)>,
}

impl Engine {
    /// Takes in what was said since the last time.
    pub(super) fn listen(&mut self) {
        loop {
            match self.notices.try_recv() {
                Ok(notice) => self.on_notice(notice),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let trackers = self.handle.trackers();
        self.on_silence(trackers.failure.filter(|_| trackers.answered == 0));
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Checking { done, total } => self.checked = Some((done, total)),
            Notice::StorageFailed { message, trouble } => self.failure = Some((message, trouble)),
            Notice::Listening(_) | Notice::Peers { .. } | Notice::Completed => {}
        }
    }

    /// Without a tracker there may be nobody: that is said at once, and again when the reason changes.
    fn on_silence(&mut self, why: Option<String>) {
        if let Some(why) = why.as_ref().filter(|why| self.silence.as_ref() != Some(why)) {
            warn(&format!("{}: no tracker answers: {why}", escape(&self.handle.metainfo().name)));
        }
        self.silence = why;
    }

    /// The disk's failure, if it failed, and what to do: fit for print.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.as_ref().map(|(message, trouble)| advice(message, *trouble))
    }

    /// Why its data cannot be opened, if so.
    pub(super) fn unopened(&self) -> Option<String> {
        self.failure().filter(|_| self.handle.stats().state == State::Checking)
    }

    /// Bytes looked at so far while the disk is being checked.
    pub(super) fn checked_bytes(&self) -> u64 {
        let (done, total) = self.checked.unwrap_or((0, 1));
        let all = self.handle.metainfo().geometry.total();
        u64::try_from(u128::from(all) * u128::from(done) / u128::from(total.max(1))).unwrap_or(all)
    }

    /// Why nothing comes, in words: which stage is waited for, and how far it is.
    pub(super) fn waiting_for(&self, stats: &Stats) -> String {
        let peers = match (stats.peers, stats.dialled) {
            (0, 0) => "no peer known".to_owned(),
            (0, tried) => format!("no peer connected, {tried} tried"),
            (peers, _) => format!("{peers} peers, none gives yet"),
        };
        let Trackers { known, asked, answered, .. } = self.handle.trackers();
        let trackers = match (known, asked) {
            _ if self.handle.metainfo().trackers.is_empty() => "the torrent names no tracker".to_owned(),
            (0, _) => "trackers are not asked".to_owned(),
            (_, 0) => "asking trackers".to_owned(),
            _ => format!("{answered} of {asked} trackers answered"),
        };
        format!("{peers}; {trackers}")
    }
}

/// What the disk said, and what to do about it.
pub(super) fn advice(message: &str, trouble: Trouble) -> String {
    match trouble {
        Trouble::InUse => format!("{message}; end that one, or give another folder with --dir"),
        Trouble::Full => {
            format!("{message}; what is there is kept: make room and run the same command again")
        }
        Trouble::Other => format!(
            "{message}; what is there is kept: mend that and run the same command again, or give another folder \
             with --dir"
        ),
    }
}

/// A folder to put files in: made if it is not there.
///
/// # Errors
/// When it cannot be made.
pub(super) fn make_folder(path: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(path)
        .with_context(|| format!("cannot make the folder {}: choose another one", path.display()))?;
    Ok(path.to_owned())
}

/// Waits for an asynchronous thing on a small runtime of the command's own.
///
/// # Errors
/// When its threads cannot be started.
pub(super) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("swarm-cli")
        .enable_all()
        .build()
        .context("cannot start threads: too many processes?")?;
    let result = runtime.block_on(future);
    // A thread that hangs in a write to a player must not hold the process.
    runtime.shutdown_background();
    result
}
