//! A key and its only algorithm. The variant is the algorithm, so a key can never be used with another one,
//! whatever a token's header says.

use std::fmt;

use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use ring::{digest, hmac};

/// RFC 7518, section 3.2: a key at least as long as the hash.
const SECRET_BYTES_MIN: usize = digest::SHA256_OUTPUT_LEN;
/// RFC 7518, section 3.3.
const RSA_BITS_MIN: usize = 2048;
/// The largest modulus that `ring` supports.
const RSA_BITS_MAX: usize = 8192;
/// The exponents that `ring` supports; 65537 is usual.
const RSA_EXPONENTS: std::ops::RangeInclusive<u64> = 3..=(1 << 33) - 1;
const P256_COORDINATE_BYTES: usize = 32;
const ED25519_KEY_BYTES: usize = 32;

/// What is wrong with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// A secret short enough to be guessed.
    #[error("a secret for HS256 must have at least {SECRET_BYTES_MIN} bytes")]
    SecretTooShort,
    /// A modulus that is too small to be safe, or too large.
    #[error("an RSA key must have from {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")]
    RsaBits,
    /// An even modulus or exponent, or an exponent out of range: a product of two large primes is odd.
    #[error("the RSA modulus or exponent is not one: both must be odd, the exponent from 3 to 2^33 - 1")]
    RsaNumbers,
    /// Not two 256-bit numbers that satisfy the curve's equation.
    #[error("x and y must have {P256_COORDINATE_BYTES} bytes each and be a point of P-256")]
    NotOnCurve,
    /// Not a valid encoding of an Ed25519 point.
    #[error("x must have {ED25519_KEY_BYTES} bytes")]
    Ed25519Bytes,
    /// A required member is missing or is not text.
    #[error("\"{0}\" must be there, and a text")]
    NoText(&'static str),
    /// A member is not base64url without padding.
    #[error("\"{0}\" is not in base64url without padding")]
    Base64(&'static str),
    /// A member has the wrong type.
    #[error("\"key_ops\" must be an array of texts")]
    Operations,
    /// Without a `kid`, a token cannot select it.
    #[error("it has no kid, and there is more than one key")]
    NoKid,
}

/// A signature algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// The value in `alg` (RFC 7518, section 3.1; RFC 8037, section 3.1).
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A key that verifies signatures; it was validated when it was created.
pub(super) enum VerifyingKey {
    Hs256(hmac::Key),
    Rs256(PublicKeyComponents<Vec<u8>>),
    Es256(UnparsedPublicKey<Vec<u8>>),
    EdDsa(UnparsedPublicKey<Vec<u8>>),
}

impl VerifyingKey {
    pub(super) fn hs256(secret: &[u8]) -> Result<Self, TokenKeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(TokenKeyError::SecretTooShort);
        }
        Ok(Self::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    pub(super) fn rs256(modulus: &[u8], exponent: &[u8]) -> Result<Self, TokenKeyError> {
        // Some issuers write a leading zero, against RFC 7518, section 6.3.1.1.
        let (n, e) = (without_leading_zeros(modulus), without_leading_zeros(exponent));
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits(n)) {
            return Err(TokenKeyError::RsaBits);
        }
        let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
        if !is_odd(n) || !is_odd(e) || !number(e).is_some_and(|exponent| RSA_EXPONENTS.contains(&exponent)) {
            return Err(TokenKeyError::RsaNumbers);
        }
        Ok(Self::Rs256(PublicKeyComponents { n: n.to_vec(), e: e.to_vec() }))
    }

    pub(super) fn es256(x: &[u8], y: &[u8]) -> Result<Self, TokenKeyError> {
        // SEC 1, section 2.3.3: an uncompressed point starts with the byte 4.
        let point = [&[4], x, y].concat();
        if x.len() != P256_COORDINATE_BYTES || y.len() != P256_COORDINATE_BYTES || !is_on_p256(&point) {
            return Err(TokenKeyError::NotOnCurve);
        }
        Ok(Self::Es256(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)))
    }

    pub(super) fn ed_dsa(x: &[u8]) -> Result<Self, TokenKeyError> {
        if x.len() != ED25519_KEY_BYTES {
            return Err(TokenKeyError::Ed25519Bytes);
        }
        Ok(Self::EdDsa(UnparsedPublicKey::new(&ED25519, x.to_vec())))
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::Hs256,
            Self::Rs256(_) => Algorithm::Rs256,
            Self::Es256(_) => Algorithm::Es256,
            Self::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// Whether the signature is valid for the message; for HS256, in constant time.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hs256(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Rs256(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
            Self::Es256(key) | Self::EdDsa(key) => key.verify(message, signature).is_ok(),
        }
    }
}

/// Written by hand, so that a key never gets into a log.
impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.algorithm().name())
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The number of bits of a number without leading zeros.
fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| 8 * number.len() - usize::try_from(first.leading_zeros()).unwrap_or(0))
}

fn number(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// `ring` validates a point only when it computes with it, and a failed signature check says nothing about
/// the key. So a key agreement is computed, and its result discarded.
fn is_on_p256(point: &[u8]) -> bool {
    let theirs = agreement::UnparsedPublicKey::new(&ECDH_P256, point);
    let ours = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
    ours.and_then(|ours| agreement::agree_ephemeral(ours, &theirs, |_| ())).is_ok()
}
