//! Matroska and WebM, as they are streamed: one head, then clusters without end (RFC 9559).
//!
//! One can join at a cluster in which the video begins with a key frame. That is seen while its blocks go by; until
//! then, and where there is no video, a cluster counts as an entry. (Sound is not asked: some muxers do not call its
//! blocks key frames.) Sizes of segments and clusters are not needed: their parts are walked through, and those that
//! are of no interest are jumped over.

use super::ebml::{self, CLUSTER, EBML, Element, LONGEST_HEADER, SEGMENT};
use super::scan::{Head, Headers, Mark, Step};

/// The tracks, one of them, and its number and type.
const TRACKS: u32 = 0x1654_AE6B;
const TRACK: u32 = 0xAE;
const TRACK_NUMBER: u32 = 0xD7;
const TRACK_TYPE: u32 = 0x83;
const VIDEO: u64 = 1;
/// A frame with its track, time and flags in front.
const SIMPLE_BLOCK: u32 = 0xA3;
/// Most bytes of a body that are looked at: a block's track, time and flags.
const MOST_OF_BODY: usize = 8 + 2 + 1;
const KEY_FRAME: u8 = 0x80;
/// An element that says to be larger is taken for damage.
const MAX_ELEMENT: u64 = 16 * 1024 * 1024;
/// What a cluster begins with: its time stamp, position, the size of the one before, a checksum, nothing.
const FIRST_IN_CLUSTER: [u8; 5] = [0xE7, 0xA7, 0xAB, 0xBF, 0xEC];
/// The head of a file has a first element of some dozen bytes.
const MAX_EBML: u64 = 1024;

/// Walks through the elements of a stream.
#[derive(Debug, Default)]
pub(super) struct Matroska {
    /// Known to be where an element begins or goes on; else one is looked for.
    found: bool,
    /// Bytes of the element that are still to come.
    skip: u64,
    head: Head,
    /// The track that is being told of.
    number: Option<u64>,
    kind: Option<u64>,
    /// The tracks of video, a bit for each number (they are small), and those that have begun in this cluster.
    video: u64,
    begun: u64,
}

/// Whether a stream may be taken up somewhere.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Yes,
    No,
    Unsure,
}

impl Matroska {
    pub(super) fn gap(&mut self) {
        *self = Self { video: self.video, ..Self::default() };
    }

    pub(super) fn step(&mut self, bytes: &[u8], headers: &mut Headers) -> Step {
        if self.skip > 0 {
            let left = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= left as u64;
            self.head.add(&bytes[..left]);
            return Step::plain(left);
        }
        if !self.found {
            match look(bytes) {
                Err(step) => return step,
                Ok(()) => self.found = true,
            }
        }
        match ebml::element(bytes) {
            Some(element) => self.on_element(&element, bytes, headers),
            None if bytes.len() < LONGEST_HEADER => Step::Hold,
            None => self.on_damage(bytes),
        }
    }

    fn on_element(&mut self, element: &Element, bytes: &[u8], headers: &mut Headers) -> Step {
        let mut mark = Mark::None;
        match (element.id, element.size) {
            (_, Some(size)) if size > MAX_ELEMENT && !matches!(element.id, SEGMENT | CLUSTER) => {
                return self.on_damage(bytes);
            }
            (EBML, Some(size)) => {
                self.head.begin();
                self.video = 0;
                self.skip = size;
            }
            (CLUSTER, _) => {
                self.head.end(headers);
                self.begun = 0;
                mark = Mark::Entry;
            }
            // What is inside follows.
            (SEGMENT | TRACKS, _) | (_, None) => {}
            (TRACK, _) => (self.number, self.kind) = (None, None),
            (TRACK_NUMBER | TRACK_TYPE | SIMPLE_BLOCK, Some(size)) => {
                let wanted = usize::try_from(size).unwrap_or(usize::MAX).min(MOST_OF_BODY);
                let Some(body) = bytes.get(element.header..element.header + wanted) else {
                    return Step::Hold;
                };
                match element.id {
                    SIMPLE_BLOCK => mark = self.on_block(body),
                    id => self.on_track(id, body),
                }
                self.skip = size;
            }
            (_, Some(size)) => self.skip = size,
        }
        self.head.add(&bytes[..element.header]);
        Step::Take { bytes: element.header, whole: false, mark }
    }

    fn on_track(&mut self, id: u32, body: &[u8]) {
        let number = body.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let field = if id == TRACK_NUMBER { &mut self.number } else { &mut self.kind };
        *field = Some(number);
        if self.kind == Some(VIDEO) {
            self.video |= self.number.map_or(0, bit);
        }
    }

    fn on_block(&mut self, block: &[u8]) -> Mark {
        let Some((Some(track), length)) = ebml::number(block) else { return Mark::None };
        let Some(flags) = block.get(length + 2) else { return Mark::None };
        let begins = bit(track) & self.video & !self.begun != 0;
        self.begun |= bit(track);
        if begins && flags & KEY_FRAME == 0 { Mark::NoEntry } else { Mark::None }
    }

    fn on_damage(&mut self, bytes: &[u8]) -> Step {
        self.gap();
        // One byte on at least: what is here has led astray.
        match look(&bytes[1..]) {
            Err(Step::Take { bytes, whole, mark }) => Step::Take { bytes: bytes + 1, whole, mark },
            _ => Step::plain(1),
        }
    }
}

/// A track's number as a bit; those with large numbers have none.
fn bit(track: u64) -> u64 {
    u32::try_from(track).ok().and_then(|track| 1u64.checked_shl(track)).unwrap_or_default()
}

/// Is the next place to take the stream up here? Else, what to do to get there.
fn look(bytes: &[u8]) -> Result<(), Step> {
    let place = (0..bytes.len()).map(|at| (at, verdict(&bytes[at..]))).find(|(_, v)| *v != Verdict::No);
    match place {
        None => Err(Step::plain(bytes.len())),
        Some((0, Verdict::Yes)) => Ok(()),
        Some((0, _)) => Err(Step::Hold),
        Some((at, _)) => Err(Step::plain(at)),
    }
}

fn verdict(bytes: &[u8]) -> Verdict {
    let ids = [EBML.to_be_bytes(), CLUSTER.to_be_bytes()];
    let known = bytes.len().min(4);
    if !ids.iter().any(|id| id[..known] == bytes[..known]) {
        return Verdict::No;
    }
    let good = match ebml::element(bytes) {
        None => return if bytes.len() < LONGEST_HEADER { Verdict::Unsure } else { Verdict::No },
        Some(Element { id: EBML, size, .. }) => size.is_some_and(|size| size <= MAX_EBML),
        Some(cluster) => match bytes.get(cluster.header) {
            None => return Verdict::Unsure,
            Some(first) => FIRST_IN_CLUSTER.contains(first),
        },
    };
    if good { Verdict::Yes } else { Verdict::No }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use bytes::Bytes;

    /// An element with a size of eight bytes, known or not.
    pub(in crate::stream) fn element(id: u32, size: Option<usize>, body: &[u8]) -> Vec<u8> {
        let id = id.to_be_bytes();
        let id = &id[id.iter().position(|byte| *byte != 0).unwrap()..];
        let size = size.map_or((1 << 56) - 1, |size| size as u64) | 1 << 56;
        [id, &size.to_be_bytes(), body].concat()
    }

    pub(in crate::stream) fn head() -> Vec<u8> {
        let ebml = element(EBML, Some(4), &[0x42, 0x86, 0x81, 1]);
        let track = |number, kind| {
            let fields = [element(TRACK_NUMBER, Some(1), &[number]), element(TRACK_TYPE, Some(1), &[kind])];
            element(TRACK, Some(36), &[fields.concat(), element(0xE0, Some(6), &[7; 6])].concat())
        };
        let tracks = [track(1, 1), track(2, 2)].concat();
        [ebml, element(SEGMENT, None, &[]), element(TRACKS, Some(tracks.len()), &tracks)].concat()
    }

    /// A cluster of unknown size, with blocks of these tracks, each a key frame or not.
    pub(in crate::stream) fn cluster(blocks: &[(u8, bool)]) -> Vec<u8> {
        let mut out = element(CLUSTER, None, &element(0xE7, Some(2), &[1, 2]));
        for (track, key) in blocks {
            let frame = [&[0x80 | track, 0, 0, if *key { KEY_FRAME } else { 0 }][..], &[0xAB; 100]].concat();
            out.extend(element(SIMPLE_BLOCK, Some(frame.len()), &frame));
        }
        out
    }

    /// The marks in a stream and where they are, and its headers.
    fn marks(bytes: &[u8]) -> (Vec<(usize, Mark)>, Option<Bytes>) {
        let (mut matroska, mut headers) = (Matroska::default(), Headers::default());
        let (mut at, mut marks) = (0, Vec::new());
        while at < bytes.len()
            && let Step::Take { bytes, whole, mark } = matroska.step(&bytes[at..], &mut headers)
        {
            assert!(bytes > 0 && !whole);
            marks.extend(Some((at, mark)).filter(|(_, mark)| *mark != Mark::None));
            at += bytes;
        }
        (marks, headers.newest().map(|(_, bytes)| bytes.clone()))
    }

    #[test]
    fn clusters_are_entries_and_what_is_before_them_is_the_head() {
        let cluster = cluster(&[(1, true), (2, false), (1, false)]);
        let stream = [head(), cluster.clone(), cluster.clone()].concat();
        let first = head().len();
        let entries = [(first, Mark::Entry), (first + cluster.len(), Mark::Entry)];
        assert_eq!(marks(&stream), (entries.to_vec(), Some(head().into())));
    }

    #[test]
    fn a_cluster_whose_video_does_not_begin_with_a_key_frame_is_no_entry() {
        let good = cluster(&[(2, false), (1, true), (1, false)]);
        let stream = [head(), good, cluster(&[(2, true), (1, false)]), cluster(&[])].concat();
        let marks: Vec<_> = marks(&stream).0.iter().map(|(_, mark)| *mark).collect();
        assert_eq!(marks, [Mark::Entry, Mark::Entry, Mark::NoEntry, Mark::Entry]);
    }

    #[test]
    fn a_stream_is_taken_up_at_the_next_cluster() {
        let rest = [0x1F, 0x43, 0xB6, 0x75, 0x81, 0x00, 3, 0x1F, 0x43, 0x1A];
        let whole = cluster(&[(1, true)]);
        let stream = [&rest[..], &whole].concat();
        assert_eq!(marks(&stream), (vec![(rest.len(), Mark::Entry)], None));
        // An element that cannot be leads astray no further than to the next cluster.
        let stream = [&head()[..], &[0xA3, 0x02, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0], &whole].concat();
        assert_eq!(marks(&stream).0, [(head().len() + 12, Mark::Entry)]);
    }

    #[test]
    fn a_head_that_is_too_large_to_be_carried_is_none() {
        let attachment = element(0x1941_A469, Some(30_000), &[0; 30_000]);
        let stream = [head(), attachment, cluster(&[(1, true)])].concat();
        let (marks, headers) = marks(&stream);
        assert_eq!((marks.len(), headers), (1, None));
    }
}
