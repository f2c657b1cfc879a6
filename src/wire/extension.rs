//! The extension handshake (BEP 10): which extensions a peer speaks and what it says of itself.

use bytes::Bytes;
use std::collections::BTreeMap;

use super::bencode::{self, Limits};

/// Most bytes of an extension handshake that we read.
pub const MAX_HANDSHAKE: usize = 16 * 1024;
/// Most extensions remembered of a peer.
const MAX_EXTENSIONS: usize = 32;
/// Longest client name kept, bytes.
const MAX_CLIENT: usize = 64;
/// Longest extension name kept, bytes.
const MAX_NAME: usize = 32;
const LIMITS: Limits = Limits { depth: 8, items: 512, length: MAX_HANDSHAKE };

/// What the extension handshake says. Absent and unusable fields are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionHandshake {
    /// Extension name to message id at the sender; id 0 (switched off) is left out.
    pub messages: BTreeMap<String, u8>,
    /// Client name and version (`v`), a stranger's text, cut to 64 bytes.
    pub client: Option<String>,
    /// Port that the sender listens on (`p`).
    pub port: Option<u16>,
    /// Requests that the sender queues (`reqq`).
    pub reqq: Option<u32>,
}

/// Why an extension handshake is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// Longer than [`MAX_HANDSHAKE`].
    #[error("an extension handshake of {0} bytes")]
    TooLong(usize),
    /// Not a bencoded dictionary.
    #[error("an extension handshake that is no dictionary")]
    NoDictionary,
}

impl ExtensionHandshake {
    /// The payload on the wire.
    pub fn encode(&self) -> Bytes {
        let mut encoder = bendy::encoding::Encoder::new();
        let written = encoder.emit_dict(|mut dict| {
            dict.emit_pair_with(b"m", |e| {
                e.emit_dict(|mut m| {
                    self.messages.iter().try_for_each(|(name, id)| m.emit_pair(name.as_bytes(), *id))
                })
            })?;
            if let Some(port) = self.port {
                dict.emit_pair(b"p", port)?;
            }
            if let Some(reqq) = self.reqq {
                dict.emit_pair(b"reqq", reqq)?;
            }
            if let Some(client) = &self.client {
                dict.emit_pair(b"v", client.as_str())?;
            }
            Ok(())
        });
        let bytes = written.and_then(|()| encoder.get_output());
        Bytes::from(bytes.expect("a flat dictionary with sorted keys can be written"))
    }

    /// Reads what a peer sent. Fields of the wrong type are ignored, as deployed clients do.
    ///
    /// # Errors
    /// When it is too long or no dictionary at all.
    pub fn decode(payload: &[u8]) -> Result<Self, ExtensionError> {
        if payload.len() > MAX_HANDSHAKE {
            return Err(ExtensionError::TooLong(payload.len()));
        }
        let (root, _) = bencode::parse_prefix(payload, LIMITS).map_err(|_| ExtensionError::NoDictionary)?;
        let dict = root.as_dict().ok_or(ExtensionError::NoDictionary)?;
        let number = |key: &[u8]| dict.find(key).and_then(bencode::Value::as_u64);
        let names = dict.find(b"m").and_then(bencode::Value::as_dict).into_iter().flatten();
        let known = names.filter_map(|(name, id)| {
            let name = std::str::from_utf8(name).ok().filter(|n| n.len() <= MAX_NAME)?;
            let id = u8::try_from(id.as_u64()?).ok().filter(|id| *id != 0)?;
            Some((name.to_owned(), id))
        });
        Ok(Self {
            messages: known.take(MAX_EXTENSIONS).collect(),
            client: dict.find(b"v").and_then(bencode::Value::as_bytes).map(client_name),
            port: number(b"p").and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0),
            reqq: number(b"reqq").map(|r| u32::try_from(r).unwrap_or(u32::MAX)).filter(|r| *r != 0),
        })
    }
}

fn client_name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_CLIENT)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            messages in prop::collection::btree_map("[a-z_]{1,20}", 1u8.., 0..5),
            client in prop::option::of("[ -~]{0,40}"),
            port in prop::option::of(1u16..),
            reqq in prop::option::of(1u32..),
        ) {
            let handshake = ExtensionHandshake { messages, client, port, reqq };
            prop_assert_eq!(ExtensionHandshake::decode(&handshake.encode()), Ok(handshake));
        }

        #[test]
        fn garbage_is_an_error_or_a_handshake_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ExtensionHandshake::decode(&bytes);
        }
    }

    #[test]
    fn fields_of_the_wrong_kind_are_ignored() {
        let odd = b"d1:md6:ut_pexi0e5:ut_xxi3e3:badi999ee1:pi70000e4:reqqi-5e1:v3:\xff\x1b[e";
        let read = ExtensionHandshake::decode(odd).unwrap();
        assert_eq!(read.messages, BTreeMap::from([("ut_xx".to_owned(), 3)]));
        assert_eq!((read.port, read.reqq), (None, None));
        assert_eq!(ExtensionHandshake::decode(b"le"), Err(ExtensionError::NoDictionary));
    }
}
