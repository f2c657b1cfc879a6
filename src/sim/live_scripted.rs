//! What a scripted peer says of a broadcast: each new piece, and its newest stamp once a second.

use bytes::Bytes;

use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::Geometry;
use crate::time::{Duration, Instant};
use crate::wire::live::{LiveState, OUR_ID};
use crate::wire::message::Message;

use super::behaviour::Behaviour;
use super::broadcast::Broadcast;

/// Its stamp is told this often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The mouth of a scripted peer.
#[derive(Debug)]
pub(super) struct Announcer {
    broadcast: Broadcast,
    /// The next piece to announce.
    next: u32,
    next_state: Instant,
}

impl Announcer {
    pub(super) const fn new(broadcast: Broadcast) -> Self {
        Self { broadcast, next: 0, next_state: Instant::ZERO }
    }

    /// How far it has got.
    pub(super) fn state(&self) -> LiveState {
        let newest = self.broadcast.newest();
        LiveState {
            stamp: newest.and_then(|newest| self.broadcast.stamp(newest)).map(|stamp| stamp.encode()),
            oldest: newest.map(|newest| self.broadcast.show().live_ring().oldest(newest)),
            headers_number: None,
            headers: None,
        }
    }

    /// All that is in the window.
    pub(super) fn opening(&self, geometry: &Geometry) -> Message {
        let Some(newest) = self.broadcast.newest() else { return Message::HaveNone };
        let mut has = Bitfield::empty(geometry);
        let kept = geometry.run(self.broadcast.show().live_ring().oldest(newest)..newest + 1);
        kept.for_each(|piece| _ = has.insert(piece));
        Message::Bitfield(Bytes::copy_from_slice(has.as_wire()))
    }

    /// What there is to say to everybody.
    pub(super) fn tick(&mut self, now: Instant, behaviour: &mut dyn Behaviour) -> Vec<Message> {
        let mut said = Vec::new();
        let Some(newest) = self.broadcast.newest() else { return said };
        if now >= self.next_state {
            self.next_state = now + TELL_EVERY;
            let payload = behaviour.state(self.state()).encode();
            said.push(Message::Extended { id: OUR_ID, payload });
        }
        let slots = self.broadcast.show().live_ring();
        let new = (self.next..=newest).filter(|number| behaviour.announces(*number));
        said.extend(new.map(|number| Message::Have(slots.slot(number))));
        self.next = newest + 1;
        said
    }
}
