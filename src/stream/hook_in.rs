//! Where a viewer enters a broadcast: the prebuffer before what was made last, where its neighbours have got that far.
//!
//! Each neighbour sends its newest stamp and the oldest piece that it holds. The *live point* is the newest piece
//! that a quorum has reached: half of the neighbours that sent a stamp, at least one. Playback starts so many pieces
//! before the newest that anybody has shown as the prebuffer lasts, where that is a little behind the live point; but
//! with nothing that has left the window or that no quorum still holds. The random access point at or behind it is
//! found when pieces are there. Until playback starts it is computed anew every second.
//!
//! **What a liar can do.** The source signs stamps, so nobody can claim a piece that does not exist: neighbours lie
//! downwards (an old stamp), or show the newest stamp without having its pieces. As long as fewer than half of them
//! lie, the live point stays between the slowest and the fastest of the honest ones. A majority can hold a viewer
//! back, though not behind the window of the newest stamp that anyone has shown: a neighbour that has fallen out of
//! it counts no more, so stamps collected yesterday are worth nothing once one of today is seen. Or it can send a
//! viewer to the true live edge, where it starves until it hooks in again. The oldest piece held is a bare claim: a
//! false one of a majority moves the start forward to the live point at most, or leaves it where the prebuffer
//! wants it.

use std::collections::BTreeMap;

use super::live_piece::{CaptureTime, VerifiedStamp};
use super::live_rate::LiveRate;
use super::window::Ring;
use crate::time::Duration;

/// Most neighbours remembered: more than are ever connected.
pub const MAX_NEIGHBOURS: usize = 1_024;

/// Whatever the prebuffer, so long behind the live point what follows comes in time.
const NEAR: Duration = Duration::from_secs(2);

/// A piece and when it was captured.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    /// Its sequence number.
    pub seq: u32,
    /// When its last byte was captured.
    pub time: CaptureTime,
}

/// What a neighbour told of itself.
#[derive(Copy, Clone, Debug)]
struct Neighbour {
    newest: Reached,
    /// Its claim; `None` says that it holds nothing yet.
    oldest: Option<u32>,
}

/// The neighbours' stamps; `K` names a neighbour.
#[derive(Clone, Debug)]
pub struct HookIn<K> {
    ring: Ring,
    neighbours: BTreeMap<K, Neighbour>,
}

impl<K: Ord + Copy> HookIn<K> {
    /// Nobody is known yet.
    pub const fn new(ring: Ring) -> Self {
        Self { ring, neighbours: BTreeMap::new() }
    }

    /// A neighbour sent its newest stamp, and says which is the oldest piece that it holds. It never goes back: an
    /// older stamp than it has shown before leaves the newer one as it is.
    pub fn on_stamp(&mut self, neighbour: K, stamp: &VerifiedStamp, oldest: Option<u32>) {
        let full = self.neighbours.len() >= MAX_NEIGHBOURS;
        if full && !self.neighbours.contains_key(&neighbour) {
            return;
        }
        let newest = Reached { seq: stamp.seq, time: stamp.time };
        let known = self.neighbours.entry(neighbour).or_insert(Neighbour { newest, oldest });
        if newest.seq > known.newest.seq {
            known.newest = newest;
        }
        known.oldest = oldest;
    }

    /// A neighbour has left.
    pub fn forget(&mut self, neighbour: K) {
        self.neighbours.remove(&neighbour);
    }

    /// What a neighbour has reached: its indices on the wire are read relative to this.
    pub fn reached(&self, neighbour: K) -> Option<Reached> {
        self.neighbours.get(&neighbour).map(|n| n.newest)
    }

    /// The newest piece that anybody has shown to exist.
    pub fn newest(&self) -> Option<Reached> {
        self.neighbours.values().map(|n| n.newest).max()
    }

    /// The newest piece that a quorum has reached.
    pub fn live_point(&self) -> Option<Reached> {
        let mut reached: Vec<_> = self.present().map(|n| n.newest).collect();
        reached.sort_unstable_by(|a, b| b.cmp(a));
        reached.get(quorum(reached.len()) - 1).copied()
    }

    /// The piece to start with: the newest one less the prebuffer, or one a little behind the live point.
    pub fn point(&self, prebuffer: Duration, rate: &LiveRate) -> Option<u32> {
        let (live, newest) = (self.live_point()?, self.newest()?);
        let behind_newest = newest.seq.saturating_sub(rate.pieces_in(prebuffer));
        let behind_live = live.seq.saturating_sub(rate.pieces_in(prebuffer.min(NEAR)));
        let wanted = behind_newest.min(behind_live);
        let there = self.ring.oldest(newest.seq).max(self.held_from()?);
        Some(wanted.max(there).min(live.seq))
    }

    /// The oldest piece that a quorum says to hold still.
    fn held_from(&self) -> Option<u32> {
        let mut oldest: Vec<_> = self.present().map(Neighbour::oldest).collect();
        oldest.sort_unstable();
        oldest.get(quorum(oldest.len()) - 1).copied()
    }

    /// Neighbours that have not fallen out of the window.
    fn present(&self) -> impl Iterator<Item = &Neighbour> {
        let window_from = self.newest().map_or(0, |newest| self.ring.oldest(newest.seq));
        self.neighbours.values().filter(move |n| n.newest.seq >= window_from)
    }
}

impl Neighbour {
    /// Nobody holds older pieces than it says, nor is its newest one not the newest that it holds.
    fn oldest(&self) -> u32 {
        self.oldest.map_or(self.newest.seq, |oldest| oldest.min(self.newest.seq))
    }
}

/// Half of so many, rounded up, at least 1.
fn quorum(neighbours: usize) -> usize {
    neighbours.div_ceil(2).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::live_piece::tests::stamp;
    use super::*;
    use proptest::prelude::*;

    const TEN_SECONDS: Duration = Duration::from_secs(10);

    /// An hour of pieces of half a second, a quarter of which is kept: 1,800.
    fn hook_in() -> HookIn<u32> {
        HookIn::new(Ring::new(7_200, None).unwrap())
    }

    fn rate() -> LiveRate {
        let mut rate = LiveRate::new(None, 32_768);
        rate.on_stamp(&stamp(0, 0, 30_000));
        rate.on_stamp(&stamp(100, 50_000, 30_000));
        rate
    }

    /// Neighbours with these newest pieces that hold a window of them.
    fn neighbours(newest: &[u32]) -> HookIn<u32> {
        let mut hook_in = hook_in();
        for (neighbour, seq) in (0..).zip(newest) {
            hook_in.on_stamp(neighbour, &stamp(*seq, u64::from(*seq) * 500, 30_000), Some(0));
        }
        hook_in
    }

    fn live(newest: &[u32]) -> Option<u32> {
        neighbours(newest).live_point().map(|p| p.seq)
    }

    fn point(newest: &[u32]) -> Option<u32> {
        neighbours(newest).point(TEN_SECONDS, &rate())
    }

    #[test]
    fn half_of_the_neighbours_must_have_reached_it() {
        assert_eq!(live(&[]), None);
        assert_eq!(live(&[10]), Some(10));
        assert_eq!(live(&[10, 20]), Some(20));
        assert_eq!(live(&[30, 10, 20]), Some(20));
        assert_eq!(live(&[30, 10, 20, 40]), Some(30));
        assert_eq!(live(&[30, 10, 20, 40, 50]), Some(30));
        let three = neighbours(&[30, 10, 20]);
        assert_eq!(three.newest(), Some(Reached { seq: 30, time: CaptureTime(15_000_000) }));
        assert_eq!(three.reached(1).map(|r| r.seq), Some(10));
        assert_eq!(three.reached(3), None);
    }

    #[test]
    fn playback_starts_a_prebuffer_before_it() {
        assert_eq!(point(&[]), None);
        assert_eq!(point(&[1_000, 1_001, 1_002]), Some(982));
        assert_eq!(point(&[7]), Some(0), "the broadcast has just begun");
        assert_eq!(neighbours(&[1_000]).point(Duration::ZERO, &rate()), Some(1_000));
        assert_eq!(neighbours(&[9_000]).point(Duration::MAX, &rate()), Some(7_201), "the window's first");
    }

    #[test]
    fn playback_starts_with_what_a_quorum_still_holds() {
        let mut hook_in = neighbours(&[1_000, 1_000, 1_000, 1_000]);
        let hold = |hook_in: &mut HookIn<u32>, neighbour, oldest| {
            hook_in.on_stamp(neighbour, &stamp(1_000, 500_000, 30_000), oldest);
            hook_in.point(TEN_SECONDS, &rate())
        };
        assert_eq!(hold(&mut hook_in, 0, Some(995)), Some(980));
        assert_eq!(hold(&mut hook_in, 1, None), Some(980), "two of four are a quorum");
        assert_eq!(hold(&mut hook_in, 2, Some(990)), Some(990), "2 and 3 are left");
        assert_eq!(hold(&mut hook_in, 3, Some(u32::MAX)), Some(995), "0 and 2 are left");
        assert_eq!(hold(&mut hook_in, 0, None), Some(1_000));
    }

    #[test]
    fn a_neighbour_goes_forward_only_and_leaves() {
        let mut hook_in = neighbours(&[1_000]);
        hook_in.on_stamp(0, &stamp(10, 5_000, 30_000), Some(5));
        assert_eq!(hook_in.live_point().map(|p| p.seq), Some(1_000), "an old stamp again");
        hook_in.on_stamp(0, &stamp(1_010, 505_000, 30_000), Some(5));
        assert_eq!(hook_in.live_point().map(|p| p.seq), Some(1_010));
        hook_in.forget(0);
        assert_eq!((hook_in.live_point(), hook_in.newest()), (None, None));
    }

    #[test]
    fn stamps_from_outside_the_window_count_no_more() {
        // Three that replay what they saw hours ago against one of today.
        assert_eq!(live(&[3, 4, 5, 9_000]), Some(9_000));
        assert_eq!(point(&[3, 4, 5, 9_000]), Some(8_980));
        // Just inside it they still hold a viewer back, to the window's first piece at most.
        assert_eq!(point(&[7_201, 7_201, 7_201, 9_000]), Some(7_201));
    }

    #[test]
    fn only_so_many_neighbours_are_remembered() {
        let mut hook_in = neighbours(&vec![10; MAX_NEIGHBOURS + 5]);
        assert_eq!(hook_in.neighbours.len(), MAX_NEIGHBOURS);
        hook_in.on_stamp(0, &stamp(20, 10_000, 30_000), None);
        assert_eq!(hook_in.newest().map(|n| n.seq), Some(20), "those that are known still report");
    }

    proptest! {
        #[test]
        fn fewer_liars_than_honest_cannot_leave_what_the_honest_span(
            honest in prop::collection::vec(5_000u32..6_000, 1..12),
            lies in prop::collection::vec((0u32..7_000, prop::option::of(any::<u32>())), 0..12),
            prebuffer in 0u64..900,
        ) {
            let (rate, prebuffer) = (rate(), Duration::from_secs(prebuffer));
            let newest = *honest.iter().max().unwrap();
            let slowest = *honest.iter().min().unwrap();
            let mut hook_in = neighbours(&honest);
            // Stamps are signed: a liar has none of a piece that the source has not made yet (here, 6,500).
            for (liar, (seq, oldest)) in (100..).zip(lies.iter().take(honest.len() - 1)) {
                hook_in.on_stamp(liar, &stamp((*seq).min(6_500), 0, 30_000), *oldest);
            }
            let live = hook_in.live_point().unwrap().seq;
            prop_assert!((slowest..=newest).contains(&live));
            let point = hook_in.point(prebuffer, &rate).unwrap();
            let shown = hook_in.newest().unwrap().seq;
            let near = live.saturating_sub(rate.pieces_in(prebuffer.min(NEAR)));
            let wanted = shown.saturating_sub(rate.pieces_in(prebuffer)).min(near);
            let window = hook_in.ring.oldest(shown);
            // The honest hold everything, so claims of `oldest` cannot even move it forward.
            prop_assert_eq!(point, wanted.max(window));
        }

        #[test]
        fn a_majority_of_liars_stays_in_the_window_and_invents_nothing(
            honest in 5_000u32..6_000,
            lies in prop::collection::vec((0u32..7_000, prop::option::of(any::<u32>())), 0..30),
        ) {
            let mut hook_in = neighbours(&[honest]);
            for (liar, (seq, oldest)) in (100..).zip(&lies) {
                hook_in.on_stamp(liar, &stamp((*seq).min(honest), 0, 30_000), *oldest);
            }
            let kept = hook_in.ring.kept(honest);
            prop_assert!(kept.contains(&hook_in.live_point().unwrap().seq));
            prop_assert!(kept.contains(&hook_in.point(TEN_SECONDS, &rate()).unwrap()));
        }

        #[test]
        fn nothing_overflows(
            told in prop::collection::vec((0u32..20, any::<u32>(), any::<u64>(), any::<Option<u32>>()), 1..50),
            prebuffer: u64,
        ) {
            let mut hook_in = hook_in();
            for (neighbour, seq, time, oldest) in told {
                hook_in.on_stamp(neighbour, &stamp(seq, time / 1_000, 30_000), oldest);
                let point = hook_in.point(Duration::from_micros(prebuffer), &rate()).unwrap();
                prop_assert!(point <= hook_in.live_point().unwrap().seq);
            }
        }
    }
}
