//! Whole files between us and stock clients, in both directions, compared by SHA-1.
//!
//! `SWARM_TEST_MIB` is the size of each file (default 24; the full run uses 1024).

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::commands::{self, Seed};
use support::files::{assert_same, folder, random_file, scratch};
use support::network::Network;
use support::peers::{Client, Peer};
use support::process::Running;
use support::torrents::make_torrent;

/// All piece lengths that are tried, bytes.
const PIECE_LENGTHS: [u32; 4] = [32 << 10, 256 << 10, 1 << 20, 4 << 20];
/// Size of each file unless the environment says otherwise.
const DEFAULT_MIB: u64 = 24;
/// A file without bytes in the torrent of many files.
const EMPTY_FILE: &str = "c empty.txt";
/// A little more than whole pieces, so that the last piece and the last block are short.
const ODD_BYTES: u64 = 12_345;
/// How long a transfer may take at least; transmission thinks ten seconds before it starts.
const PATIENCE: Duration = Duration::from_secs(120);

fn size() -> u64 {
    let mib = std::env::var("SWARM_TEST_MIB")
        .map_or(DEFAULT_MIB, |text| text.parse().expect("SWARM_TEST_MIB is a number"));
    (mib << 20) + ODD_BYTES
}

/// A gigabyte may take nine minutes more on a busy machine.
fn limit() -> Duration {
    PATIENCE + Duration::from_millis(size() >> 11)
}

/// One file and its torrents, one for each piece length.
fn single_file(within: &Path, seed: u64, trackers: &[Option<String>]) -> (PathBuf, Vec<PathBuf>) {
    let file = folder(within, "original").join("file.bin");
    random_file(&file, size(), seed);
    let torrents = PIECE_LENGTHS.iter().zip(trackers.iter().cycle()).map(|(&length, tracker)| {
        make_torrent(&within.join(format!("{length}.torrent")), &file, length, tracker.as_deref())
    });
    let torrents = torrents.collect();
    (file, torrents)
}

/// Files that end inside pieces, one within one piece, an empty one, one in a folder of its own.
fn many_files(within: &Path) -> PathBuf {
    let top = folder(&folder(within, "original"), "album");
    for (name, bytes) in [
        ("a first.bin", 1_000_003),
        ("b/inner/second.bin", 777),
        ("b/third.bin", 3 << 20),
        (EMPTY_FILE, 0),
        ("d Übung.bin", 2_500_001),
    ] {
        random_file(&top.join(name), bytes, bytes);
    }
    top
}

#[test]
fn the_other_clients_understand_each_other_in_this_harness() {
    let scratch = scratch("others");
    let at = scratch.path();
    let network = Network::Loopback;
    let file = folder(at, "original").join("file.bin");
    random_file(&file, (2 << 20) + ODD_BYTES, 1);
    let torrent = make_torrent(&at.join("file.torrent"), &file, 64 << 10, None);
    let original = file.parent().expect("it is in a folder");

    let mut transfers = Vec::new();
    let mut seed = Peer::seed(Client::Libtorrent, &network, at, original, &torrent);
    for client in [Client::Aria2, Client::Transmission] {
        let to = folder(at, &format!("{client}-has"));
        let download = Peer::download(client, &network, at, &to, &torrent);
        commands::until_listening(&network, download.address());
        seed.connect_to(download.address());
        transfers.push((download, to));
    }
    let seeds = [Client::Aria2, Client::Transmission]
        .map(|client| Peer::seed(client, &network, at, original, &torrent));
    for seed in &seeds {
        let to = folder(at, &format!("from-{}", seed.address().port()));
        let mut download = Peer::download(Client::Libtorrent, &network, at, &to, &torrent);
        download.connect_to(seed.address());
        transfers.push((download, to));
    }
    for (mut download, to) in transfers {
        download.until_complete(PATIENCE);
        assert_same(&file, &to.join("file.bin"));
    }
}

#[test]
fn libtorrent_seeds_to_swarm_get() {
    seeds_to(Client::Libtorrent, get);
}

#[test]
fn libtorrent_seeds_to_swarmsrc() {
    seeds_to(Client::Libtorrent, element);
}

#[test]
fn transmission_seeds_to_swarm_get() {
    seeds_to(Client::Transmission, get);
}

#[test]
fn transmission_seeds_to_swarmsrc() {
    seeds_to(Client::Transmission, element);
}

#[test]
fn aria2_seeds_to_swarm_get() {
    seeds_to(Client::Aria2, get);
}

#[test]
fn aria2_seeds_to_swarmsrc() {
    seeds_to(Client::Aria2, element);
}

/// Makes a command that fetches a torrent into a folder from one peer, and says where the file will be.
type Fetch = fn(&Network, &Path, &Path, SocketAddr) -> (Command, PathBuf);

fn get(network: &Network, torrent: &Path, to: &Path, peer: SocketAddr) -> (Command, PathBuf) {
    (commands::get(network, torrent, to, peer), to.join("file.bin"))
}

fn element(network: &Network, torrent: &Path, to: &Path, peer: SocketAddr) -> (Command, PathBuf) {
    let copy = to.join("copy.bin");
    (commands::element(network, &folder(to, "cache"), torrent, &copy, peer, &[]), copy)
}

/// All piece lengths at once.
fn seeds_to(client: Client, fetch: Fetch) {
    let scratch = scratch("to-us");
    let at = scratch.path();
    let network = Network::Loopback;
    let (file, torrents) = single_file(at, 2, &[None]);
    let original = file.parent().expect("it is in a folder");
    let mut transfers = Vec::new();
    for (torrent, length) in torrents.iter().zip(PIECE_LENGTHS) {
        let seed = Peer::seed(client, &network, at, original, torrent);
        let to = folder(at, &format!("to-{length}"));
        let (command, copy) = fetch(&network, torrent, &to, seed.address());
        transfers.push((Running::start(&format!("fetch-{length}"), at, command), copy, seed));
    }
    for (mut transfer, copy, seed) in transfers {
        let status = transfer.until_ended(limit());
        assert!(status.success(), "{status}\n{}\n{}", transfer.story(), seed.story());
        assert_same(&file, &copy);
    }
}

#[test]
fn a_torrent_of_many_files_arrives_whole_from_libtorrent() {
    let scratch = scratch("many-to-us");
    let at = scratch.path();
    let network = Network::Loopback;
    let album = many_files(at);
    let torrent = make_torrent(&at.join("album.torrent"), &album, 256 << 10, None);
    let original = album.parent().expect("it is in a folder");
    let seed = Peer::seed(Client::Libtorrent, &network, at, original, &torrent);

    let to = folder(at, "copy");
    Running::start("get", at, commands::get(&network, &torrent, &to, seed.address()))
        .until_succeeded(PATIENCE);
    assert_same(&album, &to.join("album"));
    assert!(to.join("album").join(EMPTY_FILE).is_file(), "the empty file is missing");

    // The third file starts and ends inside a piece.
    let to = at.join("third.bin");
    let cache = folder(at, "cache");
    let element = commands::element(&network, &cache, &torrent, &to, seed.address(), &["file-index=2"]);
    Running::start("element", at, element).until_succeeded(PATIENCE);
    assert_same(&album.join("b/third.bin"), &to);
}

#[test]
fn libtorrent_downloads_from_swarm_seed_by_both_trackers() {
    downloads_from_us(Client::Libtorrent, |_| Network::Loopback);
}

#[test]
fn transmission_downloads_from_swarm_seed_by_both_trackers() {
    downloads_from_us(Client::Transmission, Network::private);
}

#[test]
fn aria2_downloads_from_swarm_seed_by_both_trackers() {
    downloads_from_us(Client::Aria2, |_| Network::Loopback);
}

/// All piece lengths at once: the first and third by an HTTP tracker, the others by a UDP tracker; and a
/// torrent of many files.
fn downloads_from_us(client: Client, network: impl Fn(&Path) -> Network) {
    let scratch = scratch("from-us");
    let at = scratch.path();
    let network = network(at);
    let tracker = network.free_address();
    let announces = ["http", "udp"].map(|scheme| Some(format!("{scheme}://{tracker}/announce")));
    let (file, torrents) = single_file(at, 3, &announces);
    let album = many_files(at);
    let album_torrent = commands::create(
        &at.join("album.torrent"),
        &album,
        &["--tracker", announces[0].as_deref().expect("it has one"), "--piece-length", "128KiB"],
    );

    let mut served = torrents.clone();
    served.push(album_torrent.clone());
    let original = file.parent().expect("it is in a folder");
    let mut seed = Seed::start(&network, at, original, tracker, &served, &[]);

    let mut downloads = Vec::new();
    for (torrent, length) in torrents.iter().zip(PIECE_LENGTHS) {
        let to = folder(at, &format!("copy-{length}"));
        downloads.push((
            Peer::download(client, &network, at, &to, torrent),
            file.clone(),
            to.join("file.bin"),
        ));
    }
    let to = folder(at, "copy-album");
    downloads.push((Peer::download(client, &network, at, &to, &album_torrent), album, to.join("album")));
    for (download, original, copy) in &mut downloads {
        download.until_complete(limit());
        assert_same(original, copy);
    }
    seed.stop();
}
