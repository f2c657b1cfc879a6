//! What peers say about pieces, and what we tell them of our interest.

use bytes::Bytes;
use smallvec::SmallVec;

use super::event::Ban;
use super::partial::Arrival;
use super::torrent::Torrent;
use super::{Job, Output, PeerKey};
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::PieceIndex;
use crate::time::Instant;
use crate::wire::extension::ExtensionHandshake;
use crate::wire::message::{Message, RawBlock};
use crate::wire::{g2g, live};

/// A peer that refuses so many requests in a row without giving a block is of no use.
const MAX_REJECTED: u32 = 256;
/// A peer that gives so many blocks that nobody asked for is closed.
const MAX_USELESS: u32 = 256;

impl Torrent {
    pub(super) fn on_message(&mut self, now: Instant, peer: PeerKey, message: Message) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.last_heard = now;
        match message {
            Message::KeepAlive | Message::Port(_) | Message::Unknown(_) => {}
            Message::Choke => self.on_choke(now, peer),
            Message::Unchoke => {
                p.choking_us = false;
                p.forgive(Instant::FAR_FUTURE);
                self.hungry.add(peer);
            }
            Message::Interested => self.on_interested(now, peer, true),
            Message::NotInterested => self.on_interested(now, peer, false),
            Message::Have(index) => self.on_have(now, peer, index),
            Message::Bitfield(bits) => {
                let has = Bitfield::from_wire(self.pieces.geometry(), &bits);
                self.on_bitfield(now, peer, has.ok());
            }
            Message::HaveAll => self.on_bitfield(now, peer, Some(Bitfield::full(self.pieces.geometry()))),
            Message::HaveNone => self.on_bitfield(now, peer, Some(Bitfield::empty(self.pieces.geometry()))),
            Message::Piece { index, begin, data } => self.on_piece(now, peer, index, begin, data),
            Message::Reject(block) => self.on_reject(now, peer, block),
            Message::Suggest(index) => self.on_suggest(now, peer, index),
            Message::AllowedFast(index) => self.on_allowed_fast(peer, index),
            Message::Request(block) => self.on_request(now, peer, block),
            Message::Cancel(block) => self.on_cancel(now, peer, block),
            Message::Extended { id: 0, payload } => self.on_extension_handshake(now, peer, &payload),
            Message::Extended { id: live::OUR_ID, payload } => self.on_live_message(now, peer, &payload),
            Message::Extended { id: g2g::OUR_ID, payload } => self.on_g2g_message(now, peer, &payload),
            Message::Extended { .. } => {}
        }
    }

    fn on_choke(&mut self, now: Instant, peer: PeerKey) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.choking_us = true;
        // BEP 6: the peer answers each request, with the block or a reject. Without it they are forgotten (what
        // is on the way still counts as asked for).
        if !p.hello.fast {
            let forgotten = p.pipeline.cancel(now, |_| true);
            forgotten.into_iter().for_each(|block| self.give_up(peer, block));
        }
        self.end_reservations(now, peer);
        tracing::trace!(?peer, ?now, "choked by peer");
    }

    fn on_have(&mut self, now: Instant, peer: PeerKey, index: u32) {
        if self.live.is_some() {
            return self.on_live_index(now, peer, index);
        }
        let Some(piece) = self.piece_of(index) else {
            return self.expel(now, peer, Ban::Protocol);
        };
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.spoken = true;
        p.g2g.came(piece);
        if p.has.insert(piece) {
            self.pieces.count_have(piece, &p.has);
            self.hungry.add(peer);
            if self.may_be_needed(piece) {
                self.show_interest(now, peer, true);
            }
        }
    }

    fn on_bitfield(&mut self, now: Instant, peer: PeerKey, has: Option<Bitfield>) {
        let Some(has) = has else { return self.expel(now, peer, Ban::Protocol) };
        let Some(p) = self.peers.get_mut(peer) else { return };
        if std::mem::replace(&mut p.spoken, true) {
            return;
        }
        if self.live.is_some() {
            return self.on_live_bitfield(peer, has);
        }
        self.pieces.count_peer(&has, true);
        p.has = has;
        self.hungry.add(peer);
        if self.are_both_seeds(peer) {
            return self.part(now, peer);
        }
        let wanted = self.has_something(peer);
        self.show_interest(now, peer, wanted);
    }

    fn on_piece(&mut self, now: Instant, peer: PeerKey, index: u32, begin: u32, data: Bytes) {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let Some(block) = self.block_of(RawBlock { index, begin, length }) else {
            return self.expel(now, peer, Ban::Protocol);
        };
        let Some(p) = self.peers.get_mut(peer) else { return };
        let asked = p.pipeline.arrived(now, block);
        self.passed_over |= p.pipeline.passes_over();
        self.hungry.add(peer);
        p.of_use |= asked;
        p.useless = p.useless.saturating_sub(u32::from(asked));
        let addr = p.addr.ip();
        if !asked {
            return self.on_useless(now, peer, length);
        }
        p.given.add(now, u64::from(length));
        p.forwarding.gave(now, u64::from(length));
        if let Some(dues) = self.uplink.dues_mut().filter(|_| !p.g2g.trades()) {
            dues.got(length.into());
        }
        self.count_received(now, u64::from(length));
        let mut others = SmallVec::new();
        match self.pieces.receive(block, (peer, addr), data, &mut others) {
            Arrival::Taken => {}
            Arrival::Complete => self.verify(block.piece),
            Arrival::Useless => {
                self.counters.wasted += u64::from(length);
                self.counters.duplicates += u64::from(length);
            }
        }
        others.into_iter().for_each(|other| self.cancel_one(now, other, block));
    }

    fn on_useless(&mut self, now: Instant, peer: PeerKey, length: u32) {
        // It counts as received, but in no rate: by sending what nobody wants one could earn a slot, or have
        // playback start too early.
        self.counters.downloaded += u64::from(length);
        self.counters.wasted += u64::from(length);
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.useless += 1;
        if p.useless > MAX_USELESS {
            self.expel(now, peer, Ban::Protocol);
        }
    }

    fn verify(&mut self, piece: PieceIndex) {
        let blocks = self.pieces.blocks(piece);
        self.out.push_back(Output::Start(Job::Verify { piece, blocks }));
    }

    fn on_reject(&mut self, now: Instant, peer: PeerKey, raw: RawBlock) {
        let Some(block) = self.block_of(raw) else {
            return self.expel(now, peer, Ban::Protocol);
        };
        let Some(p) = self.peers.get_mut(peer) else { return };
        if p.pipeline.dropped(now, block, p.choking_us) {
            // Who takes part in a broadcast is busy often, and so is who invites others.
            let often_busy = self.live.is_some() || p.g2g.trades();
            let hopeless = !often_busy && p.pipeline.rejected() > MAX_REJECTED;
            if !p.choking_us || p.allowed_fast.contains(&block.piece) {
                if often_busy {
                    p.is_swamped(now, block.piece);
                } else {
                    p.refuses(now, block.piece);
                }
            }
            self.give_up(peer, block);
            if hopeless {
                self.dismiss(now, peer);
            }
        }
    }

    fn on_allowed_fast(&mut self, peer: PeerKey, index: u32) {
        let Some(piece) = self.piece_of(index) else { return };
        if let Some(p) = self.peers.get_mut(peer) {
            p.allow(piece);
            self.hungry.add(peer);
        }
    }

    /// Of other clients, suggestions are of no use.
    fn on_suggest(&mut self, now: Instant, peer: PeerKey, index: u32) {
        let (invited, piece) = (self.passes_on() || self.trades_with(peer), self.piece_of(index));
        if let (Some(p), Some(piece), true) = (self.peers.get_mut(peer), piece, invited) {
            p.invites(now, piece);
            p.g2g.invites(now);
            self.hungry.add(peer);
        }
    }

    fn on_extension_handshake(&mut self, now: Instant, peer: PeerKey, payload: &[u8]) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        // A peer whose extension handshake cannot be read still speaks plain BitTorrent.
        let Ok(handshake) = ExtensionHandshake::decode(payload) else { return };
        let (id, g2g) = (handshake.id_of(live::NAME), handshake.id_of(g2g::NAME));
        p.client = handshake.client;
        if let Some(reqq) = handshake.reqq {
            p.pipeline.set_reqq(reqq);
        }
        self.on_listens(peer, handshake.port);
        self.on_live_id(now, peer, id, handshake.live);
        self.on_g2g_id(now, peer, g2g);
    }

    /// Tells peers whether they have something for us, after what we want has changed.
    pub(super) fn review_interest(&mut self, now: Instant) {
        let keys: Vec<_> = self.peers.keys().collect();
        for key in keys {
            let wanted = self.has_something(key);
            self.show_interest(now, key, wanted);
            if self.are_both_seeds(key) {
                self.part(now, key);
            }
        }
    }

    fn are_both_seeds(&self, peer: PeerKey) -> bool {
        self.pieces.have().is_full() && self.peers.get(peer).is_some_and(|p| p.has.is_full())
    }

    pub(super) fn has_something(&self, peer: PeerKey) -> bool {
        let Some(p) = self.peers.get(peer) else { return false };
        if self.live.is_some() {
            // What it has not got yet it will have.
            let watching = !self.readers.is_empty() || self.config.whole;
            return watching && p.live.goes_along();
        }
        self.pieces.needs_any_of(&p.has)
            || self.config.budget.is_some()
                && self.pieces.all().any(|i| p.has.has(i) && self.may_be_needed(i))
    }

    pub(super) fn show_interest(&mut self, now: Instant, peer: PeerKey, interesting: bool) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        if std::mem::replace(&mut p.interesting, interesting) != interesting {
            let message = if interesting { Message::Interested } else { Message::NotInterested };
            self.send(now, peer, message);
        }
    }
}
