//! One broadcast a location: its numbers and its ring must not be made by two elements at once.
//!
//! A broadcast that was stopped keeps its location until its files are written, which takes milliseconds;
//! whoever starts it again meanwhile waits for that. Other processes are kept out by the ring's lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest wait for the files of a broadcast that is being ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// The locations that are taken, and whether they are being left.
static TAKEN: Mutex<BTreeMap<PathBuf, bool>> = Mutex::new(BTreeMap::new());
static FREED: Condvar = Condvar::new();

/// The right to a location; it ends with [`release`](Self::release) or when this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    location: Mutex<Option<PathBuf>>,
}

fn taken() -> MutexGuard<'static, BTreeMap<PathBuf, bool>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claim {
    /// Takes the location of a broadcast. `None`: another element has it.
    pub(super) fn take(folder: &Path, name: &str) -> Option<Self> {
        // A folder that is not there is told by whoever writes into it.
        let location = folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join(name);
        let being_left = |taken: &mut BTreeMap<PathBuf, bool>| taken.get(&location) == Some(&true);
        let waited = FREED.wait_timeout_while(taken(), PATIENCE, being_left);
        let mut taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        if taken.contains_key(&location) {
            return None;
        }
        taken.insert(location.clone(), false);
        Some(Self { location: Mutex::new(Some(location)) })
    }

    fn location(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.location.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It will be free soon.
    pub(super) fn leave(&self) {
        if let Some(location) = &*self.location() {
            taken().insert(location.clone(), true);
        }
    }

    /// It is free.
    pub(super) fn release(&self) {
        if let Some(location) = self.location().take() {
            taken().remove(&location);
            FREED.notify_all();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Claim::take(folder.path(), "x").unwrap();
        assert!(Claim::take(&folder.path().join("."), "x").is_none());
        let other = Claim::take(folder.path(), "y").unwrap();
        first.leave();
        let waiting = std::thread::scope(|scope| {
            let next = scope.spawn(|| Claim::take(folder.path(), "x"));
            first.release();
            next.join().unwrap()
        });
        let second = waiting.expect("it waits for the one who leaves");
        drop(first);
        assert!(Claim::take(folder.path(), "x").is_none(), "a claim is released once");
        drop((second, other));
        assert!(Claim::take(folder.path(), "x").is_some());
    }
}
