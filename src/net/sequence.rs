//! The numbers of a broadcast's pieces, kept in a file so that none is ever used twice.
//!
//! The file holds the first number that was not handed out for sure: numbers are reserved ahead, `RESERVE` at a
//! time, and the file is replaced before the first of them is used. So a crash skips some, and repeats none.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::replacing::replace;

/// Numbers reserved at a time.
const RESERVE: u32 = 64;
/// What to do when it is not known which numbers were used.
const HIGHER_OR_NEW: &str = "put a number there that is higher than that of any piece that was made (the status line told \
                             it, and so does a viewer's `swarm get --json` as newest), or begin another broadcast (--new, \
                             new=true)";
/// Longest file of this kind.
const MAX_LENGTH: u64 = 64;

/// A broadcast's counter.
#[derive(Debug)]
pub struct Sequence {
    path: PathBuf,
    next: u32,
    reserved: u32,
    /// Two that number their pieces alike would spoil the broadcast: as long as this is locked there is one.
    _lock: Option<File>,
}

/// Why no number can be had.
#[derive(Debug, thiserror::Error)]
pub enum SequenceError {
    /// The file cannot be read or replaced.
    #[error("{path} cannot be read and replaced: {source}; mend that, or choose another folder")]
    Io {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file holds no number.
    #[error("{path} holds no number: {HIGHER_OR_NEW}")]
    Number {
        /// The file.
        path: String,
    },
    /// The file is gone.
    #[error("{path} is missing: {HIGHER_OR_NEW}")]
    Missing {
        /// The file.
        path: String,
    },
    /// All numbers were used.
    #[error("{path}: all numbers of this broadcast are used; begin another one (--new, new=true)")]
    Over {
        /// The file.
        path: String,
    },
}

impl Sequence {
    /// Begins at 0, unless there is a counter already.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn begin(path: &Path) -> Result<(), SequenceError> {
        if path.exists() {
            return Ok(());
        }
        Self { path: path.to_owned(), next: 0, reserved: 0, _lock: None }.save(0)
    }

    /// Takes the counter up where it was.
    ///
    /// # Errors
    /// When the file cannot be read, is missing, or holds something else.
    pub fn open(path: &Path) -> Result<Self, SequenceError> {
        let next = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SequenceError::Missing { path: shown(path) });
            }
            Err(error) => return Err(failed(path, error)),
            Ok(metadata) if metadata.len() > MAX_LENGTH => {
                return Err(SequenceError::Number { path: shown(path) });
            }
            Ok(_) => {
                let text = fs::read_to_string(path).map_err(|error| failed(path, error))?;
                let number = text.trim().parse();
                number.map_err(|_| SequenceError::Number { path: shown(path) })?
            }
        };
        Ok(Self { path: path.to_owned(), next, reserved: next, _lock: None })
    }

    /// Keeps this lock as long as numbers are used.
    #[must_use]
    pub fn locked(self, lock: File) -> Self {
        Self { _lock: Some(lock), ..self }
    }

    /// The number that comes next.
    pub const fn peek(&self) -> u32 {
        self.next
    }

    /// A number that was never given before.
    ///
    /// # Errors
    /// When the file cannot be replaced, or there is no number left.
    pub fn take(&mut self) -> Result<u32, SequenceError> {
        if self.next >= self.reserved {
            let reserved = self.next.checked_add(RESERVE);
            let reserved = reserved.ok_or_else(|| SequenceError::Over { path: shown(&self.path) })?;
            self.save(reserved)?;
            self.reserved = reserved;
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Gives back what was reserved and not used.
    ///
    /// # Errors
    /// When the file cannot be replaced; numbers are then skipped.
    pub fn close(&mut self) -> Result<(), SequenceError> {
        if self.reserved == self.next {
            return Ok(());
        }
        self.reserved = self.next;
        self.save(self.next)
    }

    fn save(&self, number: u32) -> Result<(), SequenceError> {
        replace(&self.path, format!("{number}\n").as_bytes()).map_err(|error| failed(&self.path, error))
    }
}

fn failed(path: &Path, source: io::Error) -> SequenceError {
    SequenceError::Io { path: shown(path), source }
}

fn shown(path: &Path) -> String {
    crate::metainfo::text::escape(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_comes_twice_whatever_happens() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("x.restart");
        assert!(matches!(Sequence::open(&path), Err(SequenceError::Missing { .. })));
        Sequence::begin(&path).unwrap();
        let mut first = Sequence::open(&path).unwrap();
        let mut used: Vec<_> = (0..100).map(|_| first.take().unwrap()).collect();
        assert_eq!(used, (0..100).collect::<Vec<_>>());
        // It crashes here.
        drop(first);
        let mut second = Sequence::open(&path).unwrap();
        used.extend((0..10).map(|_| second.take().unwrap()));
        assert!(used.is_sorted_by(|a, b| a < b), "{used:?}");
        second.close().unwrap();
        assert_eq!(Sequence::open(&path).unwrap().peek(), used.last().unwrap() + 1, "nothing is skipped");
    }

    #[test]
    fn what_is_no_number_is_not_taken_for_0() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("x.restart");
        for text in ["", "x", "-1", "4294967296", &"1".repeat(100)] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Sequence::open(&path), Err(SequenceError::Number { .. })), "{text}");
        }
        fs::write(&path, u32::MAX.to_string()).unwrap();
        assert!(matches!(Sequence::open(&path).unwrap().take(), Err(SequenceError::Over { .. })));
    }
}
