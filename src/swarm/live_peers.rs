//! What neighbours say of a broadcast and hear of us: stamps, pieces that they hold, stream headers.
//!
//! An index on the wire is read relative to the newest stamp of whoever said it, so rounds of the ring cannot be
//! confused. Stamps are checked by workers ([`Job::CheckStamp`]), one at a time a peer; one that was seen before is not
//! checked again. A peer with a stamp that the source did not sign is banned.

use bytes::Bytes;

use super::event::{Ban, Event};
use super::torrent::Torrent;
use super::{Job, Output, PeerKey};
use crate::metainfo::bitfield::Bitfield;
use crate::stream::live_headers::{Headers, VerifiedHeaders};
use crate::stream::live_piece::{Stamp, VerifiedStamp};
use crate::time::{Duration, Instant};
use crate::wire::live::LiveState;
use crate::wire::message::Message;

/// Our newest stamp is told this often, ...
const TELL_EVERY: Duration = Duration::from_secs(2);
/// ... and when this part of the pieces came since that who heard the last one believes in.
const TELL_PART: u32 = 2;

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
    waiting: Option<Box<LiveState>>,
    /// What it says to hold while it has shown no stamp, or its newest one is still looked at: only that tells which
    /// pieces are meant.
    unread: Option<Bitfield>,
    /// Number of the stream headers that it has.
    headers: Option<u32>,
    /// A worker looks at stream headers of it.
    checking_headers: bool,
    /// Came while that worker was busy.
    waiting_headers: Option<Box<Headers>>,
}

impl PeerLive {
    /// It has shown that it takes part.
    pub(super) const fn goes_along(&self) -> bool {
        self.newest.is_some()
    }
}

impl Torrent {
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
        let (Some(live), Some(p)) = (&mut self.live, self.peers.get_mut(peer)) else { return };
        p.live.headers = p.live.headers.max(state.headers_number);
        if state.headers_number.is_some() {
            live.headers_told.get_or_insert(now);
        }
        match state.headers.as_ref().map(Headers::parse) {
            Some(Err(_)) => return self.expel(now, peer, Ban::Protocol),
            Some(Ok(headers)) => self.look_at_headers(peer, headers),
            None => {}
        }
        let Some(p) = self.peers.get_mut(peer) else { return };
        if p.live.checking {
            // The newest counts; one that is skipped was of no use any more.
            p.live.waiting = Some(Box::new(state));
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
            p.live.waiting_headers = Some(Box::new(headers));
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
            self.look_at(now, peer, *state);
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
            Some(headers) => {
                self.on_headers(headers);
                self.hook_in_all(now);
            }
            None => {
                self.counters.bad_stamps += 1;
                return self.expel(now, peer, Ban::BadData);
            }
        }
        waiting.into_iter().for_each(|headers| self.look_at_headers(peer, *headers));
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
}

#[cfg(test)]
mod tests {
    use super::super::testbed::Testbed;
    use super::*;

    /// An index alone cannot tell one round of the ring from the next.
    #[test]
    fn an_index_means_a_piece_of_the_round_in_which_its_sender_is() {
        let mut bed = Testbed::live(400, false);
        let behind = bed.live_peer(100..140);
        let ahead = bed.live_peer(500..540);
        bed.watch();
        (100..140).for_each(|index| bed.hear(behind, Message::Have(index)));
        let held = |bed: &Testbed, peer| {
            let run = bed.geometry.run(500..540);
            run.filter(|piece| bed.torrent.peers[peer].has.has(*piece)).count()
        };
        assert_eq!((held(&bed, behind), held(&bed, ahead)), (0, 40));
        bed.wait(Duration::from_secs(2));
        let asked = bed.asked();
        assert!(!asked.is_empty() && asked.iter().all(|(peer, _)| *peer == ahead), "{asked:?}");
        bed.reached(behind, 500..540);
        assert_eq!(held(&bed, behind), 40, "it has come round");
    }

    /// In the original whoever had the tracker's address was taken for the source, and believed.
    #[test]
    fn neighbours_behind_one_address_are_told_apart() {
        let mut bed = Testbed::live(400, false);
        let at = |port: u16| ([10, 0, 0, 1], port).into();
        let viewer = bed.live_peer_at(at(1), 100..121);
        let source = bed.live_peer_at(at(2), 100..140);
        let third = bed.live_peer_at(at(3), 100..110);
        bed.watch();
        let mut asked = Vec::new();
        for _ in 0..20 {
            for (peer, block) in bed.asked() {
                asked.push((peer, block.piece.number()));
                bed.give(peer, block);
            }
            bed.wait(Duration::from_millis(100));
        }
        assert!(asked.iter().all(|(peer, number)| *peer == source || *peer == viewer && *number < 121));
        assert!(asked.contains(&(source, 121)), "{asked:?}");
        let live_point =
            |bed: &Testbed| bed.torrent.live.as_ref()?.hook_in.live_point().map(|point| point.seq);
        assert_eq!(live_point(&bed), Some(120), "two of three have reached it");
        bed.input(super::super::Input::Closed { peer: third, hostile: false });
        assert_eq!(live_point(&bed), Some(139), "one of two has");
    }
}
