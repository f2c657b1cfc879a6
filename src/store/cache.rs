//! The cap over all torrents below one cache folder.
//!
//! Only folders are touched that are named by an info-hash and hold a lock file of ours; whoever holds that
//! lock is alive and keeps its torrent. A folder to be removed is locked and moved out of the way first, so
//! that a process which opens the torrent meanwhile gets a fresh one. Several processes may do this at once:
//! what is gone already is no error.
//!
//! Who finds the folder of its torrent locked takes a spare one, `<info-hash>-2` and so on, which goes when its
//! user does. What a crash left of a spare one is removed when the next process makes room.
//!
//! Sizes are what the disk really holds (`st_blocks`), so sparse files count for their data only.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::dir::Dir;
use super::lock::{IdleLock, Lock};
use super::place::LOCK;
use crate::wire::ids::InfoHash;

/// What a torrent may always keep, even when others that are in use fill the cap: enough to play on.
pub const MIN_KEEP: u64 = 64 << 20;
/// Folders of one torrent at most: so many processes can play it at a time.
pub(super) const MOST_FOLDERS: u32 = 64;
/// Between info-hash and number in the name of a spare folder.
const SPARE: char = '-';
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

/// A cache folder and its cap, as the user of one folder in it sees it.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
    cap: u64,
    /// The name of the user's own folder.
    own: String,
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
    /// The cache below `root`, at most `cap` bytes, for the user of the folder `own` in it.
    pub const fn new(root: PathBuf, cap: u64, own: String) -> Self {
        Self { root, cap, own }
    }

    /// Removes torrents that nobody uses, the longest unused first, until `more` bytes of the own one fit
    /// under the cap or there is none left. The own one is never removed; of the others' spare folders all are
    /// that nobody uses.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn make_room(&self, more: u64) -> Result<Budget, StoreError> {
        let mut others = self.entries()?;
        let own = others.iter().position(|e| e.name == self.own).map_or(0, |n| others.remove(n).used);
        others.sort_by_key(|e| (!is_spare(&e.name), e.last, e.name.clone()));
        let mut used = others.iter().map(|e| e.used).fold(0, u64::saturating_add);
        let mut live = 0u64;
        for other in &others {
            let fits = used.saturating_add(own).saturating_add(more) <= self.cap;
            let Some(idle) = self.idle(&other.name) else {
                live = live.saturating_add(other.used);
                continue;
            };
            if (!fits || is_spare(&other.name)) && self.evict(&other.name, idle) {
                used -= other.used;
            }
        }
        Ok(Budget { keep: self.cap.saturating_sub(live).max(MIN_KEEP) })
    }

    /// The user of the own folder leaves it. Nobody would look for what is in a spare one: it is removed.
    pub(super) fn leave(&self, lock: Lock) {
        if is_spare(&self.own) {
            self.evict(&self.own, lock);
        }
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
            if name.strip_prefix(EVICTED).is_some_and(is_folder) {
                self.remove(&name);
            } else if is_folder(&name) {
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

    /// Removes a folder under whoever holds its lock.
    fn evict(&self, name: &str, lock: impl Sized) -> bool {
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

/// The name of a torrent's folder, the first or a spare one.
pub(super) fn folder_name(info_hash: &InfoHash, number: u32) -> String {
    if number > 1 { format!("{info_hash}{SPARE}{number}") } else { info_hash.to_string() }
}

/// A name as we write them: lower-case hexadecimal digits, and a number behind them or not.
fn is_folder(name: &str) -> bool {
    let (hash, number) = name.split_once(SPARE).unwrap_or((name, "1"));
    let parsed = InfoHash::from_hex(hash).zip(number.parse().ok());
    parsed.is_some_and(|(hash, number)| number <= MOST_FOLDERS && folder_name(&hash, number) == name)
}

fn is_spare(name: &str) -> bool {
    name.contains(SPARE)
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

    /// The cache as the user of the fourth torrent sees it.
    fn fourth(root: &Path, cap: u64) -> Cache {
        Cache::new(root.to_owned(), cap, InfoHash([4; 20]).to_string())
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
        let used = fourth(temp.path(), cap).used().unwrap();
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
        fourth(temp.path(), 1 << 30).make_room(0).unwrap();
        assert!(!half.exists());
        assert_eq!(left(temp.path()), [1, 2, 3]);
    }

    #[test]
    fn looking_for_room_does_not_count_as_use() {
        let temp = cache(1 << 30);
        let last = || std::fs::metadata(folder(temp.path(), 1).join(LOCK)).unwrap().modified().unwrap();
        let before = last();
        fourth(temp.path(), 1 << 30).make_room(0).unwrap();
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
        let (root, evictor) = (temp.path(), fourth(temp.path(), 0));
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
                scope.spawn(|| (0..100).for_each(|_| _ = evictor.make_room(0).unwrap()));
            }
        });
        evictor.make_room(0).unwrap();
        assert_eq!(left(root), [0u8; 0]);
    }

    #[test]
    fn who_finds_a_torrent_in_use_has_a_spare_folder_for_as_long_as_it_needs_it() {
        let temp = tempfile::tempdir().unwrap();
        let (root, cap) = (temp.path(), 200 * SIZE);
        let spare = |number: u32| root.join(folder_name(&InfoHash([1; 20]), number));
        let first = fill(root, 1, cap);
        let second = fill(root, 1, cap);
        let third = fill(root, 1, cap);
        assert!(spare(1).ends_with(InfoHash([1; 20]).to_string()) && spare(2).exists() && spare(3).exists());
        let used = fourth(root, cap).used().unwrap();
        assert!((3 * SIZE..4 * SIZE).contains(&used), "the cap counts all three: {used}");
        fourth(root, 0).make_room(0).unwrap();
        assert!(spare(2).exists(), "it is in use");

        drop(second);
        assert!(!spare(2).exists() && spare(3).exists());
        let second = fill(root, 1, cap);
        assert!(spare(2).exists(), "the number is free again");
        drop((first, third));
        assert!(spare(1).exists() && !spare(3).exists());
        drop(second);
        assert_eq!(
            std::fs::read_dir(root).unwrap().count(),
            1,
            "nothing but the torrent's own folder is kept"
        );
        assert!(world(root, 1, cap).open().doubtful.is_full(), "with what was in it");
    }

    #[test]
    fn what_a_crash_left_of_a_spare_folder_is_removed() {
        let temp = cache(1 << 30);
        let spare = temp.path().join(folder_name(&InfoHash([1; 20]), 2));
        std::fs::create_dir_all(spare.join("data")).unwrap();
        std::fs::copy(folder(temp.path(), 1).join(LOCK), spare.join(LOCK)).unwrap();
        fourth(temp.path(), 1 << 30).make_room(0).unwrap();
        assert!(!spare.exists());
        assert_eq!(left(temp.path()), [1, 2, 3]);
    }
}
