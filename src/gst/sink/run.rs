//! One broadcast, from the element's start to its stop: the stream is held back until there is a station.
//!
//! Nothing here waits for the network but [`Run::end`], and [`Run::set_flushing`] ends that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::claim::Claim;
use super::farewell::LOOK_EVERY;
use super::held::{Held, Measured};
use super::input::Item;
use super::on_air::{self, OnAir};
use super::{CAT, SwarmSink, errors, stats};
use crate::gst::messages;
use crate::net::berth::Berth;
use crate::net::broadcast::BroadcastStats;
use crate::net::station::{Plan, StationError};
use crate::swarm::event::Stats;

/// The stream ended before anything of it came.
const NOTHING: &str = "the stream ended before there was anything in it: nothing was broadcast";
/// The stream ended early.
const TOO_SHORT: &str = "the stream ended while its bitrate was still being measured, so that nobody could watch it: \
    set bitrate to be on air from the beginning";

/// A started element.
pub(super) struct Run {
    claim: Arc<Claim>,
    state: Mutex<State>,
    changed: Condvar,
    /// Most bytes/s to viewers; 0 = no limit.
    limit: AtomicU64,
}

struct State {
    stage: Stage,
    flushing: bool,
    /// It cannot go on, and that was told on the bus.
    failed: bool,
    /// It was too short, and that was told.
    too_short: bool,
}

/// Where the stream goes.
enum Stage {
    /// Nowhere yet: its bitrate is measured.
    Measuring(Held),
    /// Nowhere yet: the station is being opened.
    Opening(Held),
    /// To viewers.
    OnAir(Arc<OnAir>),
    /// Nowhere.
    Stopped,
}

impl Run {
    /// Goes on air, or where the bitrate is not known, begins to measure it.
    pub(super) fn start(element: &SwarmSink, plan: Plan) -> Result<Arc<Self>, gst::ErrorMessage> {
        let claim = Claim::take(&plan.folder, &plan.name).ok_or_else(|| errors::taken(&plan.name))?;
        let claim = Arc::new(claim);
        let berth = on_air::berth(&plan).map_err(|error| errors::station(&error))?;
        let known = plan.bitrate > 0 || plan.takes_up();
        let (stage, later) = if known && plan.aux_seeds.is_resolved() {
            let on_air = OnAir::open(&plan, berth, Arc::clone(&claim));
            (Stage::OnAir(Arc::new(on_air.map_err(|error| errors::station(&error))?)), None)
        } else if known {
            (Stage::Opening(Held::default()), Some(berth))
        } else {
            (Stage::Measuring(Held::default()), Some(berth))
        };
        let run = Arc::new(Self {
            claim,
            state: Mutex::new(State { stage, flushing: false, failed: false, too_short: false }),
            changed: Condvar::new(),
            limit: AtomicU64::new(plan.max_upload_rate),
        });
        run.announce(element);
        if let Some(berth) = later {
            let (opener, element) = (Arc::clone(&run), element.downgrade());
            let thread = thread::Builder::new().name("swarm-open".to_owned());
            let spawned = thread.spawn(move || opener.open_when_ready(plan, berth, known, &element));
            spawned.map_err(|error| errors::no_thread(&error))?;
        }
        Ok(run)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's work: waits until the bitrate and all addresses are known, then goes on air.
    fn open_when_ready(&self, mut plan: Plan, berth: Berth, known: bool, element: &glib::WeakRef<SwarmSink>) {
        if !known {
            let Some(bitrate) = self.measured() else { return };
            gst::info!(CAT, "the stream has {bitrate} bytes/s");
            plan.bitrate = bitrate;
        }
        let resolved = on_air::resolve(&mut plan);
        let opened = resolved.and_then(|()| OnAir::open(&plan, berth, Arc::clone(&self.claim)));
        let opened = self.opened(opened);
        let Some(element) = element.upgrade() else { return };
        match opened {
            Ok(()) => self.announce(&element),
            Err(error) => element.post_error_message(errors::station(&error)),
        }
    }

    /// Tells users where the broadcast is on air, if it is.
    fn announce(&self, element: &SwarmSink) {
        let words = match &self.state().stage {
            Stage::OnAir(on_air) => on_air.words().to_owned(),
            _ => return,
        };
        gst::info!(CAT, obj = element, "{words}");
        let message = messages::info(element.upcast_ref(), gst::ResourceError::OpenWrite, &words);
        // Without a bus nobody wants to know.
        let _ = element.post_message(message);
    }

    /// Waits for the bitrate. `None`: the element was stopped.
    fn measured(&self) -> Option<u64> {
        let mut state = self.state();
        loop {
            let Stage::Measuring(held) = &mut state.stage else { return None };
            state = match held.measure(Instant::now()) {
                Measured::Rate(rate) => {
                    state.stage = Stage::Opening(std::mem::take(held));
                    return Some(rate);
                }
                Measured::NotBefore(time) => {
                    self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
                }
                Measured::Nothing => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// The station is open: it gets what was held back.
    fn opened(&self, opened: Result<OnAir, StationError>) -> Result<(), StationError> {
        let mut state = self.state();
        let Stage::Opening(held) = std::mem::replace(&mut state.stage, Stage::Stopped) else {
            // It was stopped meanwhile, and nobody wants to know why it would have failed.
            drop(state);
            opened.into_iter().for_each(|on_air| Arc::new(on_air).leave(Duration::ZERO));
            return Ok(());
        };
        let on_air = match opened {
            Ok(on_air) => Arc::new(on_air),
            Err(error) => {
                state.failed = true;
                drop(state);
                self.changed.notify_all();
                return Err(error);
            }
        };
        let ended = held.has_ended();
        held.into_items().into_iter().for_each(|(came, item)| on_air.give(came, item));
        on_air.set_limit(self.limit.load(Ordering::Relaxed));
        state.stage = Stage::OnAir(Arc::clone(&on_air));
        drop(state);
        if ended {
            on_air.end();
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Takes something of the stream. Never waits for the network.
    pub(super) fn give(&self, item: Item) -> Result<(), gst::FlowError> {
        let mut state = self.state();
        if state.failed {
            return Err(gst::FlowError::Error);
        }
        match &mut state.stage {
            Stage::Stopped => return Err(gst::FlowError::Flushing),
            Stage::OnAir(on_air) if on_air.has_ended() => return Err(gst::FlowError::Eos),
            Stage::OnAir(on_air) => on_air.give(Instant::now(), item),
            Stage::Opening(held) => _ = held.take(Instant::now(), item),
            Stage::Measuring(held) => {
                if held.take(Instant::now(), item) {
                    self.changed.notify_all();
                }
            }
        }
        Ok(())
    }

    /// Why it cannot go on, if so; told once.
    pub(super) fn trouble(&self) -> Option<gst::ErrorMessage> {
        let mut state = self.state();
        let Stage::OnAir(on_air) = &state.stage else { return None };
        let trouble = on_air.trouble().filter(|_| !state.failed)?;
        state.failed = true;
        Some(trouble)
    }

    /// What is not as it should be, although it goes on; told once.
    pub(super) fn warning(&self) -> Option<&'static str> {
        match &self.state().stage {
            Stage::OnAir(on_air) => on_air.warning(),
            _ => None,
        }
    }

    /// What is wrong with a stream that is over now: it was too short to be watched. Told once.
    pub(super) fn too_short(&self) -> Option<&'static str> {
        let mut state = self.state();
        let text = match &state.stage {
            Stage::Measuring(held) if held.is_empty() => NOTHING,
            Stage::Measuring(_) => TOO_SHORT,
            _ => return None,
        };
        (!std::mem::replace(&mut state.too_short, true)).then_some(text)
    }

    /// The stream is over: waits until viewers have its last pieces.
    pub(super) fn end(&self, linger: Duration) {
        let Some(on_air) = self.on_air_at_last() else { return };
        on_air.end();
        let mut farewell = on_air.farewell(linger);
        let mut state = self.state();
        while !state.flushing && on_air.is_wanted(&mut farewell) {
            state = self.changed.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the station is open, with what there is of the stream.
    fn on_air_at_last(&self) -> Option<Arc<OnAir>> {
        let mut state = self.state();
        loop {
            match &mut state.stage {
                Stage::OnAir(on_air) => return Some(Arc::clone(on_air)),
                Stage::Measuring(held) | Stage::Opening(held) => held.end(),
                Stage::Stopped => return None,
            }
            self.changed.notify_all();
            if state.flushing || matches!(&state.stage, Stage::Measuring(held) if held.is_empty()) {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends a waiting [`end`](Self::end), or allows it to wait again.
    pub(super) fn set_flushing(&self, flushing: bool) {
        let mut state = self.state();
        state.flushing = flushing;
        if let (Stage::OnAir(on_air), true) = (&state.stage, flushing)
            && on_air.has_ended()
        {
            on_air.hurry();
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Another limit of the upload, bytes/s.
    pub(super) fn set_limit(&self, upload: u64) {
        self.limit.store(upload, Ordering::Relaxed);
        if let Stage::OnAir(on_air) = &self.state().stage {
            on_air.set_limit(upload);
        }
    }

    /// Ends it; viewers may fetch the last pieces for `linger`, in the background.
    pub(super) fn stop(&self, linger: Duration) {
        self.claim.leave();
        let stage = std::mem::replace(&mut self.state().stage, Stage::Stopped);
        self.changed.notify_all();
        if let Stage::OnAir(on_air) = stage {
            on_air.leave(linger);
        }
    }

    /// Figures for the property `stats`.
    pub(super) fn stats(&self) -> gst::Structure {
        let state = self.state();
        let name = match &state.stage {
            _ if state.failed => "failed",
            Stage::Measuring(_) => "measuring",
            Stage::Opening(_) => "opening",
            Stage::OnAir(on_air) if on_air.has_ended() => "ended",
            Stage::OnAir(_) => "on-air",
            Stage::Stopped => "stopped",
        };
        match &state.stage {
            Stage::OnAir(on_air) => {
                let (made, engine) = on_air.stats();
                stats::structure(name, &made, &engine)
            }
            Stage::Measuring(held) | Stage::Opening(held) => {
                let (bytes, lost) = held.bytes();
                let made = BroadcastStats { bytes, lost, ..BroadcastStats::default() };
                stats::structure(name, &made, &Stats::default())
            }
            Stage::Stopped => stats::structure(name, &BroadcastStats::default(), &Stats::default()),
        }
    }
}
