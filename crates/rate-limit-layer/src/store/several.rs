//! Several keys of several stores in one call: all pass, or nothing is taken.

use domain::rate_limit::several::{Part, check_all as check_parts};
use domain::rate_limit::{Decision, KeyState, Moment, Policy};

use super::shard::{NoRoom, Shard};
use super::{AtCap, Key, KeysFull, Store};
use crate::sync::MutexGuard;

/// One of several checks.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The policy's keys.
    pub store: &'a Store,
    /// Which key.
    pub key: Key,
    /// Units; 0 to look.
    pub cost: u32,
}

/// Which shard of which store: locks are taken in this order, by everyone, so that nobody waits
/// for somebody who waits for them.
type LockOrder = (u64, usize);

/// One key, with the sum of what is asked of it.
struct Wanted<'a> {
    store: &'a Store,
    key: Key,
    cost: u32,
    lock: usize,
    policy: Policy,
    /// Whether there is no room to remember it.
    is_uncounted: bool,
}

impl Ask<'_> {
    fn lock_order(&self) -> LockOrder {
        (self.store.number, self.store.index_of(self.key))
    }
}

/// Checks all: each takes its cost if every one is allowed, and none takes anything otherwise.
/// The same key twice is asked for the sum. The decisions come in the order of the asks.
///
/// # Errors
/// [`KeysFull`] where one of the keys is a new one, there is no room for it, and its store refuses
/// then; nothing is taken.
pub fn check_all(asks: &[Ask<'_>], now: Moment) -> Result<Vec<Decision>, KeysFull> {
    let mut order: Vec<usize> = (0..asks.len()).collect();
    order.sort_by_key(|index| asks.get(*index).map(|ask| (ask.lock_order(), ask.key)));
    let sorted: Vec<Ask<'_>> = order.iter().filter_map(|index| asks.get(*index)).copied().collect();
    let mut guards = lock(&sorted);
    let now = guards.iter().fold(now, |now, (_, shard)| now.max(shard.last));
    let wanted = wanted(&sorted, &mut guards, now)?;
    let decisions = decide(&wanted, &mut guards, now)?;
    let found = |ask: &Ask<'_>| wanted.iter().position(|wanted| wanted.is(ask)).and_then(|place| decisions.get(place).copied());
    Ok(asks.iter().filter_map(found).collect())
}

fn lock<'a>(sorted: &[Ask<'a>]) -> Vec<(LockOrder, MutexGuard<'a, Shard>)> {
    let mut guards: Vec<(LockOrder, MutexGuard<'a, Shard>)> = Vec::with_capacity(sorted.len());
    for ask in sorted {
        if guards.last().is_none_or(|(last, _)| *last != ask.lock_order()) {
            guards.push((ask.lock_order(), ask.store.shard(ask.key)));
        }
    }
    guards
}

fn wanted<'a>(sorted: &[Ask<'a>], guards: &mut [(LockOrder, MutexGuard<'_, Shard>)], now: Moment) -> Result<Vec<Wanted<'a>>, KeysFull> {
    let mut all: Vec<Wanted<'a>> = Vec::with_capacity(sorted.len());
    for ask in sorted {
        if let Some(last) = all.last_mut().filter(|last| last.is(ask)) {
            // Costs of 2^32 units and more are above every policy's limit, however much above.
            last.cost = last.cost.saturating_add(ask.cost);
            continue;
        }
        // A key that was passed over here would be let through uncounted.
        let Some(lock) = guards.iter().position(|(order, _)| *order == ask.lock_order()) else {
            unreachable!("the shard of every key that is asked for is locked")
        };
        let (_, shard) = &mut guards[lock];
        let now = shard.not_before_last(now);
        let is_uncounted = shard.make_room_for(ask.key.0, now, &ask.store.policy).is_err();
        if is_uncounted && ask.store.at_cap == AtCap::Refuse {
            return Err(KeysFull);
        }
        let policy = shard.policy_of(&ask.store.policy, ask.key.0);
        all.push(Wanted { store: ask.store, key: ask.key, cost: ask.cost, lock, policy, is_uncounted });
    }
    Ok(all)
}

impl Wanted<'_> {
    fn is(&self, ask: &Ask<'_>) -> bool {
        self.store.number == ask.store.number && self.key == ask.key
    }

    fn take(&self, guards: &mut [(LockOrder, MutexGuard<'_, Shard>)]) -> KeyState {
        if self.is_uncounted {
            return self.policy.full();
        }
        let (_, shard) = &mut guards[self.lock];
        shard.take(&self.policy, self.key.0)
    }

    fn put(&self, guards: &mut [(LockOrder, MutexGuard<'_, Shard>)], now: Moment, state: KeyState) -> Result<(), NoRoom> {
        if self.is_uncounted {
            return Ok(());
        }
        let (_, shard) = &mut guards[self.lock];
        shard.put(&self.policy, self.key.0, now, state)
    }
}

fn decide(wanted: &[Wanted<'_>], guards: &mut [(LockOrder, MutexGuard<'_, Shard>)], now: Moment) -> Result<Vec<Decision>, KeysFull> {
    let mut parts: Vec<Part<'_>> =
        wanted.iter().map(|wanted| Part { policy: &wanted.policy, state: wanted.take(guards), cost: wanted.cost }).collect();
    // Two new keys of one shard may find room for one of them only: then all is put back.
    let is_tight = guards.len() < wanted.len();
    let before: Vec<KeyState> = if is_tight { parts.iter().map(|part| part.state.clone()).collect() } else { Vec::new() };
    let decisions = check_parts(&mut parts, now);
    let mut puts = wanted.iter().zip(parts);
    if puts.all(|(wanted, part)| wanted.put(guards, now, part.state).is_ok()) {
        return Ok(decisions);
    }
    assert!(is_tight, "a key that is alone in its shard has the room that was made for it");
    for (wanted, state) in wanted.iter().zip(before) {
        // What was there finds its place again; what was not was full.
        let _ = wanted.put(guards, now, state);
    }
    Err(KeysFull)
}
