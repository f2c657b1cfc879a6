//! What a torrent is made of: one file, or the files of a folder in a fixed order.
//!
//! The order is that of the names' bytes, component by component, so that the same folder always gives the
//! same torrent. Length and time of change are noted when listing; [`hashing`](super::hashing) compares them.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};

/// Most files that go into one torrent: as many as readers take.
const MAX_FILES: usize = 100_000;
/// Deepest folder that is looked into.
const MAX_DEPTH: usize = 32;

/// One file to be shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceFile {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// Its name below the torrent's name; empty for the file of a single-file torrent.
    pub(super) name: Vec<String>,
    /// Bytes in it.
    pub(super) length: u64,
    /// When it was last changed, to notice a change while hashing.
    pub(super) modified: Option<SystemTime>,
}

impl SourceFile {
    fn new(path: PathBuf, name: Vec<String>, metadata: &Metadata) -> Self {
        Self { path, name, length: metadata.len(), modified: metadata.modified().ok() }
    }

    /// Whether the file is still what was listed.
    pub(super) fn is_unchanged(&self, metadata: &Metadata) -> bool {
        metadata.len() == self.length && metadata.modified().ok() == self.modified
    }
}

/// What to share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Last component of its path.
    pub(super) name: String,
    /// One file (else a folder, even if there is only one file in it).
    pub(super) single: bool,
    /// The files in the torrent's order.
    pub(super) files: Vec<SourceFile>,
    /// What was left out, for a warning.
    pub(super) skipped: Vec<PathBuf>,
}

impl Source {
    /// Looks at a file or folder. `hidden` takes files and folders whose name starts with a dot too.
    pub(super) fn find(path: &Path, hidden: bool) -> anyhow::Result<Self> {
        let shown = path.display();
        let metadata = fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
        let whole = path.canonicalize().with_context(|| format!("cannot resolve {shown}"))?;
        // `..` and `.` have no name of their own, links keep the one that was given.
        let named = path.file_name().or_else(|| whole.file_name());
        let name = named.with_context(|| format!("{shown} has no name: give one with --name"))?;
        let name = utf8(name.to_str(), path)?;
        if metadata.is_file() {
            ensure!(metadata.len() > 0, "{shown} is empty: there is nothing to share");
            let file = SourceFile::new(path.to_owned(), Vec::new(), &metadata);
            return Ok(Self { name, single: true, files: vec![file], skipped: Vec::new() });
        }
        ensure!(metadata.is_dir(), "{shown} is neither a file nor a folder");
        let mut walk = Walk { hidden, files: Vec::new(), skipped: Vec::new() };
        walk.folder(path, &mut Vec::new())?;
        let total: u64 = walk.files.iter().map(|file| file.length).sum();
        ensure!(total > 0, "{shown} holds no bytes to share (hidden files are left out without --hidden)");
        walk.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { name, single: false, files: walk.files, skipped: walk.skipped })
    }

    /// Bytes in all.
    pub(super) fn total(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }
}

struct Walk {
    hidden: bool,
    files: Vec<SourceFile>,
    skipped: Vec<PathBuf>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, name: &mut Vec<String>) -> anyhow::Result<()> {
        ensure!(name.len() < MAX_DEPTH, "{} is more than {MAX_DEPTH} folders deep", folder.display());
        let context = || format!("cannot list {}", folder.display());
        for entry in fs::read_dir(folder).with_context(context)? {
            let path = entry.with_context(context)?.path();
            let Some(last) = path.file_name() else { continue };
            if !self.hidden && last.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            name.push(utf8(last.to_str(), &path)?);
            self.entry(path, name)?;
            name.pop();
        }
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, name: &mut Vec<String>) -> anyhow::Result<()> {
        // Links are followed to files but not into folders, so that a loop cannot happen.
        let link = path.symlink_metadata().with_context(|| format!("cannot read {}", path.display()))?;
        if link.is_dir() {
            return self.folder(&path, name);
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                if self.files.len() >= MAX_FILES {
                    bail!("more than {MAX_FILES} files: make several torrents, or an archive");
                }
                self.files.push(SourceFile::new(path, name.clone(), &metadata));
            }
            Ok(_) => self.skipped.push(path),
            Err(_) if link.is_symlink() => self.skipped.push(path),
            Err(error) => bail!("cannot read {}: {error}", path.display()),
        }
        Ok(())
    }
}

fn utf8(name: Option<&str>, path: &Path) -> anyhow::Result<String> {
    let name = name.with_context(|| {
        format!("the name of {} is not UTF-8, which torrents require: rename it", path.display())
    })?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    fn names(source: &Source) -> Vec<String> {
        source.files.iter().map(|file| file.name.join("/")).collect()
    }

    #[test]
    fn a_folder_is_listed_in_the_order_of_its_names_without_hidden_files() {
        let dir = folder(&[
            ("b/2", "x"),
            ("b/10", "yy"),
            ("a.txt", "z"),
            (".git/x", "h"),
            ("b/.hid", "h"),
            ("B", ""),
        ]);
        let source = Source::find(dir.path(), false).unwrap();
        assert_eq!(names(&source), ["B", "a.txt", "b/10", "b/2"]);
        assert_eq!(source.total(), 4);
        assert_eq!(names(&Source::find(dir.path(), true).unwrap()).len(), 6);
    }

    #[test]
    fn links_lead_to_files_but_not_into_folders() {
        let dir = folder(&[("real", "x")]);
        symlink("real", dir.path().join("link")).unwrap();
        symlink(".", dir.path().join("loop")).unwrap();
        symlink("nowhere", dir.path().join("dead")).unwrap();
        let source = Source::find(dir.path(), false).unwrap();
        assert_eq!(names(&source), ["link", "real"]);
        assert_eq!(source.skipped.len(), 2);
    }

    #[test]
    fn nothing_to_share_is_an_error() {
        let dir = folder(&[("empty", "")]);
        for path in [dir.path().join("empty"), dir.path().to_owned(), dir.path().join("absent")] {
            assert!(Source::find(&path, false).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn a_single_file_has_its_own_name() {
        let dir = folder(&[("film.ts", "x")]);
        let source = Source::find(&dir.path().join("film.ts"), false).unwrap();
        assert_eq!((source.name.as_str(), source.single, source.files.len()), ("film.ts", true, 1));
    }
}
