//! A wire between a viewer and its only peer in which a test can lose blocks, or hold everything up.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

const HANDSHAKE: usize = 68;
const PIECE: u8 = 7;
/// Longest frame that passes.
const MAX_FRAME: usize = 1 << 20;

/// A running wire; ends when dropped.
pub struct Filter {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    peer: SocketAddr,
    gate: Mutex<Gate>,
    opened: Condvar,
    /// The highest piece that passed.
    newest: AtomicU32,
    ending: AtomicBool,
    lines: Mutex<Vec<TcpStream>>,
}

#[derive(Default)]
struct Gate {
    /// Pieces whose blocks are lost.
    lost: BTreeSet<u32>,
    /// Nothing passes.
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Filter {
    /// A wire to this peer.
    pub fn start(peer: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            peer,
            gate: Mutex::default(),
            opened: Condvar::new(),
            newest: AtomicU32::new(0),
            ending: AtomicBool::new(false),
            lines: Mutex::default(),
        });
        let host = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if host.ending.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    // A line that breaks is its ends' business.
                    let _ = host.join(stream);
                }
            }
        });
        Self { shared, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Number (on the wire) of the newest piece that passed.
    pub fn newest(&self) -> u32 {
        self.shared.newest.load(Ordering::SeqCst)
    }

    /// From now on this piece is lost.
    pub fn lose(&self, piece: u32) {
        lock(&self.shared.gate).lost.insert(piece);
    }

    /// Nothing comes through any more, or all of it does again.
    pub fn close(&self, closed: bool) {
        lock(&self.shared.gate).closed = closed;
        self.shared.opened.notify_all();
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        self.close(false);
        // Wakes the listening thread; it may have ended.
        let _ = TcpStream::connect(self.address);
        for line in lock(&self.shared.lines).drain(..) {
            // It may be closed already.
            let _ = line.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn join(self: &Arc<Self>, viewer: TcpStream) -> io::Result<()> {
        let peer = TcpStream::connect(self.peer)?;
        lock(&self.lines).extend([viewer.try_clone()?, peer.try_clone()?]);
        let (mut up, mut to) = (viewer.try_clone()?, peer.try_clone()?);
        thread::spawn(move || {
            // It ends with either end.
            let _ = io::copy(&mut up, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let _ = shared.pass(peer, &viewer);
            let _ = viewer.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    /// Frame by frame, from the peer to the viewer.
    fn pass(&self, mut from: TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let mut hello = [0; HANDSHAKE];
        from.read_exact(&mut hello)?;
        to.write_all(&hello)?;
        loop {
            let mut length = [0; 4];
            from.read_exact(&mut length)?;
            let bytes = u32::from_be_bytes(length) as usize;
            assert!(bytes <= MAX_FRAME, "a frame of {bytes} bytes");
            let mut frame = vec![0; bytes];
            from.read_exact(&mut frame)?;
            if self.lets_pass(&frame) {
                to.write_all(&[&length[..], &frame].concat())?;
            }
        }
    }

    fn lets_pass(&self, frame: &[u8]) -> bool {
        let mut gate = lock(&self.gate);
        while gate.closed {
            gate = self.opened.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        let piece = match frame {
            [PIECE, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]),
            _ => return true,
        };
        self.newest.fetch_max(piece, Ordering::SeqCst);
        !gate.lost.contains(&piece)
    }
}
