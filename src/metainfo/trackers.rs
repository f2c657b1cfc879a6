//! The trackers that a torrent names: BEP 3 `announce`, BEP 12 `announce-list`.
//!
//! Invariant: every URL that leaves this file has the scheme `http`, `https` or `udp`, no white space and no
//! control character, is at most [`MAX_URL`] bytes, and occurs once; there are at most [`MAX_TRACKERS`].
//! Whom to connect to behind such a URL is for the announcer to decide.

use std::collections::BTreeSet;

use crate::wire::bencode::{Dict, Value};

/// Most trackers that are taken from a torrent.
pub const MAX_TRACKERS: usize = 64;
/// Longest tracker URL, in bytes.
pub const MAX_URL: usize = 2048;
/// What we can announce to.
const SCHEMES: [&str; 3] = ["http", "https", "udp"];

/// The tiers of a metainfo file's root dictionary: those of `announce-list`, or when that names no tracker
/// that we can use, the one of `announce` (BEP 12).
pub fn tiers(root: Dict<'_>) -> Vec<Vec<String>> {
    let listed = root.find(b"announce-list").and_then(Value::as_list);
    let tiers = listed.into_iter().flatten().map(|tier| tier.as_list().into_iter().flatten());
    let tiers = clean(tiers.map(|urls| urls.filter_map(Value::as_str)));
    if !tiers.is_empty() {
        return tiers;
    }
    clean([root.find(b"announce").and_then(Value::as_str)])
}

/// Keeps the URLs that we can announce to, each in the first tier that has it; no tier is left empty.
pub fn clean<'a>(tiers: impl IntoIterator<Item: IntoIterator<Item = &'a str>>) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut keep = |url: &'a str| {
        let url = url.trim();
        (is_usable(url) && seen.len() < MAX_TRACKERS && seen.insert(url)).then(|| url.to_owned())
    };
    let tiers = tiers.into_iter().map(|tier| tier.into_iter().filter_map(&mut keep).collect());
    tiers.filter(|tier: &Vec<String>| !tier.is_empty()).collect()
}

/// Whether this is a URL that we can announce to.
pub fn is_usable(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let known = SCHEMES.iter().any(|s| s.eq_ignore_ascii_case(scheme));
    let odd = |c: char| c.is_whitespace() || c.is_control();
    let host = !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']);
    known && host && url.len() <= MAX_URL && !url.contains(odd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::bencode::{Limits, parse};
    use proptest::prelude::*;

    fn read(root: &str) -> Vec<Vec<String>> {
        tiers(parse(root.as_bytes(), Limits::DEFAULT).unwrap().as_dict().unwrap())
    }

    #[test]
    fn the_list_beats_the_single_one() {
        assert_eq!(read("d8:announce10:http://a/xe"), [["http://a/x"]]);
        assert_eq!(read("d8:announce8:http://a13:announce-listll7:udp://beee"), [["udp://b"]]);
        assert_eq!(read("d8:announce8:http://a13:announce-listll6:ws://beee"), [["http://a"]]);
        assert_eq!(read("d8:announcei1e13:announce-listi5ee"), Vec::<Vec<String>>::new());
        assert_eq!(read("d13:announce-listl8:http://ali5e7:udp://beee"), [["udp://b"]]);
    }

    #[test]
    fn only_what_can_be_announced_to_is_kept_and_once() {
        let tiers: [&[&str]; 4] = [
            &["\t udp://a:1/announce ", "HTTPS://b/"],
            &[
                "wss://c",
                "file:///etc/passwd",
                "http://",
                "http:///x",
                "tracker:80/announce",
                "http://a b",
                "",
            ],
            &["udp://a:1/announce", "http://d\u{7}"],
            &["http://[::1]:80/announce?key=1"],
        ];
        let kept = clean(tiers.map(|tier| tier.iter().copied()));
        assert_eq!(kept, [&["udp://a:1/announce", "HTTPS://b/"][..], &["http://[::1]:80/announce?key=1"]]);
    }

    #[test]
    fn number_and_length_are_limited() {
        let many: Vec<String> = (0..1000).map(|n| format!("udp://tracker{n}")).collect();
        assert_eq!(clean(many.iter().map(|url| [url.as_str()])).len(), MAX_TRACKERS);
        assert!(!is_usable(&format!("http://{}", "x".repeat(MAX_URL))));
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing(tiers in prop::collection::vec(prop::collection::vec(
            "(http|udp|ws)(://)[a-c\\x00 ]{0,2}", 0..5), 0..5)) {
            let once = clean(tiers.iter().map(|t| t.iter().map(String::as_str)));
            let twice = clean(once.iter().map(|t| t.iter().map(String::as_str)));
            prop_assert_eq!(&once, &twice);
            prop_assert!(once.iter().all(|t| !t.is_empty() && t.iter().all(|url| is_usable(url))));
        }
    }
}
