//! The rules of rate limits alone, with a state kept for each key of each policy.

use std::collections::BTreeMap;

use domain::rate_limit::in_flight::{InFlight, Lease, Leases};
use domain::rate_limit::reserve::{Reservation, SettleRejection};
use domain::rate_limit::several::{Part, check_all};
use domain::rate_limit::{KeyState, Moment, Policy, Settings};

use super::{LimitAsk, LimitBackend, LimitReply};

type Key = (String, String);

/// Every policy and key, and nothing that is fast.
#[derive(Debug, Default)]
pub struct DomainLimits {
    now: Moment,
    policies: BTreeMap<String, Policy>,
    overrides: BTreeMap<Key, Policy>,
    states: BTreeMap<Key, KeyState>,
    reservations: BTreeMap<String, (Key, Reservation)>,
    in_flight: BTreeMap<String, InFlight>,
    leases: BTreeMap<Key, Leases>,
    leases_by_label: BTreeMap<String, (Key, Lease)>,
}

fn key_of(name: &str, key: &str) -> Key {
    (name.to_owned(), key.to_owned())
}

fn refused(code: &str) -> LimitReply {
    LimitReply::Refused(code.to_owned())
}

impl DomainLimits {
    fn policy(&self, key: &Key) -> Option<Policy> {
        self.overrides.get(key).or_else(|| self.policies.get(&key.0)).copied()
    }

    /// The policy and the state of a key, which is full where nothing is known.
    fn take_state(&mut self, key: &Key) -> Option<(Policy, KeyState)> {
        let policy = self.policy(key)?;
        Some((policy, self.states.remove(key).unwrap_or_else(|| policy.full())))
    }

    /// What is full is forgotten at once, so that the tables show that nothing depends on it.
    fn put_state(&mut self, key: Key, policy: &Policy, state: KeyState) {
        if !state.is_full(policy, self.now) {
            self.states.insert(key, state);
        }
    }

    fn set_policy(&mut self, name: &str, settings: Settings) -> LimitReply {
        match Policy::new(settings) {
            Ok(policy) => {
                self.states.retain(|key, _| key.0 != name);
                self.policies.insert(name.to_owned(), policy);
                LimitReply::Done
            }
            Err(why) => refused(why.code()),
        }
    }

    fn set_override(&mut self, key: Key, numbers: Option<(u32, u64, u32)>) -> LimitReply {
        let Some(policy) = self.policies.get(&key.0) else { return refused("policy_not_found") };
        self.states.remove(&key);
        let Some((quota, window_ns, burst)) = numbers else {
            self.overrides.remove(&key);
            return LimitReply::Done;
        };
        match Policy::new(Settings { quota, window_ns, burst, ..*policy.settings() }) {
            Ok(policy) => {
                self.overrides.insert(key, policy);
                LimitReply::Done
            }
            Err(why) => refused(why.code()),
        }
    }

    /// Checks about the same key are one check of the sum of their costs.
    fn check(&mut self, asked: &[(&str, &str, u32)]) -> LimitReply {
        let mut costs: BTreeMap<Key, u32> = BTreeMap::new();
        for (name, key, cost) in asked {
            let sum = costs.entry(key_of(name, key)).or_default();
            *sum = sum.saturating_add(*cost);
        }
        if costs.keys().any(|key| self.policy(key).is_none()) {
            return refused("policy_not_found");
        }
        let held: Vec<(Key, Policy, KeyState, u32)> =
            costs.into_iter().filter_map(|(key, cost)| self.take_state(&key).map(|(policy, state)| (key, policy, state, cost))).collect();
        let mut parts: Vec<Part<'_>> =
            held.iter().map(|(_, policy, state, cost)| Part { policy, state: state.clone(), cost: *cost }).collect();
        let decisions = check_all(&mut parts, self.now);
        let states: Vec<KeyState> = parts.into_iter().map(|part| part.state).collect();
        let mut by_key = BTreeMap::new();
        for (((key, policy, ..), state), decision) in held.into_iter().zip(states).zip(decisions) {
            by_key.insert(key.clone(), decision);
            self.put_state(key, &policy, state);
        }
        LimitReply::Decided(asked.iter().filter_map(|(name, key, _)| by_key.get(&key_of(name, key)).copied()).collect())
    }

    fn reserve(&mut self, key: Key, cost: u32, timeout_ns: u64, label: &str) -> LimitReply {
        let Some((policy, state)) = self.take_state(&key) else { return refused("policy_not_found") };
        let (decision, state, reservation) = policy.reserve(state, self.now, cost, timeout_ns);
        self.put_state(key.clone(), &policy, state);
        if let Some(reservation) = reservation {
            self.reservations.insert(label.to_owned(), (key, reservation));
        }
        LimitReply::Decided(vec![decision])
    }

    fn settle(&mut self, label: &str, actual: u32) -> LimitReply {
        let Some((key, reservation)) = self.reservations.remove(label) else {
            return refused(SettleRejection::ReservationNotFound.code());
        };
        let Some((policy, state)) = self.take_state(&key) else { return refused("policy_not_found") };
        let (state, reply) = match policy.settle(state, &reservation, self.now, actual) {
            Ok(state) => (state, LimitReply::Done),
            Err((why, state)) => (state, refused(why.code())),
        };
        self.put_state(key, &policy, state);
        reply
    }

    fn refund(&mut self, key: Key, units: u32) -> LimitReply {
        let Some((policy, state)) = self.take_state(&key) else { return refused("policy_not_found") };
        let state = policy.refund(state, self.now, units);
        self.put_state(key, &policy, state);
        LimitReply::Done
    }

    fn reset(&mut self, key: &Key) -> LimitReply {
        let found = self.take_state(key).is_some();
        if found { LimitReply::Done } else { refused("policy_not_found") }
    }

    fn start(&mut self, key: Key, label: &str) -> LimitReply {
        let Some(limit) = self.in_flight.get(&key.0).copied() else { return refused("policy_not_found") };
        let lease = Lease(u64::try_from(self.leases_by_label.len()).unwrap_or(u64::MAX));
        let (decision, leases) = limit.start(self.leases.remove(&key).unwrap_or_default(), self.now, lease);
        self.leases.insert(key.clone(), leases);
        if decision.conforms() {
            self.leases_by_label.insert(label.to_owned(), (key, lease));
        }
        LimitReply::Decided(vec![decision])
    }

    fn end(&mut self, label: &str) -> LimitReply {
        let not_found = || refused("lease_not_found");
        let Some((key, lease)) = self.leases_by_label.get(label).cloned() else { return not_found() };
        let Some(limit) = self.in_flight.get(&key.0) else { return not_found() };
        let (leases, held) = limit.end(self.leases.remove(&key).unwrap_or_default(), self.now, lease);
        self.leases.insert(key, leases);
        if held { LimitReply::Done } else { not_found() }
    }
}

impl LimitBackend for DomainLimits {
    fn set_time(&mut self, at: Moment) {
        self.now = at;
    }

    fn run(&mut self, ask: &LimitAsk<'_>) -> LimitReply {
        match ask {
            LimitAsk::Policy(name, settings) => self.set_policy(name, *settings),
            LimitAsk::Override(name, key, numbers) => self.set_override(key_of(name, key), *numbers),
            LimitAsk::Check(asked) => self.check(asked),
            LimitAsk::Reserve(name, key, cost, timeout_ns, label) => self.reserve(key_of(name, key), *cost, *timeout_ns, label),
            LimitAsk::Settle(label, actual) => self.settle(label, *actual),
            LimitAsk::Refund(name, key, units) => self.refund(key_of(name, key), *units),
            LimitAsk::Reset(name, key) => self.reset(&key_of(name, key)),
            LimitAsk::InFlight(name, limit, timeout_ns, mode) => match InFlight::new(*limit, *timeout_ns, *mode) {
                Some(limit) => {
                    self.in_flight.insert((*name).to_owned(), limit);
                    LimitReply::Done
                }
                None => refused("in_flight_out_of_range"),
            },
            LimitAsk::Start(name, key, label) => self.start(key_of(name, key), label),
            LimitAsk::End(label) => self.end(label),
        }
    }
}
