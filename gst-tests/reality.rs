//! The simulator beside the real thing: twelve processes on 127.0.0.1 that have only their own limits, and the same
//! twelve simulated. Start-ups and completions have to agree.
//!
//! Bytes are those of no film: what plays them is a clock that takes them at their bitrate, as the simulator's viewers
//! do, and obeys BUFFERING as applications do.
#![allow(clippy::disallowed_methods, reason = "tests are outside of the core: they look at the clock")]

mod support;

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstswarm::sim::lab::arrival::Arrival;
use gstswarm::sim::lab::batch::Batch;
use gstswarm::sim::lab::class::Class;
use gstswarm::sim::lab::plan::Plan;
use gstswarm::sim::lab::programme::Programme;
use gstswarm::sim::scenario::Film;
use gstswarm::swarm::policy::Policy;
use support::commands::Seed;
use support::files;
use support::network::Network;
use support::process::{Running, bound_command};
use support::torrents::{self, Offer};

/// The scenario of both.
const SCENARIO: &str = include_str!("scenarios/twelve.toml");
/// By so much the medians of both may differ.
const TOLERANCE: f64 = 0.15;
/// Luck is made even by so many swarms side by side, ...
const SWARMS: usize = 3;
/// ... so many times one after the other, ...
const ROUNDS: usize = 2;
/// ... and so many seeds of the simulator.
const SEEDS: usize = 12;
/// Where a viewer's process finds its orders: torrent, folder, the film's bitrate and bytes, upload limit.
const ORDERS: [&str; 5] = ["SWARM_TORRENT", "SWARM_FOLDER", "SWARM_BITRATE", "SWARM_TOTAL", "SWARM_UPLOAD"];
/// How often a viewer looks at its figures.
const LOOK_EVERY: gst::ClockTime = gst::ClockTime::from_mseconds(10);
/// A run that takes longer than this and its film hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// What became of the viewers, in seconds since each came.
#[derive(Debug, Default)]
struct Times {
    start_up: Vec<f64>,
    complete: Vec<f64>,
    stalls: u32,
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [start_up, complete] = [&self.start_up, &self.complete].map(|times| median(times));
        let viewers = self.start_up.len();
        write!(
            f,
            "start-up {start_up:6.2} s, everything {complete:6.2} s, {} stalls of {viewers}",
            self.stalls
        )
    }
}

impl std::iter::Sum for Times {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, times| {
            sum.start_up.extend(times.start_up);
            sum.complete.extend(times.complete);
            sum.stalls += times.stalls;
            sum
        })
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn plan() -> (Plan, Film, Class, Class) {
    let plan = Plan::read("twelve", SCENARIO, &[]).expect("a scenario");
    let Programme::Film(film) = plan.programme else { panic!("it is about a film") };
    let [seed, viewers] = plan.classes.clone().try_into().expect("two classes of hosts");
    (plan, film, seed, viewers)
}

fn simulated(plan: &Plan) -> Times {
    let batch = Batch::new(plan, SEEDS, &[Policy::default()]);
    batch.work();
    let outcomes = batch.outcomes().expect("no rule is broken").expect("nobody stopped it");
    let mut times = Times::default();
    for viewer in outcomes.iter().flat_map(|(_, outcome)| &outcome.classes[1]) {
        let viewing = viewer.viewing.as_ref().expect("a viewer");
        times.start_up.push(viewing.start_up);
        times.complete.push(viewer.completed.expect("it got everything"));
        times.stalls += viewing.stalls;
    }
    times
}

/// The process of a viewer.
fn start(scratch: &Path, torrent: &Path, number: usize, film: &Film, limit: u64) -> Running {
    let folder = files::folder(scratch, &format!("viewer-{number}"));
    let mut command = bound_command(std::env::current_exe().expect("a test is a program"));
    command.args(["--exact", "a_viewer", "--ignored", "--nocapture"]);
    let orders = [torrent.display().to_string(), folder.display().to_string()];
    let orders = orders.into_iter().chain([film.bitrate, film.total(), limit].map(|rate| rate.to_string()));
    command.envs(ORDERS.into_iter().zip(orders));
    Running::start(&format!("viewer-{number}"), scratch, command)
}

fn real(film: &Film, seed: &Class, viewers: &Class) -> Times {
    let Arrival::Regular { gap } = viewers.arrival else { panic!("chance is not the same for both") };
    let scratch = files::scratch("reality");
    let original = files::folder(scratch.path(), "original");
    files::random_file(&original.join("film.ts"), film.total(), 1);
    let network = Network::Loopback;
    let tracker = network.free_address();
    let offer = Offer {
        name: "film.ts".to_owned(),
        piece_length: film.piece_length,
        playtime: Some(Duration::from_secs(film.seconds)),
        trackers: vec![format!("http://{tracker}/announce")],
        ..Offer::default()
    };
    let torrent = torrents::offer(scratch.path(), &original.join("film.ts"), &offer);
    let limit = seed.upload_limit.of(film.bitrate).to_string();
    let torrents = [torrent.clone()];
    let options = ["--max-upload-rate", &limit];
    let _seed = Seed::start(&network, scratch.path(), &original, tracker, &torrents, &options);
    let begun = Instant::now();
    let mut processes: Vec<_> = (0..viewers.count)
        .map(|number| {
            let due = gap * (number as u32 + 1);
            thread::sleep(due.saturating_sub(begun.elapsed()));
            start(scratch.path(), &torrent, number, film, viewers.upload_limit.of(film.bitrate))
        })
        .collect();
    let limit = PATIENCE + Duration::from_secs(film.seconds);
    processes.iter_mut().for_each(|viewer| viewer.until_printed("ended", limit));
    let mut times = Times::default();
    for viewer in &processes {
        let log = viewer.log();
        let told = |what: &str| -> f64 {
            let line = log.lines().find_map(|line| line.strip_prefix(what));
            let value = line.and_then(|line| line.trim().parse().ok());
            value.unwrap_or_else(|| panic!("a viewer tells no '{what}'\n{}", viewer.story()))
        };
        times.start_up.push(told("start-up"));
        times.complete.push(told("complete"));
        times.stalls += told("stalls") as u32;
    }
    times
}

#[test]
fn twelve_processes_and_the_same_twelve_simulated_agree() {
    let (plan, film, seed, viewers) = plan();
    let simulated = simulated(&plan);
    let swarm = || real(&film, &seed, &viewers);
    let side_by_side = |_| {
        thread::scope(|scope| {
            let swarms: Vec<_> = (0..SWARMS).map(|_| scope.spawn(swarm)).collect();
            swarms.into_iter().map(|swarm| swarm.join().expect("all viewers see the end")).sum::<Times>()
        })
    };
    let real: Times = (0..ROUNDS).map(side_by_side).sum();
    let both = format!("simulated: {simulated}\nreal:      {real}");
    println!("{both}");
    for of in [|times: &Times| median(&times.start_up), |times: &Times| median(&times.complete)] {
        let (simulated, real) = (of(&simulated), of(&real));
        assert!((simulated / real - 1.0).abs() < TOLERANCE, "{simulated:.2} s and {real:.2} s\n{both}");
    }
}

#[test]
#[ignore = "is a process of the other test"]
fn a_viewer() {
    let orders = ORDERS.map(|name| std::env::var(name).ok());
    let [Some(torrent), Some(folder), Some(bitrate), Some(total), Some(limit)] = orders else { return };
    gst::init().expect("GStreamer can be initialised");
    gstswarm::plugin_register_static().expect("our plugin can be registered");
    let description = format!(
        "swarmsrc name=source location={torrent} download-dir={folder} bind-address=127.0.0.1 max-upload-rate={limit} \
         ! identity datarate={bitrate} ! fakesink sync=true qos=true enable-last-sample=false"
    );
    Viewer::new(&description, total.parse().expect("a number")).watch();
    // The others may still need what it has: it stays until it is ended.
    thread::sleep(PATIENCE);
}

/// An application with a clock.
struct Viewer {
    pipeline: gst::Pipeline,
    /// Bytes of the film.
    total: u64,
    opened: Instant,
    buffering: bool,
    started: bool,
    stalls: u32,
    complete: bool,
}

impl Viewer {
    fn new(description: &str, total: u64) -> Self {
        let pipeline = gst::parse::launch(description).expect("the elements are installed");
        let pipeline = pipeline.downcast().expect("several elements are a pipeline");
        Self {
            pipeline,
            total,
            opened: Instant::now(),
            buffering: false,
            started: false,
            stalls: 0,
            complete: false,
        }
    }

    /// Watches to the end, and prints when what happened.
    fn watch(&mut self) {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        self.want();
        let mut ended = false;
        while !(ended && self.complete) {
            if let Some(message) = bus.timed_pop(LOOK_EVERY) {
                match message.view() {
                    gst::MessageView::Error(error) => panic!("{error:?}"),
                    gst::MessageView::Buffering(level) => self.obey(level.percent() < 100),
                    gst::MessageView::Eos(_) => ended = true,
                    _ => {}
                }
            }
            self.look();
        }
        println!("stalls {}\nended", self.stalls);
    }

    fn look(&mut self) {
        let playing = self.pipeline.state(gst::ClockTime::ZERO).1 == gst::State::Playing;
        if playing && !self.started {
            self.started = true;
            println!("start-up {}", self.opened.elapsed().as_secs_f64());
        }
        let source = self.pipeline.by_name("source").expect("it is in the pipeline");
        let stats = source.property::<gst::Structure>("stats");
        let there = stats.get::<u64>("bytes-verified").expect("figures are numbers");
        if there >= self.total && !self.complete {
            self.complete = true;
            println!("complete {}", self.opened.elapsed().as_secs_f64());
        }
    }

    fn obey(&mut self, buffering: bool) {
        if buffering != self.buffering {
            self.stalls += u32::from(buffering && self.started);
            self.buffering = buffering;
            self.want();
        }
    }

    fn want(&self) {
        let state = if self.buffering { gst::State::Paused } else { gst::State::Playing };
        // Why it failed comes as an error message.
        let _ = self.pipeline.set_state(state);
    }
}
