//! A node that starts gets the state of one instant, whatever is written meanwhile.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use crate::support;

use domain::coupon::{Coupon, Settings};
use domain::hash::HashSeed;
use domain::types::Timestamp;
use projection::postgres::{LoadError, PartitionPosition, Postgres, ProjectError, not_yet_in};
use services::Postgres as Services;
use support::cluster::{Partition, begin, check_loaded, check_rows, dump, raw, tables};
use support::{cancel, claim, put, redeem, settings};

/// A campaign with claims, some of them redeemed or cancelled, some with request keys.
fn crowd(partition: u32, claims_count: u32) -> Partition {
    let mut crowd = Partition::new(partition);
    let campaign = format!("campaign-{partition}");
    crowd.plain(put(&campaign, Settings { closes_at: None, ..settings(claims_count) }), 1);
    for serial in 1..=claims_count {
        let key = (serial % 5 == 0).then(|| format!("key-{serial}"));
        let by = format!("user-{}", serial.wrapping_mul(2_654_435_761));
        crowd.ask(claim(&campaign, &by), key.as_deref(), u64::from(serial));
        match serial % 7 {
            0 => crowd.plain(redeem(&campaign, serial), u64::from(serial)),
            3 => crowd.plain(cancel(&campaign, serial / 2), u64::from(serial)),
            _ => &mut crowd,
        };
    }
    crowd
}

/// Two partitions are projected in turns, so that only a read of one instant sees them level, or
/// the first of them ahead by one batch.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_loaded_while_others_write_is_of_one_instant() {
    let server = Services::start().unwrap();
    let url = server.new_database("loading").unwrap();
    let postgres = tables(&url, 2).await;
    let partitions = [crowd(0, 2_000), crowd(1, 2_000)];
    let batch = 20;
    let marks_count = partitions[0].marks().len().min(partitions[1].marks().len());
    let project = async {
        let mut projector = begin(&postgres).await;
        for from in (0..marks_count - batch).step_by(batch) {
            for partition in &partitions {
                partition.project(&mut projector, from..from + batch).await.unwrap();
                partition.store_copy(&mut projector, from + batch).await.unwrap();
            }
        }
    };
    let load = async {
        let mut seen = Vec::new();
        loop {
            let positions = check_rows(&postgres, &partitions).await;
            let ahead = positions[0].offset_next - positions[1].offset_next;
            assert!(ahead == 0 || ahead == batch as u64, "{positions:?}");
            let loaded = check_loaded(&postgres, &partitions).await;
            let behind: Vec<u64> = loaded.iter().map(|loaded| loaded.tables.offset_next - loaded.position.offset_next).collect();
            assert!(
                behind.iter().all(|behind| [0, batch as u64].contains(behind)) && behind.iter().sum::<u64>() <= batch as u64,
                "{behind:?}"
            );
            seen.push(positions[1].offset_next);
            if marks_count < usize::try_from(positions[1].offset_next).unwrap() + 2 * batch {
                break seen;
            }
        }
    };
    let ((), seen) = tokio::join!(project, load);
    // It was written while it was read, or the test says nothing.
    assert!(4 < seen.iter().collect::<std::collections::BTreeSet<_>>().len(), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_projected_yet_is_a_state_in_which_nothing_happened() {
    let server = Services::start().unwrap();
    let url = server.new_database("empty").unwrap();
    let postgres = tables(&url, 3).await;
    // As in tables that a person has tidied.
    raw(&url).await.batch_execute("DELETE FROM firstcome.positions WHERE partition = 1").await.unwrap();
    let loaded = postgres.load(HashSeed(1, 2)).await.unwrap();
    assert_eq!(loaded.len(), 3);
    for (loaded, partition) in loaded.iter().zip(0..) {
        assert_eq!(loaded.position, PartitionPosition::first(partition));
        assert_eq!((loaded.state.time, loaded.state.aggregates().count()), (Timestamp::ZERO, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_exact_to_the_millisecond_up_to_the_last() {
    let server = Services::start().unwrap();
    let postgres = tables(&server.new_database("times").unwrap(), 1).await;
    let mut partition = Partition::new(0);
    let last = Timestamp::MAX.millis();
    let window = Settings {
        opens_at: Some(support::at(1)),
        closes_at: Some(support::at(last)),
        redeem_until: Some(support::at(946_684_799_999)),
        ..settings(5)
    };
    partition.plain(put("spring", window), 0);
    for (by, now) in [("ann", 1), ("bob", 1_760_000_000_123), ("cat", last - 1)] {
        partition.plain(claim("spring", by), now);
    }
    partition.plain(cancel("spring", 3), last);
    let (mut projector, end) = (begin(&postgres).await, partition.marks().len() - 1);
    partition.project_all(&mut projector).await;
    partition.store_copy(&mut projector, end).await.unwrap();
    let partition = [partition];
    check_rows(&postgres, &partition).await;
    check_loaded(&postgres, &partition).await;
    let loaded = postgres.load(HashSeed(1, 2)).await.unwrap();
    let spring = loaded[0].state.get::<Coupon>(support::name("spring")).unwrap();
    assert_eq!((loaded[0].state.time.millis(), spring.settings), (last, window));
}

/// A projector begins from the copy, meets decisions again whose rows are written, and goes on from
/// where the tables are, in the middle of what it reads.
#[tokio::test(flavor = "multi_thread")]
async fn from_an_older_copy_the_rest_is_written_once() {
    let server = Services::start().unwrap();
    let postgres = tables(&server.new_database("older_copy").unwrap(), 1).await;
    let partition = [crowd(0, 300)];
    let end = partition[0].marks().len() - 1;
    let mut projector = begin(&postgres).await;
    partition[0].project(&mut projector, 0..150).await.unwrap();
    partition[0].store_copy(&mut projector, 60).await.unwrap();
    let loaded = check_loaded(&postgres, &partition).await;
    assert_eq!((&loaded[0].position, &loaded[0].tables), (&partition[0].marks()[60], &partition[0].marks()[150]));
    let mut tables = loaded[0].tables.clone();
    let mut passed_over_count = 0;
    for from in (60..end).step_by(20) {
        let to = (from + 20).min(end);
        let (after, decided) = (&partition[0].marks()[to], partition[0].decided(from..to));
        let Some(rest) = not_yet_in(&tables, after, &decided).unwrap() else {
            passed_over_count += 1;
            continue;
        };
        projector.apply(&tables, after, rest).await.unwrap();
        tables = after.clone();
    }
    assert_eq!(passed_over_count, 4);
    assert_eq!(check_rows(&postgres, &partition).await, [partition[0].end().clone()]);
    let other = PartitionPosition { digest: vec![1; 16], ..partition[0].end().clone() };
    let error = not_yet_in(&other, partition[0].end(), &[]).unwrap_err();
    assert!(matches!(error, ProjectError::Conflict { .. }) && error.to_string().contains("digests differ"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_never_ahead_of_the_tables_nor_older_than_the_last_one() {
    let server = Services::start().unwrap();
    let url = server.new_database("copies").unwrap();
    let postgres = tables(&url, 2).await;
    let partition = crowd(0, 100);
    let mut projector = begin(&postgres).await;
    partition.project(&mut projector, 0..50).await.unwrap();
    partition.store_copy(&mut projector, 40).await.unwrap();
    let db = raw(&url).await;
    let before = dump(&db).await;
    for mark in [51, 39] {
        let error = partition.store_copy(&mut projector, mark).await.unwrap_err();
        assert!(matches!(error, ProjectError::Moved { partition: 0, .. }), "{error}");
    }
    let other = PartitionPosition { digest: vec![1; 16], ..partition.marks()[50].clone() };
    assert!(projector.store_copy(&other, std::iter::once(vec![1])).await.is_err());
    assert_eq!(dump(&db).await, before);
    partition.store_copy(&mut projector, 50).await.unwrap();
    assert_eq!(check_loaded(&postgres, &[partition, Partition::new(1)]).await[0].position.offset_next, 50);
}

async fn load_error(postgres: &Postgres) -> LoadError {
    postgres.load(HashSeed(1, 2)).await.map(|_| ()).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_somebody_has_changed_is_refused_and_named() {
    let server = Services::start().unwrap();
    let url = server.new_database("tampered").unwrap();
    let (postgres, partition) = (tables(&url, 2).await, [crowd(0, 6_000), Partition::new(1)]);
    let mut projector = begin(&postgres).await;
    partition[0].project_all(&mut projector).await;
    let end = partition[0].marks().len() - 1;
    let db = raw(&url).await;
    for (change, what) in [
        ("DELETE FROM firstcome.state_sections WHERE place = 1", "section 1 of the copy of partition 0 is not there"),
        ("DELETE FROM firstcome.state_sections WHERE place = (SELECT max(place) FROM firstcome.state_sections)", "sections instead of"),
        (
            "UPDATE firstcome.state_sections SET bytes = bytes || '\\x00' WHERE place = 0",
            "the copy of the state of partition 0 in --postgres cannot be read",
        ),
        ("UPDATE firstcome.state_sections SET bytes = '\\x09' WHERE place = 2", "is unknown or out of order"),
        ("UPDATE firstcome.state_copies SET effective_at = to_timestamp(1)", "another time than its position"),
        ("UPDATE firstcome.positions SET offset_next = offset_next - 1 WHERE partition = 0", "is ahead of the tables"),
    ] {
        db.batch_execute("DELETE FROM firstcome.state_copies").await.unwrap();
        partition[0].store_copy(&mut projector, end).await.unwrap();
        check_loaded(&postgres, &partition).await;
        db.batch_execute(change).await.unwrap();
        let error = load_error(&postgres).await;
        assert!(error.to_string().contains(what) && !error.is_retryable(), "{error}, expected {what}");
    }
}
