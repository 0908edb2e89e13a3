//! The answer to a commit is lost: it may have happened or not, and the position says which.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use domain::coupon::Settings;
use projection::postgres::{ProjectError, Projector};
use services::Postgres as Services;
use support::cluster::{Partition, begin, check_rows, tables};
use support::{claim, put, settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of the next commit.
const GOES_THROUGH: u8 = 0;
const IS_LOST: u8 = 1;
const IS_DONE_AND_NOT_ANSWERED: u8 = 2;

/// Stands between the program and the database, and breaks the connection around a commit.
async fn between(port: u16) -> (u16, Arc<AtomicU8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (own_port, mode) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU8::new(GOES_THROUGH)));
    let shared = Arc::clone(&mode);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let database = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(pass(client, database, Arc::clone(&shared)));
        }
    });
    (own_port, mode)
}

async fn pass(mut client: TcpStream, mut database: TcpStream, mode: Arc<AtomicU8>) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                let is_commit = asked[..length].windows(7).any(|word| word == b"COMMIT\0");
                let what = if is_commit { mode.swap(GOES_THROUGH, Ordering::SeqCst) } else { GOES_THROUGH };
                if what == IS_LOST {
                    return;
                }
                database.write_all(&asked[..length]).await.unwrap();
                if what == IS_DONE_AND_NOT_ANSWERED {
                    // It answers when it is done.
                    assert!(0 < database.read(&mut answered).await.unwrap());
                    return;
                }
            }
            read = database.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_an_unclear_commit_happened_is_told_by_the_position() {
    let server = Services::start().unwrap();
    let url = server.new_database("unclear").unwrap();
    let (port, mode) = between(server.port()).await;
    let postgres = tables(&url.replace(&format!(":{}/", server.port()), &format!(":{port}/")), 1).await;
    let mut partition = Partition::new(0);
    partition.plain(put("spring", Settings { closes_at: None, ..settings(1_000) }), 1);
    for user in 1..=30 {
        partition.plain(claim("spring", &format!("user-{user}")), user);
    }
    let partition = [partition];
    let mut projector: Projector = begin(&postgres).await;
    let mut at = 0;
    for (round, what) in [IS_LOST, IS_DONE_AND_NOT_ANSWERED, IS_DONE_AND_NOT_ANSWERED, IS_LOST].into_iter().enumerate() {
        mode.store(what, Ordering::SeqCst);
        let next = (round + 1) * 5;
        let error = partition[0].project(&mut projector, at..next).await.unwrap_err();
        assert!(matches!(error, ProjectError::Unclear { partition: 0, .. }) && error.is_retryable(), "{error}");
        assert!(projector.is_lost());
        projector = begin(&postgres).await;
        let position = postgres.position(0).await.unwrap();
        let expected = if what == IS_LOST { at } else { next };
        assert_eq!(position, partition[0].marks()[expected]);
        // Whoever does not ask writes nothing twice.
        if expected == next {
            let again = partition[0].project(&mut projector, at..next).await;
            assert!(matches!(again, Err(ProjectError::Moved { .. })));
        }
        at = expected;
    }
    partition[0].project(&mut projector, at..partition[0].marks().len() - 1).await.unwrap();
    assert_eq!(check_rows(&postgres, &partition).await, [partition[0].end().clone()]);
}
