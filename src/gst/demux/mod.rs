//! `swarmdemux`: plays the torrent whose file flows into it.
//!
//! ```text
//! gst-launch-1.0 playbin uri=file:///home/me/film.torrent
//! gst-launch-1.0 filesrc location=film.torrent ! swarmdemux file-index=1 ! decodebin ! autovideosink
//! ```
//!
//! It stands where a demuxer stands, so that decodebin plugs it by itself.

mod imp;

use gst::prelude::*;

glib::wrapper! {
    /// The element `swarmdemux`.
    pub struct SwarmDemux(ObjectSubclass<imp::SwarmDemux>)
        @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

pub(in crate::gst) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "swarmdemux", gst::Rank::PRIMARY, SwarmDemux::static_type())
}
