//! A piece of a live broadcast that did not come in time: stall or drop?
//!
//! The SwarmPlayer's rule (2008): with less than half of the buffer's span there behind the hole, this place cannot
//! be kept up with, and stopping to fill the buffer gains distance to the live point. With more, the hole is an
//! accident, and is skipped.
//!
//! The original then waited for the piece for ever. Here the stop ends when the buffer is full, be it behind the hole.

use crate::time::Duration;

/// What the user wants to happen at holes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum StallPolicy {
    /// As the buffer is.
    #[default]
    Auto,
    /// Never lose anything that can still be had.
    Stall,
    /// Never stop.
    Drop,
}

/// What happens at a hole.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Playback stops until the buffer is full enough again.
    Stall,
    /// The hole is skipped.
    Drop,
}

/// Decides at a hole behind which `behind` of a buffer of `span` is verified.
pub fn at_hole(policy: StallPolicy, behind: Duration, span: Duration) -> Missing {
    match policy {
        StallPolicy::Stall => Missing::Stall,
        StallPolicy::Drop => Missing::Drop,
        StallPolicy::Auto if behind < span / 2 => Missing::Stall,
        StallPolicy::Auto => Missing::Drop,
    }
}

/// Whether what playback stopped for is not worth much more waiting: all of the buffer is there behind it.
pub fn is_given_up(policy: StallPolicy, behind: Duration, span: Duration) -> bool {
    match policy {
        StallPolicy::Stall => false,
        StallPolicy::Drop => behind > Duration::ZERO,
        StallPolicy::Auto => behind >= span,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_buffer_behind_the_hole_is_the_border() {
        let span = Duration::from_secs(10);
        let auto = |ms| at_hole(StallPolicy::Auto, Duration::from_millis(ms), span);
        assert_eq!((auto(0), auto(4_999)), (Missing::Stall, Missing::Stall));
        assert_eq!((auto(5_000), auto(20_000)), (Missing::Drop, Missing::Drop));
    }

    #[test]
    fn who_has_stopped_waits_for_no_more_than_a_buffer() {
        let span = Duration::from_secs(10);
        let gives_up = |policy, ms| is_given_up(policy, Duration::from_millis(ms), span);
        assert_eq!([6_000, 9_999, 10_000].map(|ms| gives_up(StallPolicy::Auto, ms)), [false, false, true]);
        assert!(gives_up(StallPolicy::Drop, 1) && !gives_up(StallPolicy::Drop, 0));
        assert!(!gives_up(StallPolicy::Stall, 60_000));
    }

    #[test]
    fn the_user_may_decide() {
        let full = Duration::from_secs(10);
        assert_eq!(at_hole(StallPolicy::Stall, full, full), Missing::Stall);
        assert_eq!(at_hole(StallPolicy::Drop, Duration::ZERO, full), Missing::Drop);
    }
}
