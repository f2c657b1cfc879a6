//! How messages get from host to host.
//!
//! A message waits in its connection until the sender's link takes it (connections in turn, one message at a
//! time), travels for the links' delay without overtaking those before it, and waits for the receiver's link.

use std::collections::VecDeque;

use crate::swarm::{Input, PeerKey};
use crate::time::Instant;
use crate::wire::message::Message;

use super::agenda::Happening;
use super::link::{Link, serialisation};
use super::world::{End, HostId, Mind, World};

/// One side of a connection.
#[derive(Debug)]
pub(super) struct Side {
    host: HostId,
    /// What the engine there, if one is, calls the other side.
    pub(super) peer: Option<PeerKey>,
    queue: VecDeque<Message>,
    /// How often it stands in its host's turn.
    turns: usize,
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
        let side = |host| Side { host, peer: None, queue: VecDeque::new(), turns: 0, arrives: Instant::ZERO };
        Self { sides: hosts.map(side), open: true }
    }

    /// Nobody was at the other side after all.
    pub(super) const fn fail(&mut self) {
        self.open = false;
    }
}

impl World {
    pub(super) fn on_sent(&mut self, from: End, message: Message) {
        let id = self.host_of(from);
        self.hosts[id.0].sending = false;
        if !self.side(from).queue.is_empty() {
            self.take_turn(id, from);
        }
        let payload = match &message {
            Message::Piece { data, .. } => data.len() as u64,
            _ => 0,
        };
        self.travel(from, message);
        self.transmit(id);
        if payload > 0 {
            self.tell_sent(id, from, payload);
        }
    }

    /// A message is on its way to the other side's link.
    pub(super) fn travel(&mut self, from: End, message: Message) {
        if !self.connections[from.connection].open {
            return;
        }
        let (ours, theirs) = (self.link_of(from), self.link_of(from.other()));
        let at = (self.now + ours.delay_to(&theirs, &mut self.rng)).max(self.side(from).arrives);
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
        let time = serialisation(host.link.down, message.wire_length());
        let at = host.receiving_until.max(self.now) + time;
        host.receiving_until = at;
        let delivered = Happening::Delivered { to, message };
        if at > self.now {
            return self.plan(at, delivered);
        }
        if let Some(Happening::Delivered { to, message }) = self.held_up(delivered) {
            self.on_delivered(to, message);
        }
    }

    pub(super) fn on_delivered(&mut self, to: End, message: Message) {
        if !self.connections[to.connection].open {
            return;
        }
        let (now, id) = (self.now, self.host_of(to));
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
        let (id, side) = (self.host_of(end), self.side(end));
        side.queue.push_back(message);
        if side.queue.len() == 1 && side.turns == 0 {
            self.take_turn(id, end);
        }
        self.transmit(id);
    }

    fn take_turn(&mut self, id: HostId, end: End) {
        self.side(end).turns += 1;
        self.hosts[id.0].turn.push_back(end);
    }

    /// The link takes the next message, if it is free.
    pub(super) fn transmit(&mut self, id: HostId) {
        while !self.hosts[id.0].sending {
            let Some(end) = self.hosts[id.0].turn.pop_front() else { return };
            self.side(end).turns -= 1;
            let Some(message) = self.side(end).queue.pop_front() else { continue };
            let host = &mut self.hosts[id.0];
            host.sending = true;
            let at = self.now + serialisation(host.link.up, message.wire_length());
            self.plan(at, Happening::Sent { from: end, message });
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
