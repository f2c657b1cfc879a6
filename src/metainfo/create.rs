//! Makes metainfo files of films: what `swarm create` writes, readable by every BitTorrent client. Those of
//! broadcasts are made by [`tstream`](super::tstream).
//!
//! The duration goes where the SwarmPlayer put it: `info.playtime` as the text `[h:]mm:ss` (in a folder also
//! beside each file that has one), and for its other readers `azureus_properties.Content` with `Speed Bps`
//! (bytes/s), `Title` and `Thumbnail`. Other clients ignore these keys. The piece hashes come from the caller:
//! reading files is not this room's work.

use std::str::FromStr;
use std::time::Duration;

use bendy::encoding::{AsString, Error, SingleItemEncoder, SortedDictEncoder};
use bytes::Bytes;

use super::envelope::{self, Envelope, optional};
use super::geometry::{Geometry, GeometryError};
use super::playtime;
use super::text::escape;
use super::torrent::MAX_METAINFO;
use super::tstream::LiveError;

/// Bytes of a SHA-1.
const HASH: usize = 20;
/// Smallest and largest piece length that we make: below, hashes outweigh their use; above, seeking and
/// sharing get coarse.
pub const PIECE_LENGTHS: std::ops::RangeInclusive<u32> = 16 * KIB..=64 * MIB;
const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;
const LARGE_MIB: u64 = 1024 * 1024;

/// More bytes than the first take pieces of the second. Up to 8 GiB the SwarmPlayer's table; it ended there
/// with 2 MiB, and is carried on so that hash lists stay below 3 MiB for anything up to 2 TiB.
const AUTO: [(u64, u32); 10] = [
    (2 * 1024 * 1024 * LARGE_MIB, 64 * MIB),
    (512 * 1024 * LARGE_MIB, 16 * MIB),
    (128 * 1024 * LARGE_MIB, 8 * MIB),
    (32 * 1024 * LARGE_MIB, 4 * MIB),
    (8 * 1024 * LARGE_MIB, 2 * MIB),
    (2 * 1024 * LARGE_MIB, MIB),
    (512 * LARGE_MIB, 512 * KIB),
    (64 * LARGE_MIB, 256 * KIB),
    (16 * LARGE_MIB, 128 * KIB),
    (4 * LARGE_MIB, 64 * KIB),
];
/// What everything smaller takes.
const AUTO_SMALLEST: u32 = 32 * KIB;

/// What a new torrent is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// Name of the file or folder.
    pub name: String,
    /// One file, or a folder's.
    pub content: Content,
    /// Bytes in a piece.
    pub piece_length: u32,
    /// Tracker URLs in tiers.
    pub trackers: Vec<Vec<String>>,
    /// BEP 27: peers only from the trackers.
    pub private: bool,
    /// Duration of the whole torrent's media.
    pub playtime: Option<Duration>,
    /// JPEG bytes.
    pub thumbnail: Option<Bytes>,
    /// Title of the film, if it has another one than its file.
    pub title: Option<String>,
    /// For people.
    pub comment: Option<String>,
    /// Unix seconds.
    pub creation_date: Option<i64>,
    /// The program that made it.
    pub created_by: Option<String>,
}

/// What a new torrent holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A single file of this many bytes.
    File(u64),
    /// A folder, in the order in which its files were hashed.
    Folder(Vec<DraftFile>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Folder(Vec::new())
    }
}

impl Content {
    /// Bytes in all.
    pub fn total(&self) -> u64 {
        match self {
            Self::File(length) => *length,
            Self::Folder(files) => files.iter().fold(0, |sum, file| sum.saturating_add(file.length)),
        }
    }
}

/// One file of a new torrent's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftFile {
    /// Folders below the torrent's own, then the file's name.
    pub path: Vec<String>,
    /// Bytes.
    pub length: u64,
    /// Its own duration, if it is media.
    pub playtime: Option<Duration>,
}

/// Why a draft cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// A file or the torrent has no name.
    #[error("a file without a name")]
    Nameless,
    /// Nothing in it, or a piece length out of range.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// More bytes than a metainfo file may have.
    #[error("a torrent of {0} bytes is longer than {MAX_METAINFO}; take larger pieces")]
    TooLong(usize),
    /// Not one hash for each piece.
    #[error("{got} hashes for {due} pieces")]
    Hashes {
        /// Hashes given.
        got: usize,
        /// Pieces in the draft.
        due: usize,
    },
    /// Not what a broadcast can be.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The encoder refused.
    #[error("cannot write the torrent: {0}")]
    Encoding(String),
}

/// How the draft is cut into pieces: to be asked before the work of hashing them.
///
/// # Errors
/// When something has no name, there is nothing in it, or its metainfo file would be longer than what
/// [`Metainfo::parse`](super::torrent::Metainfo::parse) takes.
pub fn check(draft: &Draft) -> Result<Geometry, CreateError> {
    if !is_named(draft) {
        return Err(CreateError::Nameless);
    }
    let geometry = Geometry::new(u64::from(draft.piece_length), draft.content.total())?;
    let length = geometry.pieces() as usize * HASH;
    if length > MAX_METAINFO { Err(CreateError::TooLong(length)) } else { Ok(geometry) }
}

/// Writes the metainfo file.
///
/// # Errors
/// Those of [`check`], or when the hashes are not those of the draft's pieces.
pub fn encode(draft: &Draft, hashes: &[[u8; HASH]]) -> Result<Vec<u8>, CreateError> {
    let geometry = check(draft)?;
    if geometry.pieces() as usize != hashes.len() {
        return Err(CreateError::Hashes { got: hashes.len(), due: geometry.pieces() as usize });
    }
    envelope(draft).around(|dict| info(draft, hashes, dict))
}

fn is_named(draft: &Draft) -> bool {
    let files = match &draft.content {
        Content::File(_) => &[][..],
        Content::Folder(files) => files,
    };
    let named = |file: &DraftFile| !file.path.is_empty() && file.path.iter().all(|name| !name.is_empty());
    !draft.name.is_empty() && files.iter().all(named)
}

fn envelope(draft: &Draft) -> Envelope<'_> {
    let told = draft.playtime.is_some() || draft.thumbnail.is_some() || draft.title.is_some();
    let content = envelope::Content {
        title: draft.title.as_ref().unwrap_or(&draft.name),
        description: "",
        speed: draft.playtime.map(|playtime| draft.content.total() / playtime.as_secs().max(1)),
        thumbnail: draft.thumbnail.as_ref(),
    };
    Envelope {
        trackers: &draft.trackers,
        content: told.then_some(content),
        comment: draft.comment.as_deref(),
        created_by: draft.created_by.as_deref(),
        creation_date: draft.creation_date,
    }
}

fn info(draft: &Draft, hashes: &[[u8; HASH]], mut dict: SortedDictEncoder<'_>) -> Result<(), Error> {
    match &draft.content {
        Content::File(length) => dict.emit_pair(b"length", length)?,
        Content::Folder(files) => dict.emit_pair_with(b"files", |value| {
            value.emit_list(|list| {
                files.iter().try_for_each(|file| list.emit_with(|value| entry(file, value)))
            })
        })?,
    }
    dict.emit_pair(b"name", &draft.name)?;
    dict.emit_pair(b"piece length", draft.piece_length)?;
    dict.emit_pair(b"pieces", AsString(hashes.concat()))?;
    optional(&mut dict, b"playtime", draft.playtime.map(playtime::format).as_deref())?;
    if draft.private { dict.emit_pair(b"private", 1) } else { Ok(()) }
}

fn entry(file: &DraftFile, value: SingleItemEncoder<'_>) -> Result<(), Error> {
    value.emit_dict(|mut dict| {
        dict.emit_pair(b"length", file.length)?;
        dict.emit_pair(b"path", &file.path)?;
        optional(&mut dict, b"playtime", file.playtime.map(playtime::format).as_deref())
    })
}

/// The piece length for this many bytes: small enough that playing starts and seeks quickly, large enough
/// that the metainfo file stays small.
pub fn auto_piece_length(total: u64) -> u32 {
    AUTO.iter().find(|(over, _)| total > *over).map_or(AUTO_SMALLEST, |(_, length)| *length)
}

/// What the user wants as piece length: `auto`, or bytes with a unit (`32KiB`, `256K`, `1MiB`, `4194304`).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum PieceLength {
    /// By [`auto_piece_length`].
    #[default]
    Auto,
    /// This many bytes: a power of two in [`PIECE_LENGTHS`].
    Bytes(u32),
}

/// Why a text is no piece length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not 'auto' or a power of two from 16KiB to 64MiB", escape(.0))]
pub struct PieceLengthError(String);

impl PieceLength {
    /// Bytes in a piece of a torrent of `total` bytes.
    pub fn of(self, total: u64) -> u32 {
        match self {
            Self::Auto => auto_piece_length(total),
            Self::Bytes(length) => length,
        }
    }
}

impl FromStr for PieceLength {
    type Err = PieceLengthError;

    fn from_str(text: &str) -> Result<Self, PieceLengthError> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        let good = |length: &u32| length.is_power_of_two() && PIECE_LENGTHS.contains(length);
        bytes(text).filter(good).map(Self::Bytes).ok_or_else(|| PieceLengthError(text.to_owned()))
    }
}

fn bytes(text: &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => KIB,
        "m" | "mib" => MIB,
        _ => return None,
    };
    number.parse::<u32>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::path::component;
    use crate::metainfo::torrent::Metainfo;
    use crate::wire::bencode::{Limits, parse};
    use proptest::prelude::*;

    fn film() -> Draft {
        Draft {
            name: "weather.avi".into(),
            content: Content::File(1_000_000),
            piece_length: 32 * KIB,
            trackers: vec![vec!["http://tracker.example/announce".into()]],
            playtime: Some(Duration::from_secs(255)),
            thumbnail: Some(Bytes::from_static(b"\xff\xd8jpeg")),
            creation_date: Some(1_216_299_452),
            ..Draft::default()
        }
    }

    #[test]
    fn the_duration_is_where_the_swarmplayer_put_it() {
        let bytes = encode(&film(), &[[7; HASH]; 31]).unwrap();
        let root = parse(&bytes, Limits::DEFAULT).unwrap();
        assert_eq!(root.find(b"info").unwrap().find(b"playtime").unwrap().as_str(), Some("4:15"));
        let content = root.find(b"azureus_properties").unwrap().find(b"Content").unwrap();
        assert_eq!(content.find(b"Speed Bps").unwrap().as_int(), Some(1_000_000 / 255));
        assert_eq!(content.find(b"Title").unwrap().as_str(), Some("weather.avi"));
        assert_eq!(content.find(b"Progressive").unwrap().as_int(), Some(1));
        assert_eq!(content.find(b"Thumbnail").unwrap().as_bytes(), Some(&b"\xff\xd8jpeg"[..]));
        assert_eq!(content.find(b"Revision Date").unwrap().as_int(), Some(1_216_299_452));
        assert_eq!(root.find(b"encoding").unwrap().as_str(), Some("UTF-8"));
        assert_eq!(root.find(b"announce-list"), None, "one tracker needs no list");
    }

    #[test]
    fn what_makes_no_torrent_is_refused_before_hashing() {
        let refused = |change: fn(&mut Draft)| {
            let mut draft = film();
            change(&mut draft);
            check(&draft).unwrap_err()
        };
        assert_eq!(refused(|d| d.name.clear()), CreateError::Nameless);
        assert_eq!(refused(|d| d.content = Content::default()), GeometryError::Empty.into());
        assert_eq!(
            refused(|d| d.content = Content::Folder(vec![DraftFile::default()])),
            CreateError::Nameless
        );
        assert_eq!(refused(|d| d.piece_length = 0), GeometryError::PieceLength(0).into());
        assert_eq!(
            refused(|d| (d.content, d.piece_length) = (Content::File(16 * 1024 * 1_000_000), 16 * KIB)),
            CreateError::TooLong(20_000_000)
        );
        assert_eq!(encode(&film(), &[[7; HASH]; 30]), Err(CreateError::Hashes { got: 30, due: 31 }));
    }

    #[test]
    fn piece_lengths_follow_the_original_table() {
        for (mib, kib) in
            [(0, 32), (4, 32), (5, 64), (17, 128), (65, 256), (513, 512), (2049, 1024), (8193, 2048)]
        {
            assert_eq!(auto_piece_length(mib * LARGE_MIB), kib * KIB, "{mib} MiB");
        }
        assert_eq!(auto_piece_length(33 * 1024 * LARGE_MIB), 4 * MIB);
        assert_eq!(auto_piece_length(u64::MAX), 64 * MIB);
    }

    #[test]
    fn piece_lengths_are_read_with_units() {
        let cases = [
            ("16KiB", 16 * KIB),
            ("32kib", 32 * KIB),
            ("256K", 256 * KIB),
            ("1MiB", MIB),
            ("4194304", 4 * MIB),
        ];
        for (text, length) in cases {
            assert_eq!(text.parse(), Ok(PieceLength::Bytes(length)), "{text}");
        }
        assert_eq!("Auto".parse(), Ok(PieceLength::Auto));
        assert_eq!(PieceLength::Auto.of(5 * LARGE_MIB), 64 * KIB);
        for text in [
            "",
            "0",
            "KiB",
            "8KiB",
            "128MiB",
            "33KiB",
            "-1",
            "1.5MiB",
            "99999999999K",
            "4096MiB",
            "1 MiB",
            "1GiB",
        ] {
            assert_eq!(text.parse::<PieceLength>(), Err(PieceLengthError(text.into())), "{text}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        "\\PC{1,20}".prop_map(|text| if component(&text).is_some() { text } else { "dots".to_owned() })
    }

    fn playtime() -> impl Strategy<Value = Option<Duration>> {
        prop::option::of((1u64..100_000).prop_map(Duration::from_secs))
    }

    fn file() -> impl Strategy<Value = DraftFile> {
        (prop::collection::vec(text(), 1..4), 0u64..1_000_000, playtime())
            .prop_map(|(path, length, playtime)| DraftFile { path, length, playtime })
    }

    fn draft() -> impl Strategy<Value = Draft> {
        let content = prop_oneof![
            (1u64..10_000_000).prop_map(Content::File),
            prop::collection::vec(file(), 1..10).prop_map(Content::Folder)
        ];
        let trackers = prop::collection::vec("(https?|udp)://[a-z]{1,9}(:[1-9])?/announce", 0..3);
        let bytes = prop::option::of(prop::collection::vec(any::<u8>(), 1..50).prop_map(Bytes::from));
        let first = (text(), content, 14u32..20, trackers, any::<bool>(), playtime());
        let second = (bytes, [(); 3].map(|()| prop::option::of(text())), prop::option::of(any::<i64>()));
        (first, second).prop_map(
            |((name, content, power, trackers, private, playtime), (thumbnail, texts, date))| {
                let [title, comment, created_by] = texts;
                let trackers = trackers.into_iter().collect::<std::collections::BTreeSet<_>>();
                let trackers = trackers.into_iter().map(|url| vec![url]).collect();
                let piece_length = 1 << power;
                Draft {
                    name,
                    content,
                    piece_length,
                    trackers,
                    private,
                    playtime,
                    thumbnail,
                    title,
                    comment,
                    created_by,
                    creation_date: date,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(draft in draft().prop_filter("not empty", |d| d.content.total() > 0)) {
            let geometry = check(&draft).unwrap();
            let hashes: Vec<[u8; HASH]> = geometry.all().map(|p| [p.number() as u8; HASH]).collect();
            let read = Metainfo::parse(&encode(&draft, &hashes).unwrap()).unwrap();
            prop_assert_eq!((&read.name, read.geometry, read.private), (&draft.name, geometry, draft.private));
            prop_assert!(geometry.all().all(|p| read.piece_hash(p) == hashes[p.index()]));
            prop_assert_eq!(&read.trackers, &draft.trackers);
            prop_assert_eq!((&read.comment, &read.created_by), (&draft.comment, &draft.created_by));
            prop_assert_eq!((&read.thumbnail, read.creation_date), (&draft.thumbnail, draft.creation_date));
            prop_assert_eq!(read.playtime, draft.playtime);
            let titled = draft.title.is_some() || draft.playtime.is_some() || draft.thumbnail.is_some();
            let title = titled.then(|| draft.title.unwrap_or_else(|| draft.name.clone()));
            prop_assert_eq!(read.title, title);
            let files: Vec<DraftFile> = match draft.content {
                Content::File(length) => vec![DraftFile { path: vec![draft.name], length, playtime: None }],
                Content::Folder(files) => files,
            };
            let back = |f: &crate::metainfo::layout::File| {
                DraftFile { path: f.name.clone(), length: f.length(), playtime: f.playtime }
            };
            prop_assert_eq!(read.layout.files.iter().map(back).collect::<Vec<_>>(), files);
        }

        #[test]
        fn arbitrary_piece_lengths_never_panic(text: String, close in "[0-9]{0,12}[kKmMiIbB]{0,3}") {
            for text in [text, close] {
                if let Ok(PieceLength::Bytes(length)) = text.parse() {
                    prop_assert!(length.is_power_of_two() && PIECE_LENGTHS.contains(&length));
                }
            }
        }
    }
}
