//! Who vouches for what the source of a broadcast makes: itself, with a key, or nobody.

use super::keys::{SIGNATURE, SigningKey, VerifyingKey};

/// Stands where a signature would be in what nobody signs.
pub const NO_SIGNATURE: [u8; SIGNATURE] = [0; SIGNATURE];

/// Signs messages, given in parts.
pub trait Sign {
    /// The signature of a message.
    fn sign(&self, message: &[&[u8]]) -> [u8; SIGNATURE];
}

/// Tells whether messages, given in parts, are signed as they should be.
pub trait Verify {
    /// Whether this is the right signature of a message.
    fn verify(&self, message: &[&[u8]], signature: &[u8; SIGNATURE]) -> bool;
}

/// The source's hand.
#[derive(Clone, Debug)]
pub enum Signer {
    /// It signs with this key.
    Key(SigningKey),
    /// It does not sign.
    Nobody,
}

impl Sign for SigningKey {
    fn sign(&self, message: &[&[u8]]) -> [u8; SIGNATURE] {
        Self::sign(self, message)
    }
}

impl Sign for Signer {
    fn sign(&self, message: &[&[u8]]) -> [u8; SIGNATURE] {
        match self {
            Self::Key(key) => key.sign(message),
            Self::Nobody => NO_SIGNATURE,
        }
    }
}

impl Verify for VerifyingKey {
    fn verify(&self, message: &[&[u8]], signature: &[u8; SIGNATURE]) -> bool {
        Self::verify(self, message, signature)
    }
}
