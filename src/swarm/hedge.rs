//! Second requests: a block that will be late is asked from a better peer too.
//!
//! The two causes are a deadline that its peer will not meet, and the end of the torrent, when nothing is left
//! to ask and the slowest block decides. Bounded: what came twice, and what is asked twice now, are together at
//! most one part in [`SHARE`] of the traffic. (Pieces of a broadcast are [rescued](super::rescue) instead.)

use super::PeerKey;
use super::torrent::Torrent;
use crate::metainfo::geometry::{BLOCK_LENGTH, Block};
use crate::time::{Duration, Instant};

/// What comes twice is at most one byte in so many received, ...
const SHARE: u64 = 50;
/// ... and some to begin with.
const ALLOWANCE: u64 = 16 * BLOCK_LENGTH as u64;
/// Most second requests in one tick.
const MAX_AT_ONCE: usize = 16;
/// The second peer must be expected so many times sooner.
const SOONER: u32 = 2;
/// A block that comes within this time is not worth asking twice.
const SOON: Duration = Duration::from_millis(200);

/// A block that will be late.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Late {
    due: Duration,
    block: Block,
    asked: PeerKey,
    /// When it is expected; a peer of which nothing is known is late.
    expected: Duration,
}

impl Torrent {
    pub(super) fn hedge(&mut self, now: Instant) {
        if self.peers.len() < 2 || self.is_stopped() || self.live.is_some() || !self.may_ask_twice() {
            return;
        }
        let mut late = self.late_blocks(now);
        late.sort_unstable();
        for late in late.into_iter().take(MAX_AT_ONCE) {
            if !self.may_ask_twice() {
                return;
            }
            let Some(better) = self.better_peer(now, &late) else { continue };
            if self.pieces.take_again(late.block, better) {
                self.request(now, better, late.block);
            }
        }
    }

    /// Whether one more block would not be too much.
    fn may_ask_twice(&self) -> bool {
        let twice = (self.pieces.doubled() as u64 + 1) * u64::from(BLOCK_LENGTH);
        twice + self.counters.duplicates <= self.counters.downloaded / SHARE + ALLOWANCE
    }

    /// Blocks asked from one peer that will not come in time.
    fn late_blocks(&self, now: Instant) -> Vec<Late> {
        let ending = self.is_ending();
        if self.config.policy.is_stock() && !ending {
            return Vec::new();
        }
        let mut late = Vec::new();
        for (asked, peer) in &self.peers {
            for (block, expected) in peer.pipeline.expectations(now) {
                let expected = expected.unwrap_or(Duration::MAX);
                if expected <= SOON || !(ending || self.picker.is_pressing(block.piece)) {
                    continue;
                }
                let due = if ending { Some(Duration::ZERO) } else { self.due(now, block) };
                if let Some(due) = due.filter(|due| expected > *due + SOON)
                    && self.pieces.asked(block).len() == 1
                {
                    late.push(Late { due, block, asked, expected });
                }
            }
        }
        late
    }

    /// Nothing is left to ask for the first time.
    fn is_ending(&self) -> bool {
        let begun: u64 =
            self.pieces.under_way().map(|p| u64::from(self.pieces.geometry().piece_size(p))).sum();
        begun >= self.pieces.left() && self.pieces.open_partials().next().is_none()
    }

    /// When a reader needs the piece of a block: what is not whole cannot be read.
    fn due(&self, now: Instant, block: Block) -> Option<Duration> {
        let bytes = self.pieces.geometry().piece_range(block.piece);
        self.readers.values().filter_map(|r| r.due(now, &bytes)).min()
    }

    fn better_peer(&self, now: Instant, late: &Late) -> Option<PeerKey> {
        let others = self.peers.iter().filter(|(key, p)| *key != late.asked && p.serves(late.block.piece));
        // Who invites turns down those who were not invited.
        let able = others.filter(|(_, p)| !p.pipeline.is_snubbed() && !p.g2g.trades());
        let timed = able.filter_map(|(key, p)| Some((p.pipeline.expected(now)?, key)));
        timed.filter(|(e, _)| e.saturating_mul(SOONER) < late.expected).min().map(|(_, key)| key)
    }
}
