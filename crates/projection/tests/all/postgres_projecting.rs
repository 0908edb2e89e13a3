//! One projector at a time, all or nothing, and nothing that contradicts the rows.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use crate::support;

use services::Postgres as Services;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::coupon::{self, CLAIMS, Coupon, Settings};
use domain::rate_limit::policies::{self, Limit, Numbers};
use domain::request::KEEP_MS;
use domain::state::Done;
use domain::types::{ActorId, LimitKey, RequestId, Serial};
use domain::wire::Position;
use domain::{Action, Change, Kind, Listed, Number, Record};
use projection::postgres::{Decided, PartitionPosition, Postgres, ProjectError, Projector, Settings as PostgresSettings};
use support::cluster::{Partition, begin, check_rows, claims, dump, origin, raw, tables, test_settings};
use support::{at, cancel, claim, name, put, put_override, put_policy, redeem, remove_policy, serials, settings, subject};

static SERVER: LazyLock<Services> = LazyLock::new(|| Services::start().unwrap());
static DATABASES: AtomicU32 = AtomicU32::new(0);

fn database() -> String {
    SERVER.new_database(&format!("projecting_{}", DATABASES.fetch_add(1, Ordering::Relaxed))).unwrap()
}

/// A campaign of ten units and three claims, the last of them redeemed.
fn spring() -> Partition {
    let mut partition = Partition::new(0);
    partition.plain(put("spring", settings(10)), 1_000);
    for by in ["ann", "bob", "cat"] {
        partition.ask(claim("spring", by), Some(&format!("key-{by}")), 2_000);
    }
    partition.plain(redeem("spring", 3), 3_000);
    partition.plain(put_policy("api", 10), 3_000).plain(put_override("api", "ann", 7), 3_000);
    partition
}

/// [`spring`], projected.
async fn projected() -> (String, Postgres, Projector, Partition) {
    let (url, partition) = (database(), spring());
    let postgres = tables(&url, 2).await;
    let mut projector = begin(&postgres).await;
    partition.project_all(&mut projector).await;
    (url, postgres, projector, partition)
}

fn record(change: Change<'_>) -> Record<'_> {
    Record { at: at(5_000), actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, change }
}

fn did<W: Listed>(number: u32, event: W::Event<'_>) -> Change<'_> {
    Change::Did(Done { number: Number(number), event: W::any_event(event) })
}

fn claimed(serial: u32, by: &str) -> Change<'_> {
    did::<Coupon>(0, coupon::Event::Claimed { serial: Serial::new(serial).unwrap(), subject: subject(by) })
}

fn redeemed(serial: u32) -> Change<'static> {
    did::<Coupon>(0, coupon::Event::Redeemed { serial: Serial::new(serial).unwrap() })
}

fn cancelled(serial: u32) -> Change<'static> {
    did::<Coupon>(0, coupon::Event::Cancelled { serial: Serial::new(serial).unwrap() })
}

fn overridden(policy: u32, key: &str, quota: u32) -> Change<'_> {
    let numbers = Numbers { quota, window_ns: 60_000_000_000, burst: 1 };
    did::<Limit>(policy, policies::Event::OverrideWritten { key: LimitKey::new(key).unwrap(), numbers })
}

fn override_removed(policy: u32, key: &str) -> Change<'_> {
    did::<Limit>(policy, policies::Event::OverrideRemoved { key: LimitKey::new(key).unwrap() })
}

/// Where a partition is after these.
fn after(before: &PartitionPosition, changes: &[Change<'_>]) -> PartitionPosition {
    let count = changes.len() as u64;
    PartitionPosition {
        offset_next: before.offset_next + count,
        decisions: before.decisions + count,
        effective_at: before.effective_at.max(at(5_000)),
        digest: vec![9; 16],
        ..before.clone()
    }
}

async fn apply(projector: &mut Projector, before: &PartitionPosition, changes: &[Change<'_>]) -> Result<(), ProjectError> {
    let positions = (before.decisions + 1..).map(Position);
    let decided: Vec<Decided<'_>> =
        positions.zip(changes).map(|(position, change)| Decided { position, record: record(*change) }).collect();
    projector.apply(before, &after(before, changes), &decided).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_contradicts_the_rows_changes_nothing_and_says_what() {
    let (url, postgres, mut projector, partition) = projected().await;
    let db = raw(&url).await;
    let before = dump(&db).await;
    let settings = Settings { paused: true, ..settings(10) };
    let named = |text: &'static str, number: u32| Change::Created {
        number: Number(number),
        name: name(text),
        settings: Coupon::any_settings(settings),
    };
    let changed = Change::Changed { number: Number(7), settings: Coupon::any_settings(settings) };
    let foreign = did::<Coupon>(1, coupon::Event::Claimed { serial: Serial::new(1).unwrap(), subject: subject("dan") });
    let not_live = "a changed claim is not there, or its status is another one";
    for (events, what) in [
        (vec![claimed(4, "dan"), claimed(2, "eve")], "a new claim is there already"),
        (vec![claimed(4, "dan"), claimed(5, "dan")], "claims_one_each"),
        (vec![claimed(4, "dan"), claimed(5, "ann")], "claims_one_each"),
        (vec![claimed(4, "cat")], "claims_one_each"),
        (vec![foreign], "0 rows were written instead of 1"),
        (vec![claimed(4, "dan"), cancelled(3)], not_live),
        (vec![cancelled(1), cancelled(1)], not_live),
        (vec![cancelled(9)], not_live),
        (vec![redeemed(3)], not_live),
        (vec![cancelled(1), redeemed(1)], not_live),
        (vec![claimed(4, "dan"), changed], "there is no campaign 14 to change"),
        (vec![named("spring", 2)], "campaigns_name_key"),
        (vec![named("summer", 0)], "there is a campaign 0"),
        (vec![Change::Removed { number: Number(0) }], "there is no aggregate 0 to remove"),
        (vec![overridden(0, "dan", 1)], "the policy of a written override is not there"),
        (vec![overridden(1, "dan", 1), override_removed(1, "eve")], "a deleted override is not there"),
        (vec![override_removed(1, "ann"), override_removed(1, "ann")], "a deleted override is not there"),
        (vec![Change::Removed { number: Number(1) }, overridden(1, "dan", 1)], "the policy of a written override is not there"),
    ] {
        let error = apply(&mut projector, partition.end(), &events).await.unwrap_err();
        assert!(matches!(error, ProjectError::Conflict { partition: 0, .. }), "{error}");
        assert!(error.to_string().contains(what) && !error.is_retryable(), "{error}, expected {what}");
        assert_eq!(dump(&db).await, before, "{what}");
        assert!(!projector.is_lost());
    }
    // After all of that, what is right goes in.
    apply(&mut projector, partition.end(), &[claimed(4, "dan"), redeemed(4), cancelled(1), claimed(5, "ann")]).await.unwrap();
    assert_eq!(postgres.position(0).await.unwrap().decisions, partition.end().decisions + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_inside_a_batch_counts() {
    let url = database();
    let postgres = tables(&url, 2).await;
    let mut projector = begin(&postgres).await;
    let mut partition = Partition::new(1);
    let one_each = Settings { closes_at: None, ..settings(4) };
    partition.plain(put("spring", one_each), 1_000);
    partition.plain(claim("spring", "ann"), 1_001);
    for round in 0..3 {
        let now = 1_010 + round * 10;
        let serial = u32::try_from(round).unwrap() + 1;
        partition.plain(cancel("spring", serial), now);
        partition.ask(claim("spring", "ann"), Some(&format!("again-{round}")), now + 1);
    }
    // From one for each subject to two, in the middle of a row of claims.
    partition.plain(claim("spring", "bob"), 1_100);
    partition.plain(put("spring", Settings { per_subject_max: 2, ..one_each }), 1_101);
    partition.ask(claim("spring", "ann"), Some("second"), 1_102);
    partition.plain(redeem("spring", 6), 1_103);
    partition.ask(Action::ForgetRequests, None, 1_100 + KEEP_MS);
    partition.ask(claim("spring", "cat"), Some("late"), 1_101 + KEEP_MS);
    assert_eq!((partition.state.entries_count(), partition.state.requests.len()), (7, 2));
    // Overrides of one key follow each other, and a policy ends and comes again under its name.
    partition.plain(put_policy("api", 5), 1_102 + KEEP_MS);
    for (key, quota) in [("ann", 1), ("bob", 2), ("ann", 3), ("ann", 4), ("cat", 5)] {
        partition.plain(put_override("api", key, quota), 1_103 + KEEP_MS);
    }
    partition.plain(remove_policy("api"), 1_104 + KEEP_MS).plain(put_policy("api", 6), 1_105 + KEEP_MS);
    partition.plain(put_override("api", "ann", 9), 1_106 + KEEP_MS);
    partition.project_all(&mut projector).await;
    check_rows(&postgres, &[Partition::new(0), partition]).await;
    let rows = raw(&url).await.query("SELECT only_one FROM firstcome.claims ORDER BY serial", &[]).await.unwrap();
    let only_one: Vec<bool> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(only_one, [true, true, true, true, true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_was_decided_the_position_moves_all_the_same() {
    let (_, postgres, mut projector, mut partition) = projected().await;
    let from = partition.marks().len() - 1;
    partition.plain(claim("nowhere", "ann"), 9_000).plain(claim("spring", "ann"), 9_500);
    partition.project(&mut projector, from..from + 2).await.unwrap();
    assert_eq!(postgres.position(0).await.unwrap(), *partition.end());
    assert_eq!(partition.end().effective_at, at(9_500));
    check_rows(&postgres, &[partition, Partition::new(1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_projector_at_a_time_and_the_next_when_it_is_gone() {
    let url = database();
    let postgres = tables(&url, 1).await;
    let other = Postgres::connect(test_settings(&url)).await.unwrap();
    let first = begin(&postgres).await;
    for postgres in [&postgres, &other] {
        assert!(Projector::try_begin(postgres).await.unwrap().is_none());
    }
    drop(first);
    let second = begin(&other).await;
    assert!(Projector::try_begin(&postgres).await.unwrap().is_none());
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_that_is_late_changes_nothing() {
    let (url, postgres, mut projector, partition) = projected().await;
    let db = raw(&url).await;
    let before = dump(&db).await;
    // The whole batch again, as after a commit whose answer was lost.
    let last = partition.marks().len() - 1;
    for marks in [0..last, 0..1, last - 1..last] {
        let error = partition.project(&mut projector, marks).await.unwrap_err();
        assert!(matches!(error, ProjectError::Moved { partition: 0, .. }), "{error}");
        assert_eq!(dump(&db).await, before);
    }
    // Nothing was decided, so that only the position can tell.
    let mut ahead = partition.marks()[0].clone();
    ahead.offset_next += 1;
    let error = projector.apply(&partition.marks()[0], &ahead, &[]).await.unwrap_err();
    assert!(matches!(error, ProjectError::Moved { .. }), "{error}");
    assert_eq!(dump(&db).await, before);
    // The same decisions, but records of another kind have gone by since.
    let end = partition.end().clone();
    let (one, two) = (after(&end, &[]), after(&after(&end, &[]), &[]));
    let (one, two) =
        (PartitionPosition { offset_next: end.offset_next + 1, ..one }, PartitionPosition { offset_next: end.offset_next + 2, ..two });
    let two = PartitionPosition { digest: end.digest.clone(), ..two };
    projector.apply(&end, &two, &[]).await.unwrap();
    assert!(matches!(projector.apply(&end, &one, &[]).await, Err(ProjectError::Moved { .. })));
    let again = postgres.position(0).await.unwrap();
    assert_eq!(again, two);
    apply(&mut projector, &again, &[claimed(4, "dan")]).await.unwrap();
}

/// What a projector that was given up for dead does when it wakes: it finds another one in the
/// middle of its work, waits for it, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_writes_and_the_other_is_told() {
    let (url, postgres, mut projector, partition) = projected().await;
    let (db, end) = (raw(&url).await, partition.end().clone());
    let move_on = "UPDATE firstcome.positions SET offset_next = offset_next + 1, decisions = decisions + 1 WHERE partition = 0;
                   INSERT INTO firstcome.claims VALUES (0, 4, 'eve', now(), 'live', NULL, 'a', 'r', true);";
    db.batch_execute(&format!("BEGIN; {move_on}")).await.unwrap();
    let late = tokio::spawn(async move { apply(&mut projector, &end, &[claimed(4, "dan")]).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!late.is_finished());
    db.batch_execute("COMMIT").await.unwrap();
    let error = late.await.unwrap().unwrap_err();
    assert!(matches!(error, ProjectError::Moved { partition: 0, .. }), "{error}");
    let page = postgres.entries(&CLAIMS, name("spring"), support::ALL, 10).await.unwrap_err();
    assert!(page.to_string().contains("claimed_at"), "the clock of the database is finer than ours: {page}");
    let rows = db.query("SELECT subject FROM firstcome.claims WHERE serial = 4", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["eve"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_chain_of_decisions_at_the_same_place_is_a_conflict() {
    let (url, _, mut projector, partition) = projected().await;
    let db = raw(&url).await;
    let before = dump(&db).await;
    let other = PartitionPosition { digest: vec![1; 16], ..partition.end().clone() };
    let error = apply(&mut projector, &other, &[claimed(4, "dan")]).await.unwrap_err();
    assert!(matches!(error, ProjectError::Conflict { .. }) && error.to_string().contains("digests differ"), "{error}");
    assert_eq!(dump(&db).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_follow_is_refused_before_anything_is_written() {
    let (_, _, mut projector, partition) = projected().await;
    let end = partition.end();
    let one = |position: u64| Decided { position: Position(position), record: record(claimed(4, "dan")) };
    let next = after(end, &[claimed(4, "dan")]);
    for decided in [vec![one(end.decisions)], vec![one(end.decisions + 2)], vec![], vec![one(end.decisions + 1), one(end.decisions + 2)]] {
        let error = projector.apply(end, &next, &decided).await.unwrap_err();
        assert!(matches!(error, ProjectError::Gap { partition: 0, .. }), "{error}");
    }
    let back = PartitionPosition { effective_at: at(1), ..next.clone() };
    assert!(matches!(projector.apply(end, &back, &[one(end.decisions + 1)]).await, Err(ProjectError::Conflict { .. })));
    projector.apply(end, &next, &[one(end.decisions + 1)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_origin_nobody_projects_or_loads() {
    let postgres = Postgres::connect(test_settings(&database())).await.unwrap();
    assert!(matches!(Projector::try_begin(&postgres).await, Err(ProjectError::NoOrigin)));
    let error = postgres.load(domain::hash::HashSeed(1, 2)).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("not those of any cluster"), "{error}");
    assert!(postgres.scan().await.unwrap().is_none());
    assert_eq!(postgres.origin().await.unwrap(), None);
    postgres.claim_origin(&origin(2)).await.unwrap();
    assert_eq!(postgres.origin().await.unwrap(), Some(origin(2)));
}

/// Its connection stands still: the call ends by itself, and the lock is not held for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_more_is_given_up_in_time() {
    let url = database();
    let settings = PostgresSettings { statement_timeout: Duration::from_millis(1_500), ..test_settings(&url) };
    let postgres = Postgres::connect(settings).await.unwrap();
    postgres.claim_origin(&origin(2)).await.unwrap();
    let (mut projector, partition, db) = (begin(&postgres).await, spring(), raw(&url).await);
    let pid: i32 = db
        .query_one("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 2 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", &[])
        .await
        .unwrap()
        .get(0);
    signal("STOP", pid);
    let last = partition.marks().len() - 1;
    let error = partition.project(&mut projector, 0..last).await.unwrap_err();
    signal("CONT", pid);
    assert!(matches!(error, ProjectError::Unavailable(_)) && error.is_retryable(), "{error}");
    assert!(projector.is_lost());
    assert!(matches!(partition.project(&mut projector, 0..last).await, Err(ProjectError::Lost)));
    drop(projector);
    let mut projector = begin(&postgres).await;
    partition.project_all(&mut projector).await;
    check_rows(&postgres, &[partition, Partition::new(1)]).await;
}

fn signal(name: &str, pid: i32) {
    assert!(std::process::Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap().success());
}

/// A call that is dropped in the middle leaves a transaction that nobody will end.
#[tokio::test(flavor = "multi_thread")]
async fn a_projector_whose_call_was_dropped_writes_no_more() {
    let (url, _, mut projector, partition) = projected().await;
    let db = raw(&url).await;
    db.batch_execute("BEGIN; SELECT 1 FROM firstcome.positions FOR UPDATE").await.unwrap();
    let events = [claimed(4, "dan")];
    let call = apply(&mut projector, partition.end(), &events);
    assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
    assert!(projector.is_lost());
    let again = apply(&mut projector, partition.end(), &events).await;
    assert!(matches!(again, Err(ProjectError::Lost)));
    db.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_gives_every_column_of_every_row() {
    let (_, postgres, _projector, partition) = projected().await;
    let scan = postgres.scan().await.unwrap().unwrap();
    assert_eq!(scan.origin(), &origin(2));
    assert_eq!(scan.positions(), &[partition.end().clone(), PartitionPosition::first(1)]);
    assert_eq!((scan.aggregates(Kind::Campaign).await.unwrap().len(), scan.aggregates(Kind::Policy).await.unwrap().len()), (1, 1));
    let mut rows = scan.entries(&CLAIMS, 0).await.unwrap();
    let mut serials = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        let serial = support::claim_in(&row.cells()).serial.get();
        assert_eq!((row.origin, row.only_one), (Some(("shop".to_owned(), format!("r-{}", serial + 1))), Some(true)));
        serials.push(serial);
    }
    assert_eq!(serials, [1, 2, 3]);
    assert_eq!(scan.entries(&CLAIMS, 1).await.unwrap().next().await.unwrap(), None);
    let row = scan.entries(&policies::OVERRIDES, 0).await.unwrap().next().await.unwrap().unwrap();
    assert_eq!((row.number, row.origin, row.only_one), (Number(2), None, None));
    scan.end().await.unwrap();
}

/// More rows than one statement takes, and rows of two tables in turns.
#[tokio::test(flavor = "multi_thread")]
async fn long_and_mixed_runs_are_written_whole() {
    let (url, mut partition) = (database(), Partition::new(0));
    let postgres = tables(&url, 1).await;
    partition.plain(put("spring", Settings { closes_at: None, ..settings(6_000) }), 1).plain(put_policy("api", 5), 1);
    for user in 0..5_500 {
        partition.plain(claim("spring", &format!("user-{user}")), 2);
    }
    for user in 0..20 {
        partition.plain(claim("spring", &format!("late-{user}")), 3);
        partition.plain(put_override("api", &format!("key-{}", user % 3), user + 1), 3);
    }
    partition.project_all(&mut begin(&postgres).await).await;
    let partition = [partition];
    check_rows(&postgres, &partition).await;
    assert_eq!(serials(&claims(&postgres, "spring").await), (1..=5_520).collect::<Vec<u32>>());
}
