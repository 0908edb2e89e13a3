//! Policies of rate limits as they are kept: what is limited, and other numbers for single keys. What
//! keys have taken is not here: it is counted in memory, and a restart forgets it.
//!
//! Invariants ([`Workload::check`]): the rule is that of the settings; numbers of a key of their own
//! fit the policy's algorithm.
//!
//! Terms: a *rule* is what a policy limits, a rate or how much may be in flight; an *override* gives
//! one key other numbers than its policy has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::in_flight::{IN_FLIGHT_MAX, InFlight};
use super::settings::WINDOW_NS_MAX;
use super::{Algorithm, Mode, Policy, PolicyError, Settings as RateSettings};
use crate::hash::HashSeed;
use crate::rows::{Cell, Column, ColumnKind, RowChange, Rows, Table};
use crate::types::{LimitKey, Timestamp};
use crate::wire::DecodeError;
use crate::wire::bytes::{In, Out, Part, Reader};
use crate::workload::{Aggregate, Ask, Decided, Items, Kind, SettingsIssue, Workload};
use crate::{fields, messages, rejections, words};

const MS_NS: u64 = 1_000_000;

/// The workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit;

/// One policy with its overrides.
pub type KeptPolicy = Aggregate<Limit>;

// --- Settings -------------------------------------------------------------------------------

fields! {
    /// What the maker of a policy chooses. Numbers out of range are refused by the rules, each with a
    /// code of its own.
    pub struct PolicySettings {
        1 algorithm: LimitAlgorithm = required, "How requests are counted; `in_flight` limits how many are under way at once.";
        2 quota: u64 = required, "Units per window, 1 to 1,000,000,000; for `sliding_window_log` and `in_flight` 1 to 10,000.";
        3 window_ms: Option<u64> = None, "The window in milliseconds, 1 ms to 366 days. Not for `in_flight`.";
        4 burst: u64 = 0, "Units that may come at once above one, 0 to 1,000,000,000. For `token_bucket` and `leaky_bucket` only; the bucket must fill within 100 years.";
        5 timeout_ms: Option<u64> = None, "After how many milliseconds a lease that is not given back ends by itself, 1 ms to 366 days. For `in_flight` only.";
        6 shadow: bool = false, "Whether the policy only watches: what does not conform is reported and allowed.";
    }
}

fields! {
    /// What follows from what a policy holds.
    pub struct PolicyFigures {
        1 overrides: u32 = required, "How many keys have numbers of their own.";
    }
}

words! {
    /// How a policy counts.
    pub enum LimitAlgorithm {
        /// See [`Algorithm::FixedWindow`].
        1 FixedWindow "fixed_window",
        /// See [`Algorithm::SlidingWindowLog`].
        2 SlidingWindowLog "sliding_window_log",
        /// See [`Algorithm::SlidingWindowCounter`].
        3 SlidingWindowCounter "sliding_window_counter",
        /// See [`Algorithm::TokenBucket`].
        4 TokenBucket "token_bucket",
        /// See [`Algorithm::LeakyBucket`].
        5 LeakyBucket "leaky_bucket",
        /// See [`InFlight`].
        6 InFlight "in_flight",
    }
}

impl LimitAlgorithm {
    /// The algorithm of a rate; `None` for what is in flight.
    #[must_use]
    pub const fn rate(self) -> Option<Algorithm> {
        match self {
            Self::FixedWindow => Some(Algorithm::FixedWindow),
            Self::SlidingWindowLog => Some(Algorithm::SlidingWindowLog),
            Self::SlidingWindowCounter => Some(Algorithm::SlidingWindowCounter),
            Self::TokenBucket => Some(Algorithm::TokenBucket),
            Self::LeakyBucket => Some(Algorithm::LeakyBucket),
            Self::InFlight => None,
        }
    }
}

/// What a policy limits: its settings, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// How often.
    Rate(Policy),
    /// How much at once.
    InFlight(InFlight),
}

messages! {
    /// The numbers of one key; algorithm and mode are the policy's. Checked when they are decided.
    pub struct Numbers {
        /// Units per window.
        quota: u32,
        /// The window in nanoseconds.
        window_ns: u64,
        /// Units that may come at once above one, for the buckets.
        burst: u32,
    }
}

impl PolicySettings {
    /// What the settings limit.
    ///
    /// # Errors
    /// The first number that is out of range.
    pub fn rule(&self) -> Result<Rule, Rejection> {
        let mode = if self.shadow { Mode::Shadow } else { Mode::Enforce };
        let Some(algorithm) = self.algorithm.rate() else { return self.in_flight(mode) };
        // What does not fit its type is out of range all the more, and is refused in the same order.
        let quota = u32::try_from(self.quota).unwrap_or(u32::MAX);
        let window_ns = self.window_ms.map_or(0, |ms| ms.saturating_mul(MS_NS));
        let burst = u32::try_from(self.burst).unwrap_or(u32::MAX);
        Ok(Rule::Rate(Policy::new(RateSettings { algorithm, quota, window_ns, burst, mode })?))
    }

    fn in_flight(&self, mode: Mode) -> Result<Rule, Rejection> {
        let limit = u32::try_from(self.quota).ok().filter(|limit| (1..=IN_FLIGHT_MAX).contains(limit));
        let limit = limit.ok_or(Rejection::InFlightOutOfRange { field: "quota" })?;
        let timeout_ns = self.timeout_ms.and_then(|ms| ms.checked_mul(MS_NS)).filter(|timeout_ns| *timeout_ns <= WINDOW_NS_MAX);
        let limit = timeout_ns.and_then(|timeout_ns| InFlight::new(limit, timeout_ns, mode));
        limit.map(Rule::InFlight).ok_or(Rejection::InFlightOutOfRange { field: "timeout_ms" })
    }
}

impl Rule {
    /// The policy with a key's numbers in the place of its own.
    ///
    /// # Errors
    /// [`Rejection::OverrideNotPossible`], or the number that is out of range.
    pub fn with_numbers(&self, numbers: Numbers) -> Result<Policy, Rejection> {
        let Self::Rate(policy) = self else { return Err(Rejection::OverrideNotPossible) };
        let Numbers { quota, window_ns, burst } = numbers;
        Ok(Policy::new(RateSettings { quota, window_ns, burst, ..*policy.settings() })?)
    }
}

// --- Commands and events --------------------------------------------------------------------

messages! {
    /// What can be asked of a policy.
    pub enum Command<'a> {
        /// Give one key other numbers.
        1 PutOverride {
            /// Which key.
            key: LimitKey<'a>,
            /// Its numbers.
            numbers: Numbers,
        },
        /// Give one key the policy's numbers again.
        2 RemoveOverride {
            /// Which key.
            key: LimitKey<'a>,
        },
    }
}

messages! {
    /// What happened in a policy.
    pub enum Event<'a> {
        /// A key has these numbers from now on.
        1 OverrideWritten {
            /// Which key.
            key: LimitKey<'a>,
            /// Its numbers.
            numbers: Numbers,
        },
        /// A key has its policy's numbers again.
        2 OverrideRemoved {
            /// Which key.
            key: LimitKey<'a>,
        },
    }
}

messages! {
    /// What took effect. The key is the request's own.
    pub enum Outcome {
        /// A key has these numbers.
        1 OverrideWritten {
            /// Its numbers.
            numbers: Numbers,
            /// Whether the policy's algorithm has bursts.
            has_burst: bool,
        },
        /// A key has its policy's numbers.
        2 OverrideRemoved,
    }
}

// --- Rejections -----------------------------------------------------------------------------

rejections! {
    /// Why not, in the order of precedence.
    pub enum Rejection {
        /// The quota is 0 or above 1,000,000,000.
        50 QuotaOutOfRange "quota_out_of_range" lasting,
        /// The quota of a log is above 10,000.
        51 LogQuotaOutOfRange "log_quota_out_of_range" lasting,
        /// The window is below a millisecond or above 366 days.
        52 WindowOutOfRange "window_out_of_range" lasting,
        /// The burst is above 1,000,000,000, or the bucket takes longer than 100 years to fill.
        53 BurstOutOfRange "burst_out_of_range" lasting,
        /// A burst for an algorithm that has none.
        54 BurstNotUsed "burst_not_used" lasting,
        /// The numbers of a limit on what is in flight are out of range.
        55 InFlightOutOfRange "in_flight_out_of_range" lasting {
            /// The setting that is.
            field: &'static str,
        },
        /// Keys have numbers of their own, which need not fit another algorithm.
        43 PolicyHasOverrides "policy_has_overrides" lasting,
        /// A limit on what is in flight has one number for all keys.
        44 OverrideNotPossible "override_not_possible" lasting,
        /// The key has no numbers of its own.
        46 OverrideNotFound "override_not_found" lasting,
    }
}

impl From<PolicyError> for Rejection {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::QuotaOutOfRange => Self::QuotaOutOfRange,
            PolicyError::LogQuotaOutOfRange => Self::LogQuotaOutOfRange,
            PolicyError::WindowOutOfRange => Self::WindowOutOfRange,
            PolicyError::BurstOutOfRange => Self::BurstOutOfRange,
            PolicyError::BurstNotUsed => Self::BurstNotUsed,
        }
    }
}

// --- State ----------------------------------------------------------------------------------

/// What a policy holds.
#[derive(Debug)]
pub struct LimitItems {
    /// What the settings limit.
    pub rule: Rule,
    /// Keys with numbers of their own.
    pub overrides: Arc<BTreeMap<Box<str>, Numbers>>,
}

// --- The workload ---------------------------------------------------------------------------

/// Keys with numbers of their own.
pub static OVERRIDES: Table = Table {
    name: "overrides",
    about: "Keys of rate limits that have numbers of their own",
    columns: &[
        Column::of("key", ColumnKind::Text, "Who or what is counted"),
        Column::of("quota", ColumnKind::Number, "Units per window"),
        Column::of("window_ms", ColumnKind::Number, "The window in milliseconds"),
        Column::of("burst", ColumnKind::Number, "Units that may come at once above one"),
    ],
    row: "override",
    key_count: 1,
    found_by: None,
    one_each: None,
    has_origin: false,
};

impl Workload for Limit {
    const KIND: Kind = Kind::Policy;
    const ENTRIES: &'static str = "overrides";
    const IS_REMOVABLE: bool = true;
    const COUNT_MAX: usize = 1_000;
    const ENTRIES_MAX: u64 = 10_000;
    const TABLES: &'static [&'static Table] = &[&OVERRIDES];

    type Settings = PolicySettings;
    type Figures = PolicyFigures;
    type Items = LimitItems;
    type Command<'a> = Command<'a>;
    type Event<'a> = Event<'a>;
    type Outcome = Outcome;
    type View = Outcome;
    type Rejection = Rejection;

    fn items(settings: &PolicySettings, _seed: HashSeed) -> LimitItems {
        LimitItems { rule: accepted_rule(settings), overrides: Arc::default() }
    }

    fn issue(settings: &PolicySettings) -> Option<SettingsIssue> {
        let issue = |field, what: &str| Some(SettingsIssue { field, what: what.to_owned() });
        let is_in_flight = settings.algorithm == LimitAlgorithm::InFlight;
        let not_for_in_flight = "is not for in_flight, which takes quota and timeout_ms";
        match settings {
            PolicySettings { window_ms: Some(_), .. } if is_in_flight => issue("window_ms", not_for_in_flight),
            PolicySettings { burst: 1.., .. } if is_in_flight => issue("burst", not_for_in_flight),
            PolicySettings { timeout_ms: None, .. } if is_in_flight => issue("timeout_ms", "is missing"),
            PolicySettings { timeout_ms: Some(_), .. } if !is_in_flight => issue("timeout_ms", "is for in_flight only"),
            PolicySettings { window_ms: None, .. } if !is_in_flight => issue("window_ms", "is missing"),
            _ => None,
        }
    }

    fn accepts(old: Option<&KeptPolicy>, new: &PolicySettings) -> Result<(), Rejection> {
        new.rule()?;
        if old.is_some_and(|policy| !policy.items.overrides.is_empty() && policy.settings.algorithm != new.algorithm) {
            return Err(Rejection::PolicyHasOverrides);
        }
        Ok(())
    }

    fn settled(policy: &mut KeptPolicy, _old: &PolicySettings) {
        policy.items.rule = accepted_rule(&policy.settings);
    }

    fn decide<'a>(policy: &KeptPolicy, command: &Self::Command<'a>, _ask: Ask) -> Result<Decided<'a, Self>, Rejection> {
        match *command {
            Command::PutOverride { key, numbers } => {
                policy.items.rule.with_numbers(numbers)?;
                if policy.items.overrides.get(key.as_str()) == Some(&numbers) {
                    return Ok(Decided::Repeat(written(policy, numbers)));
                }
                Ok(Decided::Event(Event::OverrideWritten { key, numbers }))
            }
            Command::RemoveOverride { key } => {
                if !policy.items.overrides.contains_key(key.as_str()) {
                    return Err(Rejection::OverrideNotFound);
                }
                Ok(Decided::Event(Event::OverrideRemoved { key }))
            }
        }
    }

    fn evolve(policy: &mut KeptPolicy, event: &Event<'_>, _at: Timestamp) -> Outcome {
        let overrides = Arc::make_mut(&mut policy.items.overrides);
        match event {
            Event::OverrideWritten { key, numbers } => {
                overrides.insert(key.as_str().into(), *numbers);
                written(policy, *numbers)
            }
            Event::OverrideRemoved { key } => {
                overrides.remove(key.as_str());
                Outcome::OverrideRemoved
            }
        }
    }

    fn fits(policy: &KeptPolicy, event: &Event<'_>) -> bool {
        match event {
            Event::OverrideWritten { numbers, .. } => policy.items.rule.with_numbers(*numbers).is_ok(),
            Event::OverrideRemoved { key } => policy.items.overrides.contains_key(key.as_str()),
        }
    }

    fn figures(policy: &KeptPolicy, _now: Timestamp) -> PolicyFigures {
        let Ok(overrides) = u32::try_from(policy.items.overrides.len()) else { panic!("more overrides than any limit allows") };
        PolicyFigures { overrides }
    }

    fn view(_policy: &KeptPolicy, outcome: Outcome, _now: Timestamp) -> Option<Outcome> {
        Some(outcome)
    }

    fn entries_count(policy: &KeptPolicy) -> u64 {
        policy.items.overrides.len() as u64
    }

    fn rows(event: &Event<'_>, _at: Timestamp, rows: &mut impl Rows) {
        match event {
            Event::OverrideWritten { key, numbers } => {
                let (quota, burst) = (Cell::Number(u64::from(numbers.quota)), Cell::Number(u64::from(numbers.burst)));
                let cells = [Cell::Text(key.as_str()), quota, Cell::Number(numbers.window_ns / MS_NS), burst];
                rows.change(&OVERRIDES, RowChange::Put(&cells));
            }
            Event::OverrideRemoved { key } => rows.change(&OVERRIDES, RowChange::Delete { key: &[Cell::Text(key.as_str())] }),
        }
    }

    fn touched(policy: &KeptPolicy, event: &Event<'_>, each: &mut dyn FnMut(&[u8])) {
        let (Event::OverrideWritten { key, .. } | Event::OverrideRemoved { key }) = event;
        if let Some(numbers) = policy.items.overrides.get(key.as_str()) {
            each(&override_bytes(*key, *numbers));
        }
    }

    fn entries(policy: &KeptPolicy, each: &mut dyn FnMut(&[u8])) {
        for (key, numbers) in policy.items.overrides.iter() {
            each(&override_bytes(stored_key(key), *numbers));
        }
    }

    fn check(policy: &KeptPolicy) -> Result<(), &'static str> {
        if policy.settings.rule() != Ok(policy.items.rule) {
            return Err("a policy's rule is not that of its settings");
        }
        if policy.items.overrides.values().any(|numbers| policy.items.rule.with_numbers(*numbers).is_err()) {
            return Err("the numbers of a key do not fit its policy");
        }
        Ok(())
    }

    fn adds_entry(policy: &KeptPolicy, command: &Command<'_>) -> bool {
        matches!(command, Command::PutOverride { key, .. } if !policy.items.overrides.contains_key(key.as_str()))
    }
}

impl Items for LimitItems {
    type Frozen = Arc<BTreeMap<Box<str>, Numbers>>;

    fn freeze(&self) -> Self::Frozen {
        Arc::clone(&self.overrides)
    }

    fn section(frozen: &Self::Frozen, index: usize) -> Option<Vec<u8>> {
        if index != 0 {
            return None;
        }
        let mut bytes = Vec::new();
        let mut out = Out { body: &mut bytes, private: None };
        (frozen.len() as u64).put(&mut out);
        for (key, numbers) in frozen.iter() {
            stored_key(key).put(&mut out);
            numbers.put(&mut out);
        }
        Some(bytes)
    }

    fn load(&mut self, index: usize, section: &[u8]) -> Result<(), DecodeError> {
        if index != 0 {
            return Err(DecodeError("a policy has one section"));
        }
        let mut from = In { body: Reader::new(section), private: None };
        let mut overrides = BTreeMap::<Box<str>, Numbers>::new();
        for _ in 0..u64::take(&mut from)? {
            let (key, numbers) = (LimitKey::take(&mut from)?, Numbers::take(&mut from)?);
            if overrides.last_key_value().is_some_and(|(last, _)| key.as_str() <= &**last) {
                return Err(DecodeError("an override is out of order"));
            }
            overrides.insert(key.as_str().into(), numbers);
        }
        self.overrides = Arc::new(overrides);
        from.end()
    }
}

// --- Helpers --------------------------------------------------------------------------------

fn accepted_rule(settings: &PolicySettings) -> Rule {
    let Ok(rule) = settings.rule() else { panic!("settings of a policy take effect only after they were accepted") };
    rule
}

fn written(policy: &KeptPolicy, numbers: Numbers) -> Outcome {
    Outcome::OverrideWritten { numbers, has_burst: policy.settings.algorithm.rate().is_some_and(Algorithm::has_burst) }
}

fn stored_key(key: &str) -> LimitKey<'_> {
    let Ok(key) = LimitKey::new(key) else { panic!("a key is stored that is none") };
    key
}

/// An override as canonical bytes: what a digest of the state is made of.
#[must_use]
pub fn override_bytes(key: LimitKey<'_>, numbers: Numbers) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    let mut out = Out { body: &mut bytes, private: None };
    key.put(&mut out);
    numbers.put(&mut out);
    bytes
}

// Tests: `conformance/rate-limit/policies.table` over HTTP, and `crates/domain/tests/all/policies.rs`.
