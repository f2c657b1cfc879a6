//! What is wanted, and what has to go: a torrent larger than the space that it may take.
//!
//! Without budget everything in the readers' files is wanted (or everything, when the torrent is fetched whole).
//! With one, each reader has a window from its playhead on; the windows together are [`AHEAD`] of the budget,
//! the rest keeps what was played last. What lies farthest from every window is discarded first, before what
//! takes its place is asked for, so that the budget holds (it is at least [`MIN_PIECES`] pieces, or nothing
//! could be played at all). A backward seek wants again what was discarded.

use std::ops::Range;

use super::torrent::Torrent;
use super::{Job, Output};
use crate::metainfo::geometry::{Geometry, PieceIndex};
use crate::stream::playback::Playback;
use crate::time::Instant;

/// The part of the budget that lies ahead of the playheads.
const AHEAD: (u64, u64) = (3, 4);
/// Least pieces of a budget.
const MIN_PIECES: u64 = 8;

/// What is wanted now, as runs of pieces; overlaps are harmless.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Windows {
    runs: Vec<Range<u32>>,
}

/// The budget that holds for a torrent; `None` when all of it may be kept.
pub(super) fn effective(budget: Option<u64>, geometry: &Geometry) -> Option<u64> {
    let least = MIN_PIECES * u64::from(geometry.piece_length());
    budget.map(|b| b.max(least)).filter(|b| *b < geometry.total())
}

impl Windows {
    fn contains(&self, piece: PieceIndex) -> bool {
        self.runs.iter().any(|run| run.contains(&piece.number()))
    }

    /// Pieces between this one and the nearest that is wanted.
    fn distance(&self, piece: PieceIndex) -> u32 {
        let n = piece.number();
        let away = |run: &Range<u32>| run.start.saturating_sub(n).max((n + 1).saturating_sub(run.end));
        self.runs.iter().map(away).min().unwrap_or(u32::MAX)
    }
}

impl Torrent {
    /// Where the bytes end that may be kept for a reader at this place, or that exist.
    pub(super) fn reach(&self, playback: &Playback) -> u64 {
        if self.live.is_some() {
            // What does not exist yet has the slot of something that does.
            return u64::from(self.pieces.exist().end) * u64::from(self.pieces.geometry().piece_length());
        }
        let Some(budget) = self.config.budget else { return u64::MAX };
        let share = budget * AHEAD.0 / AHEAD.1 / (self.readers.len() as u64).max(1);
        playback.playhead().saturating_add(share)
    }

    /// Readers came, went or moved: wants what they need now, lets go of the rest and makes room.
    pub(super) fn review_wanted(&mut self, now: Instant) {
        let windows = self.windows();
        if windows == self.windows {
            return;
        }
        let old = std::mem::replace(&mut self.windows, windows);
        let geometry = *self.pieces.geometry();
        let gone = old.runs.into_iter().flatten().filter_map(|n| geometry.piece(n));
        let windows = &self.windows;
        self.pieces.unwant(gone.filter(|p| !windows.contains(*p)));
        self.pieces.want(self.windows.runs.iter().cloned().flatten().filter_map(|n| geometry.piece(n)));
        self.let_go(now);
        self.make_room(now);
        self.completed &= self.has_all_wanted();
        self.picker.invalidate();
        self.refill_all();
    }

    /// Whether a piece is wanted now, or will be once a reader has come nearer.
    pub(super) fn may_be_needed(&self, piece: PieceIndex) -> bool {
        let whole = self.config.budget.is_none() && self.live.is_none();
        if whole || self.pieces.have().has(piece) {
            return self.pieces.is_needed(piece);
        }
        let range = self.pieces.geometry().piece_range(piece);
        let mut readers = self.readers.values().filter(|r| r.is_hooked_in());
        readers.any(|r| range.end > r.playhead() && range.start < r.file().end)
    }

    fn windows(&self) -> Windows {
        let geometry = self.pieces.geometry();
        let mut runs = Vec::new();
        if self.config.whole {
            runs.push(self.pieces.exist());
        }
        for playback in self.readers.values() {
            if self.live.is_some() {
                let exist = self.pieces.exist();
                let playhead = geometry.piece_at(playback.playhead()).map_or(u32::MAX, PieceIndex::number);
                let hooked_in = playback.is_hooked_in();
                runs.push(if hooked_in { playhead.max(exist.start)..exist.end } else { 0..0 });
                continue;
            }
            if self.config.budget.is_none() {
                runs.push(geometry.span(playback.file()));
                continue;
            }
            let end = self.reach(playback).min(playback.file().end);
            runs.push(geometry.span(&(playback.playhead()..end)));
            runs.push(geometry.span(&playback.waits_for()));
        }
        runs.retain(|run| !run.is_empty());
        Windows { runs }
    }

    /// Requests and half-fetched pieces that nobody wants any more.
    fn let_go(&mut self, now: Instant) {
        let keys: Vec<_> = self.peers.keys().collect();
        for key in keys {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            let pieces = &self.pieces;
            let gone = peer.pipeline.cancel(now, |block| !pieces.is_needed(block.piece));
            self.withdraw(now, key, &gone);
        }
        while let Some((_, lost)) = self.pieces.drop_idle(|p, pieces| pieces.is_needed(p)) {
            self.counters.wasted += lost;
        }
    }

    /// Discards what lies farthest from every window until the rest of the windows fits in.
    fn make_room(&mut self, now: Instant) {
        let Some(budget) = self.config.budget else { return };
        let over = |t: &Self| t.pieces.have_bytes() + t.pieces.left() > budget;
        if !over(self) {
            return;
        }
        let outside = |p: &PieceIndex| self.pieces.have().has(*p) && !self.windows.contains(*p);
        let mut spare: Vec<_> = self.pieces.all().filter(outside).collect();
        spare.sort_by_key(|p| (self.windows.distance(*p), p.number()));
        while over(self) {
            let Some(piece) = spare.pop() else { return };
            self.pieces.discard(piece);
            self.picker.reopen(piece);
            self.refuse_piece(now, piece);
            self.tell_lost(now, piece);
            self.out.push_back(Output::Start(Job::Discard { piece }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testbed::{Testbed, config};
    use super::super::{Config, ReaderInput};
    use super::*;
    use crate::metainfo::geometry::BLOCK_LENGTH;
    use crate::swarm::event::{Event, State};
    use proptest::prelude::*;

    const PIECE: u64 = 2 * BLOCK_LENGTH as u64;
    const PIECES: u64 = 100;
    const BUDGET: u64 = 20 * PIECE;

    fn bed() -> Testbed {
        let small = Config { budget: Some(BUDGET), ..config() };
        let mut bed = Testbed::new(small, PIECE, PIECES * PIECE, false);
        bed.open(0..PIECES * PIECE);
        bed
    }

    fn numbers(bed: &Testbed) -> Vec<u32> {
        bed.geometry.all().filter(|p| bed.torrent.have().has(*p)).map(PieceIndex::number).collect()
    }

    #[test]
    fn a_window_ahead_is_fetched_and_what_was_played_goes_oldest_first() {
        let mut bed = bed();
        let peer = bed.seed();
        bed.give_all(peer);
        assert_eq!(numbers(&bed), (0..15).collect::<Vec<_>>());
        for n in 0..30 {
            bed.reader(ReaderInput::Read(n * PIECE..(n + 1) * PIECE));
            bed.give_all(peer);
        }
        assert_eq!(numbers(&bed), (24..44).collect::<Vec<_>>());
        assert_eq!(bed.discarded.len(), 24);
        assert!(!bed.events.contains(&Event::Completed));
        assert_eq!(bed.torrent.stats(bed.now).state, State::Downloading);
    }

    #[test]
    fn a_full_window_keeps_the_interest_in_peers() {
        let mut bed = bed();
        let peer = bed.seed();
        bed.give_all(peer);
        bed.wait(crate::time::Duration::from_secs(60));
        assert!(!bed.said.iter().any(|(_, m)| *m == crate::wire::message::Message::NotInterested));
    }

    #[test]
    fn a_budget_that_holds_everything_is_none_and_a_tiny_one_is_raised() {
        let geometry = Geometry::new(PIECE, PIECES * PIECE).unwrap();
        assert_eq!(effective(Some(PIECES * PIECE), &geometry), None);
        assert_eq!(effective(Some(1), &geometry), Some(MIN_PIECES * PIECE));
        assert_eq!(effective(None, &geometry), None);
    }

    proptest! {
        #[test]
        fn wherever_one_reads_it_comes_and_the_budget_holds(
            places in prop::collection::vec((0..PIECES * PIECE - 10, any::<bool>()), 1..20)
        ) {
            let mut bed = bed();
            let peer = bed.seed();
            for (byte, flush) in places {
                if flush {
                    bed.reader(ReaderInput::Flushed);
                }
                bed.reader(ReaderInput::Read(byte..byte + 10));
                bed.give_all(peer);
                let there = bed.geometry.pieces_in(&(byte..byte + 10)).all(|p| bed.torrent.have().has(p));
                prop_assert!(there, "{byte} is not there: {:?}", numbers(&bed));
                let kept = u64::from(bed.torrent.have().count()) * PIECE;
                prop_assert!(kept <= BUDGET + 2 * PIECE, "{kept}");
            }
        }
    }
}
