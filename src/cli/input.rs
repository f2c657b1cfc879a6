//! Where a broadcast's stream comes from: standard input or a pipe as it is, or anything that GStreamer can open,
//! in the time that its time stamps give it.
//!
//! What GStreamer opens is taken out of its container and muxed as MPEG-TS, without being encoded again.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
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

/// Why a source cannot be used of which nothing goes into MPEG-TS.
const NOTHING_FITS: &str =
    "it holds no stream that MPEG-TS takes: let ffmpeg encode it, as in the README, and pipe it in";

/// An open source.
pub(super) struct Input {
    /// What the user calls it, fit for print.
    name: String,
    chunks: Receiver<Chunk>,
    /// The end has come.
    ended: Cell<bool>,
    /// Something that GStreamer opens.
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
        let name = match source {
            "-" => "standard input".to_owned(),
            named => harmless(named),
        };
        if source == "-" {
            ensure!(
                !io::stdin().is_terminal(),
                "standard input is a terminal: pipe a stream in, or say --source"
            );
            return Self::of_stream(name, sink::stdin()?);
        }
        if source.contains("://") {
            return Self::of_uri(name, source);
        }
        let path = Path::new(source);
        let unreadable = || format!("cannot read the source {name}");
        let kind = path.metadata().with_context(unreadable)?.file_type();
        if kind.is_fifo() || kind.is_char_device() {
            let file = File::open(path).with_context(unreadable)?;
            return Self::of_stream(name, file);
        }
        let whole = path.canonicalize().with_context(unreadable)?;
        let uri = glib::filename_to_uri(whole, None).with_context(|| format!("{name} has no URI"))?;
        Self::of_uri(name, &uri)
    }

    /// Whether it goes out in its own time, as what GStreamer opens does.
    pub(super) const fn is_timed(&self) -> bool {
        self.pipeline.is_some()
    }

    /// Waits for the beginning of the stream.
    ///
    /// # Errors
    /// When it cannot be read, or there is nothing in it.
    pub(super) fn first(&self) -> anyhow::Result<Bytes> {
        let name = &self.name;
        self.next()?.with_context(|| format!("the source {name} holds nothing that could be broadcast"))
    }

    /// Waits for some of the stream; `None` at its end.
    ///
    /// # Errors
    /// When it cannot be read any more.
    pub(super) fn next(&self) -> anyhow::Result<Option<Bytes>> {
        while !self.ended.get() {
            match self.chunks.recv_timeout(LOOK) {
                Ok(Chunk::Bytes(bytes)) => return Ok(Some(bytes)),
                Ok(Chunk::End) | Err(RecvTimeoutError::Disconnected) => self.ended.set(true),
                Ok(Chunk::Failed(error)) => {
                    return Err(error).with_context(|| format!("cannot read the source {}", self.name));
                }
                Err(RecvTimeoutError::Timeout) => self.check()?,
            }
        }
        Ok(None)
    }

    fn of_stream(name: String, input: File) -> anyhow::Result<Self> {
        let (give, chunks) = mpsc::sync_channel(WAITING);
        let thread = thread::Builder::new().name("swarm-input".to_owned());
        thread.spawn(move || read_all(input, &give)).context("cannot start a thread: too many processes?")?;
        Ok(Self { name, chunks, ended: Cell::new(false), pipeline: None })
    }

    fn of_uri(name: String, uri: &str) -> anyhow::Result<Self> {
        gst::init().context("GStreamer cannot be used")?;
        let (give, chunks) = mpsc::sync_channel(WAITING);
        let pipeline = remuxing(uri, give)?;
        let started = pipeline.set_state(gst::State::Playing);
        let input = Self { name, chunks, ended: Cell::new(false), pipeline: Some(pipeline) };
        if started.is_err() {
            input.check()?;
            bail!("GStreamer cannot open the source {}", input.name);
        }
        Ok(input)
    }

    /// Whether the pipeline has failed.
    fn check(&self) -> anyhow::Result<()> {
        self.pipeline.as_ref().and_then(failure).map_or(Ok(()), |why| {
            bail!("GStreamer cannot read the source {}: {why}", self.name);
        })
    }
}

/// Why a pipeline cannot go on, if so: fit for print.
fn failure(pipeline: &gst::Pipeline) -> Option<String> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    let gst::MessageView::Error(error) = message.view() else { return None };
    let what = error.error().to_string();
    // What it says is often general; what it knows is at the end of what it says to programmers.
    let more = error.debug().and_then(|debug| debug.lines().nth(1).map(|line| format!(" ({line})")));
    Some(harmless(&format!("{what}{}; does gst-play-1.0 play it?", more.unwrap_or_default())))
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
    let (weak, muxer, taken) = (pipeline.downgrade(), mux, Arc::new(AtomicBool::new(false)));
    let any = Arc::clone(&taken);
    parse.connect_pad_added(move |_, pad| {
        if let Some(pipeline) = weak.upgrade() {
            any.fetch_or(take_stream(&pipeline, &muxer, pad), Ordering::Relaxed);
        }
    });
    let nothing = give.clone();
    parse.connect("drained", false, move |_| {
        if !taken.load(Ordering::Relaxed) {
            let _ = nothing.send(Chunk::Failed(io::Error::new(io::ErrorKind::InvalidData, NOTHING_FITS)));
        }
        None
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

/// A stream of the source goes into the muxer; whether that takes it.
fn take_stream(pipeline: &gst::Pipeline, mux: &gst::Element, pad: &gst::Pad) -> bool {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let linked = || {
        // The muxer would wait for ever at a pad that was asked for in vain.
        mux.pad_template("sink_%d").filter(|pads| pads.caps().can_intersect(&caps))?;
        let queue = gst::ElementFactory::make("queue").build().ok()?;
        let parser = parser(&caps).ok()?;
        pipeline.add_many([&queue, &parser]).ok()?;
        queue.link(&parser).ok()?;
        parser.link(mux).ok()?;
        parser.sync_state_with_parent().ok()?;
        queue.sync_state_with_parent().ok()?;
        pad.link(&queue.static_pad("sink")?).ok()
    };
    if linked().is_some() {
        return true;
    }
    let kind = caps.structure(0).map_or("of an unknown kind", |structure| structure.name().as_str());
    warn(&format!("a stream of the source is left out, MPEG-TS does not take it: {}", harmless(kind)));
    // One that goes nowhere would hold up the others.
    let thrown_away = || {
        let sink = gst::ElementFactory::make("fakesink").property("async", false).build().ok()?;
        pipeline.add(&sink).ok()?;
        sink.sync_state_with_parent().ok()?;
        pad.link(&sink.static_pad("sink")?).ok()
    };
    if thrown_away().is_none() {
        tracing::debug!("it cannot be thrown away either");
    }
    false
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
