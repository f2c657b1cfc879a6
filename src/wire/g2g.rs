//! The extension message `sw_g2g` (BEP 10): what neighbours in a swarm tell each other, so that each can give
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
//! follows, one of [`TURNS`] (before it was said, the most); `g` and `g6` those who gave the sender something lately, as
//! compact IPv4 (BEP 23) and IPv6 (BEP 7) addresses with the ports at which they can be called, at most [`MAX_GIVERS`].
//!
//! In a broadcast invitations are to one piece each, and only `d`, `g` and `g6` are looked at.
//!
//! Unknown keys are skipped, so that the message can grow. Known ones must be right: there are no old clients in the
//! field whose mistakes would have to be borne.

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};

use bendy::encoding::{AsString, Encoder, Error, SingleItemEncoder, ToBencode};
use bytes::Bytes;

use super::announce::{COMPACT_V4, COMPACT_V6, TrackedPeer, compact_v4, compact_v6, put_compact};
use super::bencode::{self, Limits, Value};

/// What the extension is called in the handshake.
pub const NAME: &str = "sw_g2g";
/// Number that it has at our end.
pub const OUR_ID: u8 = 2;
const _: () = assert!(OUR_ID != super::live::OUR_ID, "each message has its own number");
/// Most bytes of a message: without givers what is in it takes less than seventy.
pub const MAX_MESSAGE: usize = 1024;
/// Most givers in a message.
pub const MAX_GIVERS: usize = 48;
const _: () = assert!(MAX_GIVERS * COMPACT_V6 + 128 < MAX_MESSAGE, "they all fit");
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
    /// Those who gave it something lately, by the addresses at which they can be called; at most [`MAX_GIVERS`].
    pub givers: Vec<SocketAddr>,
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
    /// Not a whole number of addresses, or too many.
    #[error("a {NAME} message whose '{0}' is no list of at most {MAX_GIVERS} addresses")]
    Givers(&'static str),
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
        let mut told = Self::default();
        for (key, value) in dict {
            match key {
                b"w" => told.wants = Some(range_of(value)?),
                b"r" => told.rate = Some(number(value, "r")?),
                b"f" => told.fetching = Some(number(value, "f")?),
                b"d" => told.declined = Some(number(value, "d")?),
                b"l" => told.lost = Some(number(value, "l")?),
                b"t" => told.turn = Some(turn(value)?),
                b"g" => told.adds(compact_v4(addresses(value, "g", COMPACT_V4)?)),
                b"g6" => told.adds(compact_v6(addresses(value, "g6", COMPACT_V6)?)),
                _ => {}
            }
        }
        Ok(told)
    }

    fn adds(&mut self, givers: impl Iterator<Item = TrackedPeer>) {
        let room = MAX_GIVERS - self.givers.len();
        self.givers.extend(givers.take(room).map(|giver| giver.addr));
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
            for (key, is_v4) in [(b"g".as_slice(), true), (b"g6", false)] {
                let mut compact = Vec::new();
                let those = self.givers.iter().filter(|addr| addr.is_ipv4() == is_v4);
                those.take(MAX_GIVERS).for_each(|addr| put_compact(&mut compact, *addr));
                if !compact.is_empty() {
                    dict.emit_pair(key, AsString(compact))?;
                }
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

/// At most [`MAX_GIVERS`] compact addresses of this length.
fn addresses<'a>(value: Value<'a>, key: &'static str, length: usize) -> Result<&'a [u8], G2gError> {
    let whole = value.as_bytes().filter(|bytes| bytes.len().is_multiple_of(length));
    whole.filter(|bytes| bytes.len() <= MAX_GIVERS * length).ok_or(G2gError::Givers(key))
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

    fn addr() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            (any::<[u8; 4]>(), 1u16..).prop_map(SocketAddr::from),
            (any::<[u8; 16]>(), 1u16..).prop_map(SocketAddr::from)
        ]
    }

    fn told() -> impl Strategy<Value = Told> {
        let range = prop::option::of(any::<(u32, u32)>().prop_map(|(start, end)| start..end));
        let numbers = any::<[Option<u32>; 4]>();
        let givers = prop::collection::vec(addr(), 0..MAX_GIVERS);
        (range, numbers, prop::option::of(TURNS), givers).prop_map(
            |(wants, [rate, fetching, declined, lost], turn, mut givers)| {
                // As they are written: families apart.
                givers.sort_by_key(SocketAddr::is_ipv6);
                Told { wants, rate, fetching, declined, lost, turn, givers }
            },
        )
    }

    #[test]
    fn known_keys_must_be_right_and_unknown_ones_are_skipped() {
        let read = Told::decode;
        assert_eq!(read(b"de"), Ok(Told::default()));
        assert_eq!(
            read(b"d1:di5e1:fi7e1:g6:\x0a\0\0\x01\x1a\xe11:li1e1:ri8e1:ti16384e1:wli3ei9ee1:xlee"),
            Ok(Told {
                wants: Some(3..9),
                rate: Some(8),
                fetching: Some(7),
                declined: Some(5),
                lost: Some(1),
                turn: Some(1 << 14),
                givers: vec!["10.0.0.1:6881".parse().unwrap()],
            })
        );
        assert_eq!(read(b"le"), Err(G2gError::NoDictionary));
        assert_eq!(read(b"d1:f1:7e"), Err(G2gError::Number("f")));
        assert_eq!(read(b"d1:fi-1ee"), Err(G2gError::Number("f")));
        assert_eq!(read(b"d1:fi4294967296ee"), Err(G2gError::Number("f")));
        assert_eq!(read(b"d1:gi1ee"), Err(G2gError::Givers("g")));
        assert_eq!(read(b"d1:g5:12345e"), Err(G2gError::Givers("g")));
        assert_eq!(read(b"d2:g66:123456e"), Err(G2gError::Givers("g6")));
        let many = [b"d1:g294:".as_slice(), &[1; 6 * (MAX_GIVERS + 1)], b"e"].concat();
        assert_eq!(read(&many), Err(G2gError::Givers("g")));
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
