//! What the committer does, counted: how many records one write and sync take along, and how long
//! they take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::histogram::{Counts, Histogram};

/// Counts of the committer.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    commits: AtomicU64,
    records: AtomicU64,
    records_last: AtomicU64,
    records_max: AtomicU64,
    times: Histogram,
}

/// What the journal has written since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JournalWork {
    /// Writes and syncs.
    pub commits: u64,
    /// Records in them.
    pub records: u64,
    /// Records in the last one.
    pub records_last: u64,
    /// Records in the largest one.
    pub records_max: u64,
    /// Records that are decided and not durable yet.
    pub waiting: u64,
    /// How long a write and its sync took.
    pub times: Counts,
}

impl Meter {
    /// So many records were written and synced together.
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
