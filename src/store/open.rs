//! The way in: finds out what of a torrent is on disk, without hashing anything.

use std::sync::Arc;

use super::StoreError;
use super::disk::{DiskStore, Found};
use super::files::FileStore;
use super::place::{Home, Place};
use super::resume::{Loaded, Verdict, boot_id, judge};
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::torrent::Metainfo;

/// A torrent's store and what is in it. Pieces in neither set are not there.
#[derive(Debug)]
pub struct Opened {
    /// The torrent's bytes; it keeps other processes out until its last clone is dropped.
    pub store: Arc<DiskStore>,
    /// Pieces that are there.
    pub trusted: Bitfield,
    /// Pieces that may be there: let a [`Checker`](super::check::Checker) look.
    pub doubtful: Bitfield,
}

/// Opens a torrent's store; waits at most 0.1 s for another holder to let go. `recheck`: trust nothing.
///
/// # Errors
/// When another process has it in a folder of the user's, when a longer file or something else lies where one of its
/// files should be, or when the folders cannot be made or read. A folder that cannot be written is no error until the first write.
pub fn open(place: &Place, metainfo: &Metainfo, recheck: bool) -> Result<Opened, StoreError> {
    let (geometry, layout) = (&metainfo.geometry, &metainfo.layout);
    place.check_names(layout)?;
    let Home { data, access, notes, cache } = place.settle(&metainfo.info_hash)?;
    let files = FileStore::new(data, access, *geometry, layout.clone());
    let stamps = files.survey()?;
    let (resume, lock) = notes.map(|notes| (notes.resume, notes.lock)).unzip();
    let loaded = resume.as_ref().filter(|_| !recheck).and_then(|r| r.load(geometry, layout.files.len()));
    let verdict = judge(loaded.as_ref(), &stamps, &boot_id(), geometry, layout);
    mark_doubtful(&files, &verdict);
    let Verdict { trusted, doubtful } = verdict;
    let volatile = loaded.is_some_and(|Loaded { state, .. }| state.volatile && !state.clean);
    let store = Arc::new(DiskStore::new(Found {
        files,
        resume,
        lock,
        cache,
        stamps,
        trusted: trusted.clone(),
        doubtful: doubtful.clone(),
        volatile,
    }));
    Ok(Opened { store, trusted, doubtful })
}

/// What a crashed process wrote may be in memory only, so doubtful pieces that turn out good are not flushed
/// before a sync.
fn mark_doubtful(files: &FileStore, verdict: &Verdict) {
    let doubtful = |range| files.geometry().pieces_in(range).any(|piece| verdict.doubtful.has(piece));
    let layout = files.layout().files.iter().enumerate();
    layout.filter(|(_, f)| !f.pad && doubtful(&f.range)).for_each(|(number, _)| files.mark_unsynced(number));
}

#[cfg(test)]
mod tests {
    use super::super::Storage;
    use super::super::testing::{World, layout};
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn cached(folder: &Path) -> World {
        let mut world = World::new(folder, 10, &[(35, false), (5, true), (35, false)]);
        world.place = Place::Cache { folder: Some(folder.join("cache")), cap: 1 << 30 };
        world
    }

    #[test]
    fn the_cache_is_for_the_user_alone_and_has_the_documented_shape() {
        let temp = tempfile::tempdir().unwrap();
        let world = cached(temp.path());
        let opened = world.open();
        world.write(&opened, 0..8);
        opened.store.close(&world.set(0..8)).unwrap();
        let own = temp.path().join("cache").join("77".repeat(20));
        for (path, mode) in [("", 0o700), ("data", 0o700), ("data/t", 0o700), ("data/t/f0", 0o600)] {
            let found = std::fs::metadata(own.join(path)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{path}");
        }
        assert!(own.join("resume").is_file() && own.join("lock").is_file());
        assert!(!own.join("data/t/f1").exists(), "pad files are not on disk");
    }

    #[test]
    fn a_second_opener_of_a_folder_is_told_who_has_it() {
        let temp = tempfile::tempdir().unwrap();
        let world = World::new(temp.path(), 10, &[(35, false)]);
        let first = world.open();
        let second = open(&world.place, &world.metainfo, false);
        let pid = std::process::id();
        assert!(matches!(second, Err(StoreError::Locked { pid: Some(p), .. }) if p == pid), "{second:?}");
        drop(first);
        world.open();
    }

    #[test]
    fn a_recheck_trusts_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let world = World::new(temp.path(), 10, &[(35, false)]);
        let opened = world.open();
        world.write(&opened, 0..4);
        opened.store.close(&world.set(0..4)).unwrap();
        drop(opened);
        let opened = open(&world.place, &world.metainfo, true).unwrap();
        assert!(opened.trusted.is_empty() && opened.doubtful.is_full());
    }

    #[test]
    fn a_torrent_cannot_write_our_notes() {
        let temp = tempfile::tempdir().unwrap();
        for name in [".swarm/x.resume", ".SWARM/x"] {
            let mut world = World::new(temp.path(), 10, &[(35, false)]);
            world.metainfo.layout = layout(&[(35, false)]);
            world.metainfo.layout.files[0].disk = name.into();
            let opened = open(&world.place, &world.metainfo, false);
            assert!(matches!(opened, Err(StoreError::Reserved { .. })), "{name}: {opened:?}");
        }
    }

    #[test]
    fn notes_that_somebody_planted_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(temp.path().join("elsewhere"), temp.path().join(".swarm")).unwrap();
        let world = World::new(temp.path(), 10, &[(35, false)]);
        let opened = open(&world.place, &world.metainfo, false);
        assert!(matches!(opened, Err(StoreError::Symlink { .. })), "{opened:?}");
        assert_eq!(std::fs::read_dir(temp.path().join("elsewhere")).unwrap().count(), 0);
    }

    #[test]
    fn a_longer_file_is_named_when_the_torrent_is_opened() {
        let temp = tempfile::tempdir().unwrap();
        let world = World::new(temp.path(), 10, &[(35, false)]);
        std::fs::create_dir(temp.path().join("t")).unwrap();
        std::fs::write(temp.path().join("t/f0"), [1; 36]).unwrap();
        let opened = open(&world.place, &world.metainfo, false);
        assert!(
            matches!(&opened, Err(StoreError::Longer { path, .. }) if path.contains("t/f0")),
            "{opened:?}"
        );
    }

    #[test]
    fn a_folder_of_the_users_has_no_limit() {
        let temp = tempfile::tempdir().unwrap();
        let world = World::new(temp.path(), 10, &[(35, false)]);
        let opened = world.open();
        assert_eq!(opened.store.make_room(1 << 40).unwrap(), super::super::cache::Budget::UNLIMITED);
        opened.store.sync().unwrap();
    }
}
