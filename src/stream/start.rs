//! The start rule: may playback begin, or go on after a stall?
//!
//! As the SwarmPlayer had it (2008): once the rest will be downloaded before it has been played, with a margin,
//! and a start buffer is there. What is buffered must also last until the piece behind it is whole, because
//! none of a piece can be played before all of it has been verified.

use crate::rate::ByteRate;
use crate::time::Duration;

/// Bytes to be there while the bitrate is unknown (the original's figure).
const UNKNOWN_START: u64 = 1 << 20;
/// The rest must be downloadable in this part of the time that playing it takes.
const MARGIN: (u32, u32) = (95, 100);
/// ... and so much time before it ends: pieces come whole, and not in order.
const END_SPARE: Duration = Duration::from_secs(1);
/// What is buffered must last so much longer than the next piece takes.
const SPARE: Duration = Duration::from_millis(700);
/// While the bitrate is unknown, at most this part of what is there may be lacking of the next piece.
const UNKNOWN_NEXT: u64 = 2;

/// What the swarm gives, as far as playback has to know.
#[derive(Copy, Clone, Debug, Default)]
pub struct Supply {
    /// Bytes/s coming in.
    pub rate: ByteRate,
    /// Bytes not there yet between playhead and end of the file.
    pub left: u64,
    /// Bytes that have not come yet of the piece that is needed next.
    pub next: u64,
    /// Where the bytes end that may be kept for this reader: nothing behind is fetched until it has moved.
    pub reach: u64,
    /// Verified bytes of a live broadcast behind the hole at which reading stands, within the buffer's span.
    pub behind: u64,
}

/// What the player has before it.
#[derive(Copy, Clone, Debug)]
pub struct Buffer {
    /// Bytes there behind the playhead.
    pub bytes: u64,
    /// Media time, where the bitrate is known.
    pub media: Option<Media>,
}

/// The buffer as media time.
#[derive(Copy, Clone, Debug)]
pub struct Media {
    /// What is there and not yet shown.
    pub there: Duration,
    /// What is not yet shown until the end, there or not.
    pub rest: Duration,
    /// Media to be there before playback starts.
    pub wanted: Duration,
    /// Bytes/s.
    pub bitrate: ByteRate,
}

/// How near playback is: percent, 100 to start, and the time that is left where it can be told.
pub fn readiness(buffer: Buffer, supply: Supply) -> (u8, Option<Duration>) {
    let Some(media) = buffer.media else {
        let enough = UNKNOWN_START.max(supply.next * UNKNOWN_NEXT);
        let missing = UNKNOWN_START.saturating_sub(buffer.bytes);
        return (percent(buffer.bytes, enough), supply.rate.time_for(missing));
    };
    let next = supply.rate.time_for(supply.next).map_or(Duration::ZERO, |time| time + SPARE);
    let filled = percent(micros(media.there), micros(media.wanted.max(next)));
    let usable = (media.rest * MARGIN.0 / MARGIN.1).saturating_sub(END_SPARE);
    let arriving = supply.rate.bytes_in(usable);
    let ahead = percent(arriving, supply.left);
    let lacking = media.bitrate.bytes_in(media.wanted.saturating_sub(media.there));
    let missing = supply.left.saturating_sub(arriving).max(lacking);
    (filled.min(ahead), supply.rate.time_for(missing))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// `part` of `whole` in percent; 100 only when all of it is there.
fn percent(part: u64, whole: u64) -> u8 {
    if part >= whole {
        return 100;
    }
    u8::try_from(u128::from(part) * 100 / u128::from(whole)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// So many ms of a minute at 1 MiB/s are there, and 2 s are wanted.
    fn buffer(ms: u64) -> Buffer {
        let media = Media {
            there: Duration::from_millis(ms),
            rest: Duration::from_secs(60),
            wanted: Duration::from_secs(2),
            bitrate: ByteRate(MIB),
        };
        Buffer { bytes: ms * MIB / 1_000, media: Some(media) }
    }

    fn supply(rate: u64, left: u64, next: u64) -> Supply {
        Supply { rate: ByteRate(rate), left, next, reach: u64::MAX, behind: 0 }
    }

    #[test]
    fn the_rest_must_come_before_it_has_been_played() {
        // At 0.8 x bitrate, (60 x 0.95 - 1) x 0.8 = 44.8 MiB come while it plays: 15.2 have to be there.
        let slow = MIB * 8 / 10;
        assert!(readiness(buffer(14_000), supply(slow, 46 * MIB, 0)).0 < 100);
        assert_eq!(readiness(buffer(15_300), supply(slow, 89 * MIB / 2, 0)).0, 100);
    }

    #[test]
    fn what_is_there_must_last_until_the_next_piece_is_whole() {
        assert_eq!(readiness(buffer(2_000), supply(2 * MIB, 58 * MIB, 4 * MIB)).0, 74, "2 of 2.7 s");
        assert_eq!(readiness(buffer(2_000), supply(2 * MIB, 58 * MIB, 2 * MIB)).0, 100);
    }

    #[test]
    fn without_a_bitrate_most_of_the_next_piece_must_have_come() {
        let one = Buffer { bytes: MIB, media: None };
        assert_eq!(readiness(one, supply(MIB, 59 * MIB, MIB)).0, 50);
        assert_eq!(readiness(one, supply(MIB, 59 * MIB, MIB / 2)).0, 100);
    }

    #[test]
    fn the_time_left_is_told() {
        let (percent, left) = readiness(buffer(1_000), supply(2 * MIB, 59 * MIB, 0));
        assert_eq!((percent, left), (50, Some(Duration::from_millis(500))));
        assert_eq!(readiness(buffer(1_000), supply(0, 59 * MIB, 0)), (0, None));
    }

    proptest! {
        #[test]
        fn nothing_overflows_and_percents_are_percents(
            ms in 0u64..1 << 40, rate: u64, left: u64, next in 0u64..1 << 40, known: bool
        ) {
            let buffer = Buffer { media: buffer(ms).media.filter(|_| known), bytes: ms };
            let (percent, _) = readiness(buffer, supply(rate, left, next));
            prop_assert!(percent <= 100);
        }
    }
}
