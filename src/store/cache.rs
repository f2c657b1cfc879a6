//! The cap over all torrents below one cache folder.
//!
//! Only folders are touched that are named by an info-hash and hold a lock file of ours; whoever holds that
//! lock is alive and keeps its torrent. A folder to be removed is locked and moved out of the way first, so
//! that a process which opens the torrent meanwhile gets a fresh one. Several processes may do this at once:
//! what is gone already is no error.
//!
//! Sizes are what the disk really holds (`st_blocks`), so sparse files count for their data only.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::dir::Dir;
use super::lock::IdleLock;
use super::place::LOCK;
use crate::wire::ids::InfoHash;

/// What a torrent may always keep, even when others that are in use fill the cap: enough to play on.
pub const MIN_KEEP: u64 = 64 << 20;
/// In front of the name of a folder that is being removed; what a crash left of one is removed later.
const EVICTED: &str = ".evicted-";
/// Unit of `st_blocks`.
const BLOCK: u64 = 512;
/// Folders in folders that are measured; metainfo allows far fewer.
const MAX_DEPTH: usize = 256;

/// How much of the torrent at hand may stay on disk.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes; a torrent that is larger plays with its played part discarded.
    pub keep: u64,
}

impl Budget {
    /// No limit.
    pub const UNLIMITED: Self = Self { keep: u64::MAX };
}

/// A cache folder and its cap.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
    cap: u64,
}

/// One torrent in the cache.
#[derive(Debug)]
struct Entry {
    name: String,
    /// Bytes on disk.
    used: u64,
    /// Time of last use: seconds, nanoseconds.
    last: (i64, i64),
}

impl Cache {
    /// The cache below `root`, at most `cap` bytes.
    pub const fn new(root: PathBuf, cap: u64) -> Self {
        Self { root, cap }
    }

    /// Removes torrents that nobody uses, the longest unused first, until `more` bytes of the current one fit
    /// under the cap or there is none left. The current one is never removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn make_room(&self, current: &InfoHash, more: u64) -> Result<Budget, StoreError> {
        let current = current.to_string();
        let mut others = self.entries()?;
        let own = others.iter().position(|e| e.name == current).map_or(0, |n| others.remove(n).used);
        others.sort_by(|a, b| (a.last, &a.name).cmp(&(b.last, &b.name)));
        let mut used = others.iter().map(|e| e.used).fold(0, u64::saturating_add);
        let mut live = 0u64;
        for other in &others {
            let fits = used.saturating_add(own).saturating_add(more) <= self.cap;
            let Some(idle) = self.idle(&other.name) else {
                live = live.saturating_add(other.used);
                continue;
            };
            if !fits && self.evict(&other.name, idle) {
                used -= other.used;
            }
        }
        Ok(Budget { keep: self.cap.saturating_sub(live).max(MIN_KEEP) })
    }

    /// Bytes on disk of all torrents in it.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn used(&self) -> Result<u64, StoreError> {
        Ok(self.entries()?.iter().map(|e| e.used).fold(0, u64::saturating_add))
    }

    /// Everything in the cache that is ours; removes what earlier evictions left.
    fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        let folder = std::fs::read_dir(&self.root).map_err(|e| StoreError::io(&self.root, e))?;
        for name in folder.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            if name.strip_prefix(EVICTED).is_some_and(is_info_hash) {
                self.remove(&name);
            } else if is_info_hash(&name) {
                entries.extend(self.entry(name));
            }
        }
        Ok(entries)
    }

    fn entry(&self, name: String) -> Option<Entry> {
        let path = self.root.join(&name);
        let lock = std::fs::symlink_metadata(path.join(LOCK)).ok().filter(Metadata::is_file)?;
        Some(Entry { used: usage(&path), name, last: (lock.mtime(), lock.mtime_nsec()) })
    }

    /// The torrent's lock, if nobody else holds it and the folder is ours.
    fn idle(&self, name: &str) -> Option<IdleLock> {
        let folder = Dir::root(&self.root, None).ok()?.child(OsStr::new(name), None).ok()?;
        IdleLock::take(&folder, OsStr::new(LOCK))
    }

    fn evict(&self, name: &str, lock: IdleLock) -> bool {
        let away = format!("{EVICTED}{name}");
        let moved = std::fs::rename(self.root.join(name), self.root.join(&away)).is_ok();
        // Whoever waits for the lock now finds that it is not the one at the torrent's place any more.
        drop(lock);
        moved && self.remove(&away)
    }

    fn remove(&self, name: &str) -> bool {
        let path = self.root.join(name);
        match std::fs::remove_dir_all(&path) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(path = %super::shown(&path), %error, "left in the cache");
                !path.exists()
            }
        }
    }
}

/// Lower-case hexadecimal digits, as we write them.
fn is_info_hash(name: &str) -> bool {
    InfoHash::from_hex(name).is_some_and(|hash| hash.to_string() == name)
}

/// Bytes on disk of a folder and all that is in it; links are not followed, what vanishes counts nothing.
fn usage(folder: &Path) -> u64 {
    let mut used = 0;
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(stat) = entry.metadata() else { continue };
            used += stat.blocks() * BLOCK;
            if stat.is_dir() && depth < MAX_DEPTH {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::super::Storage;
    use super::super::open::{Opened, open};
    use super::super::place::Place;
    use super::super::testing::World;
    use super::*;
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    const SIZE: u64 = 1 << 20;

    fn world(root: &Path, name: u8, cap: u64) -> World {
        let mut world = World::new(root, SIZE / 4, &[(SIZE, false)]);
        world.metainfo.info_hash = InfoHash([name; 20]);
        world.place = Place::Cache { folder: Some(root.to_owned()), cap };
        world
    }

    fn fill(root: &Path, name: u8, cap: u64) -> Opened {
        let world = world(root, name, cap);
        let opened = world.open();
        world.write(&opened, 0..4);
        opened.store.sync().unwrap();
        opened
    }

    /// Three unused torrents of 1 MiB, the first used longest ago.
    fn cache(cap: u64) -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        for (age, name) in [(30, 1), (20, 2), (10, 3)] {
            drop(fill(temp.path(), name, cap));
            let lock = File::options().write(true).open(folder(temp.path(), name).join(LOCK)).unwrap();
            lock.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age)).unwrap();
        }
        temp
    }

    fn folder(root: &Path, name: u8) -> PathBuf {
        root.join(InfoHash([name; 20]).to_string())
    }

    fn left(root: &Path) -> Vec<u8> {
        (1..=4).filter(|name| folder(root, *name).exists()).collect()
    }

    #[test]
    fn the_longest_unused_goes_first_and_no_more_than_needed() {
        let cap = 3 * SIZE + SIZE / 2;
        let temp = cache(cap);
        let current = fill(temp.path(), 4, cap);
        assert_eq!(current.store.make_room(0).unwrap(), Budget { keep: MIN_KEEP });
        assert_eq!(left(temp.path()), [2, 3, 4]);
        current.store.make_room(SIZE).unwrap();
        assert_eq!(left(temp.path()), [3, 4]);
        let used = Cache::new(temp.path().to_owned(), cap).used().unwrap();
        assert!((2 * SIZE..2 * SIZE + SIZE / 2).contains(&used), "{used}");
    }

    #[test]
    fn the_current_one_and_those_in_use_stay_whatever_the_cap() {
        let temp = cache(0);
        let second = world(temp.path(), 2, 0).open();
        let current = fill(temp.path(), 4, 0);
        current.store.make_room(1 << 40).unwrap();
        assert_eq!(left(temp.path()), [2, 4]);
        drop(second);
    }

    #[test]
    fn a_larger_torrent_is_told_what_it_may_keep_beside_those_in_use() {
        let cap = 200 * SIZE;
        let temp = cache(cap);
        let second = world(temp.path(), 2, cap).open();
        let current = fill(temp.path(), 4, cap);
        let budget = current.store.make_room(300 * SIZE).unwrap();
        assert!((198 * SIZE..199 * SIZE).contains(&budget.keep), "{budget:?}");
        drop(second);
    }

    #[test]
    fn what_is_not_ours_is_never_touched() {
        let temp = cache(0);
        let root = temp.path();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("lock"), "gst-swarm lock\n").unwrap();
        std::fs::create_dir_all(folder(root, 9).join("data")).unwrap();
        std::fs::create_dir(root.join("films")).unwrap();
        std::fs::create_dir_all(root.join("AB".repeat(20))).unwrap();
        std::fs::create_dir_all(folder(root, 10)).unwrap();
        std::fs::write(folder(root, 10).join("lock"), "somebody else's").unwrap();
        std::os::unix::fs::symlink(outside.path(), folder(root, 11)).unwrap();
        let current = fill(root, 4, 0);
        current.store.make_room(1 << 40).unwrap();
        assert_eq!(left(root), [4]);
        for path in [folder(root, 9), folder(root, 10), folder(root, 11), root.join("films")] {
            assert!(path.exists(), "{path:?}");
        }
        assert!(root.join("AB".repeat(20)).exists() && outside.path().join("lock").exists());
    }

    #[test]
    fn what_a_crash_left_of_an_eviction_is_removed() {
        let temp = cache(1 << 30);
        let half = temp.path().join(format!("{EVICTED}{}", InfoHash([5; 20])));
        std::fs::create_dir_all(half.join("data/t")).unwrap();
        Cache::new(temp.path().to_owned(), 1 << 30).make_room(&InfoHash([4; 20]), 0).unwrap();
        assert!(!half.exists());
        assert_eq!(left(temp.path()), [1, 2, 3]);
    }

    #[test]
    fn looking_for_room_does_not_count_as_use() {
        let temp = cache(1 << 30);
        let last = || std::fs::metadata(folder(temp.path(), 1).join(LOCK)).unwrap().modified().unwrap();
        let before = last();
        Cache::new(temp.path().to_owned(), 1 << 30).make_room(&InfoHash([4; 20]), 0).unwrap();
        assert_eq!(last(), before);
        drop(world(temp.path(), 1, 0).open());
        assert!(last() > before);
    }

    /// Somebody who looks around all the time may hold the lock whenever we try.
    fn open_patiently(world: &World) -> Opened {
        loop {
            match open(&world.place, &world.metainfo, false) {
                Err(StoreError::Locked { .. }) => {}
                opened => return opened.unwrap(),
            }
        }
    }

    #[test]
    fn evicting_and_opening_at_the_same_time_harm_nobody() {
        let temp = tempfile::tempdir().unwrap();
        let (root, evictor) = (temp.path(), Cache::new(temp.path().to_owned(), 0));
        let opened_again_and_again = |name: u8| {
            let world = world(root, name, 0);
            for _ in 0..30 {
                let opened = open_patiently(&world);
                world.write(&opened, 0..4);
                opened.store.close(&world.set(0..4)).unwrap();
                let block = crate::metainfo::geometry::Block { piece: world.piece(3), begin: 0, length: 9 };
                assert_eq!(opened.store.read(block).unwrap(), world.blocks(3)[0].slice(..9));
                drop(opened);
            }
        };
        std::thread::scope(|scope| {
            for name in [1, 2] {
                scope.spawn(move || opened_again_and_again(name));
            }
            for _ in 0..2 {
                scope.spawn(|| (0..100).for_each(|_| _ = evictor.make_room(&InfoHash([4; 20]), 0).unwrap()));
            }
        });
        evictor.make_room(&InfoHash([4; 20]), 0).unwrap();
        assert_eq!(left(root), [0u8; 0]);
    }
}
