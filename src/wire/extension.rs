//! The extension handshake (BEP 10): which extensions a peer speaks and what it says of itself.

use bytes::Bytes;
use std::collections::BTreeMap;

use super::bencode::{self, Limits};
use super::live::{self, LiveState};

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
    /// How far the sender has got in a live broadcast (`sw_live`); stream headers are left out here.
    pub live: Option<LiveState>,
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
            if let Some(state) = &self.live {
                dict.emit_pair(live::NAME.as_bytes(), LiveState { headers: None, ..state.clone() })?;
            }
            if let Some(client) = &self.client {
                dict.emit_pair(b"v", client.as_str())?;
            }
            Ok(())
        });
        let bytes = written.and_then(|()| encoder.get_output());
        Bytes::from(bytes.expect("a dictionary with sorted keys can be written"))
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
            live: dict.find(live::NAME.as_bytes()).and_then(|state| LiveState::read(state).ok()),
        })
    }

    /// The same handshake with one more extension: `id` is its number at our end.
    #[must_use]
    pub fn announcing(mut self, name: &str, id: u8) -> Self {
        self.messages.insert(name.to_owned(), id);
        self
    }

    /// The number of an extension at the sender's end, if it speaks it.
    pub fn id_of(&self, name: &str) -> Option<u8> {
        self.messages.get(name).copied()
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
            state in prop::option::of(live::tests::states()),
        ) {
            let live = state.map(|state| LiveState { headers: None, ..state });
            let handshake = ExtensionHandshake { messages, client, port, reqq, live };
            prop_assert_eq!(ExtensionHandshake::decode(&handshake.encode()), Ok(handshake));
        }

        #[test]
        fn garbage_is_an_error_or_a_handshake_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ExtensionHandshake::decode(&bytes);
        }
    }

    #[test]
    fn extensions_are_announced_and_found_by_name() {
        let ours = ExtensionHandshake::default().announcing(live::NAME, live::OUR_ID);
        assert_eq!(&ours.encode()[..], b"d1:md7:sw_livei1eee");
        let theirs = ExtensionHandshake::decode(b"d1:md7:sw_livei9eee").unwrap();
        assert_eq!(theirs.id_of(live::NAME), Some(9));
        let off = ExtensionHandshake::decode(b"d1:md7:sw_livei0eee").unwrap();
        assert_eq!(off.id_of(live::NAME), None);
    }

    #[test]
    fn stream_headers_stay_out_of_the_handshake() {
        let state = LiveState { headers_number: Some(3), ..LiveState::default() };
        let full = LiveState { headers: Some(vec![1; live::MAX_HEADERS].into()), ..state.clone() };
        let handshake = ExtensionHandshake { live: Some(full), ..ExtensionHandshake::default() };
        let read = ExtensionHandshake::decode(&handshake.encode()).unwrap();
        assert_eq!(read.live, Some(state));
    }

    #[test]
    fn fields_of_the_wrong_kind_are_ignored() {
        let odd = b"d1:md6:ut_pexi0e5:ut_xxi3e3:badi999ee1:pi70000e4:reqqi-5e1:v3:\xff\x1b[e";
        let read = ExtensionHandshake::decode(odd).unwrap();
        assert_eq!(read.messages, BTreeMap::from([("ut_xx".to_owned(), 3)]));
        assert_eq!((read.port, read.reqq), (None, None));
        assert_eq!(ExtensionHandshake::decode(b"d7:sw_lived1:s2:xyee").unwrap().live, None);
        assert_eq!(ExtensionHandshake::decode(b"le"), Err(ExtensionError::NoDictionary));
    }
}
