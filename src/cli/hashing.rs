//! The SHA-1 of every piece of some files, on all cores.
//!
//! Invariant: what is returned is the hash of files that did not change in between, in the order of the
//! pieces, whatever the number of threads. Each thread takes the next run of pieces and reads it by itself,
//! so memory is one buffer a thread however large the pieces are, and the disk sees long ascending reads.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, ensure};
use sha1::{Digest, Sha1};

use super::source::SourceFile;

/// Bytes of one read.
const READ_LENGTH: usize = 1 << 20;
/// A thread takes at least so many bytes at a time, for long reads also when pieces are small.
const RUN_LENGTH: u64 = 4 << 20;
/// More threads than this gain nothing on any disk.
const MAX_THREADS: usize = 16;

/// SHA-1 of the pieces of `files`, in order. `progress` is called from the
/// threads with bytes that were done.
///
/// # Errors
/// When a file cannot be read or is not any more what was listed.
pub(super) fn hash(
    files: &[SourceFile],
    piece_length: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> anyhow::Result<Vec<[u8; 20]>> {
    let job = Job::new(files, piece_length);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let threads = threads.min(usize::try_from(job.runs()).unwrap_or(MAX_THREADS));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| job.work(progress))).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    for file in files {
        check_unchanged(file, &file.path.metadata().with_context(|| unreadable(file))?)?;
    }
    Ok(job.hashes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// What all threads work on.
struct Job<'a> {
    files: &'a [SourceFile],
    /// Where each file starts in the torrent.
    starts: Vec<u64>,
    total: u64,
    piece_length: u64,
    pieces_per_run: u64,
    next_run: AtomicU64,
    failed: AtomicBool,
    hashes: Mutex<Vec<[u8; 20]>>,
}

impl<'a> Job<'a> {
    fn new(files: &'a [SourceFile], piece_length: u64) -> Self {
        let mut total = 0;
        let mut start = |file: &SourceFile| {
            total += file.length;
            total - file.length
        };
        let starts = files.iter().map(&mut start).collect();
        let pieces = usize::try_from(total.div_ceil(piece_length)).unwrap_or(usize::MAX);
        Self {
            files,
            starts,
            total,
            piece_length,
            pieces_per_run: (RUN_LENGTH / piece_length).max(1),
            next_run: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            hashes: Mutex::new(vec![[0; 20]; pieces]),
        }
    }

    fn runs(&self) -> u64 {
        self.total.div_ceil(self.piece_length * self.pieces_per_run)
    }

    /// One thread: runs of pieces until there are none left or another thread failed.
    fn work(&self, progress: &(dyn Fn(u64) + Sync)) -> anyhow::Result<()> {
        let mut reader = Reader { job: self, open: None, buffer: vec![0; READ_LENGTH] };
        while !self.failed.load(Ordering::Relaxed) {
            let run = self.next_run.fetch_add(1, Ordering::Relaxed);
            if run >= self.runs() {
                break;
            }
            reader.run(run, progress).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn piece(&self, index: u64) -> Range<u64> {
        let start = index * self.piece_length;
        start..(start + self.piece_length).min(self.total)
    }
}

/// One thread's buffer and the file that it has open.
struct Reader<'a> {
    job: &'a Job<'a>,
    open: Option<(usize, File)>,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    fn run(&mut self, run: u64, progress: &(dyn Fn(u64) + Sync)) -> anyhow::Result<()> {
        let first = run * self.job.pieces_per_run;
        let pieces = self.job.total.div_ceil(self.job.piece_length);
        let (mut hashes, mut done) = (Vec::new(), 0);
        for index in first..(first + self.job.pieces_per_run).min(pieces) {
            let range = self.job.piece(index);
            hashes.push(self.digest(&range)?);
            done += range.end - range.start;
        }
        progress(done);
        let at = usize::try_from(first).context("more pieces than memory")?;
        let mut all = self.job.hashes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all[at..at + hashes.len()].copy_from_slice(&hashes);
        Ok(())
    }

    fn digest(&mut self, range: &Range<u64>) -> anyhow::Result<[u8; 20]> {
        let mut sha1 = Sha1::new();
        let mut at = range.start;
        while at < range.end {
            let read = self.read(at..range.end)?;
            sha1.update(&self.buffer[..read]);
            at += read as u64;
        }
        Ok(sha1.finalize().into())
    }

    /// Reads from the start of the range to its end, to the end of the file or of the buffer.
    fn read(&mut self, range: Range<u64>) -> anyhow::Result<usize> {
        // The last file that starts at or before the byte: empty files start where the next one does.
        let index = self.job.starts.partition_point(|start| *start <= range.start) - 1;
        let source = &self.job.files[index];
        let at = range.start - self.job.starts[index];
        let left = (source.length - at).min(range.end - range.start);
        let length = usize::try_from(left).map_or(READ_LENGTH, |left| left.min(READ_LENGTH));
        let file = match self.open.take() {
            Some((number, file)) if number == index => file,
            _ => open(source)?,
        };
        let buffer = &mut self.buffer[..length];
        file.read_exact_at(buffer, at).with_context(|| unreadable(source))?;
        self.open = Some((index, file));
        Ok(length)
    }
}

fn open(source: &SourceFile) -> anyhow::Result<File> {
    let file = File::open(&source.path).with_context(|| unreadable(source))?;
    check_unchanged(source, &file.metadata().with_context(|| unreadable(source))?)?;
    Ok(file)
}

fn check_unchanged(source: &SourceFile, metadata: &std::fs::Metadata) -> anyhow::Result<()> {
    let path = source.path.display();
    ensure!(source.is_unchanged(metadata), "{path} changed while it was read: try again when it is complete");
    Ok(())
}

fn unreadable(source: &SourceFile) -> String {
    format!("cannot read {} to its end", source.path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::source::Source;
    use proptest::prelude::*;

    /// The definition: everything in one string, cut and hashed.
    fn plainly(files: &[Vec<u8>], piece_length: usize) -> Vec<[u8; 20]> {
        files.concat().chunks(piece_length).map(|piece| Sha1::digest(piece).into()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn threads_and_files_make_no_difference_to_the_hashes(
            sizes in prop::collection::vec(0_usize..9_000, 1..7),
            piece_length in 1_usize..4_000,
        ) {
            prop_assume!(sizes.iter().sum::<usize>() > 0);
            let dir = tempfile::tempdir().unwrap();
            let files: Vec<Vec<u8>> = sizes.iter().enumerate()
                .map(|(n, size)| (0..*size).map(|i| (i * 31 + n * 7 + i / 251) as u8).collect()).collect();
            for (n, content) in files.iter().enumerate() {
                std::fs::write(dir.path().join(format!("{n}")), content).unwrap();
            }
            let source = Source::find(dir.path(), false).unwrap();
            let done = AtomicU64::new(0);
            let hashes = hash(&source.files, piece_length as u64, &|n| { done.fetch_add(n, Ordering::Relaxed); });
            prop_assert_eq!(hashes.unwrap(), plainly(&files, piece_length));
            prop_assert_eq!(done.into_inner(), source.total());
        }
    }

    #[test]
    fn large_files_are_cut_over_runs_and_reads() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..11_000_001_u32).map(|i| (i ^ (i >> 9)) as u8).collect();
        std::fs::write(dir.path().join("a"), &content).unwrap();
        let source = Source::find(dir.path(), false).unwrap();
        for piece_length in [65_536, 3 << 20, 16 << 20] {
            let hashes = hash(&source.files, piece_length as u64, &|_| {}).unwrap();
            assert!(hashes == plainly(std::slice::from_ref(&content), piece_length), "{piece_length}");
        }
    }

    #[test]
    fn a_file_that_changes_is_an_error_and_names_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("growing");
        std::fs::write(&path, b"abc").unwrap();
        let source = Source::find(&path, false).unwrap();
        for now in [&b"abcdef"[..], b"a"] {
            std::fs::write(&path, now).unwrap();
            let error = hash(&source.files, 2, &|_| {}).unwrap_err().to_string();
            assert!(error.contains("growing") && error.contains("changed"), "{error}");
        }
    }

    #[test]
    fn a_change_in_the_middle_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("growing");
        std::fs::write(&path, vec![7; 10_000]).unwrap();
        let source = Source::find(&path, false).unwrap();
        let touch = |_| std::fs::write(&path, vec![8; 10_001]).unwrap();
        assert!(hash(&source.files, 1_000, &touch).is_err());
    }
}
