//! Open descriptors of a torrent's files: opened when first needed, the longest unused closed when there are
//! too many.
//!
//! Invariant: at most [`MAX_OPEN_FILES`] are kept. One in use stays open until its user is done with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

/// Descriptors kept per torrent. A process may have 1,024 by default, and sockets need most of them.
pub(super) const MAX_OPEN_FILES: usize = 32;

/// One open file.
#[derive(Debug)]
pub(super) struct Handle {
    /// The file, for positioned reads and writes only: its own offset is anything.
    pub(super) file: File,
    /// It was opened for writing and has its final length.
    pub(super) writable: bool,
}

/// The descriptors kept open, by number of the file in the layout.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: BTreeMap<usize, Kept>,
    /// Counts uses, to tell the oldest.
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    handle: Arc<Handle>,
    used: u64,
}

impl Handles {
    /// The open file, if it is open for what is wanted.
    pub(super) fn find(&mut self, file: usize, write: bool) -> Option<Arc<Handle>> {
        self.uses += 1;
        let kept = self.open.get_mut(&file).filter(|kept| kept.handle.writable || !write)?;
        kept.used = self.uses;
        Some(Arc::clone(&kept.handle))
    }

    /// Keeps a file open, in the place of what was open under its number before.
    pub(super) fn keep(&mut self, file: usize, handle: Arc<Handle>) {
        self.uses += 1;
        self.open.insert(file, Kept { handle, used: self.uses });
        if self.open.len() > MAX_OPEN_FILES {
            let oldest = self.open.iter().min_by_key(|(_, kept)| kept.used).map(|(number, _)| *number);
            oldest.and_then(|number| self.open.remove(&number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(writable: bool) -> Arc<Handle> {
        Arc::new(Handle { file: tempfile::tempfile().unwrap(), writable })
    }

    #[test]
    fn the_longest_unused_is_closed_first() {
        let mut handles = Handles::default();
        for n in 0..MAX_OPEN_FILES {
            handles.keep(n, handle(false));
        }
        assert!(handles.find(0, false).is_some());
        handles.keep(999, handle(false));
        assert!(handles.find(0, false).is_some() && handles.find(999, false).is_some());
        assert!(handles.find(1, false).is_none());
        assert_eq!(handles.open.len(), MAX_OPEN_FILES);
    }

    #[test]
    fn a_file_open_for_reading_does_not_do_for_writing() {
        let mut handles = Handles::default();
        handles.keep(3, handle(false));
        assert!(handles.find(3, true).is_none() && handles.find(3, false).is_some());
        handles.keep(3, handle(true));
        assert!(handles.find(3, true).is_some() && handles.find(3, false).is_some());
    }
}
