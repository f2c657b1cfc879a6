//! How pieces of a broadcast came to a host: over how many others, and how long after they were captured.

use std::collections::BTreeMap;

use crate::time::{Duration, Instant};

/// Pieces whose way is remembered.
const REMEMBERED: usize = 4_096;
/// Ways at least so long are counted as one.
pub const FAR: u8 = 4;

/// One host's book of arrivals.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// Hosts between the source and this one, which is one of them, by piece.
    depths: BTreeMap<u32, u8>,
    /// From capture to verification, by depth.
    delays: BTreeMap<u8, Vec<Duration>>,
}

impl Arrivals {
    /// A block of a piece comes from a host that has it in this depth.
    pub(super) fn on_block(&mut self, number: u32, depth: u8) {
        let ours = self.depths.entry(number).or_default();
        *ours = (*ours).max(depth.saturating_add(1));
        if self.depths.len() > REMEMBERED {
            self.depths.pop_first();
        }
    }

    /// A piece is verified.
    pub(super) fn on_piece(&mut self, now: Instant, number: u32, captured: Instant) {
        let depth = self.depth(number).min(FAR);
        self.delays.entry(depth).or_default().push(now - captured);
    }

    /// Hosts between the source and this one for a piece; zero where it was made.
    pub fn depth(&self, number: u32) -> u8 {
        self.depths.get(&number).copied().unwrap_or_default()
    }

    /// From capture to verification, by depth.
    pub const fn delays(&self) -> &BTreeMap<u8, Vec<Duration>> {
        &self.delays
    }
}
