//! API keys: what they allow, and the rules for creating, rotating and revoking them. Does no I/O;
//! [`super::key_file`] stores them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::types::{ActorId, Name, Timestamp};
use subtle::Choice;

use super::admission::OpenRequests;
use super::caller::{Caller, Scope, Scopes, USERS};
use super::secret::{Secret, SecretDigest, parts_of};

/// Limit on the number of keys, revoked ones included.
pub const KEYS_MAX: usize = 10_000;
/// Limit on the length of a key's name.
pub const NAME_BYTES_MAX: usize = 64;
/// Limit on how long the old secret of a rotated key stays valid.
pub const OVERLAP_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Actors in the record that are not keys.
const RESERVED: [&str; 3] = ["local", USERS, "engine"];

/// A key, without its secret.
#[derive(Clone, Debug)]
pub struct Key {
    name: String,
    /// What the key allows.
    pub scopes: Scopes,
    /// Prefix of the names of its campaigns; empty: all campaigns.
    pub campaigns: String,
    /// When the key was created.
    pub created_at: Timestamp,
    /// When the key last got a new secret.
    pub rotated_at: Option<Timestamp>,
    /// Since when the key is not accepted.
    pub revoked_at: Option<Timestamp>,
    pub(super) secret: SecretDigest,
    pub(super) overlap: Option<Overlap>,
    in_flight: Arc<OpenRequests>,
}

/// The previous secret, which stays valid for a while after a rotation.
#[derive(Clone, Debug)]
pub struct Overlap {
    /// Digest of the previous secret.
    pub secret: SecretDigest,
    /// The first instant at which the previous secret is not accepted.
    pub until: Timestamp,
}

/// A key to be created.
#[derive(Clone, Debug)]
pub struct NewKey<'a> {
    /// The name, which the record shows as the actor.
    pub name: &'a str,
    /// What the key allows.
    pub scopes: Scopes,
    /// Prefix of the names of its campaigns; empty: all campaigns.
    pub campaigns: &'a str,
}

/// Why a key is not created or changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The name is malformed or reserved.
    #[error("the name must be 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 _ . -, and not local, users or engine")]
    Name,
    /// There are no scopes.
    #[error("the scopes must be one or more of admin, issue, redeem and read")]
    Scopes,
    /// The prefix cannot begin a campaign's name.
    #[error("the campaigns' prefix must be of the characters of a campaign's name, and not empty; leave it out for all campaigns")]
    Campaigns,
    /// `admin` manages keys, which belong to no campaign.
    #[error("a key with the scope admin cannot be limited to some campaigns")]
    AdminLimited,
    /// With a first key without `admin`, no second key could be created over the API.
    #[error("the first key must have the scope admin")]
    FirstNotAdmin,
    /// The name is taken, perhaps by a revoked key. Names are not reused, because the record identifies
    /// callers by them.
    #[error("there is or was a key of this name")]
    Exists,
    /// There is no such key.
    #[error("there is no key of this name")]
    NotFound,
    /// The key is revoked already.
    #[error("the key was revoked")]
    Revoked {
        /// When the key was revoked.
        revoked_at: Timestamp,
    },
    /// Without this key, no key could be created over the API.
    #[error("it is the last key with the scope admin; make another one first")]
    LastAdmin,
    /// The overlap is longer than [`OVERLAP_MAX`].
    #[error("the overlap must be 30 days at most")]
    Overlap,
    /// The limit on the number of keys is reached.
    #[error("there are {KEYS_MAX} keys, as many as there may be")]
    TooMany,
    /// The file was restored from before the last change.
    #[error("keys.json is older than the keys in use; to go back to it, start the server again")]
    Older,
    /// The caller's own key was revoked or rotated after the request was authenticated.
    #[error("the key that asks was revoked or rotated meanwhile")]
    CallerRevoked,
    /// The operating system provided no random bytes.
    #[error("cannot get random bytes")]
    Random,
}

/// All keys, after some number of changes.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    revision: u64,
    keys: BTreeMap<String, Arc<Key>>,
}

impl Key {
    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The requests in flight that use this key.
    #[must_use]
    pub fn in_flight(&self) -> &Arc<OpenRequests> {
        &self.in_flight
    }

    /// Until when the previous secret is accepted, if it still is.
    #[must_use]
    pub fn overlap_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.overlap.as_ref().map(|overlap| overlap.until).filter(|until| now < *until && self.revoked_at.is_none())
    }

    fn is_live_with(&self, scope: Scope) -> bool {
        self.revoked_at.is_none() && self.scopes.allow(scope)
    }

    /// Always compares with two digests, so that the time does not show whether there is an overlap.
    fn accepts(&self, presented: &SecretDigest, now: Timestamp) -> Choice {
        let before = self.overlap.as_ref().map_or(&SecretDigest::NONE, |overlap| &overlap.secret);
        let is_in_time = Choice::from(u8::from(self.overlap_until(now).is_some()));
        presented.matches(&self.secret) | (presented.matches(before) & is_in_time)
    }
}

impl KeyRing {
    /// A ring from stored keys.
    #[must_use]
    pub fn of(revision: u64, keys: impl IntoIterator<Item = Key>) -> Self {
        Self { revision, keys: keys.into_iter().map(|key| (key.name.clone(), Arc::new(key))).collect() }
    }

    /// The number of changes so far.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether no key was ever created, so that any process on this machine may call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether any key is not revoked.
    #[must_use]
    pub fn has_live(&self) -> bool {
        self.keys.values().any(|key| key.revoked_at.is_none())
    }

    /// All keys by name, revoked ones included.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.values()
    }

    /// The key with this name.
    ///
    /// # Errors
    /// [`KeyError::NotFound`].
    pub fn get(&self, name: &str) -> Result<&Arc<Key>, KeyError> {
        self.keys.get(name).ok_or(KeyError::NotFound)
    }

    /// The key that the caller presents, if it is valid. The key is looked up by its name, which is not
    /// secret. The time is the same whether or not there is a key of that name: the secret is digested
    /// and compared either way.
    #[must_use]
    pub fn authenticate(&self, presented: &str, now: Timestamp) -> Option<Arc<Key>> {
        let (name, secret) = parts_of(presented).unwrap_or(("", presented));
        let presented = SecretDigest::of(secret);
        let Some(key) = self.keys.get(name) else {
            let _ = std::hint::black_box(presented.matches(&SecretDigest::NONE) | presented.matches(&SecretDigest::NONE));
            return None;
        };
        (bool::from(key.accepts(&presented, now)) && key.revoked_at.is_none()).then(|| Arc::clone(key))
    }

    /// Whether a caller that was authenticated earlier still would be: its key was neither revoked nor
    /// rotated without an overlap; and if it needed no key, none was created.
    #[must_use]
    pub fn still_accepts(&self, caller: &Caller, now: Timestamp) -> bool {
        let shown = match caller {
            Caller::Key(shown) => shown,
            Caller::Local => return self.is_empty(),
            Caller::User { .. } => return true,
        };
        let Ok(key) = self.get(shown.name()) else { return false };
        Arc::ptr_eq(key, shown) || (key.revoked_at.is_none() && bool::from(key.accepts(&shown.secret, now)))
    }

    /// A ring with one more key, and the key's secret.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn with_created(&self, new: &NewKey<'_>, now: Timestamp) -> Result<(Self, Secret), KeyError> {
        check(new)?;
        if self.is_empty() && !new.scopes.allow(Scope::Admin) {
            return Err(KeyError::FirstNotAdmin);
        }
        if self.keys.contains_key(new.name) {
            return Err(KeyError::Exists);
        }
        if KEYS_MAX <= self.keys.len() {
            return Err(KeyError::TooMany);
        }
        let secret = Secret::new().map_err(|_| KeyError::Random)?;
        Ok((self.with(new.made(secret.digest(), now)), secret))
    }

    /// A ring in which a key has a new secret. The previous one stays valid for `overlap`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn with_rotated(&self, name: &str, overlap: Duration, now: Timestamp) -> Result<(Self, Secret), KeyError> {
        let key = self.live(name)?;
        if OVERLAP_MAX < overlap {
            return Err(KeyError::Overlap);
        }
        let secret = Secret::new().map_err(|_| KeyError::Random)?;
        let overlap_ms = u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX);
        let until = Timestamp::from_millis(now.millis().saturating_add(overlap_ms)).unwrap_or(Timestamp::MAX);
        let overlap = (now < until).then(|| Overlap { secret: key.secret.clone(), until });
        let rotated = Key { secret: secret.digest(), overlap, rotated_at: Some(now), ..Key::clone(key) };
        Ok((self.with(rotated), secret))
    }

    /// A ring in which a key is revoked, with both its secrets.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn with_revoked(&self, name: &str, now: Timestamp) -> Result<(Self, Arc<Key>), KeyError> {
        let key = self.live(name)?;
        let ring = self.with(Key { revoked_at: Some(now), overlap: None, ..Key::clone(key) });
        let key = Arc::clone(ring.get(name)?);
        Ok((ring, key))
    }

    /// Whether this is the only key that can manage keys.
    #[must_use]
    pub fn is_last_admin(&self, name: &str) -> bool {
        let mut others = self.keys.values().filter(|key| key.name != name);
        let is_admin = self.keys.get(name).is_some_and(|key| key.is_live_with(Scope::Admin));
        is_admin && !others.any(|key| key.is_live_with(Scope::Admin))
    }

    /// The same keys with the counters of requests in flight of the ring that they replace.
    #[must_use]
    pub fn with_counters_of(mut self, before: &Self) -> Self {
        for (name, key) in &mut self.keys {
            if let Some(known) = before.keys.get(name) {
                // Permits that were acquired before count in the old counter.
                *key = Arc::new(Key { in_flight: Arc::clone(&known.in_flight), ..Key::clone(key) });
            }
        }
        self
    }

    fn live(&self, name: &str) -> Result<&Arc<Key>, KeyError> {
        let key = self.get(name)?;
        key.revoked_at.map_or(Ok(key), |revoked_at| Err(KeyError::Revoked { revoked_at }))
    }

    fn with(&self, key: Key) -> Self {
        let mut keys = self.keys.clone();
        keys.insert(key.name.clone(), Arc::new(key));
        Self { revision: self.revision + 1, keys }
    }
}

impl NewKey<'_> {
    fn made(&self, secret: SecretDigest, now: Timestamp) -> Key {
        Key {
            name: self.name.to_owned(),
            scopes: self.scopes,
            campaigns: self.campaigns.to_owned(),
            created_at: now,
            rotated_at: None,
            revoked_at: None,
            secret,
            overlap: None,
            in_flight: Arc::default(),
        }
    }

    /// A stored key.
    ///
    /// # Errors
    /// [`KeyError`] if it breaks a rule for new keys.
    pub fn read(&self, secret: SecretDigest, created_at: Timestamp) -> Result<Key, KeyError> {
        check(self)?;
        Ok(self.made(secret, created_at))
    }
}

fn check(new: &NewKey<'_>) -> Result<(), KeyError> {
    // A name's characters without the colon, which a bearer token cannot contain (RFC 6750, 2.1).
    let is_name = new.name.len() <= NAME_BYTES_MAX && ActorId::new(new.name).is_ok() && !new.name.contains(':');
    if !is_name || RESERVED.contains(&new.name) {
        return Err(KeyError::Name);
    }
    if new.scopes.is_empty() {
        return Err(KeyError::Scopes);
    }
    if !is_prefix(new.campaigns) {
        return Err(KeyError::Campaigns);
    }
    if !new.campaigns.is_empty() && new.scopes.allow(Scope::Admin) {
        return Err(KeyError::AdminLimited);
    }
    Ok(())
}

/// Whether this can be the beginning of a campaign's name.
#[must_use]
pub fn is_prefix(campaigns: &str) -> bool {
    campaigns.is_empty() || Name::new(campaigns).is_ok() || Name::new(&format!("{campaigns}-")).is_ok()
}

#[cfg(test)]
#[path = "keys/tests.rs"]
mod tests;
