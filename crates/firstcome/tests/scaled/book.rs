//! What people know together, and what contradicts it at once.
//!
//! Three things can be seen from outside while the load runs, whatever happens inside: who has a yes
//! is told the same for ever, by every server; after somebody was told `sold_out` nobody who asks
//! later is given something new; and a campaign that is read shows at least what was given out
//! before it was asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// A claim as a server shows it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Claim {
    pub subject: String,
    pub serial: u64,
    pub code: String,
    pub claimed_at: String,
}

/// Everybody's knowledge of one campaign.
#[derive(Debug, Default)]
pub struct Book {
    pub claims: HashMap<String, Claim>,
    pub refused: BTreeSet<String>,
    /// Answers that say neither yes nor no, by their code; what was not answered at all is `silence`.
    pub unclear: BTreeMap<String, u64>,
    /// The longest wait for any answer.
    pub slowest: Duration,
    /// Campaigns that were read, and how many of them in vain.
    pub reads_count: u64,
    pub reads_refused_count: u64,
    sold_out_since: Option<Instant>,
}

impl Book {
    /// Somebody was told yes; `is_fresh` if it was given just now.
    pub fn yes(&mut self, claim: Claim, is_fresh: bool, asked_at: Instant) {
        assert!(!self.refused.contains(&claim.subject), "{claim:?} was told no before, for good");
        if let Some(known) = self.claims.get(&claim.subject) {
            assert!(!is_fresh, "one person was given {known:?} and then, as new, {claim:?}");
            assert_eq!(*known, claim, "one person was told two things");
            return;
        }
        if is_fresh && let Some(since) = self.sold_out_since {
            assert!(asked_at <= since, "{claim:?} was given to somebody who asked {:?} after it was sold out", asked_at - since);
        }
        self.claims.insert(claim.subject.clone(), claim);
    }

    /// Somebody was told that nothing is left.
    pub fn sold_out(&mut self, subject: &str) {
        assert!(!self.claims.contains_key(subject), "{subject} has a claim and was told that it is sold out");
        self.refused.insert(subject.to_owned());
        self.sold_out_since.get_or_insert_with(Instant::now);
    }

    pub fn unclear(&mut self, code: &str) {
        *self.unclear.entry(code.to_owned()).or_default() += 1;
    }

    pub fn waited(&mut self, time: Duration) {
        self.slowest = self.slowest.max(time);
    }
}
