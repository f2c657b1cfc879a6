//! The engine of one torrent: takes what happened, says what to do (see [the contract](super)).
//!
//! This file owns the state and the order of things; the reactions live beside it: peers that come and go in
//! `company` (let in by `admission`), what they say in `fetch`, our requests in `ask` and `hedge`, uploads in `serve` and
//! `turns`, neighbours that trade in `g2g`, `offer`, `trade` and `ledger`, verified pieces in `verdict`, readers in
//! `readers`, what is wanted and kept in `budget`.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;

use rand::SeedableRng as _;
use rand_pcg::Pcg64;
use slotmap::SlotMap;

use super::ask::Hungry;
use super::blame::Blame;
use super::budget::{self, Windows};
use super::candidates::Candidates;
use super::choker::{self, Choker};
use super::event::{ReaderId, State, Stats};
use super::invite::Invites;
use super::live::Live;
use super::peer::Peer;
use super::picker::Picker;
use super::pieces::Pieces;
use super::supply::SupplyMeter;
use super::uplink::Uplink;
use super::{Config, Input, Output, PeerKey};
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::Geometry;
use crate::rate::{ByteRate, Limiter, RateMeter};
use crate::stream::playback::Playback;
use crate::time::{Duration, Instant};
use crate::wire::message::Message;

/// Playback, lateness and timeouts are looked at this often.
const TICK: Duration = Duration::from_millis(100);
/// ... and with nobody there, this often.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// Rates in statistics look back so far.
const RATE_WINDOW: Duration = Duration::from_secs(3);
/// Requests of one peer that we queue; told in the extension handshake.
pub(super) const REQQ: u32 = 512;

/// Sums over the torrent's life.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) downloaded: u64,
    pub(super) uploaded: u64,
    pub(super) wasted: u64,
    pub(super) corrupt: u64,
    pub(super) hash_failures: u64,
    /// Bytes that came twice, or after the piece was there.
    pub(super) duplicates: u64,
    /// Stamps and headers that the source has not signed.
    pub(super) bad_stamps: u64,
}

/// The engine of one torrent.
pub struct Torrent {
    pub(super) config: Config,
    pub(super) rng: Pcg64,
    pub(super) peers: SlotMap<PeerKey, Peer>,
    pub(super) pieces: Pieces,
    pub(super) picker: Picker,
    pub(super) readers: BTreeMap<ReaderId, Playback>,
    pub(super) upload_limit: Limiter,
    pub(super) download_limit: Limiter,
    pub(super) counters: Counters,
    pub(super) out: VecDeque<Output>,
    pub(super) candidates: Candidates,
    pub(super) choker: Choker,
    pub(super) blame: Blame,
    pub(super) down: RateMeter,
    pub(super) up: RateMeter,
    pub(super) supply: SupplyMeter,
    pub(super) uplink: Uplink,
    pub(super) invites: Invites,
    /// Neighbours by the addresses at which others can call them, too.
    pub(super) names: BTreeMap<SocketAddr, PeerKey>,
    /// The pieces that neighbours believe that we need next, and when they may hear of others.
    pub(super) told_wants: Range<u32>,
    pub(super) next_tell: Instant,
    pub(super) windows: Windows,
    pub(super) next_tick: Instant,
    pub(super) next_round: Instant,
    /// Nothing is due before then that time alone brings about for a peer.
    pub(super) next_look: Instant,
    /// A peer may have passed over one of our requests.
    pub(super) passed_over: bool,
    pub(super) next_want: Instant,
    /// Readers moved or pieces came: the sets have to be cut anew.
    pub(super) stale: bool,
    /// Peers to be looked at for new requests.
    pub(super) hungry: Hungry,
    /// The time in which the best of several peers delivers.
    pub(super) best: Option<Duration>,
    /// Peers wait for blocks, and something has changed that may let them go out.
    pub(super) serve_now: bool,
    /// Requests had to wait because too much was under way.
    pub(super) crowded: bool,
    /// Addresses or places became free: look for someone to dial.
    pub(super) dial_now: bool,
    pub(super) storage_failed: bool,
    pub(super) completed: bool,
    /// What a film does not need.
    pub(super) live: Option<Live>,
}

impl Torrent {
    /// An engine for a torrent of which `have` is there already. `seed` decides all ties.
    pub fn new(mut config: Config, geometry: Geometry, have: Bitfield, now: Instant, seed: u64) -> Self {
        config.budget = budget::effective(config.budget, &geometry);
        let pieces = Pieces::new(geometry, have);
        let live = config.live.clone().map(|live| Live::new(live, &geometry, now));
        let mut torrent = Self {
            upload_limit: Limiter::new(config.upload_limit, now),
            download_limit: Limiter::new(config.download_limit, now),
            completed: true,
            picker: Picker::new(config.policy),
            config,
            rng: Pcg64::seed_from_u64(seed),
            peers: SlotMap::with_key(),
            pieces,
            readers: BTreeMap::new(),
            counters: Counters::default(),
            out: VecDeque::new(),
            candidates: Candidates::default(),
            choker: Choker::default(),
            blame: Blame::default(),
            down: RateMeter::new(RATE_WINDOW),
            up: RateMeter::new(RATE_WINDOW),
            supply: SupplyMeter::default(),
            uplink: Uplink::default(),
            invites: Invites::default(),
            names: BTreeMap::new(),
            told_wants: 0..0,
            next_tell: now,
            windows: Windows::default(),
            next_tick: now,
            next_round: now + choker::ROUND,
            next_look: now,
            passed_over: false,
            next_want: now,
            stale: false,
            hungry: Hungry::default(),
            best: None,
            serve_now: false,
            crowded: false,
            dial_now: true,
            storage_failed: false,
            live,
        };
        if torrent.trades() {
            torrent.uplink = Uplink::of_film();
        }
        torrent.review_wanted(now);
        torrent
    }

    /// One thing happened. May be called several times before [`Torrent::poll`] is drained.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Timeout => {}
            Input::Found { source, addrs } => {
                addrs.into_iter().for_each(|a| self.candidates.add(a, source, &mut self.rng));
                self.dial_now = true;
            }
            Input::DialFailed { addr } => {
                self.candidates.failed(now, addr);
                self.dial_now = true;
            }
            Input::Message { peer, message } => self.on_message(now, peer, message),
            Input::Sent { peer, bytes } => self.on_sent(now, peer, bytes),
            Input::Closed { peer, hostile } => self.on_closed(now, peer, hostile),
            Input::Verified { piece, verdict, stamp } => {
                self.on_verified(now, piece, verdict, stamp.as_deref())
            }
            Input::StampChecked { peer, stamp, oldest } => {
                self.on_stamp_checked(now, peer, stamp.map(|stamp| *stamp), oldest);
            }
            Input::HeadersChecked { peer, headers } => {
                self.on_headers_checked(now, peer, headers.map(|h| *h))
            }
            Input::Captured { stamp } => self.on_captured(now, &stamp),
            Input::StreamHeaders(headers) => self.on_headers(*headers),
            Input::BlockRead { peer, block, data } => self.on_block_read(now, peer, block, data),
            Input::Reader { reader, input } => self.on_reader(now, reader, input),
            Input::WantAll => self.on_want_all(now),
            Input::Serve(serving) => self.on_serving(now, serving),
            Input::Limits { upload, download } => {
                self.config.upload_limit = upload;
                self.upload_limit.set_rate(now, upload);
                self.download_limit.set_rate(now, download);
            }
        }
    }

    /// What to do next. Drain until it gives [`Output::Wait`].
    pub fn poll(&mut self, now: Instant) -> Output {
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        self.settle(now);
        let wait = Output::Wait(self.next_timeout(now));
        self.out.pop_front().unwrap_or(wait)
    }

    /// The verified pieces.
    pub const fn have(&self) -> &Bitfield {
        self.pieces.have()
    }

    /// Bytes of the torrent that are not here, wanted or not (for announces: who is not a seed has some left).
    pub const fn left(&self) -> u64 {
        self.pieces.geometry().total() - self.pieces.have_bytes()
    }

    /// Payload bytes out and in so far (for announces).
    pub const fn traffic(&self) -> (u64, u64) {
        (self.counters.uploaded, self.counters.downloaded)
    }

    /// The torrent in figures.
    pub fn stats(&self, now: Instant) -> Stats {
        Stats {
            state: match () {
                () if self.storage_failed => State::Failed,
                () if self.has_all_wanted() => State::Seeding,
                () => State::Downloading,
            },
            peers: self.peers.len(),
            seeds: self.peers.values().filter(|p| p.has.is_full()).count(),
            candidates: self.candidates.idle_count(),
            dialled: self.candidates.dialled(),
            dialling: self.candidates.dialling(),
            download_rate: self.down.rate(now),
            upload_rate: self.up.rate(now),
            downloaded: self.counters.downloaded,
            uploaded: self.counters.uploaded,
            wasted: self.counters.wasted,
            corrupt: self.counters.corrupt,
            have: self.pieces.have_bytes(),
            pieces: self.pieces.have().count(),
            hash_failures: self.counters.hash_failures,
            banned: self.candidates.banned(),
            live: self.live_stats(now),
            connections: self.peers.values().map(|p| p.stats(now)).collect(),
        }
    }

    pub(super) fn send(&mut self, now: Instant, peer: PeerKey, message: Message) {
        if let Some(p) = self.peers.get_mut(peer) {
            p.last_sent = now;
        }
        self.out.push_back(Output::Send { peer, message });
    }

    pub(super) fn count_received(&mut self, now: Instant, bytes: u64) {
        self.counters.downloaded += bytes;
        self.down.add(now, bytes);
        self.supply.add(now, bytes);
    }

    pub(super) fn upload_rate(&self, now: Instant) -> ByteRate {
        self.up.rate(now)
    }

    pub(super) fn count_sent(&mut self, now: Instant, bytes: u64) {
        self.counters.uploaded += bytes;
        self.up.add(now, bytes);
    }

    /// Whether the disk refused and nothing more is fetched.
    pub(super) const fn is_stopped(&self) -> bool {
        self.storage_failed
    }

    /// Everything that follows from what happened since the last time.
    fn settle(&mut self, now: Instant) {
        let stale = std::mem::take(&mut self.stale);
        if stale {
            self.refresh_readers();
            self.cut_sets(now);
        }
        self.supply.set_wanting(now, self.pieces.left() > 0);
        if now >= self.next_tick {
            self.tick(now);
        } else if stale && self.readers.values().any(Playback::is_filling) {
            self.tick_readers(now);
        }
        if now >= self.next_round {
            self.next_round = now + choker::ROUND;
            self.round(now);
        }
        self.tell_live(now);
        self.invite(now);
        self.spare_futile(now);
        self.refill(now);
        if self.serve_now {
            self.serve_all(now);
        }
        if std::mem::take(&mut self.dial_now) {
            self.dial(now);
        }
    }

    fn tick(&mut self, now: Instant) {
        self.next_tick =
            now + if self.peers.is_empty() && self.readers.is_empty() { IDLE_TICK } else { TICK };
        self.hook_in_all(now);
        self.invites.look = true;
        self.count_company();
        self.peers.values_mut().for_each(|p| p.g2g.doubt(now));
        self.tell_wants(now);
        // Somebody may have stopped to read.
        self.serve_now |= !self.uplink.is_idle();
        self.tick_readers(now);
        self.look_after_peers(now);
        if !self.is_done() {
            self.rate_peers(now);
            self.hedge(now);
            self.reuse_slots(now);
            self.rescue(now);
            self.drop_idle();
            self.refill_all();
        }
        self.look_for_the_source(now);
        self.dial_now = true;
    }

    /// Whether all of a film is here to stay: nothing will be asked for any more, and slots of a film stay as they are
    /// between rounds.
    fn is_done(&self) -> bool {
        self.pieces.have().is_full() && self.config.budget.is_none() && self.live.is_none()
    }

    /// Slots are given anew, and places that nobody uses are freed.
    fn round(&mut self, now: Instant) {
        self.review_interest(now);
        self.choke_round(now);
        self.review_ledger(now);
        if self.peers.len() >= self.config.max_peers {
            self.free_places(now);
        }
    }

    fn next_timeout(&mut self, now: Instant) -> Instant {
        let mut next = self.next_tick.min(self.next_round);
        if let Some(opens) = self.serve_opens_at(now) {
            next = next.min(opens);
        }
        if let Some(opens) = self.fetch_opens_at(now) {
            next = next.min(opens);
        }
        next
    }
}
