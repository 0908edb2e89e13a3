//! Many seeds on several threads.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::counts::{Counts, Rare};
use crate::run::{Options, Outcome, run};

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many were run.
    pub seeds_count: u64,
    /// Those in which a promise was broken, by seed.
    pub failed: Vec<Outcome>,
    /// What happened in all of them.
    pub counts: Counts,
}

/// Runs these seeds on so many threads.
#[must_use]
pub fn main_with(seeds: Range<u64>, jobs: usize) -> Report {
    run_all(seeds, jobs, &Options::default(), &|_| {})
}

/// Runs these seeds; `after_each` is told how many are done.
pub fn run_all(seeds: Range<u64>, jobs: usize, options: &Options, after_each: &(impl Fn(u64) + Sync)) -> Report {
    let next = AtomicU64::new(seeds.start);
    let report = Mutex::new(Report::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seeds.end <= seed {
                return;
            }
            let outcome = run(seed, options);
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report.add(outcome);
            after_each(report.seeds_count);
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failed.sort_by_key(|outcome| outcome.seed);
    report
}

impl Report {
    fn add(&mut self, outcome: Outcome) {
        self.seeds_count += 1;
        self.counts.add(&outcome.counts);
        if outcome.broken.is_some() {
            self.failed.push(outcome);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rare in Rare::ALL {
            writeln!(f, "{:>10}  {}", self.counts.of(*rare), rare.name())?;
        }
        for outcome in &self.failed {
            if let Some(broken) = &outcome.broken {
                writeln!(f, "seed {} broke a promise in step {}: {}", outcome.seed, broken.step, broken.story)?;
            }
        }
        write!(f, "{} seeds, {} failed", self.seeds_count, self.failed.len())
    }
}
