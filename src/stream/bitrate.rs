//! Bytes a second of media: from the metainfo (size / duration), or learned from the player.
//!
//! Two figures are kept apart. The *media rate* turns bytes into media time; without a duration in the metainfo
//! it is learned from how far the player got (its clock) with how many bytes. The *pace* is how fast the reader
//! takes bytes, which is more than the media rate when nothing slows it down (a file sink); it sizes the window.

use crate::rate::RateMeter;
use crate::time::{Duration, Instant};

/// The pace is measured over this time.
const PACE_WINDOW: Duration = Duration::from_secs(2);
/// Media time to have been played before the learned rate is believed.
const LEARNING: Duration = Duration::from_secs(3);
/// Media that demuxers and queues hold between reader and sink (measured: 0.8 to 1.4 s).
pub const READ_AHEAD: Duration = Duration::from_secs(1);

/// What is known of a stream's bytes/s.
#[derive(Debug)]
pub struct Bitrate {
    nominal: Option<u64>,
    learned: Option<u64>,
    pace: RateMeter,
    /// Bytes read in order since the last flush.
    read: u64,
}

impl Bitrate {
    /// `nominal`: bytes/s from the metainfo.
    pub fn new(nominal: Option<u64>) -> Self {
        let nominal = nominal.filter(|b| *b > 0);
        Self { nominal, learned: None, pace: RateMeter::new(PACE_WINDOW), read: 0 }
    }

    /// Bytes/s of media as the stamps of a live broadcast say.
    pub const fn set_media(&mut self, rate: u64) {
        self.nominal = Some(rate);
    }

    /// Bytes/s of media, where known.
    pub fn media(&self) -> Option<u64> {
        self.nominal.or(self.learned)
    }

    /// Bytes/s to reckon with when deciding how far ahead to fetch.
    pub fn demand(&self, now: Instant) -> Option<u64> {
        let pace = Some(self.pace.rate(now).get()).filter(|p| *p > 0);
        self.media().max(pace)
    }

    /// Media time of so many bytes, where the rate is known.
    pub fn time_of(&self, bytes: u64) -> Option<Duration> {
        crate::rate::ByteRate(self.media()?).time_for(bytes)
    }

    /// The reader took bytes in order.
    pub fn consumed(&mut self, now: Instant, bytes: u64) {
        self.pace.add(now, bytes);
        self.read += bytes;
    }

    /// The player has shown so much since the last flush.
    pub fn shown(&mut self, media: Duration) {
        if media >= LEARNING {
            let reached = media + READ_AHEAD;
            self.learned = Some(crate::rate::ByteRate::of(self.read, reached).get()).filter(|b| *b > 0);
        }
    }

    /// A flush: bytes and media time count from here.
    pub fn reset(&mut self) {
        self.read = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nominal_rate_stands_and_a_faster_reader_widens_the_demand() {
        let mut bitrate = Bitrate::new(Some(100_000));
        for ms in (0..2_000).step_by(20) {
            bitrate.consumed(Instant::from_millis(ms), 20_000);
        }
        assert_eq!(bitrate.media(), Some(100_000));
        let demand = bitrate.demand(Instant::from_secs(2)).unwrap();
        assert!((900_000..1_100_000).contains(&demand), "{demand}");
        assert_eq!(bitrate.demand(Instant::from_secs(9)), Some(100_000));
        assert_eq!(bitrate.time_of(250_000), Some(Duration::from_millis(2_500)));
    }

    #[test]
    fn without_a_duration_it_is_learned_from_the_player() {
        let mut bitrate = Bitrate::new(None);
        assert_eq!(bitrate.time_of(1), None);
        // The player reads one second ahead of what it shows, at 50 kB/s.
        bitrate.consumed(Instant::ZERO, 50_000);
        for second in 1..=10 {
            bitrate.consumed(Instant::from_secs(second), 50_000);
            bitrate.shown(Duration::from_secs(second));
        }
        assert_eq!(bitrate.media(), Some(50_000));
        bitrate.reset();
        assert_eq!(bitrate.media(), Some(50_000));
    }
}
