//! Our tracker and our announce client among stock clients, over real sockets on this machine.
//!
//! Each client announces to our tracker over HTTP and UDP, IPv4 and IPv6; we announce as well. Both must hear of
//! each other: we find its port in the tracker's answer, it connects to ours and names the torrent.
// These tests wait for other programs, in real time.
#![allow(clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use gstswarm::discovery::tracker::{Config, Policy};
use gstswarm::net::announce::AnnounceClient;
use gstswarm::net::tracker::Tracker;
use gstswarm::wire::announce::{AnnounceEvent, AnnounceRequest};
use gstswarm::wire::ids::{InfoHash, PeerId};

/// A client that has not done its part by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

const LIBTORRENT: &str = r#"
import sys, time
import libtorrent as lt
ip, magnet = sys.argv[1:]
session = lt.session({
    'listen_interfaces': ip + ':0', 'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False,
    'enable_natpmp': False, 'enable_outgoing_utp': False, 'enable_incoming_utp': False,
    'out_enc_policy': 2, 'in_enc_policy': 2, 'allow_multiple_connections_per_ip': True,
    'alert_mask': lt.alert.category_t.tracker_notification | lt.alert.category_t.status_notification})
params = lt.parse_magnet_uri(magnet)
params.save_path = '.'
torrent = session.add_torrent(params)
while not session.listen_port():
    time.sleep(0.01)
print(session.listen_port(), flush=True)
sys.stdin.read()
session.remove_torrent(torrent)
time.sleep(120)
"#;

const HTTPS: &str = r#"
import http.server, ssl
class Tracker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'd8:intervali77e5:peers0:e'
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Tracker)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.pem', 'server.key')
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// A client under test; killed when the test ends however it ends.
struct Client {
    child: Child,
    port: u16,
    /// Closing it asks the client to leave.
    stdin: Option<ChildStdin>,
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &mut Command, package: &str) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap_or_else(|e| {
        panic!("cannot start {:?}: {e}; apt-get install {package}", command.get_program())
    })
}

/// The port that a program of ours prints first.
fn port(child: &mut Child) -> Option<u16> {
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    line.trim().parse().ok()
}

fn libtorrent(folder: &std::path::Path, ip: IpAddr, magnet: &str) -> Client {
    let ip = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
    let mut command = Command::new("/usr/bin/python3");
    let mut child =
        spawn(command.args(["-c", LIBTORRENT, &ip, magnet]).current_dir(folder), "python3-libtorrent");
    let port =
        port(&mut child).expect("libtorrent did not start (see above); apt-get install python3-libtorrent");
    Client { stdin: child.stdin.take(), child, port }
}

fn aria2(folder: &std::path::Path, ip: IpAddr, magnet: &str) -> Client {
    let port = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port();
    let mut command = Command::new("aria2c");
    // Without DHT aria2 has no UDP trackers either; with a new table of nodes it knows nobody to talk to.
    command.args(["--no-conf", "--quiet", "--bt-enable-lpd=false", "--enable-dht6=false"]);
    command.args(["--dht-file-path=dht.dat", "--enable-dht=true"]);
    command.arg(format!("--listen-port={port}")).arg(format!("--dht-listen-port={port}"));
    command.arg(magnet).current_dir(folder);
    let child = spawn(&mut command, "aria2");
    Client { child, port, stdin: None }
}

fn request(port: u16) -> AnnounceRequest {
    AnnounceRequest {
        info_hash: InfoHash([0x5a; 20]),
        peer_id: PeerId(*b"-SW0100-abcdefghijkl"),
        port,
        uploaded: 0,
        downloaded: 0,
        left: 0,
        event: AnnounceEvent::Started,
        key: Some(7),
        num_want: Some(50),
        tracker_id: None,
    }
}

/// The info-hash in the first plain handshake that comes (aria2 tries an encrypted one before).
fn handshake(listener: &TcpListener) -> [u8; 20] {
    listener.set_nonblocking(true).unwrap();
    let mut found = None;
    until("the client connects to us", || {
        found = listener.accept().ok().and_then(|(mut stream, _)| {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut start = [0; 48];
            stream.read_exact(&mut start).ok()?;
            start.starts_with(b"\x13BitTorrent protocol").then(|| start[28..].try_into().unwrap())
        });
        found.is_some()
    });
    found.unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn meet(start: fn(&std::path::Path, IpAddr, &str) -> Client, ip: &str, scheme: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ip: IpAddr = ip.parse().unwrap();
    let config = Config { interval: Duration::from_secs(5), ..Config::default() };
    let addr = SocketAddr::new(ip, 0);
    let tracker = Tracker::bind(runtime.handle(), addr, config, Policy::Open).unwrap();
    let url = format!("{scheme}://{}/announce", tracker.local_addr());
    let us = TcpListener::bind((ip, 0)).unwrap();
    let ours = request(us.local_addr().unwrap().port());
    let announcer = AnnounceClient::new(None);
    let announce = |request| runtime.block_on(announcer.announce(&url, request)).unwrap();
    announce(&ours);

    let folder = tempfile::tempdir().unwrap();
    let mut client = start(folder.path(), ip, &format!("magnet:?xt=urn:btih:{}&tr={url}", ours.info_hash));
    assert_eq!(handshake(&us), ours.info_hash.0, "it heard of us from our tracker");
    until("the client announces", || tracker.stats().peers == 2);
    let peers: Vec<_> = announce(&AnnounceRequest { left: 1, ..ours.clone() }).peers;
    assert_eq!(peers.iter().map(|p| p.addr).collect::<Vec<_>>(), [SocketAddr::new(ip, client.port)]);
    if client.stdin.take().is_some() {
        until("the client says goodbye", || tracker.stats().peers == 1);
    }
    drop(client);
    runtime.block_on(tracker.stop());
}

#[test]
fn libtorrent_meets_us_over_http_on_ipv4() {
    meet(libtorrent, "127.0.0.1", "http");
}

#[test]
fn libtorrent_meets_us_over_udp_on_ipv4() {
    meet(libtorrent, "127.0.0.1", "udp");
}

#[test]
fn libtorrent_meets_us_over_http_on_ipv6() {
    meet(libtorrent, "::1", "http");
}

#[test]
fn libtorrent_meets_us_over_udp_on_ipv6() {
    meet(libtorrent, "::1", "udp");
}

#[test]
fn aria2_meets_us_over_http() {
    meet(aria2, "127.0.0.1", "http");
}

#[test]
fn aria2_meets_us_over_udp() {
    meet(aria2, "127.0.0.1", "udp");
}

/// A certificate for 127.0.0.1 in `server.pem`, and `ca.pem` that vouches for it.
fn make_certificates(folder: &std::path::Path) {
    std::fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:false\n").unwrap();
    for line in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem",
    ] {
        let made = Command::new("openssl").args(line.split(' ')).current_dir(folder).output();
        let made = made.unwrap_or_else(|e| panic!("cannot start openssl: {e}; apt-get install openssl"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

/// Certificates are read from where the system says once in a process, so that the half of this test that trusts
/// the made authority runs in a process of its own, told by this variable.
const TRUSTED: &str = "SWARM_TEST_TRUSTED_TRACKER";

#[test]
fn https_is_spoken_with_servers_that_the_system_trusts_and_with_no_others() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let announce = |url: &str| runtime.block_on(AnnounceClient::new(None).announce(url, &request(1)));
    if let Ok(url) = std::env::var(TRUSTED) {
        assert_eq!(announce(&url).unwrap().interval, Duration::from_secs(77));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    make_certificates(folder.path());
    let mut command = Command::new("/usr/bin/python3");
    let mut child = spawn(command.args(["-c", HTTPS]).current_dir(folder.path()), "python3");
    let port = port(&mut child).expect("the server did not start (see above)");
    let server = Client { stdin: None, child, port };
    let url = format!("https://127.0.0.1:{}/announce", server.port);
    let error = announce(&url).unwrap_err().to_string();
    assert!(
        error.to_lowercase().contains("certificate") || error.contains("HTTPS cannot be used"),
        "{error}"
    );
    let itself = std::env::current_exe().unwrap();
    let name = "https_is_spoken_with_servers_that_the_system_trusts_and_with_no_others";
    let trusting = Command::new(itself)
        .args(["--exact", name])
        .env(TRUSTED, &url)
        .env("SSL_CERT_FILE", folder.path().join("ca.pem"))
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    assert!(trusting.status.success(), "{}", String::from_utf8_lossy(&trusting.stdout));
    assert!(String::from_utf8_lossy(&trusting.stdout).contains("1 passed"), "the other half did run");
}
