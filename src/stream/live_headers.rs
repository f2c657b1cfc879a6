//! The stream headers of a broadcast whose container cannot be joined in the middle (Matroska, Ogg, fragmented
//! MP4): what a player must have before its first piece. Small, signed by the source, and passed from peer to peer.
//!
//! Big-endian: version 1 · three zeros · u32 number · ECDSA signature over the name of the format, the info-hash,
//! the number and the headers · the headers. They belong to no piece. The number is that of the first piece that was
//! made with them: those with the higher number replace the others, so an old signature is no use to bring old
//! headers back.

use bytes::Bytes;

use crate::metainfo::keys::SIGNATURE as SIGNATURE_LENGTH;
use crate::metainfo::signer::{Sign, Verify};
use crate::wire::ids::InfoHash;
use crate::wire::live;

/// Most bytes of headers (an Ogg broadcast of 2010 had 6,183).
pub const MAX_HEADERS: usize = live::MAX_HEADERS - FRONT_LENGTH;
/// What the signature is about.
const CONTEXT: &[u8] = b"swarm live headers 1";
const VERSION: u8 = 1;
/// Version, zeros, number.
const FIXED_LENGTH: usize = 8;
/// Bytes before the headers.
const FRONT_LENGTH: usize = FIXED_LENGTH + SIGNATURE_LENGTH;

/// Stream headers as they came; anybody can write some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// That of the first piece that was made with them.
    pub number: u32,
    /// What the player gets; at most [`MAX_HEADERS`].
    pub bytes: Bytes,
    /// The source's signature.
    pub signature: [u8; SIGNATURE_LENGTH],
}

/// Stream headers that the source has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedHeaders(Headers);

/// Why stream headers are refused; the peer that sent them is banned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadersError {
    /// No room for number and signature.
    #[error("stream headers of {0} bytes, they have at least {FRONT_LENGTH}")]
    TooShort(usize),
    /// Longer than [`MAX_HEADERS`].
    #[error("{0} bytes of stream headers, at most {MAX_HEADERS} are taken")]
    TooLong(usize),
    /// Of a format that we do not know.
    #[error("stream headers of version {0}, only {VERSION} is known")]
    Version(u8),
    /// Bytes that must be zero are not.
    #[error("stream headers whose reserved bytes are not zero")]
    Reserved,
    /// Not signed by the source, or not for this swarm.
    #[error("the stream headers with number {0} are not signed by this broadcast's source")]
    Unsigned(u32),
}

impl Headers {
    /// Reads what a peer sent. The headers are a slice of it.
    ///
    /// # Errors
    /// When it is too short or too long, or in another format.
    pub fn parse(object: &Bytes) -> Result<Self, HeadersError> {
        let short = HeadersError::TooShort(object.len());
        let Some((fixed, rest)) = object.split_first_chunk::<FIXED_LENGTH>() else { return Err(short) };
        let Some((signature, bytes)) = rest.split_first_chunk() else { return Err(short) };
        let [version, reserved @ .., n3, n2, n1, n0] = *fixed;
        if version != VERSION {
            return Err(HeadersError::Version(version));
        }
        if reserved != [0; 3] {
            return Err(HeadersError::Reserved);
        }
        check_length(bytes.len())?;
        let (number, bytes) = (u32::from_be_bytes([n3, n2, n1, n0]), object.slice_ref(bytes));
        Ok(Self { number, bytes, signature: *signature })
    }

    /// The bytes that are passed on to others.
    pub fn encode(&self) -> Bytes {
        let number = self.number.to_be_bytes();
        [&[VERSION, 0, 0, 0][..], &number, &self.signature, &self.bytes].concat().into()
    }

    /// Checks that the source has made them, for this swarm.
    ///
    /// # Errors
    /// When it has not.
    pub fn verify(self, info_hash: InfoHash, key: &impl Verify) -> Result<VerifiedHeaders, HeadersError> {
        let number = self.number.to_be_bytes();
        if !key.verify(&[CONTEXT, &info_hash.0, &number, &self.bytes], &self.signature) {
            return Err(HeadersError::Unsigned(self.number));
        }
        Ok(VerifiedHeaders(self))
    }
}

impl VerifiedHeaders {
    /// Signs stream headers. `number` must be higher than that of all others of this broadcast.
    ///
    /// # Errors
    /// When they are too long.
    pub fn seal(
        number: u32,
        bytes: Bytes,
        info_hash: InfoHash,
        key: &impl Sign,
    ) -> Result<Self, HeadersError> {
        check_length(bytes.len())?;
        let signature = key.sign(&[CONTEXT, &info_hash.0, &number.to_be_bytes(), &bytes]);
        Ok(Self(Headers { number, bytes, signature }))
    }

    /// Whether these are newer than those at hand.
    pub fn replace(&self, known: Option<&Self>) -> bool {
        known.is_none_or(|known| self.0.number > known.0.number)
    }
}

impl std::ops::Deref for VerifiedHeaders {
    type Target = Headers;

    fn deref(&self) -> &Headers {
        &self.0
    }
}

fn check_length(length: usize) -> Result<(), HeadersError> {
    if length > MAX_HEADERS { Err(HeadersError::TooLong(length)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::keys::tests::key;
    use proptest::prelude::*;

    const SWARM: InfoHash = InfoHash([7; 20]);

    fn sealed(number: u32, bytes: &[u8]) -> VerifiedHeaders {
        VerifiedHeaders::seal(number, Bytes::copy_from_slice(bytes), SWARM, &key(1)).unwrap()
    }

    #[test]
    fn newer_ones_replace_older_ones() {
        let (old, new) = (sealed(3, b"old"), sealed(4, b"new"));
        assert!(new.replace(Some(&old)) && new.replace(None));
        assert!(!old.replace(Some(&new)) && !old.replace(Some(&old)));
    }

    #[test]
    fn every_byte_is_looked_at() {
        let object = sealed(0x0102_0304, b"header").encode();
        assert_eq!(object[..8], [1, 0, 0, 0, 1, 2, 3, 4]);
        for at in 0..object.len() {
            let mut bad = object.to_vec();
            bad[at] ^= 1;
            let bad = Headers::parse(&bad.into()).and_then(|h| h.verify(SWARM, &key(1).verifying_key()));
            assert!(bad.is_err(), "byte {at}");
        }
        let headers = Headers::parse(&object).unwrap();
        assert!(headers.clone().verify(InfoHash([8; 20]), &key(1).verifying_key()).is_err());
        assert!(headers.verify(SWARM, &key(2).verifying_key()).is_err());
    }

    #[test]
    fn the_limit_is_that_of_the_message() {
        let most = sealed(1, &[7; MAX_HEADERS]);
        assert_eq!((most.bytes.len(), most.encode().len()), (24 * 1024, live::MAX_HEADERS));
        assert!(Headers::parse(&most.encode()).is_ok());
        let long = vec![7; MAX_HEADERS + 1];
        let error = HeadersError::TooLong(MAX_HEADERS + 1);
        assert_eq!(VerifiedHeaders::seal(1, long.clone().into(), SWARM, &key(1)), Err(error.clone()));
        let long = Headers { bytes: long.into(), ..(*most).clone() };
        assert_eq!(Headers::parse(&long.encode()), Err(error));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_sealed_is_verified(number: u32, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let made = sealed(number, &bytes);
            let read = Headers::parse(&made.encode()).unwrap();
            prop_assert_eq!(read.verify(SWARM, &key(1).verifying_key()), Ok(made));
        }

        #[test]
        fn garbage_is_an_error_never_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), right: bool) {
            if right && bytes.len() > 4 {
                bytes[..4].copy_from_slice(&[VERSION, 0, 0, 0]);
            }
            let object = Bytes::from(bytes);
            match Headers::parse(&object) {
                Ok(headers) => prop_assert_eq!(headers.encode(), object),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
