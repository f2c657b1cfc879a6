//! What the engine tells whoever drives it, in words and in figures.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use crate::metainfo::geometry::PieceIndex;
use crate::rate::ByteRate;

/// Something happened that someone may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece failed its hash.
    HashFailed(PieceIndex),
    /// An address is not dealt with any more.
    Banned {
        /// Whose.
        addr: IpAddr,
        /// For what.
        why: Ban,
    },
    /// Everything wanted is there.
    Completed,
    /// What a decoder of a live broadcast has to be given first.
    StreamHeaders(Bytes),
    /// A live viewer goes on somewhere else.
    Moved {
        /// Which reader.
        reader: ReaderId,
        /// The number of the piece.
        to: u32,
        /// Why.
        why: Moved,
    },
    /// How full a reader's playback buffer is while it waits for the start rule: 0..=100; 100 once, last.
    Buffering {
        /// Which reader.
        reader: ReaderId,
        /// Percent.
        percent: u8,
        /// Media left in the buffer, where the bitrate is known.
        level: Option<Duration>,
        /// Time until 100, where it can be told.
        left: Option<Duration>,
    },
}

/// Why a live viewer goes on somewhere else.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It enters the broadcast, for the first time or anew; the next random access point is where to begin.
    HookedIn,
    /// So many pieces did not come in time.
    Dropped {
        /// How many.
        pieces: u64,
    },
}

/// Why an address is banned.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Ban {
    /// It gave a piece that failed its hash.
    BadData,
    /// It broke the protocol.
    Protocol,
}

/// One consumer of the torrent's bytes, named by its driver.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(pub u32);

/// Where the torrent stands.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Looking at what is on disk already.
    #[default]
    Checking,
    /// Fetching.
    Downloading,
    /// Everything wanted is there.
    Seeding,
    /// The disk failed: it keeps what it has and gives it to others.
    Failed,
}

impl State {
    /// A word for statistics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Downloading => "downloading",
            Self::Seeding => "seeding",
            Self::Failed => "failed",
        }
    }
}

/// The torrent in figures. Bytes are payload unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Where it stands.
    pub state: State,
    /// Connected peers.
    pub peers: usize,
    /// Connected peers that have everything.
    pub seeds: usize,
    /// Known addresses that are not connected.
    pub candidates: usize,
    /// Connection attempts made.
    pub dialled: u64,
    /// Connections in progress.
    pub dialling: usize,
    /// Rate in.
    pub download_rate: ByteRate,
    /// Rate out.
    pub upload_rate: ByteRate,
    /// Bytes in.
    pub downloaded: u64,
    /// Bytes out.
    pub uploaded: u64,
    /// Bytes in that were of no use: duplicates, and pieces that failed.
    pub wasted: u64,
    /// Bytes in that failed their hash (also counted as wasted).
    pub corrupt: u64,
    /// Verified bytes.
    pub have: u64,
    /// Verified pieces.
    pub pieces: u32,
    /// Pieces that failed their hash.
    pub hash_failures: u64,
    /// Banned addresses.
    pub banned: usize,
    /// Of a live broadcast.
    pub live: Option<LiveStats>,
    /// Addresses of connected peers with their own figures.
    pub connections: Vec<PeerStats>,
}

/// A live broadcast in figures.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveStats {
    /// Number of the newest piece that is known to exist.
    pub newest: u32,
    /// Its capture time where we hold it, µs since the Unix epoch by the source's clock.
    pub newest_time: Option<u64>,
    /// Pieces from the oldest that is kept to the newest.
    pub window: u32,
    /// Bytes/s of media.
    pub bitrate: u64,
    /// Media time of a piece.
    pub piece_time: Duration,
    /// For how long a viewer has heard of no new piece, where that is longer than usual: the source is gone, or nobody
    /// who could tell is in reach.
    pub still: Option<Duration>,
    /// Stamps that the source had not signed.
    pub bad_stamps: u64,
    /// Peers that have not said yet that they have the newest piece that we hold.
    pub behind: usize,
}

/// One connected peer in figures.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStats {
    /// Its address.
    pub addr: SocketAddr,
    /// Client name of the BEP 10 handshake, a stranger's text.
    pub client: Option<String>,
    /// Pieces that it has.
    pub pieces: u32,
    /// Rate from it.
    pub download_rate: ByteRate,
    /// Rate to it.
    pub upload_rate: ByteRate,
    /// It chokes us.
    pub choking: bool,
    /// We choke it.
    pub choked: bool,
    /// Requests under way.
    pub requests: usize,
}

/// A reader's playback in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaybackStats {
    /// Verified media ahead of the playhead, bytes.
    pub buffer_bytes: u64,
    /// The same in time, where the bitrate is known.
    pub buffer_time: Option<Duration>,
    /// Stalls after playback had started.
    pub stalls: u64,
    /// Time spent in them.
    pub stall_time: Duration,
    /// From opening to the start rule being met.
    pub start_up: Option<Duration>,
    /// Bytes/s of media.
    pub bitrate: Option<u64>,
    /// Live pieces that did not come in time and were given up.
    pub dropped: u64,
    /// Times that a live viewer was hooked in anew.
    pub rehooked: u64,
}
