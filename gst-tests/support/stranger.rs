//! Scripted peers on this machine, each on an address of its own (bans are by address, and all of 127.0.0.0/8
//! is ours): threads that do with every connection what their script says, until they are told to end.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gstswarm::wire::ids::PeerId;
use socket2::{Domain, Socket, Type};

use super::film::Film;
use super::line::{Line, Tally};

/// What a peer does with a connection. The connection ends with the script.
pub type Script = Arc<dyn Fn(&mut Line) -> io::Result<()> + Send + Sync>;

/// How often a listener looks for callers, and a caller calls again.
const AGAIN: Duration = Duration::from_millis(20);
/// Connecting on this machine takes no time; with a full backlog it takes for ever.
const CONNECTS_WITHIN: Duration = Duration::from_secs(2);
/// Stack of a script's thread.
const STACK: usize = 256 * 1024;

/// A scripted peer; ends when dropped.
pub struct Stranger {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What a peer's threads share.
struct Shared {
    film: Arc<Film>,
    script: Script,
    id: PeerId,
    tally: Arc<Tally>,
    open: Mutex<Open>,
}

/// Connections under way.
#[derive(Default)]
struct Open {
    streams: BTreeMap<u64, TcpStream>,
    threads: Vec<JoinHandle<()>>,
    number: u64,
}

/// The n-th address of a group: `127.group.x.y`.
pub fn address(group: u8, number: u16) -> IpAddr {
    let [high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(127, group, high, low).into()
}

impl Stranger {
    /// A peer that waits for calls at a free port of `ip`.
    pub fn listens(ip: IpAddr, film: &Arc<Film>, script: Script) -> Self {
        Self::listens_at(SocketAddr::new(ip, 0), film, script)
    }

    /// A peer that waits for calls.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn listens_at(address: SocketAddr, film: &Arc<Film>, script: Script) -> Self {
        let listener = listener(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let address = listener.local_addr().expect("a bound socket has an address");
        Self::start(address, film, script, move |shared| {
            while !shared.tally.is_over() {
                match listener.accept() {
                    Ok((stream, _)) => Shared::take(&shared, stream),
                    Err(_) => thread::park_timeout(AGAIN),
                }
            }
        })
    }

    /// A peer that calls `target` from `ip`, and again whenever the connection ends.
    pub fn calls(ip: IpAddr, target: SocketAddr, film: &Arc<Film>, script: Script) -> Self {
        Self::start(SocketAddr::new(ip, 0), film, script, move |shared| {
            while !shared.tally.is_over() {
                if let Ok(stream) = connect(ip, target) {
                    Shared::run(&shared, stream);
                }
                thread::park_timeout(AGAIN);
            }
        })
    }

    fn start(
        address: SocketAddr,
        film: &Arc<Film>,
        script: Script,
        work: impl FnOnce(Arc<Shared>) + Send + 'static,
    ) -> Self {
        let mut id = *b"-XX0000-............";
        id[8..]
            .copy_from_slice(&format!("{:>12}", address.ip().to_string().replace('.', "")).as_bytes()[..12]);
        let shared = Arc::new(Shared {
            film: Arc::clone(film),
            script,
            id: PeerId(id),
            tally: Arc::default(),
            open: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().stack_size(STACK).spawn(move || work(theirs));
        Self { address, shared, thread: Some(thread.expect("a thread can be started")) }
    }

    /// Where it listens; a caller has no port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counted.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Closes all its connections; those that listen can be called again.
    pub fn hang_up(&self) {
        for stream in self.shared.open().streams.values() {
            // Those that are closed already are fine.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends it, and all its connections.
    pub fn end(&mut self) {
        self.shared.tally.over.store(true, std::sync::atomic::Ordering::SeqCst);
        self.hang_up();
        if let Some(thread) = self.thread.take() {
            // A script that panicked has said so on standard error.
            let _ = thread.join();
        }
        // A connection may have come between.
        self.hang_up();
        let threads = std::mem::take(&mut self.shared.open().threads);
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the script on a thread of its own.
    fn take(this: &Arc<Self>, stream: TcpStream) {
        let shared = Arc::clone(this);
        let thread = thread::Builder::new().stack_size(STACK).spawn(move || Self::run(&shared, stream));
        let mut open = this.open();
        open.threads.retain(|thread| !thread.is_finished());
        open.threads.push(thread.expect("a thread can be started"));
    }

    fn run(this: &Arc<Self>, stream: TcpStream) {
        let Ok(handle) = stream.try_clone() else { return };
        let number = {
            let mut open = this.open();
            open.number += 1;
            let number = open.number;
            open.streams.insert(number, handle);
            number
        };
        let mut line = Line::new(stream, this.id, Arc::clone(&this.film), Arc::clone(&this.tally));
        // That the other end hangs up is what hostile scripts are for.
        let _ = (this.script)(&mut line);
        this.open().streams.remove(&number);
    }
}

/// A listener whose `accept` does not wait.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Connects from a certain address.
pub fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), CONNECTS_WITHIN)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A script from a function.
pub fn script(act: impl Fn(&mut Line) -> io::Result<()> + Send + Sync + 'static) -> Script {
    Arc::new(act)
}

/// The script of an honest seed of `pace` bytes/s a connection.
pub fn honest(pace: Option<u64>) -> Script {
    script(move |line| {
        line.meet_as_seed()?;
        line.serve(pace, |_, _| {})
    })
}
