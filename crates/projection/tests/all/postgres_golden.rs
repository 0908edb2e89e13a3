//! The tables in PostgreSQL say what the rules' own state says, and give the lists that one
//! machine's history gives.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use crate::support;

use services::Postgres as Services;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};

use domain::coupon::queue::{Mode, QueueSettings};
use domain::coupon::{self, CampaignNumber, Settings};
use domain::request::KEEP_MS;
use domain::state::CommandKind;
use domain::types::{CampaignName, Serial};
use projection::postgres::{Postgres, campaign_id};
use projection::{CampaignRow, ClaimFilter, ClaimRow, HistoryReader};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use support::cluster::{Partition, begin, check_loaded, tables};
use support::{Place, claim, name, put, settings, subject, target};

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
    let command = match step {
        Step::Put { campaign, stock, per_subject_max, is_paused, pace } => {
            let mode = if pace.is_some() { Mode::Queued } else { Mode::Direct };
            let queue = QueueSettings { mode, decisions_per_second_max: *pace, ..QueueSettings::DIRECT };
            let settings = Settings { paused: *is_paused, per_subject_max: *per_subject_max, closes_at: None, queue, ..settings(*stock) };
            put(campaign, settings)
        }
        Step::Claim { campaign, subject } => claim(campaign, subject),
        Step::Redeem { campaign, serial } => coupon::Command::Redeem(target(campaign, *serial)),
        Step::Cancel { campaign, serial } => coupon::Command::Cancel(target(campaign, *serial)),
        Step::Decide { campaign } => {
            partition.decide_next(campaign, now);
            return;
        }
        Step::Forget => {
            partition.ask(CommandKind::ForgetRequests, None, now);
            return;
        }
    };
    partition.ask(CommandKind::Coupon(command), key, now);
}

/// Each campaign is always asked for in the same partition.
fn partition_of(step: &Step) -> usize {
    match step {
        Step::Put { campaign, .. }
        | Step::Claim { campaign, .. }
        | Step::Redeem { campaign, .. }
        | Step::Cancel { campaign, .. }
        | Step::Decide { campaign } => CAMPAIGNS.iter().position(|name| name == campaign).unwrap() % 2,
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
            let mut from = 0;
            while from + 1 < partition.marks().len() {
                let to = (from + batch).min(partition.marks().len() - 1);
                partition.project(&mut projector, from..to).await.unwrap_or_else(|error| panic!("{error}: {steps:?}"));
                from = to;
            }
        }
        let ends: Vec<_> = partitions.iter().map(|partition| partition.end().clone()).collect();
        assert_eq!(check_loaded(&postgres, &partitions).await, ends);
        assert_eq!(postgres.positions().await.unwrap(), ends);
        check_lists(&postgres, &partitions).await;
    }
}

/// With SQLite's number made the id that it has over all partitions.
fn over_all(number: CampaignNumber, partition: u32) -> CampaignNumber {
    campaign_id(number, partition, PARTITIONS).unwrap()
}

async fn check_lists(postgres: &Postgres, partitions: &[Partition]) {
    let mut campaigns: Vec<CampaignRow> = Vec::new();
    let mut of_subjects: Vec<Vec<ClaimRow>> = vec![Vec::new(); SUBJECTS.len()];
    for (partition, number) in partitions.iter().zip(0..) {
        let place = Place::new();
        place.open().apply(partition.records()).unwrap();
        let mut reader = HistoryReader::open(&place.path()).unwrap();
        let (rows, _) = reader.campaigns().unwrap();
        for row in &rows {
            check_campaign(postgres, &mut reader, (name(&row.name), number), partition).await;
        }
        campaigns.extend(rows.into_iter().map(|row| CampaignRow { number: over_all(row.number, number), ..row }));
        for (of_subject, by) in of_subjects.iter_mut().zip(SUBJECTS) {
            let rows = reader.claims_of_subject(subject(by), "spring", None, 1_000).unwrap().rows;
            of_subject.extend(rows.into_iter().map(|row| ClaimRow { number: over_all(row.number, number), ..row }));
        }
    }
    campaigns.sort_by_key(|row| row.number);
    let (rows, as_of) = postgres.campaigns().await.unwrap();
    assert_eq!(rows, campaigns);
    let ends = || partitions.iter().map(Partition::end);
    assert_eq!(as_of.position.0, ends().map(|end| end.decisions).sum::<u64>());
    assert_eq!(Some(as_of.time), ends().map(|end| end.effective_at).max());
    for (mut expected, by) in of_subjects.into_iter().zip(SUBJECTS) {
        expected.sort_by_key(|row| (row.number, row.serial));
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = postgres.claims_of_subject(subject(by), "spring", after, 3).await.unwrap();
            assert_eq!(page.as_of, as_of);
            rows.extend(page.rows);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(rows, expected);
    }
}

async fn check_campaign(postgres: &Postgres, reader: &mut HistoryReader, campaign: (CampaignName<'_>, u32), partition: &Partition) {
    let (campaign, number) = campaign;
    for filter in [ClaimFilter::All, ClaimFilter::Live, ClaimFilter::Redeemed, ClaimFilter::Cancelled] {
        let mut after: Option<Serial> = None;
        loop {
            let expected = reader.claims_of_campaign(campaign, after, 4, filter).unwrap();
            let page = postgres.claims_of_campaign(campaign, after, 4, filter).await.unwrap();
            let rows: Vec<_> = expected.rows.into_iter().map(|row| ClaimRow { number: over_all(row.number, number), ..row }).collect();
            assert_eq!((&page.rows, page.next), (&rows, expected.next));
            assert_eq!((page.as_of.position.0, page.as_of.time), (partition.end().decisions, partition.end().effective_at));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    let mut exported = Vec::new();
    let as_of = postgres
        .for_each_claim(campaign, |row| {
            exported.push(row);
            ControlFlow::Continue(())
        })
        .await
        .unwrap();
    let all = postgres.claims_of_campaign(campaign, None, 10_000, ClaimFilter::All).await.unwrap();
    assert_eq!((exported, as_of), (all.rows, all.as_of));
}
