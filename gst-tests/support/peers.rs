//! Stock BitTorrent clients as seeds and as downloaders.
//!
//! None of them finds peers by itself (aria2 needs its DHT switched on for UDP trackers, but it knows no node
//! to ask): whom they know, a test or a tracker has told them.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::files;
use super::network::{Network, free_port};
use super::process::Running;
use super::torrents::{LIBTORRENT, PYTHON};
use super::wait;

/// How long a client may take until it runs and has looked at its files (it may hash a gigabyte).
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Makes of BitTorrent clients.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// Debian's python3-libtorrent.
    Libtorrent,
    /// transmission-daemon.
    Transmission,
    /// aria2c.
    Aria2,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Libtorrent => "libtorrent",
            Self::Transmission => "transmission",
            Self::Aria2 => "aria2",
        })
    }
}

/// A client that runs on one torrent: aria2 would not serve two that have the same file.
pub struct Peer<'a> {
    client: Client,
    network: &'a Network,
    process: Running,
    address: SocketAddr,
    /// Where transmission takes orders.
    orders: SocketAddr,
}

impl<'a> Peer<'a> {
    /// Starts a client that has what `torrent` describes in `folder`, and waits until it serves it.
    pub fn seed(client: Client, network: &'a Network, scratch: &Path, folder: &Path, torrent: &Path) -> Self {
        let mut peer = Self::start(client, network, scratch, folder, torrent, true);
        peer.until_seeding(READY_WITHIN);
        peer
    }

    /// Starts a client that fetches `torrent` into `folder`.
    pub fn download(
        client: Client,
        network: &'a Network,
        scratch: &Path,
        folder: &Path,
        torrent: &Path,
    ) -> Self {
        Self::start(client, network, scratch, folder, torrent, false)
    }

    /// Where it listens for peers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it printed last, for failure messages.
    pub fn story(&self) -> String {
        match self.client {
            Client::Transmission => {
                format!("{}\n{}", self.process.story(), self.ask(&["--torrent", "all", "--info"]))
            }
            Client::Libtorrent | Client::Aria2 => self.process.story(),
        }
    }

    /// Makes a libtorrent dial somebody.
    ///
    /// # Panics
    /// The others cannot be told.
    pub fn connect_to(&mut self, address: SocketAddr) {
        assert_eq!(self.client, Client::Libtorrent, "only libtorrent takes addresses");
        self.process.until_printed("ready", READY_WITHIN);
        self.process.tell(&address.to_string());
    }

    /// Waits until a download is complete and on disk.
    pub fn until_complete(&mut self, limit: Duration) {
        match self.client {
            Client::Libtorrent => {
                self.process.until_printed("done", limit);
                self.process.close();
            }
            Client::Aria2 => self.process.until_succeeded(limit),
            Client::Transmission => self.until_seeding(limit),
        }
    }

    fn until_seeding(&mut self, limit: Duration) {
        match self.client {
            Client::Libtorrent => self.process.until_printed("ready", limit),
            Client::Aria2 => self.process.until_printed(" SEED(", limit),
            Client::Transmission => {
                let complete = || self.ask(&["--list"]).lines().any(|line| line.contains(" 100% "));
                wait::until("transmission to have everything", limit, complete, || self.story());
            }
        }
    }

    fn start(
        client: Client,
        network: &'a Network,
        scratch: &Path,
        folder: &Path,
        torrent: &Path,
        seeding: bool,
    ) -> Self {
        let address = network.free_address();
        let orders = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let name = format!("{client}-{}", address.port());
        let home = files::folder(scratch, &format!("{name}-home"));
        let command = match client {
            Client::Libtorrent => libtorrent(network, address, folder, torrent, seeding),
            Client::Aria2 => aria2(network, address, &home, folder, torrent, seeding),
            Client::Transmission => transmission(network, address, orders, &home, folder),
        };
        let peer =
            Self { client, network, process: Running::start(&name, scratch, command), address, orders };
        if client == Client::Transmission {
            peer.add_to_transmission(torrent);
        }
        peer
    }

    fn add_to_transmission(&self, torrent: &Path) {
        let path = torrent.to_str().expect("our own paths are UTF-8");
        let accepted = || self.ask(&["--add", path]).contains("success");
        wait::until("transmission to take orders", READY_WITHIN, accepted, || self.process.story());
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let run =
            self.network.command("transmission-remote").arg(self.orders.to_string()).args(arguments).output();
        let run = run.expect("transmission-remote is installed");
        String::from_utf8_lossy(&run.stdout).into_owned()
    }
}

fn libtorrent(
    network: &Network,
    address: SocketAddr,
    folder: &Path,
    torrent: &Path,
    seeding: bool,
) -> Command {
    let mut command = network.command(PYTHON);
    command.arg(LIBTORRENT).arg(if seeding { "seed" } else { "get" }).arg(folder);
    command.arg(address.ip().to_string()).arg(address.port().to_string()).arg(torrent);
    command
}

fn aria2(
    network: &Network,
    address: SocketAddr,
    home: &Path,
    folder: &Path,
    torrent: &Path,
    seeding: bool,
) -> Command {
    let mut command = network.command("aria2c");
    command
        .args(["--no-conf=true", "--enable-dht=true", "--enable-dht6=false", "--bt-enable-lpd=false"])
        .args(["--disable-ipv6=true", "--summary-interval=1", "--file-allocation=none"])
        .arg(format!("--interface={}", address.ip()))
        .arg(format!("--listen-port={}", address.port()))
        .arg(format!("--dht-listen-port={}", free_port()))
        .arg(format!("--dht-file-path={}", home.join("dht.dat").display()))
        .arg(format!("--dir={}", folder.display()));
    if seeding {
        command.args(["--check-integrity=true", "--seed-ratio=0.0"]);
    } else {
        command.arg("--seed-time=0");
    }
    command.arg(torrent);
    command
}

fn transmission(
    network: &Network,
    address: SocketAddr,
    orders: SocketAddr,
    home: &Path,
    folder: &Path,
) -> Command {
    let mut command = network.command("transmission-daemon");
    command
        .args(["--foreground", "--log-info", "--no-dht", "--no-lpd", "--no-utp", "--no-portmap", "--no-auth"])
        .args(["--bind-address-ipv6", "::1", "--rpc-bind-address", "127.0.0.1", "--allowed", "127.0.0.1"])
        .arg("--config-dir")
        .arg(home)
        .arg("--download-dir")
        .arg(folder)
        .args(["--port", &orders.port().to_string(), "--peerport", &address.port().to_string()])
        .args(["--bind-address-ipv4", &address.ip().to_string()])
        // It would look for a web interface and settings below the user's own home.
        .env("HOME", home);
    command
}
