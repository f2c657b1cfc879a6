//! Trackers over UDP, both sides: connect, announce, scrape, error (BEP 15), with the URL option of BEP 41 on
//! the client's side, without which a passkey in the URL would never reach the tracker.
//!
//! A packet is one datagram. Whether replies carry IPv4 or IPv6 peers is not in the packet: it follows from the
//! addresses between which it travels, so that both sides say it with [`Family`].

use std::net::IpAddr;
use std::time::Duration;

use super::announce::{
    AnnounceEvent, AnnounceRequest, AnnounceResponse, COMPACT_V4, COMPACT_V6, MAX_PEERS, MAX_SCRAPE, Refusal,
    ScrapeEntry, TrackedPeer, compact_v4, compact_v6, put_compact,
};
use super::ids::{InfoHash, PeerId};

/// The first eight bytes of a connect request.
const MAGIC: u64 = 0x0417_2710_1980;
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// Longest reply that we send: it shall fit one Ethernet frame over IPv6.
pub const MAX_REPLY: usize = 1_400;
/// Most IPv4 peers in one reply.
pub const MAX_PEERS_V4: usize = (MAX_REPLY - ANNOUNCE_REPLY) / COMPACT_V4;
/// Most IPv6 peers in one reply.
pub const MAX_PEERS_V6: usize = (MAX_REPLY - ANNOUNCE_REPLY) / COMPACT_V6;
/// Longest path and query that we send along (BEP 41).
pub const MAX_URL_DATA: usize = 1_024;

/// Bytes in front of the peers.
const ANNOUNCE_REPLY: usize = 20;
/// BEP 41: a piece of path and query follows.
const OPTION_URL_DATA: u8 = 2;
/// `num_want` of a client that leaves it to the tracker.
const DEFAULT_NUM_WANT: u32 = u32::MAX;

/// Which addresses a packet travels between, and so which peers it carries.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address (an IPv4 address written in IPv6 form is IPv4).
    pub const fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Why a datagram is not a packet of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UdpError {
    /// Shorter than its kind needs.
    #[error("{kind} packet of {length} bytes, at least {needed} are due")]
    Short {
        /// Which kind.
        kind: &'static str,
        /// Its length.
        length: usize,
        /// What is due.
        needed: usize,
    },
    /// An action that there is not, or not in this direction.
    #[error("unknown action {0} of a tracker packet")]
    Action(u32),
    /// An event that there is not.
    #[error("unknown event {0} in an announce packet")]
    Event(u32),
    /// A connect request without the protocol's number.
    #[error("connect packet with protocol number {0:#x}")]
    Protocol(u64),
    /// More torrents in a scrape than fit a packet.
    #[error("scrape of {0} torrents, at most {MAX_SCRAPE} are allowed")]
    Scrape(usize),
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Asks for a connection id, which proves that the sender's address is real.
    Connect {
        /// Comes back in the reply.
        transaction: u32,
    },
    /// An announce.
    Announce {
        /// The id that the tracker gave.
        connection: u64,
        /// Comes back in the reply.
        transaction: u32,
        /// What is announced.
        request: AnnounceRequest,
    },
    /// Asks for counts of some torrents.
    Scrape {
        /// The id that the tracker gave.
        connection: u64,
        /// Comes back in the reply.
        transaction: u32,
        /// Which torrents, 1 to [`MAX_SCRAPE`].
        hashes: Vec<InfoHash>,
    },
}

/// What a tracker sends back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// A connection id.
    Connect {
        /// The request's.
        transaction: u32,
        /// Good for a minute at the client, two at the tracker.
        connection: u64,
    },
    /// The answer to an announce.
    Announce {
        /// The request's.
        transaction: u32,
        /// The answer.
        response: AnnounceResponse,
    },
    /// The answer to a scrape, in the order of the request.
    Scrape {
        /// The request's.
        transaction: u32,
        /// The counts.
        entries: Vec<ScrapeEntry>,
    },
    /// No.
    Error {
        /// The request's.
        transaction: u32,
        /// Why.
        refusal: Refusal,
    },
}

impl Request {
    /// Its datagram. `url_data` is path and query of the tracker's URL, sent with an announce when it says more
    /// than the usual `/announce` (BEP 41).
    pub fn encode(&self, url_data: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        match self {
            Self::Connect { transaction } => put_head(&mut out, MAGIC, CONNECT, *transaction),
            Self::Announce { connection, transaction, request } => {
                put_head(&mut out, *connection, ANNOUNCE, *transaction);
                put_announce(&mut out, request);
                put_url_data(&mut out, url_data);
            }
            Self::Scrape { connection, transaction, hashes } => {
                put_head(&mut out, *connection, SCRAPE, *transaction);
                hashes.iter().take(MAX_SCRAPE).for_each(|h| out.extend(h.0));
            }
        }
        out
    }

    /// Reads a client's datagram. Whatever follows an announce (BEP 41) is not looked at.
    ///
    /// # Errors
    /// When it is not one.
    pub fn decode(packet: &[u8]) -> Result<Self, UdpError> {
        let mut from = Reader::new("request", packet, 16)?;
        let (connection, action, transaction) = (from.u64(), from.u32(), from.u32());
        match action {
            CONNECT if connection == MAGIC => Ok(Self::Connect { transaction }),
            CONNECT => Err(UdpError::Protocol(connection)),
            ANNOUNCE => {
                let request = announce(Reader::new("announce", from.rest, 82)?)?;
                Ok(Self::Announce { connection, transaction, request })
            }
            SCRAPE => {
                let hashes = hashes(Reader::new("scrape", from.rest, 20)?)?;
                Ok(Self::Scrape { connection, transaction, hashes })
            }
            other => Err(UdpError::Action(other)),
        }
    }
}

impl Response {
    /// Its datagram, at most [`MAX_REPLY`] bytes: peers of the other family and those too many are left out.
    pub fn encode(&self, family: Family) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let mut put = |n: u32| out.extend(n.to_be_bytes());
        match self {
            Self::Connect { transaction, connection } => {
                put(CONNECT);
                put(*transaction);
                out.extend(connection.to_be_bytes());
            }
            Self::Announce { transaction, response } => {
                put(ANNOUNCE);
                put(*transaction);
                put(u32::try_from(response.interval.as_secs()).unwrap_or(u32::MAX));
                put(response.incomplete.unwrap_or(0));
                put(response.complete.unwrap_or(0));
                put_peers(&mut out, &response.peers, family);
            }
            Self::Scrape { transaction, entries } => {
                put(SCRAPE);
                put(*transaction);
                let entries = entries.iter().take(MAX_SCRAPE);
                entries.flat_map(|e| [e.complete, e.downloaded, e.incomplete]).for_each(put);
            }
            Self::Error { transaction, refusal } => {
                put(ERROR);
                put(*transaction);
                out.extend(refusal.reason.bytes().take(MAX_REPLY - 8));
            }
        }
        out
    }

    /// Reads a tracker's datagram that came over `family`.
    ///
    /// # Errors
    /// When it is not one.
    pub fn decode(packet: &[u8], family: Family) -> Result<Self, UdpError> {
        let mut from = Reader::new("reply", packet, 8)?;
        let (action, transaction) = (from.u32(), from.u32());
        match action {
            CONNECT => {
                let connection = Reader::new("connect reply", from.rest, 8)?.u64();
                Ok(Self::Connect { transaction, connection })
            }
            ANNOUNCE => {
                let response = announce_reply(Reader::new("announce reply", from.rest, 12)?, family);
                Ok(Self::Announce { transaction, response })
            }
            SCRAPE => Ok(Self::Scrape { transaction, entries: scrape_reply(from.rest) }),
            ERROR => {
                let reason = String::from_utf8_lossy(from.rest).into_owned();
                Ok(Self::Error { transaction, refusal: Refusal { reason, retry: None } })
            }
            other => Err(UdpError::Action(other)),
        }
    }

    /// The transaction that it answers.
    pub const fn transaction(&self) -> u32 {
        match self {
            Self::Connect { transaction, .. }
            | Self::Announce { transaction, .. }
            | Self::Scrape { transaction, .. }
            | Self::Error { transaction, .. } => *transaction,
        }
    }
}

/// Big-endian fields of a datagram whose length has been checked.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    const fn new(kind: &'static str, rest: &'a [u8], needed: usize) -> Result<Self, UdpError> {
        if rest.len() < needed {
            return Err(UdpError::Short { kind, length: rest.len(), needed });
        }
        Ok(Self { rest })
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.rest.split_first_chunk().expect("the length has been checked");
        self.rest = rest;
        *field
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take())
    }
}

fn put_head(out: &mut Vec<u8>, connection: u64, action: u32, transaction: u32) {
    out.extend(connection.to_be_bytes());
    out.extend(action.to_be_bytes());
    out.extend(transaction.to_be_bytes());
}

fn put_announce(out: &mut Vec<u8>, request: &AnnounceRequest) {
    out.extend(request.info_hash.0);
    out.extend(request.peer_id.0);
    out.extend([request.downloaded, request.left, request.uploaded].map(u64::to_be_bytes).as_flattened());
    // The zero is the address: the tracker shall take that of the packet.
    let num_want = request.num_want.unwrap_or(DEFAULT_NUM_WANT);
    let fields = [request.event.number(), 0, request.key.unwrap_or(0), num_want];
    out.extend(fields.map(u32::to_be_bytes).as_flattened());
    out.extend(request.port.to_be_bytes());
}

fn put_url_data(out: &mut Vec<u8>, url_data: &str) {
    if matches!(url_data, "" | "/" | "/announce") || url_data.len() > MAX_URL_DATA {
        return;
    }
    for part in url_data.as_bytes().chunks(usize::from(u8::MAX)) {
        out.push(OPTION_URL_DATA);
        out.push(u8::try_from(part.len()).expect("chunks are no longer"));
        out.extend(part);
    }
}

fn put_peers(out: &mut Vec<u8>, peers: &[TrackedPeer], family: Family) {
    let most = if family == Family::V4 { MAX_PEERS_V4 } else { MAX_PEERS_V6 };
    let peers = peers.iter().filter(|p| Family::of(p.addr.ip()) == family).take(most);
    peers.for_each(|p| put_compact(out, p.addr));
}

fn announce(mut from: Reader<'_>) -> Result<AnnounceRequest, UdpError> {
    let (info_hash, peer_id) = (InfoHash(from.take()), PeerId(from.take()));
    let (downloaded, left, uploaded) = (from.u64(), from.u64(), from.u64());
    // The address that the sender claims is ignored: who could name another's would point swarms at a victim.
    let (event, _ip, key, num_want) = (from.u32(), from.u32(), from.u32(), from.u32());
    let port = from.u16();
    let event = AnnounceEvent::ALL.into_iter().find(|e| e.number() == event).ok_or(UdpError::Event(event))?;
    Ok(AnnounceRequest {
        info_hash,
        peer_id,
        port,
        uploaded,
        downloaded,
        left,
        event,
        key: Some(key),
        // A signed number: -1 means "as many as you like".
        num_want: i32::try_from(num_want).ok().and(Some(num_want)),
        tracker_id: None,
    })
}

fn hashes(from: Reader<'_>) -> Result<Vec<InfoHash>, UdpError> {
    let (hashes, _) = from.rest.as_chunks::<20>();
    if hashes.len() > MAX_SCRAPE {
        return Err(UdpError::Scrape(hashes.len()));
    }
    Ok(hashes.iter().copied().map(InfoHash).collect())
}

fn announce_reply(mut from: Reader<'_>, family: Family) -> AnnounceResponse {
    let (interval, incomplete, complete) = (from.u32(), from.u32(), from.u32());
    let peers = match family {
        Family::V4 => compact_v4(from.rest).take(MAX_PEERS).collect(),
        Family::V6 => compact_v6(from.rest).take(MAX_PEERS).collect(),
    };
    AnnounceResponse {
        interval: Duration::from_secs(u64::from(interval)),
        complete: Some(complete),
        incomplete: Some(incomplete),
        peers,
        ..AnnounceResponse::default()
    }
}

fn scrape_reply(bytes: &[u8]) -> Vec<ScrapeEntry> {
    let (fields, _) = bytes.as_chunks::<4>();
    let numbers: Vec<u32> = fields.iter().map(|f| u32::from_be_bytes(*f)).take(3 * MAX_SCRAPE).collect();
    let entry = |n: &[u32; 3]| ScrapeEntry { complete: n[0], downloaded: n[1], incomplete: n[2] };
    numbers.as_chunks::<3>().0.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::super::announce::tests::{requests, v4_addrs, v6_addrs};
    use super::*;
    use proptest::prelude::*;

    fn announce_of(request: AnnounceRequest) -> Request {
        Request::Announce { connection: 1, transaction: 2, request }
    }

    #[test]
    fn a_connect_request_is_the_sixteen_bytes_of_the_bep() {
        let packet = Request::Connect { transaction: 0x0102_0304 }.encode("");
        assert_eq!(packet, b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0\x01\x02\x03\x04");
        let mut other = packet;
        other[7] ^= 1;
        assert!(matches!(Request::decode(&other), Err(UdpError::Protocol(_))));
    }

    #[test]
    fn an_event_or_action_that_there_is_not_is_refused() {
        let mut packet = vec![0; 98];
        packet[11] = 1;
        packet[83] = 4;
        assert_eq!(Request::decode(&packet), Err(UdpError::Event(4)));
        packet[11] = 3;
        assert_eq!(Request::decode(&packet), Err(UdpError::Action(3)));
        assert!(matches!(Request::decode(&packet[..15]), Err(UdpError::Short { .. })));
    }

    #[test]
    fn too_many_peers_never_make_a_fragmented_reply() {
        let peer = |addr: &str| TrackedPeer { addr: addr.parse().unwrap(), id: None };
        let peers = [vec![peer("1.2.3.4:5"); 500], vec![peer("[2001:db8::1]:5"); 500]].concat();
        let response = AnnounceResponse { peers, ..AnnounceResponse::default() };
        let reply = Response::Announce { transaction: 0, response };
        assert_eq!(reply.encode(Family::V4).len(), ANNOUNCE_REPLY + MAX_PEERS_V4 * COMPACT_V4);
        assert_eq!(reply.encode(Family::V6).len(), ANNOUNCE_REPLY + MAX_PEERS_V6 * COMPACT_V6);
        assert!(reply.encode(Family::V4).len() <= MAX_REPLY && reply.encode(Family::V6).len() <= MAX_REPLY);
    }

    #[test]
    fn a_passkey_in_the_url_travels_in_pieces_of_255_bytes() {
        let url_data = format!("/announce?passkey={}", "k".repeat(300));
        let request = Request::Scrape { connection: 0, transaction: 0, hashes: vec![InfoHash([7; 20])] };
        assert_eq!(request.encode(&url_data).len(), 36, "only announces carry it");
        let packet = announce_of(announce(Reader { rest: &[0; 82] }).unwrap()).encode(&url_data);
        let options = &packet[98..];
        assert_eq!(options[..2], [2, 255]);
        assert_eq!(options[257..259], [2, u8::try_from(url_data.len() - 255).unwrap()]);
        assert_eq!([&options[2..257], &options[259..]].concat(), url_data.as_bytes());
        assert_eq!(announce_of(announce(Reader { rest: &[0; 82] }).unwrap()).encode("/announce").len(), 98);
    }

    fn round_trip(response: &Response, family: Family) -> Result<(), TestCaseError> {
        let decoded = Response::decode(&response.encode(family), family);
        prop_assert_eq!(decoded.as_ref().map(Response::transaction), Ok(response.transaction()));
        prop_assert_eq!(decoded.as_ref(), Ok(response));
        Ok(())
    }

    proptest! {
        #[test]
        fn no_datagram_makes_either_side_panic(packet in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::decode(&packet);
            let _ = Response::decode(&packet, Family::V4);
            let _ = Response::decode(&packet, Family::V6);
        }

        #[test]
        fn any_body_behind_a_good_head_is_read_or_refused(
            action in 0u32..4, body in prop::collection::vec(any::<u8>(), 0..1_600),
        ) {
            let request = [&MAGIC.to_be_bytes()[..], &action.to_be_bytes(), &[0; 4], &body].concat();
            let _ = Request::decode(&request);
            for family in [Family::V4, Family::V6] {
                let reply = Response::decode(&request[8..], family);
                if let Ok(Response::Announce { response, .. }) = reply {
                    prop_assert!(response.peers.iter().all(|p| Family::of(p.addr.ip()) == family || family == Family::V6));
                }
            }
        }

        #[test]
        fn announces_survive_the_round_trip(request in requests(), connection: u64, transaction: u32) {
            let request = AnnounceRequest { tracker_id: None, key: request.key.or(Some(0)), ..request };
            let sent = Request::Announce { connection, transaction, request };
            prop_assert_eq!(Request::decode(&sent.encode("/announce?key=1")), Ok(sent));
        }

        #[test]
        fn scrapes_survive_the_round_trip(
            hashes in prop::collection::vec(any::<[u8; 20]>().prop_map(InfoHash), 1..MAX_SCRAPE),
            connection: u64, transaction: u32,
            counts in prop::collection::vec(any::<[u32; 3]>(), 0..MAX_SCRAPE),
        ) {
            let sent = Request::Scrape { connection, transaction, hashes };
            prop_assert_eq!(Request::decode(&sent.encode("")), Ok(sent));
            let entry = |n: &[u32; 3]| ScrapeEntry { complete: n[0], downloaded: n[1], incomplete: n[2] };
            let entries = counts.iter().map(entry).collect();
            round_trip(&Response::Scrape { transaction, entries }, Family::V4)?;
        }

        #[test]
        fn replies_survive_the_round_trip(
            transaction: u32, connection: u64, interval: u32, counts: (u32, u32),
            v4 in prop::collection::vec(v4_addrs(), 0..MAX_PEERS_V4),
            v6 in prop::collection::vec(v6_addrs(), 0..MAX_PEERS_V6),
            reason in "[ -~]{0,100}",
        ) {
            round_trip(&Response::Connect { transaction, connection }, Family::V6)?;
            round_trip(&Response::Error { transaction, refusal: Refusal { reason, retry: None } }, Family::V4)?;
            for (family, addrs) in [(Family::V4, v4), (Family::V6, v6)] {
                let response = AnnounceResponse {
                    interval: Duration::from_secs(u64::from(interval)),
                    complete: Some(counts.0),
                    incomplete: Some(counts.1),
                    peers: addrs.into_iter().map(|addr| TrackedPeer { addr, id: None }).collect(),
                    ..AnnounceResponse::default()
                };
                // An IPv4 address in IPv6 form is no IPv6 peer.
                if response.peers.iter().all(|p| Family::of(p.addr.ip()) == family) {
                    round_trip(&Response::Announce { transaction, response }, family)?;
                }
            }
        }
    }
}
