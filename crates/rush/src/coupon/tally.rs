//! What one worker counts while it asks; added up when the load is over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::subjects::UserIndex;
use crate::figures::Sample;

/// Errors that are kept word for word.
const ERROR_SAMPLES_MAX: usize = 5;

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) fresh: u64,
    pub(crate) repeats: u64,
    pub(crate) sold_out: u64,
    pub(crate) refusals: BTreeMap<String, u64>,
    pub(crate) errors: u64,
    /// When, and what.
    pub(crate) error_samples: Vec<(Duration, String)>,
    /// Tries after the server asked to come back later.
    pub(crate) asked_again: u64,
    /// Tries whose outcome was not known.
    pub(crate) unknown_outcomes: u64,
    /// People whose last try still had an unknown outcome.
    pub(crate) in_doubt: Vec<UserIndex>,
    pub(crate) reconnects: u64,
    pub(crate) samples: Vec<Sample>,
    /// What was answered with a place in the queue, up to that answer.
    pub(crate) accepted: Vec<Sample>,
    /// The same, up to the decision.
    pub(crate) decided: Vec<Sample>,
    /// Answers that were read and not there yet.
    pub(crate) still_pending: u64,
}

impl Tally {
    pub(crate) fn refuse(&mut self, code: &str) {
        match self.refusals.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(self.refusals.insert(code.to_owned(), 1)),
        }
    }

    pub(crate) fn error(&mut self, at: Duration, what: impl FnOnce() -> String) {
        self.errors += 1;
        if self.error_samples.len() < ERROR_SAMPLES_MAX {
            self.error_samples.push((at, what()));
        }
    }

    pub(crate) fn add(&mut self, other: Tally) {
        self.fresh += other.fresh;
        self.repeats += other.repeats;
        self.sold_out += other.sold_out;
        for (code, count) in other.refusals {
            *self.refusals.entry(code).or_default() += count;
        }
        self.errors += other.errors;
        self.error_samples.extend(other.error_samples);
        self.error_samples.sort();
        self.error_samples.truncate(ERROR_SAMPLES_MAX);
        self.asked_again += other.asked_again;
        self.unknown_outcomes += other.unknown_outcomes;
        self.in_doubt.extend(other.in_doubt);
        self.reconnects += other.reconnects;
        self.samples.extend(other.samples);
        self.accepted.extend(other.accepted);
        self.decided.extend(other.decided);
        self.still_pending += other.still_pending;
    }
}
