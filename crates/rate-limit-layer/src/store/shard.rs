//! The part of the keys that one lock guards.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use domain::rate_limit::leaky_bucket::Compact;
use domain::rate_limit::{Decision, KeyState, Moment, Policy};

use super::arrivals::Arrivals;

/// Keys are hashes already.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// The keys of a policy that fall to one lock.
#[derive(Debug)]
pub(super) struct Shard {
    /// The last moment that was told: time never runs backwards here.
    pub(super) last: Moment,
    keys: Keys,
    /// Keys with a policy of their own.
    overrides: BTreeMap<u64, (Policy, KeyState)>,
    /// Apart, because few reserve: the rest fits in two cache lines.
    holds: Option<Box<Holds>>,
}

/// Keys of which something is reserved, and how often they were made full since: what was forgotten
/// then must not be given back a second time by those who settle.
#[derive(Debug, Default)]
struct Holds {
    by_key: BTreeMap<u64, Held>,
    /// With so many, those that have run out are looked for.
    tidy_at: usize,
}

#[derive(Debug)]
struct Held {
    until: Moment,
    forgotten_count: u64,
}

impl Holds {
    fn hold(&mut self, key: u64, now: Moment, until: Moment) -> u64 {
        if self.tidy_at <= self.by_key.len() {
            self.by_key.retain(|_, held| now < held.until);
            self.tidy_at = (2 * self.by_key.len()).max(64);
        }
        let held = self.by_key.entry(key).or_insert(Held { until, forgotten_count: 0 });
        held.until = held.until.max(until);
        held.forgotten_count
    }

    fn forget(&mut self, key: u64) {
        if let Some(held) = self.by_key.get_mut(&key) {
            held.forgotten_count += 1;
        }
    }

    fn forgotten_count(&self, key: u64) -> u64 {
        self.by_key.get(&key).map_or(0, |held| held.forgotten_count)
    }
}

#[derive(Debug)]
enum Keys {
    /// Buckets, where their policy has a compact form.
    Compact(Compact, Arrivals),
    /// Everything else.
    Wide(Wide),
}

struct Wide {
    states: HashMap<u64, KeyState, BuildHasherDefault<AsItIs>>,
    keys_max: usize,
    crowded_until: Moment,
}

impl std::fmt::Debug for Wide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wide").field("keys", &self.states.len()).finish_non_exhaustive()
    }
}

/// There is no room for a new key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoRoom;

impl Shard {
    pub(super) fn new(compact: Option<Compact>, keys_max: usize) -> Self {
        let keys = match compact {
            Some(compact) => Keys::Compact(compact, Arrivals::new(keys_max)),
            None => Keys::Wide(Wide { states: HashMap::default(), keys_max, crowded_until: Moment::ZERO }),
        };
        Self { last: Moment::ZERO, keys, overrides: BTreeMap::new(), holds: None }
    }

    /// An earlier moment is taken as the last one.
    #[inline]
    pub(super) fn not_before_last(&mut self, now: Moment) -> Moment {
        self.last = self.last.max(now);
        self.last
    }

    /// Takes it if that can be seen at a glance: a bucket in its compact form, a key without an
    /// override. `false`: nothing was taken, and [`Shard::check`] knows why.
    #[inline]
    pub(super) fn admit_quickly(&mut self, key: u64, now: Moment, cost: u32) -> bool {
        let (Keys::Compact(compact, arrivals), true) = (&mut self.keys, self.overrides.is_empty()) else { return false };
        let Some(arrival) = arrivals.entry(key, *compact, now) else { return false };
        let Some(new) = compact.check(*arrival, now, cost) else { return false };
        *arrival = new;
        true
    }

    #[inline]
    pub(super) fn check(&mut self, policy: &Policy, key: u64, now: Moment, cost: u32) -> Result<Decision, NoRoom> {
        if let (Keys::Compact(compact, arrivals), true) = (&mut self.keys, self.overrides.is_empty()) {
            let arrival = arrivals.entry(key, *compact, now).ok_or(NoRoom)?;
            let old = *arrival;
            let new = compact.check(old, now, cost);
            if let Some(new) = new {
                *arrival = new;
            }
            return Ok(compact.decision(policy.settings().mode, old, new, now, cost));
        }
        self.check_slowly(policy, key, now, cost)
    }

    fn check_slowly(&mut self, policy: &Policy, key: u64, now: Moment, cost: u32) -> Result<Decision, NoRoom> {
        self.make_room_for(key, now, policy)?;
        let policy = self.policy_of(policy, key);
        let (decision, state) = policy.check(self.take(&policy, key), now, cost);
        self.put(&policy, key, now, state)?;
        Ok(decision)
    }

    /// The policy that counts for this key.
    pub(super) fn policy_of(&self, policy: &Policy, key: u64) -> Policy {
        self.overrides.get(&key).map_or(*policy, |(policy, _)| *policy)
    }

    /// The state of a key, to be put back with [`Shard::put`].
    pub(super) fn take(&mut self, policy: &Policy, key: u64) -> KeyState {
        if let Some((_, state)) = self.overrides.get_mut(&key) {
            return std::mem::replace(state, policy.full());
        }
        match &mut self.keys {
            Keys::Compact(compact, arrivals) => compact.widen(policy, arrivals.get(key).unwrap_or(Compact::FULL)),
            Keys::Wide(wide) => wide.states.remove(&key).unwrap_or_else(|| policy.full()),
        }
    }

    /// Puts a state in its place. A full one needs none: it is forgotten.
    pub(super) fn put(&mut self, policy: &Policy, key: u64, now: Moment, state: KeyState) -> Result<(), NoRoom> {
        if let Some((_, old)) = self.overrides.get_mut(&key) {
            *old = state;
            return Ok(());
        }
        let is_full = state.is_full(policy, now);
        match &mut self.keys {
            Keys::Compact(compact, arrivals) => {
                let arrival = compact.narrow(policy, &state);
                match arrivals.entry(key, *compact, now) {
                    Some(old) => *old = arrival,
                    None if is_full => {}
                    None => return Err(NoRoom),
                }
            }
            Keys::Wide(wide) if is_full => drop(wide.states.remove(&key)),
            Keys::Wide(wide) if wide.has_room_for(key) => drop(wide.states.insert(key, state)),
            Keys::Wide(_) => return Err(NoRoom),
        }
        Ok(())
    }

    /// Puts a changed state in the place of the old one.
    pub(super) fn change<T>(&mut self, base: &Policy, key: u64, now: Moment, change: impl FnOnce(&Policy, KeyState) -> (KeyState, T)) -> T {
        let policy = self.policy_of(base, key);
        let (state, told) = change(&policy, self.take(&policy, key));
        // Only a debt of a key that was forgotten can find no room: it is forgotten too.
        let _ = self.put(&policy, key, now, state);
        told
    }

    /// Sees that a key can be remembered.
    pub(super) fn make_room_for(&mut self, key: u64, now: Moment, policy: &Policy) -> Result<(), NoRoom> {
        if self.overrides.contains_key(&key) {
            return Ok(());
        }
        let has_room = match &mut self.keys {
            Keys::Compact(compact, arrivals) => arrivals.entry(key, *compact, now).is_some(),
            Keys::Wide(wide) => wide.has_room_for(key) || wide.make_room(policy, now),
        };
        if has_room { Ok(()) } else { Err(NoRoom) }
    }

    /// Something of a key is reserved until then; gives what to ask [`Shard::forgot_since`] by.
    pub(super) fn hold(&mut self, key: u64, now: Moment, until: Moment) -> u64 {
        self.holds.get_or_insert_default().hold(key, now, until)
    }

    /// Whether the key was made full since that reservation.
    pub(super) fn forgot_since(&self, key: u64, forgotten_count: u64) -> bool {
        self.holds.as_ref().map_or(0, |holds| holds.forgotten_count(key)) != forgotten_count
    }

    /// What the key has taken is forgotten: it is full.
    pub(super) fn reset(&mut self, key: u64, base: &Policy, now: Moment) {
        let policy = self.policy_of(base, key);
        assert!(self.put(&policy, key, now, policy.full()).is_ok(), "a full key takes no room");
        self.forget_holds(key);
    }

    fn forget_holds(&mut self, key: u64) {
        if let Some(holds) = &mut self.holds {
            holds.forget(key);
        }
    }

    /// Gives a key a policy of its own, or that of all again; it is full then.
    pub(super) fn set_override(&mut self, key: u64, policy: Option<Policy>, base: &Policy, now: Moment) {
        self.forget_holds(key);
        assert!(self.put(base, key, now, base.full()).is_ok(), "a full key takes no room");
        match policy {
            Some(policy) => drop(self.overrides.insert(key, (policy, policy.full()))),
            None => drop(self.overrides.remove(&key)),
        }
    }

    pub(super) fn forget_full(&mut self, policy: &Policy, now: Moment) {
        match &mut self.keys {
            Keys::Compact(compact, arrivals) => arrivals.forget_full(*compact, now),
            Keys::Wide(wide) => wide.forget_full(policy, now),
        }
    }

    pub(super) fn keys_count(&self) -> usize {
        let keys = match &self.keys {
            Keys::Compact(_, arrivals) => arrivals.count(),
            Keys::Wide(wide) => wide.states.len(),
        };
        keys + self.overrides.len()
    }

    /// Bytes of its tables; without the takings of logs.
    pub(super) fn bytes(&self) -> usize {
        match &self.keys {
            Keys::Compact(_, arrivals) => arrivals.bytes(),
            Keys::Wide(wide) => wide.states.capacity() * (size_of::<(u64, KeyState)>() + 1),
        }
    }
}

impl Wide {
    fn has_room_for(&self, key: u64) -> bool {
        self.states.len() < self.keys_max || self.states.contains_key(&key)
    }

    fn forget_full(&mut self, policy: &Policy, now: Moment) {
        self.states.retain(|_, state| !state.is_full(policy, now));
        self.states.shrink_to(self.states.len() + self.states.len() / 4);
    }

    fn make_room(&mut self, policy: &Policy, now: Moment) -> bool {
        if now < self.crowded_until {
            return false;
        }
        self.forget_full(policy, now);
        let has_room = self.states.len() < self.keys_max;
        if !has_room {
            self.crowded_until = now.plus_nanos(super::CROWDED_NS);
        }
        has_room
    }
}
