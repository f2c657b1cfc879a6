//! Uploads of a broadcast. A piece has to be with everybody within seconds, so nobody may wait in a long queue: what
//! could not be sent soon is turned down at once, and whoever asked asks somebody else, or again a moment later.
//!
//! Everybody may ask (there are no slots to wait for), and is served in the order of asking, one piece after the
//! other: who has the first copy can pass it on while the second one is on its way. What nobody else is known to
//! have goes first. Whoever was [invited](super::invite) is never turned down.

use super::peer::Peer;
use super::torrent::Torrent;
use super::uplink::{Lane, Waiting};
use super::{Job, Output, PeerKey};
use crate::metainfo::geometry::{BLOCK_LENGTH, Block, PieceIndex};
use crate::time::{Duration, Instant};

/// What somebody asks of us uninvited is to be sent within this time.
const QUEUE: Duration = Duration::from_millis(2_000);
/// Neighbours are invited as long as what they will ask for is sent within this time.
const INVITED: Duration = Duration::from_millis(300);
/// ... or so many pieces are, while it is not known how fast we can send.
const UNKNOWN_QUEUE: u64 = 3;
/// Pieces for which neighbours are invited at least: one goes out while the next one is asked for.
const LEAST_INVITED: u64 = 2;
/// Payload that is handed out is sent within this time: it can neither be called back nor overtaken.
const HANDED_OUT: Duration = Duration::from_millis(50);
/// ... or so many bytes, if that is more.
const MIN_HANDED_OUT: u64 = BLOCK_LENGTH as u64;

impl Torrent {
    /// Whether a block of a broadcast could not be sent soon.
    pub(super) fn is_busy(&self, now: Instant, peer: PeerKey, block: Block) -> bool {
        let (Some(live), Some(p)) = (&self.live, self.peers.get(peer)) else { return false };
        // Half a piece is of no use.
        if block.begin > 0 && p.uploads.declined == Some(block.piece) {
            return true;
        }
        if p.uploads.piece == Some(block.piece) || live.invites.is_guest(peer) || self.is_favoured(peer) {
            return false;
        }
        self.has_no_room_for_others(now)
    }

    /// Whether what somebody asks for on its own could not be sent soon.
    fn has_no_room_for_others(&self, now: Instant) -> bool {
        let Some(live) = &self.live else { return true };
        let before = self.handed_out() + self.whole(live.uplink.before_other(live.invites.expected()));
        before > 0 && before + self.whole(1) > self.sent_within(now, QUEUE)
    }

    /// Whether one more neighbour could be served soon.
    pub(super) fn has_room_for_guests(&self, now: Instant) -> bool {
        let Some(live) = &self.live else { return false };
        let before = self.handed_out() + self.whole(live.uplink.before_guest(live.invites.expected()));
        before + self.whole(1) <= self.sent_within(now, INVITED).max(self.whole(LEAST_INVITED))
    }

    /// A block of a broadcast will be sent to this peer.
    pub(super) fn queue_live(&mut self, now: Instant, peer: PeerKey, piece: PieceIndex) {
        let (Some(live), Some(p)) = (&mut self.live, self.peers.get_mut(peer)) else { return };
        if p.uploads.piece == Some(piece) {
            return live.uplink.go_on(Waiting { peer, piece, lane: p.uploads.lane });
        }
        let (first, full) = (self.is_first_copy(piece), self.has_no_room_for_others(now));
        let favoured = self.is_favoured(peer);
        let (Some(live), Some(p)) = (&mut self.live, self.peers.get_mut(peer)) else { return };
        p.uploads.piece = Some(piece);
        if live.invites.is_new(piece) {
            p.uploads.promised.insert(piece);
        }
        let guest = live.invites.came(peer, piece, full) || favoured;
        p.uploads.lane = if guest { Lane::Guests } else { Lane::Others };
        // Who comes on its own is in need, too.
        p.uploads.comes.learn(true);
        (p.uploads.rests, p.uploads.declined) = (None, None);
        live.uplink.add(Waiting { peer, piece, lane: p.uploads.lane }, first || favoured);
    }

    /// Requests for this piece were taken back, or are turned down.
    pub(super) fn unqueue_live(&mut self, peer: PeerKey, piece: PieceIndex) {
        let (Some(live), Some(p)) = (&mut self.live, self.peers.get_mut(peer)) else { return };
        p.uploads.piece = p.uploads.piece.filter(|last| *last != piece);
        p.uploads.promised.remove(&piece);
        if !p.uploads.queue.iter().any(|block| block.piece == piece) {
            live.uplink.forget(peer, piece);
        }
    }

    /// Starts reading blocks for those whose turn it is.
    pub(super) fn serve_live(&mut self, now: Instant) {
        let most = self.upload_rate(now).bytes_in(HANDED_OUT).max(MIN_HANDED_OUT);
        let mut handed_out = self.handed_out();
        let Some(live) = &mut self.live else { return };
        while handed_out < most && self.upload_limit.is_open(now) {
            let Some(waiting) = live.uplink.next() else { break };
            let peer = waiting.peer;
            let Some(uploads) = self.peers.get_mut(peer).map(|p| &mut p.uploads) else { continue };
            let mut blocks = uploads.queue.iter().enumerate().filter(|(_, b)| b.piece == waiting.piece);
            let (at, more) = (blocks.next().map(|(at, _)| at), blocks.next().is_some());
            let Some(block) = at.and_then(|at| uploads.queue.remove(at)) else { continue };
            uploads.reading.push(block);
            if more {
                live.uplink.go_on(waiting);
            }
            handed_out += u64::from(block.length);
            self.upload_limit.spend(u64::from(block.length));
            self.out.push_back(Output::Start(Job::Read { peer, block }));
        }
        if handed_out > 0 {
            live.uplink.starts(now);
        }
        self.serve_now = !self.upload_limit.is_open(now) && !live.uplink.is_idle();
    }

    /// Payload has left for the network.
    pub(super) fn on_sent_live(&mut self, now: Instant, bytes: u64) {
        let waits = self.live.is_some() && self.waiting_to_be_sent() > 0;
        if let Some(live) = &mut self.live {
            live.uplink.sent(now, bytes, waits);
            live.invites.look = true;
        }
    }

    fn waiting_to_be_sent(&self) -> u64 {
        self.peers.values().map(|p| p.uploads.asked()).sum()
    }

    /// Bytes that are being read or wait in connections.
    fn handed_out(&self) -> u64 {
        self.peers.values().map(|p| p.uploads.waiting()).sum()
    }

    /// Bytes of so many pieces.
    fn whole(&self, pieces: u64) -> u64 {
        pieces * u64::from(self.pieces.geometry().piece_length())
    }

    /// Bytes that are sent within this time.
    fn sent_within(&self, now: Instant, time: Duration) -> u64 {
        let piece = self.whole(1);
        let learned = self.live.as_ref().and_then(|live| live.uplink.rate(now));
        let limit = Some(self.config.upload_limit).filter(|limit| limit.get() > 0);
        match limit.into_iter().chain(learned).min() {
            None => UNKNOWN_QUEUE * piece,
            Some(rate) => rate.bytes_in(time).max(piece),
        }
    }

    /// Whether nobody else is known to have a piece, or to be getting it from us.
    fn is_first_copy(&self, piece: PieceIndex) -> bool {
        let gets = |p: &Peer| p.uploads.piece == Some(piece);
        self.pieces.rarity(piece) == 0 && !self.peers.values().any(gets)
    }
}
