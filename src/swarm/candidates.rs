//! Addresses that may be peers: known, being dialled, connected, banned.
//!
//! Invariant: bounded by `MAX_CANDIDATES`; a banned address is never dialled nor taken in. Addresses are
//! tried by source (the user's first), then by fewest failures, then by the seeded RNG's order. Who is in need calls a
//! few of them ahead of their time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use rand::{Rng as _, RngExt as _};
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

/// Who is in need calls so many at once, ...
const HURRIED: usize = 8;
/// ... with pauses between the first of these and twice that, which grow with the need to the second and twice that ...
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// ... by this part of it.
const PAUSE_PART: u32 = 30;

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
    /// When it was dialled last.
    dialled: Instant,
    /// When a connection to it that had been of use ended last.
    of_use: Option<Instant>,
    /// It is dialled ahead of its time, which is not held against it.
    hurried: bool,
}

impl Candidate {
    /// It is neither connected nor being dialled.
    const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle { .. })
    }

    /// When it may be dialled, if it is idle.
    const fn next(&self) -> Option<Instant> {
        match self.state {
            State::Idle { next } => Some(next),
            State::Dialling | State::Connected => None,
        }
    }

    /// It may be dialled now.
    fn is_ready(&self, now: Instant) -> bool {
        self.next().is_some_and(|next| next <= now)
    }
}

/// The book of addresses.
#[derive(Debug, Default)]
pub struct Candidates {
    book: BTreeMap<SocketAddr, Candidate>,
    banned: BTreeSet<IpAddr>,
    dialling: usize,
    dialled: u64,
    /// Nobody is hurried before.
    next_hurry: Instant,
    /// Nobody may be dialled before, unless something changes.
    none_before: Instant,
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
        let candidate = Candidate {
            source,
            state,
            failures: 0,
            ticket: rng.next_u32(),
            dialled: Instant::ZERO,
            of_use: None,
            hurried: false,
        };
        self.book.insert(addr, candidate);
        self.none_before = Instant::ZERO;
    }

    /// In need for so long: a few addresses are dialled ahead of their time now and then. The user's come first, then
    /// those that were of use last.
    pub fn hurry(&mut self, now: Instant, need: Duration, rng: &mut Pcg64) {
        if now < self.next_hurry {
            return;
        }
        let pause = (need / PAUSE_PART).clamp(PAUSE.0, PAUSE.1);
        let jitter = rng.random_range(0..=u64::try_from(pause.as_micros()).unwrap_or(u64::MAX));
        self.next_hurry = now + pause + Duration::from_micros(jitter);
        let waits = |c: &&mut Candidate| c.is_idle() && !c.is_ready(now);
        let mut waiting: Vec<_> = self.book.values_mut().filter(waits).collect();
        waiting.sort_by_key(|c| (c.source != Source::User, Reverse(c.of_use), c.dialled, c.ticket));
        for candidate in waiting.into_iter().take(HURRIED) {
            (candidate.state, candidate.hurried) = (State::Idle { next: now }, true);
        }
        self.none_before = Instant::ZERO;
    }

    /// The next address to dial now, marked as being dialled.
    pub fn next(&mut self, now: Instant) -> Option<SocketAddr> {
        if self.dialling >= MAX_DIALLING || now < self.none_before {
            return None;
        }
        let best = self.book.iter_mut().filter(|(_, c)| c.is_ready(now));
        let Some((addr, candidate)) = best.min_by_key(|(_, c)| (c.source, c.failures, c.ticket)) else {
            let next = self.book.values().filter_map(Candidate::next);
            self.none_before = next.min().unwrap_or(Instant::FAR_FUTURE);
            return None;
        };
        (candidate.state, candidate.dialled) = (State::Dialling, now);
        self.dialling += 1;
        self.dialled += 1;
        Some(*addr)
    }

    /// A dialled address is connected now.
    pub fn connected(&mut self, addr: SocketAddr) {
        if let Some(candidate) = self.book.get_mut(&addr) {
            self.dialling -= usize::from(candidate.state == State::Dialling);
            (candidate.state, candidate.hurried) = (State::Connected, false);
        }
    }

    /// A dialled address did not answer, was refused, or its connection ended without any use.
    pub fn failed(&mut self, now: Instant, addr: SocketAddr) {
        self.idle(addr, |candidate| {
            candidate.failures += u32::from(!std::mem::take(&mut candidate.hurried));
            let (first, most) = if candidate.source == Source::User { BACK_OFF_USER } else { BACK_OFF };
            now + first.saturating_mul(1 << candidate.failures.saturating_sub(1).min(16)).min(most)
        });
        let hopeless = |c: &Candidate| c.failures >= MAX_FAILURES && c.source != Source::User;
        if self.book.get(&addr).is_some_and(hopeless) {
            self.book.remove(&addr);
        }
    }

    /// The connection to an address that had been of use ended.
    pub fn left(&mut self, now: Instant, addr: SocketAddr) {
        self.idle(addr, |candidate| {
            (candidate.failures, candidate.of_use) = (0, Some(now));
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
        self.book.values().filter(|c| c.is_idle()).count()
    }

    /// Whether an address could be dialled now.
    pub fn has_ready(&self, now: Instant) -> bool {
        now >= self.none_before && self.book.values().any(|c| c.is_ready(now))
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
            self.none_before = self.none_before.min(next);
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

    /// Seconds at which each address is dialled while all fail and the need goes on for so long.
    fn dials_in_need(book: &mut Candidates, seconds: u64) -> Vec<(f64, SocketAddr)> {
        let (mut rng, mut dials) = (Pcg64::seed_from_u64(4), Vec::new());
        for ms in (0..seconds * 1_000).step_by(100) {
            let need = Duration::from_millis(ms);
            let now = Instant::from_secs(100) + need;
            book.hurry(now, need, &mut rng);
            while let Some(addr) = book.next(now) {
                dials.push((ms as f64 / 1_000.0, addr));
                book.failed(now, addr);
            }
        }
        dials
    }

    #[test]
    fn in_need_an_address_that_was_of_use_is_called_again_every_other_second_and_later_every_ten() {
        let (mut book, mut rng) = (Candidates::default(), Pcg64::seed_from_u64(3));
        book.add(addr(1), Source::Tracker, &mut rng);
        assert_eq!(book.next(Instant::ZERO), Some(addr(1)));
        book.connected(addr(1));
        book.left(Instant::from_secs(100), addr(1));
        let dials = dials_in_need(&mut book, 600);
        let pauses: Vec<_> = dials.windows(2).map(|pair| (pair[0].0, pair[1].0 - pair[0].0)).collect();
        assert!(dials[0].0 < 0.1, "{dials:?}");
        for (at, pause) in &pauses {
            let (least, most) = if *at < 30.0 { (0.9, 2.2) } else { (0.9, 10.2) };
            assert!((least..most).contains(pause), "{pause} at {at}");
        }
        assert!((15..=30).contains(&pauses.iter().filter(|(at, _)| *at < 30.0).count()), "{pauses:?}");
        assert!(dials.len() < 200 && pauses.last().is_some_and(|(_, pause)| *pause >= 4.9), "{pauses:?}");
        assert_eq!(book.idle_count(), 1, "it is not given up for that");
    }

    #[test]
    fn in_need_a_few_are_called_the_users_first_and_then_those_of_use_and_nobody_banned() {
        let (mut book, mut rng) = (Candidates::default(), Pcg64::seed_from_u64(3));
        (0..40).for_each(|n| book.add(addr(n), Source::Tracker, &mut rng));
        book.add(addr(77), Source::User, &mut rng);
        let all: Vec<_> = std::iter::from_fn(|| book.next(Instant::ZERO)).collect();
        for at in all {
            let useful = [addr(5), addr(6)].contains(&at);
            if useful {
                book.left(Instant::from_secs(100), at)
            } else {
                book.failed(Instant::from_secs(100), at)
            }
        }
        book.ban(addr(6).ip());
        let now = Instant::from_secs(100);
        book.hurry(now, Duration::ZERO, &mut rng);
        let hurried: Vec<_> = std::iter::from_fn(|| book.next(now)).collect();
        assert_eq!(hurried.len(), HURRIED);
        assert!(hurried.contains(&addr(77)) && hurried.contains(&addr(5)) && !hurried.contains(&addr(6)));
        hurried.iter().for_each(|at| book.failed(now, *at));
        let later = Instant::from_secs(103);
        book.hurry(later, Duration::from_secs(3), &mut rng);
        let others: Vec<_> = std::iter::from_fn(|| book.next(later)).collect();
        assert!(others.contains(&addr(77)) && others.contains(&addr(5)), "{others:?}");
        assert_eq!(others.iter().filter(|at| hurried.contains(at)).count(), 2, "the others take turns");
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
