//! What follows from a verified piece: it is announced, or its spoiler is looked for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::blame::Finding;
use super::event::{Ban, Event};
use super::peer::Peer;
use super::torrent::Torrent;
use super::{Job, Output, Verdict};
use crate::metainfo::geometry::PieceIndex;
use crate::stream::live_piece::VerifiedStamp;
use crate::stream::playback::Playback;
use crate::time::Instant;
use crate::wire::message::Message;

/// A peer is fast enough to give a spoiled piece alone at this part of the best rate.
const FAST_ENOUGH: u64 = 4;

impl Torrent {
    pub(super) fn on_verified(
        &mut self,
        now: Instant,
        piece: PieceIndex,
        verdict: Verdict,
        stamp: Option<&VerifiedStamp>,
    ) {
        if !self.pieces.exist().contains(&piece.number()) {
            // It has left the window of a live broadcast meanwhile.
            return self.out.push_back(Output::Start(Job::Discard { piece }));
        }
        stamp.into_iter().for_each(|stamp| self.on_live_piece(now, stamp));
        match verdict {
            Verdict::Good => self.on_good(now, piece),
            Verdict::Bad => self.on_bad(now, piece),
            Verdict::Unwritten => {
                self.pieces.failed(piece);
                self.storage_failed = true;
            }
        }
        self.stale = true;
        if std::mem::take(&mut self.crowded) {
            self.refill_all();
        }
    }

    pub(super) fn on_good(&mut self, now: Instant, piece: PieceIndex) {
        if self.blame.is_suspect(piece) {
            let guilty = self.blame.convict(piece, &self.pieces.blocks(piece));
            guilty.into_iter().for_each(|ip| self.ban(now, ip, Ban::BadData));
        }
        self.pieces.verified(piece);
        // Those who invite others have to know what these have, and how many have what they give.
        let hear = self.peers.iter().filter(|(_, p)| p.g2g.speaks() || !p.has.has(piece));
        let hear: Vec<_> = hear.map(|(key, _)| key).collect();
        self.announce_live(now, piece);
        hear.into_iter().for_each(|peer| self.send(now, peer, Message::Have(piece.slot())));
        self.check_complete(now);
    }

    pub(super) fn check_complete(&mut self, now: Instant) {
        if self.live.is_some() || !self.has_all_wanted() || std::mem::replace(&mut self.completed, true) {
            return;
        }
        self.out.push_back(Output::Event(Event::Completed));
        self.review_interest(now);
    }

    /// Everything that readers may read (or everything) is there, not only what may be fetched now.
    pub(super) fn has_all_wanted(&self) -> bool {
        let all = |r: &Playback| self.pieces.missing_in(r.file()) == 0;
        self.pieces.left() == 0 && (self.config.budget.is_none() || self.readers.values().all(all))
    }

    pub(super) fn on_bad(&mut self, now: Instant, piece: PieceIndex) {
        self.counters.hash_failures += 1;
        let size = u64::from(self.pieces.geometry().piece_size(piece));
        self.counters.corrupt += size;
        self.counters.wasted += size;
        self.out.push_back(Output::Event(Event::HashFailed(piece)));
        let Some(partial) = self.pieces.failed(piece) else { return };
        self.picker.reopen(piece);
        let blocks: Vec<_> = partial.givers().map(|(addr, data)| (addr, data.clone())).collect();
        match self.blame.failed(piece, &blocks) {
            Finding::Guilty(ip) => self.ban(now, ip, Ban::BadData),
            Finding::Suspects(suspects) => self.ask_one_alone(now, piece, &suspects),
        }
        self.refill_all();
    }

    /// The next attempt at this piece is one peer's alone: someone fast who is not suspected, or else the
    /// fastest.
    pub(super) fn ask_one_alone(&mut self, now: Instant, piece: PieceIndex, suspects: &BTreeSet<IpAddr>) {
        let able = |p: &Peer| p.serves(piece) && !p.pipeline.is_snubbed() && p.pipeline.total() > 0;
        let serving = self.peers.iter().filter(|(_, p)| able(p));
        let rated: Vec<_> = serving.map(|(key, p)| (key, p.addr.ip(), p.pipeline.rate(now))).collect();
        let fast = rated.iter().map(|(_, _, rate)| rate.get()).max().unwrap_or_default() / FAST_ENOUGH;
        let fit = rated.into_iter().filter(|(_, _, rate)| rate.get() >= fast);
        let best = fit.max_by_key(|(key, ip, rate)| (!suspects.contains(ip), *rate, *key));
        if let Some((key, ..)) = best {
            self.pieces.reserve(piece, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::raw;
    use super::super::testbed::Testbed;
    use super::*;
    use crate::time::Duration;

    /// In the original a block of an older round and one of the source's made a bad piece, and the source, which had
    /// given the last one, was closed for it.
    #[test]
    fn blocks_of_two_peers_never_make_a_piece_of_a_broadcast() {
        let mut bed = Testbed::live(400, false);
        let laggard = bed.live_peer(100..140);
        bed.watch();
        let asked = bed.requests(laggard);
        let piece = asked[0].piece;
        let [first, second] = asked[..] else { panic!("a piece of two blocks: {asked:?}") };
        bed.spoil(laggard, first);
        let source = bed.live_peer(100..140);
        bed.hear(laggard, Message::Choke);
        // It was on its way already.
        bed.spoil(laggard, second);
        let mut given = Vec::new();
        for _ in 0..30 {
            for (peer, block) in bed.asked() {
                assert!(peer == source && !given.contains(&block), "{block:?}");
                given.push(block);
                bed.give(source, block);
            }
            bed.wait(Duration::from_millis(100));
        }
        assert!(given.contains(&first) && given.contains(&second), "all of it is one peer's: {given:?}");
        assert!(bed.torrent.have().has(piece) && !bed.closed.contains(&source));
    }

    #[test]
    fn a_bad_piece_of_a_broadcast_costs_its_one_giver_and_nobody_else() {
        let mut bed = Testbed::live(400, false);
        let peers = [bed.live_peer(100..140), bed.live_peer(100..140)];
        bed.watch();
        let bad = bed.geometry.piece(118).unwrap();
        let mut spoiler = None;
        for _ in 0..30 {
            for (peer, block) in bed.asked() {
                if block.piece == bad && *spoiler.get_or_insert(peer) == peer {
                    bed.spoil(peer, block);
                } else {
                    bed.give(peer, block);
                }
            }
            bed.wait(Duration::from_millis(100));
        }
        assert!(spoiler.is_some_and(|spoiler| peers.contains(&spoiler)));
        assert_eq!(bed.closed, spoiler.as_slice());
        assert!(bed.torrent.have().has(bad), "the other one gave it");
    }

    /// A hop costs the time of a piece and the look at its signature: less cannot be, and more is not added.
    #[test]
    fn a_piece_is_passed_on_as_soon_as_it_is_verified_and_not_before() {
        let mut bed = Testbed::live(400, false);
        bed.slow_workers = true;
        let near = bed.live_peer(100..140);
        let far = bed.connect(true);
        bed.hear(far, Message::HaveNone);
        bed.hear(far, Message::Interested);
        bed.watch();
        let asked = bed.requests(near);
        let (piece, request) = (asked[0].piece, Message::Request(raw(asked[0])));
        asked.iter().for_each(|block| bed.give(near, *block));
        bed.wait(Duration::from_secs(1));
        assert!(!bed.torrent.peers[far].choked, "it may ask");
        bed.hear(far, request.clone());
        let news = (far, Message::Have(piece.slot()));
        assert!(bed.said.contains(&(far, Message::Reject(raw(asked[0])))) && !bed.said.contains(&news));
        bed.verify();
        assert!(bed.said.contains(&news));
    }
}
