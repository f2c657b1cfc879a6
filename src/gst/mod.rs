//! Floor 4: the elements, thin doors of the engine.
//!
//! `swarmsrc` ([`src`]) gives the bytes of one file of a torrent, [`demux`] does the same for a `.torrent` that
//! flows through a pipeline, so that `file:///x.torrent` plays by itself, and [`typefind`] recognises such
//! files. `swarmsink` ([`sink`]) broadcasts a live stream. Everything that can be said without an element (URIs, messages, the log) stands beside them.
// The elements live in the real world: they measure waits with the system's clock.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod demux;
mod log;
mod messages;
pub mod sink;
pub mod src;
pub mod typefind;
pub mod uri;

use crate::net::runtime;

/// Who made the elements, for `gst-inspect-1.0`.
const AUTHOR: &str = "gst-plugin-swarm developers";

/// Makes everything known to GStreamer. Also runs in the registry's scanner, so it starts nothing.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    runtime::set_thread_hook(log::install_on_this_thread);
    typefind::register(plugin)?;
    src::register(plugin)?;
    demux::register(plugin)?;
    sink::register(plugin)
}
