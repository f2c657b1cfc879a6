//! Signing and checking what only a broadcast's source can make: ECDSA over P-256 with SHA-256, low-s.
//!
//! A message is the concatenation of its parts; the first of them names what is signed, so that a signature of one
//! kind of thing is none of another. Signing is deterministic (RFC 6979) and needs no randomness. Of the two
//! signatures (r, s) and (r, n − s) that fit a message only that with the lower s is taken: nobody but the source
//! can make a second valid stamp.

use p256::ecdsa::signature::{MultipartSigner, MultipartVerifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};

/// Bytes of a signature: r and s, big-endian.
pub const SIGNATURE_LENGTH: usize = 64;

/// Signs the concatenation of some parts.
pub fn sign(key: &SigningKey, parts: &[&[u8]]) -> [u8; SIGNATURE_LENGTH] {
    let signature: Signature = key.multipart_sign(parts);
    signature.normalize_s().to_bytes().into()
}

/// Whether this is the low-s signature of the concatenation of some parts.
pub fn is_signed(key: &VerifyingKey, parts: &[&[u8]], signature: &[u8; SIGNATURE_LENGTH]) -> bool {
    let Ok(signature) = Signature::from_slice(signature) else { return false };
    signature == signature.normalize_s() && key.multipart_verify(parts, &signature).is_ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A key for tests; every number makes another one.
    pub fn key(number: u8) -> SigningKey {
        SigningKey::from_slice(&[number.max(1); 32]).unwrap()
    }

    /// Order of the curve, the n of (r, n − s).
    const N: [u8; 32] = *b"\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\
        \xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";

    /// The other signature that the curve would take.
    pub fn high_s(signature: &[u8; SIGNATURE_LENGTH]) -> [u8; SIGNATURE_LENGTH] {
        let mut out = *signature;
        let mut borrow = 0;
        for (i, n) in N.iter().enumerate().rev() {
            let difference = i16::from(*n) - i16::from(signature[32 + i]) - borrow;
            borrow = i16::from(difference < 0);
            out[32 + i] = difference.rem_euclid(256) as u8;
        }
        out
    }

    #[test]
    fn only_the_low_one_of_the_two_signatures_is_taken() {
        let (key, parts): (_, [&[u8]; 2]) = (key(1), [b"sam", b"ple"]);
        let low = sign(&key, &parts);
        let high = high_s(&low);
        assert_eq!(high_s(&high), low);
        assert!(low[32] < 0x80 && high[32] >= 0x7f);
        assert!(is_signed(key.verifying_key(), &parts, &low));
        assert!(!is_signed(key.verifying_key(), &parts, &high));
        // The curve itself would take it.
        let high = Signature::from_slice(&high).unwrap();
        assert!(key.verifying_key().multipart_verify(&parts, &high).is_ok());
    }

    #[test]
    fn it_is_plain_ecdsa_of_the_concatenation() {
        // RFC 6979, A.2.5: the key, "sample", SHA-256; its s is high, ours n less that.
        let secret = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
        let secret: Vec<u8> =
            (0..32).map(|i| u8::from_str_radix(&secret[2 * i..2 * i + 2], 16).unwrap()).collect();
        let signature = sign(&SigningKey::from_slice(&secret).unwrap(), &[b"sam", b"ple"]);
        assert_eq!(signature[..4], [0xef, 0xd4, 0x8b, 0x2a]);
        assert_eq!(high_s(&signature)[32..36], [0xf7, 0xcb, 0x1c, 0x94]);
    }

    #[test]
    fn numbers_out_of_range_are_no_signatures() {
        let key = key(1);
        let good = sign(&key, &[b"x"]);
        for (at, bytes) in [(0, [0; 32]), (32, [0; 32]), (0, N), (32, N), (0, [255; 32]), (32, [255; 32])] {
            let mut bad = good;
            bad[at..at + 32].copy_from_slice(&bytes);
            assert!(!is_signed(key.verifying_key(), &[b"x"], &bad));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn arbitrary_bytes_are_no_signature(r: [u8; 32], s: [u8; 32], text: [u8; 8]) {
            let signature: Vec<u8> = [r, s].concat();
            let signature = signature.try_into().unwrap();
            prop_assert!(!is_signed(key(1).verifying_key(), &[&text], &signature));
        }
    }
}
