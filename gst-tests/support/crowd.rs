//! A thousand callers on one thread: they call, say their first words (or none), and call again whenever they
//! are closed.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::stranger::address;

/// Pause between two looks at all of them.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Callers; they end when this is dropped.
pub struct Crowd {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// Connected now.
    connected: AtomicUsize,
    /// Connections ever made.
    made: AtomicUsize,
}

/// One of them.
struct Caller {
    from: SocketAddr,
    words: Vec<u8>,
    socket: Option<Socket>,
    said: bool,
}

impl Crowd {
    /// `count` callers from so many `addresses` `127.group.x.y`; `words` are the first bytes of each.
    pub fn start(
        group: u8,
        (count, addresses): (u16, u16),
        target: SocketAddr,
        words: impl Fn(u16) -> Vec<u8>,
    ) -> Self {
        raise_limit();
        let from = |n: u16| SocketAddr::new(address(group, n % addresses), 0);
        let mut callers: Vec<_> = (0..count)
            .map(|n| Caller { from: from(n), words: words(n), socket: None, said: false })
            .collect();
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !theirs.over.load(Ordering::SeqCst) {
                let made: usize = callers.iter_mut().map(|c| usize::from(c.look(target))).sum();
                theirs.made.fetch_add(made, Ordering::SeqCst);
                theirs.connected.store(callers.iter().filter(|c| c.said).count(), Ordering::SeqCst);
                thread::park_timeout(LOOK_EVERY);
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// Callers that are connected now.
    pub fn connected(&self) -> usize {
        self.shared.connected.load(Ordering::SeqCst)
    }

    /// Connections that were made until now.
    pub fn made(&self) -> usize {
        self.shared.made.load(Ordering::SeqCst)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join);
    }
}

impl Caller {
    /// Goes on; `true` when it has just been connected.
    fn look(&mut self, target: SocketAddr) -> bool {
        let Some(socket) = &mut self.socket else {
            (self.socket, self.said) = (call(self.from, target).ok(), false);
            return false;
        };
        let busy =
            |e: &io::Error| matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected);
        if !self.said {
            if socket.peer_addr().is_err() {
                return false;
            }
            self.said = true;
            if socket.write_all(&self.words).is_err_and(|e| !busy(&e)) {
                self.socket = None;
            }
            return true;
        }
        match socket.read(&mut [0; 4_096]) {
            Ok(1..) => {}
            Err(e) if busy(&e) => {}
            _ => (self.socket, self.said) = (None, false),
        }
        false
    }
}

/// A connection that is being made.
fn call(from: SocketAddr, to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&from.into())?;
    match socket.connect(&to.into()) {
        Err(e) if e.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(e),
        _ => Ok(socket),
    }
}

/// As many descriptors as the system lets us have; many shells allow a thousand only.
fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit may be raised to its maximum");
}
