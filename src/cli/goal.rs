//! Where `get` puts what it fetches.
//!
//! Invariant: a file named with -o gets its name only when it is complete and its bytes are verified; before
//! that they are in a hidden folder beside it, on the same file system, so that naming it copies nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::engine::{self, make_folder};
use super::exit::Usage;
use super::{get, output, sink};
use crate::metainfo::text::escape;
use crate::metainfo::torrent::Metainfo;
use crate::net::session::Place;

/// Where the bytes are to go.
#[derive(Debug)]
pub(super) enum Goal {
    /// Below a folder, under the torrent's own names.
    Folder(PathBuf),
    /// To one file that gets its name when it is complete.
    Named {
        /// The file.
        path: PathBuf,
        /// The folder beside it in which the engine works.
        work: PathBuf,
        /// It was not there before: an earlier run has left nothing in it.
        fresh: bool,
    },
    /// Into something that takes a stream.
    Stream {
        /// Where the stream goes.
        out: File,
        /// Where the engine keeps the bytes.
        place: Place,
    },
}

impl Goal {
    /// Decides from the options; makes the folders.
    ///
    /// # Errors
    /// When options contradict each other or the place cannot be written to.
    pub(super) fn new(args: &get::Args, metainfo: &Metainfo) -> anyhow::Result<Self> {
        let Some(path) = &args.output else {
            let folder = args.dir.as_deref().unwrap_or_else(|| Path::new("."));
            return Ok(Self::Folder(make_folder(folder)?));
        };
        let to_stdout = path.as_os_str() == "-";
        if to_stdout || sink::is_stream(path) {
            let place = match &args.dir {
                Some(dir) => Place::Folder(make_folder(dir)?),
                None => engine::cache(),
            };
            let out = if to_stdout { sink::stdout()? } else { open_stream(path)? };
            return Ok(Self::Stream { out, place });
        }
        if args.dir.is_some() {
            return Err(Usage::new("-o FILE and --dir both say where the data goes: leave one out").into());
        }
        output::check_free(path, args.force)?;
        let hash = metainfo.info_hash.to_string();
        let work = output::beside(path, &format!("{}.swarm", &hash[..8]));
        let fresh = !work.exists();
        Ok(Self::Named { path: path.clone(), work: make_folder(&work)?, fresh })
    }

    /// Where the engine is to keep the bytes.
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Folder(folder) | Self::Named { work: folder, .. } => Place::Folder(folder.clone()),
            Self::Stream { place, .. } => place.clone(),
        }
    }

    /// Where the bytes are to be written in order, if anywhere.
    ///
    /// # Errors
    /// When the process has no more file descriptors.
    pub(super) fn stream(&self) -> anyhow::Result<Option<File>> {
        match self {
            Self::Stream { out, .. } => Ok(Some(out.try_clone().context("cannot write the output")?)),
            Self::Folder(_) | Self::Named { .. } => Ok(None),
        }
    }

    /// Gives the complete file its name. With `keep` the engine goes on with its own name for it.
    ///
    /// # Errors
    /// When the name is taken, or the system refuses.
    pub(super) fn deliver(
        &self,
        metainfo: &Metainfo,
        file: Option<usize>,
        force: bool,
        keep: bool,
    ) -> anyhow::Result<()> {
        let (Self::Named { path, work, .. }, Some(file)) = (self, file) else { return Ok(()) };
        let file = &metainfo.layout.files[file];
        let kept = work.join(&file.disk);
        let failed = || format!("cannot name {} (its data is in {})", path.display(), kept.display());
        if file.length() == 0 {
            return output::new_file(path, b"", force);
        }
        if !keep {
            return output::put_in_place(&kept, path, force).with_context(failed);
        }
        let part = output::beside(path, &format!("{}.part", std::process::id()));
        // File systems without links get a copy.
        fs::hard_link(&kept, &part).or_else(|_| fs::copy(&kept, &part).map(drop)).with_context(failed)?;
        output::put_in_place(&part, path, force).with_context(failed)
    }

    /// Removes the folder in which the engine worked: what was wanted of it has been delivered.
    pub(super) fn clean(&self) {
        if let Self::Named { work, .. } = self {
            // What remains is a hidden folder, which the next run of the command uses again.
            let _ = fs::remove_dir_all(work);
        }
    }

    /// Nothing was fetched in this run; what an earlier one fetched stays.
    pub(super) fn give_up(&self) {
        if let Self::Named { fresh: true, .. } = self {
            self.clean();
        }
    }

    /// ` in PLACE`, escaped, for a message.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Folder(path) => format!(" in {}", escape(&path.display().to_string())),
            Self::Named { path, .. } => format!(" as {}", escape(&path.display().to_string())),
            Self::Stream { .. } => String::new(),
        }
    }
}

fn open_stream(path: &Path) -> anyhow::Result<File> {
    let open = File::options().write(true).open(path);
    open.with_context(|| format!("cannot write to {}", path.display()))
}
