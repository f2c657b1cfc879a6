//! What is under attack: one of our doors in a process of its own, so that its memory and its descriptors are
//! its own too.
//!
//! The element's process is the test program itself, started again with a pipeline in its environment; test
//! programs that use it have a test named [`CHILD`] which calls [`play_as_child`].

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use gst::prelude::*;
use serde_json::{Value, json};

use super::commands;
use super::files;
use super::film::Film;
use super::network::{Network, free_port};
use super::process::{Running, bound_command};
use super::wait;

/// The test that is the element's process.
pub const CHILD: &str = "the_element_in_a_process_of_its_own";
/// Holds the pipeline; its source is named `s`.
const PIPELINE: &str = "SWARM_TEST_PIPELINE";
/// How often the element's process prints its figures.
const FIGURES_EVERY: gst::ClockTime = gst::ClockTime::from_mseconds(50);

/// One of our doors.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// `swarm get`.
    Get,
    /// `swarmsrc ! filesink`.
    Element,
}

/// A process that fetches a film and goes on seeding it.
pub struct Subject {
    /// The process.
    pub process: Running,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it makes.
    pub copy: PathBuf,
    door: Door,
}

impl Door {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Get, Self::Element];

    /// Starts fetching `film` from `peers` (and whoever else calls), keeping it in `folder`, whose name also
    /// names the process. Without `trackers` none is asked.
    pub fn start(self, folder: &Path, film: &Film, peers: &[SocketAddr], trackers: bool) -> Subject {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        self.start_at(address, folder, film, peers, trackers)
    }

    /// The same with an address to listen at.
    pub fn start_at(
        self,
        address: SocketAddr,
        folder: &Path,
        film: &Film,
        peers: &[SocketAddr],
        trackers: bool,
    ) -> Subject {
        std::fs::create_dir_all(folder).expect("a folder can be made");
        let peers: Vec<_> = peers.iter().map(ToString::to_string).collect();
        let (command, copy) = match self {
            Self::Get => get(address, folder, film, &peers.join(","), trackers),
            Self::Element => element(address, folder, film, &peers.join(","), trackers),
        };
        let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
        let outside = folder.parent().expect("a scratch folder is around it");
        Subject { process: Running::start(&name, outside, command), address, copy, door: self }
    }
}

fn get(at: SocketAddr, folder: &Path, film: &Film, peers: &str, trackers: bool) -> (Command, PathBuf) {
    let mut command = commands::swarm(&Network::Loopback, folder);
    command.arg("get").arg(&film.torrent).arg("--dir").arg(folder).args(["--json", "--seed"]);
    command.args(["--bind", &at.ip().to_string(), "--port", &at.port().to_string()]);
    if !trackers {
        command.arg("--no-trackers");
    }
    if !peers.is_empty() {
        command.args(["--peer", peers]);
    }
    (command, folder.join("film.bin"))
}

fn element(at: SocketAddr, folder: &Path, film: &Film, peers: &str, trackers: bool) -> (Command, PathBuf) {
    let copy = folder.join("copy.bin");
    let line = format!(
        "swarmsrc name=s location={} download-dir={} peers=\"{peers}\" bind-address={} listen-port={} \
         trackers={trackers} ! filesink location={}",
        film.torrent.display(),
        files::folder(folder, "kept").display(),
        at.ip(),
        at.port(),
        copy.display(),
    );
    (child(&line, folder), copy)
}

/// The command that plays a pipeline in a process of its own.
pub fn child(pipeline: &str, home: &Path) -> Command {
    let mut command = bound_command(std::env::current_exe().expect("this program has a path"));
    command.args(["--exact", CHILD, "--nocapture"]).env(PIPELINE, pipeline);
    commands::with_plugin(&mut command)
        .env("XDG_CACHE_HOME", home)
        .env("GST_DEBUG", "swarm:4")
        .env("GST_DEBUG_NO_COLOR", "1")
        .env("G_DEBUG", "fatal-criticals");
    command
}

impl Subject {
    /// The last figures that it printed.
    pub fn figures(&self) -> Value {
        let log = self.process.log();
        let whole = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let objects = whole.lines().rev().filter(|line| line.starts_with('{'));
        objects.filter_map(|line| serde_json::from_str(line).ok()).next().unwrap_or_default()
    }

    /// One of them; `None` when it has printed none yet.
    pub fn figure(&self, name: &str) -> Option<u64> {
        self.figures()[name].as_u64()
    }

    /// Verified bytes.
    pub fn have(&self) -> u64 {
        self.figure("have").unwrap_or(0)
    }

    /// Waits for figures that satisfy.
    pub fn until(&self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let look = || Some(self.figures()).filter(|figures| wanted(figures));
        wait::until_some(what, limit, look, || self.process.story())
    }

    /// Waits until all of the film is there (and has gone through the pipeline), and compares.
    pub fn until_complete(&self, film: &Film, limit: Duration) {
        let complete = |figures: &Value| match self.door {
            Door::Get => figures["state"] == "seeding" && figures["have"] == film.length(),
            Door::Element => figures["ended"] == true,
        };
        self.until("the film to be complete", limit, complete);
        files::assert_same(&film.path, &self.copy);
    }

    /// Whom it has banned, by its log.
    pub fn banned(&self) -> BTreeSet<IpAddr> {
        let log = self.process.log();
        let lines = log.lines().filter(|line| line.contains("banned a peer"));
        let ip = |line: &str| {
            let rest = line.split_once("addr=")?.1;
            rest.split([' ', ',', ';']).next()?.parse().ok()
        };
        lines.filter_map(ip).collect()
    }

    /// Most memory that it ever had at once, bytes (`VmHWM`).
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.process.id())
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        descriptors(self.process.id())
    }

    /// Demands that nothing panicked in it, and that it still runs.
    pub fn assert_sound(&mut self) {
        let log = self.process.log();
        assert!(!log.contains("panicked"), "{}", self.process.story());
        assert!(self.process.runs(), "it ended\n{}", self.process.story());
    }
}

/// Most memory that a process ever had at once, bytes.
pub fn peak_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("it is a number");
    kib * 1024
}

/// Open descriptors of a process.
pub fn descriptors(id: u32) -> usize {
    std::fs::read_dir(format!("/proc/{id}/fd")).expect("it runs").count()
}

/// In the element's process: plays the pipeline, prints figures, and stays until standard input is closed.
/// Does nothing in the test program itself.
pub fn play_as_child() {
    let Ok(line) = std::env::var(PIPELINE) else { return };
    gst::init().expect("GStreamer can be initialised");
    gstswarm::plugin_register_static().expect("our plugin can be registered");
    let pipeline = gst::parse::launch(&line).expect("the pipeline can be made");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("several elements make a pipeline");
    let source = pipeline.by_name("s").expect("the source is named s");
    let over = std::thread::spawn(|| std::io::stdin().read_line(&mut String::new()));
    let bus = pipeline.bus().expect("a pipeline has a bus");
    println!();
    // A failure comes as a message too.
    let _ = pipeline.set_state(gst::State::Playing);
    let mut ended = false;
    while !over.is_finished() {
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        match bus.timed_pop_filtered(FIGURES_EVERY, &kinds).as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => return print_error(&error.error()),
            Some(gst::MessageView::Eos(_)) => ended = true,
            _ => {}
        }
        print_figures(&source, ended);
    }
    pipeline.set_state(gst::State::Null).expect("it can always be stopped");
}

fn print_error(error: &gst::glib::Error) {
    let full = error.matches(gst::ResourceError::NoSpaceLeft);
    println!("{}", json!({ "error": error.message(), "no_space_left": full }));
}

fn print_figures(source: &gst::Element, ended: bool) {
    let stats = source.property::<gst::Structure>("stats");
    let number = |name| stats.get::<u64>(name).unwrap_or_default();
    let count = |name| stats.get::<u32>(name).unwrap_or_default();
    let figures = json!({
        "state": stats.get::<&str>("state").unwrap_or_default(),
        "have": number("bytes-verified"),
        "downloaded": number("bytes-downloaded"),
        "hash_failures": number("hash-failures"),
        "peers": count("peers"),
        "banned": count("banned"),
        "ended": ended,
    });
    println!("{figures}");
}
