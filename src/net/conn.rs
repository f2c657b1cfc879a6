//! One connection: bytes to messages and back.
//!
//! A reading and a writing task. A block's payload is read from the socket straight into its own allocation
//! (a slice of a big read buffer would pin all of it), together with what is likely to be behind it
//! ([`super::ahead`]). Nothing a peer announces is allocated before it comes, except one block. Both tasks end
//! with their [`Line`]: a peer that does not read cannot keep what was meant for it in memory.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::ahead::{Ahead, Begun, Rooms};
use super::pool::PooledBlock;
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
    let buffer = BytesMut::with_capacity(READ_AHEAD);
    let reader = Reader { stream: read, peer, max_frame, buffer, ahead: Ahead::default(), inputs };
    let reading = tokio::spawn(reader.run()).abort_handle();
    Line { messages, reading, writing }
}

struct Reader {
    stream: OwnedReadHalf,
    peer: PeerKey,
    max_frame: MaxFrame,
    /// Read and not yet understood.
    buffer: BytesMut,
    /// Read behind a block's payload; what is in here follows the buffer, which is empty then.
    ahead: Ahead,
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
            let message = match self.ahead.take(&mut self.buffer)? {
                Some(begun) => self.read_payload(begun).await?,
                None => match Header::parse(&self.buffer)? {
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
                },
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

    /// Reads a block's payload, which the buffer may have in part.
    async fn read_block(&mut self, block: RawBlock) -> Result<Message, ConnError> {
        if block.length > BLOCK_LENGTH {
            return Err(ConnError::LongBlock(block.length));
        }
        self.buffer.advance(PIECE_HEADER);
        let mut payload = PooledBlock::new();
        let filled = self.buffer.len().min(block.length as usize);
        payload.bytes_mut()[..filled].copy_from_slice(&self.buffer[..filled]);
        self.buffer.advance(filled);
        self.read_payload(Begun { block, payload, filled }).await
    }

    async fn read_payload(&mut self, begun: Begun) -> Result<Message, ConnError> {
        let Begun { block, mut payload, mut filled } = begun;
        let length = block.length as usize;
        while filled < length {
            let rest = length - filled;
            let rooms = self.ahead.rooms(&mut payload.bytes_mut()[filled..length]);
            let read = read_into(&self.stream, rooms).await?;
            self.ahead.read(read.saturating_sub(rest));
            filled += read.min(rest);
        }
        Ok(Message::Piece { index: block.index, begin: block.begin, data: payload.freeze(length) })
    }
}

async fn read_into(stream: &OwnedReadHalf, mut rooms: Rooms<'_>) -> io::Result<usize> {
    loop {
        match stream.try_read_vectored(&mut rooms) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => stream.readable().await?,
            result => return result,
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
    use proptest::collection::vec;
    use proptest::prelude::*;
    use slotmap::SlotMap;
    use tokio::net::TcpListener;

    const MAX: MaxFrame = MaxFrame { bitfield: 100_000, others: 1_000 };

    /// A started connection, what it says, and the other end.
    async fn connection(max: MaxFrame) -> (Line, mpsc::Receiver<Input>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        let (inputs, said) = mpsc::channel(10);
        let peer = SlotMap::with_key().insert(());
        (start(ours, peer, max, inputs), said, theirs)
    }

    fn bytes(message: &Message) -> BytesMut {
        let mut out = BytesMut::new();
        message.encode_head(&mut out);
        out
    }

    #[tokio::test]
    async fn what_waits_for_a_peer_that_does_not_read_goes_with_its_line() {
        let (line, _said, mut theirs) = connection(MAX).await;
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
        let (line, _said, _theirs) = connection(MAX).await;
        let sent = (0..1_000_000).take_while(|_| line.send(Message::Choke)).count();
        assert_eq!(sent, MAX_WAITING, "the writing task had no turn yet");
    }

    #[tokio::test]
    async fn a_block_longer_than_any_that_we_ask_for_is_hostile() {
        for (length, good) in [(BLOCK_LENGTH, true), (BLOCK_LENGTH + 1, false)] {
            let (_line, mut said, mut theirs) = connection(MAX).await;
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
        let (_line, mut said, mut theirs) = connection(MAX).await;
        let bitfield = bytes(&Message::Bitfield(vec![1; 5_000].into()));
        let request = bytes(&Message::Request(RawBlock { index: 1, begin: 2, length: 3 }));
        for frame in [&bitfield, &request, &bitfield] {
            theirs.write_all(frame).await.unwrap();
        }
        assert!(matches!(said.recv().await, Some(Input::Message { message: Message::Bitfield(_), .. })));
        assert!(matches!(said.recv().await, Some(Input::Message { message: Message::Request(_), .. })));
        assert!(matches!(said.recv().await, Some(Input::Closed { hostile: true, .. })));
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let block = |length: u32| {
            any::<(u32, u32, u8)>().prop_map(move |(index, begin, fill)| Message::Piece {
                index,
                begin,
                data: vec![fill; length as usize].into(),
            })
        };
        prop_oneof![
            8 => block(BLOCK_LENGTH),
            1 => (1..=BLOCK_LENGTH).prop_flat_map(block),
            1 => any::<u32>().prop_map(Message::Have),
            1 => Just(Message::KeepAlive),
            1 => Just(Message::Bitfield(vec![1; 5_000].into())),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However the bytes fall into segments, and whatever the reader guessed to be behind a block.
        #[test]
        fn what_is_written_is_what_is_read(
            messages in vec(any_message(), 1..60),
            segments in vec(prop_oneof![1..40usize, 10_000..40_000usize, Just(400_000)], 1..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let max = MaxFrame { bitfield: 10_000, others: 10_000 };
                let (_line, mut said, mut theirs) = connection(max).await;
                let mut all = BytesMut::new();
                for message in &messages {
                    message.encode_head(&mut all);
                    if let Message::Piece { data, .. } = message {
                        all.extend_from_slice(data);
                    }
                }
                let writing = async {
                    for length in segments.into_iter().cycle() {
                        theirs.write_all(&all.split_to(length.min(all.len()))).await.unwrap();
                        if all.is_empty() {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                };
                let reading = async {
                    for wanted in &messages {
                        match said.recv().await.unwrap() {
                            Input::Message { message, .. } => assert_eq!(message, *wanted),
                            other => panic!("{other:?}"),
                        }
                    }
                };
                tokio::join!(writing, reading);
            });
        }
    }
}
