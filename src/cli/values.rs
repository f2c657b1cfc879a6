//! How values are written on the command line: rates, durations, addresses.
//!
//! Each parser is a pure function from text to value, used by clap; its error says what would be right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use crate::metainfo::playtime;
use crate::metainfo::trackers::is_usable;
use crate::net::aux_seeds::AuxSeeds;

/// The port of the embedded tracker, as the original had it.
pub(super) const TRACKER_PORT: u16 = 6969;

/// Units of bytes: as in curl, wget and aria2 a bare letter is a power of 1024.
const UNITS: [(&str, u64); 11] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
];

/// A number of bytes: `1M`, `500KiB`, `1.5 GiB`, `800kB`, `65536`.
///
/// # Errors
/// When the text is not a number with one of the units, or too large for 64 bits.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let wrong = || "write a number of bytes such as 65536, 500KiB, 1M (= 1 MiB) or 800kB".to_owned();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    scaled(number, *factor).ok_or_else(wrong)
}

/// `number` (digits, perhaps a fraction) times `factor`, rounded down.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.matches('.').count() > 1 || whole.is_empty() || fraction.len() > 9 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let ten = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    let part = u128::from(part) * u128::from(factor) / u128::from(ten);
    whole.checked_add(u64::try_from(part).ok()?)
}

/// Bytes per second: as [`bytes()`], with `/s` if one likes. 0 means no limit.
///
/// # Errors
/// As [`bytes()`]; bits per second are refused by name because they are often meant.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    if text.to_ascii_lowercase().contains("bit") {
        return Err("rates are in bytes per second: divide bits by 8 (8 Mbit/s is 1MB/s)".to_owned());
    }
    bytes(text.trim().trim_end_matches("/s"))
        .map_err(|_| "write bytes per second such as 1M, 500KiB/s, 2MB/s; 0 for no limit".to_owned())
}

/// The bitrate of a stream: as [`rate`], but never 0.
///
/// # Errors
/// As [`rate`], and for zero.
pub(super) fn bitrate(text: &str) -> Result<u64, String> {
    match rate(text) {
        Ok(rate) if rate > 0 => Ok(rate),
        Err(bits) if bits.contains("bits") => Err(bits),
        _ => Err("write bytes per second such as 500KiB/s or 1M, more than 0".to_owned()),
    }
}

/// An address of this machine to listen on.
///
/// # Errors
/// When it is no address; names are not looked up.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.parse().map_err(|_| {
        "write an IP address of this machine such as 192.0.2.7 or ::1, or localhost for 127.0.0.1".to_owned()
    })
}

/// A span of time for waiting: `30s`, `5:00`, `1:00:00`, `500ms`, `2min`, or plain seconds.
///
/// # Errors
/// When it is none of these.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let seconds = text.trim().parse::<u32>().map(|seconds| Duration::from_secs(seconds.into()));
    seconds
        .or_else(|_| playtime::parse(text))
        .or_else(|_| humantime::parse_duration(text))
        .map_err(|_| "write a time such as 30s, 5:00 (minutes and seconds) or 1:00:00".to_owned())
}

/// How long media lasts, or a part of it: as [`span`], in whole seconds.
///
/// # Errors
/// As [`span`], and for none or far too many.
pub(super) fn length(text: &str) -> Result<Duration, String> {
    let time = span(text)?;
    playtime::from_seconds(time.as_secs()).map_err(|error| error.to_string())
}

/// A span of time that is not zero.
///
/// # Errors
/// As [`span`], and for zero.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    span(text).and_then(|time| if time.is_zero() { Err("zero is too often".to_owned()) } else { Ok(time) })
}

/// A peer to try: `host:port`, `1.2.3.4:5`, `[::1]:5`. Names are resolved later.
///
/// # Errors
/// When there is no host or no port other than 0.
pub(super) fn peer(text: &str) -> Result<String, String> {
    let wrong = || "write host:port, for example 192.0.2.7:6881 or [2001:db8::7]:6881".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let v6_in_brackets = host.starts_with('[') && host.ends_with(']');
    let bare = !host.is_empty() && !host.contains([':', ' ', '/']);
    let number = port.parse::<u16>().map_err(|_| wrong())?;
    match (v6_in_brackets || bare) && number != 0 {
        true if !v6_in_brackets || text.parse::<SocketAddr>().is_ok() => Ok(text.to_owned()),
        _ => Err(wrong()),
    }
}

/// A machine, with a port or without. Names are resolved later.
///
/// # Errors
/// When it is neither a name nor an address.
pub(super) fn host(text: &str) -> Result<String, String> {
    AuxSeeds::default().add(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// Trackers of one tier: URLs joined by commas.
///
/// # Errors
/// When one of them is not a URL that a client can announce to.
pub(super) fn tier(text: &str) -> Result<Vec<String>, String> {
    let urls: Vec<_> = text.split(',').map(|url| url.trim().to_owned()).collect();
    match urls.iter().all(|url| is_usable(url)) {
        true => Ok(urls),
        false => Err("write URLs such as http://192.0.2.7:6969/announce or udp://192.0.2.7:6969".to_owned()),
    }
}

/// Where the embedded tracker listens: an address, a port, or both; what is left out is decided later.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TrackerAddr {
    ip: Option<IpAddr>,
    port: Option<u16>,
}

impl TrackerAddr {
    /// With this port, on this address if one is given.
    pub(super) const fn new(ip: Option<IpAddr>, port: u16) -> Self {
        Self { ip, port: Some(port) }
    }

    /// The whole address: parts that were not given come from `bind` (else any address, IPv6 and IPv4) and 6969.
    pub(super) fn complete(self, bind: Option<IpAddr>) -> SocketAddr {
        let ip = self.ip.or(bind).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        SocketAddr::new(ip, self.port.unwrap_or(TRACKER_PORT))
    }
}

impl FromStr for TrackerAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Self { ip: Some(addr.ip()), port: Some(addr.port()) });
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { ip: Some(ip), port: None });
        }
        match text.trim_start_matches(':').parse::<u16>() {
            Ok(port) => Ok(Self { ip: None, port: Some(port) }),
            Err(_) => Err("write ADDR, PORT or ADDR:PORT (127.0.0.1:6969); for the default address put \
                           --tracker last or write --tracker="
                .to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_of_1024_and_of_1000_are_told_apart() {
        let sizes = [
            ("0", 0),
            ("65536", 65_536),
            ("1M", 1 << 20),
            ("500KiB", 512_000),
            ("800kB", 800_000),
            ("1.5 GiB", 3 << 29),
            ("2mb", 2_000_000),
            ("1gb", 1_000_000_000),
        ];
        for (text, size) in sizes {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "M", "-1", "1..2", "1.2.3", ".5M", "1X", "99999999999999999999", "20000000000G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_may_end_in_per_second_but_are_never_bits() {
        assert_eq!(rate("2MiB/s"), Ok(2 << 20));
        assert_eq!(rate("1M"), Ok(1 << 20));
        assert_eq!(rate("0"), Ok(0));
        assert!(rate("8Mbit/s").unwrap_err().contains("bytes per second"));
    }

    #[test]
    fn a_bitrate_is_never_zero() {
        assert_eq!(bitrate("100kB/s"), Ok(100_000));
        for (text, word) in [("0", "more than 0"), ("fast", "more than 0"), ("8Mbit/s", "divide bits by 8")] {
            let said = bitrate(text).unwrap_err();
            assert!(said.contains(word) && !said.contains("no limit"), "{said}");
        }
    }

    #[test]
    fn an_address_is_of_numbers_or_localhost() {
        assert_eq!(address("localhost"), Ok(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(address("::1"), Ok(IpAddr::from(Ipv6Addr::LOCALHOST)));
        assert!(address("tv.example.org").unwrap_err().contains("localhost for 127.0.0.1"));
    }

    #[test]
    fn spans_are_seconds_or_have_units() {
        assert_eq!(span("30"), Ok(Duration::from_secs(30)));
        for text in ["120", "2min", "2:00", "0:02:00", "1m 60s"] {
            assert_eq!(
                (span(text), length(text)),
                (Ok(Duration::from_secs(120)), Ok(Duration::from_secs(120)))
            );
        }
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("0"), Ok(Duration::ZERO));
        assert!(length("500ms").is_err() && length("0").is_err() && length("1001:00:00").is_err());
        assert!(span("soon").is_err() && interval("0").is_err());
    }

    #[test]
    fn a_peer_has_a_host_and_a_port() {
        for good in ["127.0.0.1:1", "seed.example:6881", "[::1]:6881"] {
            assert_eq!(peer(good).as_deref(), Ok(good));
        }
        for bad in ["127.0.0.1", ":80", "host:0", "host:http", "::1:80", "[x]:80", "a b:1", "host:70000"] {
            assert!(peer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_tracker_address_may_be_given_in_part() {
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let local: IpAddr = [127, 0, 0, 1].into();
        let at = |text: &str, bind| text.parse::<TrackerAddr>().map(|t| t.complete(bind));
        assert_eq!(at("", None), Ok(SocketAddr::new(any, 6969)));
        assert_eq!(at("", Some(local)), Ok(SocketAddr::new(local, 6969)));
        assert_eq!(at(":7000", Some(local)), Ok(SocketAddr::new(local, 7000)));
        assert_eq!(at("127.0.0.1", None), Ok(SocketAddr::new(local, 6969)));
        assert_eq!(at("127.0.0.1:80", None), Ok(SocketAddr::new(local, 80)));
        assert!(at("film.torrent", None).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,24}") {
            let _ = (bytes(&text), bitrate(&text), span(&text), length(&text), peer(&text), text.parse::<TrackerAddr>());
        }

        #[test]
        fn whole_numbers_of_bytes_come_back(n in any::<u64>()) {
            prop_assert_eq!(bytes(&n.to_string()), Ok(n));
        }
    }
}
