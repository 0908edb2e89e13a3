//! Rate limits as a service: the counters of each policy, and reservations and leases.
//!
//! Policies are decided and stored like campaigns, across machines too. The units taken by keys, reservations
//! and leases are only in the memory of this process: after a restart every key has its full quota, and
//! across machines each server counts on its own.

mod clock;
mod held;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use domain::rate_limit::policies::{Numbers, Rule};
use domain::rate_limit::reserve::SettleRejection;
use domain::rate_limit::{Decision, Moment, PolicyError, Settings};
use domain::types::{LimitKey, Name};
use parking_lot::RwLock;
use rate_limit_layer::{Ask, HeldPlace, Hold, InFlightStore, Key, KeysFull, Store, StoreOptions, check_all};

pub use clock::LimitClock;
use held::Held;

/// Capacity for counted keys of one policy.
pub const KEYS_MAX: usize = 1_000_000;
/// Capacity for reservations, and for leases.
pub const HELD_MAX: usize = 1_000_000;

/// Why a request to the counters gets no decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitRefusal {
    /// The policy does not exist.
    PolicyNotFound,
    /// The policy is of another kind than the request needs.
    OtherKind,
    /// The capacity for keys is used up, and this key is not counted yet.
    KeysFull,
    /// The capacity for reservations or leases is used up.
    HeldFull,
    /// The reservation does not exist, or has been settled.
    ReservationNotFound,
    /// The reservation has expired; its estimate stays taken.
    ReservationExpired,
    /// The lease does not exist, was ended, or has expired.
    LeaseNotFound,
}

impl From<KeysFull> for LimitRefusal {
    fn from(_: KeysFull) -> Self {
        Self::KeysFull
    }
}

/// Keys with their own numbers.
type Overrides = Arc<BTreeMap<Box<str>, Numbers>>;

/// The counters of one policy.
#[derive(Debug)]
enum Counters {
    Rate(Store),
    InFlight(InFlightStore),
}

/// A policy as its counters know it.
#[derive(Debug)]
struct Counted {
    rule: Rule,
    overrides: Overrides,
    counters: Arc<Counters>,
}

/// One check.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// The policy's name.
    pub policy: Name<'a>,
    /// The counted key.
    pub key: LimitKey<'a>,
    /// Units to take; 0 takes none and only reads.
    pub cost: u32,
}

/// A decision, with its policy.
#[derive(Clone, Debug)]
pub struct Limited {
    /// The policy's name.
    pub policy: String,
    /// The decision of the counters.
    pub decision: Decision,
    /// The id of the reservation or lease, if one was requested and granted.
    pub held: Option<String>,
}

/// All counters.
#[derive(Debug)]
pub struct Limits {
    clock: LimitClock,
    by_policy: RwLock<BTreeMap<String, Counted>>,
    reservations: Held<(Arc<Counters>, Hold)>,
    leases: Held<(Arc<Counters>, HeldPlace)>,
}

impl Limits {
    /// No policies. `random` distinguishes the ids of this process from those of an earlier one.
    #[must_use]
    pub fn new(clock: LimitClock, random: u64) -> Self {
        Self { clock, by_policy: RwLock::default(), reservations: Held::new(random, HELD_MAX), leases: Held::new(random, HELD_MAX) }
    }

    /// Applies a policy's stored state, or its removal. Only differences from the state applied before take
    /// effect, whichever request caused them: after a change of the rule all keys are full, after a change of
    /// a key's numbers that key is.
    ///
    /// # Errors
    /// [`PolicyError`] if the numbers are invalid, which the rules exclude.
    pub fn follow(&self, policy: &str, kept: Option<(Rule, Overrides)>) -> Result<(), PolicyError> {
        let now = self.clock.now();
        let mut by_policy = self.by_policy.write();
        let Some((rule, overrides)) = kept else {
            by_policy.remove(policy);
            return Ok(());
        };
        follow(&mut by_policy, policy, (rule, overrides), now)
    }

    /// Applies the stored state of all policies; others are removed.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn follow_all(&self, kept: Vec<(Arc<str>, (Rule, Overrides))>) -> Result<(), PolicyError> {
        let kept: BTreeMap<Arc<str>, (Rule, Overrides)> = kept.into_iter().collect();
        // Usually nothing differs; then no check has to wait for the write lock.
        if self.has_exactly(&kept) {
            return Ok(());
        }
        let now = self.clock.now();
        let mut by_policy = self.by_policy.write();
        by_policy.retain(|policy, _| kept.contains_key(policy.as_str()));
        kept.into_iter().try_for_each(|(name, kept)| follow(&mut by_policy, &name, kept, now))
    }

    fn has_exactly(&self, kept: &BTreeMap<Arc<str>, (Rule, Overrides)>) -> bool {
        let by_policy = self.by_policy.read();
        let is_same = |(policy, counted): (&String, &Counted)| {
            kept.get(policy.as_str()).is_some_and(|(rule, overrides)| counted.rule == *rule && Arc::ptr_eq(&counted.overrides, overrides))
        };
        by_policy.len() == kept.len() && by_policy.iter().all(is_same)
    }

    /// Whether the counters know the policy.
    #[must_use]
    pub fn knows(&self, policy: Name<'_>) -> bool {
        self.by_policy.read().contains_key(policy.as_str())
    }

    /// Checks one key, and takes the cost if it conforms. For a limit on requests in flight the key gets a lease.
    ///
    /// # Errors
    /// [`LimitRefusal`].
    pub fn check(&self, check: &Check<'_>) -> Result<Limited, LimitRefusal> {
        let (counters, now) = (self.counters(check.policy)?, self.clock.now());
        let key = check.key.as_str().as_bytes();
        match &*counters {
            Counters::Rate(store) => Ok(limited(check.policy, store.check(store.key(key), now, check.cost)?, None)),
            Counters::InFlight(store) if check.cost == 1 => {
                let (decision, place) = store.start(store.key(key), now)?;
                let ends_at = now.plus_nanos(store.limit().timeout_ns());
                let held = place.map(|place| self.leases.keep((Arc::clone(&counters), place), now, ends_at)).transpose();
                let held = held.map_err(|(_, place)| {
                    store.end(place, now);
                    LimitRefusal::HeldFull
                });
                Ok(limited(check.policy, decision, held?))
            }
            Counters::InFlight(_) => Err(LimitRefusal::OtherKind),
        }
    }

    /// Checks several keys: each takes its cost if all are allowed, and none otherwise.
    ///
    /// # Errors
    /// [`LimitRefusal`]; no units are taken then.
    pub fn check_all(&self, checks: &[Check<'_>]) -> Result<Vec<Limited>, LimitRefusal> {
        let counters = checks.iter().map(|check| self.counters(check.policy)).collect::<Result<Vec<_>, _>>()?;
        let mut asks = Vec::with_capacity(checks.len());
        for (check, counters) in checks.iter().zip(&counters) {
            let Counters::Rate(store) = &**counters else { return Err(LimitRefusal::OtherKind) };
            asks.push(Ask { store, key: store.key(check.key.as_str().as_bytes()), cost: check.cost });
        }
        let decisions = check_all(&asks, self.clock.now())?;
        Ok(checks.iter().zip(decisions).map(|(check, decision)| limited(check.policy, decision, None)).collect())
    }

    /// Takes an estimated cost, to be settled within `timeout_ns` nanoseconds.
    ///
    /// # Errors
    /// [`LimitRefusal`].
    pub fn reserve(&self, check: &Check<'_>, timeout_ns: u64) -> Result<Limited, LimitRefusal> {
        let (counters, now) = (self.counters(check.policy)?, self.clock.now());
        let Counters::Rate(store) = &*counters else { return Err(LimitRefusal::OtherKind) };
        let (decision, hold) = store.reserve(store.key(check.key.as_str().as_bytes()), now, check.cost, timeout_ns)?;
        let Some(hold) = hold else { return Ok(limited(check.policy, decision, None)) };
        match self.reservations.keep((Arc::clone(&counters), hold), now, now.plus_nanos(timeout_ns)) {
            Ok(id) => Ok(limited(check.policy, decision, Some(id))),
            Err((counters, hold)) => {
                if let Counters::Rate(store) = &*counters {
                    let _ = store.settle(hold, now, 0);
                }
                Err(LimitRefusal::HeldFull)
            }
        }
    }

    /// Replaces a reservation's estimate by the actual cost, once.
    ///
    /// # Errors
    /// [`LimitRefusal`].
    pub fn settle(&self, reservation: &str, actual: u32) -> Result<(), LimitRefusal> {
        let (counters, hold) = self.reservations.take(reservation).ok_or(LimitRefusal::ReservationNotFound)?;
        let Counters::Rate(store) = &*counters else { return Err(LimitRefusal::OtherKind) };
        store.settle(hold, self.clock.now(), actual).map_err(|why| match why {
            SettleRejection::ReservationNotFound => LimitRefusal::ReservationNotFound,
            SettleRejection::ReservationExpired { .. } => LimitRefusal::ReservationExpired,
        })
    }

    /// Returns units to a key; the decision shows its state afterwards.
    ///
    /// # Errors
    /// [`LimitRefusal`].
    pub fn refund(&self, check: &Check<'_>) -> Result<Limited, LimitRefusal> {
        self.changed(check, |store, key, now| store.refund(key, now, check.cost))
    }

    /// Resets a key to its full quota; the decision shows its state afterwards.
    ///
    /// # Errors
    /// [`LimitRefusal`].
    pub fn reset(&self, check: &Check<'_>) -> Result<Limited, LimitRefusal> {
        self.changed(check, |store, key, now| store.reset(key, now))
    }

    /// Ends a request in flight, by its lease.
    ///
    /// # Errors
    /// [`LimitRefusal::LeaseNotFound`].
    pub fn end(&self, lease: &str) -> Result<(), LimitRefusal> {
        let (counters, place) = self.leases.take(lease).ok_or(LimitRefusal::LeaseNotFound)?;
        let Counters::InFlight(store) = &*counters else { return Err(LimitRefusal::OtherKind) };
        if store.end(place, self.clock.now()) { Ok(()) } else { Err(LimitRefusal::LeaseNotFound) }
    }

    fn changed(&self, check: &Check<'_>, change: impl FnOnce(&Store, Key, Moment)) -> Result<Limited, LimitRefusal> {
        let (counters, now) = (self.counters(check.policy)?, self.clock.now());
        let Counters::Rate(store) = &*counters else { return Err(LimitRefusal::OtherKind) };
        let key = store.key(check.key.as_str().as_bytes());
        change(store, key, now);
        Ok(limited(check.policy, store.check(key, now, 0)?, None))
    }

    fn counters(&self, policy: Name<'_>) -> Result<Arc<Counters>, LimitRefusal> {
        let by_policy = self.by_policy.read();
        by_policy.get(policy.as_str()).map(|counted| Arc::clone(&counted.counters)).ok_or(LimitRefusal::PolicyNotFound)
    }
}

fn follow(
    by_policy: &mut BTreeMap<String, Counted>,
    policy: &str,
    (rule, overrides): (Rule, Overrides),
    now: Moment,
) -> Result<(), PolicyError> {
    match by_policy.get_mut(policy).filter(|counted| counted.rule == rule) {
        Some(counted) => counted.follow(overrides, now),
        None => {
            by_policy.insert(policy.to_owned(), Counted::new(rule, overrides, now)?);
            Ok(())
        }
    }
}

impl Counted {
    fn new(rule: Rule, overrides: Overrides, now: Moment) -> Result<Self, PolicyError> {
        let counters = match rule {
            Rule::Rate(policy) => Counters::Rate(Store::new(policy, options(), now)),
            Rule::InFlight(limit) => Counters::InFlight(InFlightStore::new(limit, options())),
        };
        let mut counted = Self { rule, overrides: Overrides::default(), counters: Arc::new(counters) };
        counted.follow(overrides, now)?;
        Ok(counted)
    }

    fn follow(&mut self, overrides: Overrides, now: Moment) -> Result<(), PolicyError> {
        if Arc::ptr_eq(&self.overrides, &overrides) {
            return Ok(());
        }
        if let Counters::Rate(store) = &*self.counters {
            let set = |key: &str, numbers: Option<Numbers>| {
                let settings = numbers.map(|numbers| settings_of(numbers, store.policy().settings()));
                store.set_override(store.key(key.as_bytes()), now, settings)
            };
            for gone in self.overrides.keys().filter(|key| !overrides.contains_key(*key)) {
                set(gone, None)?;
            }
            for (key, numbers) in overrides.iter().filter(|(key, numbers)| self.overrides.get(*key) != Some(*numbers)) {
                set(key, Some(*numbers))?;
            }
        }
        self.overrides = overrides;
        Ok(())
    }
}

fn options() -> StoreOptions {
    StoreOptions { keys_max: NonZeroUsize::new(KEYS_MAX).unwrap_or(NonZeroUsize::MIN), ..StoreOptions::default() }
}

fn settings_of(Numbers { quota, window_ns, burst }: Numbers, of: &Settings) -> Settings {
    Settings { quota, window_ns, burst, ..*of }
}

fn limited(policy: Name<'_>, decision: Decision, held: Option<String>) -> Limited {
    Limited { policy: policy.as_str().to_owned(), decision, held }
}

#[cfg(test)]
mod tests {
    use domain::types::Timestamp;
    use engine::clock::{Clock, ManualClock};

    use super::*;

    fn limits() -> Limits {
        Limits::new(LimitClock::new(&Clock::Manual(ManualClock::at(Timestamp::ZERO))), 1)
    }

    fn kept(rule: Rule, overrides: &[(&str, u32)]) -> (Rule, Overrides) {
        let numbers = |quota| Numbers { quota, window_ns: 60_000_000_000, burst: 0 };
        (rule, Arc::new(overrides.iter().map(|(key, quota)| ((*key).into(), numbers(*quota))).collect()))
    }

    fn per_minute(quota: u32) -> Rule {
        Rule::Rate(domain::rate_limit::Policy::new(Settings::per_minute(domain::rate_limit::Algorithm::FixedWindow, quota)).unwrap())
    }

    fn check(key: &str) -> Check<'_> {
        Check { policy: Name::new("api").unwrap(), key: LimitKey::new(key).unwrap(), cost: 1 }
    }

    #[test]
    fn what_is_kept_is_followed_and_only_what_differs_is_full_again() {
        let limits = limits();
        let remaining = |key: &str| limits.check(&check(key)).map(|limited| limited.decision.remaining);
        limits.follow("api", Some(kept(per_minute(5), &[("vip", 50), ("x", 7)]))).unwrap();
        assert_eq!([remaining("ann"), remaining("vip"), remaining("x")], [Ok(4), Ok(49), Ok(6)]);
        limits.follow("api", Some(kept(per_minute(5), &[("ann", 9), ("vip", 50)]))).unwrap();
        assert_eq!([remaining("ann"), remaining("vip"), remaining("x")], [Ok(8), Ok(48), Ok(4)]);
        limits.follow("api", Some(kept(per_minute(6), &[("vip", 50)]))).unwrap();
        assert_eq!([remaining("ann"), remaining("vip")], [Ok(5), Ok(49)]);
        limits.follow("api", None).unwrap();
        assert_eq!(remaining("ann"), Err(LimitRefusal::PolicyNotFound));
    }

    #[test]
    fn what_is_not_among_all_policies_is_not_counted_any_more() {
        let limits = limits();
        let remaining = || limits.check(&check("ann")).map(|limited| limited.decision.remaining);
        let all = || vec![("api".into(), kept(per_minute(5), &[])), ("other".into(), kept(per_minute(1), &[]))];
        limits.follow_all(all()).unwrap();
        assert_eq!(remaining(), Ok(4));
        limits.follow_all(all()).unwrap();
        assert_eq!(remaining(), Ok(3));
        limits.follow_all(all().split_off(1)).unwrap();
        assert_eq!(remaining(), Err(LimitRefusal::PolicyNotFound));
        assert!(limits.knows(Name::new("other").unwrap()) && !limits.knows(Name::new("api").unwrap()));
    }

    #[test]
    fn a_lease_that_cannot_be_kept_takes_no_place() {
        let mut limits = limits();
        limits.leases = Held::new(1, 1);
        let rule =
            Rule::InFlight(domain::rate_limit::in_flight::InFlight::new(2, 60_000_000_000, domain::rate_limit::Mode::Enforce).unwrap());
        limits.follow("api", Some(kept(rule, &[]))).unwrap();
        let lease = limits.check(&check("ann")).unwrap().held.unwrap();
        assert!((0..3).all(|_| limits.check(&check("ann")).is_err_and(|why| why == LimitRefusal::HeldFull)));
        limits.end(&lease).unwrap();
        assert_eq!(limits.check(&check("ann")).unwrap().decision.remaining, 1);
    }
}
