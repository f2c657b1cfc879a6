//! Which folders a torrent's bytes and our notes about them lie in.
//!
//! | place | bytes | resume state | lock |
//! |---|---|---|---|
//! | cache | `<cache>/<info-hash>/data/<names>` | `<cache>/<info-hash>/resume` | `<cache>/<info-hash>/lock` |
//! | folder | `<folder>/<names>` | `<folder>/.swarm/<info-hash>.resume` | `<folder>/.swarm/<info-hash>.lock` |
//!
//! Who finds the lock in the cache taken has the same in `<cache>/<info-hash>-2` (and so on) for itself, so that two
//! players on one machine can both watch; what is in a folder of the user's one process at a time has.
//!
//! `<cache>` is `gst-swarm` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`) unless they name
//! another. Everything in it is for the user alone (0700), and a folder with our notes that belongs to
//! somebody else is refused. The user's own folder keeps their umask; one that cannot be written is read
//! without lock and resume state, so that a torrent can be seeded from a read-only disk.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::cache::{Cache, MOST_FOLDERS, folder_name};
use super::dir::{Access, Dir};
use super::lock::{self, Lock};
use super::resume::ResumeFile;
use super::{StoreError, shown};
use crate::metainfo::layout::Layout;
use crate::wire::ids::InfoHash;

/// Our folder in the user's cache folder.
const CACHE_FOLDER: &str = "gst-swarm";
/// Our folder in the user's folder.
const NOTES_FOLDER: &str = ".swarm";
/// The torrent's files in its cache folder.
const DATA: &str = "data";
/// The resume state in the cache folder.
const RESUME: &str = "resume";
/// The lock in the cache folder.
pub(super) const LOCK: &str = "lock";
/// Tells backup programs to leave the cache out (bford.info/cachedir).
const CACHE_TAG: (&str, &[u8]) = ("CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n");
/// How often a torrent's folder may be removed by another process while we open it.
const MAX_RACES: usize = 8;

/// Where a torrent's bytes are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the cache, kept under the cap in bytes.
    Cache {
        /// The cache folder; `None`: the user's own (XDG).
        folder: Option<PathBuf>,
        /// Most bytes on disk over all torrents.
        cap: u64,
    },
    /// In this folder under the torrent's own names; never removed by us.
    Folder(PathBuf),
}

/// A torrent's folders, locked.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) data: Dir,
    pub(super) access: Access,
    /// `None` in a folder that cannot be written.
    pub(super) notes: Option<Notes>,
    /// `None` in a folder of the user's.
    pub(super) cache: Option<Cache>,
}

/// Where we write down what is there, and the right to do so.
#[derive(Debug)]
pub(super) struct Notes {
    pub(super) resume: ResumeFile,
    pub(super) lock: Lock,
}

impl Place {
    /// Makes the folders and takes the lock.
    pub(super) fn settle(&self, info_hash: &InfoHash) -> Result<Home, StoreError> {
        match self {
            Self::Cache { folder: Some(folder), cap } => in_cache(folder, *cap, info_hash),
            Self::Cache { folder: None, cap } => {
                let folder = user_cache();
                let root = Dir::root(&folder, Some(Access::Private))?;
                tag(&root);
                in_cache(&folder, *cap, info_hash)
            }
            Self::Folder(folder) => in_folder(folder, info_hash),
        }
    }

    /// Refuses a torrent that would write where our notes lie (on file systems without case, too).
    pub(super) fn check_names(&self, layout: &Layout) -> Result<(), StoreError> {
        let Self::Folder(_) = self else { return Ok(()) };
        let reserved = |path: &Path| path.iter().next().is_some_and(|n| n.eq_ignore_ascii_case(NOTES_FOLDER));
        match layout.files.iter().find(|file| reserved(&file.disk)) {
            Some(file) => Err(StoreError::Reserved { path: shown(&file.disk) }),
            None => Ok(()),
        }
    }
}

/// The cache folder where the user names none.
pub fn user_cache() -> PathBuf {
    glib::user_cache_dir().join(CACHE_FOLDER)
}

fn in_cache(root: &Path, cap: u64, info_hash: &InfoHash) -> Result<Home, StoreError> {
    let folder = Dir::root(root, Some(Access::Private))?;
    let mut number = 1;
    loop {
        let name = folder_name(info_hash, number);
        match settle_in_cache(&folder, OsStr::new(&name)) {
            Ok((own, lock)) => {
                let data = own.child(OsStr::new(DATA), Some(Access::Private))?;
                let notes = Some(Notes { resume: ResumeFile::new(own, RESUME.into(), *info_hash), lock });
                let cache = Some(Cache::new(root.to_owned(), cap, name));
                return Ok(Home { data, access: Access::Private, notes, cache });
            }
            Err(StoreError::Locked { path, pid }) if number < MOST_FOLDERS => {
                tracing::info!(%path, pid, "in use by another process: this one takes a folder of its own");
                number += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// One of a torrent's folders, with its lock.
fn settle_in_cache(folder: &Dir, name: &OsStr) -> Result<(Dir, Lock), StoreError> {
    for _ in 0..MAX_RACES {
        // The cache moves a folder away, lock and all, before it removes it; then this starts afresh.
        match lock_in_cache(folder, name) {
            Ok(Some(settled)) => return Ok(settled),
            Ok(None) => {}
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Locked { path: shown(&folder.path_of(name)), pid: None })
}

/// A torrent's folder with its lock; `None` when the folder was moved away meanwhile.
fn lock_in_cache(folder: &Dir, name: &OsStr) -> Result<Option<(Dir, Lock)>, StoreError> {
    let own = folder.child(name, Some(Access::Private))?;
    own.check_owner()?;
    let lock = Lock::take(&own, OsStr::new(LOCK))?;
    Ok(folder.still_has(name, &own)?.then_some((own, lock)))
}

fn in_folder(folder: &Path, info_hash: &InfoHash) -> Result<Home, StoreError> {
    let access = Access::Shared;
    let data = Dir::root(folder, Some(access))?;
    let notes = match notes(&data, info_hash) {
        Err(error) if is_unwritable(&data, &error) => None,
        notes => Some(notes?),
    };
    Ok(Home { data, access, notes, cache: None })
}

/// Nobody can write there, so no lock is needed. (Notes that are there but closed to us are another matter.)
fn is_unwritable(data: &Dir, error: &StoreError) -> bool {
    match error.kind() {
        Some(ErrorKind::ReadOnlyFilesystem) => true,
        Some(ErrorKind::PermissionDenied) => data.stat(OsStr::new(NOTES_FOLDER)).is_ok_and(|s| s.is_none()),
        _ => false,
    }
}

fn notes(data: &Dir, info_hash: &InfoHash) -> Result<Notes, StoreError> {
    let dir = data.child(OsStr::new(NOTES_FOLDER), Some(Access::Private))?;
    dir.check_owner()?;
    let lock = Lock::take(&dir, &lock_name(info_hash))?;
    let resume = ResumeFile::new(dir, format!("{info_hash}.resume").into(), *info_hash);
    Ok(Notes { resume, lock })
}

fn lock_name(info_hash: &InfoHash) -> OsString {
    format!("{info_hash}.lock").into()
}

/// The process that has this torrent in this folder, if one has. Changes nothing.
pub fn held_by(folder: &Path, info_hash: &InfoHash) -> Option<u32> {
    let notes = Dir::root(folder, None).ok()?.child(OsStr::new(NOTES_FOLDER), None).ok()?;
    lock::held_by(&notes, &lock_name(info_hash))
}

/// Only in our own folder: a cache folder that the user named may hold other things worth a backup.
fn tag(root: &Dir) {
    let (name, text) = CACHE_TAG;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    if let Ok(mut file) = root.open(OsStr::new(name), flags, Access::Private) {
        // Nothing depends on it.
        let _ = std::io::Write::write_all(&mut file, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::chown;

    const HASH: InfoHash = InfoHash([9; 20]);

    #[test]
    fn notes_in_a_folder_that_somebody_else_made_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let notes = temp.path().join(NOTES_FOLDER);
        let own = temp.path().join(HASH.to_string());
        for folder in [&notes, &own] {
            std::fs::create_dir(folder).unwrap();
            if chown(folder, Some(12_345), None).is_err() {
                println!("no permission to change an owner: not tested");
                return;
            }
        }
        let cache = Place::Cache { folder: Some(temp.path().to_owned()), cap: 0 };
        for place in [Place::Folder(temp.path().to_owned()), cache] {
            let settled = place.settle(&HASH).map(drop);
            assert!(matches!(settled, Err(StoreError::Foreign { owner: 12_345, .. })), "{settled:?}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_a_clear_error() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        for place in [Place::Folder(file.join("x")), Place::Cache { folder: Some(file.join("x")), cap: 0 }] {
            let error = place.settle(&HASH).map(drop).unwrap_err().to_string();
            assert!(error.contains("file/x") && error.contains("Not a directory"), "{error}");
        }
    }

    #[test]
    fn the_cache_is_marked_as_such_once() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::root(temp.path(), None).unwrap();
        let path = temp.path().join("CACHEDIR.TAG");
        tag(&root);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("Signature: 8a477f597d28d172"));
        std::fs::write(&path, "the user's").unwrap();
        tag(&root);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the user's");
    }

    #[test]
    fn the_users_cache_folder_is_theirs_and_ours() {
        let folder = user_cache();
        assert!(folder.is_absolute() && folder.ends_with("gst-swarm"), "{folder:?}");
    }
}
