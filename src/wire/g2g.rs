//! The extension message `sw_g2g` (BEP 10): what neighbours in a film's swarm tell each other, so that each can give
//! what the other needs.
//!
//! Who has it in the extension handshake *invites*: it says with *suggest piece* (BEP 6) that it has room on its way
//! out, and the neighbour asks then, for that piece or for what it needs more. Who asks without having been invited
//! may be turned down.
//!
//! A dictionary whose keys may all be absent: `w` the pieces that the sender is going to need next, as a list of the
//! first and the one behind the last, and `r` the bytes a second at which it plays them, if it knows; `f` a piece that
//! it begins to fetch: who has it need not give it, and who lacks it need not fetch it from a seed as well; `d` how many
//! of the bytes that the sender was invited to ask for it does not want (several may have invited it to the same piece);
//! `l` a piece that it had and has no room for any more; `t` how many bytes may be asked for at each invitation that
//! follows, one of [`TURNS`] (before it was said, the most).
//!
//! Unknown keys are skipped, so that the message can grow. Known ones must be right: there are no old clients in the
//! field whose mistakes would have to be borne.

use std::ops::{Range, RangeInclusive};

use bendy::encoding::{Encoder, Error, SingleItemEncoder, ToBencode};
use bytes::Bytes;

use super::bencode::{self, Limits, Value};

/// What the extension is called in the handshake.
pub const NAME: &str = "sw_g2g";
/// Number that it has at our end.
pub const OUR_ID: u8 = 2;
const _: () = assert!(OUR_ID != super::live::OUR_ID, "each message has its own number");
/// Most bytes of a message: what is in it now takes less than seventy.
pub const MAX_MESSAGE: usize = 1024;
/// The fewest and the most bytes that an invitation may be to.
pub const TURNS: RangeInclusive<u32> = 16 * 1024..=256 * 1024;
const LIMITS: Limits = Limits { depth: 4, items: 64, length: MAX_MESSAGE };

/// What a neighbour tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The pieces that it is going to need next; empty where it needs none before others.
    pub wants: Option<Range<u32>>,
    /// Bytes a second at which it plays them.
    pub rate: Option<u32>,
    /// A piece that it begins to fetch.
    pub fetching: Option<u32>,
    /// Bytes that it was invited to ask for and does not want.
    pub declined: Option<u32>,
    /// A piece that it had and has no more.
    pub lost: Option<u32>,
    /// Bytes that may be asked for at each invitation that follows.
    pub turn: Option<u32>,
}

/// Why such a message is refused; the peer that sent it is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum G2gError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("a {NAME} message of {0} bytes, at most {MAX_MESSAGE} are read")]
    TooLong(usize),
    /// Not a bencoded dictionary, or one with too much in it.
    #[error("a {NAME} message that is no dictionary")]
    NoDictionary,
    /// Not a number of 32 bits, or not two of them.
    #[error("a {NAME} message whose '{0}' is no number of 32 bits, or no list of two")]
    Number(&'static str),
    /// An invitation to too little or too much.
    #[error("a {NAME} message that invites to {0} bytes, which are not within {TURNS:?}")]
    Turn(u32),
}

impl Told {
    /// The payload on the wire.
    pub fn encode(&self) -> Bytes {
        let mut encoder = Encoder::new();
        let written = encoder.emit(self).and_then(|()| encoder.get_output());
        Bytes::from(written.expect("a flat dictionary with sorted keys can be written"))
    }

    /// Reads what a peer sent.
    ///
    /// # Errors
    /// When it is too long, no dictionary, or a key that we know has a value that it cannot have.
    pub fn decode(payload: &[u8]) -> Result<Self, G2gError> {
        if payload.len() > MAX_MESSAGE {
            return Err(G2gError::TooLong(payload.len()));
        }
        let root = bencode::parse(payload, LIMITS).map_err(|_| G2gError::NoDictionary)?;
        let dict = root.as_dict().ok_or(G2gError::NoDictionary)?;
        Ok(Self {
            wants: dict.find(b"w").map(range_of).transpose()?,
            rate: dict.find(b"r").map(|value| number(value, "r")).transpose()?,
            fetching: dict.find(b"f").map(|value| number(value, "f")).transpose()?,
            declined: dict.find(b"d").map(|value| number(value, "d")).transpose()?,
            lost: dict.find(b"l").map(|value| number(value, "l")).transpose()?,
            turn: dict.find(b"t").map(turn).transpose()?,
        })
    }
}

impl ToBencode for Told {
    const MAX_DEPTH: usize = 2;

    fn encode(&self, encoder: SingleItemEncoder<'_>) -> Result<(), Error> {
        encoder.emit_dict(|mut dict| {
            if let Some(bytes) = self.declined {
                dict.emit_pair(b"d", bytes)?;
            }
            if let Some(piece) = self.fetching {
                dict.emit_pair(b"f", piece)?;
            }
            if let Some(piece) = self.lost {
                dict.emit_pair(b"l", piece)?;
            }
            if let Some(rate) = self.rate {
                dict.emit_pair(b"r", rate)?;
            }
            if let Some(bytes) = self.turn {
                dict.emit_pair(b"t", bytes)?;
            }
            if let Some(range) = &self.wants {
                dict.emit_pair(b"w", [range.start, range.end].as_slice())?;
            }
            Ok(())
        })
    }
}

fn number(value: Value<'_>, key: &'static str) -> Result<u32, G2gError> {
    value.as_u64().and_then(|number| number.try_into().ok()).ok_or(G2gError::Number(key))
}

fn turn(value: Value<'_>) -> Result<u32, G2gError> {
    let bytes = number(value, "t")?;
    if TURNS.contains(&bytes) { Ok(bytes) } else { Err(G2gError::Turn(bytes)) }
}

fn range_of(value: Value<'_>) -> Result<Range<u32>, G2gError> {
    let mut ends = value.as_list().ok_or(G2gError::Number("w"))?.map(|end| number(end, "w"));
    match (ends.next(), ends.next(), ends.next()) {
        (Some(start), Some(end), None) => Ok(start?..end?),
        _ => Err(G2gError::Number("w")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told() -> impl Strategy<Value = Told> {
        let range = prop::option::of(any::<(u32, u32)>().prop_map(|(start, end)| start..end));
        let numbers = any::<[Option<u32>; 4]>();
        (range, numbers, prop::option::of(TURNS)).prop_map(
            |(wants, [rate, fetching, declined, lost], turn)| Told {
                wants,
                rate,
                fetching,
                declined,
                lost,
                turn,
            },
        )
    }

    #[test]
    fn known_keys_must_be_right_and_unknown_ones_are_skipped() {
        let read = Told::decode;
        assert_eq!(read(b"de"), Ok(Told::default()));
        assert_eq!(
            read(b"d1:di5e1:fi7e1:li1e1:ri8e1:ti16384e1:wli3ei9ee1:xlee"),
            Ok(Told {
                wants: Some(3..9),
                rate: Some(8),
                fetching: Some(7),
                declined: Some(5),
                lost: Some(1),
                turn: Some(1 << 14),
            })
        );
        assert_eq!(read(b"le"), Err(G2gError::NoDictionary));
        assert_eq!(read(b"d1:f1:7e"), Err(G2gError::Number("f")));
        assert_eq!(read(b"d1:fi-1ee"), Err(G2gError::Number("f")));
        assert_eq!(read(b"d1:fi4294967296ee"), Err(G2gError::Number("f")));
        assert_eq!(read(b"d1:ti-1ee"), Err(G2gError::Number("t")));
        assert_eq!(read(b"d1:ti16383ee"), Err(G2gError::Turn(16_383)));
        assert_eq!(read(b"d1:ti262145ee"), Err(G2gError::Turn(262_145)));
        assert_eq!(read(b"d1:wi3ee"), Err(G2gError::Number("w")));
        assert_eq!(read(b"d1:wli3eee"), Err(G2gError::Number("w")));
        assert_eq!(read(b"d1:wli3ei4ei5eee"), Err(G2gError::Number("w")));
        assert_eq!(read(&[b'd'; MAX_MESSAGE + 1]), Err(G2gError::TooLong(MAX_MESSAGE + 1)));
        assert_eq!(read(b"d1:xlllli1eeeeee"), Err(G2gError::NoDictionary), "nested too deep");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(told in told()) {
            prop_assert_eq!(Told::decode(&told.encode()), Ok(told));
        }

        #[test]
        fn garbage_is_an_error_or_a_message_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Told::decode(&bytes);
        }

        #[test]
        fn cut_and_changed_messages_never_panic(
            told in told(), at in any::<prop::sample::Index>(), byte: u8, cut: bool
        ) {
            let mut bytes = told.encode().to_vec();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            let _ = Told::decode(&bytes);
        }
    }
}
