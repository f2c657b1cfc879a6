//! What programs read: JSON lines on standard output, and files that appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Nobody reads standard output any more (`| head`). Not a failure: what was wanted has been read.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(super) struct Closed;

/// Writes to standard output and flushes it.
///
/// # Errors
/// [`Closed`] when the reader went away, else the system's error.
pub(super) fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// One JSON value on one line of standard output.
///
/// # Errors
/// As [`write()`].
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = to_json(value)?;
    line.push(b'\n');
    write(&line)
}

fn to_json(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut line, Ascii))?;
    Ok(line)
}

/// JSON in printable ASCII: exact for programs, harmless when a terminal shows a stranger's name.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        for c in text.chars() {
            match c {
                ' '..='~' => write!(out, "{c}")?,
                _ => c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?,
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Quote => out.write_all(b"\\\""),
            CharEscape::ReverseSolidus => out.write_all(b"\\\\"),
            CharEscape::Solidus => out.write_all(b"/"),
            CharEscape::Backspace => out.write_all(b"\\b"),
            CharEscape::FormFeed => out.write_all(b"\\f"),
            CharEscape::LineFeed => out.write_all(b"\\n"),
            CharEscape::CarriageReturn => out.write_all(b"\\r"),
            CharEscape::Tab => out.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(out, "\\u{byte:04x}"),
        }
    }
}

/// Writes a file that appears under its name only when it is complete.
///
/// # Errors
/// When it is there already and `force` is not given, or the folder cannot be written to.
pub(super) fn new_file(path: &Path, bytes: &[u8], force: bool) -> anyhow::Result<()> {
    let part = beside(path, &format!("{}.part", std::process::id()));
    let written = write_synced(&part, bytes)
        .with_context(|| format!("cannot write {}: choose another place with -o", path.display()))
        .and_then(|()| put_in_place(&part, path, force));
    if written.is_err() {
        // It may not exist at all; what counts is the first error.
        let _ = fs::remove_file(&part);
    }
    written
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives a finished file its name, in one step.
///
/// # Errors
/// When the name is taken and `force` is not given, or the system refuses.
pub(super) fn put_in_place(part: &Path, path: &Path, force: bool) -> anyhow::Result<()> {
    let renamed = if force { fs::rename(part, path) } else { rename_new(part, path) };
    match renamed {
        Ok(()) => {
            sync_folder(path);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
    }
}

/// Renames unless the name is taken; an empty file there (as `mktemp` leaves it) is nobody's loss.
fn rename_new(part: &Path, path: &Path) -> io::Result<()> {
    if is_empty_file(path) {
        return fs::rename(part, path);
    }
    match renameat_with(CWD, part, CWD, path, RenameFlags::NOREPLACE) {
        // Not every file system knows the flag.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !path.exists() => fs::rename(part, path),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        other => Ok(other?),
    }
}

fn is_empty_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
}

/// Whether a file may be written there, and would destroy nothing: says so before the work is done rather than after it.
///
/// # Errors
/// When its folder is not there, or something with content is there and `force` is not given.
pub(super) fn check_free(path: &Path, force: bool) -> anyhow::Result<()> {
    let folder = folder_of(path);
    let shown = folder.display();
    anyhow::ensure!(
        folder
            .metadata()
            .with_context(|| format!("{shown}: make that folder, or choose another place with -o"))?
            .is_dir(),
        "{shown} is no folder: choose another place with -o"
    );
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => {
            anyhow::bail!("{} is a folder: name a file with -o", path.display())
        }
        Ok(_) if !force && !is_empty_file(path) => Err(exists(path)),
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} exists: move it away, choose another name with -o, or add --force", path.display())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Makes the new name survive a crash, where the file system can.
fn sync_folder(path: &Path) {
    let folder = folder_of(path);
    // The content is safe already; a lost name is found again by running the command again.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// A hidden name in the same folder: `.NAME.ENDING`.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn json_is_ascii_and_exact(text in ".*") {
            let line = to_json(&text).unwrap();
            prop_assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
        }
    }

    #[test]
    fn control_characters_do_not_get_into_json() {
        let line = to_json(&"\u{1b}[2J\u{7f}\u{9b}\u{202e}\t\"\\").unwrap();
        assert_eq!(line, br#""\u001b[2J\u007f\u009b\u202e\t\"\\""#);
    }

    #[test]
    fn a_file_is_replaced_only_by_force_and_leaves_no_parts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.torrent");
        new_file(&path, b"one", false).unwrap();
        let error = new_file(&path, b"two", false).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert!(check_free(&path, false).is_err() && check_free(&path, true).is_ok());
        new_file(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_empty_file_is_free_and_a_folder_never_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty");
        fs::write(&path, b"").unwrap();
        assert!(check_free(&path, false).is_ok());
        new_file(&path, b"now", false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"now");
        assert!(check_free(dir.path(), true).is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = new_file(Path::new("/nonexistent/a.torrent"), b"", false).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/a.torrent"));
    }
}
