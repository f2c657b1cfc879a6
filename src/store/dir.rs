//! Folders held open by descriptor, so that nothing planted below them leads anywhere else.
//!
//! Invariant: from a root that the user named (and whose own links are followed) every step goes down by one
//! plain name with `O_NOFOLLOW`. A link swapped in meanwhile is refused, not followed (johang/btfs#111).

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, renameat, statat};
use rustix::io::Errno;

use super::{StoreError, shown};

/// Who may look at what we make.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Only the user: the cache and our own state.
    Private,
    /// As the user's umask says: their own folder.
    Shared,
}

impl Access {
    const fn folder(self) -> Mode {
        match self {
            Self::Private => Mode::from_raw_mode(0o700),
            Self::Shared => Mode::from_raw_mode(0o777),
        }
    }

    const fn file(self) -> Mode {
        match self {
            Self::Private => Mode::from_raw_mode(0o600),
            Self::Shared => Mode::from_raw_mode(0o666),
        }
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// `NONBLOCK`: a planted FIFO must not hang us before we see that it is none of ours.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// An open folder and the path for messages.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a folder that the user named; makes it and its parents first if `create` says so.
    pub(super) fn root(path: &Path, create: Option<Access>) -> Result<Self, StoreError> {
        if let Some(access) = create {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(access.folder().as_raw_mode());
            builder.create(path).map_err(|e| StoreError::io(path, e))?;
        }
        let fd = rustix::fs::open(path, FOLDER, Mode::empty()).map_err(|e| StoreError::io(path, e))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens the folder of this name in this one; makes it if it is missing and `create` says so.
    pub(super) fn child(&self, name: &OsStr, create: Option<Access>) -> Result<Self, StoreError> {
        let open = || openat(&self.fd, name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
        let opened = match (open(), create) {
            (Err(Errno::NOENT), Some(access)) => match mkdirat(&self.fd, name, access.folder()) {
                Ok(()) | Err(Errno::EXIST) => open(),
                Err(errno) => Err(errno),
            },
            (opened, _) => opened,
        };
        let fd = opened.map_err(|errno| self.refusal(name, errno))?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    /// Goes down to the folder that holds `path`, calls `then` with it and the last name.
    pub(super) fn descend<T>(
        &self,
        path: &Path,
        create: Option<Access>,
        then: impl FnOnce(&Self, &OsStr) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let reserved = || StoreError::Reserved { path: shown(path) };
        let mut folder: Option<Self> = None;
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            let Component::Normal(name) = component else { return Err(reserved()) };
            let above = folder.as_ref().unwrap_or(self);
            if components.peek().is_none() {
                return then(above, name);
            }
            folder = Some(above.child(name, create)?);
        }
        Err(reserved())
    }

    /// Opens a regular file in this folder. `flags` are those of `open(2)`; links are never followed.
    pub(super) fn open(&self, name: &OsStr, flags: OFlags, access: Access) -> Result<File, StoreError> {
        let fd = openat(&self.fd, name, flags | FILE, access.file()).map_err(|e| self.refusal(name, e))?;
        let stat = fstat(&fd).map_err(|e| StoreError::io(&self.path.join(name), e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(StoreError::NotAFile { path: shown(&self.path.join(name)) });
        }
        Ok(File::from(fd))
    }

    /// What lies under this name, links not followed.
    pub(super) fn stat(&self, name: &OsStr) -> Result<Option<Stat>, StoreError> {
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(StoreError::io(&self.path.join(name), errno)),
        }
    }

    /// Whether this name still leads to the folder that was opened by it.
    pub(super) fn still_has(&self, name: &OsStr, child: &Self) -> Result<bool, StoreError> {
        let opened = fstat(&child.fd).map_err(|e| StoreError::io(&child.path, e))?;
        Ok(self.stat(name)?.is_some_and(|s| (s.st_dev, s.st_ino) == (opened.st_dev, opened.st_ino)))
    }

    /// Puts a file of this folder in the place of another, at once for everybody who looks.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> Result<(), StoreError> {
        renameat(&self.fd, from, &self.fd, to).map_err(|e| StoreError::io(&self.path.join(to), e))
    }

    /// Makes names made in this folder survive a crash of the machine.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        rustix::fs::fsync(&self.fd).map_err(|e| StoreError::io(&self.path, e))
    }

    /// Refuses a folder that neither we nor root own: its owner could change our state under us.
    pub(super) fn check_owner(&self) -> Result<(), StoreError> {
        let stat = fstat(&self.fd).map_err(|e| StoreError::io(&self.path, e))?;
        let us = std::fs::metadata("/proc/self").map_or(stat.st_uid, |m| m.uid());
        if stat.st_uid == us || stat.st_uid == 0 {
            return Ok(());
        }
        Err(StoreError::Foreign { path: shown(&self.path), owner: stat.st_uid })
    }

    /// The path of something in it, for messages.
    pub(super) fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// Its own path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn refusal(&self, name: &OsStr, errno: Errno) -> StoreError {
        let link = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        if self.stat(name).is_ok_and(|stat| stat.is_some_and(link)) {
            return StoreError::Symlink { path: shown(&self.path.join(name)) };
        }
        StoreError::io(&self.path.join(name), errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn links_below_the_root_are_refused_and_the_root_may_be_one() {
        let temp = tempfile::tempdir().unwrap();
        let (real, elsewhere, link) = (temp.path().join("r"), temp.path().join("e"), temp.path().join("l"));
        std::fs::create_dir(&real).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        symlink(&real, &link).unwrap();
        symlink(&elsewhere, real.join("planted")).unwrap();
        symlink("/etc/passwd", real.join("file")).unwrap();
        let root = Dir::root(&link, None).unwrap();
        let opened = root.child(OsStr::new("planted"), Some(Access::Shared));
        assert!(matches!(opened, Err(StoreError::Symlink { .. })), "{opened:?}");
        let opened = root.open(OsStr::new("file"), OFlags::RDONLY, Access::Shared);
        assert!(matches!(opened, Err(StoreError::Symlink { .. })), "{opened:?}");
    }

    #[test]
    fn a_path_that_climbs_or_ends_nowhere_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::root(temp.path(), None).unwrap();
        for path in ["../x", "/etc/x", "", "a/../../x"] {
            let result = root.descend(Path::new(path), Some(Access::Private), |_, _| Ok(()));
            assert!(matches!(result, Err(StoreError::Reserved { .. })), "{path}: {result:?}");
        }
    }

    #[test]
    fn a_pipe_is_not_a_file_and_does_not_hang() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::root(temp.path(), None).unwrap();
        rustix::fs::mkfifoat(&root.fd, "pipe", Mode::RWXU).unwrap();
        let opened = root.open(OsStr::new("pipe"), OFlags::RDWR, Access::Private);
        assert!(matches!(opened, Err(StoreError::NotAFile { .. })), "{opened:?}");
    }

    #[test]
    fn private_folders_are_for_the_user_alone() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::root(&temp.path().join("a/b"), Some(Access::Private)).unwrap();
        root.child(OsStr::new("c"), Some(Access::Private)).unwrap().check_owner().unwrap();
        for path in ["a", "a/b", "a/b/c"] {
            let mode = std::fs::metadata(temp.path().join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{path}");
        }
    }
}
