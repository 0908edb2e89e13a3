//! How fast claims go into PostgreSQL, how fast a node starts from them, and how fast they come out
//! again; run by hand:
//! `cargo test --release -p projection --test postgres_speed -- --ignored --nocapture`.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use crate::support;

use services::Postgres as Services;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use domain::coupon::{CLAIMS, Settings};
use domain::hash::HashSeed;
use support::cluster::{Partition, begin, raw, sections, tables};
use support::{ALL, claim, name, put, settings};

const CLAIMS_COUNT: u32 = 1_000_000;
const BATCH: usize = 5_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn one_million_claims() {
    let partition = rush(None);
    measure(&partition, BATCH).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn one_million_claims_in_small_batches() {
    let partition = rush(None);
    measure(&partition, 500).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn one_million_claims_with_a_request_key_each() {
    let partition = rush(Some("key"));
    measure(&partition, BATCH).await;
}

/// Subjects come in no order.
fn rush(key: Option<&str>) -> Partition {
    let mut partition = Partition::new(0);
    partition.plain(put("spring", Settings { closes_at: None, ..settings(CLAIMS_COUNT) }), 1);
    for number in 0..CLAIMS_COUNT {
        let by = format!("user-{:08x}", number.wrapping_mul(2_654_435_761));
        let key = key.map(|key| format!("{key}-{number}"));
        partition.ask(claim("spring", &by), key.as_deref(), 2);
    }
    partition
}

async fn measure(partition: &Partition, batch: usize) {
    let server = Services::start().unwrap();
    let url = server.new_database("speed").unwrap();
    let postgres = tables(&url, 1).await;
    let mut projector = begin(&postgres).await;
    let start = Instant::now();
    let last = partition.marks().len() - 1;
    for from in (0..last).step_by(batch) {
        partition.project(&mut projector, from..(from + batch).min(last)).await.unwrap();
    }
    print_rate(&format!("rows in, {batch} at a time"), last, start.elapsed());
    let (start, copy) = (Instant::now(), sections(&partition.state));
    projector.store_copy(partition.end(), copy.into_iter()).await.unwrap();
    print_rate("copied", last, start.elapsed());
    let start = Instant::now();
    let loaded = postgres.load(HashSeed(1, 2)).await.unwrap();
    print_rate("loaded", usize::try_from(loaded[0].state.entries_count()).unwrap(), start.elapsed());
    let (start, mut rows_count) = (Instant::now(), 0);
    let count = |_| {
        rows_count += 1;
        ControlFlow::Continue(())
    };
    postgres.for_each_entry(&CLAIMS, name("spring"), ALL, count).await.unwrap();
    print_rate("exported", rows_count, start.elapsed());
    let start = Instant::now();
    for number in 0..1_000_u32 {
        let by = format!("user-{:08x}", number.wrapping_mul(2_654_435_761));
        assert_eq!(postgres.entries_found(&CLAIMS, &by, "", None, 10).await.unwrap().rows.len(), 1);
    }
    print_rate("subjects looked up, one after the other", 1_000, start.elapsed());
    for row in raw(&url).await.query("SELECT relname::text, pg_relation_size(oid) / 1048576 FROM pg_class WHERE relnamespace = 'firstcome'::regnamespace AND 1048576 < pg_relation_size(oid)", &[]).await.unwrap() {
        println!("{}: {} MiB", row.get::<_, &str>(0), row.get::<_, i64>(1));
    }
}

fn print_rate(what: &str, count: usize, elapsed: Duration) {
    println!("{what}: {count} in {:.2} s, {:.0}/s", elapsed.as_secs_f64(), count as f64 / elapsed.as_secs_f64());
}
