//! The tables in PostgreSQL say what the rules' own state says, and give the lists that one
//! machine's history gives.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use crate::support;

use services::Postgres as Services;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};

use domain::coupon::queue::Mode;
use domain::coupon::{CLAIMS, Settings};
use domain::rate_limit::policies::OVERRIDES;
use domain::request::KEEP_MS;
use domain::rows::Table;
use domain::{Action, Kind, Number};
use projection::postgres::{Postgres, aggregate_id};
use projection::{AggregateRow, EntryRow, HistoryReader, OwnedCell, Selection};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use support::cluster::{Partition, begin, check_loaded, check_rows, tables};
use support::{
    ALL, Place, both, cancel, claim, name, put, put_override, put_policy, redeem, remove_override, remove_policy, settings, with_status,
};

const CAMPAIGNS: [&str; 4] = ["spring", "summer", "autumn", "spring_2"];
const SUBJECTS: [&str; 6] = ["ann", "bob", "cat", "dan", "eve", "fay"];
const PARTITIONS: u32 = 2;

#[derive(Clone, Debug)]
enum Step {
    Put {
        campaign: &'static str,
        stock: u32,
        per_subject_max: u32,
        is_paused: bool,
        pace: Option<u32>,
    },
    Claim {
        campaign: &'static str,
        subject: &'static str,
    },
    Redeem {
        campaign: &'static str,
        serial: u32,
    },
    Cancel {
        campaign: &'static str,
        serial: u32,
    },
    /// Decides the claim that has been pending longest.
    Decide {
        campaign: &'static str,
    },
    /// Forgets what is due.
    Forget,
    PutPolicy {
        campaign: &'static str,
        quota: u64,
    },
    PutOverride {
        campaign: &'static str,
        key: &'static str,
        quota: u32,
    },
    RemoveOverride {
        campaign: &'static str,
        key: &'static str,
    },
    RemovePolicy {
        campaign: &'static str,
    },
    /// A claim and an override at once.
    Both {
        campaign: &'static str,
        subject: &'static str,
        quota: u32,
    },
}

fn step() -> impl Strategy<Value = (Step, Option<String>, u64)> {
    let campaign = || select(&CAMPAIGNS);
    let step = prop_oneof![
        2 => (campaign(), 1..9_u32, prop_oneof![3 => Just(1), 1 => 2..4_u32], prop_oneof![5 => Just(false), 1 => Just(true)], pace())
            .prop_map(|(campaign, stock, per_subject_max, is_paused, pace)| Step::Put { campaign, stock, per_subject_max, is_paused, pace }),
        8 => (campaign(), select(&SUBJECTS)).prop_map(|(campaign, subject)| Step::Claim { campaign, subject }),
        2 => (campaign(), 1..12_u32).prop_map(|(campaign, serial)| Step::Redeem { campaign, serial }),
        4 => (campaign(), 1..12_u32).prop_map(|(campaign, serial)| Step::Cancel { campaign, serial }),
        4 => campaign().prop_map(|campaign| Step::Decide { campaign }),
        1 => Just(Step::Forget),
        2 => (campaign(), 1..9_u64).prop_map(|(campaign, quota)| Step::PutPolicy { campaign, quota }),
        4 => (campaign(), select(&SUBJECTS), 1..9_u32).prop_map(|(campaign, key, quota)| Step::PutOverride { campaign, key, quota }),
        2 => (campaign(), select(&SUBJECTS)).prop_map(|(campaign, key)| Step::RemoveOverride { campaign, key }),
        1 => campaign().prop_map(|campaign| Step::RemovePolicy { campaign }),
        2 => (campaign(), select(&SUBJECTS), 1..9_u32).prop_map(|(campaign, subject, quota)| Step::Both { campaign, subject, quota }),
    ];
    let key = proptest::option::weighted(0.4, (0..40_u32).prop_map(|key| format!("k{key}")));
    // Now and then half of the time that a request key is kept.
    (step, key, prop_oneof![20 => 0..50_u64, 1 => Just(KEEP_MS / 2)])
}

/// Slow, and at times so fast that nobody waits for long.
fn pace() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![2 => Just(None), 2 => (1..4_u32).prop_map(Some), 2 => (50..100_u32).prop_map(Some)]
}

fn ask(partition: &mut Partition, step: &Step, key: Option<&str>, now: u64) {
    let action = match step {
        Step::Put { campaign, stock, per_subject_max, is_paused, pace } => {
            let mode = if pace.is_some() { Mode::Queued } else { Mode::Direct };
            let queue = Settings { mode, decisions_per_second_max: *pace, ..settings(*stock) };
            put(campaign, Settings { paused: *is_paused, per_subject_max: *per_subject_max, closes_at: None, ..queue })
        }
        Step::Claim { campaign, subject } => claim(campaign, subject),
        Step::Redeem { campaign, serial } => redeem(campaign, *serial),
        Step::Cancel { campaign, serial } => cancel(campaign, *serial),
        Step::Decide { campaign } => {
            partition.decide_next(campaign, now);
            return;
        }
        Step::Forget => Action::ForgetRequests,
        Step::PutPolicy { campaign, quota } => put_policy(campaign, *quota),
        Step::PutOverride { campaign, key, quota } => put_override(campaign, key, *quota),
        Step::RemoveOverride { campaign, key } => remove_override(campaign, key),
        Step::RemovePolicy { campaign } => remove_policy(campaign),
        Step::Both { campaign, subject, quota } => both(claim(campaign, subject), put_override(campaign, subject, *quota)),
    };
    partition.ask(action, key.filter(|_| !matches!(step, Step::Forget)), now);
}

/// Each campaign is always asked for in the same partition.
fn partition_of(step: &Step) -> usize {
    match step {
        Step::Put { campaign, .. }
        | Step::Claim { campaign, .. }
        | Step::Redeem { campaign, .. }
        | Step::Cancel { campaign, .. }
        | Step::Decide { campaign }
        | Step::PutPolicy { campaign, .. }
        | Step::PutOverride { campaign, .. }
        | Step::RemoveOverride { campaign, .. }
        | Step::RemovePolicy { campaign }
        | Step::Both { campaign, .. } => CAMPAIGNS.iter().position(|name| name == campaign).unwrap() % 2,
        Step::Forget => 0,
    }
}

fn history(steps: &[(Step, Option<String>, u64)]) -> Vec<Partition> {
    let mut partitions: Vec<Partition> = (0..PARTITIONS).map(Partition::new).collect();
    let mut now = 1_760_000_000_000;
    for (step, key, later) in steps {
        now += later;
        ask(&mut partitions[partition_of(step)], step, key.as_deref(), now);
    }
    partitions
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_history_is_the_same_in_both_databases_and_loads_to_the_live_state() {
    let server = Services::start().unwrap();
    let cases = AtomicU32::new(0);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    for _ in 0..25 {
        let strategy = (proptest::collection::vec(step(), 1..160), 1..40_usize);
        let (steps, batch) = strategy.new_tree(&mut runner).unwrap().current();
        let url = server.new_database(&format!("case_{}", cases.fetch_add(1, Ordering::Relaxed))).unwrap();
        let partitions = history(&steps);
        let postgres = tables(&url, PARTITIONS).await;
        let mut projector = begin(&postgres).await;
        for partition in &partitions {
            let (mut from, half) = (0, partition.marks().len() / 2);
            while from + 1 < partition.marks().len() {
                let to = (from + batch).min(partition.marks().len() - 1);
                partition.project(&mut projector, from..to).await.unwrap_or_else(|error| panic!("{error}: {steps:?}"));
                if from < half && half <= to {
                    partition.store_copy(&mut projector, half).await.unwrap();
                }
                from = to;
            }
        }
        let ends: Vec<_> = partitions.iter().map(|partition| partition.end().clone()).collect();
        assert_eq!(check_rows(&postgres, &partitions).await, ends);
        for (loaded, partition) in check_loaded(&postgres, &partitions).await.iter().zip(&partitions) {
            assert_eq!((&loaded.position, &loaded.tables), (&partition.marks()[partition.marks().len() / 2], partition.end()));
        }
        assert_eq!(postgres.positions().await.unwrap(), ends);
        check_lists(&postgres, &partitions).await;
    }
}

/// With SQLite's number made the id that it has over all partitions.
fn over_all(row: AggregateRow, partition: u32) -> AggregateRow {
    AggregateRow { number: aggregate_id(row.number, partition, PARTITIONS).unwrap(), ..row }
}

fn entry_over_all(row: EntryRow, partition: u32) -> EntryRow {
    let aggregate = AggregateRow::clone(&row.aggregate);
    EntryRow { aggregate: over_all(aggregate, partition).into(), ..row }
}

fn place_of(row: &EntryRow) -> (Number, OwnedCell) {
    (row.aggregate.number, row.cells[0].clone())
}

async fn check_lists(postgres: &Postgres, partitions: &[Partition]) {
    let ends = || partitions.iter().map(Partition::end);
    let mut of_subjects: Vec<Vec<EntryRow>> = vec![Vec::new(); SUBJECTS.len()];
    for kind in Kind::ALL {
        let mut aggregates: Vec<AggregateRow> = Vec::new();
        for (partition, number) in partitions.iter().zip(0..) {
            let place = Place::new();
            place.open().apply(partition.records()).unwrap();
            let mut reader = HistoryReader::open(&place.path()).unwrap();
            let (rows, _) = reader.aggregates(*kind).unwrap();
            for row in &rows {
                let Some(table) = kind.tables().first().copied() else { continue };
                check_entries(postgres, &mut reader, (table, &row.name, number), partition).await;
            }
            aggregates.extend(rows.into_iter().map(|row| over_all(row, number)));
            if *kind == Kind::Campaign {
                for (of_subject, by) in of_subjects.iter_mut().zip(SUBJECTS) {
                    let rows = reader.entries_found(&CLAIMS, by, "spring", None, 1_000).unwrap().rows;
                    of_subject.extend(rows.into_iter().map(|row| entry_over_all(row, number)));
                }
            }
        }
        aggregates.sort_by_key(|row| row.number);
        let (rows, as_of) = postgres.aggregates(*kind).await.unwrap();
        assert_eq!(rows, aggregates);
        assert_eq!(as_of.position.0, ends().map(|end| end.decisions).sum::<u64>());
        assert_eq!(Some(as_of.time), ends().map(|end| end.effective_at).max());
    }
    for (mut expected, by) in of_subjects.into_iter().zip(SUBJECTS) {
        expected.sort_by_key(place_of);
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = postgres.entries_found(&CLAIMS, by, "spring", after.as_ref(), 3).await.unwrap();
            assert_eq!(page.as_of.position.0, ends().map(|end| end.decisions).sum::<u64>());
            rows.extend(page.rows);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(rows, expected);
    }
}

async fn check_entries(
    postgres: &Postgres,
    reader: &mut HistoryReader,
    (table, of, number): (&'static Table, &str, u32),
    partition: &Partition,
) {
    let filters = if table.name == OVERRIDES.name {
        vec![ALL]
    } else {
        ["live", "redeemed", "cancelled"].map(with_status).into_iter().chain([ALL]).collect()
    };
    for filter in filters {
        let mut after: Option<Vec<OwnedCell>> = None;
        loop {
            let selection = Selection { after: after.as_deref(), ..filter };
            let expected = reader.entries(table, name(of), selection, 4).unwrap();
            let page = postgres.entries(table, name(of), selection, 4).await.unwrap();
            let rows: Vec<_> = expected.rows.into_iter().map(|row| entry_over_all(row, number)).collect();
            let key = |next: Option<projection::EntryKey>| next.map(|next| next.key);
            after = key(page.next);
            assert_eq!((&page.rows, &after), (&rows, &key(expected.next)));
            assert_eq!((page.as_of.position.0, page.as_of.time), (partition.end().decisions, partition.end().effective_at));
            if after.is_none() {
                break;
            }
        }
    }
    let mut exported = Vec::new();
    let take = |row| {
        exported.push(row);
        ControlFlow::Continue(())
    };
    let as_of = postgres.for_each_entry(table, name(of), ALL, take).await.unwrap();
    let all = postgres.entries(table, name(of), ALL, 10_000).await.unwrap();
    assert_eq!((exported, as_of), (all.rows, all.as_of));
}
