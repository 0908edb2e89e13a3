//! Policies of rate limits: which there are, and whose keys have numbers of their own. What keys have
//! taken is in no record, and not here.

use std::collections::BTreeMap;

use domain::Novelty;
use domain::coupon::Precondition;
use domain::types::Timestamp;

use crate::{No, Ruling, check_condition, refuse_if};

const NOT_FOUND: &str = "policy_not_found";
const BILLION: u32 = 1_000_000_000;
const DAY_NS: u128 = 86_400_000_000_000;

/// What a policy limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The algorithm's word, or `in_flight`.
    pub algorithm: &'static str,
    /// The numbers for keys that have none of their own; of `in_flight` how many at once, and the
    /// timeout.
    pub numbers: Numbers,
    /// Whether refusals are only reported.
    pub is_shadow: bool,
}

/// What may differ for one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// Units in a window.
    pub quota: u32,
    /// The window in nanoseconds.
    pub window_ns: u64,
    /// Units that may come at once above one.
    pub burst: u32,
}

/// What can be asked of a policy.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// Create it, or give it this rule.
    Put(Rule, Precondition),
    /// End it.
    Remove(Precondition),
    /// Give a key other numbers.
    PutOverride(&'a str, Numbers),
    /// Give a key the policy's numbers again.
    RemoveOverride(&'a str),
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The policy has this version.
    Written {
        /// Whether it is new.
        created: bool,
        /// 1 at first, one more with each rule that is written.
        version: u64,
    },
    /// There is no such policy any more.
    Removed,
    /// Another key has numbers of its own, or one less.
    Overridden,
}

/// What changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The policy has this rule.
    Written(Rule),
    /// There is no such policy any more.
    Removed,
    /// A key has numbers of its own.
    OverrideWritten(String, Numbers),
    /// A key has the policy's numbers again.
    OverrideRemoved(String),
}

/// A policy as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// What it limits.
    pub rule: Rule,
    /// 1 at first, one more with each rule that is written.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Keys with numbers of their own.
    pub overrides: BTreeMap<String, Numbers>,
}

/// What must be answered of a policy, or where there is none.
pub(crate) fn decide(policy: Option<&Policy>, ask: &Ask<'_>) -> Result<Ruling<Outcome, Effect>, No> {
    let version = policy.map(|policy| policy.version);
    let found = || policy.ok_or_else(|| No::new(NOT_FOUND));
    match *ask {
        Ask::Put(rule, condition) => {
            check_condition(version, condition, (NOT_FOUND, "policy_exists"))?;
            if let Some(policy) = policy.filter(|policy| policy.rule == rule) {
                return Ok(Ruling::same(Outcome::Written { created: false, version: policy.version }, Novelty::Fresh));
            }
            let is_other = policy.is_some_and(|policy| policy.rule.algorithm != rule.algorithm && !policy.overrides.is_empty());
            refuse_if(is_other, || No::new("policy_has_overrides"))?;
            check_numbers(rule.algorithm, rule.numbers)?;
            let outcome = Outcome::Written { created: policy.is_none(), version: version.unwrap_or(0) + 1 };
            Ok(Ruling::effect(outcome, Effect::Written(rule)))
        }
        Ask::Remove(condition) => {
            check_condition(version, condition, (NOT_FOUND, "policy_exists"))?;
            found()?;
            Ok(Ruling::effect(Outcome::Removed, Effect::Removed))
        }
        Ask::PutOverride(key, numbers) => {
            let policy = found()?;
            refuse_if(policy.rule.algorithm == "in_flight", || No::new("override_not_possible"))?;
            check_numbers(policy.rule.algorithm, numbers)?;
            if policy.overrides.get(key) == Some(&numbers) {
                return Ok(Ruling::same(Outcome::Overridden, Novelty::Fresh));
            }
            Ok(Ruling::effect(Outcome::Overridden, Effect::OverrideWritten(key.to_owned(), numbers)))
        }
        Ask::RemoveOverride(key) => {
            refuse_if(!found()?.overrides.contains_key(key), || No::new("override_not_found"))?;
            Ok(Ruling::effect(Outcome::Overridden, Effect::OverrideRemoved(key.to_owned())))
        }
    }
}

/// Whether an algorithm takes these numbers.
fn check_numbers(algorithm: &str, Numbers { quota, window_ns, burst }: Numbers) -> Result<(), No> {
    if algorithm == "in_flight" {
        return refuse_if(!(1..=10_000).contains(&quota) || window_ns == 0, || No::new("in_flight_out_of_range"));
    }
    let is_bucket = ["token_bucket", "leaky_bucket"].contains(&algorithm);
    let days = u128::from(window_ns).div_ceil(DAY_NS);
    refuse_if(quota == 0 || BILLION < quota, || No::new("quota_out_of_range"))?;
    refuse_if(algorithm == "sliding_window_log" && 10_000 < quota, || No::new("log_quota_out_of_range"))?;
    refuse_if(window_ns < 1_000_000 || 366 < days, || No::new("window_out_of_range"))?;
    refuse_if(BILLION < burst, || No::new("burst_out_of_range"))?;
    refuse_if(burst != 0 && !is_bucket, || No::new("burst_not_used"))?;
    // Full again after `burst + 1` units, of which a window brings `quota`: within 100 years.
    let fill = (u128::from(burst) + 1) * u128::from(window_ns);
    refuse_if(is_bucket && 36_500 * DAY_NS * u128::from(quota) < fill, || No::new("burst_out_of_range"))
}

/// Takes an effect in.
pub(crate) fn apply(policies: &mut BTreeMap<String, Policy>, name: &str, effect: &Effect, at: Timestamp) {
    match (effect, policies.get_mut(name)) {
        (Effect::Written(rule), Some(policy)) => {
            policy.rule = *rule;
            policy.version += 1;
        }
        (Effect::Written(rule), None) => {
            policies.insert(name.to_owned(), Policy { rule: *rule, version: 1, created_at: at, overrides: BTreeMap::new() });
        }
        (Effect::Removed, Some(_)) => drop(policies.remove(name)),
        (Effect::OverrideWritten(key, numbers), Some(policy)) => drop(policy.overrides.insert(key.clone(), *numbers)),
        (Effect::OverrideRemoved(key), Some(policy)) => drop(policy.overrides.remove(key)),
        (Effect::Removed | Effect::OverrideWritten(..) | Effect::OverrideRemoved(_), None) => {}
    }
}

impl Effect {
    /// The question behind it.
    pub(crate) fn asked_for(&self) -> Ask<'_> {
        match self {
            Self::Written(rule) => Ask::Put(*rule, Precondition::Always),
            Self::Removed => Ask::Remove(Precondition::Always),
            Self::OverrideWritten(key, numbers) => Ask::PutOverride(key, *numbers),
            Self::OverrideRemoved(key) => Ask::RemoveOverride(key),
        }
    }
}
