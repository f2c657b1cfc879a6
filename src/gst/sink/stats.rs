//! The property `stats`.

use crate::net::broadcast::BroadcastStats;
use crate::swarm::event::Stats;

/// The figures of an element that does nothing.
pub(super) fn idle() -> gst::Structure {
    structure("stopped", &BroadcastStats::default(), &Stats::default())
}

/// The figures as `application/x-swarm-sink-stats`.
pub(super) fn structure(state: &str, made: &BroadcastStats, stats: &Stats) -> gst::Structure {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    gst::Structure::builder("application/x-swarm-sink-stats")
        .field("state", state)
        .field("bytes", made.bytes)
        .field("input-rate", made.rate.get())
        .field("pieces", made.pieces)
        .field("next-piece", made.next)
        .field("viewers", count(stats.peers))
        .field("bytes-uploaded", stats.uploaded)
        .field("upload-rate", stats.upload_rate.get())
        .field("lost", made.lost)
        .field("banned", count(stats.banned))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_have_every_figure_from_the_start() {
        gst::init().unwrap();
        let structure = idle();
        assert_eq!((structure.get("state"), structure.get("lost")), (Ok("stopped"), Ok(0_u64)));
        assert_eq!((structure.get("viewers"), structure.n_fields()), (Ok(0_u32), 10));
    }
}
