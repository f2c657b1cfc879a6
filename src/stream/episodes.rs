//! Tests of what [`playback`](super::playback) has an application told, in order.

use super::playback::{Playback, Told};
use super::start::Supply;
use crate::rate::ByteRate;
use crate::time::{Duration, Instant};

const KIB: u64 = 1024;
/// The film is a minute long, at this many bytes/s.
const BITRATE: u64 = 100 * KIB;
const FILM: u64 = 60 * BITRATE;

/// A reader of the film with a clock, and what it was told.
struct Viewing {
    playback: Playback,
    now: Instant,
    /// Everything up to here is there.
    have: u64,
    rate: u64,
    told: Vec<u8>,
}

impl Viewing {
    fn new(bitrate: Option<u64>) -> Self {
        let now = Instant::from_secs(1);
        let playback = Playback::new(now, 0..FILM, bitrate, Duration::from_secs(2));
        Self { playback, now, have: 0, rate: 0, told: Vec::new() }
    }

    fn read(&mut self, from: u64) {
        let there = from + KIB <= self.have;
        self.playback.read(self.now, from..from + KIB, there);
    }

    /// Time passes; the engine looks ten times a second.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now += Duration::from_millis(100);
            let have = self.have;
            self.playback.refresh(|from| from.max(have));
            let left = FILM.saturating_sub(have.max(self.playback.playhead()));
            if let Some(Told::Buffering(told)) = self.playback.tick(self.now, supply(self.rate, left)) {
                self.told.push(told.percent);
            }
        }
    }
}

fn supply(rate: u64, left: u64) -> Supply {
    Supply { rate: ByteRate(rate), left, next: 0, reach: u64::MAX, behind: 0 }
}

#[test]
fn percentages_do_not_fall_when_the_rate_does() {
    let mut viewing = Viewing::new(Some(BITRATE));
    viewing.read(0);
    (viewing.rate, viewing.have) = (BITRATE / 2, BITRATE * 3);
    viewing.pass(100);
    let first = viewing.told.clone();
    viewing.rate = BITRATE / 4;
    viewing.pass(100);
    assert_eq!((first.len(), &viewing.told), (1, &first), "less than before is not told");
    (viewing.rate, viewing.have) = (BITRATE / 2, BITRATE * 10);
    viewing.pass(100);
    assert!(viewing.told[1] > first[0]);
}

#[test]
fn percentages_start_over_after_a_seek() {
    let mut viewing = Viewing::new(Some(BITRATE));
    viewing.read(0);
    (viewing.rate, viewing.have) = (BITRATE * 2, BITRATE);
    viewing.pass(100);
    viewing.playback.flush(viewing.now);
    viewing.read(FILM / 2);
    viewing.pass(100);
    assert_eq!(viewing.told, [50, 0]);
}

#[test]
fn a_seek_tells_nothing_before_its_first_read_and_nothing_at_all_where_everything_is_there() {
    let mut viewing = Viewing::new(Some(BITRATE));
    (viewing.rate, viewing.have) = (BITRATE * 2, BITRATE * 20);
    viewing.read(0);
    viewing.pass(100);
    viewing.playback.set_playing(viewing.now, true);
    viewing.pass(1_000);
    viewing.playback.flush(viewing.now);
    viewing.pass(5_000);
    viewing.read(BITRATE * 10);
    viewing.pass(100);
    assert!(viewing.told.is_empty() && !viewing.playback.is_filling(), "{:?}", viewing.told);
}

#[test]
fn a_seek_that_reads_nothing_ends_the_episode_that_it_came_into() {
    let mut viewing = Viewing::new(Some(BITRATE));
    viewing.read(0);
    viewing.pass(1_000);
    assert_eq!(viewing.told, [0]);
    viewing.playback.flush(viewing.now);
    viewing.pass(900);
    assert_eq!(viewing.told, [0]);
    viewing.pass(5_000);
    assert_eq!(viewing.told, [0, 100], "once");
    viewing.read(FILM / 2);
    viewing.pass(100);
    assert_eq!(viewing.told, [0, 100, 0], "the next read begins another one");
}

#[test]
fn what_a_sink_says_between_a_seek_and_its_first_read_counts_from_another_zero() {
    let mut viewing = Viewing::new(Some(BITRATE));
    (viewing.rate, viewing.have) = (BITRATE * 2, BITRATE * 30);
    viewing.read(0);
    viewing.pass(100);
    viewing.playback.set_playing(viewing.now, true);
    viewing.playback.flush(viewing.now);
    viewing.playback.shown(viewing.now, Duration::from_secs(40));
    viewing.read(BITRATE * 20);
    viewing.pass(100);
    viewing.read(BITRATE * 30);
    viewing.pass(1_000);
    assert!(viewing.told.is_empty(), "ten seconds are buffered: {:?}", viewing.told);
}

/// Reads of which the engine hears once a piece, at the film's own pace and a second ahead.
fn play_a_quarter(viewing: &mut Viewing, sinks_report: bool) {
    viewing.have = FILM;
    viewing.read(0);
    viewing.pass(100);
    viewing.playback.set_playing(viewing.now, true);
    for second in 1..15 {
        viewing.read(second * BITRATE);
        viewing.pass(1_000);
        if sinks_report {
            viewing.playback.shown(viewing.now, Duration::from_secs(second));
        }
    }
}

#[test]
fn the_bitrate_is_learned_from_what_was_read_and_shown_with_reports_from_sinks_and_without() {
    for sinks_report in [true, false] {
        let mut viewing = Viewing::new(None);
        play_a_quarter(&mut viewing, sinks_report);
        let learned = viewing.playback.media_rate().expect("it has played long enough");
        assert!((BITRATE * 8 / 10..=BITRATE * 11 / 10).contains(&learned), "{learned}, {sinks_report}");
    }
}
