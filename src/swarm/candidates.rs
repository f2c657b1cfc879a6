//! Addresses that may be peers: known, being dialled, connected, banned.
//!
//! Invariant: bounded by `MAX_CANDIDATES`; a banned address is never dialled nor taken in. Addresses are
//! tried by source (the user's first), then by fewest failures, then by the seeded RNG's order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use rand::Rng as _;
use rand_pcg::Pcg64;

use super::Source;
use crate::time::{Duration, Instant};

/// Most addresses remembered.
const MAX_CANDIDATES: usize = 4_000;
/// Most banned addresses remembered; the lowest is forgotten when it is full.
const MAX_BANNED: usize = 4_000;
/// Most connections in progress. An address where somebody listens and says nothing takes ten seconds.
pub const MAX_DIALLING: usize = 64;
/// After so many failures in a row an address that the user did not name is forgotten.
const MAX_FAILURES: u32 = 6;
/// Waits after failures: doubling, from the first to the second of these; those the user named are tried more often.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));
const BACK_OFF_USER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum State {
    Idle { next: Instant },
    Dialling,
    Connected,
}

#[derive(Clone, Debug)]
struct Candidate {
    source: Source,
    state: State,
    failures: u32,
    /// Breaks ties between equals.
    ticket: u32,
}

/// The book of addresses.
#[derive(Debug, Default)]
pub struct Candidates {
    book: BTreeMap<SocketAddr, Candidate>,
    banned: BTreeSet<IpAddr>,
    dialling: usize,
    dialled: u64,
}

impl Candidates {
    /// Learns an address; what is known, banned or unusable is ignored.
    pub fn add(&mut self, addr: SocketAddr, source: Source, rng: &mut Pcg64) {
        let usable = addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast();
        if !usable || self.is_banned(addr.ip()) {
            return;
        }
        if let Some(known) = self.book.get_mut(&addr) {
            known.source = known.source.min(source);
            return;
        }
        if self.book.len() >= MAX_CANDIDATES && source != Source::User {
            return;
        }
        let state = State::Idle { next: Instant::ZERO };
        self.book.insert(addr, Candidate { source, state, failures: 0, ticket: rng.next_u32() });
    }

    /// The next address to dial now, marked as being dialled.
    pub fn next(&mut self, now: Instant) -> Option<SocketAddr> {
        if self.dialling >= MAX_DIALLING {
            return None;
        }
        let ready = |c: &Candidate| matches!(c.state, State::Idle { next } if next <= now);
        let best = self.book.iter_mut().filter(|(_, c)| ready(c));
        let (addr, candidate) = best.min_by_key(|(_, c)| (c.source, c.failures, c.ticket))?;
        candidate.state = State::Dialling;
        self.dialling += 1;
        self.dialled += 1;
        Some(*addr)
    }

    /// A dialled address is connected now.
    pub fn connected(&mut self, addr: SocketAddr) {
        if let Some(candidate) = self.book.get_mut(&addr) {
            self.dialling -= usize::from(candidate.state == State::Dialling);
            candidate.state = State::Connected;
        }
    }

    /// A dialled address did not answer, was refused, or its connection ended without any use.
    pub fn failed(&mut self, now: Instant, addr: SocketAddr) {
        self.idle(addr, |candidate| {
            candidate.failures += 1;
            let (first, most) = if candidate.source == Source::User { BACK_OFF_USER } else { BACK_OFF };
            now + first.saturating_mul(1 << (candidate.failures - 1).min(16)).min(most)
        });
        let hopeless = |c: &Candidate| c.failures >= MAX_FAILURES && c.source != Source::User;
        if self.book.get(&addr).is_some_and(hopeless) {
            self.book.remove(&addr);
        }
    }

    /// The connection to an address that had been of use ended.
    pub fn left(&mut self, now: Instant, addr: SocketAddr) {
        self.idle(addr, |candidate| {
            candidate.failures = 0;
            now + if candidate.source == Source::User { BACK_OFF_USER.0 } else { BACK_OFF.0 }
        });
    }

    /// The address has everything, as we have: there is nothing to be had for either for long.
    pub fn satisfied(&mut self, now: Instant, addr: SocketAddr) {
        self.idle(addr, |_| now + BACK_OFF.1);
    }

    /// Never again.
    pub fn ban(&mut self, ip: IpAddr) {
        if self.banned.len() >= MAX_BANNED {
            self.banned.pop_first();
        }
        self.banned.insert(ip);
        let gone: Vec<_> = self.book.keys().filter(|a| a.ip() == ip).copied().collect();
        for addr in gone {
            if let Some(candidate) = self.book.remove(&addr) {
                self.dialling -= usize::from(candidate.state == State::Dialling);
            }
        }
    }

    /// Whether this address is banned.
    pub fn is_banned(&self, ip: IpAddr) -> bool {
        self.banned.contains(&ip)
    }

    /// Banned addresses.
    pub fn banned(&self) -> usize {
        self.banned.len()
    }

    /// Known addresses that are neither connected nor being dialled.
    pub fn idle_count(&self) -> usize {
        self.book.values().filter(|c| matches!(c.state, State::Idle { .. })).count()
    }

    /// Whether an address could be dialled now.
    pub fn has_ready(&self, now: Instant) -> bool {
        self.book.values().any(|c| matches!(c.state, State::Idle { next } if next <= now))
    }

    /// Connections in progress.
    pub const fn dialling(&self) -> usize {
        self.dialling
    }

    /// Connection attempts ever.
    pub const fn dialled(&self) -> u64 {
        self.dialled
    }

    fn idle(&mut self, addr: SocketAddr, next: impl FnOnce(&mut Candidate) -> Instant) {
        if let Some(candidate) = self.book.get_mut(&addr) {
            self.dialling -= usize::from(candidate.state == State::Dialling);
            let next = next(candidate);
            candidate.state = State::Idle { next };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    fn addr(n: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 6881))
    }

    #[test]
    fn the_users_peers_come_first_and_are_retried_soon() {
        let (mut book, mut rng) = (Candidates::default(), Pcg64::seed_from_u64(3));
        book.add(addr(1), Source::Tracker, &mut rng);
        book.add(addr(2), Source::User, &mut rng);
        assert_eq!(book.next(Instant::ZERO), Some(addr(2)));
        book.failed(Instant::ZERO, addr(2));
        assert_eq!(book.next(Instant::ZERO), Some(addr(1)));
        assert_eq!(book.next(Instant::ZERO), None);
        for second in [1, 10, 20, 40, 60, 80, 100, 120] {
            assert_eq!(book.next(Instant::from_secs(second)), Some(addr(2)), "never given up");
            book.failed(Instant::from_secs(second), addr(2));
        }
    }

    #[test]
    fn a_strangers_address_is_given_up_after_some_failures() {
        let (mut book, mut rng) = (Candidates::default(), Pcg64::seed_from_u64(3));
        book.add(addr(1), Source::Tracker, &mut rng);
        for n in 0..u64::from(MAX_FAILURES) {
            let now = Instant::from_secs(n * 1_000);
            assert_eq!(book.next(now), Some(addr(1)));
            book.failed(now, addr(1));
        }
        assert_eq!((book.next(Instant::FAR_FUTURE), book.dialling()), (None, 0));
    }

    #[test]
    fn the_book_and_the_number_of_dials_are_bounded() {
        let (mut book, mut rng) = (Candidates::default(), Pcg64::seed_from_u64(3));
        (0..5_000).for_each(|n| book.add(addr(n), Source::Tracker, &mut rng));
        assert_eq!(book.idle_count(), MAX_CANDIDATES);
        assert_eq!(std::iter::from_fn(|| book.next(Instant::ZERO)).count(), MAX_DIALLING);
    }

    #[test]
    fn a_banned_address_is_gone_for_good() {
        let (mut book, mut rng) = (Candidates::default(), Pcg64::seed_from_u64(3));
        book.add(addr(1), Source::User, &mut rng);
        assert_eq!(book.next(Instant::ZERO), Some(addr(1)));
        book.ban(addr(1).ip());
        book.failed(Instant::ZERO, addr(1));
        book.add(addr(1), Source::User, &mut rng);
        assert_eq!((book.next(Instant::FAR_FUTURE), book.dialling(), book.banned()), (None, 0, 1));
    }

    #[test]
    fn unusable_addresses_are_ignored() {
        let (mut book, mut rng) = (Candidates::default(), Pcg64::seed_from_u64(3));
        for bad in ["0.0.0.0:1", "10.0.0.1:0", "224.0.0.1:5", "[::]:5"] {
            book.add(bad.parse().unwrap(), Source::Tracker, &mut rng);
        }
        assert_eq!(book.idle_count(), 0);
    }
}
