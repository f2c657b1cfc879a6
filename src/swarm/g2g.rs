//! Neighbours in a film's swarm that speak [`sw_g2g`](crate::wire::g2g): what they tell and hear.
//!
//! Nobody of them waits for a slot. Who has room on its way out invites a neighbour ([`offer`](super::offer)), who may
//! then ask for [`TURN`] bytes: of the piece that it was invited to, or of what it needs more. So everybody's way out is
//! always in use, and nobody waits in many lines at a time.
//!
//! Two things are told besides: which pieces somebody will need next, as those who are about to stall are invited
//! first; and which piece somebody is fetching from a seed, so that others fetch different ones there, and all have
//! something to give to each other.

use std::ops::Range;

use super::event::Ban;
use super::torrent::Torrent;
use super::turns::TURN;
use super::{Output, PeerKey};
use crate::metainfo::geometry::PieceIndex;
use crate::time::{Duration, Instant};
use crate::wire::g2g::Told;
use crate::wire::message::Message;

/// An invitation is good for this time.
const INVITED: Duration = Duration::from_millis(800);
/// Most bytes to which invitations of one neighbour add up.
const MAX_TURNS: u64 = 256 * TURN;
/// Who fetches a piece from a seed is expected to have it within this time.
const FETCHING: Duration = Duration::from_secs(5);
/// What we need next is told again at most this often, ...
const TELL_EVERY: Duration = Duration::from_secs(1);
/// ... unless it begins so many pieces elsewhere.
const JUMP: u32 = 8;

/// Bytes that an invitation allows to ask for, and until when.
#[derive(Copy, Clone, Debug, Default)]
pub struct Credit {
    bytes: u64,
    until: Instant,
}

impl Credit {
    /// What is left of it.
    pub fn left(self, now: Instant) -> u64 {
        if now < self.until { self.bytes } else { 0 }
    }

    /// So many bytes more, and all of them until then.
    pub fn add(&mut self, now: Instant, bytes: u64, until: Instant) {
        *self = Self { bytes: self.left(now).saturating_add(bytes), until };
    }

    /// So many bytes less.
    pub const fn spend(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What a neighbour says, and lets us do.
#[derive(Debug, Default)]
pub struct PeerG2g {
    /// Its id for our message; `None` when it does not speak it.
    id: Option<u8>,
    /// The pieces that it needs next.
    wants: Range<u32>,
    /// What it invited us to ask for.
    turn: Credit,
}

impl PeerG2g {
    /// Whether it invites, and comes when it is invited.
    pub const fn speaks(&self) -> bool {
        self.id.is_some()
    }

    /// The pieces that it needs next; empty if none is needed before others.
    pub fn wants(&self) -> Range<u32> {
        self.wants.clone()
    }

    /// Bytes that it invited us to ask for.
    pub fn turn(&self, now: Instant) -> u64 {
        self.turn.left(now)
    }

    /// It invites us.
    pub fn invites(&mut self, now: Instant) {
        let room = MAX_TURNS.saturating_sub(self.turn(now));
        self.turn.add(now, TURN.min(room), now + INVITED);
    }

    /// It is asked for so many bytes.
    pub fn asked(&mut self, bytes: u64) {
        self.turn.spend(bytes);
    }
}

impl Torrent {
    /// Whether we take part in this.
    pub(super) const fn trades(&self) -> bool {
        self.live.is_none() && !self.config.policy.is_stock()
    }

    /// Whether neighbour and we invite each other.
    pub(super) fn trades_with(&self, peer: PeerKey) -> bool {
        self.trades() && self.peers.get(peer).is_some_and(|p| p.g2g.speaks())
    }

    /// A peer speaks our message by this id.
    pub(super) fn on_g2g_id(&mut self, now: Instant, peer: PeerKey, id: Option<u8>) {
        let trades = self.trades();
        let Some(p) = self.peers.get_mut(peer).filter(|_| trades) else { return };
        p.g2g.id = id;
        if id.is_some() {
            let interested = p.interested_in_us;
            self.tell_g2g(now, peer, Told { wants: Some(self.told_wants.clone()), fetching: None });
            self.on_interested(now, peer, interested);
            self.count_company();
        }
    }

    /// A neighbour tells something.
    pub(super) fn on_g2g_message(&mut self, now: Instant, peer: PeerKey, payload: &[u8]) {
        let Ok(told) = Told::decode(payload) else { return self.expel(now, peer, Ban::Protocol) };
        let Some(p) = self.peers.get_mut(peer).filter(|p| p.g2g.speaks()) else { return };
        if let Some(wants) = told.wants {
            let end = self.pieces.geometry().pieces();
            p.g2g.wants = wants.start.min(end)..wants.end.min(end);
        }
        if let Some(piece) = told.fetching.and_then(|index| self.pieces.geometry().piece(index)) {
            self.picker.claim(peer, piece, now + FETCHING);
        }
    }

    /// Neighbours hear what we need next, when it has changed.
    pub(super) fn tell_wants(&mut self, now: Instant) {
        if !self.trades() {
            return;
        }
        let wants = self.picker.needed_next();
        let jumped = wants.start.abs_diff(self.told_wants.start) >= JUMP;
        if wants == self.told_wants || !jumped && now < self.next_tell {
            return;
        }
        self.next_tell = now + TELL_EVERY;
        self.told_wants = wants.clone();
        let speak = self.peers.iter().filter(|(_, p)| p.g2g.speaks()).map(|(key, _)| key);
        for peer in speak.collect::<Vec<_>>() {
            self.tell_g2g(now, peer, Told { wants: Some(wants.clone()), fetching: None });
        }
    }

    /// Neighbours that lack a piece hear that we are fetching it from a seed.
    pub(super) fn tell_fetching(&mut self, now: Instant, piece: PieceIndex) {
        let lack = self.peers.iter().filter(|(_, p)| p.g2g.speaks() && !p.has.has(piece));
        for peer in lack.map(|(key, _)| key).collect::<Vec<_>>() {
            self.tell_g2g(now, peer, Told { wants: None, fetching: Some(piece.number()) });
        }
    }

    fn tell_g2g(&mut self, now: Instant, peer: PeerKey, told: Told) {
        if let Some(p) = self.peers.get_mut(peer)
            && let Some(id) = p.g2g.id
        {
            p.last_sent = now;
            let message = Message::Extended { id, payload: told.encode() };
            self.out.push_back(Output::Send { peer, message });
        }
    }

    /// How many neighbours trade with us who have not got everything.
    pub(super) fn count_company(&mut self) {
        let company = self.peers.values().filter(|p| p.g2g.speaks() && !p.has.is_full()).count();
        self.picker.set_company(company);
    }
}
