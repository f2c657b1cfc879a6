//! What will happen when.
//!
//! Invariant: events come out in the order of (instant, number), the number being the order in which they were
//! planned; nothing else decides what comes first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use crate::swarm::Input;
use crate::time::Instant;
use crate::wire::message::Message;

use super::link::Change;
use super::world::{End, HostId};

/// What happens.
#[derive(Debug)]
pub(super) enum Happening {
    /// A host's time has come.
    Wake(HostId),
    /// A host joins the swarm.
    Join(HostId),
    /// The tracker answers a host.
    Found(HostId),
    /// A dialled address answers.
    Shaken { from: HostId, addr: SocketAddr },
    /// A host's link is free again, after a block of so many bytes on this connection if there is one.
    Free { host: HostId, payload: Option<(End, u64)> },
    /// It reached the receiver's link.
    Arrived { to: End, message: Message },
    /// It is read.
    Delivered { to: End, message: Message },
    /// The other side has hung up.
    Closed { to: End },
    /// A job is done.
    Due { host: HostId, input: Input },
    /// A link changes.
    Changed { host: HostId, change: Change },
}

/// Events of this much time are sorted at once.
const SLICE: u64 = 1_000;
/// So many slices ahead of now are told apart.
const SLICES: u64 = 4_096;

/// When, the number, and where what happens lies.
type Entry = Reverse<(Instant, u64, usize)>;

/// The events to come.
///
/// One queue of all of them would be long, and far apart in memory: those of this slice of time are in order, those
/// of the next ones are not yet, and what is further away is in order, too, until it comes nearer. What happens lies
/// beside the queues, which move their entries again and again.
#[derive(Debug)]
pub(super) struct Agenda {
    /// Of the present slice, which has this number, and of those before it.
    present: BinaryHeap<Entry>,
    slice: u64,
    /// Of the next [`SLICES`], at their numbers modulo that.
    next: Vec<Vec<Entry>>,
    /// How many those are.
    waiting: usize,
    later: BinaryHeap<Entry>,
    places: Vec<Option<Happening>>,
    free: Vec<usize>,
    planned: u64,
}

impl Default for Agenda {
    fn default() -> Self {
        Self {
            present: BinaryHeap::new(),
            slice: 0,
            next: (0..SLICES).map(|_| Vec::new()).collect(),
            waiting: 0,
            later: BinaryHeap::new(),
            places: Vec::new(),
            free: Vec::new(),
            planned: 0,
        }
    }
}

impl Agenda {
    /// Something will happen.
    pub(super) fn plan(&mut self, at: Instant, what: Happening) {
        self.planned += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(what);
        self.insert(Reverse((at, self.planned, place)));
    }

    /// When something happens next.
    pub(super) fn next_at(&mut self) -> Option<Instant> {
        while self.present.is_empty() {
            self.advance()?;
        }
        self.present.peek().map(|Reverse((at, ..))| *at)
    }

    /// What happens next.
    pub(super) fn next(&mut self) -> Option<(Instant, Happening)> {
        self.next_at()?;
        let Reverse((at, _, place)) = self.present.pop()?;
        self.free.push(place);
        self.places[place].take().map(|what| (at, what))
    }

    fn insert(&mut self, entry: Entry) {
        let slice = slice_of(&entry);
        if slice <= self.slice {
            self.present.push(entry);
        } else if slice - self.slice <= SLICES {
            self.next[index(slice)].push(entry);
            self.waiting += 1;
        } else {
            self.later.push(entry);
        }
    }

    /// The next slice is the present one; `None` when there is nothing more to come.
    fn advance(&mut self) -> Option<()> {
        self.slice = if self.waiting > 0 { self.slice + 1 } else { self.later.peek().map(slice_of)? };
        let of_it = std::mem::take(&mut self.next[index(self.slice)]);
        self.waiting -= of_it.len();
        self.present.extend(of_it);
        while self.later.peek().is_some_and(|entry| slice_of(entry) <= self.slice + SLICES) {
            let entry = self.later.pop()?;
            self.insert(entry);
        }
        Some(())
    }
}

fn slice_of(Reverse((at, ..)): &Entry) -> u64 {
    at.micros() / SLICE
}

const fn index(slice: u64) -> usize {
    (slice % SLICES) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_for_one_instant_happens_in_the_order_of_planning() {
        let mut agenda = Agenda::default();
        for (ms, host) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            agenda.plan(Instant::from_millis(ms), Happening::Wake(HostId(host)));
        }
        let order: Vec<_> = std::iter::from_fn(|| agenda.next())
            .map(|(at, what)| match what {
                Happening::Wake(host) => (at.micros() / 1_000, host.0),
                other => unreachable!("{other:?}"),
            })
            .collect();
        assert_eq!(order, [(3, 1), (3, 3), (5, 0), (5, 2)]);
    }

    #[test]
    fn what_is_near_and_what_is_far_comes_in_order() {
        let (mut agenda, mut planned, mut now, mut number) = (Agenda::default(), Vec::new(), 0, 1_u64);
        for n in 0..20_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let away = (number >> 33) % [500, 30_000, 9_000_000, 60_000_000][n % 4];
            agenda.plan(Instant::from_micros(now + away), Happening::Wake(HostId(n)));
            planned.push((now + away, n));
            if n % 3 > 0 {
                let (at, what) = agenda.next().unwrap();
                let soonest = planned.iter().copied().min().unwrap();
                planned.retain(|entry| *entry != soonest);
                now = at.micros();
                assert!(matches!(what, Happening::Wake(host) if (now, host.0) == soonest));
            }
        }
    }
}
