//! How a scripted peer behaves: an honest seed, of which a [`Behaviour`] changes what it wants to.

use bytes::Bytes;
use rand_pcg::Pcg64;

use crate::metainfo::geometry::{Block, Geometry};
use crate::time::Instant;
use crate::wire::live::LiveState;
use crate::wire::message::Message;

/// What comes back for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These bytes.
    Give(Bytes),
    /// A reject.
    Reject,
    /// Nothing, for ever.
    Silence,
}

/// The ways in which a scripted peer may differ from an honest seed. Each method's default is honest.
pub trait Behaviour {
    /// What it is called in reports.
    fn name(&self) -> &'static str;

    /// Its first message: which pieces it says it has.
    fn opening(&mut self, _geometry: &Geometry, _rng: &mut Pcg64) -> Message {
        Message::HaveAll
    }

    /// Whether it speaks BEP 6.
    fn is_fast(&self) -> bool {
        true
    }

    /// Whether what it says can be told from what it means.
    fn is_honest(&self) -> bool {
        true
    }

    /// How far it says to have got with a broadcast, with the truth at hand.
    fn state(&mut self, truth: LiveState) -> LiveState {
        truth
    }

    /// Whether it announces a new piece of a broadcast.
    fn announces(&mut self, _number: u32) -> bool {
        true
    }

    /// Its answer to a request, with the right bytes at hand.
    fn answer(&mut self, _block: Block, right: Bytes, _rng: &mut Pcg64) -> Answer {
        Answer::Give(right)
    }

    /// When it sends the next block, if not at once.
    fn opens_at(&mut self, _now: Instant, _length: u32) -> Option<Instant> {
        None
    }

    /// What it says on its own every 100 ms, to each peer. Chokes and unchokes take effect.
    fn mischief(&mut self, _now: Instant, _geometry: &Geometry, _rng: &mut Pcg64) -> Vec<Message> {
        Vec::new()
    }
}

/// A seed that does what it should.
#[derive(Copy, Clone, Debug, Default)]
pub struct Honest;

impl Behaviour for Honest {
    fn name(&self) -> &'static str {
        "seed"
    }
}
