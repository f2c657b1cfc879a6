//! Which block next from this peer: the three Give-to-Get sets.
//!
//! 1. *urgent*: what a reader waits for, in order; then *soon*: what it will jump to (an index at the end);
//! 2. *high*: behind the playhead, in order. A peer that is slower than the best one starts looking where it can
//!    deliver in time, so that it does not sit on the block that is needed next ([`Reach`]);
//! 3. *mid*: rarest first; 4. *low*: rarest first over whatever else is wanted.
//!
//! Several readers: what one waits for goes before what others want next, and these take turns. Within mid and
//! low, pieces that were begun are finished first. Ties go to the seeded RNG. What is asked from whom where viewers
//! [trade](super::trade) with each other comes before all of that.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_pcg::Pcg64;

use super::PeerKey;
use super::peer::Peer;
use super::pieces::{Pieces, Status};
use super::policy::Policy;
use crate::metainfo::geometry::{Block, Geometry, PieceIndex};
use crate::stream::playback::Sets;
use crate::time::{Duration, Instant};

/// The order of rarity over everything is computed anew at most this often.
const RARITY_AGE: Duration = Duration::from_secs(2);

/// A run of pieces taken in order; `open` skips those that have nothing to ask for any more.
#[derive(Clone, Debug)]
struct InOrder {
    pieces: Range<u32>,
    open: u32,
}

/// What one reader wants, in pieces.
#[derive(Clone, Debug)]
struct Wanted {
    urgent: InOrder,
    soon: Vec<InOrder>,
    high: InOrder,
    mid: Range<u32>,
}

/// How near to the playhead a peer is let.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It may take what is needed next.
    All,
    /// Others deliver so many bytes behind the playhead sooner.
    Behind(u64),
    /// It gave nothing for long and is only tried: nothing that is pressing.
    Leftovers,
}

/// The picker's memory.
#[derive(Debug, Default)]
pub struct Picker {
    policy: Policy,
    readers: Vec<Wanted>,
    /// Which reader is served first next time.
    turn: usize,
    /// Pieces by rarity, rarest first, and how far all of them are taken.
    order: Vec<PieceIndex>,
    taken: usize,
    ordered: Option<Instant>,
    /// So many neighbours trade with us.
    pub(super) company: usize,
    /// What each of them fetches from a seed, and until when it is expected to have it.
    pub(super) claims: BTreeMap<PeerKey, (PieceIndex, Instant)>,
    /// What we began to fetch there, until it is told.
    pub(super) begun_at_seed: Option<PieceIndex>,
}

impl InOrder {
    fn new(geometry: &Geometry, bytes: &Range<u64>) -> Self {
        let pieces = geometry.span(bytes);
        Self { open: pieces.start, pieces }
    }

    /// The same range may go on where it was.
    fn keep(self, old: Option<&Self>) -> Self {
        match old {
            Some(old) if old.pieces.start <= self.pieces.start && self.pieces.start <= old.pieces.end => {
                Self { open: old.open.clamp(self.pieces.start, self.pieces.end), ..self }
            }
            _ => self,
        }
    }

    fn reopen(&mut self, piece: u32) {
        if self.pieces.contains(&piece) {
            self.open = self.open.min(piece);
        }
    }

    fn pick(&mut self, pieces: &mut Pieces, from: u32, key: PeerKey, peer: &Peer) -> Option<Block> {
        let geometry = *pieces.geometry();
        let piece = |n: u32| geometry.piece(n);
        while self.open < self.pieces.end && piece(self.open).is_some_and(|p| !pieces.has_unasked(p)) {
            self.open += 1;
        }
        let mut candidates = (self.open.max(from)..self.pieces.end).filter_map(piece);
        let found = candidates.find(|p| peer.serves(*p) && pieces.is_open_to(*p, key));
        pieces.take(found?, key)
    }
}

impl Wanted {
    /// Everything that is fetched in order.
    fn in_order(&self) -> impl Iterator<Item = &InOrder> {
        [&self.urgent, &self.high].into_iter().chain(&self.soon)
    }
}

impl Picker {
    /// A picker that follows this policy.
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// What the readers want has changed.
    pub fn set_wanted<'a>(&mut self, geometry: &Geometry, sets: impl Iterator<Item = &'a Sets>) {
        let old = std::mem::take(&mut self.readers);
        for (n, sets) in sets.enumerate() {
            let before = old.get(n);
            self.readers.push(Wanted {
                urgent: InOrder::new(geometry, &sets.urgent).keep(before.map(|b| &b.urgent)),
                soon: sets.soon.iter().map(|place| InOrder::new(geometry, place)).collect(),
                high: InOrder::new(geometry, &sets.high).keep(before.map(|b| &b.high)),
                mid: geometry.span(&sets.mid),
            });
        }
    }

    /// A block of this piece is with nobody again.
    pub fn reopen(&mut self, piece: PieceIndex) {
        for wanted in &mut self.readers {
            wanted.urgent.reopen(piece.number());
            wanted.high.reopen(piece.number());
            wanted.soon.iter_mut().for_each(|run| run.reopen(piece.number()));
        }
        self.taken = 0;
    }

    /// Whether a piece is in a set that is fetched in order.
    pub fn is_pressing(&self, piece: PieceIndex) -> bool {
        let n = piece.number();
        self.readers.iter().flat_map(Wanted::in_order).any(|run| run.pieces.contains(&n))
    }

    /// Whether a reader waits for a piece, or will jump to it.
    pub fn is_awaited(&self, piece: PieceIndex) -> bool {
        let mut awaited = self.readers.iter().flat_map(|w| std::iter::once(&w.urgent).chain(&w.soon));
        awaited.any(|run| run.pieces.contains(&piece.number()))
    }

    /// The next block to ask from this peer.
    pub fn pick(
        &mut self,
        now: Instant,
        pieces: &mut Pieces,
        (key, peer): (PeerKey, &Peer),
        reach: Reach,
        rng: &mut Pcg64,
    ) -> Option<Block> {
        match self.policy {
            Policy::GiveToGet if pieces.geometry().is_live() => {
                self.pick_live(pieces, (key, peer), reach, rng)
            }
            Policy::GiveToGet => self.pick_of_film(now, pieces, (key, peer), reach, rng),
            Policy::RarestFirst => {
                self.begun(pieces, key, peer).or_else(|| self.rarest(now, pieces, key, peer, rng))
            }
            Policy::Sequential | Policy::SequentialToAll => lowest(pieces, key, peer),
        }
    }

    /// Whether nothing is asked from a neighbour before it invites us.
    pub(super) fn waits_for(&self, now: Instant, peer: &Peer) -> bool {
        let trades = self.policy == Policy::GiveToGet && self.company > 0;
        trades && peer.g2g.trades() && peer.g2g.turn(now) == 0
    }

    fn pick_of_film(
        &mut self,
        now: Instant,
        pieces: &mut Pieces,
        (key, peer): (PeerKey, &Peer),
        reach: Reach,
        rng: &mut Pcg64,
    ) -> Option<Block> {
        if peer.g2g.trades() && peer.g2g.turn(now) == 0 {
            return if self.company == 0 { self.awaited(pieces, key, peer) } else { None };
        }
        if self.company > 0 && peer.has.is_full() {
            // What a seed gives to those whom it chokes (BEP 6) it takes from those who could pass it on.
            if peer.choking_us {
                return None;
            }
            if let Some(block) = self.scarce(now, pieces, (key, peer), rng) {
                return Some(block);
            }
        } else if peer.g2g.trades()
            && let Some(block) = self.traded(pieces, key, peer)
        {
            return Some(block);
        }
        let reach = if peer.g2g.trades() { Reach::All } else { reach };
        let skip = match reach {
            Reach::All => Some(0),
            Reach::Behind(bytes) => Some(bytes / u64::from(pieces.geometry().piece_length())),
            Reach::Leftovers => None,
        };
        let skip = skip.map(|pieces| u32::try_from(pieces).unwrap_or(u32::MAX));
        skip.and_then(|skip| self.in_order(pieces, key, peer, skip))
            .or_else(|| self.mid(pieces, key, peer, rng))
            .or_else(|| self.begun(pieces, key, peer))
            .or_else(|| self.rarest(now, pieces, key, peer, rng))
            // What was left to faster peers is better than nothing.
            .or_else(|| skip.filter(|s| *s > 0).and_then(|_| self.in_order(pieces, key, peer, 0)))
    }

    /// Pieces of a broadcast are one peer's as a whole, so what was begun is finished first. What is needed soon may be
    /// asked from everybody, and the rest, of which viewers then have something to give to each other, from those who
    /// invite us.
    fn pick_live(
        &mut self,
        pieces: &mut Pieces,
        (key, peer): (PeerKey, &Peer),
        reach: Reach,
        rng: &mut Pcg64,
    ) -> Option<Block> {
        let begun = self.begun(pieces, key, peer);
        let in_order = |picker: &mut Self, pieces: &mut Pieces| match reach {
            Reach::Leftovers => None,
            _ if peer.is_busy() && peer.invitations().next().is_none() => None,
            _ => picker.in_order(pieces, key, peer, 0),
        };
        begun
            .or_else(|| in_order(self, pieces))
            .or_else(|| self.invited(pieces, key, peer, rng))
            .or_else(|| self.leftovers(pieces, (key, peer), reach, rng))
    }

    /// Who gave nothing for long may do so again, and has to be asked for something to show it; what is pressing comes
    /// last, as nobody else may have it.
    fn leftovers(
        &mut self,
        pieces: &mut Pieces,
        (key, peer): (PeerKey, &Peer),
        reach: Reach,
        rng: &mut Pcg64,
    ) -> Option<Block> {
        if reach != Reach::Leftovers || peer.is_busy() {
            return None;
        }
        self.mid(pieces, key, peer, rng).or_else(|| self.in_order(pieces, key, peer, 0))
    }

    /// `skip`: pieces behind the playhead that are left to others.
    fn in_order(&mut self, pieces: &mut Pieces, key: PeerKey, peer: &Peer, skip: u32) -> Option<Block> {
        if skip == 0
            && let Some(block) = self.awaited(pieces, key, peer)
        {
            return Some(block);
        }
        let readers = self.readers.len();
        for n in (0..readers).map(|n| (self.turn + n) % readers) {
            let high = &mut self.readers[n].high;
            let from = high.pieces.start.saturating_add(skip);
            if let Some(block) = high.pick(pieces, from, key, peer) {
                self.turn = n + 1;
                return Some(block);
            }
        }
        None
    }

    /// What a reader waits for, or will jump to.
    pub(super) fn awaited(&mut self, pieces: &mut Pieces, key: PeerKey, peer: &Peer) -> Option<Block> {
        let mut urgent = self.readers.iter_mut().map(|w| &mut w.urgent);
        let block = urgent.find_map(|run| run.pick(pieces, 0, key, peer));
        block.or_else(|| {
            let mut soon = self.readers.iter_mut().flat_map(|w| &mut w.soon);
            soon.find_map(|run| run.pick(pieces, 0, key, peer))
        })
    }

    /// The pieces that a reader needs next, one that waits if there is one; none where nobody reads.
    pub fn needed_next(&self) -> Range<u32> {
        let waits = self.readers.iter().find(|wanted| !wanted.urgent.pieces.is_empty());
        waits.or_else(|| self.readers.first()).map(|wanted| wanted.high.pieces.clone()).unwrap_or_default()
    }

    /// The pieces that readers play soon, reader by reader.
    pub(super) fn played_soon(&self) -> impl Iterator<Item = Range<u32>> {
        self.readers.iter().map(|wanted| wanted.high.pieces.clone())
    }

    fn mid(&self, pieces: &mut Pieces, key: PeerKey, peer: &Peer, rng: &mut Pcg64) -> Option<Block> {
        for wanted in &self.readers {
            let fits = |n: u32| {
                let piece = pieces.geometry().piece(n)?;
                may_ask(pieces, (key, peer), piece).then_some(piece)
            };
            let begun = |p: &PieceIndex| pieces.status(*p) == Status::Fetching;
            let piece = match wanted.mid.clone().filter_map(fits).find(begun) {
                Some(piece) => Some(piece),
                None => rarest_of(wanted.mid.clone().filter_map(fits), pieces, rng),
            };
            if let Some(block) = piece.and_then(|p| pieces.take(p, key)) {
                return Some(block);
            }
        }
        None
    }

    fn invited(&self, pieces: &mut Pieces, key: PeerKey, peer: &Peer, rng: &mut Pcg64) -> Option<Block> {
        peer.invitations().next()?;
        let wanted = |piece: PieceIndex| self.readers.iter().any(|w| w.mid.contains(&piece.number()));
        let fits = |p: &PieceIndex| wanted(*p) && may_ask(pieces, (key, peer), *p);
        match peer.invitations().find(fits) {
            Some(piece) => pieces.take(piece, key),
            None => self.mid(pieces, key, peer, rng),
        }
    }

    pub(super) fn begun(&self, pieces: &mut Pieces, key: PeerKey, peer: &Peer) -> Option<Block> {
        if !pieces.has_open_partials() {
            return None;
        }
        let open = |p: &PieceIndex| may_ask(pieces, (key, peer), *p);
        let found = pieces.open_partials().map(|(p, _)| p).find(open);
        pieces.take(found?, key)
    }

    fn rarest(
        &mut self,
        now: Instant,
        pieces: &mut Pieces,
        key: PeerKey,
        peer: &Peer,
        rng: &mut Pcg64,
    ) -> Option<Block> {
        if self.ordered.is_none_or(|at| now - at > RARITY_AGE) {
            self.sort(now, pieces, rng);
        }
        let missing = |p: PieceIndex| pieces.status(p) == Status::Missing && pieces.is_needed(p);
        while self.order.get(self.taken).is_some_and(|p| !missing(*p)) {
            self.taken += 1;
        }
        let rest = self.order.get(self.taken..).unwrap_or_default();
        let found = rest.iter().copied().find(|p| missing(*p) && peer.serves(*p));
        pieces.take(found?, key)
    }

    fn sort(&mut self, now: Instant, pieces: &Pieces, rng: &mut Pcg64) {
        self.order = pieces.all().filter(|p| pieces.is_needed(*p)).collect();
        self.order.shuffle(rng);
        self.order.sort_by_key(|p| pieces.rarity(*p));
        (self.taken, self.ordered) = (0, Some(now));
    }

    /// Pieces came to be wanted, or peers came: the order of rarity is out of date.
    pub fn invalidate(&mut self) {
        self.ordered = None;
    }
}

/// Whether a block of a piece is wanted and may be asked from this peer.
pub(super) fn may_ask(pieces: &Pieces, (key, peer): (PeerKey, &Peer), piece: PieceIndex) -> bool {
    pieces.has_unasked(piece)
        && peer.serves(piece)
        && pieces.is_needed(piece)
        && pieces.is_open_to(piece, key)
}

/// Whatever comes first in the film.
fn lowest(pieces: &mut Pieces, key: PeerKey, peer: &Peer) -> Option<Block> {
    let found = pieces.all().find(|p| may_ask(pieces, (key, peer), *p));
    pieces.take(found?, key)
}

fn rarest_of(
    candidates: impl Iterator<Item = PieceIndex>,
    pieces: &Pieces,
    rng: &mut Pcg64,
) -> Option<PieceIndex> {
    let (mut best, mut rarity, mut ties) = (None, u16::MAX, 0u32);
    for piece in candidates {
        let this = pieces.rarity(piece);
        ties = if this < rarity || best.is_none() { 1 } else { ties + u32::from(this == rarity) };
        // One of n equals is chosen with probability 1/n, in one pass.
        if this < rarity || best.is_none() || (this == rarity && rng.random_range(0..ties) == 0) {
            (best, rarity) = (Some(piece), this);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;

    use super::*;
    use crate::metainfo::bitfield::Bitfield;
    use crate::metainfo::geometry::BLOCK_LENGTH;

    /// In the original the first of them was chosen (almost) always, by everybody.
    #[test]
    fn of_equally_rare_pieces_each_is_chosen_as_often() {
        let block = u64::from(BLOCK_LENGTH);
        let geometry = Geometry::new(block, 8 * block).unwrap();
        let none = Bitfield::empty(&geometry);
        let mut pieces = Pieces::new(geometry, none.clone());
        pieces.want(geometry.all());
        let common = geometry.piece(3).unwrap();
        pieces.count_have(common, &none);
        let mut rng = Pcg64::seed_from_u64(1);
        let mut chosen = [0; 8];
        for _ in 0..7_000 {
            chosen[rarest_of(pieces.all(), &pieces, &mut rng).unwrap().index()] += 1;
        }
        assert_eq!(std::mem::replace(&mut chosen[3], 1_000), 0);
        assert!(chosen.iter().all(|times| (850..1_150).contains(times)), "{chosen:?}");

        let mut picker = Picker::default();
        let mut first = BTreeSet::new();
        for _ in 0..200 {
            picker.sort(Instant::ZERO, &pieces, &mut rng);
            assert_eq!(picker.order.last(), Some(&common));
            first.insert(picker.order[0]);
        }
        assert_eq!(first.len(), 7);
    }
}
