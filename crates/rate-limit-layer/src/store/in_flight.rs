//! Requests in flight, by key, for many threads.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, RandomState};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::hash::HashSeed;
use domain::rate_limit::in_flight::{InFlight, Lease, Leases};
use domain::rate_limit::{Decision, Moment};

use super::shard::AsItIs;
use super::{AtCap, Key, KeysFull, SHARD_BITS, StoreOptions};
use crate::sync::Mutex;

type Keys = HashMap<u64, Leases, BuildHasherDefault<AsItIs>>;

/// A place that is held. Give it back with [`InFlightStore::end`]; otherwise it ends by itself
/// after the timeout.
#[derive(Debug)]
pub struct HeldPlace {
    key: Key,
    lease: Lease,
}

/// The keys of one limit on requests in flight. A key with nothing in flight is forgotten.
#[derive(Debug)]
pub struct InFlightStore {
    limit: InFlight,
    at_cap: AtCap,
    keys_max: usize,
    seed: HashSeed,
    leases_count: AtomicU64,
    shards: Box<[Mutex<Keys>]>,
}

impl InFlightStore {
    /// Nobody is in flight.
    #[must_use]
    pub fn new(limit: InFlight, options: StoreOptions) -> Self {
        use std::hash::BuildHasher;
        let random = RandomState::new();
        Self {
            limit,
            at_cap: options.at_cap,
            keys_max: options.keys_max.get().div_ceil(1 << SHARD_BITS),
            seed: HashSeed(random.hash_one(1), random.hash_one(2)),
            leases_count: AtomicU64::new(0),
            shards: (0..1_u32 << SHARD_BITS).map(|_| Mutex::new(Keys::default())).collect(),
        }
    }

    /// The limit of all keys.
    #[must_use]
    pub fn limit(&self) -> &InFlight {
        &self.limit
    }

    /// The key of that name. It is good for this store only.
    #[must_use]
    pub fn key(&self, name: &[u8]) -> Key {
        Key(self.seed.hash(name))
    }

    /// Starts a request: a place if it conforms.
    ///
    /// # Errors
    /// [`KeysFull`] where the key is a new one, there is no room for it, and [`AtCap::Refuse`] is
    /// chosen.
    pub fn start(&self, key: Key, now: Moment) -> Result<(Decision, Option<HeldPlace>), KeysFull> {
        self.with(key, |keys| {
            // Under the lock, so that the numbers of one key rise.
            let lease = Lease(self.leases_count.fetch_add(1, Ordering::Relaxed));
            if self.keys_max <= keys.len() && !keys.contains_key(&key.0) {
                keys.retain(|_, leases| !leases.is_empty_at(now));
            }
            let is_crowded = self.keys_max <= keys.len() && !keys.contains_key(&key.0);
            match self.at_cap {
                AtCap::Refuse if is_crowded => return Err(KeysFull),
                AtCap::LetPass if is_crowded => return Ok((self.limit.start(Leases::default(), now, lease).0, None)),
                AtCap::Refuse | AtCap::LetPass => {}
            }
            let (decision, leases) = self.limit.start(keys.remove(&key.0).unwrap_or_default(), now, lease);
            keys.insert(key.0, leases);
            Ok((decision, decision.conforms().then_some(HeldPlace { key, lease })))
        })
    }

    /// Ends a request. `false` if its place had been lost to the timeout.
    pub fn end(&self, place: HeldPlace, now: Moment) -> bool {
        self.with(place.key, |keys| {
            let Some(old) = keys.remove(&place.key.0) else { return false };
            let (leases, was_held) = self.limit.end(old, now, place.lease);
            if !leases.is_empty_at(now) {
                keys.insert(place.key.0, leases);
            }
            was_held
        })
    }

    /// Keys with something in flight.
    #[must_use]
    pub fn keys_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn with<T>(&self, key: Key, change: impl FnOnce(&mut Keys) -> T) -> T {
        let count = self.shards.len() as u64;
        let Ok(index) = usize::try_from(key.0.rotate_left(SHARD_BITS) % count) else {
            unreachable!("a remainder is below the number of shards")
        };
        #[expect(clippy::indexing_slicing, reason = "below the number of shards")]
        let mut keys = self.shards[index].lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut keys)
    }
}
