//! Peers that one does not want to meet, and some that are merely awkward.

use bytes::Bytes;
use rand::RngExt as _;
use rand_pcg::Pcg64;

use crate::metainfo::geometry::{BLOCK_LENGTH, Block, Geometry};
use crate::rate::ByteRate;
use crate::time::{Duration, Instant};
use crate::wire::message::{Message, RawBlock};

use super::behaviour::{Answer, Behaviour};
use super::disk::content;

/// One byte of one block of every piece is wrong.
#[derive(Debug, Default)]
pub struct Spoiler;

impl Behaviour for Spoiler {
    fn name(&self) -> &'static str {
        "spoiler"
    }

    fn answer(&mut self, block: Block, right: Bytes, _rng: &mut Pcg64) -> Answer {
        if block.begin > 0 {
            return Answer::Give(right);
        }
        let mut wrong = right.to_vec();
        wrong[0] ^= 0x55;
        Answer::Give(wrong.into())
    }
}

/// Unchokes and gives nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Behaviour for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    fn answer(&mut self, _block: Block, _right: Bytes, _rng: &mut Pcg64) -> Answer {
        Answer::Silence
    }
}

/// Gives the first blocks, then nothing more.
#[derive(Debug)]
pub struct Faltering {
    /// Blocks that it still gives.
    pub blocks: u32,
}

impl Behaviour for Faltering {
    fn name(&self) -> &'static str {
        "faltering"
    }

    fn answer(&mut self, _block: Block, right: Bytes, _rng: &mut Pcg64) -> Answer {
        match self.blocks.checked_sub(1) {
            Some(left) => {
                self.blocks = left;
                Answer::Give(right)
            }
            None => Answer::Silence,
        }
    }
}

/// Chokes and unchokes without reason.
#[derive(Debug)]
pub struct Moody {
    /// Whether it speaks BEP 6.
    pub fast: bool,
}

impl Behaviour for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    fn is_fast(&self) -> bool {
        self.fast
    }

    fn opening(&mut self, geometry: &Geometry, _rng: &mut Pcg64) -> Message {
        everything(geometry)
    }

    fn mischief(&mut self, _now: Instant, _geometry: &Geometry, rng: &mut Pcg64) -> Vec<Message> {
        match rng.random_range(0..6) {
            0 => vec![Message::Choke],
            1 | 2 => vec![Message::Unchoke],
            _ => Vec::new(),
        }
    }
}

/// Rejects every request.
#[derive(Debug, Default)]
pub struct Refuser;

impl Behaviour for Refuser {
    fn name(&self) -> &'static str {
        "refuser"
    }

    fn answer(&mut self, _block: Block, _right: Bytes, _rng: &mut Pcg64) -> Answer {
        Answer::Reject
    }
}

/// Talks about pieces that do not exist.
#[derive(Debug, Default)]
pub struct Babbler;

impl Behaviour for Babbler {
    fn name(&self) -> &'static str {
        "babbler"
    }

    fn mischief(&mut self, _now: Instant, geometry: &Geometry, rng: &mut Pcg64) -> Vec<Message> {
        let index = geometry.pieces().saturating_add(rng.random_range(0..u32::MAX / 2));
        let block = RawBlock { index, begin: rng.random(), length: rng.random() };
        match rng.random_range(0..20) {
            0 => vec![Message::Have(index)],
            1 => vec![Message::Request(block)],
            2 => vec![Message::Reject(block)],
            3 => vec![Message::Cancel(block)],
            4 => vec![Message::AllowedFast(index), Message::Suggest(index), Message::Port(1)],
            5 => vec![Message::Extended { id: 0, payload: Bytes::from_static(b"d1:ml") }],
            _ => Vec::new(),
        }
    }
}

/// Sends blocks that nobody asked for, right ones and wrong ones.
#[derive(Debug, Default)]
pub struct Pusher;

impl Behaviour for Pusher {
    fn name(&self) -> &'static str {
        "pusher"
    }

    fn mischief(&mut self, _now: Instant, geometry: &Geometry, rng: &mut Pcg64) -> Vec<Message> {
        let mut push = |right: bool| {
            let block = geometry.block(geometry.piece(rng.random_range(0..geometry.pieces()))?, 0)?;
            let data = content(block.piece, u32::from(!right), block.length);
            Some(Message::Piece { index: block.piece.slot(), begin: 0, data })
        };
        (0..8).filter_map(|n| push(n % 2 == 0)).collect()
    }
}

/// Says that it has everything, and rejects half of it.
#[derive(Debug, Default)]
pub struct Liar;

impl Behaviour for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }

    fn answer(&mut self, block: Block, right: Bytes, _rng: &mut Pcg64) -> Answer {
        if block.piece.number().is_multiple_of(2) { Answer::Reject } else { Answer::Give(right) }
    }
}

/// Says twice, and differently, what it has; serves a fifth of the pieces.
#[derive(Debug, Default)]
pub struct Patchy;

impl Behaviour for Patchy {
    fn name(&self) -> &'static str {
        "patchy"
    }

    fn opening(&mut self, geometry: &Geometry, rng: &mut Pcg64) -> Message {
        let mut has = crate::metainfo::bitfield::Bitfield::empty(geometry);
        geometry.all().filter(|_| rng.random_range(0..5) == 0).for_each(|p| {
            has.insert(p);
        });
        Message::Bitfield(Bytes::copy_from_slice(has.as_wire()))
    }

    fn mischief(&mut self, _now: Instant, _geometry: &Geometry, rng: &mut Pcg64) -> Vec<Message> {
        if rng.random_range(0..10) == 0 { vec![Message::HaveNone] } else { Vec::new() }
    }
}

/// An honest seed whose rate limiter gives its quota in bursts.
#[derive(Debug)]
pub struct Bursty {
    rate: ByteRate,
    every: Duration,
    quota: u64,
    next: Instant,
}

impl Bursty {
    /// So many bytes/s, handed out once in `every`.
    pub const fn new(rate: u64, every: Duration) -> Self {
        Self { rate: ByteRate(rate), every, quota: 0, next: Instant::ZERO }
    }
}

impl Behaviour for Bursty {
    fn name(&self) -> &'static str {
        "bursty"
    }

    fn opens_at(&mut self, now: Instant, length: u32) -> Option<Instant> {
        while now >= self.next {
            self.next += self.every;
            self.quota = self.rate.bytes_in(self.every) + self.quota.min(u64::from(BLOCK_LENGTH));
        }
        match self.quota.checked_sub(u64::from(length)) {
            Some(left) => {
                self.quota = left;
                None
            }
            None => Some(self.next),
        }
    }
}

/// A full bitfield in the way of BEP 3, for peers without BEP 6.
fn everything(geometry: &Geometry) -> Message {
    let full = crate::metainfo::bitfield::Bitfield::full(geometry);
    Message::Bitfield(Bytes::copy_from_slice(full.as_wire()))
}
