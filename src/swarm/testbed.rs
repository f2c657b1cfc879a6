//! A torrent on a table, for the unit tests of this room: peers that are told what to say, a disk that never
//! fails, and everything that the engine said so far. Many peers and time belong into the simulator instead.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

use super::ask::raw;
use super::event::{Event, Moved, ReaderId};
use super::live::LiveConfig;
use super::torrent::Torrent;
use super::{Config, Direction, Input, Job, Output, PeerKey, ReaderInput, Verdict};
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{Block, Geometry, PieceIndex};
use crate::metainfo::keys::SigningKey;
use crate::rate::ByteRate;
use crate::stream::hole::StallPolicy;
use crate::stream::live_piece::{CaptureTime, Draft, Flags, VerifiedStamp, seal};
use crate::stream::playback::Viewing;
use crate::stream::window::Ring;
use crate::time::{Duration, Instant};
use crate::wire::extension::ExtensionHandshake;
use crate::wire::g2g::{self, Told};
use crate::wire::handshake::Hello;
use crate::wire::ids::{InfoHash, PeerId};
use crate::wire::live::{self, LiveState};
use crate::wire::message::{Message, RawBlock};

/// Bytes in a piece of a broadcast.
pub(super) const LIVE_PIECE: u64 = 32 * 1024;

/// The number that traders have for their message.
const TRADER_ID: u8 = 7;

pub(super) struct Testbed {
    pub(super) torrent: Torrent,
    pub(super) now: Instant,
    pub(super) geometry: Geometry,
    pub(super) said: Vec<(PeerKey, Message)>,
    pub(super) events: Vec<Event>,
    pub(super) dialled: Vec<SocketAddr>,
    pub(super) wants: usize,
    pub(super) closed: Vec<PeerKey>,
    pub(super) discarded: Vec<PieceIndex>,
    /// Workers take their time until [`Testbed::verify`].
    pub(super) slow_workers: bool,
    unverified: Vec<(PieceIndex, Vec<Bytes>)>,
    peers: u8,
    /// What the source of a broadcast has signed.
    stamps: BTreeMap<u32, VerifiedStamp>,
}

pub(super) fn config() -> Config {
    Config {
        hello: Hello::ours(InfoHash([1; 20]), PeerId([0; 20])),
        listen_port: 1,
        max_peers: 50,
        whole: false,
        budget: None,
        upload_limit: ByteRate(0),
        download_limit: ByteRate(0),
        serving: super::serving::Serving::default(),
        policy: super::policy::Policy::default(),
        live: None,
    }
}

impl Testbed {
    pub(super) fn new(config: Config, piece_length: u64, total: u64, complete: bool) -> Self {
        Self::of(config, Geometry::new(piece_length, total).unwrap(), complete)
    }

    /// A broadcast of two pieces a second, each of two blocks, in a ring of so many of them.
    pub(super) fn live(slots: u32, source: bool) -> Self {
        Self::live_of(super::policy::Policy::default(), slots, source)
    }

    /// The same that follows this policy.
    pub(super) fn live_of(policy: super::policy::Policy, slots: u32, source: bool) -> Self {
        let geometry = Geometry::new(LIVE_PIECE, u64::from(slots) * LIVE_PIECE).unwrap().live();
        let live =
            LiveConfig { ring: Ring::new(slots, None).unwrap(), nominal: Some(2 * LIVE_PIECE), source };
        Self::of(Config { live: Some(live), policy, ..config() }, geometry, false)
    }

    fn of(config: Config, geometry: Geometry, complete: bool) -> Self {
        let have = if complete { Bitfield::full(&geometry) } else { Bitfield::empty(&geometry) };
        Self {
            torrent: Torrent::new(config, geometry, have, Instant::ZERO, 7),
            now: Instant::ZERO,
            geometry,
            said: Vec::new(),
            events: Vec::new(),
            dialled: Vec::new(),
            wants: 0,
            closed: Vec::new(),
            discarded: Vec::new(),
            slow_workers: false,
            unverified: Vec::new(),
            peers: 0,
            stamps: BTreeMap::new(),
        }
    }

    /// Somebody watches a broadcast, ten seconds behind.
    pub(super) fn watch(&mut self) {
        let viewing = Viewing { buffer: Duration::from_secs(10), policy: StallPolicy::Auto, max_lag: None };
        self.reader(ReaderInput::Watch(viewing));
    }

    /// The source signs a piece, at its time.
    pub(super) fn sign(&mut self, seq: u32) -> VerifiedStamp {
        let key = SigningKey::from_random(&[1; 32]).unwrap();
        let time = CaptureTime(u64::from(seq) * 500_000);
        let draft = Draft { flags: Flags::default(), rap: None, seq, time };
        let stamp = seal(draft, &[], LIVE_PIECE as u32, InfoHash([1; 20]), &key).unwrap().1;
        self.stamps.insert(seq, stamp.clone());
        stamp
    }

    /// A peer has all pieces of a broadcast in this run, and shows the stamp of the last one.
    pub(super) fn reached(&mut self, peer: PeerKey, run: std::ops::Range<u32>) {
        let stamp = self.sign(run.end - 1).encode();
        let state = LiveState { stamp: Some(stamp), oldest: Some(run.start), ..LiveState::default() };
        self.hear(peer, Message::Extended { id: live::OUR_ID, payload: state.encode() });
        for number in run {
            let index = self.geometry.piece(number).unwrap().slot();
            self.hear(peer, Message::Have(index));
        }
    }

    /// A peer that has these pieces of a broadcast and lets us ask.
    pub(super) fn live_peer(&mut self, run: std::ops::Range<u32>) -> PeerKey {
        let at = self.next_address();
        self.live_peer_at(at, run)
    }

    /// The same at this address.
    pub(super) fn live_peer_at(&mut self, at: SocketAddr, run: std::ops::Range<u32>) -> PeerKey {
        let peer = self.connect_at(at, true);
        self.hear(peer, Message::HaveNone);
        self.hear(peer, Message::Unchoke);
        self.reached(peer, run);
        peer
    }

    /// A peer that shook hands.
    pub(super) fn connect(&mut self, fast: bool) -> PeerKey {
        let at = self.next_address();
        self.connect_at(at, fast)
    }

    fn next_address(&self) -> SocketAddr {
        ([10, 0, 0, self.peers + 1], 6881).into()
    }

    fn connect_at(&mut self, at: SocketAddr, fast: bool) -> PeerKey {
        self.peers += 1;
        let id = PeerId([self.peers; 20]);
        let hello = Hello { fast, ..Hello::ours(InfoHash([1; 20]), id) };
        let peer = self.torrent.connect(self.now, at, Direction::Outgoing, hello).unwrap();
        self.drain();
        peer
    }

    /// A neighbour says that it speaks `sw_g2g`.
    pub(super) fn speaks(&mut self, peer: PeerKey) {
        let hands = ExtensionHandshake { port: Some(6881), ..ExtensionHandshake::default() };
        let hands = hands.announcing(g2g::NAME, TRADER_ID).encode();
        self.hear(peer, Message::Extended { id: 0, payload: hands });
    }

    /// A neighbour that invites and is invited, and has these pieces of a film.
    pub(super) fn trader(&mut self, has: &[u32]) -> PeerKey {
        let peer = self.connect(true);
        self.hear(peer, Message::HaveNone);
        self.speaks(peer);
        self.hear(peer, Message::Unchoke);
        has.iter().for_each(|index| self.hear(peer, Message::Have(*index)));
        peer
    }

    /// A neighbour tells what it needs next, fetches or declines.
    pub(super) fn tells(&mut self, peer: PeerKey, told: &Told) {
        self.hear(peer, Message::Extended { id: g2g::OUR_ID, payload: told.encode() });
    }

    /// Whether a neighbour was told this.
    pub(super) fn told(&self, peer: PeerKey, told: &Told) -> bool {
        self.said.contains(&(peer, Message::Extended { id: TRADER_ID, payload: told.encode() }))
    }

    /// The pieces to which a peer was invited so far.
    pub(super) fn invited(&self, peer: PeerKey) -> Vec<u32> {
        let to = self.said.iter().filter(|(to, _)| *to == peer);
        to.filter_map(|(_, m)| if let Message::Suggest(index) = m { Some(*index) } else { None }).collect()
    }

    /// A peer that has everything and lets us ask.
    pub(super) fn seed(&mut self) -> PeerKey {
        let peer = self.connect(true);
        self.hear(peer, Message::HaveAll);
        self.hear(peer, Message::Unchoke);
        peer
    }

    pub(super) fn input(&mut self, input: Input) {
        self.torrent.handle(self.now, input);
        self.drain();
    }

    pub(super) fn hear(&mut self, peer: PeerKey, message: Message) {
        self.input(Input::Message { peer, message });
    }

    pub(super) fn reader(&mut self, input: ReaderInput) {
        self.input(Input::Reader { reader: ReaderId(0), input });
    }

    pub(super) fn open(&mut self, file: std::ops::Range<u64>) {
        self.reader(ReaderInput::Open { file, bitrate: Some(100_000), start_buffer: Duration::from_secs(2) });
    }

    /// Time passes, in the engine's own steps.
    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let Output::Wait(at) = self.torrent.poll(self.now) else { unreachable!("everything is drained") };
            self.now = at.min(end);
            self.input(Input::Timeout);
            if self.now == end {
                return;
            }
        }
    }

    /// For how long nothing new of a broadcast has come.
    pub(super) fn still(&self) -> Option<Duration> {
        self.torrent.stats(self.now).live.and_then(|live| live.still)
    }

    /// Where viewers of a broadcast were sent so far, and why.
    pub(super) fn moves(&self) -> Vec<(u32, Moved)> {
        let moves = self.events.iter().filter_map(|event| match event {
            Event::Moved { to, why, .. } => Some((*to, *why)),
            _ => None,
        });
        moves.collect()
    }

    /// The blocks asked from a peer since the last time, without those taken back.
    pub(super) fn requests(&mut self, peer: PeerKey) -> Vec<Block> {
        let asked = self.asked().into_iter().filter(|(to, _)| *to == peer);
        asked.map(|(_, block)| block).collect()
    }

    /// The blocks asked from anybody since the last time, without those taken back.
    pub(super) fn asked(&mut self) -> Vec<(PeerKey, Block)> {
        let mut asked: Vec<(PeerKey, RawBlock)> = Vec::new();
        for (to, message) in std::mem::take(&mut self.said) {
            match message {
                Message::Request(block) => asked.push((to, block)),
                Message::Cancel(block) => asked.retain(|a| *a != (to, block)),
                _ => {}
            }
        }
        asked.into_iter().map(|(to, asked)| (to, self.block(asked))).collect()
    }

    /// The block that the wire names so.
    pub(super) fn block(&self, RawBlock { index, begin, length }: RawBlock) -> Block {
        let index = match &self.torrent.live {
            Some(live) => live.piece_of(index).unwrap(),
            None => index,
        };
        self.geometry.piece(index).and_then(|piece| self.geometry.request(piece, begin, length)).unwrap()
    }

    /// The peer gives a block, with nothing in it.
    pub(super) fn give(&mut self, peer: PeerKey, block: Block) {
        self.give_bytes(peer, block, 0);
    }

    /// The peer gives something that is not in the block.
    pub(super) fn spoil(&mut self, peer: PeerKey, block: Block) {
        self.give_bytes(peer, block, 1);
    }

    fn give_bytes(&mut self, peer: PeerKey, block: Block, byte: u8) {
        let RawBlock { index, begin, length } = raw(block);
        let data = Bytes::from(vec![byte; length as usize]);
        self.hear(peer, Message::Piece { index, begin, data });
    }

    /// The peer gives whatever it is asked for, until it is not asked any more.
    pub(super) fn give_all(&mut self, peer: PeerKey) {
        loop {
            let asked = self.requests(peer);
            if asked.is_empty() {
                return;
            }
            self.now += Duration::from_millis(1);
            asked.into_iter().for_each(|block| self.give(peer, block));
        }
    }

    /// Workers look at all pieces that wait for them.
    pub(super) fn verify(&mut self) {
        for (piece, blocks) in std::mem::take(&mut self.unverified) {
            self.verify_one(piece, &blocks);
        }
        self.drain();
    }

    fn verify_one(&mut self, piece: PieceIndex, blocks: &[Bytes]) {
        let good = blocks.iter().all(|block| block.first() == Some(&0));
        let stamp = (good && self.geometry.is_live()).then(|| Box::new(self.sign(piece.number())));
        let verdict = if good { Verdict::Good } else { Verdict::Bad };
        self.torrent.handle(self.now, Input::Verified { piece, verdict, stamp });
    }

    fn drain(&mut self) {
        loop {
            match self.torrent.poll(self.now) {
                Output::Wait(_) => return,
                Output::Send { peer, message } => self.said.push((peer, message)),
                Output::Event(event) => self.events.push(event),
                Output::Dial { addr } => self.dialled.push(addr),
                Output::Close { peer } => self.closed.push(peer),
                Output::Start(Job::Verify { piece, blocks }) if self.slow_workers => {
                    self.unverified.push((piece, blocks));
                }
                Output::Start(Job::Verify { piece, blocks }) => self.verify_one(piece, &blocks),
                Output::Start(Job::Discard { piece }) => self.discarded.push(piece),
                Output::Start(Job::Read { peer, block }) => {
                    self.torrent.handle(self.now, Input::BlockRead { peer, block, data: None });
                }
                Output::Start(Job::CheckStamp { peer, stamp, oldest }) => {
                    let stamp = self.stamps.get(&stamp.seq).filter(|s| ***s == *stamp).cloned().map(Box::new);
                    self.torrent.handle(self.now, Input::StampChecked { peer, stamp, oldest });
                }
                Output::WantPeers => self.wants += 1,
                Output::Start(Job::CheckHeaders { .. }) => {}
            }
        }
    }
}
