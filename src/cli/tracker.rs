//! `swarm tracker`: tells peers of each other, over HTTP and UDP on one port; also inside `seed`.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::runtime::Handle;

use super::engine::block_on;
use super::exit::{AFTER_HELP, Exit};
use super::output;
use super::progress::{Status, say};
use super::signals::Interrupt;
use super::values::{self, TRACKER_PORT, TrackerAddr};
use crate::discovery::tracker::{Config, Policy};
use crate::metainfo::torrent::Metainfo;
use crate::net::tracker::{Tracker, TrackerError};
use crate::wire::ids::InfoHash;

/// How often status and `--json` are renewed.
const TICK: Duration = Duration::from_secs(1);

/// Run a tracker
///
/// Tells the peers of any torrent of each other, until Ctrl-C. Torrents name it by URL, with either protocol on
/// the same port:
///
///   swarm tracker
///   swarm tracker --bind 127.0.0.1 --port 7000 --interval 5:00
///   swarm create film.mkv --tracker http://192.0.2.7:6969/announce --tracker udp://192.0.2.7:6969
///
/// `swarm seed --tracker` runs the same inside the seed.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Address to listen on [default: all of this machine]
    #[arg(long, value_name = "ADDR", value_parser = values::address)]
    bind: Option<IpAddr>,
    /// Port to listen on, for HTTP and UDP
    #[arg(long, value_name = "P", default_value_t = TRACKER_PORT)]
    port: u16,
    /// How often peers shall come back
    #[arg(long, value_name = "TIME", value_parser = values::interval, default_value = "30:00")]
    interval: Duration,
    /// Print one JSON object a second to standard output
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let interrupt = Interrupt::install()?;
    block_on(serve(args, interrupt))
}

async fn serve(args: &Args, interrupt: Interrupt) -> anyhow::Result<Exit> {
    let addr = TrackerAddr::new(args.bind, args.port).complete(None);
    let service = Service::start(addr, args.interval, Policy::Open)?;
    let mut status = Status::new();
    while !interrupt.is_set() {
        let figures = service.figures();
        let line = figures.to_text();
        status.show(std::slice::from_ref(&line), &line);
        if args.json {
            output::json(&figures)?;
        }
        // Either the second is over or the user has asked; the loop's head tells which.
        let _ = tokio::time::timeout(TICK, interrupt.asked()).await;
    }
    drop(status);
    service.stop().await;
    Ok(Exit::Done)
}

/// A tracker in this process.
pub(super) struct Service(Tracker);

impl Service {
    /// Starts to listen, and says where. Any address means the IPv4 ones where the system has no IPv6.
    ///
    /// # Errors
    /// When the address is not ours or the port is taken.
    pub(super) fn start(addr: SocketAddr, interval: Duration, policy: Policy) -> anyhow::Result<Self> {
        let config = Config { interval, ..Config::default() };
        let bind = |addr| Tracker::bind(&Handle::current(), addr, config, policy.clone());
        let tracker = bind(addr)
            .or_else(|error| match (addr, &error) {
                (_, TrackerError::Bind { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {
                    Err(error)
                }
                (SocketAddr::V6(v6), _) if v6.ip().is_unspecified() => {
                    bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), v6.port()))
                }
                _ => Err(error),
            })
            .context("no tracker can be run there: choose another address or port")?;
        let addr = tracker.local_addr();
        say(&format!("tracker listening on http://{addr}/announce and udp://{addr}"));
        Ok(Self(tracker))
    }

    /// What it has done.
    pub(super) fn figures(&self) -> Figures {
        let stats = self.0.stats();
        Figures {
            addr: self.0.local_addr(),
            torrents: stats.torrents,
            peers: stats.peers,
            announces: stats.announces,
            scrapes: stats.scrapes,
            refused: stats.refused,
        }
    }

    /// Serves this torrent too.
    pub(super) fn serve(&self, torrent: InfoHash) {
        self.0.allow(torrent);
    }

    /// Serves these torrents and no others.
    pub(super) fn serve_only(&self, torrents: BTreeSet<InfoHash>) {
        self.0.set_policy(Policy::Only(torrents));
    }

    /// The tier by which a seed in this process announces a torrent to it, if the torrent does not name it:
    /// recognised by the port, because under which address others reach this machine is not known here. (The
    /// tracker tells others of a peer on its own machine by the address at which they reached it.)
    pub(super) fn tier_for(&self, metainfo: &Metainfo) -> Option<Vec<String>> {
        let addr = self.0.local_addr();
        let names_it = metainfo.trackers.iter().flatten().any(|url| names_port(url, addr.port()));
        let ip = match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        // A private torrent's peers come from its own trackers only (BEP 27).
        (!names_it && !metainfo.private)
            .then(|| vec![format!("http://{}/announce", SocketAddr::new(ip, addr.port()))])
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        self.0.stop().await;
    }
}

/// Whether the URL's port is this one.
fn names_port(url: &str, port: u16) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or(host);
    host.rsplit_once(':').is_some_and(|(_, number)| number.parse() == Ok(port))
}

/// A tracker in figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    addr: SocketAddr,
    torrents: usize,
    peers: usize,
    announces: u64,
    scrapes: u64,
    refused: u64,
}

impl Figures {
    /// One line for people.
    pub(super) fn to_text(&self) -> String {
        let Self { addr, torrents, peers, announces, .. } = self;
        format!("tracker on {addr}: {torrents} torrents, {peers} peers, {announces} announces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_is_recognised_by_its_port() {
        assert!(names_port("http://192.0.2.7:6969/announce?key=1", 6969));
        assert!(names_port("udp://[2001:db8::7]:6969", 6969));
        for url in ["http://192.0.2.7/announce", "http://a:80/x:6969", "udp://a:69690", "6969"] {
            assert!(!names_port(url, 6969), "{url}");
        }
    }
}
