//! Where verified bytes rest.
//!
//! Everything here is synchronous and positioned, and is called from worker threads only. *Have* means
//! verified; *flushed* means that it survives a crash: `resume` tells the two apart.
//!
//! ```text
//! open ── place (which folders, whose lock) ── cache (the cap over all torrents)
//!   └──── DiskStore ── resume (what is flushed)
//!              └────── FileStore ── handles, segment, tree, dir      check reads what was there before
//! ```
//!
//! [`open::open`] is the way in; [`memory::MemoryStore`] stands in for a disk in tests and in the simulator.

mod dir;
mod handles;
mod resume;
mod segment;
mod stamp;
#[cfg(test)]
mod testing;
mod tree;

pub mod cache;
pub mod check;
pub mod disk;
pub mod files;
pub mod lock;
pub mod memory;
pub mod open;
pub mod place;
pub mod ring;

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::metainfo::geometry::{Block, PieceIndex};
use crate::metainfo::text::escape;

/// A torrent's bytes on some medium. Positioned and thread-safe: pieces of different workers may overlap in
/// time but never in place.
pub trait Storage: Send + Sync {
    /// Writes a verified piece; `blocks` are its bytes in order, of any lengths that sum up to the piece.
    ///
    /// # Errors
    /// When the medium refuses (full, read-only, gone) or the blocks are not the piece: it is then not held.
    fn write(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StoreError>;

    /// Reads a run of bytes inside one piece that was written before. It may be longer than a request: one
    /// read of a whole piece, sliced afterwards, costs less than one for each block.
    ///
    /// # Errors
    /// When the medium fails or the bytes are not there any more.
    fn read(&self, block: Block) -> Result<Bytes, StoreError>;

    /// Gives a piece's space back where the medium can (holes in sparse files).
    ///
    /// # Errors
    /// When the medium fails or knows no holes; the piece must then still be treated as gone.
    fn discard(&self, piece: PieceIndex) -> Result<(), StoreError>;

    /// Makes everything that was written before the call survive a crash of the machine.
    ///
    /// # Errors
    /// When the medium fails; what was written since the last success may be lost.
    fn sync(&self) -> Result<(), StoreError>;
}

/// What went wrong with the medium, with the path (escaped for print) and the system's own words.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space left, over quota, or the file is too large for the medium (`ENOSPC`, `EDQUOT`, `EFBIG`).
    #[error("{path}: the disk is full: {source}")]
    Full {
        /// The file or folder.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another process (or another engine of this one) has the torrent open in the same place.
    #[error("{path}: in use by {}", holder(*.pid))]
    Locked {
        /// The lock file.
        path: String,
        /// Who holds it, where it can be told.
        pid: Option<u32>,
    },
    /// A link lies where a file or folder of the torrent should be; following it could lead anywhere.
    #[error("{path}: is a symbolic link, and links inside a download folder are not followed")]
    Symlink {
        /// The link.
        path: String,
    },
    /// Something that is neither missing nor a regular file.
    #[error("{path}: is not a regular file")]
    NotAFile {
        /// The thing.
        path: String,
    },
    /// A file with more bytes than the torrent's: some other file of this name, which is left alone.
    #[error("{path}: has {length} bytes where the torrent's file has {expected}; it is left alone")]
    Longer {
        /// The file.
        path: String,
        /// Its length.
        length: u64,
        /// Length in the torrent.
        expected: u64,
    },
    /// A file ends inside bytes that were there before.
    #[error("{path}: ends before byte {offset}")]
    Ends {
        /// The file.
        path: String,
        /// The first byte that is not there.
        offset: u64,
    },
    /// A folder for our own state that somebody else made.
    #[error("{path}: belongs to user {owner}, so it is not safe to keep state in it")]
    Foreign {
        /// The folder.
        path: String,
        /// Its owner's number.
        owner: u32,
    },
    /// A torrent that wants to write where our own state lies, or outside of its folder.
    #[error("{path}: a torrent may not have a file of this name")]
    Reserved {
        /// The torrent's path.
        path: String,
    },
    /// Blocks that do not sum up to the piece.
    #[error("{got} bytes given for piece {piece} of {expected} bytes")]
    PieceLength {
        /// The piece.
        piece: PieceIndex,
        /// Bytes given.
        got: u64,
        /// Bytes in the piece.
        expected: u64,
    },
    /// A store in memory has reached its limit.
    #[error("the store in memory holds its most, {limit} bytes")]
    MemoryFull {
        /// Most bytes.
        limit: u64,
    },
    /// A piece that a store in memory does not hold.
    #[error("piece {piece} is not in memory")]
    NotHeld {
        /// The piece.
        piece: PieceIndex,
    },
    /// Any other failure of the operating system.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// The system's error.
        source: io::Error,
    },
}

impl StoreError {
    /// Whether the user has to make room.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::MemoryFull { .. })
    }

    /// Sorts an error of the system.
    fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (shown(path), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            _ => Self::Io { path, source },
        }
    }

    fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    fn is_missing(&self) -> bool {
        self.kind() == Some(io::ErrorKind::NotFound)
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A path for print: file names are a stranger's text.
fn shown(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

/// Takes a mutex whose data every holder leaves in a valid state, even when it panics.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        let error = |code| StoreError::io(Path::new("/f"), io::Error::from_raw_os_error(code));
        for (errno, full) in [
            (rustix::io::Errno::NOSPC, true),
            (rustix::io::Errno::DQUOT, true),
            (rustix::io::Errno::FBIG, true),
            (rustix::io::Errno::IO, false),
            (rustix::io::Errno::ROFS, false),
        ] {
            assert_eq!(error(errno.raw_os_error()).is_full(), full, "{errno:?}");
        }
    }

    #[test]
    fn a_hostile_path_cannot_write_to_the_terminal() {
        let error = StoreError::io(Path::new("/x/\x1b[2J\r\n\u{202e}"), io::ErrorKind::NotFound);
        assert!(error.to_string().chars().all(|c| !c.is_control() && c != '\u{202e}'), "{error}");
    }
}
