//! Decodes what somebody was given, as a player does that reads a pipe, and counts what comes out.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;

/// Decoding a few seconds takes less than one.
const DECODED_WITHIN: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// What came out of the decoders.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Pictures.
    pub pictures: u64,
    /// Buffers of sound.
    pub sounds: u64,
    /// Of both, those whose decoder says that they are damaged.
    pub damaged: u64,
}

/// Decodes a file from its beginning to its end, without seeking in it.
///
/// # Panics
/// At any error.
pub fn decode(path: &Path) -> Decoded {
    gst::init().expect("GStreamer can be initialised");
    let line = format!("filesrc location={} ! queue ! decodebin name=decoder", path.display());
    let pipeline = gst::parse::launch(&line).expect("the pipeline can be made");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("several elements make a pipeline");
    let counts: [Arc<AtomicU64>; 3] = Default::default();
    let decoder = pipeline.by_name("decoder").expect("it was named");
    let (weak, theirs) = (pipeline.downgrade(), counts.clone());
    decoder.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let kind = usize::from(!caps.structure(0).is_some_and(|s| s.name().starts_with("video/")));
        let (count, damaged) = (Arc::clone(&theirs[kind]), Arc::clone(&theirs[2]));
        let sink = gst::ElementFactory::make("fakesink").property("sync", false).build().expect("it exists");
        pipeline.add(&sink).expect("it is in no other pipeline");
        let entry = sink.static_pad("sink").expect("a sink has one");
        entry.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            count.fetch_add(1, Ordering::SeqCst);
            let flags = info.buffer().map_or(gst::BufferFlags::empty(), |buffer| buffer.flags());
            damaged.fetch_add(u64::from(flags.contains(gst::BufferFlags::CORRUPTED)), Ordering::SeqCst);
            gst::PadProbeReturn::Ok
        });
        pad.link(&entry).expect("a fakesink takes everything");
        sink.sync_state_with_parent().expect("it can follow");
    });
    let bus = pipeline.bus().expect("a pipeline has a bus");
    pipeline.set_state(gst::State::Playing).expect("it can play");
    let last = bus.timed_pop_filtered(DECODED_WITHIN, &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).expect("it can always be stopped");
    if let gst::MessageView::Error(error) = last.expect("it ends in time").view() {
        panic!("{}: {} ({:?})", path.display(), error.error(), error.debug());
    }
    let [pictures, sounds, damaged] = counts.map(|count| count.load(Ordering::SeqCst));
    Decoded { pictures, sounds, damaged }
}
