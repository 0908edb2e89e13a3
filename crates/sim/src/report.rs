//! Runs many seeds on several threads, of one machine or of a cluster.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use parking_lot::Mutex;

use crate::counts::{Counts, Rarity};

/// The result of one seed, as the report needs it.
pub trait SeedOutcome: Send {
    /// The events that must occur in this world.
    type Rare: Rarity + Send;

    /// Printed after the number of seeds.
    const WHERE: &'static str;

    /// The seed.
    fn seed(&self) -> u64;

    /// The counts of rare events.
    fn counts(&self) -> &Counts<Self::Rare>;

    /// How a promise was broken, as text; `None` if none was.
    fn story(&self) -> Option<String>;
}

/// The result of many seeds.
#[derive(Clone, Debug)]
pub struct Report<O: SeedOutcome> {
    /// The number of seeds.
    pub seeds_count: u64,
    /// The seeds in which a promise was broken.
    pub failed: Vec<O>,
    /// The sum of all counts.
    pub counts: Counts<O::Rare>,
}

impl<O: SeedOutcome> Default for Report<O> {
    fn default() -> Self {
        Self { seeds_count: 0, failed: Vec::new(), counts: Counts::default() }
    }
}

/// Runs these seeds on `threads` threads; `after_each` is called with the number of finished seeds.
pub fn run_all<O: SeedOutcome>(
    seeds: Range<u64>,
    jobs: usize,
    run: impl Fn(u64) -> O + Sync,
    after_each: impl Fn(u64) + Sync,
) -> Report<O> {
    let next = AtomicU64::new(seeds.start);
    let report = Mutex::new(Report::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seeds.end <= seed {
                return;
            }
            let outcome = run(seed);
            let mut report = report.lock();
            report.add(outcome);
            after_each(report.seeds_count);
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut report = report.into_inner();
    report.failed.sort_by_key(O::seed);
    report
}

impl<O: SeedOutcome> Report<O> {
    fn add(&mut self, outcome: O) {
        self.seeds_count += 1;
        self.counts.add(outcome.counts());
        if outcome.story().is_some() {
            self.failed.push(outcome);
        }
    }
}

impl<O: SeedOutcome> fmt::Display for Report<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rare in O::Rare::ALL {
            writeln!(f, "{:>10}  {}", self.counts.of(*rare), rare.name())?;
        }
        for outcome in &self.failed {
            if let Some(story) = outcome.story() {
                writeln!(f, "seed {} broke a promise {story}", outcome.seed())?;
            }
        }
        write!(f, "{} seeds{}, {} failed", self.seeds_count, O::WHERE, self.failed.len())
    }
}
