//! The 68 bytes that open a connection (BEP 3), with the reserved bits of BEP 6 and BEP 10.

use super::ids::{InfoHash, PeerId};

/// Bytes of a handshake.
pub const HANDSHAKE: usize = 68;
/// The first byte of a handshake: the length of the protocol's name.
pub const FIRST_BYTE: u8 = 19;
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
/// Byte and bit of BEP 10 in the reserved bytes.
const EXTENDED: (usize, u8) = (5, 0x10);
/// Byte and bit of BEP 6 in the reserved bytes.
const FAST: (usize, u8) = (7, 0x04);

/// What a handshake says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which swarm.
    pub info_hash: InfoHash,
    /// Who.
    pub peer_id: PeerId,
    /// Speaks BEP 6.
    pub fast: bool,
    /// Speaks BEP 10.
    pub extended: bool,
}

/// Why a handshake is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not BitTorrent (or encrypted).
    #[error("not a BitTorrent handshake")]
    Protocol,
    /// Another swarm than the one asked for.
    #[error("the peer is in swarm {0}")]
    OtherSwarm(InfoHash),
}

impl Hello {
    /// What we say: everything that we speak.
    pub const fn ours(info_hash: InfoHash, peer_id: PeerId) -> Self {
        Self { info_hash, peer_id, fast: true, extended: true }
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> [u8; HANDSHAKE] {
        let mut out = [0; HANDSHAKE];
        out[..20].copy_from_slice(PROTOCOL);
        if self.extended {
            out[20 + EXTENDED.0] |= EXTENDED.1;
        }
        if self.fast {
            out[20 + FAST.0] |= FAST.1;
        }
        out[28..48].copy_from_slice(&self.info_hash.0);
        out[48..].copy_from_slice(&self.peer_id.0);
        out
    }

    /// Reads what a peer sent.
    ///
    /// # Errors
    /// When it is another protocol.
    pub fn decode(bytes: &[u8; HANDSHAKE]) -> Result<Self, HandshakeError> {
        if &bytes[..20] != PROTOCOL {
            return Err(HandshakeError::Protocol);
        }
        let id = |from: usize| {
            let mut id = [0; 20];
            id.copy_from_slice(&bytes[from..from + 20]);
            id
        };
        Ok(Self {
            info_hash: InfoHash(id(28)),
            peer_id: PeerId(id(48)),
            fast: bytes[20 + FAST.0] & FAST.1 != 0,
            extended: bytes[20 + EXTENDED.0] & EXTENDED.1 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(hash in any::<[u8; 20]>(), id in any::<[u8; 20]>(), fast: bool, extended: bool) {
            let hello = Hello { info_hash: InfoHash(hash), peer_id: PeerId(id), fast, extended };
            prop_assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        }

        #[test]
        fn another_protocol_is_refused(at in 0usize..20, flip in 1u8..) {
            let mut bytes = Hello::ours(InfoHash([1; 20]), PeerId([2; 20])).encode();
            bytes[at] ^= flip;
            prop_assert_eq!(Hello::decode(&bytes), Err(HandshakeError::Protocol));
        }
    }
}
