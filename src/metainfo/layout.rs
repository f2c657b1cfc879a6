//! Where the files of a torrent lie in its byte space, and where they go on disk.
//!
//! Invariant: files follow each other without gaps from byte 0 to the torrent's end; every `disk` path is
//! relative, has only normal components and differs from every other one, so that joined to the download
//! folder it cannot leave it (those of pad files are empty: they are never on disk). Made by
//! [`torrent`](super::torrent) with the names that [`path`](super::path) cleaned.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// Most files that are taken from a torrent.
pub const MAX_FILES: usize = 100_000;
/// File name extensions of what GStreamer plays, in lower case.
const MEDIA_EXTENSIONS: [&str; 38] = [
    "3gp", "aac", "ac3", "aif", "aiff", "asf", "avi", "divx", "flac", "flv", "m2ts", "m4a", "m4b", "m4v",
    "mka", "mkv", "mov", "mp2", "mp3", "mp4", "mpeg", "mpegts", "mpg", "mts", "mxf", "oga", "ogg", "ogm",
    "ogv", "opus", "qt", "rm", "rmvb", "ts", "vob", "wav", "webm", "wmv",
];

/// One file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The path as the torrent gives it, a stranger's text: escape it before showing it.
    pub name: Vec<String>,
    /// Where it goes below the download folder; empty for pad files.
    pub disk: PathBuf,
    /// Its bytes in the torrent's byte space.
    pub range: Range<u64>,
    /// A BEP 47 pad file: zeros that nobody wants on disk.
    pub pad: bool,
    /// Its own duration, where the torrent gives one (`playtime` in the file's dictionary).
    pub playtime: Option<Duration>,
}

impl File {
    /// Bytes in it.
    pub const fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether its name's extension says that it is audio or video.
    pub fn is_media(&self) -> bool {
        !self.pad && self.name.last().is_some_and(|name| is_media_name(name))
    }
}

/// Whether the extension of a file's name says that it is audio or video.
pub fn is_media_name(name: &str) -> bool {
    let known = |e: &str| MEDIA_EXTENSIONS.iter().any(|media| media.eq_ignore_ascii_case(e));
    name.rsplit_once('.').is_some_and(|(_, extension)| known(extension))
}

/// All files of a torrent, in the order of its byte space. Empty files are listed too.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Layout {
    /// The files.
    pub files: Vec<File>,
}

impl Layout {
    /// Bytes in all files, pad files included.
    pub fn total(&self) -> u64 {
        self.files.last().map_or(0, |file| file.range.end)
    }

    /// Bytes in all files but pad files.
    pub fn payload(&self) -> u64 {
        self.files.iter().filter(|file| !file.pad).map(File::length).sum()
    }

    /// The file that holds this byte of the torrent.
    pub fn file_at(&self, byte: u64) -> Option<usize> {
        // Empty files end at or before the byte as well, so the first that ends behind it holds it.
        let index = self.files.partition_point(|file| file.range.end <= byte);
        (index < self.files.len()).then_some(index)
    }

    /// Cuts a range of the torrent's bytes at the files' borders: file index and range inside that file, in
    /// order, none empty. What lies beyond the end is left out. Pad files are among them.
    pub fn slices(&self, bytes: Range<u64>) -> impl Iterator<Item = (usize, Range<u64>)> + '_ {
        let first = self.files.partition_point(|file| file.range.end <= bytes.start);
        let files = self.files.iter().enumerate().skip(first);
        let files = files.take_while(move |(_, file)| file.range.start < bytes.end);
        files.filter_map(move |(index, file)| {
            let start = file.range.start.max(bytes.start);
            let end = file.range.end.min(bytes.end);
            (start < end).then(|| (index, start - file.range.start..end - file.range.start))
        })
    }

    /// The file that somebody who names none wants to see: the largest with an extension of audio or video,
    /// else the largest; the first of several. `None` when there are only pad files.
    pub fn largest_media(&self) -> Option<usize> {
        let candidates = self.files.iter().enumerate().filter(|(_, file)| !file.pad);
        candidates.rev().max_by_key(|(_, file)| (file.is_media(), file.length())).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(files: &[(&str, u64, bool)]) -> Layout {
        let mut at = 0;
        let file = |&(name, length, pad): &(&str, u64, bool)| {
            at += length;
            let name = name.to_owned();
            File { disk: PathBuf::from(&name), name: vec![name], range: at - length..at, pad, playtime: None }
        };
        Layout { files: files.iter().map(file).collect() }
    }

    #[test]
    fn the_largest_film_is_what_people_want() {
        let l = layout(&[
            ("sample.mkv", 10, false),
            ("huge.iso", 900, false),
            ("pad.mkv", 999, true),
            ("Film.MKV", 80, false),
            ("other.mp4", 80, false),
            (".mkv", 5, false),
        ]);
        assert_eq!(l.largest_media(), Some(3));
        assert_eq!(
            layout(&[("a.txt", 1, false), ("b", 2, false), ("mkv", 2, false)]).largest_media(),
            Some(1)
        );
        assert_eq!(layout(&[("p", 4, true)]).largest_media(), None);
        assert_eq!(Layout::default().largest_media(), None);
        assert_eq!((l.total(), l.payload()), (2074, 1075));
    }

    proptest! {
        #[test]
        fn slices_are_the_bytes_asked_for(
            lengths in prop::collection::vec(prop_oneof![Just(0u64), 1u64..50], 0..20), a in 0u64..600, b in 0u64..600
        ) {
            let l = layout(&lengths.iter().map(|&n| ("f", n, false)).collect::<Vec<_>>());
            let wanted = a.min(b)..a.max(b);
            let mut expected = Vec::new();
            for byte in wanted.start..wanted.end.min(l.total()) {
                let index = l.file_at(byte).unwrap();
                prop_assert!(l.files[index].range.contains(&byte));
                expected.push((index, byte - l.files[index].range.start));
            }
            prop_assert_eq!(l.file_at(l.total()), None);
            let slices: Vec<_> = l.slices(wanted).collect();
            prop_assert!(slices.iter().all(|(_, range)| !range.is_empty()));
            let found: Vec<_> = slices.into_iter().flat_map(|(i, range)| range.map(move |byte| (i, byte))).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
