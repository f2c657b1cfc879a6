//! A file of random bytes with its torrent, held in memory by those who deal in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gstswarm::metainfo::torrent::Metainfo;
use gstswarm::wire::message::RawBlock;

use super::files;
use super::torrents::make_torrent;

/// A film.
pub struct Film {
    /// The original.
    pub path: PathBuf,
    /// Its torrent.
    pub torrent: PathBuf,
    /// What is in the torrent.
    pub metainfo: Metainfo,
    bytes: Vec<u8>,
}

impl Film {
    /// A film of `length` bytes that depend on `seed` only, below `scratch`. `tracker`: the torrent names it.
    pub fn new(
        scratch: &Path,
        length: u64,
        piece_length: u32,
        seed: u64,
        tracker: Option<&str>,
    ) -> Arc<Self> {
        let path = files::folder(scratch, "original").join("film.bin");
        files::random_file(&path, length, seed);
        let torrent = make_torrent(&scratch.join("film.torrent"), &path, piece_length, tracker);
        let metainfo = std::fs::read(&torrent).expect("the torrent was made");
        let metainfo = Metainfo::parse(&metainfo).expect("libtorrent makes good torrents");
        let bytes = std::fs::read(&path).expect("the film was made");
        Arc::new(Self { path, torrent, metainfo, bytes })
    }

    /// What is only named: those who deal in it have to know its bytes from elsewhere.
    pub fn named(torrent: &Path) -> Arc<Self> {
        let metainfo = std::fs::read(torrent).expect("the torrent is there");
        let metainfo = Metainfo::parse(&metainfo).expect("it is one");
        Arc::new(Self { path: PathBuf::new(), torrent: torrent.to_owned(), metainfo, bytes: Vec::new() })
    }

    /// Bytes in it.
    pub fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Pieces of it.
    pub fn pieces(&self) -> u32 {
        self.metainfo.geometry.pieces()
    }

    /// Bytes of a block that exists.
    pub fn block(&self, block: RawBlock) -> &[u8] {
        let piece = self.metainfo.geometry.piece_length() as usize;
        let start = block.index as usize * piece + block.begin as usize;
        &self.bytes[start..start + block.length as usize]
    }
}
