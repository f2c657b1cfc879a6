//! The pages of a broadcast: what it is and how it does, and its `.tstream`.
//!
//! One small page that needs nothing from anywhere else. A page of some other site must not read it by having its
//! own name point at us: only hosts that the broadcast goes by are answered.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use super::broadcast::{BroadcastStats, Figures};
use super::session::Handle;

/// What may not stand in a path as it is.
const IN_PATH: percent_encoding::AsciiSet =
    percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What the pages are made from.
struct Shown {
    handle: Handle,
    tstream: Bytes,
    figures: Figures,
    /// Hosts that we may be asked as.
    hosts: Vec<String>,
}

/// The pages of the broadcast that `handle` runs.
pub(super) fn of(handle: &Handle, tstream: Bytes, figures: Figures) -> Router {
    let hosts = handle.metainfo().trackers.iter().flatten().filter_map(|url| {
        let host = url.parse::<Uri>().ok()?.host()?.to_ascii_lowercase();
        Some(host)
    });
    let hosts = hosts.collect();
    let shown = Arc::new(Shown { handle: handle.clone(), tstream, figures, hosts });
    Router::new()
        .route("/", get(front))
        .route("/thumbnail.jpg", get(thumbnail))
        .fallback(get(file))
        .layer(middleware::from_fn_with_state(Arc::clone(&shown), only_our_hosts))
        .with_state(shown)
}

async fn only_our_hosts(State(shown): State<Arc<Shown>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host =
        host.parse::<axum::http::uri::Authority>().map(|authority| authority.host().to_ascii_lowercase());
    let ours = host.is_ok_and(|host| {
        let bare = host.trim_matches(['[', ']']);
        bare.parse::<std::net::IpAddr>().is_ok() || host == "localhost" || shown.hosts.contains(&host)
    });
    if !ours {
        return (StatusCode::MISDIRECTED_REQUEST, "this broadcast does not go by that name\n")
            .into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(CONNECTION, axum::http::HeaderValue::from_static("close"));
    response
}

async fn front(State(shown): State<Arc<Shown>>) -> Response {
    let policy = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'";
    let headers = [(CACHE_CONTROL, "no-store"), (CONTENT_SECURITY_POLICY, policy)];
    (headers, Html(shown.page())).into_response()
}

async fn thumbnail(State(shown): State<Arc<Shown>>) -> Response {
    match &shown.handle.metainfo().thumbnail {
        Some(jpeg) => ([(CONTENT_TYPE, "image/jpeg")], Bytes::copy_from_slice(jpeg)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The `.tstream` under the broadcast's name (percent-encoded or not).
async fn file(State(shown): State<Arc<Shown>>, uri: Uri) -> Response {
    let name = format!("{}.tstream", shown.handle.metainfo().name);
    let asked = percent_encoding::percent_decode_str(uri.path().trim_start_matches('/'));
    if asked.decode_utf8().is_ok_and(|asked| asked == name) {
        return ([(CONTENT_TYPE, "application/x-tstream")], shown.tstream.clone()).into_response();
    }
    (StatusCode::NOT_FOUND, "no such page\n").into_response()
}

impl Shown {
    fn page(&self) -> String {
        let metainfo = self.handle.metainfo();
        let (stats, made) = (self.handle.stats(), self.figures.stats());
        let BroadcastStats { rate, next, .. } = made;
        let name = text(&metainfo.name);
        let title = text(metainfo.title.as_deref().unwrap_or(&metainfo.name));
        let link = percent_encoding::utf8_percent_encode(&metainfo.name, &IN_PATH);
        let window = stats.live.map_or(0, |live| live.window);
        let mut out = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
             <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"5\">\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:2em auto;padding:0 1em}}\
             img{{max-width:100%}}td{{padding:0 1em 0 0}}</style><h1>{title}</h1>"
        );
        if metainfo.thumbnail.is_some() {
            out.push_str("<p><img src=\"/thumbnail.jpg\" alt=\"\"></p>");
        }
        // Writing to a string cannot fail.
        let _ =
            write!(out, "<p><a href=\"/{link}.tstream\">{name}.tstream</a> (open it in a player)</p><table>");
        for (label, value) in [
            ("input", rate.to_string()),
            ("upload", stats.upload_rate.to_string()),
            ("viewers connected", stats.peers.to_string()),
            ("next piece", next.to_string()),
            ("pieces kept", window.to_string()),
        ] {
            let _ = write!(out, "<tr><td>{label}<td>{value}</tr>");
        }
        out.push_str("</table></html>\n");
        out
    }
}

/// Text for a page: a name may hold anything.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_write_markup() {
        assert_eq!(text("<b>\"&'\u{1b}"), "&lt;b&gt;&quot;&amp;&#39;\u{fffd}");
    }
}
