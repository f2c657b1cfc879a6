//! The engine's own tokio runtime, one a process, started with the first torrent and never stopped.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle, Runtime};

/// Network work of all torrents fits one core; hashing and disks have threads of their own.
const THREADS: usize = 1;

static RUNTIME: OnceCell<Runtime> = OnceCell::new();
static HOOK: OnceLock<fn()> = OnceLock::new();
static NAMES: AtomicUsize = AtomicUsize::new(0);

/// Sets what each engine thread runs first (the elements route its log there). The first caller wins.
pub fn set_thread_hook(hook: fn()) {
    // A second hook would be the same one, set by a second registration.
    let _ = HOOK.set(hook);
}

/// Runs the hook on the calling thread, for engine threads that tokio does not start.
pub(super) fn enter_thread() {
    if let Some(hook) = HOOK.get() {
        hook();
    }
}

/// The runtime, started if need be.
///
/// # Errors
/// When the system gives no threads.
pub fn handle() -> std::io::Result<Handle> {
    let runtime = RUNTIME.get_or_try_init(|| {
        Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(8)
            .thread_name_fn(|| format!("swarm-net-{}", NAMES.fetch_add(1, Ordering::Relaxed)))
            .on_thread_start(enter_thread)
            .enable_all()
            .build()
    })?;
    Ok(runtime.handle().clone())
}
