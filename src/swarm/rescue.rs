//! Pieces of a broadcast that their peer will not give in time: they are taken back, and asked from somebody else.
//!
//! A piece of a broadcast is asked from one peer as a whole, so that nobody else can be to blame if it is bad. So
//! there are no second requests for its blocks ([`hedge`](super::hedge) is for films): all of it is asked again
//! elsewhere, and what came of it is lost.

use std::collections::BTreeMap;

use super::PeerKey;
use super::torrent::Torrent;
use crate::metainfo::geometry::PieceIndex;
use crate::time::{Duration, Instant};

/// A piece should be there so long before it is needed.
const MARGIN: Duration = Duration::from_millis(500);
/// Who has not turned us down gives a piece within this time, ...
const PATIENCE: Duration = Duration::from_secs(3);
/// ... and this is waited at most while somebody else could give it.
const LONG_PATIENCE: Duration = Duration::from_secs(5);
/// The other one must be expected so many times sooner.
const SOONER: u32 = 2;

/// A piece that is asked from a peer.
#[derive(Copy, Clone, Debug)]
struct Asked {
    peer: PeerKey,
    since: Instant,
    /// When the last block of it is expected; `None` while nothing is known.
    expected: Option<Duration>,
}

impl Torrent {
    /// Looks for pieces that will come too late, and for those that nobody will give.
    pub(super) fn rescue(&mut self, now: Instant) {
        if self.live.is_none() {
            return;
        }
        let asked = self.asked_pieces(now);
        let abandoned = self.pieces.reserved().filter(|(piece, only)| {
            !asked.contains_key(piece) && !self.peers.get(*only).is_some_and(|p| p.serves(*piece))
        });
        for (piece, _) in abandoned.collect::<Vec<_>>() {
            self.pieces.forget_partial(piece);
            self.picker.reopen(piece);
            self.refill_all();
        }
        for (piece, asked) in asked {
            if self.is_late(now, piece, &asked)
                && let Some(other) = self.who_rescues(now, piece, &asked)
            {
                self.move_piece(now, piece, asked.peer, other);
            }
        }
    }

    fn asked_pieces(&self, now: Instant) -> BTreeMap<PieceIndex, Asked> {
        let mut pieces = BTreeMap::new();
        for (peer, p) in &self.peers {
            for (block, since, expected) in p.pipeline.waits(now) {
                let asked = pieces.entry(block.piece).or_insert(Asked { peer, since, expected });
                asked.since = asked.since.min(since);
                asked.expected = asked.expected.max(expected);
            }
        }
        pieces
    }

    fn is_late(&self, now: Instant, piece: PieceIndex, asked: &Asked) -> bool {
        let bytes = self.pieces.geometry().piece_range(piece);
        let due = self.readers.values().filter_map(|r| r.due(now, &bytes)).min();
        let too_late = |due: Duration| asked.expected.is_none_or(|expected| expected + MARGIN > due);
        // Where some of it has come, the rest is on its way.
        let begun = self.pieces.has_begun(piece);
        let waited = now - asked.since;
        waited > LONG_PATIENCE || waited > PATIENCE && !begun && due.is_some_and(too_late)
    }

    /// The peer that would give all of a piece soonest, if that is much sooner.
    fn who_rescues(&self, now: Instant, piece: PieceIndex, asked: &Asked) -> Option<PeerKey> {
        let size = u64::from(self.pieces.geometry().piece_size(piece));
        let others =
            self.peers.iter().filter(|(key, p)| *key != asked.peer && p.serves(piece) && !p.is_busy());
        let able = others.filter(|(_, p)| !p.pipeline.is_snubbed() && p.pipeline.room(now) > 0);
        let timed = able.filter_map(|(key, p)| {
            Some((p.pipeline.expected(now)? + p.pipeline.rate(now).time_for(size)?, key))
        });
        let much_sooner = |time: Duration| asked.expected.is_none_or(|expected| time * SOONER < expected);
        timed.filter(|(time, _)| much_sooner(*time)).min().map(|(_, key)| key)
    }

    fn move_piece(&mut self, now: Instant, piece: PieceIndex, from: PeerKey, to: PeerKey) {
        let Some(p) = self.peers.get_mut(from) else { return };
        p.refuses(now, piece);
        let gone = p.pipeline.cancel(now, |block| block.piece == piece);
        self.withdraw(now, from, &gone);
        self.pieces.forget_partial(piece);
        while let Some(block) = self.pieces.take(piece, to) {
            self.request(now, to, block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testbed::Testbed;
    use super::*;

    #[test]
    fn a_piece_is_asked_elsewhere_when_its_peer_does_not_give_it() {
        let mut bed = Testbed::live(400, false);
        let silent = bed.live_peer(100..140);
        bed.watch();
        let piece = bed.requests(silent)[0].piece;
        let other = bed.live_peer(100..140);
        let mut given = Vec::new();
        for _ in 0..(LONG_PATIENCE + MARGIN * 3).as_secs() * 4 {
            bed.wait(Duration::from_millis(250));
            for block in bed.requests(other) {
                given.push(block.piece);
                bed.give(other, block);
            }
            if given.contains(&piece) {
                break;
            }
        }
        assert!(given.contains(&piece), "{piece} of {given:?}");
        assert!(bed.now >= Instant::ZERO + PATIENCE);
    }
}
