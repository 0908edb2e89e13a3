//! Writes `docs/results/coupon-strategies.md`, its plots and its raw data: both sizes, on engines of
//! its own that are set as they would be in earnest: PostgreSQL and the journal sync every commit,
//! Redis every second, Kafka keeps every record on three brokers.
//!
//! `cargo build --release && cargo run --release -p lab --example results` (`-- --small` to try it,
//! `--runs N`, `--out DIR`). The machine should do nothing else meanwhile.

use std::error::Error;
use std::path::{Path, PathBuf};

use lab::{Engines, Options, Programs};
use services::{Kafka, KafkaOptions, Postgres, PostgresOptions, Redis};

/// People and coupons.
const SIZES: [(u32, u32); 2] = [(10_000, 1_000), (100_000, 10_000)];
const SIZES_SMALL: [(u32, u32); 2] = [(500, 50), (2_000, 200)];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| arguments.iter().skip_while(|argument| *argument != flag).nth(1);
    let out = value("--out").map_or_else(|| PathBuf::from("docs/results"), PathBuf::from);
    let runs = value("--runs").map_or(Ok(1), |text| text.parse())?;
    let sizes = if arguments.iter().any(|argument| argument == "--small") { SIZES_SMALL } else { SIZES };
    let firstcome = firstcome()?;

    eprintln!("starting PostgreSQL, Redis and Kafka");
    let postgres = Postgres::start_with(&PostgresOptions { durable: true, connections_max: 300, ..PostgresOptions::default() })?;
    let redis = Redis::start()?;
    let kafka = Kafka::start(KafkaOptions { brokers: 3, heap_mb: 512, is_for_tests: false, ..KafkaOptions::default() })?;
    let engines = Engines { postgres: Some(postgres.url()), redis: Some(redis.url()), kafka: Some(kafka.bootstrap()) };

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut reports = Vec::new();
    for (users, stock) in sizes {
        let options = options(users, stock, runs, &engines, &firstcome);
        let report = runtime.block_on(lab::run(&options))?;
        eprintln!("{}", report.to_text());
        reports.push(report);
        // What is there so far, should a later one fail.
        lab::stampede::write_results(&out, &reports)?;
    }
    eprintln!("written: {}", out.join("coupon-strategies.md").display());
    Ok(())
}

fn options(users: u32, stock: u32, runs: u32, engines: &Engines, firstcome: &Path) -> Options {
    Options {
        users,
        stock,
        connections: 512,
        runs,
        with_faults: true,
        strategies: Vec::new(),
        engines: engines.clone(),
        // The same program for all of them, as it is delivered.
        programs: Programs { strategy: vec![firstcome.into(), "lab".into(), "serve".into()], firstcome: firstcome.to_owned() },
        progress: true,
    }
}

/// Beside this program's folder.
fn firstcome() -> Result<PathBuf, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let found = program.ancestors().nth(2).map(|folder| folder.join("firstcome")).filter(|file| file.is_file());
    found.ok_or_else(|| "firstcome is not built: cargo build --release".into())
}
