//! A torrent's files by name: where they lie below one folder, and how they are opened.
//!
//! Invariant: nothing but regular files inside the folder is opened (see `dir`), and none that is longer than
//! the torrent says: it is some other file of that name and left alone.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use super::dir::{Access, Dir};
use super::stamp::Stamp;
use super::{StoreError, shown};
use crate::metainfo::layout::Layout;

/// The files of one torrent below one folder.
#[derive(Debug)]
pub(super) struct Tree {
    root: Dir,
    access: Access,
    layout: Layout,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    /// It was not there before.
    pub(super) created: bool,
}

impl Tree {
    /// Files below `root` with the permissions of `access`. Nothing is made yet.
    pub(super) const fn new(root: Dir, access: Access, layout: Layout) -> Self {
        Self { root, access, layout }
    }

    /// Where the files lie in the torrent.
    pub(super) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Looks at all files: `None` for those that are missing and for pad files.
    pub(super) fn survey(&self) -> Result<Vec<Option<Stamp>>, StoreError> {
        (0..self.layout.files.len()).map(|file| self.stamp(file)).collect()
    }

    /// The files that no piece lies in.
    pub(super) fn empty_files(&self) -> impl Iterator<Item = usize> + '_ {
        let files = self.layout.files.iter().enumerate();
        files.filter(|(_, file)| file.length() == 0 && !file.pad).map(|(number, _)| number)
    }

    /// Opens a file; for writing, it is made if it is missing and gets its final length.
    pub(super) fn open(&self, number: usize, write: bool) -> Result<Opened, StoreError> {
        let path = &self.layout.files[number].disk;
        let (flags, create) = if write { (OFlags::RDWR, Some(self.access)) } else { (OFlags::RDONLY, None) };
        let open = |dir: &Dir, name: &_| match dir.open(name, flags, self.access) {
            Err(error) if write && error.is_missing() => {
                dir.open(name, flags | OFlags::CREATE, self.access).map(|file| (file, true))
            }
            opened => opened.map(|file| (file, false)),
        };
        let (file, created) = self.root.descend(path, create, open)?;
        if write {
            self.size(number, &file)?;
        }
        Ok(Opened { file, created })
    }

    /// Makes a new file's name survive, and those of all folders above it.
    pub(super) fn sync_name(&self, number: usize) -> Result<(), StoreError> {
        let path = &self.layout.files[number].disk;
        for path in path.ancestors().filter(|path| *path != Path::new("")) {
            match self.root.descend(path, None, |folder, _| folder.sync()) {
                Err(error) if !error.is_missing() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn shown(&self, number: usize) -> String {
        shown(&self.root.path().join(&self.layout.files[number].disk))
    }

    pub(super) fn error(&self, number: usize, source: impl Into<io::Error>) -> StoreError {
        StoreError::io(&self.root.path().join(&self.layout.files[number].disk), source)
    }

    fn stamp(&self, number: usize) -> Result<Option<Stamp>, StoreError> {
        let file = &self.layout.files[number];
        if file.pad {
            return Ok(None);
        }
        let stat = match self.root.descend(&file.disk, None, |folder, name| folder.stat(name)) {
            Err(error) if error.is_missing() => None,
            stat => stat?,
        };
        let Some(stat) = stat else { return Ok(None) };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err(StoreError::Symlink { path: self.shown(number) }),
            _ => return Err(StoreError::NotAFile { path: self.shown(number) }),
        }
        let stamp = Stamp::of(&stat);
        self.check_length(number, stamp.length)?;
        Ok(Some(stamp))
    }

    fn check_length(&self, number: usize, length: u64) -> Result<(), StoreError> {
        let expected = self.layout.files[number].length();
        if length > expected {
            return Err(StoreError::Longer { path: self.shown(number), length, expected });
        }
        Ok(())
    }

    /// Gives a file its final length, as a hole behind what is there.
    fn size(&self, number: usize, file: &File) -> Result<(), StoreError> {
        let expected = self.layout.files[number].length();
        let length = file.metadata().map_err(|e| self.error(number, e))?.size();
        self.check_length(number, length)?;
        if length < expected {
            file.set_len(expected).map_err(|e| self.error(number, e))?;
        }
        Ok(())
    }
}
