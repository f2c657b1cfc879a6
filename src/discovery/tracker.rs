//! The tracker's table: who is in which swarm (BEP 3, 7, 48). What [`announcer`](super::announcer) talks to.
//!
//! Owns every peer that announced and has not been silent too long, in bounded memory: a full table forgets
//! whom it heard from longest ago, so that what is alive stays. Invariant: no peer is older than
//! [`Config::expiry`] after a sweep, and no limit is ever exceeded.
//!
//! A peer's address is that from which it asks, whatever it claims: who could name another's would point swarms
//! at a victim. The one exception goes the other way: a peer on the tracker's own machine announces from
//! 127.0.0.1 or ::1, which is of use to its neighbours there only, so that everybody else is told the address
//! by which *he* reached the tracker.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use crate::time::{Duration, Instant};
use crate::wire::announce::{
    AnnounceEvent, AnnounceRequest, AnnounceResponse, Refusal, RetryIn, ScrapeEntry, TrackedPeer,
};
use crate::wire::ids::{InfoHash, PeerId};
use crate::wire::udp_tracker::Family;

/// Peers in a reply when the asker leaves it to us (the original's tracker).
pub const DEFAULT_NUM_WANT: u32 = 50;
/// Most peers in a reply.
pub const MAX_NUM_WANT: u32 = 200;
/// Re-announce interval of the original's tracker.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1_800);
/// Nobody need ask more often than this.
pub const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// Most ports of one address in one swarm: many viewers behind one NAT are fine, a flood is not.
pub const MAX_PORTS: usize = 256;
/// How often silent peers are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// What the table may grow to. At about 200 bytes a peer the defaults stay below 50 MiB.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most swarms.
    pub torrents: usize,
    /// Most peers over all swarms.
    pub peers: usize,
    /// Most peers of one swarm.
    pub peers_per_torrent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { torrents: 10_000, peers: 200_000, peers_per_torrent: 5_000 }
    }
}

/// How the table works.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// When clients shall announce again.
    pub interval: Duration,
    /// When those may who are short of peers.
    pub min_interval: Duration,
    /// What it may grow to.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self { interval: DEFAULT_INTERVAL, min_interval: MIN_INTERVAL, limits: Limits::default() }
    }
}

impl Config {
    /// A peer silent for this long is gone: one and a half intervals (2,700 s by default, the original's
    /// figure), but at least a minute more than one.
    pub fn expiry(&self) -> Duration {
        self.interval + (self.interval / 2).max(Duration::from_secs(60))
    }
}

/// Which swarms are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Any.
    Open,
    /// These.
    Only(BTreeSet<InfoHash>),
}

/// From where an announce comes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The other end of the socket.
    pub ip: IpAddr,
    /// Our end of it, where that is known and not a wildcard.
    pub reached_at: Option<IpAddr>,
}

/// Which peers a reply can carry.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Families {
    /// Those of the asker's own family (UDP).
    Own,
    /// First those, then the others (HTTP).
    Both,
}

/// The table in figures.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackerStats {
    /// Swarms with a peer in them.
    pub torrents: usize,
    /// Peers in them.
    pub peers: usize,
    /// Announces answered.
    pub announces: u64,
    /// Torrents looked up by scrapes.
    pub scrapes: u64,
    /// Announces refused.
    pub refused: u64,
}

#[derive(Debug)]
struct Peer {
    id: PeerId,
    seen: Instant,
    complete: bool,
}

#[derive(Debug, Default)]
struct Swarm {
    peers: BTreeMap<SocketAddr, Peer>,
    /// The same peers by when they were heard from.
    by_age: BTreeSet<(Instant, SocketAddr)>,
    seeds: usize,
    downloaded: u32,
    /// Last announce.
    active: Instant,
}

/// Who is in which swarm.
#[derive(Debug)]
pub struct Table {
    config: Config,
    policy: Policy,
    swarms: BTreeMap<InfoHash, Swarm>,
    /// The swarms by their last announce.
    by_activity: BTreeSet<(Instant, InfoHash)>,
    peers: usize,
    rng: Pcg64,
    next_sweep: Instant,
    stats: TrackerStats,
}

impl Table {
    /// An empty table.
    pub fn new(config: Config, policy: Policy, now: Instant, seed: u64) -> Self {
        Self {
            config,
            policy,
            swarms: BTreeMap::new(),
            by_activity: BTreeSet::new(),
            peers: 0,
            rng: Pcg64::seed_from_u64(seed),
            next_sweep: now + SWEEP,
            stats: TrackerStats::default(),
        }
    }

    /// Serves other swarms from now on; those no longer served are forgotten.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        let gone: Vec<_> = self.swarms.keys().copied().filter(|hash| !self.serves(*hash)).collect();
        gone.into_iter().for_each(|hash| self.drop_swarm(hash));
    }

    /// Adds a swarm to those served; nothing changes when all are.
    pub fn allow(&mut self, hash: InfoHash) {
        if let Policy::Only(hashes) = &mut self.policy {
            hashes.insert(hash);
        }
    }

    /// Answers one announce.
    ///
    /// # Errors
    /// When the swarm is not served here.
    pub fn handle_announce(
        &mut self,
        now: Instant,
        asker: Asker,
        request: &AnnounceRequest,
        families: Families,
    ) -> Result<AnnounceResponse, Refusal> {
        let hash = request.info_hash;
        if !self.serves(hash) {
            self.stats.refused += 1;
            let reason = "this torrent is not registered with this tracker".to_owned();
            return Err(Refusal { reason, retry: Some(RetryIn::Never) });
        }
        self.stats.announces += 1;
        let asker =
            Asker { ip: asker.ip.to_canonical(), reached_at: asker.reached_at.map(|ip| ip.to_canonical()) };
        let addr = SocketAddr::new(asker.ip, request.port);
        self.expire(now, hash);
        if request.event == AnnounceEvent::Stopped {
            self.remove(hash, addr);
        } else if request.port != 0 {
            self.store(now, addr, request);
        }
        let peers = self.sample(asker, request, families);
        let counts = self.counts(hash).unwrap_or_default();
        Ok(AnnounceResponse {
            interval: self.config.interval,
            min_interval: Some(self.config.min_interval.min(self.config.interval)),
            complete: Some(counts.complete),
            incomplete: Some(counts.incomplete),
            peers,
            ..AnnounceResponse::default()
        })
    }

    /// A swarm's counts; `None` when nobody is in it.
    pub fn handle_scrape(&mut self, now: Instant, hash: InfoHash) -> Option<ScrapeEntry> {
        self.stats.scrapes += 1;
        self.expire(now, hash);
        self.counts(hash)
    }

    /// Forgets silent peers, if it is time to.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP;
        let hashes: Vec<_> = self.swarms.keys().copied().collect();
        hashes.into_iter().for_each(|hash| self.expire(now, hash));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub const fn poll_timeout(&self) -> Instant {
        self.next_sweep
    }

    /// The table in figures.
    pub fn stats(&self) -> TrackerStats {
        let torrents = self.swarms.values().filter(|s| !s.peers.is_empty()).count();
        TrackerStats { torrents, peers: self.peers, ..self.stats }
    }

    fn serves(&self, hash: InfoHash) -> bool {
        match &self.policy {
            Policy::Open => true,
            Policy::Only(hashes) => hashes.contains(&hash),
        }
    }

    fn counts(&self, hash: InfoHash) -> Option<ScrapeEntry> {
        let swarm = self.swarms.get(&hash)?;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (complete, incomplete) = (number(swarm.seeds), number(swarm.peers.len() - swarm.seeds));
        Some(ScrapeEntry { complete, downloaded: swarm.downloaded, incomplete })
    }

    fn store(&mut self, now: Instant, addr: SocketAddr, request: &AnnounceRequest) {
        let hash = request.info_hash;
        let before = self.remove_peer(hash, addr);
        if before.is_none() {
            self.make_room(hash, addr);
        }
        if !self.swarms.contains_key(&hash) {
            self.make_room_for_swarm();
        }
        let swarm = self.swarms.entry(hash).or_default();
        self.by_activity.remove(&(swarm.active, hash));
        swarm.active = now;
        self.by_activity.insert((now, hash));
        let complete = request.left == 0;
        // A repeated `completed` of one who was complete already is not another download.
        if request.event == AnnounceEvent::Completed && !before.is_some_and(|p| p.complete) {
            swarm.downloaded = swarm.downloaded.saturating_add(1);
        }
        swarm.insert(addr, Peer { id: request.peer_id, seen: now, complete });
        self.peers += 1;
    }

    /// Makes room for a new peer in its swarm and in the table.
    fn make_room(&mut self, hash: InfoHash, addr: SocketAddr) {
        if let Some(swarm) = self.swarms.get(&hash) {
            let crowd = swarm.oldest_of_crowd(addr.ip());
            let full = swarm.peers.len() >= self.config.limits.peers_per_torrent;
            let oldest = swarm.by_age.first().map(|(_, addr)| *addr).filter(|_| full);
            if let Some(victim) = crowd.or(oldest) {
                self.remove_peer(hash, victim);
            }
        }
        while self.peers >= self.config.limits.peers.max(1) {
            self.forget_oldest();
        }
    }

    /// The swarm that nobody asked for longest loses the peer heard from longest ago.
    fn forget_oldest(&mut self) {
        let Some((_, hash)) = self.by_activity.first().copied() else { return };
        match self.swarms.get(&hash).and_then(|s| s.by_age.first().copied()) {
            Some((_, addr)) => self.remove(hash, addr),
            None => self.drop_swarm(hash),
        }
    }

    fn make_room_for_swarm(&mut self) {
        while self.swarms.len() >= self.config.limits.torrents.max(1) {
            let Some((_, hash)) = self.by_activity.first().copied() else { return };
            self.drop_swarm(hash);
        }
    }

    fn drop_swarm(&mut self, hash: InfoHash) {
        if let Some(swarm) = self.swarms.remove(&hash) {
            self.by_activity.remove(&(swarm.active, hash));
            self.peers -= swarm.peers.len();
        }
    }

    fn remove_peer(&mut self, hash: InfoHash, addr: SocketAddr) -> Option<Peer> {
        let peer = self.swarms.get_mut(&hash)?.remove(addr)?;
        self.peers -= 1;
        Some(peer)
    }

    fn remove(&mut self, hash: InfoHash, addr: SocketAddr) {
        self.remove_peer(hash, addr);
        self.drop_if_empty(hash);
    }

    /// An empty swarm keeps its count of downloads only where the swarms are ours to choose.
    fn drop_if_empty(&mut self, hash: InfoHash) {
        if self.policy == Policy::Open && self.swarms.get(&hash).is_some_and(|s| s.peers.is_empty()) {
            self.drop_swarm(hash);
        }
    }

    fn expire(&mut self, now: Instant, hash: InfoHash) {
        let expiry = self.config.expiry();
        let Some(swarm) = self.swarms.get_mut(&hash) else { return };
        while let Some((_, addr)) = swarm.by_age.first().copied().filter(|(seen, _)| now - *seen >= expiry) {
            swarm.remove(addr);
            self.peers -= 1;
        }
        self.drop_if_empty(hash);
    }

    /// Random peers that are of use to the asker.
    fn sample(&mut self, asker: Asker, request: &AnnounceRequest, families: Families) -> Vec<TrackedPeer> {
        let most = request.num_want.unwrap_or(DEFAULT_NUM_WANT).min(MAX_NUM_WANT) as usize;
        let swarm = self.swarms.get(&request.info_hash);
        let Some(swarm) = swarm.filter(|_| request.event != AnnounceEvent::Stopped && most > 0) else {
            return Vec::new();
        };
        let own = Family::of(asker.ip);
        let useful = swarm.useful_to(asker, request);
        let (mut near, mut far): (Vec<_>, Vec<_>) = useful.partition(|p| Family::of(p.addr.ip()) == own);
        let mut peers = near.partial_shuffle(&mut self.rng, most).0.to_vec();
        if families == Families::Both {
            peers.extend_from_slice(far.partial_shuffle(&mut self.rng, most - peers.len()).0);
        }
        peers
    }
}

impl Swarm {
    fn insert(&mut self, addr: SocketAddr, peer: Peer) {
        self.by_age.insert((peer.seen, addr));
        self.seeds += usize::from(peer.complete);
        self.peers.insert(addr, peer);
    }

    fn remove(&mut self, addr: SocketAddr) -> Option<Peer> {
        let peer = self.peers.remove(&addr)?;
        self.by_age.remove(&(peer.seen, addr));
        self.seeds -= usize::from(peer.complete);
        Some(peer)
    }

    /// Of an address with too many ports the one heard from longest ago. Our own machine may have any number.
    fn oldest_of_crowd(&self, ip: IpAddr) -> Option<SocketAddr> {
        let ports = self.peers.range(SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX));
        let crowd: Vec<_> = ports.map(|(addr, peer)| (peer.seen, *addr)).collect();
        let oldest = crowd.iter().min().filter(|_| crowd.len() >= MAX_PORTS && !ip.is_loopback());
        oldest.map(|(_, addr)| *addr)
    }

    /// Everybody but the asker, as the asker can reach him; for a seed no seeds. A client that just starts is
    /// not taken for one: with a magnet link aria2 says that nothing is left until it has the metadata.
    fn useful_to(&self, asker: Asker, request: &AnnounceRequest) -> impl Iterator<Item = TrackedPeer> {
        let (own, own_id) = (SocketAddr::new(asker.ip, request.port), request.peer_id);
        let seed = request.left == 0 && request.event != AnnounceEvent::Started;
        let others = self.peers.iter().filter(move |(addr, peer)| **addr != own && peer.id != own_id);
        let wanted = others.filter(move |(_, peer)| !(seed && peer.complete));
        wanted.filter_map(move |(addr, peer)| {
            Some(TrackedPeer { addr: seen_from(*addr, asker)?, id: Some(peer.id) })
        })
    }
}

/// A peer's address as an asker can use it; `None` when there is none.
fn seen_from(addr: SocketAddr, asker: Asker) -> Option<SocketAddr> {
    if !addr.ip().is_loopback() || asker.ip.is_loopback() {
        return Some(addr);
    }
    let ours = asker.reached_at.filter(|ip| Family::of(*ip) == Family::of(addr.ip()))?;
    (!ours.is_loopback() && !ours.is_unspecified()).then(|| SocketAddr::new(ours, addr.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: InfoHash = InfoHash([1; 20]);

    fn table(limits: Limits) -> Table {
        Table::new(Config { limits, ..Config::default() }, Policy::Open, Instant::ZERO, 7)
    }

    fn request(port: u16, left: u64) -> AnnounceRequest {
        let mut peer_id = [b'p'; 20];
        peer_id[..2].copy_from_slice(&port.to_be_bytes());
        AnnounceRequest {
            info_hash: HASH,
            peer_id: PeerId(peer_id),
            port,
            uploaded: 0,
            downloaded: 0,
            left,
            event: AnnounceEvent::Interval,
            key: None,
            num_want: None,
            tracker_id: None,
        }
    }

    fn from(ip: &str) -> Asker {
        Asker { ip: ip.parse().unwrap(), reached_at: None }
    }

    fn ask(table: &mut Table, secs: u64, ip: &str, request: &AnnounceRequest) -> Vec<String> {
        let answer = table.handle_announce(Instant::from_secs(secs), from(ip), request, Families::Both);
        let mut peers: Vec<_> = answer.unwrap().peers.iter().map(|p| p.addr.to_string()).collect();
        peers.sort();
        peers
    }

    fn counts(table: &mut Table, secs: u64) -> Option<(u32, u32, u32)> {
        let entry = table.handle_scrape(Instant::from_secs(secs), HASH);
        entry.map(|e| (e.complete, e.downloaded, e.incomplete))
    }

    #[test]
    fn peers_hear_of_each_other_and_not_of_themselves() {
        let mut t = table(Limits::default());
        assert_eq!(ask(&mut t, 0, "10.0.0.1", &request(1, 0)), [""; 0]);
        assert_eq!(ask(&mut t, 1, "10.0.0.2", &request(2, 9)), ["10.0.0.1:1"]);
        assert_eq!(ask(&mut t, 2, "10.0.0.1", &request(1, 0)), ["10.0.0.2:2"]);
        assert_eq!(counts(&mut t, 2), Some((1, 0, 1)));
        // The same client from another of its addresses.
        assert_eq!(ask(&mut t, 3, "10.9.9.9", &request(2, 9)), ["10.0.0.1:1"]);
    }

    #[test]
    fn a_seed_is_not_told_of_seeds_unless_it_just_starts() {
        let mut t = table(Limits::default());
        ask(&mut t, 0, "10.0.0.1", &request(1, 0));
        ask(&mut t, 0, "10.0.0.2", &request(2, 5));
        assert_eq!(ask(&mut t, 0, "10.0.0.3", &request(3, 0)), ["10.0.0.2:2"]);
        let starting = AnnounceRequest { event: AnnounceEvent::Started, ..request(3, 0) };
        assert_eq!(ask(&mut t, 0, "10.0.0.3", &starting).len(), 2);
        assert_eq!(ask(&mut t, 0, "10.0.0.4", &request(4, 5)).len(), 3);
    }

    #[test]
    fn completed_counts_once_and_stopped_removes() {
        let mut t = table(Limits::default());
        ask(&mut t, 0, "10.0.0.1", &request(1, 9));
        let done = AnnounceRequest { event: AnnounceEvent::Completed, ..request(1, 0) };
        ask(&mut t, 1, "10.0.0.1", &done);
        ask(&mut t, 2, "10.0.0.1", &done);
        assert_eq!(counts(&mut t, 2), Some((1, 1, 0)));
        let gone = AnnounceRequest { event: AnnounceEvent::Stopped, ..request(1, 0) };
        assert_eq!(ask(&mut t, 3, "10.0.0.1", &gone), [""; 0]);
        assert_eq!((counts(&mut t, 3), t.stats().peers), (None, 0));
        // Of a swarm that is not there, `stopped` makes none.
        ask(&mut t, 4, "10.0.0.1", &gone);
        assert_eq!(t.stats().torrents, 0);
    }

    #[test]
    fn a_silent_peer_is_forgotten_after_2700_seconds() {
        let mut t = table(Limits::default());
        ask(&mut t, 0, "10.0.0.1", &request(1, 9));
        ask(&mut t, 1_000, "10.0.0.2", &request(2, 9));
        assert_eq!(counts(&mut t, 2_699), Some((0, 0, 2)));
        assert_eq!(counts(&mut t, 2_700), Some((0, 0, 1)));
        t.handle_timeout(Instant::from_secs(3_700));
        assert_eq!((t.stats().peers, t.stats().torrents), (0, 0));
        assert_eq!(t.poll_timeout(), Instant::from_secs(3_730));
    }

    #[test]
    fn families_are_kept_apart_over_udp_and_both_told_over_http() {
        let mut t = table(Limits::default());
        ask(&mut t, 0, "10.0.0.1", &request(1, 9));
        ask(&mut t, 0, "::ffff:10.0.0.2", &request(2, 9));
        assert_eq!(ask(&mut t, 0, "2001:db8::3", &request(3, 9)), ["10.0.0.1:1", "10.0.0.2:2"]);
        let mut own = |ip| {
            let asked = t.handle_announce(Instant::ZERO, from(ip), &request(4, 9), Families::Own);
            asked.unwrap().peers.len()
        };
        assert_eq!((own("2001:db8::4"), own("10.0.0.4")), (1, 2));
    }

    #[test]
    fn a_peer_on_the_trackers_machine_is_told_by_the_address_that_reached_it() {
        let mut t = table(Limits::default());
        ask(&mut t, 0, "127.0.0.1", &request(1, 0));
        assert_eq!(ask(&mut t, 0, "127.0.0.1", &request(2, 9)), ["127.0.0.1:1"]);
        assert_eq!(ask(&mut t, 0, "10.0.0.3", &request(3, 9)), [""; 0]);
        let asker = Asker { reached_at: Some("10.0.0.99".parse().unwrap()), ..from("10.0.0.3") };
        let answer = t.handle_announce(Instant::ZERO, asker, &request(3, 9), Families::Both).unwrap();
        let mut peers: Vec<_> = answer.peers.iter().map(|p| p.addr.to_string()).collect();
        peers.sort();
        assert_eq!(peers, ["10.0.0.99:1", "10.0.0.99:2"]);
        // An IPv6 asker has no use for the address of the other family.
        assert_eq!(ask(&mut t, 0, "2001:db8::4", &request(4, 9)), ["10.0.0.3:3"]);
    }

    #[test]
    fn a_listed_tracker_serves_its_own_torrents_only() {
        let now = Instant::ZERO;
        let mut t = Table::new(Config::default(), Policy::Only(BTreeSet::new()), now, 1);
        let refusal = t.handle_announce(now, from("10.0.0.1"), &request(1, 9), Families::Both).unwrap_err();
        assert_eq!(refusal.retry, Some(RetryIn::Never));
        t.allow(HASH);
        ask(&mut t, 0, "10.0.0.1", &request(1, 9));
        assert_eq!(t.stats(), TrackerStats { torrents: 1, peers: 1, announces: 1, scrapes: 0, refused: 1 });
        t.set_policy(Policy::Only(BTreeSet::new()));
        assert_eq!((t.stats().torrents, t.stats().peers), (0, 0));
    }

    #[test]
    fn num_want_is_respected_and_bounded_and_the_choice_is_random_but_repeatable() {
        let fill = || {
            let mut t = table(Limits::default());
            (1..=250).for_each(|port| drop(ask(&mut t, 0, "127.0.0.1", &request(port, 9))));
            t
        };
        let mut t = fill();
        let mut want = |n| ask(&mut t, 0, "127.0.0.1", &AnnounceRequest { num_want: n, ..request(999, 9) });
        assert_eq!([Some(0), Some(7), None, Some(9_999)].map(|n| want(n).len()), [0, 7, 50, 200]);
        assert_ne!(want(Some(7)), want(Some(7)));
        let first = AnnounceRequest { num_want: Some(7), ..request(999, 9) };
        assert_eq!(ask(&mut fill(), 0, "127.0.0.1", &first), ask(&mut fill(), 0, "127.0.0.1", &first));
    }

    #[test]
    fn a_flood_of_ports_from_one_address_costs_only_that_address() {
        let mut t = table(Limits { peers_per_torrent: 300, ..Limits::default() });
        ask(&mut t, 0, "10.0.0.1", &request(1, 9));
        (1..=1_000).for_each(|port| drop(ask(&mut t, 1, "10.6.6.6", &request(port, 9))));
        assert_eq!(t.stats().peers, 1 + MAX_PORTS);
        let one = AnnounceRequest { num_want: Some(200), ..request(2_000, 0) };
        let honest = (0..50).any(|_| ask(&mut t, 2, "10.0.0.2", &one).contains(&"10.0.0.1:1".to_owned()));
        assert!(honest, "the peer that was there first is still told of");
    }

    proptest! {
        #[test]
        fn limits_hold_and_figures_agree_whatever_comes(
            steps in prop::collection::vec((0u64..400, 0u8..6, 0u8..12, 0u16..6, 0u64..2, 0usize..4), 1..300),
        ) {
            let limits = Limits { torrents: 4, peers: 9, peers_per_torrent: 5 };
            let mut t = table(limits);
            let mut now = Instant::ZERO;
            for (wait, hash, ip, port, left, event) in steps {
                now += Duration::from_secs(wait);
                let asker = Asker { ip: IpAddr::from([10, 0, 0, ip]), reached_at: None };
                let asked = AnnounceRequest {
                    info_hash: InfoHash([hash; 20]),
                    event: AnnounceEvent::ALL[event],
                    ..request(port, left)
                };
                let answer = t.handle_announce(now, asker, &asked, Families::Both).unwrap();
                let own = SocketAddr::new(asker.ip, port);
                prop_assert!(answer.peers.iter().all(|p| p.addr != own && p.addr.port() != 0));
                t.handle_timeout(now);
                prop_assert!(t.swarms.len() <= limits.torrents);
                prop_assert_eq!(t.by_activity.len(), t.swarms.len());
                prop_assert_eq!(t.peers, t.swarms.values().map(|s| s.peers.len()).sum::<usize>());
                prop_assert!(t.peers <= limits.peers);
                for swarm in t.swarms.values() {
                    prop_assert!((1..=limits.peers_per_torrent).contains(&swarm.peers.len()));
                    prop_assert_eq!(swarm.by_age.len(), swarm.peers.len());
                    prop_assert_eq!(swarm.seeds, swarm.peers.values().filter(|p| p.complete).count());
                }
                if asked.event != AnnounceEvent::Stopped && port != 0 {
                    prop_assert!(t.swarms[&asked.info_hash].peers.contains_key(&own), "the last one is always in");
                }
            }
        }
    }
}
