//! What peers ask us for: choking, their requests, and blocks on their way out.

use bytes::Bytes;

use super::ask::raw;
use super::choker::{Applicant, Choker};
use super::event::Ban;
use super::peer::Peer;
use super::policy::Policy;
use super::serving::Serving;
use super::torrent::{REQQ, Torrent};
use super::{Output, PeerKey};
use crate::metainfo::geometry::{Block, PieceIndex};
use crate::time::{Duration, Instant};
use crate::wire::message::{Message, RawBlock};

/// Requests that are turned down one after another until their peer is banned: each is answered (BEP 6), and a
/// peer that does not read leaves the answers with us. More than any client has under way when it is choked.
const MAX_TURNED_DOWN: u32 = 4 * REQQ;

/// A viewer of a live broadcast that has not asked for anything in this time, nor in that of two pieces, gives its slot
/// to another who waits: who wants it asks at once, and cannot wait for a round.
const UNUSED: Duration = Duration::from_secs(1);

impl Torrent {
    pub(super) fn choke_round(&mut self, now: Instant) {
        let applicants: Vec<_> = self
            .peers
            .iter()
            .filter(|(key, p)| !self.config.serving.favours(p.addr.ip()) && !self.needs_no_slot(*key))
            .map(|(peer, p)| Applicant {
                peer,
                interested: p.interested_in_us,
                gives: p.given.rate(now),
                takes: p.uploads.rate.rate(now),
            })
            .collect();
        let slots = self.slots();
        // A viewer of a broadcast has everything now and then, until the next piece is made.
        let complete = self.pieces.left() == 0 && self.live.as_ref().is_none_or(|live| live.config.source);
        self.reckon_dues(complete);
        let chosen = self.choker.choose(now, &applicants, slots, complete, &mut self.rng);
        if self.live.is_some() || self.trades() {
            // Who is turned down because we are busy has done nothing wrong.
            self.peers.values_mut().for_each(|p| p.uploads.turned_down = 0);
        }
        for applicant in applicants {
            self.set_choked(now, applicant.peer, !chosen.contains(&applicant.peer));
        }
    }

    /// What other clients get depends on how many of them and of those who trade want something.
    fn reckon_dues(&mut self, complete: bool) {
        if let Some(dues) = self.uplink.dues_mut() {
            let wanting = self.peers.values().filter(|p| p.interested_in_us);
            let traders = wanting.clone().filter(|p| p.g2g.trades()).count();
            dues.set_wanted(wanting.count() - traders, traders, complete);
        }
    }

    /// Whether others than this peer wait for a slot.
    pub(super) fn is_awaited(&self, by_others_than: PeerKey) -> bool {
        self.peers.iter().any(|(key, p)| key != by_others_than && p.choked && p.interested_in_us)
    }

    /// Slots besides the optimistic one. Those who watch a broadcast cannot wait for one: the queue is what is limited
    /// there.
    fn slots(&self) -> usize {
        match self.config.serving.most {
            Some(most) => most.saturating_sub(1),
            None if self.passes_on() || self.config.policy == Policy::SequentialToAll => {
                self.config.max_peers
            }
            None => Choker::slots(self.config.upload_limit),
        }
    }

    /// Whether a neighbour is invited instead, unless the owner wants few to be served.
    fn needs_no_slot(&self, peer: PeerKey) -> bool {
        self.config.serving.most.is_none() && self.trades_with(peer)
    }

    /// Slots in use, the optimistic one included.
    fn free_slot(&self) -> bool {
        let in_a_slot = |(key, p): &(PeerKey, &Peer)| {
            !p.choked && !self.config.serving.favours(p.addr.ip()) && !self.needs_no_slot(*key)
        };
        let used = self.peers.iter().filter(in_a_slot).filter(|(_, p)| p.interested_in_us).count();
        used <= self.slots()
    }

    pub(super) fn on_interested(&mut self, now: Instant, peer: PeerKey, interested: bool) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.interested_in_us = interested;
        self.invites.look |= self.trades();
        if self.needs_no_slot(peer) {
            return self.set_choked(now, peer, false);
        }
        let Some(p) = self.peers.get(peer) else { return };
        // A newcomer does not wait for the next round when there is room, unless others wait already: who comes
        // again and again would always be first.
        if interested && p.choked && self.free_slot() && !self.is_awaited(peer) {
            self.set_choked(now, peer, false);
        } else if !interested {
            // Or it would keep its slot, and take one of those given to others when it comes back.
            self.set_choked(now, peer, true);
        }
    }

    /// In a live broadcast: slots that nobody uses go to those who wait, first to those who had none.
    pub(super) fn reuse_slots(&mut self, now: Instant) {
        if !self.passes_on() {
            return;
        }
        let Some(patience) = self.live.as_ref().map(|live| UNUSED.max(live.piece_time() * 2)) else { return };
        let waits = |p: &Peer| p.choked && p.interested_in_us;
        let waiting = self.peers.iter().filter(|(_, p)| waits(p));
        let mut waiting: Vec<_> = waiting.map(|(key, p)| (p.uploads.wasted_slots, p.since, key)).collect();
        if waiting.is_empty() {
            return;
        }
        waiting.sort_unstable();
        let unused = |p: &Peer| p.uploads.unused_since.is_some_and(|since| now - since > patience);
        let unused: Vec<_> = self.peers.iter().filter(|(_, p)| unused(p)).map(|(key, _)| key).collect();
        let unused = unused.into_iter().filter(|peer| !self.is_favoured(*peer)).collect::<Vec<_>>();
        for (idle, (_, _, next)) in unused.into_iter().zip(waiting) {
            if let Some(p) = self.peers.get_mut(idle) {
                p.uploads.wasted_slots = p.uploads.wasted_slots.saturating_add(1);
            }
            self.set_choked(now, idle, true);
            self.set_choked(now, next, false);
        }
    }

    /// The owner wants others to be served than before.
    pub(super) fn on_serving(&mut self, now: Instant, serving: Serving) {
        if self.config.serving != serving {
            self.config.serving = serving;
            let favoured: Vec<_> = self.peers.keys().filter(|peer| self.is_favoured(*peer)).collect();
            favoured.into_iter().for_each(|peer| self.set_choked(now, peer, false));
            self.next_round = now;
        }
    }

    /// Whether it is never choked, and served first.
    pub(super) fn is_favoured(&self, peer: PeerKey) -> bool {
        self.peers.get(peer).is_some_and(|p| self.config.serving.favours(p.addr.ip()))
    }

    pub(super) fn set_choked(&mut self, now: Instant, peer: PeerKey, choked: bool) {
        let choked = choked && !self.is_favoured(peer);
        let Some(p) = self.peers.get_mut(peer) else { return };
        if std::mem::replace(&mut p.choked, choked) == choked {
            return;
        }
        p.uploads.unused_since = (!choked).then_some(now);
        let message = if choked { Message::Choke } else { Message::Unchoke };
        self.send(now, peer, message);
        if choked {
            self.refuse_queue(now, peer);
        }
    }

    pub(super) fn on_request(&mut self, now: Instant, peer: PeerKey, request: RawBlock) {
        let Some(block) = self.block_of(request) else {
            return self.expel(now, peer, Ban::Protocol);
        };
        let Some(p) = self.peers.get_mut(peer) else { return };
        let full = p.uploads.queue.len() >= REQQ as usize;
        if p.choked || full || !self.pieces.have().has(block.piece) {
            p.uploads.turned_down += 1;
            if p.uploads.turned_down > MAX_TURNED_DOWN {
                return self.expel(now, peer, Ban::Protocol);
            }
            return self.refuse(now, peer, block);
        }
        if self.trades_with(peer) && self.turns_down(now, peer, block) {
            return self.refuse(now, peer, block);
        }
        if self.is_busy(now, peer, block) {
            self.peers.get_mut(peer).into_iter().for_each(|p| p.uploads.declined = Some(block.piece));
            return self.refuse(now, peer, block);
        }
        self.queue_live(now, peer, block.piece);
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.uploads.queue.push_back(block);
        self.uplink.takes(peer);
        self.queue_turn(peer, block.piece);
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.uploads.unused_since = None;
        self.serve_now = true;
    }

    pub(super) fn on_cancel(&mut self, now: Instant, peer: PeerKey, request: RawBlock) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        let Some(at) = p.uploads.queue.iter().position(|b| raw(*b) == request) else { return };
        if let Some(block) = p.uploads.queue.remove(at) {
            self.unqueue(peer, block.piece);
            self.refuse(now, peer, block);
        }
    }

    pub(super) fn on_block_read(&mut self, now: Instant, peer: PeerKey, block: Block, data: Option<Bytes>) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        let Some(at) = p.uploads.reading.iter().position(|b| *b == block) else { return };
        p.uploads.reading.remove(at);
        self.serve_now = true;
        let Some(data) = data else { return self.refuse(now, peer, block) };
        p.uploads.unsent += data.len() as u64;
        let message = Message::Piece { index: block.piece.slot(), begin: block.begin, data };
        self.out.push_back(Output::Send { peer, message });
    }

    pub(super) fn on_sent(&mut self, now: Instant, peer: PeerKey, bytes: u64) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.uploads.unsent = p.uploads.unsent.saturating_sub(bytes);
        p.uploads.turned_down = 0;
        p.uploads.rate.add(now, bytes);
        p.last_sent = now;
        p.of_use = true;
        p.uploads.moved = now;
        self.on_sent_payload(now, bytes);
        self.count_sent(now, bytes);
    }

    pub(super) fn serve_opens_at(&mut self, now: Instant) -> Option<Instant> {
        if self.serve_now { self.upload_limit.opens_at(now) } else { None }
    }

    fn refuse_queue(&mut self, now: Instant, peer: PeerKey) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        let refused: Vec<_> = p.uploads.queue.drain(..).collect();
        refused.iter().for_each(|block| self.unqueue(peer, block.piece));
        refused.into_iter().for_each(|block| self.refuse(now, peer, block));
    }

    /// The piece is not kept any more.
    pub(super) fn refuse_piece(&mut self, now: Instant, piece: PieceIndex) {
        let mut refused = Vec::new();
        for (key, peer) in &mut self.peers {
            peer.uploads.queue.retain(|block| {
                let keep = block.piece != piece;
                if !keep {
                    refused.push((key, *block));
                }
                keep
            });
        }
        for (peer, block) in refused {
            self.unqueue(peer, block.piece);
            self.refuse(now, peer, block);
        }
    }

    /// BEP 6: a request that will not be answered is rejected; without it the peer has to guess.
    fn refuse(&mut self, now: Instant, peer: PeerKey, block: Block) {
        if self.peers.get(peer).is_some_and(|p| p.hello.fast) {
            self.send(now, peer, Message::Reject(raw(block)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::testbed::{Testbed, config};
    use super::super::{Config, Input};
    use super::*;
    use crate::metainfo::geometry::BLOCK_LENGTH;

    #[test]
    fn unreadable_blocks_and_pieces_that_are_not_there_are_rejected() {
        let mut bed = Testbed::new(config(), 1 << 16, 10 << 16, true);
        let peer = bed.connect(true);
        bed.hear(peer, Message::Interested);
        let block = RawBlock { index: 3, begin: 0, length: BLOCK_LENGTH };
        bed.hear(peer, Message::Request(block));
        assert_eq!(bed.said.last(), Some(&(peer, Message::Reject(block))));
    }

    #[test]
    fn who_is_not_interested_any_more_gives_its_slot_back() {
        let mut bed = Testbed::new(config(), 1 << 16, 10 << 16, true);
        let peer = bed.connect(true);
        for message in [Message::Interested, Message::NotInterested] {
            bed.hear(peer, message);
        }
        let said: Vec<_> = bed.said.iter().map(|(_, m)| m.clone()).collect();
        assert!(said.ends_with(&[Message::Unchoke, Message::Choke]), "{said:?}");
    }

    /// Who is served now.
    fn served(bed: &Testbed) -> usize {
        bed.torrent.peers.values().filter(|p| !p.choked).count()
    }

    #[test]
    fn no_more_are_served_than_the_owner_wants() {
        for most in 1..4 {
            let serving = Serving { most: Some(most), ..Serving::default() };
            let mut bed = Testbed::new(Config { serving, ..config() }, 1 << 16, 10 << 16, true);
            let mut had = BTreeSet::new();
            let peers: Vec<_> = (0..6).map(|_| bed.connect(true)).collect();
            peers.iter().for_each(|peer| bed.hear(*peer, Message::Interested));
            for _ in 0..40 {
                peers.iter().for_each(|peer| bed.hear(*peer, Message::KeepAlive));
                assert_eq!(served(&bed), most);
                had.extend(bed.torrent.peers.iter().filter(|(_, p)| !p.choked).map(|(peer, _)| peer));
                bed.wait(Duration::from_secs(10));
            }
            assert_eq!(had.len(), 6, "everybody has a turn");
        }
    }

    #[test]
    fn the_owner_may_change_his_mind() {
        let mut bed = Testbed::new(config(), 1 << 16, 10 << 16, true);
        let peers: Vec<_> = (0..5).map(|_| bed.connect(true)).collect();
        peers.iter().for_each(|peer| bed.hear(*peer, Message::Interested));
        assert_eq!(served(&bed), 5);
        let always = [[10, 0, 0, 3].into()].into();
        bed.input(Input::Serve(Serving { most: Some(2), always }));
        assert_eq!(served(&bed), 3);
        bed.input(Input::Serve(Serving { most: Some(1), ..Serving::default() }));
        assert_eq!(served(&bed), 1);
        bed.input(Input::Serve(Serving { most: Some(1), always: [[10, 0, 0, 5].into()].into() }));
        assert!(served(&bed) == 2 && !bed.torrent.peers[peers[4]].choked);
    }

    #[test]
    fn who_is_favoured_is_never_choked_and_takes_no_slot() {
        let always = [[10, 0, 0, 2].into(), [10, 0, 0, 4].into()].into();
        let serving = Serving { most: Some(1), always };
        let mut bed = Testbed::new(Config { serving, ..config() }, 1 << 16, 10 << 16, true);
        let peers: Vec<_> = (0..4).map(|_| bed.connect(true)).collect();
        assert_eq!(served(&bed), 2, "whether they want it or not");
        peers.iter().for_each(|peer| bed.hear(*peer, Message::Interested));
        bed.hear(peers[1], Message::NotInterested);
        for _ in 0..10 {
            assert_eq!(served(&bed), 3);
            bed.wait(Duration::from_secs(10));
        }
        let said =
            |peer, what: &Message| bed.said.iter().filter(|(to, said)| *to == peer && said == what).count();
        for favoured in [peers[1], peers[3]] {
            assert_eq!((said(favoured, &Message::Unchoke), said(favoured, &Message::Choke)), (1, 0));
        }
    }
}
