//! A piece of a live broadcast: payload, zeros up to the end of the payload area, and a 128-byte *stamp*, in which
//! the source signs which piece this is, when it was captured, and the digest of the payload area.
//!
//! All of it big-endian: version 1 · flags (1 discontinuity, 2 end, 4 `rap` valid) · two zeros · u32 payload length
//! · u32 `rap` · four zeros · u64 sequence number · u64 capture time, µs since the Unix epoch · SHA-256 of the
//! payload area · ECDSA signature over the name of the format, the info-hash and everything before the signature.
//!
//! So a stamp alone proves that the source made piece `seq` of this swarm at `time`, before anyone downloads it.
//! A [`VerifiedStamp`] can only be made by checking a signature, or by signing. Whether the piece is the one that
//! was asked for (its number) is for the caller to see, and so is whether times run forward.
//!
//! In a broadcast that nobody signs there are zeros instead of the signature. One of 2008-2010 with `authmethod` `None`
//! has no stamps at all (its payload is the whole piece): none of this serves it.

use std::ops::Deref;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::metainfo::keys::SIGNATURE as SIGNATURE_LENGTH;
use crate::metainfo::signer::{Sign, Verify};
use crate::time::Duration;
use crate::wire::ids::InfoHash;
pub use crate::wire::live::STAMP_LENGTH;

/// Highest sequence number: pieces are named by 32 bits inside the engine, which last for a year at 136 pieces/s.
pub const MAX_SEQ: u64 = u32::MAX as u64;
/// What the signature is about.
const CONTEXT: &[u8] = b"swarm live piece 1";
const VERSION: u8 = 1;
/// Bytes before the signature.
const SIGNED_LENGTH: usize = STAMP_LENGTH - SIGNATURE_LENGTH;
const DISCONTINUITY: u8 = 1;
const END: u8 = 2;
const RAP_VALID: u8 = 4;

/// When something was captured, by the source's clock: µs since the Unix epoch. Only differences mean anything.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaptureTime(pub u64);

impl CaptureTime {
    /// µs since the Unix epoch.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// What the source tells of the piece as a whole.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The first piece after a restart or a gap in the input: it does not go on where the one before ended.
    pub discontinuity: bool,
    /// The last piece of the broadcast.
    pub end: bool,
}

/// What a stamp says; anybody can write one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What kind of piece it is.
    pub flags: Flags,
    /// Bytes of payload; the rest of the payload area is zero.
    pub payload_length: u32,
    /// Offset in the payload at which a decoder may start.
    pub rap: Option<u32>,
    /// Sequence number, from 0, never used again.
    pub seq: u32,
    /// When the last byte of the payload was captured.
    pub time: CaptureTime,
    /// SHA-256 of the payload area.
    pub digest: [u8; 32],
    /// The source's signature.
    pub signature: [u8; SIGNATURE_LENGTH],
}

/// A stamp that the source has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedStamp(Stamp);

/// Why some bytes are not a stamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// A piece must be longer than its stamp.
    #[error("a live piece of {0} bytes has no room for a stamp of {STAMP_LENGTH} and a payload")]
    PieceLength(u32),
    /// Of a format that we do not know.
    #[error("a stamp of version {0}, only {VERSION} is known")]
    Version(u8),
    /// Flags that we do not know.
    #[error("a stamp with flags {0:#04x}, only 1, 2 and 4 are known")]
    Flags(u8),
    /// Bytes that must be zero are not.
    #[error("a stamp whose reserved bytes are not zero")]
    Reserved,
    /// More payload than fits into the piece.
    #[error("a stamp of {length} bytes of payload, at most {most} fit")]
    Payload {
        /// Bytes of payload.
        length: u32,
        /// Bytes of the payload area.
        most: u32,
    },
    /// The random access point is not in the payload.
    #[error("a stamp with a random access point at byte {rap} of {length}")]
    Rap {
        /// The offset.
        rap: u32,
        /// Bytes of payload.
        length: u32,
    },
    /// An offset without the flag that makes it valid.
    #[error("a stamp with a random access point at byte {0} that is not marked as valid")]
    UnmarkedRap(u32),
    /// Higher than [`MAX_SEQ`].
    #[error("a stamp with sequence number {0}, the highest is {MAX_SEQ}")]
    Seq(u64),
}

/// Not signed by the source, or not for this swarm.
#[derive(Debug, Copy, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stamp of piece {0} is not signed by this broadcast's source")]
pub struct Unsigned(pub u32);

/// Why a piece is refused; the peer that sent it is banned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// Of another length than the swarm's pieces.
    #[error("a live piece of {got} bytes, {want} are due")]
    Length {
        /// Bytes that came.
        got: u64,
        /// The swarm's piece length.
        want: u32,
    },
    /// It ends with something that is no stamp.
    #[error(transparent)]
    Stamp(#[from] StampError),
    /// Its payload is not what the stamp was made for.
    #[error("the payload of piece {0} does not have the digest in its stamp")]
    Digest(u32),
    /// Its stamp is not the source's.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
}

/// Bytes in front of the stamp.
///
/// # Errors
/// When a piece of this length has no room for a stamp and a byte of payload.
pub fn payload_area(piece_length: u32) -> Result<u32, StampError> {
    let area = piece_length.checked_sub(STAMP_LENGTH as u32).filter(|area| *area > 0);
    area.ok_or(StampError::PieceLength(piece_length))
}

impl Stamp {
    /// Reads a stamp, strictly: there is one way to write it.
    ///
    /// # Errors
    /// When it says something that cannot be.
    pub fn parse(bytes: &[u8; STAMP_LENGTH], piece_length: u32) -> Result<Self, StampError> {
        let mut fields = Fields(bytes);
        let [version, bits] = fields.take();
        if version != VERSION {
            return Err(StampError::Version(version));
        }
        let known = bits & (DISCONTINUITY | END | RAP_VALID) == bits;
        let flags = known.then_some(Flags { discontinuity: bits & DISCONTINUITY != 0, end: bits & END != 0 });
        let flags = flags.ok_or(StampError::Flags(bits))?;
        fields.zeros::<2>()?;
        let (payload_length, rap) = (u32::from_be_bytes(fields.take()), u32::from_be_bytes(fields.take()));
        fields.zeros::<4>()?;
        let (seq, time) = (u64::from_be_bytes(fields.take()), u64::from_be_bytes(fields.take()));
        let seq = u32::try_from(seq).map_err(|_| StampError::Seq(seq))?;
        let rap = match (bits & RAP_VALID, rap) {
            (0, 0) => None,
            (0, rap) => return Err(StampError::UnmarkedRap(rap)),
            (_, rap) => Some(rap),
        };
        check_payload(payload_length, rap, piece_length)?;
        let (time, digest, signature) = (CaptureTime(time), fields.take(), fields.take());
        Ok(Self { flags, payload_length, rap, seq, time, digest, signature })
    }

    /// The stamp as it stands at the end of the piece.
    pub fn encode(&self) -> [u8; STAMP_LENGTH] {
        let mut out = [0; STAMP_LENGTH];
        let (signed, signature) = out.split_at_mut(SIGNED_LENGTH);
        signed.copy_from_slice(&self.signed());
        signature.copy_from_slice(&self.signature);
        out
    }

    /// Checks that the source has made it, for this swarm.
    ///
    /// # Errors
    /// When it has not.
    pub fn verify(self, info_hash: InfoHash, key: &impl Verify) -> Result<VerifiedStamp, Unsigned> {
        if !key.verify(&[CONTEXT, &info_hash.0, &self.signed()], &self.signature) {
            return Err(Unsigned(self.seq));
        }
        Ok(VerifiedStamp(self))
    }

    /// The bytes in front of the signature.
    fn signed(&self) -> [u8; SIGNED_LENGTH] {
        let bit = |on, bit| if on { bit } else { 0 };
        let mut out = [0; SIGNED_LENGTH];
        out[0] = VERSION;
        out[1] = bit(self.flags.discontinuity, DISCONTINUITY)
            | bit(self.flags.end, END)
            | bit(self.rap.is_some(), RAP_VALID);
        out[4..8].copy_from_slice(&self.payload_length.to_be_bytes());
        out[8..12].copy_from_slice(&self.rap.unwrap_or(0).to_be_bytes());
        out[16..24].copy_from_slice(&u64::from(self.seq).to_be_bytes());
        out[24..32].copy_from_slice(&self.time.0.to_be_bytes());
        out[32..].copy_from_slice(&self.digest);
        out
    }
}

impl Deref for VerifiedStamp {
    type Target = Stamp;

    fn deref(&self) -> &Stamp {
        &self.0
    }
}

fn check_payload(length: u32, rap: Option<u32>, piece_length: u32) -> Result<(), StampError> {
    let most = payload_area(piece_length)?;
    if length > most {
        return Err(StampError::Payload { length, most });
    }
    match rap.filter(|rap| *rap >= length) {
        Some(rap) => Err(StampError::Rap { rap, length }),
        None => Ok(()),
    }
}

/// What is left of a stamp to be read; its fields are taken in order, and add up to its length.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("the fields add up to the stamp's length");
        self.0 = rest;
        *field
    }

    fn zeros<const N: usize>(&mut self) -> Result<(), StampError> {
        if self.take() == [0; N] { Ok(()) } else { Err(StampError::Reserved) }
    }
}

/// Checks a whole piece: its stamp, its payload's digest, and the source's signature, the cheapest first. Its blocks
/// stay where they lie.
///
/// # Errors
/// When it is not what the source has made, byte for byte.
pub fn check_piece(
    blocks: &[Bytes],
    piece_length: u32,
    info_hash: InfoHash,
    key: &impl Verify,
) -> Result<VerifiedStamp, PieceError> {
    let got = blocks.iter().map(|block| block.len() as u64).sum();
    if got != u64::from(piece_length) {
        return Err(PieceError::Length { got, want: piece_length });
    }
    let area = payload_area(piece_length)?;
    let stamp = stamp_of(blocks, piece_length)?;
    if digest(parts(blocks, area)) != stamp.digest {
        return Err(PieceError::Digest(stamp.seq));
    }
    Ok(stamp.verify(info_hash, key)?)
}

/// The stamp of a piece that was checked before.
///
/// # Errors
/// When there is none at its end.
pub fn stamp_of(blocks: &[Bytes], piece_length: u32) -> Result<Stamp, StampError> {
    Stamp::parse(&tail(blocks), piece_length)
}

/// The last bytes of a piece, which may lie in several blocks; zeros in front when there are too few.
fn tail(blocks: &[Bytes]) -> [u8; STAMP_LENGTH] {
    let mut out = [0; STAMP_LENGTH];
    let mut missing = STAMP_LENGTH;
    for block in blocks.iter().rev() {
        let taken = missing.min(block.len());
        out[missing - taken..missing].copy_from_slice(&block[block.len() - taken..]);
        missing -= taken;
    }
    out
}

/// The slices of a piece's blocks up to an offset.
fn parts(blocks: &[Bytes], length: u32) -> impl Iterator<Item = &[u8]> {
    let parts = blocks.iter().scan(length as usize, |left, block| {
        let part = &block[..block.len().min(*left)];
        *left -= part.len();
        Some(part)
    });
    parts.filter(|part| !part.is_empty())
}

fn digest<'a>(parts: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    parts.fold(Sha256::new(), |sha, part| sha.chain_update(part)).finalize().into()
}

/// The payload of a piece: slices of its blocks, not copies. Fewer bytes when the blocks hold fewer.
pub fn payload_of(blocks: &[Bytes], payload_length: u32) -> Vec<Bytes> {
    let lengths = parts(blocks, payload_length).map(<[u8]>::len);
    let blocks = blocks.iter().filter(|block| !block.is_empty());
    blocks.zip(lengths).map(|(block, length)| block.slice(..length)).collect()
}

/// What the source knows of a piece before it is sealed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What kind of piece it is.
    pub flags: Flags,
    /// Offset in the payload at which a decoder may start.
    pub rap: Option<u32>,
    /// Its number, never used before.
    pub seq: u32,
    /// When the last byte of its payload was captured.
    pub time: CaptureTime,
}

/// Makes a piece: the payload, zeros, and the signed stamp.
///
/// # Errors
/// When the payload does not fit, or the random access point is not in it.
pub fn seal(
    draft: Draft,
    payload: &[Bytes],
    piece_length: u32,
    info_hash: InfoHash,
    key: &impl Sign,
) -> Result<(Bytes, VerifiedStamp), StampError> {
    let area = payload_area(piece_length)? as usize;
    let length: usize = payload.iter().map(Bytes::len).sum();
    let payload_length = u32::try_from(length).unwrap_or(u32::MAX);
    check_payload(payload_length, draft.rap, piece_length)?;
    let mut piece = Vec::with_capacity(piece_length as usize);
    payload.iter().for_each(|part| piece.extend_from_slice(part));
    piece.resize(area, 0);
    let Draft { flags, rap, seq, time } = draft;
    let digest = Sha256::digest(&piece).into();
    let signature = [0; SIGNATURE_LENGTH];
    let mut stamp = Stamp { flags, payload_length, rap, seq, time, digest, signature };
    stamp.signature = key.sign(&[CONTEXT, &info_hash.0, &stamp.signed()]);
    piece.extend_from_slice(&stamp.encode());
    Ok((piece.into(), VerifiedStamp(stamp)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::metainfo::keys::tests::{flipped as high_s, key};
    use crate::metainfo::signer::Signer;
    use crate::metainfo::tstream::Auth;
    use proptest::prelude::*;

    const LENGTH: u32 = 32 * 1024;
    const SWARM: InfoHash = InfoHash([7; 20]);
    const DRAFT: Draft =
        Draft { flags: Flags { discontinuity: false, end: false }, rap: None, seq: 5, time: CaptureTime(9) };

    /// A stamp as the source would have made it: `seq`, the time in ms, bytes of payload.
    pub fn stamp(seq: u32, ms: u64, payload_length: u32) -> VerifiedStamp {
        let (time, flags) = (CaptureTime(ms * 1_000), Flags::default());
        let (digest, signature) = ([0; 32], [0; SIGNATURE_LENGTH]);
        VerifiedStamp(Stamp { flags, payload_length, rap: None, seq, time, digest, signature })
    }

    /// The same one, as the first after a gap.
    pub fn after_a_gap(stamp: VerifiedStamp) -> VerifiedStamp {
        VerifiedStamp(Stamp { flags: Flags { discontinuity: true, end: false }, ..stamp.0 })
    }

    fn text(length: usize) -> Bytes {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    fn sealed(draft: Draft, payload: &Bytes) -> Bytes {
        seal(draft, std::slice::from_ref(payload), LENGTH, SWARM, &key(1)).unwrap().0
    }

    fn check(piece: &[Bytes]) -> Result<VerifiedStamp, PieceError> {
        check_piece(piece, LENGTH, SWARM, &key(1).verifying_key())
    }

    /// Cuts a piece at some offsets.
    fn cut(piece: &Bytes, mut at: Vec<usize>) -> Vec<Bytes> {
        at.extend([0, piece.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| piece.slice(pair[0]..pair[1])).collect()
    }

    /// A stamp with one byte changed.
    fn changed(at: usize, byte: u8) -> Result<Stamp, StampError> {
        let piece = sealed(Draft { rap: Some(188), ..DRAFT }, &text(1_000));
        let mut bytes = *piece.last_chunk().unwrap();
        bytes[at] = byte;
        Stamp::parse(&bytes, LENGTH)
    }

    #[test]
    fn a_stamp_stands_at_the_end_as_written_down() {
        let draft = Draft { flags: Flags { discontinuity: true, end: false }, rap: Some(0x0102), ..DRAFT };
        let piece = sealed(
            Draft { seq: 0x0a0b_0c0d, time: CaptureTime(0x0102_0304_0506_0708), ..draft },
            &text(0x203),
        );
        assert_eq!((piece.len(), &piece[..0x203]), (LENGTH as usize, &text(0x203)[..]));
        let (area, stamp) = piece.split_at(LENGTH as usize - STAMP_LENGTH);
        assert!(area[0x203..].iter().all(|b| *b == 0));
        assert_eq!(stamp[..16], *b"\x01\x05\0\0\0\0\x02\x03\0\0\x01\x02\0\0\0\0");
        assert_eq!(stamp[16..32], *b"\0\0\0\0\x0a\x0b\x0c\x0d\x01\x02\x03\x04\x05\x06\x07\x08");
        assert_eq!(stamp[32..64], *Sha256::digest(area));
        let message = [b"swarm live piece 1", &SWARM.0[..], &stamp[..64]].concat();
        assert_eq!(stamp[64..], key(1).sign(&[&message]));
    }

    #[test]
    fn what_cannot_be_is_no_stamp() {
        assert!(changed(127, 0).is_ok());
        assert_eq!(changed(0, 2), Err(StampError::Version(2)));
        assert_eq!(changed(1, 12), Err(StampError::Flags(12)));
        assert_eq!(changed(1, 0x84), Err(StampError::Flags(0x84)));
        for at in [2, 3, 12, 15] {
            assert_eq!(changed(at, 1), Err(StampError::Reserved));
        }
        assert_eq!(changed(6, 0x80), Err(StampError::Payload { length: 0x80e8, most: LENGTH - 128 }));
        assert!(changed(6, 0).is_ok(), "the point at 188 lies in 232 bytes");
        assert_eq!(changed(10, 9), Err(StampError::Rap { rap: 0x9bc, length: 1_000 }));
        assert_eq!(changed(1, 0), Err(StampError::UnmarkedRap(188)));
        assert_eq!(changed(19, 1), Err(StampError::Seq((1 << 32) + 5)));
        let bytes = *sealed(DRAFT, &text(0)).last_chunk().unwrap();
        for length in [0, 127, 128] {
            assert_eq!(Stamp::parse(&bytes, length), Err(StampError::PieceLength(length)));
        }
    }

    #[test]
    fn the_limits_are_inside() {
        let most = LENGTH - 128;
        let full = Draft { rap: Some(most - 1), seq: u32::MAX, time: CaptureTime(u64::MAX), ..DRAFT };
        let stamp = check(&[sealed(full, &text(most as usize))]).unwrap();
        assert_eq!((stamp.payload_length, stamp.rap, stamp.seq), (most, Some(most - 1), u32::MAX));
        let empty = Draft { flags: Flags { discontinuity: false, end: true }, ..DRAFT };
        assert!(check(&[sealed(empty, &Bytes::new())]).unwrap().flags.end);

        let seal = |rap, payload: &Bytes| {
            seal(Draft { rap, ..DRAFT }, &[payload.clone(), payload.clone()], LENGTH, SWARM, &key(1))
                .unwrap_err()
        };
        assert_eq!(seal(None, &text(most as usize)), StampError::Payload { length: 2 * most, most });
        assert_eq!(seal(Some(8), &text(4)), StampError::Rap { rap: 8, length: 8 });
    }

    #[test]
    fn a_piece_of_another_swarm_source_or_kind_is_refused() {
        let piece = sealed(DRAFT, &text(500));
        let stamp = check(std::slice::from_ref(&piece)).unwrap();
        let not_ours = Err(PieceError::Unsigned(Unsigned(5)));
        let blocks = [piece.clone()];
        assert_eq!(check_piece(&blocks, LENGTH, InfoHash([8; 20]), &key(1).verifying_key()), not_ours);
        assert_eq!(check_piece(&blocks, LENGTH, SWARM, &key(2).verifying_key()), not_ours);
        let mirrored = Stamp { signature: high_s(&stamp.signature), ..(*stamp).clone() };
        assert_eq!(mirrored.verify(SWARM, &key(1).verifying_key()), Err(Unsigned(5)));
        assert_eq!(check(&[piece.slice(1..)]), Err(PieceError::Length { got: 32_767, want: LENGTH }));
        assert_eq!(check(&[]), Err(PieceError::Length { got: 0, want: LENGTH }));
        let headers = [b"swarm live headers 1", &SWARM.0[..], &piece[piece.len() - 128..][..64]].concat();
        let other_kind = Stamp { signature: key(1).sign(&[&headers]), ..(*stamp).clone() };
        assert!(other_kind.verify(SWARM, &key(1).verifying_key()).is_err());
    }

    #[test]
    fn what_nobody_signs_has_its_digest_all_the_same() {
        let nobody = Auth::Unsigned([3; 20]);
        let (piece, made) = seal(DRAFT, &[text(500)], LENGTH, SWARM, &Signer::Nobody).unwrap();
        let check = |piece: &Bytes| check_piece(std::slice::from_ref(piece), LENGTH, SWARM, &nobody);
        assert_eq!((check(&piece), &piece[LENGTH as usize - 64..]), (Ok(made), &[0; 64][..]));
        let mut changed = piece.to_vec();
        changed[7] ^= 1;
        assert_eq!(check(&changed.into()), Err(PieceError::Digest(5)));
        let not_so = Err(PieceError::Unsigned(Unsigned(5)));
        assert_eq!(check(&sealed(DRAFT, &text(500))), not_so, "a signature where there should be none");
        assert_eq!(super::tests::check(&[piece]), not_so, "none where there should be one");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_sealed_is_verified_however_its_blocks_are_cut(
            (length, rap) in (0u32..=LENGTH - 128).prop_flat_map(|l| (Just(l), prop::option::of(0..l.max(1)))),
            (discontinuity, end, seq, time) in any::<(bool, bool, u32, u64)>(),
            cuts in prop::collection::vec(0usize..=LENGTH as usize, 0..5),
            near_the_end in prop::collection::vec(LENGTH as usize - 130..=LENGTH as usize, 0..4),
        ) {
            let rap = rap.filter(|rap| *rap < length);
            let draft = Draft { flags: Flags { discontinuity, end }, rap, seq, time: CaptureTime(time) };
            let payload = text(length as usize);
            let parts = cut(&payload, cuts.iter().map(|at| at * payload.len() / LENGTH as usize).collect());
            let (piece, made) = seal(draft, &parts, LENGTH, SWARM, &key(1)).unwrap();
            let blocks = cut(&piece, [cuts, near_the_end].concat());
            let stamp = check(&blocks).unwrap();
            prop_assert_eq!(&stamp, &made);
            prop_assert_eq!((stamp.flags, stamp.rap, stamp.seq, stamp.time), (draft.flags, rap, seq, CaptureTime(time)));
            prop_assert_eq!(Stamp::parse(&stamp.encode(), LENGTH), Ok((*stamp).clone()));
            let out = payload_of(&blocks, stamp.payload_length);
            prop_assert_eq!(out.concat(), &payload[..]);
            prop_assert!(out.iter().all(|part| piece.as_ptr_range().contains(&part.as_ptr())), "copied");
        }

        #[test]
        fn one_changed_bit_anywhere_is_found(at in 0usize..LENGTH as usize, at_the_end: bool, bit in 0u8..8) {
            let at = if at_the_end { LENGTH as usize - 128 + at % 128 } else { at };
            let mut piece = sealed(Draft { rap: Some(0), ..DRAFT }, &text(3_000)).to_vec();
            piece[at] ^= 1 << bit;
            let error = check(&[piece.into()]).unwrap_err();
            prop_assert!(!error.to_string().is_empty());
        }

        #[test]
        fn arbitrary_bytes_are_written_again_as_they_were(
            front in prop::collection::vec(prop::sample::select(&[0u8, 0, 0, 1, 4, 255]), 24),
            rest in prop::collection::vec(any::<u8>(), 104),
            version: bool,
            length in prop_oneof![any::<u32>(), 0u32..300],
        ) {
            let mut bytes: [u8; 128] = [front, rest].concat().try_into().unwrap();
            bytes[0] = if version { VERSION } else { bytes[0] };
            if let Ok(stamp) = Stamp::parse(&bytes, length) {
                prop_assert_eq!(stamp.encode(), bytes);
                prop_assert!(u64::from(stamp.payload_length) + 128 <= u64::from(length));
                prop_assert!(stamp.rap.is_none_or(|rap| rap < stamp.payload_length));
                prop_assert!(stamp.verify(SWARM, &key(1).verifying_key()).is_err());
            }
        }
    }
}
