//! What the tests of this room share: bencode by hand, so that it can be wrong in every way.

/// A key and its value.
pub(super) type Pair<'a> = (&'a str, Vec<u8>);

/// A string.
pub(super) fn s(text: impl AsRef<[u8]>) -> Vec<u8> {
    [text.as_ref().len().to_string().as_bytes(), b":", text.as_ref()].concat()
}

/// An integer.
pub(super) fn i(number: i64) -> Vec<u8> {
    format!("i{number}e").into_bytes()
}

/// A list.
pub(super) fn l(elements: &[Vec<u8>]) -> Vec<u8> {
    [b"l", elements.concat().as_slice(), b"e"].concat()
}

/// A dictionary, in this order and with what is there twice.
pub(super) fn d(pairs: &[Pair<'_>]) -> Vec<u8> {
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| [s(key), value.clone()].concat()).collect();
    [b"d", pairs.concat().as_slice(), b"e"].concat()
}
