//! The bin itself: collects a torrent file, then puts `swarmsrc ! typefind` inside and shows the result.
//!
//! The typefinder is there because a pad without caps is not plugged any further. One pad only, for the file
//! that was chosen: several would be taken for alternatives of one stream. Its template is `src` and not
//! `src_%u` because decodebin takes an element that may have several pads for a demuxer, and puts a queue behind
//! it through which nothing can be pulled: then tsdemux and oggdemux fail to seek.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::gst::src::load;
use crate::gst::src::settings::{self, Settings};
use crate::gst::typefind::{BITTORRENT, TSTREAM};
use crate::metainfo::torrent::MAX_METAINFO;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swarmdemux", gst::DebugColorFlags::empty(), Some("Player of torrent files"))
});

/// State of the element.
pub struct SwarmDemux {
    sink: gst::Pad,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    door: Mutex<Door>,
}

/// Whether elements may be put inside. Held while they are: a bin that stops must find all of them, and none may be
/// started again behind its back.
#[derive(Copy, Clone, Default, PartialEq, Eq)]
enum Door {
    #[default]
    Closed,
    Open,
}

#[derive(Default)]
struct State {
    /// What arrived of the torrent file.
    bytes: Vec<u8>,
    inside: Option<Inside>,
    ghost: Option<gst::GhostPad>,
}

#[derive(Clone)]
struct Inside {
    source: gst::Element,
    typefind: gst::Element,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SwarmDemux {
    fn chain(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let mut state = lock(&self.state);
        if state.bytes.len() + map.len() > MAX_METAINFO {
            drop(state);
            gst::element_imp_error!(
                self,
                gst::StreamError::WrongType,
                ("more than {MAX_METAINFO} bytes are no torrent file")
            );
            return Err(gst::FlowError::Error);
        }
        state.bytes.extend_from_slice(&map);
        Ok(gst::FlowSuccess::Ok)
    }

    /// Nothing of the torrent file's own stream goes downstream.
    fn sink_event(&self, event: &gst::Event) -> bool {
        gst::debug!(CAT, imp = self, "{event:?}");
        match event.view() {
            gst::EventView::FlushStop(_) => lock(&self.state).bytes.clear(),
            gst::EventView::Eos(_) => {
                if let Err(message) = self.open() {
                    self.post_error_message(message);
                }
            }
            _ => {}
        }
        true
    }

    /// The torrent file is complete: plays it.
    fn open(&self) -> Result<(), gst::ErrorMessage> {
        let mut settings = lock(&self.settings).clone();
        settings.metainfo = Some(glib::Bytes::from_owned(std::mem::take(&mut lock(&self.state).bytes)));
        // The source would find the same errors, but inside of a state change that fails for no said reason.
        load::load(&settings).map_err(|e| e.message())?;
        let inside = Inside { source: make("swarmsrc")?, typefind: make("typefind")? };
        inside.source.set_property("metainfo", &settings.metainfo);
        for spec in settings::shared_specs() {
            if let Some(value) = settings.get(spec.name()) {
                inside.source.set_property_from_value(spec.name(), &value);
            }
        }
        self.put_inside(&inside)?;
        self.obj().notify("files");
        Ok(())
    }

    fn put_inside(&self, inside: &Inside) -> Result<(), gst::ErrorMessage> {
        let failed =
            |what: &str| gst::error_msg!(gst::CoreError::Failed, ("cannot {what} inside swarmdemux"));
        let door = lock(&self.door);
        if *door == Door::Closed {
            return Ok(());
        }
        let obj = self.obj();
        obj.add_many([&inside.source, &inside.typefind]).map_err(|_| failed("add elements"))?;
        lock(&self.state).inside = Some(inside.clone());
        inside.source.link(&inside.typefind).map_err(|_| failed("link elements"))?;
        let weak = obj.downgrade();
        inside.typefind.connect("have-type", false, move |values| {
            let (obj, caps) = (weak.upgrade()?, values.get(2)?.get::<gst::Caps>().ok()?);
            obj.imp().expose(&caps);
            None
        });
        // A source that does not start says itself why.
        for element in [&inside.typefind, &inside.source] {
            if element.sync_state_with_parent().is_err() {
                gst::warning!(CAT, imp = self, "{} does not start", element.name());
            }
        }
        Ok(())
    }

    /// The type is known: shows the pad.
    fn expose(&self, caps: &gst::Caps) {
        gst::info!(CAT, imp = self, "the file is {caps}");
        let obj = self.obj();
        let inside = lock(&self.state).inside.clone();
        let target = inside.and_then(|i| i.typefind.static_pad("src"));
        let (Some(target), Some(template)) = (target, obj.pad_template("src")) else { return };
        let ghost = gst::GhostPad::builder_from_template_with_target(&template, &target);
        let Ok(ghost) = ghost.map(|builder| builder.build()) else { return };
        let _ = ghost.set_active(true);
        lock(&self.state).ghost = Some(ghost.clone());
        if obj.add_pad(&ghost).is_ok() {
            obj.no_more_pads();
        }
    }

    /// Back to an element that has seen nothing.
    fn clear(&self) {
        let State { inside, ghost, .. } = std::mem::take(&mut *lock(&self.state));
        let obj = self.obj();
        for element in inside.iter().flat_map(|i| [&i.source, &i.typefind]) {
            let _ = element.set_state(gst::State::Null);
        }
        if let Some(ghost) = ghost {
            let _ = obj.remove_pad(&ghost);
        }
        for element in inside.iter().flat_map(|i| [&i.source, &i.typefind]) {
            let _ = obj.remove(element);
        }
    }

    fn source(&self) -> Option<gst::Element> {
        lock(&self.state).inside.as_ref().map(|i| i.source.clone())
    }
}

fn make(factory: &str) -> Result<gst::Element, gst::ErrorMessage> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|_| gst::error_msg!(gst::CoreError::MissingPlugin, ("the element {factory} is missing")))
}

#[glib::object_subclass]
impl ObjectSubclass for SwarmDemux {
    const NAME: &'static str = "GstSwarmDemux";
    type Type = super::SwarmDemux;
    type ParentType = gst::Bin;

    fn with_class(class: &Self::Class) -> Self {
        let template = class.pad_template("sink").expect("the class made it in pad_templates()");
        let sink = gst::Pad::builder_from_template(&template)
            .chain_function(|_, parent, buffer| {
                Self::catch_panic_pad_function(parent, || Err(gst::FlowError::Error), |d| d.chain(&buffer))
            })
            .event_function(|_, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |d| d.sink_event(&event))
            })
            .build();
        Self { sink, settings: Mutex::default(), state: Mutex::default(), door: Mutex::default() }
    }
}

impl ObjectImpl for SwarmDemux {
    fn properties() -> &'static [glib::ParamSpec] {
        static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(settings::shared_specs);
        &SPECS
    }

    fn set_property(&self, _: usize, value: &glib::Value, spec: &glib::ParamSpec) {
        lock(&self.settings).set(spec.name(), value);
        if let Some(source) = self.source() {
            source.set_property_from_value(spec.name(), value);
        }
    }

    fn property(&self, _: usize, spec: &glib::ParamSpec) -> glib::Value {
        let own = lock(&self.settings).get(spec.name());
        own.or_else(|| Some(self.source()?.property_value(spec.name()))).unwrap_or_else(|| {
            match spec.name() {
                "files" => gst::Array::default().to_value(),
                _ => crate::gst::src::idle_stats().to_value(),
            }
        })
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        // Inside is a source, but to the pipeline it is none: it must not be sent what sources are sent.
        obj.set_suppressed_flags(gst::ElementFlags::SOURCE | gst::ElementFlags::SINK);
        obj.add_pad(&self.sink).expect("a new bin has no other pad");
    }
}

impl GstObjectImpl for SwarmDemux {}

impl ElementImpl for SwarmDemux {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Torrent file player",
                "Codec/Demuxer",
                "Takes a torrent file and plays a file of that torrent while its swarm delivers it",
                crate::gst::AUTHOR,
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let torrents = gst::Caps::builder_full()
                .structure(gst::Structure::new_empty(BITTORRENT))
                .structure(gst::Structure::new_empty(TSTREAM))
                .build();
            let any = gst::Caps::new_any();
            [
                gst::PadTemplate::new("sink", gst::PadDirection::Sink, gst::PadPresence::Always, &torrents),
                gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Sometimes, &any),
            ]
            .into_iter()
            .flatten()
            .collect()
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        change: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match change {
            gst::StateChange::ReadyToPaused => *lock(&self.door) = Door::Open,
            gst::StateChange::PausedToReady => *lock(&self.door) = Door::Closed,
            _ => {}
        }
        let success = self.parent_change_state(change)?;
        if change == gst::StateChange::PausedToReady {
            self.clear();
        }
        Ok(success)
    }
}

impl BinImpl for SwarmDemux {}
