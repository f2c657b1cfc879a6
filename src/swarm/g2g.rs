//! Neighbours that speak [`sw_g2g`](crate::wire::g2g): what they tell and hear. Those in a film's swarm *trade*. (In a
//! broadcast they [invite](super::invite), too, decline, and name those who gave them something.)
//!
//! Nobody of them waits for a slot. Who has room on its way out invites a neighbour ([`offer`](super::offer)), who may
//! then ask for as much as it sends in a [turn](super::turns): of the piece that it was invited to, or of what it needs
//! more. So everybody's way out is always in use, and nobody waits in many lines at a time.
//!
//! Three things are told besides: which pieces somebody will need next, and how fast it plays them, as those who are
//! about to stall are invited first; which piece somebody begins to fetch, so that it is not invited to that again, and
//! others fetch different ones from a seed; and how much of an invitation is of no use, so that somebody else is invited
//! at once. (Who has little room tells what it has let go of, too.) And everybody names those who gave it something, so
//! that it is [known](super::ledger) who passes on what it gets.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::event::Ban;
use super::peer::Peer;
use super::torrent::Torrent;
use super::turns::LONGEST_TURN;
use super::{Output, PeerKey};
use crate::metainfo::geometry::PieceIndex;
use crate::rate::ByteRate;
use crate::stream::playback::Playback;
use crate::time::{Duration, Instant};
use crate::wire::g2g::Told;
use crate::wire::message::Message;

/// An invitation is good for this time.
const INVITED: Duration = Duration::from_millis(800);
/// Most bytes to which invitations of one neighbour add up.
const MAX_TURNS: u64 = 256 * LONGEST_TURN;
/// Who fetches a piece is expected to have it within this time.
const FETCHING: Duration = Duration::from_secs(5);
/// Most pieces remembered that somebody is fetching.
const MAX_COMING: usize = 64;
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
    /// It trades with us: the torrent is a film.
    trades: bool,
    /// The pieces that it needs next.
    wants: Range<u32>,
    /// At which rate it plays them, if it told.
    rate: ByteRate,
    /// What it invited us to ask for, ...
    turn: Credit,
    /// ... and how many bytes more each time that it does, if it told.
    length: Option<u64>,
    /// What it is fetching, from us or from others, and until when that is believed.
    coming: VecDeque<(PieceIndex, Instant)>,
}

impl PeerG2g {
    /// Whether it invites, and comes when it is invited.
    pub const fn trades(&self) -> bool {
        self.trades
    }

    /// Whether it can be told something, and tells something itself.
    pub const fn speaks(&self) -> bool {
        self.id.is_some()
    }

    /// The pieces that it needs next; empty if none is needed before others.
    pub fn wants(&self) -> Range<u32> {
        self.wants.clone()
    }

    /// Media time of so many bytes, if it told at which rate it plays them.
    pub fn time_of(&self, bytes: u64) -> Option<Duration> {
        self.rate.time_for(bytes)
    }

    /// Bytes that it invited us to ask for.
    pub fn turn(&self, now: Instant) -> u64 {
        self.turn.left(now)
    }

    /// It begins to fetch a piece.
    fn fetches(&mut self, now: Instant, piece: PieceIndex) {
        while self.coming.len() >= MAX_COMING {
            self.coming.pop_front();
        }
        self.coming.push_back((piece, now + FETCHING));
    }

    /// What it has been fetching for long may not come.
    pub fn doubt(&mut self, now: Instant) {
        while self.coming.front().is_some_and(|(_, until)| now >= *until) {
            self.coming.pop_front();
        }
    }

    /// Whether it is fetching a piece.
    pub fn is_coming(&self, piece: PieceIndex) -> bool {
        self.coming.iter().any(|(coming, _)| *coming == piece)
    }

    /// It has a piece.
    pub fn came(&mut self, piece: PieceIndex) {
        self.coming.retain(|(coming, _)| *coming != piece);
    }

    /// It invites us.
    pub fn invites(&mut self, now: Instant) {
        if !self.trades() {
            // In a broadcast an invitation is to a piece, whatever it takes.
            return;
        }
        let room = MAX_TURNS.saturating_sub(self.turn(now));
        let bytes = self.length.unwrap_or(LONGEST_TURN);
        self.turn.add(now, bytes.min(room), now + INVITED);
    }

    /// Nothing more is asked as it invited us; gives the bytes that could have been.
    fn declines(&mut self, now: Instant) -> u64 {
        std::mem::take(&mut self.turn).left(now)
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
        self.trades() && self.peers.get(peer).is_some_and(|p| p.g2g.trades())
    }

    /// A peer speaks our message by this id.
    pub(super) fn on_g2g_id(&mut self, now: Instant, peer: PeerKey, id: Option<u8>) {
        let (trades, stock) = (self.trades(), self.config.policy.is_stock());
        let Some(p) = self.peers.get_mut(peer).filter(|_| !stock) else { return };
        (p.g2g.id, p.g2g.trades) = (id, trades && id.is_some());
        if p.g2g.trades() {
            let interested = p.interested_in_us;
            let told = self.tells_wants();
            self.tell_g2g(now, peer, told.encode());
            self.on_interested(now, peer, interested);
            self.count_company();
        }
    }

    /// A neighbour tells something.
    pub(super) fn on_g2g_message(&mut self, now: Instant, peer: PeerKey, payload: &[u8]) {
        let Ok(told) = Told::decode(payload) else { return self.expel(now, peer, Ban::Protocol) };
        if !self.peers.get(peer).is_some_and(|p| p.g2g.speaks()) {
            return;
        }
        self.on_givers(peer, &told.givers);
        if let Some(bytes) = told.declined {
            self.on_declined(now, peer, u64::from(bytes));
        }
        if self.trades() {
            self.on_trader(now, peer, &told);
        }
    }

    /// What only those tell who trade.
    fn on_trader(&mut self, now: Instant, peer: PeerKey, told: &Told) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        if let Some(wants) = &told.wants {
            let end = self.pieces.geometry().pieces();
            p.g2g.wants = wants.start.min(end)..wants.end.min(end);
        }
        if let Some(rate) = told.rate {
            p.g2g.rate = ByteRate(rate.into());
        }
        if let Some(piece) = told.fetching.and_then(|index| self.pieces.geometry().piece(index)) {
            p.g2g.fetches(now, piece);
            if !self.pieces.have().has(piece) {
                self.picker.claim(peer, piece, now + FETCHING);
            }
        }
        if let Some(piece) = told.lost.and_then(|index| self.pieces.geometry().piece(index)) {
            let full = p.has.is_full();
            if p.has.remove(piece) {
                self.pieces.lose(piece, full);
            }
        }
        p.g2g.length = told.turn.map(u64::from).or(p.g2g.length);
    }

    /// There is nothing to ask a neighbour for as it invited us: it had better invite somebody else.
    pub(super) fn decline(&mut self, now: Instant, peer: PeerKey) {
        let (live, piece) = (self.live.is_some(), self.whole(1));
        let Some(p) = self.peers.get_mut(peer).filter(|p| p.g2g.speaks()) else { return };
        let bytes = if live { p.invitations().count() as u64 * piece } else { p.g2g.declines(now) };
        if bytes > 0 {
            p.accepts_no_more();
            let declined = u32::try_from(bytes).ok();
            self.tell_g2g(now, peer, Told { declined, ..Told::default() }.encode());
        }
    }

    /// Neighbours hear what we need next, when it has changed.
    pub(super) fn tell_wants(&mut self, now: Instant) {
        if !self.trades() {
            return;
        }
        let wants = self.needed_next();
        let jumped = wants.start.abs_diff(self.told_wants.start) >= JUMP;
        if wants == self.told_wants || !jumped && now < self.next_tell {
            return;
        }
        self.next_tell = now + TELL_EVERY;
        self.told_wants = wants;
        let told = self.tells_wants();
        self.tell_those(now, &told, |_, _| true);
    }

    fn tells_wants(&self) -> Told {
        let rate = self.readers.values().find_map(Playback::media_rate);
        let rate = rate.map(|rate| rate.try_into().unwrap_or(u32::MAX));
        Told { wants: Some(self.told_wants.clone()), rate, ..Told::default() }
    }

    /// The pieces that a reader needs next. Who does not play yet, or not any more, has nothing in front of it: it would
    /// wait for ever if those who play always went first.
    fn needed_next(&self) -> Range<u32> {
        let Range { start, end } = self.picker.needed_next();
        let lacks = self
            .readers
            .values()
            .filter(|reader| reader.is_filling())
            .filter_map(|reader| self.pieces.geometry().piece_at(reader.first_missing()));
        let first = lacks.map(PieceIndex::number).find(|first| (start..end).contains(first));
        first.unwrap_or(start)..end
    }

    /// Neighbours hear that we begin to fetch a piece: those who have it need not give it to us, and if it is `from` a
    /// seed, those who lack it need not fetch it there.
    pub(super) fn tell_fetching(&mut self, now: Instant, from: PeerKey, piece: PieceIndex, seed: bool) {
        let told = Told { fetching: Some(piece.number()), ..Told::default() };
        self.tell_those(now, &told, |key, p| key != from && (seed || p.has.has(piece)));
    }

    /// Neighbours hear that a piece is not here any more, or they would never invite us to it again.
    pub(super) fn tell_lost(&mut self, now: Instant, piece: PieceIndex) {
        self.tell_those(now, &Told { lost: Some(piece.number()), ..Told::default() }, |_, _| true);
    }

    /// Those neighbours that trade with us and `hear` it are told something.
    fn tell_those(&mut self, now: Instant, told: &Told, hear: impl Fn(PeerKey, &Peer) -> bool) {
        if !self.trades() {
            return;
        }
        let payload = told.encode();
        let those = self.peers.iter().filter(|(key, p)| p.g2g.trades() && hear(*key, p));
        for peer in those.map(|(key, _)| key).collect::<Vec<_>>() {
            self.tell_g2g(now, peer, payload.clone());
        }
    }

    /// How many bytes a neighbour may ask for when it is invited from now on, unless it knows.
    pub(super) fn tell_turn(&mut self, now: Instant, peer: PeerKey, bytes: u64) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        if std::mem::replace(&mut p.uploads.turn, bytes) != bytes {
            let turn = u32::try_from(bytes).ok();
            self.tell_g2g(now, peer, Told { turn, ..Told::default() }.encode());
        }
    }

    pub(super) fn tell_g2g(&mut self, now: Instant, peer: PeerKey, payload: Bytes) {
        if let Some(p) = self.peers.get_mut(peer)
            && let Some(id) = p.g2g.id
        {
            p.last_sent = now;
            let message = Message::Extended { id, payload };
            self.out.push_back(Output::Send { peer, message });
        }
    }

    /// How many neighbours trade with us who have not got everything.
    pub(super) fn count_company(&mut self) {
        let company = self.peers.values().filter(|p| p.g2g.trades() && !p.has.is_full()).count();
        self.picker.set_company(company);
    }
}
