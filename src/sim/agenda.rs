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

/// The events to come.
///
/// What happens lies beside the queue, which moves its entries again and again.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// When, the number, and where what happens lies.
    queue: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    places: Vec<Option<Happening>>,
    free: Vec<usize>,
    planned: u64,
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
        self.queue.push(Reverse((at, self.planned, place)));
    }

    /// When something happens next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// What happens next.
    pub(super) fn next(&mut self) -> Option<(Instant, Happening)> {
        let Reverse((at, _, place)) = self.queue.pop()?;
        self.free.push(place);
        self.places[place].take().map(|what| (at, what))
    }
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
}
