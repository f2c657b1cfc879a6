//! Where a broadcast's stream comes from: standard input or a pipe as it is, or anything that GStreamer can open,
//! in the time that its time stamps give it.
//!
//! What GStreamer opens is taken out of its container and muxed as MPEG-TS, without being encoded again.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use gst::prelude::*;

use super::progress::{harmless, warn};
use super::sink;

/// Most bytes of one read.
const READ_MOST: usize = 64 * 1024;
/// Reads that may wait to be taken.
const WAITING: usize = 64;
/// How often to see whether the pipeline has failed.
const LOOK: Duration = Duration::from_millis(200);

/// An open source.
pub(super) struct Input {
    chunks: Receiver<Chunk>,
    pipeline: Option<gst::Pipeline>,
}

/// What it gives.
enum Chunk {
    Bytes(Bytes),
    End,
    Failed(io::Error),
}

impl Input {
    /// Opens `-`, a named pipe or device, a file, or a URL.
    ///
    /// # Errors
    /// When there is no such thing.
    pub(super) fn open(source: &str) -> anyhow::Result<Self> {
        if source == "-" {
            return Self::of_stream(sink::stdin()?);
        }
        if source.contains("://") {
            return Self::of_uri(source);
        }
        let shown = harmless(source);
        let path = Path::new(source);
        let metadata = path.metadata().with_context(|| format!("cannot read the source {shown}"))?;
        let kind = metadata.file_type();
        if kind.is_fifo() || kind.is_char_device() {
            return Self::of_stream(File::open(path).with_context(|| format!("cannot read {shown}"))?);
        }
        let whole = path.canonicalize().with_context(|| format!("cannot read the source {shown}"))?;
        let uri = glib::filename_to_uri(whole, None).with_context(|| format!("{shown} has no URI"))?;
        Self::of_uri(&uri)
    }

    /// Waits for some of the stream; `None` at its end.
    ///
    /// # Errors
    /// When it cannot be read any more.
    pub(super) fn next(&self) -> anyhow::Result<Option<Bytes>> {
        loop {
            match self.chunks.recv_timeout(LOOK) {
                Ok(Chunk::Bytes(bytes)) => return Ok(Some(bytes)),
                Ok(Chunk::End) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Ok(Chunk::Failed(error)) => return Err(error).context("cannot read the source"),
                Err(RecvTimeoutError::Timeout) => self.check()?,
            }
        }
    }

    fn of_stream(input: File) -> anyhow::Result<Self> {
        let (give, chunks) = mpsc::sync_channel(WAITING);
        let thread = thread::Builder::new().name("swarm-input".to_owned());
        thread.spawn(move || read_all(input, &give)).context("cannot start a thread: too many processes?")?;
        Ok(Self { chunks, pipeline: None })
    }

    fn of_uri(uri: &str) -> anyhow::Result<Self> {
        gst::init().context("GStreamer cannot be used")?;
        let (give, chunks) = mpsc::sync_channel(WAITING);
        let pipeline = remuxing(uri, give)?;
        let input = Self { chunks, pipeline: Some(pipeline.clone()) };
        if pipeline.set_state(gst::State::Playing).is_err() {
            input.check()?;
            bail!("GStreamer cannot open {}", harmless(uri));
        }
        Ok(input)
    }

    /// Whether the pipeline has failed.
    fn check(&self) -> anyhow::Result<()> {
        let bus = self.pipeline.as_ref().and_then(gst::prelude::ElementExt::bus);
        let failed = bus.and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        match failed.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => Err(anyhow!(
                "GStreamer cannot go on with the source: {}",
                harmless(&error.error().to_string())
            )),
            _ => Ok(()),
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(pipeline) = &self.pipeline {
            // Whoever waits to give something sees that nobody takes it any more.
            self.chunks.try_iter().for_each(drop);
            let _ = pipeline.set_state(gst::State::Null);
        }
    }
}

fn read_all(mut input: File, give: &SyncSender<Chunk>) {
    loop {
        let mut buffer = vec![0; READ_MOST];
        let chunk = match input.read(&mut buffer) {
            Ok(0) => Chunk::End,
            Ok(length) => {
                buffer.truncate(length);
                Chunk::Bytes(buffer.into())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Chunk::Failed(error),
        };
        let last = !matches!(chunk, Chunk::Bytes(_));
        // Nobody takes it when the command ends.
        if give.send(chunk).is_err() || last {
            return;
        }
    }
}

/// Source, parsers, muxer, and a sink that gives what comes when it is due.
fn remuxing(uri: &str, give: SyncSender<Chunk>) -> anyhow::Result<gst::Pipeline> {
    let make = |name: &str| {
        let element = gst::ElementFactory::make(name).build();
        element.with_context(|| format!("GStreamer's element {name} is missing: install its plugins"))
    };
    let pipeline = gst::Pipeline::new();
    let (source, parse, mux, out) =
        (make("urisourcebin")?, make("parsebin")?, make("mpegtsmux")?, make("fakesink")?);
    source.set_property("uri", uri);
    out.set_property("sync", true);
    out.set_property("signal-handoffs", true);
    pipeline.add_many([&source, &parse, &mux, &out]).context("GStreamer refuses the pipeline")?;
    mux.link(&out).context("GStreamer refuses the pipeline")?;
    let sink = parse.static_pad("sink").context("parsebin has no sink pad")?;
    source.connect_pad_added(move |_, pad| {
        if !sink.is_linked() {
            // A source of several streams is read as far as its first one.
            let _ = pad.link(&sink);
        }
    });
    let (weak, muxer) = (pipeline.downgrade(), mux);
    parse.connect_pad_added(move |_, pad| {
        if let Some(pipeline) = weak.upgrade() {
            take_stream(&pipeline, &muxer, pad);
        }
    });
    let end = give.clone();
    let sink = out.static_pad("sink").context("fakesink has no pad")?;
    sink.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if info.event().is_some_and(|event| event.type_() == gst::EventType::Eos) {
            let _ = end.send(Chunk::End);
        }
        gst::PadProbeReturn::Ok
    });
    out.connect("handoff", false, move |values| {
        let buffer = values.get(1).and_then(|value| value.get::<gst::Buffer>().ok())?;
        let map = buffer.map_readable().ok()?;
        // Nobody takes it when the command ends.
        let _ = give.send(Chunk::Bytes(Bytes::copy_from_slice(&map)));
        None
    });
    Ok(pipeline)
}

/// A stream of the source goes into the muxer, if that takes it.
fn take_stream(pipeline: &gst::Pipeline, mux: &gst::Element, pad: &gst::Pad) {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let linked = || {
        let queue = gst::ElementFactory::make("queue").build().ok()?;
        let parser = parser(&caps).ok()?;
        pipeline.add_many([&queue, &parser]).ok()?;
        queue.link(&parser).ok()?;
        parser.link(mux).ok()?;
        parser.sync_state_with_parent().ok()?;
        queue.sync_state_with_parent().ok()?;
        pad.link(&queue.static_pad("sink")?).ok()
    };
    if linked().is_none() {
        warn(&format!(
            "a stream of the source is left out, MPEG-TS does not take it: {}",
            harmless(&caps.to_string())
        ));
    }
}

/// What brings a stream into the form that MPEG-TS wants. Who joins late needs the decoder's parameters with each key
/// frame.
fn parser(caps: &gst::CapsRef) -> Result<gst::Element, glib::BoolError> {
    let name = caps.structure(0).map_or("", |structure| structure.name().as_str());
    match name {
        "video/x-h264" => gst::ElementFactory::make("h264parse").property("config-interval", -1).build(),
        "video/x-h265" => gst::ElementFactory::make("h265parse").property("config-interval", -1).build(),
        "audio/mpeg" if caps.structure(0).is_some_and(|s| s.get("mpegversion") == Ok(4)) => {
            gst::ElementFactory::make("aacparse").build()
        }
        _ => gst::ElementFactory::make("identity").build(),
    }
}
