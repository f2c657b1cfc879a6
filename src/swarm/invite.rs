//! Invitations: who has room on its way out tells a neighbour so, naming a piece that the neighbour lacks (BEP 6's
//! *suggest piece*). Everybody hears of a new piece at once (*have*), but asks for what is not needed soon only where
//! it is invited; if all asked where they first heard of it, most would be turned down, again and again.
//!
//! So a new piece spreads as fast as those who have it can send, each copy to somebody who passes it on. What the
//! fewest have goes first, and to those who lack most: they are the ones that others do not reach. Who is invited may
//! ask for any one piece: what it was invited to, or what it needs more; who has or gets all that there is declines
//! (`d` of [`sw_g2g`](crate::wire::g2g)), and somebody else is invited at once.
//!
//! Who does not [pass on](super::ledger) what it gets is invited to what nobody else lacks, and a copy that it has does
//! not count as one. On its own it is given what nobody was invited to take.

use std::collections::{BTreeMap, VecDeque};

use rand::RngExt as _;

use super::PeerKey;
use super::peer::{Peer, Uploads};
use super::torrent::Torrent;
use crate::metainfo::geometry::PieceIndex;
use crate::time::{Duration, Instant};
use crate::wire::message::Message;

/// Neighbours are invited to a piece for so long after it came.
const NEWS: Duration = Duration::from_secs(5);
/// A guest is expected to ask within this time.
const HOPE: Duration = Duration::from_millis(500);
/// ... and is welcome within this.
const WELCOME: Duration = Duration::from_millis(1_500);
/// Who has not come is not invited again for this time, unless it asks for something.
const REST: Duration = Duration::from_secs(1);
/// Most invitations of one neighbour at a time, and what it has taken in [`HOPE`] lately on top.
const MAX_OPEN: usize = 2;
/// Who has declined is not invited again for this time.
const DECLINED: Duration = Duration::from_millis(100);
/// The part of guests that come is learned from about so many of them, ...
const LEARNING: u32 = 16;
/// ... and is at least this many of [`WHOLE`]: whoever invites too many has others invite the same ones.
const FEWEST: u32 = 700;
/// Neighbours who never come are thought to come once in so many times.
const SLEEPY: u32 = 8;
/// Parts of a guest.
const WHOLE: u32 = 1_024;

/// How many of [`WHOLE`] do something: all, until something else is known.
#[derive(Copy, Clone, Debug)]
pub struct Part(u32);

impl Default for Part {
    fn default() -> Self {
        Self(WHOLE)
    }
}

impl Part {
    /// One more did, or did not.
    pub(super) fn learn(&mut self, did: bool) {
        self.0 = (self.0 * (LEARNING - 1) + if did { WHOLE } else { 0 }) / LEARNING;
    }

    /// Whoever never did may have slept.
    pub(super) fn get(self) -> u32 {
        self.0.max(WHOLE / SLEEPY)
    }
}

/// Somebody who was invited.
#[derive(Copy, Clone, Debug)]
struct Guest {
    since: Instant,
    peer: PeerKey,
    piece: PieceIndex,
    /// How much of a film it may ask for.
    bytes: u64,
    /// It has asked for something else since.
    asked: bool,
}

/// Who is invited to what.
#[derive(Debug, Default)]
pub(super) struct Invites {
    /// Pieces that came, and when.
    news: BTreeMap<PieceIndex, Instant>,
    /// Those who were invited just now.
    guests: VecDeque<Guest>,
    /// Those who are not expected any more.
    late: VecDeque<Guest>,
    /// How many guests come.
    come: Part,
    /// Something has changed.
    pub(super) look: bool,
}

impl Invites {
    /// Whether somebody was invited.
    pub(super) fn is_guest(&self, peer: PeerKey) -> bool {
        self.guests.iter().chain(&self.late).any(|guest| guest.peer == peer)
    }

    /// Whether neighbours are invited to a piece.
    pub(super) fn is_new(&self, piece: PieceIndex) -> bool {
        self.news.contains_key(&piece)
    }

    /// Somebody asks for a piece; whether it was invited. An invitation to another piece is used up only if it is
    /// `needed`: the request may have crossed with it.
    pub(super) fn came(&mut self, peer: PeerKey, piece: PieceIndex, needed: bool) -> bool {
        if take(&mut self.guests, peer, piece, needed) {
            self.come.learn(true);
            return true;
        }
        // If it has not, the guest thinks that it has come.
        let crossed = self.guests.iter_mut().find(|guest| guest.peer == peer && !guest.asked);
        crossed.into_iter().for_each(|guest| guest.asked = true);
        take(&mut self.late, peer, piece, needed)
    }

    /// A guest does not want so many of the bytes that it was invited to. Gives the pieces that it was to ask for.
    pub(super) fn declined(&mut self, peer: PeerKey, mut bytes: u64) -> Vec<PieceIndex> {
        let mut pieces = Vec::new();
        while let Some(at) = self.guests.iter().position(|guest| guest.peer == peer)
            && let Some(left) = bytes.checked_sub(self.guests[at].bytes)
        {
            bytes = left;
            pieces.extend(self.guests.remove(at).map(|guest| guest.piece));
        }
        pieces
    }

    /// Guests who are expected, in pieces.
    pub(super) fn expected(&self) -> u64 {
        let parts = self.guests.len() as u64 * u64::from(self.come.get().max(FEWEST));
        parts.div_ceil(u64::from(WHOLE))
    }

    /// Gives those who have just failed to come, and the bytes that they were invited to.
    fn forget_old(&mut self, now: Instant) -> Vec<(PeerKey, u64)> {
        self.news.retain(|_, since| now - *since < NEWS);
        let mut failed = Vec::new();
        while let Some(guest) = self.guests.front().copied().filter(|guest| now - guest.since >= HOPE) {
            self.guests.pop_front();
            if !guest.asked {
                self.late.push_back(guest);
                failed.push((guest.peer, guest.bytes));
                self.come.learn(false);
            }
        }
        self.late.retain(|guest| now - guest.since < WELCOME);
        failed
    }

    /// Somebody is invited, to so many bytes of a film.
    pub(super) fn invited(&mut self, now: Instant, peer: PeerKey, piece: PieceIndex, bytes: u64) {
        self.guests.push_back(Guest { since: now, peer, piece, bytes, asked: false });
    }

    /// The pieces that guests are on their way to.
    pub(super) fn pieces(&self) -> impl Iterator<Item = PieceIndex> {
        self.guests.iter().map(|guest| guest.piece)
    }

    /// Guests on their way to a piece.
    fn invited_to(&self, piece: PieceIndex) -> usize {
        self.guests.iter().filter(|guest| guest.piece == piece).count()
    }

    /// Bytes of a film that a neighbour was invited to, where it is expected to come.
    pub(super) fn bytes_of(&self, peer: PeerKey) -> u64 {
        self.guests.iter().filter(|guest| guest.peer == peer).map(|guest| guest.bytes).sum()
    }

    /// Invitations of a neighbour that it has not answered.
    pub(super) fn open(&self, peer: PeerKey) -> usize {
        self.guests.iter().chain(&self.late).filter(|guest| guest.peer == peer && !guest.asked).count()
    }

    /// How many of the pieces that came lately a neighbour lacks, and is not to get from us.
    fn lacks(&self, key: PeerKey, peer: &Peer) -> usize {
        let lacks = self.news.keys().filter(|piece| peer.lacks(**piece));
        lacks.count().saturating_sub(self.open(key))
    }
}

/// Takes a guest out, the one of this piece if there is one, or `any`.
fn take(guests: &mut VecDeque<Guest>, peer: PeerKey, piece: PieceIndex, any: bool) -> bool {
    let exact = guests.iter().position(|guest| guest.peer == peer && guest.piece == piece);
    let at = exact.or_else(|| guests.iter().position(|guest| any && guest.peer == peer));
    at.is_some_and(|at| guests.remove(at).is_some())
}

impl Torrent {
    /// A piece is there to which neighbours can be invited.
    pub(super) fn announce_live(&mut self, now: Instant, piece: PieceIndex) {
        self.invites.look = true;
        if !self.passes_on() {
            return;
        }
        self.invites.news.insert(piece, now);
        let news = &self.invites.news;
        self.peers.values_mut().for_each(|p| p.uploads.promised.retain(|piece| news.contains_key(piece)));
    }

    /// A piece is not there any more.
    pub(super) fn forget_news(&mut self, piece: PieceIndex) {
        self.invites.news.remove(&piece);
    }

    /// Invites as many neighbours as can be served soon.
    pub(super) fn invite(&mut self, now: Instant) {
        if self.trades() {
            return self.offer(now);
        }
        if !self.passes_on() || !std::mem::take(&mut self.invites.look) {
            return;
        }
        self.let_guests_go(now, |_, _| {});
        while self.has_room_for_guests(now) {
            let Some((piece, peer)) = self.next_guest(now) else { return };
            self.send(now, peer, Message::Suggest(piece.slot()));
            self.invites.invited(now, peer, piece, self.whole(1));
        }
    }

    /// A neighbour does not want so many of the bytes that it was invited to ask for.
    pub(super) fn on_declined(&mut self, now: Instant, peer: PeerKey, bytes: u64) {
        let film = self.trades();
        let Some(p) = self.peers.get_mut(peer) else { return };
        let bytes = if film { bytes.min(p.uploads.credit.left(now)) } else { bytes };
        p.uploads.credit.spend(bytes);
        p.uploads.rests = Some(now + DECLINED);
        let pieces = self.invites.declined(peer, bytes);
        if !film {
            // It has them, or gets them from somebody else.
            p.uploads.promised.extend(pieces);
        }
        self.invites.look = true;
    }

    /// Those who have not come when they were invited have to rest, and lose what they were promised.
    pub(super) fn let_guests_go(&mut self, now: Instant, forget: impl Fn(&mut Uploads, u64)) {
        for (failed, bytes) in self.invites.forget_old(now) {
            if let Some(p) = self.peers.get_mut(failed) {
                p.uploads.rests = Some(now + REST);
                p.uploads.comes.learn(false);
                forget(&mut p.uploads, bytes);
            }
        }
    }

    /// Who is invited next, and to what.
    fn next_guest(&mut self, now: Instant) -> Option<(PieceIndex, PeerKey)> {
        let invites = &self.invites;
        let able = self.peers.iter().filter(|(key, p)| {
            let rests = p.uploads.rests.is_some_and(|until| now < until);
            p.interested_in_us && !p.choked && !rests && invites.open(*key) < self.most_open(now, p)
        });
        let need = |key, p: &Peer| invites.lacks(key, p) as u64 * u64::from(p.uploads.comes.get());
        let mut hungry: Vec<_> =
            able.map(|(key, p)| (need(key, p), key, p)).filter(|(n, ..)| *n > 0).collect();
        let first = hungry.iter().map(|(.., p)| p.forwarding.waits()).min()?;
        hungry.retain(|(.., p)| p.forwarding.waits() == first);
        // What somebody has who does not pass it on is no copy.
        let copies = |piece: PieceIndex| {
            let passing = self.peers.values().filter(|p| p.forwarding.waits() == 0);
            let copies = passing.filter(|p| p.has.has(piece) || p.uploads.promised.contains(&piece));
            copies.count() + invites.invited_to(piece)
        };
        let mut pieces: Vec<_> = invites.news.keys().map(|piece| (copies(*piece), *piece)).collect();
        pieces.sort_unstable();
        for (_, piece) in pieces {
            let lack = hungry.iter().filter(|(.., p)| p.lacks(piece));
            let lack: Vec<_> = lack.map(|(lacks, key, _)| (*lacks, *key)).collect();
            let Some(most) = lack.iter().map(|(lacks, _)| *lacks).max() else { continue };
            let neediest: Vec<_> = lack.into_iter().filter(|(lacks, _)| *lacks == most).collect();
            return Some((piece, neediest[self.rng.random_range(0..neediest.len())].1));
        }
        None
    }

    fn most_open(&self, now: Instant, peer: &Peer) -> usize {
        let piece = u64::from(self.pieces.geometry().piece_length());
        let lately = peer.uploads.rate.rate(now).bytes_in(HOPE) / piece;
        MAX_OPEN.saturating_add(usize::try_from(lately).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Input;
    use super::super::ask::raw;
    use super::super::testbed::{LIVE_PIECE, Testbed};
    use super::*;
    use crate::metainfo::geometry::BLOCK_LENGTH;
    use crate::wire::g2g::Told;
    use crate::wire::message::RawBlock;

    /// A source with so many neighbours who watch, and the first piece.
    fn source(neighbours: usize) -> (Testbed, Vec<PeerKey>) {
        let mut bed = Testbed::live(400, true);
        let peers: Vec<_> = (0..neighbours).map(|_| bed.connect(true)).collect();
        for peer in &peers {
            bed.hear(*peer, Message::HaveNone);
            bed.hear(*peer, Message::Interested);
        }
        (bed, peers)
    }

    fn make(bed: &mut Testbed, seq: u32) {
        let stamp = Box::new(bed.sign(seq));
        bed.input(Input::Captured { stamp });
    }

    fn invited(bed: &mut Testbed) -> Vec<(PeerKey, u32)> {
        let said = std::mem::take(&mut bed.said);
        let invitations = said.into_iter().filter_map(|(peer, message)| match message {
            Message::Suggest(index) => Some((peer, index)),
            _ => None,
        });
        invitations.collect()
    }

    #[test]
    fn only_so_many_are_invited_as_can_be_served() {
        let (mut bed, peers) = source(30);
        make(&mut bed, 5);
        let guests = invited(&mut bed);
        assert!((1..=4).contains(&guests.len()), "{guests:?}");
        assert!(guests.iter().all(|(peer, index)| peers.contains(peer) && *index == 5));
        // Who does not come is not waited for.
        bed.wait(HOPE * 2);
        let others = invited(&mut bed);
        assert!(!others.is_empty() && others.iter().all(|other| !guests.contains(other)), "{others:?}");
    }

    /// It takes a while until a neighbour has what was sent, and says so.
    #[test]
    fn nobody_is_invited_to_what_it_was_given() {
        let (mut bed, peers) = source(1);
        make(&mut bed, 5);
        assert_eq!(invited(&mut bed), [(peers[0], 5)]);
        bed.hear(peers[0], Message::Request(RawBlock { index: 5, begin: 0, length: BLOCK_LENGTH }));
        make(&mut bed, 6);
        assert_eq!(invited(&mut bed), [(peers[0], 6)]);
        bed.hear(peers[0], Message::Request(RawBlock { index: 6, begin: 0, length: BLOCK_LENGTH }));
        bed.wait(WELCOME * 2);
        assert_eq!(invited(&mut bed), []);
    }

    #[test]
    fn who_declines_is_getting_it_and_somebody_else_is_invited_at_once() {
        let (mut bed, peers) = source(8);
        peers.iter().for_each(|peer| bed.speaks(*peer));
        make(&mut bed, 5);
        let guests = invited(&mut bed);
        let (first, _) = guests[0];
        let declined = u32::try_from(LIVE_PIECE).ok();
        bed.tells(first, &Told { declined, ..Told::default() });
        let others = invited(&mut bed);
        assert!(others.len() == 1 && guests.iter().all(|(guest, _)| *guest != others[0].0), "{others:?}");
        bed.wait(WELCOME * 2);
        assert!(invited(&mut bed).iter().all(|(peer, _)| *peer != first));
    }

    #[test]
    fn an_invitation_is_declined_by_who_lacks_nothing() {
        let mut bed = Testbed::live(400, false);
        let peer = bed.live_peer(100..140);
        bed.speaks(peer);
        bed.watch();
        bed.give_all(peer);
        for _ in 118..140 {
            // Anything that we lack will do.
            bed.hear(peer, Message::Suggest(138));
            bed.give_all(peer);
        }
        bed.hear(peer, Message::Suggest(138));
        let declined = Told { declined: u32::try_from(LIVE_PIECE).ok(), ..Told::default() };
        assert!(bed.told(peer, &declined), "{:?}", bed.said);
    }

    /// A source has everything. In a broadcast it heard of nothing that its neighbours had, and invited them to what
    /// they had already.
    #[test]
    fn who_has_a_piece_itself_hears_that_we_have_it_if_it_invites() {
        for speaks in [false, true] {
            let mut bed = Testbed::live(400, false);
            let peer = bed.live_peer(100..140);
            if speaks {
                bed.speaks(peer);
            }
            bed.watch();
            bed.requests(peer).into_iter().for_each(|block| bed.give(peer, block));
            let have = bed.said.iter().any(|(to, said)| *to == peer && matches!(said, Message::Have(_)));
            assert_eq!(have, speaks);
        }
    }

    /// What it needs more, or what it was invited to a moment before.
    #[test]
    fn who_asks_for_something_else_has_come() {
        let (mut bed, peers) = source(1);
        (3..9).for_each(|seq| make(&mut bed, seq));
        let guests = invited(&mut bed);
        let other = (3..9).find(|seq| guests.iter().all(|(_, index)| index != seq)).unwrap();
        bed.hear(peers[0], Message::Request(RawBlock { index: other, begin: 0, length: BLOCK_LENGTH }));
        // Else it would have to rest.
        bed.wait(HOPE + Duration::from_millis(100));
        assert!(!invited(&mut bed).is_empty());
    }

    #[test]
    fn what_the_fewest_have_and_who_lacks_most_goes_first() {
        let (mut bed, peers) = source(3);
        (5..8).for_each(|seq| make(&mut bed, seq));
        bed.reached(peers[0], 5..8);
        bed.reached(peers[1], 5..8);
        bed.reached(peers[2], 5..7);
        invited(&mut bed);
        bed.wait(WELCOME * 2);
        let guests = invited(&mut bed);
        assert!(!guests.is_empty() && guests.iter().all(|guest| *guest == (peers[2], 7)), "{guests:?}");
    }

    #[test]
    fn what_is_not_needed_soon_is_asked_for_where_we_are_invited() {
        let mut bed = Testbed::live(400, false);
        let peer = bed.live_peer(100..140);
        bed.watch();
        loop {
            let soon = bed.requests(peer);
            assert!(soon.iter().all(|block| block.piece.number() < 130), "{soon:?}");
            if soon.is_empty() {
                break;
            }
            soon.into_iter().for_each(|block| bed.give(peer, block));
        }
        bed.hear(peer, Message::Suggest(138));
        assert!(bed.requests(peer).iter().any(|block| block.piece.number() == 138));
    }

    /// Else a viewer would have everything but what it plays next.
    #[test]
    fn who_is_invited_asks_again_for_what_it_was_not_given() {
        let mut bed = Testbed::live(400, false);
        let peer = bed.live_peer(100..140);
        bed.watch();
        let soon = bed.requests(peer);
        let piece = soon[0].piece;
        let refused = soon.into_iter().filter(|block| block.piece == piece);
        refused.for_each(|block| bed.hear(peer, Message::Reject(raw(block))));
        assert!(bed.requests(peer).iter().all(|block| block.piece != piece));
        bed.hear(peer, Message::Suggest(138));
        assert_eq!(bed.requests(peer).first().map(|block| block.piece), Some(piece));
    }
}
