//! Peers come and go: whom we dial and take in, what we say first, whom we part with and whom we ban.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::event::{Ban, Event};
use super::peer::Peer;
use super::torrent::{REQQ, Torrent};
use super::{Direction, Output, PeerKey, Refused};
use crate::metainfo::geometry::BLOCK_LENGTH;
use crate::time::{Duration, Instant};
use crate::wire::extension::ExtensionHandshake;
use crate::wire::handshake::Hello;
use crate::wire::live;
use crate::wire::message::Message;

/// Nothing sent for this time: a keep-alive (BEP 3: two minutes).
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// Nothing heard for this time: the peer is gone.
const SILENCE: Duration = Duration::from_secs(180);
/// A slot that somebody left is given to those who wait within this time.
const EARLY_ROUND: Duration = Duration::from_secs(1);
/// Fewer connected peers than this (or than `max_peers`): more addresses would help. Who watches a broadcast calls no
/// more: the others' places are for those whom nobody can call, and for those who come next.
const ENOUGH_PEERS: usize = 24;
/// ... but so many are to be of our own choice: whoever wants to keep us from the swarm may call us.
const OF_OUR_CHOICE: usize = 8;
/// One of so many may answer.
const CALLS_FOR_ONE: usize = 2;
/// More addresses are asked for at most this often.
const WANT_PEERS_EVERY: Duration = Duration::from_secs(10);
/// A viewer of a broadcast who is alone for so long is in need of peers, or at the beginning for so long, ...
const ALONE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// ... and one who hears of no new piece for so long (stamps are told every other second), or for so many times as long
/// as a piece lasts.
const STANDSTILL: (Duration, u32) = (Duration::from_secs(3), 2);
/// What we call ourselves in the extension handshake.
const CLIENT: &str = concat!("swarm ", env!("CARGO_PKG_VERSION"));

impl Torrent {
    /// A peer has shaken hands.
    ///
    /// # Errors
    /// When it is not wanted; the driver closes the connection.
    pub fn connect(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        direction: Direction,
        hello: Hello,
    ) -> Result<PeerKey, Refused> {
        if let Err(refused) = self.admit(now, addr, direction, &hello) {
            if direction == Direction::Outgoing {
                self.candidates.failed(now, addr);
            }
            return Err(refused);
        }
        if direction == Direction::Outgoing {
            self.candidates.connected(addr);
        }
        let mut peer = Peer::new(now, addr, direction, hello, self.pieces.geometry());
        if self.live.is_some() {
            // More than a piece would be turned down.
            peer.pipeline.begins_with(self.pieces.geometry().piece_length().div_ceil(BLOCK_LENGTH));
        }
        let key = self.peers.insert(peer);
        self.greet(now, key);
        if self.is_favoured(key) {
            self.set_choked(now, key, false);
        }
        Ok(key)
    }

    /// The first messages to a new peer: the extension handshake and what we have.
    pub(super) fn greet(&mut self, now: Instant, peer: PeerKey) {
        let Some(hello) = self.peers.get(peer).map(|p| p.hello) else { return };
        let have = self.pieces.have();
        let pieces = match (hello.fast, have.is_full(), have.is_empty()) {
            (true, true, _) => Some(Message::HaveAll),
            (true, _, true) => Some(Message::HaveNone),
            (false, _, true) => None,
            _ => Some(Message::Bitfield(Bytes::copy_from_slice(have.as_wire()))),
        };
        if let Some(message) = pieces {
            self.send(now, peer, message);
        }
        if hello.extended {
            let state = self.live_state();
            let ours = ExtensionHandshake {
                client: Some(CLIENT.to_owned()),
                port: Some(self.config.listen_port).filter(|p| *p != 0),
                reqq: Some(REQQ),
                ..ExtensionHandshake::default()
            };
            let ours = match state {
                Some(state) => {
                    ExtensionHandshake { live: Some(state), ..ours.announcing(live::NAME, live::OUR_ID) }
                }
                None => ours,
            };
            self.send(now, peer, Message::Extended { id: 0, payload: ours.encode() });
        }
    }

    pub(super) fn on_closed(&mut self, now: Instant, peer: PeerKey, hostile: bool) {
        if hostile {
            self.expel(now, peer, Ban::Protocol);
        } else {
            self.forget_peer(now, peer);
        }
    }

    /// A peer broke the rules.
    pub(super) fn expel(&mut self, now: Instant, peer: PeerKey, why: Ban) {
        if let Some(ip) = self.peers.get(peer).map(|p| p.addr.ip()) {
            tracing::info!(%ip, ?why, "banned");
            self.ban(now, ip, why);
        }
    }

    pub(super) fn dismiss(&mut self, now: Instant, peer: PeerKey) {
        self.forget_peer(now, peer);
        self.out.push_back(Output::Close { peer });
    }

    /// Parts with a peer for which there is nothing to do, and nothing to be had from, for long.
    pub(super) fn part(&mut self, now: Instant, peer: PeerKey) {
        let addr = self.peers.get(peer).map(|p| p.addr);
        self.dismiss(now, peer);
        addr.into_iter().for_each(|addr| self.candidates.satisfied(now, addr));
    }

    pub(super) fn ban(&mut self, now: Instant, ip: IpAddr, why: Ban) {
        if self.candidates.is_banned(ip) {
            return;
        }
        self.candidates.ban(ip);
        let theirs: Vec<_> = self.peers.iter().filter(|(_, p)| p.addr.ip() == ip).map(|(k, _)| k).collect();
        theirs.into_iter().for_each(|peer| self.dismiss(now, peer));
        self.out.push_back(Output::Event(Event::Banned { addr: ip, why }));
    }

    pub(super) fn forget_peer(&mut self, now: Instant, key: PeerKey) {
        let Some(mut peer) = self.peers.remove(key) else { return };
        self.pieces.count_peer(&peer.has, false);
        self.forget_live_peer(key);
        for block in peer.pipeline.cancel(now, |_| true) {
            self.give_up(key, block);
        }
        self.end_reservations(now, key);
        self.dial_now = true;
        if !peer.choked && self.is_awaited(key) {
            self.next_round = self.next_round.min(now + EARLY_ROUND);
        }
        if peer.direction == Direction::Outgoing {
            if peer.of_use {
                self.candidates.left(now, peer.addr);
            } else {
                self.candidates.failed(now, peer.addr);
            }
        }
        self.refill_all();
    }

    pub(super) fn look_after_peers(&mut self, now: Instant) {
        let (mut dead, mut snubbing, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
        for (key, peer) in &mut self.peers {
            peer.forgive(now);
            if now - peer.last_heard > SILENCE {
                dead.push(key);
            } else if peer.pipeline.check_snubbed(now) {
                snubbing.push(key);
            } else if now - peer.last_sent > KEEP_ALIVE {
                quiet.push(key);
            }
        }
        dead.into_iter().for_each(|peer| self.dismiss(now, peer));
        snubbing.into_iter().for_each(|peer| self.take_back(now, peer));
        self.replace_withheld(now);
        quiet.into_iter().for_each(|peer| self.send(now, peer, Message::KeepAlive));
    }

    /// A viewer of a broadcast whose source is gone waits for it, and wants to hear at once that it is back.
    pub(super) fn look_for_the_source(&mut self, now: Instant) {
        let watches = (!self.readers.is_empty() || self.config.whole) && !self.is_over();
        let alone = self.peers.is_empty();
        let Some(live) = self.live.as_mut().filter(|live| !live.config.source && watches) else { return };
        if let Some(need) = live.standstill.look(now, alone, live.newest, live.rate.piece_time()) {
            self.candidates.hurry(now, need, &mut self.rng);
        }
    }

    pub(super) fn dial(&mut self, now: Instant) {
        let wanting = self.pieces.left() > 0 || !self.readers.is_empty() || !self.pieces.have().is_empty();
        let calls = if wanting { self.calls().saturating_sub(self.candidates.dialling()) } else { 0 };
        for _ in 0..calls {
            let Some(addr) = self.candidates.next(now) else { break };
            self.out.push_back(Output::Dial { addr });
        }
        // Those that are not to be called yet, as they did not answer before, may be gone.
        if self.lacks_peers() && now >= self.next_want && !self.candidates.has_ready(now) {
            self.next_want = now + WANT_PEERS_EVERY;
            self.out.push_back(Output::WantPeers);
        }
    }

    /// How many may be called at a time.
    fn calls(&self) -> usize {
        let places = self.config.max_peers.saturating_sub(self.peers.len());
        if self.live.is_some() { places.min(self.lacking() * CALLS_FOR_ONE) } else { places }
    }

    /// Whether more addresses would help.
    pub fn lacks_peers(&self) -> bool {
        let takes = match &self.live {
            // What is there may be complete for a moment, until the next piece is made.
            Some(live) => !live.config.source && (self.config.whole || !self.readers.is_empty()),
            None => self.pieces.left() > 0,
        };
        takes && self.peers.len() < self.config.max_peers && self.lacking() > 0
    }

    fn lacking(&self) -> usize {
        let called = self.peers.values().filter(|p| p.direction == Direction::Outgoing).count();
        ENOUGH_PEERS.saturating_sub(self.peers.len()).max(OF_OUR_CHOICE.saturating_sub(called))
    }
}

/// Since when nothing new comes.
#[derive(Debug)]
pub(super) struct Standstill {
    newest: Option<u32>,
    /// When it was found to be another one than before.
    moved: Instant,
    /// When there was anybody last.
    company: Instant,
    need: Option<Instant>,
    still: bool,
}

impl Standstill {
    pub(super) const fn new(now: Instant) -> Self {
        Self { newest: None, moved: now, company: now, need: None, still: false }
    }

    /// For how long there has been a need for peers, if there is one now.
    fn look(
        &mut self,
        now: Instant,
        alone: bool,
        newest: Option<u32>,
        piece_time: Duration,
    ) -> Option<Duration> {
        if !alone {
            self.company = now;
        }
        if std::mem::replace(&mut self.newest, newest) != newest {
            self.moved = now;
        }
        let begun = newest.is_some();
        self.still = begun && now - self.moved >= STANDSTILL.0.max(piece_time * STANDSTILL.1);
        if !self.still && now - self.company < if begun { ALONE.0 } else { ALONE.1 } {
            self.need = None;
            return None;
        }
        Some(now - *self.need.get_or_insert(now))
    }

    /// For how long no new piece has been heard of, if that is long.
    pub(super) fn lasts(&self, now: Instant) -> Option<Duration> {
        self.still.then(|| now - self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testbed::{Testbed, config};
    use super::super::{Input, Source};
    use super::*;

    /// A viewer whose source is there, and others that it knows of and cannot reach.
    fn watching() -> (Testbed, PeerKey) {
        let mut bed = Testbed::live(64, false);
        bed.watch();
        let source = SocketAddr::from(([10, 0, 9, 9], 6881));
        let others = (0..30).map(|n| SocketAddr::from(([10, 1, 0, n], 6881)));
        bed.input(Input::Found { source: Source::Tracker, addrs: others.chain([source]).collect() });
        let peer = bed.live_peer_at(source, 0..20);
        bed.give_all(peer);
        (0..30).for_each(|n| bed.input(Input::DialFailed { addr: ([10, 1, 0, n], 6881).into() }));
        (bed, peer)
    }

    #[test]
    fn a_viewer_whose_source_is_gone_calls_it_again_and_again() {
        let (mut bed, source) = watching();
        let addr = SocketAddr::from(([10, 0, 9, 9], 6881));
        assert_eq!(bed.still(), None);
        bed.input(Input::Closed { peer: source, hostile: false });
        let mut calls = Vec::new();
        for _ in 0..200 {
            let before = bed.dialled.len();
            bed.wait(Duration::from_millis(100));
            for called in bed.dialled.split_off(before) {
                calls.extend((called == addr).then_some(bed.now));
                bed.input(Input::DialFailed { addr: called });
            }
        }
        let pauses: Vec<_> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(bed.still() >= Some(Duration::from_secs(19)), "{:?}", bed.still());
        assert!(calls.len() >= 9 && pauses.iter().all(|p| *p <= Duration::from_millis(2_200)), "{pauses:?}");
    }

    #[test]
    fn nobody_is_called_ahead_of_time_while_the_broadcast_goes_on_or_by_its_source() {
        let (mut bed, source) = watching();
        let called = bed.dialled.len();
        for newest in 20..40 {
            bed.wait(Duration::from_millis(500));
            bed.reached(source, 10..newest + 1);
            bed.give_all(source);
        }
        assert_eq!((bed.dialled.len(), bed.still()), (called, None));
        let mut bed = Testbed::live(64, true);
        bed.input(Input::Found { source: Source::Tracker, addrs: vec![([10, 0, 9, 9], 6881).into()] });
        let called = bed.dialled.len();
        bed.dialled.clone().into_iter().for_each(|addr| bed.input(Input::DialFailed { addr }));
        bed.wait(Duration::from_secs(10));
        assert_eq!(bed.dialled.len(), called);
    }

    #[test]
    fn two_seeds_part_and_leave_each_other_alone() {
        let mut bed = Testbed::new(config(), 1 << 15, 10 << 15, true);
        bed.input(Input::Found { source: Source::User, addrs: vec![([10, 0, 0, 1], 6881).into()] });
        assert_eq!(bed.dialled.len(), 1);
        let peer = bed.connect(true);
        bed.hear(peer, Message::HaveAll);
        assert_eq!(bed.closed, [peer]);
        bed.wait(Duration::from_secs(300));
        assert_eq!(bed.dialled.len(), 1);
    }

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (0..count).map(|n| ([10, 0, 1, n], 6881).into()).collect()
    }

    /// In a swarm that comes and goes most of the addresses that one knows are of those who have gone.
    #[test]
    fn who_knows_only_addresses_that_do_not_answer_asks_for_more() {
        let mut bed = Testbed::new(config(), 1 << 15, 10 << 15, false);
        bed.open(0..10 << 15);
        bed.input(Input::Found { source: Source::Tracker, addrs: addresses(3) });
        assert_eq!(bed.dialled.len(), 3);
        let asked = bed.wants;
        addresses(3).into_iter().for_each(|addr| bed.input(Input::DialFailed { addr }));
        bed.wait(WANT_PEERS_EVERY * 2);
        assert!(bed.wants > asked);
    }

    #[test]
    fn a_viewer_that_has_enough_neighbours_calls_no_more() {
        let mut bed = Testbed::live(400, false);
        let peers: Vec<_> = (0..ENOUGH_PEERS).map(|_| bed.live_peer(100..140)).collect();
        bed.watch();
        bed.input(Input::Found { source: Source::Tracker, addrs: addresses(40) });
        bed.wait(Duration::from_secs(1));
        assert_eq!(bed.dialled.len(), 0);
        bed.input(Input::Closed { peer: peers[0], hostile: false });
        assert_eq!(bed.dialled.len(), CALLS_FOR_ONE);
    }

    /// Whoever calls us until we call nobody would be all that we know of the swarm.
    #[test]
    fn some_neighbours_are_of_our_own_choice() {
        let mut bed = Testbed::live(400, false);
        for n in 1..=30 {
            let hello = Hello { peer_id: crate::wire::ids::PeerId([n; 20]), ..config().hello };
            let called =
                bed.torrent.connect(bed.now, ([10, 9, 9, n], 999).into(), Direction::Incoming, hello);
            assert!(called.is_ok());
        }
        bed.watch();
        bed.input(Input::Found { source: Source::Tracker, addrs: addresses(40) });
        bed.wait(Duration::from_secs(1));
        assert_eq!(bed.dialled.len(), OF_OUR_CHOICE * CALLS_FOR_ONE);
    }

    #[test]
    fn who_is_known_banned_or_ourselves_is_not_taken_in() {
        let mut bed = Testbed::new(config(), 1 << 15, 10 << 15, false);
        let peer = bed.connect(true);
        let hello = |id| Hello { peer_id: crate::wire::ids::PeerId([id; 20]), ..config().hello };
        let try_in = |bed: &mut Testbed, ip: u8, id| {
            bed.torrent.connect(bed.now, ([10, 0, 0, ip], 999).into(), Direction::Incoming, hello(id)).err()
        };
        assert_eq!(try_in(&mut bed, 1, 1), Some(Refused::Twice));
        assert_eq!(try_in(&mut bed, 9, 0), Some(Refused::Ourselves));
        assert_eq!(try_in(&mut bed, 9, 9), None);
        bed.hear(peer, Message::Have(77));
        assert_eq!(try_in(&mut bed, 1, 3), Some(Refused::Banned));
        assert!(bed.events.iter().any(|e| matches!(e, Event::Banned { why: Ban::Protocol, .. })));
    }
}
