//! How a piece is told to be right: by its hash, or by the signature in it.

use std::sync::Arc;

use bytes::Bytes;
use sha1::{Digest as _, Sha1};

use crate::metainfo::geometry::PieceIndex;
use crate::metainfo::torrent::Metainfo;
use crate::metainfo::tstream::Auth;
use crate::stream::live_headers::{Headers, VerifiedHeaders};
use crate::stream::live_piece::{PieceError, Stamp, VerifiedStamp, check_piece};

/// Looks at pieces of one torrent.
#[derive(Debug)]
pub(super) struct Verifier {
    metainfo: Arc<Metainfo>,
    /// Of a live broadcast.
    auth: Option<Auth>,
}

/// Why a piece is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("its hash is wrong")]
    Hash,
    #[error("{0}")]
    Live(#[from] PieceError),
    #[error("it is piece {0}")]
    OtherPiece(u32),
}

impl Verifier {
    pub(super) fn new(metainfo: Arc<Metainfo>) -> Self {
        let auth = metainfo.live.as_ref().map(|live| live.auth.clone());
        Self { metainfo, auth }
    }

    pub(super) fn is_live(&self) -> bool {
        self.metainfo.live.is_some()
    }

    /// Looks at a piece's blocks, in order; gives the stamp of a live one.
    pub(super) fn check(
        &self,
        piece: PieceIndex,
        blocks: &[Bytes],
    ) -> Result<Option<VerifiedStamp>, Refusal> {
        let Some(auth) = &self.auth else {
            return if hash(blocks) == self.metainfo.piece_hash(piece) {
                Ok(None)
            } else {
                Err(Refusal::Hash)
            };
        };
        let piece_length = self.metainfo.geometry.piece_length();
        let stamp = check_piece(blocks, piece_length, self.metainfo.info_hash, auth)?;
        if stamp.seq == piece.number() { Ok(Some(stamp)) } else { Err(Refusal::OtherPiece(stamp.seq)) }
    }

    /// `None` when the source has not signed it.
    pub(super) fn check_stamp(&self, stamp: Stamp) -> Option<VerifiedStamp> {
        stamp.verify(self.metainfo.info_hash, self.auth.as_ref()?).ok()
    }

    /// `None` when the source has not signed them.
    pub(super) fn check_headers(&self, headers: Headers) -> Option<VerifiedHeaders> {
        headers.verify(self.metainfo.info_hash, self.auth.as_ref()?).ok()
    }
}

/// SHA-1 over blocks in order.
fn hash(blocks: &[Bytes]) -> [u8; 20] {
    let mut sha1 = Sha1::new();
    blocks.iter().for_each(|block| sha1.update(block));
    sha1.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::keys::SigningKey;
    use crate::metainfo::tstream;
    use crate::stream::live_piece::{CaptureTime, Draft, Flags, seal};

    /// An index alone cannot tell one round of the ring from the next; the number in the stamp can.
    #[test]
    fn a_piece_of_another_round_is_not_the_one_with_its_index() {
        let (key, piece_length, pieces) = (SigningKey::from_random(&[1; 32]).unwrap(), 32 * 1024, 16);
        let tstream = tstream::Draft {
            name: "cam".into(),
            piece_length,
            pieces,
            auth: Auth::P256(key.verifying_key()),
            window: None,
            trackers: Vec::new(),
            speed: None,
            title: None,
            description: None,
            thumbnail: None,
            creation_date: None,
            created_by: None,
        };
        let metainfo = Metainfo::parse(&tstream::encode(&tstream).unwrap()).unwrap();
        let (geometry, info_hash) = (metainfo.engine_geometry(), metainfo.info_hash);
        let verifier = Verifier::new(Arc::new(metainfo));
        let [old, new] = [5, 5 + pieces].map(|seq| {
            let draft = Draft { flags: Flags::default(), rap: None, seq, time: CaptureTime(seq.into()) };
            (geometry.piece(seq).unwrap(), seal(draft, &[], piece_length, info_hash, &key).unwrap().0)
        });
        assert_eq!(old.0.slot(), new.0.slot());
        for ((piece, bytes), other) in [(&old, &new), (&new, &old)] {
            let stamp = verifier.check(*piece, std::slice::from_ref(bytes)).unwrap().unwrap();
            assert_eq!(stamp.seq, piece.number());
            let refused = verifier.check(*piece, std::slice::from_ref(&other.1));
            assert!(
                matches!(refused, Err(Refusal::OtherPiece(seq)) if seq == other.0.number()),
                "{refused:?}"
            );
        }
    }
}
