//! A key's secret: made, shown once, and from then on known by its digest only.
//!
//! A key as its holder has it is `firstcome_NAME_SECRET`: the prefix so that scanners of
//! repositories and logs find a lost one, the name so that it is looked up without its secret,
//! and 256 random bits in hexadecimal. There is nothing to guess in 256 random bits, so one round
//! of SHA-256 is enough, where a password would need a slow hash.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// What every key begins with.
pub const PREFIX: &str = "firstcome_";
const SECRET_BYTES: usize = 32;

/// A new key's secret, on its way to the one who asked for it.
pub struct Secret(String);

impl Secret {
    /// 256 bits of the operating system's.
    ///
    /// # Errors
    /// If it has none to give.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hex(&bytes)))
    }

    /// The whole key, as its holder sends it.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{PREFIX}{name}_{}", self.0)
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is kept of a secret. Without equality and order on purpose: it is compared in constant
/// time or not at all.
#[derive(Clone)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// No secret's: for comparing where there is nothing to compare with.
    pub const NONE: Self = Self([0; 32]);

    /// Of the secret part of a key. Takes the same time for all of the same length.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Whether it is the same, found out in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }

    /// As it is written into the file.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// As it was written into the file.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 64 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

/// A key as it came: its name, and the secret that is said to belong to it.
#[must_use]
pub fn parts_of(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(PREFIX)?.rsplit_once('_')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_its_parts_back_and_its_digest_survives_the_file() {
        let secret = Secret::new().unwrap();
        let key = secret.key("till_7");
        let (name, part) = parts_of(&key).unwrap();
        assert_eq!((name, part.len()), ("till_7", 64));
        let digest = SecretDigest::from_hex(&secret.digest().to_hex()).unwrap();
        assert!(bool::from(digest.matches(&SecretDigest::of(part))));
        assert!(!bool::from(digest.matches(&SecretDigest::of(&part[1..]))));
        assert!(!bool::from(digest.matches(&SecretDigest::NONE)));
    }

    #[test]
    fn a_secret_is_never_shown_by_debug() {
        let secret = Secret::new().unwrap();
        let shown = format!("{secret:?} {:?}", secret.digest());
        assert_eq!(shown, "Secret(…) SecretDigest(…)");
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"G".repeat(64), &"A".repeat(64), &"é".repeat(32)] {
            assert!(SecretDigest::from_hex(text).is_none(), "{text}");
        }
    }

    /// `==`, `<` and hashing stop early or depend on the content: a secret's digest must have none
    /// of them. If it had, the constants would be ambiguous and this would not compile.
    #[test]
    fn a_digest_can_only_be_compared_in_constant_time() {
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
        const { assert!(<SecretDigest as Absent<_>>::YES) }
    }
}
