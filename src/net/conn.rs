//! One connection: bytes to messages and back.
//!
//! A reading and a writing task. A block's payload is read from the socket straight into its own allocation
//! (a slice of a big read buffer would pin all of it), together with the header of the frame behind it, so
//! that a stream of blocks costs one system call each. Nothing a peer announces is allocated before it comes,
//! except one block. Both tasks end with their [`Line`]: a peer that does not read cannot keep what was meant for
//! it in memory.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::metainfo::geometry::BLOCK_LENGTH;
use crate::swarm::{Input, PeerKey};
use crate::wire::handshake::{HANDSHAKE, HandshakeError, Hello};
use crate::wire::message::{Header, Message, MessageError, PIECE_HEADER, RawBlock};

/// A connection attempt and a handshake may each take so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// A peer that takes nothing for so long is gone.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// Messages that may wait for a peer that does not read (beyond what the system's buffers take).
const MAX_WAITING: usize = 4 * 1024;
/// Messages written together.
const BATCH: usize = 128;
/// Bytes read ahead for small frames.
const READ_AHEAD: usize = 16 * 1024;
/// Bytes behind a block that are read with it: the header of the next one.
const NEXT_HEADER: usize = PIECE_HEADER;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer in {PATIENCE:?}")]
    Timeout,
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("{0}")]
    Message(#[from] MessageError),
    #[error("a frame of {0} bytes, more than this torrent needs")]
    TooLong(u32),
    #[error("a block of {0} bytes, more than we ask for")]
    LongBlock(u32),
}

impl ConnError {
    /// The peer broke the protocol, as opposed to having gone.
    const fn is_hostile(&self) -> bool {
        matches!(self, Self::Message(_) | Self::TooLong(_) | Self::LongBlock(_))
    }
}

/// The writing end that the torrent's task holds.
pub(super) struct Line {
    messages: mpsc::Sender<Message>,
    reading: AbortHandle,
    writing: AbortHandle,
}

impl Line {
    /// Queues a message; `false` when the peer does not read what it is sent.
    pub(super) fn send(&self, message: Message) -> bool {
        self.messages.try_send(message).is_ok()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.reading.abort();
        self.writing.abort();
    }
}

/// Calls a peer and shakes hands.
pub(super) async fn dial(
    addr: SocketAddr,
    from: Option<IpAddr>,
    ours: Hello,
) -> Result<(TcpStream, Hello), ConnError> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(ip) = from.filter(|ip| ip.is_ipv4() == addr.is_ipv4()) {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    let connected = timeout(PATIENCE, socket.connect(addr)).await.map_err(|_| ConnError::Timeout)?;
    let mut stream = connected?;
    stream.set_nodelay(true)?;
    stream.write_all(&ours.encode()).await?;
    let theirs = read_hello(&mut stream).await?;
    if theirs.info_hash != ours.info_hash {
        return Err(HandshakeError::OtherSwarm(theirs.info_hash).into());
    }
    Ok((stream, theirs))
}

/// Reads a handshake, within [`PATIENCE`].
pub(super) async fn read_hello(stream: &mut TcpStream) -> Result<Hello, ConnError> {
    let mut bytes = [0; HANDSHAKE];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.map_err(|_| ConnError::Timeout)??;
    Ok(Hello::decode(&bytes)?)
}

/// The longest frames but blocks that a torrent needs.
#[derive(Copy, Clone, Debug)]
pub(super) struct MaxFrame {
    /// The bitfield; one frame may be longer than `others`.
    pub(super) bitfield: u32,
    /// All others.
    pub(super) others: u32,
}

/// Starts the two tasks of a connection that has shaken hands.
pub(super) fn start(
    stream: TcpStream,
    peer: PeerKey,
    max_frame: MaxFrame,
    inputs: mpsc::Sender<Input>,
) -> Line {
    let (read, write) = stream.into_split();
    let (messages, queue) = mpsc::channel(MAX_WAITING);
    let writer = Writer { stream: write, peer, queue, inputs: inputs.clone() };
    let writing = tokio::spawn(writer.run()).abort_handle();
    let reader =
        Reader { stream: read, peer, max_frame, buffer: BytesMut::with_capacity(READ_AHEAD), inputs };
    let reading = tokio::spawn(reader.run()).abort_handle();
    Line { messages, reading, writing }
}

struct Reader {
    stream: OwnedReadHalf,
    peer: PeerKey,
    max_frame: MaxFrame,
    /// Read and not yet understood.
    buffer: BytesMut,
    inputs: mpsc::Sender<Input>,
}

impl Reader {
    async fn run(mut self) {
        let Err(error) = self.read_all().await else { return };
        tracing::debug!(peer = ?self.peer, %error, "connection ended");
        let closed = Input::Closed { peer: self.peer, hostile: error.is_hostile() };
        // The torrent may have ended before us.
        let _ = self.inputs.send(closed).await;
    }

    async fn read_all(&mut self) -> Result<(), ConnError> {
        loop {
            let message = match Header::parse(&self.buffer)? {
                None => {
                    self.read_more().await?;
                    continue;
                }
                Some(Header::KeepAlive) => {
                    self.buffer.advance(4);
                    Message::KeepAlive
                }
                Some(Header::Frame { length }) => self.read_frame(length).await?,
                Some(Header::Block(block)) => self.read_block(block).await?,
            };
            if self.inputs.send(Input::Message { peer: self.peer, message }).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn read_more(&mut self) -> Result<(), ConnError> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    async fn read_frame(&mut self, length: u32) -> Result<Message, ConnError> {
        if length > self.max_frame.others {
            if length > self.max_frame.bitfield {
                return Err(ConnError::TooLong(length));
            }
            // Many peers with many long frames would fill the queue of the torrent's task with megabytes.
            self.max_frame.bitfield = 0;
        }
        let whole = 4 + length as usize;
        while self.buffer.len() < whole {
            self.read_more().await?;
        }
        let frame = Bytes::copy_from_slice(&self.buffer[4..whole]);
        self.buffer.advance(whole);
        Ok(Message::decode(&frame)?)
    }

    /// Reads a block's payload into an allocation of its own, and what follows it into the buffer.
    async fn read_block(&mut self, block: RawBlock) -> Result<Message, ConnError> {
        if block.length > BLOCK_LENGTH {
            return Err(ConnError::LongBlock(block.length));
        }
        self.buffer.advance(PIECE_HEADER);
        let length = block.length as usize;
        let mut data = vec![0; length];
        let mut filled = self.buffer.len().min(length);
        data[..filled].copy_from_slice(&self.buffer[..filled]);
        self.buffer.advance(filled);
        while filled < length {
            let mut next = [0; NEXT_HEADER];
            let read = self.read_into(&mut data[filled..], &mut next).await?;
            let behind = read.saturating_sub(length - filled);
            self.buffer.extend_from_slice(&next[..behind]);
            filled += read - behind;
        }
        Ok(Message::Piece { index: block.index, begin: block.begin, data: Bytes::from(data) })
    }

    async fn read_into(&self, data: &mut [u8], next: &mut [u8]) -> Result<usize, ConnError> {
        loop {
            let mut parts = [IoSliceMut::new(data), IoSliceMut::new(next)];
            match self.stream.try_read_vectored(&mut parts) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(read) => return Ok(read),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.stream.readable().await?,
                Err(e) => return Err(e.into()),
            }
        }
    }
}

struct Writer {
    stream: OwnedWriteHalf,
    peer: PeerKey,
    queue: mpsc::Receiver<Message>,
    inputs: mpsc::Sender<Input>,
}

impl Writer {
    /// Ends with its [`Line`], or when the peer is gone.
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.queue.recv_many(&mut batch, BATCH).await > 0 {
            let payload = batch.iter().map(payload_of).sum::<u64>();
            let sent = timeout(WRITE_PATIENCE, self.write(&mut batch)).await;
            if !matches!(sent, Ok(Ok(()))) {
                // The reading task may be waiting for a peer that says nothing more.
                let _ = self.inputs.send(Input::Closed { peer: self.peer, hostile: false }).await;
                return;
            }
            if payload > 0 && self.inputs.send(Input::Sent { peer: self.peer, bytes: payload }).await.is_err()
            {
                return;
            }
        }
    }

    async fn write(&mut self, batch: &mut Vec<Message>) -> io::Result<()> {
        let mut parts = Parts::default();
        batch.drain(..).for_each(|message| parts.push(message));
        let parts = parts.finish();
        let mut slices: Vec<_> = parts.iter().map(|p| IoSlice::new(p)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let written = self.stream.write_vectored(rest).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }
}

/// Heads of messages run together, payloads as they are.
#[derive(Default)]
struct Parts {
    heads: BytesMut,
    done: Vec<Bytes>,
}

impl Parts {
    fn push(&mut self, message: Message) {
        message.encode_head(&mut self.heads);
        if let Message::Piece { data, .. } = message {
            self.done.push(self.heads.split().freeze());
            self.done.push(data);
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.heads.is_empty() {
            self.done.push(self.heads.freeze());
        }
        self.done
    }
}

fn payload_of(message: &Message) -> u64 {
    match message {
        Message::Piece { data, .. } => data.len() as u64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::RawBlock;
    use slotmap::SlotMap;
    use tokio::net::TcpListener;

    const MAX: MaxFrame = MaxFrame { bitfield: 100_000, others: 1_000 };

    /// A started connection, what it says, and the other end.
    async fn connection() -> (Line, mpsc::Receiver<Input>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        let (inputs, said) = mpsc::channel(10);
        let peer = SlotMap::with_key().insert(());
        (start(ours, peer, MAX, inputs), said, theirs)
    }

    fn bytes(message: &Message) -> BytesMut {
        let mut out = BytesMut::new();
        message.encode_head(&mut out);
        out
    }

    #[tokio::test]
    async fn what_waits_for_a_peer_that_does_not_read_goes_with_its_line() {
        let (line, _said, mut theirs) = connection().await;
        let data = Bytes::from(vec![7; 1 << 20]);
        let waiting = |n| Message::Piece { index: n, begin: 0, data: data.clone() };
        (0..50).for_each(|n| assert!(line.send(waiting(n))));
        drop(line);
        let mut all = Vec::new();
        // Whether it ends by a reset or by an end does not matter.
        let _ = theirs.read_to_end(&mut all).await;
        assert!(all.len() < 50 << 20, "{}", all.len());
        while !data.is_unique() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn only_so_many_messages_wait_for_a_peer_that_does_not_read() {
        let (line, _said, _theirs) = connection().await;
        let sent = (0..1_000_000).take_while(|_| line.send(Message::Choke)).count();
        assert_eq!(sent, MAX_WAITING, "the writing task had no turn yet");
    }

    #[tokio::test]
    async fn a_block_longer_than_any_that_we_ask_for_is_hostile() {
        for (length, good) in [(BLOCK_LENGTH, true), (BLOCK_LENGTH + 1, false)] {
            let (_line, mut said, mut theirs) = connection().await;
            let data = Bytes::from(vec![7; length as usize]);
            theirs
                .write_all(&bytes(&Message::Piece { index: 1, begin: 0, data: data.clone() }))
                .await
                .unwrap();
            theirs.write_all(&data).await.unwrap();
            match said.recv().await.unwrap() {
                Input::Message { message: Message::Piece { data: got, .. }, .. } => {
                    assert!(good && got == data)
                }
                Input::Closed { hostile, .. } => assert!(hostile && !good),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn one_long_frame_is_a_bitfield_and_a_second_is_hostile() {
        let (_line, mut said, mut theirs) = connection().await;
        let bitfield = bytes(&Message::Bitfield(vec![1; 5_000].into()));
        let request = bytes(&Message::Request(RawBlock { index: 1, begin: 2, length: 3 }));
        for frame in [&bitfield, &request, &bitfield] {
            theirs.write_all(frame).await.unwrap();
        }
        assert!(matches!(said.recv().await, Some(Input::Message { message: Message::Bitfield(_), .. })));
        assert!(matches!(said.recv().await, Some(Input::Message { message: Message::Request(_), .. })));
        assert!(matches!(said.recv().await, Some(Input::Closed { hostile: true, .. })));
    }
}
