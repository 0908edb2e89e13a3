//! The secret of an API key: shown once, and stored only as a digest.
//!
//! Its holder sends `firstcome_NAME_SECRET`. The prefix lets scanners of repositories and logs find a
//! leaked key; the name lets the server look the key up without the secret; the secret is 256 random bits
//! in hexadecimal. One round of SHA-256 is enough: 256 random bits cannot be guessed, unlike a password,
//! which would need a slow hash.

use data_encoding::HEXLOWER;
use std::fmt;

use domain::keyring::SecretDigest;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The beginning of every key.
pub const PREFIX: &str = "firstcome_";
const SECRET_BYTES: usize = 32;

/// The secret of a new key, before it is shown to the caller.
pub struct Secret(String);

impl Secret {
    /// 256 random bits from the operating system.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(HEXLOWER.encode(&bytes)))
    }

    /// The whole key, as its holder sends it.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{PREFIX}{name}_{}", self.0)
    }

    /// The digest to be stored.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest(PresentedDigest::of(&self.0).0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The digest of what a caller presents. It has no `PartialEq`, `Ord` or `Hash`, so that it can only be
/// compared in constant time.
#[derive(Clone)]
pub struct PresentedDigest([u8; 32]);

impl PresentedDigest {
    /// A stored digest that matches no secret: comparing with it takes the same time as with a real one.
    pub const NONE: SecretDigest = SecretDigest([0; 32]);

    /// The digest of the secret part of a key. The time depends only on the length.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// The digest of a secret that was presented and accepted earlier.
    #[must_use]
    pub fn stored(digest: &SecretDigest) -> Self {
        Self(digest.0)
    }

    /// Compares with a stored digest in constant time.
    #[must_use]
    pub fn matches(&self, stored: &SecretDigest) -> Choice {
        self.0.ct_eq(&stored.0)
    }
}

impl fmt::Debug for PresentedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedDigest(…)")
    }
}

/// The name and the secret in a key as a caller sends it.
#[must_use]
pub fn parts_of(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(PREFIX)?.rsplit_once('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_its_parts_back_and_its_digest_is_that_of_its_secret() {
        let secret = Secret::new().unwrap();
        let key = secret.key("till_7");
        let (name, part) = parts_of(&key).unwrap();
        assert_eq!((name, part.len()), ("till_7", 64));
        let digest = secret.digest();
        assert!(bool::from(PresentedDigest::of(part).matches(&digest)));
        assert!(!bool::from(PresentedDigest::of(&part[1..]).matches(&digest)));
        assert!(!bool::from(PresentedDigest::of(part).matches(&PresentedDigest::NONE)));
    }

    #[test]
    fn a_secret_is_never_shown_by_debug() {
        let secret = Secret::new().unwrap();
        let shown = format!("{secret:?} {:?} {:?}", secret.digest(), PresentedDigest::of("x"));
        assert_eq!(shown, "Secret(…) SecretDigest(…) PresentedDigest(…)");
    }

    /// `==`, `<` and hashing take a time that depends on the content. If the digest had one of these
    /// traits, the constant would be ambiguous and this would not compile.
    #[test]
    fn what_is_presented_can_only_be_compared_in_constant_time() {
        trait Absent<Marker> {
            const YES: bool = true;
        }
        struct Equal;
        struct Ordered;
        struct Hashed;
        impl<T> Absent<()> for T {}
        impl<T: PartialEq> Absent<Equal> for T {}
        impl<T: PartialOrd> Absent<Ordered> for T {}
        impl<T: std::hash::Hash> Absent<Hashed> for T {}
        const { assert!(<PresentedDigest as Absent<_>>::YES) }
    }
}
