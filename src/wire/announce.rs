//! What a client says to a tracker and hears from it, whichever way the bytes go (HTTP of BEP 3, UDP of BEP 15).
//!
//! The two encodings are in [`http_tracker`](super::http_tracker) and [`udp_tracker`](super::udp_tracker), each
//! for both sides. What a tracker sends is a stranger's text: [`printable`] makes it fit for a terminal.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::ids::{InfoHash, PeerId};

/// Most peers that we take from one reply; real trackers send 200 at most.
pub const MAX_PEERS: usize = 2_000;
/// Longest tracker id that we keep and send back.
pub const MAX_TRACKER_ID: usize = 256;
/// Most torrents in one scrape: what fits an Ethernet frame over UDP (BEP 15).
pub const MAX_SCRAPE: usize = 74;
/// Longest text of a tracker that is shown, in characters.
pub const MAX_TEXT: usize = 200;

/// Why a client announces now (BEP 3); the numbers are those of BEP 15.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum AnnounceEvent {
    /// Nothing special: still here, more peers please.
    #[default]
    Interval,
    /// The last piece has just come.
    Completed,
    /// First announce.
    Started,
    /// Last announce.
    Stopped,
}

impl AnnounceEvent {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Interval, Self::Completed, Self::Started, Self::Stopped];

    /// Its number over UDP.
    pub const fn number(self) -> u32 {
        match self {
            Self::Interval => 0,
            Self::Completed => 1,
            Self::Started => 2,
            Self::Stopped => 3,
        }
    }

    /// Its name over HTTP; the empty one is left out.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interval => "",
            Self::Completed => "completed",
            Self::Started => "started",
            Self::Stopped => "stopped",
        }
    }
}

/// One announce. Byte figures count since `started`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// Which swarm.
    pub info_hash: InfoHash,
    /// Who asks.
    pub peer_id: PeerId,
    /// Where the asker listens; 0 = nowhere.
    pub port: u16,
    /// Payload bytes sent.
    pub uploaded: u64,
    /// Payload bytes received.
    pub downloaded: u64,
    /// Bytes that the asker does not have yet; 0 makes it a seed.
    pub left: u64,
    /// Why now.
    pub event: AnnounceEvent,
    /// Proves to the tracker that it is still the same asker after a change of address.
    pub key: Option<u32>,
    /// Peers wanted; `None` leaves it to the tracker.
    pub num_want: Option<u32>,
    /// What the tracker gave last time to be sent back (HTTP only).
    pub tracker_id: Option<Vec<u8>>,
}

/// A peer as a tracker names it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrackedPeer {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its id, told only by the non-compact form.
    pub id: Option<PeerId>,
}

/// What a tracker answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnounceResponse {
    /// When to announce again.
    pub interval: Duration,
    /// Never announce more often (HTTP only).
    pub min_interval: Option<Duration>,
    /// To be sent back with the next announce (HTTP only).
    pub tracker_id: Option<Vec<u8>>,
    /// Something that the tracker's keeper wants users to read: a stranger's text (HTTP only).
    pub warning: Option<String>,
    /// Seeds in the swarm.
    pub complete: Option<u32>,
    /// Other peers in the swarm.
    pub incomplete: Option<u32>,
    /// Some of them, IPv4 before IPv6.
    pub peers: Vec<TrackedPeer>,
}

/// A tracker's refusal: `failure reason` over HTTP, the error packet over UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why; a stranger's text.
    pub reason: String,
    /// When to try again (BEP 31).
    pub retry: Option<RetryIn>,
}

/// BEP 31's `retry in`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum RetryIn {
    /// After this time.
    After(Duration),
    /// Never again.
    Never,
}

/// A swarm's counts (BEP 48).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrapeEntry {
    /// Seeds.
    pub complete: u32,
    /// Completed downloads ever.
    pub downloaded: u32,
    /// Other peers.
    pub incomplete: u32,
}

/// A stranger's text made fit for a terminal or a dialog: on one line, control and invisible characters escaped,
/// at most [`MAX_TEXT`] of its characters.
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars().take(MAX_TEXT) {
        match c {
            '\'' | '"' | '\\' => out.push(c),
            c => write!(out, "{}", c.escape_debug()).expect("a String takes everything"),
        }
    }
    if text.trim().chars().nth(MAX_TEXT).is_some() {
        out.push('…');
    }
    out
}

/// Bytes of a compact IPv4 peer (BEP 23).
pub(super) const COMPACT_V4: usize = 6;
/// Bytes of a compact IPv6 peer (BEP 7).
pub(super) const COMPACT_V6: usize = 18;

/// Appends a compact peer: address and port in network order.
pub(super) fn put_compact(out: &mut Vec<u8>, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
    out.extend(addr.port().to_be_bytes());
}

/// Reads compact IPv4 peers; a rest too short for one is dropped, and so are ports of 0.
pub(super) fn compact_v4(bytes: &[u8]) -> impl Iterator<Item = TrackedPeer> + '_ {
    let addr =
        |p: &[u8; COMPACT_V4]| SocketAddr::from(([p[0], p[1], p[2], p[3]], u16::from_be_bytes([p[4], p[5]])));
    compact(bytes.as_chunks::<COMPACT_V4>().0.iter().map(addr))
}

/// Reads compact IPv6 peers; a rest too short for one is dropped, and so are ports of 0.
pub(super) fn compact_v6(bytes: &[u8]) -> impl Iterator<Item = TrackedPeer> + '_ {
    let addr = |p: &[u8; COMPACT_V6]| {
        let (ip, port) = p.split_first_chunk::<16>().expect("18 bytes hold 16");
        SocketAddr::from((*ip, u16::from_be_bytes([port[0], port[1]])))
    };
    compact(bytes.as_chunks::<COMPACT_V6>().0.iter().map(addr))
}

fn compact(addrs: impl Iterator<Item = SocketAddr>) -> impl Iterator<Item = TrackedPeer> {
    addrs.filter(|a| a.port() != 0).map(|addr| TrackedPeer { addr, id: None })
}

/// A count of a reply, from whatever integer the stranger wrote.
pub(super) fn count(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_strangers_text_cannot_drive_a_terminal() {
        assert_eq!(printable(" It's \"fine\" \\ käse "), "It's \"fine\" \\ käse");
        let hostile = printable("a\x1b[2J\r\nb\u{202e}c\0");
        assert_eq!(hostile, "a\\u{1b}[2J\\r\\nb\\u{202e}c\\0");
        assert_eq!(printable(&"x".repeat(MAX_TEXT)).len(), MAX_TEXT);
        assert!(printable(&"x".repeat(MAX_TEXT + 1)).ends_with("x…"));
    }

    #[test]
    fn compact_peers_lose_odd_rests_and_impossible_ports() {
        let peers: Vec<_> = compact_v4(b"\x0a\0\0\x01\x1a\xe1\x0a\0\0\x02\0\0\x01\x02").collect();
        assert_eq!(peers, [TrackedPeer { addr: "10.0.0.1:6881".parse().unwrap(), id: None }]);
        assert_eq!(compact_v6(&[0; 17]).count(), 0);
    }

    pub fn request() -> AnnounceRequest {
        AnnounceRequest {
            info_hash: InfoHash(*b"\x124Vx\x9a\xbc\xde\xf1#Eg\x89\xab\xcd\xef\x124Vx\x9a"),
            peer_id: PeerId(*b"-SW0100-abcdefghijkl"),
            port: 6881,
            uploaded: 1,
            downloaded: 2,
            left: 3,
            event: AnnounceEvent::Started,
            key: Some(0xbeef),
            num_want: Some(50),
            tracker_id: None,
        }
    }

    pub fn addrs() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![v4_addrs(), v6_addrs()]
    }

    pub fn v4_addrs() -> impl Strategy<Value = SocketAddr> {
        (any::<[u8; 4]>(), 1u16..).prop_map(SocketAddr::from)
    }

    pub fn v6_addrs() -> impl Strategy<Value = SocketAddr> {
        (any::<[u8; 16]>(), 1u16..).prop_map(SocketAddr::from)
    }

    pub fn requests() -> impl Strategy<Value = AnnounceRequest> {
        let ids = (any::<[u8; 20]>(), any::<[u8; 20]>(), any::<u16>());
        let figures = any::<(u64, u64, u64)>();
        let rest = (prop::sample::select(&AnnounceEvent::ALL), any::<Option<u32>>());
        let tracker_id = prop::option::of(prop::collection::vec(any::<u8>(), 1..20));
        (ids, figures, rest, prop::option::of(0u32..0x7fff_ffff), tracker_id).prop_map(
            |((hash, id, port), (uploaded, downloaded, left), (event, key), num_want, tracker_id)| {
                AnnounceRequest {
                    info_hash: InfoHash(hash),
                    peer_id: PeerId(id),
                    port,
                    uploaded,
                    downloaded,
                    left,
                    event,
                    key,
                    num_want,
                    tracker_id,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn compact_peers_survive_the_round_trip(peers in prop::collection::vec(addrs(), 0..50)) {
            let (mut v4, mut v6) = (Vec::new(), Vec::new());
            for peer in &peers {
                put_compact(if peer.is_ipv4() { &mut v4 } else { &mut v6 }, *peer);
            }
            let (want4, want6): (Vec<_>, Vec<_>) = peers.iter().partition(|p| p.is_ipv4());
            prop_assert_eq!(compact_v4(&v4).map(|p| p.addr).collect::<Vec<_>>(), want4);
            prop_assert_eq!(compact_v6(&v6).map(|p| p.addr).collect::<Vec<_>>(), want6);
        }

        #[test]
        fn printable_text_has_no_control_characters(text in any::<String>()) {
            prop_assert!(!printable(&text).chars().any(char::is_control));
        }
    }
}
