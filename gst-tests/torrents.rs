//! Torrents of the field: libtorrent's own test files with its verdicts, and `.tstream` files of 2008-2010.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use gstswarm::metainfo::torrent::{Metainfo, MetainfoError};
use gstswarm::metainfo::tstream::Auth;
use gstswarm::wire::ids::InfoHash;
use proptest::prelude::*;

const NO_V1: &str = "v2 only: refused with a message that says so, until BEP 52 is built";
const V1_OF_HYBRID: &str =
    "a hybrid plays by its v1 part, which is sound; the v2 part that is wrong is not read";

/// Where we deliberately differ from libtorrent: file, whether we accept it, why.
const DIFFERENCES: [(&str, bool, &str); 10] = [
    (
        "large_piece_size.torrent",
        false,
        "a piece of 512 MiB cannot be verified in bounded memory (limit 128 MiB)",
    ),
    ("v2_incomplete_piece_layer.torrent", false, NO_V1),
    ("v2_invalid_file.torrent", true, V1_OF_HYBRID),
    ("v2_invalid_filename.torrent", false, NO_V1),
    ("v2_invalid_filename2.torrent", false, NO_V1),
    ("v2_mismatching_metadata.torrent", true, V1_OF_HYBRID),
    ("v2_multiple_files.torrent", false, NO_V1),
    ("v2_no_piece_layers.torrent", false, NO_V1),
    ("v2_only.torrent", false, NO_V1),
    ("v2_symlinks.torrent", false, NO_V1),
];

/// What we do with those that libtorrent's tests do not list.
const UNLISTED: [(&str, bool); 4] = [
    ("sample.torrent", true),
    ("v2_empty_file.torrent", true),
    ("v2_hybrid-missing-tailpad.torrent", true),
    ("v2_invalid_root_hash.torrent", false),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("gst-tests/fixtures").join(name)
}

fn parse(name: &str) -> Result<Metainfo, MetainfoError> {
    Metainfo::parse(&fs::read(folder("torrents").join(name)).unwrap())
}

/// The rows of a table in the fixtures, without its header.
fn table(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder("torrents").join(name)).unwrap();
    text.lines().skip(1).map(|line| line.split('\t').map(Into::into).collect()).collect()
}

/// File name to whether it should be accepted.
fn verdicts() -> BTreeMap<String, bool> {
    let mut verdicts = BTreeMap::new();
    for row in table("expected.tsv") {
        let accept = match row[2].as_str() {
            "accept" => true,
            "reject" => false,
            _ => UNLISTED.iter().find(|(name, _)| *name == row[0]).expect("unlisted files have a row").1,
        };
        verdicts.insert(row[0].clone(), accept);
    }
    for (name, accept, why) in DIFFERENCES {
        assert_eq!(verdicts.insert(name.into(), accept), Some(!accept), "no difference: {name} ({why})");
    }
    verdicts
}

#[test]
fn verdicts_agree_with_libtorrent_or_differ_for_a_stated_reason() {
    let verdicts = verdicts();
    assert_eq!(verdicts.len(), 108);
    let wrong: Vec<String> = verdicts
        .iter()
        .filter_map(|(name, accept)| match parse(name) {
            Ok(_) if *accept => None,
            Err(_) if !*accept => None,
            Ok(_) => Some(format!("{name}: accepted")),
            Err(error) => Some(format!("{name}: {error}")),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_v2_only_torrent_is_refused_as_such() {
    for (name, _, _) in DIFFERENCES.iter().filter(|(_, _, why)| *why == NO_V1) {
        assert_eq!(parse(name), Err(MetainfoError::V2Only), "{name}");
    }
}

#[test]
fn info_hashes_and_sizes_are_those_of_libtorrent() {
    let rows = table("accepted.tsv");
    let mut compared = 0;
    for row in &rows {
        let Ok(m) = parse(&row[0]) else {
            assert!(DIFFERENCES.iter().any(|(name, _, _)| *name == row[0]), "{}", row[0]);
            continue;
        };
        compared += 1;
        assert_eq!(Some(m.info_hash), InfoHash::from_hex(&row[1]), "{}", row[0]);
        let numbers = [u64::from(m.geometry.pieces()), m.geometry.total(), m.layout.payload()];
        assert_eq!(numbers.map(|n| n.to_string()), row[2..], "{}", row[0]);
    }
    assert_eq!((rows.len(), compared), (58, 57));
}

#[test]
fn nothing_leaves_the_download_folder() {
    let mut seen = 0;
    for name in verdicts().into_keys() {
        let Ok(m) = parse(&name) else { continue };
        let on_disk: Vec<&Path> =
            m.layout.files.iter().filter(|f| !f.pad).map(|f| f.disk.as_path()).collect();
        for (index, path) in on_disk.iter().enumerate() {
            seen += 1;
            assert!(path.components().all(|c| matches!(c, Component::Normal(_))), "{name}: {path:?}");
            assert!(path.is_relative() && path.file_name().is_some(), "{name}: {path:?}");
            let others = on_disk.iter().enumerate().filter(|(other, _)| *other != index);
            assert!(others.into_iter().all(|(_, other)| !other.starts_with(path)), "{name}: {path:?} twice");
        }
    }
    assert!(seen > 100, "{seen} paths looked at");
}

#[test]
fn names_of_the_field_go_where_they_should() {
    let disk = |name: &str| -> Vec<String> {
        let m = parse(name).unwrap();
        m.layout.files.iter().filter(|f| !f.pad).map(|f| f.disk.to_str().unwrap().into()).collect()
    };
    assert_eq!(disk("parent_path.torrent"), ["temp/bar"]);
    assert_eq!(disk("absolute_filename.torrent"), ["temp/abcde", "temp/_foobar"]);
    assert_eq!(disk("duplicate_files.torrent"), ["temp/foo/bar.txt", "temp/foo/bar.1.txt"]);
    assert_eq!(disk("empty_path_multi.torrent"), ["temp/abcde", "temp/_", "temp/_.1"]);
    assert_eq!(disk("invalid_name3.torrent")[0], "foobar /foo/bar.txt");
    assert_eq!(disk("symlink1.torrent"), ["temp/a/b/bar"], "links are never made");
    assert_eq!(disk("v2_hybrid.torrent").len(), 9);
}

#[test]
fn tracker_urls_of_the_field_are_cleaned() {
    assert_eq!(parse("whitespace_url.torrent").unwrap().trackers, [["udp://test.com/announce"]]);
    assert_eq!(parse("sample.torrent").unwrap().trackers, [["udp://tracker.opentracker.com:80/announce"]]);
    assert!(parse("base.torrent").unwrap().trackers.is_empty());
}

#[test]
fn live_broadcasts_of_2008_to_2010_are_read() {
    let paradiso = InfoHash::from_hex("0efe5423162cc35c0d7287f46d8695f5f8c11eec").unwrap();
    let (k_233, rsa) = ("ECDSA on the curve K-233", "RSA");
    let expected = [
        ("ArnoCamJip512-32k.mpegts", k_233),
        ("Babs512-32k.mpegts", k_233),
        ("Harry.mpegts", k_233),
        ("ParadisoCam.mpegts", k_233),
        ("modulix1-live-p2p.ogg", rsa),
    ];
    for (name, scheme) in expected {
        let file = fs::read(folder("tstream").join(format!("{name}.tstream"))).unwrap();
        let m = Metainfo::parse(&file).unwrap();
        let live = m.live.as_ref().expect(name);
        assert_eq!((m.name.as_str(), &live.auth), (name, &Auth::Obsolete(scheme.into())));
        assert_eq!(live.window, m.geometry.pieces() / 4);
        assert_eq!(m.info_hash == paradiso, name == "ParadisoCam.mpegts");
        let why = m.playable(true).unwrap_err().to_string();
        assert!(why.contains(&format!("'{name}' is signed with {scheme}, an obsolete scheme")), "{why}");
    }
}

/// Every fixture that is not too long to be changed a thousand times.
fn seeds() -> Vec<Vec<u8>> {
    const LONGEST: u64 = 20_000;
    let files = ["torrents", "tstream"].map(|name| fs::read_dir(folder(name)).unwrap());
    let mut paths: Vec<PathBuf> = files.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| fs::metadata(path).unwrap().len() < LONGEST);
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

proptest! {
    #[test]
    fn changed_torrents_of_the_field_never_panic(
        seed in prop::sample::select(seeds()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 1..8),
    ) {
        let mut bytes = seed;
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] = b"deil:0129"[usize::from(byte) % 9],
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at + 1),
            }
        }
        match Metainfo::parse(&bytes) {
            Ok(m) => prop_assert!(m.layout.files.iter().all(|f| f.disk.is_relative())),
            Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
        }
    }
}
