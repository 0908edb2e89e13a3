//! The engine on a real folder: exactness with many tasks at once, restart, limits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::sync::Arc;

use domain::coupon::queue::Mode;
use domain::coupon::{self, Coupon, Rejection};
use domain::types::Quantity;
use domain::wire::Position;
use domain::{Action, Command, Kind, Listed, Novelty};
use engine::Engine;
use engine::clock::ManualClock;
use engine::feed::{FedRecords, Feed};
use engine::limits::Limits;
use engine::views::{Over, Refusal};
use support::{at, claim, kill, name, open, put, put_with, settings, submit};

fn rejection(refusal: &Refusal) -> Option<&Rejection> {
    match refusal {
        Refusal::Rejected(domain::Rejection::Of(rejection)) => Coupon::rejection(rejection),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_at_once_get_exactly_the_stock() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Arc::new(open(&settings(folder.path(), &ManualClock::at(at(1)))).0);
    submit(&engine, put("spring", 1_000)).await.unwrap();
    let tasks: Vec<_> = (0..10_000)
        .map(|user| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { submit(&engine, claim("spring", &format!("user-{user}"))).await })
        })
        .collect();
    let (mut serials, mut sold_out) = (Vec::new(), 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(done) => {
                let (_, view) = done.shown::<Coupon>().unwrap();
                serials.push(view.serial.get());
            }
            Err(refusal) => {
                assert_eq!(rejection(&refusal), Some(&Rejection::SoldOut));
                sold_out += 1;
            }
        }
    }
    serials.sort_unstable();
    assert_eq!(serials, (1..=1_000).collect::<Vec<u32>>());
    assert_eq!(sold_out, 9_000);
    let over = Over::One(Kind::Campaign, name("spring"));
    let remaining = engine.read(over, |state, _| state.get::<Coupon>(name("spring")).unwrap().items.remaining).await.unwrap();
    assert_eq!(remaining.get(), 0);
}

#[tokio::test]
async fn a_restart_from_a_snapshot_and_one_from_the_journal_alone_give_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), &ManualClock::at(at(1)));
    let (engine, _) = open(&settings);
    submit(&engine, put("spring", 5_000)).await.unwrap();
    for user in 0..2_000 {
        submit(&engine, claim("spring", &format!("user-{user}"))).await.unwrap();
    }
    engine.close();
    let (engine, restarted) = open(&settings);
    assert_eq!((restarted.snapshot_lsn.map(|lsn| lsn.0), restarted.replayed_count), (Some(2_001), 0));
    for user in 2_000..2_100 {
        submit(&engine, claim("spring", &format!("user-{user}"))).await.unwrap();
    }
    let digest = engine.state_digest();
    // As after a kill: no snapshot at the end.
    kill(engine, folder.path());

    let (with_snapshot, restarted) = open(&settings);
    assert_eq!((restarted.snapshot_lsn.map(|lsn| lsn.0), restarted.replayed_count), (Some(2_001), 100));
    assert_eq!(with_snapshot.state_digest(), digest);
    kill(with_snapshot, folder.path());

    std::fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    let (from_empty, restarted) = open(&settings);
    assert_eq!((restarted.snapshot_lsn, restarted.replayed_count), (None, 2_101));
    assert_eq!(from_empty.state_digest(), digest);
}

#[tokio::test]
async fn a_damaged_snapshot_is_passed_over_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), &ManualClock::at(at(1)));
    let (engine, _) = open(&settings);
    submit(&engine, put("spring", 5)).await.unwrap();
    let digest = engine.state_digest();
    engine.close();
    let snapshot = std::fs::read_dir(folder.path().join("snapshots")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&snapshot, bytes).unwrap();
    let (engine, restarted) = open(&settings);
    assert_eq!((restarted.snapshot_lsn, restarted.snapshots_refused.len()), (None, 1));
    assert_eq!(engine.state_digest(), digest);
}

#[tokio::test]
async fn a_repeat_and_a_refusal_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(&settings(folder.path(), &ManualClock::at(at(1))));
    submit(&engine, put("spring", 1)).await.unwrap();
    submit(&engine, claim("spring", "ann")).await.unwrap();
    let before = engine.durable_lsn();
    assert_eq!(submit(&engine, claim("spring", "ann")).await.unwrap().novelty, Novelty::Repeated);
    assert_eq!(rejection(&submit(&engine, claim("spring", "bob")).await.unwrap_err()), Some(&Rejection::SoldOut));
    assert_eq!(engine.durable_lsn(), before);
}

#[tokio::test]
async fn memory_has_a_limit_and_reaching_it_is_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), &ManualClock::at(at(1)));
    settings.limits = Limits { entries_max: 2, aggregates_max: 1, ..Limits::STANDARD };
    let (engine, _) = open(&settings);
    submit(&engine, put("spring", 10)).await.unwrap();
    assert_eq!(submit(&engine, put("autumn", 10)).await, Err(Refusal::MemoryLimit("campaigns")));
    submit(&engine, claim("spring", "ann")).await.unwrap();
    submit(&engine, claim("spring", "bob")).await.unwrap();
    assert_eq!(submit(&engine, claim("spring", "cat")).await, Err(Refusal::MemoryLimit("claims")));
    assert!(submit(&engine, claim("spring", "ann")).await.is_ok());
}

#[tokio::test]
async fn a_closed_engine_takes_nothing_more_and_still_answers_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(&settings(folder.path(), &ManualClock::at(at(1))));
    submit(&engine, put("spring", 10)).await.unwrap();
    submit(&engine, claim("spring", "ann")).await.unwrap();
    engine.close();
    assert_eq!(submit(&engine, claim("spring", "bob")).await, Err(Refusal::Stopping));
    assert!(submit(&engine, claim("spring", "ann")).await.is_ok());
}

#[tokio::test]
async fn time_in_the_record_never_runs_backwards() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(at(100));
    let (engine, _) = open(&settings(folder.path(), &clock));
    submit(&engine, put("spring", 10)).await.unwrap();
    clock.set(at(50));
    let done = submit(&engine, claim("spring", "ann")).await.unwrap();
    let (_, view) = done.shown::<Coupon>().unwrap();
    assert_eq!(view.claimed_at, at(100));
    assert_eq!(engine.status().ahead_of_clock_ms, 50_000);
}

/// A queue that stands still because the clock was two days ahead goes on when the time is set back, and a
/// restart from the journal gives the same state.
#[tokio::test]
async fn a_record_sets_the_time_back() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(at(100));
    let settings = settings(folder.path(), &clock);
    let (engine, _) = open(&settings);
    let paced = coupon::Settings {
        mode: Mode::Queued,
        decisions_per_second_max: Some(1),
        closes_at: Some(at(200_000)),
        ..coupon::Settings::plain(Quantity::new(10).unwrap())
    };
    submit(&engine, put_with("spring", paced)).await.unwrap();
    clock.set(at(172_800));
    for who in ["ann", "bob"] {
        submit(&engine, claim("spring", who)).await.unwrap();
    }
    clock.set(at(101));
    let pending = async |engine: &Engine| {
        let over = Over::One(Kind::Campaign, name("spring"));
        engine.read(over, |state, _| state.get::<Coupon>(name("spring")).unwrap().pending_count()).await.unwrap()
    };
    engine.do_due();
    assert_eq!(pending(&engine).await, 1);
    submit(&engine, Command::local(Action::SetTime { to: at(101) })).await.unwrap();
    assert_eq!(engine.status().ahead_of_clock_ms, 0);
    engine.do_due();
    assert_eq!(pending(&engine).await, 0);
    // It never moves the time on.
    submit(&engine, Command::local(Action::SetTime { to: at(500_000) })).await.unwrap();
    let done = submit(&engine, claim("spring", "cat")).await.unwrap();
    assert_eq!(done.shown::<Coupon>().unwrap().1.claimed_at, at(101));
    let before = engine.state_digest();
    engine.close();
    std::fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    assert_eq!(open(&settings).0.state_digest(), before);
}

#[tokio::test]
async fn the_feed_gives_every_durable_record_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(&settings(folder.path(), &ManualClock::at(at(1))));
    submit(&engine, put("spring", 100)).await.unwrap();
    let mut feed = engine.feed(Position(0)).unwrap().unwrap();
    let mut positions = Vec::new();
    for user in 0..50 {
        submit(&engine, claim("spring", &format!("user-{user}"))).await.unwrap();
        read_all(&engine, &mut feed, &mut positions);
    }
    assert_eq!(positions, (1..=51).collect::<Vec<u64>>());
    let mut from_middle = engine.feed(Position(30)).unwrap().unwrap();
    positions.clear();
    read_all(&engine, &mut from_middle, &mut positions);
    assert_eq!(positions, (31..=51).collect::<Vec<u64>>());
}

fn read_all(engine: &Engine, feed: &mut Feed<journal::storage::FileStorage>, positions: &mut Vec<u64>) {
    let mut records = FedRecords::default();
    loop {
        feed.fill(&mut records, engine.durable_lsn(), 10).unwrap();
        if records.is_empty() {
            return;
        }
        positions.extend(records.iter().map(|(position, _)| position.0));
    }
}
