//! A torrent on a table, for the unit tests of this room: peers that are told what to say, a disk that never
//! fails, and everything that the engine said so far. Many peers and time belong into the simulator instead.

use bytes::Bytes;

use super::ask::raw;
use super::event::{Event, ReaderId};
use super::torrent::Torrent;
use super::{Config, Direction, Input, Job, Output, PeerKey, ReaderInput, Verdict};
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{Block, Geometry, PieceIndex};
use crate::rate::ByteRate;
use crate::time::{Duration, Instant};
use crate::wire::handshake::Hello;
use crate::wire::ids::{InfoHash, PeerId};
use crate::wire::message::{Message, RawBlock};

pub(super) struct Testbed {
    pub(super) torrent: Torrent,
    pub(super) now: Instant,
    pub(super) geometry: Geometry,
    pub(super) said: Vec<(PeerKey, Message)>,
    pub(super) events: Vec<Event>,
    pub(super) dials: usize,
    pub(super) closed: Vec<PeerKey>,
    pub(super) discarded: Vec<PieceIndex>,
    peers: u8,
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
        live: None,
    }
}

impl Testbed {
    pub(super) fn new(config: Config, piece_length: u64, total: u64, complete: bool) -> Self {
        let geometry = Geometry::new(piece_length, total).unwrap();
        let have = if complete { Bitfield::full(&geometry) } else { Bitfield::empty(&geometry) };
        Self {
            torrent: Torrent::new(config, geometry, have, Instant::ZERO, 7),
            now: Instant::ZERO,
            geometry,
            said: Vec::new(),
            events: Vec::new(),
            dials: 0,
            closed: Vec::new(),
            discarded: Vec::new(),
            peers: 0,
        }
    }

    /// A peer that shook hands.
    pub(super) fn connect(&mut self, fast: bool) -> PeerKey {
        self.peers += 1;
        let id = PeerId([self.peers; 20]);
        let hello = Hello { fast, ..Hello::ours(InfoHash([1; 20]), id) };
        let addr = ([10, 0, 0, self.peers], 6881).into();
        let peer = self.torrent.connect(self.now, addr, Direction::Outgoing, hello).unwrap();
        self.drain();
        peer
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

    /// The blocks asked from a peer since the last time, without those taken back.
    pub(super) fn requests(&mut self, peer: PeerKey) -> Vec<Block> {
        let mut asked: Vec<RawBlock> = Vec::new();
        for (to, message) in std::mem::take(&mut self.said) {
            match message {
                Message::Request(block) if to == peer => asked.push(block),
                Message::Cancel(block) if to == peer => asked.retain(|b| *b != block),
                _ => {}
            }
        }
        asked.into_iter().map(|asked| self.block(asked)).collect()
    }

    /// The block that the wire names so.
    pub(super) fn block(&self, RawBlock { index, begin, length }: RawBlock) -> Block {
        self.geometry.piece(index).and_then(|piece| self.geometry.request(piece, begin, length)).unwrap()
    }

    /// The peer gives a block, with nothing in it.
    pub(super) fn give(&mut self, peer: PeerKey, block: Block) {
        let RawBlock { index, begin, length } = raw(block);
        let data = Bytes::from(vec![0; length as usize]);
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

    fn drain(&mut self) {
        loop {
            match self.torrent.poll(self.now) {
                Output::Wait(_) => return,
                Output::Send { peer, message } => self.said.push((peer, message)),
                Output::Event(event) => self.events.push(event),
                Output::Dial { .. } => self.dials += 1,
                Output::Close { peer } => self.closed.push(peer),
                Output::Start(Job::Verify { piece, .. }) => {
                    self.torrent
                        .handle(self.now, Input::Verified { piece, verdict: Verdict::Good, stamp: None });
                }
                Output::Start(Job::Discard { piece }) => self.discarded.push(piece),
                Output::Start(Job::Read { peer, block }) => {
                    self.torrent.handle(self.now, Input::BlockRead { peer, block, data: None });
                }
                Output::Start(Job::CheckStamp { .. } | Job::CheckHeaders { .. }) | Output::WantPeers => {}
            }
        }
    }
}
