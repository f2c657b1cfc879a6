//! Uploads of a broadcast. A piece has to be with everybody within seconds, so nobody may wait in a long queue: what
//! could not be sent soon is turned down at once, and whoever asked asks somebody else, or again a moment later.
//!
//! Everybody may ask (there are no slots to wait for), and is served in the order of asking, one piece after the
//! other: who has the first copy can pass it on while the second one is on its way. What nobody else is known to
//! have goes first. Whoever was [invited](super::invite) is never turned down.

use super::PeerKey;
use super::peer::Peer;
use super::torrent::Torrent;
use super::uplink::{Lane, Waiting};
use crate::metainfo::geometry::{Block, PieceIndex};
use crate::time::{Duration, Instant};

/// What somebody asks of us uninvited is to be sent within this time.
const QUEUE: Duration = Duration::from_millis(2_000);
/// Neighbours are invited as long as what they will ask for is sent within this time.
const INVITED: Duration = Duration::from_millis(300);
/// ... or so many pieces are, while it is not known how fast we can send.
const UNKNOWN_QUEUE: u64 = 3;
/// Pieces for which neighbours are invited at least: one goes out while the next one is asked for.
const LEAST_INVITED: u64 = 2;

impl Torrent {
    /// Whether a block of a broadcast could not be sent soon.
    pub(super) fn is_busy(&self, now: Instant, peer: PeerKey, block: Block) -> bool {
        let (true, Some(p)) = (self.passes_on(), self.peers.get(peer)) else { return false };
        // Half a piece is of no use.
        if block.begin > 0 && p.uploads.declined == Some(block.piece) {
            return true;
        }
        if p.uploads.piece == Some(block.piece) || self.invites.is_guest(peer) || self.is_favoured(peer) {
            return false;
        }
        self.has_no_room_for(now, p)
    }

    /// Whether what somebody asks for on its own could not be sent soon. Who passes on little is given what would be left
    /// over: what nobody was invited to take.
    fn has_no_room_for(&self, now: Instant, peer: &Peer) -> bool {
        if peer.forwarding.waits() > 0 {
            return !self.has_room_for_guests(now);
        }
        let before = self.handed_out(now) + self.whole(self.uplink.before_other(self.invites.expected()));
        before > 0 && before + self.whole(1) > self.sent_within(now, QUEUE)
    }

    /// Whether one more neighbour could be served soon.
    pub(super) fn has_room_for_guests(&self, now: Instant) -> bool {
        let before = self.handed_out(now) + self.whole(self.uplink.before_guest(self.invites.expected()));
        before + self.whole(1) <= self.sent_within(now, INVITED).max(self.whole(LEAST_INVITED))
    }

    /// A block of a broadcast will be sent to this peer.
    pub(super) fn queue_live(&mut self, now: Instant, peer: PeerKey, piece: PieceIndex) {
        let (true, Some(p)) = (self.passes_on(), self.peers.get(peer)) else { return };
        if p.uploads.piece == Some(piece) {
            return self.uplink.go_on(Waiting { peer, piece, lane: p.uploads.lane });
        }
        let (first, full) = (self.is_first_copy(piece), self.has_no_room_for(now, p));
        let favoured = self.is_favoured(peer);
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.uploads.piece = Some(piece);
        if self.invites.is_new(piece) {
            p.uploads.promised.insert(piece);
        }
        let guest = self.invites.came(peer, piece, full) || favoured;
        p.uploads.lane = if guest { Lane::Guests } else { Lane::Others };
        // Who comes on its own is in need, too.
        p.uploads.comes.learn(true);
        (p.uploads.rests, p.uploads.declined) = (None, None);
        self.uplink.add(Waiting { peer, piece, lane: p.uploads.lane }, first || favoured);
    }

    /// Bytes of so many pieces.
    pub(super) fn whole(&self, pieces: u64) -> u64 {
        pieces * u64::from(self.pieces.geometry().piece_length())
    }

    /// Bytes that are sent within this time.
    fn sent_within(&self, now: Instant, time: Duration) -> u64 {
        let piece = self.whole(1);
        match self.uplink_rate(now) {
            None => UNKNOWN_QUEUE * piece,
            Some(rate) => rate.bytes_in(time).max(piece),
        }
    }

    /// Whether nobody else is known to have a piece, or to be getting it from us.
    fn is_first_copy(&self, piece: PieceIndex) -> bool {
        let gets = |p: &Peer| p.uploads.piece == Some(piece);
        self.pieces.rarity(piece) == 0 && !self.peers.values().any(gets)
    }
}
