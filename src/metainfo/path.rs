//! Strangers' file names made safe for one download folder, and no more changed than that needs.
//!
//! Invariant: what [`disk_paths`] returns is relative, consists of normal components only (none empty, `.` or
//! `..`, none with a separator, NUL or control character), differs from every other path even without regard
//! to case, and is never a folder on the way to another one. Names that are merely odd (hidden, in any
//! script, with spaces, emoji or leading dashes) stay as they are: refusing those is what users complain of.
//! The names that Windows reserves are not treated: the project runs on Linux.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use super::text::{escape, is_harmless};

/// Longest component, in bytes (file systems take 255; the rest is for suffixes such as `.part`).
pub const MAX_COMPONENT: usize = 240;
/// Deepest path; of a deeper one the inner folders are left out.
pub const MAX_COMPONENTS: usize = 32;
/// Longest path in bytes (Linux takes 4096 with the download folder); of a longer one inner folders are left out.
pub const MAX_PATH: usize = 2048;
/// Most files that may have the same path; the limit of libtorrent.
pub const MAX_SAME: u32 = 100;
/// Longest extension that survives the shortening of a name, in bytes.
const MAX_EXTENSION: usize = 16;
/// What a name becomes of which nothing is left.
const NAMELESS: &str = "_";

/// Why a torrent's names cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// More than [`MAX_SAME`] files of the same name.
    #[error("more than {MAX_SAME} files are called '{}'", escape(.0))]
    TooManySame(String),
}

/// Where the files go below the download folder. `root` is the torrent's name when it is a folder; each of
/// `files` is a path as the torrent gives it.
///
/// # Errors
/// When too many files have the same path.
pub fn disk_paths<'a>(
    root: Option<&str>,
    files: impl Iterator<Item = &'a [String]>,
) -> Result<Vec<PathBuf>, PathError> {
    let cleaned: Vec<Vec<String>> = files.map(|file| clean_path(root, file)).collect();
    let mut taken = Taken::default();
    for path in &cleaned {
        taken.keep_folders(path);
    }
    cleaned.into_iter().map(|path| taken.place(path)).collect()
}

/// One component made safe, or `None` when it names nothing (empty, `.`, `..`).
///
/// Separators of any system, control characters and marks that turn the direction of writing become `_`;
/// so does the colon of a drive letter (`C:`). Long names are shortened before their extension.
pub fn component(name: &str) -> Option<String> {
    if matches!(name, "" | "." | "..") {
        return None;
    }
    let mut safe: String = name.chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
    if matches!(safe.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic()) {
        safe.replace_range(1..2, "_");
    }
    Some(shorten(&safe, ""))
}

fn is_safe(c: char) -> bool {
    is_harmless(c) && !matches!(c, '/' | '\\')
}

/// Root, folders and file name, each safe, and together within [`MAX_COMPONENTS`] and [`MAX_PATH`].
fn clean_path(root: Option<&str>, file: &[String]) -> Vec<String> {
    let (folders, name) = file.split_last().map_or((&[][..], ""), |(name, folders)| (folders, name.as_str()));
    let root = root.map(|root| component(root).unwrap_or_else(|| NAMELESS.to_owned()));
    let name = component(name).unwrap_or_else(|| NAMELESS.to_owned());
    let fixed = usize::from(root.is_some()) + 1;
    let mut room = MAX_PATH - MAX_COMPONENT - root.as_ref().map_or(0, |root| root.len() + 1);
    let fits = |folder: &String| match room.checked_sub(folder.len() + 1) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    let folders = folders.iter().filter_map(|folder| component(folder));
    let folders = folders.take(MAX_COMPONENTS - fixed).take_while(fits);
    root.into_iter().chain(folders).chain([name]).collect()
}

/// Puts `infix` before the extension and cuts the stem so that all fits into [`MAX_COMPONENT`].
fn shorten(name: &str, infix: &str) -> String {
    let dot = name.rfind('.').filter(|dot| *dot > 0 && name.len() - dot <= MAX_EXTENSION);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let mut end = stem.len().min(MAX_COMPONENT.saturating_sub(infix.len() + extension.len()));
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{infix}{extension}", &stem[..end])
}

/// The paths that are spoken for, without regard to case: by hash, so that memory stays bounded by the number
/// of components. Two paths that share a hash by chance only make a needless rename.
#[derive(Default)]
struct Taken {
    folders: BTreeSet<u64>,
    files: BTreeSet<u64>,
    /// Of every path that was wanted: by how many files, and the next number to try as a suffix.
    wanted: BTreeMap<u64, (u32, u32)>,
}

impl Taken {
    fn keep_folders(&mut self, path: &[String]) {
        let mut hasher = DefaultHasher::new();
        for folder in &path[..path.len() - 1] {
            fold(folder, &mut hasher);
            self.folders.insert(hasher.finish());
        }
    }

    /// Takes the path for a file, under another name if it is spoken for.
    fn place(&mut self, mut path: Vec<String>) -> Result<PathBuf, PathError> {
        let name = path.pop().unwrap_or_else(|| NAMELESS.to_owned());
        let mut folder = DefaultHasher::new();
        path.iter().for_each(|component| fold(component, &mut folder));
        let wanted = key(&folder, &name);
        let (same, mut number) = self.wanted.get(&wanted).copied().unwrap_or((0, 1));
        if same == MAX_SAME {
            return Err(PathError::TooManySame(name));
        }
        let mut placed = name.clone();
        // A number is tried once for each wanted path, and fails only because of a file or folder that exists.
        while !self.take(key(&folder, &placed)) {
            placed = shorten(&name, &format!(".{number}"));
            number += 1;
        }
        self.wanted.insert(wanted, (same + 1, number));
        path.push(placed);
        Ok(path.iter().collect())
    }

    fn take(&mut self, path: u64) -> bool {
        !self.folders.contains(&path) && self.files.insert(path)
    }
}

fn key(folder: &DefaultHasher, name: &str) -> u64 {
    let mut hasher = folder.clone();
    fold(name, &mut hasher);
    hasher.finish()
}

fn fold(component: &str, hasher: &mut DefaultHasher) {
    component.to_lowercase().hash(hasher);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    fn paths(root: Option<&str>, files: &[&[&str]]) -> Result<Vec<String>, PathError> {
        let files: Vec<Vec<String>> = files.iter().map(|f| f.iter().map(|&c| c.into()).collect()).collect();
        let paths = disk_paths(root, files.iter().map(Vec::as_slice))?;
        Ok(paths.into_iter().map(|p| p.to_str().unwrap().to_owned()).collect())
    }

    fn one(root: Option<&str>, file: &[&str]) -> String {
        paths(root, &[file]).unwrap().remove(0)
    }

    fn is_contained(path: &Path) -> bool {
        let text = path.to_str().unwrap();
        let normal = path.components().all(|c| matches!(c, Component::Normal(_)));
        let exact = path.components().count() == text.split('/').count();
        let short = text.split('/').all(|c| (1..=MAX_COMPONENT).contains(&c.len()));
        normal
            && exact
            && short
            && path.is_relative()
            && !text.contains(|c: char| c.is_control() || c == '\\')
    }

    #[test]
    fn odd_but_harmless_names_stay_as_they_are() {
        for name in [
            "a film (2008) [x264].mkv",
            ".hidden",
            "...",
            "-rf",
            "~",
            "$(rm)",
            "日本語.mkv",
            "👩\u{200d}👧.mp4",
            " spaces ",
            "ab:c",
            "Star Wars: A New Hope.avi",
            "con",
            "CON.txt",
            "naïve",
            "a..b",
            "%2e%2e",
            "*?<>|\"",
        ] {
            assert_eq!(component(name).as_deref(), Some(name));
            assert_eq!(one(Some("root"), &["folder", name]), format!("root/folder/{name}"));
            assert_eq!(one(None, &[name]), name);
        }
    }

    #[test]
    fn hostile_names_are_contained() {
        assert_eq!(one(Some("t"), &["..", "..", "etc", "passwd"]), "t/etc/passwd");
        assert_eq!(one(Some("t"), &["/etc/passwd"]), "t/_etc_passwd");
        assert_eq!(one(Some("t"), &["foo/../../../bar", "bar"]), "t/foo_.._.._.._bar/bar");
        assert_eq!(one(Some("t"), &["..\\..\\windows", "C:\\x", "c:x"]), "t/.._.._windows/C__x/c_x");
        assert_eq!(one(Some("t"), &["", ".", ".."]), "t/_");
        assert_eq!(one(Some("t"), &[]), "t/_");
        assert_eq!(one(Some(".."), &["a"]), "_/a");
        assert_eq!(one(None, &[".."]), "_");
        assert_eq!(one(None, &["/"]), "_");
        assert_eq!(one(None, &["a\0b\n\x1b[0m\u{202e}gpj.exe"]), "a_b__[0m_gpj.exe");
    }

    #[test]
    fn long_names_keep_their_extension() {
        let name = component(&format!("{}.mkv", "ä".repeat(300))).unwrap();
        assert!(name.len() <= MAX_COMPONENT && name.ends_with("ä.mkv"), "{name}");
        assert_eq!(component(&"x".repeat(300)), Some("x".repeat(MAX_COMPONENT)));
        let dots = component(&format!("a.{}", "x".repeat(300))).unwrap();
        assert_eq!(dots.len(), MAX_COMPONENT);
    }

    #[test]
    fn deep_and_long_paths_lose_inner_folders() {
        let mut deep = vec!["d"; 1000];
        deep.push("film.mkv");
        let path = one(Some("t"), &deep);
        assert_eq!(path.split('/').count(), MAX_COMPONENTS);
        assert!(path.starts_with("t/d/") && path.ends_with("/d/film.mkv"));
        let long = "l".repeat(MAX_COMPONENT);
        let path = one(Some("t"), &[long.as_str(); 31]);
        assert!(path.len() <= MAX_PATH && path.ends_with(&long));
    }

    #[test]
    fn every_file_gets_its_own_path() {
        let same: [&[&str]; 4] = [&["a", "f.txt"], &["a", "F.TXT"], &["A", "f.txt"], &["a", "f.1.txt"]];
        assert_eq!(
            paths(Some("t"), &same).unwrap(),
            ["t/a/f.txt", "t/a/F.1.TXT", "t/A/f.2.txt", "t/a/f.1.1.txt"]
        );
        let folder_too: [&[&str]; 3] = [&["x"], &["x", "y"], &["x.1"]];
        assert_eq!(paths(Some("t"), &folder_too).unwrap(), ["t/x.1", "t/x/y", "t/x.1.1"]);
    }

    #[test]
    fn very_many_files_of_one_name_are_refused() {
        let most = MAX_SAME as usize;
        assert!(paths(Some("t"), &vec![&["same.txt"][..]; most]).is_ok());
        let too_many = paths(Some("t"), &vec![&["same.txt"][..]; most + 1]);
        assert_eq!(too_many, Err(PathError::TooManySame("same.txt".into())));
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            "[./\\\\:aAb\\x00-\\x1f]{0,6}",
            "\\PC{0,8}",
            any::<String>(),
            "[a-cA-C]{1,2}(\\.[12])?",
            "x{0,600}(\\.[a-z]{0,30})?"
        ]
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing(name in name()) {
            if let Some(once) = component(&name) {
                prop_assert_eq!(component(&once), Some(once));
            }
        }

        #[test]
        fn every_path_stays_in_the_folder_and_differs_from_all_others(
            root in prop::option::of(name()),
            files in prop::collection::vec(prop::collection::vec(name(), 0..5), 0..40),
        ) {
            let paths = disk_paths(root.as_deref(), files.iter().map(Vec::as_slice)).unwrap();
            prop_assert_eq!(paths.len(), files.len());
            let lower: Vec<PathBuf> = paths.iter().map(|p| p.to_str().unwrap().to_lowercase().into()).collect();
            for (i, path) in paths.iter().enumerate() {
                prop_assert!(is_contained(path), "{:?}", path);
                prop_assert!(path.as_os_str().len() <= MAX_PATH && path.components().count() <= MAX_COMPONENTS);
                for (j, other) in lower.iter().enumerate() {
                    prop_assert!(i == j || !other.starts_with(&lower[i]), "{:?} is on the way to {:?}", path, other);
                }
            }
        }
    }
}
