//! A torrent in words: for people (escaped lines) and for programs (JSON).

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use indicatif::BinaryBytes;
use serde::Serialize;

use super::progress::{clock, harmless};
use crate::metainfo::torrent::Metainfo;
use crate::metainfo::tstream::{Auth, Live, payload_in};
use crate::rate::ByteRate;

/// Last second of the year 9999: later dates are shown as numbers.
const LAST_DATE: i64 = 253_402_300_799;

/// A file's path as the torrent gives it, a stranger's text; the torrent's name for a single file.
pub(super) fn file_name(metainfo: &Metainfo, file: usize) -> String {
    match metainfo.layout.files.get(file) {
        Some(file) if !file.name.is_empty() => file.name.join("/"),
        _ => metainfo.name.clone(),
    }
}

/// Everything in a torrent that is worth telling. Texts are as the torrent has them: JSON escapes them by
/// itself, [`Description::to_text`] as it prints.
#[derive(Debug, Serialize)]
pub(super) struct Description {
    name: String,
    info_hash: String,
    /// Bytes.
    length: u64,
    /// Bytes.
    piece_length: u32,
    pieces: u32,
    private: bool,
    #[serde(serialize_with = "as_seconds")]
    duration: Option<Duration>,
    /// Bytes/s.
    bitrate: Option<u64>,
    /// What a live broadcast has besides.
    live: Option<LiveDescription>,
    title: Option<String>,
    description: Option<String>,
    /// Bytes of the picture.
    thumbnail: Option<usize>,
    comment: Option<String>,
    created_by: Option<String>,
    /// Unix seconds.
    creation_date: Option<i64>,
    trackers: Vec<Vec<String>>,
    files: Vec<FileDescription>,
}

#[derive(Debug, Serialize)]
struct FileDescription {
    index: usize,
    path: String,
    /// Bytes.
    length: u64,
    #[serde(serialize_with = "as_seconds")]
    duration: Option<Duration>,
    /// Only fills up a piece (BEP 47).
    pad: bool,
    /// What is played when nobody says which.
    main: bool,
}

#[derive(Debug, Serialize)]
struct LiveDescription {
    /// How pieces are signed.
    scheme: String,
    support: Support,
    /// How long the stream is that the ring holds.
    #[serde(serialize_with = "as_seconds")]
    ring_duration: Option<Duration>,
    /// Pieces that peers keep.
    window: u32,
    #[serde(serialize_with = "as_seconds")]
    window_duration: Option<Duration>,
}

/// What we can do with a signature scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Support {
    /// Verify it.
    Supported,
    /// Play it where that is allowed: there are no signatures.
    Unsigned,
    /// Nothing any more.
    Obsolete,
    /// Nothing.
    Unknown,
}

impl Support {
    const fn of(auth: &Auth) -> Self {
        match auth {
            Auth::P256(_) => Self::Supported,
            Auth::Unsigned(_) => Self::Unsigned,
            Auth::Bare | Auth::Obsolete(_) => Self::Obsolete,
            Auth::Unknown(_) => Self::Unknown,
        }
    }

    const fn to_text(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Unsigned => {
                "not signed: everybody in the swarm can change what is seen, so it is played with --allow-unsigned only"
            }
            Self::Obsolete => "obsolete, of 2008-2010: cannot be verified any more, so it cannot be played",
            Self::Unknown => "not known here, so it cannot be played",
        }
    }
}

impl LiveDescription {
    fn new(live: &Live, metainfo: &Metainfo) -> Self {
        let piece_length = metainfo.geometry.piece_length();
        let payload = match live.auth {
            Auth::P256(_) | Auth::Unsigned(_) => payload_in(piece_length),
            Auth::Bare | Auth::Obsolete(_) | Auth::Unknown(_) => piece_length,
        };
        let time_for = |pieces: u32| {
            let bytes = u64::from(pieces) * u64::from(payload);
            metainfo.bitrate(None).and_then(|rate| ByteRate(rate).time_for(bytes))
        };
        Self {
            scheme: live.auth.scheme().to_owned(),
            support: Support::of(&live.auth),
            ring_duration: time_for(metainfo.geometry.pieces()),
            window: live.window,
            window_duration: time_for(live.window),
        }
    }

    fn lines(&self, line: &mut dyn FnMut(&str, &str)) {
        let time = |time: Option<Duration>| time.map_or_else(|| "a time that is not known".to_owned(), clock);
        line("live", &format!("a broadcast over a ring of {}", time(self.ring_duration)));
        line("window", &format!("{} pieces, {}", self.window, time(self.window_duration)));
        line("signature", &format!("{} ({})", harmless(&self.scheme), self.support.to_text()));
    }
}

impl Description {
    /// Of this torrent.
    pub(super) fn new(metainfo: &Metainfo) -> Self {
        let main = metainfo.layout.largest_media();
        let files = metainfo.layout.files.iter().enumerate().map(|(index, file)| FileDescription {
            index,
            path: file_name(metainfo, index),
            length: file.length(),
            duration: file.playtime,
            pad: file.pad,
            main: Some(index) == main,
        });
        Self {
            name: metainfo.name.clone(),
            info_hash: metainfo.info_hash.to_string(),
            length: metainfo.geometry.total(),
            piece_length: metainfo.geometry.piece_length(),
            pieces: metainfo.geometry.pieces(),
            private: metainfo.private,
            duration: metainfo.duration(None),
            bitrate: metainfo.bitrate(main),
            live: metainfo.live.as_ref().map(|live| LiveDescription::new(live, metainfo)),
            title: metainfo.title.clone(),
            description: metainfo.description.clone(),
            thumbnail: metainfo.thumbnail.as_ref().map(bytes::Bytes::len),
            comment: metainfo.comment.clone(),
            created_by: metainfo.created_by.clone(),
            creation_date: metainfo.creation_date,
            trackers: metainfo.trackers.clone(),
            files: files.collect(),
        }
    }

    /// Lines for people, each ended by a line feed; nothing in them can move a cursor.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{label:<13} {value}");
        };
        line("name", &harmless(&self.name));
        line("info-hash", &self.info_hash);
        line("size", &size(self.length));
        line("pieces", &format!("{} of {}", self.pieces, pieces_of(self.piece_length)));
        match &self.live {
            Some(live) => live.lines(&mut line),
            None => line("duration", &self.duration.map_or_else(|| "not given".to_owned(), clock)),
        }
        line("bitrate", &self.bitrate.map_or_else(|| "not known".to_owned(), bits));
        let texts = [
            ("title", &self.title),
            ("description", &self.description),
            ("comment", &self.comment),
            ("created by", &self.created_by),
        ];
        for (label, value) in texts.iter().filter_map(|(label, value)| Some((label, value.as_ref()?))) {
            line(label, &harmless(value));
        }
        line(
            "thumbnail",
            &self.thumbnail.map_or_else(|| "none".to_owned(), |bytes| format!("{bytes} bytes")),
        );
        if let Some(when) = self.creation_date {
            line("created", &date(when));
        }
        line("private", if self.private { "yes: peers come from the trackers only" } else { "no" });
        self.tracker_lines(&mut line);
        self.file_lines(&mut line);
        text
    }

    fn tracker_lines(&self, line: &mut dyn FnMut(&str, &str)) {
        if self.trackers.is_empty() {
            line(
                "trackers",
                "none: peers must be named, with --peer, the property peers, or x.pe in a swarm:// URI",
            );
        }
        for (number, tier) in self.trackers.iter().enumerate() {
            let urls: Vec<_> = tier.iter().map(|url| harmless(url)).collect();
            line(if number == 0 { "trackers" } else { "" }, &urls.join("  "));
        }
    }

    fn file_lines(&self, line: &mut dyn FnMut(&str, &str)) {
        for (number, file) in self.files.iter().filter(|file| !file.pad).enumerate() {
            let time = file.duration.map_or_else(String::new, |time| format!("  ({})", clock(time)));
            let main = if file.main && self.files.len() > 1 { "  <- main" } else { "" };
            let (index, length) = (file.index, BinaryBytes(file.length).to_string());
            let value = format!("{index:>4}  {length:>11}  {}{time}{main}", harmless(&file.path));
            line(if number == 0 { "files" } else { "" }, &value);
        }
    }
}

/// A piece's length: `32 KiB`, or bytes where it is not a whole number of KiB.
pub(super) fn pieces_of(length: u32) -> String {
    match length {
        length if length % (1 << 20) == 0 => format!("{} MiB", length >> 20),
        length if length % (1 << 10) == 0 => format!("{} KiB", length >> 10),
        length => format!("{length} bytes"),
    }
}

fn size(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", BinaryBytes(bytes))
}

fn as_seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

fn bits(rate: u64) -> String {
    let kilobits = u128::from(rate) * 8 / 1_000;
    format!("{} ({kilobits} kbit/s)", ByteRate(rate))
}

fn date(when: i64) -> String {
    match u64::try_from(when) {
        Ok(seconds) if when <= LAST_DATE => {
            humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
                .to_string()
        }
        _ => format!("{when} (Unix seconds)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::keys::SigningKey;
    use crate::metainfo::tstream::{Draft, encode, pieces_for};

    #[test]
    fn dates_outside_of_the_calendar_are_numbers() {
        assert_eq!(date(1_216_299_452), "2008-07-17T12:57:32Z");
        assert_eq!(date(-1), "-1 (Unix seconds)");
        assert_eq!(date(i64::MAX), format!("{} (Unix seconds)", i64::MAX));
    }

    #[test]
    fn live_broadcasts_without_a_bitrate_are_told_too() {
        let info = "d6:lengthi1048576e4:lived10:authmethod2:\u{9}xe4:name1:c12:piece lengthi16384ee";
        let metainfo = Metainfo::parse(format!("d4:info{info}e").as_bytes()).unwrap();
        let text = Description::new(&metainfo).to_text();
        assert!(text.contains("a ring of a time that is not known"), "{text}");
        assert!(text.contains("window        16 pieces, a time that is not known"), "{text}");
        assert!(text.contains(r"signature     \tx (not known here, so it cannot be played)"), "{text}");
    }

    #[test]
    fn a_broadcast_of_ours_is_told_with_all_that_it_says() {
        let draft = Draft {
            name: "camera.ts".into(),
            piece_length: 32_768,
            pieces: pieces_for(65_536, Duration::from_secs(3600), 32_768, Duration::ZERO),
            auth: Auth::P256(SigningKey::from_random(&[1; 32]).unwrap().verifying_key()),
            window: Some(600),
            trackers: Vec::new(),
            speed: Some(65_536),
            title: Some("The square".into()),
            description: Some("seen from\nthe north".into()),
            thumbnail: Some(vec![0; 99].into()),
            creation_date: Some(0),
            created_by: Some("a test".into()),
        };
        let text = Description::new(&Metainfo::parse(&encode(&draft).unwrap()).unwrap()).to_text();
        for line in [
            "live          a broadcast over a ring of 1:00:00",
            "window        600 pieces, 4:59",
            "signature     ECDSA-P256-SHA256 (supported)",
            "title         The square",
            r"description   seen from\nthe north",
            "created by    a test",
            "thumbnail     99 bytes",
            "created       1970-01-01T00:00:00Z",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn rates_are_told_in_both_units() {
        assert_eq!(bits(65_536), "64 KiB/s (524 kbit/s)");
        assert!(bits(u64::MAX).contains("kbit/s"));
    }
}
