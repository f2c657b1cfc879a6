//! Torrents made by libtorrent, so that what we read was not written by us; and such as we make ourselves, with
//! what other clients ignore.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use gstswarm::metainfo::create::{Content, Draft, encode};
use sha1::{Digest, Sha1};

/// Debian's Python: the only one that has Debian's `libtorrent`.
pub const PYTHON: &str = "/usr/bin/python3";
/// The script that makes torrents and is a peer.
pub const LIBTORRENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gst-tests/support/libtorrent_peer.py");

/// Makes a torrent of a file or folder at `out`.
///
/// # Panics
/// When libtorrent fails.
pub fn make_torrent(out: &Path, content: &Path, piece_length: u32, tracker: Option<&str>) -> PathBuf {
    let run = Command::new(PYTHON)
        .arg(LIBTORRENT)
        .arg("make")
        .arg(out)
        .arg(piece_length.to_string())
        .arg(content)
        .args(tracker)
        .output()
        .expect("Debian's python3 is installed");
    assert!(
        run.status.success(),
        "libtorrent cannot make {}: {}",
        out.display(),
        String::from_utf8_lossy(&run.stderr)
    );
    out.to_owned()
}

/// What the torrent of a film says.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Its name: with another name it is another torrent.
    pub name: String,
    /// Bytes in a piece.
    pub piece_length: u32,
    /// How long the film is, if it is said.
    pub playtime: Option<Duration>,
    /// Title of the film.
    pub title: Option<String>,
    /// A picture of it.
    pub thumbnail: Option<Bytes>,
    /// Tracker URLs, one tier.
    pub trackers: Vec<String>,
}

/// Makes the torrent of one file in `folder`, in this process.
///
/// # Panics
/// When the offer makes no sense.
pub fn offer(folder: &Path, content: &Path, offer: &Offer) -> PathBuf {
    let bytes = std::fs::read(content).expect("the film can be read");
    let hashes: Vec<[u8; 20]> =
        bytes.chunks(offer.piece_length as usize).map(|piece| Sha1::digest(piece).into()).collect();
    let draft = Draft {
        name: offer.name.clone(),
        content: Content::File(bytes.len() as u64),
        piece_length: offer.piece_length,
        playtime: offer.playtime,
        title: offer.title.clone(),
        thumbnail: offer.thumbnail.clone(),
        trackers: if offer.trackers.is_empty() { Vec::new() } else { vec![offer.trackers.clone()] },
        ..Draft::default()
    };
    let path = folder.join(format!("{}.torrent", offer.name));
    let torrent = encode(&draft, &hashes).expect("the offer makes sense");
    std::fs::write(&path, torrent).expect("a torrent can be written");
    path
}
