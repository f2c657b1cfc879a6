//! Who is let in, and who has to leave when all places are taken.
//!
//! Whoever wants to keep us from the swarm calls us until all places are full. So callers get a part of the
//! places only, the others are for those whom we call; one address gets a part of those; and callers who are of
//! no use lose theirs to newcomers.

use std::net::{IpAddr, SocketAddr};

use super::peer::Peer;
use super::torrent::Torrent;
use super::{Direction, PeerKey, Refused};
use crate::time::{Duration, Instant};
use crate::wire::handshake::Hello;

/// Callers take at most so many of so many places.
const CALLERS: (usize, usize) = (3, 4);
/// Callers from one address (a household, or a provider's network) take at most this part of those, ...
const SAME_ADDRESS: usize = 8;
/// ... or so many if that is more.
const MIN_SAME_ADDRESS: usize = 4;
/// A peer that neither wants anything nor has anything for us may lose its place after this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// A peer that said so, but never gave nor took anything, may lose it after this time.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

impl Torrent {
    /// Whether this peer gets a place. Another one may lose its own for it.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        direction: Direction,
        hello: &Hello,
    ) -> Result<(), Refused> {
        let known = |p: &Peer| p.hello.peer_id == hello.peer_id && p.addr.ip() == addr.ip();
        match () {
            () if hello.peer_id == self.config.hello.peer_id => Err(Refused::Ourselves),
            () if self.candidates.is_banned(addr.ip()) => Err(Refused::Banned),
            () if self.peers.values().any(known) => Err(Refused::Twice),
            () if direction == Direction::Incoming => self.admit_caller(now, addr.ip()),
            () if self.peers.len() >= self.config.max_peers => Err(Refused::Full),
            () => Ok(()),
        }
    }

    /// Ends all peers that are of no use.
    pub(super) fn free_places(&mut self, now: Instant) {
        let useless: Vec<_> =
            self.peers.iter().filter(|(_, p)| is_idle(now, p)).map(|(key, _)| key).collect();
        useless.into_iter().for_each(|peer| self.dismiss(now, peer));
    }

    fn admit_caller(&mut self, now: Instant, ip: IpAddr) -> Result<(), Refused> {
        let callers = || self.peers.iter().filter(|(_, p)| p.direction == Direction::Incoming);
        let most = (self.config.max_peers * CALLERS.0).div_ceil(CALLERS.1);
        if callers().filter(|(_, p)| p.addr.ip() == ip).count() >= (most / SAME_ADDRESS).max(MIN_SAME_ADDRESS)
        {
            return Err(Refused::Crowd);
        }
        let room = callers().count() < most && self.peers.len() < self.config.max_peers;
        if room || self.config.serving.favours(ip) {
            return Ok(());
        }
        let idle = callers().filter(|(_, p)| is_idle(now, p));
        let longest: Option<PeerKey> = idle.min_by_key(|(key, p)| (p.since, *key)).map(|(key, _)| key);
        longest.map(|peer| self.dismiss(now, peer)).ok_or(Refused::Full)
    }
}

fn is_idle(now: Instant, peer: &Peer) -> bool {
    let here = now - peer.since;
    let patience = if peer.interesting || peer.interested_in_us { LONG_PATIENCE } else { PATIENCE };
    !peer.of_use && here > patience
}

#[cfg(test)]
mod tests {
    use super::super::serving::Serving;
    use super::super::{Config, Input};
    use super::*;
    use crate::metainfo::bitfield::Bitfield;
    use crate::metainfo::geometry::Geometry;
    use crate::rate::ByteRate;
    use crate::wire::ids::{InfoHash, PeerId};
    use crate::wire::message::Message;

    const PLACES: usize = 40;

    fn hello(n: u16) -> Hello {
        let mut id = [0; 20];
        id[..2].copy_from_slice(&n.to_be_bytes());
        Hello::ours(InfoHash([1; 20]), PeerId(id))
    }

    fn torrent() -> Torrent {
        let config = Config {
            hello: hello(u16::MAX),
            listen_port: 1,
            max_peers: PLACES,
            whole: true,
            budget: None,
            upload_limit: ByteRate(0),
            download_limit: ByteRate(0),
            serving: Serving::default(),
            policy: super::super::policy::Policy::default(),
            live: None,
        };
        let geometry = Geometry::new(1 << 14, 1 << 20).unwrap();
        Torrent::new(config, geometry, Bitfield::empty(&geometry), Instant::ZERO, 1)
    }

    fn comes(torrent: &mut Torrent, secs: u64, n: u16, direction: Direction) -> Result<PeerKey, Refused> {
        let [high, low] = n.to_be_bytes();
        let addr = SocketAddr::from(([10, 0, high, low], 7));
        torrent.connect(Instant::from_secs(secs), addr, direction, hello(n))
    }

    #[test]
    fn callers_leave_places_for_those_whom_we_call() {
        let mut torrent = torrent();
        let callers = (0..100).map(|n| comes(&mut torrent, 0, n, Direction::Incoming));
        assert_eq!(callers.filter(Result::is_ok).count(), 30);
        let called = (200..300).map(|n| comes(&mut torrent, 0, n, Direction::Outgoing));
        assert_eq!(called.filter(Result::is_ok).count(), 10);
    }

    #[test]
    fn callers_without_use_make_room_for_newcomers_after_a_while() {
        let mut torrent = torrent();
        let first = comes(&mut torrent, 0, 0, Direction::Incoming).unwrap();
        (1..30).for_each(|n| assert!(comes(&mut torrent, 1, n, Direction::Incoming).is_ok()));
        let interested = Input::Message { peer: first, message: Message::Interested };
        torrent.handle(Instant::from_secs(1), interested);
        assert_eq!(comes(&mut torrent, 5, 50, Direction::Incoming), Err(Refused::Full));
        assert!(comes(&mut torrent, 12, 51, Direction::Incoming).is_ok());
        assert!(torrent.peers.contains_key(first) && torrent.peers.len() == 30);
    }

    #[test]
    fn one_address_gets_a_part_of_the_places_only() {
        let mut torrent = torrent();
        let addr = |port| SocketAddr::from(([10, 6, 6, 6], port));
        let mut calls =
            |n| torrent.connect(Instant::ZERO, addr(n), Direction::Incoming, hello(n)).map(|_| ());
        (0..4).for_each(|n| assert_eq!(calls(n), Ok(())));
        assert_eq!(calls(4), Err(Refused::Crowd));
        assert_eq!(calls(0), Err(Refused::Twice));
        assert!(comes(&mut torrent, 0, 1, Direction::Incoming).is_ok());
    }

    #[test]
    fn with_a_single_place_a_caller_may_have_it() {
        let mut torrent = torrent();
        torrent.config.max_peers = 1;
        assert!(comes(&mut torrent, 0, 1, Direction::Incoming).is_ok());
        assert_eq!(comes(&mut torrent, 0, 2, Direction::Outgoing), Err(Refused::Full));
    }

    #[test]
    fn who_asks_on_and_on_for_what_it_cannot_get_is_banned() {
        let mut torrent = torrent();
        let peer = comes(&mut torrent, 0, 1, Direction::Incoming).unwrap();
        let ask = Message::Request(crate::wire::message::RawBlock { index: 0, begin: 0, length: 1 });
        let mut asked = 0;
        while torrent.peers.contains_key(peer) {
            torrent.handle(Instant::ZERO, Input::Message { peer, message: ask.clone() });
            asked += 1;
        }
        assert!((1_000..4_096).contains(&asked), "{asked}");
        assert_eq!(comes(&mut torrent, 0, 1, Direction::Incoming), Err(Refused::Banned));
    }

    #[test]
    fn what_nobody_asked_for_is_no_merit() {
        let mut torrent = torrent();
        let peer = comes(&mut torrent, 0, 1, Direction::Incoming).unwrap();
        for _ in 0..100 {
            let message = Message::Piece { index: 0, begin: 0, data: vec![0; 1 << 14].into() };
            torrent.handle(Instant::from_secs(1), Input::Message { peer, message });
        }
        let stats = torrent.stats(Instant::from_secs(1));
        assert_eq!((stats.downloaded, stats.wasted), (100 << 14, 100 << 14));
        assert_eq!((stats.download_rate, stats.connections[0].download_rate), (ByteRate(0), ByteRate(0)));
    }
}
