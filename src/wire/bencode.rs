//! A tolerant reader of bencode (BEP 3) for what strangers send: metainfo files, tracker replies, extension
//! messages, DHT packets. Writing is `bendy`'s job.
//!
//! [`parse`] looks at every byte once, without recursion and without allocating more than one byte of state a
//! level; afterwards a [`Value`] is nothing but a checked slice of the input, copied freely, and looking into
//! it cannot fail. The exact bytes of every value stay at hand ([`Value::raw`]): an info-hash is the SHA-1 of
//! the slice that came in, never of a re-encoding.
//!
//! Tolerated, because files and peers in the field have it: unsorted keys, repeated keys (the **first** one
//! wins, as in libtorrent), leading zeros (`i007e`, `01:a`), `i-0e`, and integers too large for 64 bits (they
//! read as absent). Refused: everything else that BEP 3 does not describe, such as `i+1e`, `i-e`, `ie`,
//! integer keys, a key without a value, and bytes behind the end.

use std::fmt;

/// Deepest nesting that is read by default. Nothing in the BEPs needs more than about ten levels.
pub const DEPTH: usize = 64;
/// Most items that are read by default: integers, strings (keys too), lists and dictionaries each count one.
pub const ITEMS: usize = 1 << 21;
/// Longest value that is read by default, in bytes.
pub const LENGTH: usize = 16 * 1024 * 1024;

/// How much a stranger may make us read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most lists and dictionaries inside each other.
    pub depth: usize,
    /// Most items: bounds the work, and whatever a caller builds from the value.
    pub items: usize,
    /// Most bytes of the value.
    pub length: usize,
}

impl Limits {
    /// [`DEPTH`], [`ITEMS`] and [`LENGTH`]: enough for any metainfo file.
    pub const DEFAULT: Self = Self { depth: DEPTH, items: ITEMS, length: LENGTH };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why some bytes are not a value. `at` is the offset of the offender in the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BencodeError {
    /// The input ends in the middle of something.
    #[error("bencode ends at byte {at} inside {what}")]
    Truncated {
        /// Where it ends.
        at: usize,
        /// What was being read.
        what: &'static str,
    },
    /// A byte that cannot stand there.
    #[error("byte {byte:#04x} at {at} of bencode where {what} is due")]
    Unexpected {
        /// Where it stands.
        at: usize,
        /// The byte.
        byte: u8,
        /// What is due there.
        what: &'static str,
    },
    /// More lists and dictionaries inside each other than allowed.
    #[error("bencode nested deeper than {limit} at byte {at}")]
    Depth {
        /// Where the level too many begins.
        at: usize,
        /// The limit.
        limit: usize,
    },
    /// More items than allowed.
    #[error("more than {limit} items of bencode at byte {at}")]
    Items {
        /// Where the item too many begins.
        at: usize,
        /// The limit.
        limit: usize,
    },
    /// A longer value than allowed.
    #[error("bencode longer than {limit} bytes at byte {at}")]
    Length {
        /// Where the part begins that does not fit.
        at: usize,
        /// The limit.
        limit: usize,
    },
    /// Bytes behind the value.
    #[error("{bytes} bytes behind the end of bencode at byte {at}")]
    Trailing {
        /// Where the value ends.
        at: usize,
        /// How many follow.
        bytes: usize,
    },
}

/// Reads an input that is one value and nothing else.
///
/// # Errors
/// When it is not, or exceeds a limit.
pub fn parse(input: &[u8], limits: Limits) -> Result<Value<'_>, BencodeError> {
    let (value, end) = parse_prefix(input, limits)?;
    match input.len() - end {
        0 => Ok(value),
        bytes => Err(BencodeError::Trailing { at: end, bytes }),
    }
}

/// Reads the value at the start of an input, and says where it ends (BEP 9 puts data behind a dictionary).
///
/// # Errors
/// When there is none, or it exceeds a limit.
pub fn parse_prefix(input: &[u8], limits: Limits) -> Result<(Value<'_>, usize), BencodeError> {
    let (mut levels, mut at, mut items) = (Vec::new(), 0, 0);
    loop {
        let (token, end) = token(input, at)?;
        if end > limits.length {
            return Err(BencodeError::Length { at, limit: limits.length });
        }
        items += usize::from(!matches!(token, Token::End));
        if items > limits.items {
            return Err(BencodeError::Items { at, limit: limits.items });
        }
        place(&mut levels, &token, input, at, limits.depth)?;
        at = end;
        if levels.is_empty() {
            return Ok((Value { raw: &input[..at] }, at));
        }
    }
}

/// What an open list or dictionary takes next.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Due {
    Element,
    Key,
    Value,
}

/// Checks that a token may stand at this place, and opens or closes a level.
fn place(
    levels: &mut Vec<Due>,
    token: &Token<'_>,
    input: &[u8],
    at: usize,
    depth: usize,
) -> Result<(), BencodeError> {
    let unexpected = |what| Err(BencodeError::Unexpected { at, byte: input[at], what });
    match (levels.last_mut(), token) {
        (None, Token::End) => return unexpected("a value"),
        (Some(Due::Value), Token::End) => return unexpected("the value of a key"),
        (Some(_), Token::End) => {
            levels.pop();
            return Ok(());
        }
        (Some(due @ Due::Key), Token::Bytes(_)) => *due = Due::Value,
        (Some(Due::Key), _) => return unexpected("a string as key"),
        (Some(due @ Due::Value), _) => *due = Due::Key,
        (Some(Due::Element) | None, _) => {}
    }
    let inside = match token {
        Token::List => Due::Element,
        Token::Dict => Due::Key,
        _ => return Ok(()),
    };
    if levels.len() == depth {
        return Err(BencodeError::Depth { at, limit: depth });
    }
    levels.push(inside);
    Ok(())
}

/// The smallest parts of bencode.
enum Token<'a> {
    /// The text between `i` and `e`: an optional minus and at least one digit.
    Int(&'a [u8]),
    Bytes(&'a [u8]),
    List,
    Dict,
    End,
}

/// Reads the token at an offset, and says where it ends.
fn token(input: &[u8], at: usize) -> Result<(Token<'_>, usize), BencodeError> {
    match input.get(at) {
        None => Err(BencodeError::Truncated { at, what: "a value" }),
        Some(b'l') => Ok((Token::List, at + 1)),
        Some(b'd') => Ok((Token::Dict, at + 1)),
        Some(b'e') => Ok((Token::End, at + 1)),
        Some(b'i') => integer(input, at + 1),
        Some(b'0'..=b'9') => string(input, at),
        Some(&byte) => Err(BencodeError::Unexpected { at, byte, what: "a value" }),
    }
}

fn integer(input: &[u8], start: usize) -> Result<(Token<'_>, usize), BencodeError> {
    let first_digit = start + usize::from(input.get(start) == Some(&b'-'));
    let end = digits_end(input, first_digit, "an integer")?;
    match input[end] {
        b'e' => Ok((Token::Int(&input[start..end]), end + 1)),
        byte => Err(BencodeError::Unexpected { at: end, byte, what: "a digit or the end of an integer" }),
    }
}

fn string(input: &[u8], start: usize) -> Result<(Token<'_>, usize), BencodeError> {
    let colon = digits_end(input, start, "a string's length")?;
    if input[colon] != b':' {
        return Err(BencodeError::Unexpected {
            at: colon,
            byte: input[colon],
            what: "the colon of a string",
        });
    }
    let begin = colon + 1;
    let end = decimal(&input[start..colon]).and_then(|length| begin.checked_add(length));
    let end = end.filter(|end| *end <= input.len());
    let end = end.ok_or(BencodeError::Truncated { at: input.len(), what: "a string" })?;
    Ok((Token::Bytes(&input[begin..end]), end))
}

/// Where the run of digits that starts here ends; there is a byte there, and at least one digit before it.
fn digits_end(input: &[u8], start: usize, what: &'static str) -> Result<usize, BencodeError> {
    let run = input.get(start..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
    let end = start + run;
    match input.get(end) {
        None => Err(BencodeError::Truncated { at: input.len(), what }),
        Some(&byte) if run == 0 => Err(BencodeError::Unexpected { at: end, byte, what: "a digit" }),
        Some(_) => Ok(end),
    }
}

fn decimal(digits: &[u8]) -> Option<usize> {
    digits.iter().try_fold(0_usize, |sum, digit| {
        sum.checked_mul(10)?.checked_add(usize::from(digit.wrapping_sub(b'0')))
    })
}

/// Where the value at the start of a checked slice ends.
fn value_end(checked: &[u8]) -> Option<usize> {
    let (mut open, mut at) = (0_usize, 0);
    loop {
        let (token, end) = token(checked, at).ok()?;
        match token {
            Token::List | Token::Dict => open += 1,
            Token::End => open = open.checked_sub(1)?,
            Token::Int(_) | Token::Bytes(_) => {}
        }
        at = end;
        if open == 0 {
            return Some(at);
        }
    }
}

/// One value: a slice of the input that [`parse`] has checked.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct Value<'a> {
    raw: &'a [u8],
}

impl<'a> Value<'a> {
    /// The exact bytes of this value in the input.
    pub const fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// The integer, if it is one that 64 bits hold.
    pub fn as_int(self) -> Option<i64> {
        match token(self.raw, 0) {
            Ok((Token::Int(text), _)) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The integer, if it is one from 0 to `u64::MAX`: lengths, counts, times.
    pub fn as_u64(self) -> Option<u64> {
        match token(self.raw, 0) {
            Ok((Token::Int(text), _)) => match text {
                [b'-', zeros @ ..] => zeros.iter().all(|b| *b == b'0').then_some(0),
                text => std::str::from_utf8(text).ok()?.parse().ok(),
            },
            _ => None,
        }
    }

    /// The string's bytes, if it is one.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match token(self.raw, 0) {
            Ok((Token::Bytes(bytes), _)) => Some(bytes),
            _ => None,
        }
    }

    /// The string, if it is one and is UTF-8 without loss.
    pub fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The list's elements, if it is one.
    pub fn as_list(self) -> Option<List<'a>> {
        self.raw.strip_prefix(b"l").map(|rest| List { rest })
    }

    /// The dictionary, if it is one.
    pub fn as_dict(self) -> Option<Dict<'a>> {
        self.raw.strip_prefix(b"d").map(|rest| Dict { rest })
    }

    /// The value of a key, if this is a dictionary that has it: short for `as_dict` and [`Dict::find`].
    pub fn find(self, key: &[u8]) -> Option<Self> {
        self.as_dict()?.find(key)
    }
}

/// Shows the first bytes, made printable: for tests and logs.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        write!(f, "bencode({}", self.raw[..self.raw.len().min(SHOWN)].escape_ascii())?;
        if self.raw.len() > SHOWN { write!(f, "… {} bytes)", self.raw.len()) } else { f.write_str(")") }
    }
}

/// The elements of a list, in order. Finding each costs a look at its bytes.
#[derive(Copy, Clone, Debug)]
pub struct List<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for List<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let (raw, rest) = self.rest.split_at_checked(value_end(self.rest)?)?;
        self.rest = rest;
        Some(Value { raw })
    }
}

/// The pairs of a dictionary, in the order of the input (which may be unsorted and repeat keys).
#[derive(Copy, Clone, Debug)]
pub struct Dict<'a> {
    rest: &'a [u8],
}

impl<'a> Dict<'a> {
    /// The value of a key; of several the first. Looks at every pair before it: read a dictionary that has
    /// many keys in one pass instead.
    pub fn find(mut self, key: &[u8]) -> Option<Value<'a>> {
        self.find_map(|(k, value)| (k == key).then_some(value))
    }
}

impl<'a> Iterator for Dict<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (Token::Bytes(key), end) = token(self.rest, 0).ok()? else { return None };
        let values = self.rest.get(end..)?;
        let (raw, rest) = values.split_at_checked(value_end(values)?)?;
        self.rest = rest;
        Some((key, Value { raw }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bendy::encoding::{AsString, SingleItemEncoder, ToBencode};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn ok(input: &[u8]) -> Value<'_> {
        parse(input, Limits::DEFAULT).unwrap()
    }

    fn err(input: &[u8]) -> BencodeError {
        parse(input, Limits::DEFAULT).unwrap_err()
    }

    #[test]
    fn every_kind_is_read_and_only_as_itself() {
        let v = ok(b"d3:inti-42e4:listl1:a0:e4:texti1e2:no2:\xff\xfee");
        assert_eq!(v.find(b"int").unwrap().as_int(), Some(-42));
        let list: Vec<_> = v.find(b"list").unwrap().as_list().unwrap().map(|e| e.as_str()).collect();
        assert_eq!(list, [Some("a"), Some("")]);
        let odd = v.find(b"no").unwrap();
        assert_eq!((odd.as_bytes(), odd.as_str()), (Some(&b"\xff\xfe"[..]), None));
        assert_eq!((odd.as_int(), odd.as_u64(), odd.find(b"x")), (None, None, None));
        assert!(odd.as_list().is_none() && v.as_list().is_none() && v.as_bytes().is_none());
        assert_eq!(v.find(b"absent"), None);
    }

    #[test]
    fn raw_is_the_slice_of_the_input() {
        let input = b"d8:announce3:url4:infod1:b01:x1:ai007eee";
        let info = ok(input).find(b"info").unwrap();
        assert_eq!(info.raw(), b"d1:b01:x1:ai007ee");
        assert_eq!(info.find(b"b").unwrap().raw(), b"01:x");
        assert_eq!(ok(input).raw(), input);
    }

    #[test]
    fn what_the_field_writes_is_tolerated() {
        let v = ok(b"d1:bi1e1:ai2e1:bi3ee");
        assert_eq!(v.find(b"b").unwrap().as_int(), Some(1), "of repeated keys the first wins");
        assert_eq!(v.as_dict().unwrap().map(|(k, _)| k).collect::<Vec<_>>(), [b"b", b"a", b"b"]);
        assert_eq!(ok(b"i007e").as_int(), Some(7));
        assert_eq!((ok(b"i-0e").as_int(), ok(b"i-0e").as_u64()), (Some(0), Some(0)));
        assert_eq!(ok(b"01:a").as_bytes(), Some(&b"a"[..]));
        let huge = ok(b"i12345678901234567890123e");
        assert_eq!((huge.as_int(), huge.as_u64()), (None, None));
        assert_eq!(ok(b"i18446744073709551615e").as_u64(), Some(u64::MAX));
        assert_eq!(ok(b"i-1e").as_u64(), None);
    }

    #[test]
    fn errors_name_the_place_and_the_reason() {
        use BencodeError as E;
        let cases: &[(&[u8], E)] = &[
            (b"", E::Truncated { at: 0, what: "a value" }),
            (b"d1:a", E::Truncated { at: 4, what: "a value" }),
            (b"i12", E::Truncated { at: 3, what: "an integer" }),
            (b"12", E::Truncated { at: 2, what: "a string's length" }),
            (b"5:abc", E::Truncated { at: 5, what: "a string" }),
            (b"99999999999999999999999:a", E::Truncated { at: 25, what: "a string" }),
            (b"ie", E::Unexpected { at: 1, byte: b'e', what: "a digit" }),
            (b"i-e", E::Unexpected { at: 2, byte: b'e', what: "a digit" }),
            (b"i+1e", E::Unexpected { at: 1, byte: b'+', what: "a digit" }),
            (b"i1.5e", E::Unexpected { at: 2, byte: b'.', what: "a digit or the end of an integer" }),
            (b"1a", E::Unexpected { at: 1, byte: b'a', what: "the colon of a string" }),
            (b"x", E::Unexpected { at: 0, byte: b'x', what: "a value" }),
            (b"e", E::Unexpected { at: 0, byte: b'e', what: "a value" }),
            (b"di1e1:ae", E::Unexpected { at: 1, byte: b'i', what: "a string as key" }),
            (b"d1:ae", E::Unexpected { at: 4, byte: b'e', what: "the value of a key" }),
            (b"i1ei2e", E::Trailing { at: 3, bytes: 3 }),
        ];
        for (input, expected) in cases {
            assert_eq!(&err(input), expected, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_prefix_may_have_data_behind_it() {
        let (value, end) = parse_prefix(b"d8:msg_typei1ee\x00\x01payload", Limits::DEFAULT).unwrap();
        assert_eq!((value.find(b"msg_type").unwrap().as_int(), end), (Some(1), 15));
    }

    #[test]
    fn nesting_is_limited_without_recursion() {
        let deep = b"l".repeat(200_000);
        assert_eq!(err(&deep), BencodeError::Depth { at: DEPTH, limit: DEPTH });
        let just = [b"l".repeat(DEPTH), b"e".repeat(DEPTH)].concat();
        assert_eq!(ok(&just).raw(), just);
        let unlimited = Limits { depth: usize::MAX, ..Limits::DEFAULT };
        let closed = [b"l".repeat(200_000), b"e".repeat(200_000)].concat();
        assert_eq!(parse(&closed, unlimited).unwrap().as_list().unwrap().count(), 1);
    }

    #[test]
    fn items_and_length_are_limited() {
        let limits = Limits { items: 3, length: 20, ..Limits::DEFAULT };
        assert!(parse(b"li1e1:ae", limits).is_ok());
        assert_eq!(parse(b"li1e1:ai2ee", limits), Err(BencodeError::Items { at: 7, limit: 3 }));
        assert_eq!(
            parse(b"l20:01234567890123456789e", limits),
            Err(BencodeError::Length { at: 1, limit: 20 })
        );
    }

    /// A value to be written by bendy, our oracle.
    #[derive(Clone, Debug)]
    enum Tree {
        Int(i64),
        Bytes(Vec<u8>),
        List(Vec<Self>),
        Dict(BTreeMap<Vec<u8>, Self>),
    }

    impl ToBencode for Tree {
        const MAX_DEPTH: usize = 16;

        fn encode(&self, encoder: SingleItemEncoder<'_>) -> Result<(), bendy::encoding::Error> {
            match self {
                Self::Int(i) => encoder.emit(i),
                Self::Bytes(b) => encoder.emit(&AsString(b)),
                Self::List(l) => encoder.emit_list(|e| l.iter().try_for_each(|v| e.emit(v))),
                Self::Dict(d) => encoder.emit_dict(|mut e| d.iter().try_for_each(|(k, v)| e.emit_pair(k, v))),
            }
        }
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..20);
        let leaf = prop_oneof![any::<i64>().prop_map(Tree::Int), bytes().prop_map(Tree::Bytes)];
        leaf.prop_recursive(6, 60, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::List),
                prop::collection::btree_map(bytes(), inner, 0..6).prop_map(Tree::Dict),
            ]
        })
    }

    fn same(value: Value<'_>, tree: &Tree) -> bool {
        match tree {
            Tree::Int(i) => value.as_int() == Some(*i) && value.as_u64() == u64::try_from(*i).ok(),
            Tree::Bytes(b) => value.as_bytes() == Some(b),
            Tree::List(l) => value.as_list().is_some_and(|list| {
                list.count() == l.len() && list.zip(l).all(|(value, tree)| same(value, tree))
            }),
            Tree::Dict(d) => value.as_dict().is_some_and(|dict| {
                let by_order = dict.zip(d).all(|((k, value), (key, tree))| k == key && same(value, tree));
                let by_key = d.iter().all(|(key, tree)| dict.find(key).is_some_and(|v| same(v, tree)));
                dict.count() == d.len() && by_order && by_key
            }),
        }
    }

    /// Looks at everything that can be looked at.
    fn walk(value: Value<'_>) -> usize {
        let leaf = usize::from(value.as_int().is_some()) + value.as_str().map_or(0, str::len);
        let list: usize = value.as_list().into_iter().flatten().map(walk).sum();
        let dict: usize = value.as_dict().into_iter().flatten().map(|(k, v)| k.len() + walk(v)).sum();
        leaf + list + dict + value.raw().len()
    }

    proptest! {
        #[test]
        fn what_bendy_writes_is_read_back(tree in tree()) {
            let bytes = tree.to_bencode().unwrap();
            prop_assert!(same(ok(&bytes), &tree));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok((value, end)) = parse_prefix(&bytes, Limits::DEFAULT) {
                prop_assert!(walk(value) >= end);
            }
        }

        #[test]
        fn bytes_that_look_like_bencode_never_panic(
            parts in prop::collection::vec(prop::sample::select(vec![
                "d", "l", "e", "i", "-", "0", "1:", "3:", "2:", "7", "a", "i5e", "3:abc", ":", "999999999999999999999:",
            ]), 0..60)
        ) {
            let text = parts.concat();
            if let Ok((value, end)) = parse_prefix(text.as_bytes(), Limits::DEFAULT) {
                prop_assert!(walk(value) >= end);
            }
        }

        #[test]
        fn cut_and_changed_values_never_panic(tree in tree(), at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
            let mut bytes = tree.to_bencode().unwrap();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            match parse(&bytes, Limits::DEFAULT) {
                Ok(value) => prop_assert!(walk(value) >= bytes.len()),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
