//! What a broadcast needs before its stream is there: a folder that can be written to, its port, and nobody else's
//! hand on its files.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Access;

use super::listen::Listener;
use super::runtime;
use super::sequence::Sequence;
use super::session::OpenError;
use super::station::{Files, Plan, StationError, shown};
use crate::metainfo::signer::Signer;
use crate::metainfo::torrent::Metainfo;

/// The place of a broadcast, held until it goes on air or this is dropped.
pub struct Berth {
    pub(super) files: Files,
    pub(super) listener: Arc<Listener>,
    /// `None`: it was not made yet.
    pub(super) lock: Option<File>,
    /// What is taken up again.
    pub(super) old: Option<(Metainfo, Signer)>,
}

impl Berth {
    /// Takes the place that a plan wants. Changes nothing on disk, and does not look at the bitrate.
    ///
    /// # Errors
    /// When the name, the host or the folder will not do, the port cannot be had, or the broadcast is on air already, when there
    /// is a file of that name which is none of a broadcast, and when one is there that cannot be taken up again.
    pub fn take(plan: &Plan) -> Result<Self, StationError> {
        plan.check()?;
        let files = Files::new(plan)?;
        is_writable(&plan.folder).map_err(|source| StationError::Folder {
            tstream: shown(&files.tstream),
            folder: shown(&plan.folder),
            source,
        })?;
        files.refuse_others()?;
        // Who has the broadcast has its port, too: that is to be said first.
        let lock = files.lock()?;
        let listener =
            Listener::shared(&runtime::handle().map_err(OpenError::Runtime)?, plan.bind, plan.port);
        let listener = listener.map_err(|(addr, source)| OpenError::Listen { addr, source })?;
        let old = if plan.takes_up() { Some(files.take_up()?) } else { None };
        if old.is_some() {
            Sequence::open(&files.restart)?;
        }
        Ok(Self { files, listener, lock, old })
    }

    /// The broadcast that is taken up again, if it was made before.
    pub fn old(&self) -> Option<&Metainfo> {
        self.old.as_ref().map(|(metainfo, _)| metainfo)
    }
}

fn is_writable(folder: &Path) -> io::Result<()> {
    if !fs::metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_that_is_there_and_no_file() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(is_writable(temp.path()).is_ok());
        for (folder, kind) in
            [(file, io::ErrorKind::NotADirectory), (temp.path().join("x"), io::ErrorKind::NotFound)]
        {
            assert_eq!(is_writable(&folder).unwrap_err().kind(), kind);
        }
    }
}
