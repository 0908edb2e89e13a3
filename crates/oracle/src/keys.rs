//! Request keys: one key, one outcome. A key belongs to a caller and to what it was used on. It is kept
//! for 24 hours by the time of the records, and judged by the time of the question.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::Kind;
use domain::types::Timestamp;

use crate::Outcome;

const DAY_MS: u64 = 86_400_000;
/// So many at most are forgotten by one record.
const FORGOTTEN_MAX: usize = 1_024;

/// Where a key counts: the same key of another caller, or for another aggregate, is another key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Scope {
    /// The kind of what it was used on.
    pub kind: Kind,
    /// The name of what it was used on, and not its number: it may be removed and created anew.
    pub name: Arc<str>,
    /// The caller.
    pub actor: Box<str>,
    /// The key.
    pub key: Box<str>,
}

/// A request that took effect.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its key.
    pub scope: Arc<Scope>,
    /// A digest of what was asked.
    pub fingerprint: [u8; 16],
    /// When it took effect.
    pub at: Timestamp,
    /// What was answered.
    pub outcome: Outcome,
}

/// Those that are not forgotten.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// By the number of the decision, so oldest first.
    kept: BTreeMap<u64, Known>,
    latest: BTreeMap<Arc<Scope>, u64>,
}

impl Keys {
    /// The keys by the number of the decision, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Known)> {
        self.kept.iter().map(|(decision, known)| (*decision, known))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.kept.len()
    }

    /// What took effect under this key less than a day before.
    pub(crate) fn known(&self, scope: &Scope, now: Timestamp) -> Option<&Known> {
        let known = self.kept.get(self.latest.get(scope)?)?;
        (now < known.at.plus_millis(DAY_MS)).then_some(known)
    }

    /// How many may be forgotten.
    #[must_use]
    pub fn due_count(&self, now: Timestamp) -> u32 {
        let due = self.kept.values().take(FORGOTTEN_MAX).take_while(|known| known.at.plus_millis(DAY_MS) <= now);
        due.map(|_| 1).sum()
    }

    pub(crate) fn remember(&mut self, decision: u64, scope: Scope, fingerprint: [u8; 16], at: Timestamp, outcome: Outcome) {
        let scope = Arc::new(scope);
        self.latest.insert(Arc::clone(&scope), decision);
        self.kept.insert(decision, Known { scope, fingerprint, at, outcome });
    }

    /// The time was set back: nothing has taken effect after it.
    pub(crate) fn count_from(&mut self, time: Timestamp) {
        self.kept.values_mut().for_each(|known| known.at = known.at.min(time));
    }

    pub(crate) fn forget(&mut self, count: u32) {
        for _ in 0..count {
            let Some((decision, known)) = self.kept.pop_first() else { return };
            // The key may have been used again since.
            if self.latest.get(&known.scope) == Some(&decision) {
                self.latest.remove(&known.scope);
            }
        }
    }
}
