//! Floor 2: from whom and for whom. The engine of one torrent as a sans-IO state machine.
//!
//! # The contract
//!
//! [`Torrent`](torrent::Torrent) is driven by one owner that knows a clock, sockets and disks (the tokio task
//! in `net`, or a host of the simulator in `sim`):
//!
//! 1. something happened: call [`handle`](torrent::Torrent::handle) with `now` and one [`Input`] (or
//!    [`connect`](torrent::Torrent::connect) for a peer that shook hands);
//! 2. drain [`poll`](torrent::Torrent::poll) until it gives [`Output::Wait`]; do what the outputs say;
//! 3. call `handle` with [`Input::Timeout`] at the latest at the instant of `Wait`.
//!
//! Same inputs, same seed, same outputs. A message or job of a peer that has left finds nobody, because peers
//! are named by generational keys.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::metainfo::geometry::{Block, PieceIndex};
use crate::rate::ByteRate;
use crate::stream::live_headers::{Headers, VerifiedHeaders};
use crate::stream::live_piece::{Stamp, VerifiedStamp};
use crate::stream::playback::Viewing;
use crate::time::Instant;
use crate::wire::handshake::Hello;
use crate::wire::message::Message;

mod admission;
mod ask;
mod blame;
mod budget;
mod calling;
pub mod candidates;
pub mod choker;
mod company;
mod dues;
pub mod event;
mod fetch;
mod futile;
mod g2g;
mod hedge;
mod invite;
mod ledger;
pub mod live;
mod live_peers;
mod live_serve;
mod live_viewers;
mod names;
mod offer;
mod partial;
pub mod peer;
mod picker;
mod pieces;
mod pipeline;
pub mod policy;
mod readers;
mod rescue;
mod serve;
pub mod serving;
mod standstill;
mod supply;
#[cfg(test)]
mod testbed;
pub mod torrent;
mod trade;
mod turns;
mod uplink;
mod verdict;

use event::{Event, ReaderId};
use live::LiveConfig;
use policy::Policy;
use serving::Serving;

slotmap::new_key_type! {
    /// A connected peer. Never reused for another one.
    pub struct PeerKey;
}

/// Who called whom.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer called us; the port of its address is not the one it listens on.
    Incoming,
    /// We called the peer.
    Outgoing,
}

/// How an address became known; better sources are tried more eagerly.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Named by the user.
    User,
    /// From a tracker.
    Tracker,
    /// It called us.
    Incoming,
}

/// Why a connection is not taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address is banned.
    #[error("the address is banned")]
    Banned,
    /// Enough peers.
    #[error("there are enough peers")]
    Full,
    /// Enough callers from the same address.
    #[error("there are enough peers from this address")]
    Crowd,
    /// The same peer is connected already.
    #[error("the peer is connected already")]
    Twice,
    /// It is ourselves.
    #[error("it is ourselves")]
    Ourselves,
    /// Neither has anything for the other.
    #[error("both are seeds")]
    BothSeeds,
}

/// What the engine is told.
#[derive(Debug)]
pub enum Input {
    /// The instant of the last [`Output::Wait`] has come.
    Timeout,
    /// Addresses that may be peers.
    Found {
        /// Where from.
        source: Source,
        /// The addresses.
        addrs: Vec<SocketAddr>,
    },
    /// A peer that was dialled could not be reached or did not shake hands.
    DialFailed {
        /// Its address.
        addr: SocketAddr,
    },
    /// A peer said something.
    Message {
        /// Who.
        peer: PeerKey,
        /// What.
        message: Message,
    },
    /// So many bytes of blocks for this peer left our queue for the network.
    Sent {
        /// To whom.
        peer: PeerKey,
        /// Payload bytes.
        bytes: u64,
    },
    /// The connection is gone.
    Closed {
        /// Whose.
        peer: PeerKey,
        /// It broke the protocol below the messages (a frame that cannot be).
        hostile: bool,
    },
    /// A worker looked at a piece.
    Verified {
        /// Which.
        piece: PieceIndex,
        /// What came out.
        verdict: Verdict,
        /// Of a live broadcast: what the source has signed.
        stamp: Option<Box<VerifiedStamp>>,
    },
    /// A worker looked at a stamp that a peer sent; `None` when the source has not signed it.
    StampChecked {
        /// Whose.
        peer: PeerKey,
        /// The stamp.
        stamp: Option<Box<VerifiedStamp>>,
        /// The oldest piece that the peer says to hold.
        oldest: Option<u32>,
    },
    /// A worker looked at stream headers that a peer sent; `None` when the source has not signed them.
    HeadersChecked {
        /// Whose.
        peer: PeerKey,
        /// The headers.
        headers: Option<Box<VerifiedHeaders>>,
    },
    /// The source made a piece; it is written.
    Captured {
        /// What was signed.
        stamp: Box<VerifiedStamp>,
    },
    /// The source has new stream headers.
    StreamHeaders(Box<VerifiedHeaders>),
    /// A worker read a block for a peer; `None` when the disk failed.
    BlockRead {
        /// For whom.
        peer: PeerKey,
        /// Which.
        block: Block,
        /// Its bytes.
        data: Option<Bytes>,
    },
    /// Something about a reader.
    Reader {
        /// Which.
        reader: ReaderId,
        /// What.
        input: ReaderInput,
    },
    /// Everything is wanted from now on, not only what readers read.
    WantAll,
    /// Others are to be served.
    Serve(Serving),
    /// New limits for payload; zero is none.
    Limits {
        /// Rate out.
        upload: ByteRate,
        /// Rate in.
        download: ByteRate,
    },
}

/// What came out of a verification.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The hash is right and the piece is written.
    Good,
    /// The hash is wrong.
    Bad,
    /// The hash is right, the storage refused.
    Unwritten,
}

/// What a reader does. Positions are bytes of the torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderInput {
    /// It begins.
    Open {
        /// Its file's bytes.
        file: Range<u64>,
        /// Bytes/s of media from the metainfo.
        bitrate: Option<u64>,
        /// Media to have before playback starts.
        start_buffer: Duration,
    },
    /// It begins to watch a live broadcast.
    Watch(Viewing),
    /// It reads these bytes now, and waits for them if they are not there.
    Read(Range<u64>),
    /// It will jump to these bytes soon, in this order.
    Expects(Vec<Range<u64>>),
    /// A flushing seek: the next read is where playback goes on.
    Flushed,
    /// The application plays (`true`) or pauses.
    Playing(bool),
    /// A sink shows media of this running time since the last flush.
    Clock(Duration),
    /// It ends.
    Close,
}

/// Work for the threads that may hash and touch disks.
#[derive(Debug)]
pub enum Job {
    /// Hash the blocks (in order, they are the piece); when right, write them. Answer: [`Input::Verified`].
    Verify {
        /// Which piece.
        piece: PieceIndex,
        /// Its bytes.
        blocks: Vec<Bytes>,
    },
    /// Read a block for a peer. Answer: [`Input::BlockRead`].
    Read {
        /// For whom.
        peer: PeerKey,
        /// Which.
        block: Block,
    },
    /// Check who signed a stamp. Answer: [`Input::StampChecked`].
    CheckStamp {
        /// Who sent it.
        peer: PeerKey,
        /// The stamp.
        stamp: Box<Stamp>,
        /// For the answer.
        oldest: Option<u32>,
    },
    /// Check who signed stream headers. Answer: [`Input::HeadersChecked`].
    CheckHeaders {
        /// Who sent them.
        peer: PeerKey,
        /// The headers.
        headers: Box<Headers>,
    },
    /// Give a piece's space back. No answer.
    Discard {
        /// Which piece.
        piece: PieceIndex,
    },
}

/// What the engine wants done.
#[derive(Debug)]
pub enum Output {
    /// Nothing to do until then (or until the next input).
    Wait(Instant),
    /// Call this address and shake hands.
    Dial {
        /// Whom.
        addr: SocketAddr,
    },
    /// End this connection. The peer is gone already as far as the engine is concerned.
    Close {
        /// Whose.
        peer: PeerKey,
    },
    /// Tell a peer something.
    Send {
        /// Whom.
        peer: PeerKey,
        /// What.
        message: Message,
    },
    /// Have a worker do this.
    Start(Job),
    /// More addresses would help.
    WantPeers,
    /// Something to tell.
    Event(Event),
}

/// How to run a torrent.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name in the swarm.
    pub hello: Hello,
    /// Where we listen, told to peers (0: nowhere).
    pub listen_port: u16,
    /// Most connected peers.
    pub max_peers: usize,
    /// Fetch everything, not only what readers want.
    pub whole: bool,
    /// Most bytes to keep; what was played is discarded beyond it.
    pub budget: Option<u64>,
    /// Limit for payload out, zero is none.
    pub upload_limit: ByteRate,
    /// Limit for payload in, zero is none.
    pub download_limit: ByteRate,
    /// Whom we serve.
    pub serving: Serving,
    /// How pieces of a film are chosen, and who is served.
    pub policy: Policy,
    /// Set for a live broadcast (whose geometry goes round, see [`Geometry::live`]).
    ///
    /// [`Geometry::live`]: crate::metainfo::geometry::Geometry::live
    pub live: Option<LiveConfig>,
}
