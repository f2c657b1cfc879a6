//! Writes what is around `info` in a metainfo file, for films and for broadcasts: trackers, notes for people, and
//! what the SwarmPlayer and Azureus tell of the media (`azureus_properties.Content`). Other clients ignore that.

use bendy::encoding::{AsString, Encoder, Error, SortedDictEncoder};
use bytes::Bytes;

use super::create::CreateError;
use super::torrent::MAX_METAINFO;

/// Nesting of what we write: root, info, files, file, path.
const DEPTH: usize = 8;

/// Everything outside of `info`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    /// Tracker URLs in tiers.
    pub(super) trackers: &'a [Vec<String>],
    /// What is told of the media, if anything is.
    pub(super) content: Option<Content<'a>>,
    pub(super) comment: Option<&'a str>,
    pub(super) created_by: Option<&'a str>,
    /// Unix seconds.
    pub(super) creation_date: Option<i64>,
}

/// `azureus_properties.Content`, without the keys that named the original's publisher.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content<'a> {
    pub(super) title: &'a str,
    pub(super) description: &'a str,
    /// Bytes/s.
    pub(super) speed: Option<u64>,
    /// JPEG bytes.
    pub(super) thumbnail: Option<&'a Bytes>,
}

impl Envelope<'_> {
    /// Writes the metainfo file with what `info` writes into its dictionary.
    pub(super) fn around(
        &self,
        info: impl FnOnce(SortedDictEncoder<'_>) -> Result<(), Error>,
    ) -> Result<Vec<u8>, CreateError> {
        let mut encoder = Encoder::new().with_max_depth(DEPTH);
        let written = encoder.emit_dict(|dict| self.root(info, dict)).and_then(|()| encoder.get_output());
        let written = written.map_err(|error| CreateError::Encoding(error.to_string()))?;
        if written.len() > MAX_METAINFO { Err(CreateError::TooLong(written.len())) } else { Ok(written) }
    }

    fn root(
        &self,
        info: impl FnOnce(SortedDictEncoder<'_>) -> Result<(), Error>,
        mut dict: SortedDictEncoder<'_>,
    ) -> Result<(), Error> {
        let mut trackers = self.trackers.iter().flatten();
        if let Some(first) = trackers.next() {
            dict.emit_pair(b"announce", first)?;
        }
        if trackers.next().is_some() {
            dict.emit_pair(b"announce-list", self.trackers)?;
        }
        if let Some(content) = self.content {
            dict.emit_pair_with(b"azureus_properties", |value| {
                value.emit_dict(|mut dict| {
                    dict.emit_pair_with(b"Content", |value| {
                        value.emit_dict(|dict| self.content(content, dict))
                    })
                })
            })?;
        }
        optional(&mut dict, b"comment", self.comment)?;
        optional(&mut dict, b"created by", self.created_by)?;
        if let Some(date) = self.creation_date {
            dict.emit_pair(b"creation date", date)?;
        }
        dict.emit_pair(b"encoding", "UTF-8")?;
        dict.emit_pair_with(b"info", |value| value.emit_dict(info))
    }

    fn content(&self, content: Content<'_>, mut dict: SortedDictEncoder<'_>) -> Result<(), Error> {
        if let Some(date) = self.creation_date {
            dict.emit_pair(b"Creation Date", date)?;
        }
        dict.emit_pair(b"Description", content.description)?;
        dict.emit_pair(b"Progressive", 1)?;
        if let Some(date) = self.creation_date {
            dict.emit_pair(b"Revision Date", date)?;
        }
        if let Some(speed) = content.speed {
            dict.emit_pair(b"Speed Bps", speed)?;
        }
        if let Some(jpeg) = content.thumbnail {
            dict.emit_pair(b"Thumbnail", AsString(jpeg))?;
        }
        dict.emit_pair(b"Title", content.title)
    }
}

/// Writes a text if there is one.
pub(super) fn optional(
    dict: &mut SortedDictEncoder<'_>,
    key: &[u8],
    value: Option<&str>,
) -> Result<(), Error> {
    value.map_or(Ok(()), |value| dict.emit_pair(key, value))
}
