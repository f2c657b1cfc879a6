//! A torrent's bytes in sparse files below one folder.
//!
//! - A piece inside one file is written with one `pwritev` (per 1,024 blocks), straight from the blocks.
//! - A file is made, with its parents and its final (sparse) length so that players see the right size, when
//!   its first piece is written; empty files when the first piece of the torrent is. Pad files are zeros and
//!   never on disk (BEP 47).
//! - What is there already is kept: a longer file of the same name is an error, a shorter one is some part of
//!   ours and grows. Only pieces that the engine verified are written over it.
//! - No `mmap`: its pages look like a leak and a truncated file kills the process (libtorrent#6667).
//!
//! Invariant: nothing outside of the folder is touched, whatever lies in it (see `tree`).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::dir::{Access, Dir};
use super::handles::{Handle, Handles};
use super::memory::length_of;
use super::segment::{Gather, Segment, segments};
use super::stamp::Stamp;
use super::tree::{Opened, Tree};
use super::{Storage, StoreError, guard};
use crate::metainfo::geometry::{Block, Geometry, PieceIndex};
use crate::metainfo::layout::Layout;

/// Most slices that the system takes in one call (`IOV_MAX` of Linux).
const IOV_MAX: usize = 1024;
/// Holes are made of whole blocks of the file system, nearly always of this size.
const HOLE_ALIGNMENT: u64 = 4096;

/// A torrent's files on disk.
#[derive(Debug)]
pub struct FileStore {
    tree: Tree,
    geometry: Geometry,
    handles: Mutex<Handles>,
    unsynced: Mutex<Unsynced>,
    /// Files that were changed through this store.
    changed: Mutex<BTreeSet<usize>>,
    /// Taken to write: writers of one file wait for each other anyway, and the kernel has them spin.
    writing: Mutex<()>,
}

/// What a crash of the machine could still take.
#[derive(Debug, Default)]
struct Unsynced {
    /// Files with bytes that may be in memory only.
    written: BTreeSet<usize>,
    /// Files whose name may be in memory only.
    created: BTreeSet<usize>,
}

impl FileStore {
    /// Files below `root` with the permissions of `access`. Nothing is made yet.
    pub(super) fn new(root: Dir, access: Access, geometry: Geometry, layout: Layout) -> Self {
        let (handles, unsynced, changed, writing) = Default::default();
        Self { tree: Tree::new(root, access, layout), geometry, handles, unsynced, changed, writing }
    }

    /// Files in a folder of the user's, with their umask; the folder is made if it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made or opened.
    pub fn in_folder(folder: &Path, geometry: Geometry, layout: Layout) -> Result<Self, StoreError> {
        Ok(Self::new(Dir::root(folder, Some(Access::Shared))?, Access::Shared, geometry, layout))
    }

    /// Where its files lie in the torrent.
    pub(super) const fn layout(&self) -> &Layout {
        self.tree.layout()
    }

    /// How it is cut.
    pub(super) const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Looks at all files: `None` for those that are missing and for pad files.
    ///
    /// # Errors
    /// When something else lies where a file should be, or a longer file.
    pub(super) fn survey(&self) -> Result<Vec<Option<Stamp>>, StoreError> {
        self.tree.survey()
    }

    /// Makes the files that no piece lies in.
    pub(super) fn make_empty_files(&self) -> Result<(), StoreError> {
        self.tree.empty_files().try_for_each(|number| self.open(number, true).map(drop))
    }

    /// The next `sync` also covers this file's bytes, which somebody else wrote.
    pub(super) fn mark_unsynced(&self, file: usize) {
        guard(&self.unsynced).written.insert(file);
    }

    /// Whether this store changed the file, or gave it its length.
    pub(super) fn has_changed(&self, file: usize) -> bool {
        guard(&self.changed).contains(&file)
    }

    /// Fills `out` from the torrent's bytes at `start`.
    pub(super) fn read_at(&self, start: u64, out: &mut [u8]) -> Result<(), StoreError> {
        let mut rest = out;
        let range = start..start + rest.len() as u64;
        for segment in segments(self.layout(), range) {
            let length = usize::try_from(segment.length).expect("it fits the buffer");
            let (part, behind) = rest.split_at_mut(length);
            self.read_segment(segment, part)?;
            rest = behind;
        }
        Ok(())
    }

    /// The first byte at or behind `start` that may be other than a hole; missing files count as holes.
    pub(super) fn data_from(&self, start: u64) -> u64 {
        let total = self.geometry.total();
        for segment in segments(self.layout(), start..total) {
            if let Some(offset) = self.data_in(segment) {
                return self.layout().files[segment.file].range.start + offset;
            }
        }
        total
    }

    fn data_in(&self, segment: Segment) -> Option<u64> {
        if segment.pad {
            return None;
        }
        let handle = match self.handle(segment.file, false) {
            Ok(handle) => handle,
            Err(error) if error.is_missing() => return None,
            // Reading it will tell.
            Err(_) => return Some(segment.offset),
        };
        match rustix::fs::seek(&handle.file, SeekFrom::Data(segment.offset)) {
            Ok(offset) => Some(offset).filter(|offset| *offset < segment.offset + segment.length),
            Err(Errno::NXIO) => None,
            Err(_) => Some(segment.offset),
        }
    }

    fn handle(&self, number: usize, write: bool) -> Result<Arc<Handle>, StoreError> {
        let mut handles = guard(&self.handles);
        if let Some(handle) = handles.find(number, write) {
            return Ok(handle);
        }
        let handle = Arc::new(self.open(number, write)?);
        handles.keep(number, Arc::clone(&handle));
        Ok(handle)
    }

    fn open(&self, number: usize, write: bool) -> Result<Handle, StoreError> {
        let Opened { file, created } = self.tree.open(number, write)?;
        if created {
            guard(&self.unsynced).created.insert(number);
        }
        if write {
            guard(&self.changed).insert(number);
        }
        Ok(Handle { file, writable: write })
    }

    fn write_segment(&self, segment: Segment, slices: &mut [IoSlice<'_>]) -> Result<(), StoreError> {
        let handle = self.handle(segment.file, true)?;
        let written = {
            let _turn = guard(&self.writing);
            write_all(&handle.file, slices, segment.offset)
        };
        // Only now: a sync that runs meanwhile must not take the mark away before the bytes are there.
        self.mark_unsynced(segment.file);
        written.map_err(|e| self.tree.error(segment.file, e))
    }

    fn read_segment(&self, segment: Segment, out: &mut [u8]) -> Result<(), StoreError> {
        if segment.pad {
            out.fill(0);
            return Ok(());
        }
        let handle = self.handle(segment.file, false)?;
        handle.file.read_exact_at(out, segment.offset).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => {
                let length = handle.file.metadata().map_or(segment.offset, |m| m.size());
                StoreError::Ends { path: self.tree.shown(segment.file), offset: length }
            }
            _ => self.tree.error(segment.file, e),
        })
    }

    fn sync_file(&self, number: usize) -> Result<(), StoreError> {
        match self.handle(number, false) {
            Ok(handle) => handle.file.sync_data().map_err(|e| self.tree.error(number, e)),
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Storage for FileStore {
    fn write(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StoreError> {
        let (got, expected) = (length_of(blocks), u64::from(self.geometry.piece_size(piece)));
        if got != expected {
            return Err(StoreError::PieceLength { piece, got, expected });
        }
        let mut bytes = Gather::new(blocks);
        for segment in segments(self.layout(), self.geometry.piece_range(piece)) {
            let mut slices = bytes.take(segment.length);
            if !segment.pad {
                self.write_segment(segment, &mut slices)?;
            }
        }
        Ok(())
    }

    fn read(&self, block: Block) -> Result<Bytes, StoreError> {
        let mut out = vec![0; block.length as usize];
        self.read_at(self.geometry.block_range(block).start, &mut out)?;
        Ok(out.into())
    }

    fn discard(&self, piece: PieceIndex) -> Result<(), StoreError> {
        for segment in segments(self.layout(), self.geometry.piece_range(piece)).filter(|s| !s.pad) {
            let Some(hole) = whole_blocks(segment) else { continue };
            match self.handle(segment.file, false) {
                Err(error) if error.is_missing() => continue,
                there => drop(there?),
            }
            let handle = self.handle(segment.file, true)?;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&handle.file, flags, hole.start, hole.end - hole.start)
                .map_err(|e| self.tree.error(segment.file, e))?;
            self.mark_unsynced(segment.file);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let unsynced = std::mem::take(&mut *guard(&self.unsynced));
        let files = || unsynced.written.iter().map(|number| self.sync_file(*number));
        let names = || unsynced.created.iter().map(|number| self.tree.sync_name(*number));
        let synced: Result<(), StoreError> = files().chain(names()).collect();
        if synced.is_err() {
            let mut now = guard(&self.unsynced);
            now.written.extend(unsynced.written);
            now.created.extend(unsynced.created);
        }
        synced
    }
}

/// The part of a segment that can become a hole without touching a neighbour's bytes.
fn whole_blocks(segment: Segment) -> Option<Range<u64>> {
    let start = segment.offset.next_multiple_of(HOLE_ALIGNMENT);
    let end = (segment.offset + segment.length) / HOLE_ALIGNMENT * HOLE_ALIGNMENT;
    (start < end).then_some(start..end)
}

fn write_all(file: &File, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    while !slices.is_empty() {
        match rustix::io::pwritev(file, &slices[..slices.len().min(IOV_MAX)], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut slices, written);
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{child_argument, contents, layout, spawn_test};
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    fn store(folder: &Path, piece_length: u64, lengths: &[(u64, bool)]) -> (Geometry, Vec<u8>, FileStore) {
        let layout = layout(lengths);
        let bytes = contents(&layout);
        let geometry = Geometry::new(piece_length, bytes.len() as u64).unwrap();
        (geometry, bytes, FileStore::in_folder(folder, geometry, layout).unwrap())
    }

    /// The bytes of a piece in blocks of `length`.
    fn blocks(g: &Geometry, bytes: &[u8], piece: u32, length: usize) -> Vec<Bytes> {
        let range = g.piece_range(g.piece(piece).unwrap());
        bytes[range.start as usize..range.end as usize].chunks(length).map(Bytes::copy_from_slice).collect()
    }

    fn write(store: &FileStore, bytes: &[u8], piece: u32) -> Result<(), StoreError> {
        let g = store.geometry();
        store.write(g.piece(piece).unwrap(), &blocks(g, bytes, piece, 1000))
    }

    fn files() -> impl Strategy<Value = Vec<(u64, bool)>> {
        let file = (prop_oneof![Just(0), 1u64..50, 1u64..20_000], prop::bool::weighted(0.2));
        prop::collection::vec(file, 1..50).prop_filter("not empty", |f| f.iter().any(|(l, _)| *l > 0))
    }

    proptest! {
        #[test]
        fn what_is_written_in_any_order_is_read_as_a_vector_would(
            files in files(), piece_length in 1u64..30_000, block in 1usize..5_000, seed in any::<u64>(),
            reads in prop::collection::vec((any::<u64>(), any::<u64>()), 20),
        ) {
            let temp = tempfile::tempdir().unwrap();
            let total: u64 = files.iter().map(|f| f.0).sum();
            prop_assume!(total / piece_length < 500);
            let (g, bytes, store) = store(temp.path(), piece_length, &files);
            let mut order: Vec<u32> = g.all().map(PieceIndex::number).collect();
            order.sort_by_key(|n| (u64::from(*n) + 1).wrapping_mul(seed | 1));
            for piece in order {
                store.write(g.piece(piece).unwrap(), &blocks(&g, &bytes, piece, block)).unwrap();
            }
            for (a, b) in reads {
                let piece = g.piece_at(a % g.total()).unwrap();
                let size = g.piece_size(piece);
                let begin = (b % u64::from(size)) as u32;
                let length = 1 + (b >> 32) as u32 % (size - begin);
                let block = Block { piece, begin, length };
                let range = g.block_range(block);
                prop_assert_eq!(store.read(block).unwrap(), &bytes[range.start as usize..range.end as usize]);
            }
            store.make_empty_files().unwrap();
            for file in &store.layout().files {
                let read = std::fs::read(temp.path().join(&file.disk)).ok();
                let expected = bytes[file.range.start as usize..file.range.end as usize].to_vec();
                prop_assert_eq!(read, (!file.pad).then_some(expected));
            }
        }
    }

    #[test]
    fn a_piece_of_more_blocks_than_one_call_takes_is_written_whole() {
        let temp = tempfile::tempdir().unwrap();
        let (g, bytes, store) = store(temp.path(), 5000, &[(3000, false), (2000, false)]);
        let piece = g.piece(0).unwrap();
        store.write(piece, &blocks(&g, &bytes, 0, 1)).unwrap();
        assert_eq!(store.read(Block { piece, begin: 0, length: 5000 }).unwrap(), bytes);
    }

    #[test]
    fn many_threads_write_disjoint_pieces_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let (g, bytes, store) = store(temp.path(), 1000, &[(30_500, false); 40]);
        std::thread::scope(|scope| {
            for first in 0..4 {
                let (store, bytes) = (&store, &bytes);
                scope.spawn(move || {
                    (first..g.pieces()).step_by(4).for_each(|piece| write(store, bytes, piece).unwrap());
                });
            }
        });
        let mut read = vec![0; bytes.len()];
        store.read_at(0, &mut read).unwrap();
        assert!(read == bytes);
    }

    #[test]
    fn a_file_has_its_final_length_from_the_first_piece_on_and_only_that_piece_of_space() {
        let temp = tempfile::tempdir().unwrap();
        let (_, bytes, store) = store(temp.path(), 65_536, &[(10 << 20, false), (5, false)]);
        write(&store, &bytes, 3).unwrap();
        let stat = std::fs::metadata(temp.path().join("t/f0")).unwrap();
        assert_eq!(stat.len(), 10 << 20);
        assert!((65_536..1 << 20).contains(&(stat.blocks() * 512)), "{}", stat.blocks());
        assert!(!temp.path().join("t/f1").exists());
        assert_eq!(store.data_from(0), 3 * 65_536);
        assert_eq!(store.data_from(4 * 65_536), store.geometry().total());
    }

    #[test]
    fn discarding_gives_space_back_and_leaves_the_neighbours_alone() {
        let temp = tempfile::tempdir().unwrap();
        let (g, bytes, store) = store(temp.path(), 100_000, &[(150_000, false), (150_000, false)]);
        (0..3).for_each(|piece| write(&store, &bytes, piece).unwrap());
        let used = || ["t/f0", "t/f1"].map(|f| std::fs::metadata(temp.path().join(f)).unwrap().blocks());
        let before: u64 = used().iter().sum();
        store.discard(g.piece(1).unwrap()).unwrap();
        assert!(used().iter().sum::<u64>() <= before - (100_000 - 4 * 4096) / 512, "{before} {:?}", used());
        for piece in [0, 2] {
            let range = g.piece_range(g.piece(piece).unwrap());
            let block = Block { piece: g.piece(piece).unwrap(), begin: 0, length: 100_000 };
            assert_eq!(store.read(block).unwrap(), &bytes[range.start as usize..range.end as usize]);
        }
    }

    #[test]
    fn discarding_what_was_never_written_makes_no_file() {
        let temp = tempfile::tempdir().unwrap();
        let (g, _, store) = store(temp.path(), 100_000, &[(150_000, false)]);
        store.discard(g.piece(0).unwrap()).unwrap();
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_longer_file_is_an_error_that_names_it_and_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let (_, bytes, store) = store(temp.path(), 16, &[(20, false)]);
        let path = temp.path().join("t/f0");
        std::fs::create_dir(temp.path().join("t")).unwrap();
        std::fs::write(&path, [7; 21]).unwrap();
        for error in [store.survey().unwrap_err(), write(&store, &bytes, 0).unwrap_err()] {
            assert!(matches!(&error, StoreError::Longer { length: 21, expected: 20, .. }), "{error}");
            assert!(error.to_string().contains("t/f0"), "{error}");
        }
        assert_eq!(std::fs::read(path).unwrap(), [7; 21]);
    }

    #[test]
    fn a_shorter_file_is_kept_and_grows() {
        let temp = tempfile::tempdir().unwrap();
        let (_, bytes, store) = store(temp.path(), 16, &[(64, false)]);
        std::fs::create_dir(temp.path().join("t")).unwrap();
        std::fs::write(temp.path().join("t/f0"), &bytes[..20]).unwrap();
        write(&store, &bytes, 2).unwrap();
        let mut expected = bytes.clone();
        expected[20..32].fill(0);
        expected[48..].fill(0);
        assert_eq!(std::fs::read(temp.path().join("t/f0")).unwrap(), expected);
    }

    #[test]
    fn links_planted_in_the_way_are_refused_and_their_targets_untouched() {
        let temp = tempfile::tempdir().unwrap();
        let (root, victim) = (temp.path().join("root"), temp.path().join("victim"));
        let (_, bytes, store) = store(&root, 16, &[(16, false), (16, false), (16, false)]);
        std::fs::create_dir(root.join("t")).unwrap();
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(victim.join("f"), b"precious").unwrap();
        symlink(victim.join("f"), root.join("t/f0")).unwrap();
        symlink(victim.join("new"), root.join("t/f1")).unwrap();
        symlink(&victim, root.join("t/d2")).unwrap();
        for piece in 0..3 {
            let error = write(&store, &bytes, piece).unwrap_err();
            assert!(matches!(error, StoreError::Symlink { .. }), "{error}");
        }
        assert!(matches!(store.survey(), Err(StoreError::Symlink { .. })));
        assert_eq!(std::fs::read(victim.join("f")).unwrap(), b"precious");
        assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 1);
    }

    #[test]
    fn reading_what_is_not_there_is_an_error_with_the_place() {
        let temp = tempfile::tempdir().unwrap();
        let (g, bytes, store) = store(temp.path(), 16, &[(32, false)]);
        let block = Block { piece: g.piece(1).unwrap(), begin: 0, length: 16 };
        assert!(store.read(block).unwrap_err().is_missing());
        write(&store, &bytes, 0).unwrap();
        File::options().write(true).open(temp.path().join("t/f0")).unwrap().set_len(10).unwrap();
        assert!(matches!(store.read(block), Err(StoreError::Ends { offset: 10, .. })));
    }

    /// Writes until the medium is full: the error says so, and what was written before is right.
    fn fill(folder: &Path) {
        let (g, bytes, store) = store(folder, 65_536, &[(4 << 20, false)]);
        let failed = (0..g.pieces()).find_map(|n| write(&store, &bytes, n).err().map(|e| (n, e)));
        let (full, error) = failed.expect("the medium is smaller than the torrent");
        assert!(error.is_full(), "{error}");
        assert!(full > 0 && error.to_string().contains("t/f0"), "{full} {error}");
        let mut read = vec![0; full as usize * 65_536];
        store.read_at(0, &mut read).unwrap();
        assert!(read == bytes[..read.len()]);
        store.sync().unwrap();
    }

    /// A small tmpfs; where mounting is not permitted the test below stands in for it.
    #[test]
    fn a_full_disk_is_reported_as_such_and_corrupts_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let mount = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).arg(temp.path()).output().is_ok_and(|o| o.status.success())
        };
        if !mount("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]) {
            println!("no permission to mount a tmpfs: not tested with one");
            return;
        }
        let result = std::panic::catch_unwind(|| fill(temp.path()));
        assert!(mount("umount", &[]));
        result.unwrap();
    }

    /// A process of its own with a limit on file sizes of 1 MiB: `EFBIG`.
    #[test]
    fn a_file_that_may_not_grow_is_reported_as_a_full_disk() {
        if let Some(folder) = child_argument() {
            return fill(Path::new(&folder));
        }
        let temp = tempfile::tempdir().unwrap();
        let name = "store::files::tests::a_file_that_may_not_grow_is_reported_as_a_full_disk";
        // The final length is beyond the limit too, so the file is there already. The shell counts 512 bytes.
        std::fs::create_dir(temp.path().join("t")).unwrap();
        std::fs::File::create(temp.path().join("t/f0")).unwrap().set_len(4 << 20).unwrap();
        let child = spawn_test(name, temp.path().to_str().unwrap(), "trap '' XFSZ; ulimit -f 2048;");
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
