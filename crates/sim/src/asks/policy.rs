//! Requests to policies of rate limits.

use domain::fields::{Fields, Patch, Value};
use domain::rate_limit::policies::{Command, Limit, LimitAlgorithm, Numbers, PolicySettings};
use domain::state::Precondition;
use domain::types::{LimitKey, Name};
use domain::{Action, Kind, Listed};

use super::pick;

/// One name is also a campaign's.
pub(super) const NAMES: [&str; 3] = ["api", "api:night", "spring"];
const KEYS: [&str; 3] = ["ann", "bob", "Ann & Söhne"];

/// A request to a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolicyAsk {
    /// Create it or replace its settings.
    Put(PolicySettings, Precondition),
    /// Change its quota.
    Patch(u64),
    /// Remove it.
    Remove(Precondition),
    /// Set or remove a key's override.
    Override(&'static str, Option<Numbers>),
}

impl PolicyAsk {
    /// A random request; `below(n)` returns a number below `n`.
    pub fn any(mut below: impl FnMut(u64) -> u64) -> Self {
        let preconditions = [Precondition::Always, Precondition::Always, Precondition::IsNew, Precondition::Version(2)];
        let precondition = pick(&mut below, &preconditions);
        match below(10) {
            0..=2 => Self::Put(some_settings(&mut below), precondition),
            3 | 4 => Self::Patch(below(20)),
            5 => Self::Remove(precondition),
            6 | 7 => Self::Override(pick(&mut below, &KEYS), None),
            _ => {
                let numbers =
                    Numbers { quota: 1 + small(&mut below), window_ns: 1_000_000 * (1 + below(90_000)), burst: small(&mut below) };
                Self::Override(pick(&mut below, &KEYS), Some(numbers))
            }
        }
    }

    pub(crate) fn action<'a>(&'a self, name: Name<'a>) -> Option<Action<'a>> {
        Some(match self {
            Self::Put(settings, precondition) => {
                Action::Put { name, settings: Limit::any_settings(*settings), precondition: *precondition }
            }
            Self::Patch(quota) => {
                let mut patch = Patch::<PolicySettings>::default();
                patch.set("quota", Value::Number(*quota)).ok()?;
                Action::Patch { name, patch: Limit::any_patch(patch), precondition: Precondition::Always }
            }
            Self::Remove(precondition) => Action::Remove { kind: Kind::Policy, name, precondition: *precondition },
            Self::Override(key, numbers) => {
                let key = LimitKey::new(key).ok()?;
                let write = |numbers| Command::PutOverride { key, numbers };
                Action::of::<Limit>(name, numbers.map_or(Command::RemoveOverride { key }, write))
            }
        })
    }
}

/// Random settings, some of them invalid.
fn some_settings(below: &mut impl FnMut(u64) -> u64) -> PolicySettings {
    let algorithm = pick(below, LimitAlgorithm::ALL);
    let plain = PolicySettings { algorithm, quota: below(20), shadow: below(5) == 0, ..PolicySettings::least() };
    match algorithm {
        LimitAlgorithm::InFlight => PolicySettings { timeout_ms: Some(below(60_000)), ..plain },
        _ => PolicySettings { window_ms: Some(below(60_000)), burst: below(3), ..plain },
    }
}

fn small(below: &mut impl FnMut(u64) -> u64) -> u32 {
    u32::try_from(below(9)).unwrap_or(0)
}
