//! The database is killed in the middle of projecting: what is in the tables is what the position
//! says, and going on from there gives what would have been without the crash.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use crate::support;

use services::Postgres as Services;
use std::time::Duration;

use domain::coupon::Settings;
use projection::postgres::{PartitionPosition, Postgres, ProjectError, Projector};
use support::cluster::{Partition, begin, check_loaded, check_rows, tables};
use support::{cancel, claim, put, settings};
use tokio::sync::Notify;

const ROUNDS: usize = 6;
const BATCH: usize = 30;

fn rush() -> Partition {
    let mut partition = Partition::new(0);
    partition.plain(put("spring", Settings { closes_at: None, ..settings(100_000) }), 1);
    for serial in 1..=40_000_u32 {
        let key = (serial % 4 == 0).then(|| format!("key-{serial}"));
        partition.ask(claim("spring", &format!("user-{serial}")), key.as_deref(), u64::from(serial));
        if serial % 11 == 0 {
            partition.plain(cancel("spring", serial), u64::from(serial));
        }
    }
    partition
}

/// Projects batch after batch from where the tables are, until the end or an error.
async fn project(projector: &mut Projector, partition: &Partition, from: &PartitionPosition) -> Result<(), ProjectError> {
    let mut from = usize::try_from(from.offset_next).unwrap();
    let last = partition.marks().len() - 1;
    while from < last {
        let to = (from + BATCH).min(last);
        partition.project(projector, from..to).await?;
        // Copies, too, are broken off in the middle.
        if to.is_multiple_of(10 * BATCH) {
            partition.store_copy(projector, to).await?;
        }
        from = to;
    }
    Ok(())
}

/// As after any failure: with a projector that is not lost, from where the tables are.
async fn resume(postgres: &Postgres, partition: &Partition, has_begun: &Notify) -> Result<(), ProjectError> {
    let mut projector = begin(postgres).await;
    let position = postgres.position(0).await.unwrap();
    has_begun.notify_one();
    project(&mut projector, partition, &position).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_the_tables_are_what_their_position_says() {
    let mut server = Services::start().unwrap();
    let url = server.new_database("crash").unwrap();
    let partition = [rush()];
    let postgres = tables(&url, 1).await;
    let mut reached = vec![0];
    for round in 0..ROUNDS {
        let (work, of, has_begun) = (postgres.clone(), partition.as_slice(), Notify::new());
        let projecting = async {
            let error = resume(&work, &of[0], &has_begun).await.unwrap_err();
            assert!(error.is_retryable(), "{error}");
        };
        let killing = async {
            has_begun.notified().await;
            tokio::time::sleep(Duration::from_millis(40 + 37 * round as u64)).await;
            tokio::task::block_in_place(|| server.kill().unwrap());
        };
        tokio::join!(projecting, killing);
        assert!(postgres.position(0).await.is_err());
        tokio::task::block_in_place(|| server.restart().unwrap());
        let positions = check_rows(&postgres, &partition).await;
        check_loaded(&postgres, &partition).await;
        reached.push(positions[0].offset_next);
    }
    assert!(reached.is_sorted() && ROUNDS / 2 < reached.windows(2).filter(|pair| pair[0] < pair[1]).count(), "{reached:?}");
    resume(&postgres, &partition[0], &Notify::new()).await.unwrap();
    assert_eq!(check_rows(&postgres, &partition).await, [partition[0].end().clone()]);
}
