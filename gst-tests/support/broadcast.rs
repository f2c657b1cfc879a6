//! A live broadcast as users make and watch it: `swarm live` with its files in a folder, and `swarm get` of its
//! `.tstream`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::commands;
use super::feed::Feed;
use super::files;
use super::network::{Network, free_port};
use super::process::Running;
use super::subject::peak_memory;
use super::transport::{PACKET, runs};
use super::wait;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// What to broadcast, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where its files lie.
    pub folder: PathBuf,
    /// Name of the broadcast.
    pub name: String,
    /// Where it is on air.
    pub at: SocketAddr,
    /// Bytes a second of its stream; 0: to be measured.
    pub rate: u64,
    /// Seconds of it in the ring; a quarter of them is the window.
    pub seconds: u64,
    /// Bytes in a piece.
    pub piece: u32,
    /// Further options.
    pub more: Vec<String>,
}

impl Plan {
    /// Half a megabyte a second, in pieces of 16 KiB, a window of four seconds; at a free port of `ip`.
    pub fn new(scratch: &Path, ip: IpAddr) -> Self {
        Self {
            folder: files::folder(scratch, "source"),
            name: "cam.ts".to_owned(),
            at: SocketAddr::new(ip, free_port()),
            rate: 500_000,
            seconds: 16,
            piece: 16 << 10,
            more: Vec::new(),
        }
    }

    /// What viewers open.
    pub fn tstream(&self) -> PathBuf {
        self.file(".tstream")
    }

    /// One of its files.
    pub fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}{ending}", self.name))
    }

    /// Goes on air with these options, and off again.
    pub fn airs(&self, more: &[&str]) {
        let mut process = self.launch(more);
        process.until_printed("on air at ", PATIENCE);
        assert!(process.interrupt().success(), "{}", process.story());
    }

    /// The process, which may refuse to go on air.
    pub fn launch(&self, more: &[&str]) -> Running {
        let mut command = commands::swarm(&Network::Loopback, &self.folder);
        command.arg("live").args(["--name", &self.name, "--json", "--flush-after", "500ms"]);
        command.arg("--destdir").arg(&self.folder);
        command.args(["--bind", &self.at.ip().to_string(), "--port", &self.at.port().to_string()]);
        if self.rate > 0 {
            command.args(["--bitrate", &self.rate.to_string()]);
        }
        command.args(["--piece-length", &self.piece.to_string()]);
        command.args(["--duration", &self.seconds.to_string()]).args(&self.more).args(more);
        Running::start("source", self.folder.parent().expect("a scratch folder is around it"), command)
    }

    /// Goes on air.
    pub fn start(&self) -> Source {
        let mut process = self.launch(&[]);
        process.until_printed("on air at ", PATIENCE);
        Source { process, at: self.at, tstream: self.tstream() }
    }
}

/// A running `swarm live`.
pub struct Source {
    /// The process.
    pub process: Running,
    /// Where it is.
    pub at: SocketAddr,
    /// What viewers open.
    pub tstream: PathBuf,
}

impl Source {
    /// Feeds it with the [stream](super::transport) from packet `from` on, at so many bytes a second.
    pub fn feed(&mut self, from: u64, rate: u64) -> Feed {
        Feed::start(self.process.stdin(), from, super::feed::packets_per_second(rate))
    }

    /// The last figures that it printed.
    pub fn figures(&self) -> Value {
        last_figures(&self.process)
    }

    /// Waits for figures that satisfy.
    pub fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(&self.process, what, wanted)
    }

    /// Waits until it ends by itself, as it should.
    pub fn until_over(&mut self) {
        self.process.until_succeeded(PATIENCE);
        assert!(!self.process.log().contains("panicked"), "{}", self.process.story());
    }
}

/// A running `swarm get` that writes what it is given to a file.
pub struct Watcher {
    /// The process.
    pub process: Running,
    /// Where it listens.
    pub at: SocketAddr,
    /// What it writes.
    pub out: PathBuf,
}

impl Watcher {
    /// Watches from `ip`. Without `peers` the trackers are asked. The name is also that of its folder.
    pub fn start(
        name: &str,
        scratch: &Path,
        tstream: &Path,
        ip: IpAddr,
        peers: &[SocketAddr],
        more: &[&str],
    ) -> Self {
        let at = SocketAddr::new(ip, free_port());
        let folder = files::folder(scratch, name);
        let out = folder.join("stream");
        let mut command = commands::swarm(&Network::Loopback, &folder);
        command
            .arg("get")
            .arg(tstream)
            .arg("--dir")
            .arg(&folder)
            .arg("-o")
            .arg(&out)
            .args(["--json", "--force"]);
        command.args(["--bind", &ip.to_string(), "--port", &at.port().to_string()]);
        if !peers.is_empty() {
            let peers: Vec<_> = peers.iter().map(ToString::to_string).collect();
            command.args(["--no-trackers", "--peer", &peers.join(",")]);
        }
        command.args(more);
        Self { process: Running::start(name, scratch, command), at, out }
    }

    /// The last figures that it printed.
    pub fn figures(&self) -> Value {
        last_figures(&self.process)
    }

    /// One of them; 0 when it has printed none yet.
    pub fn figure(&self, name: &str) -> u64 {
        self.figures()[name].as_u64().unwrap_or(0)
    }

    /// Waits for figures that satisfy.
    pub fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(&self.process, what, wanted)
    }

    /// Bytes that it was given.
    pub fn length(&self) -> u64 {
        self.out.metadata().map_or(0, |metadata| metadata.len())
    }

    /// What it was given so far, in whole packets.
    pub fn given(&self) -> Vec<u8> {
        let mut given = std::fs::read(&self.out).unwrap_or_default();
        given.truncate(given.len() / PACKET * PACKET);
        given
    }

    /// Waits until it was given more than so many bytes.
    pub fn until_given(&self, bytes: u64) {
        let what = format!("more than {bytes} bytes at {}", self.at.ip());
        wait::until(&what, PATIENCE, || self.length() > bytes, || self.process.story());
    }

    /// Waits until it was given this packet of the stream.
    pub fn until_packet(&self, packet: u64) {
        let what = format!("packet {packet} at {}", self.at.ip());
        let there = || runs(&self.given()).last().is_some_and(|run| run.end > packet);
        wait::until(&what, PATIENCE, there, || {
            format!("there are {:?}\n{}", runs(&self.given()), self.process.story())
        });
    }

    /// Waits until it ends by itself, as it should.
    pub fn until_over(&mut self) {
        self.process.until_succeeded(PATIENCE);
        self.assert_sound();
    }

    /// Demands that nothing panicked in it.
    pub fn assert_sound(&self) {
        assert!(!self.process.log().contains("panicked"), "{}", self.process.story());
    }

    /// Whom it has banned, by its log.
    pub fn banned(&self) -> Vec<IpAddr> {
        banned(&self.process.log())
    }

    /// Most memory that it ever had at once, bytes.
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.process.id())
    }
}

/// Whom a process has banned, by its log.
pub fn banned(log: &str) -> Vec<IpAddr> {
    let lines = log.lines().filter(|line| line.contains("banned a peer"));
    let ip = |line: &str| line.split_once("addr=")?.1.split([' ', ',', ';']).next()?.parse().ok();
    lines.filter_map(ip).collect()
}

fn last_figures(process: &Running) -> Value {
    all_figures(process).pop().unwrap_or_default()
}

/// All figures that a process has printed.
pub fn all_figures(process: &Running) -> Vec<Value> {
    let log = process.log();
    let whole = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
    whole
        .lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn until(process: &Running, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let look = || Some(last_figures(process)).filter(|figures| wanted(figures));
    wait::until_some(what, PATIENCE, look, || process.story())
}

/// How long what was fed takes until viewers have it, looked at for so long: for each viewer the delays of its newest
/// packet, sorted.
pub fn delays(viewers: &[&Watcher], feed: &Feed, time: Duration) -> Vec<Vec<Duration>> {
    let first = |viewer: &&Watcher| {
        viewer.until_given(8 * PACKET as u64);
        runs(&viewer.given()[..8 * PACKET])[0].start
    };
    let mut seen: Vec<_> =
        viewers.iter().map(|viewer| (first(viewer), viewer.length(), Vec::new())).collect();
    let begun = Instant::now();
    while begun.elapsed() < time {
        for (viewer, (first, length, delays)) in viewers.iter().zip(&mut seen) {
            let now = viewer.length();
            if std::mem::replace(length, now) != now {
                let written = feed.written_at(*first + now / PACKET as u64);
                delays.extend(written.map(|written| written.elapsed()));
            }
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    seen.into_iter()
        .map(|(.., mut delays)| {
            delays.sort_unstable();
            delays
        })
        .collect()
}

/// The number that this file holds.
pub fn number_in(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).expect("the file is there");
    text.trim().parse().expect("it holds a number")
}
