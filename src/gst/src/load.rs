//! From settings to a torrent and the file in it to play, with errors that GStreamer's users know.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use gst::prelude::*;

use super::settings::Settings;
use crate::gst::uri::UriError;
use crate::metainfo::layout::{self, Layout};
use crate::metainfo::text::escape;
use crate::metainfo::torrent::{MAX_METAINFO, Metainfo, MetainfoError};
use crate::metainfo::tstream::Unplayable;

/// A torrent, and which of its files to play.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The torrent.
    pub metainfo: Arc<Metainfo>,
    /// Index of the file.
    pub file: usize,
}

impl Loaded {
    /// Bytes in the file to play.
    pub(crate) fn length(&self) -> u64 {
        self.metainfo.layout.files[self.file].length()
    }

    /// Every file as a structure, for the property `files`.
    pub(crate) fn files(&self) -> gst::Array {
        let files = self.metainfo.layout.files.iter().enumerate();
        files.map(|(index, file)| self.describe(index, file).to_send_value()).collect()
    }

    fn describe(&self, index: usize, file: &layout::File) -> gst::Structure {
        gst::Structure::builder("file")
            .field("index", u32::try_from(index).unwrap_or(u32::MAX))
            .field("name", escape(&file.name.join("/")))
            .field("length", file.length())
            .field("media", file.is_media())
            .field("selected", index == self.file)
            .build()
    }
}

/// Why there is nothing to play.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// Neither `location` nor `metainfo` is set.
    #[error("no location set: it is the path of a torrent, as in swarmsrc location=film.mp4.torrent")]
    NoLocation,
    /// `location` cannot be understood.
    #[error("{0}")]
    Location(UriError),
    /// The torrent file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// Not a torrent, or one of a kind that we know nothing to do with.
    #[error("{path}{error}{hint}", path = .path.as_ref().map(|path| format!("{path}: ")).unwrap_or_default(), hint = hint(.error))]
    Metainfo {
        /// The file, where it is one.
        path: Option<String>,
        /// What is wrong.
        error: MetainfoError,
    },
    /// A broadcast that we cannot take part in.
    #[error(transparent)]
    Unplayable(#[from] Unplayable),
    /// `file-index` or `?file=` is not a file of the torrent.
    #[error("no file {index}: the torrent has {files} (file-index counts from 0)")]
    NoFile {
        /// What was asked for.
        index: usize,
        /// How many there are.
        files: usize,
    },
    /// A pad file, or the torrent is all pad files.
    #[error("the torrent has no file to play there, only padding")]
    Padding,
}

const fn hint(error: &MetainfoError) -> &'static str {
    match error {
        MetainfoError::TooLong(_) | MetainfoError::Other(_) => " (name the .torrent file, not the film)",
        _ => "",
    }
}

impl LoadError {
    /// The same for the bus.
    pub(crate) fn message(&self) -> gst::ErrorMessage {
        let text = self.to_string();
        match self {
            Self::NoLocation | Self::Location(_) => {
                gst::error_msg!(gst::ResourceError::NotFound, ("{text}"))
            }
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => gst::error_msg!(gst::ResourceError::NotFound, ("{text}")),
                io::ErrorKind::PermissionDenied => {
                    gst::error_msg!(gst::ResourceError::NotAuthorized, ("{text}"))
                }
                _ => gst::error_msg!(gst::ResourceError::OpenRead, ("{text}")),
            },
            Self::Metainfo { .. } | Self::Unplayable(_) => {
                gst::error_msg!(gst::StreamError::WrongType, ("{text}"))
            }
            Self::NoFile { .. } | Self::Padding => gst::error_msg!(gst::ResourceError::NotFound, ("{text}")),
        }
    }
}

impl Loaded {
    /// Whether it is a broadcast.
    pub(crate) fn is_live(&self) -> bool {
        self.metainfo.live.is_some()
    }
}

/// Reads what the settings point at. Touches the local disk only.
pub(crate) fn load(settings: &Settings) -> Result<Loaded, LoadError> {
    let metainfo = match (&settings.metainfo, settings.target()) {
        (Some(bytes), _) => {
            Metainfo::parse(bytes).map_err(|error| LoadError::Metainfo { path: None, error })?
        }
        (None, Some(Ok(target))) => {
            let path = || Some(escape(&target.path.to_string_lossy()));
            let bytes = read(&target.path)?;
            Metainfo::parse(&bytes).map_err(|error| LoadError::Metainfo { path: path(), error })?
        }
        (None, Some(Err(error))) => return Err(LoadError::Location(error.clone())),
        (None, None) => return Err(LoadError::NoLocation),
    };
    metainfo.playable(settings.allow_unsigned)?;
    let file = choose(&metainfo.layout, settings.file())?;
    Ok(Loaded { metainfo: Arc::new(metainfo), file })
}

/// A pipe or device could block the application's thread for ever, so only plain files are read.
fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Io { path: escape(&path.to_string_lossy()), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("not a plain file")));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_METAINFO as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The file that was asked for, or else the largest that looks like media.
fn choose(layout: &Layout, wanted: Option<usize>) -> Result<usize, LoadError> {
    let index = wanted.or_else(|| layout.largest_media()).ok_or(LoadError::Padding)?;
    match layout.files.get(index) {
        None => Err(LoadError::NoFile { index, files: layout.files.len() }),
        Some(file) if file.pad => Err(LoadError::Padding),
        Some(_) => Ok(index),
    }
}
