//! Which other clients may request from us: those that give most, and one that is tried (BEP 3's choking). Those who
//! trade with us need no slot: they are invited (`offer`).
//!
//! Ranked by the rate from them while we fetch, by the rate to them once we have everything; then by the other
//! rate; who does neither gets a slot by lot, for a round, so that nobody keeps one without using it. One more
//! slot is given to a random other peer and moves on every 30 s, so that newcomers can show what they give.

use std::cmp::Reverse;

use rand::RngExt as _;
use rand_pcg::Pcg64;

use super::PeerKey;
use crate::rate::ByteRate;
use crate::time::{Duration, Instant};

/// Slots are given anew this often (BEP 3).
pub const ROUND: Duration = Duration::from_secs(10);
/// The optimistic slot moves this often (BEP 3).
const OPTIMISTIC_ROUND: Duration = Duration::from_secs(30);
/// Fewest and most slots besides the optimistic one.
const MIN_SLOTS: usize = 4;
const MAX_SLOTS: usize = 20;
/// A limited uplink is cut into slots of about this rate.
const SLOT_RATE: u64 = 64 * 1024;

/// What the choker has to know of a peer.
#[derive(Copy, Clone, Debug)]
pub struct Applicant {
    /// Who.
    pub peer: PeerKey,
    /// Wants something from us.
    pub interested: bool,
    /// Bytes/s that it gives us.
    pub gives: ByteRate,
    /// Bytes/s that it takes from us.
    pub takes: ByteRate,
}

/// The state between two rounds.
#[derive(Debug, Default)]
pub struct Choker {
    optimistic: Option<PeerKey>,
    rotated: Instant,
}

impl Choker {
    /// Slots besides the optimistic one at this upload limit (zero: no limit).
    pub fn slots(limit: ByteRate) -> usize {
        match limit.get() {
            0 => MAX_SLOTS,
            rate => usize::try_from(rate / SLOT_RATE).unwrap_or(MAX_SLOTS).clamp(MIN_SLOTS, MAX_SLOTS),
        }
    }

    /// The peers that may request until the next round, in no particular order.
    pub fn choose(
        &mut self,
        now: Instant,
        applicants: &[Applicant],
        slots: usize,
        complete: bool,
        rng: &mut Pcg64,
    ) -> Vec<PeerKey> {
        let mut ranked: Vec<_> = applicants.iter().filter(|a| a.interested).collect();
        let rates = |a: &Applicant| if complete { (a.takes, a.gives) } else { (a.gives, a.takes) };
        ranked.sort_by_cached_key(|a| (Reverse(rates(a)), rng.random::<u32>(), a.peer));
        let others: Vec<_> = ranked.split_off(slots.min(ranked.len())).iter().map(|a| a.peer).collect();
        let mut chosen: Vec<_> = ranked.iter().map(|a| a.peer).collect();
        chosen.extend(self.rotate(now, &others, rng));
        chosen
    }

    fn rotate(&mut self, now: Instant, others: &[PeerKey], rng: &mut Pcg64) -> Option<PeerKey> {
        let stays = self.optimistic.filter(|o| others.contains(o) && now - self.rotated < OPTIMISTIC_ROUND);
        if stays.is_none() {
            self.rotated = now;
            let candidates: Vec<_> = others.iter().filter(|o| Some(**o) != self.optimistic).collect();
            self.optimistic = match candidates.len() {
                0 => others.first().copied(),
                n => Some(*candidates[rng.random_range(0..n)]),
            };
        }
        self.optimistic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use slotmap::SlotMap;
    use std::collections::BTreeSet;

    fn applicants(n: u64) -> Vec<Applicant> {
        let mut keys = SlotMap::with_key();
        (0..n)
            .map(|i| Applicant {
                peer: keys.insert(()),
                interested: true,
                gives: ByteRate(1_000 * i),
                takes: ByteRate(1_000 * (n - i)),
            })
            .collect()
    }

    #[test]
    fn the_best_givers_are_served_and_takers_when_complete() {
        let peers = applicants(10);
        let mut rng = Pcg64::seed_from_u64(1);
        let best = Choker::default().choose(Instant::ZERO, &peers, 4, false, &mut rng);
        assert_eq!(best.len(), 5);
        assert!(peers[6..].iter().all(|p| best.contains(&p.peer)));
        let best = Choker::default().choose(Instant::ZERO, &peers, 4, true, &mut rng);
        assert!(peers[..4].iter().all(|p| best.contains(&p.peer)));
    }

    #[test]
    fn who_does_not_use_a_slot_does_not_keep_it() {
        let mut peers = applicants(40);
        peers.iter_mut().for_each(|p| (p.gives, p.takes) = (ByteRate(0), ByteRate(0)));
        peers[39].takes = ByteRate(1);
        let (mut choker, mut rng) = (Choker::default(), Pcg64::seed_from_u64(7));
        let mut served = BTreeSet::new();
        for complete in [true, false].repeat(50) {
            let chosen = choker.choose(Instant::ZERO, &peers, 4, complete, &mut rng);
            assert!(chosen.contains(&peers[39].peer));
            served.extend(chosen);
        }
        assert_eq!(served.len(), peers.len());
    }

    #[test]
    fn everyone_gets_the_optimistic_slot_in_time() {
        let peers = applicants(8);
        let (mut choker, mut rng) = (Choker::default(), Pcg64::seed_from_u64(7));
        let mut served = BTreeSet::new();
        for round in 0..400 {
            let now = Instant::from_secs(10 * round);
            let chosen = choker.choose(now, &peers, 4, false, &mut rng);
            assert_eq!(chosen.len(), 5);
            served.extend(chosen);
        }
        assert_eq!(served.len(), peers.len());
    }

    #[test]
    fn the_uninterested_take_no_slot() {
        let mut peers = applicants(6);
        peers[5].interested = false;
        let chosen = Choker::default().choose(Instant::ZERO, &peers, 4, false, &mut Pcg64::seed_from_u64(1));
        assert!(!chosen.contains(&peers[5].peer) && chosen.len() == 5);
        assert_eq!(Choker::slots(ByteRate(0)), MAX_SLOTS);
        assert_eq!(Choker::slots(ByteRate(1)), MIN_SLOTS);
    }
}
