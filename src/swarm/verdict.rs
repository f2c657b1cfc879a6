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
        let lacking: Vec<_> =
            self.peers.iter().filter(|(_, p)| !p.has.has(piece)).map(|(key, _)| key).collect();
        self.announce_live(now, piece);
        lacking.into_iter().for_each(|peer| self.send(now, peer, Message::Have(piece.slot())));
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
