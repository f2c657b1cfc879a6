//! The two 20-byte names of the protocol: which swarm, and which peer (BEP 3).

use std::fmt;

/// SHA-1 of the raw `info` dictionary: the name of a swarm.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub [u8; 20]);

/// What a client calls itself for one run (BEP 20: `-SW0100-` and twelve random bytes for ours).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

impl InfoHash {
    /// Reads 40 hexadecimal digits of either case.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if digits.len() != 40 {
            return None;
        }
        let mut out = [0; 20];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(out))
    }
}

impl PeerId {
    /// Our own id: the client's mark of BEP 20, then the twelve given bytes.
    pub fn ours(random: [u8; 12]) -> Self {
        let mut id = *b"-SW0100-............";
        id[8..].copy_from_slice(&random);
        Self(id)
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// A peer's id is a stranger's text: whatever is not a printable ASCII character is shown as `.`.
impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&b| {
            let c = if b.is_ascii_graphic() { char::from(b) } else { '.' };
            write!(f, "{c}")
        })
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways() {
        let text = "0efe5423162cc35c0d7287f46d8695f5f8c11eec";
        assert_eq!(InfoHash::from_hex(text).map(|h| h.to_string()).as_deref(), Some(text));
        assert_eq!(InfoHash::from_hex(&text[1..]), None);
        assert_eq!(InfoHash::from_hex(&text.replace('0', "x")), None);
    }

    #[test]
    fn a_hostile_peer_id_is_harmless_in_print() {
        let id = PeerId(*b"-XX\x1b[2J\r\n1234567890.");
        assert!(id.to_string().chars().all(|c| c.is_ascii_graphic()));
    }
}
