//! The element itself: GStreamer's calls, passed on to whoever knows the answer.
//!
//! No lock is held across anything that may wait: the settings are cloned, the run is an `Arc`.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::subclass::prelude::*;

use super::CAT;
use super::input::{self, Input, Item};
use super::run::Run;
use super::settings::Settings;
use super::{specs, stats};

/// State of the element.
#[derive(Default)]
pub struct SwarmSink {
    settings: Mutex<Settings>,
    input: Mutex<Input>,
    run: Mutex<Option<Arc<Run>>>,
}

/// The locked state is valid after every statement, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SwarmSink {
    fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    fn run(&self) -> Option<Arc<Run>> {
        lock(&self.run).clone()
    }

    /// Whether it can go on; if not, that is told.
    fn check(&self, run: &Run) -> Result<(), gst::FlowError> {
        if let Some(text) = run.warning() {
            gst::element_imp_warning!(self, gst::StreamError::TypeNotFound, ("{text}"));
        }
        let Some(trouble) = run.trouble() else { return Ok(()) };
        self.post_error_message(trouble);
        Err(gst::FlowError::Error)
    }

    /// A broadcast that never was is no success.
    fn warn_if_too_short(&self, run: &Run) {
        if let Some(text) = run.too_short() {
            gst::element_imp_warning!(self, gst::StreamError::Failed, ("{text}"));
        }
    }

    fn give(&self, run: &Run, items: Vec<Item>) -> Result<gst::FlowSuccess, gst::FlowError> {
        items.into_iter().try_for_each(|item| run.give(item))?;
        Ok(gst::FlowSuccess::Ok)
    }
}

#[glib::object_subclass]
impl ObjectSubclass for SwarmSink {
    const NAME: &'static str = "GstSwarmSink";
    type Type = super::SwarmSink;
    type ParentType = gst_base::BaseSink;
}

impl ObjectImpl for SwarmSink {
    fn properties() -> &'static [glib::ParamSpec] {
        static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(specs::specs);
        &SPECS
    }

    fn set_property(&self, _: usize, value: &glib::Value, spec: &glib::ParamSpec) {
        lock(&self.settings).set(spec.name(), value);
        if let ("max-upload-rate", Some(run)) = (spec.name(), self.run()) {
            run.set_limit(self.settings().max_upload_rate());
        }
    }

    fn property(&self, _: usize, spec: &glib::ParamSpec) -> glib::Value {
        match spec.name() {
            "stats" => self.run().map_or_else(stats::idle, |run| run.stats()).to_value(),
            name => lock(&self.settings).get(name).unwrap_or_else(|| spec.default_value().clone()),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        // A stream of bytes has no sample to show, and upstream may want its buffers back.
        self.obj().set_property("enable-last-sample", false);
    }
}

impl GstObjectImpl for SwarmSink {}

impl ElementImpl for SwarmSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Live swarm broadcaster",
                "Sink/Network",
                "Broadcasts a live stream to viewers that pass it on to each other: cuts it into signed pieces, and \
                 serves those, a tracker and the .tstream on one port",
                crate::gst::AUTHOR,
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::new_any();
            gst::PadTemplate::new("sink", gst::PadDirection::Sink, gst::PadPresence::Always, &caps)
                .into_iter()
                .collect()
        });
        &TEMPLATES
    }
}

impl BaseSinkImpl for SwarmSink {
    /// Runs in the application's thread: reads and writes some small files, and waits for nobody.
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let plan = self.settings().plan().map_err(|error| error.message())?;
        gst::info!(CAT, imp = self, "{} in {}, port {}", plan.name, plan.folder.display(), plan.port);
        *lock(&self.input) = Input::default();
        *lock(&self.run) = Some(Run::start(&self.obj(), plan)?);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let run = lock(&self.run).take();
        if let Some(run) = run {
            run.stop(self.settings().linger());
        }
        Ok(())
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        if let Some(run) = self.run() {
            run.set_flushing(true);
        }
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        if let Some(run) = self.run() {
            run.set_flushing(false);
        }
        Ok(())
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        gst::debug!(CAT, imp = self, "{caps}");
        let (Some(run), Some(structure)) = (self.run(), caps.structure(0)) else { return Ok(()) };
        let items = lock(&self.input).on_caps(structure.name(), input::stream_headers(caps));
        // What cannot be taken any more is told with the next buffer.
        let _ = self.give(&run, items);
        Ok(())
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let run = self.run().ok_or(gst::FlowError::Flushing)?;
        self.check(&run)?;
        let items = lock(&self.input).on_buffer(buffer);
        self.give(&run, items)
    }

    /// At the end of the stream the last pieces have to reach viewers before the application hears of it.
    fn event(&self, event: gst::Event) -> bool {
        if let (gst::EventView::Eos(_), Some(run)) = (event.view(), self.run()) {
            self.warn_if_too_short(&run);
            run.end(self.settings().linger());
            // It was told; the event goes its way.
            let _ = self.check(&run);
        }
        self.parent_event(event)
    }
}
