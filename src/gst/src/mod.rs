//! `swarmsrc`: the bytes of one file of a torrent, from its swarm, while they arrive.
//!
//! ```text
//! gst-launch-1.0 swarmsrc location=film.torrent ! decodebin ! autovideosink
//! gst-launch-1.0 playbin uri="swarm:///home/me/film.torrent?file=2&x.pe=192.0.2.7:6881"
//! gst-launch-1.0 swarmsrc location=film.torrent ! filesink location=film.mp4
//! ```
//!
//! Demuxers pull, so that an index at the end of a file costs one jump; whoever cannot pull is pushed. While
//! data is missing the element posts BUFFERING messages; an application pauses below 100 and plays at 100.

mod board;
mod imp;
pub(in crate::gst) mod load;
mod messenger;
mod policy;
mod queries;
mod read;
mod running;
pub(in crate::gst) mod settings;
mod waiting;

use gst::prelude::*;

glib::wrapper! {
    /// The element `swarmsrc`.
    pub struct SwarmSrc(ObjectSubclass<imp::SwarmSrc>)
        @extends gst_base::BaseSrc, gst::Element, gst::Object,
        @implements gst::URIHandler;
}

pub(in crate::gst) use running::idle_stats;

pub(in crate::gst) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "swarmsrc", gst::Rank::PRIMARY, SwarmSrc::static_type())
}
