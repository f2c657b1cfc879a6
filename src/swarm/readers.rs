//! Those who read the torrent: their inputs, their clocks, and the parts that they want.

use std::ops::Range;

use super::event::{Event, PlaybackStats, ReaderId};
use super::pieces::Pieces;
use super::torrent::Torrent;
use super::{Output, ReaderInput};
use crate::metainfo::geometry::PieceIndex;
use crate::rate::ByteRate;
use crate::stream::playback::{Playback, Told};
use crate::stream::start::Supply;
use crate::time::Instant;

/// Most readers of one torrent.
const MAX_READERS: usize = 64;

impl Torrent {
    /// A reader in figures.
    pub fn playback_stats(&self, now: Instant, reader: ReaderId) -> PlaybackStats {
        let Some(playback) = self.readers.get(&reader) else { return PlaybackStats::default() };
        let (buffer_bytes, buffer_time, tally) = playback.tally(now);
        PlaybackStats {
            buffer_bytes,
            buffer_time,
            stalls: tally.stalls,
            stall_time: tally.stall_time,
            start_up: tally.start_up,
            bitrate: playback.media_rate(),
            dropped: tally.dropped,
            rehooked: tally.rehooked,
        }
    }

    pub(super) fn on_reader(&mut self, now: Instant, id: ReaderId, input: ReaderInput) {
        self.stale = true;
        match input {
            ReaderInput::Open { file, bitrate, start_buffer } if self.readers.len() < MAX_READERS => {
                self.readers.insert(id, Playback::new(now, file, bitrate, start_buffer));
                self.review_wanted(now);
                self.review_interest(now);
                self.dial_now = true;
            }
            ReaderInput::Watch(viewing) if self.readers.len() < MAX_READERS => {
                self.readers.insert(id, Playback::live(now, viewing));
                self.hook_in_all(now);
                self.review_interest(now);
                self.dial_now = true;
            }
            ReaderInput::Close => {
                self.readers.remove(&id);
                self.review_wanted(now);
                self.review_interest(now);
            }
            ReaderInput::Read(range) => self.on_read(now, id, range),
            ReaderInput::Expects(places) => self.on_expects(now, id, places),
            ReaderInput::Open { .. } | ReaderInput::Watch(_) => {}
            ReaderInput::Flushed => self.with_reader(id, |r| r.flush(now)),
            ReaderInput::Playing(playing) => self.with_reader(id, |r| r.set_playing(now, playing)),
            ReaderInput::Clock(media) => self.with_reader(id, |r| r.shown(now, media)),
        }
    }

    pub(super) fn on_want_all(&mut self, now: Instant) {
        self.config.whole = true;
        self.stale = true;
        self.review_wanted(now);
        self.review_interest(now);
        self.dial_now = true;
    }

    pub(super) fn with_reader(&mut self, id: ReaderId, change: impl FnOnce(&mut Playback)) {
        if let Some(playback) = self.readers.get_mut(&id) {
            change(playback);
        }
    }

    pub(super) fn on_read(&mut self, now: Instant, id: ReaderId, range: Range<u64>) {
        let there = self.pieces.has_all(&range);
        let Some(playback) = self.readers.get_mut(&id) else { return };
        let moved = playback.read(now, range.clone(), there);
        playback.refresh(|from| first_missing(&self.pieces, from));
        // Who reads in order so fast that the sets could not follow waits for what is asked for already.
        let in_order = playback.playhead() == range.start;
        let asked = |piece: PieceIndex| in_order && !self.pieces.has_unasked(piece);
        let surprising = |piece: PieceIndex| !self.picker.is_pressing(piece) && !asked(piece);
        let surprise = self.pieces.geometry().pieces_in(&range).any(surprising);
        if moved {
            self.cut_sets(now);
            self.cancel_useless(now);
        } else if !there && surprise {
            self.cut_sets(now);
            self.make_way(now, &range);
        }
        if !there {
            self.refill_all();
        }
    }

    /// A reader will jump to these places: they go before what is fetched ahead.
    pub(super) fn on_expects(&mut self, now: Instant, id: ReaderId, places: Vec<Range<u64>>) {
        // Where not everything is kept, the windows say what may be fetched.
        if self.config.budget.is_some() {
            return;
        }
        let Some(playback) = self.readers.get_mut(&id) else { return };
        playback.expect(places);
        playback.refresh(|from| first_missing(&self.pieces, from));
        let soon = playback.sets(now, u64::MAX).soon;
        self.cut_sets(now);
        soon.iter().for_each(|place| self.make_way(now, place));
        self.refill_all();
    }

    pub(super) fn tick_readers(&mut self, now: Instant) {
        let rate = self.supply.rate(now);
        let supply: Vec<_> = self.readers.values().map(|r| self.supply_of(rate, r)).collect();
        let mut holes = Vec::new();
        for ((id, playback), supply) in self.readers.iter_mut().zip(supply) {
            match playback.tick(now, supply) {
                Some(Told::Buffering(told)) => self.out.push_back(Output::Event(Event::Buffering {
                    reader: *id,
                    percent: told.percent,
                    level: told.level,
                    left: told.left,
                })),
                Some(Told::Drop) => holes.push(*id),
                None => {}
            }
        }
        holes.into_iter().for_each(|id| self.drop_hole(id));
    }

    pub(super) fn supply_of(&self, rate: ByteRate, playback: &Playback) -> Supply {
        let asks = playback.is_filling() || playback.is_waiting();
        let rest = playback.playhead()..playback.file().end;
        let left = if asks { self.pieces.missing_in(&rest) } else { 0 };
        let next = self.pieces.geometry().piece_at(playback.first_missing());
        let next = next.map_or(0, |piece| self.pieces.lacking(piece));
        Supply { rate, left, next, reach: self.reach(playback), behind: self.live_behind(playback) }
    }

    pub(super) fn cut_sets(&mut self, now: Instant) {
        if self.config.budget.is_some() || self.live.is_some() {
            self.review_wanted(now);
        }
        let sets: Vec<_> = self.readers.values().map(|r| r.sets(now, self.reach(r))).collect();
        self.picker.set_wanted(self.pieces.geometry(), sets.iter());
    }

    /// Verified pieces have come since the last time.
    pub(super) fn refresh_readers(&mut self) {
        for playback in self.readers.values_mut() {
            playback.refresh(|from| first_missing(&self.pieces, from));
        }
    }
}

/// The first byte at or behind `from` that is not verified; the end of the torrent when there is none.
fn first_missing(pieces: &Pieces, from: u64) -> u64 {
    let geometry = pieces.geometry();
    let mut at = from;
    while let Some(piece) = geometry.piece_at(at) {
        if !pieces.have().has(piece) {
            return at;
        }
        at = geometry.piece_range(piece).end;
    }
    at.max(from)
}
