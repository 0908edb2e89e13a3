//! What is no database to work with is told so clearly, and never with the password in it.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use crate::support;

use services::Postgres as Services;
use std::net::TcpListener;
use std::time::Duration;

use projection::postgres::{ConnectError, Origin, OriginError, Postgres, Settings};
use support::cluster::{begin, origin, raw, tables, test_settings};
use support::{claim, name, put, settings, subject};

const PASSWORD: &str = "s3cr3t-pass";
/// That of the server's own user.
const RIGHT_PASSWORD: &str = "firstcome-password";

async fn refused(url: &str) -> ConnectError {
    refused_within(url, Duration::from_secs(10)).await
}

async fn refused_within(url: &str, connect_timeout: Duration) -> ConnectError {
    let settings = Settings { connect_timeout, ..Settings::new(url) };
    let error = Postgres::connect(settings).await.map(|_| ()).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("--postgres") || error.to_string().contains("--postgres"), "{shown}");
    assert!(!shown.contains(PASSWORD) && !shown.contains(RIGHT_PASSWORD), "{shown}");
    error
}

/// The same address for somebody else, with a password.
fn login(url: &str, user: &str) -> String {
    let (_, place) = url.split_once('@').unwrap();
    format!("postgres://{user}:{PASSWORD}@{place}")
}

fn host(url: &str) -> String {
    url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_why() {
    let server = Services::start().unwrap();
    let url = server.new_database("login").unwrap();
    raw(&url).await.batch_execute("CREATE ROLE shop LOGIN PASSWORD 'right'").await.unwrap();
    let error = refused(&login(&url, "shop")).await;
    assert!(matches!(&error, ConnectError::Login { user, .. } if user == "shop"), "{error}");
    assert!(error.to_string().contains(&host(&url)) && !error.is_retryable(), "{error}");
    let without = login(&url, "shop").replace(&format!(":{PASSWORD}"), "");
    assert!(matches!(refused(&without).await, ConnectError::Login { .. }));
    let right = login(&url, "shop").replace(PASSWORD, "right");
    // Let in, but not allowed to make tables.
    let error = refused(&right).await;
    assert!(matches!(&error, ConnectError::Store { what, .. } if what.contains("permission denied")), "{error}");

    // Once the tables are there, it may do without.
    tables(&url, 1).await;
    let grant = "GRANT USAGE ON SCHEMA firstcome TO shop; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA firstcome TO shop";
    raw(&url).await.batch_execute(grant).await.unwrap();
    let postgres = tables(&right, 1).await;
    let mut partition = support::cluster::Partition::new(0);
    partition.coupon(put("spring", settings(5)), 1).coupon(claim("spring", "ann"), 2);
    partition.project_all(&mut begin(&postgres).await).await;
    support::cluster::check_loaded(&postgres, &[partition]).await;

    let error = refused(&login(&url, "nobody")).await;
    assert!(matches!(error, ConnectError::Login { .. }), "{error}");
    let error = refused(&url.replace("/login", "/nowhere")).await;
    assert!(matches!(&error, ConnectError::NoDatabase { database, .. } if database == "nowhere"), "{error}");
    assert!(error.to_string().contains(&host(&url)), "{error}");
    let error = refused(&format!("{url}?sslmode=require")).await;
    assert!(error.to_string().contains("TLS"), "{error}");
    assert!(matches!(refused(&format!("{url}?s3cr3t-pass=1")).await, ConnectError::Url(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_or_says_nothing_is_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [free, silent.local_addr().unwrap()] {
        let error = refused_within(&format!("postgres://shop:{PASSWORD}@{address}/first"), Duration::from_millis(500)).await;
        assert!(matches!(error, ConnectError::Unreachable { .. }) && error.is_retryable(), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_decided_from_a_standby() {
    let mut server = Services::start().unwrap();
    let url = server.new_database("standby").unwrap();
    let postgres = tables(&url, 1).await;
    let db = raw(&url).await;
    let folder: String = db.query_one("SHOW data_directory", &[]).await.unwrap().get(0);
    db.batch_execute(&format!("COPY (SELECT '') TO '{folder}/standby.signal'")).await.unwrap();
    tokio::task::block_in_place(|| server.restart().unwrap());
    let error = refused(&url).await;
    assert!(matches!(error, ConnectError::Standby { .. }) && error.to_string().contains(&host(&url)), "{error}");
    // It was connected before, and the server has changed its part since.
    let error = postgres.load(domain::hash::HashSeed(1, 2)).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("standby") && error.is_retryable(), "{error}");
    let error = projection::postgres::Projector::try_begin(&postgres).await.unwrap_err();
    assert!(error.to_string().contains("standby") && error.is_retryable(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_program_are_left_alone() {
    let server = Services::start().unwrap();
    let url = server.new_database("versions").unwrap();
    tables(&url, 1).await;
    let db = raw(&url).await;
    db.batch_execute("INSERT INTO firstcome.migrations VALUES (3, 'later', 1)").await.unwrap();
    let error = refused(&url).await;
    assert!(matches!(error, ConnectError::NewerSchema { found: 3, known: 2, .. }), "{error}");
    db.batch_execute("DELETE FROM firstcome.migrations WHERE version = 3; UPDATE firstcome.migrations SET fingerprint = 7").await.unwrap();
    let error = refused(&url).await;
    assert!(matches!(error, ConnectError::OtherMigration { version: 1, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_from_before_there_were_queues_get_them_and_keep_their_rows() {
    let server = Services::start().unwrap();
    let url = server.new_database("older").unwrap();
    tables(&url, 1).await;
    let db = raw(&url).await;
    // As the first version left them, with a campaign.
    let undo = "DROP TABLE firstcome.queue;
        ALTER TABLE firstcome.campaigns DROP COLUMN mode, DROP COLUMN decisions_per_second_max, DROP COLUMN queue_max;
        DELETE FROM firstcome.migrations WHERE version = 2;
        INSERT INTO firstcome.campaigns (id, partition, name, stock, per_subject_max, paused, code_key, version, created_at, changed_at)
            VALUES (0, 0, 'spring', 5, 1, false, 1, 1, to_timestamp(0), to_timestamp(0));";
    db.batch_execute(undo).await.unwrap();
    let postgres = Postgres::connect(test_settings(&url)).await.unwrap();
    let loaded = postgres.load(domain::hash::HashSeed(1, 2)).await.unwrap();
    let spring = &loaded[0].state.campaigns()[0];
    assert_eq!(spring.settings.queue, domain::coupon::queue::QueueSettings::DIRECT);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_start_at_once_and_agree() {
    let server = Services::start().unwrap();
    let url = server.new_database("crowd").unwrap();
    let start = |node: u32| {
        let url = url.clone();
        tokio::spawn(async move {
            let postgres = Postgres::connect(test_settings(&url)).await.unwrap();
            let key = postgres.check_code_key(1, [u8::try_from(node % 2).unwrap(); 16]).await;
            (postgres.claim_origin(&Origin { topic_id: format!("t-{}", node % 2), ..origin(3) }).await, key)
        })
    };
    let nodes: Vec<_> = (0..10).map(start).collect();
    let (mut origins, mut keys) = (Vec::new(), Vec::new());
    for node in nodes {
        let (origin, key) = node.await.unwrap();
        origins.push(origin.is_ok());
        keys.push(key.is_ok());
    }
    // All of one kind were let in, all of the other were not.
    for agreed in [origins, keys] {
        assert_eq!(agreed.iter().filter(|ok| **ok).count(), 5, "{agreed:?}");
        assert!(agreed.chunks(2).all(|pair| pair == [agreed[0], agreed[1]]), "{agreed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_origin_or_code_key_is_refused_by_name() {
    let server = Services::start().unwrap();
    let postgres = tables(&server.new_database("origin").unwrap(), 3).await;
    postgres.claim_origin(&origin(3)).await.unwrap();
    for (other, what) in [
        (Origin { cluster_id: "c-2".to_owned(), ..origin(3) }, "the cluster id is c-1 there, and c-2 here"),
        (Origin { topic: "second".to_owned(), ..origin(3) }, "the topic is firstcome there, and second here"),
        (Origin { topic_id: "t-2".to_owned(), ..origin(3) }, "the topic id is t-1 there, and t-2 here"),
        (origin(4), "the number of partitions is 3 there, and 4 here"),
    ] {
        let error = postgres.claim_origin(&other).await.unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(postgres.origin().await.unwrap(), Some(origin(3)));
        assert_eq!(postgres.positions().await.unwrap().len(), 3);
    }
    postgres.check_code_key(1, [1; 16]).await.unwrap();
    postgres.check_code_key(1, [1; 16]).await.unwrap();
    postgres.check_code_key(2, [2; 16]).await.unwrap();
    let error = postgres.check_code_key(1, [0xab; 16]).await.unwrap_err();
    assert!(matches!(error, OriginError::CodeKeyDiffers { number: 1, .. }), "{error}");
    assert!(error.to_string().contains("abababab") && error.to_string().contains("01010101"), "{error}");
}

/// A read that waits too long fails by itself, its connection is not used again, and others are
/// served.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_takes_too_long_is_ended() {
    let server = Services::start().unwrap();
    let url = server.new_database("slow").unwrap();
    let settings_ = Settings { pool_size: 1, statement_timeout: Duration::from_millis(1_500), ..test_settings(&url) };
    let postgres = Postgres::connect(settings_).await.unwrap();
    postgres.claim_origin(&origin(1)).await.unwrap();
    let mut partition = support::cluster::Partition::new(0);
    partition.coupon(put("spring", settings(5)), 1).coupon(claim("spring", "ann"), 2);
    partition.project_all(&mut begin(&postgres).await).await;
    let db = raw(&url).await;
    db.batch_execute("BEGIN; LOCK TABLE firstcome.claims").await.unwrap();
    for _ in 0..2 {
        let error = postgres.claims_of_subject(subject("ann"), "", None, 10).await.unwrap_err();
        assert!(matches!(error, projection::ReadError::TooSlow(1_500)), "{error}");
        assert_eq!(postgres.campaigns().await.unwrap().0.len(), 1);
    }
    db.batch_execute("COMMIT").await.unwrap();
    assert_eq!(postgres.claims_of_subject(subject("ann"), "", None, 10).await.unwrap().rows.len(), 1);
    // Dropped in the middle, an export does not leave its connection behind either.
    let export = postgres.export(name("spring"), projection::ClaimFilter::All).await.unwrap().unwrap();
    assert!(matches!(postgres.campaigns().await, Err(projection::ReadError::Unavailable(_))), "the pool has one connection");
    drop(export);
    // Given back as it was, it would still show the tables of the instant of the export.
    let from = partition.marks().len() - 1;
    partition.coupon(claim("spring", "bob"), 3);
    partition.project(&mut begin(&postgres).await, from..from + 1).await.unwrap();
    assert_eq!(postgres.claims_of_subject(subject("bob"), "", None, 10).await.unwrap().rows.len(), 1);
}
