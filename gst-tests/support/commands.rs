//! Our own doors as users start them: the command `swarm`, and `gst-launch-1.0` with our plugin.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::files;
use super::network::Network;
use super::process::Running;
use super::wait;

/// How long a server may take until it serves (it may hash a gigabyte first).
const SERVES_WITHIN: Duration = Duration::from_secs(60);
/// How long making a torrent may take.
const CREATED_WITHIN: Duration = Duration::from_secs(60);

/// The command `swarm` of this build, with the element's and the command's files below `home`.
pub fn swarm(network: &Network, home: &Path) -> Command {
    let mut command = network.command(env!("CARGO_BIN_EXE_swarm"));
    with_plugin(&mut command).env("XDG_CACHE_HOME", home);
    command
}

/// `swarm get` of everything in a torrent into a folder, from one peer.
pub fn get(network: &Network, torrent: &Path, folder: &Path, peer: SocketAddr) -> Command {
    let mut command = swarm(network, folder);
    command.arg("get").arg(torrent).arg("--dir").arg(folder).arg("--no-trackers");
    command.args(["--peer", &peer.to_string(), "--bind", &network.address().to_string()]);
    command
}

/// `swarmsrc ! filesink` from one peer into a folder for good; `more` are further properties of the source.
pub fn element(
    network: &Network,
    folder: &Path,
    torrent: &Path,
    copy: &Path,
    peer: SocketAddr,
    more: &[&str],
) -> Command {
    let place = format!("download-dir={}", folder.display());
    cached_element(network, folder, torrent, copy, peer, &[&[&*place], more].concat())
}

/// The same with the user's cache in `cache`.
pub fn cached_element(
    network: &Network,
    cache: &Path,
    torrent: &Path,
    copy: &Path,
    peer: SocketAddr,
    more: &[&str],
) -> Command {
    let mut command = network.command("gst-launch-1.0");
    with_plugin(&mut command).env("XDG_CACHE_HOME", cache).env("G_DEBUG", "fatal-criticals");
    command
        .arg("swarmsrc")
        .arg(format!("location={}", torrent.display()))
        .arg(format!("peers={peer}"))
        .arg(format!("bind-address={}", network.address()))
        .arg("trackers=false")
        .args(more)
        .args(["!", "filesink", &format!("location={}", copy.display())]);
    command
}

/// Makes a torrent with `swarm create`.
pub fn create(out: &Path, content: &Path, options: &[&str]) -> PathBuf {
    let folder = out.parent().expect("a torrent is in a folder");
    let mut command = swarm(&Network::Loopback, folder);
    command.arg("create").arg(content).args(options).arg("-o").arg(out);
    Running::start("create", folder, command).until_succeeded(CREATED_WITHIN);
    out.to_owned()
}

/// A running `swarm seed` with its tracker.
pub struct Seed {
    process: Running,
    address: SocketAddr,
}

impl Seed {
    /// Starts it and waits until it serves all torrents: until then it does not announce them.
    pub fn start(
        network: &Network,
        scratch: &Path,
        content: &Path,
        tracker: SocketAddr,
        torrents: &[PathBuf],
        options: &[&str],
    ) -> Self {
        let address = network.free_address();
        let mut command = swarm(network, &files::folder(scratch, "seed-cache"));
        command.arg("seed").args(torrents).arg("--dir").arg(content);
        command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--tracker", &tracker.to_string()]).args(options);
        let process = Running::start("seed", scratch, command);
        let complete = || process.log().matches(": complete; listening on ").count();
        wait::until(
            "swarm seed to check all",
            SERVES_WITHIN,
            || complete() == torrents.len(),
            || process.story(),
        );
        until_listening(network, tracker);
        Self { process, address }
    }

    /// Where it listens for peers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it as Ctrl-C does.
    ///
    /// # Panics
    /// When it does not end properly.
    pub fn stop(&mut self) {
        let status = self.process.interrupt();
        assert!(status.success(), "swarm seed ended with {status} at Ctrl-C\n{}", self.process.story());
    }
}

/// Waits until somebody accepts TCP connections at `address`.
pub fn until_listening(network: &Network, address: SocketAddr) {
    let what = format!("somebody to listen at {address}");
    let mut connect = network.command("bash");
    connect.arg("-c").arg(format!(": 2>&- <>/dev/tcp/{}/{}", address.ip(), address.port()));
    connect.stderr(std::process::Stdio::null());
    let accepts = || connect.status().expect("bash is installed").success();
    wait::until(&what, SERVES_WITHIN, accepts, String::new);
}

/// Makes a GStreamer program find our plugin of this build, with a registry of its own.
pub fn with_plugin(command: &mut Command) -> &mut Command {
    command
        .env("GST_PLUGIN_PATH", plugin_folder())
        .env("GST_REGISTRY", concat!(env!("CARGO_TARGET_TMPDIR"), "/gst-registry.bin"))
}

/// A folder with nothing but `libgstswarm.so` of this build: cargo leaves that in `deps`, among the compiler's
/// own plugins.
fn plugin_folder() -> PathBuf {
    let profile = Path::new(env!("CARGO_BIN_EXE_swarm")).parent().expect("a program is in a folder");
    let name = profile.file_name().expect("a profile has a name").to_string_lossy();
    let folder = files::folder(Path::new(env!("CARGO_TARGET_TMPDIR")), &format!("plugin-{name}"));
    match symlink(profile.join("deps/libgstswarm.so"), folder.join("libgstswarm.so")) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => panic!("cannot link the plugin: {e}"),
        _ => folder,
    }
}

/// A torrent as the element takes it, with one peer.
pub fn swarm_uri(torrent: &Path, peer: SocketAddr) -> String {
    format!("swarm://{}?x.pe={peer}", torrent.display())
}
