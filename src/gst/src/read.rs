//! How the engine's slices become GStreamer's buffers.
//!
//! Push: whatever is there, up to the block size, in as many memories as it has slices, none copied. Pull:
//! exactly what was asked for; a demuxer maps it whole (and maps it again), so that a short read that crosses
//! slices is joined once here instead of at every map.

use bytes::Bytes;

use crate::net::session::LivePiece;

/// How much a push takes at once unless `blocksize` says otherwise.
pub(super) const BLOCK_SIZE: u32 = 256 * 1024;
/// Most memories in a buffer (`GST_BUFFER_MEM_MAX`); more would be joined one by one.
const MAX_MEMORIES: usize = 16;
/// Pulled buffers up to this long get one memory.
const ONE_MEMORY: usize = 64 * 1024;

/// A buffer of these slices, which lie at `offset` in the file.
pub(super) fn buffer(slices: Vec<Bytes>, offset: u64, pulled: bool) -> gst::Buffer {
    let length: usize = slices.iter().map(Bytes::len).sum();
    let join = slices.len() > 1 && (slices.len() > MAX_MEMORIES || pulled && length <= ONE_MEMORY);
    let slices = if join { vec![Bytes::from(slices.concat())] } else { slices };
    let mut buffer = gst::Buffer::new();
    let writable = buffer.make_mut();
    for slice in slices {
        writable.append_memory(gst::Memory::from_slice(slice));
    }
    writable.set_offset(offset);
    writable.set_offset_end(offset + length as u64);
    buffer
}

/// A piece of a broadcast, behind the stream's headers where it is the first. It says where it lies in what was given:
/// a demuxer that does not know takes a source that came back and counts its time from zero for the next round of its
/// clock of 26 hours, and the picture stands still.
pub(super) fn live_buffer(piece: LivePiece) -> gst::Buffer {
    let mut buffer = gst::Buffer::new();
    let writable = buffer.make_mut();
    for part in piece.headers.into_iter().chain(piece.payload) {
        writable.append_memory(gst::Memory::from_slice(part));
    }
    if piece.discontinuity {
        writable.set_flags(gst::BufferFlags::DISCONT);
    }
    let length = writable.size() as u64;
    writable.set_offset(piece.offset);
    writable.set_offset_end(piece.offset + length);
    buffer
}

/// Puts the slices into the buffer that a demuxer brought. (The bindings would do it for a new buffer, but panic
/// where the file ends before the demuxer's buffer does.)
pub(super) fn fill(buffer: &mut gst::BufferRef, slices: &[Bytes], offset: u64) {
    let room = buffer.size();
    let mut filled = 0;
    for slice in slices {
        let part = &slice[..slice.len().min(room - filled)];
        // Less than everything is copied only where there is no room, and there is.
        let _ = buffer.copy_from_slice(filled, part);
        filled += part.len();
    }
    buffer.set_size(filled);
    buffer.set_offset(offset);
    buffer.set_offset_end(offset + filled as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(count: usize, length: usize) -> Vec<Bytes> {
        (0..count).map(|n| Bytes::from(vec![n as u8; length])).collect()
    }

    #[test]
    fn pushed_slices_are_not_copied() {
        gst::init().unwrap();
        let given = slices(16, 16_384);
        let first = given[0].as_ptr();
        let buffer = buffer(given.clone(), 7, false);
        assert_eq!((buffer.n_memory(), buffer.offset(), buffer.offset_end()), (16, 7, 7 + 262_144));
        assert_eq!(buffer.peek_memory(0).map_readable().unwrap().as_ptr(), first);
        assert_eq!(buffer.map_readable().unwrap().as_slice(), given.concat());
    }

    #[test]
    fn short_pulls_and_too_many_slices_come_in_one_memory() {
        gst::init().unwrap();
        for (count, length, pulled, memories) in
            [(2, 10, true, 1), (2, 10, false, 2), (2, 60_000, true, 2), (17, 10, false, 1), (1, 10, true, 1)]
        {
            let given = slices(count, length);
            let buffer = buffer(given.clone(), 0, pulled);
            assert_eq!(buffer.n_memory(), memories, "{count} of {length}, pulled: {pulled}");
            assert_eq!(buffer.map_readable().unwrap().as_slice(), given.concat());
        }
    }

    #[test]
    fn a_buffer_that_was_brought_is_filled_and_cut_to_what_there_is() {
        gst::init().unwrap();
        let given = slices(3, 10);
        for (room, length) in [(50, 30), (30, 30), (25, 25)] {
            let mut buffer = gst::Buffer::with_size(room).unwrap();
            fill(buffer.get_mut().unwrap(), &given, 7);
            assert_eq!((buffer.size(), buffer.offset(), buffer.offset_end()), (length, 7, 7 + length as u64));
            assert_eq!(buffer.map_readable().unwrap().as_slice(), &given.concat()[..length]);
        }
    }
}
