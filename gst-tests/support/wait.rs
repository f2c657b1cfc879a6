//! Waiting for something to become true, with a limit and a name for the failure.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition that cannot notify us is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Calls `probe` until it gives something.
///
/// # Panics
/// When `limit` has passed: the message says what was waited for and what `context` knows about it.
pub fn until_some<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Option<T>,
    context: impl Fn() -> String,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}\n{}", context());
        thread::park_timeout(LOOK_EVERY);
    }
}

/// Calls `probe` until it is true.
///
/// # Panics
/// When `limit` has passed.
pub fn until(what: &str, limit: Duration, mut probe: impl FnMut() -> bool, context: impl Fn() -> String) {
    until_some(what, limit, || probe().then_some(()), context);
}
