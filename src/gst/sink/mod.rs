//! `swarmsink`: broadcasts a live stream to a swarm of viewers.
//!
//! ```text
//! gst-launch-1.0 -e videotestsrc is-live=true ! x264enc tune=zerolatency key-int-max=50 \
//!   ! h264parse config-interval=-1 ! mpegtsmux ! swarmsink location=stream.ts.tstream
//! gst-launch-1.0 -e filesrc location=film.ts ! tsparse set-timestamps=true \
//!   ! swarmsink location=film.ts.tstream duration=600000000000 announce-address=tv.example.org
//! swarm get stream.ts.tstream -o - | gst-launch-1.0 fdsrc ! decodebin ! autovideosink
//! ```
//!
//! The same thing as the command `swarm live`: the stream (MPEG-TS, Matroska/WebM with `streamable=true`, Ogg) is
//! cut into signed pieces, and one port serves viewers, their tracker, and a page with the `.tstream` that they
//! open. Beside the `.tstream` lie its private key (`.sauth`: keep it, and to yourself), the next piece's number
//! (`.restart`) and the ring of pieces. A broadcast that is there is taken up again, under the same key.
//!
//! The stream is paced by the clock (`sync=true`): pieces bear the time at which they were made, and viewers
//! know from that when to expect the next one, so that a file must not go out as fast as it can be read. Where
//! the source is live anyway, `sync=false` saves the latency of the pipeline.
//!
//! At EOS viewers are told that the broadcast is over, and the EOS message is posted when they have fetched the
//! last pieces, after `linger` at most. A stop without EOS does the same behind the application's back, as far
//! as its process lives on: `gst-launch-1.0` needs `-e` for it.
//!
//! One process has one engine a broadcast, so that a `swarmsrc` that watches it belongs into another process.

mod claim;
mod errors;
mod farewell;
mod held;
mod imp;
mod input;
mod on_air;
mod run;
mod settings;
mod specs;
mod stats;

use std::sync::LazyLock;

use gst::prelude::*;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swarmsink", gst::DebugColorFlags::empty(), Some("Source of a live broadcast"))
});

glib::wrapper! {
    /// The element `swarmsink`.
    pub struct SwarmSink(ObjectSubclass<imp::SwarmSink>)
        @extends gst_base::BaseSink, gst::Element, gst::Object;
}

pub(in crate::gst) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "swarmsink", gst::Rank::NONE, SwarmSink::static_type())
}
