//! Counters of the committer: how many records each write and sync covers, and how long they take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::histogram::{Counts, Histogram};

/// The committer's counters.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    commits: AtomicU64,
    records: AtomicU64,
    records_last: AtomicU64,
    records_max: AtomicU64,
    times: Histogram,
}

/// The journal's work since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JournalWork {
    /// Write-and-sync pairs.
    pub commits: u64,
    /// Records in all commits.
    pub records: u64,
    /// Records in the last commit.
    pub records_last: u64,
    /// Records in the largest commit.
    pub records_max: u64,
    /// Records that are decided and not durable yet.
    pub waiting: u64,
    /// Durations of a write and its sync.
    pub times: Counts,
}

impl Meter {
    /// Counts one commit of `records` records.
    pub(crate) fn committed(&self, records: u64, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.records_last.store(records, Ordering::Relaxed);
        self.records_max.fetch_max(records, Ordering::Relaxed);
        self.times.record(took);
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(crate) fn work(&self, waiting: u64) -> JournalWork {
        JournalWork {
            commits: self.commits(),
            records: self.records.load(Ordering::Relaxed),
            records_last: self.records_last.load(Ordering::Relaxed),
            records_max: self.records_max.load(Ordering::Relaxed),
            waiting,
            times: self.times.counts(),
        }
    }
}
