//! Ogg: pages of packets, the pages of all headers first (RFC 3533).
//!
//! One can join at a page that a packet begins with. The headers are the pages at the beginning whose granule
//! position is 0: that is what codecs give their header packets. A stream may end and another one begin, with
//! headers of its own (a chained stream).

use super::scan::{Head, Headers, Mark, Step};

/// What each page begins with.
pub(super) const MAGIC: [u8; 4] = *b"OggS";
/// Bytes of a page's header without the table of its segments.
const FIXED: usize = 27;
const CONTINUED: u8 = 1;
const BEGIN: u8 = 2;
const FLAGS: u8 = 7;

/// Walks through the pages of a stream.
#[derive(Debug, Default)]
pub(super) struct Ogg {
    /// Bytes of the page that are still to come.
    body: usize,
    /// Among the pages of headers.
    heading: bool,
    head: Head,
}

/// What matters of a page's header.
struct Page {
    header: usize,
    body: usize,
    flags: u8,
    granule: u64,
}

impl Ogg {
    pub(super) fn gap(&mut self) {
        *self = Self::default();
    }

    pub(super) fn step(&mut self, bytes: &[u8], headers: &mut Headers) -> Step {
        if self.body > 0 {
            let left = self.body.min(bytes.len());
            self.body -= left;
            self.head.add(&bytes[..left]);
            return Step::plain(left);
        }
        match (0..bytes.len()).find(|at| may_be_page(&bytes[*at..])) {
            Some(0) => match page(bytes) {
                Some(page) => self.on_page(&page, bytes, headers),
                None => Step::Hold,
            },
            place => Step::plain(place.unwrap_or(bytes.len())),
        }
    }

    fn on_page(&mut self, page: &Page, bytes: &[u8], headers: &mut Headers) -> Step {
        let begins = page.flags & BEGIN != 0;
        if begins && !self.heading {
            self.heading = true;
            self.head.begin();
        } else if !begins && page.granule != 0 && self.heading {
            self.heading = false;
            self.head.end(headers);
        }
        self.body = page.body;
        self.head.add(&bytes[..page.header]);
        let entry = !self.heading && page.flags & CONTINUED == 0 && page.header > FIXED;
        let mark = if entry { Mark::Entry } else { Mark::None };
        Step::Take { bytes: page.header, whole: false, mark }
    }
}

/// Can a page begin so? The version is 0 and five flags are not used.
fn may_be_page(bytes: &[u8]) -> bool {
    let known = bytes.len().min(MAGIC.len());
    bytes[..known] == MAGIC[..known]
        && bytes.get(4).is_none_or(|version| *version == 0)
        && bytes.get(5).is_none_or(|flags| *flags <= FLAGS)
}

/// The page that begins here, once its header is there.
fn page(bytes: &[u8]) -> Option<Page> {
    let fixed = bytes.first_chunk::<FIXED>()?;
    let segments = bytes.get(FIXED..FIXED + usize::from(fixed[26]))?;
    let granule = fixed[6..].first_chunk().copied().map(u64::from_le_bytes)?;
    let body = segments.iter().map(|length| usize::from(*length)).sum();
    Some(Page { header: FIXED + segments.len(), body, flags: fixed[5], granule })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stream::scan::MAX_HEADERS;

    pub(in crate::stream) fn page_of(flags: u8, granule: u64, body: &[u8]) -> Vec<u8> {
        let table: Vec<_> = body.chunks(255).map(|chunk| chunk.len() as u8).collect();
        let rest = [1, 0, 0, 0, 2, 0, 0, 0, 3, 3, 3, 3, table.len() as u8];
        [&MAGIC[..], &[0, flags], &granule.to_le_bytes(), &rest, &table, body].concat()
    }

    /// Where one can join, and how large the headers are, and how often they have changed.
    fn entries(stream: &[u8]) -> (Vec<usize>, Option<(u32, usize)>) {
        let (mut ogg, mut headers) = (Ogg::default(), Headers::default());
        let (mut at, mut entries) = (0, Vec::new());
        while at < stream.len()
            && let Step::Take { bytes, whole, mark } = ogg.step(&stream[at..], &mut headers)
        {
            assert!(bytes > 0 && !whole);
            entries.extend((mark == Mark::Entry).then_some(at));
            at += bytes;
        }
        (entries, headers.newest().map(|(count, bytes)| (count, bytes.len())))
    }

    fn heads() -> Vec<u8> {
        [page_of(BEGIN, 0, &[1; 30]), page_of(BEGIN, 0, &[2; 30]), page_of(0, 0, &[3; 300])].concat()
    }

    #[test]
    fn pages_of_data_that_begin_a_packet_are_entries() {
        let pages = [heads(), page_of(0, 960, &[4; 700]), page_of(CONTINUED, u64::MAX, &[5; 10])];
        let [first, second, third] = [pages[0].len(), pages[1].len(), pages[2].len()];
        let stream = [&pages.concat()[..], &page_of(0, 0, &[6; 10]), &page_of(4, 2000, &[])].concat();
        let entries = entries(&stream);
        assert_eq!(entries, (vec![first, first + second + third], Some((1, first))));
    }

    #[test]
    fn a_chained_stream_has_new_headers() {
        let song = [heads(), page_of(0, 960, &[4; 700])].concat();
        let other = [page_of(BEGIN, 0, &[8; 30]), page_of(0, 960, &[4; 700])].concat();
        assert_eq!(entries(&[&song[..], &song].concat()).1, Some((1, heads().len())));
        assert_eq!(entries(&[song, other].concat()).1, Some((2, 27 + 1 + 30)));
        let large = [heads(), page_of(0, 0, &[9; MAX_HEADERS]), page_of(0, 960, &[4; 700])].concat();
        assert_eq!(entries(&large).1, None);
    }

    #[test]
    fn a_page_is_looked_for_where_none_is() {
        let junk = b"OgOggS\x01\x00OggS\x00\x08Og";
        let stream = [&junk[..], &page_of(0, 960, &[4; 700])].concat();
        assert_eq!(entries(&stream), (vec![junk.len()], None));
    }
}
