//! What upstream gives, as the broadcast takes it.

use bytes::{Bytes, BytesMut};

/// Something for the broadcast, in the order in which it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Some of the stream.
    Bytes(Bytes),
    /// What a decoder has to be given first.
    Headers(Bytes),
    /// Something is missing here, or another stream follows.
    Gap,
}

/// What came so far: tells a beginning from a gap.
#[derive(Debug, Default)]
pub(super) struct Input {
    kind: Option<String>,
    headers: Option<Bytes>,
    begun: bool,
}

impl Input {
    /// New caps, of this type and with these stream headers.
    ///
    /// A muxer may show its headers later than its type. Only where either is replaced another stream follows.
    pub(super) fn on_caps(&mut self, kind: &str, headers: Option<Bytes>) -> Vec<Item> {
        let other_kind = self.kind.as_deref().is_some_and(|known| known != kind);
        let changed = headers.is_some() && headers != self.headers;
        let mut items = Vec::new();
        if self.begun && (other_kind || changed && self.headers.is_some()) {
            items.push(Item::Gap);
        }
        self.kind = Some(kind.to_owned());
        if changed || other_kind {
            self.headers.clone_from(&headers);
        }
        items.extend(headers.filter(|_| changed).map(Item::Headers));
        items
    }

    /// A buffer. With a stream that begins nothing is missing, although muxers mark that too.
    pub(super) fn on_buffer(&mut self, buffer: &gst::BufferRef) -> Vec<Item> {
        let torn = buffer.flags().intersects(gst::BufferFlags::DISCONT | gst::BufferFlags::GAP);
        let gap = (torn && self.begun).then_some(Item::Gap);
        let bytes: Vec<_> = buffer.iter_memories_owned().filter_map(bytes_of).map(Item::Bytes).collect();
        self.begun |= !bytes.is_empty();
        gap.into_iter().chain(bytes).collect()
    }
}

/// The bytes of a memory where they lie; the memory lives as long as they do.
fn bytes_of(memory: gst::Memory) -> Option<Bytes> {
    let mapped = memory.into_mapped_memory_readable().ok()?;
    (!mapped.is_empty()).then(|| Bytes::from_owner(mapped))
}

/// The stream headers in caps, one after another.
pub(super) fn stream_headers(caps: &gst::CapsRef) -> Option<Bytes> {
    let headers = caps.structure(0)?.get::<gst::Array>("streamheader").ok()?;
    let mut all = BytesMut::new();
    for header in headers.iter() {
        all.extend_from_slice(&header.get::<gst::Buffer>().ok()?.map_readable().ok()?);
    }
    (!all.is_empty()).then(|| all.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes: &'static [u8], flags: gst::BufferFlags) -> gst::Buffer {
        let mut buffer = gst::Buffer::from_slice(bytes);
        buffer.get_mut().unwrap().set_flags(flags);
        buffer
    }

    fn bytes(text: &'static [u8]) -> Item {
        Item::Bytes(Bytes::from_static(text))
    }

    #[test]
    fn only_in_a_stream_that_has_begun_something_is_missing() {
        gst::init().unwrap();
        let mut input = Input::default();
        let torn = gst::BufferFlags::DISCONT;
        assert_eq!(input.on_buffer(&buffer(b"a", torn)), [bytes(b"a")]);
        assert_eq!(input.on_buffer(&buffer(b"b", gst::BufferFlags::empty())), [bytes(b"b")]);
        assert_eq!(input.on_buffer(&buffer(b"c", torn)), [Item::Gap, bytes(b"c")]);
        assert_eq!(input.on_buffer(&buffer(b"", gst::BufferFlags::GAP)), [Item::Gap]);
    }

    #[test]
    fn a_buffer_of_several_memories_is_not_copied() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::from_slice(&b"head"[..]);
        let body = vec![7; 1000];
        let at = body.as_ptr();
        buffer.get_mut().unwrap().append_memory(gst::Memory::from_slice(body));
        let items = Input::default().on_buffer(&buffer);
        drop(buffer);
        let [Item::Bytes(head), Item::Bytes(body)] = &items[..] else { panic!("{items:?}") };
        assert_eq!((&head[..], body.len(), body.as_ptr()), (&b"head"[..], 1000, at));
    }

    #[test]
    fn headers_that_come_late_begin_no_other_stream() {
        let (one, two) = (Bytes::from_static(b"one"), Bytes::from_static(b"two"));
        let mut input = Input { begun: true, ..Input::default() };
        assert_eq!(input.on_caps("video/mpegts", None), []);
        assert_eq!(input.on_caps("video/mpegts", Some(one.clone())), [Item::Headers(one.clone())]);
        assert_eq!(input.on_caps("video/mpegts", None), []);
        assert_eq!(input.on_caps("video/mpegts", Some(one.clone())), []);
        assert_eq!(input.on_caps("video/mpegts", Some(two.clone())), [Item::Gap, Item::Headers(two)]);
        assert_eq!(input.on_caps("video/webm", None), [Item::Gap]);
        assert_eq!(input.on_caps("video/webm", Some(one.clone())), [Item::Headers(one)]);
    }

    #[test]
    fn stream_headers_are_joined() {
        gst::init().unwrap();
        let headers = gst::Array::new([gst::Buffer::from_slice(b"ab"), gst::Buffer::from_slice(b"c")]);
        let caps = gst::Caps::builder("video/x-matroska").field("streamheader", headers).build();
        assert_eq!(stream_headers(&caps), Some(Bytes::from_static(b"abc")));
        assert_eq!(stream_headers(&gst::Caps::new_empty_simple("video/mpegts")), None);
    }
}
