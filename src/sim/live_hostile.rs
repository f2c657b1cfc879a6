//! Neighbours in a live swarm that one does not want to meet.

use bytes::Bytes;
use rand::RngExt as _;
use rand_pcg::Pcg64;

use crate::metainfo::geometry::{Block, Geometry};
use crate::stream::live_piece::{CaptureTime, STAMP_LENGTH};
use crate::time::Instant;
use crate::wire::live::LiveState;
use crate::wire::message::Message;

use super::behaviour::{Answer, Behaviour};
use super::broadcast::Broadcast;

/// Where a stamp has its number, its time and its signature.
const SEQ: std::ops::Range<usize> = 16..24;
const TIME: std::ops::Range<usize> = 24..32;
const SIGNATURE: usize = 64;

/// Gives pieces in which one byte is wrong.
#[derive(Debug, Default)]
pub struct Corrupter;

impl Behaviour for Corrupter {
    fn name(&self) -> &'static str {
        "corrupter"
    }

    fn answer(&mut self, block: Block, right: Bytes, rng: &mut Pcg64) -> Answer {
        if block.begin > 0 {
            return Answer::Give(right);
        }
        let mut wrong = right.to_vec();
        let at = rng.random_range(0..wrong.len());
        wrong[at] ^= 0x55;
        Answer::Give(wrong.into())
    }
}

/// Gives an older piece, whole and signed, for the one that was asked for.
#[derive(Debug)]
pub struct Replayer {
    /// So many pieces older.
    pub back: u32,
    /// Where it has them from.
    pub broadcast: Broadcast,
}

impl Behaviour for Replayer {
    fn name(&self) -> &'static str {
        "replayer"
    }

    fn answer(&mut self, block: Block, right: Bytes, _rng: &mut Pcg64) -> Answer {
        let number = block.piece.number().checked_sub(self.back);
        let old = number.and_then(|number| self.broadcast.show().geometry().piece(number));
        let old = old.and_then(|old| self.broadcast.content(old, block.begin, block.length));
        Answer::Give(old.unwrap_or(right))
    }
}

/// What a forger changes in the stamps that it shows.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// The signature.
    Signature,
    /// The number: it is far ahead.
    Number,
    /// The time: it is tomorrow's.
    Time,
}

/// Shows stamps that the source has not signed.
#[derive(Debug)]
pub struct Forger {
    /// What is wrong with them.
    pub what: Forgery,
}

impl Behaviour for Forger {
    fn name(&self) -> &'static str {
        "forger"
    }

    fn is_honest(&self) -> bool {
        false
    }

    fn state(&mut self, truth: LiveState) -> LiveState {
        let forged = truth.stamp.map(|mut stamp| {
            self.what.apply(&mut stamp);
            stamp
        });
        LiveState { stamp: forged, ..truth }
    }
}

impl Forgery {
    fn apply(self, stamp: &mut [u8; STAMP_LENGTH]) {
        let add = |bytes: &mut [u8], more: u64| {
            let mut number = [0; 8];
            number.copy_from_slice(bytes);
            bytes.copy_from_slice(&(u64::from_be_bytes(number) + more).to_be_bytes());
        };
        match self {
            Self::Signature => stamp[SIGNATURE] ^= 1,
            Self::Number => add(&mut stamp[SEQ], 1_000),
            Self::Time => add(&mut stamp[TIME], CaptureTime(86_400_000_000).micros()),
        }
    }
}

/// Announces pieces of the whole ring, over and over, and has them not.
#[derive(Debug, Default)]
pub struct Flooder;

impl Behaviour for Flooder {
    fn name(&self) -> &'static str {
        "flooder"
    }

    fn is_honest(&self) -> bool {
        false
    }

    fn answer(&mut self, _block: Block, _right: Bytes, _rng: &mut Pcg64) -> Answer {
        Answer::Reject
    }

    fn mischief(&mut self, _now: Instant, geometry: &Geometry, rng: &mut Pcg64) -> Vec<Message> {
        (0..20).map(|_| Message::Have(rng.random_range(0..geometry.slots()))).collect()
    }
}

/// Lies about how far it has got and what it holds.
#[derive(Debug)]
pub struct Braggart {
    /// Shows this old stamp instead of its newest.
    pub stamp: Option<u32>,
    /// Says that this is the oldest piece that it holds.
    pub oldest: u32,
    /// Where it has stamps from.
    pub broadcast: Broadcast,
}

impl Behaviour for Braggart {
    fn name(&self) -> &'static str {
        "braggart"
    }

    fn is_honest(&self) -> bool {
        false
    }

    fn state(&mut self, truth: LiveState) -> LiveState {
        let old = self.stamp.and_then(|number| self.broadcast.stamp(number)).map(|stamp| stamp.encode());
        LiveState { stamp: old.or(truth.stamp), oldest: Some(self.oldest), ..truth }
    }
}

/// Takes requests for pieces of a broadcast and gives nothing.
#[derive(Debug, Default)]
pub struct Sitter;

impl Behaviour for Sitter {
    fn name(&self) -> &'static str {
        "sitter"
    }

    fn answer(&mut self, _block: Block, _right: Bytes, _rng: &mut Pcg64) -> Answer {
        Answer::Silence
    }
}
