//! The counts of one worker; merged after the load.

use std::collections::BTreeMap;
use std::time::Duration;

use super::subjects::UserIndex;
use crate::figures::Sample;

/// Errors that are kept as text.
const ERROR_SAMPLES_MAX: usize = 5;

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) fresh: u64,
    pub(crate) repeats: u64,
    pub(crate) sold_out: u64,
    pub(crate) refusals: BTreeMap<String, u64>,
    pub(crate) errors: u64,
    /// When each error occurred, and its text.
    pub(crate) error_samples: Vec<(Duration, String)>,
    /// Retries after the server was busy.
    pub(crate) asked_again: u64,
    /// Tries with an unknown outcome.
    pub(crate) unknown_outcomes: u64,
    /// People whose last try still had an unknown outcome.
    pub(crate) in_doubt: Vec<UserIndex>,
    pub(crate) reconnects: u64,
    pub(crate) samples: Vec<Sample>,
    /// Times until a claim was queued.
    pub(crate) accepted: Vec<Sample>,
    /// Times until its decision was read.
    pub(crate) decided: Vec<Sample>,
    /// Reads of an answer that was still pending.
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
