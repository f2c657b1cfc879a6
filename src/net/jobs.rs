//! What a torrent has its workers do: hash pieces and write them, read blocks for peers, give space back, save.
//!
//! A piece is hashed where its blocks lie, laid on the shelf for waiting readers, and written: one job, one answer.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::session::{Notice, Trouble};
use super::shelf::{Failure, Shelf};
use super::verifier::Verifier;
use super::workers::Workers;
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::{BLOCK_LENGTH, Block, PieceIndex};
use crate::store::disk::DiskStore;
use crate::store::{Storage, StoreError};
use crate::stream::live_headers::Headers;
use crate::stream::live_piece::Stamp;
use crate::swarm::{Input, Job, PeerKey, Verdict};

/// Gives a torrent's work to the threads that may take their time.
pub(super) struct Jobs {
    pub(super) verifier: Arc<Verifier>,
    pub(super) store: Arc<DiskStore>,
    /// The same store by the engine's pieces: that of a broadcast goes round.
    pub(super) storage: Arc<dyn Storage>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) workers: Workers,
    /// What comes out, for the engine.
    pub(super) answers: mpsc::UnboundedSender<Input>,
    pub(super) notices: broadcast::Sender<Notice>,
    /// Verified pieces at the last save.
    pub(super) saved: u32,
}

impl Jobs {
    /// Does what the engine wants done.
    pub(super) fn start(&self, job: Job) {
        match job {
            Job::Verify { piece, blocks } => self.verify(piece, blocks),
            Job::Read { peer, block } => self.read(peer, block),
            Job::Discard { piece } => self.discard(piece),
            Job::CheckStamp { peer, stamp, oldest } => self.check_stamp(peer, *stamp, oldest),
            Job::CheckHeaders { peer, headers } => self.check_headers(peer, *headers),
        }
    }

    /// Saves which pieces are there, if there are more or fewer than at the last time.
    pub(super) fn save(&mut self, have: &Bitfield) {
        // What is there of a broadcast is old news at the next start.
        if self.verifier.is_live() || std::mem::replace(&mut self.saved, have.count()) == have.count() {
            return;
        }
        let (store, have) = (Arc::clone(&self.store), have.clone());
        self.workers.run(move || unsaved(store.save(&have)));
    }

    /// Saves for the last time, behind everything that was started. The answer comes when that is done.
    pub(super) fn close(&self, have: Bitfield) -> oneshot::Receiver<()> {
        let (saved, done) = oneshot::channel();
        let store = Arc::clone(&self.store);
        self.workers.run(move || {
            unsaved(store.close(&have));
            drop(store);
            // Nobody else waits for it.
            let _ = saved.send(());
        });
        done
    }

    fn verify(&self, piece: PieceIndex, blocks: Vec<Bytes>) {
        let verifier = Arc::clone(&self.verifier);
        let (store, shelf) = (Arc::clone(&self.storage), Arc::clone(&self.shelf));
        let (answers, notices) = (self.answers.clone(), self.notices.clone());
        self.workers.run(move || {
            let (verdict, stamp) = match verifier.check(piece, &blocks) {
                Err(why) => {
                    tracing::debug!(%piece, %why, "a piece is refused");
                    (Verdict::Bad, None)
                }
                Ok(stamp) => {
                    shelf.lay(piece, blocks.clone());
                    match store.write(piece, &blocks) {
                        Ok(()) => {
                            shelf.written(piece);
                            (Verdict::Good, stamp.map(Box::new))
                        }
                        Err(error) => {
                            fail(&shelf, &notices, &error);
                            (Verdict::Unwritten, None)
                        }
                    }
                }
            };
            // The torrent may have ended meanwhile.
            let _ = answers.send(Input::Verified { piece, verdict, stamp });
        });
    }

    fn check_stamp(&self, peer: PeerKey, stamp: Stamp, oldest: Option<u32>) {
        let (verifier, answers) = (Arc::clone(&self.verifier), self.answers.clone());
        self.workers.run(move || {
            let stamp = verifier.check_stamp(stamp).map(Box::new);
            let _ = answers.send(Input::StampChecked { peer, stamp, oldest });
        });
    }

    fn check_headers(&self, peer: PeerKey, headers: Headers) {
        let (verifier, answers) = (Arc::clone(&self.verifier), self.answers.clone());
        self.workers.run(move || {
            let headers = verifier.check_headers(headers).map(Box::new);
            let _ = answers.send(Input::HeadersChecked { peer, headers });
        });
    }

    fn read(&self, peer: PeerKey, block: Block) {
        let answers = self.answers.clone();
        let end = block.begin + block.length;
        if let Some(data) = self.shelf.slice(block.piece, block.begin..end).map(own) {
            let _ = answers.send(Input::BlockRead { peer, block, data: Some(data) });
            return;
        }
        let store = Arc::clone(&self.storage);
        self.workers.run(move || {
            let data = store.read(block);
            if let Err(error) = &data {
                tracing::warn!(%error, "cannot read a block for a peer");
            }
            let _ = answers.send(Input::BlockRead { peer, block, data: data.ok() });
        });
    }

    fn discard(&self, piece: PieceIndex) {
        self.shelf.discard(piece);
        let store = Arc::clone(&self.storage);
        self.workers.run(move || {
            if let Err(error) = store.discard(piece) {
                tracing::warn!(%error, "cannot give space back");
            }
        });
    }
}

/// The disk refused: who listens is told, and readers get nothing more.
pub(super) fn fail(shelf: &Shelf, notices: &broadcast::Sender<Notice>, error: &StoreError) {
    let (message, trouble) = (error.to_string(), Trouble::from(error));
    tracing::info!(%error, "the disk refuses");
    // Nobody may listen.
    let _ = notices.send(Notice::StorageFailed { message: message.clone(), trouble });
    shelf.fail(Failure { message, trouble });
}

fn unsaved(result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "cannot save what is there; it will be checked at the next start");
    }
}

/// A part of a block that is to wait in a connection: a small one must not keep the whole block in memory.
fn own(part: Bytes) -> Bytes {
    if part.len() < BLOCK_LENGTH as usize { Bytes::copy_from_slice(&part) } else { part }
}
