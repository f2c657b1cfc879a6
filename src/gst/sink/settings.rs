//! What the properties are by default, and the plan of a broadcast that they make.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use gst::prelude::*;

use crate::metainfo::text::escape;
use crate::metainfo::torrent::MAX_THUMBNAIL;
use crate::metainfo::trackers;
use crate::net::aux_seeds::{AuxSeeds, NotAHost};
use crate::net::station::{self, DEFAULT_DURATION, DEFAULT_PIECE_LENGTH, DEFAULT_WINDOW, Plan};

/// The original's port.
pub(super) const DEFAULT_PORT: u32 = 8764;
pub(super) const DEFAULT_FLUSH_AFTER: Duration = Duration::from_secs(1);
pub(super) const DEFAULT_LINGER: Duration = Duration::from_secs(15);
/// How the file that viewers open is called.
const ENDING: &str = ".tstream";
/// Longest host name (RFC 1035).
const MAX_HOST: usize = 253;

/// What the user wants.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    location: Option<String>,
    port: u32,
    bind_address: Option<String>,
    announce_address: Option<String>,
    trackers: Option<String>,
    duration: u64,
    window: u64,
    bitrate: u64,
    piece_length: u32,
    flush_after: u64,
    title: Option<String>,
    thumbnail: Option<String>,
    thumbnail_data: Option<glib::Bytes>,
    new: bool,
    unsigned: bool,
    max_upload_rate: u64,
    uploads: u32,
    aux_seeds: Option<String>,
    linger: u64,
}

/// Why settings make no broadcast. Texts in it are the user's own.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    /// `location` is not set.
    #[error(
        "no location set: it is the path of the file to be made for viewers, as in swarmsink location=cam.ts.tstream"
    )]
    NoLocation,
    /// `location` is not a `.tstream`.
    #[error("location \"{0}\" has to be the path of a file NAME{ENDING}")]
    Location(String),
    /// `bind-address` is not an address.
    #[error("bind-address \"{0}\" is not an IP address")]
    BindAddress(String),
    /// `announce-address` is not a host.
    #[error("announce-address \"{0}\" is not the name or address of a host")]
    AnnounceAddress(String),
    /// One of `trackers` is not a tracker.
    #[error("trackers: \"{0}\" is not a URL such as http://192.0.2.7:6969/announce")]
    Tracker(String),
    /// One of `aux-seeds` is not a host.
    #[error("aux-seeds: {0}")]
    AuxSeeds(#[from] NotAHost),
    /// The thumbnail cannot be read.
    #[error("thumbnail {path} cannot be read: {source}; name a JPEG file, or none")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The thumbnail is not a picture that players show.
    #[error("the thumbnail is not a JPEG: convert it, or set none")]
    NoJpeg,
    /// The thumbnail is larger than a `.tstream` may carry.
    #[error("the thumbnail has {0} bytes, at most {MAX_THUMBNAIL} can be carried")]
    Thumbnail(u64),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            location: None,
            port: DEFAULT_PORT,
            bind_address: None,
            announce_address: None,
            trackers: None,
            duration: nanos(DEFAULT_DURATION),
            window: nanos(DEFAULT_WINDOW),
            bitrate: 0,
            piece_length: DEFAULT_PIECE_LENGTH,
            flush_after: nanos(DEFAULT_FLUSH_AFTER),
            title: None,
            thumbnail: None,
            thumbnail_data: None,
            new: false,
            unsigned: false,
            max_upload_rate: 0,
            uploads: 0,
            aux_seeds: None,
            linger: nanos(DEFAULT_LINGER),
        }
    }
}

impl Settings {
    /// What to broadcast, and where. The bitrate is 0 where it has to be measured.
    pub(super) fn plan(&self) -> Result<Plan, SettingsError> {
        let (folder, name) = self.place()?;
        let bind = self.bind_address()?;
        let host = match &self.announce_address {
            Some(host) if is_host(host) => host.clone(),
            Some(host) => return Err(SettingsError::AnnounceAddress(host.clone())),
            None => station::own_address(bind),
        };
        Ok(Plan {
            name,
            folder,
            port: u16::try_from(self.port).unwrap_or(u16::MAX),
            bind,
            host,
            trackers: self.trackers()?,
            bitrate: self.bitrate,
            duration: Duration::from_nanos(self.duration),
            window: Duration::from_nanos(self.window),
            piece_length: self.piece_length,
            flush_after: Duration::from_nanos(self.flush_after),
            thumbnail: self.thumbnail()?,
            title: self.title.clone(),
            anew: self.new,
            unsigned: self.unsigned,
            max_upload_rate: self.max_upload_rate,
            uploads: NonZeroU32::new(self.uploads),
            aux_seeds: self.aux_seeds()?,
        })
    }

    /// Most bytes/s to viewers; 0 = no limit.
    pub(super) const fn max_upload_rate(&self) -> u64 {
        self.max_upload_rate
    }

    /// How long viewers may fetch the last pieces.
    pub(super) const fn linger(&self) -> Duration {
        Duration::from_nanos(self.linger)
    }

    /// The folder of all files, and the broadcast's name.
    fn place(&self) -> Result<(PathBuf, String), SettingsError> {
        let location = self.location.as_ref().ok_or(SettingsError::NoLocation)?;
        let wrong = || SettingsError::Location(location.clone());
        let path = Path::new(location);
        let file = path.file_name().and_then(|name| name.to_str()).ok_or_else(wrong)?;
        let name = file.strip_suffix(ENDING).filter(|name| !name.is_empty()).ok_or_else(wrong)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Ok((folder.unwrap_or_else(|| Path::new(".")).to_owned(), name.to_owned()))
    }

    fn bind_address(&self) -> Result<Option<IpAddr>, SettingsError> {
        let address = |text: &String| text.parse().map_err(|_| SettingsError::BindAddress(text.clone()));
        self.bind_address.as_ref().map(address).transpose()
    }

    fn trackers(&self) -> Result<Vec<String>, SettingsError> {
        let urls = listed(self.trackers.as_deref());
        let check = |url: &str| match trackers::is_usable(url) {
            true => Ok(url.to_owned()),
            false => Err(SettingsError::Tracker(url.to_owned())),
        };
        urls.map(check).collect()
    }

    /// Those that are given by their names are still to be resolved.
    fn aux_seeds(&self) -> Result<AuxSeeds, SettingsError> {
        let mut seeds = AuxSeeds::default();
        listed(self.aux_seeds.as_deref()).try_for_each(|host| seeds.add(host))?;
        Ok(seeds)
    }

    fn thumbnail(&self) -> Result<Option<Bytes>, SettingsError> {
        let bytes = match (&self.thumbnail_data, &self.thumbnail) {
            (Some(bytes), _) => Bytes::copy_from_slice(bytes),
            (None, Some(path)) => read(path)?,
            (None, None) => return Ok(None),
        };
        match bytes.len() {
            length if length > MAX_THUMBNAIL => Err(SettingsError::Thumbnail(length as u64)),
            _ if !bytes.starts_with(&[0xff, 0xd8, 0xff]) => Err(SettingsError::NoJpeg),
            _ => Ok(Some(bytes)),
        }
    }

    /// The value of a property; `None` for one that is not a setting.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "location" => self.location.to_value(),
            "port" => self.port.to_value(),
            "bind-address" => self.bind_address.to_value(),
            "announce-address" => self.announce_address.to_value(),
            "trackers" => self.trackers.to_value(),
            "duration" => self.duration.to_value(),
            "window" => self.window.to_value(),
            "bitrate" => self.bitrate.to_value(),
            "piece-length" => self.piece_length.to_value(),
            "flush-after" => self.flush_after.to_value(),
            "title" => self.title.to_value(),
            "thumbnail" => self.thumbnail.to_value(),
            "thumbnail-data" => self.thumbnail_data.to_value(),
            "new" => self.new.to_value(),
            "unsigned" => self.unsigned.to_value(),
            "max-upload-rate" => self.max_upload_rate.to_value(),
            "uploads" => self.uploads.to_value(),
            "aux-seeds" => self.aux_seeds.to_value(),
            "linger" => self.linger.to_value(),
            _ => return None,
        })
    }

    /// Sets a property; GObject has checked its name, type and range.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "location" => self.location = of(value),
            "port" => self.port = of(value),
            "bind-address" => self.bind_address = non_empty(of(value)),
            "announce-address" => self.announce_address = non_empty(of(value)),
            "trackers" => self.trackers = of(value),
            "duration" => self.duration = of(value),
            "window" => self.window = of(value),
            "bitrate" => self.bitrate = of(value),
            "piece-length" => self.piece_length = of(value),
            "flush-after" => self.flush_after = of(value),
            "title" => self.title = non_empty(of(value)),
            "thumbnail" => self.thumbnail = non_empty(of(value)),
            "thumbnail-data" => self.thumbnail_data = of(value),
            "new" => self.new = of(value),
            "unsigned" => self.unsigned = of(value),
            "max-upload-rate" => self.max_upload_rate = of(value),
            "uploads" => self.uploads = of(value),
            "aux-seeds" => self.aux_seeds = of(value),
            "linger" => self.linger = of(value),
            _ => unreachable!("GObject knows no writable property {name}"),
        }
    }
}

/// A picture's file. A pipe or device could block the application's thread for ever, so only plain files are read.
fn read(path: &str) -> Result<Bytes, SettingsError> {
    let failed = |source| SettingsError::Unreadable { path: escape(path), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(std::io::Error::other("not a plain file")));
    }
    if metadata.len() > MAX_THUMBNAIL as u64 {
        return Err(SettingsError::Thumbnail(metadata.len()));
    }
    std::fs::read(path).map(Bytes::from).map_err(failed)
}

/// What a list separates by commas.
fn listed(list: Option<&str>) -> impl Iterator<Item = &str> {
    let parts = list.into_iter().flat_map(|list| list.split(',')).map(str::trim);
    parts.filter(|part| !part.is_empty())
}

/// Whether this can stand in a URL as a host.
fn is_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_name =
        |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    bare.parse::<IpAddr>().is_ok() || (is_name(host) && (1..=MAX_HOST).contains(&host.len()))
}

fn of<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
    value.get().unwrap_or_else(|_| unreachable!("GObject checks the type of a property"))
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|t| !t.is_empty())
}

/// Nanoseconds for GStreamer's fields.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::specs::specs;
    use super::*;

    fn with(name: &str, value: impl Into<glib::Value>) -> Settings {
        let mut settings = Settings { location: Some("/d/cam.ts.tstream".into()), ..Settings::default() };
        settings.set(name, &value.into());
        settings
    }

    #[test]
    fn every_setting_has_a_property_with_its_default() {
        gst::init().unwrap();
        let settings = Settings::default();
        for spec in specs() {
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
    fn the_location_names_the_broadcast_and_its_folder() {
        for (location, folder, name) in [
            ("/d/cam.ts.tstream", "/d", "cam.ts"),
            ("cam.tstream", ".", "cam"),
            ("../a b/x.tstream", "../a b", "x"),
        ] {
            let plan = with("location", location).plan().unwrap();
            assert_eq!((plan.folder.to_str(), plan.name.as_str()), (Some(folder), name), "{location}");
        }
        for location in ["", "/", "cam.ts", "/d/.tstream", "/d/..", "/d/x.tstream/.."] {
            let error = with("location", location).plan().unwrap_err();
            assert!(matches!(&error, SettingsError::Location(l) if l == location), "{error}");
        }
        assert!(matches!(Settings::default().plan(), Err(SettingsError::NoLocation)));
    }

    #[test]
    fn hosts_must_be_such() {
        for host in ["tv.example.org", "192.0.2.7", "2001:db8::7", "[2001:db8::7]", "my_box"] {
            assert_eq!(with("announce-address", host).plan().unwrap().host, host);
        }
        for host in ["a b", "http://a", "a:80", "a/b", "[a]", &"a".repeat(254)] {
            let error = with("announce-address", host).plan().unwrap_err();
            assert!(matches!(error, SettingsError::AnnounceAddress(_)), "{host}: {error}");
        }
        assert!(matches!(with("bind-address", "localhost").plan(), Err(SettingsError::BindAddress(_))));
        assert_eq!(with("bind-address", "127.0.0.1").plan().unwrap().host, "127.0.0.1");
    }

    #[test]
    fn trackers_are_separated_by_commas() {
        let plan = with("trackers", "http://a.example/announce, udp://b.example:1,").plan().unwrap();
        assert_eq!(plan.trackers, ["http://a.example/announce", "udp://b.example:1"]);
        assert!(matches!(with("trackers", "b.example").plan(), Err(SettingsError::Tracker(_))));
    }

    #[test]
    fn auxiliary_seeders_are_separated_by_commas() {
        let plan = with("aux-seeds", "192.0.2.7:8764, 2001:db8::7,").plan().unwrap();
        let expected = ["192.0.2.7", "2001:db8::7"].map(|ip| ip.parse().unwrap());
        assert_eq!((plan.aux_seeds.addresses(), plan.aux_seeds.is_resolved()), (&expected.into(), true));
        assert!(!with("aux-seeds", "tv.example.org").plan().unwrap().aux_seeds.is_resolved());
        assert!(matches!(with("aux-seeds", "a b").plan(), Err(SettingsError::AuxSeeds(_))));
    }

    #[test]
    fn only_small_jpegs_become_thumbnails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jpg");
        std::fs::write(&path, b"\xff\xd8\xff\xe0file").unwrap();
        let path = path.to_str().unwrap();
        let mut settings = with("thumbnail", path);
        assert_eq!(settings.plan().unwrap().thumbnail.unwrap(), &b"\xff\xd8\xff\xe0file"[..]);
        let data = |bytes: &[u8]| glib::Bytes::from(bytes).to_value();
        settings.set("thumbnail-data", &data(b"\xff\xd8\xffdata"));
        assert_eq!(settings.plan().unwrap().thumbnail.unwrap(), &b"\xff\xd8\xffdata"[..]);
        settings.set("thumbnail-data", &data(b"\x89PNG"));
        assert!(matches!(settings.plan(), Err(SettingsError::NoJpeg)));
        settings.set("thumbnail-data", &data(&[0xff; MAX_THUMBNAIL + 1]));
        assert!(matches!(settings.plan(), Err(SettingsError::Thumbnail(_))));
        assert!(matches!(with("thumbnail", "/dev/zero").plan(), Err(SettingsError::Unreadable { .. })));
    }
}
