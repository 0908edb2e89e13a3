//! Keys as the keyring has them, and their bytes in a snapshot and in the digest of the state.

use std::collections::BTreeMap;

use super::{KeyName, Overlap, Prefix, Scope, Scopes, SecretDigest};
use crate::types::Timestamp;
use crate::wire::DecodeError;
use crate::wire::bytes::{In, Out, Part};

/// A key, without its name and its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// What the key allows.
    pub scopes: Scopes,
    /// The beginning of the names of its campaigns; empty: all campaigns.
    pub campaigns: Box<str>,
    /// When the key was created.
    pub created_at: Timestamp,
    /// When the key last got another secret.
    pub rotated_at: Option<Timestamp>,
    /// Since when the key is not accepted.
    pub revoked_at: Option<Timestamp>,
    /// The digest of its secret.
    pub secret: SecretDigest,
    /// The secret before, while it is valid beside that one.
    pub overlap: Option<Overlap>,
}

/// Keys by their names, revoked ones included.
pub type Keys = BTreeMap<Box<str>, Key>;

/// All keys, after so many changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    /// How many changes there were: whoever follows the keyring tells a later one from an earlier one.
    pub changes: u64,
    /// The number of the code key of new campaigns, from 1.
    pub code_key: u32,
    /// The keys.
    pub keys: Keys,
}

/// As it is before there is a keyring.
impl Default for Ring {
    fn default() -> Self {
        Self { changes: 0, code_key: 1, keys: Keys::new() }
    }
}

impl Key {
    /// Until when the secret before is accepted, if it still is.
    #[must_use]
    pub fn overlap_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.overlap.map(|overlap| overlap.until).filter(|until| now < *until && self.revoked_at.is_none())
    }

    pub(super) fn is_admin(&self) -> bool {
        self.revoked_at.is_none() && self.scopes.allow(Scope::Admin)
    }

    /// Whether a secret of this digest is valid at `now`. Never for what a caller presents: the time
    /// that it takes depends on the digests.
    pub(super) fn has_secret(&self, secret: &SecretDigest, now: Timestamp) -> bool {
        let is_before = self.overlap.as_ref().is_some_and(|overlap| overlap.secret == *secret && now < overlap.until);
        self.revoked_at.is_none() && (self.secret == *secret || is_before)
    }
}

/// A key as canonical bytes: what a digest of the state is made of.
#[must_use]
pub fn key_bytes(name: &str, key: &Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(160);
    put_key(name, key, &mut Out { body: &mut bytes, private: None });
    bytes
}

pub(super) fn put_key(name: &str, key: &Key, out: &mut Out<'_>) {
    let Ok(name) = KeyName::new(name) else { panic!("{name:?} is stored as the name of a key and is none") };
    let Ok(campaigns) = Prefix::new(&key.campaigns) else { panic!("{:?} is stored as a beginning of names and is none", key.campaigns) };
    name.put(out);
    key.scopes.put(out);
    campaigns.put(out);
    key.created_at.put(out);
    key.rotated_at.put(out);
    key.revoked_at.put(out);
    key.secret.put(out);
    key.overlap.put(out);
}

pub(super) fn take_key(from: &mut In<'_>) -> Result<(Box<str>, Key), DecodeError> {
    let (name, scopes, campaigns) = (KeyName::take(from)?, Scopes::take(from)?, Prefix::take(from)?);
    let (created_at, rotated_at, revoked_at) = (Part::take(from)?, Part::take(from)?, Part::take(from)?);
    let (secret, overlap) = (Part::take(from)?, Part::take(from)?);
    let key = Key { scopes, campaigns: campaigns.as_str().into(), created_at, rotated_at, revoked_at, secret, overlap };
    Ok((name.as_str().into(), key))
}
