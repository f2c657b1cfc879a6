//! A torrent that is a live broadcast: which pieces exist, what peers mean by their indices, and where viewers are.
//!
//! The newest verified stamp sets the window: older pieces than it holds are thrown away, here and in what is known
//! of the neighbours, who do the same. Behind the newest stamp so many pieces more are believed to exist as peers
//! say that they have, within bounds (`LEAD`): a stamp comes only once a second. An index on the wire is read
//! relative to the newest stamp of whoever said it, so rounds of the ring cannot be confused.
//!
//! Stamps are checked by workers ([`Job::CheckStamp`]), one at a time a peer; one that was seen before is not
//! checked again. A peer with a stamp that the source did not sign is banned.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::event::{Ban, Event, LiveStats, Moved, ReaderId};
use super::invite::Invites;
use super::torrent::Torrent;
use super::uplink::Uplink;
use super::{Job, Output, PeerKey};
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{Geometry, PieceIndex};
use crate::rate::ByteRate;
use crate::stream::hook_in::HookIn;
use crate::stream::live_headers::{Headers, VerifiedHeaders};
use crate::stream::live_piece::{Stamp, VerifiedStamp};
use crate::stream::live_rate::LiveRate;
use crate::stream::playback::Playback;
use crate::stream::window::Ring;
use crate::time::{Duration, Instant};
use crate::wire::live::LiveState;
use crate::wire::message::Message;

/// Pieces of so much media are believed to exist behind the newest stamp, ...
const LEAD: Duration = Duration::from_secs(5);
/// ... and so many at least.
const LEAST_LEAD: u32 = 8;
/// Our newest stamp is told this often, ...
const TELL_EVERY: Duration = Duration::from_secs(2);
/// ... and when this part of the pieces came since that who heard the last one believes in.
const TELL_PART: u32 = 2;
/// Stamps remembered, so that the same one is not checked for every peer.
const KNOWN: usize = 256;
/// Breaks remembered: pieces that do not go on where the one before ended.
const BREAKS: usize = 64;
/// A viewer to whom nothing could be given for so long is hooked in anew.
const STUCK: Duration = Duration::from_secs(10);

/// How a live torrent is run.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// Its ring.
    pub ring: Ring,
    /// Bytes/s from the metainfo.
    pub nominal: Option<u64>,
    /// We make it: nothing is ever asked for.
    pub source: bool,
}

/// What a peer says of a broadcast.
#[derive(Debug, Default)]
pub struct PeerLive {
    /// Its id for our message; `None` when it does not speak it.
    id: Option<u8>,
    /// Its newest verified stamp's number.
    newest: Option<u32>,
    /// A worker looks at a stamp of it.
    checking: bool,
    /// Came while the worker was busy.
    waiting: Option<LiveState>,
    /// What it says to hold while it has shown no stamp, or its newest one is still looked at: only that tells which
    /// pieces are meant.
    unread: Option<Bitfield>,
    /// Number of the stream headers that it has.
    headers: Option<u32>,
    /// A worker looks at stream headers of it.
    checking_headers: bool,
    /// Came while that worker was busy.
    waiting_headers: Option<Headers>,
}

impl PeerLive {
    /// It has shown that it takes part.
    pub(super) const fn goes_along(&self) -> bool {
        self.newest.is_some()
    }
}

/// The state of a live torrent.
#[derive(Debug)]
pub(super) struct Live {
    config: LiveConfig,
    rate: LiveRate,
    hook_in: HookIn<PeerKey>,
    /// The newest stamp of anybody.
    newest: Option<u32>,
    /// The newest stamp of a piece that we hold.
    held: Option<VerifiedStamp>,
    known: BTreeMap<u32, VerifiedStamp>,
    /// Pieces that do not go on where the one before ended.
    breaks: BTreeSet<u32>,
    headers: Option<VerifiedHeaders>,
    next_tell: Instant,
    /// Something to be told is new.
    untold: bool,
    /// The number of the stamp that was told last.
    told: u32,
    /// Viewers that wait, and since when nothing could be given to them.
    stuck: BTreeMap<ReaderId, (u64, Instant)>,
    pub(super) uplink: Uplink,
    pub(super) invites: Invites,
}

impl Live {
    pub(super) fn new(config: LiveConfig, geometry: &Geometry, now: Instant) -> Self {
        Self {
            rate: LiveRate::new(config.nominal, geometry.piece_length()),
            hook_in: HookIn::new(config.ring),
            config,
            newest: None,
            held: None,
            known: BTreeMap::new(),
            breaks: BTreeSet::new(),
            headers: None,
            next_tell: now,
            untold: false,
            told: 0,
            stuck: BTreeMap::new(),
            uplink: Uplink::default(),
            invites: Invites::default(),
        }
    }

    /// Media time of a piece.
    pub(super) fn piece_time(&self) -> Duration {
        self.rate.piece_time()
    }

    /// The piece that we mean by an index.
    pub(super) fn piece_of(&self, index: u32) -> Option<u32> {
        self.config.ring.near(index, self.newest?)
    }

    fn lead(&self) -> u32 {
        let most = (self.config.ring.window() / 2).max(1);
        self.rate.pieces_in(LEAD).max(LEAST_LEAD).min(most)
    }

    /// So far behind the newest stamp peers may speak of pieces: they tell of some before they show a stamp again.
    fn ahead(&self) -> u32 {
        let ring = self.config.ring;
        (ring.window() / 2).max(LEAST_LEAD).min(ring.slots() / 2)
    }

    fn remember(&mut self, stamp: &VerifiedStamp) {
        self.rate.on_stamp(stamp);
        self.known.insert(stamp.seq, stamp.clone());
        if self.known.len() > KNOWN {
            self.known.pop_first();
        }
        if stamp.flags.discontinuity && self.breaks.insert(stamp.seq) && self.breaks.len() > BREAKS {
            self.breaks.pop_first();
        }
    }

    /// A stamp that was checked before.
    fn recall(&self, stamp: &Stamp) -> Option<VerifiedStamp> {
        self.known.get(&stamp.seq).filter(|known| ***known == *stamp).cloned()
    }
}

impl Torrent {
    /// Bytes/s of pieces, stamps included: what the playhead moves by.
    fn live_piece_rate(&self) -> Option<u64> {
        let live = self.live.as_ref()?;
        let time = live.rate.piece_time();
        Some(ByteRate::of(self.pieces.geometry().piece_length().into(), time).get())
    }

    /// A peer speaks our message by this id.
    pub(super) fn on_live_id(
        &mut self,
        now: Instant,
        peer: PeerKey,
        id: Option<u8>,
        state: Option<LiveState>,
    ) {
        let (Some(_), Some(p)) = (&self.live, self.peers.get_mut(peer)) else { return };
        p.live.id = id;
        self.tell_one(now, peer);
        if let Some(state) = state {
            self.on_live_state(now, peer, state);
        }
    }

    /// A peer tells where it is.
    pub(super) fn on_live_message(&mut self, now: Instant, peer: PeerKey, payload: &Bytes) {
        match LiveState::decode(payload) {
            Ok(state) if self.live.is_some() => self.on_live_state(now, peer, state),
            Ok(_) => {}
            Err(_) => self.expel(now, peer, Ban::Protocol),
        }
    }

    fn on_live_state(&mut self, now: Instant, peer: PeerKey, state: LiveState) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.live.headers = p.live.headers.max(state.headers_number);
        match state.headers.as_ref().map(Headers::parse) {
            Some(Err(_)) => return self.expel(now, peer, Ban::Protocol),
            Some(Ok(headers)) => self.look_at_headers(peer, headers),
            None => {}
        }
        let Some(p) = self.peers.get_mut(peer) else { return };
        if p.live.checking {
            // The newest counts; one that is skipped was of no use any more.
            p.live.waiting = Some(state);
            return;
        }
        self.look_at(now, peer, state);
    }

    /// One at a time a peer, too: of those that come meanwhile the newest is kept, as they come only once.
    fn look_at_headers(&mut self, peer: PeerKey, headers: Headers) {
        let (Some(live), Some(p)) = (&self.live, self.peers.get_mut(peer)) else { return };
        if live.headers.as_ref().is_some_and(|known| known.number >= headers.number) {
            return;
        }
        if p.live.checking_headers {
            p.live.waiting_headers = Some(headers);
            return;
        }
        p.live.checking_headers = true;
        self.out.push_back(Output::Start(Job::CheckHeaders { peer, headers: Box::new(headers) }));
    }

    fn look_at(&mut self, now: Instant, peer: PeerKey, state: LiveState) {
        let Some(live) = &self.live else { return };
        let Some(bytes) = state.stamp else { return };
        let stamp = Stamp::parse(&bytes, self.pieces.geometry().piece_length());
        let Ok(stamp) = stamp else { return self.expel(now, peer, Ban::Protocol) };
        match live.recall(&stamp) {
            Some(stamp) => self.on_peer_stamp(now, peer, &stamp, state.oldest),
            None => {
                if let Some(p) = self.peers.get_mut(peer) {
                    p.live.checking = true;
                }
                let job = Job::CheckStamp { peer, stamp: Box::new(stamp), oldest: state.oldest };
                self.out.push_back(Output::Start(job));
            }
        }
    }

    /// A worker looked at a peer's stamp; `None` when the source has not signed it.
    pub(super) fn on_stamp_checked(
        &mut self,
        now: Instant,
        peer: PeerKey,
        stamp: Option<VerifiedStamp>,
        oldest: Option<u32>,
    ) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.live.checking = false;
        let Some(stamp) = stamp else {
            self.counters.bad_stamps += 1;
            return self.expel(now, peer, Ban::BadData);
        };
        self.on_peer_stamp(now, peer, &stamp, oldest);
        if let Some(state) = self.peers.get_mut(peer).and_then(|p| p.live.waiting.take()) {
            self.look_at(now, peer, state);
        }
    }

    pub(super) fn on_headers_checked(
        &mut self,
        now: Instant,
        peer: PeerKey,
        headers: Option<VerifiedHeaders>,
    ) {
        let waiting = self.peers.get_mut(peer).and_then(|p| {
            p.live.checking_headers = false;
            p.live.waiting_headers.take()
        });
        match headers {
            Some(headers) => self.on_headers(headers),
            None => {
                self.counters.bad_stamps += 1;
                return self.expel(now, peer, Ban::BadData);
            }
        }
        waiting.into_iter().for_each(|headers| self.look_at_headers(peer, headers));
    }

    /// Stream headers that the source has signed.
    pub(super) fn on_headers(&mut self, headers: VerifiedHeaders) {
        let Some(live) = &mut self.live else { return };
        if headers.replace(live.headers.as_ref()) {
            self.out.push_back(Output::Event(Event::StreamHeaders(headers.bytes.clone())));
            live.headers = Some(headers);
            (live.untold, self.stale) = (true, true);
        }
    }

    fn on_peer_stamp(&mut self, now: Instant, peer: PeerKey, stamp: &VerifiedStamp, oldest: Option<u32>) {
        let Some(live) = &mut self.live else { return };
        live.remember(stamp);
        live.hook_in.on_stamp(peer, stamp, oldest);
        if let Some(p) = self.peers.get_mut(peer) {
            p.live.newest = p.live.newest.max(Some(stamp.seq));
        }
        let wanted = self.has_something(peer);
        self.show_interest(now, peer, wanted);
        self.advance(now, stamp.seq);
        let shown = self.peers.get_mut(peer).filter(|p| p.live.waiting.is_none());
        if let Some(bits) = shown.and_then(|p| p.live.unread.take()) {
            self.read_bits(peer, &bits);
        }
        self.hook_in_all(now);
    }

    /// A peer that has shown no stamp yet says what it has: to be read when it does.
    pub(super) fn on_live_bitfield(&mut self, peer: PeerKey, bits: Bitfield) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        if p.live.newest.is_some() {
            self.read_bits(peer, &bits);
        } else {
            p.live.unread = Some(bits);
        }
    }

    fn read_bits(&mut self, peer: PeerKey, bits: &Bitfield) {
        let (Some(live), Some(p)) = (&self.live, self.peers.get(peer)) else { return };
        let Some(newest) = p.live.newest else { return };
        let geometry = *self.pieces.geometry();
        let run = live.config.ring.oldest(newest)..newest.saturating_add(live.ahead()).saturating_add(1);
        let held: Vec<_> = geometry.run(run).filter(|piece| bits.has(*piece)).collect();
        held.into_iter().for_each(|piece| self.on_live_have(peer, piece.number()));
    }

    /// A peer says that it has a piece of the ring.
    pub(super) fn on_live_index(&mut self, now: Instant, peer: PeerKey, index: u32) {
        let Some(live) = &self.live else { return };
        let ring = live.config.ring;
        if index >= ring.slots() {
            return self.expel(now, peer, Ban::Protocol);
        }
        let geometry = *self.pieces.geometry();
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.spoken = true;
        match p.live.newest.filter(|_| !p.live.checking) {
            Some(newest) => {
                if let Some(number) = ring.near(index, newest) {
                    self.on_live_have(peer, number);
                }
            }
            None => {
                let bits = p.live.unread.get_or_insert_with(|| Bitfield::empty(&geometry));
                geometry.piece(index).into_iter().for_each(|piece| _ = bits.insert(piece));
            }
        }
    }

    fn on_live_have(&mut self, peer: PeerKey, number: u32) {
        let Some(live) = &self.live else { return };
        let Some(newest) = live.newest else { return };
        // What is too far ahead to be believed yet may be true all the same.
        if number < self.pieces.exist().start || number > newest.saturating_add(live.ahead()) {
            return;
        }
        let believed = newest.saturating_add(live.lead());
        self.pieces.exists_to(number.min(believed).saturating_add(1));
        let Some(piece) = self.pieces.geometry().piece(number) else { return };
        let Some(p) = self.peers.get_mut(peer) else { return };
        if p.has.insert(piece) {
            self.pieces.count_have(piece, &p.has);
            self.stale = true;
            self.hungry.add(peer);
        }
    }

    /// A piece is verified, or was made here.
    pub(super) fn on_live_piece(&mut self, now: Instant, stamp: &VerifiedStamp) {
        let Some(live) = &mut self.live else { return };
        live.remember(stamp);
        if live.held.as_ref().is_none_or(|held| held.seq < stamp.seq) {
            live.held = Some(stamp.clone());
            live.untold = true;
        }
        self.advance(now, stamp.seq);
    }

    /// The source made a piece; it is written.
    pub(super) fn on_captured(&mut self, now: Instant, stamp: &VerifiedStamp) {
        self.on_live_piece(now, stamp);
        if let Some(piece) = self.pieces.geometry().piece(stamp.seq) {
            self.on_good(now, piece);
        }
    }

    /// A piece exists with this number: the window moves, and what falls out of it is thrown away.
    fn advance(&mut self, now: Instant, newest: u32) {
        let Some(live) = &mut self.live else { return };
        if live.newest.is_some_and(|known| known >= newest) {
            return;
        }
        live.newest = Some(newest);
        let oldest = live.config.ring.oldest(newest);
        let exist = self.pieces.exist();
        let start = if exist.is_empty() { oldest } else { exist.start };
        if exist.is_empty() {
            self.pieces.exists_from(oldest);
        }
        self.pieces.exists_to(newest.saturating_add(1));
        // Nobody has spoken of anything further ahead, however far the source has skipped.
        let spoken_of = exist.end.saturating_add(live.config.ring.slots());
        let gone = self.pieces.geometry().run(start..oldest.min(spoken_of));
        gone.collect::<Vec<_>>().into_iter().for_each(|piece| self.let_piece_go(now, piece));
        self.pieces.exists_from(oldest);
        if let Some(rate) = self.live_piece_rate() {
            self.readers.values_mut().for_each(|r| r.set_media_rate(rate));
        }
        self.stale = true;
    }

    /// A piece has left the window.
    fn let_piece_go(&mut self, now: Instant, piece: PieceIndex) {
        for key in self.peers.keys().collect::<Vec<_>>() {
            let Some(p) = self.peers.get_mut(key) else { continue };
            if p.has.remove(piece) {
                self.pieces.uncount_have(piece);
            }
            let gone = p.pipeline.cancel(now, |block| block.piece == piece);
            self.withdraw(now, key, &gone);
        }
        self.pieces.unwant(std::iter::once(piece));
        self.pieces.forget_partial(piece);
        self.forget_news(piece);
        if self.pieces.have().has(piece) {
            self.pieces.discard(piece);
            self.refuse_piece(now, piece);
            self.out.push_back(Output::Start(Job::Discard { piece }));
        }
    }

    pub(super) fn forget_live_peer(&mut self, peer: PeerKey) {
        if let Some(live) = &mut self.live {
            live.hook_in.forget(peer);
        }
    }

    /// Tells peers our newest stamp, if it is time.
    pub(super) fn tell_live(&mut self, now: Instant) {
        let Some(live) = &mut self.live else { return };
        let held = live.held.as_ref().map_or(0, |held| held.seq);
        if !live.untold || now < live.next_tell && held - live.told < live.lead() / TELL_PART {
            return;
        }
        (live.untold, live.next_tell, live.told) = (false, now + TELL_EVERY, held);
        self.peers.keys().collect::<Vec<_>>().into_iter().for_each(|peer| self.tell_one(now, peer));
    }

    /// Where we are, for the extension handshake.
    pub(super) fn live_state(&self) -> Option<LiveState> {
        let live = self.live.as_ref()?;
        Some(LiveState {
            stamp: live.held.as_ref().map(|stamp| stamp.encode()),
            oldest: self.pieces.first_held(),
            headers_number: live.headers.as_ref().map(|headers| headers.number),
            headers: None,
        })
    }

    fn tell_one(&mut self, now: Instant, peer: PeerKey) {
        let Some(state) = self.live_state() else { return };
        let (Some(live), Some(p)) = (&self.live, self.peers.get_mut(peer)) else { return };
        let Some(id) = p.live.id else { return };
        let ours = live.headers.as_ref();
        let lacking = ours.filter(|ours| p.live.headers.is_none_or(|theirs| theirs < ours.number));
        if let Some(headers) = lacking {
            p.live.headers = Some(headers.number);
        }
        let state = LiveState { headers: lacking.map(|headers| headers.encode()), ..state };
        if state.stamp.is_some() || state.headers.is_some() {
            self.send(now, peer, Message::Extended { id, payload: state.encode() });
        }
    }

    /// Viewers that do not know where to begin, or cannot go on where they are, are given a place.
    pub(super) fn hook_in_all(&mut self, now: Instant) {
        for id in self.readers.keys().copied().collect::<Vec<_>>() {
            if self.needs_hook_in(now, id) {
                self.hook_in_one(now, id);
            } else if let Some(next) = self.behind_unmade(id) {
                self.go_on_at(id, next, 0);
            }
        }
    }

    /// Where a viewer goes on that waits for what was never made: a source that comes back skips numbers. That there
    /// is nothing is taken for true when nobody has any of it, as they all tell in order.
    fn behind_unmade(&self, id: ReaderId) -> Option<PieceIndex> {
        let (live, geometry) = (self.live.as_ref()?, self.pieces.geometry());
        let playback = self.readers.get(&id).filter(|r| r.is_waiting())?;
        let hole = geometry.piece_at(playback.first_missing())?.number();
        let next = *live.breaks.range(hole.saturating_add(1)..).next()?;
        let made = geometry.run(hole..next).any(|piece| self.is_there(piece));
        geometry.piece(next).filter(|_| !made)
    }

    /// Whether we or a neighbour have this piece.
    fn is_there(&self, piece: PieceIndex) -> bool {
        self.pieces.have().has(piece) || self.peers.values().any(|p| p.has.has(piece))
    }

    fn needs_hook_in(&mut self, now: Instant, id: ReaderId) -> bool {
        let (Some(live), Some(playback)) = (&mut self.live, self.readers.get(&id)) else { return false };
        if !playback.is_hooked_in() {
            return true;
        }
        let oldest = self.pieces.exist().start;
        let (at, piece_length) = (playback.first_missing(), u64::from(self.pieces.geometry().piece_length()));
        if playback.playhead() / piece_length < u64::from(oldest) {
            return true;
        }
        let lag = live
            .newest
            .map_or(0, |newest| newest.saturating_sub(u32::try_from(at / piece_length).unwrap_or(u32::MAX)));
        if playback.lags_too_much(live.rate.time_of(lag)) {
            return true;
        }
        // Who waits at the live point because the source makes nothing is where it belongs.
        let behind = at / piece_length + 1 < u64::from(self.pieces.exist().end);
        if !playback.is_waiting() || !behind {
            live.stuck.remove(&id);
            return false;
        }
        let (place, since) = *live.stuck.entry(id).or_insert((at, now));
        if place != at {
            live.stuck.insert(id, (at, now));
        }
        place == at && now - since > STUCK
    }

    fn hook_in_one(&mut self, now: Instant, id: ReaderId) {
        let rate = self.live_piece_rate();
        let geometry = *self.pieces.geometry();
        let forward = self.readers.get(&id).map_or(0, |r| self.forward_of(r));
        let (Some(live), Some(playback)) = (&mut self.live, self.readers.get_mut(&id)) else { return };
        let Some(point) = live.hook_in.point(playback.buffer_span(), &live.rate) else { return };
        let number = point.max(forward);
        let Some(piece) = geometry.piece(number) else { return };
        live.stuck.remove(&id);
        rate.into_iter().for_each(|rate| playback.set_media_rate(rate));
        playback.hook_in(now, geometry.piece_range(piece).start);
        tracing::debug!(%piece, ?id, "hooked in");
        self.review_interest(now);
        self.out.push_back(Output::Event(Event::Moved { reader: id, to: number, why: Moved::HookedIn }));
        self.stale = true;
    }

    /// The first piece that a viewer may go on with: nothing is given twice, nor waited for again in vain.
    fn forward_of(&self, playback: &Playback) -> u32 {
        let geometry = self.pieces.geometry();
        let hole = geometry.piece_at(playback.first_missing()).filter(|_| playback.is_hooked_in());
        let Some(next) = hole.map(|hole| hole.number().saturating_add(1)) else { return 0 };
        let mut behind = geometry.run(next..self.pieces.exist().end);
        behind.find(|piece| self.is_there(*piece)).map_or(next, PieceIndex::number)
    }

    pub(super) fn live_stats(&self) -> Option<LiveStats> {
        let live = self.live.as_ref()?;
        let held = live.held.as_ref().and_then(|stamp| self.pieces.geometry().piece(stamp.seq));
        Some(LiveStats {
            newest: live.newest.unwrap_or_default(),
            newest_time: live.held.as_ref().map(|stamp| stamp.time.micros()),
            window: u32::try_from(self.pieces.exist().len()).unwrap_or(u32::MAX),
            bitrate: live.rate.bytes_per_second().get(),
            piece_time: live.rate.piece_time(),
            bad_stamps: self.counters.bad_stamps,
            behind: self.peers.values().filter(|p| held.is_some_and(|piece| !p.has.has(piece))).count(),
        })
    }

    /// A viewer gives up what it waits for, and goes on with the next piece that is there.
    pub(super) fn drop_hole(&mut self, id: ReaderId) {
        let geometry = *self.pieces.geometry();
        let Some(playback) = self.readers.get(&id) else { return };
        let Some(hole) = geometry.piece_at(playback.first_missing()) else { return };
        let behind = geometry.run(hole.number()..self.pieces.exist().end);
        let Some(next) = behind.filter(|p| *p > hole).find(|p| self.pieces.have().has(*p)) else { return };
        let dropped = u64::from(next.number() - hole.number());
        tracing::info!(%hole, dropped, "dropped what did not come in time");
        self.go_on_at(id, next, dropped);
    }

    fn go_on_at(&mut self, id: ReaderId, piece: PieceIndex, dropped: u64) {
        let start = self.pieces.geometry().piece_range(piece).start;
        self.with_reader(id, |r| r.skip_to(start, dropped));
        let (to, why) = (piece.number(), Moved::Dropped { pieces: dropped });
        self.out.push_back(Output::Event(Event::Moved { reader: id, to, why }));
        self.stale = true;
    }

    /// Bytes that are verified behind a viewer's first hole, within its buffer's span.
    pub(super) fn live_behind(&self, playback: &Playback) -> u64 {
        let (Some(_), Some(rate)) = (&self.live, playback.media_rate()) else { return 0 };
        let (hole, span) = (playback.first_missing(), ByteRate(rate).bytes_in(playback.buffer_span()));
        let range = hole..hole.saturating_add(span);
        let pieces = self.pieces.geometry().span(&range);
        let exist = self.pieces.exist();
        let run = pieces.start.max(exist.start)..pieces.end.min(exist.end);
        let there = self.pieces.geometry().run(run).filter(|p| self.pieces.have().has(*p)).count();
        there as u64 * u64::from(self.pieces.geometry().piece_length())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testbed::{LIVE_PIECE, Testbed};
    use super::*;

    #[test]
    fn who_is_stuck_is_not_hooked_in_where_it_has_been() {
        let mut bed = Testbed::live(400, false);
        let peer = bed.live_peer(100..140);
        bed.watch();
        assert_eq!(bed.moves(), [(118, Moved::HookedIn)]);
        bed.give_all(peer);
        for number in 118..140 {
            bed.reader(super::super::ReaderInput::Read(number * LIVE_PIECE..(number + 1) * LIVE_PIECE));
        }
        // The source goes on, but nobody gives its pieces.
        bed.hear(peer, Message::Choke);
        bed.reached(peer, 118..143);
        bed.reader(super::super::ReaderInput::Read(140 * LIVE_PIECE..141 * LIVE_PIECE));
        bed.wait(Duration::from_secs(15));
        assert_eq!(bed.moves(), [(118, Moved::HookedIn), (141, Moved::HookedIn)]);
    }
}
