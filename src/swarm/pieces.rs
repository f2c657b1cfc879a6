//! What every piece is doing: missing, being fetched, being verified, or there.
//!
//! Invariant: a piece is in exactly one [`Status`]; it has a [`Partial`] exactly while it is `Fetching` or
//! `Verifying`; `busy`, `doubled`, `idle` and `begun` are sums over all partials.
//! Availability counts the connected peers that have a piece; peers with everything are counted once, in
//! `seeds`, so that a seed's arrival costs nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::PeerKey;
use super::partial::{Arrival, Partial};
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{BLOCK_LENGTH, Block, Geometry, PieceIndex};

/// Where a piece stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing of it is here or asked for.
    Missing,
    /// Some blocks are asked for or received.
    Fetching,
    /// All blocks are here; a worker looks at them.
    Verifying,
    /// Verified (and written).
    Have,
}

/// The table of all pieces.
#[derive(Debug)]
pub struct Pieces {
    geometry: Geometry,
    /// The pieces that exist: all of a film, the window of a live broadcast.
    exist: Range<u32>,
    have: Bitfield,
    status: Vec<Status>,
    /// Those that have blocks which are neither here nor asked for.
    open: Bitfield,
    /// How often one has become so.
    opened: u64,
    /// What somebody wants: a reader's file, or everything.
    wanted: Bitfield,
    partials: BTreeMap<PieceIndex, Partial>,
    availability: Vec<u16>,
    seeds: u16,
    /// Bytes wanted and not verified.
    left: u64,
    have_bytes: u64,
    /// Blocks asked for or received, of all pieces under way.
    busy: usize,
    /// Blocks asked from more than one peer.
    doubled: usize,
    /// Blocks in pieces for which nobody is asked any more.
    idle: usize,
    /// Pieces that have blocks with nobody.
    begun: usize,
}

impl Pieces {
    /// A table in which `have` is there already and nothing is wanted yet.
    pub fn new(geometry: Geometry, have: Bitfield) -> Self {
        let exist = 0..if geometry.is_live() { 0 } else { geometry.pieces() };
        let slots = geometry.slots() as usize;
        let mut status = vec![Status::Missing; slots];
        let mut open = Bitfield::full(&geometry);
        let mut have_bytes = 0;
        for piece in geometry.run(exist.clone()).filter(|p| have.has(*p)) {
            status[piece.index()] = Status::Have;
            open.remove(piece);
            have_bytes += u64::from(geometry.piece_size(piece));
        }
        let (wanted, availability) = (Bitfield::empty(&geometry), vec![0; slots]);
        Self {
            geometry,
            exist,
            have,
            status,
            open,
            opened: 0,
            wanted,
            partials: BTreeMap::new(),
            availability,
            seeds: 0,
            left: 0,
            have_bytes,
            busy: 0,
            doubled: 0,
            idle: 0,
            begun: 0,
        }
    }

    /// The cut of the torrent.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The numbers of the pieces that exist.
    pub fn exist(&self) -> Range<u32> {
        self.exist.clone()
    }

    /// A live broadcast's older pieces are gone. (They have been [discarded](Self::discard).)
    pub fn exists_from(&mut self, number: u32) {
        self.exist = self.exist.start.max(number)..self.exist.end.max(number);
    }

    /// A live broadcast has pieces up to here.
    pub fn exists_to(&mut self, end: u32) {
        self.exist.end = self.exist.end.max(end);
    }

    /// Number of the first verified piece.
    pub fn first_held(&self) -> Option<u32> {
        self.all().find(|p| self.have.has(*p)).map(PieceIndex::number)
    }

    /// The pieces that exist, in order.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        self.geometry.run(self.exist.clone())
    }

    /// The verified pieces.
    pub const fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Verified bytes.
    pub const fn have_bytes(&self) -> u64 {
        self.have_bytes
    }

    /// Bytes wanted and not verified.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Where a piece stands.
    pub fn status(&self, piece: PieceIndex) -> Status {
        self.status[piece.index()]
    }

    /// Whether somebody wants it and it is not there yet.
    pub fn is_needed(&self, piece: PieceIndex) -> bool {
        self.wanted.has(piece) && !self.have.has(piece)
    }

    /// Wants these pieces from now on.
    pub fn want(&mut self, pieces: impl Iterator<Item = PieceIndex>) {
        for piece in pieces {
            if self.wanted.insert(piece) && !self.have.has(piece) {
                self.left += u64::from(self.geometry.piece_size(piece));
            }
        }
    }

    /// Does not want these pieces any more; what is under way may still arrive.
    pub fn unwant(&mut self, pieces: impl Iterator<Item = PieceIndex>) {
        for piece in pieces {
            if self.wanted.remove(piece) && !self.have.has(piece) {
                self.left -= u64::from(self.geometry.piece_size(piece));
            }
        }
    }

    /// Whether a peer with these pieces has one that is wanted and not there.
    pub fn needs_any_of(&self, has: &Bitfield) -> bool {
        self.left > 0 && has.has_any(&self.wanted, &self.have)
    }

    /// Bytes of a range of the torrent that are not verified.
    pub fn missing_in(&self, bytes: &std::ops::Range<u64>) -> u64 {
        let run = self.geometry.span(bytes);
        let mut pieces = self.geometry.run(run.start.max(self.exist.start)..run.end.min(self.exist.end));
        let Some(first) = pieces.next() else { return 0 };
        let last = pieces.next_back().unwrap_or(first);
        let inside = |piece: PieceIndex| {
            let range = self.geometry.piece_range(piece);
            range.end.min(bytes.end).saturating_sub(range.start.max(bytes.start))
        };
        let ends = [Some(first), Some(last).filter(|l| *l != first)];
        let at_ends: u64 = ends.into_iter().flatten().filter(|p| !self.have.has(*p)).map(inside).sum();
        let between = (first.number() + 1).min(last.number())..last.number();
        let there = self.geometry.slots_of(between.clone()).map(|run| self.have.count_in(run));
        let missing = between.len() as u64 - u64::from(there[0] + there[1]);
        at_ends + missing * u64::from(self.geometry.piece_length())
    }

    /// Bytes of a piece that have not come yet.
    pub fn lacking(&self, piece: PieceIndex) -> u64 {
        let size = u64::from(self.geometry.piece_size(piece));
        let received = self.partials.get(&piece).map_or(0, |p| u64::from(p.received()));
        if self.have.has(piece) { 0 } else { size.saturating_sub(received * u64::from(BLOCK_LENGTH)) }
    }

    /// Whether all bytes of a range are verified.
    pub fn has_all(&self, bytes: &std::ops::Range<u64>) -> bool {
        self.geometry.pieces_in(bytes).all(|p| self.have.has(p))
    }

    /// Who was asked for a block that is not here.
    pub fn asked(&self, block: Block) -> &[PeerKey] {
        self.partials.get(&block.piece).map(|p| p.asked(number(block))).unwrap_or_default()
    }

    /// Blocks that more than one peer was asked for and none has given.
    pub const fn doubled(&self) -> usize {
        self.doubled
    }

    /// The pieces under way, in order.
    pub fn under_way(&self) -> impl Iterator<Item = PieceIndex> {
        self.partials.keys().copied()
    }

    /// All pieces under way that still have blocks with nobody, in order.
    pub fn open_partials(&self) -> impl Iterator<Item = (PieceIndex, &Partial)> {
        self.partials.iter().filter(|(_, p)| p.free() > 0).map(|(i, p)| (*i, p))
    }

    /// Whether there are any of those.
    pub const fn has_open_partials(&self) -> bool {
        self.begun > 0
    }

    /// Blocks asked for or received and not verified yet: what is in flight, in blocks.
    pub const fn busy(&self) -> usize {
        self.busy
    }

    /// Whether the piece has blocks that are neither here nor asked for.
    pub fn has_unasked(&self, piece: PieceIndex) -> bool {
        self.open.has(piece)
    }

    /// Changes when there are more pieces than before of which a block is neither here nor asked for.
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    /// Whether a peer with these pieces has one of which a block is neither here nor asked for, wanted or not.
    pub fn has_unasked_of(&self, has: &Bitfield) -> bool {
        has.has_one_of(&self.open)
    }

    /// Whether a block of this piece can be asked from this peer.
    pub fn is_open_to(&self, piece: PieceIndex, peer: PeerKey) -> bool {
        match self.status(piece) {
            Status::Missing => true,
            Status::Fetching => self.partials.get(&piece).is_some_and(|p| p.is_open_to(peer)),
            Status::Verifying | Status::Have => false,
        }
    }

    /// Takes the first free block of a piece for a peer. The piece becomes `Fetching`.
    pub fn take(&mut self, piece: PieceIndex, peer: PeerKey) -> Option<Block> {
        if !self.is_open_to(piece, peer) {
            return None;
        }
        // A live piece is one peer's from the first block on: if it is bad, nobody else can be to blame.
        self.begin(piece, self.geometry.is_live().then_some(peer));
        self.set_status(piece, Status::Fetching);
        let number = self.change(piece, |p| p.take(peer))??;
        self.geometry.block(piece, number)
    }

    /// Asks one more peer for a block that somebody was asked for already; `false` when that makes no sense.
    pub fn take_again(&mut self, block: Block, peer: PeerKey) -> bool {
        self.change(block.piece, |p| p.take_again(number(block), peer)).unwrap_or(false)
    }

    /// The peer will not deliver this block: it becomes free unless another was asked too.
    /// Gives `true` when it became free.
    pub fn release(&mut self, block: Block, peer: PeerKey) -> bool {
        let free = self.change(block.piece, |p| p.release(number(block), peer)).unwrap_or(false);
        let anybodys = |p: &Partial| p.only.is_none() || self.geometry.is_live();
        if self.partials.get(&block.piece).is_some_and(|p| p.busy() == 0 && anybodys(p)) {
            self.forget(block.piece);
        }
        free
    }

    /// A block arrived. `others` gets the peers that were asked for the same one.
    pub fn receive(
        &mut self,
        block: Block,
        from: (PeerKey, IpAddr),
        data: Bytes,
        others: &mut SmallVec<[PeerKey; 1]>,
    ) -> Arrival {
        if self.status(block.piece) == Status::Missing && self.is_needed(block.piece) {
            // Given up with all others of its piece, and here after all.
            self.begin(block.piece, self.geometry.is_live().then_some(from.0));
            self.set_status(block.piece, Status::Fetching);
        }
        let arrival = self.change(block.piece, |p| p.receive(number(block), from, data, others));
        if arrival == Some(Arrival::Complete) {
            self.set_status(block.piece, Status::Verifying);
        }
        arrival.unwrap_or(Arrival::Useless)
    }

    /// The blocks of a complete piece, in order.
    pub fn blocks(&self, piece: PieceIndex) -> Vec<Bytes> {
        let partial = self.partials.get(&piece);
        partial.map(|p| p.givers().map(|(_, data)| data.clone()).collect()).unwrap_or_default()
    }

    /// The piece is good. Gives back what it was made of.
    pub fn verified(&mut self, piece: PieceIndex) -> Option<Partial> {
        let partial = self.remove_partial(piece);
        self.set_status(piece, Status::Have);
        if self.have.insert(piece) {
            let size = u64::from(self.geometry.piece_size(piece));
            self.have_bytes += size;
            if self.wanted.has(piece) {
                self.left -= size;
            }
        }
        partial
    }

    /// The piece is bad, or could not be written: it is missing again. Gives back what it was made of.
    pub fn failed(&mut self, piece: PieceIndex) -> Option<Partial> {
        self.set_status(piece, Status::Missing);
        self.remove_partial(piece)
    }

    /// The piece's bytes are no longer kept.
    pub fn discard(&mut self, piece: PieceIndex) {
        if self.have.remove(piece) {
            self.set_status(piece, Status::Missing);
            let size = u64::from(self.geometry.piece_size(piece));
            self.have_bytes -= size;
            if self.wanted.has(piece) {
                self.left += size;
            }
        }
    }

    /// Throws away what is under way of a piece.
    pub fn forget_partial(&mut self, piece: PieceIndex) {
        if self.partials.contains_key(&piece) {
            self.forget(piece);
        }
    }

    /// Whether some of a piece is here already.
    pub fn has_begun(&self, piece: PieceIndex) -> bool {
        self.partials.get(&piece).is_some_and(|partial| partial.givers().next().is_some())
    }

    /// The pieces that one peer alone is to give, and is not done with.
    pub fn reserved(&self) -> impl Iterator<Item = (PieceIndex, PeerKey)> {
        let fetching = |piece: &PieceIndex| self.status(*piece) == Status::Fetching;
        let partials = self.partials.iter().filter(move |(piece, _)| fetching(piece));
        partials.filter_map(|(piece, partial)| Some((*piece, partial.only?)))
    }

    /// From now on only this peer is asked for blocks of this piece.
    pub fn reserve(&mut self, piece: PieceIndex, peer: PeerKey) {
        self.begin(piece, None).only = Some(peer);
        self.set_status(piece, Status::Fetching);
    }

    /// Ends every reservation of a peer that leaves; what it gave of these pieces is thrown away, so that the
    /// next one gives all of it. Gives the pieces that are missing again.
    pub fn end_reservations(&mut self, peer: PeerKey) -> Vec<PieceIndex> {
        let fetching = |piece: PieceIndex| self.status(piece) == Status::Fetching;
        let reserved = self.partials.iter().filter(|(i, p)| p.only == Some(peer) && fetching(**i));
        let reserved: Vec<_> = reserved.map(|(i, _)| *i).collect();
        reserved.iter().for_each(|piece| self.forget(*piece));
        reserved
    }

    /// Bytes of blocks in pieces for which nobody is asked any more.
    pub fn idle_bytes(&self) -> u64 {
        self.idle as u64 * u64::from(BLOCK_LENGTH)
    }

    /// Of the pieces for which nobody is asked, throws the one away that lost least, unless `keep` wants it.
    /// Gives it with the bytes that are lost.
    pub fn drop_idle(&mut self, keep: impl Fn(PieceIndex, &Self) -> bool) -> Option<(PieceIndex, u64)> {
        let idle = self.partials.iter().filter(|(i, p)| p.is_idle() && !keep(**i, self));
        let (piece, received) = idle.map(|(i, p)| (*i, p.received())).min_by_key(|(i, r)| (*r, *i))?;
        self.forget(piece);
        Some((piece, u64::from(received) * u64::from(BLOCK_LENGTH)))
    }

    /// A peer that has these pieces came (`true`) or went.
    pub fn count_peer(&mut self, has: &Bitfield, came: bool) {
        if has.is_full() {
            self.seeds = if came { self.seeds.saturating_add(1) } else { self.seeds.saturating_sub(1) };
            return;
        }
        for piece in self.all().filter(|p| has.has(*p)) {
            let count = &mut self.availability[piece.index()];
            *count = if came { count.saturating_add(1) } else { count.saturating_sub(1) };
        }
    }

    /// A peer got one more piece, and has now everything if `full`.
    pub fn count_have(&mut self, piece: PieceIndex, has: &Bitfield) {
        self.availability[piece.index()] = self.availability[piece.index()].saturating_add(1);
        if has.is_full() {
            for piece in self.all() {
                self.availability[piece.index()] = self.availability[piece.index()].saturating_sub(1);
            }
            self.seeds = self.seeds.saturating_add(1);
        }
    }

    /// A peer lets go of a piece; it had everything if it was `full`.
    pub fn lose(&mut self, piece: PieceIndex, full: bool) {
        if full {
            self.seeds = self.seeds.saturating_sub(1);
            for piece in self.all() {
                self.availability[piece.index()] = self.availability[piece.index()].saturating_add(1);
            }
        }
        self.uncount_have(piece);
    }

    /// A peer lets go of a piece.
    pub fn uncount_have(&mut self, piece: PieceIndex) {
        self.availability[piece.index()] = self.availability[piece.index()].saturating_sub(1);
    }

    /// Connected peers that have this piece, seeds left out (they do not change the order of rarity).
    pub fn rarity(&self, piece: PieceIndex) -> u16 {
        self.availability[piece.index()]
    }

    fn forget(&mut self, piece: PieceIndex) {
        self.remove_partial(piece);
        self.set_status(piece, Status::Missing);
    }

    fn set_status(&mut self, piece: PieceIndex, status: Status) {
        self.status[piece.index()] = status;
        self.review_open(piece);
    }

    /// What is known of a piece has changed: whether it has blocks that are with nobody may have, too.
    fn review_open(&mut self, piece: PieceIndex) {
        let open = match self.status(piece) {
            Status::Missing => true,
            Status::Fetching => self.partials.get(&piece).is_some_and(|p| p.free() > 0),
            Status::Verifying | Status::Have => false,
        };
        if open {
            self.opened += u64::from(self.open.insert(piece));
        } else {
            self.open.remove(piece);
        }
    }

    /// A piece is under way from now on, if it was not.
    fn begin(&mut self, piece: PieceIndex, only: Option<PeerKey>) -> &mut Partial {
        let blocks = self.geometry.blocks(piece);
        self.partials.entry(piece).or_insert_with(|| {
            self.begun += 1;
            Partial::of(only, blocks)
        })
    }

    fn remove_partial(&mut self, piece: PieceIndex) -> Option<Partial> {
        let partial = self.partials.remove(&piece)?;
        self.busy -= partial.busy();
        self.doubled -= partial.doubled() as usize;
        self.idle -= partial.idle();
        self.begun -= usize::from(partial.free() > 0);
        Some(partial)
    }

    /// Changes a piece under way and keeps the sums over all of them.
    fn change<R>(&mut self, piece: PieceIndex, change: impl FnOnce(&mut Partial) -> R) -> Option<R> {
        let partial = self.partials.get_mut(&piece)?;
        let (busy, doubled, idle) = (partial.busy(), partial.doubled(), partial.idle());
        let begun = usize::from(partial.free() > 0);
        let result = change(partial);
        self.busy = self.busy + partial.busy() - busy;
        self.doubled = self.doubled + partial.doubled() as usize - doubled as usize;
        self.idle = self.idle + partial.idle() - idle;
        let open = partial.free() > 0;
        self.begun = self.begun + usize::from(open) - begun;
        if self.status(piece) == Status::Fetching && open != self.open.has(piece) {
            self.review_open(piece);
        }
        Some(result)
    }
}

/// A block's number in its piece.
const fn number(block: Block) -> u32 {
    block.begin / BLOCK_LENGTH
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    fn table() -> (Pieces, Vec<PeerKey>) {
        let geometry = Geometry::new(3 * u64::from(BLOCK_LENGTH), 7 * u64::from(BLOCK_LENGTH) + 5).unwrap();
        let mut keys = SlotMap::with_key();
        let peers = (0..3).map(|_| keys.insert(())).collect();
        let mut pieces = Pieces::new(geometry, Bitfield::empty(&geometry));
        pieces.want(geometry.all());
        (pieces, peers)
    }

    /// The `n`th peer with its address.
    fn from(peers: &[PeerKey], n: u8) -> (PeerKey, IpAddr) {
        (peers[usize::from(n)], IpAddr::from([10, 0, 0, n]))
    }

    fn bytes(block: Block) -> Bytes {
        Bytes::from(vec![7; block.length as usize])
    }

    #[test]
    fn a_piece_goes_from_missing_to_have() {
        let (mut pieces, peers) = table();
        let piece = pieces.geometry().piece(2).unwrap();
        let mut others = SmallVec::new();
        let first = pieces.take(piece, peers[0]).unwrap();
        let last = pieces.take(piece, peers[1]).unwrap();
        assert_eq!((first.length, last.length), (BLOCK_LENGTH, 5));
        assert_eq!(pieces.take(piece, peers[2]), None, "all blocks are taken");
        assert_eq!(pieces.receive(last, from(&peers, 1), bytes(last), &mut others), Arrival::Taken);
        assert_eq!(pieces.receive(first, from(&peers, 0), bytes(first), &mut others), Arrival::Complete);
        assert_eq!(pieces.receive(first, from(&peers, 0), bytes(first), &mut others), Arrival::Useless);
        assert_eq!(pieces.status(piece), Status::Verifying);
        let before = pieces.left();
        let made_of = pieces.verified(piece).unwrap();
        let givers: Vec<_> = made_of.givers().map(|g| g.0).collect();
        assert_eq!(givers, [from(&peers, 0).1, from(&peers, 1).1]);
        assert_eq!(before - pieces.left(), u64::from(BLOCK_LENGTH) + 5);
        assert!(pieces.have().has(piece) && others.is_empty());
    }

    #[test]
    fn a_block_asked_twice_is_free_only_when_both_gave_up() {
        let (mut pieces, peers) = table();
        let piece = pieces.geometry().piece(0).unwrap();
        let block = pieces.take(piece, peers[0]).unwrap();
        assert!(pieces.take_again(block, peers[1]) && !pieces.take_again(block, peers[1]));
        assert!(!pieces.release(block, peers[0]));
        assert_eq!(pieces.doubled(), 0);
        assert!(pieces.release(block, peers[1]));
        assert_eq!(pieces.status(piece), Status::Missing);
        let block = pieces.take(piece, peers[0]).unwrap();
        assert!(pieces.take_again(block, peers[2]));
        assert_eq!(pieces.doubled(), 1);
        let mut others = SmallVec::new();
        pieces.receive(block, from(&peers, 2), bytes(block), &mut others);
        assert_eq!((others.as_slice(), pieces.doubled()), (&peers[..1], 0));
    }

    #[test]
    fn a_reserved_piece_is_closed_to_others_and_starts_over_when_its_peer_leaves() {
        let (mut pieces, peers) = table();
        let piece = pieces.geometry().piece(0).unwrap();
        pieces.reserve(piece, peers[1]);
        assert_eq!(pieces.take(piece, peers[0]), None);
        let block = pieces.take(piece, peers[1]).unwrap();
        pieces.receive(block, from(&peers, 1), bytes(block), &mut SmallVec::new());
        assert!(!pieces.take_again(block, peers[0]));
        assert_eq!(pieces.end_reservations(peers[1]), [piece]);
        assert_eq!(pieces.status(piece), Status::Missing);
        assert_eq!(pieces.take(piece, peers[0]).map(|b| b.begin), Some(0));
    }

    #[test]
    fn what_lies_idle_can_be_dropped_and_counts_are_kept() {
        let (mut pieces, peers) = table();
        let [first, second] = [0, 1].map(|n| pieces.geometry().piece(n).unwrap());
        for (piece, received) in [(first, 2), (second, 1)] {
            for _ in 0..received {
                let block = pieces.take(piece, peers[0]).unwrap();
                pieces.receive(block, from(&peers, 0), bytes(block), &mut SmallVec::new());
            }
        }
        let asked = pieces.take(first, peers[1]).unwrap();
        assert_eq!(pieces.idle_bytes(), u64::from(BLOCK_LENGTH), "a piece that is asked for is not idle");
        assert!(pieces.release(asked, peers[1]));
        assert_eq!(pieces.drop_idle(|p, _| p == second), Some((first, 2 * u64::from(BLOCK_LENGTH))));
        assert_eq!(pieces.drop_idle(|p, _| p == second), None);
        assert_eq!((pieces.busy(), pieces.status(first)), (1, Status::Missing));
    }

    #[test]
    fn missing_bytes_of_a_range_are_counted_at_its_edges_too() {
        let (mut pieces, _) = table();
        let block = u64::from(BLOCK_LENGTH);
        assert_eq!(pieces.missing_in(&(10..7 * block + 5)), 7 * block - 5);
        assert_eq!(pieces.missing_in(&(10..20)), 10);
        pieces.verified(pieces.geometry().piece(1).unwrap());
        assert_eq!(pieces.missing_in(&(10..7 * block + 5)), 4 * block - 5);
        assert_eq!(pieces.missing_in(&(3 * block..6 * block)), 0);
        assert!(pieces.has_all(&(3 * block..6 * block)) && !pieces.has_all(&(0..4 * block)));
    }

    #[test]
    fn rarity_counts_peers_and_a_peer_that_becomes_a_seed_counts_as_one() {
        let (mut pieces, _) = table();
        let all: Vec<_> = pieces.geometry().all().collect();
        let mut has = Bitfield::empty(pieces.geometry());
        pieces.count_peer(&Bitfield::full(pieces.geometry()), true);
        pieces.count_peer(&has, true);
        for piece in &all {
            has.insert(*piece);
            pieces.count_have(*piece, &has);
        }
        assert!(all.iter().all(|p| pieces.rarity(*p) == 0));
        pieces.count_peer(&has, false);
        assert_eq!(pieces.seeds, 1);
    }
}
