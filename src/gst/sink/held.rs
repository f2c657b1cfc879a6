//! The stream as long as there is no station to give it to: its bitrate is measured, and it is kept.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::input::Item;
use crate::rate::ByteRate;

/// The bitrate is measured over this time.
const MEASURE: Duration = Duration::from_secs(5);
/// A stream that ended earlier is taken to have lasted so long.
const SHORTEST: Duration = Duration::from_secs(1);
/// A rate measured on so little media is rounded up, for the variation that is to come.
const SPARE: (u64, u64) = (11, 10);
/// Most bytes that are kept.
const MOST: usize = 32 * 1024 * 1024;
/// After so many the rate is known well enough.
const ENOUGH: usize = MOST / 2;

/// The beginning of a stream.
#[derive(Debug, Default)]
pub(super) struct Held {
    items: Vec<(Instant, Item)>,
    bytes: usize,
    /// When the first bytes came, and how many those were.
    first: Option<(Instant, usize)>,
    /// All that there is has come.
    ended: bool,
    lost: u64,
}

/// How far the measurement is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Measured {
    /// Bytes/s.
    Rate(u64),
    /// It takes so much longer.
    NotBefore(Duration),
    /// Nothing has come yet.
    Nothing,
}

impl Held {
    /// Keeps something. `true`: whoever measures has to look again.
    pub(super) fn take(&mut self, now: Instant, item: Item) -> bool {
        let before = self.bytes;
        match item {
            Item::Bytes(bytes) => self.take_bytes(now, &bytes),
            item => self.items.push((now, item)),
        }
        (before == 0) != (self.bytes == 0) || (before > ENOUGH) != (self.bytes > ENOUGH)
    }

    fn take_bytes(&mut self, now: Instant, bytes: &[u8]) {
        let length = bytes.len();
        self.first.get_or_insert((now, length));
        if self.bytes + length > MOST {
            self.lost += length as u64;
            if self.items.last().is_none_or(|(_, item)| *item != Item::Gap) {
                self.items.push((now, Item::Gap));
            }
            return;
        }
        self.bytes += length;
        // Upstream may have few buffers, and wants them back.
        self.items.push((now, Item::Bytes(Bytes::copy_from_slice(bytes))));
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether all that there is has come.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether nothing of the stream has come.
    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Bytes kept, and bytes lost for want of room.
    pub(super) const fn bytes(&self) -> (u64, u64) {
        (self.bytes as u64, self.lost)
    }

    /// The bitrate, as far as it is known.
    pub(super) fn measure(&self, now: Instant) -> Measured {
        let Some((begun, first)) = self.first else { return Measured::Nothing };
        let elapsed = now.saturating_duration_since(begun);
        let over = self.ended || elapsed >= MEASURE || self.bytes > ENOUGH;
        if !over {
            return Measured::NotBefore(MEASURE - elapsed);
        }
        // What came first had waited already, and says nothing about the rate; unless nothing else came.
        let rest = self.bytes - first.min(self.bytes);
        let counted = if rest > 0 { rest } else { self.bytes };
        let least = if self.ended { SHORTEST } else { Duration::from_millis(1) };
        let rate = ByteRate::of(counted as u64, elapsed.max(least)).get();
        Measured::Rate((rate * SPARE.0 / SPARE.1).max(1))
    }

    /// Gives everything in order, and when it came.
    pub(super) fn into_items(self) -> Vec<(Instant, Item)> {
        self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Item {
        Item::Bytes(vec![7; length].into())
    }

    fn after(held: &Held, begun: Instant, ms: u64) -> Measured {
        held.measure(begun + Duration::from_millis(ms))
    }

    #[test]
    fn the_rate_is_that_of_the_first_seconds_without_what_had_waited() {
        let now = Instant::now();
        let mut held = Held::default();
        assert_eq!(held.measure(now), Measured::Nothing);
        assert!(!held.take(now, Item::Headers(Bytes::from_static(b"head"))));
        assert_eq!(held.measure(now), Measured::Nothing, "headers do not flow");
        assert!(held.take(now, bytes(1_000_000)), "now the time runs");
        (1..=50).for_each(|n| assert!(!held.take(now + Duration::from_millis(n * 100), bytes(1_000))));
        assert_eq!(after(&held, now, 4_900), Measured::NotBefore(Duration::from_millis(100)));
        assert_eq!(after(&held, now, 5_000), Measured::Rate(11_000));
        let items = held.into_items();
        let came: Vec<_> = items.iter().map(|(came, _)| came.duration_since(now).as_millis()).collect();
        assert_eq!((came.len(), &came[..4], came[51]), (52, &[0, 0, 100, 200][..], 5_000));
    }

    #[test]
    fn a_stream_that_ends_early_has_a_rate_too() {
        let now = Instant::now();
        let mut held = Held::default();
        held.take(now, bytes(500));
        held.end();
        assert_eq!(held.measure(now), Measured::Rate(550));
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let now = Instant::now();
        let mut held = Held::default();
        assert_eq!(
            (0..70).filter(|_| held.take(now, bytes(1 << 19))).count(),
            2,
            "at first, and when it is enough"
        );
        assert_eq!(held.bytes(), (MOST as u64, 6 << 19));
        assert!(matches!(after(&held, now, 1), Measured::Rate(_)), "and it is measured at once");
        let items = held.into_items();
        assert_eq!((items.len(), items.last()), (65, Some(&(now, Item::Gap))));
    }
}
