//! A seed of the plain wire protocol (BEP 3, no extensions) whose rate and manners a test changes while it runs.
//!
//! All its connections share one rate, which is kept to within [`SLICE`] bytes: a peer sees a line of that
//! rate, not bursts.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gstswarm::metainfo::torrent::Metainfo;

/// A rate without a limit.
pub const UNLIMITED: u64 = u64::MAX;
/// Bytes that pass at once.
const SLICE: usize = 2048;
/// Longest message that a downloader has reason to send: a bitfield of a short film.
const MAX_MESSAGE: usize = 64 * 1024;
const HANDSHAKE: usize = 68;
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// How a seed treats those who call.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Serves,
    /// It shakes hands and has everything, but lets nobody ask.
    Chokes,
    /// It lets everybody ask and answers nothing.
    Ignores,
    /// It takes the call and says nothing at all.
    IsMute,
}

/// A running seed of one file; ends when dropped.
pub struct WireSeed {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    manner: Manner,
    content: Vec<u8>,
    info_hash: [u8; 20],
    pieces: usize,
    piece_length: usize,
    tap: Mutex<Tap>,
    turned: Condvar,
    ending: AtomicBool,
    served: AtomicU64,
    lines: Mutex<Vec<TcpStream>>,
}

/// Where bytes come out at a rate.
struct Tap {
    rate: u64,
    next: Instant,
}

/// A wanted part of the file.
#[derive(Copy, Clone, PartialEq, Eq)]
struct Block {
    piece: u32,
    begin: u32,
    length: u32,
}

/// What one connection has been asked for.
#[derive(Default)]
struct Orders {
    blocks: Mutex<(VecDeque<Block>, bool)>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WireSeed {
    /// Serves the single file of a torrent at `rate` bytes/s.
    pub fn start(torrent: &Path, content: &Path, rate: u64, manner: Manner) -> Self {
        let metainfo = Metainfo::parse(&std::fs::read(torrent).expect("the torrent can be read"));
        let metainfo = metainfo.expect("the torrent is one");
        let shared = Arc::new(Shared {
            manner,
            content: std::fs::read(content).expect("the film can be read"),
            info_hash: metainfo.info_hash.0,
            pieces: metainfo.geometry.pieces() as usize,
            piece_length: metainfo.geometry.piece_length() as usize,
            tap: Mutex::new(Tap { rate, next: Instant::now() }),
            turned: Condvar::new(),
            ending: AtomicBool::new(false),
            served: AtomicU64::new(0),
            lines: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let host = Arc::clone(&shared);
        let accepting = Some(thread::spawn(move || accept(&listener, &host)));
        Self { shared, address, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Another rate in bytes/s, from now on; 0 = nothing more.
    pub fn set_rate(&self, rate: u64) {
        *lock(&self.shared.tap) = Tap { rate, next: Instant::now() };
        self.shared.turned.notify_all();
    }

    /// Bytes of blocks given so far.
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::Relaxed)
    }

    /// How many have called so far.
    pub fn calls(&self) -> usize {
        lock(&self.shared.lines).len()
    }
}

impl Drop for WireSeed {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // The lock makes sure that nobody is between a look at the end and its wait.
        drop(lock(&self.shared.tap));
        self.shared.turned.notify_all();
        // Wakes the listening thread; it may have ended.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            // A panic there has been printed and made its test fail.
            let _ = accepting.join();
        }
        for line in lock(&self.shared.lines).drain(..) {
            // It may be closed already.
            let _ = line.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ending.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(kept) = stream.try_clone() else { continue };
        lock(&shared.lines).push(kept);
        let shared = Arc::clone(shared);
        // A line that breaks is the downloader's business.
        thread::spawn(move || drop(talk(stream, &shared)));
    }
}

fn talk(mut stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut hello = [0; HANDSHAKE];
    stream.read_exact(&mut hello)?;
    if shared.manner == Manner::IsMute || hello[28..48] != shared.info_hash {
        // Until the other side hangs up.
        return io::copy(&mut stream, &mut io::sink()).map(drop);
    }
    let hello = [&PROTOCOL[..], &[0; 8], &shared.info_hash, b"-WS0001-wiretestseed"].concat();
    stream.write_all(&hello)?;
    stream.write_all(&message(5, &shared.bitfield()))?;
    if shared.manner != Manner::Chokes {
        stream.write_all(&message(1, &[]))?;
    }
    let orders = Arc::new(Orders::default());
    let (writer, serving, given) = (stream.try_clone()?, Arc::clone(shared), Arc::clone(&orders));
    let serving = thread::spawn(move || serve(writer, &serving, &given));
    let ended = listen(stream, shared, &orders);
    lock(&orders.blocks).1 = true;
    orders.changed.notify_all();
    // It ends with the line.
    let _ = serving.join();
    ended
}

/// Takes orders until the other side hangs up.
fn listen(mut stream: TcpStream, shared: &Shared, orders: &Orders) -> io::Result<()> {
    loop {
        let length = read_u32(&mut stream)? as usize;
        if length == 0 {
            continue;
        }
        assert!(length <= MAX_MESSAGE, "a message of {length} bytes from a downloader");
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        match body[0] {
            6 if shared.manner == Manner::Serves => lock(&orders.blocks).0.push_back(Block::of(&body)),
            8 => {
                let gone = Block::of(&body);
                lock(&orders.blocks).0.retain(|block| *block != gone);
            }
            _ => {}
        }
        orders.changed.notify_all();
    }
}

/// Gives what was ordered, at the tap's rate.
fn serve(mut stream: TcpStream, shared: &Shared, orders: &Orders) -> io::Result<()> {
    while let Some(block) = orders.next() {
        let start = block.piece as usize * shared.piece_length + block.begin as usize;
        let data = &shared.content[start..start + block.length as usize];
        let length = u32::try_from(data.len() + 9).expect("a block is short");
        let head = [&length.to_be_bytes()[..], &[7], &block.piece.to_be_bytes(), &block.begin.to_be_bytes()];
        stream.write_all(&head.concat())?;
        for slice in data.chunks(SLICE) {
            if !shared.pass(slice.len()) {
                return Ok(());
            }
            stream.write_all(slice)?;
            shared.served.fetch_add(slice.len() as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

impl Orders {
    fn next(&self) -> Option<Block> {
        let mut orders = lock(&self.blocks);
        loop {
            match (orders.0.pop_front(), orders.1) {
                (_, true) => return None,
                (Some(block), false) => return Some(block),
                (None, false) => {
                    orders = self.changed.wait(orders).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl Shared {
    fn bitfield(&self) -> Vec<u8> {
        let mut bits = vec![0; self.pieces.div_ceil(8)];
        (0..self.pieces).for_each(|piece| bits[piece / 8] |= 0x80 >> (piece % 8));
        bits
    }

    /// Waits until so many bytes may pass; `false` at the end.
    fn pass(&self, bytes: usize) -> bool {
        let mut tap = lock(&self.tap);
        loop {
            let now = Instant::now();
            let left = tap.next.saturating_duration_since(now);
            tap = match tap.rate {
                _ if self.ending.load(Ordering::SeqCst) => return false,
                UNLIMITED => return true,
                0 => self.turned.wait(tap).unwrap_or_else(PoisonError::into_inner),
                rate if left.is_zero() => {
                    // A thread that was not woken in time makes up for at most this much.
                    let from = tap.next.max(now.checked_sub(Duration::from_millis(200)).unwrap_or(now));
                    tap.next = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
                    return true;
                }
                _ => self.turned.wait_timeout(tap, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

impl Block {
    /// The block of a request or cancel.
    fn of(body: &[u8]) -> Self {
        let field = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes"));
        Self { piece: field(1), begin: field(5), length: field(9) }
    }
}

fn message(id: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).expect("a message is short");
    [&length.to_be_bytes()[..], &[id], payload].concat()
}

fn read_u32(stream: &mut TcpStream) -> io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}
