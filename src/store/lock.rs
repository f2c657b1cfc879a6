//! One process at a time writes a torrent's files: an advisory lock (`flock`) on a file of its own.
//!
//! The system releases the lock when the holder ends, however it ends. The file stays; its first line marks
//! the folder as ours, its second names the holder for messages, and its time of change is when the torrent
//! was last used.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW};

use super::dir::{Access, Dir};
use super::{StoreError, shown};

/// First line of every lock file of ours.
const MARK: &str = "gst-swarm lock\n";
/// Most bytes of a lock file that are looked at.
const MAX_LENGTH: usize = 64;
/// A holder that is about to let go (an engine ending, the cache looking around) is waited for this often ...
const TRIES: usize = 6;
/// ... with this pause.
const PAUSE: Duration = Duration::from_millis(20);

/// The lock on one torrent in one place; let go when dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of this name, making the file if it is missing.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when somebody else has it, or whatever the system says.
    pub(super) fn take(dir: &Dir, name: &OsStr) -> Result<Self, StoreError> {
        let mut pid = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                sleep(PAUSE);
            }
            let file = dir.open(name, OFlags::RDWR | OFlags::CREATE, Access::Private)?;
            match file.try_lock() {
                // The file may have been removed between opening and locking it.
                Ok(()) if is_in(dir, name, &file)? => return Self::sign(file, dir, name),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => pid = holder(&file),
                Err(TryLockError::Error(error)) => return Err(StoreError::io(&dir.path_of(name), error)),
            }
        }
        Err(StoreError::Locked { path: shown(&dir.path_of(name)), pid })
    }

    fn sign(file: File, dir: &Dir, name: &OsStr) -> Result<Self, StoreError> {
        let note = format!("{MARK}pid {}\n", std::process::id());
        let written = file.set_len(0).and_then(|()| (&file).write_all(note.as_bytes()));
        written.map_err(|e| StoreError::io(&dir.path_of(name), e))?;
        Ok(Self { file })
    }

    /// Remembers that the torrent is in use now.
    pub(super) fn touch(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        // Only the order of eviction depends on it.
        let _ = rustix::fs::futimens(&self.file, &Timestamps { last_access: now, last_modification: now });
    }
}

/// The process that holds this lock, if one does. Leaves no trace.
pub(super) fn held_by(dir: &Dir, name: &OsStr) -> Option<u32> {
    let file = dir.open(name, OFlags::RDONLY, Access::Private).ok()?;
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| holder(&file)).flatten()
}

/// The lock of a torrent that nobody uses, taken without leaving a trace.
#[derive(Debug)]
pub(super) struct IdleLock {
    _file: File,
}

impl IdleLock {
    /// Takes an existing lock of ours. `None` when it is held, missing or not ours.
    pub(super) fn take(dir: &Dir, name: &OsStr) -> Option<Self> {
        let file = dir.open(name, OFlags::RDWR, Access::Private).ok()?;
        let idle = is_ours(&file) && file.try_lock().is_ok() && is_in(dir, name, &file).ok()?;
        idle.then_some(Self { _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.touch();
    }
}

/// Whether this name still leads to this file.
fn is_in(dir: &Dir, name: &OsStr, file: &File) -> Result<bool, StoreError> {
    let opened = file.metadata().map_err(|e| StoreError::io(&dir.path_of(name), e))?;
    Ok(dir.stat(name)?.is_some_and(|stat| (stat.st_dev, stat.st_ino) == (opened.dev(), opened.ino())))
}

fn text(file: &File) -> io::Result<String> {
    let mut bytes = [0; MAX_LENGTH];
    let length = file.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn is_ours(file: &File) -> bool {
    text(file).is_ok_and(|text| text.starts_with(MARK))
}

fn holder(file: &File) -> Option<u32> {
    text(file).ok()?.strip_prefix(MARK)?.strip_prefix("pid ")?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{child_argument, spawn_test};
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::path::Path;

    fn take(folder: &Path) -> Result<Lock, StoreError> {
        Lock::take(&Dir::root(folder, None).unwrap(), OsStr::new("lock"))
    }

    /// Another process that takes the lock and holds it until its end.
    fn hold_as_child(folder: &str) {
        let _lock = take(Path::new(folder)).unwrap();
        println!("\nholding");
        let _ = std::io::stdin().read_line(&mut String::new());
    }

    #[test]
    fn a_lock_keeps_other_processes_out_until_its_holder_is_gone_even_if_killed() {
        if let Some(folder) = child_argument() {
            return hold_as_child(&folder);
        }
        let temp = tempfile::tempdir().unwrap();
        let name =
            "store::lock::tests::a_lock_keeps_other_processes_out_until_its_holder_is_gone_even_if_killed";
        let mut child = spawn_test(name, temp.path().to_str().unwrap(), "");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "holding"));
        let error = take(temp.path()).unwrap_err();
        let pid = child.id();
        assert!(matches!(error, StoreError::Locked { pid: Some(p), .. } if p == pid), "{error} {pid}");
        assert!(error.to_string().contains(&format!("process {pid}")), "{error}");
        let held_by = || held_by(&Dir::root(temp.path(), None).unwrap(), OsStr::new("lock"));
        assert_eq!(held_by(), Some(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(held_by(), None);
        drop(take(temp.path()).unwrap());
    }

    #[test]
    fn two_engines_of_one_process_exclude_each_other_too() {
        let temp = tempfile::tempdir().unwrap();
        let first = take(temp.path()).unwrap();
        assert!(matches!(take(temp.path()), Err(StoreError::Locked { pid: Some(_), .. })));
        drop(first);
        take(temp.path()).unwrap();
    }

    #[test]
    fn a_holder_that_lets_go_at_once_is_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let first = take(temp.path()).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| take(temp.path()));
            drop(first);
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn only_an_unused_lock_of_ours_is_idle() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::root(temp.path(), None).unwrap();
        let idle = || IdleLock::take(&dir, OsStr::new("lock")).is_some();
        assert!(!idle());
        let held = take(temp.path()).unwrap();
        assert!(!idle());
        drop(held);
        assert!(idle());
        std::fs::write(temp.path().join("lock"), "something else").unwrap();
        assert!(!idle());
    }

    #[test]
    fn a_planted_link_is_not_written_through() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("precious"), "data").unwrap();
        std::os::unix::fs::symlink(temp.path().join("precious"), temp.path().join("lock")).unwrap();
        assert!(matches!(take(temp.path()), Err(StoreError::Symlink { .. })));
        assert_eq!(std::fs::read_to_string(temp.path().join("precious")).unwrap(), "data");
    }
}
