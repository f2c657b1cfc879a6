//! The start rule of a live broadcast: may playback begin, or go on after a stall?
//!
//! The pieces between the hook-in point and the live point are in the swarm already and come as fast as the link
//! allows. So playback need not wait for all of the buffer: a second is enough, if the rest comes before it would be
//! needed.

use crate::rate::ByteRate;
use crate::time::Duration;

/// Media to be there at least (or the whole buffer, where that is less).
const LEAST: Duration = Duration::from_secs(1);

/// What a live player has before it.
#[derive(Copy, Clone, Debug)]
pub struct LiveBuffer {
    /// Media there and not yet shown.
    pub there: Duration,
    /// Media that the buffer is to hold.
    pub wanted: Duration,
    /// Bytes/s of media.
    pub bitrate: ByteRate,
    /// Bytes/s coming in.
    pub rate: ByteRate,
}

/// How near playback is: percent, 100 to start, and the time that is left where it can be told.
pub fn readiness(buffer: LiveBuffer) -> (u8, Option<Duration>) {
    let LiveBuffer { there, wanted, bitrate, rate } = buffer;
    let (media, link) = (u128::from(bitrate.get()), u128::from(rate.get()));
    // With so much there, the rest of what is wanted comes while it is played.
    let keeps_up = match media + link {
        0 => wanted,
        both => micros(wanted.as_micros() * media / both),
    };
    let need = keeps_up.max(LEAST).min(wanted);
    if there >= need {
        return (100, Some(Duration::ZERO));
    }
    let percent = there.as_micros() * 100 / need.as_micros().max(1);
    let left = rate.time_for(bitrate.bytes_in(need - there));
    (u8::try_from(percent).unwrap_or(99).min(99), left)
}

fn micros(micros: u128) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buffer(ms: u64, rate: u64) -> LiveBuffer {
        LiveBuffer {
            there: Duration::from_millis(ms),
            wanted: Duration::from_secs(10),
            bitrate: ByteRate(100_000),
            rate: ByteRate(rate),
        }
    }

    #[test]
    fn a_fast_link_starts_with_a_second_and_a_slow_one_with_more() {
        assert_eq!(readiness(buffer(999, 10_000_000)), (99, Some(Duration::from_micros(10))));
        assert_eq!(readiness(buffer(1_000, 10_000_000)).0, 100);
        // As fast as the media: half of the buffer, and the other half comes while that is played.
        assert_eq!(readiness(buffer(4_900, 100_000)).0, 98);
        assert_eq!(readiness(buffer(5_000, 100_000)).0, 100);
    }

    #[test]
    fn without_a_rate_all_of_it_has_to_be_there() {
        assert_eq!(readiness(buffer(9_999, 0)), (99, None));
        assert_eq!(readiness(buffer(10_000, 0)).0, 100);
        let short = LiveBuffer { wanted: Duration::from_millis(300), ..buffer(300, 0) };
        assert_eq!(readiness(short).0, 100, "less than a second is wanted");
    }

    proptest! {
        #[test]
        fn percents_are_percents(there in 0u64..1 << 50, wanted in 0u64..1 << 50, bitrate: u64, rate: u64) {
            let (percent, _) = readiness(LiveBuffer {
                there: Duration::from_micros(there),
                wanted: Duration::from_micros(wanted),
                bitrate: ByteRate(bitrate),
                rate: ByteRate(rate),
            });
            prop_assert!(percent <= 100);
            prop_assert!(there < wanted || percent == 100);
        }
    }
}
