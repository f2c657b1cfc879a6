//! The start of a torrent: open the store, look at what is doubtful, make room. All of it on worker threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::session::Notice;
use super::task::{Control, Parts};
use super::workers::Workers;
use crate::metainfo::bitfield::Bitfield;
use crate::metainfo::geometry::PieceIndex;
use crate::metainfo::torrent::Metainfo;
use crate::store::check::Checker;
use crate::store::disk::DiskStore;
use crate::store::open::Opened;
use crate::store::ring::RingStore;
use crate::store::{Storage, StoreError, open as store};

/// Threads that check one torrent.
const CHECKERS: usize = 2;
/// Progress is told each time so many pieces more (of a thousand) are checked.
const STEPS: u32 = 200;

/// A store that is ready.
pub(super) struct Ready {
    pub(super) store: Arc<DiskStore>,
    /// The same by the engine's pieces.
    pub(super) storage: Arc<dyn Storage>,
    pub(super) have: Bitfield,
    /// Most bytes to keep.
    pub(super) budget: Option<u64>,
}

/// Opens the store. `None`: an order to stop came first; it and all other orders lie in `waiting`.
pub(super) async fn open(parts: &mut Parts, waiting: &mut Vec<Control>) -> Result<Option<Ready>, StoreError> {
    let (place, metainfo) = (parts.options.place.clone(), Arc::clone(&parts.metainfo));
    let recheck = parts.options.recheck;
    let opened = on_worker(&parts.workers, move || store::open(&place, &metainfo, recheck));
    let opened = tokio::select! {
        biased;
        () = told_to_stop(&mut parts.orders, waiting) => None,
        opened = opened => opened,
    };
    let Some(opened) = opened else { return Ok(None) };
    let Opened { store, mut trusted, doubtful } = opened?;
    if parts.metainfo.live.is_some() {
        return Ok(Some(live(parts, store).await));
    }
    if !doubtful.is_empty() {
        let geometry = parts.metainfo.geometry;
        let pieces = geometry.all().filter(|p| doubtful.has(*p)).collect();
        match check(parts, waiting, &store, pieces).await {
            Some(good) => good.into_iter().for_each(|piece| _ = trusted.insert(piece)),
            None => return Ok(None),
        }
    }
    let budget = make_room(parts, &store, &trusted).await;
    let storage: Arc<dyn Storage> = Arc::<DiskStore>::clone(&store);
    parts.shelf.opened(Arc::clone(&storage), trusted.clone());
    Ok(Some(Ready { store, storage, have: trusted, budget }))
}

/// A broadcast's ring: what lies in it is of an earlier time.
async fn live(parts: &Parts, store: Arc<DiskStore>) -> Ready {
    let have = Bitfield::empty(&parts.metainfo.geometry);
    let window = parts.metainfo.live.as_ref().map_or(0, |live| live.window);
    let bytes = u64::from(window) * u64::from(parts.metainfo.geometry.piece_length());
    let room = Arc::clone(&store);
    if let Some(Err(error)) = on_worker(&parts.workers, move || room.make_room(bytes)).await {
        tracing::warn!(%error, "cannot make room in the cache");
    }
    let storage: Arc<dyn Storage> = Arc::new(RingStore::new(Arc::clone(&store), parts.options.source));
    parts.shelf.opened(Arc::clone(&storage), have.clone());
    Ready { store, storage, have, budget: None }
}

async fn make_room(parts: &Parts, store: &Arc<DiskStore>, have: &Bitfield) -> Option<u64> {
    let geometry = parts.metainfo.geometry;
    let missing = geometry.all().filter(|p| !have.has(*p));
    let more = missing.map(|p| u64::from(geometry.piece_size(p))).sum();
    let store = Arc::clone(store);
    let budget = on_worker(&parts.workers, move || store.make_room(more)).await?;
    match budget {
        Ok(budget) => Some(budget.keep).filter(|keep| *keep < geometry.total()),
        Err(error) => {
            tracing::warn!(%error, "cannot make room in the cache");
            None
        }
    }
}

async fn on_worker<T: Send + 'static>(
    workers: &Workers,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    workers.run(move || {
        // What nobody waits for any more is not to keep the next one waiting.
        if !done.is_closed() {
            let _ = done.send(work());
        }
    });
    result.await.ok()
}

/// Puts orders aside until one of them is to stop.
async fn told_to_stop(orders: &mut mpsc::UnboundedReceiver<Control>, waiting: &mut Vec<Control>) {
    while let Some(order) = orders.recv().await {
        let stop = matches!(order, Control::Stop { .. });
        waiting.push(order);
        if stop {
            break;
        }
    }
}

/// Hashes pieces. `None`: an order to stop came first.
async fn check(
    parts: &mut Parts,
    waiting: &mut Vec<Control>,
    store: &Arc<DiskStore>,
    pieces: Vec<PieceIndex>,
) -> Option<Vec<PieceIndex>> {
    let total = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    let checker = Arc::new(Checker::new(Arc::clone(store), Arc::<Metainfo>::clone(&parts.metainfo), pieces));
    let stop = Arc::new(AtomicBool::new(false));
    let (results, mut checked) = mpsc::unbounded_channel();
    for _ in 0..CHECKERS {
        let (checker, stop, results) = (Arc::clone(&checker), Arc::clone(&stop), results.clone());
        parts.workers.run(move || {
            let mut worker = checker.worker().take_while(|_| !stop.load(Ordering::Relaxed));
            // The receiver goes when the check is stopped.
            let _ = worker.try_for_each(|result| results.send(result));
        });
    }
    drop(results);
    let (mut good, mut done) = (Vec::new(), 0);
    let step = (total / STEPS).max(1);
    loop {
        tokio::select! {
            () = told_to_stop(&mut parts.orders, waiting) => {
                stop.store(true, Ordering::Relaxed);
                return None;
            }
            result = checked.recv() => {
                let Some((piece, there)) = result else { return Some(good) };
                done += 1;
                good.extend(there.then_some(piece));
                if done % step == 0 || done == total {
                    // Nobody may listen.
                    let _ = parts.notices.send(Notice::Checking { done, total });
                }
            }
        }
    }
}
