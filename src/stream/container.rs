//! Where a demuxer looks next, told from the head of a file: the index of a film is often at its end.
//!
//! A demuxer that can seek reads the head, jumps to what the head points at, and comes back. Each jump costs a
//! round trip and a piece. What it will ask for is written in the head, so it can be fetched at once, from
//! several peers, while the demuxer is still being set up. These are hints: a wrong one costs a piece that
//! is fetched early, a missing one a wait. Nothing is trusted: all arithmetic is checked, all loops are bounded by
//! the head.
//!
//! Sources: ISO/IEC 14496-12 (boxes), RFC 9559 (Matroska), RFC 3533 (Ogg), ISO/IEC 13818-1 (transport stream),
//! Microsoft's "AVI RIFF File Reference"; what demuxers do with them was read off GStreamer 1.22.

use std::ops::Range;

use super::{ebml, ts};

/// Most bytes of a file's head that are of use here.
pub const HEAD: usize = 64 * 1024;
/// Most places that one head names.
pub const MAX_PLACES: usize = 6;
/// Bytes fetched of an index whose length is not known, and of a place that is only looked at.
const INDEX: u64 = 256 * 1024;
const LOOK: u64 = 64 * 1024;
/// A transport stream's packets, and those with a time stamp in front.
const PACKETS: [(usize, usize); 2] = [(0, ts::PACKET), (4, 4 + ts::PACKET)];
/// Packets in a row that make a transport stream.
const PACKETS_IN_ROW: usize = 4;

/// The bytes of a file of `length` bytes that begins with `head` which a demuxer will want before it plays, in its
/// order. What lies in the head is left out. At most [`MAX_PLACES`].
pub fn places(head: &[u8], length: u64) -> Vec<Range<u64>> {
    let seen = head.len() as u64;
    let starts = match head {
        _ if head.starts_with(&ebml::EBML.to_be_bytes()) => matroska::places(head),
        _ if head.starts_with(b"OggS") => vec![(length.saturating_sub(LOOK), LOOK)],
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => avi_index(head),
        _ if is_transport_stream(head) => vec![(length.saturating_sub(LOOK), LOOK)],
        _ => movie_box(head),
    };
    let place = |(start, bytes): (u64, u64)| start..start.saturating_add(bytes).min(length);
    let inside = starts.into_iter().filter(|(start, _)| *start >= seen).map(place);
    inside.filter(|range| !range.is_empty()).take(MAX_PLACES).collect()
}

/// ISO base media: the boxes are a chain. When the media data comes before the movie box, that is behind it.
fn movie_box(head: &[u8]) -> Vec<(u64, u64)> {
    const FIRST: [&[u8]; 6] = [b"ftyp", b"mdat", b"free", b"skip", b"wide", b"pnot"];
    if !head.get(4..8).is_some_and(|kind| FIRST.contains(&kind)) {
        return Vec::new();
    }
    let mut at = 0u64;
    while let Some((kind, size)) = usize::try_from(at).ok().and_then(|at| iso_box(head.get(at..)?)) {
        let Some(next) = at.checked_add(size).filter(|next| *next > at) else { break };
        match kind {
            b"moov" => break,
            b"mdat" => return vec![(next, INDEX)],
            _ => at = next,
        }
    }
    Vec::new()
}

/// A box's kind and whole size; a size of zero means to the end of the file, behind which nothing is.
fn iso_box(bytes: &[u8]) -> Option<(&[u8], u64)> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let kind = rest.get(..4)?;
    let size = match u32::from_be_bytes(*size) {
        1 => u64::from_be_bytes(*rest.get(4..)?.first_chunk()?),
        size => u64::from(size),
    };
    Some((kind, size))
}

/// AVI: the index follows the list of frames.
fn avi_index(head: &[u8]) -> Vec<(u64, u64)> {
    const CHUNK: u64 = 8;
    let mut at = 12u64;
    while let Some(chunk) = usize::try_from(at).ok().and_then(|at| head.get(at..)) {
        let Some((kind, rest)) = chunk.split_first_chunk::<4>() else { break };
        let Some(size) = rest.first_chunk::<4>() else { break };
        let size = u64::from(u32::from_le_bytes(*size));
        // Chunks are padded to even lengths.
        let next = at + CHUNK + size + size % 2;
        if kind == b"LIST" && rest.get(4..8) == Some(b"movi") {
            return vec![(next, INDEX)];
        }
        at = next;
    }
    Vec::new()
}

fn is_transport_stream(head: &[u8]) -> bool {
    PACKETS.iter().any(|(first, step)| {
        let mut packets = head.iter().skip(*first).step_by(*step).take(PACKETS_IN_ROW);
        packets.len() == PACKETS_IN_ROW && packets.all(|byte| *byte == ts::SYNC)
    })
}

/// Matroska and WebM: the seek head names cues, tags and the like; the first cluster's size tells where the second
/// one is, at which GStreamer's demuxer has a look.
mod matroska {
    use super::ebml::{self, CLUSTER, Element, SEGMENT};
    use super::{INDEX, LOOK};

    const SEEK_HEAD: u32 = 0x114D_9B74;
    const SEEK: u32 = 0x4DBB;
    const SEEK_POSITION: u32 = 0x53AC;

    pub(super) fn places(head: &[u8]) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        let Some(segment) = children(head, 0).find(|(_, e)| e.id == SEGMENT) else { return out };
        let data = segment.1.body(segment.0);
        for (at, element) in children(head, data) {
            let end = element.size.map(|size| element.body(at).saturating_add(size));
            match element.id {
                SEEK_HEAD => {
                    let inside =
                        end.and_then(|end| usize::try_from(end).ok()).and_then(|end| head.get(..end));
                    let targets = seek_targets(inside.unwrap_or(head), element.body(at));
                    out.extend(targets.map(|position| (data.saturating_add(position), INDEX)));
                }
                CLUSTER => {
                    out.extend(end.map(|end| (end, LOOK)));
                    break;
                }
                _ => {}
            }
        }
        out
    }

    /// The positions that the entries of a seek head name, from the segment's data on.
    fn seek_targets(bytes: &[u8], from: u64) -> impl Iterator<Item = u64> {
        let entries = children(bytes, from).filter(|(_, e)| e.id == SEEK);
        entries.filter_map(move |(at, entry)| {
            let start = entry.body(at);
            let end = start.checked_add(entry.size?)?;
            let inside = bytes.get(..usize::try_from(end).ok()?)?;
            let (at, position) = children(inside, start).find(|(_, e)| e.id == SEEK_POSITION)?;
            let start = usize::try_from(position.body(at)).ok()?;
            let value = inside.get(start..start.checked_add(usize::try_from(position.size?).ok()?)?)?;
            (value.len() <= 8).then(|| value.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        })
    }

    /// The elements that follow each other from `at` on, and where they are; ends with one of unknown size.
    fn children(bytes: &[u8], at: u64) -> impl Iterator<Item = (u64, Element)> {
        let mut next = Some(at);
        std::iter::from_fn(move || {
            let at = next?;
            let element = ebml::element(bytes.get(usize::try_from(at).ok()?..)?)?;
            next = element.size.and_then(|size| element.body(at).checked_add(size));
            Some((at, element))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Starts and ends of the places.
    fn named(head: &[u8], length: u64) -> Vec<(u64, u64)> {
        places(head, length).into_iter().map(|place| (place.start, place.end)).collect()
    }

    fn boxes(parts: &[(&[u8; 4], u32)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, size) in parts {
            out.extend(size.to_be_bytes());
            out.extend(*kind);
            out.resize(out.len() + (*size as usize).clamp(8, 100) - 8, 0);
        }
        out
    }

    /// An element with a size of four bytes.
    fn element(id: &[u8], body: &[u8], size: Option<u32>) -> Vec<u8> {
        let size = size.unwrap_or(body.len() as u32) | 0x1000_0000;
        [id, &size.to_be_bytes(), body].concat()
    }

    fn film() -> Vec<u8> {
        let seek = |id: [u8; 4], position: u32| {
            let entry =
                [element(&[0x53, 0xAB], &id, None), element(&[0x53, 0xAC], &position.to_be_bytes(), None)];
            element(&[0x4D, 0xBB], &entry.concat(), None)
        };
        let cues = seek([0x1C, 0x53, 0xBB, 0x6B], 900_000);
        let tracks = seek([0x16, 0x54, 0xAE, 0x6B], 100);
        let parts = [
            element(&[0x11, 0x4D, 0x9B, 0x74], &[cues, tracks].concat(), None),
            element(&[0xEC], &[0; 50], None),
            element(&[0x1F, 0x43, 0xB6, 0x75], &[7; 300], Some(400_000)),
        ];
        let ebml = element(&ebml::EBML.to_be_bytes(), &[0x42, 0x86, 0x81, 1], None);
        [ebml, element(&[0x18, 0x53, 0x80, 0x67], &parts.concat(), Some(950_000))].concat()
    }

    #[test]
    fn a_movie_box_behind_the_media_is_named() {
        let head = boxes(&[(b"ftyp", 32), (b"free", 8), (b"mdat", 500_000)]);
        assert_eq!(named(&head, 600_000), [(500_040, 600_000)]);
        assert_eq!(named(&head, 9_000_000), [(500_040, 500_040 + INDEX)]);
        let mut wide = boxes(&[(b"ftyp", 32), (b"mdat", 1)]);
        wide.extend(5_000_000_000u64.to_be_bytes());
        assert_eq!(named(&wide, 5_000_100_000), [(5_000_000_032, 5_000_100_000)]);
    }

    #[test]
    fn a_movie_box_in_front_needs_no_jump() {
        let head = boxes(&[(b"ftyp", 32), (b"moov", 90), (b"mdat", 500_000)]);
        assert_eq!(named(&head, 600_000), []);
        let endless = boxes(&[(b"ftyp", 32), (b"mdat", 0)]);
        assert_eq!(named(&endless, 600_000), [], "nothing is behind what reaches to the end");
    }

    #[test]
    fn a_matroska_film_names_its_cues_and_the_second_cluster() {
        let head = film();
        let cluster = head.windows(4).position(|w| w == [0x1F, 0x43, 0xB6, 0x75]).unwrap() as u64;
        let segment = head.windows(4).position(|w| w == [0x18, 0x53, 0x80, 0x67]).unwrap() as u64 + 8;
        let second = cluster + 8 + 400_000;
        assert_eq!(named(&head, 950_000), [(segment + 900_000, 950_000), (second, second + LOOK)]);
    }

    #[test]
    fn a_stream_of_unknown_sizes_names_nothing() {
        let ebml = element(&ebml::EBML.to_be_bytes(), &[], None);
        let unknown = [0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        let head =
            [&ebml[..], &[0x18, 0x53, 0x80, 0x67], &unknown, &[0x1F, 0x43, 0xB6, 0x75], &unknown].concat();
        assert_eq!(named(&head, 950_000), []);
    }

    #[test]
    fn an_avi_film_names_its_index() {
        let chunk = |kind: &[u8], size: u32, body: &[u8]| [kind, &size.to_le_bytes(), body].concat();
        let header = chunk(b"LIST", 21, &[b"hdrl".as_slice(), &[0; 18]].concat());
        let movie = chunk(b"LIST", 700_001, b"movi00dc");
        let head = [chunk(b"RIFF", 800_000, b"AVI "), header, movie].concat();
        let start = 12 + 8 + 22 + 8 + 700_002;
        assert_eq!(named(&head, 800_000), [(start, 800_000)]);
    }

    #[test]
    fn ogg_and_transport_streams_are_looked_at_from_their_end() {
        let mut packets = vec![0; 188 * 5];
        packets.iter_mut().step_by(188).for_each(|byte| *byte = 0x47);
        let stamped: Vec<_> = packets.chunks(188).flat_map(|p| [&[1, 2, 3, 4], p].concat()).collect();
        for head in [&packets, &stamped, &b"OggS and so on".to_vec()] {
            assert_eq!(named(head, 1_000_000), [(1_000_000 - LOOK, 1_000_000)]);
        }
        assert_eq!(named(&packets[..188 * 3], 1_000_000), []);
    }

    #[test]
    fn what_is_in_the_head_or_outside_of_the_file_is_no_place() {
        assert_eq!(named(b"OggS", 3), []);
        assert_eq!(named(&boxes(&[(b"mdat", 50)]), 60), [(50, 60)]);
        assert_eq!(named(&boxes(&[(b"mdat", 500)]), 400), []);
        assert_eq!(named(&[], 0), []);
    }

    proptest! {
        #[test]
        fn any_head_names_places_within_the_file(bytes: Vec<u8>, at in 0usize..500, start in 0usize..4, length: u64) {
            let good = [film(), boxes(&[(b"ftyp", 32), (b"mdat", 70_000)]), b"RIFF1234AVI LIST".to_vec(), Vec::new()];
            let mut head = good[start].clone();
            head.truncate(at);
            head.extend(bytes);
            let places = places(&head, length);
            prop_assert!(places.len() <= MAX_PLACES);
            prop_assert!(places.iter().all(|p| p.start < p.end && p.end <= length && p.start >= head.len() as u64));
        }
    }
}
