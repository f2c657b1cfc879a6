//! What the tests of this room share: made-up torrents over real folders.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::Storage;
use super::open::{Opened, open};
use super::place::Place;
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{Geometry, PieceIndex};
use crate::metainfo::layout::{File, Layout};
use crate::metainfo::torrent::Metainfo;
use crate::wire::ids::InfoHash;

/// Says to a test that it runs in a process of its own, and where its folder is.
const CHILD: &str = "SWARM_STORE_TEST_CHILD";

/// Files of these lengths; `true` marks a pad file. Every third lies in a folder of its own.
pub(super) fn layout(lengths: &[(u64, bool)]) -> Layout {
    let mut at = 0;
    let file = |(number, (length, pad)): (usize, &(u64, bool))| {
        let range = at..at + length;
        at += length;
        let disk = if number % 3 == 2 { format!("t/d{number}/f") } else { format!("t/f{number}") };
        File { name: vec![disk.clone()], disk: disk.into(), range, pad: *pad, playtime: None }
    };
    Layout { files: lengths.iter().enumerate().map(file).collect() }
}

/// The torrent's bytes: anything but zeros, and zeros in pad files.
pub(super) fn contents(layout: &Layout) -> Vec<u8> {
    let byte = |n: u64, pad| if pad { 0 } else { (n.wrapping_mul(2_654_435_761) >> 11) as u8 | 1 };
    layout.files.iter().flat_map(|f| f.range.clone().map(move |n| byte(n, f.pad))).collect()
}

/// A torrent of these bytes; its info-hash is 20 times `name`.
pub(super) fn metainfo(name: u8, piece_length: u64, layout: Layout, bytes: &[u8]) -> Metainfo {
    let geometry = Geometry::new(piece_length, bytes.len() as u64).unwrap();
    let hashes: Vec<u8> = bytes.chunks(piece_length as usize).flat_map(Sha1::digest).collect();
    Metainfo {
        info_hash: InfoHash([name; 20]),
        info: Bytes::new(),
        name: "t".to_owned(),
        geometry,
        layout,
        hashes: hashes.into(),
        live: None,
        private: false,
        trackers: Vec::new(),
        playtime: None,
        speed: None,
        title: None,
        description: None,
        thumbnail: None,
        comment: None,
        created_by: None,
        creation_date: None,
    }
}

/// A torrent with its bytes and a store in a folder.
pub(super) struct World {
    pub(super) metainfo: Metainfo,
    pub(super) bytes: Vec<u8>,
    pub(super) place: Place,
}

impl World {
    /// One torrent with these files in a folder of the user's.
    pub(super) fn new(folder: &Path, piece_length: u64, lengths: &[(u64, bool)]) -> Self {
        let layout = layout(lengths);
        let bytes = contents(&layout);
        let metainfo = metainfo(b'w', piece_length, layout, &bytes);
        Self { metainfo, bytes, place: Place::Folder(folder.to_owned()) }
    }

    pub(super) fn open(&self) -> Opened {
        open(&self.place, &self.metainfo, false).unwrap()
    }

    pub(super) fn piece(&self, number: u32) -> PieceIndex {
        self.metainfo.geometry.piece(number).unwrap()
    }

    /// The right bytes of a piece, in blocks.
    pub(super) fn blocks(&self, number: u32) -> Vec<Bytes> {
        let range = self.metainfo.geometry.piece_range(self.piece(number));
        let bytes = &self.bytes[range.start as usize..range.end as usize];
        bytes.chunks(1 + bytes.len() / 3).map(Bytes::copy_from_slice).collect()
    }

    pub(super) fn write(&self, opened: &Opened, pieces: impl IntoIterator<Item = u32>) {
        for piece in pieces {
            opened.store.write(self.piece(piece), &self.blocks(piece)).unwrap();
        }
    }

    pub(super) fn set(&self, pieces: impl IntoIterator<Item = u32>) -> Bitfield {
        let mut set = Bitfield::empty(&self.metainfo.geometry);
        pieces.into_iter().for_each(|piece| _ = set.insert(self.piece(piece)));
        set
    }

    /// The numbers of the pieces in a set.
    pub(super) fn numbers(&self, set: &Bitfield) -> Vec<u32> {
        self.metainfo.geometry.all().filter(|p| set.has(*p)).map(PieceIndex::number).collect()
    }
}

/// What the test was told when it was started as a process of its own.
pub(super) fn child_argument() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// Starts one test of this binary as a process of its own, by a shell that may set limits first.
pub(super) fn spawn_test(name: &str, argument: &str, limits: &str) -> Child {
    let exe = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{limits} exec \"$0\" --exact \"$1\" --nocapture")).arg(exe).arg(name);
    command.env(CHILD, argument).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}
