//! Many seeds on several threads.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::counts::{Counts, Rare};
use super::dice::locked;
use super::run::{Options, Outcome, run};

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

/// Runs these seeds on so many threads; `after_each` is told how many are done.
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
            let mut report = locked(&report);
            report.seeds_count += 1;
            report.counts.add(&outcome.counts);
            report.failed.extend(outcome.broken.is_some().then_some(outcome));
            after_each(report.seeds_count);
        }
    };
    thread::scope(|scope| (0..jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
    let mut report = locked(&report).clone();
    report.failed.sort_by_key(|outcome| outcome.seed);
    report
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rare in Rare::ALL {
            writeln!(f, "{:>10}  {}", self.counts.of(*rare), rare.name())?;
        }
        for outcome in &self.failed {
            if let Some(broken) = &outcome.broken {
                writeln!(f, "seed {} broke a promise ({:?}): {}", outcome.seed, broken.kind, broken.story)?;
            }
        }
        write!(f, "{} seeds across machines, {} failed", self.seeds_count, self.failed.len())
    }
}
