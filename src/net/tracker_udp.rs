//! The tracker's UDP half (BEP 15): what comes in a datagram, what goes back.
//!
//! Nothing is kept for whoever sends a connect request: the connection id is a keyed hash of his address and the
//! minute, good for that minute and the next. Only who has received it knows it, so that no announce comes from
//! an address that is not the sender's, and no reply is longer than the request until that is proven.

use std::net::{IpAddr, SocketAddr};

use sha1::{Digest, Sha1};

use crate::time::Instant;

/// An id is good for at least this long, at most twice as long (BEP 15: the client uses it for one minute).
const LIFE_SECONDS: u64 = 60;

/// Makes and checks connection ids.
pub(super) struct ConnectionIds {
    secret: [u8; 32],
}

impl ConnectionIds {
    pub(super) const fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The id for an address now. The port is not part of it: clients send from a new one as they like.
    pub(super) fn issue(&self, now: Instant, addr: SocketAddr) -> u64 {
        self.id(epoch(now), addr.ip())
    }

    pub(super) fn accepts(&self, now: Instant, addr: SocketAddr, id: u64) -> bool {
        let epoch = epoch(now);
        let mut good = [epoch].into_iter().chain(epoch.checked_sub(1));
        good.any(|epoch| self.id(epoch, addr.ip()) == id)
    }

    fn id(&self, epoch: u64, ip: IpAddr) -> u64 {
        let mut hash = Sha1::new_with_prefix(self.secret);
        hash.update(epoch.to_be_bytes());
        match ip.to_canonical() {
            IpAddr::V4(ip) => hash.update(ip.octets()),
            IpAddr::V6(ip) => hash.update(ip.octets()),
        }
        let digest = hash.finalize();
        let (id, _) = digest.split_first_chunk::<8>().expect("SHA-1 has 20 bytes");
        u64::from_be_bytes(*id)
    }
}

const fn epoch(now: Instant) -> u64 {
    now.micros() / (LIFE_SECONDS * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_good_for_its_owner_for_a_minute_and_gone_after_two() {
        let ids = ConnectionIds::new([7; 32]);
        let addr = |a: &str| a.parse().unwrap();
        let issued = Instant::from_secs(119);
        let id = ids.issue(issued, addr("10.0.0.1:1"));
        for (secs, from, good) in [
            (119, "10.0.0.1:1", true),
            (179, "10.0.0.1:2", true),
            (179, "[::ffff:10.0.0.1]:2", true),
            (180, "10.0.0.1:1", false),
            (119, "10.0.0.2:1", false),
        ] {
            assert_eq!(ids.accepts(Instant::from_secs(secs), addr(from), id), good, "{secs} {from}");
        }
        assert!(!ConnectionIds::new([8; 32]).accepts(issued, addr("10.0.0.1:1"), id));
        assert!(!ids.accepts(Instant::ZERO, addr("10.0.0.1:1"), id));
    }
}
