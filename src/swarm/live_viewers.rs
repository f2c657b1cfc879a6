//! Where the viewers of a broadcast are: they are hooked in, go on behind what does not come, and are hooked in anew
//! where they cannot go on.

use super::Output;
use super::event::{Event, Moved, ReaderId};
use super::torrent::Torrent;
use crate::metainfo::geometry::PieceIndex;
use crate::rate::ByteRate;
use crate::stream::playback::Playback;
use crate::time::{Duration, Instant};

/// A viewer to whom nothing could be given for so long is hooked in anew.
const STUCK: Duration = Duration::from_secs(10);

/// Stream headers that a neighbour says it has are waited for so long: mostly nothing can be decoded without them.
const HEADERS_WITHIN: Duration = Duration::from_secs(3);

impl Torrent {
    /// Viewers that do not know where to begin, or cannot go on where they are, are given a place.
    pub(super) fn hook_in_all(&mut self, now: Instant) {
        for id in self.readers.keys().copied().collect::<Vec<_>>() {
            if self.needs_hook_in(now, id) {
                if !self.waits_for_headers(now) {
                    self.hook_in_one(now, id);
                }
            } else if let Some(next) = self.behind_unmade(id) {
                self.go_on_at(id, next, 0);
            }
        }
    }

    /// Whether stream headers are on their way that have to be given to a viewer first.
    fn waits_for_headers(&self, now: Instant) -> bool {
        let Some(live) = self.live.as_ref().filter(|live| live.headers.is_none()) else { return false };
        live.headers_told.is_some_and(|since| now - since < HEADERS_WITHIN)
    }

    /// Where a viewer goes on that waits for what was never made: a source that comes back skips numbers. That there
    /// is nothing is taken for true when nobody has any of it, as they all tell in order.
    fn behind_unmade(&self, id: ReaderId) -> Option<PieceIndex> {
        let (live, geometry) = (self.live.as_ref()?, self.pieces.geometry());
        let playback = self.readers.get(&id).filter(|r| r.is_waiting())?;
        let hole = geometry.piece_at(playback.first_missing())?.number();
        let next = *live.breaks.range(hole.saturating_add(1)..).next()?;
        let made = geometry.run(hole..next).any(|piece| self.is_there(piece));
        geometry.piece(next).filter(|_| !made)
    }

    /// Whether we or a neighbour have this piece.
    fn is_there(&self, piece: PieceIndex) -> bool {
        self.pieces.have().has(piece) || self.peers.values().any(|p| p.has.has(piece))
    }

    fn needs_hook_in(&mut self, now: Instant, id: ReaderId) -> bool {
        let (Some(live), Some(playback)) = (&mut self.live, self.readers.get(&id)) else { return false };
        if !playback.is_hooked_in() {
            return true;
        }
        let oldest = self.pieces.exist().start;
        let (at, piece_length) = (playback.first_missing(), u64::from(self.pieces.geometry().piece_length()));
        if playback.playhead() / piece_length < u64::from(oldest) {
            return true;
        }
        let number = u32::try_from(at / piece_length).unwrap_or(u32::MAX);
        let lag = live.newest.map_or(0, |newest| newest.saturating_sub(number));
        if playback.lags_too_much(now, live.rate.time_of(lag))
            && live.hook_in.point(playback.buffer_span(), &live.rate) > Some(number)
        {
            return true;
        }
        // Who waits at the live point because the source makes nothing is where it belongs.
        let behind = at / piece_length + 1 < u64::from(self.pieces.exist().end);
        if !playback.is_waiting() || !behind {
            live.stuck.remove(&id);
            return false;
        }
        let (place, since) = *live.stuck.entry(id).or_insert((at, now));
        if place != at {
            live.stuck.insert(id, (at, now));
        }
        place == at && now - since > STUCK
    }

    fn hook_in_one(&mut self, now: Instant, id: ReaderId) {
        let rate = self.live_piece_rate();
        let geometry = *self.pieces.geometry();
        let forward = self.readers.get(&id).map_or(0, |r| self.forward_of(r));
        let (Some(live), Some(playback)) = (&mut self.live, self.readers.get_mut(&id)) else { return };
        let Some(point) = live.hook_in.point(playback.buffer_span(), &live.rate) else { return };
        let number = point.max(forward);
        let Some(piece) = geometry.piece(number) else { return };
        live.stuck.remove(&id);
        rate.into_iter().for_each(|rate| playback.set_media_rate(rate));
        playback.hook_in(now, geometry.piece_range(piece).start);
        tracing::debug!(%piece, ?id, "hooked in");
        self.review_interest(now);
        self.out.push_back(Output::Event(Event::Moved { reader: id, to: number, why: Moved::HookedIn }));
        self.stale = true;
    }

    /// The first piece that a viewer may go on with: nothing is given twice, nor waited for again in vain.
    fn forward_of(&self, playback: &Playback) -> u32 {
        let geometry = self.pieces.geometry();
        let hole = geometry.piece_at(playback.first_missing()).filter(|_| playback.is_hooked_in());
        let Some(next) = hole.map(|hole| hole.number().saturating_add(1)) else { return 0 };
        let mut behind = geometry.run(next..self.pieces.exist().end);
        behind.find(|piece| self.is_there(*piece)).map_or(next, PieceIndex::number)
    }

    /// A viewer gives up what it waits for, and goes on with the next piece that is there.
    pub(super) fn drop_hole(&mut self, id: ReaderId) {
        let geometry = *self.pieces.geometry();
        let Some(playback) = self.readers.get(&id) else { return };
        let Some(hole) = geometry.piece_at(playback.first_missing()) else { return };
        let behind = geometry.run(hole.number()..self.pieces.exist().end);
        let Some(next) = behind.filter(|p| *p > hole).find(|p| self.pieces.have().has(*p)) else { return };
        let dropped = u64::from(next.number() - hole.number());
        tracing::info!(%hole, dropped, "dropped what did not come in time");
        self.go_on_at(id, next, dropped);
    }

    fn go_on_at(&mut self, id: ReaderId, piece: PieceIndex, dropped: u64) {
        let start = self.pieces.geometry().piece_range(piece).start;
        self.with_reader(id, |r| r.skip_to(start, dropped));
        let (to, why) = (piece.number(), Moved::Dropped { pieces: dropped });
        self.out.push_back(Output::Event(Event::Moved { reader: id, to, why }));
        self.stale = true;
    }

    /// Bytes that are verified behind a viewer's first hole, as far as its buffer would reach from there.
    pub(super) fn live_behind(&self, playback: &Playback) -> u64 {
        let (Some(_), Some(rate)) = (&self.live, playback.media_rate()) else { return 0 };
        let (hole, span) = (playback.first_missing(), ByteRate(rate).bytes_in(playback.buffer_span()));
        let piece_length = u64::from(self.pieces.geometry().piece_length());
        let range = hole..hole.saturating_add(span).saturating_add(piece_length);
        let pieces = self.pieces.geometry().span(&range);
        let exist = self.pieces.exist();
        let run = pieces.start.max(exist.start)..pieces.end.min(exist.end);
        let there = self.pieces.geometry().run(run).filter(|p| self.pieces.have().has(*p)).count();
        there as u64 * piece_length
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Input;
    use super::super::testbed::{LIVE_PIECE, Testbed};
    use super::*;
    use crate::metainfo::keys::SigningKey;
    use crate::stream::live_headers::VerifiedHeaders;
    use crate::wire::ids::InfoHash;
    use crate::wire::live::{self, LiveState};
    use crate::wire::message::Message;

    #[test]
    fn who_is_stuck_is_not_hooked_in_where_it_has_been() {
        let mut bed = Testbed::live(400, false);
        let peer = bed.live_peer(100..140);
        bed.watch();
        assert_eq!(bed.moves(), [(118, Moved::HookedIn)]);
        bed.give_all(peer);
        for number in 118..140 {
            bed.reader(super::super::ReaderInput::Read(number * LIVE_PIECE..(number + 1) * LIVE_PIECE));
        }
        // The source goes on, but nobody gives its pieces.
        bed.hear(peer, Message::Choke);
        bed.reached(peer, 118..143);
        bed.reader(super::super::ReaderInput::Read(140 * LIVE_PIECE..141 * LIVE_PIECE));
        bed.wait(Duration::from_secs(15));
        assert_eq!(bed.moves(), [(118, Moved::HookedIn), (141, Moved::HookedIn)]);
    }

    /// In the original who had drifted away from its neighbours by more than a window took none of what they announced,
    /// and starved.
    #[test]
    fn who_has_fallen_behind_by_more_than_the_ring_goes_on_with_its_neighbours() {
        let mut bed = Testbed::live(400, false);
        let peer = bed.live_peer(100..140);
        bed.watch();
        bed.reader(super::super::ReaderInput::Read(118 * LIVE_PIECE..119 * LIVE_PIECE));
        bed.requests(peer);
        bed.reached(peer, 1_000..1_040);
        bed.wait(Duration::from_secs(1));
        assert_eq!(bed.moves(), [(118, Moved::HookedIn), (1_019, Moved::HookedIn)]);
        let asked = bed.requests(peer);
        assert!(!asked.is_empty() && asked.iter().all(|block| block.piece.number() >= 1_019), "{asked:?}");
    }

    /// In the original one neighbour was enough, however old what it had.
    #[test]
    fn who_answers_first_does_not_decide_where_playback_begins() {
        let mut bed = Testbed::live(400, false);
        bed.live_peer(100..140);
        bed.watch();
        bed.live_peer(150..200);
        bed.wait(Duration::from_secs(1));
        assert_eq!(bed.moves(), [(118, Moved::HookedIn), (179, Moved::HookedIn)]);
    }

    #[test]
    fn who_watches_already_is_not_moved_by_those_who_come() {
        let mut bed = Testbed::live(400, false);
        let peer = bed.live_peer(100..140);
        bed.watch();
        bed.reader(super::super::ReaderInput::Read(118 * LIVE_PIECE..119 * LIVE_PIECE));
        bed.give_all(peer);
        bed.wait(Duration::from_secs(1));
        assert!(!bed.torrent.readers[&ReaderId(0)].is_filling());
        bed.live_peer(150..200);
        bed.wait(Duration::from_secs(1));
        assert_eq!(bed.moves(), [(118, Moved::HookedIn)]);
    }

    /// The original looked for piece 0 among those that were missing, not for the first one.
    #[test]
    fn nothing_begins_without_the_piece_that_it_begins_with() {
        let mut bed = Testbed::live(400, false);
        let slow = bed.live_peer(100..140);
        bed.watch();
        bed.reader(super::super::ReaderInput::Read(118 * LIVE_PIECE..119 * LIVE_PIECE));
        let first = bed.requests(slow);
        assert!(!first.is_empty() && first.iter().all(|block| block.piece.number() == 118), "{first:?}");
        let other = bed.live_peer(100..140);
        (119..140).for_each(|index| bed.hear(other, Message::Suggest(index)));
        bed.give_all(other);
        bed.wait(Duration::from_secs(1));
        assert!(bed.torrent.have().count() > 10, "a buffer half full: {}", bed.torrent.have().count());
        assert!(bed.torrent.readers[&ReaderId(0)].is_filling());
        first.into_iter().for_each(|block| bed.give(slow, block));
        bed.wait(Duration::from_secs(1));
        assert!(!bed.torrent.readers[&ReaderId(0)].is_filling());
    }

    /// A viewer who was given Ogg or Matroska without its head could decode nothing, ever.
    #[test]
    fn nobody_begins_before_the_stream_headers_are_there() {
        let told = LiveState { headers_number: Some(1), ..LiveState::default() };
        let told = Message::Extended { id: live::OUR_ID, payload: told.encode() };
        let watching = || {
            let mut bed = Testbed::live(400, false);
            let peer = bed.live_peer(100..140);
            bed.hear(peer, told.clone());
            bed.watch();
            assert_eq!(bed.moves(), []);
            (bed, peer)
        };
        let (mut bed, peer) = watching();
        let key = SigningKey::from_random(&[1; 32]).unwrap();
        let headers = VerifiedHeaders::seal(1, Bytes::from_static(b"head"), InfoHash([1; 20]), &key).unwrap();
        bed.input(Input::HeadersChecked { peer, headers: Some(Box::new(headers)) });
        assert_eq!(bed.moves(), [(118, Moved::HookedIn)]);
        let heads = bed.events.iter().position(|event| matches!(event, Event::StreamHeaders(_)));
        let moves = bed.events.iter().position(|event| matches!(event, Event::Moved { .. }));
        assert!(heads.is_some() && heads < moves, "they come first: {:?}", bed.events);

        // Who only says that there are some keeps nobody waiting for long.
        let (mut bed, _) = watching();
        bed.wait(HEADERS_WITHIN + Duration::from_secs(1));
        assert_eq!(bed.moves(), [(118, Moved::HookedIn)]);
    }
}
