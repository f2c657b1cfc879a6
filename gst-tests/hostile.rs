//! Hostile peers on real sockets: whatever they do, the film's bytes are right, the guilty are banned and the
//! innocent are not, the film arrives in reasonable time, and memory and descriptors stay within bounds.
//!
//! What bounds the memory of a process (see [`MOST_MEMORY`]), whatever its peers do: `MAX_IN_FLIGHT` in
//! `swarm/fetch.rs` (48 MiB of blocks that are not verified or not written yet), `CACHE` in `net/shelf.rs` (16 MiB
//! of written pieces for readers), `MAX_UNSENT` and `UNSENT_EACH` in `swarm/serve.rs` (blocks on their way out:
//! half a megabyte, or what leaves in a quarter of a second), `INPUTS` in `net/task.rs` (512 messages that are not
//! handled yet, of a block's 16 KiB or at most `MAX_FRAME`), `MAX_WAITING` in `net/conn.rs` (4,096 messages to a
//! peer that does not read, of which `MAX_TURNED_DOWN` in `swarm/serve.rs` lets it provoke half), `READ_AHEAD` and
//! one block for each connection, `MAX_EVIDENCE` in `swarm/blame.rs`, and for each peer a bit for each piece.

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use gstswarm::net::announce::AnnounceClient;
use gstswarm::wire::announce::{AnnounceEvent, AnnounceRequest};
use gstswarm::wire::handshake::Hello;
use gstswarm::wire::ids::{InfoHash, PeerId};
use gstswarm::wire::message::{Message, RawBlock};
use gstswarm::wire::udp_tracker::{Family, Request, Response};
use support::attacks::{self, Attack, Due, noise};
use support::commands;
use support::crowd::Crowd;
use support::files::scratch;
use support::film::Film;
use support::line::{Line, encoded};
use support::network::{Network, free_port};
use support::process::Running;
use support::stranger::{Script, Stranger, address, honest, script};
use support::subject::{self, Door, Subject};
use support::wait;

/// Most memory of a process under attack, by its `VmHWM`.
const MOST_MEMORY: u64 = 100 << 20;
/// How long the film may take among attackers; by itself it takes three seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// The film: 48 pieces and a bit, so that the last byte of a bitfield has spare bits.
const PIECE: u32 = 256 << 10;
const LENGTH: u64 = 48 * PIECE as u64 + 12_345;
/// Bytes a second of the honest seed.
const PACE: u64 = 4 << 20;
/// Groups of addresses (see `stranger::address`).
const HONEST: u8 = 10;
const CALLED: u8 = 20;
const CALLERS: u8 = 30;
/// Callers at once; at most so many descriptors may be open then (many shells allow 1,024).
const CROWD: u16 = 1_000;
const MOST_DESCRIPTORS: usize = 600;
/// Torrents that one flood of announces names; the tracker keeps 10,000 (`Limits` in `discovery/tracker.rs`).
const TORRENTS: u32 = 3_000;
/// Most memory of the tracker: its full table takes 50 MiB, `MAX_CONNECTIONS` with `MAX_BYTES` each 32 (in
/// `net/guarded.rs`).
const MOST_TRACKER_MEMORY: u64 = 96 << 20;
/// Addresses where somebody listens and says nothing.
const TARPITS: u16 = 100;

#[test]
fn the_element_in_a_process_of_its_own() {
    subject::play_as_child();
}

/// Attackers of both directions with what is due to them.
struct Attackers {
    strangers: Vec<Stranger>,
    by_address: BTreeMap<IpAddr, (&'static str, Due)>,
}

impl Attackers {
    fn new() -> Self {
        Self { strangers: Vec::new(), by_address: BTreeMap::new() }
    }

    /// One of each kind for us to call.
    fn wait_for_calls(&mut self, film: &Arc<Film>) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for (number, Attack { name, due, script }) in (0..).zip(attacks::all()) {
            let stranger = Stranger::listens(address(CALLED, number), film, script);
            self.by_address.insert(stranger.address().ip(), (name, due));
            addresses.push(stranger.address());
            self.strangers.push(stranger);
        }
        addresses
    }

    /// One of each kind that calls us.
    fn call(&mut self, target: SocketAddr, film: &Arc<Film>) {
        for (number, Attack { name, due, script }) in (0..).zip(attacks::all()) {
            // Each of them twice, by the same name.
            for script in [Arc::clone(&script), script] {
                let stranger = Stranger::calls(address(CALLERS, number), target, film, script);
                self.by_address.insert(stranger.address().ip(), (name, due));
                self.strangers.push(stranger);
            }
        }
    }

    fn who_deserve(&self, what: Due) -> BTreeSet<IpAddr> {
        self.by_address.iter().filter(|(_, (_, due))| *due == what).map(|(ip, _)| *ip).collect()
    }

    /// Waits until all the guilty are banned, and demands that nobody else is.
    fn until_banned(&self, subject: &Subject) {
        let guilty = self.who_deserve(Due::Ban);
        let free =
            || -> Vec<_> { guilty.difference(&subject.banned()).map(|ip| self.by_address[ip].0).collect() };
        let context = || format!("not banned: {:#?}\n{}", free(), subject.process.story());
        wait::until("the guilty to be banned", PATIENCE, || free().is_empty(), context);
        let spared = self.who_deserve(Due::Mercy);
        let innocent: Vec<_> =
            spared.intersection(&subject.banned()).map(|ip| self.by_address[ip].0).collect();
        assert!(innocent.is_empty(), "banned without guilt: {innocent:?}\n{}", subject.process.story());
    }
}

/// Descriptors of a process that has a film to fetch and nobody to fetch it from.
fn descriptors_when_idle(door: Door, scratch: &std::path::Path, film: &Film) -> usize {
    let subject = door.start(&scratch.join("idle"), film, &[], false);
    subject.until("figures", PATIENCE, |figures| figures["state"] == "downloading");
    subject.descriptors()
}

fn withstands_all_attacks(door: Door) {
    let scratch = scratch("hostile");
    let film = Film::new(scratch.path(), LENGTH, PIECE, 1, None);
    let idle = descriptors_when_idle(door, scratch.path(), &film);
    let seed = Stranger::listens(address(HONEST, 0), &film, honest(Some(PACE)));
    let mut attackers = Attackers::new();
    let mut peers = attackers.wait_for_calls(&film);
    let ourselves = SocketAddr::from(([127, 0, 0, 1], free_port()));
    peers.extend([seed.address(), ourselves]);
    let mut subject = door.start_at(ourselves, &scratch.path().join("subject"), &film, &peers, false);
    attackers.call(subject.address, &film);

    subject.until_complete(&film, PATIENCE);
    attackers.until_banned(&subject);
    let peak = subject.peak_memory();
    assert!(peak < MOST_MEMORY, "{peak} bytes of memory");
    let figures = subject.figures();
    assert!(figures["hash_failures"].as_u64() > Some(0), "{figures}");

    drop((attackers, seed));
    // The film itself is open now, and the pipeline's copy.
    let back = || subject.descriptors() <= idle + 2;
    wait::until("the descriptors to be closed", PATIENCE, back, || {
        format!("{} now, {idle} when idle\n{}", subject.descriptors(), subject.process.story())
    });
    subject.assert_sound();
    println!("{door:?}: {} MiB at most, {figures}", peak >> 20);
}

#[test]
fn get_withstands_all_attacks_at_once() {
    withstands_all_attacks(Door::Get);
}

#[test]
fn swarmsrc_withstands_all_attacks_at_once() {
    withstands_all_attacks(Door::Element);
}

#[test]
fn the_one_liar_among_many_givers_is_found() {
    let scratch = scratch("liar");
    let film = Film::new(scratch.path(), LENGTH, PIECE, 2, None);
    let giver = |n| Stranger::listens(address(HONEST, n), &film, honest(Some(PACE / 4)));
    let givers: Vec<_> = (0..4).map(giver).collect();
    let lies = script(|line| {
        line.meet_as_seed()?;
        line.serve(Some(PACE / 4), |_, data| data[0] ^= 1)
    });
    let liar = Stranger::listens(address(CALLED, 0), &film, lies);
    let takes = script(|line| {
        line.meet_as_seed()?;
        line.listen()
    });
    let takers: Vec<_> =
        (1..20).map(|n| Stranger::listens(address(CALLED, n), &film, takes.clone())).collect();
    let peers: Vec<_> = givers.iter().chain([&liar]).chain(&takers).map(Stranger::address).collect();
    let mut subject = Door::Get.start(&scratch.path().join("subject"), &film, &peers, false);
    subject.until_complete(&film, PATIENCE);
    assert_eq!(subject.banned(), BTreeSet::from([liar.address().ip()]), "{}", subject.process.story());
    assert!(givers.iter().all(|giver| giver.tally().given() > 0));
    subject.assert_sound();
}

/// A thousand callers, half of whom say nothing; the others shake hands, promise everything and want everything.
fn crowd(film: &Film, target: SocketAddr, addresses: u16) -> Crowd {
    let promise = [Message::HaveAll, Message::Interested].map(|m| encoded(&m)).concat();
    let words = |n: u16| {
        let mut id = *b"-XX0000-crowd.......";
        id[14..16].copy_from_slice(&n.to_be_bytes());
        let hello = Hello::ours(film.metainfo.info_hash, PeerId(id)).encode();
        if n.is_multiple_of(2) { Vec::new() } else { [&hello[..], &promise].concat() }
    };
    Crowd::start(CALLERS, (CROWD, addresses), target, words)
}

/// Callers from a thousand addresses can fill all places that callers get, so that a seed among them has no better
/// chance than they have; but not those of the peers that we call, and not from a few addresses.
fn withstands_a_thousand_callers(door: Door, calls_us: bool) {
    let scratch = scratch("crowd");
    let film = Film::new(scratch.path(), LENGTH, PIECE, 3, None);
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let behind = Stranger::listens(address(HONEST, 0), &film, honest(Some(PACE)));
    // Somebody who takes calls and says nothing, many times over, before the one who does.
    let tarpits = script(Line::ignore);
    let tarpits: Vec<_> =
        (0..TARPITS).map(|n| Stranger::listens(address(CALLED, n), &film, tarpits.clone())).collect();
    let mut peers: Vec<_> = tarpits.iter().map(Stranger::address).collect();
    peers.extend((!calls_us).then_some(behind.address()));
    let mut subject = door.start_at(at, &scratch.path().join("subject"), &film, &peers, false);
    subject.until("figures", PATIENCE, |figures| figures["state"] == "downloading");
    let crowd = crowd(&film, at, if calls_us { 4 } else { CROWD });
    wait::until(
        "the crowd to be there",
        PATIENCE,
        || crowd.made() >= usize::from(CROWD),
        || format!("{} of them, {} connected now", crowd.made(), crowd.connected()),
    );
    let caller = calls_us.then(|| Stranger::calls(address(HONEST, 1), at, &film, honest(Some(PACE))));
    subject.until_complete(&film, PATIENCE * 2);
    let peak = subject.peak_memory();
    assert!(peak < MOST_MEMORY, "{peak} bytes of memory");
    let descriptors = subject.descriptors();
    assert!(descriptors < MOST_DESCRIPTORS, "{descriptors} descriptors");
    assert_eq!(subject.banned(), BTreeSet::new(), "nobody has deserved it");
    subject.assert_sound();
    println!("{door:?}: {} MiB, {descriptors} descriptors, {} calls", peak >> 20, crowd.made());
    drop(caller);
}

#[test]
fn get_reaches_the_seed_behind_a_thousand_callers_and_a_hundred_tarpits() {
    withstands_a_thousand_callers(Door::Get, false);
}

#[test]
fn swarmsrc_is_reached_by_the_seed_among_a_thousand_callers_from_four_addresses() {
    withstands_a_thousand_callers(Door::Element, true);
}

/// Fetches the film as an honest peer does, and demands that every byte is right.
fn fetches() -> Script {
    script(|line| {
        line.meet()?;
        line.send(&Message::HaveNone)?;
        line.send(&Message::Interested)?;
        let geometry = line.film.metainfo.geometry;
        let blocks =
            geometry.all().flat_map(|p| (0..geometry.blocks(p)).filter_map(move |n| geometry.block(p, n)));
        let mut left: VecDeque<_> = blocks.collect();
        left.drain(..usize::try_from(line.tally.taken() / 16_384).unwrap_or(0));
        line.until(|message| (*message == Message::Unchoke).then_some(()))?;
        while let Some(block) = left.pop_front() {
            let (index, begin) = (block.piece.slot(), block.begin);
            let asked = RawBlock { index, begin, length: block.length };
            line.send(&Message::Request(asked))?;
            let got = line.until(|message| match message {
                Message::Piece { data, .. } => Some(Some(data.clone())),
                Message::Reject(_) | Message::Choke => Some(None),
                _ => None,
            })?;
            match got {
                Some(data) => assert!(line.film.block(asked) == data, "wrong bytes at {asked:?}"),
                None => return Ok(()),
            }
        }
        line.ignore()
    })
}

#[test]
fn a_seed_serves_the_honest_among_those_who_take_and_do_not_read() {
    let scratch = scratch("seed");
    let film = Film::new(scratch.path(), LENGTH, PIECE, 4, None);
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut command = commands::swarm(&Network::Loopback, scratch.path());
    command.arg("seed").arg(&film.torrent).arg("--dir").arg(film.path.parent().expect("it is in a folder"));
    command.args(["--json", "--no-trackers", "--bind", "127.0.0.1", "--port", &at.port().to_string()]);
    let seed = Running::start("seed", scratch.path(), command);
    commands::until_listening(&Network::Loopback, at);
    // They ask for single bytes of all blocks, or for all blocks, and hear nothing; some hang up half.
    let greedy = |length: u32, hangs_up: bool| {
        script(move |line| {
            line.meet()?;
            line.send(&Message::Interested)?;
            for n in 0..400 {
                let index = n % (line.film.pieces() - 1);
                line.send(&Message::Request(RawBlock { index, begin: n * 16 % 16_384, length }))?;
            }
            if hangs_up {
                line.end_speech()?;
                thread::park_timeout(Duration::from_millis(200));
                return Ok(());
            }
            line.ignore()
        })
    };
    let kinds = [greedy(1, false), greedy(128 << 10, false), greedy(128 << 10, true)];
    let greedy = |n: u16| Stranger::calls(address(CALLERS, n), at, &film, kinds[usize::from(n) % 3].clone());
    let _takers: Vec<_> = (0..60).map(greedy).collect();
    let honest = Stranger::calls(address(HONEST, 0), at, &film, fetches());
    let there = || honest.tally().taken() >= film.length();
    wait::until("the honest one to have it", PATIENCE * 3, there, || {
        format!("{} of {} bytes\n{}", honest.tally().taken(), film.length(), seed.story())
    });
    let peak = subject::peak_memory(seed.id());
    assert!(peak < MOST_MEMORY, "{peak} bytes of memory");
    println!("seed: {} MiB at most", peak >> 20);
}

/// An announce of a torrent of its own.
fn announce(number: u32, port: u16) -> AnnounceRequest {
    let mut hash = [0; 20];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    AnnounceRequest {
        info_hash: InfoHash(hash),
        peer_id: PeerId(hash),
        port,
        uploaded: 0,
        downloaded: 0,
        left: 1,
        event: AnnounceEvent::Started,
        key: None,
        num_want: Some(u32::MAX),
        tracker_id: None,
    }
}

/// Announces by UDP from one address, `count` torrents; gives the number of answers to announces whose connection
/// id was made up.
fn flood_by_udp(from: IpAddr, tracker: SocketAddr, torrents: std::ops::Range<u32>) -> usize {
    let socket = UdpSocket::bind((from, 0)).expect("the address is ours");
    socket.connect(tracker).expect("an address can be named");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout can be set");
    let mut reply = [0; 2_048];
    for spoofed in [0, 1, u64::MAX, 0x0417_2710_1980] {
        let request = Request::Announce { connection: spoofed, transaction: 1, request: announce(0, 1) };
        socket.send(&request.encode("")).expect("loopback takes datagrams");
        socket.send(&noise(1_400)).expect("loopback takes datagrams");
    }
    let undeserved = usize::from(socket.recv(&mut reply).is_ok());
    let connect = Request::Connect { transaction: 7 }.encode("");
    let Some(connection) = (0..20).find_map(|_| {
        socket.send(&connect).expect("loopback takes datagrams");
        let length = socket.recv(&mut reply).ok()?;
        match Response::decode(&reply[..length], Family::V4) {
            Ok(Response::Connect { connection, .. }) => Some(connection),
            _ => None,
        }
    }) else {
        panic!("{from} got no connection id");
    };
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout can be set");
    let mut unanswered = 0;
    for number in torrents {
        let request = announce(number, 1 + (number % 60_000) as u16);
        let request = Request::Announce { connection, transaction: number, request }.encode("/announce");
        socket.send(&request).expect("loopback takes datagrams");
        unanswered += 1;
        // Not much faster than it answers, or the system would drop most of them.
        while unanswered >= 32 {
            unanswered = if socket.recv(&mut reply).is_ok() { unanswered - 1 } else { 0 };
        }
    }
    undeserved
}

/// What no announce is, one connection each.
fn http_garbage() -> Vec<Vec<u8>> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let hash = "%00".repeat(20);
    let own = "peer_id=-XX0000-123456789012&uploaded=0&downloaded=0";
    vec![
        get(&format!("/announce?{}", "x".repeat(60_000))),
        get(&format!("/announce?{}", "a=b&".repeat(10_000))),
        get(&format!("/announce?info_hash={hash}&{own}&port=99999&left=-1")),
        get(&format!("/announce?info_hash={hash}&{own}&port=1&left=1&numwant=999999999999999999999999")),
        get(&format!("/announce?info_hash={hash}&{own}&port=1&left=1&numwant=-5&ip=10.0.0.1&compact=7")),
        get("/announce?info_hash=%zz%00%f"),
        get(&format!("/scrape?{}", format!("info_hash={hash}&").repeat(500))),
        get("/../../etc/passwd"),
        [b"GET /announce HTTP/1.1\r\nX: ".to_vec(), vec![b'y'; 200_000]].concat(),
        b"POST /announce HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n".to_vec(),
        get("/announce").repeat(1_000),
        noise(70_000),
        b"GET".to_vec(),
    ]
}

#[test]
fn the_tracker_answers_the_honest_in_a_flood() {
    let scratch = scratch("tracker");
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut command = commands::swarm(&Network::Loopback, scratch.path());
    command.args(["tracker", "--json", "--bind", "127.0.0.1", "--port", &at.port().to_string()]);
    let mut tracker = Running::start("tracker", scratch.path(), command);
    commands::until_listening(&Network::Loopback, at);

    let garbage = http_garbage();
    let kinds = u16::try_from(garbage.len()).expect("there are few");
    let _crowd = Crowd::start(CALLERS, (CROWD, 8), at, move |n| {
        if n.is_multiple_of(2) { Vec::new() } else { garbage[usize::from(n / 2 % kinds)].clone() }
    });
    let floods = (0..4).map(|n: u16| {
        let torrents = u32::from(n) * TORRENTS..u32::from(n + 1) * TORRENTS;
        thread::spawn(move || flood_by_udp(address(CALLED, n), at, torrents))
    });
    let floods: Vec<_> = floods.collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads start");
    let urls = [format!("http://{at}/announce"), format!("udp://{at}")];
    for (number, url) in (0..40).zip(urls.iter().cycle()) {
        let client = AnnounceClient::new(Some(address(HONEST, number)));
        let asked = runtime.block_on(client.announce(url, &announce(u32::MAX, 7_000)));
        let told = asked.unwrap_or_else(|e| panic!("{url}: {e}\n{}", tracker.story()));
        assert!(told.incomplete > Some(0), "{told:?}");
    }
    let undeserved: usize = floods.into_iter().map(|flood| flood.join().expect("it ends")).sum();
    assert_eq!(undeserved, 0, "answers to announces without a connection id");
    let peak = subject::peak_memory(tracker.id());
    assert!(peak < MOST_TRACKER_MEMORY, "{peak} bytes of memory");
    tracker.until_printed("\"torrents\":10000,", PATIENCE);
    assert!(!tracker.log().contains("panicked") && tracker.interrupt().success(), "{}", tracker.story());
    println!("tracker: {} MiB at most, {}", peak >> 20, tracker.log().lines().last().unwrap_or_default());
}

/// They give all blocks of a piece but one, so that what they gave has to be kept and cannot be used.
#[test]
fn misers_do_not_fill_the_memory() {
    let scratch = scratch("misers");
    let (length, piece) = (96 << 20, 1 << 20);
    let film = Film::new(scratch.path(), length, piece, 5, None);
    let gives_most = script(move |line| {
        line.meet_as_seed()?;
        loop {
            let Message::Request(block) = line.next()? else { continue };
            if block.begin + block.length < piece {
                let data = Bytes::copy_from_slice(line.film.block(block));
                line.send(&Message::Piece { index: block.index, begin: block.begin, data })?;
            }
        }
    });
    let misers: Vec<_> =
        (0..8).map(|n| Stranger::listens(address(CALLED, n), &film, gives_most.clone())).collect();
    let seed = Stranger::listens(address(HONEST, 0), &film, honest(Some(4 * PACE)));
    let peers: Vec<_> = misers.iter().chain([&seed]).map(Stranger::address).collect();
    let mut subject = Door::Get.start(&scratch.path().join("subject"), &film, &peers, false);
    subject.until_complete(&film, PATIENCE);
    let peak = subject.peak_memory();
    assert!(peak < MOST_MEMORY, "{peak} bytes of memory");
    assert_eq!(subject.banned(), BTreeSet::new(), "being slow is no crime");
    subject.assert_sound();
    println!("misers: {} MiB at most, {}", peak >> 20, subject.figures());
}
