//! EBML, the notation that Matroska and WebM are written in: elements with an id, a size and a body (RFC 8794).

/// First element of a file.
pub(super) const EBML: u32 = 0x1A45_DFA3;
/// Holds everything else.
pub(super) const SEGMENT: u32 = 0x1853_8067;
/// Some seconds of media.
pub(super) const CLUSTER: u32 = 0x1F43_B675;
/// Most bytes of an element's id and size.
pub(super) const LONGEST_HEADER: usize = 4 + 8;

/// An element's header; a size of `None` is not known.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) id: u32,
    pub(super) size: Option<u64>,
    /// Bytes of id and size.
    pub(super) header: usize,
}

impl Element {
    /// Where its body is when the element is at `at`.
    pub(super) const fn body(&self, at: u64) -> u64 {
        at + self.header as u64
    }
}

/// The element that begins here. With [`LONGEST_HEADER`] bytes there, `None` means that none does.
pub(super) fn element(bytes: &[u8]) -> Option<Element> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let id = bytes.get(..length).filter(|id| id.len() <= 4)?;
    let id = id.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    let (size, size_length) = number(bytes.get(length..)?)?;
    Some(Element { id, size, header: length + size_length })
}

/// A number that says how long it is, and that length; a number of `None` is not known.
pub(super) fn number(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let number = bytes.get(..length).filter(|number| number.len() <= 8)?;
    let mask = (1u64 << (7 * length)) - 1;
    let number = number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)) & mask;
    Some((Some(number).filter(|number| *number != mask), length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_have_lengths_of_their_own() {
        let cluster = element(&[0x1F, 0x43, 0xB6, 0x75, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        let cluster = cluster.unwrap();
        assert_eq!((cluster.id, cluster.size, cluster.header), (CLUSTER, None, LONGEST_HEADER));
        let block = element(&[0xA3, 0x41, 0x02]).unwrap();
        assert_eq!((block.id, block.size, block.header), (0xA3, Some(0x102), 3));
        assert!(element(&[0xA3, 0x41]).is_none(), "a size cut short");
        assert!(element(&[0x08; 12]).is_none(), "an id of five bytes");
        assert!(element(&[0xA3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none(), "a size of nine bytes");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_looked_at(bytes: Vec<u8>) {
            if let Some(element) = element(&bytes) {
                prop_assert!(element.header <= bytes.len().min(LONGEST_HEADER));
                prop_assert!(element.size.is_none_or(|size| size < 1 << 56));
            }
            prop_assert!(bytes.len() < LONGEST_HEADER || number(&bytes).is_some() == (bytes[0] > 0));
        }
    }
}
