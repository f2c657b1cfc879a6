//! One announce over UDP (BEP 15): connection ids kept for a minute, lost packets sent again.
//!
//! BEP 15 waits 15 s for the first answer and doubles from there. A viewer who waits for his film cannot: we
//! begin with 3 s and stop after four tries, 45 s in all. An id that the tracker does not take (any more) is
//! forgotten and asked for anew, once.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64;
use reqwest::Url;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::announce::AnnounceError;
use crate::wire::announce::{AnnounceRequest, AnnounceResponse};
use crate::wire::udp_tracker::{Family, Request, Response};

/// How long the first packet is waited for; twice as long for each that follows.
const FIRST_TIMEOUT: Duration = Duration::from_secs(3);
/// Packets sent before giving up.
const TRIES: u32 = 4;
/// A connection id is used for this long (BEP 15).
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// Most connection ids kept.
const MAX_CONNECTIONS: usize = 256;
/// Longest datagram read.
const MAX_DATAGRAM: usize = 65_535;

/// What all exchanges from one address share.
#[derive(Debug)]
pub(super) struct Udp {
    bind: Option<IpAddr>,
    connections: Mutex<BTreeMap<SocketAddr, (u64, Instant)>>,
    transactions: Mutex<Pcg64>,
}

impl Udp {
    pub(super) fn new(bind: Option<IpAddr>) -> Self {
        let transactions = Mutex::new(rand::make_rng());
        Self { bind, connections: Mutex::default(), transactions }
    }

    /// Announces to a tracker at this address.
    pub(super) async fn announce(
        &self,
        url: &Url,
        tracker: SocketAddr,
        request: &AnnounceRequest,
    ) -> Result<AnnounceResponse, AnnounceError> {
        let socket = self.socket(tracker).await?;
        let url_data = format!("{}{}", url.path(), url.query().map(|q| format!("?{q}")).unwrap_or_default());
        let exchange = Exchange { udp: self, socket, tracker, url_data };
        let mut known = self.connection(tracker);
        for attempt in 0..TRIES {
            let deadline = Instant::now() + FIRST_TIMEOUT * 2u32.pow(attempt);
            match exchange.attempt(known, request, deadline).await {
                Err(AnnounceError::Timeout) => known = None,
                Err(AnnounceError::Refused(_)) if known.is_some() => known = None,
                outcome => return outcome,
            }
        }
        self.forget(tracker);
        Err(AnnounceError::Timeout)
    }

    /// A socket that hears only this tracker, and hears of its being gone.
    async fn socket(&self, tracker: SocketAddr) -> io::Result<UdpSocket> {
        let any: IpAddr =
            if tracker.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((self.bind.unwrap_or(any), 0)).await?;
        socket.connect(tracker).await?;
        Ok(socket)
    }

    fn connection(&self, tracker: SocketAddr) -> Option<u64> {
        let connections = self.connections.lock().expect("no panic while it is held");
        connections.get(&tracker).filter(|(_, since)| since.elapsed() < CONNECTION_LIFE).map(|(id, _)| *id)
    }

    fn remember(&self, tracker: SocketAddr, id: u64) {
        let mut connections = self.connections.lock().expect("no panic while it is held");
        connections.retain(|_, (_, since)| since.elapsed() < CONNECTION_LIFE);
        if connections.len() < MAX_CONNECTIONS {
            connections.insert(tracker, (id, Instant::now()));
        }
    }

    fn forget(&self, tracker: SocketAddr) {
        self.connections.lock().expect("no panic while it is held").remove(&tracker);
    }

    fn transaction(&self) -> u32 {
        self.transactions.lock().expect("no panic while it is held").random()
    }
}

/// One announce under way.
struct Exchange<'a> {
    udp: &'a Udp,
    socket: UdpSocket,
    tracker: SocketAddr,
    url_data: String,
}

impl Exchange<'_> {
    /// Connects if need be, and announces; all before `deadline`.
    async fn attempt(
        &self,
        known: Option<u64>,
        request: &AnnounceRequest,
        deadline: Instant,
    ) -> Result<AnnounceResponse, AnnounceError> {
        let connection = match known {
            Some(id) => id,
            None => self.connect(deadline).await?,
        };
        let transaction = self.udp.transaction();
        let packet = Request::Announce { connection, transaction, request: request.clone() };
        match self.ask(&packet, transaction, deadline).await? {
            Response::Announce { response, .. } => Ok(response),
            Response::Error { refusal, .. } => {
                self.udp.forget(self.tracker);
                Err(AnnounceError::Refused(refusal))
            }
            Response::Connect { .. } | Response::Scrape { .. } => Err(AnnounceError::Timeout),
        }
    }

    async fn connect(&self, deadline: Instant) -> Result<u64, AnnounceError> {
        let transaction = self.udp.transaction();
        match self.ask(&Request::Connect { transaction }, transaction, deadline).await? {
            Response::Connect { connection, .. } => {
                self.udp.remember(self.tracker, connection);
                Ok(connection)
            }
            Response::Error { refusal, .. } => Err(AnnounceError::Refused(refusal)),
            Response::Announce { .. } | Response::Scrape { .. } => Err(AnnounceError::Timeout),
        }
    }

    /// Sends a packet and waits for its answer; whatever else comes is not looked at.
    async fn ask(
        &self,
        packet: &Request,
        transaction: u32,
        deadline: Instant,
    ) -> Result<Response, AnnounceError> {
        let family = Family::of(self.tracker.ip());
        self.socket.send(&packet.encode(&self.url_data)).await?;
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let received = timeout_at(deadline, self.socket.recv(&mut buffer)).await;
            let length = received.map_err(|_| AnnounceError::Timeout)??;
            match Response::decode(&buffer[..length], family) {
                Ok(response) if response.transaction() == transaction => return Ok(response),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tracker::tests::request;
    use super::*;
    use crate::wire::announce::Refusal;

    /// A tracker that answers the datagrams it gets by a script, and says which it got.
    async fn scripted(
        mut answer: impl FnMut(usize, Request) -> Option<Response> + Send + 'static,
    ) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 2_000];
            for number in 0.. {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                if let Some(reply) = answer(number, Request::decode(&buffer[..length]).unwrap()) {
                    // A reply to somebody else's question comes first.
                    let stray = Response::Connect { transaction: !reply.transaction(), connection: 0 };
                    socket.send_to(b"garbage", from).await.unwrap();
                    socket.send_to(&stray.encode(Family::V4), from).await.unwrap();
                    socket.send_to(&reply.encode(Family::V4), from).await.unwrap();
                }
            }
        });
        (addr, task)
    }

    /// What a tracker in order says.
    fn proper(packet: &Request) -> Response {
        match packet {
            Request::Connect { transaction } => {
                Response::Connect { transaction: *transaction, connection: 42 }
            }
            Request::Announce { transaction, connection: 42, .. } => {
                let response =
                    AnnounceResponse { interval: Duration::from_secs(7), ..AnnounceResponse::default() };
                Response::Announce { transaction: *transaction, response }
            }
            Request::Announce { transaction, .. } | Request::Scrape { transaction, .. } => {
                let refusal = Refusal { reason: "no".to_owned(), retry: None };
                Response::Error { transaction: *transaction, refusal }
            }
        }
    }

    async fn announce(udp: &Udp, tracker: SocketAddr) -> Result<AnnounceResponse, AnnounceError> {
        let url = Url::parse(&format!("udp://{tracker}/announce")).unwrap();
        udp.announce(&url, tracker, &request(1, 1)).await
    }

    #[tokio::test(start_paused = true)]
    async fn lost_packets_are_sent_again_after_three_seconds_and_then_six() {
        let (tracker, _task) = scripted(|number, packet| (number > 1).then(|| proper(&packet))).await;
        let began = Instant::now();
        let response = announce(&Udp::new(None), tracker).await.unwrap();
        assert_eq!(response.interval, Duration::from_secs(7));
        assert_eq!(began.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_tracker_is_given_up_after_forty_five_seconds() {
        let (tracker, _task) = scripted(|_, _| None).await;
        let began = Instant::now();
        let error = announce(&Udp::new(None), tracker).await.unwrap_err();
        assert!(matches!(error, AnnounceError::Timeout));
        assert_eq!(began.elapsed().as_secs(), 45);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_id_is_used_for_a_minute() {
        let (sent, mut kinds) = tokio::sync::mpsc::unbounded_channel();
        let (tracker, _task) = scripted(move |_, packet| {
            sent.send(matches!(packet, Request::Connect { .. })).unwrap();
            Some(proper(&packet))
        })
        .await;
        let udp = Udp::new(None);
        for wait in [0, 59, 2] {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            announce(&udp, tracker).await.unwrap();
        }
        let connects: Vec<_> = std::iter::from_fn(|| kinds.try_recv().ok()).collect();
        assert_eq!(connects, [true, false, false, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_that_the_tracker_has_forgotten_is_asked_for_anew_and_a_real_refusal_is_told() {
        let (tracker, _task) = scripted(|_, packet| Some(proper(&packet))).await;
        let udp = Udp::new(None);
        udp.remember(tracker, 41);
        assert!(announce(&udp, tracker).await.is_ok());
        let (tracker, _task) = scripted(|_, packet| {
            Some(match packet {
                Request::Announce { transaction, request, .. } => {
                    proper(&Request::Announce { connection: 0, transaction, request })
                }
                other => proper(&other),
            })
        })
        .await;
        assert!(matches!(announce(&udp, tracker).await, Err(AnnounceError::Refused(_))));
    }
}
