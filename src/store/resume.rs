//! What is flushed: the pieces that are on disk even if the machine loses power now, in a small file.
//!
//! The file is `swarm resume 1\n`, the SHA-1 of the rest, and a bencoded dictionary. It is replaced
//! atomically (new file, `fsync`, `rename`, `fsync` of the folder), so a crash leaves the old or the new one.
//! A piece gets in only after the `fdatasync` of the files that it lies in.
//!
//! Every write changes a file's time, so times alone cannot tell after a crash whether somebody else wrote.
//! The lock can: while we hold it nobody else of ours writes. Hence two kinds of state, told by `clean`:
//!
//! - **clean** (saved with no write after it, or closed): each file must have the length and time of change
//!   that the state says. Pieces of a file that has not are doubtful; all others are as the state says.
//! - **dirty** (written at the first write of a session, so it is what `kill -9` leaves behind): pieces of the
//!   state are trusted, since nothing writes over a flushed piece; all others are doubtful: hashed where there
//!   is data, which costs nothing where there is none. A file is changed by somebody else if it is another
//!   inode (same boot), too short, or was written later than [`GRACE`] after the last save.
//! - A flushed piece can be taken back (discarded, or written again). That is saved *before* it happens. After
//!   a crash of the process the state is right as it is. After a crash of the machine (another boot id) it may
//!   be an older one that still has the piece: `volatile`, made durable before the first piece is taken back,
//!   says so, and everything is doubtful then.
//!
//! The times of files that we did not write are those from when we opened them, so that a change by somebody
//! else while we only seed is seen at the next start.
//!
//! A file that is missing takes its pieces with it. No file, a torn one, another version, another torrent:
//! everything is doubtful. Nothing here is ever trusted because it looks likely: at worst we hash again.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use bendy::decoding::{Decoder, Object};
use bendy::encoding::{Encoder, SingleItemEncoder};
use rustix::fs::OFlags;
use sha1::{Digest, Sha1};

use super::StoreError;
use super::dir::{Access, Dir};
use super::disk::SAVE_EVERY;
use super::stamp::{PACKED, Stamp};
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::Geometry;
use crate::metainfo::layout::Layout;
use crate::wire::ids::InfoHash;

/// First bytes of the file; the number is the version of the format.
const MARK: &[u8] = b"swarm resume 1\n";
/// Length of the SHA-1 behind the mark.
const CHECKSUM: usize = 20;
/// Most bytes that are read: 2^21 pieces and half a million files.
const MAX_LENGTH: u64 = 16 << 20;
/// A file written this much later than the last save was written by somebody else. Twenty saves may be late.
const GRACE: Duration = Duration::from_secs(20 * SAVE_EVERY.as_secs());
/// The number that Linux gives each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the resume file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The flushed pieces.
    pub(super) pieces: Bitfield,
    /// Nothing was written after it.
    pub(super) clean: bool,
    /// Flushed pieces may have been taken back after it.
    pub(super) volatile: bool,
    /// The boot in which it was written.
    pub(super) boot: String,
    /// The files as they were, in the order of the layout; `None` for missing ones and pad files.
    pub(super) files: Vec<Option<Stamp>>,
}

/// A state and when it was saved (seconds).
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) saved: i64,
}

/// What to think of each piece; those in neither set are not there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// On disk, no need to look.
    pub(super) trusted: Bitfield,
    /// Perhaps on disk: hash it.
    pub(super) doubtful: Bitfield,
}

impl State {
    fn encode(&self, info_hash: &InfoHash) -> Result<Vec<u8>, bendy::encoding::Error> {
        let files: Vec<u8> = self.files.iter().flat_map(|stamp| Stamp::pack(*stamp)).collect();
        let bytes = |value: &[u8], e: SingleItemEncoder<'_>| e.emit_bytes(value);
        let mut body = Encoder::new();
        body.emit_dict(|mut e| {
            e.emit_pair_with(b"boot", |e| bytes(self.boot.as_bytes(), e))?;
            e.emit_pair(b"clean", u8::from(self.clean))?;
            e.emit_pair_with(b"files", |e| bytes(&files, e))?;
            e.emit_pair_with(b"info-hash", |e| bytes(&info_hash.0, e))?;
            e.emit_pair_with(b"pieces", |e| bytes(self.pieces.as_wire(), e))?;
            e.emit_pair(b"volatile", u8::from(self.volatile))
        })?;
        let body = body.get_output()?;
        Ok([MARK, &Sha1::digest(&body), &body].concat())
    }

    /// `None` for anything that this version did not write for this torrent.
    fn decode(file: &[u8], info_hash: &InfoHash, geometry: &Geometry, files: usize) -> Option<Self> {
        let (checksum, body) = file.strip_prefix(MARK)?.split_at_checked(CHECKSUM)?;
        if Sha1::digest(body)[..] != *checksum {
            return None;
        }
        let mut decoder = Decoder::new(body);
        let mut dict = decoder.next_object().ok()??.try_into_dictionary().ok()?;
        let mut next = |expected: &[u8]| match dict.next_pair() {
            Ok(Some((key, value))) if key == expected => value_of(value),
            _ => None,
        };
        let boot = String::from_utf8(next(b"boot")?).ok()?;
        let clean = flag(&next(b"clean")?)?;
        let stamps = next(b"files")?;
        let ours = next(b"info-hash")? == info_hash.0;
        let pieces = Bitfield::from_wire(geometry, &next(b"pieces")?).ok()?;
        let volatile = flag(&next(b"volatile")?)?;
        let (stamps, rest) = stamps.as_chunks::<PACKED>();
        if !ours || stamps.len() != files || !rest.is_empty() {
            return None;
        }
        let files = stamps.iter().map(Stamp::unpack).collect::<Option<_>>()?;
        Some(Self { pieces, clean, volatile, boot, files })
    }
}

fn value_of(value: Object<'_, '_>) -> Option<Vec<u8>> {
    match value {
        Object::Bytes(bytes) => Some(bytes.to_vec()),
        Object::Integer(digits) => Some(digits.as_bytes().to_vec()),
        _ => None,
    }
}

fn flag(digits: &[u8]) -> Option<bool> {
    match digits {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}

/// Decides what of a torrent's files can be believed, see the module's documentation.
pub(super) fn judge(
    before: Option<&Loaded>,
    now: &[Option<Stamp>],
    boot: &str,
    geometry: &Geometry,
    layout: &Layout,
) -> Verdict {
    let believed = before.filter(|l| l.state.clean || !l.state.volatile || l.same_boot(boot));
    let mut verdict = Verdict { trusted: Bitfield::empty(geometry), doubtful: Bitfield::full(geometry) };
    if let Some(loaded) = believed {
        verdict.trusted = loaded.state.pieces.clone();
        let certain = |piece: &_| loaded.state.clean || loaded.state.pieces.has(*piece);
        geometry.all().filter(certain).for_each(|piece| _ = verdict.doubtful.remove(piece));
    }
    let on_disk = || layout.files.iter().enumerate().filter(|(_, file)| !file.pad);
    let changed = |n: usize| {
        now[n].zip(believed).is_some_and(|(stamp, loaded)| {
            let length = layout.files[n].length();
            loaded.changed(n, &stamp, length, boot)
        })
    };
    for (_, file) in on_disk().filter(|(n, _)| changed(*n)) {
        for piece in geometry.pieces_in(&file.range) {
            verdict.trusted.remove(piece);
            verdict.doubtful.insert(piece);
        }
    }
    for (_, file) in on_disk().filter(|(n, _)| now[*n].is_none()) {
        for piece in geometry.pieces_in(&file.range) {
            verdict.trusted.remove(piece);
            verdict.doubtful.remove(piece);
        }
    }
    verdict
}

impl Loaded {
    fn same_boot(&self, boot: &str) -> bool {
        !boot.is_empty() && self.state.boot == boot
    }

    /// Whether somebody else changed a file that is there now.
    fn changed(&self, file: usize, now: &Stamp, length: u64, boot: &str) -> bool {
        let before = self.state.files[file];
        if self.state.clean {
            return before.is_none_or(|b| (b.length, b.modified) != (now.length, now.modified));
        }
        let replaced = self.same_boot(boot) && before.is_some_and(|b| b.inode != now.inode);
        let late = now.modified.0 > self.saved.saturating_add_unsigned(GRACE.as_secs());
        replaced || late || now.length < length
    }
}

/// This boot of the machine; empty where the system does not tell, which is taken for another boot each time.
pub(super) fn boot_id() -> String {
    std::fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// The resume file of one torrent. Only the holder of the torrent's lock may have one.
#[derive(Debug)]
pub(super) struct ResumeFile {
    dir: Dir,
    name: OsString,
    info_hash: InfoHash,
}

impl ResumeFile {
    pub(super) fn new(dir: Dir, name: OsString, info_hash: InfoHash) -> Self {
        Self { dir, name, info_hash }
    }

    /// What was saved, if it can be read and is ours.
    pub(super) fn load(&self, geometry: &Geometry, files: usize) -> Option<Loaded> {
        let file = self.dir.open(&self.name, OFlags::RDONLY, Access::Private).ok()?;
        let saved = file.metadata().ok()?.mtime();
        let mut bytes = Vec::new();
        file.take(MAX_LENGTH).read_to_end(&mut bytes).ok()?;
        let state = State::decode(&bytes, &self.info_hash, geometry, files)?;
        Some(Loaded { state, saved })
    }

    /// Replaces what was saved. `durable`: it survives a crash of the machine from now on.
    pub(super) fn save(&self, state: &State, durable: bool) -> Result<(), StoreError> {
        let mut new = self.name.clone();
        new.push(".new");
        let path = self.dir.path_of(&new);
        let bytes = state.encode(&self.info_hash);
        let bytes = bytes.map_err(|e| StoreError::io(&path, std::io::Error::other(e.to_string())))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut file = self.dir.open(&new, flags, Access::Private)?;
        let written = file.write_all(&bytes).and_then(|()| if durable { file.sync_all() } else { Ok(()) });
        written.map_err(|e| StoreError::io(&path, e))?;
        self.dir.rename(&new, &self.name)?;
        if durable { self.dir.sync() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::layout;
    use super::*;
    use proptest::prelude::*;

    const HASH: InfoHash = InfoHash([7; 20]);

    /// 10 pieces of 10 bytes in three files: pieces 0-3, 3-6, 7-9.
    fn torrent() -> (Geometry, Layout) {
        (Geometry::new(10, 100).unwrap(), layout(&[(35, false), (35, false), (30, false)]))
    }

    fn stamp(length: u64) -> Option<Stamp> {
        Some(Stamp { length, modified: (1_000, 5), inode: 3 })
    }

    fn stamps() -> Vec<Option<Stamp>> {
        vec![stamp(35), stamp(35), stamp(30)]
    }

    fn pieces(numbers: &[u32]) -> Bitfield {
        let (g, _) = torrent();
        let mut set = Bitfield::empty(&g);
        numbers.iter().for_each(|n| _ = set.insert(g.piece(*n).unwrap()));
        set
    }

    fn loaded(clean: bool, volatile: bool) -> Loaded {
        let (pieces, boot) = (pieces(&[0, 1, 4, 8]), "boot".to_owned());
        Loaded { state: State { pieces, clean, volatile, boot, files: stamps() }, saved: 1_010 }
    }

    /// Numbers of the trusted and of the doubtful pieces.
    fn judged(before: Option<&Loaded>, now: &[Option<Stamp>], boot: &str) -> (Vec<u32>, Vec<u32>) {
        let (g, l) = torrent();
        let verdict = judge(before, now, boot, &g, &l);
        let numbers = |set: &Bitfield| g.all().filter(|p| set.has(*p)).map(|p| p.number()).collect();
        (numbers(&verdict.trusted), numbers(&verdict.doubtful))
    }

    fn with(file: usize, stamp: Option<Stamp>) -> Vec<Option<Stamp>> {
        let mut now = stamps();
        now[file] = stamp;
        now
    }

    #[test]
    fn without_a_state_everything_that_may_be_there_is_doubtful() {
        assert_eq!(judged(None, &stamps(), "boot"), (vec![], (0..10).collect()));
        assert_eq!(judged(None, &with(1, None), "boot"), (vec![], vec![0, 1, 2, 7, 8, 9]));
        assert_eq!(judged(None, &[None; 3], "boot"), (vec![], vec![]));
    }

    #[test]
    fn a_clean_state_is_believed_but_for_the_files_that_changed() {
        let clean = loaded(true, false);
        assert_eq!(judged(Some(&clean), &stamps(), "other"), (vec![0, 1, 4, 8], vec![]));
        let later = Some(Stamp { modified: (1_000, 6), ..stamp(35).unwrap() });
        assert_eq!(judged(Some(&clean), &with(1, later), "boot"), (vec![0, 1, 8], vec![3, 4, 5, 6]));
        assert_eq!(judged(Some(&clean), &with(0, stamp(34)), "boot"), (vec![4, 8], vec![0, 1, 2, 3]));
        assert_eq!(judged(Some(&clean), &with(0, None), "boot"), (vec![4, 8], vec![]));
        let moved = Some(Stamp { inode: 4, ..stamp(35).unwrap() });
        assert_eq!(judged(Some(&clean), &with(1, moved), "boot"), (vec![0, 1, 4, 8], vec![]));
    }

    #[test]
    fn after_a_crash_flushed_pieces_are_trusted_and_all_others_looked_at() {
        let dirty = loaded(false, false);
        let expected = (vec![0, 1, 4, 8], vec![2, 3, 5, 6, 7, 9]);
        let written = Some(Stamp { modified: (1_200, 0), ..stamp(35).unwrap() });
        assert_eq!(judged(Some(&dirty), &stamps(), "boot"), expected);
        assert_eq!(judged(Some(&dirty), &with(1, written), "boot"), expected);
        assert_eq!(judged(Some(&dirty), &with(1, written), "other"), expected);
    }

    #[test]
    fn a_file_that_was_replaced_cut_or_written_long_after_the_crash_is_doubtful() {
        let dirty = loaded(false, false);
        let expected = (vec![0, 1, 8], vec![2, 3, 4, 5, 6, 7, 9]);
        let moved = Some(Stamp { inode: 4, ..stamp(35).unwrap() });
        let late = Some(Stamp { modified: (9_999, 0), ..stamp(35).unwrap() });
        for changed in [moved, late, stamp(30)] {
            assert_eq!(judged(Some(&dirty), &with(1, changed), "boot"), expected, "{changed:?}");
        }
        assert_eq!(judged(Some(&dirty), &with(1, moved), "other").0, [0, 1, 4, 8]);
        assert_eq!(judged(Some(&dirty), &with(1, None), "boot"), (vec![0, 1, 8], vec![2, 7, 9]));
    }

    #[test]
    fn after_a_power_cut_a_state_whose_pieces_were_taken_back_is_not_believed() {
        let volatile = loaded(false, true);
        assert_eq!(judged(Some(&volatile), &stamps(), "boot").0, [0, 1, 4, 8]);
        assert_eq!(judged(Some(&volatile), &stamps(), "other"), (vec![], (0..10).collect()));
        assert_eq!(judged(Some(&volatile), &stamps(), "").0, [0u32; 0]);
    }

    #[test]
    fn a_torn_or_missing_file_is_no_state_and_a_half_written_new_one_does_no_harm() {
        let temp = tempfile::tempdir().unwrap();
        let (g, _) = torrent();
        let file = ResumeFile::new(Dir::root(temp.path(), None).unwrap(), "resume".into(), HASH);
        assert!(file.load(&g, 3).is_none());
        let state = loaded(true, false).state;
        file.save(&state, true).unwrap();
        std::fs::write(temp.path().join("resume.new"), b"half of it").unwrap();
        assert_eq!(file.load(&g, 3).unwrap().state, state);
        file.save(&loaded(false, true).state, false).unwrap();
        assert_eq!(file.load(&g, 3).unwrap().state, loaded(false, true).state);
        assert!(!temp.path().join("resume.new").exists());
        std::fs::write(temp.path().join("resume"), b"").unwrap();
        assert!(file.load(&g, 3).is_none());
    }

    fn any_state() -> impl Strategy<Value = State> {
        let stamp = (any::<(u64, i64, u32, u64)>()).prop_map(|(length, s, ns, inode)| Stamp {
            length,
            modified: (s, ns),
            inode,
        });
        let files = prop::collection::vec(prop::option::of(stamp), 0..6);
        (prop::collection::vec(0u32..10, 0..10), any::<(bool, bool)>(), "[0-9a-f-]{0,36}", files).prop_map(
            |(have, (clean, volatile), boot, files)| State {
                pieces: pieces(&have),
                clean,
                volatile,
                boot,
                files,
            },
        )
    }

    proptest! {
        #[test]
        fn a_state_is_read_as_written_and_not_at_all_when_anything_differs(
            state in any_state(), at in any::<prop::sample::Index>(), flip in 1u8.., other in any::<u8>(),
        ) {
            let (g, _) = torrent();
            let files = state.files.len();
            let bytes = state.encode(&HASH).unwrap();
            prop_assert_eq!(State::decode(&bytes, &HASH, &g, files), Some(state));
            let mut torn = bytes.clone();
            let at = at.index(torn.len());
            torn[at] ^= flip;
            prop_assert_eq!(State::decode(&torn, &HASH, &g, files), None);
            prop_assert_eq!(State::decode(&bytes[..at], &HASH, &g, files), None);
            prop_assert_eq!(State::decode(&bytes, &HASH, &g, files + 1), None);
            let wider = Geometry::new(10, 200).unwrap();
            prop_assert_eq!(State::decode(&bytes, &HASH, &wider, files), None);
            prop_assume!(other != 7);
            prop_assert_eq!(State::decode(&bytes, &InfoHash([other; 20]), &g, files), None);
        }

        #[test]
        fn garbage_with_a_right_checksum_is_no_state_and_no_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let file = [MARK, &Sha1::digest(&body), &body].concat();
            prop_assert_eq!(State::decode(&file, &HASH, &torrent().0, 3), None);
        }
    }
}
