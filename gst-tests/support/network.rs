//! Where peers live: on this machine's loopback, or in a network namespace that holds a loopback only.
//!
//! transmission refuses to dial any 127.0.0.0/8 address that a tracker names, so a download by transmission
//! needs another address; a namespace gives one without touching the machine's own interfaces.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::process::{Running, bound_command};

/// The address of everybody in a private network.
const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// How long making a namespace may take.
const MADE_WITHIN: Duration = Duration::from_secs(10);
/// How often a port that is free for TCP may be taken for UDP before we give up.
const PORT_TRIES: usize = 64;

/// A network for the processes of one test.
pub enum Network {
    /// The machine's own, on 127.0.0.1.
    Loopback,
    /// One that ends with this value.
    Private(PrivateNetwork),
}

/// Holds a network namespace open.
pub struct PrivateNetwork {
    holder: Running,
    user: bool,
}

impl Network {
    /// Makes a private network. Needs root, or a kernel that lets users make namespaces.
    pub fn private(folder: &Path) -> Self {
        let user = !rustix::process::geteuid().is_root();
        let mut command = bound_command("unshare");
        if user {
            command.arg("--map-root-user");
        }
        command.args(["--net", "sh", "-c"]);
        command.arg(format!("ip link set lo up && ip addr add {PRIVATE}/24 dev lo && echo up && exec cat"));
        let mut holder = Running::start("network", folder, command);
        holder.until_printed("up", MADE_WITHIN);
        Self::Private(PrivateNetwork { holder, user })
    }

    /// The address to listen on.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
            Self::Private(_) => PRIVATE.into(),
        }
    }

    /// An address with a port that was free a moment ago, for TCP and for UDP.
    pub fn free_address(&self) -> SocketAddr {
        SocketAddr::new(self.address(), free_port())
    }

    /// A command that runs in this network and ends with the calling thread.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let Self::Private(private) = self else { return bound_command(program) };
        let mut command = bound_command("nsenter");
        command.arg(format!("--target={}", private.holder.id())).arg("--net");
        if private.user {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--").arg(program);
        command
    }
}

/// A port that nobody listens on at 127.0.0.1, neither TCP nor UDP. Ports below the range that the system
/// gives to outgoing connections stay free longer, but somebody may still take it before we do.
pub fn free_port() -> u16 {
    for _ in 0..PORT_TRIES {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = tcp.local_addr().expect("a bound socket has an address").port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free for TCP and UDP alike");
}
