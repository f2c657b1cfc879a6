//! The queries that a tracker gets over HTTP: announce (BEP 3) and scrape (BEP 48), read strictly. They are short
//! and regular; whatever is too long, missing or malformed is refused by name.

use std::borrow::Cow;
use std::str::FromStr;

use percent_encoding::percent_decode;

use super::announce::{AnnounceEvent, AnnounceRequest, MAX_SCRAPE, MAX_TRACKER_ID};
use super::http_tracker::Form;
use super::ids::{InfoHash, PeerId};

/// Longest query that a server reads: 74 info-hashes take 5.5 KiB.
pub const MAX_QUERY: usize = 8 * 1024;
/// Most parameters in a query.
pub const MAX_PARAMETERS: usize = 128;

/// An announce as a server gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceQuery {
    /// What is announced.
    pub request: AnnounceRequest,
    /// The form of the reply that the client asked for.
    pub form: Form,
}

/// Why a query is refused. The text goes back to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Too long.
    #[error("query of {0} bytes, at most {MAX_QUERY} are allowed")]
    Length(usize),
    /// Too many parameters.
    #[error("more than {MAX_PARAMETERS} parameters")]
    Parameters,
    /// A parameter that must be there is not.
    #[error("missing parameter {0}")]
    Missing(&'static str),
    /// A parameter that cannot be read.
    #[error("invalid parameter {0}")]
    Invalid(&'static str),
    /// Too many torrents in a scrape.
    #[error("more than {MAX_SCRAPE} info_hash parameters")]
    Scrape,
}

/// Reads the query of an announce. Of a repeated parameter the first counts; unknown ones are skipped, and so
/// are `ip`, `ipv4`, `ipv6`: a tracker that believes them can be made to send a swarm to a victim.
///
/// # Errors
/// When it is too long, or a parameter of BEP 3 is missing or cannot be read.
pub fn parse_announce(query: &[u8]) -> Result<AnnounceQuery, QueryError> {
    let query = Query::parse(query)?;
    let request = AnnounceRequest {
        info_hash: InfoHash(query.id("info_hash")?),
        peer_id: PeerId(query.id("peer_id")?),
        port: query.number("port")?.ok_or(QueryError::Missing("port"))?,
        uploaded: query.number("uploaded")?.unwrap_or(0),
        downloaded: query.number("downloaded")?.unwrap_or(0),
        // Without the figure (some clients do not know it yet) the asker is no seed.
        left: query.number("left")?.unwrap_or(u64::MAX),
        event: query.event()?,
        key: query.key(),
        num_want: query.num_want()?,
        tracker_id: query.first("trackerid").map(|id| id.iter().copied().take(MAX_TRACKER_ID).collect()),
    };
    let form = match (query.first("compact"), query.first("no_peer_id")) {
        (Some(b"0"), Some(b"1")) => Form::Anonymous,
        (Some(b"0"), _) => Form::Full,
        _ => Form::Compact,
    };
    Ok(AnnounceQuery { request, form })
}

/// Reads the query of a scrape: the torrents asked for, in order.
///
/// # Errors
/// When it is too long, names too many or none at all (we do not list all our torrents), or one badly.
pub fn parse_scrape(query: &[u8]) -> Result<Vec<InfoHash>, QueryError> {
    let query = Query::parse(query)?;
    let named = query.pairs.iter().filter(|(name, _)| &**name == b"info_hash");
    let hashes: Vec<_> = named.map(|(_, hash)| hash.as_ref().try_into().map(InfoHash)).collect();
    match hashes.len() {
        0 => Err(QueryError::Missing("info_hash")),
        1..=MAX_SCRAPE => {
            hashes.into_iter().collect::<Result<_, _>>().map_err(|_| QueryError::Invalid("info_hash"))
        }
        _ => Err(QueryError::Scrape),
    }
}

type Text<'a> = Cow<'a, [u8]>;

/// A query's parameters, decoded, in order.
struct Query<'a> {
    pairs: Vec<(Text<'a>, Text<'a>)>,
}

impl<'a> Query<'a> {
    fn parse(query: &'a [u8]) -> Result<Self, QueryError> {
        if query.len() > MAX_QUERY {
            return Err(QueryError::Length(query.len()));
        }
        let mut pairs = Vec::new();
        for part in query.split(|b| *b == b'&').filter(|part| !part.is_empty()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(QueryError::Parameters);
            }
            let equals = part.iter().position(|b| *b == b'=').unwrap_or(part.len());
            let value = part.get(equals + 1..).unwrap_or_default();
            pairs.push((percent_decode(&part[..equals]).into(), unescape(value)));
        }
        Ok(Self { pairs })
    }

    fn first(&self, name: &str) -> Option<&[u8]> {
        let found = self.pairs.iter().find(|(n, _)| **n == *name.as_bytes());
        found.map(|(_, value)| value.as_ref())
    }

    fn id(&self, name: &'static str) -> Result<[u8; 20], QueryError> {
        let value = self.first(name).ok_or(QueryError::Missing(name))?;
        value.try_into().map_err(|_| QueryError::Invalid(name))
    }

    fn number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, QueryError> {
        let Some(value) = self.first(name) else { return Ok(None) };
        let digits = Some(value).filter(|v| v.iter().all(u8::is_ascii_digit));
        let number = digits.and_then(|v| std::str::from_utf8(v).ok()?.parse().ok());
        number.map(Some).ok_or(QueryError::Invalid(name))
    }

    fn event(&self) -> Result<AnnounceEvent, QueryError> {
        match self.first("event") {
            // What later BEPs add (`paused`, BEP 21) is a plain announce to us.
            None | Some(b"" | b"empty" | b"paused") => Ok(AnnounceEvent::Interval),
            Some(name) => {
                let event = AnnounceEvent::ALL.into_iter().find(|e| e.name().as_bytes() == name);
                event.ok_or(QueryError::Invalid("event"))
            }
        }
    }

    /// Clients write what they like here; one that is no hexadecimal number is as good as none.
    fn key(&self) -> Option<u32> {
        u32::from_str_radix(std::str::from_utf8(self.first("key")?).ok()?, 16).ok()
    }

    /// `-1` leaves it to the tracker, as over UDP.
    fn num_want(&self) -> Result<Option<u32>, QueryError> {
        match self.first("numwant") {
            Some([b'-', ..]) => Ok(None),
            _ => self.number("numwant"),
        }
    }
}

/// `+` is a space as in forms: clients that mean a plus escape it.
fn unescape(value: &[u8]) -> Cow<'_, [u8]> {
    if value.contains(&b'+') {
        let spaced: Vec<u8> = value.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        return Cow::Owned(percent_decode(&spaced).collect());
    }
    percent_decode(value).into()
}

#[cfg(test)]
mod tests {
    use super::super::announce::tests::{request, requests};
    use super::super::http_tracker::announce_url;
    use super::*;
    use proptest::prelude::*;

    fn query(url: &str) -> &[u8] {
        url.split_once('?').unwrap().1.as_bytes()
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let url = announce_url("http://t/announce", &request());
        let good = String::from_utf8(query(&url).to_vec()).unwrap();
        let err = |from: &str, to: &str| parse_announce(good.replace(from, to).as_bytes()).unwrap_err();
        assert_eq!(err("port=6881", ""), QueryError::Missing("port"));
        assert_eq!(err("port=6881", "port=65536"), QueryError::Invalid("port"));
        assert_eq!(err("port=6881", "port=+6881"), QueryError::Invalid("port"));
        assert_eq!(err("left=3", "left=-1"), QueryError::Invalid("left"));
        assert_eq!(err("peer_id=-SW", "peer_id=SW"), QueryError::Invalid("peer_id"));
        assert_eq!(err("event=started", "event=begun"), QueryError::Invalid("event"));
        assert_eq!(parse_announce(&[b'&'; MAX_QUERY + 1]), Err(QueryError::Length(MAX_QUERY + 1)));
        assert_eq!(parse_announce("a&".repeat(MAX_PARAMETERS + 1).as_bytes()), Err(QueryError::Parameters));
        assert_eq!(parse_scrape(b"x=1"), Err(QueryError::Missing("info_hash")));
        assert_eq!(parse_scrape(b"info_hash=short"), Err(QueryError::Invalid("info_hash")));
        let many = format!("info_hash={}&", "a".repeat(20)).repeat(MAX_SCRAPE + 1);
        assert_eq!(parse_scrape(many.as_bytes()), Err(QueryError::Scrape));
    }

    #[test]
    fn a_claimed_address_is_ignored_and_the_form_is_told() {
        let plain = announce_url("http://t/announce", &request());
        let form =
            |with: &str| parse_announce(query(&plain.replace("compact=1&no_peer_id=1", with))).unwrap();
        assert_eq!(form("ip=9.9.9.9&ipv6=%3A%3A1").request, request());
        assert_eq!(form("").form, Form::Compact);
        assert_eq!(form("compact=0").form, Form::Full);
        assert_eq!(form("compact=0&no_peer_id=1").form, Form::Anonymous);
    }

    proptest! {
        #[test]
        fn announces_survive_the_round_trip(request in requests()) {
            let url = announce_url("https://t.example/k/announce?a=b", &request);
            prop_assert_eq!(parse_announce(query(&url)).unwrap().request, request);
        }

        #[test]
        fn no_query_makes_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_announce(&bytes);
            let _ = parse_scrape(&bytes);
        }

        #[test]
        fn no_mutilated_query_makes_a_reader_panic(
            request in requests(), at in any::<prop::sample::Index>(), byte: u8,
        ) {
            let url = announce_url("http://t/announce", &request);
            let mut bytes = query(&url).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = parse_announce(&bytes);
            let _ = parse_scrape(&bytes);
        }
    }
}
