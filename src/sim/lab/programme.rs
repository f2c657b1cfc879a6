//! What is watched: a film, or a broadcast; and what a class of hosts may be in it.

use std::fmt;

use crate::metainfo::geometry::Geometry;
use crate::metainfo::playtime;
use crate::sim::broadcast::Show;
use crate::sim::scenario::Film;
use crate::time::Duration;

use super::class::{Class, Role};
use super::error::ScenarioError;
use super::section::Section;
use super::stay::Stay;
use super::table::bits;
use super::values::{Bitrate, PieceLength, Span};

/// Bytes of a film, and of a ring.
const MAX_BYTES: u64 = 8 << 30;
/// Pieces of a film, and of a ring.
const MAX_PIECES: u64 = 65_536;
/// Least pieces of a ring: a viewer needs some to watch behind the live point.
const MIN_RING: u64 = 64;
/// How long the ring is unless it is said.
const RING: Duration = Duration::from_secs(600);

/// What is watched.
#[derive(Copy, Clone, Debug)]
pub enum Programme {
    /// A film: everything is there from the beginning.
    Film(Film),
    /// A broadcast: it is made while it is watched.
    Broadcast(Show),
}

impl Programme {
    pub(super) fn read(section: &mut Section) -> Result<Self, ScenarioError> {
        match (section.section("film")?, section.section("broadcast")?) {
            (Some(film), None) => read_film(film).map(Self::Film),
            (None, Some(show)) => read_show(show).map(Self::Broadcast),
            (Some(_), Some(_)) => Err(section.whole("film or broadcast: write one of them".to_owned())),
            (None, None) => {
                let wanted = "{ length = \"60s\", bitrate = \"5 Mbit/s\", piece-length = \"256 KiB\" }, or a \
                              broadcast instead";
                Err(section.wrong("film", &toml::Value::String(String::new()), wanted.to_owned()))
            }
        }
    }

    /// Bytes/s of media.
    pub const fn bitrate(&self) -> u64 {
        match self {
            Self::Film(film) => film.bitrate,
            Self::Broadcast(show) => show.bitrate,
        }
    }

    /// Pieces that can be there at a time.
    pub(super) fn pieces(&self) -> u64 {
        match self {
            Self::Film(film) => film.total().div_ceil(u64::from(film.piece_length)),
            Self::Broadcast(show) => u64::from(show.geometry().slots()),
        }
    }

    /// Bytes that the world keeps of it in a run of this length.
    pub(super) fn kept(&self, limit: Duration) -> u64 {
        match self {
            Self::Film(_) => 0,
            Self::Broadcast(show) => limit.as_secs() * show.bitrate,
        }
    }

    /// What these classes cannot be in it.
    pub(super) fn wrong(&self, classes: &[Class]) -> Option<String> {
        let Self::Broadcast(_) = self else {
            let odd = classes.iter().find(|class| class.role == Role::Broadcaster)?;
            return Some(format!(
                "hosts.{}.role = \"broadcaster\": a film has none; write \"seed\", or a broadcast in place of the film",
                odd.name
            ));
        };
        let sources = classes.iter().filter(|class| class.role == Role::Broadcaster);
        let sources = sources.map(|class| class.count).sum::<usize>();
        if sources != 1 {
            return Some(format!(
                "a broadcast needs one host with the role \"broadcaster\": here are {sources}"
            ));
        }
        classes.iter().find_map(|class| {
            let odd = match class.role {
                Role::Seed | Role::Leecher => "role: write \"viewer\" or \"broadcaster\"",
                _ if class.seeks.is_some() => "seeks: leave it out, all watch what is made just now",
                _ if class.pauses.is_some() => "pauses: leave it out, all watch what is made just now",
                _ if matches!(class.stay, Stay::ToTheEnd { .. }) => {
                    "departure: write \"early\" or \"never\", a broadcast has no end"
                }
                _ => return None,
            };
            Some(format!("in a broadcast, hosts.{}.{odd}", class.name))
        })
    }
}

impl fmt::Display for Programme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (length, piece_length) = match self {
            Self::Film(film) => {
                write!(f, "film {}", playtime::format(Duration::from_secs(film.seconds)))?;
                (None, film.piece_length)
            }
            Self::Broadcast(show) => {
                write!(f, "broadcast")?;
                (Some(show.ring), show.piece_length)
            }
        };
        write!(f, " of {} in pieces of {} KiB", bits(self.bitrate()), piece_length / 1_024)?;
        length.map_or(Ok(()), |ring| write!(f, ", ring of {}", playtime::format(ring)))
    }
}

fn read_film(mut section: Section) -> Result<Film, ScenarioError> {
    let film = Film {
        seconds: section.require::<Span>("length")?.0.as_secs(),
        bitrate: section.require::<Bitrate>("bitrate")?.0,
        piece_length: section.or("piece-length", PieceLength(256 * 1_024))?.0,
    };
    let pieces = film.total().div_ceil(u64::from(film.piece_length));
    let cut = Geometry::new(u64::from(film.piece_length), film.total()).is_ok();
    if film.total() > MAX_BYTES || pieces > MAX_PIECES || !cut {
        return Err(section.whole(format!(
            "a film of {} bytes in {pieces} pieces: allowed are at most {MAX_BYTES} bytes and {MAX_PIECES} pieces, \
             and at least one second",
            film.total()
        )));
    }
    section.finish()?;
    Ok(film)
}

fn read_show(mut section: Section) -> Result<Show, ScenarioError> {
    let show = Show {
        bitrate: section.require::<Bitrate>("bitrate")?.0,
        piece_length: section.or("piece-length", PieceLength(32 * 1_024))?.0,
        ring: section.or("ring", Span(RING))?.0,
        window: None,
    };
    // A piece has a little less media than bytes.
    let bytes = show.ring.as_secs() * show.bitrate;
    let pieces = bytes / u64::from(show.piece_length);
    if !(MIN_RING..=MAX_PIECES).contains(&pieces) || bytes > MAX_BYTES {
        return Err(section.whole(format!(
            "a ring of {bytes} bytes in {pieces} pieces: allowed are at most {MAX_BYTES} bytes, and {MIN_RING} to \
             {MAX_PIECES} pieces"
        )));
    }
    section.finish()?;
    Ok(show)
}
