//! All that makes a live broadcast: its files, its engine, its tracker and its pages, on one port.
//!
//! In a folder lie `NAME.tstream` (what viewers open), `NAME.sauth` (the private key, for the owner's eyes only),
//! `NAME.restart` (the next piece's number) and `NAME` (the ring of pieces). A broadcast that was made before is
//! taken up again under the same key, so that its viewers go on.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rand::TryRng as _;
use rand::rngs::SysRng;

use super::aux_seeds::{AuxSeeds, NoAddress};
use super::berth::Berth;
use super::broadcast::Broadcaster;
use super::pages;
use super::replacing::{replace, with_ending};
use super::sequence::{Sequence, SequenceError};
use super::session::{self, Handle, OpenError, Options, Place};
use super::tracker::Tracker;
use crate::discovery::tracker::{Config, Policy};
use crate::metainfo::create::CreateError;
use crate::metainfo::geometry::GeometryError;
use crate::metainfo::keys::{KeyError, RANDOM, SigningKey};
use crate::metainfo::playtime;
use crate::metainfo::signer::Signer;
use crate::metainfo::text::escape;
use crate::metainfo::torrent::{MAX_METAINFO, Metainfo, MetainfoError};
use crate::metainfo::tstream::{self, Auth, Draft, LiveError};
use crate::rate::ByteRate;
use crate::store::place;
use crate::swarm::serving::Serving;

/// How much of a stream its ring holds, if nobody says otherwise.
pub const DEFAULT_DURATION: Duration = Duration::from_secs(60 * 60);
/// How much of it viewers keep, if that is not more than they can.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(15 * 60);
/// Bytes in a piece.
pub const DEFAULT_PIECE_LENGTH: u32 = 32 * 1024;
/// Longest key file that is read.
const MAX_KEY: u64 = 16 * 1024;
/// Most broadcasts of one name that are kept beside the new one.
const MAX_OLD: usize = 1_000;
/// What to do about a file of a broadcast that is not as it should be. The option and the property have one name.
const RIGHT_OR_NEW: &str = "put the right one there, or begin another broadcast (--new, new=true)";
/// Most connected viewers.
const MAX_PEERS: usize = 500;
/// Viewers tell the tracker this often that they are there, ...
const ANNOUNCE_EVERY: Duration = Duration::from_secs(120);
/// ... and ask it this often at most when they are short of neighbours.
const ASK_EVERY: Duration = Duration::from_secs(15);

/// What to broadcast, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The broadcast's name, also that of its files.
    pub name: String,
    /// Where its files are.
    pub folder: PathBuf,
    /// The port of peers, tracker and pages.
    pub port: u16,
    /// Address to listen on (`None`: any).
    pub bind: Option<IpAddr>,
    /// The host that viewers find us under, as it is written into the `.tstream`.
    pub host: String,
    /// Trackers besides our own.
    pub trackers: Vec<String>,
    /// Bytes/s.
    pub bitrate: u64,
    /// How much of the stream the ring holds.
    pub duration: Duration,
    /// How much of it viewers keep.
    pub window: Duration,
    /// Bytes.
    pub piece_length: u32,
    /// A part-filled piece goes out after this time.
    pub flush_after: Duration,
    /// A JPEG.
    pub thumbnail: Option<Bytes>,
    /// What to call it.
    pub title: Option<String>,
    /// Begin a new broadcast, whatever is there.
    pub anew: bool,
    /// A new broadcast is not signed.
    pub unsigned: bool,
    /// Bytes/s up; 0 = no limit.
    pub max_upload_rate: u64,
    /// Most viewers that are served at a time.
    pub uploads: Option<NonZeroU32>,
    /// Viewers that are always served, besides.
    pub aux_seeds: AuxSeeds,
}

/// A broadcast on air.
pub struct Station {
    /// The engine.
    pub handle: Handle,
    /// Takes the stream.
    pub broadcaster: Broadcaster,
    /// Its tracker.
    pub tracker: Tracker,
    /// What viewers open.
    pub tstream: PathBuf,
    /// It was made before, and is taken up again.
    pub resumed: bool,
}

/// Why there is no broadcast. Fit for print.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    /// A file cannot be read or written.
    #[error("{path} cannot be used: {source}; mend that, or choose another folder")]
    Io {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The folder is not there, or cannot be written to.
    #[error("{tstream} cannot be made in {folder}: {source}; make that folder, or choose another one")]
    Folder {
        /// The broadcast.
        tstream: String,
        /// Where it should be.
        folder: String,
        /// The system's error.
        source: io::Error,
    },
    /// The name cannot be that of a file.
    #[error("'{0}' cannot be the name of a broadcast: it has to be a file's name, without folders")]
    Name(String),
    /// Nobody would find the source there.
    #[error(
        "'{0}' is no host under which viewers can find this machine: write a name or an address, such as tv.example.org, \
         192.0.2.7 or 2001:db8::7, without a port (announce-address)"
    )]
    Host(String),
    /// The key file holds none.
    #[error("{path} holds no key: {source}; {RIGHT_OR_NEW}")]
    Key {
        /// The file.
        path: String,
        /// What is wrong.
        source: KeyError,
    },
    /// The `.tstream` is none.
    #[error("{path} is no broadcast's: {source}; {RIGHT_OR_NEW}")]
    Tstream {
        /// The file.
        path: String,
        /// What is wrong.
        source: MetainfoError,
    },
    /// The `.tstream` is not of this key.
    #[error("{tstream} was not made with the key in {key}: {RIGHT_OR_NEW}")]
    OtherKey {
        /// The broadcast.
        tstream: String,
        /// The key's file.
        key: String,
    },
    /// A `.tstream` without its key.
    #[error(
        "{tstream} is there, but not its key {key}: if it is another's broadcast, choose another name or folder; else \
         {RIGHT_OR_NEW}"
    )]
    NoKey {
        /// The broadcast.
        tstream: String,
        /// Where the key should be.
        key: String,
    },
    /// Somebody else's file has the name of one of the broadcast's.
    #[error(
        "{path} is there already, and is none of a broadcast's files: choose another name or folder, or move that file \
         away"
    )]
    Taken {
        /// The file.
        path: String,
    },
    /// Two would use the same numbers.
    #[error("{tstream} is on air already, {by}: end that first, or choose another name", by = by(*.pid))]
    OnAir {
        /// The broadcast.
        tstream: String,
        /// Who broadcasts it, where it can be told.
        pid: Option<u32>,
    },
    /// An auxiliary seeder cannot be found.
    #[error("{0}")]
    AuxSeed(#[from] NoAddress),
    /// What is to be written makes no broadcast.
    #[error("the broadcast cannot be made: {source}{advice}")]
    Draft {
        /// What is wrong.
        source: CreateError,
        /// What to do about it, where that can be told.
        advice: String,
    },
    /// The counter is broken.
    #[error("{0}")]
    Sequence(#[from] SequenceError),
    /// The network cannot be used.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// No thread or no randomness.
    #[error("the system is out of something: {0}")]
    System(io::Error),
}

/// The files of a broadcast.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) tstream: PathBuf,
    key: PathBuf,
    pub(super) restart: PathBuf,
    ring: PathBuf,
}

impl Station {
    /// Goes on air at the berth that was taken for this plan. Has to be called inside a tokio runtime.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the plan makes no broadcast.
    pub fn open(plan: &Plan, berth: Berth) -> Result<Self, StationError> {
        // The listener stays until the engine has it.
        let Berth { files, listener, lock, old } = berth;
        let resumed = old.is_some();
        let (metainfo, signer) = old.map_or_else(|| files.make(plan, listener.addr().port()), Ok)?;
        // A new broadcast has another key file.
        let lock = lock.filter(|_| !plan.anew).map_or_else(|| files.lock(), |lock| Ok(Some(lock)))?;
        let lock = lock.ok_or_else(|| failed(&files.key, io::ErrorKind::NotFound.into()))?;
        let sequence = Sequence::open(&files.restart)?.locked(lock);
        let metainfo = Arc::new(metainfo);
        let handle = session::open(Arc::clone(&metainfo), plan.options())?;
        let policy = Policy::Only([metainfo.info_hash].into());
        let broadcaster = Broadcaster::start(handle.clone(), signer, sequence, plan.flush_after);
        let broadcaster = broadcaster.map_err(StationError::System)?;
        let bytes = fs::read(&files.tstream).map_err(|error| failed(&files.tstream, error))?;
        let pages = pages::of(&handle, bytes.into(), broadcaster.figures());
        let runtime = tokio::runtime::Handle::current();
        let tracker = Tracker::beside_peers(&runtime, &handle, tracker_of_viewers(), policy, pages);
        Ok(Self { handle, broadcaster, tracker, tstream: files.tstream, resumed })
    }

    /// Where the `.tstream` sends viewers: a host, as it is written in a URL, and a port.
    pub fn promised(&self) -> Option<(String, u16)> {
        let url = reqwest::Url::parse(self.handle.metainfo().trackers.first()?.first()?).ok()?;
        Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
    }
}

impl Plan {
    /// What cannot be put right later.
    pub(super) fn check(&self) -> Result<(), StationError> {
        if is_host(&self.host) { Ok(()) } else { Err(StationError::Host(escape(&self.host))) }
    }

    /// Whether the broadcast was made before, and is taken up again.
    pub fn takes_up(&self) -> bool {
        !self.anew && self.folder.join(format!("{}.tstream", self.name)).exists()
    }

    fn options(&self) -> Options {
        Options {
            place: Place::Folder(self.folder.clone()),
            trackers: true,
            peers: Vec::new(),
            bind_address: self.bind,
            listen_port: self.port,
            max_upload_rate: self.max_upload_rate,
            max_download_rate: 0,
            max_peers: MAX_PEERS,
            linger: Duration::ZERO,
            whole: false,
            source: true,
            serving: Serving {
                most: self.uploads.map(|most| most.get() as usize),
                always: self.aux_seeds.addresses().clone(),
            },
            recheck: false,
        }
    }

    /// The properties of swarmsink and the options of `swarm live` have the same names.
    fn refused(&self, source: CreateError) -> StationError {
        let pieces = matches!(
            source,
            CreateError::Geometry(GeometryError::Pieces(_)) | CreateError::Live(LiveError::Pieces(_))
        );
        let advice = match pieces {
            true => format!(
                ", for {} of a stream of {} in pieces of {} bytes; set another piece-length or duration, or the \
                 bitrate if it is not that",
                playtime::format(self.duration),
                ByteRate(self.bitrate),
                self.piece_length
            ),
            false => String::new(),
        };
        StationError::Draft { source, advice }
    }

    fn draft(&self, key: &SigningKey, port: u16) -> Draft {
        let pieces = |time| tstream::pieces_for(self.bitrate, time, self.piece_length, self.flush_after);
        let (pieces, window) = (pieces(self.duration), pieces(self.window));
        let ours = format!("http://{}:{port}/announce", in_url(&self.host));
        let trackers = std::iter::once(ours).chain(self.trackers.iter().cloned());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Draft {
            name: self.name.clone(),
            piece_length: self.piece_length,
            pieces,
            auth: Auth::ours(&key.verifying_key(), !self.unsigned),
            window: Some(window),
            trackers: trackers.map(|url| vec![url]).collect(),
            speed: Some(self.bitrate),
            title: self.title.clone(),
            description: None,
            thumbnail: self.thumbnail.clone(),
            creation_date: i64::try_from(now.as_secs()).ok(),
            created_by: Some(concat!("gst-plugin-swarm ", env!("CARGO_PKG_VERSION")).to_owned()),
        }
    }
}

impl Files {
    pub(super) fn new(plan: &Plan) -> Result<Self, StationError> {
        let name = &plan.name;
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(StationError::Name(escape(name)));
        }
        let file = |ending: &str| plan.folder.join(format!("{name}{ending}"));
        let (tstream, key, restart) = (file(".tstream"), file(".sauth"), file(".restart"));
        Ok(Self { tstream, key, restart, ring: file("") })
    }

    /// What was not made here is not to be written over. Whatever is in the way of a broadcast of ours, `--new` puts
    /// aside.
    pub(super) fn refuse_others(&self) -> Result<(), StationError> {
        if self.tstream.exists() || self.key.exists() {
            return Ok(());
        }
        let there = |path: &&PathBuf| fs::symlink_metadata(path).is_ok();
        match [&self.ring, &self.tstream, &self.key, &self.restart].into_iter().find(there) {
            Some(path) => Err(StationError::Taken { path: shown(path) }),
            None => Ok(()),
        }
    }

    /// Keeps other processes from this broadcast, if it was made already.
    pub(super) fn lock(&self) -> Result<Option<File>, StationError> {
        let file = match File::open(&self.key) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&self.key, error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(self.on_air()),
            Err(TryLockError::Error(error)) => Err(failed(&self.key, error)),
        }
    }

    fn on_air(&self) -> StationError {
        let info_hash = self.metainfo().ok().map(|metainfo| metainfo.info_hash);
        let folder = self.tstream.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let pid = info_hash.and_then(|info_hash| place::held_by(folder, &info_hash));
        StationError::OnAir { tstream: shown(&self.tstream), pid }
    }

    /// Nothing is ever written over: what was there keeps its name with `.old` behind it, or a number more.
    fn put_aside(&self) -> Result<(), StationError> {
        let files = [&self.restart, &self.ring, &self.tstream, &self.key];
        let endings = (1_u32..).map(|n| if n == 1 { ".old".to_owned() } else { format!(".old{n}") });
        let free = |ending: &String| files.iter().all(|path| !with_ending(path, ending).exists());
        let Some(ending) = endings.take(MAX_OLD).find(free) else {
            return Err(failed(&with_ending(&self.key, ".old"), io::ErrorKind::AlreadyExists.into()));
        };
        for path in files.into_iter().filter(|path| path.exists()) {
            fs::rename(path, with_ending(path, &ending)).map_err(|error| failed(path, error))?;
        }
        Ok(())
    }

    pub(super) fn take_up(&self) -> Result<(Metainfo, Signer), StationError> {
        let (tstream, key_file) = (shown(&self.tstream), shown(&self.key));
        let Some(key) = self.key()? else { return Err(StationError::NoKey { tstream, key: key_file }) };
        let metainfo = self.metainfo()?;
        let signer = signer(&metainfo, key);
        Ok((metainfo, signer.ok_or(StationError::OtherKey { tstream, key: key_file })?))
    }

    /// A new broadcast. Nothing is changed before it is known that it can be one. A key without a `.tstream` is used
    /// again, and its numbers go on.
    fn make(&self, plan: &Plan, port: u16) -> Result<(Metainfo, Signer), StationError> {
        let old = if plan.anew { None } else { self.key()? };
        if old.is_some() && self.restart.exists() {
            Sequence::open(&self.restart)?;
        }
        let key = old.clone().map_or_else(draw_key, Ok)?;
        let bytes = tstream::encode(&plan.draft(&key, port)).map_err(|error| plan.refused(error))?;
        if plan.anew {
            self.put_aside()?;
        }
        if old.is_none() {
            self.save_key(&key)?;
        }
        Sequence::begin(&self.restart)?;
        replace(&self.tstream, &bytes).map_err(|error| failed(&self.tstream, error))?;
        let signer = if plan.unsigned { Signer::Nobody } else { Signer::Key(key) };
        Ok((self.metainfo()?, signer))
    }

    fn metainfo(&self) -> Result<Metainfo, StationError> {
        let bytes = read(&self.tstream, MAX_METAINFO as u64)?;
        Metainfo::parse(&bytes).map_err(|source| StationError::Tstream { path: shown(&self.tstream), source })
    }

    fn key(&self) -> Result<Option<SigningKey>, StationError> {
        if !self.key.exists() {
            return Ok(None);
        }
        let text = read(&self.key, MAX_KEY)?;
        let bad = |source| StationError::Key { path: shown(&self.key), source };
        let text = String::from_utf8(text).map_err(|_| bad(KeyError::Pem))?;
        SigningKey::from_pem(&text).map(Some).map_err(bad)
    }

    fn save_key(&self, key: &SigningKey) -> Result<(), StationError> {
        let mut file = OpenOptions::new();
        let file = file.write(true).create_new(true).mode(0o600).open(&self.key);
        let written = file.and_then(|mut file| {
            file.write_all(key.to_pem().as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| failed(&self.key, error))
    }
}

fn by(pid: Option<u32>) -> String {
    pid.map_or_else(|| "by another process".to_owned(), |pid| format!("by process {pid}"))
}

fn draw_key() -> Result<SigningKey, StationError> {
    loop {
        let mut random = [0; RANDOM];
        let drawn = SysRng.try_fill_bytes(&mut random);
        drawn.map_err(|error| StationError::System(io::Error::other(error)))?;
        // One in four billion draws is no key.
        if let Ok(key) = SigningKey::from_random(&random) {
            return Ok(key);
        }
    }
}

/// Viewers come and go: those who have gone are soon not named any more.
fn tracker_of_viewers() -> Config {
    Config { interval: ANNOUNCE_EVERY, min_interval: ASK_EVERY, ..Config::default() }
}

/// Who signs a broadcast of ours; `None` when it is of another key.
fn signer(metainfo: &Metainfo, key: SigningKey) -> Option<Signer> {
    let auth = &metainfo.live.as_ref()?.auth;
    match Auth::ours(&key.verifying_key(), true) == *auth {
        true => Some(Signer::Key(key)),
        false => (Auth::ours(&key.verifying_key(), false) == *auth).then_some(Signer::Nobody),
    }
}

/// A host as it is written in a URL.
pub fn in_url(host: &str) -> Cow<'_, str> {
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    if bare_v6 { format!("[{host}]").into() } else { host.into() }
}

/// Whether this is a name or an address, and nothing more.
fn is_host(text: &str) -> bool {
    let url = reqwest::Url::parse(&format!("http://{}", in_url(text)));
    let rest = |url: &reqwest::Url| {
        url.port().is_some() || url.path() != "/" || url.query().is_some() || url.fragment().is_some()
    };
    url.is_ok_and(|url| !rest(&url) && url.username().is_empty() && url.password().is_none())
}

/// The address that others in the network are likely to find us under: that from which we would reach them.
pub fn own_address(bind: Option<IpAddr>) -> String {
    let probe = || {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
        // Nothing is sent: this only asks the system for a route.
        socket.connect(("192.0.2.1", 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let ip = bind.filter(|ip| !ip.is_unspecified()).or_else(probe);
    ip.map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string())
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, StationError> {
    let length = fs::metadata(path).map_err(|error| failed(path, error))?.len();
    if length > most {
        return Err(failed(path, io::Error::other(format!("{length} bytes are too many"))));
    }
    fs::read(path).map_err(|error| failed(path, error))
}

fn failed(path: &Path, source: io::Error) -> StationError {
    StationError::Io { path: shown(path), source }
}

pub(super) fn shown(path: &Path) -> String {
    escape(&path.to_string_lossy())
}
