//! How fast a broadcast comes out of its source: pieces and bytes a second, from the stamps.
//!
//! Stamps say when a piece was captured, so two of them tell how many pieces the source makes in what time. Looked
//! at are the last 60 s of capture time, or up to 600 s while there are few stamps in them. A discontinuity starts
//! over: what lies between the pieces before and after it is not media. Until stamps span a second, the rate of
//! the metainfo holds. So each future piece is predicted to be due one [`LiveRate::piece_time`] after the last.
//!
//! Stamps come in any order, several times, and from any neighbour; only verified ones come here. One that
//! contradicts the others (its time runs backwards) is passed over.

use std::collections::BTreeMap;

use super::live_piece::{CaptureTime, STAMP_LENGTH, VerifiedStamp};
use crate::rate::ByteRate;
use crate::time::{Duration, Instant};

/// Capture time that is looked at.
const SPAN: Duration = Duration::from_secs(60);
/// ... while there are no more than [`FEW`] stamps in it.
const LONG_SPAN: Duration = Duration::from_secs(600);
/// Stamps that are kept although they are older than [`SPAN`].
const FEW: usize = 10;
/// Most stamps kept: those of 60 s at 136 pieces/s; of faster broadcasts a shorter time is looked at.
const MAX_SAMPLES: usize = 8_192;
/// Stamps nearer to each other than this tell nothing: sources read their input in gulps.
const SHORTEST: Duration = Duration::from_secs(1);
/// Bytes/s where neither stamps nor metainfo tell (the original's figure: 512 kbit/s).
const UNKNOWN_RATE: u64 = 64 * 1024;
/// No piece takes less, so that what is divided by it stays finite.
const LEAST_PIECE_TIME: Duration = Duration::from_micros(1);

/// What a stamp tells of the rate.
#[derive(Copy, Clone, Debug)]
struct Sample {
    time: CaptureTime,
    payload: u32,
}

/// Between the first and the last stamp looked at.
#[derive(Copy, Clone, Debug)]
struct Measured {
    pieces: u32,
    time: Duration,
}

/// The rate of one broadcast.
#[derive(Clone, Debug)]
pub struct LiveRate {
    /// From the metainfo, or [`UNKNOWN_RATE`].
    nominal: ByteRate,
    payload_area: u32,
    /// By sequence number; times never decrease.
    samples: BTreeMap<u32, Sample>,
    /// Sum of the samples' payloads.
    payload: u64,
    /// The newest discontinuity: older stamps do not count.
    since: u32,
}

impl LiveRate {
    /// `nominal`: bytes/s from the metainfo, where it tells.
    pub fn new(nominal: Option<u64>, piece_length: u32) -> Self {
        let nominal = ByteRate(nominal.filter(|rate| *rate > 0).unwrap_or(UNKNOWN_RATE));
        let payload_area = piece_length.saturating_sub(STAMP_LENGTH as u32).max(1);
        Self { nominal, payload_area, samples: BTreeMap::new(), payload: 0, since: 0 }
    }

    /// A stamp has been verified: on its own, or at the end of a piece.
    pub fn on_stamp(&mut self, stamp: &VerifiedStamp) {
        if stamp.flags.discontinuity && stamp.seq > self.since {
            self.start_over(stamp.seq);
        }
        if stamp.seq < self.since || self.samples.contains_key(&stamp.seq) || !self.fits(stamp) {
            return;
        }
        self.payload += u64::from(stamp.payload_length);
        self.samples.insert(stamp.seq, Sample { time: stamp.time, payload: stamp.payload_length });
        self.trim();
    }

    /// Media time of a piece; never zero.
    pub fn piece_time(&self) -> Duration {
        let time = match self.measured() {
            Some(Measured { pieces, time }) => time / pieces,
            None => self.nominal.time_for(self.payload_area.into()).unwrap_or(LONG_SPAN),
        };
        time.max(LEAST_PIECE_TIME)
    }

    /// Payload bytes/s.
    pub fn bytes_per_second(&self) -> ByteRate {
        let Some(Measured { pieces, time }) = self.measured() else { return self.nominal };
        // Of some pieces between first and last no stamp has been seen: the others stand for them.
        let bytes = u128::from(self.payload) * u128::from(pieces) / self.samples.len() as u128;
        ByteRate::of(u64::try_from(bytes).unwrap_or(u64::MAX), time)
    }

    /// Whether it comes from stamps, not from the metainfo.
    pub fn is_measured(&self) -> bool {
        self.measured().is_some()
    }

    /// Media time of so many pieces.
    pub fn time_of(&self, pieces: u32) -> Duration {
        self.piece_time().saturating_mul(pieces)
    }

    /// Pieces that hold so much media time, the last one begun.
    pub fn pieces_in(&self, time: Duration) -> u32 {
        let pieces = time.as_micros().div_ceil(self.piece_time().as_micros().max(1));
        u32::try_from(pieces).unwrap_or(u32::MAX)
    }

    /// When a piece is due, if the player begins with the piece `playing` at `begins`: once all before it have
    /// been played.
    pub fn due(&self, begins: Instant, playing: u32, seq: u32) -> Instant {
        begins + self.time_of(seq.saturating_sub(playing))
    }

    /// The newest piece that is due by `at`, if the player begins with the piece `playing` at `begins`.
    pub fn due_by(&self, begins: Instant, playing: u32, at: Instant) -> u32 {
        let pieces = (at - begins).as_micros() / self.piece_time().as_micros().max(1);
        playing.saturating_add(u32::try_from(pieces).unwrap_or(u32::MAX))
    }

    fn measured(&self) -> Option<Measured> {
        let ((first, from), (last, to)) = (self.samples.first_key_value()?, self.samples.last_key_value()?);
        let (pieces, time) = (last - first, to.time.since(from.time));
        (pieces > 0 && time >= SHORTEST).then_some(Measured { pieces, time })
    }

    /// Whether a stamp's time lies between those of its neighbours in sequence.
    fn fits(&self, stamp: &VerifiedStamp) -> bool {
        let before = self.samples.range(..stamp.seq).next_back();
        let after = self.samples.range(stamp.seq..).next();
        before.is_none_or(|(_, s)| s.time <= stamp.time) && after.is_none_or(|(_, s)| s.time >= stamp.time)
    }

    /// Forgets what was before a discontinuity.
    fn start_over(&mut self, seq: u32) {
        self.since = seq;
        self.samples = self.samples.split_off(&seq);
        self.payload = self.samples.values().map(|s| u64::from(s.payload)).sum();
    }

    fn trim(&mut self) {
        while self.is_oldest_too_old() {
            if let Some((_, oldest)) = self.samples.pop_first() {
                self.payload -= u64::from(oldest.payload);
            }
        }
    }

    fn is_oldest_too_old(&self) -> bool {
        let ends = (self.samples.first_key_value(), self.samples.last_key_value());
        let (Some((_, first)), Some((_, last))) = ends else { return false };
        let age = last.time.since(first.time);
        self.samples.len() > MAX_SAMPLES || age > LONG_SPAN || age > SPAN && self.samples.len() > FEW
    }
}

#[cfg(test)]
mod tests {
    use super::super::live_piece::tests::{after_a_gap, stamp};
    use super::*;
    use proptest::prelude::*;

    const LENGTH: u32 = 32_768;

    fn rate() -> LiveRate {
        LiveRate::new(Some(65_536), LENGTH)
    }

    /// Pieces of 250 ms and 30,000 bytes: 120,000 bytes/s.
    fn feed(rate: &mut LiveRate, seqs: impl IntoIterator<Item = u32>) {
        for seq in seqs {
            rate.on_stamp(&stamp(seq, 1_000_000 + u64::from(seq) * 250, 30_000));
        }
    }

    #[test]
    fn the_metainfo_holds_until_stamps_span_a_second() {
        let mut rate = rate();
        let nominal = Duration::from_micros(498_046);
        assert_eq!((rate.piece_time(), rate.bytes_per_second()), (nominal, ByteRate(65_536)));
        feed(&mut rate, [100, 103]);
        assert_eq!((rate.piece_time(), rate.is_measured()), (nominal, false));
        feed(&mut rate, [104]);
        assert_eq!((rate.piece_time(), rate.is_measured()), (Duration::from_millis(250), true));
        assert_eq!(rate.bytes_per_second(), ByteRate(120_000));
        assert_eq!(LiveRate::new(None, LENGTH).bytes_per_second(), ByteRate(UNKNOWN_RATE));
        assert_eq!(LiveRate::new(Some(0), 0).bytes_per_second(), ByteRate(UNKNOWN_RATE));
    }

    #[test]
    fn order_repetition_and_holes_make_no_difference() {
        let mut rate = rate();
        feed(&mut rate, [50, 10, 31, 31, 10, 20, 50, 12]);
        assert_eq!(
            (rate.piece_time(), rate.bytes_per_second()),
            (Duration::from_millis(250), ByteRate(120_000))
        );
        // Half-filled pieces count with what is in them.
        rate.on_stamp(&stamp(51, 1_000_000 + 51 * 250, 0));
        assert_eq!(rate.bytes_per_second(), ByteRate(100_000));
    }

    #[test]
    fn a_minute_is_looked_at_and_more_while_stamps_are_few() {
        let mut busy = rate();
        feed(&mut busy, 0..4_000);
        assert_eq!(busy.samples.len(), 241);
        // From now on twice as fast: a minute later nothing of the old rate is left.
        for i in 1..=480 {
            busy.on_stamp(&stamp(3_999 + i, 1_999_750 + u64::from(i) * 125, 30_000));
        }
        assert_eq!(
            (busy.piece_time(), busy.bytes_per_second()),
            (Duration::from_millis(125), ByteRate(240_000))
        );
        let mut quiet = rate();
        for i in 0..50 {
            quiet.on_stamp(&stamp(i, u64::from(i) * 100_000, 30_000));
        }
        assert_eq!((quiet.samples.len(), quiet.piece_time()), (7, Duration::from_secs(100)));
        assert_eq!(quiet.bytes_per_second(), ByteRate(300));
    }

    #[test]
    fn a_discontinuity_starts_over_whenever_it_is_heard_of() {
        let mut rate = rate();
        feed(&mut rate, 0..100);
        let at = |seq: u32| 1_130_000 + u64::from(seq) * 500;
        rate.on_stamp(&stamp(203, at(203), 30_000));
        assert!(rate.piece_time() > Duration::from_secs(1), "the gap counts while it is not known to be one");
        rate.on_stamp(&after_a_gap(stamp(200, at(200), 30_000)));
        assert_eq!(rate.piece_time(), Duration::from_millis(500));
        feed(&mut rate, [99, 199]);
        rate.on_stamp(&after_a_gap(stamp(100, at(100), 30_000)));
        assert_eq!((rate.samples.len(), rate.payload), (2, 60_000), "what came before it no longer counts");
    }

    #[test]
    fn equal_and_backward_times_are_harmless() {
        let mut rate = rate();
        for seq in 0..10 {
            rate.on_stamp(&stamp(seq, 5_000, 30_000));
        }
        assert!(!rate.is_measured());
        rate.on_stamp(&stamp(20, 4_999, 30_000));
        rate.on_stamp(&stamp(5, 9_000, 30_000));
        assert_eq!(rate.samples.len(), 10);
        rate.on_stamp(&stamp(20, 10_000, 30_000));
        rate.on_stamp(&stamp(15, 10_001, 30_000));
        assert_eq!((rate.samples.len(), rate.piece_time()), (11, Duration::from_millis(250)));
    }

    #[test]
    fn memory_is_bounded() {
        for step in [0, 1, 5] {
            let mut rate = rate();
            for seq in 0..10_000 {
                rate.on_stamp(&stamp(seq, u64::from(seq) * step, 30_000));
            }
            assert_eq!(rate.samples.len(), MAX_SAMPLES);
        }
    }

    #[test]
    fn pieces_time_and_due_fit_together() {
        let mut rate = rate();
        feed(&mut rate, 0..100);
        assert_eq!(rate.time_of(40), Duration::from_secs(10));
        assert_eq!(rate.pieces_in(Duration::from_secs(10)), 40);
        assert_eq!(rate.pieces_in(Duration::from_micros(10_000_001)), 41);
        assert_eq!(rate.pieces_in(Duration::ZERO), 0);
        let begins = Instant::from_secs(100);
        assert_eq!(rate.due(begins, 70, 78), Instant::from_secs(102));
        assert_eq!(rate.due(begins, 70, 3), begins);
        assert_eq!(rate.due_by(begins, 70, Instant::from_millis(102_249)), 78);
        assert_eq!(rate.due_by(begins, 70, Instant::ZERO), 70);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_overflows_and_the_books_balance(
            nominal: Option<u64>,
            length: u32,
            stamps in prop::collection::vec((
                prop_oneof![0u32..50, any::<u32>()],
                prop_oneof![0u64..5_000, 0..u64::MAX / 1_000],
                any::<u32>(),
                prop::bool::weighted(0.05),
            ), 0..100),
            at: u64,
        ) {
            let mut rate = LiveRate::new(nominal, length);
            for (seq, ms, payload, gap) in stamps {
                let stamp = stamp(seq, ms, payload);
                rate.on_stamp(&if gap { after_a_gap(stamp) } else { stamp });
                prop_assert!(rate.piece_time() > Duration::ZERO);
                let _ = (rate.bytes_per_second(), rate.time_of(u32::MAX), rate.pieces_in(Duration::MAX));
                let at = Instant::from_micros(at);
                prop_assert!(rate.due(at, 0, u32::MAX) >= at);
                let _ = rate.due_by(Instant::ZERO, seq, at);
                prop_assert_eq!(rate.payload, rate.samples.values().map(|s| u64::from(s.payload)).sum::<u64>());
                prop_assert!(rate.samples.values().is_sorted_by_key(|s| s.time));
            }
        }
    }
}
