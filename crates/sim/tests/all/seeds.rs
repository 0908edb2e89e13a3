//! A few hundred seeds in every test run; `cargo run --release -p sim -- --seeds N` runs more.
#![allow(clippy::unwrap_used)]

use sim::report::{Report, run_all};
use sim::run::{Options, Outcome, run};

fn stories(report: &Report<Outcome>) -> Vec<String> {
    let story = |outcome: &Outcome| format!("seed {}: {:?}", outcome.seed, outcome.broken);
    report.failed.iter().map(story).collect()
}

#[test]
fn no_promise_is_broken_in_300_seeds_and_everything_rare_happens() {
    let report = run_all(0..300, 1, |seed| run(seed, &Options::default()), |_| {});
    assert_eq!(stories(&report), [""; 0]);
    assert_eq!(report.seeds_count, 300);
    assert_eq!(report.counts.missing(), [""; 0], "never happened");
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let options = Options::default();
    for seed in 0..15 {
        let first = run(seed, &options);
        assert_eq!(first, run(seed, &options));
        assert_ne!(first.digest, run(seed + 1, &options).digest);
    }
}

/// Each line of `seeds.txt` is a seed, and what once went wrong with it.
#[test]
fn seeds_that_once_failed_do_not_fail_again() {
    let lines = include_str!("../../seeds.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    for line in lines {
        let (seed, story) = line.split_once(' ').unwrap();
        let outcome = run(seed.parse().unwrap(), &Options::default());
        assert_eq!(outcome.broken, None, "again: {story}");
    }
}
