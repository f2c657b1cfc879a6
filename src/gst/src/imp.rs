//! The element itself: GStreamer's calls, passed on to whoever knows the answer.
//!
//! No lock is held across anything that may wait: the settings are cloned, the playback is an `Arc`.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;

use super::load::{self, LoadError, Loaded};
use super::running::{self, Running};
use super::settings::{self, Settings};
use super::{queries, read};
use crate::net::session::ReadError;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swarmsrc", gst::DebugColorFlags::empty(), Some("Source element of a swarm"))
});

/// State of the element.
#[derive(Default)]
pub struct SwarmSrc {
    settings: Mutex<Settings>,
    /// What the settings point at, as long as they do not change.
    loaded: Mutex<Option<Arc<Loaded>>>,
    running: Mutex<Option<Arc<Running>>>,
}

/// The locked state is valid after every statement, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SwarmSrc {
    fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    fn running(&self) -> Option<Arc<Running>> {
        lock(&self.running).clone()
    }

    fn load_again(&self, settings: &Settings) -> Result<Arc<Loaded>, LoadError> {
        let loaded = Arc::new(load::load(settings)?);
        *lock(&self.loaded) = Some(loaded.clone());
        Ok(loaded)
    }

    /// The torrent, also before the start; `None` where there is none to play.
    fn loaded(&self) -> Option<Arc<Loaded>> {
        let known = lock(&self.loaded).clone();
        known.or_else(|| self.load_again(&self.settings()).ok())
    }

    fn change_settings<T>(&self, change: impl FnOnce(&mut Settings) -> T) -> T {
        let result = change(&mut lock(&self.settings));
        *lock(&self.loaded) = None;
        result
    }

    /// Tells a running engine what it can still be told.
    fn apply(&self, name: &str) {
        let Some(running) = self.running() else { return };
        let settings = self.settings();
        match name {
            "peers" => match settings.peers() {
                Ok(peers) => running.add_peers(peers),
                Err(e) => gst::warning!(CAT, imp = self, "{e}"),
            },
            "max-upload-rate" | "max-download-rate" => running.set_limits(settings.limits()),
            _ => {}
        }
    }

    fn started(&self) -> Result<Arc<Running>, gst::ErrorMessage> {
        let settings = self.settings();
        let loaded = self.load_again(&settings).map_err(|e| e.message())?;
        let options =
            settings.options().map_err(|e| gst::error_msg!(gst::ResourceError::Settings, ("{e}")))?;
        let info_hash = loaded.metainfo.info_hash;
        gst::info!(CAT, imp = self, "file {} of {info_hash}: {options:?}", loaded.file);
        Running::start(&self.obj(), &loaded, options, &settings).map(Arc::new)
    }

    /// A live source is one before it is started.
    fn set_up_live(&self) {
        // A film is none, and its torrent need not be read for that here.
        let live = self.settings().is_live && self.is_live();
        if live != self.obj().is_live() {
            self.obj().set_live(live);
            self.obj().set_format(if live { gst::Format::Time } else { gst::Format::Bytes });
        }
    }

    fn is_live(&self) -> bool {
        self.loaded().is_some_and(|loaded| loaded.is_live())
    }

    fn create_live(&self, running: &Running) -> Result<gst::Buffer, gst::FlowError> {
        self.push_tags(running);
        let piece = running.next_piece().map_err(|error| self.flow_error(&error, false))?;
        if let Some(qos) = running.dropped(&piece) {
            // Without a bus nobody wants to know.
            let _ = self.obj().post_message(qos.src(&*self.obj()).build());
        }
        let time =
            self.obj().is_live().then(|| running.time_of(piece.time, self.obj().current_running_time()));
        let mut buffer = read::live_buffer(piece);
        buffer.make_mut().set_pts(time.flatten());
        Ok(buffer)
    }

    /// How a read ends that gives nothing. What is wrong is told once: where bytes are pushed, the base class would
    /// tell an error again in its own words, and ends the stream in either case.
    fn flow_error(&self, error: &ReadError, pulled: bool) -> gst::FlowError {
        match error {
            ReadError::Flushing => gst::FlowError::Flushing,
            ReadError::End => gst::FlowError::Eos,
            error => {
                self.post_error_message(running::read_failed(error));
                if pulled { gst::FlowError::Error } else { gst::FlowError::Eos }
            }
        }
    }

    /// Pulled tags travel as a message only; where bytes are pushed the first are preceded by an event.
    fn push_tags(&self, running: &Running) {
        if let Some(tags) = running.take_tags() {
            self.obj().src_pad().push_event(gst::event::Tag::new(tags));
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for SwarmSrc {
    const NAME: &'static str = "GstSwarmSrc";
    type Type = super::SwarmSrc;
    type ParentType = gst_base::BaseSrc;
    type Interfaces = (gst::URIHandler,);
}

impl ObjectImpl for SwarmSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static SPECS: LazyLock<Vec<glib::ParamSpec>> =
            LazyLock::new(|| [settings::source_specs(), settings::shared_specs()].concat());
        &SPECS
    }

    fn set_property(&self, _: usize, value: &glib::Value, spec: &glib::ParamSpec) {
        self.change_settings(|settings| settings.set(spec.name(), value));
        self.apply(spec.name());
    }

    fn property(&self, _: usize, spec: &glib::ParamSpec) -> glib::Value {
        match spec.name() {
            "files" => self.loaded().map_or_else(gst::Array::default, |l| l.files()).to_value(),
            "stats" => self.running().map_or_else(running::idle_stats, |r| r.stats()).to_value(),
            name => lock(&self.settings).get(name).unwrap_or_else(|| spec.default_value().clone()),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_format(gst::Format::Bytes);
        self.obj().set_blocksize(read::BLOCK_SIZE);
    }
}

impl GstObjectImpl for SwarmSrc {}

impl ElementImpl for SwarmSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "BitTorrent swarm source",
                "Source/Network",
                "Plays a file of a torrent while its swarm delivers it, seeks in it, and gives it to other peers",
                crate::gst::AUTHOR,
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::new_any();
            gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &caps)
                .into_iter()
                .collect()
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        change: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        // Later it would be too late: a demuxer that pulls has us started before it is our turn.
        if change == gst::StateChange::NullToReady {
            self.set_up_live();
        }
        let success = self.parent_change_state(change)?;
        let playing = match change {
            gst::StateChange::PausedToPlaying => true,
            gst::StateChange::PlayingToPaused => false,
            _ => return Ok(success),
        };
        if let Some(running) = self.running() {
            running.set_playing(playing);
        }
        Ok(success)
    }
}

impl BaseSrcImpl for SwarmSrc {
    /// Runs in the application's thread: opens, and waits for nothing.
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let running = self.started()?;
        *lock(&self.running) = Some(running.clone());
        let tags = gst::message::Tag::builder(running.tags().clone()).src(&*self.obj()).build();
        // Without a bus nobody wants to know.
        let _ = self.obj().post_message(tags);
        self.obj().notify("files");
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let running = lock(&self.running).take();
        if let Some(running) = running {
            running.stop();
        }
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        !self.is_live()
    }

    fn size(&self) -> Option<u64> {
        if self.is_live() {
            return None;
        }
        self.running().map(|r| r.length()).or_else(|| self.loaded().map(|l| l.length()))
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        if let Some(running) = self.running() {
            running.set_flushing(true);
        }
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        if let Some(running) = self.running() {
            running.set_flushing(false);
        }
        Ok(())
    }

    /// Pushing starts over at a segment; pulling, at a flush (see `event`).
    fn do_seek(&self, segment: &mut gst::Segment) -> bool {
        if let Some(running) = self.running() {
            running.flushed();
        }
        self.parent_do_seek(segment)
    }

    fn event(&self, event: &gst::Event) -> bool {
        match (event.view(), self.running()) {
            (gst::EventView::Qos(qos), Some(running)) => {
                let (_, _, late, time) = qos.get();
                if let Some(time) = time {
                    running.clock(Duration::from_nanos(time.nseconds().saturating_add_signed(late)));
                }
            }
            (gst::EventView::FlushStop(_), Some(running)) => running.flushed(),
            _ => {}
        }
        self.parent_event(event)
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Scheduling(query) => {
                queries::scheduling(query, self.is_live());
                true
            }
            gst::QueryViewMut::Latency(query) if self.obj().is_live() => {
                // What is given was captured earlier than its time stamp says, by the buffer's length.
                query.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                true
            }
            // Anything else than no answer is taken for an immense length (tsdemux 1.22).
            gst::QueryViewMut::Duration(_) if self.is_live() => false,
            gst::QueryViewMut::Duration(query) if query.format() == gst::Format::Bytes => {
                self.size().is_some_and(|size| {
                    query.set(gst::format::Bytes::from_u64(size));
                    true
                })
            }
            gst::QueryViewMut::Buffering(query) => {
                self.running().is_some_and(|running| queries::buffering(query, &running.buffered()))
            }
            gst::QueryViewMut::Uri(query) => match self.loaded() {
                Some(loaded) => {
                    query.set_uri(Some(&queries::uri(&self.settings(), &loaded)));
                    true
                }
                None => false,
            },
            _ => BaseSrcImplExt::parent_query(self, query),
        }
    }

    fn create(
        &self,
        offset: u64,
        brought: Option<&mut gst::BufferRef>,
        length: u32,
    ) -> Result<CreateSuccess, gst::FlowError> {
        let running = self.running().ok_or(gst::FlowError::Flushing)?;
        if running.is_live() {
            return self.create_live(&running).map(CreateSuccess::NewBuffer);
        }
        let pulled = self.obj().src_pad().mode() == gst::PadMode::Pull;
        gst::trace!(CAT, imp = self, "{length} bytes at {offset}, pulled: {pulled}");
        if !pulled {
            self.push_tags(&running);
        }
        match (running.read(offset, length as usize, pulled), brought) {
            (Ok(slices), None) => Ok(CreateSuccess::NewBuffer(read::buffer(slices, offset, pulled))),
            (Ok(slices), Some(buffer)) => {
                read::fill(buffer, &slices, offset);
                Ok(CreateSuccess::FilledBuffer)
            }
            (Err(error), _) => Err(self.flow_error(&error, pulled)),
        }
    }
}

impl URIHandlerImpl for SwarmSrc {
    const URI_TYPE: gst::URIType = gst::URIType::Src;

    fn protocols() -> &'static [&'static str] {
        &[crate::gst::uri::SCHEME]
    }

    fn uri(&self) -> Option<String> {
        lock(&self.settings).uri()
    }

    fn set_uri(&self, uri: &str) -> Result<(), glib::Error> {
        if self.running().is_some() {
            let text = "the URI of a started element cannot change";
            return Err(glib::Error::new(gst::URIError::BadState, text));
        }
        self.change_settings(|settings| settings.set_uri(uri)).map_err(|e| e.to_glib())
    }
}
