//! Where a torrent is: a path, a `file://` URI, or our own
//! `swarm:///absolute/path.torrent?file=N&x.pe=host:port&x.pe=…`.
//!
//! Pure text. Reserved bytes of the path are percent-encoded (RFC 3986); `file` is the index of the file to
//! play, `x.pe` (named as in magnet links, BEP 9) a peer to try, and parameters that we do not know are ignored.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

/// Our scheme.
pub const SCHEME: &str = "swarm";
/// Most peers that one URI or one `peers` property may name.
pub const MAX_PEERS: usize = 1_000;

/// What may not stand in a path as it is.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');
/// The same for one name in a path.
const NAME: &AsciiSet = &PATH.add(b'/');
/// The same for a parameter.
const PARAMETER: &AsciiSet = &PATH.add(b'&').add(b'+').add(b'=');

/// A torrent file and what its URI says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The torrent file.
    pub path: PathBuf,
    /// The file in it to play.
    pub file: Option<usize>,
    /// Peers to try, `host:port`.
    pub peers: Vec<String>,
}

/// Why text does not say where a torrent is. Texts in it are the user's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Some other scheme.
    #[error("\"{0}:\" is not supported, only paths, file:///path and swarm:///path are{hint}", hint = hint(.0))]
    Scheme(String),
    /// `swarm://name/…`.
    #[error("\"{0}\" stands where no host can be; write swarm:/// and the absolute path")]
    Host(String),
    /// No path, or one that no file can have.
    #[error("the path is empty, relative or has a zero byte")]
    Path,
    /// `file=` is not a number.
    #[error("\"file={0}\" is not the index of a file")]
    File(String),
    /// A peer that is not `host:port`.
    #[error("\"{0}\" is not a peer: write host:port, or [address]:port for IPv6")]
    Peer(String),
    /// More than [`MAX_PEERS`].
    #[error("{0} peers are more than {MAX_PEERS}")]
    Peers(usize),
}

/// What can be done with it instead.
fn hint(scheme: &str) -> &'static str {
    match scheme {
        "http" | "https" => {
            "; give that URI to playbin (gst-play-1.0 URI), or use souphttpsrc location=URI ! swarmdemux"
        }
        "magnet" => "; give the .torrent file",
        _ => "",
    }
}

impl UriError {
    /// The same for GStreamer.
    pub fn to_glib(&self) -> glib::Error {
        let kind = match self {
            Self::Scheme(_) => gst::URIError::UnsupportedProtocol,
            Self::Host(_) | Self::Path => gst::URIError::BadUri,
            Self::File(_) | Self::Peer(_) | Self::Peers(_) => gst::URIError::BadReference,
        };
        glib::Error::new(kind, &self.to_string())
    }
}

impl Target {
    /// Reads what a user wrote: a path, or a URI where it starts like one.
    ///
    /// # Errors
    /// When it is a URI and not one of ours, or no path at all.
    pub fn parse(location: &str) -> Result<Self, UriError> {
        match location.split_once(':') {
            Some((SCHEME, rest)) => Self::parse_swarm(rest),
            Some(("file", rest)) => Ok(Self { path: absolute_path(rest)?, ..Self::default() }),
            Some((scheme, rest)) if is_scheme(scheme) && (rest.starts_with("//") || scheme == "magnet") => {
                Err(UriError::Scheme(scheme.to_owned()))
            }
            _ if location.is_empty() || location.contains('\0') => Err(UriError::Path),
            _ => Ok(Self { path: location.into(), ..Self::default() }),
        }
    }

    /// The URI that says the same; a relative path is taken from the current folder.
    pub fn to_uri(&self) -> String {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut uri = format!("{SCHEME}://{}", percent_encode(path.as_os_str().as_bytes(), PATH));
        let mut gap = '?';
        let file = self.file.map(|n| format!("file={n}"));
        let peers = self.peers.iter().map(|p| format!("x.pe={}", percent_encode(p.as_bytes(), PARAMETER)));
        for parameter in file.into_iter().chain(peers) {
            uri.push(gap);
            uri.push_str(&parameter);
            gap = '&';
        }
        uri
    }

    fn parse_swarm(rest: &str) -> Result<Self, UriError> {
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let mut target = Self { path: absolute_path(path)?, ..Self::default() };
        for parameter in parameters.split('&') {
            target.add_parameter(parameter)?;
        }
        Ok(target)
    }

    fn add_parameter(&mut self, parameter: &str) -> Result<(), UriError> {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        match name {
            "file" => self.file = Some(value.parse().map_err(|_| UriError::File(value.into_owned()))?),
            "x.pe" if self.peers.len() == MAX_PEERS => return Err(UriError::Peers(MAX_PEERS + 1)),
            "x.pe" => self.peers.push(peer(&value)?),
            _ => {}
        }
        Ok(())
    }
}

/// Reads a comma-separated list of peers; empty entries are skipped.
///
/// # Errors
/// When one is not `host:port` or there are more than [`MAX_PEERS`].
pub fn peers(list: &str) -> Result<Vec<String>, UriError> {
    let entries = || list.split(',').map(str::trim).filter(|p| !p.is_empty());
    match entries().count() {
        0..=MAX_PEERS => entries().map(peer).collect(),
        count => Err(UriError::Peers(count)),
    }
}

/// A URI for typefinders: below the torrent's, and its last name is the media file's, so that the file's
/// extension is the first guess at its type.
pub fn media_uri(torrent: &Path, name: &str) -> String {
    let torrent = percent_encode(torrent.as_os_str().as_bytes(), PATH);
    format!("{SCHEME}://{torrent}/{}", percent_encode(name.as_bytes(), NAME))
}

fn peer(text: &str) -> Result<String, UriError> {
    let bad = || UriError::Peer(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
    let is_v6 =
        |h: &str| h.strip_prefix('[').and_then(|h| h.strip_suffix(']')).is_some_and(|h| h.contains(':'));
    let is_name =
        |h: &str| !h.is_empty() && h.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let port_is_good = port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|p: u16| p > 0);
    let host_is_good = is_name(host) || is_v6(host) && text.parse::<std::net::SocketAddrV6>().is_ok();
    if port_is_good && host_is_good { Ok(text.to_owned()) } else { Err(bad()) }
}

/// The path of `//path`, `//localhost/path` or `/path`, decoded.
fn absolute_path(encoded: &str) -> Result<PathBuf, UriError> {
    let path = match encoded.strip_prefix("//") {
        None => encoded,
        Some(rest) => match rest.find('/').map_or((rest, ""), |at| rest.split_at(at)) {
            ("" | "localhost", path) => path,
            (host, _) => return Err(UriError::Host(host.to_owned())),
        },
    };
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    if !bytes.starts_with(b"/") || bytes.contains(&0) {
        return Err(UriError::Path);
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_and_uris_say_where_the_torrent_is() {
        for (text, path) in [
            ("film.torrent", "film.torrent"),
            ("/a b/100%.torrent", "/a b/100%.torrent"),
            ("odd:name.torrent", "odd:name.torrent"),
            ("file:///a%20b/x.torrent", "/a b/x.torrent"),
            ("swarm:///a%20b/x.torrent", "/a b/x.torrent"),
            ("swarm:/a/x.torrent", "/a/x.torrent"),
            ("swarm://localhost/a/x.torrent#part", "/a/x.torrent"),
        ] {
            assert_eq!(Target::parse(text).map(|t| t.path), Ok(path.into()), "{text}");
        }
    }

    #[test]
    fn parameters_name_the_file_and_peers() {
        let target =
            Target::parse("swarm:///x?file=3&x.pe=a.example:1&other=1&x.pe=%5B::1%5D:65535&").unwrap();
        assert_eq!((target.file, target.peers), (Some(3), vec!["a.example:1".into(), "[::1]:65535".into()]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_reason() {
        for (text, error) in [
            ("http://host/x.torrent", UriError::Scheme("http".into())),
            ("magnet:?xt=urn:btih:00", UriError::Scheme("magnet".into())),
            ("swarm://x.torrent", UriError::Host("x.torrent".into())),
            ("swarm:x.torrent", UriError::Path),
            ("swarm:///a%00b", UriError::Path),
            ("", UriError::Path),
            ("swarm:///x?file=one", UriError::File("one".into())),
            ("swarm:///x?x.pe=host", UriError::Peer("host".into())),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn peers_need_a_host_and_a_port() {
        assert_eq!(peers(" 10.0.0.1:6881, host:1 ,,"), Ok(vec!["10.0.0.1:6881".into(), "host:1".into()]));
        for bad in [
            "h", "h:", ":1", "h:0", "h:65536", "h:+1", "::1:80", "[::1]", "[x]:1", "[1:2]:3", "a b:1",
            "a/b:1",
        ] {
            assert_eq!(peers(bad), Err(UriError::Peer(bad.into())));
        }
        assert_eq!(peers(&"h:1,".repeat(MAX_PEERS + 1)), Err(UriError::Peers(MAX_PEERS + 1)));
    }

    #[test]
    fn the_media_uri_ends_in_the_media_name() {
        let uri = media_uri(Path::new("/t/x?.torrent"), "a/b #1.mp4");
        assert_eq!(uri, "swarm:///t/x%3F.torrent/a%2Fb%20%231.mp4");
    }

    proptest! {
        #[test]
        fn every_target_comes_back_from_its_uri(
            names in prop::collection::vec(prop::collection::vec(1u8.., 1..20), 1..5),
            file in proptest::option::of(any::<usize>()),
            ports in prop::collection::vec(1u16.., 0..5),
        ) {
            let bytes: Vec<u8> = names.iter().flat_map(|n| [b"/", n.as_slice()].concat()).collect();
            let path = PathBuf::from(OsString::from_vec(bytes));
            prop_assume!(std::path::absolute(&path).unwrap() == path);
            let peers = ports.iter().map(|p| format!("[fe80::{p:x}]:{p}")).collect();
            let target = Target { path, file, peers };
            prop_assert_eq!(Target::parse(&target.to_uri()), Ok(target));
        }

        #[test]
        fn any_text_is_a_target_or_an_error(text in "(swarm:|file:)?(//)?\\PC{0,40}", tail in "[%&?=.:x0-9a-f/\\[\\]]{0,40}") {
            if let Ok(target) = Target::parse(&format!("{text}{tail}")) {
                prop_assert!(!target.path.as_os_str().is_empty());
                prop_assert!(peers(&target.peers.join(",")).is_ok());
            }
        }
    }
}
