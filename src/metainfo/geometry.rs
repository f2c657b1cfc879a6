//! How the bytes of a torrent are cut: pieces (unit of verification) and blocks (unit of request), BEP 3.
//!
//! Invariant: a [`PieceIndex`] or [`Block`] can only be made by the [`Geometry`] that checked it, so the rest
//! of the engine never meets an index out of range. Files are cut out of the same byte space by
//! [`layout`](super::layout).
//!
//! A live broadcast goes round in a ring of slots ([`Geometry::live`]): its pieces are numbered without end, and the
//! wire, the tables and the disk know them by their slot. A film has one slot a piece.

use std::fmt;
use std::ops::Range;

/// Bytes asked for in one request (BEP 3: 2^14; larger ones are refused by many clients).
pub const BLOCK_LENGTH: u32 = 16 * 1024;
/// Longest request of a stranger that we answer.
pub const MAX_REQUEST_LENGTH: u32 = 128 * 1024;
/// Smallest and largest piece length that we take from a torrent.
pub const PIECE_LENGTHS: std::ops::RangeInclusive<u32> = 1..=128 * 1024 * 1024;
/// Most pieces that we take from a torrent; bounds every per-piece table (2^21 pieces of 16 KiB are 32 GiB,
/// of 4 MiB 8 TiB).
pub const MAX_PIECES: u32 = 1 << 21;

/// A piece of this torrent: `0..geometry.pieces()`. Ordered as the pieces follow each other.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex {
    number: u32,
    slot: u32,
}

impl PieceIndex {
    /// Its number: of a live broadcast the sequence number, which is never used again.
    pub const fn number(self) -> u32 {
        self.number
    }

    /// The index as the wire writes it.
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// The index into a per-piece table.
    pub const fn index(self) -> usize {
        self.slot as usize
    }

    /// The piece of the same slot in the first round, which is where it lies on disk.
    #[must_use]
    pub const fn in_first_round(self) -> Self {
        Self { number: self.slot, slot: self.slot }
    }
}

impl fmt::Debug for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.number)
    }
}

impl fmt::Display for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

/// A run of bytes inside one piece that exists in this torrent.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Block {
    /// The piece it lies in.
    pub piece: PieceIndex,
    /// Offset of its first byte inside the piece.
    pub begin: u32,
    /// Bytes, at least 1.
    pub length: u32,
}

/// Why a torrent cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// `piece length` outside [`PIECE_LENGTHS`].
    #[error("piece length {0} is outside {min}..={max}", min = PIECE_LENGTHS.start(), max = PIECE_LENGTHS.end())]
    PieceLength(u64),
    /// Nothing in it.
    #[error("the torrent is empty")]
    Empty,
    /// More than [`MAX_PIECES`].
    #[error("{0} pieces are more than {MAX_PIECES}")]
    Pieces(u64),
}

/// The cut of one torrent. Small and copied freely.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    piece_length: u32,
    total: u64,
    pieces: u32,
    slots: u32,
}

impl Geometry {
    /// Cuts `total` bytes into pieces of `piece_length`; the last one may be shorter.
    ///
    /// # Errors
    /// When the piece length or the number of pieces is outside the limits, or there is nothing to cut.
    pub fn new(piece_length: u64, total: u64) -> Result<Self, GeometryError> {
        let length = u32::try_from(piece_length).ok().filter(|l| PIECE_LENGTHS.contains(l));
        let piece_length = length.ok_or(GeometryError::PieceLength(piece_length))?;
        if total == 0 {
            return Err(GeometryError::Empty);
        }
        let pieces = total.div_ceil(u64::from(piece_length));
        match u32::try_from(pieces) {
            Ok(pieces) if pieces <= MAX_PIECES => Ok(Self { piece_length, total, pieces, slots: pieces }),
            _ => Err(GeometryError::Pieces(pieces)),
        }
    }

    /// Pieces without end, in a ring of as many slots as this geometry has pieces (all of full length).
    #[must_use]
    pub const fn live(&self) -> Self {
        let total = u32::MAX as u64 * self.piece_length as u64;
        Self { total, pieces: u32::MAX, ..*self }
    }

    /// Nominal bytes in a piece.
    pub const fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Bytes in all.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Number of pieces, at least 1.
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Number of slots: entries of a per-piece table.
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// The piece with this number, if there is one.
    pub const fn piece(&self, number: u32) -> Option<PieceIndex> {
        if number < self.pieces { Some(self.numbered(number)) } else { None }
    }

    /// All pieces in order. (Of a film: those of a live broadcast have no end.)
    pub fn all(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        self.run(0..self.pieces)
    }

    /// The pieces of a run of numbers; those that do not exist are left out.
    pub fn run(&self, numbers: Range<u32>) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        let geometry = *self;
        (numbers.start..numbers.end.min(self.pieces)).map(move |number| geometry.numbered(number))
    }

    /// The slots of a run of numbers, in one or two ranges; a run longer than the ring has all of them.
    pub fn slots_of(&self, numbers: Range<u32>) -> [Range<u32>; 2] {
        let slots = self.slots;
        let length = numbers.end.saturating_sub(numbers.start);
        if length >= slots {
            return [0..slots, 0..0];
        }
        let start = numbers.start % slots;
        let first = length.min(slots - start);
        [start..start + first, 0..length - first]
    }

    /// Whether its pieces have no end.
    pub const fn is_live(&self) -> bool {
        self.pieces > self.slots
    }

    const fn numbered(&self, number: u32) -> PieceIndex {
        let slot = if number < self.slots { number } else { number % self.slots };
        PieceIndex { number, slot }
    }

    /// The piece that holds this byte of the torrent.
    pub fn piece_at(&self, byte: u64) -> Option<PieceIndex> {
        (byte < self.total).then(|| self.numbered(self.index_of(byte)))
    }

    /// The pieces that overlap a range of bytes, in order; what lies beyond the end is ignored.
    pub fn pieces_in(&self, bytes: &Range<u64>) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        self.run(self.span(bytes))
    }

    /// The numbers of the pieces that overlap a range of bytes.
    pub fn span(&self, bytes: &Range<u64>) -> Range<u32> {
        let (start, end) = (bytes.start.min(self.total), bytes.end.min(self.total));
        if start < end { self.index_of(start)..self.index_of(end - 1) + 1 } else { 0..0 }
    }

    /// Bytes in this piece.
    pub const fn piece_size(&self, piece: PieceIndex) -> u32 {
        let left = self.total - piece.number as u64 * self.piece_length as u64;
        if left < self.piece_length as u64 { left as u32 } else { self.piece_length }
    }

    /// Where this piece lies in the torrent.
    pub fn piece_range(&self, piece: PieceIndex) -> Range<u64> {
        let start = u64::from(piece.number) * u64::from(self.piece_length);
        start..start + u64::from(self.piece_size(piece))
    }

    /// Blocks of [`BLOCK_LENGTH`] in this piece, at least 1.
    pub const fn blocks(&self, piece: PieceIndex) -> u32 {
        self.piece_size(piece).div_ceil(BLOCK_LENGTH)
    }

    /// The `number`th block of a piece.
    pub fn block(&self, piece: PieceIndex, number: u32) -> Option<Block> {
        let (size, begin) = (self.piece_size(piece), number.checked_mul(BLOCK_LENGTH)?);
        (begin < size).then(|| Block { piece, begin, length: BLOCK_LENGTH.min(size - begin) })
    }

    /// Checks a stranger's request: inside its piece, not empty, not longer than [`MAX_REQUEST_LENGTH`].
    pub fn request(&self, piece: PieceIndex, begin: u32, length: u32) -> Option<Block> {
        let fits = begin.checked_add(length)? <= self.piece_size(piece);
        (fits && (1..=MAX_REQUEST_LENGTH).contains(&length)).then_some(Block { piece, begin, length })
    }

    /// Where a block lies in the torrent.
    pub fn block_range(&self, block: Block) -> Range<u64> {
        let start = u64::from(block.piece.number) * u64::from(self.piece_length) + u64::from(block.begin);
        start..start + u64::from(block.length)
    }

    fn index_of(&self, byte: u64) -> u32 {
        u32::try_from(byte / u64::from(self.piece_length)).expect("byte < total, so the index is < pieces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_are_named_in_the_errors() {
        assert_eq!(Geometry::new(0, 5), Err(GeometryError::PieceLength(0)));
        assert_eq!(Geometry::new(1 << 40, 5), Err(GeometryError::PieceLength(1 << 40)));
        assert_eq!(Geometry::new(16384, 0), Err(GeometryError::Empty));
        assert_eq!(
            Geometry::new(1, u64::from(MAX_PIECES) + 1),
            Err(GeometryError::Pieces(1 + u64::from(MAX_PIECES)))
        );
    }

    #[test]
    fn a_request_must_lie_inside_its_piece() {
        let g = Geometry::new(32768, 40000).unwrap();
        let [first, last] = [0, 1].map(|n| g.piece(n).unwrap());
        assert_eq!(g.piece(2), None);
        assert!(g.request(first, 16384, 16384).is_some());
        assert!(g.request(last, 0, 40000 - 32768).is_some());
        for (piece, begin, length) in
            [(first, 32768, 1), (last, 0, 7233), (first, 0, 0), (first, u32::MAX, 2), (first, 0, u32::MAX)]
        {
            assert_eq!(g.request(piece, begin, length), None, "{piece} {begin} {length}");
        }
    }

    #[test]
    fn a_live_broadcast_goes_round_in_its_slots() {
        let film = Geometry::new(32768, 10 * 32768).unwrap();
        let live = film.live();
        assert_eq!((live.slots(), live.piece_length()), (10, 32768));
        let piece = live.piece(25).unwrap();
        assert_eq!((piece.number(), piece.slot(), piece.index()), (25, 5, 5));
        assert_eq!(live.piece_range(piece), 25 * 32768..26 * 32768);
        assert_eq!(live.piece_at(25 * 32768 + 7), Some(piece));
        assert_eq!(Some(piece.in_first_round()), film.piece(5));
        assert!(piece > live.piece(16).unwrap(), "ordered by number, not by slot");
        let last = live.piece(u32::MAX - 1).unwrap();
        assert_eq!((live.piece_size(last), live.blocks(last)), (32768, 2));
        assert_eq!(live.piece(u32::MAX), None);
        assert_eq!(live.slots_of(8..13), [8..10, 0..3]);
        assert_eq!(live.slots_of(11..14), [1..4, 0..0]);
        assert_eq!(live.slots_of(3..40), [0..10, 0..0]);
    }

    proptest! {
        #[test]
        fn blocks_cover_every_piece_and_pieces_every_byte(length in 1u64..200_000, total in 1u64..2_000_000) {
            prop_assume!(total.div_ceil(length) < 5_000);
            let g = Geometry::new(length, total).unwrap();
            let mut next = 0;
            for piece in g.all() {
                prop_assert_eq!(g.piece_range(piece).start, next);
                for n in 0..g.blocks(piece) {
                    let range = g.block_range(g.block(piece, n).unwrap());
                    prop_assert_eq!(range.start, next);
                    prop_assert_eq!(g.piece_at(range.start), Some(piece));
                    next = range.end;
                }
                prop_assert_eq!(g.block(piece, g.blocks(piece)), None);
            }
            prop_assert_eq!(next, total);
            prop_assert_eq!(g.piece_at(total), None);
        }

        #[test]
        fn pieces_in_a_range_are_those_that_overlap_it(length in 1u64..1000, total in 1u64..100_000, a in 0u64..120_000, b in 0u64..120_000) {
            let g = Geometry::new(length, total).unwrap();
            let range = a.min(b)..a.max(b);
            let expected: Vec<_> = g.all().filter(|p| {
                let r = g.piece_range(*p);
                r.start < range.end && range.start < r.end && !range.is_empty()
            }).collect();
            prop_assert_eq!(g.pieces_in(&range).collect::<Vec<_>>(), expected);
        }
    }
}
