//! One announce over HTTP or HTTPS (BEP 3), redirects included.
//!
//! Names are looked up here and not by the HTTP library, which gets the addresses that we have checked: what is
//! connected to is what was allowed ([`reach`](super::reach)), redirect by redirect. A client is made for each
//! hop; that costs tens of microseconds, since the TLS configuration is shared.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use once_cell::sync::OnceCell;
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use super::announce::{AnnounceError, resolve};
use super::reach::Reach;
use crate::wire::announce::{AnnounceRequest, AnnounceResponse};
use crate::wire::http_tracker::{MAX_REPLY, ReplyError, announce_url, parse_response};

/// A connection is there after this time, TLS included, or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// One hop takes no longer.
const HOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Most redirects.
const MAX_REDIRECTS: usize = 5;

/// What all exchanges from one address share.
#[derive(Debug)]
pub(super) struct Http {
    bind: Option<IpAddr>,
    tls: OnceCell<ClientConfig>,
}

impl Http {
    pub(super) const fn new(bind: Option<IpAddr>) -> Self {
        Self { bind, tls: OnceCell::new() }
    }

    /// Announces to the tracker at these addresses of its host, never none, all of one family.
    pub(super) async fn announce(
        &self,
        mut tracker: Url,
        mut addrs: Vec<SocketAddr>,
        request: &AnnounceRequest,
    ) -> Result<AnnounceResponse, AnnounceError> {
        tracker.set_fragment(None);
        let mut url = Url::parse(&announce_url(tracker.as_str(), request)).map_err(|_| AnnounceError::Url)?;
        let mut from = None;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.get(&url, &addrs, from).await?;
            if !response.status().is_redirection() {
                return read_reply(response).await;
            }
            let next = redirect(&url, &response)?;
            from = addrs.iter().map(|addr| Reach::of(addr.ip())).max();
            let family = addrs[0].is_ipv4();
            addrs = resolve(&next, self.bind).await?;
            if addrs.iter().any(|addr| addr.is_ipv4() == family) {
                addrs.retain(|addr| addr.is_ipv4() == family);
            }
            url = next;
        }
        Err(AnnounceError::Redirect(MAX_REDIRECTS))
    }

    async fn get(
        &self,
        url: &Url,
        addrs: &[SocketAddr],
        from: Option<Reach>,
    ) -> Result<Response, AnnounceError> {
        if let Some(inside) = addrs.iter().find(|addr| !Reach::of(addr.ip()).allows(url.path(), from)) {
            return Err(AnnounceError::Forbidden(inside.ip()));
        }
        let tls = if url.scheme() == "https" { self.tls.get_or_try_init(tls)?.clone() } else { no_tls()? };
        let client = Client::builder()
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(Policy::none())
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(HOP_TIMEOUT)
            .local_address(self.bind)
            .resolve_to_addrs(url.host_str().unwrap_or_default(), addrs)
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|e| failure(&e))?;
        client.get(url.clone()).send().await.map_err(|e| failure(&e))
    }
}

/// The system's certificates, checked by our own provider: a library must not choose the process's.
pub(super) fn tls() -> Result<ClientConfig, AnnounceError> {
    let unusable = |e: rustls::Error| AnnounceError::Tls(e.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
    Ok(builder.with_platform_verifier().map_err(unusable)?.with_no_client_auth())
}

/// For plain HTTP: trusts nobody, and costs no look at the disk.
pub(super) fn no_tls() -> Result<ClientConfig, AnnounceError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| AnnounceError::Tls(e.to_string()))?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Where a redirect leads: to HTTP or HTTPS, and never from a checked connection to an open one.
fn redirect(from: &Url, response: &Response) -> Result<Url, AnnounceError> {
    let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
    let to = location.and_then(|l| from.join(l).ok()).ok_or(AnnounceError::Redirect(MAX_REDIRECTS))?;
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Ok(to),
        _ => Err(AnnounceError::Scheme(to.scheme().to_owned())),
    }
}

async fn read_reply(mut response: Response) -> Result<AnnounceResponse, AnnounceError> {
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| failure(&e))? {
        if body.len() + chunk.len() > MAX_REPLY {
            return Err(AnnounceError::Length);
        }
        body.extend_from_slice(&chunk);
    }
    match parse_response(&body) {
        // Some trackers refuse with a status other than 200; what they say is worth more than the number.
        Err(ReplyError::Refused(refusal)) => Err(AnnounceError::Refused(refusal)),
        _ if !status.is_success() => Err(AnnounceError::Status(status.as_u16())),
        reply => Ok(reply?),
    }
}

fn failure(error: &reqwest::Error) -> AnnounceError {
    if error.is_timeout() { AnnounceError::Timeout } else { AnnounceError::Http(cause(error)) }
}

/// The innermost cause: the layers around it say little, and may quote the URL.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::announce::AnnounceClient;
    use super::super::tracker::tests::request;
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that gives each request the next of these responses, and its address.
    pub(in super::super) async fn serve(responses: Vec<Vec<u8>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for response in responses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                // The client may hang up in the middle of an endless body.
                let _ = stream.write_all(&response).await;
            }
        });
        addr
    }

    pub(in super::super) fn status(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {line}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    async fn announce(responses: Vec<Vec<u8>>) -> Result<AnnounceResponse, AnnounceError> {
        let addr = serve(responses).await;
        AnnounceClient::new(None).announce(&format!("http://{addr}/announce?key=%41"), &request(1, 1)).await
    }

    const REPLY: &[u8] = b"d8:intervali9e5:peers0:e";

    #[tokio::test]
    async fn a_redirect_is_followed_but_not_to_other_services_nor_for_ever() {
        let found = |to: &str| status("302 Found", &format!("Location: {to}\r\n"), b"");
        let moved = announce(vec![found("/announce/moved?x=1"), status("200 OK", "", REPLY)]).await;
        assert_eq!(moved.unwrap().interval, Duration::from_secs(9));
        let inside = announce(vec![found("/api/shutdown")]).await.unwrap_err();
        assert!(matches!(inside, AnnounceError::Forbidden(_)), "{inside}");
        let file = announce(vec![found("file:///etc/passwd")]).await.unwrap_err();
        assert!(matches!(file, AnnounceError::Scheme(_)), "{file}");
        let endless = announce(vec![found("/announce"); 10]).await.unwrap_err();
        assert!(matches!(endless, AnnounceError::Redirect(MAX_REDIRECTS)), "{endless}");
    }

    #[tokio::test]
    async fn an_endless_body_is_cut_off_and_an_error_page_is_named_by_its_status() {
        let endless = announce(vec![status("200 OK", "", &vec![b'x'; MAX_REPLY + 1])]).await.unwrap_err();
        assert!(matches!(endless, AnnounceError::Length), "{endless}");
        let missing = announce(vec![status("404 Not Found", "", b"<html>")]).await.unwrap_err();
        assert!(matches!(missing, AnnounceError::Status(404)), "{missing}");
        let page = announce(vec![status("200 OK", "", b"<html>")]).await.unwrap_err();
        assert!(matches!(page, AnnounceError::Reply(ReplyError::Bencode(_))), "{page}");
        let reason = b"d14:failure reason3:whye";
        let refused = announce(vec![status("403 Forbidden", "", reason)]).await.unwrap_err();
        assert!(matches!(&refused, AnnounceError::Refused(r) if r.reason == "why"), "{refused}");
    }

    #[tokio::test]
    async fn no_error_shows_the_passkey() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{addr}/announce/s3cret?passkey=s3cret");
            let error = AnnounceClient::new(None).announce(&url, &request(1, 1)).await.unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn both_tls_configurations_can_be_made_without_a_process_wide_provider() {
        assert!(no_tls().is_ok());
        match tls() {
            Ok(_) => {}
            Err(AnnounceError::Tls(why)) => assert!(why.contains("No CA certificates"), "{why}"),
            Err(other) => panic!("{other}"),
        }
    }
}
