//! One connection of a scripted peer: messages of the protocol as our own codec writes them, and raw bytes for
//! everything that it would refuse to write.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use gstswarm::wire::handshake::{HANDSHAKE, Hello};
use gstswarm::wire::ids::PeerId;
use gstswarm::wire::message::{Header, Message, PIECE_HEADER, RawBlock};

use super::film::Film;

/// What all connections of one scripted peer count together.
#[derive(Debug, Default)]
pub struct Tally {
    /// Payload of blocks that went out.
    pub given: AtomicU64,
    /// Payload of blocks that came in.
    pub taken: AtomicU64,
    /// Requests that came in.
    pub asked: AtomicU64,
    /// Connections that shook hands.
    pub met: AtomicU64,
    /// The peer is to end.
    pub over: AtomicBool,
}

impl Tally {
    fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::SeqCst);
    }

    /// Payload of blocks that went out.
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::SeqCst)
    }

    /// Payload of blocks that came in.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    /// Requests that came in.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Connections that shook hands.
    pub fn met(&self) -> u64 {
        self.met.load(Ordering::SeqCst)
    }

    /// Whether the peer is to end.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// A connection.
pub struct Line {
    stream: TcpStream,
    buffer: BytesMut,
    id: PeerId,
    /// What it deals in.
    pub film: Arc<Film>,
    /// What it counts.
    pub tally: Arc<Tally>,
}

impl Line {
    /// A connection of a peer that calls itself `id`.
    pub fn new(stream: TcpStream, id: PeerId, film: Arc<Film>, tally: Arc<Tally>) -> Self {
        Self { stream, buffer: BytesMut::new(), id, film, tally }
    }

    /// The same connection for another thread, which only speaks.
    pub fn mouth(&self) -> io::Result<Self> {
        let (film, tally) = (Arc::clone(&self.film), Arc::clone(&self.tally));
        Ok(Self::new(self.stream.try_clone()?, self.id, film, tally))
    }

    /// Any bytes.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Bytes one by one, so slowly that whoever waits for the last one waits too long.
    pub fn trickle(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        bytes.iter().try_for_each(|byte| {
            self.raw(&[*byte])?;
            thread::park_timeout(pause);
            if self.tally.is_over() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        })
    }

    /// A frame with any length, id and body.
    pub fn frame(&mut self, length: u32, id: u8, body: &[u8]) -> io::Result<()> {
        let head = [&length.to_be_bytes()[..], &[id]].concat();
        self.raw(&[&head, body].concat())
    }

    /// A message.
    pub fn send(&mut self, message: &Message) -> io::Result<()> {
        let bytes = encoded(message);
        self.raw(&bytes)?;
        if let Message::Piece { data, .. } = message {
            Tally::add(&self.tally.given, data.len() as u64);
        }
        Ok(())
    }

    /// The handshake that a well-behaved peer sends.
    pub fn hello(&self) -> [u8; HANDSHAKE] {
        Hello::ours(self.film.metainfo.info_hash, self.id).encode()
    }

    /// Both handshakes.
    pub fn meet(&mut self) -> io::Result<()> {
        let hello = self.hello();
        self.raw(&hello)?;
        let mut theirs = [0; HANDSHAKE];
        self.stream.read_exact(&mut theirs)?;
        Tally::add(&self.tally.met, 1);
        Ok(())
    }

    /// Both handshakes, then what a seed says first.
    pub fn meet_as_seed(&mut self) -> io::Result<()> {
        self.meet()?;
        self.send(&Message::HaveAll)?;
        self.send(&Message::Unchoke)
    }

    /// The next message; an error when the other end is gone.
    pub fn next(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = self.parse()? {
                match &message {
                    Message::Request(_) => Tally::add(&self.tally.asked, 1),
                    Message::Piece { data, .. } => Tally::add(&self.tally.taken, data.len() as u64),
                    _ => {}
                }
                return Ok(message);
            }
            let mut chunk = [0; 32 * 1024];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.buffer.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// Waits for a message of some kind; skips the others.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(&Message) -> Option<T>) -> io::Result<T> {
        loop {
            if let Some(found) = wanted(&self.next()?) {
                return Ok(found);
            }
        }
    }

    /// Hears what comes, says nothing, until the other end has enough.
    pub fn listen(&mut self) -> io::Result<()> {
        self.until(|_| None)
    }

    /// Does not even read, until the peer is told to end (the other end may close long before).
    pub fn ignore(&mut self) -> io::Result<()> {
        while !self.tally.is_over() {
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Says no more; still hears.
    pub fn end_speech(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Answers requests until the other end is gone. `pace`: bytes/s over this connection. `spoil` may change
    /// a block before it goes out.
    pub fn serve(&mut self, pace: Option<u64>, spoil: impl Fn(RawBlock, &mut Vec<u8>)) -> io::Result<()> {
        let mut due = Instant::now();
        loop {
            let Message::Request(block) = self.next()? else { continue };
            if let Some(pace) = pace {
                due =
                    due.max(Instant::now()) + Duration::from_secs_f64(f64::from(block.length) / pace as f64);
                while let Some(early) = due.checked_duration_since(Instant::now()) {
                    thread::park_timeout(early);
                }
            }
            let mut data = self.film.block(block).to_vec();
            spoil(block, &mut data);
            self.send(&Message::Piece { index: block.index, begin: block.begin, data: data.into() })?;
        }
    }

    fn parse(&mut self) -> io::Result<Option<Message>> {
        let broken = |e: &dyn std::fmt::Display| io::Error::other(format!("we broke the protocol: {e}"));
        let whole = match Header::parse(&self.buffer).map_err(|e| broken(&e))? {
            None => return Ok(None),
            Some(Header::KeepAlive) => 4,
            Some(Header::Frame { length }) => 4 + length as usize,
            Some(Header::Block(block)) => PIECE_HEADER + block.length as usize,
        };
        if self.buffer.len() < whole {
            return Ok(None);
        }
        let frame = self.buffer.split_to(whole).freeze();
        Message::decode(&frame.slice(4..)).map(Some).map_err(|e| broken(&e))
    }
}

/// A message's bytes.
pub fn encoded(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    message.encode_head(&mut out);
    if let Message::Piece { data, .. } = message {
        out.extend_from_slice(data);
    }
    out.freeze()
}
