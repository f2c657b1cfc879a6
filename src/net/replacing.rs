//! Small files that are replaced as a whole, by way of a new one beside them: after a crash there is the old content or
//! the new, and at most a `NAME.new` that the next time writes over.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Replaces the file's content, or changes nothing and leaves nothing behind.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = with_ending(path, ".new");
    let replaced = write(&new, bytes).and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        // What counts is the first error.
        let _ = fs::remove_file(&new);
    }
    replaced
}

/// Never writes through a link that somebody has put there.
fn write(new: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(new)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The same name with something behind it.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whatever_a_crash_has_left_and_a_failure_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let (path, new) = (temp.path().join("x"), temp.path().join("x.new"));
        let victim = temp.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, &new).unwrap();
        replace(&path, b"1").unwrap();
        fs::write(&new, "half of it, and longer").unwrap();
        replace(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        let folder = temp.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(replace(&folder, b"3").is_err());
        let mut left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["folder", "victim", "x"]);
    }
}
