//! How messages get from host to host.
//!
//! A message waits in its connection until the sender's link takes it (connections in turn, one message at a
//! time), travels for the links' delay without overtaking those before it, and waits for the receiver's link.
//!
//! Most messages are short, and would cost three events each. So a link takes up to a [`SEGMENT`] of them at once, each
//! behind the last, and one that nothing waits in front of when it arrives is read at once: its few bytes only make
//! those wait that come behind it.

use std::collections::VecDeque;

use crate::swarm::{Input, PeerKey};
use crate::time::Instant;
use crate::wire::message::Message;

use super::agenda::Happening;
use super::link::{Link, serialisation};
use super::world::{End, HostId, Mind, World};

/// Bytes that a link takes at once: of so many, nobody else's message could be in front. What TCP sends at a time.
const SEGMENT: usize = 1_460;

/// One side of a connection.
#[derive(Debug)]
pub(super) struct Side {
    host: HostId,
    /// What the engine there, if one is, calls the other side.
    pub(super) peer: Option<PeerKey>,
    queue: VecDeque<Message>,
    /// It stands in its host's turn.
    in_turn: bool,
    /// When the last message from here arrives: those behind it cannot overtake.
    arrives: Instant,
}

/// A connection, which stays in the book when it is closed.
#[derive(Debug)]
pub(super) struct Connection {
    sides: [Side; 2],
    open: bool,
}

impl Connection {
    /// A new connection between two hosts, the caller first.
    pub(super) fn new(hosts: [HostId; 2]) -> Self {
        let side =
            |host| Side { host, peer: None, queue: VecDeque::new(), in_turn: false, arrives: Instant::ZERO };
        Self { sides: hosts.map(side), open: true }
    }

    /// Nobody was at the other side after all.
    pub(super) const fn fail(&mut self) {
        self.open = false;
    }
}

impl World {
    /// A host's link is free again; `payload`: what it sent last, if that was a block.
    pub(super) fn on_free(&mut self, id: HostId, payload: Option<(End, u64)>) {
        self.hosts[id.0].awaits_link = false;
        payload.iter().for_each(|(end, _)| self.take_turn(id, *end));
        self.transmit(id);
        if let Some((end, bytes)) = payload {
            self.tell_sent(id, end, bytes);
        }
    }

    /// A message leaves its host then, and is on its way to the other side's link.
    fn travel(&mut self, leaves: Instant, from: End, message: Message) {
        let (ours, theirs) = (self.link_of(from), self.link_of(from.other()));
        let at = (leaves + ours.delay_to(&theirs, &mut self.rng)).max(self.side(from).arrives);
        self.side(from).arrives = at;
        self.plan(at, Happening::Arrived { to: from.other(), message });
    }

    pub(super) fn tell_sent(&mut self, id: HostId, end: End, bytes: u64) {
        let now = self.now;
        let peer = self.side(end).peer;
        match &mut self.hosts[id.0].mind {
            Mind::Engine(_) => {
                if let Some(peer) = peer {
                    let input = Input::Sent { peer, bytes };
                    if let Some(Happening::Due { host, input }) =
                        self.held_up(Happening::Due { host: id, input })
                    {
                        self.step(host, input);
                    }
                }
            }
            Mind::Scripted(scripted) => {
                let said = scripted.sent(now, end);
                self.say(id, said);
            }
        }
    }

    pub(super) fn on_arrived(&mut self, to: End, message: Message) {
        let id = self.host_of(to);
        let host = &mut self.hosts[id.0];
        let length = message.wire_length();
        let at = host.receiving_until.max(self.now) + serialisation(host.link.down, length);
        host.receiving_until = at;
        let at_once = at <= self.now || host.unread == 0 && length <= SEGMENT;
        host.unread += 1;
        let delivered = Happening::Delivered { to, message };
        if !at_once {
            return self.plan(at, delivered);
        }
        if let Some(Happening::Delivered { to, message }) = self.held_up(delivered) {
            self.on_delivered(to, message);
        }
    }

    pub(super) fn on_delivered(&mut self, to: End, message: Message) {
        let id = self.host_of(to);
        self.hosts[id.0].unread -= 1;
        if !self.connections[to.connection].open {
            return;
        }
        let now = self.now;
        if let Message::Piece { index, .. } = &message {
            self.note_way(to, *index);
        }
        let peer = self.side(to).peer;
        match &mut self.hosts[id.0].mind {
            Mind::Engine(_) => {
                if let Some(peer) = peer {
                    self.step(id, Input::Message { peer, message });
                }
            }
            Mind::Scripted(scripted) => {
                let said = scripted.message(now, to, &message);
                self.say(id, said);
            }
        }
    }

    /// Notes over how many hosts a block came.
    fn note_way(&mut self, to: End, index: u32) {
        let depth = match &self.hosts[self.host_of(to.other()).0].mind {
            Mind::Engine(giver) => giver.depth(index),
            Mind::Scripted(_) => 0,
        };
        let id = self.host_of(to);
        if let Mind::Engine(host) = &mut self.hosts[id.0].mind {
            host.comes_from(index, depth);
        }
    }

    pub(super) fn on_closed(&mut self, to: End) {
        let id = self.host_of(to);
        let peer = self.side(to).peer.take();
        match &mut self.hosts[id.0].mind {
            Mind::Engine(host) => {
                if let Some(peer) = peer {
                    host.disconnected(peer);
                    self.step(id, Input::Closed { peer, hostile: false });
                }
            }
            Mind::Scripted(scripted) => scripted.closed(to),
        }
    }

    pub(super) fn leave(&mut self, id: HostId) {
        let theirs = std::mem::take(&mut self.hosts[id.0].ends);
        theirs.into_iter().for_each(|end| self.close(end));
    }

    /// This side hangs up: the other one hears of it behind everything that is under way.
    pub(super) fn close(&mut self, end: End) {
        if !std::mem::replace(&mut self.connections[end.connection].open, false) {
            return;
        }
        let distance = self.link_of(end).distance(&self.link_of(end.other()));
        let at = (self.now + distance).max(self.side(end).arrives);
        self.connections[end.connection].sides.iter_mut().for_each(|s| s.queue = VecDeque::new());
        self.plan(at, Happening::Closed { to: end.other() });
    }

    /// Puts a message behind the others of its connection.
    pub(super) fn send(&mut self, end: End, message: Message) {
        if !self.connections[end.connection].open {
            return;
        }
        let id = self.host_of(end);
        self.side(end).queue.push_back(message);
        // If there is more, it is in line, or comes again when the link has sent what it took.
        if self.side(end).queue.len() == 1 {
            self.take_turn(id, end);
        }
        self.transmit(id);
    }

    /// A connection stands in line for the link, once, if it has something to send.
    fn take_turn(&mut self, id: HostId, end: End) {
        let side = self.side(end);
        if !side.queue.is_empty() && !std::mem::replace(&mut side.in_turn, true) {
            self.hosts[id.0].turn.push_back(end);
        }
    }

    /// The link takes what comes next, if it is free: a block, or short messages, and then a block.
    pub(super) fn transmit(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        if host.awaits_link || host.turn.is_empty() {
            return;
        }
        if host.sending_until > self.now {
            host.awaits_link = true;
            let at = host.sending_until;
            return self.plan(at, Happening::Free { host: id, payload: None });
        }
        let (up, mut at, mut room) = (host.link.up, self.now, SEGMENT);
        while room > 0
            && let Some(end) = self.hosts[id.0].turn.pop_front()
        {
            self.side(end).in_turn = false;
            let Some(message) = self.side(end).queue.pop_front() else { continue };
            let length = message.wire_length();
            at += serialisation(up, length);
            if let Message::Piece { data, .. } = &message {
                let payload = Some((end, data.len() as u64));
                self.hosts[id.0].awaits_link = true;
                self.plan(at, Happening::Free { host: id, payload });
                return self.travel(at, end, message);
            }
            self.travel(at, end, message);
            self.take_turn(id, end);
            room = room.saturating_sub(length);
        }
        self.hosts[id.0].sending_until = at;
        if !self.hosts[id.0].turn.is_empty() {
            self.hosts[id.0].awaits_link = true;
            self.plan(at, Happening::Free { host: id, payload: None });
        }
    }

    pub(super) fn side(&mut self, end: End) -> &mut Side {
        &mut self.connections[end.connection].sides[end.side]
    }

    pub(super) fn host_of(&self, end: End) -> HostId {
        self.connections[end.connection].sides[end.side].host
    }

    pub(super) fn link_of(&self, end: End) -> Link {
        self.hosts[self.host_of(end).0].link
    }
}
