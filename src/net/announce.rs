//! Carries out announces over HTTP, HTTPS and UDP: the real world's half of
//! [`discovery::announcer`](crate::discovery::announcer).
//!
//! A tracker that has an IPv4 and an IPv6 address is told of us over both (BEP 7), each at the same time as the
//! other: it learns both of our addresses, and a network without the one or the other costs nothing.
//! No proxy is used, whatever the environment says: peers are dialled directly as well, and a proxy would look
//! names up where the rules of reach.rs cannot see them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use reqwest::Url;

use super::announce_http::Http;
use super::announce_udp::Udp;
use crate::discovery::announcer::Failure;
use crate::wire::announce::{AnnounceRequest, AnnounceResponse, MAX_PEERS, Refusal};
use crate::wire::http_tracker::{MAX_REPLY, ReplyError};
use crate::wire::udp_tracker::Family;

/// An announce takes no longer, name lookup, redirects and all.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// A name lookup takes no longer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// When one family has answered, the other gets this much longer.
const GRACE: Duration = Duration::from_millis(300);

/// Why an announce came to nothing. No text holds a URL's path or query: a passkey may be in there.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// Not a URL with a host.
    #[error("not a tracker's address")]
    Url,
    /// A scheme that we do not speak.
    #[error("trackers over {0:?} are not supported")]
    Scheme(String),
    /// A torrent or a redirect wants us to ask for what it has no business with.
    #[error("{0} must not be asked for this path by a torrent or a redirect")]
    Forbidden(IpAddr),
    /// The name cannot be looked up.
    #[error("cannot look up {host:?}: {source}")]
    Lookup {
        /// The name.
        host: String,
        /// The system's error.
        source: io::Error,
    },
    /// No address of the family that we are bound to.
    #[error("{host:?} has no address that can be reached from {bind}")]
    Family {
        /// The name.
        host: String,
        /// Where we are bound.
        bind: IpAddr,
    },
    /// The socket said so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The HTTP exchange failed.
    #[error("{0}")]
    Http(String),
    /// Certificates cannot be checked here.
    #[error("HTTPS cannot be used: {0} (Debian: install ca-certificates)")]
    Tls(String),
    /// An answer that is neither a reply nor a redirect.
    #[error("the tracker answered HTTP status {0}")]
    Status(u16),
    /// One redirect too many, or one without a place to go.
    #[error("more than {0} redirects, or one that leads nowhere")]
    Redirect(usize),
    /// A body that no tracker sends.
    #[error("the tracker's reply is longer than {MAX_REPLY} bytes")]
    Length,
    /// A body that is no reply.
    #[error(transparent)]
    Reply(ReplyError),
    /// The tracker said no.
    #[error("the tracker refused: {}", crate::wire::announce::printable(&.0.reason))]
    Refused(Refusal),
    /// Nothing came.
    #[error("timed out")]
    Timeout,
}

impl From<ReplyError> for AnnounceError {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Refused(refusal) => Self::Refused(refusal),
            other => Self::Reply(other),
        }
    }
}

impl From<AnnounceError> for Failure {
    fn from(error: AnnounceError) -> Self {
        match error {
            AnnounceError::Refused(refusal) => Self::Refused(refusal),
            AnnounceError::Url | AnnounceError::Scheme(_) | AnnounceError::Forbidden(_) => {
                Self::Impossible(error.to_string())
            }
            other => Self::Unreachable(other.to_string()),
        }
    }
}

/// Announces from one address of this machine. One for each [`bind`](Self::new) address is enough for all
/// torrents; making one costs nothing, certificates are read when the first `https` tracker is asked.
#[derive(Debug)]
pub struct AnnounceClient {
    bind: Option<IpAddr>,
    http: Http,
    udp: Udp,
}

impl AnnounceClient {
    /// A client that announces from this address; `None` (or `::`): from any, `0.0.0.0`: from any of IPv4.
    pub fn new(bind: Option<IpAddr>) -> Self {
        let bind = bind.filter(|ip| *ip != IpAddr::from([0u16; 8]));
        Self { bind, http: Http::new(bind), udp: Udp::new(bind) }
    }

    /// Announces once, within [`TIMEOUT`].
    ///
    /// # Errors
    /// When no usable answer comes.
    pub async fn announce(
        &self,
        url: &str,
        request: &AnnounceRequest,
    ) -> Result<AnnounceResponse, AnnounceError> {
        tokio::time::timeout(TIMEOUT, self.try_announce(url, request))
            .await
            .map_err(|_| AnnounceError::Timeout)?
    }

    async fn try_announce(
        &self,
        url: &str,
        request: &AnnounceRequest,
    ) -> Result<AnnounceResponse, AnnounceError> {
        let url = Url::parse(url).map_err(|_| AnnounceError::Url)?;
        let udp = match url.scheme() {
            "http" | "https" => false,
            "udp" => true,
            other => return Err(AnnounceError::Scheme(other.to_owned())),
        };
        let addrs = resolve(&url, self.bind).await?;
        let once = |addrs: Vec<SocketAddr>| {
            let url = url.clone();
            async move {
                match addrs.first() {
                    Some(addr) if udp => self.udp.announce(&url, *addr, request).await,
                    _ => self.http.announce(url, addrs, request).await,
                }
            }
        };
        let (v4, v6): (Vec<_>, Vec<_>) = addrs.into_iter().partition(|a| Family::of(a.ip()) == Family::V4);
        match (v4.is_empty(), v6.is_empty()) {
            (false, false) => both(once(v4), once(v6)).await,
            (true, _) => once(v6).await,
            (_, true) => once(v4).await,
        }
    }
}

/// The addresses of a URL's host that can be reached from `bind`, never none.
pub(super) async fn resolve(url: &Url, bind: Option<IpAddr>) -> Result<Vec<SocketAddr>, AnnounceError> {
    let port = url.port_or_known_default().ok_or(AnnounceError::Url)?;
    let host = url.host_str().ok_or(AnnounceError::Url)?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let lookup = |source| AnnounceError::Lookup { host: host.to_owned(), source };
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, port))).await;
    let mut addrs: Vec<_> =
        found.map_err(|_| lookup(io::ErrorKind::TimedOut.into()))?.map_err(lookup)?.collect();
    let Some(bind) = bind else { return Ok(addrs) };
    addrs.retain(|addr| Family::of(addr.ip()) == Family::of(bind));
    if addrs.is_empty() { Err(AnnounceError::Family { host: host.to_owned(), bind }) } else { Ok(addrs) }
}

type Outcome = Result<AnnounceResponse, AnnounceError>;

/// Runs both, and merges what comes in good time. The first good answer does not wait long for the other.
async fn both(a: impl Future<Output = Outcome>, b: impl Future<Output = Outcome>) -> Outcome {
    let (mut a, mut b) = (pin!(a), pin!(b));
    tokio::select! {
        first = &mut a => second(first, b).await,
        first = &mut b => second(first, a).await,
    }
}

async fn second(first: Outcome, other: impl Future<Output = Outcome>) -> Outcome {
    match first {
        Ok(first) => match tokio::time::timeout(GRACE, other).await {
            Ok(Ok(second)) => Ok(merge(first, second)),
            Ok(Err(_)) | Err(_) => Ok(first),
        },
        // A refusal says more than a network that is not there.
        Err(first @ AnnounceError::Refused(_)) => other.await.map_err(|_| first),
        Err(_) => other.await,
    }
}

fn merge(mut one: AnnounceResponse, other: AnnounceResponse) -> AnnounceResponse {
    one.peers.extend(other.peers);
    let mut seen = std::collections::BTreeSet::new();
    one.peers.retain(|peer| seen.insert(peer.addr));
    one.peers.truncate(MAX_PEERS);
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::announce::TrackedPeer;
    use std::future::{pending, ready};

    fn answer(addr: &str) -> Outcome {
        let peers = vec![TrackedPeer { addr: addr.parse().unwrap(), id: None }];
        Ok(AnnounceResponse { peers, ..AnnounceResponse::default() })
    }

    fn refused() -> Outcome {
        Err(AnnounceError::Refused(Refusal { reason: "no".to_owned(), retry: None }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_family_that_is_not_there_neither_delays_nor_spoils_the_other() {
        let peers = |outcome: Outcome| outcome.unwrap().peers.len();
        assert_eq!(peers(both(pending(), ready(answer("1.2.3.4:5"))).await), 1);
        assert_eq!(peers(both(ready(Err(AnnounceError::Timeout)), ready(answer("1.2.3.4:5"))).await), 1);
        assert_eq!(peers(both(ready(answer("1.2.3.4:5")), ready(refused())).await), 1);
        assert_eq!(peers(both(ready(answer("1.2.3.4:5")), ready(answer("[::1]:5"))).await), 2);
        assert_eq!(peers(both(ready(answer("1.2.3.4:5")), ready(answer("1.2.3.4:5"))).await), 1);
        let failed = both(ready(refused()), ready(Err(AnnounceError::Timeout))).await;
        assert!(matches!(failed, Err(AnnounceError::Refused(_))));
    }

    #[tokio::test]
    async fn what_cannot_be_a_tracker_is_named_and_never_tried_again() {
        let client = AnnounceClient::new(None);
        let request = super::super::tracker::tests::request(1, 1);
        for url in ["", "nonsense", "http://", "udp://127.0.0.1/announce", "ftp://127.0.0.1/announce"] {
            let error = client.announce(url, &request).await.unwrap_err();
            assert!(matches!(Failure::from(error), Failure::Impossible(_)), "{url}");
        }
        let error = client.announce("http://127.0.0.1:1/api/shutdown?x=", &request).await.unwrap_err();
        assert!(matches!(error, AnnounceError::Forbidden(_)), "{error}");
        let six_only = AnnounceClient::new(Some("::1".parse().unwrap()));
        let error = six_only.announce("http://127.0.0.1:1/announce", &request).await.unwrap_err();
        assert!(matches!(error, AnnounceError::Family { .. }), "{error}");
    }
}
