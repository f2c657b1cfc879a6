//! A torrent on disk: its files, what of them is flushed, and the lock that makes both ours.
//!
//! Invariant: at every moment the resume file claims only pieces that are on disk and stay there (see
//! `resume`). So a claim is taken back before its piece is discarded or written again, and a save claims only
//! what was written before its `sync` and not discarded since.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;

use super::cache::{Budget, Cache};
use super::files::FileStore;
use super::lock::Lock;
use super::resume::{ResumeFile, State, boot_id};
use super::stamp::Stamp;
use super::{Storage, StoreError, guard};
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{Block, PieceIndex};

/// How often to save while pieces arrive: what a crash of the machine may cost. (A crash of the process costs
/// nothing but a hash of what was written since.)
pub const SAVE_EVERY: Duration = Duration::from_secs(15);

/// A torrent's files with their resume state. When it is dropped its lock is let go, and a spare folder is removed.
#[derive(Debug)]
pub struct DiskStore {
    files: FileStore,
    claims: Mutex<Claims>,
    /// Held over every change of the resume file and every discard, never by plain writes and reads.
    book: Mutex<Book>,
    cache: Option<Cache>,
    lock: Option<Lock>,
}

/// What the resume file says, or will say next.
#[derive(Debug)]
struct Claims {
    /// Pieces that it calls flushed.
    flushed: Bitfield,
    /// Pieces that were discarded and not written since: a save does not claim them, whatever it is told.
    gone: Bitfield,
    /// Pieces that were there before and that nobody has looked at yet: while there are any, what is not
    /// claimed may be there all the same, so the state stays dirty.
    unchecked: Bitfield,
    /// The torrent's empty files were made in this session.
    empties: bool,
    /// It says that writes follow.
    dirty: bool,
    /// It says that pieces may be taken back.
    volatile: bool,
}

/// The resume file and the state of the files that it tells.
#[derive(Debug)]
struct Book {
    /// `None` in a folder that cannot be written.
    resume: Option<ResumeFile>,
    boot: String,
    stamps: Vec<Option<Stamp>>,
}

/// What [`super::open`] found out.
pub(super) struct Found {
    pub(super) files: FileStore,
    pub(super) resume: Option<ResumeFile>,
    pub(super) lock: Option<Lock>,
    pub(super) cache: Option<Cache>,
    pub(super) stamps: Vec<Option<Stamp>>,
    pub(super) trusted: Bitfield,
    pub(super) doubtful: Bitfield,
    pub(super) volatile: bool,
}

impl DiskStore {
    pub(super) fn new(found: Found) -> Self {
        let gone = Bitfield::empty(found.files.geometry());
        let claims = Claims {
            flushed: found.trusted,
            gone,
            unchecked: found.doubtful,
            empties: false,
            dirty: false,
            volatile: found.volatile,
        };
        Self {
            files: found.files,
            claims: Mutex::new(claims),
            book: Mutex::new(Book { resume: found.resume, boot: boot_id(), stamps: found.stamps }),
            cache: found.cache,
            lock: found.lock,
        }
    }

    /// The files themselves.
    pub(super) const fn files(&self) -> &FileStore {
        &self.files
    }

    /// Makes all pieces of `have` flushed: `sync`, then the resume file. Every one of them must have been
    /// written (or found by a check) before the call. Call it every [`SAVE_EVERY`] while pieces arrive, and
    /// when the last one has arrived.
    ///
    /// # Errors
    /// When the medium fails; what was flushed before still is.
    pub fn save(&self, have: &Bitfield) -> Result<(), StoreError> {
        self.flush(have, false)
    }

    /// The last save: nothing is written after it, so the next start can trust all files that nobody touched.
    ///
    /// # Errors
    /// As [`DiskStore::save`].
    pub fn close(&self, have: &Bitfield) -> Result<(), StoreError> {
        self.flush(have, true)
    }

    /// Makes room in the cache for `more` bytes of this torrent by removing others that nobody uses, the
    /// longest unused first; tells how much of this one may be kept. A folder of the user's has no limit.
    ///
    /// # Errors
    /// When the cache folder cannot be read. What cannot be removed is left.
    pub fn make_room(&self, more: u64) -> Result<Budget, StoreError> {
        if let Some(lock) = &self.lock {
            lock.touch();
        }
        self.cache.as_ref().map_or(Ok(Budget::UNLIMITED), |cache| cache.make_room(more))
    }

    /// A check has looked at this piece.
    pub(super) fn mark_checked(&self, piece: PieceIndex) {
        guard(&self.claims).unchecked.remove(piece);
    }

    fn flush(&self, have: &Bitfield, last: bool) -> Result<(), StoreError> {
        let mut book = guard(&self.book);
        if book.resume.is_none() {
            return Ok(());
        }
        // Before the sync: a piece that is written again meanwhile must not be claimed.
        let gone = guard(&self.claims).gone.clone();
        self.files.sync()?;
        book.stamps = self.survey(&book.stamps)?;
        let mut flushed = have.clone();
        self.files.geometry().all().filter(|piece| gone.has(*piece)).for_each(|p| _ = flushed.remove(p));
        let (dirty, volatile) = {
            let claims = guard(&self.claims);
            let dirty = (claims.dirty && !last) || !claims.unchecked.is_empty();
            (dirty, dirty && claims.volatile)
        };
        book.save(&flushed, dirty, volatile, true)?;
        let mut claims = guard(&self.claims);
        (claims.flushed, claims.dirty, claims.volatile) = (flushed, dirty, volatile);
        Ok(())
    }

    /// The stamps of now, but the old ones of files that we did not change: if one is different somebody else
    /// did, and the next start shall see it.
    fn survey(&self, before: &[Option<Stamp>]) -> Result<Vec<Option<Stamp>>, StoreError> {
        let now = self.files.survey()?.into_iter().zip(before).enumerate();
        Ok(now.map(|(file, (now, old))| if self.files.has_changed(file) { now } else { *old }).collect())
    }

    /// Before the first write of a session, and before a flushed piece is written again.
    fn before_write(&self, piece: PieceIndex) -> Result<(), StoreError> {
        let ready = |claims: &Claims| claims.dirty && claims.empties && !claims.flushed.has(piece);
        if ready(&guard(&self.claims)) {
            return Ok(());
        }
        let book = guard(&self.book);
        if !guard(&self.claims).empties {
            self.files.make_empty_files()?;
            guard(&self.claims).empties = true;
        }
        self.retract(&book, piece)
    }

    /// Takes the claim on a piece back, in the resume file first.
    fn retract(&self, book: &Book, piece: PieceIndex) -> Result<(), StoreError> {
        let (mut flushed, was_dirty, was_volatile) = {
            let claims = guard(&self.claims);
            (claims.flushed.clone(), claims.dirty, claims.volatile)
        };
        let was_flushed = flushed.remove(piece);
        if was_dirty && !was_flushed {
            return Ok(());
        }
        let volatile = was_volatile || was_flushed;
        book.save(&flushed, true, volatile, volatile && !was_volatile)?;
        let mut claims = guard(&self.claims);
        (claims.flushed, claims.dirty, claims.volatile) = (flushed, true, volatile);
        Ok(())
    }
}

impl Book {
    fn save(&self, flushed: &Bitfield, dirty: bool, volatile: bool, durable: bool) -> Result<(), StoreError> {
        let Some(resume) = &self.resume else { return Ok(()) };
        let (pieces, boot, files) = (flushed.clone(), self.boot.clone(), self.stamps.clone());
        resume.save(&State { pieces, clean: !dirty, volatile, boot, files }, durable)
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        if let (Some(cache), Some(lock)) = (&self.cache, self.lock.take()) {
            cache.leave(lock);
        }
    }
}

impl Storage for DiskStore {
    fn write(&self, piece: PieceIndex, blocks: &[Bytes]) -> Result<(), StoreError> {
        self.before_write(piece)?;
        self.files.write(piece, blocks)?;
        let mut claims = guard(&self.claims);
        claims.gone.remove(piece);
        claims.unchecked.remove(piece);
        Ok(())
    }

    fn read(&self, block: Block) -> Result<Bytes, StoreError> {
        self.files.read(block)
    }

    fn discard(&self, piece: PieceIndex) -> Result<(), StoreError> {
        let book = guard(&self.book);
        {
            let mut claims = guard(&self.claims);
            claims.gone.insert(piece);
            claims.unchecked.remove(piece);
        }
        self.retract(&book, piece)?;
        self.files.discard(piece)
    }

    fn sync(&self) -> Result<(), StoreError> {
        // One at a time: a second caller must not return before the first has synced what both mean.
        let _book = guard(&self.book);
        self.files.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Checker;
    use super::super::open::Opened;
    use super::super::testing::{World, child_argument, spawn_test};
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::SystemTime;

    const PIECE: u64 = 16 * 1024;

    /// Ten pieces in two files: pieces 0-5 and 5-9.
    fn world(folder: &Path) -> World {
        World::new(folder, PIECE, &[(5 * PIECE + 100, false), (0, false), (5 * PIECE - 100, false)])
    }

    fn check(world: &World, opened: &Opened) -> Vec<u32> {
        let doubtful = world.metainfo.geometry.all().filter(|p| opened.doubtful.has(*p));
        let metainfo = Arc::new(world.metainfo.clone());
        let checker = Checker::new(Arc::clone(&opened.store), metainfo, doubtful);
        checker.worker().filter(|(_, there)| *there).map(|(piece, _)| piece.number()).collect()
    }

    /// Numbers of the trusted and of the doubtful pieces after opening again.
    fn reopened(world: &World) -> (Vec<u32>, Vec<u32>) {
        let opened = world.open();
        (world.numbers(&opened.trusted), world.numbers(&opened.doubtful))
    }

    fn all() -> Vec<u32> {
        (0..10).collect()
    }

    #[test]
    fn what_was_closed_is_trusted_and_nothing_needs_a_look() {
        let temp = tempfile::tempdir().unwrap();
        let world = world(temp.path());
        let opened = world.open();
        assert!(opened.trusted.is_empty() && opened.doubtful.is_empty());
        world.write(&opened, [0, 1, 7]);
        opened.store.close(&world.set([0, 1, 7])).unwrap();
        drop(opened);
        assert_eq!(reopened(&world), (vec![0, 1, 7], vec![]));
        assert!(temp.path().join("t/f1").exists(), "the empty file is made too");
    }

    #[test]
    fn a_file_that_was_touched_after_closing_is_looked_at_and_only_that() {
        let temp = tempfile::tempdir().unwrap();
        let world = world(temp.path());
        let opened = world.open();
        world.write(&opened, all());
        opened.store.close(&world.set(all())).unwrap();
        drop(opened);
        let path = temp.path().join("t/d2/f");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[PIECE as usize] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let opened = world.open();
        assert_eq!(world.numbers(&opened.trusted), [0, 1, 2, 3, 4]);
        assert_eq!(check(&world, &opened), [5, 7, 8, 9]);
    }

    /// The process to be killed: flushes pieces 0-3, has 4-6 written and nothing more, and half of 7.
    fn download_and_be_killed(folder: &str) {
        let world = world(Path::new(folder));
        let opened = world.open();
        world.write(&opened, 0..4);
        opened.store.save(&world.set(0..4)).unwrap();
        world.write(&opened, 4..7);
        let torn: Vec<Bytes> = world.blocks(7).iter().map(|b| Bytes::from(vec![9; b.len()])).collect();
        opened.store.write(world.piece(7), &torn).unwrap();
        println!("\nwritten");
        let _ = std::io::stdin().read_line(&mut String::new());
    }

    #[test]
    fn after_kill_9_flushed_pieces_are_trusted_and_written_ones_found_by_a_check() {
        if let Some(folder) = child_argument() {
            return download_and_be_killed(&folder);
        }
        let temp = tempfile::tempdir().unwrap();
        let name =
            "store::disk::tests::after_kill_9_flushed_pieces_are_trusted_and_written_ones_found_by_a_check";
        let mut child = spawn_test(name, temp.path().to_str().unwrap(), "");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "written"));
        child.kill().unwrap();
        child.wait().unwrap();
        let world = world(temp.path());
        let opened = world.open();
        assert_eq!(world.numbers(&opened.trusted), [0, 1, 2, 3]);
        assert_eq!(check(&world, &opened), [4, 5, 6]);
        world.write(&opened, 7..10);
        opened.store.close(&world.set(all())).unwrap();
        drop(opened);
        assert_eq!(reopened(&world), (all(), vec![]));
    }

    #[test]
    fn ending_in_the_middle_of_a_check_forgets_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let world = world(temp.path());
        let opened = world.open();
        world.write(&opened, all());
        drop(opened);
        let opened = world.open();
        let metainfo = Arc::new(world.metainfo.clone());
        let checker = Checker::new(Arc::clone(&opened.store), metainfo, world.metainfo.geometry.all());
        let first = checker.worker().next().unwrap();
        assert_eq!((first.0.number(), first.1), (0, true));
        opened.store.close(&world.set([0])).unwrap();
        drop((opened, checker));
        assert_eq!(reopened(&world), (vec![0], (1..10).collect()));
    }

    #[test]
    fn a_discarded_piece_is_not_claimed_any_more_even_if_a_late_save_says_so() {
        let temp = tempfile::tempdir().unwrap();
        let world = world(temp.path());
        let opened = world.open();
        world.write(&opened, 0..4);
        opened.store.save(&world.set(0..4)).unwrap();
        opened.store.discard(world.piece(1)).unwrap();
        drop(opened);
        let (trusted, doubtful) = reopened(&world);
        assert_eq!((trusted, doubtful.contains(&1)), (vec![0, 2, 3], true));
        let opened = world.open();
        opened.store.discard(world.piece(2)).unwrap();
        opened.store.save(&world.set([0, 2, 3])).unwrap();
        drop(opened);
        assert_eq!(reopened(&world).0, [0, 3]);
        let opened = world.open();
        world.write(&opened, [2]);
        opened.store.save(&world.set([0, 2, 3])).unwrap();
        drop(opened);
        assert_eq!(reopened(&world).0, [0, 2, 3]);
    }

    #[test]
    fn a_flushed_piece_that_is_written_again_is_not_trusted_until_it_is_saved() {
        let temp = tempfile::tempdir().unwrap();
        let world = world(temp.path());
        let opened = world.open();
        world.write(&opened, 0..4);
        opened.store.save(&world.set(0..4)).unwrap();
        world.write(&opened, [2]);
        drop(opened);
        let (trusted, doubtful) = reopened(&world);
        assert_eq!(trusted, [0, 1, 3]);
        assert!(doubtful.contains(&2));
    }

    #[test]
    fn an_older_state_claims_less_and_nothing_wrong() {
        let temp = tempfile::tempdir().unwrap();
        let world = world(temp.path());
        let state = temp.path().join(".swarm").join(format!("{}.resume", world.metainfo.info_hash));
        let opened = world.open();
        world.write(&opened, [0]);
        opened.store.save(&world.set([0])).unwrap();
        let old = std::fs::read(&state).unwrap();
        world.write(&opened, 1..9);
        opened.store.save(&world.set(0..9)).unwrap();
        drop(opened);
        std::fs::write(&state, old).unwrap();
        let opened = world.open();
        assert_eq!(world.numbers(&opened.trusted), [0]);
        assert_eq!(check(&world, &opened), (1..9).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_from_elsewhere_is_found_by_a_check_and_trusted_from_then_on() {
        let temp = tempfile::tempdir().unwrap();
        let world = world(temp.path());
        for file in world.metainfo.layout.files.iter().filter(|f| f.length() > 0) {
            let path = temp.path().join(&file.disk);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &world.bytes[file.range.start as usize..file.range.end as usize]).unwrap();
        }
        let before = SystemTime::UNIX_EPOCH;
        let file = std::fs::File::options().write(true).open(temp.path().join("t/f0")).unwrap();
        file.set_modified(before).unwrap();
        let opened = world.open();
        assert_eq!(check(&world, &opened), all());
        opened.store.save(&world.set(all())).unwrap();
        drop(opened);
        assert_eq!(reopened(&world), (all(), vec![]));
        assert_eq!(file.metadata().unwrap().modified().unwrap(), before, "seeding changes no file");
    }

    #[test]
    fn after_a_power_cut_flushed_pieces_are_trusted_unless_some_were_taken_back() {
        let temp = tempfile::tempdir().unwrap();
        let world = world(temp.path());
        let opened = world.open();
        guard(&opened.store.book).boot = "the boot before".to_owned();
        world.write(&opened, 0..4);
        opened.store.save(&world.set(0..4)).unwrap();
        drop(opened);
        let opened = world.open();
        assert_eq!(world.numbers(&opened.trusted), [0, 1, 2, 3]);
        guard(&opened.store.book).boot = "the boot before".to_owned();
        opened.store.discard(world.piece(0)).unwrap();
        drop(opened);
        assert_eq!(reopened(&world).0, [0u32; 0]);
        let opened = world.open();
        assert_eq!(check(&world, &opened), [1, 2, 3]);
    }

    #[test]
    fn a_file_that_somebody_else_changes_while_we_seed_is_looked_at_next_time() {
        let temp = tempfile::tempdir().unwrap();
        let world = world(temp.path());
        let opened = world.open();
        world.write(&opened, all());
        opened.store.close(&world.set(all())).unwrap();
        drop(opened);
        let opened = world.open();
        std::fs::write(temp.path().join("t/f0"), vec![7; (5 * PIECE + 100) as usize]).unwrap();
        opened.store.close(&world.set(all())).unwrap();
        drop(opened);
        assert_eq!(reopened(&world), (vec![6, 7, 8, 9], (0..6).collect()));
    }

    #[test]
    fn a_disk_too_full_for_the_resume_file_keeps_the_old_one_and_discards_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let world = world(temp.path());
        let opened = world.open();
        world.write(&opened, 0..4);
        opened.store.save(&world.set(0..4)).unwrap();
        // A folder in the way of the new file fails like any other error of the system.
        let new = temp.path().join(".swarm").join(format!("{}.resume.new", world.metainfo.info_hash));
        std::fs::create_dir(&new).unwrap();
        world.write(&opened, [4]);
        assert!(opened.store.save(&world.set(0..5)).is_err());
        for _ in 0..2 {
            assert!(opened.store.discard(world.piece(1)).is_err());
            assert!(opened.store.write(world.piece(2), &world.blocks(2)).is_err());
        }
        std::fs::remove_dir(&new).unwrap();
        drop(opened);
        let opened = world.open();
        assert_eq!(world.numbers(&opened.trusted), [0, 1, 2, 3]);
        assert_eq!(check(&world, &opened), [4]);
        let block = Block { piece: world.piece(1), begin: 0, length: 5 };
        assert_eq!(opened.store.read(block).unwrap(), world.blocks(1)[0].slice(..5));
    }

    #[test]
    fn a_torrent_without_any_writable_folder_can_be_read() {
        let temp = tempfile::tempdir().unwrap();
        let world = world(temp.path());
        let opened = world.open();
        world.write(&opened, all());
        opened.store.close(&world.set(all())).unwrap();
        drop(opened);
        let mount = |arguments: &[&str]| {
            std::process::Command::new("mount").args(arguments).arg(temp.path()).output()
        };
        let bound = mount(&["--bind", temp.path().to_str().unwrap()]).is_ok_and(|o| o.status.success());
        if !bound || !mount(&["-o", "remount,ro,bind"]).is_ok_and(|o| o.status.success()) {
            println!("no permission to mount: a read-only folder is not tested");
            return;
        }
        let result = std::panic::catch_unwind(|| {
            let opened = world.open();
            assert_eq!(check(&world, &opened), all());
            opened.store.close(&world.set(all())).unwrap();
            let error = opened.store.write(world.piece(0), &world.blocks(0)).unwrap_err();
            assert!(error.to_string().contains("Read-only"), "{error}");
        });
        assert!(std::process::Command::new("umount").arg(temp.path()).status().unwrap().success());
        result.unwrap();
    }
}
