//! Whom we call, and when we ask for more addresses.
//!
//! A film's torrent fills half of its places by calling: if those who come first filled all of theirs with each other,
//! those who come later would be a swarm of their own. A viewer of a broadcast leaves more places free: most of its
//! neighbours come and go, and many can be called by nobody, so that those who can be called must have room for them. In
//! need it calls even those who did not answer a moment ago.

use super::torrent::Torrent;
use super::{Direction, Output};
use crate::time::{Duration, Instant};

/// Fewer connected peers than this (or than `max_peers`): more addresses would help. Who watches a broadcast calls no
/// more: the others' places are for those whom nobody can call, and for those who come next.
const ENOUGH_PEERS: usize = 24;
/// ... but so many are to be of our own choice: whoever wants to keep us from the swarm may call us.
const OF_OUR_CHOICE: usize = 8;
/// A film's torrent calls until so many of so many places are taken.
const CALLED: (usize, usize) = (1, 2);
/// One of so many may answer.
const CALLS_FOR_ONE: usize = 2;
/// More addresses are asked for at most this often.
const WANT_PEERS_EVERY: Duration = Duration::from_secs(10);

impl Torrent {
    /// A viewer of a broadcast whose source is gone waits for it, and wants to hear at once that it is back.
    pub(super) fn look_for_the_source(&mut self, now: Instant) {
        if !self.watches() || self.is_over() {
            return;
        }
        let alone = self.peers.is_empty();
        let Some(live) = &mut self.live else { return };
        if let Some(need) = live.standstill.look(now, alone, live.newest, live.rate.piece_time()) {
            self.candidates.hurry(now, need, &mut self.rng);
        }
    }

    /// Calls others, and asks for their addresses, as far as that helps.
    pub(super) fn dial(&mut self, now: Instant) {
        let wanting = self.pieces.left() > 0 || !self.readers.is_empty() || !self.pieces.have().is_empty();
        let calls = if wanting { self.calls().saturating_sub(self.candidates.dialling()) } else { 0 };
        for _ in 0..calls {
            let Some(addr) = self.candidates.next(now) else { break };
            self.out.push_back(Output::Dial { addr });
        }
        // Those that are not to be called yet, as they did not answer before, may be gone.
        if now >= self.next_want && self.lacks_peers() && !self.candidates.has_ready(now) {
            self.next_want = now + WANT_PEERS_EVERY;
            self.out.push_back(Output::WantPeers);
        }
    }

    /// How many may be called at a time.
    fn calls(&self) -> usize {
        let places = self.config.max_peers.saturating_sub(self.peers.len());
        if self.live.is_some() {
            return places.min(self.lacking() * CALLS_FOR_ONE);
        }
        let enough = (self.config.max_peers * CALLED.0).div_ceil(CALLED.1);
        places.min(self.lacking_of(enough))
    }

    /// Whether more addresses would help.
    pub fn lacks_peers(&self) -> bool {
        // What is there of a broadcast may be complete for a moment, until the next piece is made.
        let takes = if self.live.is_some() { self.watches() } else { self.pieces.left() > 0 };
        takes && self.peers.len() < self.config.max_peers && self.lacking() > 0
    }

    /// Whether we take a broadcast in, for somebody or for others.
    fn watches(&self) -> bool {
        let taken = self.config.whole || !self.readers.is_empty();
        taken && self.live.as_ref().is_some_and(|live| !live.config.source)
    }

    /// So many more peers would help.
    fn lacking(&self) -> usize {
        // Neighbours are of no use who hear of nothing new either.
        let useless = self.live.as_ref().is_some_and(|live| live.standstill.is_in_need());
        if useless { self.lacking_of(ENOUGH_PEERS).max(OF_OUR_CHOICE) } else { self.lacking_of(ENOUGH_PEERS) }
    }

    fn lacking_of(&self, enough: usize) -> usize {
        let called = self.peers.values().filter(|p| p.direction == Direction::Outgoing);
        let called = called.take(OF_OUR_CHOICE).count();
        enough.saturating_sub(self.peers.len()).max(OF_OUR_CHOICE - called)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::testbed::{Testbed, config};
    use super::super::{Input, PeerKey, Source};
    use super::*;
    use crate::wire::handshake::Hello;

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
    fn a_films_torrent_leaves_half_of_its_places_to_callers() {
        let mut bed = Testbed::new(config(), 1 << 15, 10 << 15, false);
        bed.open(0..10 << 15);
        bed.input(Input::Found { source: Source::Tracker, addrs: addresses(200) });
        assert_eq!(bed.dialled.len(), config().max_peers / 2);
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
}
