//! Fetches a small file by HTTP or HTTPS from where the user says: a `.torrent`, a `.tstream`.
//!
//! The address is the user's own choice, unlike a tracker's (see reach.rs); no proxy is used, as nowhere here.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, Url};

use super::announce::AnnounceError;
use super::announce_http::{cause, no_tls, tls};

/// A connection is there after this time, TLS included, or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// All of it takes no longer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Most redirects.
const MAX_REDIRECTS: usize = 5;

/// Why a file cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Not a URL with a host.
    #[error("that is no address of HTTP or HTTPS")]
    Url,
    /// There is something else.
    #[error("the server answers with HTTP status {0}: is the address right?")]
    Status(u16),
    /// It is not what is wanted.
    #[error("it has more than {0} bytes: too large for a torrent file (is it the film?)")]
    Length(usize),
    /// Nothing came, or not in time.
    #[error("timed out")]
    Timeout,
    /// The exchange failed.
    #[error("{0}")]
    Http(String),
    /// Certificates cannot be checked here.
    #[error(transparent)]
    Tls(AnnounceError),
}

impl From<reqwest::Error> for WebError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Http(cause(&error)) }
    }
}

/// Whether this is the address of something on the web.
pub fn is_url(text: &str) -> bool {
    let begins =
        |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    begins("http://") || begins("https://")
}

/// Fetches a file of at most so many bytes, from `bind` if that is given.
///
/// # Errors
/// When it is not there, is too long, or does not come in time.
pub async fn fetch(url: &str, most: usize, bind: Option<IpAddr>) -> Result<Vec<u8>, WebError> {
    let url = Url::parse(url).map_err(|_| WebError::Url)?;
    // Without certificates on this machine, plain HTTP still works.
    let tls =
        if url.scheme() == "https" { tls() } else { tls().or_else(|_| no_tls()) }.map_err(WebError::Tls)?;
    let client = Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(Policy::custom(redirect))
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .local_address(bind)
        .tls_backend_preconfigured(tls)
        .build()?;
    let response = client.get(url).send().await?;
    match response.status() {
        status if status.is_success() => body(response, most).await,
        status => Err(WebError::Status(status.as_u16())),
    }
}

/// Not for ever, and never from a checked connection to an open one.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let was_checked = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error(format!("more than {MAX_REDIRECTS} redirects"))
    } else if was_checked && attempt.url().scheme() != "https" {
        attempt.error("a redirect leads from HTTPS to HTTP")
    } else {
        attempt.follow()
    }
}

async fn body(mut response: Response, most: usize) -> Result<Vec<u8>, WebError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Err(WebError::Length(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::super::announce_http::tests::{serve, status};
    use super::*;

    async fn fetched(responses: Vec<Vec<u8>>) -> Result<Vec<u8>, WebError> {
        let addr = serve(responses).await;
        fetch(&format!("http://{addr}/x.torrent"), 100, None).await
    }

    #[tokio::test]
    async fn a_file_is_fetched_through_some_redirects_if_it_is_not_too_long() {
        let found = || status("302 Found", "Location: /elsewhere\r\nConnection: close\r\n", b"");
        assert_eq!(fetched(vec![found(), status("200 OK", "", b"torrent")]).await.unwrap(), b"torrent");
        assert!(matches!(fetched(vec![status("404 Not Found", "", b"x")]).await, Err(WebError::Status(404))));
        let long = status("200 OK", "", &[b'x'; 101]);
        assert!(matches!(fetched(vec![long]).await, Err(WebError::Length(100))));
        let endless = fetched(vec![found(); 10]).await.unwrap_err();
        assert!(matches!(&endless, WebError::Http(why) if why.contains("redirects")), "{endless}");
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_without_the_library_s_words() {
        let error = fetch("http://127.0.0.1:1/x", 9, None).await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(matches!(fetch("http://", 9, None).await, Err(WebError::Url)));
        assert!(is_url("HTTPS://x") && !is_url("httpx") && !is_url("swarm:///x") && !is_url("hä://"));
    }
}
