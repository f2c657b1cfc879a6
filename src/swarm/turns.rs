//! Uploads in turns: whose blocks go out next.
//!
//! Who asks waits in line with a piece, and is given what it asked for of it before the next one's turn comes: the
//! first copy of a piece can be passed on while the second one is on its way. If all were served at once, none of
//! them would have anything to give for long. A turn in a film ends after [`TURN`] at the latest, as pieces may be
//! large and the way out slow; other clients are served block by block in the simulator, as they do it.
//!
//! Little is handed out at a time: what waits in a connection can neither be called back nor overtaken, and on a slow
//! uplink our own requests would have to wait behind it.

use super::peer::{Peer, Uploads};
use super::torrent::Torrent;
use super::uplink::{Lane, Waiting};
use super::{Job, Output, PeerKey};
use crate::metainfo::geometry::{BLOCK_LENGTH, PieceIndex};
use crate::rate::ByteRate;
use crate::stream::playback::Playback;
use crate::time::{Duration, Instant};
use crate::wire::g2g::TURNS;

/// A way out is slow that takes more than so many times as long to send something as we do to play it.
const SLOW: u64 = 2;
/// A turn in a film is about so long there, ...
const TURN: Duration = Duration::from_millis(800);
/// ... and has not more bytes than this, ...
pub(super) const LONGEST_TURN: u64 = *TURNS.end() as u64;
/// ... nor less.
const SHORTEST_TURN: u64 = *TURNS.start() as u64;
/// Payload that is handed out is sent within this time.
const HANDED_OUT: Duration = Duration::from_millis(50);
/// ... or so many bytes, if that is more.
const MIN_HANDED_OUT: u64 = BLOCK_LENGTH as u64;
/// ... and so many while it is not known how fast we can send a film.
const UNKNOWN_HANDED_OUT: u64 = 512 * 1024;
/// Reads under way for one peer.
const MAX_READING: usize = 16;

impl Torrent {
    /// A block will be sent to this peer: unless pieces are given whole, it waits for its turn with the piece.
    pub(super) fn queue_turn(&mut self, peer: PeerKey, piece: PieceIndex) {
        let (favoured, passes_on) = (self.is_favoured(peer), self.passes_on());
        let Some(p) = self.peers.get_mut(peer) else { return };
        if !passes_on && !std::mem::replace(&mut p.uploads.in_line, true) {
            let lane = if favoured || p.g2g.trades() { Lane::Guests } else { Lane::Others };
            self.uplink.add(Waiting { peer, piece, lane }, favoured);
        }
    }

    /// Requests for this piece were taken back, or are turned down.
    pub(super) fn unqueue(&mut self, peer: PeerKey, piece: PieceIndex) {
        let (true, Some(p)) = (self.passes_on(), self.peers.get_mut(peer)) else {
            // It keeps its place in line, and is passed over if it has nothing to ask for when its turn comes.
            return;
        };
        p.uploads.piece = p.uploads.piece.filter(|last| *last != piece);
        p.uploads.promised.remove(&piece);
        if !p.uploads.queue.iter().any(|block| block.piece == piece) {
            self.uplink.forget(peer, piece);
        }
    }

    /// Starts reading blocks for those whose turn it is.
    pub(super) fn serve_all(&mut self, now: Instant) {
        if self.uplink.is_idle() && self.uplink.is_busy() {
            self.serve_now = false;
            return;
        }
        self.review_takers(now);
        let (most, longest) = (self.most_handed_out(now), self.longest_turn(now));
        let passes_on = self.passes_on();
        let (mut handed_out, mut patience) = (self.handed_out(now), self.uplink.len());
        while handed_out < most && self.upload_limit.is_open(now) {
            let Some(waiting) = self.uplink.next() else { break };
            let peer = waiting.peer;
            let Some(uploads) = self.peers.get_mut(peer).map(|p| &mut p.uploads) else { continue };
            if uploads.is_stuck(now) || uploads.reading.len() >= MAX_READING {
                self.uplink.come_again(waiting);
                // Those behind it may be able to take something.
                let Some(left) = patience.checked_sub(1) else { break };
                patience = left;
                continue;
            }
            let Some((block, more)) = uploads.next_of(waiting.piece, !passes_on) else { continue };
            if uploads.waiting() == 0 {
                uploads.moved = now;
            }
            uploads.reading.push(block);
            let length = u64::from(block.length);
            let goes_on = self.uplink.spend(waiting.lane, length) < longest;
            match more {
                Some(piece) if goes_on && piece == block.piece => {
                    self.uplink.go_on(Waiting { piece, ..waiting });
                }
                Some(piece) => self.uplink.come_again(Waiting { piece, ..waiting }),
                None => {}
            }
            handed_out += length;
            self.upload_limit.spend(length);
            self.out.push_back(Output::Start(Job::Read { peer, block }));
        }
        if handed_out > 0 {
            self.uplink.starts(now);
        }
        // Only the limit opens by itself; everything else comes in from outside.
        self.serve_now = !self.upload_limit.is_open(now) && !self.uplink.is_idle();
    }

    /// Payload has left for the network.
    pub(super) fn on_sent_payload(&mut self, now: Instant, bytes: u64) {
        let waits = self.takers().any(|(_, p)| p.uploads.asks());
        self.uplink.sent(now, bytes, waits);
        self.invites.look = true;
        self.serve_now = true;
    }

    /// Bytes/s that we can send, as far as a limit or experience tells.
    pub(super) fn uplink_rate(&self, now: Instant) -> Option<ByteRate> {
        let limit = Some(self.config.upload_limit).filter(|limit| limit.get() > 0);
        limit.into_iter().chain(self.uplink.rate(now)).min()
    }

    /// Bytes that are being read or wait in connections, but for those of peers that do not read: whoever wants to
    /// keep us from serving others would only have to stop reading.
    pub(super) fn handed_out(&self, now: Instant) -> u64 {
        let uploads = self.takers().map(|(_, p)| &p.uploads);
        uploads.filter(|u| !u.is_stuck(now)).map(Uploads::waiting).sum()
    }

    /// Those who have asked for something or may.
    pub(super) fn takers(&self) -> impl Iterator<Item = (PeerKey, &Peer)> {
        let takers = self.uplink.takers().iter();
        takers.filter_map(|key| self.peers.get(*key).map(|p| (*key, p)))
    }

    /// Forgets those who do not any more.
    pub(super) fn review_takers(&mut self, now: Instant) {
        let takes = |p: &Peer| p.uploads.asks() || p.uploads.credit.left(now) > 0;
        self.uplink.review_takers(|key| self.peers.get(*key).is_some_and(takes));
    }

    fn most_handed_out(&self, now: Instant) -> u64 {
        let rate = if self.live.is_some() { Some(self.upload_rate(now)) } else { self.uplink.rate(now) };
        rate.map_or(UNKNOWN_HANDED_OUT, |rate| rate.bytes_in(HANDED_OUT).max(MIN_HANDED_OUT))
    }

    /// The bytes of a turn in a film: a piece, as an invitation names one, and who comes for more asks for what others
    /// could give it as well, and who gets less has nothing to pass on. A guest waits for all of it, so that it is shorter
    /// where the way out is slow. It is doubled and halved, so that it need not be told again at every moment.
    pub(super) fn turn(&self, now: Instant) -> u64 {
        let piece = u64::from(self.pieces.geometry().piece_length());
        let slow = self.uplink_rate(now).filter(|rate| self.is_slow(*rate));
        let soon = slow.map_or(piece, |rate| rate.bytes_in(TURN));
        1 << soon.min(piece).clamp(SHORTEST_TURN, LONGEST_TURN).ilog2()
    }

    /// Whether others are likely to send a piece much sooner: most can send about as fast as they play. Where nothing is
    /// known of that, nobody can send too fast.
    fn is_slow(&self, uplink: ByteRate) -> bool {
        let plays = self.readers.values().find_map(Playback::media_rate);
        plays.is_none_or(|plays| uplink.get().saturating_mul(SLOW) < plays)
    }

    /// Pieces of a broadcast are given whole.
    fn longest_turn(&self, now: Instant) -> u64 {
        match () {
            () if self.passes_on() => u64::MAX,
            () if self.config.policy.is_stock() => u64::from(BLOCK_LENGTH),
            () => self.turn(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::testbed::{Testbed, config};
    use super::*;
    use crate::wire::message::{Message, RawBlock};

    const PIECE: u64 = 4 * BLOCK_LENGTH as u64;

    fn ask(bed: &mut Testbed, peer: PeerKey, index: u32) {
        for begin in (0..PIECE as u32).step_by(BLOCK_LENGTH as usize) {
            let block = RawBlock { index, begin, length: BLOCK_LENGTH };
            bed.hear(peer, Message::Request(block));
        }
    }

    fn guest(bed: &mut Testbed) -> PeerKey {
        let peer = bed.connect(true);
        bed.hear(peer, Message::Interested);
        peer
    }

    /// The disk of the testbed refuses everything: who got its turn is told so.
    fn turns(bed: &Testbed) -> Vec<(PeerKey, u32)> {
        let served = bed.said.iter().filter_map(|(peer, message)| match message {
            Message::Reject(block) => Some((*peer, block.index)),
            _ => None,
        });
        let mut turns: Vec<_> = served.collect();
        turns.dedup();
        turns
    }

    #[test]
    fn everybody_has_a_turn_on_a_limited_uplink() {
        let limited = Config { upload_limit: ByteRate(2 * PIECE), ..config() };
        let mut bed = Testbed::new(limited, PIECE, 10 * PIECE, true);
        let (a, b) = (guest(&mut bed), guest(&mut bed));
        ask(&mut bed, a, 1);
        ask(&mut bed, a, 2);
        ask(&mut bed, b, 3);
        ask(&mut bed, a, 4);
        bed.wait(Duration::from_secs(20));
        assert_eq!(turns(&bed), [(a, 1), (b, 3), (a, 2), (a, 4)]);
    }

    #[test]
    fn a_turn_in_a_large_piece_ends_before_the_piece_does() {
        let limited = Config { upload_limit: ByteRate(1), ..config() };
        let mut bed = Testbed::new(limited, 4 * LONGEST_TURN, 40 * LONGEST_TURN, true);
        let (a, b) = (guest(&mut bed), guest(&mut bed));
        for begin in (0..2 * LONGEST_TURN as u32).step_by(BLOCK_LENGTH as usize) {
            bed.hear(a, Message::Request(RawBlock { index: 1, begin, length: BLOCK_LENGTH }));
        }
        ask(&mut bed, b, 3);
        bed.input(super::super::Input::Limits { upload: ByteRate(0), download: ByteRate(0) });
        assert_eq!(turns(&bed), [(a, 1), (b, 3), (a, 1)]);
    }

    #[test]
    fn a_turn_is_a_piece_and_shorter_where_the_way_out_is_slow() {
        let turn = |upload_limit, piece| {
            let limited = Config { upload_limit: ByteRate(upload_limit), ..config() };
            Testbed::new(limited, piece, 10 * piece, true).torrent.turn(Instant::ZERO)
        };
        assert_eq!(
            [1, 20_000, 50_000, 200_000, 1 << 30].map(|rate| turn(rate, 1 << 20) >> 10),
            [16, 16, 32, 128, 256]
        );
        assert_eq!([1 << 14, 1 << 16, 1 << 20].map(|piece| turn(0, piece) >> 10), [16, 64, 256]);
    }

    /// A film of 100 kB/s.
    #[test]
    fn a_turn_is_a_piece_where_the_way_out_is_about_as_fast_as_the_film() {
        let turn = |upload_limit| {
            let limited = Config { upload_limit: ByteRate(upload_limit), ..config() };
            let mut bed = Testbed::new(limited, 1 << 18, 10 << 18, false);
            bed.open(0..10 << 18);
            bed.torrent.turn(bed.now) >> 10
        };
        assert_eq!([20_000, 49_999, 50_000, 100_000].map(turn), [16, 32, 256, 256]);
    }

    #[test]
    fn who_does_not_read_keeps_nobody_else_waiting() {
        let mut bed = Testbed::new(config(), PIECE, 10 * PIECE, true);
        let (deaf, other) = (guest(&mut bed), guest(&mut bed));
        bed.torrent.uplink.takes(deaf);
        let uploads = &mut bed.torrent.peers[deaf].uploads;
        (uploads.unsent, uploads.moved) = (UNKNOWN_HANDED_OUT, bed.now);
        ask(&mut bed, other, 3);
        assert_eq!(turns(&bed), []);
        bed.wait(Duration::from_millis(1_200));
        assert_eq!(turns(&bed), [(other, 3)]);
        ask(&mut bed, deaf, 4);
        assert_eq!(turns(&bed), [(other, 3)]);
    }
}
