//! Recognises the live `.tstream` files of the SwarmPlayer: metainfo with `info.live` (how pieces are signed)
//! and no piece hashes, because its pieces do not exist yet.
//!
//! A VoD `.tstream` is an ordinary metainfo file and is read by [`torrent`](super::torrent).

use super::text::escape;
use crate::wire::bencode::Value;
use crate::wire::ids::InfoHash;

/// What a live `.tstream` is, as far as a message needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The swarm: key, name, size and piece length fix it.
    pub info_hash: InfoHash,
    /// `info.name`, a stranger's text.
    pub name: String,
    /// `info.live.authmethod`: `ECDSA`, `RSA` or `None` in files of 2008-2010; a stranger's text.
    pub auth_method: String,
}

impl Live {
    /// Reads an info dictionary, if it is that of a live broadcast.
    pub fn recognise(info: Value<'_>, info_hash: InfoHash, name: &str) -> Option<Self> {
        let live = info.find(b"live")?.as_dict()?;
        if info.find(b"pieces").is_some() {
            return None;
        }
        let auth_method = live.find(b"authmethod").and_then(Value::as_str).unwrap_or("None");
        Some(Self { info_hash, name: name.to_owned(), auth_method: auth_method.to_owned() })
    }
}

/// Fit for print.
impl std::fmt::Display for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the live broadcast '{}' (signed with {})", escape(&self.name), escape(&self.auth_method))
    }
}
