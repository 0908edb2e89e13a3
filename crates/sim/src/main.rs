//! `cargo run --release -p sim -- --seeds 1000 --from 0 [--jobs 2] [--cluster]`: runs seeds, of one machine
//! or across machines. If a promise is broken, it prints the story of each such seed and exits with 1.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use sim::cluster;
use sim::report::{Report, SeedOutcome, run_all};

const USAGE: &str = "usage: sim [--seeds N] [--from N] [--jobs N] [--cluster]";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments_count = arguments.len();
    arguments.retain(|argument| argument != "--cluster");
    let is_cluster = arguments.len() < arguments_count;
    let Some((seeds, from, jobs)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let progress = |done: u64| {
        if done.is_multiple_of(100) {
            eprintln!("{done} of {seeds} seeds");
        }
    };
    let seeds = from..from.saturating_add(seeds);
    if is_cluster {
        return told(&run_all(seeds, jobs, |seed| cluster::run(seed, &cluster::Options::default()), progress));
    }
    told(&run_all(seeds, jobs, |seed| sim::run(seed, &sim::Options::default()), progress))
}

fn told<O: SeedOutcome>(report: &Report<O>) -> ExitCode {
    println!("{report}");
    if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(arguments: &[String]) -> Option<(u64, u64, usize)> {
    let (mut seeds, mut from, mut jobs) = (300, 0, 2);
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--seeds" => seeds = value.parse().ok()?,
            "--from" => from = value.parse().ok()?,
            "--jobs" => jobs = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((seeds, from, jobs))
}
