//! Request keys that took effect, with their answers: what may be said again, and what the tables
//! must remember.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use domain::request::Remembered;
use domain::types::Timestamp;

/// For so long a key is kept.
const DAY_MS: u64 = 86_400_000;
/// So many at most are forgotten by one command.
const FORGOTTEN_MAX: usize = 1_024;

/// Those that are not forgotten, oldest first, each with the decision that it was.
#[derive(Debug, Default)]
pub(super) struct Keys {
    kept: VecDeque<(u64, Remembered)>,
    /// The latest decision by 128 bits of random hashes of campaign, actor and key.
    latest: HashMap<(u64, u64), u64>,
    hashers: (RandomState, RandomState),
}

impl Keys {
    /// What took effect under this key less than a day before.
    pub(super) fn known(&self, campaign: u32, actor: &str, key: &str, at: Timestamp) -> Option<&Remembered> {
        let decision = self.latest.get(&self.hash(campaign, actor, key))?;
        let place = self.kept.binary_search_by_key(decision, |(decision, _)| *decision).ok()?;
        self.kept.get(place).map(|(_, known)| known).filter(|known| !is_over(known, at))
    }

    pub(super) fn remember(&mut self, decision: u64, known: Remembered) {
        self.latest.insert(self.hash(known.campaign.0, &known.actor, &known.key), decision);
        self.kept.push_back((decision, known));
    }

    /// Forgets the oldest whose day has passed; says how many.
    pub(super) fn forget(&mut self, at: Timestamp) -> usize {
        let due = self.kept.iter().take(FORGOTTEN_MAX).take_while(|(_, known)| is_over(known, at)).count();
        for (decision, known) in self.kept.drain(..due).collect::<Vec<_>>() {
            let hash = self.hash(known.campaign.0, &known.actor, &known.key);
            // It may have been used again since.
            if self.latest.get(&hash) == Some(&decision) {
                self.latest.remove(&hash);
            }
        }
        due
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(u64, Remembered)> {
        self.kept.iter()
    }

    fn hash(&self, campaign: u32, actor: &str, key: &str) -> (u64, u64) {
        let scoped = (campaign, actor, key);
        (self.hashers.0.hash_one(scoped), self.hashers.1.hash_one(scoped))
    }
}

fn is_over(known: &Remembered, at: Timestamp) -> bool {
    let over_at = (known.recorded_at.millis() + DAY_MS).min(Timestamp::MAX.millis());
    over_at <= at.millis()
}
