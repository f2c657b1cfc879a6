//! A broadcast that is taken up again goes on as its `.tstream` has it: says so where the options want something else.

use super::progress::{harmless, warn};

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
