//! The properties: what they mean, what they are by default, and the engine options that they make.
//!
//! [`Settings`] is plain data. `swarmdemux` has the same properties except where its torrent comes from.

use std::net::IpAddr;
use std::time::Duration;

use gst::prelude::*;

use super::policy::StallPolicy;
use crate::gst::uri::{self, Target, UriError};
use crate::net::session::{Options, Place};
use crate::stream::hole;
use crate::stream::playback::Viewing;
use crate::swarm::serving::Serving;

const DEFAULT_MAX_PEERS: u32 = 80;
/// Most connections of one torrent.
const MOST_PEERS: u32 = 1_000;
const DEFAULT_CACHE_SIZE: u64 = 5 * 1024 * 1024 * 1024;
const DEFAULT_BUFFER_TIME: Duration = Duration::from_secs(2);
const DEFAULT_LIVE_BUFFER_TIME: Duration = Duration::from_secs(10);
/// `buffer-time` as the stream needs it (`GST_CLOCK_TIME_NONE`).
const AUTOMATIC: u64 = u64::MAX;
const DEFAULT_LINGER: Duration = Duration::from_secs(5);
/// Longest `buffer-time` and `linger`.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What the user wants.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    location: Option<String>,
    target: Option<Result<Target, UriError>>,
    /// The torrent itself; comes before the location.
    pub metainfo: Option<glib::Bytes>,
    file_index: i32,
    peers: Option<String>,
    trackers: bool,
    listen_port: u32,
    bind_address: Option<String>,
    max_upload_rate: u64,
    max_download_rate: u64,
    max_peers: u32,
    download_dir: Option<String>,
    cache_size: u64,
    /// `None`: as the stream needs it.
    buffer_time: Option<u64>,
    stall_policy: StallPolicy,
    /// `None`: never catch up.
    max_lag: Option<u64>,
    pub is_live: bool,
    /// Broadcasts that nobody signs are played.
    pub allow_unsigned: bool,
    linger: u64,
}

/// Why settings make no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// `bind-address` is not an address.
    #[error("bind-address \"{0}\" is not an IP address")]
    BindAddress(String),
    /// `peers` is not a list of peers.
    #[error("peers: {0}")]
    Peers(#[from] UriError),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            location: None,
            target: None,
            metainfo: None,
            file_index: -1,
            peers: None,
            trackers: true,
            listen_port: 0,
            bind_address: None,
            max_upload_rate: 0,
            max_download_rate: 0,
            max_peers: DEFAULT_MAX_PEERS,
            download_dir: None,
            cache_size: DEFAULT_CACHE_SIZE,
            buffer_time: None,
            stall_policy: StallPolicy::Auto,
            max_lag: None,
            is_live: false,
            allow_unsigned: false,
            linger: nanos(DEFAULT_LINGER),
        }
    }
}

impl Settings {
    /// Where the torrent is, or why that cannot be said; `None` when nothing was said.
    pub(crate) const fn target(&self) -> Option<&Result<Target, UriError>> {
        self.target.as_ref()
    }

    /// The same as a URI.
    pub(crate) fn uri(&self) -> Option<String> {
        Some(self.target.as_ref()?.as_ref().ok()?.to_uri())
    }

    /// Takes a location that can be understood; another one changes nothing.
    pub(crate) fn set_uri(&mut self, uri: &str) -> Result<(), UriError> {
        self.target = Some(Ok(Target::parse(uri)?));
        self.location = Some(uri.to_owned());
        Ok(())
    }

    /// The file to play: the property's, or else the URI's, or else the engine chooses.
    pub(crate) fn file(&self) -> Option<usize> {
        let by_uri = || self.target.as_ref()?.as_ref().ok()?.file;
        usize::try_from(self.file_index).ok().or_else(by_uri)
    }

    /// How much media to have before a film starts, or how far behind a broadcast's live point to begin.
    pub(crate) fn buffer_time(&self, live: bool) -> Duration {
        let default = if live { DEFAULT_LIVE_BUFFER_TIME } else { DEFAULT_BUFFER_TIME };
        self.buffer_time.map_or(default, Duration::from_nanos)
    }

    /// How a broadcast is watched.
    pub(crate) fn viewing(&self) -> Viewing {
        Viewing {
            buffer: self.buffer_time(true),
            // A live pipeline cannot be paused to wait for data.
            policy: if self.is_live { hole::StallPolicy::Drop } else { self.stall_policy.into() },
            max_lag: self.max_lag.map(Duration::from_nanos),
        }
    }

    /// Limits of the rates up and down, bytes/s.
    pub(crate) const fn limits(&self) -> (u64, u64) {
        (self.max_upload_rate, self.max_download_rate)
    }

    /// The peers of the property and of the URI.
    pub(crate) fn peers(&self) -> Result<Vec<String>, SettingsError> {
        let mut peers = uri::peers(self.peers.as_deref().unwrap_or_default())?;
        if let Some(Ok(target)) = &self.target {
            peers.extend_from_slice(&target.peers);
        }
        Ok(peers)
    }

    /// What the engine is told.
    pub(crate) fn options(&self) -> Result<Options, SettingsError> {
        let address = |text: &String| -> Result<IpAddr, SettingsError> {
            text.parse().map_err(|_| SettingsError::BindAddress(text.clone()))
        };
        let place = match &self.download_dir {
            Some(folder) => Place::Folder(folder.into()),
            None => Place::Cache { folder: None, cap: self.cache_size },
        };
        Ok(Options {
            place,
            trackers: self.trackers,
            peers: self.peers()?,
            bind_address: self.bind_address.as_ref().map(address).transpose()?,
            listen_port: u16::try_from(self.listen_port).unwrap_or(0),
            max_upload_rate: self.max_upload_rate,
            max_download_rate: self.max_download_rate,
            max_peers: self.max_peers as usize,
            linger: Duration::from_nanos(self.linger),
            whole: false,
            source: false,
            serving: Serving::default(),
            recheck: false,
        })
    }

    /// The value of a property; `None` for one that is not a setting.
    pub(crate) fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "location" => self.location.to_value(),
            "metainfo" => self.metainfo.to_value(),
            "file-index" => self.file_index.to_value(),
            "peers" => self.peers.to_value(),
            "trackers" => self.trackers.to_value(),
            "listen-port" => self.listen_port.to_value(),
            "bind-address" => self.bind_address.to_value(),
            "max-upload-rate" => self.max_upload_rate.to_value(),
            "max-download-rate" => self.max_download_rate.to_value(),
            "max-peers" => self.max_peers.to_value(),
            "download-dir" => self.download_dir.to_value(),
            "cache-size" => self.cache_size.to_value(),
            "buffer-time" => self.buffer_time.unwrap_or(AUTOMATIC).to_value(),
            "stall-policy" => self.stall_policy.to_value(),
            "max-lag" => self.max_lag.unwrap_or(AUTOMATIC).to_value(),
            "is-live" => self.is_live.to_value(),
            "allow-unsigned" => self.allow_unsigned.to_value(),
            "linger" => self.linger.to_value(),
            _ => return None,
        })
    }

    /// Sets a property; GObject has checked its name, type and range.
    pub(crate) fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "location" => self.set_location(of(value)),
            "metainfo" => self.metainfo = of(value),
            "file-index" => self.file_index = of(value),
            "peers" => self.peers = of(value),
            "trackers" => self.trackers = of(value),
            "listen-port" => self.listen_port = of(value),
            "bind-address" => self.bind_address = non_empty(of(value)),
            "max-upload-rate" => self.max_upload_rate = of(value),
            "max-download-rate" => self.max_download_rate = of(value),
            "max-peers" => self.max_peers = of(value),
            "download-dir" => self.download_dir = non_empty(of(value)),
            "cache-size" => self.cache_size = of(value),
            "buffer-time" => self.buffer_time = Some(of(value)).filter(|time| *time != AUTOMATIC),
            "stall-policy" => self.stall_policy = of(value),
            "max-lag" => self.max_lag = Some(of(value)).filter(|time| *time != AUTOMATIC),
            "is-live" => self.is_live = of(value),
            "allow-unsigned" => self.allow_unsigned = of(value),
            "linger" => self.linger = of(value),
            _ => unreachable!("GObject knows no writable property {name}"),
        }
    }

    /// A property cannot be refused: what is wrong with it is told at the start.
    fn set_location(&mut self, location: Option<String>) {
        self.target = location.as_deref().map(Target::parse);
        self.location = location;
    }
}

/// Properties that say where the torrent comes from: `swarmsrc` only.
pub(crate) fn source_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("location")
            .nick("Location")
            .blurb(
                "The torrent to play: a path, a file:// URI, or \
                 swarm:///absolute/path.torrent?file=N&x.pe=host:port (file: which file to play, from 0; \
                 x.pe: a peer to try, may be repeated)",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<glib::Bytes>("metainfo")
            .nick("Metainfo")
            .blurb(
                "The content of a torrent file, for torrents that are not in a file; comes before location",
            )
            .mutable_ready()
            .build(),
    ]
}

/// Properties of both elements.
pub(crate) fn shared_specs() -> Vec<glib::ParamSpec> {
    [file_specs(), trust_specs(), peer_specs(), rate_specs(), disk_specs(), time_specs(), read_only_specs()]
        .concat()
}

fn file_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecInt::builder("file-index")
            .nick("File index")
            .blurb("Which file of the torrent to play, counted from 0 as in the property files; -1 = the largest media file")
            .minimum(-1)
            .default_value(-1)
            .mutable_ready()
            .build(),
    ]
}

fn trust_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoolean::builder("allow-unsigned")
            .nick("Allow unsigned")
            .blurb(
                "Play live broadcasts that are not signed, too: anybody in the swarm of such a one can change what is \
                 seen",
            )
            .mutable_ready()
            .build(),
    ]
}

fn peer_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("peers")
            .nick("Peers")
            .blurb("Peers to try besides those that trackers name: host:port or [IPv6]:port, separated by commas")
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("trackers")
            .nick("Trackers")
            .blurb("Ask the torrent's trackers for peers, and tell them about us")
            .default_value(true)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("listen-port")
            .nick("Listen port")
            .blurb("TCP port where other peers reach us; 0 = any free one")
            .maximum(u16::MAX.into())
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("bind-address")
            .nick("Bind address")
            .blurb("IP address of this machine to listen on and to connect from, say 127.0.0.1; unset = any")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-peers")
            .nick("Most peers")
            .blurb("Most peers to be connected to at once")
            .minimum(1)
            .maximum(MOST_PEERS)
            .default_value(DEFAULT_MAX_PEERS)
            .mutable_ready()
            .build(),
    ]
}

fn rate_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt64::builder("max-upload-rate")
            .nick("Most up")
            .blurb("Most bytes per second to give to other peers; 0 = no limit")
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("max-download-rate")
            .nick("Most down")
            .blurb("Most bytes per second to take from other peers; 0 = no limit")
            .mutable_playing()
            .build(),
    ]
}

fn disk_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("download-dir")
            .nick("Download folder")
            .blurb(
                "Folder to keep the files in, under the torrent's own names and never removed by us; \
                 unset = gst-swarm in the user's cache folder (~/.cache), where cache-size holds",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("cache-size")
            .nick("Cache size")
            .blurb(
                "Most bytes that torrents may take in the cache folder; the ones not used for longest make \
                 room, and one that is larger plays with its played parts dropped",
            )
            .default_value(DEFAULT_CACHE_SIZE)
            .mutable_ready()
            .build(),
    ]
}

fn time_specs() -> Vec<glib::ParamSpec> {
    let longest = nanos(LONGEST);
    vec![
        glib::ParamSpecUInt64::builder("buffer-time")
            .nick("Start buffer")
            .blurb(
                "Nanoseconds of media: of a film, what must be there before playback starts, and starts again \
                 after a stall (it may wait longer where the download is slower than the media); of a live \
                 broadcast, how far behind the live point to begin. The default, GST_CLOCK_TIME_NONE, is 2 s of \
                 a film and 10 s of a broadcast",
            )
            .default_value(AUTOMATIC)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("stall-policy", StallPolicy::Auto)
            .nick("Stall policy")
            .blurb(
                "What happens where a piece of a live broadcast did not come in time: the picture waits \
                 (BUFFERING), or goes on behind the hole (DISCONT, and a QOS message)",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("max-lag")
            .nick("Largest lag")
            .blurb(
                "Nanoseconds that playback of a live broadcast may lag behind its newest piece; beyond it goes on \
                 nearer to the live point. The default, GST_CLOCK_TIME_NONE, keeps whatever lag stalls have gained",
            )
            .default_value(AUTOMATIC)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("is-live")
            .nick("Is a live source")
            .blurb(
                "Treat a live broadcast as a live source: buffers have time stamps, there are no BUFFERING \
                 messages, and holes are always dropped. Off, it is a buffered stream that can be paused",
            )
            .default_value(false)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("linger")
            .nick("Linger")
            .blurb(
                "Nanoseconds to go on giving to other peers after the stop; a restart within them goes on \
                 with the same connections",
            )
            .maximum(longest)
            .default_value(nanos(DEFAULT_LINGER))
            .mutable_ready()
            .build(),
    ]
}

fn read_only_specs() -> Vec<glib::ParamSpec> {
    let file = glib::ParamSpecBoxed::builder::<gst::Structure>("file")
        .nick("File")
        .blurb("index (uint), name (string), length in bytes (uint64), media: looks like one (boolean), selected: is the one to play (boolean)")
        .read_only()
        .build();
    vec![
        gst::ParamSpecArray::builder("files")
            .nick("Files")
            .blurb("The torrent's files: structures with index, name, length (bytes), media and selected")
            .element_spec(&file)
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "application/x-swarm-stats: state; peers and seeds connected, candidates known, addresses \
                 tried, banned; rates and bitrate in bytes/s; bytes down, up, wasted and verified; hash \
                 failures; buffer level (bytes, ns), stalls, stall and start-up time (ns; GST_CLOCK_TIME_NONE = not known); of a \
                 live broadcast: position (number of the piece handed out last), delay since it was captured \
                 (by this machine's clock and the source's), lag behind the newest piece, window (ns), standstill \
                 (ns for which no new piece has been heard of, while the source is waited for; GST_CLOCK_TIME_NONE = it goes on), pieces \
                 dropped, re-hook-ins, bad signatures",
            )
            .read_only()
            .build(),
    ]
}

fn of<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
    value.get().unwrap_or_else(|_| unreachable!("GObject checks the type of a property"))
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|t| !t.is_empty())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: impl Into<glib::Value>) -> Settings {
        let mut settings = Settings::default();
        settings.set(name, &value.into());
        settings
    }

    #[test]
    fn every_setting_has_a_property_with_its_default() {
        gst::init().unwrap();
        let settings = Settings::default();
        for spec in [source_specs(), shared_specs()].concat() {
            let writable = spec.flags().contains(glib::ParamFlags::WRITABLE);
            assert_eq!(settings.get(spec.name()).is_some(), writable, "{}", spec.name());
            assert!(spec.blurb().is_some_and(|b| b.len() > 20), "{}", spec.name());
            let Some(value) = settings.get(spec.name()) else { continue };
            let shown = |value: &glib::Value| format!("{value:?}");
            assert_eq!(shown(&value), shown(spec.default_value()), "{}", spec.name());
            let mut other = Settings::default();
            other.set(spec.name(), &value);
            assert_eq!(shown(&other.get(spec.name()).unwrap()), shown(&value), "{}", spec.name());
        }
    }

    #[test]
    fn the_property_names_the_file_before_the_uri_does() {
        let mut settings = with("location", "swarm:///x?file=3");
        assert_eq!(settings.file(), Some(3));
        settings.set("file-index", &2i32.to_value());
        assert_eq!(settings.file(), Some(2));
    }

    #[test]
    fn peers_of_property_and_uri_are_joined() {
        let mut settings = with("location", "swarm:///x?x.pe=h:1");
        settings.set("peers", &"h:2, h:3".to_value());
        assert_eq!(settings.options().unwrap().peers, ["h:2", "h:3", "h:1"]);
        assert!(matches!(with("peers", "h").options(), Err(SettingsError::Peers(_))));
    }

    #[test]
    fn an_address_must_be_one() {
        assert_eq!(with("bind-address", "::1").options().unwrap().bind_address, "::1".parse().ok());
        assert_eq!(with("bind-address", "").options().unwrap().bind_address, None);
        let error = with("bind-address", "localhost").options().unwrap_err();
        assert_eq!(error, SettingsError::BindAddress("localhost".into()));
    }

    #[test]
    fn a_download_folder_replaces_the_cache() {
        let place = Place::Cache { folder: None, cap: DEFAULT_CACHE_SIZE };
        assert_eq!(Settings::default().options().unwrap().place, place);
        assert_eq!(with("download-dir", "/d").options().unwrap().place, Place::Folder("/d".into()));
    }

    #[test]
    fn a_wrong_uri_changes_nothing_and_a_wrong_location_is_remembered() {
        let mut settings = with("location", "/a");
        assert!(settings.set_uri("swarm://host/").is_err());
        assert_eq!(settings.uri().as_deref(), Some("swarm:///a"));
        settings.set("location", &"http://x".to_value());
        assert!(matches!(settings.target(), Some(Err(UriError::Scheme(_)))));
        assert_eq!((settings.uri(), settings.get("location").unwrap().get()), (None, Ok(Some("http://x"))));
    }
}
