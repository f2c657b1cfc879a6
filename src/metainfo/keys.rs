//! The broadcaster's key: ECDSA on the curve P-256 over SHA-256.
//!
//! Invariant: of the two signatures that are right for a message, `(r, s)` and `(r, -s)`, only the one with the
//! lower `s` is made or taken, so that nobody can turn one signature into another. Nonces come from key and
//! message (RFC 6979), never from chance. The secret is wiped from memory when it is dropped, and is never
//! printed. A `.sauth` file holds it as PEM (PKCS#8); files themselves are not this room's work.

use std::fmt;

use p256::ecdsa::signature::{MultipartSigner, MultipartVerifier};
use p256::ecdsa::{self, Signature};
use p256::elliptic_curve::zeroize::Zeroizing;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};

/// Bytes of a signature: r, then s.
pub const SIGNATURE: usize = 64;
/// Bytes of chance that make a key.
pub const RANDOM: usize = 32;

/// Why something is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// One draw in four thousand millions.
    #[error("these random bytes make no P-256 key; draw others")]
    Random,
    /// Another form, another curve, or broken.
    #[error("not a P-256 private key in PEM of PKCS#8 (-----BEGIN PRIVATE KEY-----)")]
    Pem,
    /// Another form, another curve, or broken.
    #[error("not a P-256 public key in DER (SubjectPublicKeyInfo)")]
    Der,
}

/// What only the broadcaster has.
#[derive(Clone)]
pub struct SigningKey(ecdsa::SigningKey);

impl SigningKey {
    /// Makes a key of these bytes, which nobody else may know or guess.
    ///
    /// # Errors
    /// When they are zero or not below the order of the curve.
    pub fn from_random(random: &[u8; RANDOM]) -> Result<Self, KeyError> {
        ecdsa::SigningKey::from_slice(random).map(Self).map_err(|_| KeyError::Random)
    }

    /// Reads what a `.sauth` file holds.
    ///
    /// # Errors
    /// When it is anything but a P-256 key in PEM of PKCS#8, not encrypted.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        ecdsa::SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| KeyError::Pem)
    }

    /// What goes into a `.sauth` file, ended by a line feed. Wiped from memory when it is dropped.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.0.to_pkcs8_pem(LineEnding::LF).expect("a key has a fixed, small size")
    }

    /// The key that tells this one's signatures.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(*self.0.verifying_key())
    }

    /// Signs a message, given in parts. The same message always gets the same signature.
    pub fn sign(&self, message: &[&[u8]]) -> [u8; SIGNATURE] {
        let signature: Signature = self.0.multipart_sign(message);
        signature.normalize_s().to_bytes().into()
    }
}

/// Tells whose it is, and not what it is.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.verifying_key()).finish()
    }
}

/// What everybody has: tells whether the broadcaster signed a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(ecdsa::VerifyingKey);

impl VerifyingKey {
    /// Reads what a `.tstream` file holds.
    ///
    /// # Errors
    /// When it is anything but the `SubjectPublicKeyInfo` of a P-256 key.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        ecdsa::VerifyingKey::from_public_key_der(der).map(Self).map_err(|_| KeyError::Der)
    }

    /// What goes into a `.tstream` file.
    pub fn to_der(&self) -> Vec<u8> {
        self.0.to_public_key_der().expect("a key has a fixed, small size").into_vec()
    }

    /// Whether this is the signature that the key's owner makes of the message (given in parts), with the lower s:
    /// nobody else can make a second valid one.
    pub fn verify(&self, message: &[&[u8]], signature: &[u8; SIGNATURE]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        signature.normalize_s() == signature && self.0.multipart_verify(message, &signature).is_ok()
    }
}

/// The point in hexadecimal, in its short form.
impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey(")?;
        self.0.to_sec1_point(true).as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ")")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made for this test with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
    const PEM: &str = "\
    -----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5MrdgZ/tGAJgv6iF\n\
    idDAgkcIz8OaPt1/BTXsRM5j3P+hRANCAATo67nzJ0sxK2WafrEDI4RQVsY9GRnZ\n\
    OtHodJyJQtCVTTJS2ITowJ4nxA2kSKedjdCFCVqETUqrsXJad3nyQ9b0\n\
    -----END PRIVATE KEY-----\n";
    /// `openssl pkey -pubout -outform DER`.
    const PUBLIC: &str = "\
    3059301306072a8648ce3d020106082a8648ce3d03010703420004e8ebb9f327\
    4b312b659a7eb10323845056c63d1919d93ad1e8749c8942d0954d3252d884e8\
    c09e27c40da448a79d8dd085095a844d4aabb1725a7779f243d6f4";
    const MESSAGE: &[u8] = b"swarm live piece 1";
    /// `openssl dgst -sha256 -sign`, of several the first with the lower s.
    const SIGNED: &str = "\
    29c652f00a2e26769b0b70aa54530907c18bf0a9b2402f76840ecb5cd87b57f3\
    65e898418194218f1d98e68087f09cefa7895b72cbeb15984bec610c8bb2e6d7";
    /// Worked out from the RFC and the curve by a script that shares no code with ours.
    const RFC_6979_SIGNED: &str = "\
    cbd262469318aa78a56677ae604d75a9dc8949fe8ecd0024e9e5e369f873b719\
    58f2c5d9b521ada6f7fa06a0b98f6e2659572c2574511e3c5a9ac49becfd6415";
    /// A key on the curve of 2008.
    const K_233: &str = "\
    -----BEGIN PRIVATE KEY-----\n\
    MH0CAQAwEAYHKoZIzj0CAQYFK4EEABoEZjBkAgEBBB1splNrjtfEhjUhsO626WuS\n\
    Fp/bsEken6C7p70DwaFAAz4ABAGKfgvXcTeRencle3PnGQd7BpQxZCquxIuG+ccZ\n\
    ZgGPJfzkv6AIY1w40Nvvxk752aECt3m9D5XB6mpqtw==\n\
    -----END PRIVATE KEY-----\n";

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let digit = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        assert_eq!(hex.len(), 2 * N);
        std::array::from_fn(digit)
    }

    /// RFC 6979, A.2.5.
    fn rfc_key() -> SigningKey {
        let x = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
        SigningKey::from_random(&bytes(x)).unwrap()
    }

    /// The other signature of the same message.
    /// A key for tests; every number makes another one.
    pub(crate) fn key(number: u8) -> SigningKey {
        SigningKey::from_random(&[number.max(1); RANDOM]).unwrap()
    }

    /// The other signature that the curve would take.
    pub(crate) fn flipped(signature: &[u8; SIGNATURE]) -> [u8; SIGNATURE] {
        let signature = Signature::from_slice(signature).unwrap();
        let (r, s) = signature.split_scalars();
        Signature::from_scalars(r, -s).unwrap().to_bytes().into()
    }

    #[test]
    fn signatures_are_those_of_rfc_6979_with_the_lower_s() {
        let test = "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367\
                    019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083";
        assert_eq!(rfc_key().sign(&[b"test"]), bytes(test));
        let sample = bytes(
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
             f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        );
        assert_eq!(rfc_key().sign(&[b"sam", b"ple"]), flipped(&sample), "the RFC has the higher one");
        let key = rfc_key().verifying_key();
        assert!(key.verify(&[b"sample"], &flipped(&sample)) && !key.verify(&[b"sample"], &sample));
    }

    #[test]
    fn keys_and_signatures_of_openssl_are_taken() {
        let key = SigningKey::from_pem(PEM).unwrap();
        assert_eq!(key.to_pem().as_str(), PEM);
        let public: [u8; 91] = bytes(PUBLIC);
        assert_eq!(key.verifying_key().to_der(), public);
        let public = VerifyingKey::from_der(&public).unwrap();
        assert_eq!(public, key.verifying_key());
        assert!(public.verify(&[MESSAGE], &bytes(SIGNED)));
        assert!(!public.verify(&[MESSAGE], &flipped(&bytes(SIGNED))));
        assert_eq!(key.sign(&[MESSAGE]), bytes(RFC_6979_SIGNED));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(SigningKey::from_random(&[0; RANDOM]).unwrap_err(), KeyError::Random);
        assert_eq!(SigningKey::from_random(&[0xff; RANDOM]).unwrap_err(), KeyError::Random);
        let old = PEM.replace("PRIVATE", "EC PRIVATE");
        for pem in ["", "-----BEGIN PRIVATE KEY-----", &old, &PEM[..100], K_233] {
            assert_eq!(SigningKey::from_pem(pem).unwrap_err(), KeyError::Pem, "{pem}");
        }
        let der = rfc_key().verifying_key().to_der();
        let mut off_the_curve = der.clone();
        *off_the_curve.last_mut().unwrap() ^= 1;
        for der in [&[][..], &der[..90], &off_the_curve, &[&der[..], b"x"].concat()] {
            assert_eq!(VerifyingKey::from_der(der), Err(KeyError::Der));
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let (key, secret) = (rfc_key(), "c9afa9d8");
        let shown = format!("{key:?} {key:#?}");
        assert!(
            shown
                .contains("VerifyingKey(0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6)")
        );
        assert!(!shown.contains(secret) && !shown.contains("201"), "{shown}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn only_what_was_signed_is_taken(
            random: [u8; RANDOM], message in prop::collection::vec(any::<u8>(), 0..200),
            at in 0..SIGNATURE, bit in 0..8u8, other: [u8; RANDOM],
        ) {
            let (Ok(key), Ok(stranger)) = (SigningKey::from_random(&random), SigningKey::from_random(&other)) else {
                return Ok(());
            };
            let (signature, public) = (key.sign(&[&message]), key.verifying_key());
            prop_assert!(public.verify(&[&message], &signature));
            prop_assert!(!public.verify(&[&message], &flipped(&signature)));
            prop_assert!(!public.verify(&[&message, b"x"], &signature));
            prop_assert!(!stranger.verifying_key().verify(&[&message], &signature));
            let mut changed = signature;
            changed[at] ^= 1 << bit;
            prop_assert!(!public.verify(&[&message], &changed));
            prop_assert_eq!(SigningKey::from_pem(&key.to_pem()).unwrap().verifying_key(), public);
            prop_assert_eq!(VerifyingKey::from_der(&public.to_der()), Ok(public));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            der in prop::collection::vec(any::<u8>(), 0..120), half: [u8; 32], rest: [u8; 32], text: String,
            at in 0..91usize, byte: u8,
        ) {
            let signature: [u8; SIGNATURE] = [half, rest].concat().try_into().unwrap();
            prop_assert!(!rfc_key().verifying_key().verify(&[b"test"], &signature));
            prop_assert!(VerifyingKey::from_der(&der).is_err() && SigningKey::from_pem(&text).is_err());
            let mut near = rfc_key().verifying_key().to_der();
            near[at] = byte;
            // Whether it is a key or not.
            let _ = VerifyingKey::from_der(&near);
        }
    }
}
