//! Keys: who holds one, what it allows, and the rules for making and ending them. Pure: where they
//! are kept is in [`super::key_file`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::types::{ActorId, CampaignName, Timestamp};
use subtle::Choice;

use super::admission::InFlight;
use super::caller::{Caller, Scope, Scopes, USERS};
use super::secret::{Secret, SecretDigest, parts_of};

/// Keys that there may be, revoked ones included.
pub const KEYS_MAX: usize = 10_000;
/// Characters of a key's name at most.
pub const NAME_BYTES_MAX: usize = 64;
/// How long a rotated key's old secret may go on.
pub const OVERLAP_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Actors that are no key.
const RESERVED: [&str; 3] = ["local", USERS, "engine"];

/// A key, without its secret.
#[derive(Clone, Debug)]
pub struct Key {
    name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// What the names of its campaigns begin with; empty: all campaigns.
    pub campaigns: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last got another secret.
    pub rotated_at: Option<Timestamp>,
    /// Since when it is of no use.
    pub revoked_at: Option<Timestamp>,
    pub(super) secret: SecretDigest,
    pub(super) overlap: Option<Overlap>,
    in_flight: Arc<InFlight>,
}

/// The secret before the current one, and until when it is still good.
#[derive(Clone, Debug)]
pub struct Overlap {
    /// The secret before.
    pub secret: SecretDigest,
    /// Until just before this.
    pub until: Timestamp,
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewKey<'a> {
    /// Its name, which the record shows as the actor.
    pub name: &'a str,
    /// What it allows.
    pub scopes: Scopes,
    /// What the names of its campaigns begin with; empty: all campaigns.
    pub campaigns: &'a str,
}

/// Why a key is not made, or not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The name cannot be one.
    #[error("the name must be 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 _ . -, and not local, users or engine")]
    Name,
    /// Nothing is allowed.
    #[error("the scopes must be one or more of admin, issue, redeem and read")]
    Scopes,
    /// No campaign's name begins like this.
    #[error("the campaigns' prefix must be of the characters of a campaign's name, and not empty; leave it out for all campaigns")]
    Campaigns,
    /// Keys and other campaigns' settings would be out of bounds for the one who minds them.
    #[error("a key with the scope admin cannot be limited to some campaigns")]
    AdminLimited,
    /// Nobody could make the second one.
    #[error("the first key must have the scope admin")]
    FirstNotAdmin,
    /// The name is taken, perhaps by a key that was revoked: the record names callers by it.
    #[error("there is or was a key of this name")]
    Exists,
    /// No such key.
    #[error("there is no key of this name")]
    NotFound,
    /// It was revoked before.
    #[error("the key was revoked")]
    Revoked {
        /// When.
        revoked_at: Timestamp,
    },
    /// Nobody could make another one.
    #[error("it is the last key with the scope admin; make another one first")]
    LastAdmin,
    /// The old secret would go on for too long.
    #[error("the overlap must be 30 days at most")]
    Overlap,
    /// As many as there may be.
    #[error("there are {KEYS_MAX} keys, as many as there may be")]
    TooMany,
    /// The file was put back from before the last change.
    #[error("keys.json is older than the keys in use; to go back to it, start the server again")]
    Older,
    /// Whoever asks was let in with a key that has ended meanwhile.
    #[error("the key that asks was revoked or rotated meanwhile")]
    AskerEnded,
    /// The operating system gives no random bytes.
    #[error("cannot get random bytes")]
    Random,
}

/// All keys, as of one change of them.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    revision: u64,
    keys: BTreeMap<String, Arc<Key>>,
}

impl Key {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    /// Until when the secret before the current one is still good, if it is.
    #[must_use]
    pub fn overlap_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.overlap.as_ref().map(|overlap| overlap.until).filter(|until| now < *until && self.revoked_at.is_none())
    }

    /// Whether it may be used, and has this scope.
    fn is_live_with(&self, scope: Scope) -> bool {
        self.revoked_at.is_none() && self.scopes.allow(scope)
    }

    /// Compares with both secrets, whether or not there are two.
    fn accepts(&self, presented: &SecretDigest, now: Timestamp) -> Choice {
        let before = self.overlap.as_ref().map_or(&SecretDigest::NONE, |overlap| &overlap.secret);
        let is_in_time = Choice::from(u8::from(self.overlap_until(now).is_some()));
        presented.matches(&self.secret) | (presented.matches(before) & is_in_time)
    }
}

impl KeyRing {
    /// Keys as they were read.
    #[must_use]
    pub fn of(revision: u64, keys: impl IntoIterator<Item = Key>) -> Self {
        Self { revision, keys: keys.into_iter().map(|key| (key.name.clone(), Arc::new(key))).collect() }
    }

    /// How many changes it has had.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether no key was ever made, so that whoever is on this machine may call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether anybody could call.
    #[must_use]
    pub fn has_live(&self) -> bool {
        self.keys.values().any(|key| key.revoked_at.is_none())
    }

    /// All keys by name, revoked ones included.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.values()
    }

    /// A key by its name.
    ///
    /// # Errors
    /// [`KeyError::NotFound`].
    pub fn get(&self, name: &str) -> Result<&Arc<Key>, KeyError> {
        self.keys.get(name).ok_or(KeyError::NotFound)
    }

    /// Whose key this is, if it is one and may be used. The key is found by its name, which is no
    /// secret; its secret is digested and compared the same way whether or not there is such a
    /// key.
    #[must_use]
    pub fn holder(&self, presented: &str, now: Timestamp) -> Option<Arc<Key>> {
        let (name, secret) = parts_of(presented).unwrap_or(("", presented));
        let presented = SecretDigest::of(secret);
        let Some(key) = self.keys.get(name) else {
            let _ = std::hint::black_box(presented.matches(&SecretDigest::NONE) | presented.matches(&SecretDigest::NONE));
            return None;
        };
        (bool::from(key.accepts(&presented, now)) && key.revoked_at.is_none()).then(|| Arc::clone(key))
    }

    /// Whether a caller who was let in a moment ago still would be: its key was not revoked since,
    /// nor given another secret without an overlap; and where no key was asked for, none was made.
    #[must_use]
    pub fn still_honours(&self, caller: &Caller, now: Timestamp) -> bool {
        let shown = match caller {
            Caller::Key(shown) => shown,
            Caller::Local => return self.is_empty(),
            Caller::User { .. } => return true,
        };
        let Ok(key) = self.get(shown.name()) else { return false };
        Arc::ptr_eq(key, shown) || (key.revoked_at.is_none() && bool::from(key.accepts(&shown.secret, now)))
    }

    /// A key more, and its secret.
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

    /// Another secret for a key. The one before is good for a while yet.
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

    /// A key of no more use, both its secrets.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn with_revoked(&self, name: &str, now: Timestamp) -> Result<(Self, Arc<Key>), KeyError> {
        let key = self.live(name)?;
        let ring = self.with(Key { revoked_at: Some(now), overlap: None, ..Key::clone(key) });
        let key = Arc::clone(ring.get(name)?);
        Ok((ring, key))
    }

    /// Whether nobody could mind the keys if this one were revoked.
    #[must_use]
    pub fn is_last_admin(&self, name: &str) -> bool {
        let mut others = self.keys.values().filter(|key| key.name != name);
        let is_admin = self.keys.get(name).is_some_and(|key| key.is_live_with(Scope::Admin));
        is_admin && !others.any(|key| key.is_live_with(Scope::Admin))
    }

    /// The same keys, each with the requests in flight that it has had before.
    #[must_use]
    pub fn in_place_of(mut self, before: &Self) -> Self {
        for (name, key) in &mut self.keys {
            if let Some(known) = before.keys.get(name) {
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

    /// The key as it was read from the file.
    ///
    /// # Errors
    /// [`KeyError`] if it breaks a rule for new keys.
    pub fn read(&self, secret: SecretDigest, created_at: Timestamp) -> Result<Key, KeyError> {
        check(self)?;
        Ok(self.made(secret, created_at))
    }
}

fn check(new: &NewKey<'_>) -> Result<(), KeyError> {
    // What a name may be, less the colon, which a bearer token cannot hold (RFC 6750, 2.1).
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

/// Whether a campaign's name may begin like this.
#[must_use]
pub fn is_prefix(campaigns: &str) -> bool {
    campaigns.is_empty() || CampaignName::new(campaigns).is_ok() || CampaignName::new(&format!("{campaigns}-")).is_ok()
}

#[cfg(test)]
#[path = "keys/tests.rs"]
mod tests;
