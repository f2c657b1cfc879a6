//! Scratch folders, reproducible random files and their sums.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use rustix::fs::OFlags;
use sha1::{Digest, Sha1};
use tempfile::TempDir;

use super::wait;

/// Bytes written or read at once.
const CHUNK: usize = 1 << 20;

/// A folder below `target/tmp` that goes with its owner, unless `SWARM_TEST_KEEP` is set.
pub fn scratch(name: &str) -> TempDir {
    tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .disable_cleanup(std::env::var_os("SWARM_TEST_KEEP").is_some())
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a folder in target/tmp can be made")
}

/// Makes a folder and gives its path.
pub fn folder(within: &Path, name: &str) -> PathBuf {
    let path = within.join(name);
    std::fs::create_dir_all(&path).expect("a folder can be made");
    path
}

/// Makes a named pipe.
pub fn pipe(within: &Path, name: &str) -> PathBuf {
    let path = within.join(name);
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("coreutils are installed");
    assert!(made.success(), "mkfifo {}: {made}", path.display());
    path
}

/// The writing end of a named pipe, once somebody reads from it.
pub fn open_pipe(path: &Path, limit: Duration) -> File {
    let open =
        || File::options().write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path).ok();
    let what = format!("somebody to read from {}", path.display());
    let pipe = wait::until_some(&what, limit, open, String::new);
    rustix::fs::fcntl_setfl(&pipe, OFlags::empty()).expect("an open pipe may be changed");
    pipe
}

/// Writes `bytes` random bytes that depend on `seed` only.
pub fn random_file(path: &Path, bytes: u64, seed: u64) {
    std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder can be made");
    let mut file = File::create(path).expect("a file can be made");
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        rng.fill_bytes(&mut chunk[..now]);
        file.write_all(&chunk[..now]).expect("a file can be written");
        left -= now as u64;
    }
}

/// The SHA-1 of a file in hex.
pub fn sha1_of(path: &Path) -> String {
    let mut file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut sum = Sha1::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk).expect("a file can be read") {
            0 => break sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            n => sum.update(&chunk[..n]),
        }
    }
}

/// Demands that two files, or all files of two folders, have the same bytes. Empty files may be missing:
/// transmission does not make them.
pub fn assert_same(original: &Path, copy: &Path) {
    if original.is_dir() {
        for entry in std::fs::read_dir(original).expect("a folder can be listed") {
            let name = entry.expect("a folder can be listed").file_name();
            assert_same(&original.join(&name), &copy.join(&name));
        }
        return;
    }
    let is_empty = std::fs::metadata(original).is_ok_and(|original| original.len() == 0);
    if is_empty && !copy.exists() {
        return;
    }
    assert_eq!(
        sha1_of(original),
        sha1_of(copy),
        "{} differs from {} ({} and {} bytes)",
        copy.display(),
        original.display(),
        std::fs::metadata(copy).map_or(0, |m| m.len()),
        std::fs::metadata(original).map_or(0, |m| m.len()),
    );
}
