//! What the engine knows of one connected peer.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use smallvec::SmallVec;

use super::Direction;
use super::event::PeerStats;
use super::g2g::{Credit, PeerG2g};
use super::invite::Part;
use super::ledger::Forwarding;
use super::live_peers::PeerLive;
use super::pipeline::Pipeline;
use super::turns::LONGEST_TURN;
use super::uplink::Lane;
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{BLOCK_LENGTH, Block, Geometry, PieceIndex};
use crate::rate::RateMeter;
use crate::time::{Duration, Instant};
use crate::wire::handshake::Hello;

/// Most pieces that a peer may allow us while it chokes us (BEP 6 suggests ten).
const MAX_ALLOWED_FAST: usize = 32;
/// A piece that a peer refused is not asked from it again for this time.
const REFUSAL: Duration = Duration::from_secs(1);
/// An invitation is good for this time.
const INVITED: Duration = Duration::from_millis(800);
/// Most invitations remembered of a peer.
const MAX_INVITED: usize = 32;
/// A peer that has too much to send is left alone for this time.
const BUSY: Duration = Duration::from_millis(300);
/// ... and one that it passed over, for this.
const WITHHOLDING: Duration = Duration::from_secs(30);
/// Most refusals remembered of a peer.
const MAX_REFUSED: usize = 64;
/// A peer that has taken nothing of what waits in its connection for so long does not read.
const STUCK: Duration = Duration::from_secs(1);
/// Rates for ranking look back so far.
const RANK_WINDOW: Duration = Duration::from_secs(20);

/// What a peer of a film, or of a broadcast, does now is not forgiven sooner than after this time.
pub const fn soonest(live: bool) -> Duration {
    if live { BUSY } else { REFUSAL }
}

/// What goes out to a peer.
#[derive(Debug)]
pub struct Uploads {
    /// Blocks that it asked for, in order.
    pub queue: VecDeque<Block>,
    /// The piece of which it asked for a block last, where pieces are given as a whole.
    pub piece: Option<PieceIndex>,
    /// ... and where it waits for that.
    pub lane: Lane,
    /// Pieces that came lately and that it was given or will be: it may take a while until it says that it has them.
    pub promised: BTreeSet<PieceIndex>,
    /// The piece of a broadcast that it was not given.
    pub declined: Option<PieceIndex>,
    /// It did not come when it was invited, and is not invited until then.
    pub rests: Option<Instant>,
    /// How often it comes.
    pub comes: Part,
    /// Bytes of a film that it may ask for as it was invited.
    pub credit: Credit,
    /// The bytes of a turn in a film, as it knows them.
    pub turn: u64,
    /// It waits for its turn.
    pub in_line: bool,
    /// Blocks that workers read for it.
    pub reading: SmallVec<[Block; 8]>,
    /// Requests turned down since a block last went out.
    pub turned_down: u32,
    /// Payload bytes handed to its connection and not yet taken by the network.
    pub unsent: u64,
    /// When some of that was taken, or began to wait.
    pub moved: Instant,
    /// Payload sent.
    pub rate: RateMeter,
    /// Since when it may ask and has not.
    pub unused_since: Option<Instant>,
    /// Slots that it was given and did not use.
    pub wasted_slots: u32,
}

impl Uploads {
    /// Payload that it asked for and that has not left.
    pub fn asked(&self) -> u64 {
        self.waiting() + self.queue.iter().map(|b| u64::from(b.length)).sum::<u64>()
    }

    /// Whether that is anything.
    pub fn asks(&self) -> bool {
        self.unsent > 0 || !self.reading.is_empty() || !self.queue.is_empty()
    }

    /// Takes out the next block of this piece, or if there is none and `any` will do, the first of another one. Gives it
    /// with the piece to go on with.
    pub fn next_of(&mut self, piece: PieceIndex, any: bool) -> Option<(Block, Option<PieceIndex>)> {
        let of = |queue: &VecDeque<Block>, piece| queue.iter().position(|block| block.piece == piece);
        let at = of(&self.queue, piece).or_else(|| (any && !self.queue.is_empty()).then_some(0));
        let block = at.and_then(|at| self.queue.remove(at));
        let same = block.filter(|block| of(&self.queue, block.piece).is_some());
        let more = same.or_else(|| self.queue.front().copied().filter(|_| any)).map(|block| block.piece);
        self.in_line = any && more.is_some();
        block.map(|block| (block, more))
    }

    /// Whether nothing of what waits in the connection has been taken for long: the peer does not read.
    pub fn is_stuck(&self, now: Instant) -> bool {
        now - self.moved > STUCK && self.waiting() > 0
    }

    /// Payload that is being read or waits in the connection.
    pub fn waiting(&self) -> u64 {
        self.unsent + self.reading.iter().map(|b| u64::from(b.length)).sum::<u64>()
    }
}

/// One connected peer.
#[derive(Debug)]
pub struct Peer {
    /// Where it is.
    pub addr: SocketAddr,
    /// Where others can call it, too, as far as it told.
    pub name: Option<SocketAddr>,
    /// Who called.
    pub direction: Direction,
    /// What its handshake said.
    pub hello: Hello,
    /// Client name of the extension handshake, a stranger's text.
    pub client: Option<String>,
    /// The pieces that it has.
    pub has: Bitfield,
    /// It has said which pieces it has (only allowed as the first message).
    pub spoken: bool,
    /// It will not answer our requests.
    pub choking_us: bool,
    /// It wants something from us.
    pub interested_in_us: bool,
    /// We do not answer its requests.
    pub choked: bool,
    /// What it says of a live broadcast.
    pub live: PeerLive,
    /// What it says in `sw_g2g`.
    pub g2g: PeerG2g,
    /// To whom it gives.
    pub forwarding: Forwarding,
    /// It knows that we want something.
    pub interesting: bool,
    /// Pieces that it gives even while choking.
    pub allowed_fast: SmallVec<[PieceIndex; 8]>,
    /// Pieces of which it refused or withheld a block, and until when they are not asked from it.
    refused: SmallVec<[(PieceIndex, Instant); 4]>,
    /// Pieces of a broadcast to which it invited us, and until when.
    invited: SmallVec<[(PieceIndex, Instant); 4]>,
    /// It had nothing to be asked for when so many pieces had been opened (`Pieces::opened`) and it had so many.
    pub futile: Option<(u64, u32)>,
    /// It has too much to send; until then it is asked for nothing that others have.
    busy: Option<Instant>,
    /// Our requests.
    pub pipeline: Pipeline,
    /// Its requests.
    pub uploads: Uploads,
    /// Payload received.
    pub given: RateMeter,
    /// Blocks that nobody had asked for, less one for each that somebody had.
    pub useless: u32,
    /// It gave at least one block, or took one.
    pub of_use: bool,
    /// When it came.
    pub since: Instant,
    /// When we last sent anything, for keep-alives.
    pub last_sent: Instant,
    /// When it last said anything.
    pub last_heard: Instant,
}

impl Peer {
    /// A peer that has just shaken hands.
    pub fn new(
        now: Instant,
        addr: SocketAddr,
        direction: Direction,
        hello: Hello,
        geometry: &Geometry,
    ) -> Self {
        Self {
            addr,
            name: None,
            direction,
            hello,
            client: None,
            has: Bitfield::empty(geometry),
            spoken: false,
            choking_us: true,
            interested_in_us: false,
            choked: true,
            interesting: false,
            live: PeerLive::default(),
            g2g: PeerG2g::default(),
            forwarding: Forwarding::default(),
            allowed_fast: SmallVec::new(),
            refused: SmallVec::new(),
            futile: None,
            busy: None,
            invited: SmallVec::new(),
            pipeline: Pipeline::default(),
            uploads: Uploads {
                queue: VecDeque::new(),
                piece: None,
                lane: Lane::default(),
                promised: BTreeSet::new(),
                declined: None,
                rests: None,
                comes: Part::default(),
                credit: Credit::default(),
                turn: LONGEST_TURN,
                in_line: false,
                reading: SmallVec::new(),
                turned_down: 0,
                unsent: 0,
                moved: now,
                rate: RateMeter::new(RANK_WINDOW),
                unused_since: None,
                wasted_slots: 0,
            },
            given: RateMeter::new(RANK_WINDOW),
            useless: 0,
            of_use: false,
            since: now,
            last_sent: now,
            last_heard: now,
        }
    }

    /// Whether it lacks this piece, and is not to get it from us.
    pub fn lacks(&self, piece: PieceIndex) -> bool {
        !self.has.has(piece) && !self.uploads.promised.contains(&piece)
    }

    /// Whether this piece may be asked from it now.
    #[inline]
    pub fn serves(&self, piece: PieceIndex) -> bool {
        self.has.has(piece)
            && (!self.choking_us || self.allowed_fast.contains(&piece))
            && !self.refused.iter().any(|(refused, _)| *refused == piece)
    }

    /// It refused a block of this piece: it will again, if asked at once.
    pub fn refuses(&mut self, now: Instant, piece: PieceIndex) {
        self.allowed_fast.retain(|allowed| *allowed != piece);
        self.avoid(piece, now + REFUSAL);
    }

    /// It has too much to send, of a broadcast: nothing is asked from it for a moment.
    pub fn is_swamped(&mut self, now: Instant, piece: PieceIndex) {
        self.busy = Some(now + BUSY);
        self.refuses(now, piece);
    }

    /// It invites us to a piece of a broadcast, and gives what it had no room for before, too.
    pub fn invites(&mut self, now: Instant, piece: PieceIndex) {
        self.refused.retain(|(_, until)| *until > now + REFUSAL);
        if self.invited.len() >= MAX_INVITED {
            self.invited.remove(0);
        }
        self.invited.push((piece, now + INVITED));
    }

    /// The pieces to which it invited us; any other will do as well.
    pub fn invitations(&self) -> impl Iterator<Item = PieceIndex> {
        self.invited.iter().map(|(piece, _)| *piece)
    }

    /// It is asked for a piece: one invitation is used up.
    pub fn accepts(&mut self, piece: PieceIndex) {
        if !self.invited.is_empty() {
            let at = self.invited.iter().position(|(invited, _)| *invited == piece).unwrap_or(0);
            self.invited.remove(at);
        }
    }

    /// There is nothing that it could be asked for: its invitations are of no use.
    pub fn accepts_no_more(&mut self) {
        self.invited.clear();
    }

    /// Whether it said that it has too much to send.
    pub const fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// It answers, but passed over a block of this piece: somebody else is to give it.
    pub fn withholds(&mut self, now: Instant, piece: PieceIndex) {
        self.avoid(piece, now + WITHHOLDING);
    }

    fn avoid(&mut self, piece: PieceIndex, until: Instant) {
        if self.refused.iter().any(|(refused, _)| *refused == piece) {
            return;
        }
        if self.refused.len() >= MAX_REFUSED {
            self.refused.remove(0);
        }
        self.refused.push((piece, until));
    }

    /// Refusals of a while ago do not count any more.
    pub fn forgive(&mut self, now: Instant) {
        self.refused.retain(|(_, until)| now < *until);
        self.busy = self.busy.filter(|until| now < *until);
        self.invited.retain(|(_, until)| now < *until);
    }

    /// Nothing is to be [forgiven](Self::forgive) before then, nor sooner than [`soonest`] from now.
    pub fn forgives_at(&self) -> Instant {
        let until = self.refused.iter().chain(&self.invited).map(|(_, until)| *until).chain(self.busy);
        until.min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// How many blocks more may be asked from it now.
    pub fn room(&self, now: Instant) -> u32 {
        let (turn, most) = (self.g2g.turn(now), self.pipeline.most());
        match () {
            () if !self.g2g.trades() => self.pipeline.room(now),
            () if turn > 0 => u32::try_from(turn.div_ceil(u64::from(BLOCK_LENGTH))).unwrap_or(most).min(most),
            () if self.is_busy() => 0,
            () => self.pipeline.room(now),
        }
    }

    /// Whether it may be looked at for new requests.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.interesting && self.serves_anything() && self.room(now) > 0
    }

    /// Whether anything may be asked from it now.
    pub fn serves_anything(&self) -> bool {
        !self.choking_us || !self.allowed_fast.is_empty()
    }

    /// It gives this piece even while choking (BEP 6).
    pub fn allow(&mut self, piece: PieceIndex) {
        if self.allowed_fast.len() < MAX_ALLOWED_FAST && !self.allowed_fast.contains(&piece) {
            self.allowed_fast.push(piece);
        }
    }

    /// Its figures.
    pub fn stats(&self, now: Instant) -> PeerStats {
        PeerStats {
            addr: self.addr,
            client: self.client.clone(),
            pieces: self.has.count(),
            download_rate: self.given.rate(now),
            upload_rate: self.uploads.rate.rate(now),
            choking: self.choking_us,
            choked: self.choked,
            requests: self.pipeline.len(),
        }
    }
}
