//! A broadcast that is taken up again goes on as its `.tstream` has it: says so where the options want something else.

use std::time::Duration;

use super::exit::Usage;
use super::live::Args;
use super::progress::{clock, harmless, warn};
use crate::metainfo::torrent::Metainfo;
use crate::metainfo::tstream::{Auth, WINDOW_PART, pieces_for};
use crate::net::station::Plan;

/// Looks at the options that count for a new broadcast only: says which of them were given and are not as in the one
/// that is taken up.
///
/// # Errors
/// When the window would not go into its ring.
pub(super) fn check(args: &Args, plan: &Plan, old: &Metainfo) -> anyhow::Result<()> {
    let geometry = &old.geometry;
    // As it was counted when it was made.
    let pieces =
        |time: Duration| pieces_for(old.speed.unwrap_or(0), time, geometry.piece_length(), args.flush_after);
    let most = (geometry.pieces() / WINDOW_PART).max(1);
    // An exact quarter may be a piece more, because parts of pieces count.
    if let Some(window) = args.made.window.filter(|window| pieces(*window) > most + 1) {
        return Err(Usage::new(format!(
            "--window {} is more than a quarter of the ring of the broadcast that is there: leave it out, or begin \
             another broadcast with --new",
            clock(window)
        ))
        .into());
    }
    let window = old.live.as_ref().map(|live| live.window);
    let unsigned = old.live.as_ref().is_some_and(|live| matches!(live.auth, Auth::Unsigned(_)));
    let known = |tracker| old.trackers.iter().flatten().any(|known| known == tracker);
    let made = &args.made;
    let options = [
        ("--tracker", !plan.trackers.iter().all(known)),
        ("--duration", made.duration.is_some_and(|time| pieces(time) != geometry.pieces())),
        ("--window", made.window.is_some_and(|time| Some(pieces(time).min(most)) != window)),
        ("--bitrate", made.bitrate.is_some() && made.bitrate != old.speed),
        (
            "--piece-length",
            made.piece_length.is_some_and(|length| length != u64::from(geometry.piece_length())),
        ),
        ("--title", made.title.is_some() && made.title != old.title),
        ("--thumb", plan.thumbnail.is_some() && plan.thumbnail != old.thumbnail),
        ("--unsigned", made.unsigned && !unsigned),
    ];
    let unheeded: Vec<_> = options.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    if !unheeded.is_empty() {
        let count = if unheeded.len() > 1 { "count" } else { "counts" };
        warn(&format!(
            "{} {count} for a new broadcast only, and the one that is taken up was made with something else; --new begins \
             another one",
            unheeded.join(", ")
        ));
    }
    Ok(())
}

/// Where viewers go is written in the `.tstream` when it is made: who is elsewhere when it is taken up waits in vain.
pub(super) fn warn_astray(
    tstream: &str,
    (host, port): (&str, u16),
    wanted_host: Option<&str>,
    our_port: u16,
) {
    if port != our_port {
        warn(&format!(
            "{tstream} sends viewers to port {port}, and this is port {our_port}: they do not come here. End this, and \
             take it up with --port {port}, or begin another broadcast with --new"
        ));
    }
    if let Some(wanted) = wanted_host.filter(|wanted| !wanted.eq_ignore_ascii_case(host)) {
        warn(&format!(
            "{tstream} sends viewers to {}, not to {}: --announce-address counts for a new broadcast only (--new)",
            harmless(host),
            harmless(wanted)
        ));
    }
}
