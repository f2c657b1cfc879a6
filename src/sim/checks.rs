//! What must never happen: a watcher beside each engine that sees all inputs and outputs and panics, naming the
//! seed and the time, when the engine breaks a rule of the protocol or of the house.
//!
//! Safety only: no request to a choking peer (but allowed-fast pieces), for a piece that it has not announced,
//! outside the torrent, for what is there already, twice, or beyond the peer's own queue limit; no block out
//! that is not verified or was not asked for; no byte to a viewer that is not verified; bounded peers, dials,
//! memory and outputs. What only a broadcast can break is in `live_checks`.

use std::collections::{BTreeMap, BTreeSet};

use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{BLOCK_LENGTH, Geometry, PieceIndex};
use crate::swarm::candidates::MAX_DIALLING;
use crate::swarm::policy::Policy;
use crate::swarm::{Config, Input, Job, Output, PeerKey};
use crate::time::Instant;
use crate::wire::extension::ExtensionHandshake;
use crate::wire::g2g;
use crate::wire::message::{Message, RawBlock};

use super::broadcast::same;
use super::disk::{Disk, Matter};
use super::held::Held;
use super::live_checks::LiveChecks;
use super::peer_table::PeerTable;

/// Requests under way at a peer that has not told its limit.
const DEFAULT_REQQ: usize = 250;
/// Most requests under way at any peer.
const MAX_REQUESTS: usize = 2_048;
/// Bytes asked for and not verified, over all peers: the engine's own limit with room for second requests.
const MAX_IN_FLIGHT: u64 = 64 << 20;
/// Peers that may request a film at a time: the choker's slots and the optimistic one.
const MAX_UNCHOKED: usize = 21;
/// Most outputs of one step; more is a loop.
const MAX_OUTPUTS: usize = 1_000_000;

/// One connection as its engine must see it.
#[derive(Debug)]
struct Watch {
    fast: bool,
    choking_us: bool,
    allowed: BTreeSet<u32>,
    has: Held,
    /// What it says can be told from what it means.
    honest: bool,
    /// Only the first word about pieces may be a bitfield; later ones are ignored.
    spoken: bool,
    interested: bool,
    choked: bool,
    asked: BTreeSet<RawBlock>,
    reqq: usize,
    theirs: BTreeMap<RawBlock, u32>,
    /// It is invited instead of waiting for a slot.
    trades: bool,
}

/// The watcher of one engine.
#[derive(Debug)]
pub struct Checks {
    /// Names the run in panics.
    seed: u64,
    host: String,
    geometry: Geometry,
    matter: Matter,
    max_peers: usize,
    max_unchoked: usize,
    budget: Option<u64>,
    live: Option<LiveChecks>,
    watches: PeerTable<Box<Watch>>,
    /// Requests under way and peers that are not choked, of all watches.
    sums: Sums,
    dialling: usize,
    verifying: BTreeMap<PieceIndex, u64>,
    /// The sum of that.
    verifying_bytes: u64,
}

/// What is limited over all peers.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    asked: usize,
    unchoked: usize,
}

impl Checks {
    /// A watcher for an engine with these limits.
    pub fn new(seed: u64, host: String, geometry: Geometry, matter: Matter, config: &Config) -> Self {
        let passes_on = config.live.is_some() && !config.policy.is_stock();
        let serves_all = passes_on || config.policy == Policy::SequentialToAll;
        Self {
            seed,
            host,
            geometry,
            matter,
            max_peers: config.max_peers,
            max_unchoked: if serves_all { config.max_peers } else { MAX_UNCHOKED },
            budget: config.budget,
            live: config.live.as_ref().map(|live| LiveChecks::new(live.ring)),
            watches: PeerTable::default(),
            sums: Sums::default(),
            dialling: 0,
            verifying: BTreeMap::new(),
            verifying_bytes: 0,
        }
    }

    /// A peer has shaken hands.
    pub fn on_connected(&mut self, peer: PeerKey, fast: bool, honest: bool) {
        self.watches.insert(
            peer,
            Box::new(Watch {
                fast,
                choking_us: true,
                allowed: BTreeSet::new(),
                has: Held::empty(&self.geometry),
                honest,
                spoken: false,
                interested: false,
                choked: true,
                asked: BTreeSet::new(),
                reqq: DEFAULT_REQQ,
                theirs: BTreeMap::new(),
                trades: false,
            }),
        );
    }

    /// A dial ended, either way.
    pub fn on_dialled(&mut self) {
        self.dialling -= 1;
    }

    /// The engine is about to be told this.
    pub fn on_input(&mut self, input: &Input) {
        self.live.iter_mut().for_each(|live| live.on_input(input));
        match input {
            Input::Message { peer, message } => {
                let Some(watch) = self.watches.get_mut(*peer) else { return };
                if let Message::Have(index) = message {
                    return watch.hears_of(self.matter.piece(&self.geometry, *index));
                }
                self.sums.take(watch);
                watch.hears(&self.geometry, &self.matter, message);
                self.sums.add(watch);
            }
            Input::Closed { peer, .. } => self.forget(*peer),
            Input::Verified { piece, .. } => {
                self.verifying_bytes -= self.verifying.remove(piece).unwrap_or_default();
            }
            _ => {}
        }
    }

    fn forget(&mut self, peer: PeerKey) {
        self.watches.remove(peer).iter().for_each(|watch| self.sums.take(watch));
    }

    /// The engine says this; `written`: what is verified and on disk.
    pub fn on_output(&mut self, now: Instant, output: &Output, written: &Held) {
        match output {
            Output::Send { peer, message } => self.on_send(now, *peer, message, written),
            Output::Close { peer } => {
                self.ensure(now, self.watches.get(*peer).is_some(), "closed twice");
                self.forget(*peer);
            }
            Output::Dial { .. } => {
                self.dialling += 1;
                self.ensure(now, self.dialling <= MAX_DIALLING, "too many dials");
            }
            Output::Start(Job::Verify { piece, blocks }) => {
                let bytes = blocks.iter().map(|b| b.len() as u64).sum();
                let again = self.verifying.insert(*piece, bytes).is_some();
                self.verifying_bytes += bytes;
                self.ensure(now, !again, "verified twice at a time");
                self.ensure(now, bytes == u64::from(self.geometry.piece_size(*piece)), "a piece with gaps");
                self.ensure(now, !written.has(*piece), "verified what is there");
            }
            Output::Start(Job::Discard { piece }) => {
                self.ensure(now, self.live.is_some() || written.has(*piece), "discarded what is not there");
            }
            _ => {}
        }
    }

    /// A step ended with so many outputs; `used`: bytes on disk.
    pub fn on_step(&self, now: Instant, outputs: usize, disk: &Disk) {
        self.ensure(now, outputs < MAX_OUTPUTS, "no end of outputs");
        // Blocks are at most a block long: counting them is enough.
        let asked = self.sums.asked as u64 * u64::from(BLOCK_LENGTH);
        let most = MAX_IN_FLIGHT.max(5 * u64::from(self.geometry.piece_length()));
        self.ensure(now, asked + self.verifying_bytes <= most, "too much in flight");
        self.ensure(now, self.watches.len() <= self.max_peers, "more peers than allowed");
        self.ensure(now, self.sums.unchoked <= self.max_unchoked, "more peers unchoked than there are slots");
        if let Some(budget) = self.budget {
            let slack = 4 * u64::from(self.geometry.piece_length());
            self.ensure(now, disk.used() <= budget + slack, "more kept than the budget");
        }
        if let Some(rule) = self.live.as_ref().and_then(|live| live.wrong_disk(disk)) {
            self.ensure(now, false, rule);
        }
    }

    /// A viewer got these bytes.
    pub fn on_delivered(&self, now: Instant, pieces: impl Iterator<Item = PieceIndex>, written: &Held) {
        for piece in pieces {
            self.ensure(now, written.has(piece), "an unverified byte reached a viewer");
        }
    }

    /// The rule holds, or the run ends here.
    #[track_caller]
    pub fn ensure(&self, now: Instant, holds: bool, rule: &str) {
        assert!(holds, "seed {} at {:?}, {}: {rule}", self.seed, now, self.host);
    }

    fn on_send(&mut self, now: Instant, peer: PeerKey, message: &Message, written: &Held) {
        let Some(watch) = self.watches.get(peer) else {
            return self.ensure(now, false, "spoke to a peer that is gone");
        };
        match message {
            Message::Request(block) => {
                let piece = self.matter.piece(&self.geometry, block.index);
                let wrong = watch.wrong_request(&self.geometry, piece, *block, written);
                let old = self.live.as_ref().zip(piece).and_then(|(live, piece)| live.wrong_request(piece));
                let wrong = wrong.or(old);
                self.ensure(now, wrong.is_none(), wrong.unwrap_or_default());
            }
            Message::Piece { index, begin, data } => {
                let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
                let asked = watch.theirs.contains_key(&RawBlock { index: *index, begin: *begin, length });
                self.ensure(now, asked, "sent a block that was not asked for");
                let piece = self.matter.piece(&self.geometry, *index);
                let right = piece.and_then(|p| self.matter.content(p, *begin, length));
                self.ensure(now, right.is_some_and(|right| same(&right, data)), "sent wrong bytes");
            }
            Message::Have(index) => {
                let there = self.matter.piece(&self.geometry, *index).is_some_and(|p| written.has(p));
                return self.ensure(now, there, "announced what is not verified");
            }
            Message::Reject(_) => self.ensure(now, watch.fast, "rejected at a peer without BEP 6"),
            Message::Interested => self.ensure(now, !watch.interested, "interested twice"),
            Message::NotInterested => self.ensure(now, watch.interested, "not interested twice"),
            Message::Choke => self.ensure(now, !watch.choked, "choked twice"),
            Message::Unchoke => self.ensure(now, watch.choked, "unchoked twice"),
            _ => {}
        }
        if let Some(watch) = self.watches.get_mut(peer) {
            self.sums.take(watch);
            watch.says(message);
            self.sums.add(watch);
        }
    }
}

impl Sums {
    fn add(&mut self, watch: &Watch) {
        self.asked += watch.asked.len();
        self.unchoked += usize::from(watch.takes_a_slot());
    }

    /// Takes out what a watch has in it, which is about to change or to go.
    fn take(&mut self, watch: &Watch) {
        self.asked -= watch.asked.len();
        self.unchoked -= usize::from(watch.takes_a_slot());
    }
}

impl Watch {
    const fn takes_a_slot(&self) -> bool {
        !self.choked && !self.trades
    }

    fn wrong_request(
        &self,
        geometry: &Geometry,
        piece: Option<PieceIndex>,
        block: RawBlock,
        written: &Held,
    ) -> Option<&'static str> {
        let Some(piece) = piece else { return Some("asked for no piece") };
        let aligned = geometry.block(piece, block.begin / BLOCK_LENGTH);
        let whole = aligned.is_some_and(|b| (b.begin, b.length) == (block.begin, block.length));
        match () {
            () if !whole => Some("asked for no block"),
            () if !self.interested => Some("asked without interest"),
            () if self.choking_us && !self.allowed.contains(&block.index) => Some("asked a choking peer"),
            () if self.honest && !self.has.has(piece) => Some("asked a peer that has not got it"),
            () if written.has(piece) => Some("asked for what is there"),
            () if self.asked.contains(&block) => Some("asked the same peer twice"),
            () if self.asked.len() >= self.reqq.min(MAX_REQUESTS) => Some("asked for too much"),
            () => None,
        }
    }

    fn hears(&mut self, geometry: &Geometry, matter: &Matter, message: &Message) {
        match message {
            Message::Choke => {
                self.choking_us = true;
                if !self.fast {
                    self.asked.clear();
                }
            }
            Message::Unchoke => self.choking_us = false,
            Message::AllowedFast(index) => {
                self.allowed.insert(*index);
            }
            Message::HaveAll => self.opens(geometry, matter, Some(Bitfield::full(geometry))),
            Message::HaveNone => self.opens(geometry, matter, None),
            Message::Bitfield(bits) => {
                self.opens(geometry, matter, Bitfield::from_wire(geometry, bits).ok());
            }
            Message::Have(index) => self.hears_of(matter.piece(geometry, *index)),
            Message::Piece { index, begin, data } => {
                let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
                self.asked.remove(&RawBlock { index: *index, begin: *begin, length });
            }
            Message::Reject(block) => {
                self.asked.remove(block);
            }
            Message::Request(block) => *self.theirs.entry(*block).or_default() += 1,
            Message::Extended { id: 0, payload } => {
                let Ok(told) = ExtensionHandshake::decode(payload) else { return };
                self.reqq = told.reqq.map_or(self.reqq, |reqq| reqq as usize);
                self.trades = !geometry.is_live() && told.id_of(g2g::NAME).is_some();
            }
            _ => {}
        }
    }

    fn hears_of(&mut self, piece: Option<PieceIndex>) {
        self.spoken = true;
        piece.map(|piece| self.has.insert(piece));
    }

    fn opens(&mut self, geometry: &Geometry, matter: &Matter, has: Option<Bitfield>) {
        if std::mem::replace(&mut self.spoken, true) {
            return;
        }
        let slots =
            geometry.run(0..geometry.slots()).filter(|slot| has.as_ref().is_some_and(|h| h.has(*slot)));
        let pieces = slots.filter_map(|slot| matter.piece(geometry, slot.slot()));
        pieces.for_each(|piece| _ = self.has.insert(piece));
    }

    fn says(&mut self, message: &Message) {
        match message {
            Message::Request(block) => {
                self.asked.insert(*block);
            }
            Message::Cancel(block) => {
                self.asked.remove(block);
            }
            Message::Interested => self.interested = true,
            Message::NotInterested => self.interested = false,
            Message::Choke => self.choked = true,
            Message::Unchoke => self.choked = false,
            Message::Piece { index, begin, data } => {
                let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
                self.answered(RawBlock { index: *index, begin: *begin, length });
            }
            Message::Reject(block) => self.answered(*block),
            _ => {}
        }
    }

    fn answered(&mut self, block: RawBlock) {
        if let Some(count) = self.theirs.get_mut(&block) {
            *count -= 1;
            if *count == 0 {
                self.theirs.remove(&block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    fn checks() -> (Checks, PeerKey, Held) {
        let geometry = Geometry::new(1 << 15, 1 << 20).unwrap();
        let config = Config { max_peers: 1, ..super::super::scenario::config() };
        let mut checks = Checks::new(7, "x".to_owned(), geometry, Matter::Film, &config);
        let peer = SlotMap::with_key().insert(());
        checks.on_connected(peer, true, true);
        (checks, peer, Held::empty(&geometry))
    }

    fn request(index: u32) -> Message {
        Message::Request(RawBlock { index, begin: 0, length: BLOCK_LENGTH })
    }

    fn say(checks: &mut Checks, peer: PeerKey, message: Message, written: &Held) {
        checks.on_output(Instant::ZERO, &Output::Send { peer, message }, written);
    }

    #[test]
    #[should_panic(expected = "seed 7 at Instant(0), x: asked a choking peer")]
    fn a_request_to_a_choking_peer_ends_the_run() {
        let (mut checks, peer, written) = checks();
        checks.on_input(&Input::Message { peer, message: Message::HaveAll });
        say(&mut checks, peer, Message::Interested, &written);
        say(&mut checks, peer, request(3), &written);
    }

    #[test]
    fn an_allowed_fast_piece_may_be_asked_for_while_choked() {
        let (mut checks, peer, written) = checks();
        for message in [Message::HaveAll, Message::AllowedFast(3)] {
            checks.on_input(&Input::Message { peer, message });
        }
        say(&mut checks, peer, Message::Interested, &written);
        say(&mut checks, peer, request(3), &written);
    }

    #[test]
    #[should_panic(expected = "an unverified byte reached a viewer")]
    fn an_unverified_byte_ends_the_run() {
        let (checks, _, written) = checks();
        checks.on_delivered(Instant::ZERO, checks.geometry.all().take(1), &written);
    }

    #[test]
    #[should_panic(expected = "sent wrong bytes")]
    fn wrong_bytes_out_end_the_run() {
        let (mut checks, peer, written) = checks();
        checks.on_input(&Input::Message { peer, message: request(0) });
        let data = bytes::Bytes::from(vec![0; BLOCK_LENGTH as usize]);
        say(&mut checks, peer, Message::Piece { index: 0, begin: 0, data }, &written);
    }
}
