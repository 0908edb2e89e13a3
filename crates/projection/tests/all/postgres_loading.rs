//! A node that starts gets the state of one instant, whatever is written meanwhile.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use crate::support;

use domain::coupon::{self, Settings};
use domain::hash::HashSeed;
use domain::state::CommandKind;
use domain::types::Timestamp;
use projection::postgres::{LoadError, PartitionPosition, Postgres};
use services::Postgres as Services;
use support::cluster::{Partition, begin, check_loaded, raw, sections, tables};
use support::{claim, put, settings, target};

/// A campaign with claims, some of them redeemed or cancelled, some with request keys.
fn crowd(partition: u32, claims_count: u32) -> Partition {
    let mut crowd = Partition::new(partition);
    let campaign = format!("campaign-{partition}");
    crowd.coupon(put(&campaign, Settings { closes_at: None, ..settings(claims_count) }), 1);
    for serial in 1..=claims_count {
        let key = (serial % 5 == 0).then(|| format!("key-{serial}"));
        let by = format!("user-{}", serial.wrapping_mul(2_654_435_761));
        crowd.ask(CommandKind::Coupon(claim(&campaign, &by)), key.as_deref(), u64::from(serial));
        match serial % 7 {
            0 => crowd.coupon(coupon::Command::Redeem(target(&campaign, serial)), u64::from(serial)),
            3 => crowd.coupon(coupon::Command::Cancel(target(&campaign, serial / 2)), u64::from(serial)),
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
    let partitions = [crowd(0, 4_000), crowd(1, 4_000)];
    let batch = 20;
    let marks_count = partitions[0].marks().len().min(partitions[1].marks().len());
    let project = async {
        let mut projector = begin(&postgres).await;
        for from in (0..marks_count - batch).step_by(batch) {
            for partition in &partitions {
                partition.project(&mut projector, from..from + batch).await.unwrap();
            }
        }
    };
    let load = async {
        let mut seen = Vec::new();
        loop {
            let positions = check_loaded(&postgres, &partitions).await;
            let ahead = positions[0].offset_next - positions[1].offset_next;
            assert!(ahead == 0 || ahead == batch as u64, "{positions:?}");
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
        assert_eq!((loaded.state.time, loaded.state.campaigns().len()), (Timestamp::ZERO, 0));
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
    partition.coupon(put("spring", window), 0);
    for (by, now) in [("ann", 1), ("bob", 1_760_000_000_123), ("cat", last - 1)] {
        partition.coupon(claim("spring", by), now);
    }
    partition.coupon(coupon::Command::Cancel(target("spring", 3)), last);
    partition.project_all(&mut begin(&postgres).await).await;
    check_loaded(&postgres, &[partition]).await;
    let loaded = postgres.load(HashSeed(1, 2)).await.unwrap();
    assert_eq!((loaded[0].state.time.millis(), loaded[0].state.campaigns()[0].settings), (last, window));
}

async fn load_error(postgres: &Postgres) -> LoadError {
    postgres.load(HashSeed(1, 2)).await.map(|_| ()).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_somebody_has_changed_are_refused_and_named() {
    let server = Services::start().unwrap();
    let template = server.new_database("tampered").unwrap();
    let (postgres, partition) = (tables(&template, 2).await, crowd(0, 40));
    partition.project_all(&mut begin(&postgres).await).await;
    let live = sections(&postgres.load(HashSeed(1, 2)).await.unwrap()[0].state);
    assert!(live == sections(&partition.state));
    let db = raw(&template).await;
    for (change, undo, what) in [
        (
            "UPDATE firstcome.claims SET serial = 41 WHERE serial = 40",
            "UPDATE firstcome.claims SET serial = 40 WHERE serial = 41",
            "claim 40 of campaign 0 must come next, but 41 came",
        ),
        (
            "UPDATE firstcome.claims SET subject = 'a b' WHERE serial = 2",
            "UPDATE firstcome.claims SET subject = 'user-1013904226' WHERE serial = 2",
            "a subject's name",
        ),
        ("UPDATE firstcome.campaigns SET stock = 3", "UPDATE firstcome.campaigns SET stock = 40", "more units are held than there are"),
        (
            "UPDATE firstcome.campaigns SET created_at = '1969-01-01'",
            "UPDATE firstcome.campaigns SET created_at = to_timestamp(0.001)",
            "created_at",
        ),
        ("UPDATE firstcome.campaigns SET id = 2", "", "still referenced"),
        (
            "UPDATE firstcome.positions SET effective_at = to_timestamp(0.039) WHERE partition = 0",
            "UPDATE firstcome.positions SET effective_at = to_timestamp(0.04) WHERE partition = 0",
            "the later time 40 ms",
        ),
        (
            "UPDATE firstcome.requests SET body = body || '\\x00'",
            "UPDATE firstcome.requests SET body = substr(body, 1, octet_length(body) - 1)",
            "a remembered request",
        ),
        ("UPDATE firstcome.requests SET recorded_at = to_timestamp(1)", "", "a remembered request"),
    ] {
        if let Err(error) = db.batch_execute(change).await {
            assert!(format!("{error:?}").contains(what), "{error:?}");
            continue;
        }
        let error = load_error(&postgres).await;
        assert!(error.to_string().contains(what) && !error.is_retryable(), "{error}, expected {what}");
        if !undo.is_empty() {
            db.batch_execute(undo).await.unwrap();
            assert!(sections(&postgres.load(HashSeed(1, 2)).await.unwrap()[0].state) == live, "{undo}");
        }
    }
}
