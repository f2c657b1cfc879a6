//! The torrents that `seed` shares: named files, and folders that are looked at again and again.
//!
//! Invariant: a torrent of a folder is open exactly while its file is there as it was read; one that cannot be
//! used is told once, until its file changes. Files named one by one are read once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use tokio::task::JoinSet;

use super::engine::{self, Engine, PATIENCE};
use super::guard;
use super::progress::{chain, harmless, say, warn};
use super::seed;
use super::tracker::Service;
use crate::net::session::Place;
use crate::wire::ids::InfoHash;

/// Most torrents that are shared at once.
const MAX_TORRENTS: usize = 10_000;
/// Endings of torrent files in a folder.
const ENDINGS: [&str; 2] = ["torrent", "tstream"];

/// When and how long a file is, to notice that it changed.
type Stamp = (Option<SystemTime>, u64);

/// One torrent file.
struct Entry {
    stamp: Stamp,
    /// `None` when it cannot be used.
    engine: Option<Engine>,
}

/// All torrents that are shared.
pub(super) struct Library {
    /// Files and folders of the command line.
    roots: Vec<PathBuf>,
    entries: BTreeMap<PathBuf, Entry>,
}

impl Library {
    /// Nothing is open yet.
    pub(super) const fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots, entries: BTreeMap::new() }
    }

    /// The running torrents, by the order of their files' names.
    pub(super) fn engines(&mut self) -> impl Iterator<Item = &mut Engine> {
        self.entries.values_mut().filter_map(|entry| entry.engine.as_mut())
    }

    /// Whether a torrent had to be left out.
    pub(super) fn has_failures(&self) -> bool {
        self.entries.values().any(|entry| entry.engine.is_none())
    }

    /// Whether there is something to share, or may turn up.
    pub(super) fn may_share(&mut self) -> bool {
        self.engines().next().is_some() || self.has_folders()
    }

    /// Whether new torrents may turn up.
    fn has_folders(&self) -> bool {
        self.roots.iter().any(|root| root.is_dir())
    }

    /// Looks again: opens what is new, ends what is gone, opens again what changed.
    pub(super) async fn rescan(&mut self, args: &seed::Args, service: Option<&Service>) {
        let found = self.find();
        let gone: Vec<_> = self.entries.keys().filter(|path| !found.contains_key(*path)).cloned().collect();
        let changed = found
            .iter()
            .filter(|(path, stamp)| self.entries.get(*path).is_some_and(|entry| entry.stamp != **stamp));
        let changed: Vec<_> = changed.map(|(path, _)| path.clone()).collect();
        let ended: Vec<_> = gone.into_iter().chain(changed).collect();
        for path in &ended {
            self.close(path).await;
        }
        if let (Some(service), false) = (service, ended.is_empty()) {
            service.serve_only(self.hashes());
        }
        for (path, stamp) in found {
            if !self.entries.contains_key(&path) {
                let engine = self.open(&path, args, service);
                self.entries.insert(path, Entry { stamp, engine });
            }
        }
    }

    /// Leaves out the torrents whose data cannot be had: another process has them, or the disk refuses.
    pub(super) async fn leave_out_unopened(&mut self, service: Option<&Service>) {
        let mut ended = false;
        for (path, entry) in &mut self.entries {
            let Some(engine) = &mut entry.engine else { continue };
            engine.listen();
            let Some(why) = engine.unopened() else { continue };
            warn(&format!("left out: {}: {why}", harmless(&path.display().to_string())));
            if let Some(engine) = entry.engine.take() {
                engine.handle.shut_down(PATIENCE).await;
                ended = true;
            }
        }
        if let (Some(service), true) = (service, ended) {
            service.serve_only(self.hashes());
        }
    }

    /// Ends all torrents at once: trackers are told, for a bounded time.
    pub(super) async fn shut_down(self) {
        let mut ends = JoinSet::new();
        for engine in self.entries.into_values().filter_map(|entry| entry.engine) {
            ends.spawn(engine.handle.shut_down(PATIENCE));
        }
        while ends.join_next().await.is_some() {}
    }

    fn hashes(&self) -> BTreeSet<InfoHash> {
        let engines = self.entries.values().filter_map(|entry| entry.engine.as_ref());
        engines.map(|engine| engine.handle.metainfo().info_hash).collect()
    }

    /// The torrent files that are there now. Those named by the user are not watched: they stay.
    fn find(&self) -> BTreeMap<PathBuf, Stamp> {
        let mut found = BTreeMap::new();
        for root in &self.roots {
            if root.is_dir() {
                found.extend(list(root).into_iter().map(|path| (path.clone(), stamp(&path))));
            } else {
                found.insert(root.clone(), Stamp::default());
            }
        }
        while found.len() > MAX_TORRENTS {
            found.pop_last();
        }
        found
    }

    fn open(&self, path: &Path, args: &seed::Args, service: Option<&Service>) -> Option<Engine> {
        match self.try_open(path, args, service) {
            Ok(engine) => Some(engine),
            Err(error) => {
                warn(&format!("left out: {}", chain(&error)));
                None
            }
        }
    }

    fn try_open(&self, path: &Path, args: &seed::Args, service: Option<&Service>) -> anyhow::Result<Engine> {
        let mut metainfo = engine::load_file(path)?;
        let hash = metainfo.info_hash;
        let mut running = self.entries.values().filter_map(|entry| entry.engine.as_ref());
        let twice = running.any(|engine| engine.handle.metainfo().info_hash == hash);
        anyhow::ensure!(!twice, "{} is the same torrent as another one here", path.display());
        let folder = args.folder_of(path);
        if args.may_download() && !args.may_overwrite() {
            guard::check(&metainfo, &folder, &(0..metainfo.geometry.total()))
                .with_context(|| format!("{} would be fetched", path.display()))?;
        }
        if let Some(service) = service {
            // Before the first announce, which it would refuse otherwise.
            service.serve(hash);
            metainfo.trackers.extend(service.tier_for(&metainfo));
        }
        let options = args.net.options(Place::Folder(folder), args.may_download());
        engine::open(Arc::new(metainfo), options)
    }

    async fn close(&mut self, path: &Path) {
        let Some(entry) = self.entries.remove(path) else { return };
        if let Some(engine) = entry.engine {
            say(&format!("{} is gone or changed: ending it", harmless(&path.display().to_string())));
            engine.handle.shut_down(PATIENCE).await;
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    path.metadata().map_or((None, 0), |metadata| (metadata.modified().ok(), metadata.len()))
}

/// The torrent files in a folder, not in folders below it.
fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) => {
            warn(&harmless(&format!("cannot list {}: {error}", folder.display())));
            return Vec::new();
        }
    };
    let paths: BTreeSet<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.into_iter().filter(|path| is_torrent_name(path)).collect()
}

fn is_torrent_name(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    !hidden && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_their_torrents_and_files_are_taken_as_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.torrent", "a.TORRENT", "c.tstream", ".part.torrent", "film.mkv", "torrent"] {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        std::fs::create_dir(dir.path().join("deeper")).unwrap();
        let named = dir.path().join("film.mkv");
        let library = Library::new(vec![dir.path().to_owned(), named]);
        let names: Vec<_> =
            library.find().into_keys().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.TORRENT", "b.torrent", "c.tstream", "film.mkv"]);
    }
}
