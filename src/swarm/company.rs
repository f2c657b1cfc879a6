//! Peers come and go: whom we take in, what we say first, whom we part with and whom we ban.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::event::{Ban, Event};
use super::peer::{Peer, soonest};
use super::torrent::{REQQ, Torrent};
use super::{Direction, Output, PeerKey, Refused};
use crate::metainfo::geometry::BLOCK_LENGTH;
use crate::time::{Duration, Instant};
use crate::wire::extension::ExtensionHandshake;
use crate::wire::handshake::Hello;
use crate::wire::message::Message;
use crate::wire::{g2g, live};

/// Nothing sent for this time: a keep-alive (BEP 3: two minutes).
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// Nothing heard for this time: the peer is gone.
const SILENCE: Duration = Duration::from_secs(180);
/// A slot that somebody left is given to those who wait within this time.
const EARLY_ROUND: Duration = Duration::from_secs(1);
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
            let ours = match self.config.policy.is_stock() {
                true => ours,
                false => ours.announcing(g2g::NAME, g2g::OUR_ID),
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
        self.leave_ledger(key, &peer);
        self.forget_live_peer(key);
        self.picker.forget_claims(key);
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
        let quiet = if now >= self.next_look { self.look_at_peers(now) } else { Vec::new() };
        if std::mem::take(&mut self.passed_over) {
            self.replace_withheld(now);
            self.passed_over = self.peers.values().any(|p| p.pipeline.passes_over());
        }
        quiet.into_iter().for_each(|peer| self.send(now, peer, Message::KeepAlive));
    }

    /// What time alone brings about, and when the next of it can be: a look at all peers is long. Gives those that
    /// have not heard of us for long.
    fn look_at_peers(&mut self, now: Instant) -> Vec<PeerKey> {
        let (mut dead, mut snubbing, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
        // What peers do from now on is due later than that.
        let mut next = now + soonest(self.live.is_some());
        for (key, peer) in &mut self.peers {
            peer.forgive(now);
            if now - peer.last_heard > SILENCE {
                dead.push(key);
            } else if peer.pipeline.check_snubbed(now) {
                snubbing.push(key);
            } else if now - peer.last_sent > KEEP_ALIVE {
                quiet.push(key);
            }
            let (silent, quiet) = (peer.last_heard + SILENCE, peer.last_sent + KEEP_ALIVE);
            next = next.min(silent).min(quiet).min(peer.forgives_at()).min(peer.pipeline.snubs_at());
        }
        self.next_look = next;
        dead.into_iter().for_each(|peer| self.dismiss(now, peer));
        snubbing.into_iter().for_each(|peer| self.take_back(now, peer));
        quiet
    }
}

#[cfg(test)]
mod tests {
    use super::super::testbed::{Testbed, config};
    use super::super::{Input, Source};
    use super::*;

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
