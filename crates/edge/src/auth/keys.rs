//! API keys as they authenticate callers: built from the keyring, with a counter of the requests in flight of
//! each key. `domain::keyring` creates and revokes keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::keyring::{self, OVERLAPS_MAX, Ring};
use domain::types::Timestamp;
use subtle::Choice;

use super::admission::OpenRequests;
use super::caller::{Caller, Scopes};
use super::secret::{PresentedDigest, parts_of};

/// A key.
#[derive(Clone, Debug)]
pub struct Key {
    name: String,
    kept: keyring::Key,
    in_flight: Arc<OpenRequests>,
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

    /// The key as stored in the keyring.
    #[must_use]
    pub fn kept(&self) -> &keyring::Key {
        &self.kept
    }

    /// What the key allows.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.kept.scopes
    }

    /// Prefix of the names of its campaigns; empty: all campaigns.
    #[must_use]
    pub fn campaigns(&self) -> &str {
        &self.kept.campaigns
    }

    /// The requests in flight that use this key.
    #[must_use]
    pub fn in_flight(&self) -> &Arc<OpenRequests> {
        &self.in_flight
    }

    /// Always compares with as many digests, so that the time does not show whether there are overlaps.
    fn accepts(&self, presented: &PresentedDigest, now: Timestamp) -> Choice {
        (0..OVERLAPS_MAX).fold(presented.matches(&self.kept.secret), |accepted, index| {
            let overlap = self.kept.overlaps.get(index);
            let before = overlap.map_or(PresentedDigest::NONE, |overlap| overlap.secret);
            let is_in_time = Choice::from(u8::from(overlap.is_some_and(|overlap| now < overlap.until)));
            accepted | (presented.matches(&before) & is_in_time)
        })
    }
}

impl KeyRing {
    /// The keys of a keyring. Keys that existed before keep their counters of requests in flight.
    #[must_use]
    pub fn of(ring: &Ring, before: &Self) -> Self {
        let key = |(name, kept): (&str, &keyring::Key)| {
            let known = before.keys.get(name);
            let key = match known {
                Some(known) if known.kept == *kept => Arc::clone(known),
                _ => {
                    let in_flight = known.map(|known| Arc::clone(&known.in_flight)).unwrap_or_default();
                    Arc::new(Key { name: name.to_string(), kept: kept.clone(), in_flight })
                }
            };
            (name.to_string(), key)
        };
        Self { revision: ring.changes, keys: ring.keys.iter().map(|(name, kept)| key((name, kept))).collect() }
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

    /// How many keys are not revoked.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.keys.values().filter(|key| key.kept.revoked_at.is_none()).count()
    }

    /// The key with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Key>> {
        self.keys.get(name)
    }

    /// The key that the caller presents, if it is valid. The key is looked up by its name, which is not
    /// secret. The time is the same whether or not there is a key of that name: the secret is digested
    /// and compared either way.
    #[must_use]
    pub fn authenticate(&self, presented: &str, now: Timestamp) -> Option<Arc<Key>> {
        let (name, secret) = parts_of(presented).unwrap_or(("", presented));
        let presented = PresentedDigest::of(secret);
        let Some(key) = self.keys.get(name) else {
            let none = &PresentedDigest::NONE;
            let all = (0..OVERLAPS_MAX).fold(presented.matches(none), |all, _| all | presented.matches(none));
            let _ = std::hint::black_box(all);
            return None;
        };
        (bool::from(key.accepts(&presented, now)) && key.kept.revoked_at.is_none()).then(|| Arc::clone(key))
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
        let Some(key) = self.get(shown.name()) else { return false };
        let accepts = || bool::from(key.accepts(&PresentedDigest::stored(&shown.kept.secret), now));
        Arc::ptr_eq(key, shown) || (key.kept.revoked_at.is_none() && accepts())
    }
}

#[cfg(test)]
#[path = "keys/tests.rs"]
mod tests;
