//! Recognises torrent files by their content: a bencoded dictionary (BEP 3) with an `info` dictionary in it, in
//! any order of keys, also when only its beginning can be seen.
//!
//! An `info` with a `live` dictionary is a live stream and `application/x-tstream`; everything else is
//! `application/x-bittorrent`, the name that desktops know, whatever the file is called.

use gst::{TypeFind, TypeFindProbability};

/// Caps of a live stream's metainfo.
pub const TSTREAM: &str = "application/x-tstream";
/// Caps of a torrent file.
pub const BITTORRENT: &str = "application/x-bittorrent";

/// How much of a stream is looked at.
const PEEK: u32 = 64 * 1024;
/// A dictionary that ends before its `info` can be seen is a torrent when it has one of these (BEP 3, 5, 12, 19,
/// 17, Azureus).
const KNOWN_KEYS: [&[u8]; 9] = [
    b"announce",
    b"announce-list",
    b"azureus_properties",
    b"created by",
    b"creation date",
    b"httpseeds",
    b"nodes",
    b"playtime",
    b"url-list",
];
/// Deepest nesting that is followed.
const DEPTH: usize = 64;

/// Makes both types known.
pub(super) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    for (name, extensions) in [(BITTORRENT, "torrent"), (TSTREAM, "tstream")] {
        let caps = gst::Caps::new_empty_simple(name);
        let suggested = caps.clone();
        TypeFind::register(
            Some(plugin),
            name,
            gst::Rank::PRIMARY,
            Some(extensions),
            Some(&caps),
            move |find| {
                if let Some((found, probability)) = look(find).filter(|(found, _)| *found == name) {
                    gst::trace!(gst::CAT_RUST, "{found}: {probability:?}");
                    find.suggest(probability, &suggested);
                }
            },
        )?;
    }
    Ok(())
}

fn look(find: &mut TypeFind) -> Option<(&'static str, TypeFindProbability)> {
    if find.peek(0, 1)? != b"d" {
        return None;
    }
    let size = visible(find);
    recognise(find.peek(0, size)?)
}

/// How much can be seen: a peek beyond the end gives nothing at all, and not every stream tells its length.
fn visible(find: &mut TypeFind) -> u32 {
    let most = find.length().and_then(|l| u32::try_from(l).ok()).unwrap_or(PEEK).min(PEEK);
    if find.peek(0, most).is_some() {
        return most;
    }
    let (mut seen, mut unseen) = (1, most);
    while unseen - seen > 1 {
        let middle = seen.midpoint(unseen);
        if find.peek(0, middle).is_some() { seen = middle } else { unseen = middle }
    }
    seen
}

/// The type of a file that begins like this, if it is one of ours.
pub fn recognise(head: &[u8]) -> Option<(&'static str, TypeFindProbability)> {
    let mut scan = Scan { rest: head.strip_prefix(b"d")? };
    let mut known = false;
    let stopped = loop {
        match scan.key() {
            Ok(Some(b"info")) if !scan.rest.is_empty() => return recognise_info(scan),
            Ok(Some(key)) => known |= KNOWN_KEYS.contains(&key),
            Ok(None) => return None,
            Err(stop) => break stop,
        }
        if let Err(stop) = scan.skip() {
            break stop;
        }
    };
    (known && stopped == Stop::Short).then_some((BITTORRENT, TypeFindProbability::Likely))
}

fn recognise_info(mut scan: Scan<'_>) -> Option<(&'static str, TypeFindProbability)> {
    scan.rest = scan.rest.strip_prefix(b"d")?;
    while let Ok(Some(key)) = scan.key() {
        if key == b"live" {
            return Some((TSTREAM, TypeFindProbability::Maximum));
        }
        if scan.skip().is_err() {
            break;
        }
    }
    Some((BITTORRENT, TypeFindProbability::Maximum))
}

/// Why a scan ends early.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// The rest cannot be seen.
    Short,
    /// Not bencode.
    Wrong,
}

/// A walk over the beginning of bencoded data.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    /// The next key of a dictionary; `None` at its end.
    fn key(&mut self) -> Result<Option<&'a [u8]>, Stop> {
        match self.rest {
            [] => Err(Stop::Short),
            [b'e', rest @ ..] => {
                self.rest = rest;
                Ok(None)
            }
            _ => self.string().map(Some),
        }
    }

    /// Passes one value of any kind.
    fn skip(&mut self) -> Result<(), Stop> {
        let mut depth = 0;
        loop {
            match self.rest {
                [] => return Err(Stop::Short),
                [b'd' | b'l', rest @ ..] if depth < DEPTH => (self.rest, depth) = (rest, depth + 1),
                [b'e', rest @ ..] if depth > 0 => (self.rest, depth) = (rest, depth - 1),
                [b'i', rest @ ..] => self.rest = number(rest, b'e')?.1,
                _ => drop(self.string()?),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn string(&mut self) -> Result<&'a [u8], Stop> {
        let (length, rest) = number(self.rest, b':')?;
        let length = usize::try_from(length).map_err(|_| Stop::Wrong)?;
        let (string, rest) = rest.split_at_checked(length).ok_or(Stop::Short)?;
        self.rest = rest;
        Ok(string)
    }
}

/// A number and what stands behind its end mark.
fn number(text: &[u8], end: u8) -> Result<(i64, &[u8]), Stop> {
    // 20 characters write every i64.
    let (digits, rest) = match text.iter().take(21).position(|b| *b == end) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None if text.len() < 21 && text.iter().all(|b| b.is_ascii_digit() || *b == b'-') => {
            return Err(Stop::Short);
        }
        None => return Err(Stop::Wrong),
    };
    let number = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()).ok_or(Stop::Wrong)?;
    Ok((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INFO: &[u8] = b"4:infod6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";

    fn dictionary(entries: &[&[u8]]) -> Vec<u8> {
        [b"d", entries.concat().as_slice(), b"e"].concat()
    }

    #[test]
    fn info_is_found_behind_any_keys() {
        let sure = Some((BITTORRENT, TypeFindProbability::Maximum));
        let nodes = b"5:nodesll4:hosti1eee".as_slice();
        for entries in [vec![INFO], vec![b"8:announce3:url", INFO], vec![nodes, INFO], vec![INFO, b"1:zi1e"]]
        {
            assert_eq!(
                recognise(&dictionary(&entries)),
                sure,
                "{:?}",
                String::from_utf8_lossy(&entries.concat())
            );
        }
    }

    #[test]
    fn a_live_dictionary_makes_a_tstream() {
        let live = b"4:infod4:lived10:authmethod5:ECDSAe4:name1:xe";
        assert_eq!(recognise(&dictionary(&[live])), Some((TSTREAM, TypeFindProbability::Maximum)));
        let late = b"4:infod6:lengthi5e4:lived10:authmethod5:ECDSAe4:name1:xe";
        assert_eq!(recognise(&dictionary(&[b"8:encoding5:UTF-8", late])).unwrap().0, TSTREAM);
    }

    #[test]
    fn a_long_thumbnail_before_info_leaves_a_likely_torrent() {
        let thumb = [b"18:azureus_propertiesd9:Thumbnail99999:".as_slice(), &[7; 500]].concat();
        let head = [b"d8:announce3:url".as_slice(), &thumb].concat();
        assert_eq!(recognise(&head), Some((BITTORRENT, TypeFindProbability::Likely)));
    }

    #[test]
    fn other_data_is_left_alone() {
        for data in [
            b"".as_slice(),
            b"d",
            b"de",
            b"d3:fooi1ee",
            b"d4:infoi1ee",
            b"d4:info",
            b"don't",
            b"d99999999999999999999:",
            b"d-1:a",
            b"d8:announceX",
            b"l4:infoe",
        ] {
            assert_eq!(recognise(data), None, "{:?}", String::from_utf8_lossy(data));
        }
        let bottomless = [b"d8:announce".as_slice(), &[b'l'; 1_000]].concat();
        assert_eq!(recognise(&bottomless), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end_the_scan(head in "d[0-9a-z:]{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = recognise(&bytes);
            let _ = recognise(&[head.as_bytes(), &bytes].concat());
        }

        #[test]
        fn every_order_and_every_cut_behind_a_known_key_is_a_torrent(
            order in Just([INFO, b"8:announce3:url", b"7:comment5:hello", b"13:creation datei77e"]).prop_shuffle(),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = dictionary(&order);
            prop_assert_eq!(recognise(&whole), Some((BITTORRENT, TypeFindProbability::Maximum)));
            let head = &whole[..cut.index(whole.len())];
            if let Some((kind, _)) = recognise(head) {
                prop_assert_eq!(kind, BITTORRENT);
            }
            let at = order.iter().position(|e| e.starts_with(b"8:") || e.starts_with(b"13:")).unwrap();
            let known = 1 + order[..=at].concat().len();
            prop_assert!(head.len() < known || recognise(head).is_some());
        }
    }
}
