//! How values are written in scenarios: rates, sizes, times, ranges, shares.

use std::ops::RangeInclusive;

use toml::Value;

use crate::metainfo::playtime;
use crate::swarm::policy::Policy;
use crate::time::Duration;

use super::section::Field;

/// A rate of a link or a limit.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Rate {
    /// No limit.
    Unlimited,
    /// So many times the film's bitrate.
    Times(f64),
    /// Bytes/s.
    Bytes(u64),
}

impl Rate {
    /// Bytes/s with a film of this bitrate; zero without limit.
    pub fn of(self, bitrate: u64) -> u64 {
        match self {
            Self::Unlimited => 0,
            // Rates of scenarios are far below what a float tells apart.
            Self::Times(times) => ((times * bitrate as f64) as u64).max(1),
            Self::Bytes(rate) => rate,
        }
    }
}

/// Most of a rate, bytes/s.
const MAX_RATE: f64 = 1e11;
const RATE_UNITS: [(&str, f64); 9] = [
    ("bit/s", 0.125),
    ("kbit/s", 125.0),
    ("Mbit/s", 125_000.0),
    ("Gbit/s", 125_000_000.0),
    ("B/s", 1.0),
    ("kB/s", 1_000.0),
    ("MB/s", 1_000_000.0),
    ("KiB/s", 1_024.0),
    ("MiB/s", 1_048_576.0),
];
const SIZE_UNITS: [(&str, f64); 5] =
    [("B", 1.0), ("kB", 1_000.0), ("MB", 1_000_000.0), ("KiB", 1_024.0), ("MiB", 1_048_576.0)];

/// A number with a unit, of which there is more than nothing.
fn number(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    let value = number.parse::<f64>().ok()? * factor;
    (1.0..=MAX_RATE).contains(&value).then_some(value)
}

impl Field for Rate {
    fn wanted() -> String {
        "a rate: \"2x\" (times the film's bitrate), \"5 Mbit/s\", \"640 kB/s\", or \"none\" for no limit"
            .to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        let text = value.as_str()?.trim();
        if text == "none" {
            return Some(Self::Unlimited);
        }
        if let Some(times) = text.strip_suffix('x') {
            let times = times.parse::<f64>().ok()?;
            return (0.001..=10_000.0).contains(&times).then_some(Self::Times(times));
        }
        number(text, &RATE_UNITS).map(|rate| Self::Bytes(rate as u64))
    }
}

/// The rate of a film, bytes/s.
#[derive(Copy, Clone, Debug)]
pub(super) struct Bitrate(pub(super) u64);

impl Field for Bitrate {
    fn wanted() -> String {
        "a rate: \"5 Mbit/s\" or \"640 kB/s\", at most 1 Gbit/s".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        let rate = number(value.as_str()?.trim(), &RATE_UNITS)?;
        (1_000.0..=125_000_000.0).contains(&rate).then_some(Self(rate as u64))
    }
}

/// Bytes in a piece.
#[derive(Copy, Clone, Debug)]
pub(super) struct PieceLength(pub(super) u32);

impl Field for PieceLength {
    fn wanted() -> String {
        "a size from \"16 KiB\" to \"16 MiB\"".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        let bytes = number(value.as_str()?.trim(), &SIZE_UNITS)?;
        (16_384.0..=16_777_216.0).contains(&bytes).then_some(Self(bytes as u32))
    }
}

/// A time, of a day at most.
const MAX_TIME: Duration = Duration::from_secs(24 * 3_600);

fn time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let time = playtime::parse(text).ok().or_else(|| humantime::parse_duration(text).ok())?;
    (time <= MAX_TIME).then_some(time)
}

impl Field for Duration {
    fn wanted() -> String {
        "a time: \"500ms\", \"30s\", \"5min\" or \"1:30:00\", at most 24 hours".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        time(value.as_str()?)
    }
}

/// A time that is not zero.
#[derive(Copy, Clone, Debug)]
pub(super) struct Span(pub(super) Duration);

impl Field for Span {
    fn wanted() -> String {
        format!("{}, and more than 0", Duration::wanted())
    }

    fn read(value: &Value) -> Option<Self> {
        Duration::read(value).filter(|time| !time.is_zero()).map(Self)
    }
}

/// Times between two.
#[derive(Clone, Debug)]
pub(super) struct Times(pub(super) RangeInclusive<Duration>);

impl Field for Times {
    fn wanted() -> String {
        "a time, \"20ms\", or a range of them, \"10ms..40ms\"".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (time(least)?, time(most)?);
        (least <= most).then_some(Self(least..=most))
    }
}

/// How many addresses the tracker tells; `None`: all.
#[derive(Clone, Debug)]
pub(super) struct Told(pub(super) Option<RangeInclusive<usize>>);

/// Most addresses that a tracker tells.
const MAX_TOLD: usize = 1_000;

impl Field for Told {
    fn wanted() -> String {
        format!("a number of addresses from 1 to {MAX_TOLD}, a range of them, \"30..50\", or \"all\"")
    }

    fn read(value: &Value) -> Option<Self> {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if text == "all" {
            return Some(Self(None));
        }
        let (least, most) = text.split_once("..").unwrap_or((&text, &text));
        let (least, most) = (least.trim().parse().ok()?, most.trim().parse().ok()?);
        (1 <= least && least <= most && most <= MAX_TOLD).then_some(Self(Some(least..=most)))
    }
}

/// A whole number between two, both included.
#[derive(Copy, Clone, Debug)]
pub(super) struct Whole<const LEAST: u64, const MOST: u64>(pub(super) u64);

impl<const LEAST: u64, const MOST: u64> Field for Whole<LEAST, MOST> {
    fn wanted() -> String {
        format!("a whole number from {LEAST} to {MOST}")
    }

    fn read(value: &Value) -> Option<Self> {
        let number = value.as_integer().and_then(|n| u64::try_from(n).ok())?;
        (LEAST..=MOST).contains(&number).then_some(Self(number))
    }
}

fn float(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}

/// A part of one.
#[derive(Copy, Clone, Debug)]
pub(super) struct Share(pub(super) f64);

impl Field for Share {
    fn wanted() -> String {
        "a share from 0.0 to 1.0".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        float(value).filter(|share| (0.0..=1.0).contains(share)).map(Self)
    }
}

/// What there is of what is needed.
#[derive(Copy, Clone, Debug)]
pub(super) struct Supply(pub(super) f64);

impl Field for Supply {
    fn wanted() -> String {
        "what all uplinks have of what all viewers need, from 0.01 to 100.0".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        float(value).filter(|share| (0.01..=100.0).contains(share)).map(Self)
    }
}

/// A line of text.
const MAX_TEXT: usize = 100;

impl Field for String {
    fn wanted() -> String {
        format!("a line of text, at most {MAX_TEXT} bytes")
    }

    fn read(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        let plain = !text.chars().any(char::is_control) && !text.trim().is_empty();
        (plain && text.len() <= MAX_TEXT).then(|| text.to_owned())
    }
}

/// What a class of hosts, or a scenario, is called.
#[derive(Clone, Debug)]
pub(super) struct Name(pub(super) String);

impl Field for Name {
    fn wanted() -> String {
        "a name of at most 20 letters, digits and hyphens".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        let name = value.as_str()?;
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        ((1..=20).contains(&name.len()) && plain).then(|| Self(name.to_owned()))
    }
}

impl Field for Policy {
    fn wanted() -> String {
        one_of(Self::ALL.map(Self::name))
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

/// Words in quotes.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = words.into_iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        words => format!("one of {}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Field>(text: &str) -> Option<T> {
        T::read(&Value::String(text.to_owned()))
    }

    #[test]
    fn rates_are_absolute_or_times_the_bitrate() {
        let rates = [
            ("2x", 2_000),
            ("0.5x", 500),
            ("8 kbit/s", 1_000),
            ("5 Mbit/s", 625_000),
            ("640 kB/s", 640_000),
            ("1.5MiB/s", 1_572_864),
            ("none", 0),
        ];
        for (text, rate) in rates {
            assert_eq!(read::<Rate>(text).map(|r| r.of(1_000)), Some(rate), "{text}");
        }
        for text in
            ["", "x", "-1x", "5", "5 Mbit", "5 mbit/s", "1e9x", "nanx", "infx", "0 B/s", "9999999 Gbit/s"]
        {
            assert_eq!(read::<Rate>(text), None, "{text}");
        }
    }

    #[test]
    fn times_have_units_and_ranges_an_order() {
        for (text, time) in [("500ms", 500), ("2min", 120_000), ("1:30", 90_000)] {
            assert_eq!(read(text), Some(Duration::from_millis(time)), "{text}");
        }
        assert_eq!(read::<Duration>("25h"), None);
        assert!(read::<Span>("0s").is_none() && read::<Times>("40ms..10ms").is_none());
        assert_eq!(read::<Times>("1s..2s").map(|t| *t.0.end()), Some(Duration::from_secs(2)));
    }

    #[test]
    fn trackers_tell_some_or_all() {
        assert_eq!(Told::read(&Value::Integer(50)).and_then(|t| t.0), Some(50..=50));
        assert_eq!(read::<Told>("30..50").and_then(|t| t.0), Some(30..=50));
        assert!(read::<Told>("all").is_some_and(|t| t.0.is_none()));
        assert!(
            read::<Told>("0").is_none() && read::<Told>("50..30").is_none() && read::<Told>("9999").is_none()
        );
    }
}
