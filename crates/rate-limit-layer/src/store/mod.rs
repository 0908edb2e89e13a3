//! The keys of one policy and what each has taken, in memory, for many threads.
//!
//! Keys are spread over shards, each with a lock of its own that is held for some nanoseconds.
//! Several keys of several policies are checked together by holding all their locks, taken in a
//! fixed order: so all pass, or nothing is taken, whatever other threads do.
//!
//! A key is remembered by a keyed hash of 64 bits (SipHash-1-3, its key random for each store), so
//! that nobody who chooses names can choose where they land. Two keys with the same hash share one
//! state: they are limited as if they were one, which refuses too much and never too little. Among
//! 10,000,000 keys that are remembered at once, the chance that there is any such pair is one in
//! 370,000.
//!
//! Memory is bounded: a key that is full again is forgotten when its place is wanted, and there is
//! a cap. At the cap a new key is refused or let pass, see [`AtCap`]; keys that are remembered
//! notice nothing.

mod arrivals;
pub(crate) mod in_flight;
pub(crate) mod several;
mod shard;

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::hash::HashSeed;
use domain::rate_limit::leaky_bucket::Compact;
use domain::rate_limit::reserve::{Reservation, SettleRejection};
use domain::rate_limit::{Decision, Moment, Policy, PolicyError, Settings, Verdict};

use crate::sync::{Mutex, MutexGuard};
use shard::Shard;

/// Two to this power is how many shards a store has at most.
pub(crate) const SHARD_BITS: u32 = 8;
/// And this of small stores: 64 shards, whose locks stay in a core's nearest cache. Threads still
/// meet rarely.
const SHARD_BITS_SMALL: u32 = 6;
/// From so many keys on a store has all shards: making one's table anew then takes a millisecond
/// at most, in which that shard's keys wait.
const KEYS_LARGE: usize = 2_000_000;
/// How long a shard that found no room waits before it looks for room again.
pub(crate) const CROWDED_NS: u64 = 100_000_000;

/// What happens to a key that is not remembered yet where the keys are as many as may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AtCap {
    /// It is refused until there is room. The default: whoever sends a flood of made-up keys wants
    /// them to pass, and keys that are remembered are served as before.
    #[default]
    Refuse,
    /// It passes, and is not counted: for services to which a refusal is worse than an overload.
    LetPass,
}

/// How a store is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreOptions {
    /// Keys at most, 1,000,000 unless told otherwise. Each shard has its share, so that a new key
    /// may find no room while a few per cent are still free elsewhere.
    pub keys_max: NonZeroUsize,
    /// What happens at that cap.
    pub at_cap: AtCap,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { keys_max: NonZeroUsize::MIN.saturating_add(999_999), at_cap: AtCap::Refuse }
    }
}

/// The hash of a key's name in one store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key(u64);

/// The keys are as many as may be, and this one is not among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeysFull;

impl std::fmt::Display for KeysFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("as many keys are limited as may be, and this one is not among them")
    }
}

impl std::error::Error for KeysFull {}

/// An estimate that was taken, to be settled once with [`Store::settle`]. Dropped, the estimate
/// stays taken.
#[derive(Debug)]
pub struct Hold {
    key: Key,
    reservation: Reservation,
    /// How often the key had been made full.
    forgotten_count: u64,
}

/// On cache lines of its own, so that threads in two shards do not slow each other down.
#[repr(align(128))]
#[derive(Debug)]
struct Guarded(Mutex<Shard>);

/// The keys of one policy.
#[derive(Debug)]
pub struct Store {
    /// Stores are locked in this order.
    number: u64,
    policy: Policy,
    at_cap: AtCap,
    seed: HashSeed,
    shards: Box<[Guarded]>,
}

impl Store {
    /// A store where every key is full. `now` is by the clock that all later calls use: one that
    /// begins with the process keeps buckets in a third of the memory that a wall clock needs.
    #[must_use]
    pub fn new(policy: Policy, options: StoreOptions, now: Moment) -> Self {
        let random = RandomState::new();
        let bits = if options.keys_max.get() < KEYS_LARGE { SHARD_BITS_SMALL } else { SHARD_BITS };
        Self::with_shards(policy, options, now, bits, HashSeed(random.hash_one(1), random.hash_one(2)))
    }

    /// With so many shards, as a power of two, and this seed.
    pub(crate) fn with_shards(policy: Policy, options: StoreOptions, now: Moment, bits: u32, seed: HashSeed) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let compact = policy.compact().filter(|_| now.nanos() < Compact::NANOS_MAX / 2);
        let keys_max = options.keys_max.get().div_ceil(1 << bits);
        let shards = (0..1_u32 << bits).map(|_| Guarded(Mutex::new(Shard::new(compact, keys_max)))).collect();
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), policy, at_cap: options.at_cap, seed, shards }
    }

    /// The policy of all keys without an override.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The key of that name. It is good for this store only.
    #[must_use]
    #[inline]
    pub fn key(&self, name: &[u8]) -> Key {
        Key(self.seed.hash(name))
    }

    /// Checks, and takes if it conforms. A cost of 0 only looks.
    ///
    /// # Errors
    /// [`KeysFull`] where [`AtCap::Refuse`] is chosen and the key is a new one.
    #[inline]
    pub fn check(&self, key: Key, now: Moment, cost: u32) -> Result<Decision, KeysFull> {
        let mut shard = self.shard(key);
        let now = shard.not_before_last(now);
        let decided = shard.check(&self.policy, key.0, now, cost);
        drop(shard);
        decided.or_else(|_| self.uncounted(now, cost))
    }

    /// The same, answered by the verdict alone: for callers that pass on nothing else, at half the
    /// price.
    ///
    /// # Errors
    /// As [`Store::check`].
    #[inline]
    pub fn admit(&self, key: Key, now: Moment, cost: u32) -> Result<Verdict, KeysFull> {
        let mut shard = self.shard(key);
        let now = shard.not_before_last(now);
        if shard.admit_quickly(key.0, now, cost) {
            return Ok(Verdict::Conforms);
        }
        let decided = shard.check(&self.policy, key.0, now, cost);
        drop(shard);
        decided.or_else(|_| self.uncounted(now, cost)).map(|decision| decision.verdict)
    }

    /// The answer to a key that cannot be remembered.
    #[cold]
    fn uncounted(&self, now: Moment, cost: u32) -> Result<Decision, KeysFull> {
        match self.at_cap {
            AtCap::Refuse => Err(KeysFull),
            AtCap::LetPass => Ok(self.policy.check(self.policy.full(), now, cost).0),
        }
    }

    /// Gives units back.
    pub fn refund(&self, key: Key, now: Moment, units: u32) {
        let mut shard = self.shard(key);
        let now = shard.not_before_last(now);
        shard.change(&self.policy, key.0, now, |policy, state| (policy.refund(state, now, units), ()));
    }

    /// Forgets what a key has taken: it is full.
    pub fn reset(&self, key: Key, now: Moment) {
        let mut shard = self.shard(key);
        let now = shard.not_before_last(now);
        shard.reset(key.0, &self.policy, now);
    }

    /// Takes an estimate that can be settled for `timeout_ns` nanoseconds; no hold if it does not
    /// conform.
    ///
    /// # Errors
    /// [`KeysFull`], also where [`AtCap::LetPass`] is chosen: what is not counted cannot be settled.
    pub fn reserve(&self, key: Key, now: Moment, cost: u32, timeout_ns: u64) -> Result<(Decision, Option<Hold>), KeysFull> {
        let mut shard = self.shard(key);
        let now = shard.not_before_last(now);
        shard.make_room_for(key.0, now, &self.policy).map_err(|_| KeysFull)?;
        let policy = shard.policy_of(&self.policy, key.0);
        let (decision, state, reservation) = policy.reserve(shard.take(&policy, key.0), now, cost, timeout_ns);
        shard.put(&policy, key.0, now, state).map_err(|_| KeysFull)?;
        let hold = reservation.map(|reservation| {
            let forgotten_count = shard.hold(key.0, now, reservation.expires_at);
            Hold { key, reservation, forgotten_count }
        });
        Ok((decision, hold))
    }

    /// Puts the actual cost in the place of the estimate.
    ///
    /// # Errors
    /// [`SettleRejection::ReservationExpired`]: the estimate stays taken.
    pub fn settle(&self, hold: Hold, now: Moment, actual: u32) -> Result<(), SettleRejection> {
        let mut shard = self.shard(hold.key);
        let now = shard.not_before_last(now);
        // What was made full since has given everything back; only what was too little is taken.
        let actual = if shard.forgot_since(hold.key.0, hold.forgotten_count) { actual.max(hold.reservation.cost) } else { actual };
        shard.change(&self.policy, hold.key.0, now, |policy, state| match policy.settle(state, &hold.reservation, now, actual) {
            Ok(state) => (state, Ok(())),
            Err((why, state)) => (state, Err(why)),
        })
    }

    /// Gives one key other numbers, or with `None` those of the policy again. Algorithm and mode
    /// stay. What the key has taken is forgotten.
    ///
    /// # Errors
    /// [`PolicyError`] says what is out of range.
    pub fn set_override(&self, key: Key, now: Moment, numbers: Option<Settings>) -> Result<(), PolicyError> {
        let Settings { algorithm, mode, .. } = *self.policy.settings();
        let policy = numbers.map(|numbers| Policy::new(Settings { algorithm, mode, ..numbers })).transpose()?;
        let mut shard = self.shard(key);
        let now = shard.not_before_last(now);
        shard.set_override(key.0, policy, &self.policy, now);
        Ok(())
    }

    /// Forgets every key that is full. It happens by itself where a place is wanted; called now
    /// and then, it gives memory back after a flood.
    pub fn forget_full(&self, now: Moment) {
        for index in 0..self.shards.len() {
            let mut shard = self.lock(index);
            let now = shard.not_before_last(now);
            shard.forget_full(&self.policy, now);
        }
    }

    /// Keys that are remembered, some of them perhaps full.
    #[must_use]
    pub fn keys_count(&self) -> usize {
        (0..self.shards.len()).map(|index| self.lock(index).keys_count()).sum()
    }

    /// Bytes of its tables and locks; the takings of logs come on top, at 16 bytes each.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let tables: usize = (0..self.shards.len()).map(|index| self.lock(index).bytes()).sum();
        tables + size_of_val(&*self.shards)
    }

    #[inline]
    pub(crate) fn index_of(&self, key: Key) -> usize {
        let bits = self.shards.len().trailing_zeros();
        #[expect(clippy::cast_possible_truncation, reason = "so many bits are left as there are shards")]
        let index = key.0.rotate_left(bits) as usize & (self.shards.len() - 1);
        index
    }

    #[inline]
    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        self.lock(self.index_of(key))
    }

    #[inline]
    fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        // A panic of another thread in here is a bug, but leaves no state that is half written.
        #[expect(clippy::indexing_slicing, reason = "below the number of shards, a power of two")]
        let guarded = &self.shards[index & (self.shards.len() - 1)];
        guarded.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
