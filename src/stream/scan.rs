//! What a cutter learns of the bytes before it: where a broadcast may be cut and joined, and its stream headers.
//!
//! A scanner looks at what has not been taken yet, from its front, and says what to take. It holds back what it
//! cannot judge yet, never more than [`MOST_HELD`] bytes, and looks at no byte more than a few times.

use bytes::Bytes;

use super::matroska::Matroska;
use super::ogg::Ogg;
use super::ts::Ts;
use super::{ebml, ogg};

/// Most bytes that any scanner waits for before it decides (the packets in a row of a transport stream).
pub(super) const MOST_HELD: usize = 1024;
/// Most bytes of stream headers: they are carried to each viewer that joins.
pub const MAX_HEADERS: usize = 24 * 1024;

/// What a stream is wrapped in, as far as it matters to those who join in the middle.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Container {
    /// None that is known here, or not enough bytes so far.
    #[default]
    Unknown,
    /// MPEG transport stream, packets of 188 bytes.
    MpegTs,
    /// Matroska or WebM.
    Matroska,
    /// Ogg.
    Ogg,
}

/// What is to be done next.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for more bytes.
    Hold,
    /// Take so many bytes, at least one; `whole` ones are not to be parted.
    Take { bytes: usize, whole: bool, mark: Mark },
}

impl Step {
    /// Bytes that mean nothing here.
    pub(super) const fn plain(bytes: usize) -> Self {
        Self::Take { bytes, whole: false, mark: Mark::None }
    }
}

/// What begins with the bytes taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing that matters.
    None,
    /// A viewer had better read this before the entry that follows.
    Prelude,
    /// Media that nobody can begin with: what preludes there were do not directly precede an entry.
    Media,
    /// Here one can join.
    Entry,
    /// The last entry turns out to be none.
    NoEntry,
}

/// The stream headers of a broadcast, the newest.
#[derive(Debug, Default)]
pub(super) struct Headers {
    changes: u32,
    bytes: Option<Bytes>,
}

impl Headers {
    /// The headers are these from now on; `None`: they are too large to be carried.
    pub(super) fn set(&mut self, bytes: Option<Bytes>) {
        if self.bytes != bytes {
            self.changes = self.changes.wrapping_add(1);
            self.bytes = bytes;
        }
    }

    /// The headers, and how often they have changed.
    pub(super) fn newest(&self) -> Option<(u32, &Bytes)> {
        self.bytes.as_ref().map(|bytes| (self.changes, bytes))
    }
}

/// The head of a stream while it comes in.
#[derive(Debug, Default)]
pub(super) enum Head {
    /// It is over, or has not begun.
    #[default]
    None,
    Growing(Vec<u8>),
    TooLarge,
}

impl Head {
    /// A head begins here.
    pub(super) fn begin(&mut self) {
        *self = Self::Growing(Vec::new());
    }

    /// What has been taken belongs to the head, if there is one.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        match self {
            Self::Growing(head) if head.len() + bytes.len() <= MAX_HEADERS => head.extend_from_slice(bytes),
            Self::Growing(_) => *self = Self::TooLarge,
            Self::None | Self::TooLarge => {}
        }
    }

    /// The head, if there is one, is over.
    pub(super) fn end(&mut self, headers: &mut Headers) {
        match std::mem::take(self) {
            Self::None => {}
            Self::Growing(head) => headers.set(Some(Bytes::from(head))),
            Self::TooLarge => headers.set(None),
        }
    }
}

/// Finds out what a stream is and reads it as that.
#[derive(Debug)]
pub(super) struct Scanner {
    container: Container,
    /// A new stream may begin here.
    beginning: bool,
    ts: Ts,
    matroska: Matroska,
    ogg: Ogg,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            container: Container::Unknown,
            beginning: true,
            ts: Ts::default(),
            matroska: Matroska::default(),
            ogg: Ogg::default(),
        }
    }

    /// What the stream is.
    pub(super) const fn container(&self) -> Container {
        self.container
    }

    /// Bytes were lost, and perhaps another stream begins.
    pub(super) fn gap(&mut self) {
        self.beginning = true;
        self.ts.gap();
        self.matroska.gap();
        self.ogg.gap();
    }

    /// Looks at the bytes to be taken next. In a `hurry` only what has begun is waited for, not a surer guess.
    pub(super) fn step(&mut self, bytes: &[u8], hurry: bool, headers: &mut Headers) -> Step {
        if bytes.is_empty() {
            return Step::Hold;
        }
        if self.beginning {
            if may_become_magic(bytes) {
                return Step::Hold;
            }
            self.beginning = false;
            self.container = magic(bytes).unwrap_or(self.container);
        }
        match self.container {
            Container::Matroska => self.matroska.step(bytes, headers),
            Container::Ogg => self.ogg.step(bytes, headers),
            Container::Unknown | Container::MpegTs => {
                let step = self.ts.step(bytes, hurry, headers);
                if self.ts.found() {
                    self.container = Container::MpegTs;
                }
                step
            }
        }
    }
}

/// What streams begin with. A cluster is where one goes on whose head was before a gap.
const MAGIC: [([u8; 4], Container); 3] = [
    (ebml::EBML.to_be_bytes(), Container::Matroska),
    (ebml::CLUSTER.to_be_bytes(), Container::Matroska),
    (ogg::MAGIC, Container::Ogg),
];

fn magic(bytes: &[u8]) -> Option<Container> {
    MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, container)| *container)
}

fn may_become_magic(bytes: &[u8]) -> bool {
    MAGIC.iter().any(|(magic, _)| bytes.len() < magic.len() && magic.starts_with(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_count_only_what_changes() {
        let mut headers = Headers::default();
        assert_eq!(headers.newest(), None);
        let [a, b] = [Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        headers.set(Some(a.clone()));
        headers.set(Some(a.clone()));
        assert_eq!(headers.newest(), Some((1, &a)));
        headers.set(Some(b.clone()));
        assert_eq!(headers.newest(), Some((2, &b)));
        headers.set(None);
        assert_eq!(headers.newest(), None);
    }

    #[test]
    fn a_head_that_grows_too_large_is_none() {
        let (mut head, mut headers) = (Head::default(), Headers::default());
        head.begin();
        head.add(&[1; MAX_HEADERS]);
        head.end(&mut headers);
        assert_eq!(headers.newest().map(|(count, bytes)| (count, bytes.len())), Some((1, MAX_HEADERS)));
        head.add(b"media");
        head.end(&mut headers);
        assert_eq!(headers.newest().map(|(count, _)| count), Some(1), "no head, no change");
        head.begin();
        head.add(&[1; MAX_HEADERS]);
        head.add(&[1]);
        head.add(&[1]);
        head.end(&mut headers);
        assert_eq!(headers.newest(), None);
    }

    #[test]
    fn a_stream_is_known_by_its_first_bytes() {
        let containers = |bytes: &[u8]| {
            let mut scanner = Scanner::new();
            let step = scanner.step(bytes, false, &mut Headers::default());
            (step, scanner.container())
        };
        assert_eq!(containers(b"Ogg"), (Step::Hold, Container::Unknown));
        assert_eq!(containers(b"OggS"), (Step::Hold, Container::Ogg));
        assert_eq!(containers(b"OggT").1, Container::Unknown);
        assert_eq!(containers(&[0x1A, 0x45, 0xDF]), (Step::Hold, Container::Unknown));
        assert_eq!(containers(&[0x1A, 0x45, 0xDF, 0xA3]), (Step::Hold, Container::Matroska));
        assert_eq!(containers(&[0x1F, 0x43, 0xB6, 0x75]), (Step::Hold, Container::Matroska));
        assert_eq!(containers(&[0x47; 1000]).1, Container::MpegTs);
    }
}
