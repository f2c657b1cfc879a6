//! Connections of strangers to our HTTP server: so many at a time, in all and from one address, so long and so
//! many bytes each.
//!
//! An announce is one short request. Whoever takes longer or sends more is cut off, whether slow by nature or by
//! intent; the next in line waits for a free place in the system's queue.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;

use super::listen::Visitor;

/// Most connections at a time.
pub(super) const MAX_CONNECTIONS: usize = 512;
/// Of those from one address; more are closed at once.
pub(super) const MAX_SAME_ADDRESS: usize = 64;
/// A connection ends after this time.
pub(super) const LIFE: Duration = Duration::from_secs(10);
/// Most bytes read from a connection.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// After the system had no descriptor or memory left for another connection.
const PAUSE: Duration = Duration::from_millis(500);

/// A listener whose connections are bounded.
pub(super) struct GuardedListener {
    door: Door,
    places: Arc<Semaphore>,
    guests: Arc<Guests>,
    life: Duration,
}

/// Where connections come from.
pub(super) enum Door {
    /// A socket of our own.
    Socket(TcpListener),
    /// A port that is shared with the peers, at this address.
    Shared(mpsc::Receiver<Visitor>, SocketAddr),
}

impl Door {
    async fn accept(&mut self) -> io::Result<Visitor> {
        match self {
            Self::Socket(listener) => TcpListener::accept(listener).await,
            Self::Shared(visitors, _) => match visitors.recv().await {
                Some(visitor) => Ok(visitor),
                // The port was closed: nobody comes any more.
                None => std::future::pending().await,
            },
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Socket(listener) => TcpListener::local_addr(listener),
            Self::Shared(_, addr) => Ok(*addr),
        }
    }
}

/// Connections by address.
#[derive(Default)]
struct Guests(Mutex<BTreeMap<IpAddr, usize>>);

/// The right to be connected, as long as it lasts.
struct Place {
    ip: IpAddr,
    guests: Arc<Guests>,
    _permit: OwnedSemaphorePermit,
}

impl Guests {
    /// Whether one more from this address may come; if so it is counted.
    fn admit(&self, ip: IpAddr) -> bool {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = guests.entry(ip).or_default();
        let admitted = *count < MAX_SAME_ADDRESS;
        *count += usize::from(admitted);
        admitted
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guests = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = guests.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                guests.remove(&self.ip);
            }
        }
    }
}

impl GuardedListener {
    pub(super) fn new(door: Door, places: usize, life: Duration) -> Self {
        Self { door, places: Arc::new(Semaphore::new(places)), guests: Arc::default(), life }
    }
}

impl Listener for GuardedListener {
    type Io = GuardedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (GuardedStream, SocketAddr) {
        let permit = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.door.accept().await {
                Ok((stream, addr)) => {
                    let ip = addr.ip().to_canonical();
                    if !self.guests.admit(ip) {
                        continue;
                    }
                    let place = Place { ip, guests: self.guests.clone(), _permit: permit };
                    let end = Box::pin(tokio::time::sleep(self.life));
                    return (GuardedStream { stream, end, left: MAX_BYTES, _place: place }, addr);
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.door.local_addr()
    }
}

/// A connection with an end.
pub(super) struct GuardedStream {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    left: usize,
    _place: Place,
}

impl GuardedStream {
    /// Our address as the other end wrote it.
    fn local_addr(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    fn check_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_end(cx)?;
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.left = self.left.saturating_sub(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_end(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The two ends of a connection.
#[derive(Copy, Clone, Debug)]
pub(super) struct Ends {
    pub(super) theirs: SocketAddr,
    pub(super) ours: Option<SocketAddr>,
}

impl axum::extract::connect_info::Connected<IncomingStream<'_, GuardedListener>> for Ends {
    fn connect_info(stream: IncomingStream<'_, GuardedListener>) -> Self {
        Self { theirs: *stream.remote_addr(), ours: stream.io().local_addr() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn listener(places: usize, life: Duration) -> (GuardedListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        (GuardedListener::new(Door::Socket(listener), places, life), addr)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_cut_off_and_gives_its_place_to_the_next() {
        let (mut listener, addr) = listener(1, LIFE).await;
        let (_silent, _next) =
            (TcpStream::connect(addr).await.unwrap(), TcpStream::connect(addr).await.unwrap());
        let (mut stream, _) = listener.accept().await;
        assert!(tokio::time::timeout(LIFE / 2, listener.accept()).await.is_err(), "no place is free");
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(stream);
        listener.accept().await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_take_all_places() {
        let (mut listener, addr) = listener(MAX_SAME_ADDRESS + 1, LIFE).await;
        let mut greedy = Vec::new();
        for _ in 0..MAX_SAME_ADDRESS {
            greedy.push(TcpStream::connect(addr).await.unwrap());
            greedy.push(TcpStream::connect(addr).await.unwrap());
        }
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let honest = socket.connect(addr).await.unwrap();
        let mut taken = Vec::new();
        while taken.last().is_none_or(|(_, addr)| *addr != honest.local_addr().unwrap()) {
            taken.push(listener.accept().await);
        }
        assert_eq!(taken.len(), MAX_SAME_ADDRESS + 1);
        drop(taken);
        assert!(listener.guests.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_connection_that_sends_too_much_is_cut_off() {
        let (mut listener, addr) = listener(1, Duration::from_secs(3_600)).await;
        let mut flood = TcpStream::connect(addr).await.unwrap();
        let (mut stream, _) = listener.accept().await;
        let sending = tokio::spawn(async move {
            let _ = flood.write_all(&vec![b'x'; MAX_BYTES * 2]).await;
            flood
        });
        let mut all = Vec::new();
        let error = stream.read_to_end(&mut all).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert!(all.len() >= MAX_BYTES && all.len() <= MAX_BYTES * 2, "{}", all.len());
        drop(sending);
    }
}
