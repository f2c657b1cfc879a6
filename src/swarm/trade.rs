//! Which piece from whom, where viewers of a film trade with each other.
//!
//! *From a seed*, what nobody else has: seeds are few, and if all fetched from them what they play next, they would
//! all have the same, and nothing for each other. Of the pieces that are played soon the first that no neighbour has
//! or [claims](Picker::claim); who begins at the same moment as many others takes one of the first few. When all that
//! is played soon is somewhere, seeds help out with what is needed first.
//!
//! Seeds that invite know better which pieces nobody has: there it is what they invite to.
//!
//! *From neighbours*, when they invite us, what a reader waits for, and what was begun; then, as long as little lies
//! behind the first hole, what they invite to, which few have and many will want to have from us; and else what is
//! played first. Without an invitation only what a reader waits for, and that only where there is nobody to trade with.

use rand::seq::IndexedRandom as _;
use rand_pcg::Pcg64;

use super::PeerKey;
use super::peer::Peer;
use super::picker::{Picker, may_ask};
use super::pieces::Pieces;
use crate::metainfo::geometry::{Block, PieceIndex};
use crate::time::Instant;

/// One of so many neighbours may begin with the same piece, at the same time; ...
const RIVALS: usize = 4;
/// ... of so many first pieces at most one is chosen by lot.
const MAX_LOTS: usize = 4;
/// Who has so many pieces behind the first hole fills that.
const MANY_LOOSE: u32 = 3;

impl Picker {
    /// The next block of what only seeds have, from one of them.
    pub(super) fn scarce(
        &mut self,
        now: Instant,
        pieces: &mut Pieces,
        (key, peer): (PeerKey, &Peer),
        rng: &mut Pcg64,
    ) -> Option<Block> {
        if peer.g2g.trades() {
            let block = self.begun(pieces, key, peer);
            return block.or_else(|| self.invited_to(pieces, key, peer)).inspect(|block| {
                self.begun_at_seed = Some(block.piece);
            });
        }
        let fits = |p: &PieceIndex| pieces.rarity(*p) == 0 && may_ask(pieces, (key, peer), *p);
        let begun = pieces.open_partials().map(|(piece, _)| piece).find(|p| fits(p));
        if let Some(begun) = begun {
            return pieces.take(begun, key);
        }
        self.claims.retain(|_, (_, until)| now < *until);
        let free = |p: &PieceIndex| !self.claims.values().any(|(claimed, _)| claimed == p);
        let invited = peer.invitations().find(|p| fits(p) && free(p));
        let lots = (self.company / RIVALS).clamp(1, MAX_LOTS);
        let soon = self.played_soon().flat_map(|run| pieces.geometry().run(run));
        let first: Vec<_> = soon.filter(|p| fits(p) && free(p)).take(lots).collect();
        let piece = invited.or_else(|| first.choose(rng).copied())?;
        self.begun_at_seed = Some(piece);
        pieces.take(piece, key)
    }

    /// The next block from a neighbour that invites us, if it is not what is played first.
    pub(super) fn traded(&mut self, pieces: &mut Pieces, key: PeerKey, peer: &Peer) -> Option<Block> {
        let pressing = self.awaited(pieces, key, peer).or_else(|| self.begun(pieces, key, peer));
        pressing.or_else(|| {
            if self.loose(pieces) < MANY_LOOSE { self.invited_to(pieces, key, peer) } else { None }
        })
    }

    /// A block of what a neighbour invites us to.
    fn invited_to(&self, pieces: &mut Pieces, key: PeerKey, peer: &Peer) -> Option<Block> {
        let piece = peer.invitations().find(|piece| may_ask(pieces, (key, peer), *piece))?;
        pieces.take(piece, key)
    }

    /// Pieces that are there behind the first that the first reader lacks.
    fn loose(&self, pieces: &Pieces) -> u32 {
        let (there, all) = (pieces.have(), pieces.geometry().pieces());
        let mut ahead = pieces.geometry().run(self.needed_next().start..all);
        ahead.find(|piece| !there.has(*piece)).map_or(0, |hole| there.count_in(hole.number()..all))
    }

    /// A neighbour fetches a piece from a seed, and will have it by then.
    pub(super) fn claim(&mut self, peer: PeerKey, piece: PieceIndex, until: Instant) {
        self.claims.insert(peer, (piece, until));
    }

    /// A neighbour is gone.
    pub(super) fn forget_claims(&mut self, peer: PeerKey) {
        self.claims.remove(&peer);
    }

    /// The piece that we began to fetch from a seed just now.
    pub(super) fn take_begun_at_seed(&mut self) -> Option<PieceIndex> {
        self.begun_at_seed.take()
    }

    /// So many neighbours trade with us.
    pub(super) fn set_company(&mut self, neighbours: usize) {
        self.company = neighbours;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testbed::{Testbed, config};
    use super::super::{PeerKey, ReaderInput};
    use crate::metainfo::geometry::BLOCK_LENGTH;
    use crate::time::Duration;
    use crate::wire::g2g::Told;
    use crate::wire::message::Message;

    const PIECE: u64 = 64 * 1024;

    /// A viewer that knows a seed and a neighbour with these pieces.
    fn viewer(has: &[u32]) -> (Testbed, PeerKey, PeerKey) {
        let mut bed = Testbed::new(config(), PIECE, 100 * PIECE, false);
        let neighbour = bed.trader(has);
        bed.open(0..100 * PIECE);
        let seed = bed.connect(true);
        bed.hear(seed, Message::HaveAll);
        bed.wait(Duration::from_millis(200));
        (bed, seed, neighbour)
    }

    fn pieces(bed: &mut Testbed, peer: PeerKey) -> Vec<u32> {
        let mut pieces: Vec<_> = bed.requests(peer).iter().map(|block| block.piece.number()).collect();
        pieces.dedup();
        pieces
    }

    #[test]
    fn a_seed_is_asked_for_what_no_neighbour_has_or_fetches() {
        let (mut bed, seed, neighbour) = viewer(&[0, 1]);
        bed.tells(neighbour, &Told { fetching: Some(2), ..Told::default() });
        bed.hear(seed, Message::Unchoke);
        assert_eq!(pieces(&mut bed, seed), [3]);
    }

    #[test]
    fn neighbours_hear_what_is_fetched_from_a_seed() {
        let (mut bed, seed, neighbour) = viewer(&[0]);
        bed.hear(seed, Message::Unchoke);
        assert!(bed.told(neighbour, &Told { fetching: Some(1), ..Told::default() }), "{:?}", bed.said);
    }

    #[test]
    fn a_neighbour_is_asked_when_it_invites_and_for_what_it_invites_to() {
        let (mut bed, _, neighbour) = viewer(&[5, 7]);
        assert!(bed.requests(neighbour).is_empty());
        bed.hear(neighbour, Message::Suggest(7));
        assert_eq!(pieces(&mut bed, neighbour), [7, 5]);
    }

    #[test]
    fn who_has_much_behind_the_first_hole_fills_that() {
        let (mut bed, _, neighbour) = viewer(&[10, 11, 12]);
        bed.hear(neighbour, Message::Suggest(10));
        bed.give_all(neighbour);
        [5, 7].into_iter().for_each(|index| bed.hear(neighbour, Message::Have(index)));
        bed.hear(neighbour, Message::Suggest(7));
        assert_eq!(pieces(&mut bed, neighbour), [5, 7]);
    }

    /// It is not to wait behind those who play until they have plenty.
    #[test]
    fn who_does_not_play_yet_tells_the_first_piece_that_it_lacks() {
        let (mut bed, _, neighbour) = viewer(&[0, 1, 2]);
        bed.reader(ReaderInput::Read(0..1_000));
        bed.hear(neighbour, Message::Suggest(0));
        bed.give_all(neighbour);
        bed.wait(Duration::from_secs(2));
        let told = bed.said.iter().filter_map(|(to, message)| match message {
            Message::Extended { id: 7, payload } if *to == neighbour => Told::decode(payload).ok()?.wants,
            _ => None,
        });
        assert_eq!(told.last().map(|wants| wants.start), Some(3));
    }

    #[test]
    fn what_is_of_no_use_of_an_invitation_is_declined() {
        let (mut bed, _, neighbour) = viewer(&[5]);
        bed.hear(neighbour, Message::Suggest(5));
        let left = u32::try_from(super::super::turns::LONGEST_TURN - PIECE).ok();
        assert!(bed.told(neighbour, &Told { declined: left, ..Told::default() }), "{:?}", bed.said);
    }

    #[test]
    fn no_more_is_asked_than_an_invitation_is_to() {
        let (mut bed, _, neighbour) = viewer(&[5, 6]);
        bed.tells(neighbour, &Told { turn: Some(3 * BLOCK_LENGTH), ..Told::default() });
        bed.hear(neighbour, Message::Suggest(5));
        assert_eq!(bed.requests(neighbour).len(), 3);
    }

    #[test]
    fn those_who_could_give_a_piece_hear_that_it_is_fetched_elsewhere() {
        let (mut bed, _, neighbour) = viewer(&[5]);
        let (has, lacks) = (bed.trader(&[5]), bed.trader(&[6]));
        bed.hear(neighbour, Message::Suggest(5));
        let fetching = Told { fetching: Some(5), ..Told::default() };
        assert_eq!([has, lacks, neighbour].map(|peer| bed.told(peer, &fetching)), [true, false, false]);
    }

    #[test]
    fn what_a_seed_gives_to_those_it_chokes_is_left_to_others() {
        let (mut bed, seed, _) = viewer(&[]);
        (0..10).for_each(|index| bed.hear(seed, Message::AllowedFast(index)));
        bed.wait(Duration::from_secs(1));
        assert!(bed.requests(seed).is_empty());
    }
}
