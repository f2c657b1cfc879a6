//! The extension message `sw_live` (BEP 10): how far a peer of a live broadcast has got.
//!
//! A dictionary whose keys may all be absent: `s` the newest stamp the sender holds, `o` the oldest piece it
//! holds, `hn` the number of its stream headers, `h` these headers themselves. The same dictionary, without `h`,
//! stands under the key `sw_live` in the extension handshake, so that a new neighbour need not wait for it.
//! Stamps and headers are raw bytes here: what they mean, and whether they are signed, is asked two floors up.
//!
//! Unknown keys are skipped, so that the message can grow. Known ones must be right: unlike in the handshake
//! there are no old clients in the field whose mistakes would have to be borne.

use bendy::encoding::{AsString, Encoder, Error, SingleItemEncoder, ToBencode};
use bytes::Bytes;

use super::bencode::{self, Limits, Value};

/// What the extension is called in the handshake.
pub const NAME: &str = "sw_live";
/// Number that it has at our end.
pub const OUR_ID: u8 = 1;
/// Bytes of a stamp.
pub const STAMP_LENGTH: usize = 128;
/// Most bytes of the signed stream headers: 24 KiB, and 72 in front of them.
pub const MAX_HEADERS: usize = 24 * 1024 + 72;
/// Most bytes of a message: headers, a stamp, and room for keys yet to come.
pub const MAX_MESSAGE: usize = MAX_HEADERS + 1024;
const LIMITS: Limits = Limits { depth: 4, items: 64, length: MAX_MESSAGE };

/// How far the sender has got; what it leaves out it has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveState {
    /// Its newest stamp.
    pub stamp: Option<[u8; STAMP_LENGTH]>,
    /// Sequence number of the oldest piece that it holds.
    pub oldest: Option<u32>,
    /// Number of its newest stream headers.
    pub headers_number: Option<u32>,
    /// These headers, signed; at most [`MAX_HEADERS`].
    pub headers: Option<Bytes>,
}

/// Why such a message is refused; the peer that sent it is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("a {NAME} message of {0} bytes, at most {MAX_MESSAGE} are read")]
    TooLong(usize),
    /// Not a bencoded dictionary, or one with too much in it.
    #[error("a {NAME} message that is no dictionary")]
    NoDictionary,
    /// A stamp of another length than [`STAMP_LENGTH`], or none at all.
    #[error("a {NAME} message whose stamp is not a string of {STAMP_LENGTH} bytes")]
    Stamp,
    /// No number, or one that no piece and no headers have.
    #[error("a {NAME} message whose '{0}' is not a number of 32 bits")]
    Number(&'static str),
    /// Longer than [`MAX_HEADERS`], or no string.
    #[error("a {NAME} message whose headers are not a string of at most {MAX_HEADERS} bytes")]
    Headers,
}

impl LiveState {
    /// The payload on the wire.
    pub fn encode(&self) -> Bytes {
        let mut encoder = Encoder::new();
        let written = encoder.emit(self).and_then(|()| encoder.get_output());
        Bytes::from(written.expect("a flat dictionary with sorted keys can be written"))
    }

    /// Reads what a peer sent. The headers are a slice of it.
    ///
    /// # Errors
    /// When it is too long, no dictionary, or a key that we know has a value that it cannot have.
    pub fn decode(payload: &Bytes) -> Result<Self, LiveError> {
        if payload.len() > MAX_MESSAGE {
            return Err(LiveError::TooLong(payload.len()));
        }
        let root = bencode::parse(payload, LIMITS).map_err(|_| LiveError::NoDictionary)?;
        let headers = root.find(b"h").map(headers_of).transpose()?;
        Ok(Self { headers: headers.map(|h| payload.slice_ref(h)), ..Self::read(root)? })
    }

    /// Reads everything but the headers, from a message or from the extension handshake.
    pub(super) fn read(root: Value<'_>) -> Result<Self, LiveError> {
        let dict = root.as_dict().ok_or(LiveError::NoDictionary)?;
        Ok(Self {
            stamp: dict.find(b"s").map(stamp_of).transpose()?,
            oldest: number(dict.find(b"o"), "o")?,
            headers_number: number(dict.find(b"hn"), "hn")?,
            headers: None,
        })
    }
}

impl ToBencode for LiveState {
    const MAX_DEPTH: usize = 1;

    fn encode(&self, encoder: SingleItemEncoder<'_>) -> Result<(), Error> {
        encoder.emit_dict(|mut dict| {
            if let Some(headers) = &self.headers {
                dict.emit_pair(b"h", AsString(headers))?;
            }
            if let Some(number) = self.headers_number {
                dict.emit_pair(b"hn", number)?;
            }
            if let Some(oldest) = self.oldest {
                dict.emit_pair(b"o", oldest)?;
            }
            if let Some(stamp) = &self.stamp {
                dict.emit_pair(b"s", AsString(stamp))?;
            }
            Ok(())
        })
    }
}

fn headers_of(value: Value<'_>) -> Result<&[u8], LiveError> {
    value.as_bytes().filter(|h| h.len() <= MAX_HEADERS).ok_or(LiveError::Headers)
}

fn stamp_of(value: Value<'_>) -> Result<[u8; STAMP_LENGTH], LiveError> {
    value.as_bytes().and_then(|s| s.try_into().ok()).ok_or(LiveError::Stamp)
}

fn number(value: Option<Value<'_>>, key: &'static str) -> Result<Option<u32>, LiveError> {
    let number = |v: Value<'_>| v.as_u64().and_then(|n| n.try_into().ok()).ok_or(LiveError::Number(key));
    value.map(number).transpose()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn states() -> impl Strategy<Value = LiveState> {
        let stamp = prop::option::of(any::<[u8; 32]>().prop_map(|part| {
            let mut stamp = [0; STAMP_LENGTH];
            stamp.as_chunks_mut::<32>().0.fill(part);
            stamp
        }));
        let headers = prop::option::of(prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from));
        (stamp, any::<[Option<u32>; 2]>(), headers).prop_map(|(stamp, [oldest, headers_number], headers)| {
            LiveState { stamp, oldest, headers_number, headers }
        })
    }

    fn read(text: &[u8]) -> Result<LiveState, LiveError> {
        LiveState::decode(&Bytes::copy_from_slice(text))
    }

    #[test]
    fn known_keys_must_be_right_and_unknown_ones_are_skipped() {
        assert_eq!(read(b"de"), Ok(LiveState::default()));
        let grown = LiveState { oldest: Some(7), headers_number: Some(2), ..LiveState::default() };
        assert_eq!(read(b"d2:hni2e1:oi7e1:xli1eee"), Ok(grown));
        assert_eq!(read(b"le"), Err(LiveError::NoDictionary));
        assert_eq!(read(b"de0"), Err(LiveError::NoDictionary));
        assert_eq!(read(b"d1:s3:abce"), Err(LiveError::Stamp));
        assert_eq!(read(b"d1:si3ee"), Err(LiveError::Stamp));
        assert_eq!(read(b"d1:oi-1ee"), Err(LiveError::Number("o")));
        assert_eq!(read(b"d1:oi4294967296ee"), Err(LiveError::Number("o")));
        assert_eq!(read(b"d2:hn1:1e"), Err(LiveError::Number("hn")));
        assert_eq!(read(b"d1:hi1ee"), Err(LiveError::Headers));
    }

    #[test]
    fn everything_has_its_limit() {
        let headers = |length| LiveState { headers: Some(vec![7; length].into()), ..LiveState::default() };
        assert!(LiveState::decode(&headers(MAX_HEADERS).encode()).is_ok());
        assert_eq!(LiveState::decode(&headers(MAX_HEADERS + 1).encode()), Err(LiveError::Headers));
        let long = headers(MAX_MESSAGE).encode();
        assert_eq!(LiveState::decode(&long), Err(LiveError::TooLong(long.len())));
        let full = LiveState {
            stamp: Some([255; STAMP_LENGTH]),
            oldest: Some(u32::MAX),
            headers_number: Some(u32::MAX),
            ..headers(MAX_HEADERS)
        };
        assert_eq!(LiveState::decode(&full.encode()), Ok(full));
        assert_eq!(read(b"d1:xlllli1eeeeee"), Err(LiveError::NoDictionary), "nested too deep");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(state in states()) {
            prop_assert_eq!(LiveState::decode(&state.encode()), Ok(state));
        }

        #[test]
        fn garbage_is_an_error_or_a_message_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn cut_and_changed_messages_never_panic(
            state in states(), at in any::<prop::sample::Index>(), byte: u8, cut: bool
        ) {
            let mut bytes = state.encode().to_vec();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            let _ = read(&bytes);
        }
    }
}
