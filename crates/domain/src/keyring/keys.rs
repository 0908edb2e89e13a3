//! Keys as the keyring has them, and their bytes in a snapshot and in the digest of the state.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{KeyName, KeyringItems, OVERLAPS_MAX, Overlap, Prefix, Scope, Scopes, SecretDigest};
use crate::types::Timestamp;
use crate::wire::DecodeError;
use crate::wire::bytes::{In, Out, Part, Reader};
use crate::workload::Items;

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
    /// Earlier secrets that are valid beside that one, oldest first: at most [`OVERLAPS_MAX`].
    pub overlaps: Vec<Overlap>,
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
    /// Until when the last of the earlier secrets is accepted, if one still is.
    #[must_use]
    pub fn overlap_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.overlaps.iter().map(|overlap| overlap.until).filter(|until| now < *until && self.revoked_at.is_none()).max()
    }

    /// Without an overlap, no earlier secret stays valid; with one, each does as long as was promised.
    pub(super) fn rotate(&mut self, secret: SecretDigest, overlap_ms: u64, at: Timestamp) {
        let before = std::mem::replace(&mut self.secret, secret);
        self.overlaps.retain(|overlap| overlap_ms != 0 && at < overlap.until);
        if overlap_ms != 0 {
            self.overlaps.push(Overlap { secret: before, until: at.plus_millis(overlap_ms) });
        }
        self.rotated_at = Some(at);
    }

    pub(super) fn is_admin(&self) -> bool {
        self.revoked_at.is_none() && self.scopes.allow(Scope::Admin)
    }

    /// Whether a secret of this digest is valid at `now`. Never for what a caller presents: the time
    /// that it takes depends on the digests.
    pub(super) fn has_secret(&self, secret: &SecretDigest, now: Timestamp) -> bool {
        let is_before = self.overlaps.iter().any(|overlap| overlap.secret == *secret && now < overlap.until);
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

fn put_key(name: &str, key: &Key, out: &mut Out<'_>) {
    let Ok(name) = KeyName::new(name) else { panic!("{name:?} is stored as the name of a key and is none") };
    let Ok(campaigns) = Prefix::new(&key.campaigns) else { panic!("{:?} is stored as a beginning of names and is none", key.campaigns) };
    name.put(out);
    key.scopes.put(out);
    campaigns.put(out);
    key.created_at.put(out);
    key.rotated_at.put(out);
    key.revoked_at.put(out);
    key.secret.put(out);
    // One byte, as of an `Option`: a key with one earlier secret has the bytes that it had when there could
    // be no more.
    let Ok(count) = u8::try_from(key.overlaps.len()) else { panic!("a key has at most {OVERLAPS_MAX} earlier secrets") };
    count.put(out);
    key.overlaps.iter().for_each(|overlap| overlap.put(out));
}

fn take_key(from: &mut In<'_>) -> Result<(Box<str>, Key), DecodeError> {
    let (name, scopes, campaigns) = (KeyName::take(from)?, Scopes::take(from)?, Prefix::take(from)?);
    let (created_at, rotated_at, revoked_at) = (Part::take(from)?, Part::take(from)?, Part::take(from)?);
    let (secret, count) = (Part::take(from)?, usize::from(u8::take(from)?));
    if OVERLAPS_MAX < count {
        return Err(DecodeError("a key has more earlier secrets than it may have"));
    }
    let overlaps = (0..count).map(|_| Part::take(from)).collect::<Result<_, _>>()?;
    let key = Key { scopes, campaigns: campaigns.as_str().into(), created_at, rotated_at, revoked_at, secret, overlaps };
    Ok((name.as_str().into(), key))
}

impl Items for KeyringItems {
    type Frozen = Arc<Ring>;

    fn freeze(&self) -> Arc<Ring> {
        Arc::clone(&self.ring)
    }

    fn section(frozen: &Arc<Ring>, index: usize) -> Option<Vec<u8>> {
        if index != 0 {
            return None;
        }
        let mut bytes = Vec::new();
        let mut out = Out { body: &mut bytes, private: None };
        frozen.changes.put(&mut out);
        frozen.code_key.put(&mut out);
        (frozen.keys.len() as u64).put(&mut out);
        frozen.keys.iter().for_each(|(key, kept)| put_key(key, kept, &mut out));
        Some(bytes)
    }

    fn load(&mut self, index: usize, section: &[u8]) -> Result<(), DecodeError> {
        if index != 0 {
            return Err(DecodeError("a keyring has one section"));
        }
        let mut from = In { body: Reader::new(section), private: None };
        let (changes, code_key, mut keys) = (u64::take(&mut from)?, u32::take(&mut from)?, Keys::new());
        for _ in 0..u64::take(&mut from)? {
            let (key, kept) = take_key(&mut from)?;
            if keys.last_key_value().is_some_and(|(last, _)| key <= *last) {
                return Err(DecodeError("a key is out of order"));
            }
            keys.insert(key, kept);
        }
        self.ring = Arc::new(Ring { changes, code_key, keys });
        from.end()
    }
}
