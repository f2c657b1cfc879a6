//! A torrent that is a live broadcast: which pieces exist. (What neighbours say of it is in `live_peers`, where its
//! viewers are in `live_viewers`, and what it sends in `live_serve`.)
//!
//! The newest verified stamp sets the window: older pieces than it holds are thrown away, here and in what is known
//! of the neighbours, who do the same. Behind the newest stamp so many pieces more are believed to exist as peers
//! say that they have, within bounds (`LEAD`): a stamp comes only now and then.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{LiveStats, ReaderId};
use super::standstill::Standstill;
use super::torrent::Torrent;
use super::{Job, Output, PeerKey};
use crate::metainfo::geometry::{Geometry, PieceIndex};
use crate::rate::ByteRate;
use crate::stream::hook_in::HookIn;
use crate::stream::live_headers::VerifiedHeaders;
use crate::stream::live_piece::{Stamp, VerifiedStamp};
use crate::stream::live_rate::LiveRate;
use crate::stream::window::Ring;
use crate::time::{Duration, Instant};

/// Pieces of so much media are believed to exist behind the newest stamp, ...
const LEAD: Duration = Duration::from_secs(5);
/// ... and so many at least.
const LEAST_LEAD: u32 = 8;
/// Stamps remembered, so that the same one is not checked for every peer.
const KNOWN: usize = 256;
/// Breaks remembered: pieces that do not go on where the one before ended.
const BREAKS: usize = 64;

/// How a live torrent is run.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// Its ring.
    pub ring: Ring,
    /// Bytes/s from the metainfo.
    pub nominal: Option<u64>,
    /// We make it: nothing is ever asked for.
    pub source: bool,
}

/// The state of a live torrent.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) config: LiveConfig,
    pub(super) rate: LiveRate,
    pub(super) hook_in: HookIn<PeerKey>,
    /// The newest stamp of anybody.
    pub(super) newest: Option<u32>,
    /// The newest stamp of a piece that we hold.
    pub(super) held: Option<VerifiedStamp>,
    pub(super) known: BTreeMap<u32, VerifiedStamp>,
    /// Pieces that do not go on where the one before ended.
    pub(super) breaks: BTreeSet<u32>,
    pub(super) headers: Option<VerifiedHeaders>,
    /// Since when some neighbour has said that it has stream headers.
    pub(super) headers_told: Option<Instant>,
    pub(super) next_tell: Instant,
    /// Something to be told is new.
    pub(super) untold: bool,
    /// The number of the stamp that was told last.
    pub(super) told: u32,
    /// Viewers that wait, and since when nothing could be given to them.
    pub(super) stuck: BTreeMap<ReaderId, (u64, Instant)>,
    pub(super) standstill: Standstill,
}

impl Live {
    pub(super) fn new(config: LiveConfig, geometry: &Geometry, now: Instant) -> Self {
        Self {
            rate: LiveRate::new(config.nominal, geometry.piece_length()),
            hook_in: HookIn::new(config.ring),
            config,
            newest: None,
            held: None,
            known: BTreeMap::new(),
            breaks: BTreeSet::new(),
            headers: None,
            headers_told: None,
            next_tell: now,
            untold: false,
            told: 0,
            stuck: BTreeMap::new(),
            standstill: Standstill::new(now),
        }
    }

    /// Media time of a piece.
    pub(super) fn piece_time(&self) -> Duration {
        self.rate.piece_time()
    }

    /// The piece that we mean by an index.
    pub(super) fn piece_of(&self, index: u32) -> Option<u32> {
        self.config.ring.near(index, self.newest?)
    }

    pub(super) fn lead(&self) -> u32 {
        let most = (self.config.ring.window() / 2).max(1);
        self.rate.pieces_in(LEAD).max(LEAST_LEAD).min(most)
    }

    /// So far behind the newest stamp peers may speak of pieces: they tell of some before they show a stamp again.
    pub(super) fn ahead(&self) -> u32 {
        let ring = self.config.ring;
        (ring.window() / 2).max(LEAST_LEAD).min(ring.slots() / 2)
    }

    pub(super) fn remember(&mut self, stamp: &VerifiedStamp) {
        self.rate.on_stamp(stamp);
        self.known.insert(stamp.seq, stamp.clone());
        if self.known.len() > KNOWN {
            self.known.pop_first();
        }
        if stamp.flags.discontinuity && self.breaks.insert(stamp.seq) && self.breaks.len() > BREAKS {
            self.breaks.pop_first();
        }
    }

    /// A stamp that was checked before.
    pub(super) fn recall(&self, stamp: &Stamp) -> Option<VerifiedStamp> {
        self.known.get(&stamp.seq).filter(|known| ***known == *stamp).cloned()
    }
}

impl Torrent {
    /// Whether this is a broadcast, and passed on in our own way: by invitations, and piece by piece.
    pub(super) const fn passes_on(&self) -> bool {
        self.live.is_some() && !self.config.policy.is_stock()
    }

    /// Bytes/s of pieces, stamps included: what the playhead moves by.
    pub(super) fn live_piece_rate(&self) -> Option<u64> {
        let live = self.live.as_ref()?;
        let time = live.rate.piece_time();
        Some(ByteRate::of(self.pieces.geometry().piece_length().into(), time).get())
    }

    /// A piece is verified, or was made here.
    pub(super) fn on_live_piece(&mut self, now: Instant, stamp: &VerifiedStamp) {
        let Some(live) = &mut self.live else { return };
        live.remember(stamp);
        if live.held.as_ref().is_none_or(|held| held.seq < stamp.seq) {
            live.held = Some(stamp.clone());
            live.untold = true;
        }
        self.advance(now, stamp.seq);
    }

    /// The source made a piece; it is written.
    pub(super) fn on_captured(&mut self, now: Instant, stamp: &VerifiedStamp) {
        self.on_live_piece(now, stamp);
        if let Some(piece) = self.pieces.geometry().piece(stamp.seq) {
            self.on_good(now, piece);
        }
    }

    /// A piece exists with this number: the window moves, and what falls out of it is thrown away.
    pub(super) fn advance(&mut self, now: Instant, newest: u32) {
        let Some(live) = &mut self.live else { return };
        if live.newest.is_some_and(|known| known >= newest) {
            return;
        }
        live.newest = Some(newest);
        let oldest = live.config.ring.oldest(newest);
        let exist = self.pieces.exist();
        let start = if exist.is_empty() { oldest } else { exist.start };
        if exist.is_empty() {
            self.pieces.exists_from(oldest);
        }
        self.pieces.exists_to(newest.saturating_add(1));
        // Nobody has spoken of anything further ahead, however far the source has skipped.
        let spoken_of = exist.end.saturating_add(live.config.ring.slots());
        let gone = self.pieces.geometry().run(start..oldest.min(spoken_of));
        gone.collect::<Vec<_>>().into_iter().for_each(|piece| self.let_piece_go(now, piece));
        self.pieces.exists_from(oldest);
        if let Some(rate) = self.live_piece_rate() {
            self.readers.values_mut().for_each(|r| r.set_media_rate(rate));
        }
        self.stale = true;
    }

    /// A piece has left the window.
    fn let_piece_go(&mut self, now: Instant, piece: PieceIndex) {
        for key in self.peers.keys().collect::<Vec<_>>() {
            let Some(p) = self.peers.get_mut(key) else { continue };
            if p.has.remove(piece) {
                self.pieces.uncount_have(piece);
            }
            let gone = p.pipeline.cancel(now, |block| block.piece == piece);
            self.withdraw(now, key, &gone);
        }
        self.pieces.unwant(std::iter::once(piece));
        self.pieces.forget_partial(piece);
        self.forget_news(piece);
        if self.pieces.have().has(piece) {
            self.pieces.discard(piece);
            self.refuse_piece(now, piece);
            self.out.push_back(Output::Start(Job::Discard { piece }));
        }
    }

    /// Whether the newest piece is the last one, as far as we know.
    pub(super) fn is_over(&self) -> bool {
        let newest = self.live.as_ref().and_then(|live| live.known.get(&live.newest?));
        newest.is_some_and(|stamp| stamp.flags.end)
    }

    pub(super) fn live_stats(&self, now: Instant) -> Option<LiveStats> {
        let live = self.live.as_ref()?;
        let held = live.held.as_ref().and_then(|stamp| self.pieces.geometry().piece(stamp.seq));
        Some(LiveStats {
            newest: live.newest.unwrap_or_default(),
            newest_time: live.held.as_ref().map(|stamp| stamp.time.micros()),
            window: u32::try_from(self.pieces.exist().len()).unwrap_or(u32::MAX),
            bitrate: live.rate.bytes_per_second().get(),
            piece_time: live.rate.piece_time(),
            bad_stamps: self.counters.bad_stamps,
            still: live.standstill.lasts(now).filter(|_| !self.is_over()),
            behind: self.peers.values().filter(|p| held.is_some_and(|piece| !p.has.has(piece))).count(),
        })
    }
}
