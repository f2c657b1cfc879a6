//! The window of a broadcast: which pieces there are, and under which index each goes over the wire.
//!
//! A piece is named by its sequence number, which never wraps. On the wire, and in the file that keeps the last
//! hour, it takes the *slot* `seq mod slots`, as the metainfo has only so many pieces. A slot is turned back into
//! a number relative to the newest one that its sender has stamped: the nearest number with that slot. Nobody keeps
//! more than a quarter of the ring, so nearest is never ambiguous between two that somebody holds.
//!
//! Kept are the newest piece and those `window − 1` before it; older ones are dropped, and neighbours are assumed
//! to drop them too. Every function takes any `u32`, a stranger's too, without overflow.

use std::ops::{Range, RangeInclusive};

/// Fewest slots of a ring: a quarter of them is a window of one piece.
pub const MIN_SLOTS: u32 = 4;
/// A window is at most this part of the ring.
pub const WINDOW_PART: u32 = 4;

/// How many slots there are, and how many of them are kept. Small and copied freely.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    slots: u32,
    window: u32,
}

/// Where a piece lies.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Older than anything that is kept.
    Behind,
    /// Kept.
    Inside,
    /// Newer than the newest.
    Ahead,
}

/// Why a broadcast has no usable window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// Fewer than [`MIN_SLOTS`].
    #[error("a broadcast of {0} pieces, at least {MIN_SLOTS} are needed")]
    Slots(u32),
    /// None, or more than a quarter.
    #[error("a window of {window} pieces, 1 to {most} are possible")]
    Window {
        /// Pieces.
        window: u32,
        /// Most pieces.
        most: u32,
    },
}

impl Ring {
    /// A ring of `slots` pieces; without a `window` a quarter of them is kept.
    ///
    /// # Errors
    /// When there are too few, or the window is longer than a quarter of them.
    pub fn new(slots: u32, window: Option<u32>) -> Result<Self, RingError> {
        if slots < MIN_SLOTS {
            return Err(RingError::Slots(slots));
        }
        let most = slots / WINDOW_PART;
        let window = window.unwrap_or(most);
        if !(1..=most).contains(&window) {
            return Err(RingError::Window { window, most });
        }
        Ok(Self { slots, window })
    }

    /// Pieces on the wire.
    pub const fn slots(self) -> u32 {
        self.slots
    }

    /// Pieces that are kept.
    pub const fn window(self) -> u32 {
        self.window
    }

    /// The index under which a piece goes over the wire.
    pub const fn slot(self, seq: u32) -> u32 {
        seq % self.slots
    }

    /// The piece that somebody means by `slot` whose newest stamp is `newest`: of the `slots` numbers around it
    /// the one with that slot. `None` when there is no such slot or the number is none.
    pub fn near(self, slot: u32, newest: u32) -> Option<u32> {
        if slot >= self.slots {
            return None;
        }
        let slots = i64::from(self.slots);
        let lowest = i64::from(newest) - i64::from(self.before());
        u32::try_from(lowest + (i64::from(slot) - lowest).rem_euclid(slots)).ok()
    }

    /// Whether somebody whose newest stamp is `newest` may speak of this piece by its slot. Otherwise it has to
    /// send a newer stamp first.
    pub const fn reaches(self, newest: u32, seq: u32) -> bool {
        if seq > newest { seq - newest <= self.slots / 2 } else { newest - seq <= self.before() }
    }

    /// Numbers before the newest that a slot can mean. Half of the ring, and the newest itself is one of them.
    const fn before(self) -> u32 {
        (self.slots - 1) / 2
    }

    /// The oldest piece that is kept.
    pub const fn oldest(self, newest: u32) -> u32 {
        newest.saturating_sub(self.window - 1)
    }

    /// All pieces that are kept.
    pub const fn kept(self, newest: u32) -> RangeInclusive<u32> {
        self.oldest(newest)..=newest
    }

    /// Where a piece lies, seen from the newest.
    pub const fn place(self, newest: u32, seq: u32) -> Place {
        if seq > newest {
            Place::Ahead
        } else if seq < self.oldest(newest) {
            Place::Behind
        } else {
            Place::Inside
        }
    }

    /// Whether a piece is kept.
    pub fn contains(self, newest: u32, seq: u32) -> bool {
        self.place(newest, seq) == Place::Inside
    }

    /// Pieces that are dropped when the newest is no longer `from` but `to`: at most a window of them.
    pub fn dropped(self, from: u32, to: u32) -> Range<u32> {
        let first = self.oldest(from);
        first..self.oldest(to).min(from.saturating_add(1)).max(first)
    }

    /// The pieces of a neighbour's bitfield, in order; `has` tells whether a slot's bit is set. Bits of pieces
    /// that it cannot have kept are passed over.
    pub fn held(self, newest: u32, has: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
        self.kept(newest).filter(move |seq| has(self.slot(*seq)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(slots: u32) -> Ring {
        Ring::new(slots, None).unwrap()
    }

    fn rings() -> impl Strategy<Value = Ring> {
        let slots = prop_oneof![4u32..40, 4u32.., Just(u32::MAX), Just(7_200)];
        let window = (slots, prop::option::of(any::<prop::sample::Index>()));
        window.prop_map(|(slots, window)| {
            let window = window.map(|index| 1 + index.index(slots as usize / 4) as u32);
            Ring::new(slots, window).unwrap()
        })
    }

    /// Numbers at the ends, at small multiples and anywhere.
    fn seqs() -> impl Strategy<Value = u32> {
        prop_oneof![0u32..100, (0u32..100).prop_map(|n| u32::MAX - n), any::<u32>()]
    }

    #[test]
    fn fifteen_minutes_of_an_hour_are_kept() {
        let hour = ring(7_200);
        assert_eq!((hour.slots(), hour.window()), (7_200, 1_800));
        assert_eq!((hour.slot(7_199), hour.slot(7_200), hour.slot(7_201)), (7_199, 0, 1));
        assert_eq!((hour.oldest(0), hour.oldest(1_799), hour.oldest(1_800)), (0, 0, 1));
        assert_eq!(hour.kept(10_000), 8_201..=10_000);
        assert_eq!(hour.place(10_000, 8_200), Place::Behind);
        assert_eq!(hour.place(10_000, 8_201), Place::Inside);
        assert_eq!(hour.place(10_000, 10_001), Place::Ahead);
    }

    #[test]
    fn a_slot_means_the_nearest_piece() {
        let hour = ring(7_200);
        assert_eq!(hour.near(7_199, 7_200), Some(7_199), "over the end, back");
        assert_eq!(hour.near(1, 7_199), Some(7_201), "and forth");
        assert_eq!(hour.near(3_600, 0), Some(3_600));
        assert_eq!(hour.near(3_601, 0), None, "it would be before the first piece");
        assert_eq!(hour.near(7_200, 0), None, "no such slot");
        let last = hour.slot(u32::MAX);
        assert_eq!(hour.near(last, u32::MAX), Some(u32::MAX));
        assert_eq!(hour.near(last + 1, u32::MAX), None, "it would be behind the last number");
        // An odd ring has as many before as behind, an even one one more behind.
        assert_eq!([4, 5, 6, 0, 1, 2, 3].map(|slot| ring(7).near(slot, 7)), [4, 5, 6, 7, 8, 9, 10].map(Some));
        assert_eq!(
            [5, 6, 7, 0, 1, 2, 3, 4].map(|slot| ring(8).near(slot, 8)),
            [5, 6, 7, 8, 9, 10, 11, 12].map(Some)
        );
    }

    #[test]
    fn a_window_is_one_piece_to_a_quarter() {
        assert_eq!(Ring::new(3, None), Err(RingError::Slots(3)));
        assert_eq!(Ring::new(4, None).map(Ring::window), Ok(1));
        assert_eq!(Ring::new(400, Some(0)), Err(RingError::Window { window: 0, most: 100 }));
        assert_eq!(Ring::new(400, Some(101)), Err(RingError::Window { window: 101, most: 100 }));
        assert_eq!(Ring::new(400, Some(100)).map(Ring::window), Ok(100));
    }

    #[test]
    fn what_leaves_the_window_is_told_once() {
        let ring = ring(40);
        assert_eq!(ring.dropped(9, 10), 0..1);
        assert_eq!(ring.dropped(0, 9), 0..0);
        assert_eq!(ring.dropped(20, 25), 11..16);
        assert_eq!(ring.dropped(20, 1_000), 11..21, "after a jump all that was kept");
        assert_eq!(ring.dropped(20, 20), 11..11);
        assert!(ring.dropped(20, 10).is_empty());
    }

    #[test]
    fn a_bitfield_is_read_round_the_end() {
        let ring = ring(16);
        assert_eq!(ring.held(17, |slot| slot != 0).collect::<Vec<_>>(), [14, 15, 17]);
        assert_eq!(ring.held(1, |_| true).collect::<Vec<_>>(), [0, 1]);
    }

    proptest! {
        #[test]
        fn near_is_the_inverse_of_slot_within_reach(ring in rings(), newest in seqs(), seq in seqs(), close: bool) {
            let around = newest.saturating_sub(ring.slots() / 2).saturating_add(seq % ring.slots());
            let seq = if close { around } else { seq };
            let found = ring.near(ring.slot(seq), newest);
            if ring.reaches(newest, seq) {
                prop_assert_eq!(found, Some(seq));
            } else {
                prop_assert_ne!(found, Some(seq));
            }
        }

        #[test]
        fn near_finds_what_has_the_slot_and_is_near(ring in rings(), newest in seqs(), slot in seqs(), small: bool) {
            let slot = if small { slot % ring.slots() } else { slot };
            if let Some(seq) = ring.near(slot, newest) {
                let distance = i64::from(seq) - i64::from(newest);
                prop_assert_eq!(ring.slot(seq), slot);
                prop_assert!(2 * distance.abs() <= i64::from(ring.slots()));
                prop_assert!(2 * distance > -i64::from(ring.slots()));
                prop_assert!(ring.reaches(newest, seq));
            }
        }

        #[test]
        fn all_that_is_kept_is_within_reach_and_inside(ring in rings(), newest in seqs(), seq in seqs()) {
            let kept = ring.kept(newest);
            prop_assert_eq!(kept.contains(&seq), ring.contains(newest, seq));
            prop_assert!(u64::from(kept.end() - kept.start()) < u64::from(ring.window()));
            prop_assert!(ring.reaches(newest, *kept.start()));
            // Even from one window behind, and from one ahead.
            prop_assert!(ring.reaches(newest.saturating_add(ring.window()), *kept.start()));
            prop_assert!(ring.reaches(newest.saturating_sub(ring.window()), newest));
        }

        #[test]
        fn what_is_dropped_was_kept_and_no_longer_is(ring in rings(), from in seqs(), to in seqs(), seq in seqs()) {
            let dropped = ring.dropped(from, to);
            let expected = ring.contains(from, seq) && ring.place(to, seq) == Place::Behind;
            prop_assert_eq!(dropped.contains(&seq), expected);
            prop_assert!(dropped.len() <= ring.window() as usize);
        }
    }
}
