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
    /// The link of this side is free again after this message.
    Sent { from: End, message: Message },
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

/// One event.
#[derive(Debug)]
struct Planned {
    at: Instant,
    number: u64,
    what: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The events to come.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    queue: BinaryHeap<Reverse<Planned>>,
    planned: u64,
}

impl Agenda {
    /// Something will happen.
    pub(super) fn plan(&mut self, at: Instant, what: Happening) {
        self.planned += 1;
        self.queue.push(Reverse(Planned { at, number: self.planned, what }));
    }

    /// What happens next.
    pub(super) fn next(&mut self) -> Option<(Instant, Happening)> {
        self.queue.pop().map(|Reverse(planned)| (planned.at, planned.what))
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
