//! Which piece from whom, where viewers of a film trade with each other.
//!
//! *From a seed*, what nobody else has: seeds are few, and if all fetched from them what they play next, they would
//! all have the same, and nothing for each other. Of the pieces that are played soon the first that no neighbour has
//! or [claims](Picker::claim); who begins at the same moment as many others takes one of the first few. When all that
//! is played soon is somewhere, seeds help out with what is needed first.
//!
//! *From neighbours*, when they invite us, what is played first of what they have; without an invitation only what a
//! reader waits for.

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

impl Picker {
    /// The next block of what only seeds have, from one of them.
    pub(super) fn scarce(
        &mut self,
        now: Instant,
        pieces: &mut Pieces,
        (key, peer): (PeerKey, &Peer),
        rng: &mut Pcg64,
    ) -> Option<Block> {
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
    use super::super::PeerKey;
    use super::super::testbed::{Testbed, config};
    use crate::time::Duration;
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
        bed.tells(neighbour, None, Some(2));
        bed.hear(seed, Message::Unchoke);
        assert_eq!(pieces(&mut bed, seed), [3]);
    }

    #[test]
    fn neighbours_hear_what_is_fetched_from_a_seed() {
        let (mut bed, seed, neighbour) = viewer(&[0]);
        bed.hear(seed, Message::Unchoke);
        let told = crate::wire::g2g::Told { wants: None, fetching: Some(1) }.encode();
        assert!(
            bed.said.contains(&(neighbour, Message::Extended { id: 7, payload: told })),
            "{:?}",
            bed.said
        );
    }

    #[test]
    fn a_neighbour_is_asked_when_it_invites_and_for_what_is_played_first() {
        let (mut bed, _, neighbour) = viewer(&[5, 7]);
        assert!(bed.requests(neighbour).is_empty());
        bed.hear(neighbour, Message::Suggest(7));
        assert_eq!(pieces(&mut bed, neighbour), [5, 7]);
    }

    #[test]
    fn what_a_seed_gives_to_those_it_chokes_is_left_to_others() {
        let (mut bed, seed, _) = viewer(&[]);
        (0..10).for_each(|index| bed.hear(seed, Message::AllowedFast(index)));
        bed.wait(Duration::from_secs(1));
        assert!(bed.requests(seed).is_empty());
    }
}
