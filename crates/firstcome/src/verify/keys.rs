//! Request keys: one key, one outcome, within 24 hours.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use domain::types::Timestamp;

const KEEP_MS: u64 = 24 * 60 * 60 * 1_000;
/// Old keys are looked for when there are this many, and again at each doubling.
const TIDY_COUNT_MIN: usize = 1 << 16;

/// When each key was last used. Of a key only 128 bits of random hashes are kept.
#[derive(Debug)]
pub(super) struct RequestKeys {
    used_at: HashMap<(u64, u64), u64>,
    /// When those that are not forgotten yet were used, oldest first.
    kept: VecDeque<u64>,
    tidy_count: usize,
    hashers: (RandomState, RandomState),
}

impl RequestKeys {
    pub(super) fn new() -> Self {
        let hashers = (RandomState::new(), RandomState::new());
        Self { used_at: HashMap::new(), kept: VecDeque::new(), tidy_count: TIDY_COUNT_MIN, hashers }
    }

    /// Uses a key; says when it was used before, if that is less than 24 hours ago.
    pub(super) fn take(&mut self, campaign: u32, actor: &str, key: &str, at: Timestamp) -> Option<Timestamp> {
        let scoped = (campaign, actor, key);
        let hash = (self.hashers.0.hash_one(scoped), self.hashers.1.hash_one(scoped));
        self.kept.push_back(at.millis());
        self.tidy(at);
        let before = self.used_at.insert(hash, at.millis())?;
        if is_over(before, at) { None } else { Timestamp::from_millis(before) }
    }

    /// Forgets the oldest keys; `false` if one of them had to be kept, or there are not as many.
    pub(super) fn forget(&mut self, count: u32, at: Timestamp) -> bool {
        (0..count).all(|_| self.kept.pop_front().is_some_and(|used_at| is_over(used_at, at)))
    }

    fn tidy(&mut self, at: Timestamp) {
        if self.used_at.len() < self.tidy_count {
            return;
        }
        self.used_at.retain(|_, used_at| !is_over(*used_at, at));
        self.tidy_count = (self.used_at.len() * 2).max(TIDY_COUNT_MIN);
    }
}

fn is_over(used_at: u64, at: Timestamp) -> bool {
    used_at.saturating_add(KEEP_MS) <= at.millis()
}
