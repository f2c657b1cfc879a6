//! Reads the names and the file list of an info dictionary (BEP 3, BEP 47).
//!
//! Symbolic links (attribute `l`) are left out: they hold no bytes, and creating what a stranger's link says
//! is how one leaves the download folder. File numbers are those of the list without them.

use std::time::Duration;

use super::layout::{File, Layout, MAX_FILES};
use super::torrent::MetainfoError;
use super::{path, playtime};
use crate::wire::bencode::Value;
use crate::wire::ids::InfoHash;

/// Most components of a path that are taken from a torrent.
const MAX_PATH_COMPONENTS: usize = 256;

/// BitComet's way of padding before BEP 47: the last component of a pad file's path starts with this.
const BITCOMET_PAD: &str = "_____padding_file_";

/// `info.name`; `name.utf-8` is preferred. Bytes that are not UTF-8 become replacement characters, a name
/// that names nothing (empty, `.`, `..`) gives way to the info-hash, and one with a NUL is none at all: no
/// file system ever held it.
pub(super) fn name(info: Value<'_>, info_hash: InfoHash) -> Result<String, MetainfoError> {
    let preferred = info.find(b"name.utf-8").and_then(Value::as_str).map(ToOwned::to_owned);
    let name = preferred.or_else(|| info.find(b"name").and_then(lossy)).filter(|name| !name.contains('\0'));
    let name = name.ok_or(MetainfoError::Missing("name"))?;
    Ok(if path::component(&name).is_some() { name } else { info_hash.to_string() })
}

/// All files of the torrent with their places on disk.
pub(super) fn layout(info: Value<'_>, name: &str) -> Result<Layout, MetainfoError> {
    let (root, entries) = match info.find(b"files") {
        Some(files) => (Some(name), entries(files)?),
        None => (None, vec![single(info, name)?]),
    };
    let on_disk = entries.iter().filter(|entry| !entry.pad).map(|entry| entry.name.as_slice());
    let mut disk = path::disk_paths(root, on_disk)?.into_iter();
    let mut at: u64 = 0;
    let files = entries.into_iter().map(|Entry { name, length, pad, playtime }| {
        let disk = if pad { None } else { disk.next() }.unwrap_or_default();
        let start = at;
        at = at.checked_add(length).ok_or(MetainfoError::Total)?;
        Ok(File { name, disk, range: start..at, pad, playtime })
    });
    Ok(Layout { files: files.collect::<Result<_, MetainfoError>>()? })
}

/// A duration as the SwarmPlayer writes it; one that makes no sense counts as none.
pub(super) fn playtime(dict: Value<'_>) -> Option<Duration> {
    let value = dict.find(b"playtime")?;
    match value.as_str() {
        Some(text) => playtime::parse(text).ok(),
        None => playtime::from_seconds(value.as_u64()?).ok(),
    }
}

/// Bytes as text, with replacement characters where they are not UTF-8.
pub(super) fn lossy(value: Value<'_>) -> Option<String> {
    value.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// One file as the torrent lists it.
struct Entry {
    name: Vec<String>,
    length: u64,
    pad: bool,
    playtime: Option<Duration>,
}

fn single(info: Value<'_>, name: &str) -> Result<Entry, MetainfoError> {
    let length = info.find(b"length").and_then(Value::as_u64).ok_or(MetainfoError::Missing("length"))?;
    Ok(Entry { name: vec![name.to_owned()], length, pad: false, playtime: None })
}

fn entries(files: Value<'_>) -> Result<Vec<Entry>, MetainfoError> {
    let mut entries = Vec::new();
    for (index, file) in files.as_list().ok_or(MetainfoError::Missing("files"))?.enumerate() {
        if index == MAX_FILES {
            return Err(MetainfoError::TooManyFiles);
        }
        entries.extend(entry(file).map_err(|what| MetainfoError::File { index, what })?);
    }
    Ok(entries)
}

/// Reads one dictionary of `info.files`; `None` for a symbolic link.
fn entry(file: Value<'_>) -> Result<Option<Entry>, &'static str> {
    let attributes = file.find(b"attr").and_then(Value::as_bytes).unwrap_or_default();
    if attributes.contains(&b'l') {
        return match file.find(b"symlink path").map(|target| components(target, lossy)) {
            Some(None) => Err("a list of names as `symlink path`"),
            Some(Some(_)) | None => Ok(None),
        };
    }
    let length = file.find(b"length").and_then(Value::as_u64).ok_or("a `length` from 0")?;
    let pad = attributes.contains(&b'p');
    let preferred =
        file.find(b"path.utf-8").and_then(|path| components(path, |v| v.as_str().map(Into::into)));
    let name = preferred.or_else(|| components(file.find(b"path")?, lossy));
    let name = name.or_else(|| pad.then(|| vec![".pad".into(), length.to_string()]));
    let name = name.ok_or("a list of at most 256 names as `path`")?;
    let pad = pad || name.last().is_some_and(|last| last.starts_with(BITCOMET_PAD));
    Ok(Some(Entry { name, length, pad, playtime: playtime(file) }))
}

fn components(path: Value<'_>, text: fn(Value<'_>) -> Option<String>) -> Option<Vec<String>> {
    let mut list = path.as_list()?;
    let components: Option<Vec<String>> = list.by_ref().take(MAX_PATH_COMPONENTS).map(text).collect();
    components.filter(|_| list.next().is_none())
}
