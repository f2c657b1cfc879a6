//! What must never happen in a live swarm, beside what [`checks`](super::checks) watch: nothing older than the window
//! is asked for or kept, and a player gets what the source made, in order, and nothing twice.

use crate::metainfo::geometry::{Geometry, PieceIndex};
use crate::stream::window::Ring;
use crate::swarm::Input;

use super::disk::Disk;

/// Pieces behind the window that may still be there for a moment: a worker has them.
const SLACK: u32 = 8;

/// The watcher of one engine in a live swarm.
#[derive(Clone, Debug)]
pub(super) struct LiveChecks {
    ring: Ring,
    /// The newest stamp that the engine was told to be good.
    newest: Option<u32>,
}

impl LiveChecks {
    pub(super) const fn new(ring: Ring) -> Self {
        Self { ring, newest: None }
    }

    /// The engine is about to be told this.
    pub(super) fn on_input(&mut self, input: &Input) {
        let seen = match input {
            Input::Verified { stamp, .. } | Input::StampChecked { stamp, .. } => stamp.as_ref(),
            Input::Captured { stamp } => Some(stamp),
            _ => None,
        };
        self.newest = self.newest.max(seen.map(|stamp| stamp.seq));
    }

    /// Number of the oldest piece that the engine may deal with.
    fn oldest(&self) -> u32 {
        self.newest.map_or(0, |newest| self.ring.oldest(newest))
    }

    /// What is wrong with asking for a piece.
    pub(super) fn wrong_request(&self, piece: PieceIndex) -> Option<&'static str> {
        (piece.number() < self.oldest()).then_some("asked for what is older than the window")
    }

    /// What is wrong with what is kept.
    pub(super) fn wrong_disk(&self, disk: &Disk) -> Option<&'static str> {
        let oldest = self.oldest().saturating_sub(SLACK);
        if disk.written().count() > self.ring.window() + SLACK {
            return Some("more kept than the window");
        }
        let old = disk.oldest().is_some_and(|kept| kept < oldest);
        old.then_some("kept what is older than the window")
    }
}

/// What a player gets, piece by piece.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    last: Option<u32>,
}

impl Order {
    /// The player gets this piece; gives what is wrong with that.
    pub(super) fn on_piece(
        &mut self,
        geometry: &Geometry,
        piece: PieceIndex,
        disk: &Disk,
    ) -> Option<&'static str> {
        let older = self.last.is_some_and(|last| piece.number() <= last);
        self.last = self.last.max(Some(piece.number()));
        match () {
            () if older => Some("a viewer got what it had had before"),
            () if !disk.written().has(piece) => Some("an unverified piece reached a viewer"),
            () if geometry.piece(piece.number()) != Some(piece) => Some("a viewer got no piece"),
            () => None,
        }
    }
}
