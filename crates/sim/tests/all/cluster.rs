//! The protocol of the scaled mode: some hundred seeds in every test run, and planted faults that
//! must be noticed. `cargo run --release -p sim -- --cluster --seeds N` runs more seeds.
#![allow(clippy::unwrap_used)]

use sim::cluster::judge::{Broken, Kind};
use sim::cluster::plant::Plant;
use sim::cluster::{Options, Outcome, run};
use sim::report::{Report, run_all};

const SEEDS_MAX: u64 = 200;

fn stories(report: &Report<Outcome>) -> Vec<String> {
    let story = |outcome: &Outcome| format!("seed {}: {:?}", outcome.seed, outcome.broken);
    report.failed.iter().map(story).collect()
}

#[test]
fn no_promise_is_broken_in_500_seeds_and_everything_rare_happens() {
    let report = run_all(0..500, 1, |seed| run(seed, &Options::default()), |_| {});
    assert_eq!(stories(&report), [""; 0]);
    assert_eq!(report.counts.missing(), [""; 0], "never happened");
}

#[test]
fn the_same_seed_gives_the_same_records_and_answers_and_another_seed_others() {
    let options = Options::default();
    for seed in 0..16 {
        let first = run(seed, &options);
        assert_eq!(first, run(seed, &options));
        assert_ne!(first.digest, run(seed + 1, &options).digest);
    }
}

fn first_noticed(plant: Plant, seeds: u64, kinds: &[Kind]) -> Option<(u64, Broken)> {
    let options = Options { plant: Some(plant) };
    let mut broken = (0..seeds).filter_map(|seed| Some((seed, run(seed, &options).broken?)));
    broken.find(|(_, broken)| kinds.contains(&broken.kind))
}

#[test]
fn every_planted_fault_is_noticed() {
    let mut missed = Vec::new();
    for plant in Plant::ALL {
        match first_noticed(*plant, SEEDS_MAX, &[Kind::Exactness, Kind::ExtraRecords]) {
            Some((seed, broken)) => {
                let story: String = broken.story.chars().take(150).collect();
                println!("{plant:?}: {} seeds, {:?}: {story}", seed + 1, broken.kind);
            }
            None => missed.push(*plant),
        }
    }
    assert_eq!(missed, [], "planted, and not noticed in {SEEDS_MAX} seeds");
}

/// The gate never has the last word: whatever it is told, nobody gets a wrong answer.
#[test]
fn a_wrong_gate_does_no_harm_but_extra_records() {
    for plant in [Plant::GateFilledWithStock, Plant::FlightsIgnored] {
        assert_eq!(first_noticed(plant, 100, &[Kind::Exactness, Kind::Liveness]), None, "{plant:?}");
    }
}

/// Each line of `cluster-seeds.txt` is a seed, and what once went wrong with it.
#[test]
fn seeds_that_once_failed_do_not_fail_again() {
    let lines = include_str!("../../cluster-seeds.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    for line in lines {
        let (seed, story) = line.split_once(' ').unwrap();
        let outcome = run(seed.parse().unwrap(), &Options::default());
        assert_eq!(outcome.broken, None, "again: {story}");
    }
}
