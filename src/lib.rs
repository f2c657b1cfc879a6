//! Plays media from a BitTorrent swarm while it downloads: a GStreamer plugin and the command `swarm`.
//!
//! # The house
//!
//! Ten rooms on five floors; imports go down only (`gst-tests/floors.rs` sees to it).
//!
//! ```text
//!    gst      cli          floor 4  doors: elements, command line
//!     |  \   / |
//!     |   net  sim         floor 3  who drives: tokio and sockets, or a made world; neither knows the other
//!     |    \   /
//!     |  swarm ── discovery ── store       floor 2  who decides (only swarm uses its neighbour stream)
//!     |     |
//!     |  stream
//!     |     |
//!    metainfo              floor 1  what a torrent is
//!       |
//!     wire                 floor 0  what bytes mean        and time, rate beside them
//! ```
//!
//! * [`wire`]: bencode, handshake, messages, trackers' protocols. Pure functions.
//! * [`metainfo`]: `.torrent` and `.tstream` files, keys, pieces and blocks, files and their safe names.
//! * [`stream`]: what a reader wants and by when: playhead, sets, bitrate, start rule, starving.
//! * [`swarm`]: from whom and for whom: the sans-IO engine of one torrent, [`swarm::torrent::Torrent`].
//! * [`discovery`]: trackers, as client and as server, sans-IO.
//! * [`store`]: sparse files, what of them survives a crash, the cache's cap.
//! * [`net`]: drives all of it with tokio, sockets and worker threads; [`net::session`] is its door.
//! * [`sim`]: drives the same engine in a made world with a virtual clock.
//! * [`gst`]: `swarmsrc`, `swarmdemux`, `swarmsink`, typefinders.
//! * [`cli`]: `swarm create`, `seed`, `live`, `tracker`, `get`, `show`, `sim`.
//!
//! The engine's contract is in [`swarm`]. It never reads a clock, a socket, a file or the system's randomness:
//! what the simulator shows is therefore true of the element.
//!
//! # The way of a piece
//!
//! 1. `net::conn` reads a frame's header, then the block's payload into an allocation of its own:
//!    [`Message::Piece`](wire::message::Message::Piece).
//! 2. [`swarm`] ticks the block off; the last one of a piece makes a [`Job::Verify`](swarm::Job::Verify).
//! 3. A worker thread hashes the blocks where they lie. If they are right it lays them on the shelf, where a waiting
//!    reader finds them, and writes them to the [`store`].
//! 4. The engine hears of it, tells the peers, and asks for more.
//! 5. `swarmsrc` takes the blocks off the shelf and wraps them in a buffer, without copying. Its reads move the
//!    playhead.
//!
//! One copy, from the kernel. A byte that was not verified never leaves step 3.
//!
//! # Words
//!
//! *piece*: unit of verification · *block*: unit of request, 16 KiB · *playhead*: where reading goes on ·
//! *high, mid, low set*: Give-to-Get's cut of what is wanted · *have*: verified · *flushed*: survives a crash ·
//! *candidate*: a known address, not connected · *seed*: a peer with everything · *stall*: the player has to wait.
//!
//! Of a broadcast: *stamp*: what the source signs at the end of each piece · *ring*, *slot*: where a piece lies, again
//! and again · *window*: the newest pieces, which are kept · *live point*: the newest piece that neighbours have ·
//! *hook in*: to begin there, less a buffer · *hole*: a piece that did not come in time · *drop*: to skip it.

pub mod rate;
pub mod time;

pub mod wire;

pub mod metainfo;

pub mod discovery;
pub mod store;
pub mod stream;
pub mod swarm;

pub mod net;
pub mod sim;

pub mod cli;
pub mod gst;

pub use plugin::plugin_register_static;

// `plugin_define!` makes public items without documentation.
#[allow(missing_docs)]
mod plugin {
    fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
        crate::gst::register(plugin)
    }

    gst::plugin_define!(
        swarm,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
        "MPL-2.0",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        "Unknown package origin",
        env!("BUILD_REL_DATE")
    );
}
