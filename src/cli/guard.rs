//! Keeps a download from writing over files that have the torrent's names but not its content.
//!
//! A file of the same name is taken as the torrent's when it holds nothing yet (holes) or at least one good
//! piece; where neither is so the user is asked to decide. Looks at a bounded number of pieces.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha1::{Digest, Sha1};

use crate::metainfo::geometry::PieceIndex;
use crate::metainfo::torrent::Metainfo;

/// Most pieces that are hashed before an opinion is formed.
const MAX_SAMPLES: usize = 128;

/// Whether files that are there may be the torrent's; what is asked about is `within` the torrent.
///
/// # Errors
/// When there is content, and none of it is the torrent's.
pub(super) fn check(metainfo: &Metainfo, folder: &Path, within: &Range<u64>) -> anyhow::Result<()> {
    let files = existing(metainfo, folder, within);
    let pieces: Vec<_> = metainfo
        .geometry
        .pieces_in(within)
        .filter(|piece| files.keys().any(|file| overlap(metainfo, *file, *piece)))
        .collect();
    let step = pieces.len().div_ceil(MAX_SAMPLES).max(1);
    let mut foreign = None;
    for piece in pieces.iter().step_by(step).chain(pieces.last()) {
        let bytes = read(metainfo, &files, *piece);
        if <[u8; 20]>::from(Sha1::digest(&bytes)) == metainfo.piece_hash(*piece) {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            foreign.get_or_insert(*piece);
        }
    }
    let Some(piece) = foreign else { return Ok(()) };
    let names = files.keys().filter(|file| overlap(metainfo, **file, piece));
    let name = names.map(|file| &metainfo.layout.files[*file].disk).next().cloned().unwrap_or_default();
    anyhow::bail!(
        "{} is there but holds nothing of this torrent: move it away, choose another --dir, or fetch over it \
         with --force",
        folder.join(name).display()
    )
}

/// The files that are there and not empty, by their number.
fn existing(metainfo: &Metainfo, folder: &Path, within: &Range<u64>) -> BTreeMap<usize, File> {
    let wanted = |file: &crate::metainfo::layout::File| {
        !file.pad && file.range.start < within.end && within.start < file.range.end
    };
    let files = metainfo.layout.files.iter().enumerate().filter(|(_, file)| wanted(file));
    let opened = files.filter_map(|(number, file)| {
        let path = folder.join(&file.disk);
        let has_content = path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
        // A file that cannot be read is the engine's to complain about: it cannot be written over either.
        if has_content { File::open(path).ok().map(|open| (number, open)) } else { None }
    });
    opened.take(MAX_SAMPLES).collect()
}

fn overlap(metainfo: &Metainfo, file: usize, piece: PieceIndex) -> bool {
    let (file, piece) = (&metainfo.layout.files[file].range, metainfo.geometry.piece_range(piece));
    file.start < piece.end && piece.start < file.end
}

/// A piece as it is on disk; what is not there reads as zeros.
fn read(metainfo: &Metainfo, files: &BTreeMap<usize, File>, piece: PieceIndex) -> Vec<u8> {
    let range = metainfo.geometry.piece_range(piece);
    let mut bytes = vec![0; metainfo.geometry.piece_size(piece) as usize];
    for (number, file) in files.iter().filter(|(number, _)| overlap(metainfo, **number, piece)) {
        let at = &metainfo.layout.files[*number].range;
        let (start, end) = (range.start.max(at.start), range.end.min(at.end));
        let to = |byte: u64| usize::try_from(byte - range.start).expect("a piece fits into memory");
        let (from, to) = (to(start), to(end));
        fill(file, &mut bytes[from..to], start - at.start);
    }
    bytes
}

fn fill(file: &File, mut buffer: &mut [u8], mut at: u64) {
    while !buffer.is_empty() {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(read) => {
                at += read as u64;
                buffer = &mut buffer[read..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::create::{Content, Draft, DraftFile, encode};

    const PIECE: usize = 16_384;

    fn content() -> Vec<u8> {
        (0..PIECE * 5 + 77).map(|i| (i / 7 + i / PIECE) as u8 | 1).collect()
    }

    /// Two files that meet inside the third piece.
    fn torrent() -> Metainfo {
        let content = content();
        let file = |name: &str, length: usize| DraftFile {
            path: vec![name.to_owned()],
            length: length as u64,
            playtime: None,
        };
        let first = PIECE * 2 + 100;
        let draft = Draft {
            name: "t".to_owned(),
            content: Content::Folder(vec![file("a", first), file("b", content.len() - first)]),
            piece_length: PIECE as u32,
            ..Draft::default()
        };
        let hashes: Vec<[u8; 20]> = content.chunks(PIECE).map(|piece| Sha1::digest(piece).into()).collect();
        Metainfo::parse(&encode(&draft, &hashes).unwrap()).unwrap()
    }

    fn verdict(metainfo: &Metainfo, a: Option<&[u8]>, b: Option<&[u8]>) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        for (file, bytes) in metainfo.layout.files.iter().zip([a, b]) {
            let path = dir.path().join(&file.disk);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            bytes.map_or(Ok(()), |bytes| std::fs::write(path, bytes)).unwrap();
        }
        let all = 0..metainfo.geometry.total();
        check(metainfo, dir.path(), &all).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_the_torrents_or_empty_may_be_continued() {
        let (metainfo, content) = (torrent(), content());
        let (a, b) = content.split_at(PIECE * 2 + 100);
        let mut partly = vec![0; b.len()];
        // The fifth piece whole, and some of the last.
        partly[PIECE * 2 - 100..PIECE * 3 - 50].copy_from_slice(&b[PIECE * 2 - 100..PIECE * 3 - 50]);
        assert_eq!(verdict(&metainfo, None, None), Ok(()));
        assert_eq!(verdict(&metainfo, Some(a), Some(b)), Ok(()));
        assert_eq!(verdict(&metainfo, Some(&[]), Some(&vec![0; b.len()])), Ok(()));
        assert_eq!(verdict(&metainfo, None, Some(&partly)), Ok(()));
        assert_eq!(
            verdict(&metainfo, Some(&a[..PIECE]), Some(b"my diary")),
            Ok(()),
            "one good piece decides"
        );
    }

    #[test]
    fn what_has_nothing_of_the_torrent_is_named() {
        let metainfo = torrent();
        let error = verdict(&metainfo, None, Some(b"my diary")).unwrap_err();
        assert!(error.contains("t/b") && error.contains("--force"), "{error}");
        assert!(verdict(&metainfo, Some(&[9; PIECE * 9]), None).unwrap_err().contains("t/a"));
    }
}
