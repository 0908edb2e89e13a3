//! How fast claims go in, and come out again; run by hand:
//! `cargo test --release -p projection --test speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use crate::support;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use domain::coupon::CLAIMS;
use projection::HistoryReader;
use support::{ALL, Place, Run, claim, name, put, settings};

const BATCH: usize = 10_000;

#[test]
#[ignore = "a measurement"]
fn one_million_claims() {
    let run = scattered(1_000_000);
    let records: Vec<_> = run.records().collect();
    let place = Place::new();
    let mut history = place.open();
    let start = Instant::now();
    for batch in records.chunks(BATCH) {
        history.apply(batch.iter().copied()).unwrap();
    }
    print_rate("rows in", records.len(), start.elapsed());
    let mut reader = HistoryReader::open(&place.path()).unwrap().with_time_max(Duration::from_secs(60));
    let start = Instant::now();
    let mut rows_count = 0;
    reader
        .for_each_entry(&CLAIMS, name("spring"), ALL, |_| {
            rows_count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    print_rate("rows out", rows_count, start.elapsed());
}

/// Subjects come in no order, as they do in the rush.
fn scattered(claims_count: u32) -> Run {
    let mut run = Run::new();
    run.ask(put("spring", settings(claims_count)), 1);
    for number in 0..claims_count {
        run.ask(claim("spring", &format!("user-{:08x}", number.wrapping_mul(2_654_435_761))), 2);
    }
    run
}

fn print_rate(what: &str, count: usize, elapsed: Duration) {
    println!("{what}: {count} in {:.2} s, {:.0}/s", elapsed.as_secs_f64(), count as f64 / elapsed.as_secs_f64());
}
