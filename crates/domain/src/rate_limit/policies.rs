//! Policies as they are kept: by name, with other numbers for single keys. What keys have taken
//! is not here: it is counted in memory, and a restart forgets it.
//!
//! Invariants ([`Policies::check`]): numbers of a key of their own fit the policy's algorithm; the
//! count of them is right.
//!
//! Terms: a *rule* is what a policy limits, a rate or how much may be in flight; an *override*
//! gives one key other numbers than its policy has.

use std::collections::BTreeMap;

use super::in_flight::InFlight;
use super::{Policy, PolicyError, Settings};
use crate::coupon::Precondition;
use crate::types::{LimitKey, PolicyName, Timestamp};

// --- Commands -------------------------------------------------------------------------------

/// What can be asked of policies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// Create a policy, or give it this rule.
    Put {
        /// Which.
        policy: PolicyName<'a>,
        /// What it limits.
        rule: Rule,
        /// Under which condition.
        precondition: Precondition,
    },
    /// End a policy, and all overrides of it.
    Remove {
        /// Which.
        policy: PolicyName<'a>,
        /// Under which condition.
        precondition: Precondition,
    },
    /// Give one key other numbers.
    PutOverride {
        /// Of which policy.
        policy: PolicyName<'a>,
        /// Which key.
        key: LimitKey<'a>,
        /// Its numbers.
        numbers: Numbers,
    },
    /// Give one key the policy's numbers again.
    RemoveOverride {
        /// Of which policy.
        policy: PolicyName<'a>,
        /// Which key.
        key: LimitKey<'a>,
    },
}

/// What a policy limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// How often.
    Rate(Policy),
    /// How much at once.
    InFlight(InFlight),
}

/// The numbers of one key; algorithm and mode are the policy's. Checked when they are decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// Units per window.
    pub quota: u32,
    /// The window in nanoseconds.
    pub window_ns: u64,
    /// Units that may come at once above one, for the buckets.
    pub burst: u32,
}

// --- Events ---------------------------------------------------------------------------------

/// What was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A policy has this rule from now on.
    PolicyWritten {
        /// Which.
        policy: PolicyName<'a>,
        /// What it limits.
        rule: Rule,
    },
    /// There is no such policy any more.
    PolicyRemoved {
        /// Which.
        policy: PolicyName<'a>,
    },
    /// A key has these numbers from now on.
    OverrideWritten {
        /// Of which policy.
        policy: PolicyName<'a>,
        /// Which key.
        key: LimitKey<'a>,
        /// Its numbers.
        numbers: Numbers,
    },
    /// A key has its policy's numbers again.
    OverrideRemoved {
        /// Of which policy.
        policy: PolicyName<'a>,
        /// Which key.
        key: LimitKey<'a>,
    },
}

/// A decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision<'a> {
    /// Something changes.
    Event(Event<'a>),
    /// It is so already.
    Unchanged,
}

// --- Rejections -----------------------------------------------------------------------------

/// Why not, in the order of precedence. The numbers are stable and never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Rejection {
    /// No such policy.
    PolicyNotFound = 40,
    /// `If-None-Match: *`, and there is one.
    PolicyExists = 41,
    /// The policy has another version than the caller knows.
    VersionMismatch {
        /// The version that it has.
        version: u64,
    } = 42,
    /// Keys have numbers of their own, which need not fit another algorithm.
    PolicyHasOverrides = 43,
    /// A limit on what is in flight has one number for all keys.
    OverrideNotPossible = 44,
    /// The numbers do not fit the policy's algorithm.
    NumbersOutOfRange(PolicyError) = 45,
    /// The key has no numbers of its own.
    OverrideNotFound = 46,
}

impl Rejection {
    /// The stable word that clients match.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::PolicyNotFound => "policy_not_found",
            Self::PolicyExists => "policy_exists",
            Self::VersionMismatch { .. } => "version_mismatch",
            Self::PolicyHasOverrides => "policy_has_overrides",
            Self::OverrideNotPossible => "override_not_possible",
            Self::NumbersOutOfRange(error) => error.code(),
            Self::OverrideNotFound => "override_not_found",
        }
    }
}

// --- State ----------------------------------------------------------------------------------

/// A policy as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptPolicy {
    /// What it limits.
    pub rule: Rule,
    /// 1 at first, one more with each rule that is written; not with overrides.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Keys with numbers of their own.
    pub overrides: BTreeMap<Box<str>, Numbers>,
}

/// All policies, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policies {
    by_name: BTreeMap<Box<str>, KeptPolicy>,
    overrides_count: usize,
}

impl Rule {
    /// The policy with a key's numbers in the place of its own.
    ///
    /// # Errors
    /// [`Rejection::OverrideNotPossible`] and [`Rejection::NumbersOutOfRange`].
    pub fn with_numbers(&self, numbers: Numbers) -> Result<Policy, Rejection> {
        let Self::Rate(policy) = self else { return Err(Rejection::OverrideNotPossible) };
        let Numbers { quota, window_ns, burst } = numbers;
        Policy::new(Settings { quota, window_ns, burst, ..*policy.settings() }).map_err(Rejection::NumbersOutOfRange)
    }

    fn has_algorithm_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rate(one), Self::Rate(other)) => one.settings().algorithm == other.settings().algorithm,
            (Self::InFlight(_), Self::InFlight(_)) => true,
            (Self::Rate(_), Self::InFlight(_)) | (Self::InFlight(_), Self::Rate(_)) => false,
        }
    }
}

impl Policies {
    /// The policy of this name.
    #[must_use]
    pub fn get(&self, policy: PolicyName<'_>) -> Option<&KeptPolicy> {
        self.by_name.get(policy.as_str())
    }

    /// Policies in the order of their names, from the first after `after`.
    pub fn after<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = (&'a str, &'a KeptPolicy)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_name.range::<str, _>((after.map_or(Unbounded, Excluded), Unbounded)).map(|(name, kept)| (&**name, kept))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// How many keys have numbers of their own, over all policies.
    #[must_use]
    pub fn overrides_count(&self) -> usize {
        self.overrides_count
    }

    /// The invariants of this file; the text names the one that is broken.
    ///
    /// # Errors
    /// The broken invariant in words.
    pub fn check(&self) -> Result<(), &'static str> {
        let overrides = self.by_name.values().flat_map(|kept| kept.overrides.values().map(|numbers| (&kept.rule, *numbers)));
        if overrides.clone().any(|(rule, numbers)| rule.with_numbers(numbers).is_err()) {
            return Err("a key's numbers do not fit its policy");
        }
        if overrides.count() != self.overrides_count {
            return Err("the count of keys with numbers of their own is wrong");
        }
        Ok(())
    }

    /// The same of one policy, after a change of it.
    ///
    /// # Errors
    /// The broken invariant in words.
    pub fn check_one(&self, policy: PolicyName<'_>) -> Result<(), &'static str> {
        let kept = self.get(policy);
        let numbers = kept.into_iter().flat_map(|kept| kept.overrides.values().map(|numbers| kept.rule.with_numbers(*numbers)));
        if numbers.into_iter().any(|policy| policy.is_err()) { Err("a key's numbers do not fit its policy") } else { Ok(()) }
    }

    pub(crate) fn last_name(&self) -> Option<&str> {
        self.by_name.last_key_value().map(|(name, _)| &**name)
    }

    /// Puts a policy that was read back at its place.
    pub(crate) fn restore(&mut self, name: PolicyName<'_>, kept: KeptPolicy) {
        self.overrides_count = self.overrides_count.saturating_add(kept.overrides.len());
        self.by_name.insert(name.as_str().into(), kept);
    }
}

// --- Decide ---------------------------------------------------------------------------------

/// What becomes of a command.
///
/// # Errors
/// The first [`Rejection`] in the order of precedence.
pub fn decide<'a>(policies: &Policies, command: &Command<'a>) -> Result<Decision<'a>, Rejection> {
    match *command {
        Command::Put { policy, rule, precondition } => decide_put(policies, policy, rule, precondition),
        Command::Remove { policy, precondition } => {
            check_precondition(policies.get(policy), precondition)?;
            policies.get(policy).ok_or(Rejection::PolicyNotFound)?;
            Ok(Decision::Event(Event::PolicyRemoved { policy }))
        }
        Command::PutOverride { policy, key, numbers } => {
            let kept = policies.get(policy).ok_or(Rejection::PolicyNotFound)?;
            kept.rule.with_numbers(numbers)?;
            if kept.overrides.get(key.as_str()) == Some(&numbers) {
                return Ok(Decision::Unchanged);
            }
            Ok(Decision::Event(Event::OverrideWritten { policy, key, numbers }))
        }
        Command::RemoveOverride { policy, key } => {
            let kept = policies.get(policy).ok_or(Rejection::PolicyNotFound)?;
            if !kept.overrides.contains_key(key.as_str()) {
                return Err(Rejection::OverrideNotFound);
            }
            Ok(Decision::Event(Event::OverrideRemoved { policy, key }))
        }
    }
}

fn decide_put<'a>(policies: &Policies, policy: PolicyName<'a>, rule: Rule, precondition: Precondition) -> Result<Decision<'a>, Rejection> {
    let kept = policies.get(policy);
    check_precondition(kept, precondition)?;
    if kept.is_some_and(|kept| kept.rule == rule) {
        return Ok(Decision::Unchanged);
    }
    if kept.is_some_and(|kept| !kept.overrides.is_empty() && !kept.rule.has_algorithm_of(&rule)) {
        return Err(Rejection::PolicyHasOverrides);
    }
    Ok(Decision::Event(Event::PolicyWritten { policy, rule }))
}

fn check_precondition(kept: Option<&KeptPolicy>, precondition: Precondition) -> Result<(), Rejection> {
    match (kept.map(|kept| kept.version), precondition) {
        (_, Precondition::Always) | (Some(_), Precondition::Exists) | (None, Precondition::IsNew) => Ok(()),
        (None, Precondition::Exists | Precondition::Version(_) | Precondition::Never) => Err(Rejection::PolicyNotFound),
        (Some(_), Precondition::IsNew) => Err(Rejection::PolicyExists),
        (Some(version), Precondition::Version(wanted)) if wanted == version => Ok(()),
        (Some(version), Precondition::Version(_) | Precondition::Never) => Err(Rejection::VersionMismatch { version }),
    }
}

// --- Evolve ---------------------------------------------------------------------------------

/// What an event changes. Cannot fail and decides nothing.
pub fn evolve(policies: &mut Policies, event: &Event<'_>, at: Timestamp) {
    match event {
        Event::PolicyWritten { policy, rule } => {
            let new = || KeptPolicy { rule: *rule, version: 0, created_at: at, overrides: BTreeMap::new() };
            let kept = policies.by_name.entry(policy.as_str().into()).or_insert_with(new);
            kept.rule = *rule;
            kept.version = kept.version.saturating_add(1);
        }
        Event::PolicyRemoved { policy } => {
            let removed = policies.by_name.remove(policy.as_str()).map_or(0, |kept| kept.overrides.len());
            policies.overrides_count = policies.overrides_count.saturating_sub(removed);
        }
        Event::OverrideWritten { policy, key, numbers } => {
            let Some(kept) = policies.by_name.get_mut(policy.as_str()) else { return };
            let is_new = kept.overrides.insert(key.as_str().into(), *numbers).is_none();
            policies.overrides_count = policies.overrides_count.saturating_add(usize::from(is_new));
        }
        Event::OverrideRemoved { policy, key } => {
            let Some(kept) = policies.by_name.get_mut(policy.as_str()) else { return };
            let was_there = kept.overrides.remove(key.as_str()).is_some();
            policies.overrides_count = policies.overrides_count.saturating_sub(usize::from(was_there));
        }
    }
}

// --- Helpers --------------------------------------------------------------------------------

impl<'a> Event<'a> {
    /// The policy that the event is about.
    #[must_use]
    pub const fn policy(&self) -> PolicyName<'a> {
        match self {
            Self::PolicyWritten { policy, .. }
            | Self::PolicyRemoved { policy }
            | Self::OverrideWritten { policy, .. }
            | Self::OverrideRemoved { policy, .. } => *policy,
        }
    }
}

impl<'a> Command<'a> {
    /// The policy that the command is about.
    #[must_use]
    pub const fn policy(&self) -> PolicyName<'a> {
        match self {
            Self::Put { policy, .. }
            | Self::Remove { policy, .. }
            | Self::PutOverride { policy, .. }
            | Self::RemoveOverride { policy, .. } => *policy,
        }
    }
}

// Tests: `conformance/rate-limit/policies.table` over HTTP, and `crates/domain/tests/all/policies.rs`.
