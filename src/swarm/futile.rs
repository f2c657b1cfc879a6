//! Peers that need not be looked at for new requests, as they have nothing that could be asked for.
//!
//! Most looks at a peer find nothing: everything that it has is here or asked for already, and to find that out the
//! picker goes through all pieces. One such peer is looked at all the same: the picker sorts by rarity, which takes
//! chance, when it comes to the end of a search, and should do so when it did before.

use super::ask::Hungry;
use super::peer::Peer;
use super::pieces::Pieces;
use super::torrent::Torrent;
use crate::time::Instant;

impl Torrent {
    /// Takes those out of the list of peers to be looked at, but for the first, who have nothing to be asked for.
    pub(super) fn spare_futile(&mut self, now: Instant) {
        // Neighbours in a broadcast are looked at in an order that depends on how many there are.
        if self.live.is_some() || matches!(&self.hungry, Hungry::Some(keys) if keys.len() < 2) {
            return;
        }
        let hungry = std::mem::take(&mut self.hungry);
        if self.pieces.left() == 0 {
            return;
        }
        let (pieces, peers, mut first) = (&self.pieces, &mut self.peers, true);
        let mut gives =
            |p: &mut Peer| p.is_ready(now) && (!is_futile(pieces, p) || std::mem::take(&mut first));
        self.hungry = Hungry::Some(match hungry {
            Hungry::All => peers.iter_mut().filter_map(|(key, p)| gives(p).then_some(key)).collect(),
            Hungry::Some(keys) => {
                keys.into_iter().filter(|key| peers.get_mut(*key).is_some_and(&mut gives)).collect()
            }
        });
    }
}

/// Whether a peer has nothing to be asked for. It has not before it, or we, have more pieces to ask for.
fn is_futile(pieces: &Pieces, peer: &mut Peer) -> bool {
    let now = Some((pieces.opened(), peer.has.count()));
    let futile = peer.futile == now || !pieces.has_unasked_of(&peer.has);
    peer.futile = now.filter(|_| futile);
    futile
}
