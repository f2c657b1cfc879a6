//! Trackers over HTTP, both sides: the announce of BEP 3 with compact peers (BEP 23, BEP 7) and without, and the
//! scrape of BEP 48. URLs and bodies only; sockets are elsewhere.
//!
//! A client adds its parameters behind whatever query the URL has: private trackers keep their passkeys there.
//! A reply is read tolerantly; what a server reads is in [`http_query`](super::http_query).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bendy::encoding::{Error as BendyError, SingleItemEncoder, UnsortedDictEncoder};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::announce::{
    AnnounceEvent, AnnounceRequest, AnnounceResponse, MAX_PEERS, MAX_SCRAPE, MAX_TRACKER_ID, Refusal,
    RetryIn, ScrapeEntry, TrackedPeer, compact_v4, compact_v6, count, put_compact,
};
use super::bencode::{self, BencodeError, Limits, Value};
use super::ids::{InfoHash, PeerId};

/// Longest reply that a client reads.
pub const MAX_REPLY: usize = 1 << 20;
/// What a tracker's reply may consist of: a list of peers is three levels and seven items a peer.
const REPLY_LIMITS: Limits = Limits { depth: 8, items: 16 * MAX_PEERS, length: MAX_REPLY };
/// RFC 3986's unreserved characters stay as they are.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How peers are written in a reply.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Strings of 6 and 18 bytes a peer (BEP 23, BEP 7).
    Compact,
    /// A list of dictionaries with address, port and id (BEP 3).
    Full,
    /// The same without ids (`no_peer_id=1`).
    Anonymous,
}

/// Why a reply cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not bencode; most often a web page.
    #[error("the tracker's reply is not bencode: {0}")]
    Bencode(#[from] BencodeError),
    /// Something that a reply must have is not there.
    #[error("the tracker's reply has no {0}")]
    Missing(&'static str),
    /// The tracker said no.
    #[error("the tracker refused: {}", super::announce::printable(&.0.reason))]
    Refused(Refusal),
}

/// The URL of an announce: the tracker's own, whose query (a passkey) stays, with our parameters behind it.
pub fn announce_url(tracker: &str, request: &AnnounceRequest) -> String {
    let mut url = with_query(tracker);
    let AnnounceRequest { info_hash, peer_id, port, uploaded, downloaded, left, .. } = request;
    let (hash, id) = (percent_encode(&info_hash.0, ESCAPED), percent_encode(&peer_id.0, ESCAPED));
    let mut put = |text: std::fmt::Arguments<'_>| url.write_fmt(text).expect("a String takes everything");
    put(format_args!("info_hash={hash}&peer_id={id}&port={port}"));
    put(format_args!("&uploaded={uploaded}&downloaded={downloaded}&left={left}&compact=1&no_peer_id=1"));
    if request.event != AnnounceEvent::Interval {
        put(format_args!("&event={}", request.event.name()));
    }
    if let Some(key) = request.key {
        put(format_args!("&key={key:08X}"));
    }
    if let Some(num_want) = request.num_want {
        put(format_args!("&numwant={num_want}"));
    }
    if let Some(id) = &request.tracker_id {
        put(format_args!("&trackerid={}", percent_encode(id, ESCAPED)));
    }
    url
}

/// The URL of a scrape: by convention (BEP 48) the last part of the path must begin with `announce`, which
/// becomes `scrape`. `None` when it does not: that tracker cannot be scraped.
pub fn scrape_url(tracker: &str, hashes: &[InfoHash]) -> Option<String> {
    let tracker = without_fragment(tracker);
    let path_end = tracker.find('?').unwrap_or(tracker.len());
    let last = tracker[..path_end].rfind('/')? + 1;
    let rest = tracker[last..].strip_prefix("announce")?;
    let mut url = with_query(&format!("{}scrape{rest}", &tracker[..last]));
    for (i, hash) in hashes.iter().take(MAX_SCRAPE).enumerate() {
        let and = if i == 0 { "" } else { "&" };
        write!(url, "{and}info_hash={}", percent_encode(&hash.0, ESCAPED))
            .expect("a String takes everything");
    }
    Some(url)
}

fn without_fragment(url: &str) -> &str {
    url.split_once('#').map_or(url, |(url, _)| url)
}

/// The URL, ready for a parameter to be appended.
fn with_query(tracker: &str) -> String {
    let url = without_fragment(tracker);
    match url.split_once('?') {
        None => format!("{url}?"),
        Some((_, "")) => url.to_owned(),
        Some((_, query)) if query.ends_with('&') => url.to_owned(),
        Some(_) => format!("{url}&"),
    }
}

/// The body of an answer.
pub fn encode_response(response: &AnnounceResponse, form: Form) -> Vec<u8> {
    dictionary(|dict| {
        dict.emit_pair(b"interval", response.interval.as_secs())?;
        if let Some(min) = response.min_interval {
            dict.emit_pair(b"min interval", min.as_secs())?;
        }
        if let Some(id) = &response.tracker_id {
            dict.emit_pair_with(b"tracker id", |e| e.emit_bytes(id))?;
        }
        if let Some(warning) = &response.warning {
            dict.emit_pair(b"warning message", warning.as_str())?;
        }
        if let Some(complete) = response.complete {
            dict.emit_pair(b"complete", complete)?;
        }
        if let Some(incomplete) = response.incomplete {
            dict.emit_pair(b"incomplete", incomplete)?;
        }
        if form == Form::Compact {
            return emit_compact(dict, &response.peers);
        }
        dict.emit_pair_with(b"peers", |e| emit_list(e, &response.peers, form))
    })
}

/// The body of a refusal.
pub fn encode_refusal(refusal: &Refusal) -> Vec<u8> {
    dictionary(|dict| {
        dict.emit_pair(b"failure reason", refusal.reason.as_str())?;
        match refusal.retry {
            None => Ok(()),
            Some(RetryIn::Never) => dict.emit_pair(b"retry in", "never"),
            Some(RetryIn::After(time)) => dict.emit_pair(b"retry in", time.as_secs().div_ceil(60)),
        }
    })
}

/// The body of an answer to a scrape.
pub fn encode_scrape(files: &[(InfoHash, ScrapeEntry)]) -> Vec<u8> {
    dictionary(|dict| {
        dict.emit_pair_with(b"files", |e| {
            e.emit_unsorted_dict(|dict| {
                files.iter().try_for_each(|(hash, entry)| {
                    dict.emit_pair_with(&hash.0, |e| {
                        e.emit_dict(|mut dict| {
                            dict.emit_pair(b"complete", entry.complete)?;
                            dict.emit_pair(b"downloaded", entry.downloaded)?;
                            dict.emit_pair(b"incomplete", entry.incomplete)
                        })
                    })
                })
            })
        })
    })
}

fn dictionary(content: impl FnOnce(&mut UnsortedDictEncoder) -> Result<(), BendyError>) -> Vec<u8> {
    let mut encoder = bendy::encoding::Encoder::new();
    encoder.emit_and_sort_dict(content).expect("no key twice, and four levels at most");
    encoder.get_output().expect("one whole dictionary")
}

fn emit_compact(dict: &mut UnsortedDictEncoder, peers: &[TrackedPeer]) -> Result<(), BendyError> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for peer in peers {
        put_compact(if peer.addr.is_ipv4() { &mut v4 } else { &mut v6 }, peer.addr);
    }
    if !v6.is_empty() {
        dict.emit_pair_with(b"peers6", |e| e.emit_bytes(&v6))?;
    }
    dict.emit_pair_with(b"peers", |e| e.emit_bytes(&v4))
}

fn emit_list(e: SingleItemEncoder<'_>, peers: &[TrackedPeer], form: Form) -> Result<(), BendyError> {
    e.emit_list(|list| {
        peers.iter().try_for_each(|peer| {
            list.emit_dict(|mut dict| {
                dict.emit_pair(b"ip", peer.addr.ip().to_string())?;
                if let (Form::Full, Some(id)) = (form, peer.id) {
                    dict.emit_pair_with(b"peer id", |e| e.emit_bytes(&id.0))?;
                }
                dict.emit_pair(b"port", peer.addr.port())
            })
        })
    })
}

/// Reads the body of a reply to an announce.
///
/// # Errors
/// When it is none, has no peers or no interval, or is the tracker's refusal.
pub fn parse_response(body: &[u8]) -> Result<AnnounceResponse, ReplyError> {
    let reply = bencode::parse(body, REPLY_LIMITS)?;
    refused(reply)?;
    let seconds = |key: &[u8]| reply.find(key).and_then(Value::as_u64).map(Duration::from_secs);
    let counted = |key: &[u8]| reply.find(key).and_then(Value::as_u64).map(count);
    let id = reply.find(b"tracker id").and_then(Value::as_bytes).filter(|id| id.len() <= MAX_TRACKER_ID);
    Ok(AnnounceResponse {
        interval: seconds(b"interval").ok_or(ReplyError::Missing("interval"))?,
        min_interval: seconds(b"min interval"),
        tracker_id: id.map(<[u8]>::to_vec),
        warning: reply.find(b"warning message").and_then(Value::as_bytes).map(text),
        complete: counted(b"complete"),
        incomplete: counted(b"incomplete"),
        peers: peers(reply),
    })
}

/// Reads the body of a reply to a scrape.
///
/// # Errors
/// When it is none, or is the tracker's refusal.
pub fn parse_scrape_response(body: &[u8]) -> Result<Vec<(InfoHash, ScrapeEntry)>, ReplyError> {
    let reply = bencode::parse(body, REPLY_LIMITS)?;
    refused(reply)?;
    let files = reply.find(b"files").and_then(Value::as_dict).ok_or(ReplyError::Missing("files"))?;
    let entry = |(hash, file): (&[u8], Value<'_>)| {
        let counted = |key: &[u8]| file.find(key).and_then(Value::as_u64).map_or(0, count);
        let (complete, downloaded) = (counted(b"complete"), counted(b"downloaded"));
        Some((
            InfoHash(hash.try_into().ok()?),
            ScrapeEntry { complete, downloaded, incomplete: counted(b"incomplete") },
        ))
    };
    Ok(files.filter_map(entry).take(MAX_SCRAPE).collect())
}

fn refused(reply: Value<'_>) -> Result<(), ReplyError> {
    let Some(reason) = reply.find(b"failure reason").and_then(Value::as_bytes) else { return Ok(()) };
    let retry = reply.find(b"retry in").and_then(|v| match (v.as_bytes(), v.as_u64()) {
        (Some(b"never"), _) => Some(RetryIn::Never),
        (_, Some(minutes)) => Some(RetryIn::After(Duration::from_secs(minutes.saturating_mul(60)))),
        _ => None,
    });
    Err(ReplyError::Refused(Refusal { reason: text(reason), retry }))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Compact or not, and IPv6 ones behind; a tracker that has none may leave the keys out.
fn peers(reply: Value<'_>) -> Vec<TrackedPeer> {
    let v4 = reply.find(b"peers");
    let listed = v4.and_then(Value::as_list).into_iter().flatten().filter_map(listed_peer);
    let v4 = v4.and_then(Value::as_bytes).unwrap_or_default();
    let v6 = reply.find(b"peers6").and_then(Value::as_bytes).unwrap_or_default();
    listed.chain(compact_v4(v4)).chain(compact_v6(v6)).take(MAX_PEERS).collect()
}

/// A peer of a non-compact list. BEP 3 allows a host name as its address; looking up names that a stranger
/// chose is not worth it, no tracker of today sends them.
fn listed_peer(peer: Value<'_>) -> Option<TrackedPeer> {
    let ip: IpAddr = peer.find(b"ip")?.as_str()?.parse().ok()?;
    let port = u16::try_from(peer.find(b"port")?.as_u64()?).ok().filter(|p| *p != 0)?;
    let id = peer.find(b"peer id").and_then(Value::as_bytes).and_then(|id| id.try_into().ok()).map(PeerId);
    Some(TrackedPeer { addr: SocketAddr::new(ip, port), id })
}

#[cfg(test)]
mod tests {
    use super::super::announce::tests::{addrs, request};
    use super::super::http_query::{parse_announce, parse_scrape};
    use super::*;
    use proptest::prelude::*;

    fn query(url: &str) -> &[u8] {
        url.split_once('?').unwrap().1.as_bytes()
    }

    #[test]
    fn the_announce_url_is_that_of_the_field() {
        let expected = "http://t.example/announce?info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A\
            &peer_id=-SW0100-abcdefghijkl&port=6881&uploaded=1&downloaded=2&left=3&compact=1&no_peer_id=1\
            &event=started&key=0000BEEF&numwant=50";
        assert_eq!(announce_url("http://t.example/announce", &request()), expected);
    }

    #[test]
    fn a_passkey_in_the_query_stays_and_a_fragment_goes() {
        for (tracker, start) in [
            ("http://t/announce?passkey=x", "http://t/announce?passkey=x&info_hash="),
            ("http://t/announce?", "http://t/announce?info_hash="),
            ("http://t/a?b=c&#top", "http://t/a?b=c&info_hash="),
        ] {
            let url = announce_url(tracker, &request());
            assert!(url.starts_with(start), "{url}");
            assert_eq!(parse_announce(query(&url)).unwrap().request, request());
        }
    }

    #[test]
    fn a_scrape_url_is_made_by_the_convention_only() {
        let hash = InfoHash([b'a'; 20]);
        let name = "a".repeat(20);
        for (tracker, scrape) in [
            ("http://t/announce", Some(format!("http://t/scrape?info_hash={name}&info_hash={name}"))),
            (
                "http://t/x/announce.php?k=1",
                Some(format!("http://t/x/scrape.php?k=1&info_hash={name}&info_hash={name}")),
            ),
            ("http://t/a", None),
            ("http://t/announce/x", None),
            ("http://t/x%064announce", None),
            ("announce", None),
        ] {
            assert_eq!(scrape_url(tracker, &[hash, hash]), scrape, "{tracker}");
        }
    }

    #[test]
    fn replies_of_real_trackers_are_read() {
        let full = b"d8:intervali1800e5:peersld2:ip9:127.0.0.17:peer id20:-XX0000-abcdefghijkl4:porti6881eed\
            2:ip9:not.an.ip4:porti1eed2:ip3:::14:porti99999eed2:ip3:::14:porti7eeee";
        let reply = parse_response(full).unwrap();
        assert_eq!(reply.interval, Duration::from_secs(1800));
        let id = Some(PeerId(*b"-XX0000-abcdefghijkl"));
        let peer = |addr: &str, id| TrackedPeer { addr: addr.parse().unwrap(), id };
        assert_eq!(reply.peers, [peer("127.0.0.1:6881", id), peer("[::1]:7", None)]);
        // Unsorted keys, a compact string with an odd rest, a negative count.
        let odd = b"d5:peers7:\x7f\0\0\x01\x1a\xe1x8:completei-1e8:intervali5ee";
        let reply = parse_response(odd).unwrap();
        assert_eq!((reply.peers, reply.complete), (vec![peer("127.0.0.1:6881", None)], None));
        assert_eq!(parse_response(b"d5:peers0:e"), Err(ReplyError::Missing("interval")));
        assert!(matches!(parse_response(b"<html>"), Err(ReplyError::Bencode(_))));
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        for retry in [None, Some(RetryIn::Never), Some(RetryIn::After(Duration::from_secs(600)))] {
            let refusal = Refusal { reason: "not registered".to_owned(), retry };
            let read = parse_response(&encode_refusal(&refusal));
            assert_eq!(read, Err(ReplyError::Refused(refusal.clone())));
            assert_eq!(parse_scrape_response(&encode_refusal(&refusal)), Err(ReplyError::Refused(refusal)));
        }
        let hostile = parse_response(b"d14:failure reason6:a\x1b[2J\ne").unwrap_err();
        assert_eq!(hostile.to_string(), "the tracker refused: a\\u{1b}[2J");
    }

    fn responses() -> impl Strategy<Value = AnnounceResponse> {
        let seconds = || any::<u32>().prop_map(|s| Duration::from_secs(u64::from(s)));
        let peer = (addrs(), any::<[u8; 20]>().prop_map(PeerId));
        let peers =
            prop::collection::vec(peer.prop_map(|(addr, id)| TrackedPeer { addr, id: Some(id) }), 0..50);
        let texts = (prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), any::<Option<String>>());
        let counts = any::<(Option<u32>, Option<u32>)>();
        (seconds(), prop::option::of(seconds()), texts, counts, peers).prop_map(
            |(interval, min_interval, (tracker_id, warning), (complete, incomplete), peers)| {
                AnnounceResponse { interval, min_interval, tracker_id, warning, complete, incomplete, peers }
            },
        )
    }

    proptest! {
        #[test]
        fn replies_survive_the_round_trip_in_every_form(response in responses()) {
            let mut read = |form| {
                let mut sent = response.clone();
                if form != Form::Full {
                    sent.peers.iter_mut().for_each(|p| p.id = None);
                }
                if form == Form::Compact {
                    sent.peers.sort_by_key(|p| p.addr.is_ipv6());
                }
                prop_assert_eq!(parse_response(&encode_response(&response, form)), Ok(sent));
                Ok(())
            };
            [Form::Compact, Form::Full, Form::Anonymous].into_iter().try_for_each(&mut read)?;
        }

        #[test]
        fn scrapes_survive_the_round_trip(files in prop::collection::btree_map(
            any::<[u8; 20]>().prop_map(InfoHash), any::<[u32; 3]>(), 1..MAX_SCRAPE,
        )) {
            let hashes: Vec<_> = files.keys().copied().collect();
            let url = scrape_url("http://t/announce", &hashes).unwrap();
            prop_assert_eq!(parse_scrape(query(&url)), Ok(hashes));
            let entry = |n: [u32; 3]| ScrapeEntry { complete: n[0], downloaded: n[1], incomplete: n[2] };
            let files: Vec<_> = files.into_iter().map(|(hash, n)| (hash, entry(n))).collect();
            prop_assert_eq!(parse_scrape_response(&encode_scrape(&files)), Ok(files));
        }

        #[test]
        fn no_body_makes_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_response(&bytes);
            let _ = parse_scrape_response(&bytes);
        }

        #[test]
        fn no_mutilated_reply_makes_a_reader_panic(
            response in responses(), at in any::<prop::sample::Index>(), byte: u8,
        ) {
            let mut bytes = encode_response(&response, Form::Full);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = parse_response(&bytes);
            let _ = parse_scrape_response(&bytes);
        }

        #[test]
        fn any_url_makes_some_url(tracker in any::<String>()) {
            let _ = announce_url(&tracker, &request());
            let _ = scrape_url(&tracker, &[InfoHash([0; 20])]);
        }
    }
}
