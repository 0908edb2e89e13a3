//! Policies of rate limits: which there are, and whose keys have numbers of their own. What keys have
//! taken is in no record, and not here.

use std::collections::BTreeMap;

use domain::Novelty;
use domain::fields::Value;
use domain::rate_limit::policies::{Limit, LimitAlgorithm, Numbers, PolicySettings};
use domain::types::Timestamp;

use crate::words::refuse_if;
use crate::workload::{Rules, RulingOf};
use crate::{Detail, Head, No, Ruling};

const BILLION: u64 = 1_000_000_000;
const MS_NS: u128 = 1_000_000;
const DAY_NS: u128 = 86_400_000_000_000;

/// What can be asked of a policy.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// Give a key other numbers.
    PutOverride(&'a str, Numbers),
    /// Give a key the policy's numbers again.
    RemoveOverride(&'a str),
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A key has numbers of its own.
    Overridden {
        /// These.
        numbers: Numbers,
        /// Whether the policy has bursts.
        has_burst: bool,
    },
    /// A key has the policy's numbers again.
    OverrideRemoved,
}

/// What changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A key has numbers of its own.
    OverrideWritten(String, Numbers),
    /// A key has the policy's numbers again.
    OverrideRemoved(String),
}

/// A policy as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// What every aggregate has.
    pub head: Head,
    /// What it limits.
    pub settings: PolicySettings,
    /// Keys with numbers of their own.
    pub overrides: BTreeMap<String, Numbers>,
}

impl Rules for Policy {
    type Of = Limit;
    type Ask<'a> = Ask<'a>;
    type Outcome = Outcome;
    type Effect = Effect;
    const IS_REMOVABLE: bool = true;

    fn new(head: Head, settings: PolicySettings) -> Self {
        Self { head, settings, overrides: BTreeMap::new() }
    }

    fn check_settings(settings: &PolicySettings) -> Result<(), No> {
        check_settings(settings)
    }

    fn decide(&self, ask: &Ask<'_>, _has_key: bool, _now: Timestamp) -> Result<RulingOf<Self>, No> {
        let algorithm = self.settings.algorithm;
        match *ask {
            Ask::PutOverride(key, numbers) => {
                refuse_if(algorithm == LimitAlgorithm::InFlight, || No::new("override_not_possible"))?;
                check_rate(algorithm, numbers.quota.into(), numbers.window_ns.into(), numbers.burst.into())?;
                let outcome = Outcome::Overridden { numbers, has_burst: has_burst(algorithm) };
                if self.overrides.get(key) == Some(&numbers) {
                    return Ok(Ruling::same(outcome, Novelty::Repeated));
                }
                Ok(Ruling::effect(outcome, Effect::OverrideWritten(key.to_owned(), numbers)))
            }
            Ask::RemoveOverride(key) => {
                refuse_if(!self.overrides.contains_key(key), || No::new("override_not_found"))?;
                Ok(Ruling::effect(Outcome::OverrideRemoved, Effect::OverrideRemoved(key.to_owned())))
            }
        }
    }

    /// Numbers of single keys need not fit another algorithm.
    fn check_change(&self, settings: &PolicySettings) -> Result<(), No> {
        let is_other = settings.algorithm != self.settings.algorithm;
        refuse_if(is_other && !self.overrides.is_empty(), || No::new("policy_has_overrides"))
    }

    fn figures(&self, _settings: &PolicySettings, _now: Timestamp) -> Vec<(&'static str, Value)> {
        vec![("overrides", Value::Number(self.overrides.len() as u64))]
    }

    fn apply(&mut self, effect: &Effect, _at: Timestamp) {
        match effect {
            Effect::OverrideWritten(key, numbers) => drop(self.overrides.insert(key.clone(), *numbers)),
            Effect::OverrideRemoved(key) => drop(self.overrides.remove(key)),
        }
    }

    fn asked_for<'a>(_it: Option<&'a Self>, effect: &'a Effect) -> Ask<'a> {
        match effect {
            Effect::OverrideWritten(key, numbers) => Ask::PutOverride(key, *numbers),
            Effect::OverrideRemoved(key) => Ask::RemoveOverride(key),
        }
    }
}

/// Whether settings can be any policy's: fields that go together, and numbers in range.
fn check_settings(settings: &PolicySettings) -> Result<(), No> {
    let wrong = |field| Err(No::with("invalid_field", "field", Detail::Word(field)));
    let out_of_range = |field| No::with("in_flight_out_of_range", "field", Detail::Word(field));
    let &PolicySettings { algorithm, quota, window_ms, burst, timeout_ms, .. } = settings;
    if algorithm == LimitAlgorithm::InFlight {
        if window_ms.is_some() {
            return wrong("window_ms");
        }
        if burst != 0 {
            return wrong("burst");
        }
        let Some(timeout_ms) = timeout_ms else { return wrong("timeout_ms") };
        refuse_if(quota == 0 || 10_000 < quota, || out_of_range("quota"))?;
        let timeout_ns = u128::from(timeout_ms) * MS_NS;
        return refuse_if(timeout_ms == 0 || 366 * DAY_NS < timeout_ns, || out_of_range("timeout_ms"));
    }
    if timeout_ms.is_some() {
        return wrong("timeout_ms");
    }
    let Some(window_ms) = window_ms else { return wrong("window_ms") };
    check_rate(algorithm, quota, u128::from(window_ms) * MS_NS, burst)
}

/// Whether a rate takes these numbers.
fn check_rate(algorithm: LimitAlgorithm, quota: u64, window_ns: u128, burst: u64) -> Result<(), No> {
    let is_log = algorithm == LimitAlgorithm::SlidingWindowLog;
    refuse_if(quota == 0 || BILLION < quota, || No::new("quota_out_of_range"))?;
    refuse_if(is_log && 10_000 < quota, || No::new("log_quota_out_of_range"))?;
    refuse_if(!(MS_NS..=366 * DAY_NS).contains(&window_ns), || No::new("window_out_of_range"))?;
    refuse_if(BILLION < burst, || No::new("burst_out_of_range"))?;
    refuse_if(burst != 0 && !has_burst(algorithm), || No::new("burst_not_used"))?;
    // Full again after `burst + 1` units, of which a window brings `quota`: within 100 years.
    let fill = (u128::from(burst) + 1) * window_ns;
    refuse_if(has_burst(algorithm) && 36_500 * DAY_NS * u128::from(quota) < fill, || No::new("burst_out_of_range"))
}

fn has_burst(algorithm: LimitAlgorithm) -> bool {
    matches!(algorithm, LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket)
}
