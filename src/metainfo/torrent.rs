//! What a `.torrent` or `.tstream` says: BEP 3 metainfo with the SwarmPlayer's duration and thumbnail.
//!
//! Invariant: the info-hash is the SHA-1 of the bytes that came in; there is one hash for each piece that the
//! geometry has (of a live broadcast none at all), and the layout covers exactly its bytes. What is wrong in a part that playing does not need
//! counts as absent. Of a hybrid torrent (BEP 52) the v1 part is read and the v2 part is not looked at, as by
//! every v1 client: its bytes are verified by the v1 hashes alone.

use std::time::Duration;

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::geometry::{Geometry, GeometryError, PieceIndex};
use super::layout::{File, Layout, MAX_FILES};
use super::path::PathError;
use super::tstream::{Live, LiveError, Unplayable};
use super::{files, trackers};
use crate::wire::bencode::{self, BencodeError, Limits, Value};
use crate::wire::ids::InfoHash;

/// Longest metainfo file that is read, in bytes.
pub const MAX_METAINFO: usize = 16 * 1024 * 1024;
/// Largest thumbnail that is kept, in bytes.
pub const MAX_THUMBNAIL: usize = 1024 * 1024;
/// Longest title, description or comment that is kept, in bytes.
pub const MAX_TEXT: usize = 4096;
/// Fastest media that is believed, in bytes/s.
pub const MAX_SPEED: u64 = 1 << 32;
/// Bytes of a SHA-1.
const HASH: usize = 20;
/// So much of what is no torrent is shown.
const FIRST_BYTES: usize = 16;

/// A parsed metainfo file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metainfo {
    /// SHA-1 of the raw `info` slice.
    pub info_hash: InfoHash,
    /// The raw `info` slice itself.
    pub info: Bytes,
    /// `info.name`, a stranger's text: escape it before showing it. The info-hash when it names nothing.
    pub name: String,
    /// How it is cut into pieces.
    pub geometry: Geometry,
    /// Its files.
    pub layout: Layout,
    /// SHA-1 of every piece, 20 bytes each; empty for a live broadcast.
    pub hashes: Bytes,
    /// What makes it a live broadcast, if it is one.
    pub live: Option<Live>,
    /// BEP 27: peers only from the trackers.
    pub private: bool,
    /// Tracker URLs in tiers (BEP 12), or the single `announce`.
    pub trackers: Vec<Vec<String>>,
    /// Duration of the whole torrent's media: `info.playtime`, else `playtime` beside `info`. None of a
    /// live broadcast, which has no end.
    pub playtime: Option<Duration>,
    /// `azureus_properties.Content."Speed Bps"`: bytes/s.
    pub speed: Option<u64>,
    /// `azureus_properties.Content.Title`, a stranger's text.
    pub title: Option<String>,
    /// `azureus_properties.Content.Description`, a stranger's text.
    pub description: Option<String>,
    /// `azureus_properties.Content.Thumbnail`: JPEG bytes, not checked.
    pub thumbnail: Option<Bytes>,
    /// `comment`, a stranger's text.
    pub comment: Option<String>,
    /// `created by`, a stranger's text.
    pub created_by: Option<String>,
    /// `creation date`, Unix seconds.
    pub creation_date: Option<i64>,
}

/// Why a metainfo file cannot be used. Fit for print: strangers' names in it are escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetainfoError {
    /// More than [`MAX_METAINFO`].
    #[error("{0} bytes are more than a torrent may have ({MAX_METAINFO})")]
    TooLong(usize),
    /// Something else, by its first bytes.
    #[error("not a torrent: it does not begin as one does (the file's first bytes: '{0}')")]
    Other(String),
    /// Nothing.
    #[error("not a torrent: the file is empty")]
    Nothing,
    /// It begins like bencode and is none, or is beyond a limit.
    #[error("not a torrent, or a damaged one: {0}")]
    Bencode(#[from] BencodeError),
    /// Bencode, but no dictionary with an `info` dictionary.
    #[error("not a torrent: no `info` dictionary")]
    NoInfo,
    /// A key of `info` is missing, or its value is of the wrong kind.
    #[error("not a torrent: no usable `{0}` in its `info`")]
    Missing(&'static str),
    /// An entry of `info.files` is wrong.
    #[error("file {index} of the torrent does not have {what}")]
    File {
        /// Its place in `info.files`, from 0.
        index: usize,
        /// What is due.
        what: &'static str,
    },
    /// More than [`MAX_FILES`].
    #[error("the torrent has more than {MAX_FILES} files")]
    TooManyFiles,
    /// The files' lengths do not fit into 64 bits together.
    #[error("the torrent's files are longer than 64 bits can tell")]
    Total,
    /// Names that cannot be told apart.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Pieces too large, too many or none.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// Not one hash for each piece.
    #[error("the torrent has {got} bytes of piece hashes where {due} are due")]
    Hashes {
        /// Bytes in `info.pieces`.
        got: usize,
        /// 20 for each piece.
        due: usize,
    },
    /// BEP 52 without the v1 part.
    #[error("this is a BitTorrent v2 torrent without a v1 part; only v1 and hybrid torrents can be played")]
    V2Only,
    /// BEP 30, as old Tribler made it: `root hash` instead of `pieces`.
    #[error("this is a Merkle torrent (`root hash` instead of `pieces`), which cannot be played")]
    Merkle,
    /// A live broadcast that is none.
    #[error(transparent)]
    Live(#[from] LiveError),
}

impl Metainfo {
    /// Reads a metainfo file. Bytes behind its dictionary are ignored: some files end in a line break.
    ///
    /// # Errors
    /// When it is not a torrent, is beyond a limit, or is of a kind that we know nothing to do with.
    pub fn parse(input: &[u8]) -> Result<Self, MetainfoError> {
        if input.len() > MAX_METAINFO {
            return Err(MetainfoError::TooLong(input.len()));
        }
        match input.first() {
            None => return Err(MetainfoError::Nothing),
            // A dictionary.
            Some(b'd') => {}
            Some(_) => {
                let first = &input[..input.len().min(FIRST_BYTES)];
                return Err(MetainfoError::Other(first.escape_ascii().to_string()));
            }
        }
        let file = Bytes::copy_from_slice(input);
        let (root, _) = bencode::parse_prefix(&file, Limits { length: MAX_METAINFO, ..Limits::DEFAULT })?;
        let outer = root.as_dict().ok_or(MetainfoError::NoInfo)?;
        let info =
            outer.find(b"info").filter(|info| info.as_dict().is_some()).ok_or(MetainfoError::NoInfo)?;
        let info_hash = InfoHash(Sha1::digest(info.raw()).into());
        let name = files::name(info, info_hash)?;
        let is_live = Live::is_in(info);
        if !is_live {
            check_kind(info)?;
        }
        let layout = files::layout(info, &name)?;
        let geometry = geometry(info, &layout)?;
        let live = if is_live { Some(Live::read(info, &geometry)?) } else { None };
        let hashes = if is_live { Bytes::new() } else { file.slice_ref(hashes(info, &geometry)?) };
        let playtime = || files::playtime(info).or_else(|| files::playtime(root));
        let content = root.find(b"azureus_properties").and_then(|vuze| vuze.find(b"Content"));
        let content = |key: &[u8]| content.and_then(|content| content.find(key));
        Ok(Self {
            info_hash,
            info: file.slice_ref(info.raw()),
            name,
            geometry,
            layout,
            hashes,
            live,
            private: info.find(b"private").and_then(Value::as_int).is_some_and(|private| private != 0),
            trackers: trackers::tiers(outer),
            playtime: if is_live { None } else { playtime() },
            speed: content(b"Speed Bps").and_then(Value::as_u64).filter(|s| (1..=MAX_SPEED).contains(s)),
            title: content(b"Title").and_then(text),
            description: content(b"Description").and_then(text),
            thumbnail: content(b"Thumbnail").and_then(thumbnail).map(|jpeg| file.slice_ref(jpeg)),
            comment: outer.find(b"comment").and_then(text),
            created_by: outer.find(b"created by").and_then(text),
            creation_date: outer.find(b"creation date").and_then(Value::as_int),
        })
    }

    /// The cut as the engine has it: without end for a live broadcast.
    pub fn engine_geometry(&self) -> Geometry {
        if self.live.is_some() { self.geometry.live() } else { self.geometry }
    }

    /// Whether it may be opened, to be played or shared: what every door asks after reading a torrent.
    ///
    /// # Errors
    /// When it is a kind of broadcast that we cannot take part in.
    pub fn playable(&self, allow_unsigned: bool) -> Result<(), Unplayable> {
        self.live.as_ref().map_or(Ok(()), |live| live.playable(&self.name, allow_unsigned))
    }

    /// The SHA-1 that this piece's bytes must have.
    ///
    /// # Panics
    /// When it is a live broadcast: whoever verifies pieces has to know which kind he has.
    pub fn piece_hash(&self, piece: PieceIndex) -> [u8; HASH] {
        assert!(self.live.is_none(), "a live broadcast has signatures in its pieces, and no hashes");
        let at = piece.index() * HASH;
        self.hashes[at..at + HASH].try_into().expect("parsing checked that there are 20 bytes a piece")
    }

    /// Duration of one file's media, or with `None` of the whole torrent's: the file's own, else the
    /// torrent's if that file is what one watches in it.
    pub fn duration(&self, file: Option<usize>) -> Option<Duration> {
        match file {
            Some(index) => {
                let own = self.layout.files.get(index)?.playtime;
                own.or_else(|| self.playtime.filter(|_| self.layout.largest_media() == Some(index)))
            }
            None => self
                .playtime
                .or_else(|| self.layout.files.iter().filter_map(|file| file.playtime).reduce(sum)),
        }
    }

    /// Bytes/s of media, of one file or with `None` of the torrent: length through duration, else what
    /// `Speed Bps` says. In the SwarmPlayer's order: the file's own playtime, `info.playtime`, `playtime`
    /// beside `info`, `Speed Bps`. At least 1.
    pub fn bitrate(&self, file: Option<usize>) -> Option<u64> {
        let from_file = |file: &File| Some(rate(file.length(), file.playtime?));
        let own = file.and_then(|index| self.layout.files.get(index)).and_then(from_file);
        let whole = || self.playtime.map(|playtime| rate(self.layout.payload(), playtime));
        let largest =
            || self.layout.largest_media().map(|index| &self.layout.files[index]).and_then(from_file);
        own.or_else(whole).or_else(largest).or(self.speed)
    }
}

/// Refuses films that cannot be played although they are well-formed.
fn check_kind(info: Value<'_>) -> Result<(), MetainfoError> {
    match info.find(b"pieces") {
        Some(_) => Ok(()),
        None if info.find(b"root hash").is_some() => Err(MetainfoError::Merkle),
        None if info.find(b"meta version").is_some() || info.find(b"file tree").is_some() => {
            Err(MetainfoError::V2Only)
        }
        None => Err(MetainfoError::Missing("pieces")),
    }
}

fn geometry(info: Value<'_>, layout: &Layout) -> Result<Geometry, MetainfoError> {
    let length = info.find(b"piece length").and_then(Value::as_u64);
    Ok(Geometry::new(length.ok_or(MetainfoError::Missing("piece length"))?, layout.total())?)
}

fn hashes<'a>(info: Value<'a>, geometry: &Geometry) -> Result<&'a [u8], MetainfoError> {
    let hashes = info.find(b"pieces").and_then(Value::as_bytes).ok_or(MetainfoError::Missing("pieces"))?;
    let (got, due) = (hashes.len(), geometry.pieces() as usize * HASH);
    if got == due { Ok(hashes) } else { Err(MetainfoError::Hashes { got, due }) }
}

fn thumbnail(value: Value<'_>) -> Option<&[u8]> {
    value.as_bytes().filter(|jpeg| (1..=MAX_THUMBNAIL).contains(&jpeg.len()))
}

/// A stranger's text of at most [`MAX_TEXT`] bytes, if there is any.
pub(super) fn text(value: Value<'_>) -> Option<String> {
    let bytes = value.as_bytes().filter(|bytes| !bytes.is_empty())?;
    Some(String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]).into_owned())
}

fn sum(a: Duration, b: Duration) -> Duration {
    a.saturating_add(b)
}

/// Bytes/s, at least 1.
fn rate(bytes: u64, playtime: Duration) -> u64 {
    let rate = u128::from(bytes) * 1000 / playtime.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Pair, d, i, l, s};
    use super::*;
    use proptest::prelude::*;

    fn path(components: &[&str]) -> Pair<'static> {
        ("path", l(&components.iter().map(s).collect::<Vec<_>>()))
    }

    /// The usual keys of one piece of at most 16 KiB.
    fn cut() -> [Pair<'static>; 2] {
        [("piece length", i(16384)), ("pieces", s("01234567890123456789"))]
    }

    fn single() -> [Pair<'static>; 4] {
        let [length, pieces] = cut();
        [("length", i(5000)), ("name", s("a")), length, pieces]
    }

    fn read(info: &[Pair<'_>], outside: &[Pair<'_>]) -> Result<Metainfo, MetainfoError> {
        Metainfo::parse(&d(&[&[("info", d(info))], outside].concat()))
    }

    fn folder(files: &[Vec<u8>]) -> Result<Metainfo, MetainfoError> {
        read(&[&[("files", l(files)), ("name", s("t"))], &cut()[..]].concat(), &[])
    }

    /// Why it is refused with this key having this value, or with the key missing.
    fn error(key: &str, value: Option<Vec<u8>>) -> MetainfoError {
        let mut info = single().to_vec();
        info.retain(|(k, _)| *k != key);
        info.extend(value.map(|value| (key, value)));
        read(&info, &[]).unwrap_err()
    }

    #[test]
    fn the_info_hash_is_of_the_bytes_that_came_in() {
        let info =
            b"d6:pieces020:0123456789012345678912:piece lengthi0016384e4:name1:a6:lengthi5e6:lengthi6ee";
        let m = Metainfo::parse(&[b"d4:info", &info[..], b"e\n"].concat()).unwrap();
        assert_eq!((&m.info[..], m.info_hash), (&info[..], InfoHash(Sha1::digest(info).into())));
        assert_eq!((m.layout.total(), &m.hashes[..]), (5, &b"01234567890123456789"[..]));
        assert_eq!(m.piece_hash(m.geometry.piece(0).unwrap()), *b"01234567890123456789");
    }

    #[test]
    fn names_in_utf8_are_preferred() {
        let first = d(&[("length", i(5)), path(&["x"]), ("path.utf-8", l(&[s("yä")]))]);
        let second = d(&[("length", i(7)), path(&["z"]), ("path.utf-8", l(&[s(b"\xff")]))]);
        let names = [("name", s("a")), ("name.utf-8", s("ä")), ("files", l(&[first, second]))];
        let m = read(&[&names, &cut()[..]].concat(), &[]).unwrap();
        let files: Vec<_> =
            m.layout.files.iter().map(|f| (f.name.concat(), f.disk.to_str().unwrap())).collect();
        assert_eq!(files, [("yä".to_owned(), "ä/yä"), ("z".to_owned(), "ä/z")]);
        assert_eq!(m.name, "ä");
        let latin = [("length", i(5)), ("name", s(b"\xe4a")), ("name.utf-8", s(b"\xff"))];
        assert_eq!(read(&[&latin, &cut()[..]].concat(), &[]).unwrap().name, "\u{fffd}a");
    }

    #[test]
    fn a_name_that_names_nothing_gives_way_to_the_info_hash() {
        for name in ["", ".", ".."] {
            let m = read(&[&[("length", i(5)), ("name", s(name))], &cut()[..]].concat(), &[]).unwrap();
            assert_eq!(m.name, m.info_hash.to_string());
            assert_eq!(m.layout.files[0].disk.to_str(), Some(m.name.as_str()));
        }
    }

    #[test]
    fn pad_files_and_links_are_not_for_the_disk() {
        let m = folder(&[
            d(&[("length", i(5)), path(&["a"])]),
            d(&[("attr", s("p")), ("length", i(9))]),
            d(&[("attr", s("p")), ("length", i(9)), path(&[".pad", "9"])]),
            d(&[("attr", s("xl")), path(&["b"]), ("symlink path", l(&[s(".."), s("..")]))]),
            d(&[("length", i(1)), path(&["_____padding_file_0_if you see this file"])]),
            d(&[("attr", s("x")), ("length", i(0)), path(&["c"])]),
        ]);
        let files = m.unwrap().layout.files;
        let files: Vec<_> =
            files.iter().map(|f| (f.disk.to_str().unwrap(), f.range.clone(), f.pad)).collect();
        let expected = [("t/a", 0..5, false), ("", 5..14, true), ("", 14..23, true), ("", 23..24, true)];
        assert_eq!(files, [&expected[..], &[("t/c", 24..24, false)]].concat());
    }

    #[test]
    fn kinds_that_cannot_be_played_are_told_apart() {
        let name = || ("name", s("a\x1b[m"));
        let refused = |info: &[Pair<'_>]| read(info, &[]).unwrap_err();
        assert_eq!(refused(&[("meta version", i(2)), ("file tree", d(&[])), name()]), MetainfoError::V2Only);
        assert_eq!(refused(&[("length", i(5)), name(), ("root hash", s("0"))]), MetainfoError::Merkle);
        assert_eq!(refused(&[("length", i(5)), name(), ("live", i(1))]), MetainfoError::Missing("pieces"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(error("name", None), MetainfoError::Missing("name"));
        assert_eq!(error("name", Some(s("a\0"))), MetainfoError::Missing("name"));
        assert_eq!(error("length", Some(i(-5))), MetainfoError::Missing("length"));
        assert_eq!(error("pieces", None), MetainfoError::Missing("pieces"));
        assert_eq!(error("pieces", Some(i(5))), MetainfoError::Missing("pieces"));
        assert_eq!(error("piece length", Some(i(-1))), MetainfoError::Missing("piece length"));
        assert_eq!(error("length", Some(i(16385))), MetainfoError::Hashes { got: 20, due: 40 });
        assert_eq!(error("files", Some(l(&[]))), GeometryError::Empty.into());
        assert_eq!(error("files", Some(d(&[]))), MetainfoError::Missing("files"));
        let huge = d(&[("length", b"i18446744073709551615e".to_vec()), path(&["a"])]);
        assert_eq!(error("files", Some(l(&[huge.clone(), huge]))), MetainfoError::Total);
        let (good, deep) = (d(&[("length", i(5)), path(&["a"])]), d(&[("length", i(5)), path(&["x"; 257])]));
        let what = "a list of at most 256 names as `path`";
        assert_eq!(error("files", Some(l(&[good.clone(), deep]))), MetainfoError::File { index: 1, what });
        assert_eq!(error("files", Some(l(&vec![good; MAX_FILES + 1]))), MetainfoError::TooManyFiles);
        assert_eq!(Metainfo::parse(b""), Err(MetainfoError::Nothing));
        for (other, first) in
            [(&b"4:info"[..], "4:info"), (b"\0\0\0\x20ftypisom....", "\\x00\\x00\\x00 ftypisom....")]
        {
            assert_eq!(Metainfo::parse(other), Err(MetainfoError::Other(first.to_owned())));
        }
        assert_eq!(Metainfo::parse(b"d4:info1:ae"), Err(MetainfoError::NoInfo));
        let long = vec![b'd'; MAX_METAINFO + 1];
        assert_eq!(Metainfo::parse(&long), Err(MetainfoError::TooLong(long.len())));
    }

    #[test]
    fn the_bitrate_is_found_in_the_swarmplayers_order() {
        let speed = |bps| ("azureus_properties", d(&[("Content", d(&[("Speed Bps", i(bps))]))]));
        let later = || [speed(99), ("playtime", s("0:10"))];
        let rate = |playtime: Option<Vec<u8>>, outside: &[Pair<'_>]| {
            let playtime: Vec<_> = playtime.into_iter().map(|value| ("playtime", value)).collect();
            let m = read(&[&single(), &playtime[..]].concat(), outside).unwrap();
            assert_eq!(m.bitrate(None), m.bitrate(Some(0)));
            (m.bitrate(None), m.duration(Some(0)).map(|d| d.as_secs()))
        };
        assert_eq!(rate(Some(s("0:20")), &later()), (Some(250), Some(20)));
        assert_eq!(rate(Some(i(50)), &later()), (Some(100), Some(50)));
        assert_eq!(rate(Some(s("no time")), &later()), (Some(500), Some(10)));
        assert_eq!(rate(None, &[speed(99)]), (Some(99), None));
        assert_eq!(rate(None, &[speed(0)]), (None, None));
        assert_eq!(rate(None, &[]), (None, None));
        assert_eq!(rate(Some(s("99:00:00")), &[]).0, Some(1), "never none a second");
    }

    #[test]
    fn each_file_of_a_folder_has_its_own_duration() {
        let file = |name, length, time| d(&[("length", i(length)), path(&[name]), ("playtime", s(time))]);
        let text = d(&[("length", i(9)), path(&["c.txt"])]);
        let m = folder(&[file("a.mkv", 1000, "0:10"), file("b.mkv", 4000, "0:20"), text]).unwrap();
        assert_eq!(
            [m.bitrate(Some(0)), m.bitrate(Some(1)), m.bitrate(None)],
            [Some(100), Some(200), Some(200)]
        );
        assert_eq!([m.bitrate(Some(2)), m.bitrate(Some(77))], [Some(200); 2], "that of the film");
        assert_eq!(m.duration(None), Some(Duration::from_secs(30)));
        assert_eq!([m.duration(Some(2)), m.duration(Some(77))], [None; 2]);
    }

    #[test]
    fn extras_are_read_and_bounded() {
        let content = |title: usize, jpeg: usize| {
            let text = s("t".repeat(title));
            let pairs = [("Title", text.clone()), ("Description", text), ("Thumbnail", s("j".repeat(jpeg)))];
            ("azureus_properties", d(&[("Content", d(&pairs))]))
        };
        let private = [&single(), &[("private", i(1))][..]].concat();
        let m = read(&private, &[content(3, 4), ("comment", s("c")), ("creation date", i(7))]).unwrap();
        assert_eq!((m.title.as_deref(), m.thumbnail.as_deref()), (Some("ttt"), Some(&b"jjjj"[..])));
        assert_eq!(m.description.as_deref(), Some("ttt"));
        assert_eq!((m.comment.as_deref(), m.creation_date, m.private), (Some("c"), Some(7), true));
        let m = read(&single(), &[content(MAX_TEXT + 1, MAX_THUMBNAIL + 1), ("comment", s(""))]).unwrap();
        assert_eq!((m.title.map(|t| t.len()), m.thumbnail), (Some(MAX_TEXT), None));
        assert_eq!(m.description.map(|t| t.len()), Some(MAX_TEXT));
        assert_eq!((m.comment, m.creation_date, m.private), (None, None, false));
    }

    fn good() -> Vec<u8> {
        let file = d(&[("length", i(5)), path(&["a", "b.mkv"]), ("playtime", s("0:10"))]);
        let pad = d(&[("attr", s("p")), ("length", i(9))]);
        let info = d(&[&[("files", l(&[file, pad])), ("name", s("t"))], &cut()[..]].concat());
        d(&[("announce", s("http://a")), ("announce-list", l(&[l(&[s("udp://b")])])), ("info", info)])
    }

    #[test]
    fn the_torrent_that_the_mutations_start_from_is_good() {
        assert_eq!(Metainfo::parse(&good()).map(|m| m.layout.total()), Ok(14));
    }

    /// Checks the invariant, and that nothing that can be asked panics.
    fn is_sound(m: &Metainfo) -> bool {
        let hashed = m.geometry.all().all(|p| m.piece_hash(p) == m.hashes[p.index() * HASH..][..HASH]);
        let asked = [None, Some(0), Some(1)].map(|file| (m.bitrate(file), m.duration(file)));
        hashed && m.layout.total() == m.geometry.total() && !asked.contains(&(Some(0), None))
    }

    proptest! {
        #[test]
        fn changed_torrents_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6)
        ) {
            let mut bytes = good();
            for (at, byte, how) in changes {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            if let Ok(m) = Metainfo::parse(&bytes) {
                prop_assert!(is_sound(&m));
            }
        }

        #[test]
        fn odd_values_of_the_right_keys_never_panic(
            odd in prop::collection::vec((
                prop::sample::select(vec!["files", "length", "name", "pieces", "piece length", "live", "playtime", "path"]),
                prop::sample::select(vec![
                    "i1e", "i-1e", "i99999999999999e", "le", "de", "1:a", "20:01234567890123456789",
                    "ld6:lengthi4e4:pathl1:aeee", "l1:ae", "ld6:lengthi4e4:pathi1eee",
                ]),
            ), 0..4)
        ) {
            let odd: Vec<Pair<'_>> = odd.into_iter().map(|(key, value)| (key, value.into())).collect();
            // Of repeated keys the first wins.
            if let Ok(m) = read(&[&odd, &single()[..]].concat(), &[]) {
                prop_assert!(is_sound(&m));
            }
        }
    }
}
