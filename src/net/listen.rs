//! Listening sockets, shared by the torrents of the process: a handshake's info-hash says whose caller it is.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::conn;
use crate::wire::handshake::{FIRST_BYTE, Hello};
use crate::wire::ids::InfoHash;

/// Callers that have not shaken hands yet. The one that waits longest makes room for another, so that those who
/// say nothing keep out nobody who speaks.
const MAX_PENDING: usize = 128;
/// Of those from one address; more are turned away.
const MAX_SAME_ADDRESS: usize = 16;
/// Time that a caller has for its handshake even when others wait.
const GRACE: Duration = Duration::from_secs(1);
/// While there is no room, how often to look for those that have shaken hands.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After an error of the listening socket, so that one that stays does not spin.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections that the system keeps for us before we take them.
const BACKLOG: i32 = 256;

/// Someone called and said what for.
pub(super) struct Call {
    pub(super) stream: TcpStream,
    pub(super) addr: SocketAddr,
    pub(super) hello: Hello,
}

/// Somebody who called and does not speak BitTorrent, for a web server on the same port.
pub(super) type Visitor = (TcpStream, SocketAddr);
/// Those that wait for the web server.
pub(super) const VISITORS: usize = 16;

/// Who takes which callers.
#[derive(Default)]
struct Table {
    torrents: BTreeMap<InfoHash, mpsc::Sender<Call>>,
    web: Option<mpsc::Sender<Visitor>>,
}

type Routes = Arc<Mutex<Table>>;

/// A listening socket; closed when the last torrent drops it.
pub(super) struct Listener {
    addr: SocketAddr,
    routes: Routes,
    accepting: AbortHandle,
}

/// By address (`None`: any) and port as asked for.
type Open = BTreeMap<(Option<IpAddr>, u16), Weak<Listener>>;

static OPEN: Mutex<Open> = Mutex::new(Open::new());

impl Listener {
    /// The listener of this address and port, made if need be. Port 0: any, the same for all who say so.
    pub(super) fn shared(
        runtime: &Handle,
        ip: Option<IpAddr>,
        port: u16,
    ) -> Result<Arc<Self>, (SocketAddr, io::Error)> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, l| l.strong_count() > 0);
        if let Some(listener) = open.get(&(ip, port)).and_then(Weak::upgrade) {
            return Ok(listener);
        }
        let listener = Arc::new(Self::open(runtime, ip, port)?);
        open.insert((ip, port), Arc::downgrade(&listener));
        Ok(listener)
    }

    fn open(runtime: &Handle, ip: Option<IpAddr>, port: u16) -> Result<Self, (SocketAddr, io::Error)> {
        let v4 = SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port);
        let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        // A socket of both families where the host has IPv6; plain IPv4 where it has not.
        let both = if ip.is_none() { bind(v6).ok() } else { None };
        let socket = both.map_or_else(|| bind(v4), Ok).map_err(|e| (v4, e))?;
        let addr = socket.local_addr().map_err(|e| (v4, e))?;
        let entered = runtime.enter();
        let listener = TcpListener::from_std(socket).map_err(|e| (addr, e))?;
        drop(entered);
        let routes = Routes::default();
        let accepting = runtime.spawn(accept(listener, Arc::clone(&routes))).abort_handle();
        Ok(Self { addr, routes, accepting })
    }

    pub(super) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Callers for this torrent go there from now on.
    pub(super) fn route(&self, info_hash: InfoHash, calls: mpsc::Sender<Call>) {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).torrents.insert(info_hash, calls);
    }

    /// Callers that do not speak BitTorrent come here from now on.
    pub(super) fn visitors(&self) -> mpsc::Receiver<Visitor> {
        let (sender, visitors) = mpsc::channel(VISITORS);
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).web = Some(sender);
        visitors
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn bind(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let domain = if addr.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn accept(listener: TcpListener, routes: Routes) {
    let mut pending = Pending::default();
    loop {
        while let Some(wait) = pending.must_wait() {
            tokio::time::sleep(wait.min(LOOK_EVERY)).await;
        }
        let Ok((stream, addr)) = listener.accept().await else {
            // Out of descriptors, or the caller is gone already: neither goes away by asking again at once.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (addr, routes) = (plain(addr), Arc::clone(&routes));
        if pending.has_room_for(addr.ip()) {
            let task = tokio::spawn(async move { shake(stream, addr, &routes).await }).abort_handle();
            pending.callers.push_back(Caller { ip: addr.ip(), since: Instant::now(), task });
        }
    }
}

/// Somebody who is shaking hands.
struct Caller {
    ip: IpAddr,
    since: Instant,
    task: AbortHandle,
}

/// Those who are shaking hands, the longest waiting first; they end with it.
#[derive(Default)]
struct Pending {
    callers: VecDeque<Caller>,
}

impl Pending {
    /// How long to take no further caller; makes room if somebody has waited for long.
    fn must_wait(&mut self) -> Option<Duration> {
        self.callers.retain(|caller| !caller.task.is_finished());
        let longest = self.callers.front().filter(|_| self.callers.len() >= MAX_PENDING)?;
        let grace = GRACE.checked_sub(longest.since.elapsed()).filter(|left| !left.is_zero());
        if grace.is_none() {
            longest.task.abort();
            self.callers.pop_front();
        }
        grace
    }

    fn has_room_for(&self, ip: IpAddr) -> bool {
        self.callers.iter().filter(|caller| caller.ip == ip).count() < MAX_SAME_ADDRESS
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.callers.iter().for_each(|caller| caller.task.abort());
    }
}

async fn shake(mut stream: TcpStream, addr: SocketAddr, routes: &Routes) {
    let web = routes.lock().unwrap_or_else(PoisonError::into_inner).web.clone();
    if let Some(web) = web {
        // The first byte tells: a BitTorrent handshake begins with the length of its name.
        let mut first = [0];
        match tokio::time::timeout(GRACE * 10, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first[0] != FIRST_BYTE => {
                // A server that has ended takes no visitors.
                let _ = web.send((stream, addr)).await;
                return;
            }
            Ok(Ok(1)) => {}
            _ => return,
        }
    }
    let hello = match conn::read_hello(&mut stream).await {
        Ok(hello) => hello,
        Err(error) => return tracing::debug!(%addr, %error, "caller turned away"),
    };
    let calls = routes.lock().unwrap_or_else(PoisonError::into_inner).torrents.get(&hello.info_hash).cloned();
    let Some(calls) = calls else { return tracing::debug!(%addr, "caller for a torrent that is not here") };
    // The torrent's end drops its receiver; then the caller is turned away with the stream.
    let _ = calls.send(Call { stream, addr, hello }).await;
}

/// IPv4 callers on a socket of both families are named as IPv4.
fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
