//! The tracker's sockets: HTTP (`/announce`, `/scrape`) and UDP on one port, over one table.
//!
//! The table is [`discovery::tracker`](crate::discovery::tracker); here are the clock and the bytes around it.
//! Every packet and request is answered at once under a short lock. What strangers can make it spend is bounded:
//! connections by guarded.rs, memory by the table, replies over UDP by connection ids. It says
//! nothing to anybody that it would not say to everybody, so that it need not look at `Host` or `Origin`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::get;
use rand::TryRng;
use rand::rngs::SysRng;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::guarded::{Door, Ends, GuardedListener, LIFE, MAX_CONNECTIONS};
use super::session::Handle as Session;
use super::tracker_udp::ConnectionIds;
use crate::discovery::tracker::{Asker, Config, Families, Policy, Table, TrackerStats};
use crate::time::Instant;
use crate::wire::announce::{AnnounceRequest, AnnounceResponse, Refusal};
use crate::wire::http_query::{parse_announce, parse_scrape};
use crate::wire::http_tracker::{encode_refusal, encode_response, encode_scrape};
use crate::wire::ids::InfoHash;
use crate::wire::udp_tracker::{Family, Request, Response};

/// Tries to find a port that is free for both protocols.
const PORT_TRIES: usize = 32;
/// Connections waiting to be accepted.
const BACKLOG: i32 = 1_024;
/// Longest datagram that is looked at.
const MAX_DATAGRAM: usize = 2_048;
/// How long [`Tracker::stop`] waits for requests under way.
const PATIENCE: Duration = Duration::from_secs(2);
/// After an error of the UDP socket, so that one that stays does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a tracker cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    /// The address is not ours, or its port is taken.
    #[error("the tracker cannot listen on {addr} ({protocol}): {source}")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// `TCP` or `UDP`.
        protocol: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// A running tracker; it ends when this is dropped.
#[derive(Debug)]
pub struct Tracker {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// What both halves work on.
struct Shared {
    table: Mutex<Table>,
    ids: ConnectionIds,
    started: std::time::Instant,
    /// Where the sockets are bound; may be a wildcard.
    bound: IpAddr,
}

impl Tracker {
    /// Listens on `addr` for HTTP and UDP and answers on the given runtime. Port 0: any that is free for both.
    /// `[::]` takes IPv4 too.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn bind(
        runtime: &Handle,
        addr: SocketAddr,
        config: Config,
        policy: Policy,
    ) -> Result<Self, TrackerError> {
        let _inside = runtime.enter();
        let (tcp, udp, addr) = bind_both(addr)?;
        let bind = |protocol| move |source| TrackerError::Bind { addr, protocol, source };
        let tcp = TcpListener::from_std(tcp.into()).map_err(bind("TCP"))?;
        let udp = UdpSocket::from_std(udp.into()).map_err(bind("UDP"))?;
        let table = Table::new(config, policy, Instant::ZERO, u64::from_ne_bytes(random()));
        let shared = Arc::new(Shared {
            table: Mutex::new(table),
            ids: ConnectionIds::new(random()),
            started: std::time::Instant::now(),
            bound: addr.ip(),
        });
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![
            runtime.spawn(serve_http(shared.clone(), Door::Socket(tcp), front_page(), stopped.clone())),
            runtime.spawn(serve_udp(shared.clone(), udp, stopped)),
        ];
        Ok(Self { addr, shared, stop, tasks })
    }

    /// Answers over HTTP on the port at which `handle` takes its peers, and shows these pages there.
    pub fn beside_peers(
        runtime: &Handle,
        handle: &Session,
        config: Config,
        policy: Policy,
        pages: Router,
    ) -> Self {
        let (visitors, addr) = (handle.visitors(), handle.local_addr());
        let table = Table::new(config, policy, Instant::ZERO, u64::from_ne_bytes(random()));
        let shared = Arc::new(Shared {
            table: Mutex::new(table),
            ids: ConnectionIds::new(random()),
            started: std::time::Instant::now(),
            bound: addr.ip(),
        });
        let (stop, stopped) = watch::channel(false);
        let door = Door::Shared(visitors, addr);
        let tasks = vec![runtime.spawn(serve_http(shared.clone(), door, pages, stopped))];
        Self { addr, shared, stop, tasks }
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The table in figures.
    pub fn stats(&self) -> TrackerStats {
        self.shared.table().stats()
    }

    /// Serves this torrent too (of use when it does not serve all).
    pub fn allow(&self, hash: InfoHash) {
        self.shared.table().allow(hash);
    }

    /// Serves these torrents from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.shared.table().set_policy(policy);
    }

    /// Ends: requests under way are answered, for two seconds at most.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for mut task in self.tasks {
            if tokio::time::timeout(PATIENCE, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("the table does not panic")
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.started.elapsed()
    }

    fn announce(
        &self,
        from: SocketAddr,
        reached_at: Option<IpAddr>,
        request: &AnnounceRequest,
        families: Families,
    ) -> Result<AnnounceResponse, Refusal> {
        let asker = Asker { ip: from.ip(), reached_at };
        self.table().handle_announce(self.now(), asker, request, families)
    }

    /// The address by which somebody reached us: for a socket bound to all of them, the one that the system
    /// would answer him from.
    fn reached_at(&self, from: SocketAddr) -> Option<IpAddr> {
        if !self.bound.is_unspecified() || from.ip().to_canonical().is_loopback() {
            return Some(self.bound);
        }
        let any: IpAddr =
            if from.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let probe = std::net::UdpSocket::bind((any, 0)).ok()?;
        probe.connect(from).ok()?;
        Some(probe.local_addr().ok()?.ip())
    }

    /// The answer to a datagram; `None` for what deserves none.
    fn on_datagram(&self, packet: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        let now = self.now();
        let family = Family::of(from.ip());
        let response = match Request::decode(packet).ok()? {
            Request::Connect { transaction } => {
                Response::Connect { transaction, connection: self.ids.issue(now, from) }
            }
            Request::Announce { connection, .. } | Request::Scrape { connection, .. }
                if !self.ids.accepts(now, from, connection) =>
            {
                return None;
            }
            Request::Announce { transaction, request, .. } => {
                match self.announce(from, self.reached_at(from), &request, Families::Own) {
                    Ok(response) => Response::Announce { transaction, response },
                    Err(refusal) => Response::Error { transaction, refusal },
                }
            }
            Request::Scrape { transaction, hashes, .. } => {
                let mut table = self.table();
                let entries = hashes.iter().map(|hash| table.handle_scrape(now, *hash).unwrap_or_default());
                Response::Scrape { transaction, entries: entries.collect() }
            }
        };
        Some(response.encode(family))
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the secret of the connection ids.
        f.debug_struct("Shared").field("bound", &self.bound).finish_non_exhaustive()
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).expect("the system's source of randomness does not fail once it is up");
    bytes
}

/// A TCP and a UDP socket on the same port.
fn bind_both(addr: SocketAddr) -> Result<(Socket, Socket, SocketAddr), TrackerError> {
    let mut tries = if addr.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let tcp = listen(addr, Type::STREAM);
        let tcp = tcp.map_err(|source| TrackerError::Bind { addr, protocol: "TCP", source })?;
        let bound = tcp.local_addr().ok().and_then(|a| a.as_socket()).unwrap_or(addr);
        match listen(bound, Type::DGRAM) {
            Ok(udp) => return Ok((tcp, udp, bound)),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(source) => return Err(TrackerError::Bind { addr: bound, protocol: "UDP", source }),
        }
    }
}

fn listen(addr: SocketAddr, kind: Type) -> io::Result<Socket> {
    let stream = kind == Type::STREAM;
    let protocol = if stream { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // A tracker that was just ended may be started again on its port.
    socket.set_reuse_address(stream)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    if stream {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

fn front_page() -> Router {
    Router::new().route("/", get(async || "gst-plugin-swarm tracker\n"))
}

async fn serve_http(shared: Arc<Shared>, door: Door, pages: Router, mut stopped: watch::Receiver<bool>) {
    let routes = Router::new()
        .route("/announce", get(on_announce))
        .route("/scrape", get(on_scrape))
        .with_state(shared)
        .merge(pages)
        .into_make_service_with_connect_info::<Ends>();
    let listener = GuardedListener::new(door, MAX_CONNECTIONS, LIFE);
    let served = axum::serve(listener, routes).with_graceful_shutdown(async move {
        // An error says that the tracker was dropped, which ends it too.
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    if let Err(error) = served.await {
        tracing::warn!(%error, "the tracker's HTTP server ended");
    }
}

async fn on_announce(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    RawQuery(query): RawQuery,
) -> HttpResponse {
    let answer = match parse_announce(query.unwrap_or_default().as_bytes()) {
        Ok(query) => {
            let ours = ends.ours.map(|addr| addr.ip());
            let answer = shared.announce(ends.theirs, ours, &query.request, Families::Both);
            answer.map(|response| encode_response(&response, query.form))
        }
        Err(error) => Err(Refusal { reason: error.to_string(), retry: None }),
    };
    bencoded(answer.unwrap_or_else(|refusal| encode_refusal(&refusal)))
}

async fn on_scrape(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> HttpResponse {
    let hashes = match parse_scrape(query.unwrap_or_default().as_bytes()) {
        Ok(hashes) => hashes,
        Err(error) => return bencoded(encode_refusal(&Refusal { reason: error.to_string(), retry: None })),
    };
    let now = shared.now();
    let mut table = shared.table();
    let files: Vec<_> =
        hashes.into_iter().filter_map(|hash| Some((hash, table.handle_scrape(now, hash)?))).collect();
    drop(table);
    bencoded(encode_scrape(&files))
}

/// A refusal comes with status 200 as well: most clients read no other body.
fn bencoded(body: Vec<u8>) -> HttpResponse {
    ([(CONTENT_TYPE, "text/plain"), (CONNECTION, "close")], body).into_response()
}

async fn serve_udp(shared: Arc<Shared>, socket: UdpSocket, mut stopped: watch::Receiver<bool>) {
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        let sweep = shared.table().poll_timeout().since(shared.now());
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(sweep) => shared.table().handle_timeout(shared.now()),
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, from)) => {
                    if let Some(reply) = shared.on_datagram(&buffer[..length], from) {
                        // What the system has no room for is lost, like any datagram.
                        let _ = socket.try_send_to(&reply, from);
                    }
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::net::announce::{AnnounceClient, AnnounceError};
    use crate::wire::announce::AnnounceEvent;
    use crate::wire::ids::PeerId;

    pub fn request(id: u8, left: u64) -> AnnounceRequest {
        AnnounceRequest {
            info_hash: InfoHash([0xab; 20]),
            peer_id: PeerId([id; 20]),
            port: 1_000 + u16::from(id),
            uploaded: 0,
            downloaded: 0,
            left,
            event: AnnounceEvent::Started,
            key: Some(1),
            num_want: None,
            tracker_id: None,
        }
    }

    fn tracker(ip: &str, policy: Policy) -> Tracker {
        let config = Config { interval: Duration::from_secs(5), ..Config::default() };
        Tracker::bind(&Handle::current(), SocketAddr::new(ip.parse().unwrap(), 0), config, policy).unwrap()
    }

    fn addrs(response: &AnnounceResponse) -> Vec<String> {
        response.peers.iter().map(|p| p.addr.to_string()).collect()
    }

    #[tokio::test]
    async fn our_client_and_our_tracker_agree_over_both_protocols_and_families() {
        for ip in ["127.0.0.1", "::1"] {
            let tracker = tracker(ip, Policy::Open);
            let client = AnnounceClient::new(None);
            let (http, udp) =
                (format!("http://{}/announce", tracker.addr), format!("udp://{}", tracker.addr));
            let first = client.announce(&http, &request(1, 0)).await.unwrap();
            assert_eq!((first.interval, first.complete), (Duration::from_secs(5), Some(1)));
            let second = client.announce(&udp, &request(2, 9)).await.unwrap();
            assert_eq!(addrs(&second), [SocketAddr::new(ip.parse().unwrap(), 1_001).to_string()]);
            assert_eq!((second.complete, second.incomplete), (Some(1), Some(1)));
            let again = client.announce(&http, &request(1, 0)).await.unwrap();
            assert_eq!(addrs(&again), [SocketAddr::new(ip.parse().unwrap(), 1_002).to_string()]);
            let gone = AnnounceRequest { event: AnnounceEvent::Stopped, ..request(2, 9) };
            assert_eq!(client.announce(&udp, &gone).await.unwrap().incomplete, Some(0));
            let stats = tracker.stats();
            assert_eq!((stats.torrents, stats.peers, stats.announces), (1, 1, 4));
            tracker.stop().await;
        }
    }

    #[tokio::test]
    async fn a_torrent_that_is_not_served_is_refused_with_a_reason_until_it_is() {
        let tracker = tracker("127.0.0.1", Policy::Only(std::collections::BTreeSet::new()));
        let client = AnnounceClient::new(None);
        let urls = [format!("http://{}/announce", tracker.addr), format!("udp://{}/announce", tracker.addr)];
        for url in &urls {
            let error = client.announce(url, &request(1, 0)).await.unwrap_err();
            assert!(
                matches!(&error, AnnounceError::Refused(r) if r.reason.contains("not registered")),
                "{error}"
            );
        }
        tracker.allow(request(1, 0).info_hash);
        for url in &urls {
            client.announce(url, &request(1, 0)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_tracker_that_is_gone_is_an_error_at_once() {
        let tracker = tracker("127.0.0.1", Policy::Open);
        let addr = tracker.addr;
        tracker.stop().await;
        let client = AnnounceClient::new(None);
        for url in [format!("http://{addr}/announce"), format!("udp://{addr}/announce")] {
            let error = client.announce(&url, &request(1, 0)).await.unwrap_err();
            assert!(error.to_string().contains("refused"), "{error}");
        }
        // The port is free again, for both.
        let again = Tracker::bind(&Handle::current(), addr, Config::default(), Policy::Open).unwrap();
        assert_eq!(again.local_addr(), addr);
        let taken = Tracker::bind(&Handle::current(), addr, Config::default(), Policy::Open).unwrap_err();
        assert!(taken.to_string().contains("TCP"), "{taken}");
    }

    #[tokio::test]
    async fn an_announce_without_a_connection_id_gets_no_answer_and_no_place_in_the_table() {
        let tracker = tracker("127.0.0.1", Policy::Open);
        let from = "127.0.0.1:9".parse().unwrap();
        let packet = Request::Announce { connection: 1, transaction: 2, request: request(1, 0) }.encode("");
        assert_eq!(tracker.shared.on_datagram(&packet, from), None);
        assert_eq!(tracker.shared.on_datagram(b"GET / HTTP/1.0\r\n\r\n", from), None);
        assert_eq!(tracker.stats(), TrackerStats::default());
        // What goes back to an unproven address is no longer than what came from it.
        let connect = Request::Connect { transaction: 7 }.encode("");
        assert_eq!(tracker.shared.on_datagram(&connect, from).unwrap().len(), connect.len());
    }

    #[tokio::test]
    async fn a_tracker_on_all_addresses_takes_both_families_and_keeps_them_apart() {
        let tracker = tracker("::", Policy::Open);
        let port = tracker.addr.port();
        let client = AnnounceClient::new(None);
        for (id, url) in
            [(1, format!("http://127.0.0.1:{port}/announce")), (2, format!("udp://[::1]:{port}"))]
        {
            assert!(client.announce(&url, &request(id, 9)).await.unwrap().peers.is_empty());
        }
        let own = client.announce(&format!("udp://127.0.0.1:{port}"), &request(3, 9)).await.unwrap();
        assert_eq!(addrs(&own), ["127.0.0.1:1001"]);
        let both = client.announce(&format!("http://[::1]:{port}/announce"), &request(4, 9)).await.unwrap();
        let mut both = addrs(&both);
        both.sort();
        assert_eq!(both, ["127.0.0.1:1001", "127.0.0.1:1003", "[::1]:1002"]);
        let four_only = AnnounceClient::new(Some(Ipv4Addr::UNSPECIFIED.into()));
        assert!(four_only.announce(&format!("udp://[::1]:{port}"), &request(5, 9)).await.is_err());
    }

    /// What the HTTP half says to a raw request.
    async fn ask(tracker: &Tracker, request: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(tracker.addr).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nHost: anything.example\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn scrapes_are_answered_over_both_protocols_and_nonsense_is_named() {
        let tracker = tracker("127.0.0.1", Policy::Open);
        AnnounceClient::new(None).announce(&format!("udp://{}", tracker.addr), &request(1, 0)).await.unwrap();
        let hash = "%AB".repeat(20);
        let scrape =
            ask(&tracker, &format!("GET /scrape?info_hash={hash}&info_hash={}", "x".repeat(20))).await;
        assert!(scrape.ends_with("d8:completei1e10:downloadedi0e10:incompletei0eeee"), "{scrape}");
        let from = "127.0.0.1:9".parse().unwrap();
        let connection = tracker.shared.ids.issue(tracker.shared.now(), from);
        let hashes = vec![request(1, 0).info_hash, InfoHash([0; 20])];
        let packet = Request::Scrape { connection, transaction: 3, hashes }.encode("");
        let reply = tracker.shared.on_datagram(&packet, from).unwrap();
        assert_eq!(reply[8..], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for (request, answer) in [
            ("GET /", "swarm tracker\n"),
            ("GET /announce", "d14:failure reason27:missing parameter info_hashe"),
            ("GET /scrape", "d14:failure reason27:missing parameter info_hashe"),
            ("GET /etc/passwd", "404"),
            ("POST /announce", "405"),
        ] {
            let answered = ask(&tracker, request).await;
            assert!(answered.contains(answer), "{request}: {answered}");
        }
    }
}
