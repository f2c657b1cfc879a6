//! How a run of the torrent's bytes falls into files, and how blocks fall into those runs.
//!
//! Invariant: the segments of a range are its bytes in order without gaps; none is empty.

use std::io::IoSlice;
use std::ops::Range;

use bytes::Bytes;

use crate::metainfo::layout::Layout;

/// A run of bytes in one file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Number of the file in the layout.
    pub(super) file: usize,
    /// First byte in the file.
    pub(super) offset: u64,
    /// Bytes, at least 1.
    pub(super) length: u64,
    /// A pad file: zeros that are not on disk (BEP 47).
    pub(super) pad: bool,
}

/// Cuts a range of the torrent's bytes where its files end.
pub(super) fn segments(layout: &Layout, range: Range<u64>) -> impl Iterator<Item = Segment> + '_ {
    let first = layout.files.partition_point(|file| file.range.end <= range.start);
    let overlapping = layout.files.iter().enumerate().skip(first);
    overlapping.take_while(move |(_, file)| file.range.start < range.end).filter_map(move |(number, file)| {
        let start = range.start.max(file.range.start);
        let length = range.end.min(file.range.end).checked_sub(start).filter(|length| *length > 0)?;
        Some(Segment { file: number, offset: start - file.range.start, length, pad: file.pad })
    })
}

/// Hands out the bytes of consecutive blocks in runs of any length, without copying.
pub(super) struct Gather<'a> {
    blocks: &'a [Bytes],
    /// Bytes of the first block that are given out already.
    used: usize,
}

impl<'a> Gather<'a> {
    /// From the first byte of the first block on.
    pub(super) const fn new(blocks: &'a [Bytes]) -> Self {
        Self { blocks, used: 0 }
    }

    /// The next `length` bytes (fewer when the blocks end), without empty slices.
    pub(super) fn take(&mut self, length: u64) -> Vec<IoSlice<'a>> {
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        let mut slices = Vec::with_capacity(self.blocks.len());
        while let Some((block, rest)) = self.blocks.split_first().filter(|_| left > 0) {
            let bytes = &block[self.used..];
            let slice = &bytes[..bytes.len().min(left)];
            left -= slice.len();
            self.used += slice.len();
            if !slice.is_empty() {
                slices.push(IoSlice::new(slice));
            }
            if self.used == block.len() {
                (self.blocks, self.used) = (rest, 0);
            }
        }
        slices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::layout::File;
    use proptest::prelude::*;

    fn layout(lengths: &[u64]) -> Layout {
        let mut at = 0;
        let file = |length: &u64| {
            let range = at..at + length;
            at += length;
            File { name: Vec::new(), disk: at.to_string().into(), range, pad: false, playtime: None }
        };
        Layout { files: lengths.iter().map(file).collect() }
    }

    proptest! {
        #[test]
        fn segments_are_the_range_in_order(
            lengths in prop::collection::vec(0u64..50, 1..20), a in 0u64..500, b in 0u64..500,
        ) {
            let layout = layout(&lengths);
            let total: u64 = lengths.iter().sum();
            let range = a.min(b).min(total)..a.max(b).min(total);
            let mut next = range.start;
            for s in segments(&layout, range.clone()) {
                let file = &layout.files[s.file].range;
                prop_assert!(s.length > 0 && file.start + s.offset == next && next + s.length <= file.end);
                next += s.length;
            }
            prop_assert_eq!(next, range.end);
        }

        #[test]
        fn gathering_gives_every_byte_once(
            lengths in prop::collection::vec(0usize..9, 0..9), cuts in prop::collection::vec(0u64..9, 0..12),
        ) {
            let all: Vec<u8> = (0..lengths.iter().sum::<usize>()).map(|n| n as u8).collect();
            let mut rest = Bytes::from(all.clone());
            let blocks: Vec<Bytes> = lengths.iter().map(|l| rest.split_to(*l)).collect();
            let mut gather = Gather::new(&blocks);
            let mut out = Vec::new();
            for cut in cuts.into_iter().chain([u64::MAX]) {
                let before = out.len();
                gather.take(cut).iter().for_each(|s| out.extend_from_slice(s));
                prop_assert!((out.len() - before) as u64 == cut || out.len() == all.len());
            }
            prop_assert_eq!(out, all);
        }
    }
}
