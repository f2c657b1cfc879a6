//! Our requests: who is asked next and for how much, and which requests are taken back.

use std::collections::BTreeSet;
use std::ops::Range;

use rand::seq::SliceRandom as _;
use smallvec::SmallVec;

use super::PeerKey;
use super::peer::Peer;
use super::picker::Reach;
use super::torrent::Torrent;
use crate::metainfo::geometry::{BLOCK_LENGTH, Block, PieceIndex};
use crate::rate::ByteRate;
use crate::time::Instant;
use crate::wire::message::{Message, RawBlock};

/// Most bytes asked for or held and not verified; at least four pieces.
const MAX_IN_FLIGHT: u64 = 48 * 1024 * 1024;
const MIN_PIECES_IN_FLIGHT: u64 = 4;
/// Bytes of half-fetched pieces that nobody is asked for are at most this part of that.
const IDLE_SHARE: u64 = 4;
/// A peer counts as slow when another one delivers this many times sooner.
const MUCH_SOONER: u32 = 2;

/// Peers to be looked at for new requests.
#[derive(Debug)]
pub(super) enum Hungry {
    /// These.
    Some(SmallVec<[PeerKey; 8]>),
    /// Every one.
    All,
}

impl Default for Hungry {
    fn default() -> Self {
        Self::Some(SmallVec::new())
    }
}

impl Hungry {
    /// This one as well. A longer list than fits is everybody.
    pub(super) fn add(&mut self, peer: PeerKey) {
        match self {
            Self::Some(keys) if keys.contains(&peer) => {}
            Self::Some(keys) if keys.len() < keys.inline_size() => keys.push(peer),
            _ => *self = Self::All,
        }
    }
}

impl Torrent {
    /// Tops up the pipelines of the peers that should be looked at.
    pub(super) fn refill(&mut self, now: Instant) {
        let mut keys: SmallVec<[PeerKey; 8]> = match std::mem::take(&mut self.hungry) {
            Hungry::Some(keys) => keys,
            Hungry::All => self.peers.keys().collect(),
        };
        if self.live.is_some() {
            // All neighbours are equal; the first should not be everybody's first.
            keys.shuffle(&mut self.rng);
        }
        if self.is_stopped() {
            return;
        }
        if self.pieces.left() == 0 {
            return keys.into_iter().for_each(|key| self.decline(now, key));
        }
        for key in keys {
            let gives = |p: &Peer| p.is_ready(now) && !self.picker.waits_for(now, p);
            if self.peers.get(key).is_some_and(gives) {
                self.refill_one(now, key);
            }
        }
    }

    /// The time in which the best peer delivers, when there are several.
    pub(super) fn rate_peers(&mut self, now: Instant) {
        let able = self.peers.values().filter(|p| p.serves_anything() && !p.pipeline.is_snubbed());
        let best = able.filter_map(|p| p.pipeline.expected(now)).min();
        self.best = best.filter(|_| self.peers.len() > 1);
    }

    fn refill_one(&mut self, now: Instant, key: PeerKey) {
        let (reach, most) = (self.reach_of(now, key), self.most_in_flight());
        if self.peers.len() == 1 && self.live.is_none() {
            self.peers.values_mut().for_each(|p| p.pipeline.is_alone());
        }
        loop {
            let in_flight = self.pieces.busy() as u64 * u64::from(BLOCK_LENGTH);
            let Some(peer) = self.peers.get(key) else { return };
            self.crowded |= in_flight >= most;
            if peer.room(now) == 0 || in_flight >= most || !self.download_limit.is_open(now) {
                return;
            }
            let picked = self.picker.pick(now, &mut self.pieces, (key, peer), reach, &mut self.rng);
            let Some(block) = picked else { return self.decline(now, key) };
            let from_seed = self.picker.take_begun_at_seed().is_some();
            if block.begin == 0 {
                self.tell_fetching(now, key, block.piece, from_seed);
            }
            self.request(now, key, block);
        }
    }

    pub(super) fn request(&mut self, now: Instant, peer: PeerKey, block: Block) {
        self.download_limit.spend(u64::from(block.length));
        if let Some(p) = self.peers.get_mut(peer) {
            p.pipeline.sent(now, block);
            p.g2g.asked(u64::from(block.length));
            if block.begin == 0 {
                p.accepts(block.piece);
            }
        }
        self.send(now, peer, Message::Request(raw(block)));
    }

    /// A peer that is much slower than the best one leaves it what it could not deliver in time.
    fn reach_of(&self, now: Instant, key: PeerKey) -> Reach {
        let (Some(peer), Some(best)) = (self.peers.get(key), self.best) else { return Reach::All };
        if peer.pipeline.is_snubbed() {
            return Reach::Leftovers;
        }
        let Some(expected) = peer.pipeline.expected(now) else { return Reach::All };
        if expected <= best * MUCH_SOONER {
            return Reach::All;
        }
        let demand = self.readers.values().filter_map(|r| r.demand(now)).max();
        Reach::Behind(ByteRate(demand.unwrap_or_default()).bytes_in(expected))
    }

    pub(super) fn fetch_opens_at(&mut self, now: Instant) -> Option<Instant> {
        if self.pieces.left() == 0 || self.peers.is_empty() {
            return None;
        }
        let opens = self.download_limit.opens_at(now)?;
        self.refill_all();
        Some(opens)
    }

    /// Blocks asked from a peer are with nobody again (unless another was asked too).
    pub(super) fn give_up(&mut self, peer: PeerKey, block: Block) {
        if self.pieces.release(block, peer) {
            self.picker.reopen(block.piece);
            self.refill_all();
        }
    }

    /// Takes requests back from a peer that gives nothing, as far as somebody else could answer them or they are
    /// lost; what still comes is welcome.
    pub(super) fn take_back(&mut self, now: Instant, peer: PeerKey) {
        self.end_reservations(now, peer);
        let others: Vec<_> = self
            .peers
            .iter()
            .filter(|(k, p)| *k != peer && !p.pipeline.is_snubbed())
            .map(|(_, p)| p)
            .collect();
        let elsewhere = |block: Block| others.iter().any(|p| p.serves(block.piece));
        let Some(p) = self.peers.get(peer) else { return };
        let lost = p.pipeline.is_lost(now);
        let useless: BTreeSet<_> = p.pipeline.pending().filter(|b| lost || elsewhere(*b)).collect();
        let Some(p) = self.peers.get_mut(peer) else { return };
        let taken = p.pipeline.cancel(now, |block| useless.contains(&block));
        if lost {
            p.pipeline.try_again(now);
            self.hungry.add(peer);
        }
        self.withdraw(now, peer, &taken);
    }

    /// Asks others for what a peer that answers everything else has passed over. Who withholds one block of each
    /// piece would hold them all up, and their blocks in memory.
    pub(super) fn replace_withheld(&mut self, now: Instant) {
        let asked = self.peers.iter().flat_map(|(k, p)| p.pipeline.withheld(now).map(move |b| (k, b)));
        let withheld: Vec<_> = asked.collect();
        for (peer, block) in withheld {
            let Some(other) = self.who_else_gives(now, peer, block.piece) else { continue };
            let Some(p) = self.peers.get_mut(peer) else { continue };
            p.withholds(now, block.piece);
            p.pipeline.cancel(now, |b| b == block);
            self.withdraw(now, peer, &[block]);
            if let Some(block) = self.pieces.take(block.piece, other) {
                self.request(now, other, block);
            }
        }
    }

    /// The peer that would give a block of this piece soonest, but for one.
    fn who_else_gives(&self, now: Instant, but: PeerKey, piece: PieceIndex) -> Option<PeerKey> {
        let others = self.peers.iter().filter(|(key, p)| *key != but && p.serves(piece));
        let able = others.filter(|(_, p)| !p.pipeline.is_snubbed() && p.pipeline.room(now) > 0);
        able.filter_map(|(key, p)| Some((p.pipeline.expected(now)?, key))).min().map(|(_, key)| key)
    }

    /// A reader begins or went elsewhere: requests for what is not pressing stand in the way of what is.
    pub(super) fn cancel_useless(&mut self, now: Instant) {
        let keys: Vec<_> = self.peers.keys().collect();
        for key in keys {
            let Some(p) = self.peers.get_mut(key) else { continue };
            let picker = &self.picker;
            let gone = p.pipeline.cancel(now, |block| !picker.is_pressing(block.piece));
            self.hungry.add(key);
            self.withdraw(now, key, &gone);
        }
        self.drop_idle();
    }

    /// A reader waits for something that nobody thought of, or will (an index at the end): what is queued at
    /// peers and not on the way yet is asked for again behind it.
    pub(super) fn make_way(&mut self, now: Instant, waiting: &Range<u64>) {
        let geometry = *self.pieces.geometry();
        let missing: Vec<_> = geometry.pieces_in(waiting).filter(|p| self.pieces.is_needed(*p)).collect();
        let able = self.peers.iter().filter(|(_, p)| missing.iter().any(|piece| p.serves(*piece)));
        for key in able.map(|(key, _)| key).collect::<Vec<_>>() {
            let Some(p) = self.peers.get_mut(key) else { continue };
            let queued = p.pipeline.queued(now).filter(|b| !self.picker.is_awaited(b.piece));
            let queued: BTreeSet<_> = queued.collect();
            let gone = p.pipeline.cancel(now, |block| queued.contains(&block));
            self.hungry.add(key);
            self.withdraw(now, key, &gone);
        }
    }

    /// Requests that were taken back: tells the peer, and lets others have the blocks.
    pub(super) fn withdraw(&mut self, now: Instant, peer: PeerKey, blocks: &[Block]) {
        for block in blocks {
            self.send(now, peer, Message::Cancel(raw(*block)));
            self.give_up(peer, *block);
        }
    }

    /// Pieces that one peer was to give alone are anybody's again, its own too: what it was asked of them is taken
    /// back, or it could be asked twice.
    pub(super) fn end_reservations(&mut self, now: Instant, peer: PeerKey) {
        let missing = self.pieces.end_reservations(peer);
        if missing.is_empty() {
            return;
        }
        let gone =
            self.peers.get_mut(peer).map(|p| p.pipeline.cancel(now, |block| missing.contains(&block.piece)));
        gone.into_iter().flatten().for_each(|block| self.send(now, peer, Message::Cancel(raw(block))));
        missing.into_iter().for_each(|piece| self.picker.reopen(piece));
        self.refill_all();
    }

    /// Half-fetched pieces of places that readers have left hold memory that new requests count on. Beyond
    /// their share they are thrown away.
    pub(super) fn drop_idle(&mut self) {
        while self.pieces.idle_bytes() > self.most_in_flight() / IDLE_SHARE {
            let picker = &self.picker;
            let Some((piece, lost)) = self.pieces.drop_idle(|p, _| picker.is_pressing(p)) else { return };
            self.counters.wasted += lost;
            self.picker.reopen(piece);
        }
    }

    fn most_in_flight(&self) -> u64 {
        MAX_IN_FLIGHT.max(MIN_PIECES_IN_FLIGHT * u64::from(self.pieces.geometry().piece_length()))
    }

    pub(super) fn cancel_one(&mut self, now: Instant, peer: PeerKey, block: Block) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        if !p.pipeline.cancel(now, |b| b == block).is_empty() {
            self.hungry.add(peer);
            self.send(now, peer, Message::Cancel(raw(block)));
        }
    }

    pub(super) fn refill_all(&mut self) {
        self.hungry = Hungry::All;
    }
}

/// A block as the wire names it.
pub(super) const fn raw(block: Block) -> RawBlock {
    RawBlock { index: block.piece.slot(), begin: block.begin, length: block.length }
}

#[cfg(test)]
mod tests {
    use super::super::ReaderInput;
    use super::super::testbed::{Testbed, config};
    use super::*;
    use crate::time::Duration;

    const PIECE: u64 = 4 * BLOCK_LENGTH as u64;

    /// A torrent of a hundred pieces, one seed, and somebody who reads from the beginning.
    fn reading() -> (Testbed, PeerKey) {
        let mut bed = Testbed::new(config(), PIECE, 100 * PIECE, false);
        bed.open(0..100 * PIECE);
        bed.reader(ReaderInput::Read(0..1000));
        let peer = bed.seed();
        (bed, peer)
    }

    #[test]
    fn a_choke_that_rejects_everything_under_way_costs_no_peer() {
        let (mut bed, peer) = reading();
        for _ in 0..100 {
            let asked = bed.requests(peer);
            assert!(!asked.is_empty());
            bed.give(peer, asked[0]);
            bed.hear(peer, Message::Choke);
            asked[1..].iter().for_each(|block| bed.hear(peer, Message::Reject(raw(*block))));
            bed.hear(peer, Message::Unchoke);
        }
        assert!(bed.closed.is_empty());
    }

    #[test]
    fn who_rejects_everything_without_choking_is_left() {
        let (mut bed, peer) = reading();
        for _ in 0..1_000 {
            for block in bed.requests(peer) {
                bed.hear(peer, Message::Reject(raw(block)));
            }
            bed.wait(Duration::from_millis(500));
        }
        assert_eq!(bed.closed, [peer]);
    }

    #[test]
    fn a_refused_piece_is_not_asked_again_at_once() {
        let (mut bed, peer) = reading();
        let refused = bed.requests(peer)[0];
        bed.hear(peer, Message::Reject(raw(refused)));
        assert!(bed.requests(peer).iter().all(|b| b.piece != refused.piece));
    }

    #[test]
    fn a_piece_that_was_a_choking_peers_alone_is_not_asked_from_it_twice() {
        let mut bed = Testbed::live(400, false);
        let peer = bed.live_peer(100..140);
        bed.watch();
        let asked: BTreeSet<_> = bed.requests(peer).into_iter().collect();
        assert!(asked.len() >= 2);
        bed.hear(peer, Message::Choke);
        let cancelled = bed.said.iter().filter_map(|(_, message)| match message {
            Message::Cancel(block) => Some(bed.block(*block)),
            _ => None,
        });
        assert_eq!(cancelled.collect::<BTreeSet<_>>(), asked);
        bed.hear(peer, Message::Unchoke);
        assert_eq!(bed.requests(peer).into_iter().collect::<BTreeSet<_>>(), asked);
    }

    #[test]
    fn a_look_at_the_end_does_not_wait_behind_what_is_queued() {
        let (mut bed, peer) = reading();
        let asked = bed.requests(peer);
        for block in &asked[..8] {
            bed.now += Duration::from_millis(16);
            bed.give(peer, *block);
        }
        let under_way = asked.len() - 8 + bed.requests(peer).len();
        bed.said.clear();
        bed.reader(ReaderInput::Read(99 * PIECE..99 * PIECE + 10));
        let cancelled = bed.said.iter().filter(|(_, m)| matches!(m, Message::Cancel(_))).count();
        assert!(cancelled > 8 && cancelled < under_way, "what may be on the way stays: {cancelled}");
        assert_eq!(bed.requests(peer)[0].piece.number(), 99);
        bed.reader(ReaderInput::Read(99 * PIECE..99 * PIECE + 20));
        assert_eq!(bed.requests(peer), [], "once is enough");
    }

    #[test]
    fn what_a_reader_will_jump_to_goes_before_what_is_fetched_ahead() {
        let (mut bed, peer) = reading();
        for block in &bed.requests(peer)[..8] {
            bed.now += Duration::from_millis(16);
            bed.give(peer, *block);
        }
        bed.requests(peer);
        let places = vec![99 * PIECE..99 * PIECE + 10, 50 * PIECE..50 * PIECE + 10, 200 * PIECE..201 * PIECE];
        bed.reader(ReaderInput::Expects(places));
        let asked = bed.requests(peer);
        let pieces: Vec<_> = asked.iter().map(|b| b.piece.number()).collect();
        assert_eq!(pieces[..8], [99, 99, 99, 99, 50, 50, 50, 50]);
        assert!(pieces[8..].iter().all(|piece| *piece < 50), "the third is not in the torrent: {pieces:?}");
        bed.reader(ReaderInput::Read(99 * PIECE..99 * PIECE + 10));
        assert_eq!(bed.requests(peer), [], "it is on its way");
    }

    #[test]
    fn who_withholds_a_block_of_each_piece_holds_nothing_up() {
        let whole = super::super::Config { whole: true, ..config() };
        let mut bed = Testbed::new(whole, PIECE, 1_000 * PIECE, false);
        let (_miser, honest) = (bed.seed(), bed.seed());
        let mut asked = std::collections::VecDeque::new();
        for _ in 0..300 {
            for (to, message) in std::mem::take(&mut bed.said) {
                match message {
                    Message::Request(block) if to == honest => asked.push_back(block),
                    Message::Cancel(block) if to == honest => asked.retain(|b| *b != block),
                    Message::Request(RawBlock { index, begin: begin @ 1.., length }) => {
                        bed.give(to, bed.block(RawBlock { index, begin, length }));
                    }
                    _ => {}
                }
            }
            for RawBlock { index, begin, length } in asked.drain(..asked.len().min(10)).collect::<Vec<_>>() {
                bed.give(honest, bed.block(RawBlock { index, begin, length }));
            }
            bed.wait(Duration::from_millis(10));
        }
        assert!(bed.torrent.have().is_full(), "{} of 1,000 pieces", bed.torrent.have().count());
    }

    #[test]
    fn a_reader_that_leaves_takes_requests_and_interest_with_it() {
        let (mut bed, peer) = reading();
        let asked = bed.requests(peer);
        bed.reader(ReaderInput::Close);
        let cancelled = bed.said.iter().filter(|(_, m)| matches!(m, Message::Cancel(_))).count();
        assert_eq!(cancelled, asked.len());
        assert_eq!(bed.said.last(), Some(&(peer, Message::NotInterested)));
        bed.wait(Duration::from_secs(30));
        assert_eq!(bed.requests(peer), []);
    }

    #[test]
    fn seeks_leave_no_more_half_pieces_than_their_share() {
        let piece = 4 << 20;
        let mut bed = Testbed::new(config(), piece, 400 * piece, false);
        bed.open(0..400 * piece);
        let peer = bed.seed();
        for n in 0..100 {
            bed.reader(ReaderInput::Flushed);
            let place = (n * 37 % 400) * piece;
            bed.reader(ReaderInput::Read(place..place + 1000));
            let asked = bed.requests(peer);
            let there = bed.torrent.pieces.has_all(&(place..place + 1000));
            let answered = asked.iter().any(|b| bed.geometry.piece_at(place) == Some(b.piece));
            assert!(there || answered, "seek {n} is answered");
            bed.now += Duration::from_millis(10);
            asked.into_iter().for_each(|block| bed.give(peer, block));
            assert!(bed.torrent.pieces.idle_bytes() <= MAX_IN_FLIGHT / IDLE_SHARE + piece);
        }
    }

    /// In the original a peer that had done badly was asked for nothing that was needed soon, and so could not do better;
    /// where nobody else had that, playback stood still for good.
    #[test]
    fn who_was_silent_is_tried_again_with_what_nobody_else_has() {
        let mut bed = Testbed::live(400, false);
        let silent = bed.live_peer(100..140);
        bed.watch();
        let other = bed.live_peer(119..121);
        for _ in 0..80 {
            for (peer, block) in bed.asked() {
                if peer == other || bed.now > crate::time::Instant::from_secs(6) {
                    bed.give(peer, block);
                }
            }
            bed.wait(Duration::from_millis(250));
        }
        let needed = bed.geometry.run(118..125);
        let missing: Vec<_> = needed.filter(|piece| !bed.torrent.have().has(*piece)).collect();
        assert!(missing.is_empty() && !bed.closed.contains(&silent), "{missing:?}");
    }
}
