//! What a live `.tstream` says, read and written: metainfo with `info.live` (how pieces are signed) and no piece
//! hashes, because its pieces do not exist yet. A film's `.tstream` is an ordinary metainfo file.
//!
//! The `length` is that of the ring: the last hour, say, of a broadcast without end, in whole pieces. Invariant:
//! the window, what peers keep for each other, is at least one piece and at most a quarter of the ring, so that
//! an index of the ring never means two pieces that somebody may have.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use bendy::encoding::{AsString, Error, SortedDictEncoder};
use bytes::Bytes;
use sha1::{Digest as _, Sha1};

use super::create::CreateError;
use super::envelope::{Content, Envelope};
use super::geometry::{BLOCK_LENGTH, Geometry};
use super::keys::{KeyError, SIGNATURE, VerifyingKey};
use super::signer::{NO_SIGNATURE, Verify};
use super::text::escape;
use super::torrent::text;
use crate::wire::bencode::Value;
use crate::wire::live::STAMP_LENGTH;

/// Bytes in a piece of a broadcast: below, signatures outweigh what they sign; above, everybody lags.
pub const PIECE_LENGTHS: RangeInclusive<u32> = 4 * 1024..=1024 * 1024;
/// Fewest pieces in the ring.
pub const MIN_PIECES: u32 = 16;
/// Most pieces in a ring because of [flushes](pieces_for): three days of one a second, 8 GiB in pieces of 32 KiB.
pub const MAX_FLUSHED: u32 = 1 << 18;
/// The window is at most this part of the ring.
pub const WINDOW_PART: u32 = 4;
/// `info.live.authmethod` of broadcasts that can be verified.
pub const P256: &str = "ECDSA-P256-SHA256";
/// `info.live.authmethod` of broadcasts that nobody signs.
const UNSIGNED: &str = "None";
/// `info.live.stamp` of those whose pieces have stamps all the same: the stamps' version. The SwarmPlayer had none.
const STAMP: u64 = 1;
/// Bytes in `info.live.id` of these, which tells them apart.
const ID: usize = 20;
/// What the SwarmPlayer wrote there otherwise.
const OBSOLETE: [&str; 2] = ["ECDSA", "RSA"];
/// The curve K-233 in DER: the object identifier 1.3.132.0.26.
const K_233: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x1a];

/// What makes a torrent a live broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// How one knows that a piece is the broadcaster's.
    pub auth: Auth,
    /// Pieces behind the newest that peers keep, itself included.
    pub window: u32,
}

/// How one knows that a piece is the broadcaster's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// By its signature, with this key.
    P256(VerifyingKey),
    /// Not at all; pieces have stamps that tell their order. The number belongs to this broadcast alone.
    Unsigned([u8; ID]),
    /// Not at all, and pieces have no stamps: of 2008-2010.
    Bare,
    /// By a scheme of 2008-2010 that was given up: in words.
    Obsolete(String),
    /// By a scheme that we do not know, a stranger's text: escape it before showing it.
    Unknown(String),
}

impl Auth {
    /// That of a broadcast of ours. Where it is not signed, the key serves to tell it from others.
    pub fn ours(key: &VerifyingKey, signed: bool) -> Self {
        if signed { Self::P256(*key) } else { Self::Unsigned(Sha1::digest(key.to_der()).into()) }
    }

    /// The scheme's name; a stranger's text where it is not known.
    pub fn scheme(&self) -> &str {
        match self {
            Self::P256(_) => P256,
            Self::Unsigned(_) | Self::Bare => UNSIGNED,
            Self::Obsolete(scheme) | Self::Unknown(scheme) => scheme,
        }
    }
}

impl Verify for Auth {
    fn verify(&self, message: &[&[u8]], signature: &[u8; SIGNATURE]) -> bool {
        match self {
            Self::P256(key) => key.verify(message, signature),
            Self::Unsigned(_) => *signature == NO_SIGNATURE,
            Self::Bare | Self::Obsolete(_) | Self::Unknown(_) => false,
        }
    }
}

/// Fit for print.
impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(_) | Self::Bare => write!(f, "not signed"),
            signed => write!(f, "signed with {}", escape(signed.scheme())),
        }
    }
}

/// Why something is no broadcast that one could take part in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// A list of files, which no ring can hold.
    #[error("a live broadcast cannot have several files (`files` in its `info`)")]
    Files,
    /// Not in [`PIECE_LENGTHS`], or blocks do not divide it.
    #[error(
        "a live broadcast in pieces of {0} bytes: {min} to {max} are possible, in steps of {min} up to a block \
         of {BLOCK_LENGTH} and of that above",
        min = PIECE_LENGTHS.start(), max = PIECE_LENGTHS.end()
    )]
    PieceLength(u32),
    /// The last piece would be shorter.
    #[error("the {length} bytes of the live broadcast are not whole pieces of {piece_length}")]
    Uneven {
        /// Bytes in the ring.
        length: u64,
        /// Bytes in a piece.
        piece_length: u32,
    },
    /// Fewer than [`MIN_PIECES`].
    #[error("a live broadcast over {0} pieces: at least {MIN_PIECES} are needed, so make it longer")]
    Pieces(u32),
    /// `authmethod` is there and is no text.
    #[error("the live broadcast has no usable `authmethod` in its `info.live`")]
    Method,
    /// The key cannot be read.
    #[error("the `pubkey` of the live broadcast is {0}")]
    Key(#[from] KeyError),
}

/// Why a broadcast is not opened. Fit for print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unplayable {
    /// Anybody could put anything into it.
    #[error(
        "the live broadcast '{}' is not signed: anybody could put anything into it, so it is played with \
         allow-unsigned only",
        escape(.name)
    )]
    Unsigned {
        /// Its name, a stranger's text.
        name: String,
    },
    /// There is nothing to tell the order of pieces by, either.
    #[error(
        "the live broadcast '{}' is not signed, and its pieces have no stamps, as in 2008-2010, so it cannot be played",
        escape(.name)
    )]
    Bare {
        /// Its name, a stranger's text.
        name: String,
    },
    /// Of the SwarmPlayer's time.
    #[error(
        "the live broadcast '{}' is signed with {}, an obsolete scheme of 2008-2010 that cannot be verified any \
         more, so it cannot be played",
        escape(.name), escape(.scheme)
    )]
    Obsolete {
        /// Its name, a stranger's text.
        name: String,
        /// The scheme in words.
        scheme: String,
    },
    /// Of somebody else's making, or of the future.
    #[error("the live broadcast '{}' is signed with {}, which is not known here, so it cannot be played",
        escape(.name), escape(.scheme))]
    Unknown {
        /// Its name, a stranger's text.
        name: String,
        /// The scheme, a stranger's text.
        scheme: String,
    },
}

impl Live {
    /// Whether an info dictionary is that of a live broadcast.
    pub(super) fn is_in(info: Value<'_>) -> bool {
        info.find(b"pieces").is_none() && info.find(b"live").is_some_and(|live| live.as_dict().is_some())
    }

    /// Reads the info dictionary of a live broadcast.
    pub(super) fn read(info: Value<'_>, geometry: &Geometry) -> Result<Self, LiveError> {
        if info.find(b"files").is_some() {
            return Err(LiveError::Files);
        }
        check_cut(geometry)?;
        let live = |key: &[u8]| info.find(b"live").and_then(|live| live.find(key));
        let window = live(b"window").and_then(Value::as_u64);
        let stamped = live(b"stamp").and_then(Value::as_u64) == Some(STAMP);
        let id = live(b"id").and_then(Value::as_bytes).and_then(|id| id.try_into().ok()).filter(|_| stamped);
        let auth = auth(live(b"authmethod"), live(b"pubkey"), id)?;
        Ok(Self { auth, window: window_of(window, geometry) })
    }

    /// Whether it may be opened; `name` is the broadcast's.
    pub(super) fn playable(&self, name: &str, allow_unsigned: bool) -> Result<(), Unplayable> {
        let name = name.to_owned();
        Err(match &self.auth {
            Auth::P256(_) => return Ok(()),
            Auth::Unsigned(_) if allow_unsigned => return Ok(()),
            Auth::Unsigned(_) => Unplayable::Unsigned { name },
            Auth::Bare => Unplayable::Bare { name },
            Auth::Obsolete(scheme) => Unplayable::Obsolete { name, scheme: scheme.clone() },
            Auth::Unknown(scheme) => Unplayable::Unknown { name, scheme: scheme.clone() },
        })
    }
}

/// The ring is of whole pieces, not too few, that are of whole blocks (or of one small one).
fn check_cut(geometry: &Geometry) -> Result<(), LiveError> {
    let (length, piece_length, pieces) = (geometry.total(), geometry.piece_length(), geometry.pieces());
    let step = if piece_length > BLOCK_LENGTH { BLOCK_LENGTH } else { *PIECE_LENGTHS.start() };
    if !PIECE_LENGTHS.contains(&piece_length) || !piece_length.is_multiple_of(step) {
        return Err(LiveError::PieceLength(piece_length));
    }
    if !length.is_multiple_of(u64::from(piece_length)) {
        return Err(LiveError::Uneven { length, piece_length });
    }
    if pieces < MIN_PIECES { Err(LiveError::Pieces(pieces)) } else { Ok(()) }
}

/// What is wanted as window, brought into its limits; the largest when nothing is.
fn window_of(wanted: Option<u64>, geometry: &Geometry) -> u32 {
    let most = (geometry.pieces() / WINDOW_PART).max(1);
    wanted.map_or(most, |wanted| u32::try_from(wanted).unwrap_or(most).clamp(1, most))
}

fn auth(method: Option<Value<'_>>, key: Option<Value<'_>>, id: Option<[u8; ID]>) -> Result<Auth, LiveError> {
    let Some(method) = method else { return Ok(Auth::Bare) };
    let method = text(method).ok_or(LiveError::Method)?;
    let key = key.and_then(Value::as_bytes).unwrap_or_default();
    Ok(match method.as_str() {
        P256 => Auth::P256(VerifyingKey::from_der(key)?),
        UNSIGNED => id.map_or(Auth::Bare, Auth::Unsigned),
        "ECDSA" if key.windows(K_233.len()).any(|part| part == K_233) => {
            Auth::Obsolete("ECDSA on the curve K-233".to_owned())
        }
        old if OBSOLETE.contains(&old) => Auth::Obsolete(method),
        _ => Auth::Unknown(method),
    })
}

/// Pieces that hold `duration` of a stream of `speed` bytes/s, rounded up, where a part-filled piece goes out after
/// `flush_after` (zero: that is not counted). A slow stream takes as many of them as it lasts times that, up to [`MAX_FLUSHED`].
pub fn pieces_for(speed: u64, duration: Duration, piece_length: u32, flush_after: Duration) -> u32 {
    let bytes = u128::from(speed).saturating_mul(duration.as_nanos()).div_ceil(1_000_000_000);
    let full = bytes.div_ceil(u128::from(payload_in(piece_length).max(1)));
    let flushed = match flush_after.as_nanos() {
        0 => 0,
        each => duration.as_nanos().div_ceil(each).min(MAX_FLUSHED.into()),
    };
    u32::try_from(full.max(flushed)).unwrap_or(u32::MAX)
}

/// Bytes of the stream in a full piece.
pub const fn payload_in(piece_length: u32) -> u32 {
    piece_length.saturating_sub(STAMP_LENGTH as u32)
}

/// What a new broadcast is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Name of the broadcast and of its ring.
    pub name: String,
    /// Bytes in a piece.
    pub piece_length: u32,
    /// Pieces in the ring: see [`pieces_for`].
    pub pieces: u32,
    /// How its pieces are told from others.
    pub auth: Auth,
    /// Pieces that peers keep, if fewer than a quarter of the ring; brought into its limits.
    pub window: Option<u32>,
    /// Tracker URLs in tiers.
    pub trackers: Vec<Vec<String>>,
    /// Bytes/s of the stream, if known.
    pub speed: Option<u64>,
    /// Title for players, if it has another one than its name.
    pub title: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// JPEG bytes.
    pub thumbnail: Option<Bytes>,
    /// Unix seconds.
    pub creation_date: Option<i64>,
    /// The program that made it.
    pub created_by: Option<String>,
}

/// How the draft's ring is cut.
///
/// # Errors
/// When it has no name or is cut in a way that a broadcast cannot be.
pub fn check(draft: &Draft) -> Result<Geometry, CreateError> {
    if draft.name.is_empty() {
        return Err(CreateError::Nameless);
    }
    let piece_length = u64::from(draft.piece_length);
    let geometry = Geometry::new(piece_length, piece_length * u64::from(draft.pieces))?;
    check_cut(&geometry)?;
    Ok(geometry)
}

/// Writes the `.tstream` file.
///
/// # Errors
/// Those of [`check`], or when it gets too long, as with a huge thumbnail.
pub fn encode(draft: &Draft) -> Result<Vec<u8>, CreateError> {
    let geometry = check(draft)?;
    let content = Content {
        title: draft.title.as_ref().unwrap_or(&draft.name),
        description: draft.description.as_deref().unwrap_or_default(),
        speed: draft.speed,
        thumbnail: draft.thumbnail.as_ref(),
    };
    let envelope = Envelope {
        trackers: &draft.trackers,
        content: Some(content),
        comment: None,
        created_by: draft.created_by.as_deref(),
        creation_date: draft.creation_date,
    };
    envelope.around(|dict| info(draft, &geometry, dict))
}

fn info(draft: &Draft, geometry: &Geometry, mut dict: SortedDictEncoder<'_>) -> Result<(), Error> {
    dict.emit_pair(b"length", geometry.total())?;
    dict.emit_pair_with(b"live", |value| {
        value.emit_dict(|mut dict| {
            dict.emit_pair(b"authmethod", draft.auth.scheme())?;
            match &draft.auth {
                Auth::P256(key) => dict.emit_pair(b"pubkey", AsString(key.to_der()))?,
                Auth::Unsigned(id) => {
                    dict.emit_pair(b"id", AsString(id))?;
                    dict.emit_pair(b"stamp", STAMP)?;
                }
                Auth::Bare | Auth::Obsolete(_) | Auth::Unknown(_) => {}
            }
            let window = draft.window.map(|window| window_of(Some(window.into()), geometry));
            window.map_or(Ok(()), |window| dict.emit_pair(b"window", window))
        })
    })?;
    dict.emit_pair(b"name", &draft.name)?;
    dict.emit_pair(b"piece length", draft.piece_length)
}

#[cfg(test)]
mod tests {
    use super::super::geometry::GeometryError;
    use super::super::keys::SigningKey;
    use super::super::testing::{Pair, d, i, l, s};
    use super::super::torrent::{Metainfo, MetainfoError};
    use super::*;
    use crate::metainfo::path::component;
    use proptest::prelude::*;

    const KIB: u32 = 1024;

    fn key(seed: u8) -> VerifyingKey {
        SigningKey::from_random(&[seed; 32]).unwrap().verifying_key()
    }

    fn camera() -> Draft {
        Draft {
            name: "camera.ts".into(),
            piece_length: 32 * KIB,
            pieces: 7200,
            auth: Auth::P256(key(1)),
            window: None,
            trackers: vec![vec!["http://a.example/announce".into()], vec!["udp://b.example:1".into()]],
            speed: Some(65_536),
            title: None,
            description: None,
            thumbnail: None,
            creation_date: None,
            created_by: None,
        }
    }

    fn p256(key: VerifyingKey) -> Vec<Pair<'static>> {
        vec![("authmethod", s(P256)), ("pubkey", s(key.to_der()))]
    }

    /// A broadcast with these keys in `info.live`, and these besides or instead of the usual ones in `info`.
    fn read(live: &[Pair<'_>], info: &[Pair<'_>]) -> Result<Metainfo, MetainfoError> {
        let usual = [("length", i(64 << 14)), ("name", s("cam")), ("piece length", i(1 << 14))];
        // Of repeated keys the first wins.
        Metainfo::parse(&d(&[("info", d(&[info, &usual, &[("live", d(live))]].concat()))]))
    }

    fn live(pairs: &[Pair<'_>]) -> Live {
        read(pairs, &[]).unwrap().live.unwrap()
    }

    fn error(live: &[Pair<'_>], info: &[Pair<'_>]) -> LiveError {
        match read(live, info) {
            Err(MetainfoError::Live(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_broadcast_is_no_film() {
        let m = Metainfo::parse(&encode(&camera()).unwrap()).unwrap();
        assert_eq!(m.live, Some(Live { auth: Auth::P256(key(1)), window: 1800 }));
        assert_eq!((m.geometry.pieces(), m.bitrate(None), m.duration(None)), (7200, Some(65_536), None));
        assert_eq!((m.layout.files.len(), m.hashes.len(), m.title.as_deref()), (1, 0, Some("camera.ts")));
        assert_eq!(m.trackers.len(), 2);
        let hashed = read(&p256(key(1)), &[("pieces", s([7; 20 * 64]))]).unwrap();
        assert_eq!(hashed.live, None, "with piece hashes it is no broadcast");
    }

    #[test]
    #[should_panic(expected = "has signatures")]
    fn no_piece_of_a_broadcast_has_a_hash() {
        let m = read(&[], &[]).unwrap();
        m.piece_hash(m.geometry.piece(0).unwrap());
    }

    #[test]
    fn schemes_are_told_apart() {
        let auth = |method: &str| live(&[("authmethod", s(method)), ("pubkey", s(K_233))]).auth;
        assert_eq!(auth("None"), Auth::Bare);
        assert_eq!(auth("ECDSA"), Auth::Obsolete("ECDSA on the curve K-233".into()));
        assert_eq!(auth("RSA"), Auth::Obsolete("RSA".into()));
        assert_eq!(auth("Ed25519"), Auth::Unknown("Ed25519".into()));
        assert_eq!(live(&[("authmethod", s("ECDSA"))]).auth, Auth::Obsolete("ECDSA".into()));
        assert_eq!(live(&[]).auth, Auth::Bare);
        assert_eq!(live(&p256(key(2))).auth, Auth::P256(key(2)));
        for odd in [i(1), s(""), l(&[])] {
            assert_eq!(error(&[("authmethod", odd)], &[]), LiveError::Method);
        }
    }

    #[test]
    fn broadcasts_without_signatures_are_told_from_those_without_stamps() {
        let of =
            |stamp, id: &[u8]| live(&[("authmethod", s("None")), ("stamp", i(stamp)), ("id", s(id))]).auth;
        assert_eq!(of(1, &[7; 20]), Auth::Unsigned([7; 20]));
        assert_eq!([of(2, &[7; 20]), of(0, &[7; 20]), of(1, &[7; 19])], [Auth::Bare, Auth::Bare, Auth::Bare]);
        let m = |seed| {
            Metainfo::parse(&encode(&Draft { auth: Auth::ours(&key(seed), false), ..camera() }).unwrap())
        };
        assert_eq!(m(1).unwrap().live.unwrap().auth, Auth::ours(&key(1), false));
        assert_ne!(m(1).unwrap().info_hash, m(2).unwrap().info_hash, "each has a swarm of its own");
    }

    #[test]
    fn only_where_nothing_is_signed_no_signature_is_right() {
        let sign = SigningKey::from_random(&[1; 32]).unwrap().sign(&[b"a"]);
        let right = |auth: &Auth, signature| auth.verify(&[b"a"], signature);
        for signed in [true, false] {
            let ours = Auth::ours(&key(1), signed);
            assert_eq!((right(&ours, &sign), right(&ours, &NO_SIGNATURE)), (signed, !signed));
        }
        for other in [Auth::Bare, Auth::Obsolete("RSA".into()), Auth::Unknown("x".into())] {
            assert!(!right(&other, &sign) && !right(&other, &NO_SIGNATURE), "{other:?}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        let mut broken = key(1).to_der();
        broken[90] ^= 1;
        for pubkey in
            [vec![("pubkey", s(K_233))], vec![("pubkey", s(broken))], vec![("pubkey", i(1))], vec![]]
        {
            let error = read(&[&[("authmethod", s(P256))], &pubkey[..]].concat(), &[]).unwrap_err();
            let said =
                "the `pubkey` of the live broadcast is not a P-256 public key in DER (SubjectPublicKeyInfo)";
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn the_window_is_at_most_a_quarter_of_the_ring() {
        let window = |value| live(&[("window", value)]).window;
        assert_eq!([1, 15, 16, 17, i64::MAX].map(|n| window(i(n))), [1, 15, 16, 16, 16]);
        assert_eq!([window(i(0)), live(&[]).window, window(i(-1)), window(s("9"))], [1, 16, 16, 16]);
    }

    #[test]
    fn rings_that_cannot_turn_are_refused() {
        let of = |piece: i64, length: i64| error(&[], &[("piece length", i(piece)), ("length", i(length))]);
        for piece in [1, 4095, 4097, 6 << 10, 24 << 10, (1 << 20) + (1 << 14), 64 << 20] {
            assert_eq!(of(piece, piece * 16), LiveError::PieceLength(piece as u32), "{piece}");
        }
        for piece in [4 << 10, 12 << 10, 16 << 10, 48 << 10, 1 << 20] {
            assert_eq!(of(piece, piece * 15), LiveError::Pieces(15));
            assert_eq!(
                of(piece, piece * 16 - 1),
                LiveError::Uneven { length: piece as u64 * 16 - 1, piece_length: piece as u32 }
            );
            assert!(read(&[], &[("piece length", i(piece)), ("length", i(piece * 16))]).is_ok(), "{piece}");
        }
        let file = d(&[("length", i(64 << 14)), ("path", l(&[s("a")]))]);
        assert_eq!(error(&[], &[("files", l(&[file]))]), LiveError::Files);
        assert_eq!(read(&[], &[("length", i(0))]), Err(GeometryError::Empty.into()));
        assert_eq!(read(&[], &[("length", i(-1))]), Err(MetainfoError::Missing("length")));
    }

    #[test]
    fn what_cannot_be_played_says_why() {
        let said = |live: &[Pair<'_>]| {
            let m = read(live, &[("name", s("a\x1b[m"))]).unwrap();
            let said = m.playable(false).unwrap_err().to_string();
            let allowed = m.playable(true).map_or_else(|error| error.to_string(), |()| String::new());
            assert_eq!(said.contains("allow-unsigned"), allowed.is_empty(), "{said} {allowed}");
            said
        };
        let method = |method: &str| said(&[("authmethod", s(method))]);
        let signed = read(&p256(key(1)), &[]).unwrap();
        assert_eq!(signed.playable(false), Ok(()));
        assert!(method("None").contains(r"'a\u{1b}[m' is not signed, and its pieces have no stamps"));
        assert_eq!(
            method("RSA"),
            r"the live broadcast 'a\u{1b}[m' is signed with RSA, an obsolete scheme of 2008-2010 that cannot be verified any more, so it cannot be played"
        );
        assert!(method("\x1b").contains(r"signed with \u{1b}, which is not known here"));
    }

    #[test]
    fn drafts_that_are_no_broadcast_are_refused() {
        let refused = |change: fn(&mut Draft)| {
            let mut draft = camera();
            change(&mut draft);
            encode(&draft).unwrap_err()
        };
        assert_eq!(refused(|d| d.name.clear()), CreateError::Nameless);
        assert_eq!(refused(|d| d.pieces = 15), LiveError::Pieces(15).into());
        assert_eq!(refused(|d| d.pieces = 0), GeometryError::Empty.into());
        assert_eq!(refused(|d| d.pieces = u32::MAX), GeometryError::Pieces(u32::MAX.into()).into());
        assert_eq!(refused(|d| d.piece_length = 2 * KIB), LiveError::PieceLength(2 * KIB).into());
        let huge = refused(|d| d.thumbnail = Some(vec![0; 17 << 20].into()));
        assert!(matches!(huge, CreateError::TooLong(_)), "{huge}");
    }

    #[test]
    fn a_ring_is_long_enough() {
        let (hour, never) = (Duration::from_secs(3600), Duration::ZERO);
        let full = u64::from(payload_in(32 * KIB));
        assert_eq!(pieces_for(2 * full, hour, 32 * KIB, never), 7200);
        assert_eq!(pieces_for(2 * full + 1, hour, 32 * KIB, never), 7201);
        assert_eq!(pieces_for(1, Duration::from_nanos(1), 32 * KIB, never), 1);
        assert_eq!(pieces_for(0, hour, 32 * KIB, never), 0);
        assert_eq!(pieces_for(u64::MAX, Duration::MAX, 0, never), u32::MAX);
    }

    #[test]
    fn a_ring_of_a_slow_stream_is_long_enough_too() {
        let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
        let full = u64::from(payload_in(32 * KIB));
        assert_eq!(pieces_for(4_000, hour, 32 * KIB, second), 3600, "each goes out part-filled");
        assert_eq!(pieces_for(2 * full, hour, 32 * KIB, second), 7200, "none does");
        assert_eq!(pieces_for(4_000, hour, 32 * KIB, Duration::from_millis(7_001)), 515);
        assert_eq!(pieces_for(4_000, hour, 32 * KIB, Duration::from_nanos(1)), MAX_FLUSHED);
        assert_eq!(pieces_for(full, Duration::from_secs(1 << 20), 32 * KIB, second), 1 << 20);
        assert_eq!(pieces_for(0, Duration::MAX, 0, Duration::MAX), 1);
    }

    fn name() -> impl Strategy<Value = String> {
        "\\PC{1,20}".prop_map(|text| if component(&text).is_some() { text } else { "dots".to_owned() })
    }

    prop_compose! {
        fn draft()(
            name in name(), piece_length in prop_oneof![Just(4 * KIB), (1..=64u32).prop_map(|n| n * 16 * KIB)],
            pieces in MIN_PIECES..20_000, (seed, signed) in (1..255u8, any::<bool>()), window in prop::option::of(any::<u32>()),
            trackers in prop::collection::btree_set("(https?|udp)://[a-z]{1,9}(:[1-9])?/announce", 0..3),
            speed in prop::option::of(1..u64::from(u32::MAX)), texts in [(); 3].map(|()| prop::option::of("\\PC{1,20}")),
            thumbnail in prop::option::of(prop::collection::vec(any::<u8>(), 1..50)),
            creation_date in prop::option::of(any::<i64>()),
        ) -> Draft {
            let [title, description, created_by] = texts;
            let trackers = trackers.into_iter().map(|url| vec![url]).collect();
            let thumbnail = thumbnail.map(Bytes::from);
            Draft {
                name, piece_length, pieces, auth: Auth::ours(&key(seed), signed), window, trackers, speed, title,
                description, thumbnail,
                creation_date, created_by,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_back(draft in draft()) {
            let bytes = encode(&draft).unwrap();
            let m = Metainfo::parse(&bytes).unwrap();
            let live = m.live.clone().unwrap();
            let back = Draft {
                piece_length: m.geometry.piece_length(),
                pieces: m.geometry.pieces(),
                auth: live.auth,
                window: draft.window.map(|_| live.window),
                trackers: m.trackers.clone(),
                speed: m.speed,
                title: draft.title.as_ref().and_then(|_| m.title.clone()),
                description: m.description.clone(),
                thumbnail: m.thumbnail.clone(),
                creation_date: m.creation_date,
                created_by: m.created_by.clone(),
                name: m.name.clone(),
            };
            let most = draft.pieces / WINDOW_PART;
            prop_assert_eq!(live.window, draft.window.map_or(most, |window| window.clamp(1, most)));
            prop_assert_eq!(&encode(&back).unwrap(), &bytes);
            prop_assert_eq!(back, Draft { window: draft.window.map(|_| live.window), ..draft });
            prop_assert_eq!(m.layout.total(), m.geometry.total());
        }

        #[test]
        fn changed_broadcasts_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6)
        ) {
            let mut bytes = encode(&camera()).unwrap();
            for (at, byte, how) in changes {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            if let Ok(Metainfo { live: Some(live), geometry, layout, .. }) = Metainfo::parse(&bytes) {
                prop_assert!((1..=geometry.pieces() / WINDOW_PART).contains(&live.window));
                prop_assert_eq!(layout.total(), u64::from(geometry.pieces()) * u64::from(geometry.piece_length()));
            }
        }
    }
}
