//! A scripted peer: a small seed without engine, bent by its [`Behaviour`].
//!
//! It serves requests in order and hands at most `AHEAD` blocks of each peer to its link, so that a cancel
//! still catches the rest (as the seeds of the field do that limit their rate above the socket).

use std::collections::{BTreeMap, VecDeque};

use rand_pcg::Pcg64;

use crate::metainfo::geometry::Geometry;
use crate::time::{Duration, Instant};
use crate::wire::extension::ExtensionHandshake;
use crate::wire::live;
use crate::wire::message::{Message, RawBlock};

use super::behaviour::{Answer, Behaviour};
use super::broadcast::Broadcast;
use super::disk::Matter;
use super::live_scripted::Announcer;
use super::world::End;

/// Blocks of one peer that wait in the link.
const AHEAD: usize = 2;
/// Requests of one peer that are kept, told in the extension handshake (libtorrent's default).
const REQQ: u32 = 2_000;
/// Mischief is thought of this often.
const TICK: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Client {
    queue: VecDeque<RawBlock>,
    unchoked: bool,
    in_link: usize,
}

/// A peer without engine.
pub struct Scripted {
    behaviour: Box<dyn Behaviour>,
    geometry: Geometry,
    matter: Matter,
    /// What it says of a broadcast.
    announcer: Option<Announcer>,
    rng: Pcg64,
    clients: BTreeMap<End, Client>,
    next_tick: Instant,
    opens: Option<Instant>,
    given: u64,
}

/// Messages to be sent, with their connections.
pub type Said = Vec<(End, Message)>;

impl Scripted {
    /// A peer that has the torrent of this geometry.
    pub fn new(behaviour: Box<dyn Behaviour>, geometry: Geometry, rng: Pcg64) -> Self {
        Self::of(behaviour, geometry, (Matter::Film, None), rng)
    }

    /// A peer that has each piece of a broadcast as soon as it is made.
    pub fn live(behaviour: Box<dyn Behaviour>, broadcast: Broadcast, rng: Pcg64) -> Self {
        let geometry = broadcast.show().geometry();
        let announcer = Some(Announcer::new(broadcast.clone()));
        Self::of(behaviour, geometry, (Matter::Live(broadcast), announcer), rng)
    }

    fn of(
        behaviour: Box<dyn Behaviour>,
        geometry: Geometry,
        (matter, announcer): (Matter, Option<Announcer>),
        rng: Pcg64,
    ) -> Self {
        Self {
            behaviour,
            geometry,
            matter,
            announcer,
            rng,
            clients: BTreeMap::new(),
            next_tick: Instant::ZERO,
            opens: None,
            given: 0,
        }
    }

    /// Whether it speaks BEP 6.
    pub fn is_fast(&self) -> bool {
        self.behaviour.is_fast()
    }

    /// Whether what it says can be told from what it means.
    pub fn is_honest(&self) -> bool {
        self.behaviour.is_honest()
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.behaviour.name()
    }

    /// Payload bytes given to its link.
    pub const fn given(&self) -> u64 {
        self.given
    }

    /// Somebody shook hands.
    pub fn connected(&mut self, end: End) -> Said {
        self.clients.insert(end, Client::default());
        let hands = ExtensionHandshake { reqq: Some(REQQ), ..ExtensionHandshake::default() };
        let (opening, hands) = match &self.announcer {
            None => (self.behaviour.opening(&self.geometry, &mut self.rng), hands),
            Some(announcer) => {
                let state = self.behaviour.state(announcer.state());
                let hands =
                    ExtensionHandshake { live: Some(state), ..hands.announcing(live::NAME, live::OUR_ID) };
                (announcer.opening(&self.geometry), hands)
            }
        };
        vec![(end, opening), (end, Message::Extended { id: 0, payload: hands.encode() })]
    }

    /// Somebody left.
    pub fn closed(&mut self, end: End) {
        self.clients.remove(&end);
    }

    /// Somebody said something.
    pub fn message(&mut self, now: Instant, end: End, message: &Message) -> Said {
        let Some(client) = self.clients.get_mut(&end) else { return Said::new() };
        match message {
            Message::Interested if !client.unchoked => {
                client.unchoked = true;
                return vec![(end, Message::Unchoke)];
            }
            Message::Request(block) if client.unchoked && client.queue.len() < REQQ as usize => {
                client.queue.push_back(*block);
            }
            Message::Request(block) if self.behaviour.is_fast() => {
                return vec![(end, Message::Reject(*block))];
            }
            Message::Cancel(block) => return self.cancel(end, *block),
            _ => {}
        }
        self.serve(now)
    }

    /// A block left for the network.
    pub fn sent(&mut self, now: Instant, end: End) -> Said {
        if let Some(client) = self.clients.get_mut(&end) {
            client.in_link = client.in_link.saturating_sub(1);
        }
        self.serve(now)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Said {
        let mut said = Said::new();
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            let ends: Vec<_> = self.clients.keys().copied().collect();
            if let Some(announcer) = &mut self.announcer {
                let news = announcer.tick(now, &mut *self.behaviour);
                said.extend(news.into_iter().flat_map(|m| ends.iter().map(move |end| (*end, m.clone()))));
            }
            for end in ends {
                for message in self.behaviour.mischief(now, &self.geometry, &mut self.rng) {
                    said.extend(self.change(end, &message));
                    said.push((end, message));
                }
            }
        }
        said.extend(self.serve(now));
        said
    }

    /// When it wants to be ticked again.
    pub fn wake(&self) -> Instant {
        if self.clients.is_empty() {
            return Instant::FAR_FUTURE;
        }
        self.opens.map_or(self.next_tick, |opens| opens.min(self.next_tick))
    }

    fn cancel(&mut self, end: End, block: RawBlock) -> Said {
        let Some(client) = self.clients.get_mut(&end) else { return Said::new() };
        let Some(at) = client.queue.iter().position(|b| *b == block) else { return Said::new() };
        client.queue.remove(at);
        if self.behaviour.is_fast() { vec![(end, Message::Reject(block))] } else { Said::new() }
    }

    /// What its own choking does to the requests that it has.
    fn change(&mut self, end: End, message: &Message) -> Said {
        let fast = self.behaviour.is_fast();
        let Some(client) = self.clients.get_mut(&end) else { return Said::new() };
        match message {
            Message::Choke => {
                client.unchoked = false;
                let refused = client.queue.drain(..).filter(|_| fast);
                refused.map(|block| (end, Message::Reject(block))).collect()
            }
            Message::Unchoke => {
                client.unchoked = true;
                Said::new()
            }
            _ => Said::new(),
        }
    }

    /// One block of each client in turn, as long as links and behaviour let it.
    fn serve(&mut self, now: Instant) -> Said {
        let mut said = Said::new();
        self.opens = None;
        let mut ends: Vec<_> = self.clients.keys().copied().collect();
        while !ends.is_empty() && self.opens.is_none() {
            ends.retain(|end| self.serve_one(now, *end, &mut said));
        }
        said
    }

    fn serve_one(&mut self, now: Instant, end: End, said: &mut Said) -> bool {
        let Some(client) = self.clients.get_mut(&end) else { return false };
        let Some(&raw) = client.queue.front().filter(|_| client.in_link < AHEAD) else { return false };
        if let Some(opens) = self.behaviour.opens_at(now, raw.length).filter(|at| *at > now) {
            self.opens = Some(opens);
            return false;
        }
        client.queue.pop_front();
        let block = self
            .matter
            .piece(&self.geometry, raw.index)
            .and_then(|piece| self.geometry.request(piece, raw.begin, raw.length));
        let right = block.and_then(|b| Some((b, self.matter.content(b.piece, b.begin, b.length)?)));
        let Some((block, right)) = right else { return true };
        match self.behaviour.answer(block, right, &mut self.rng) {
            Answer::Give(data) => {
                client.in_link += 1;
                self.given += data.len() as u64;
                said.push((end, Message::Piece { index: raw.index, begin: raw.begin, data }));
            }
            Answer::Reject => said.push((end, Message::Reject(raw))),
            Answer::Silence => {}
        }
        true
    }
}
