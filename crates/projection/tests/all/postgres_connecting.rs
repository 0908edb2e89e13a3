//! What is no database to work with is told so clearly, and never with the password in it.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)]

use crate::support;

use services::Postgres as Services;
use std::net::TcpListener;
use std::time::Duration;

use domain::coupon::CLAIMS;
use projection::postgres::{ConnectError, Origin, Postgres, Settings};
use support::cluster::{begin, origin, raw, tables, test_settings};
use support::{ALL, claim, name, put, settings};

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
    partition.plain(put("spring", settings(5)), 1).plain(claim("spring", "ann"), 2);
    let mut projector = begin(&postgres).await;
    partition.project_all(&mut projector).await;
    partition.store_copy(&mut projector, 1).await.unwrap();
    partition.store_copy(&mut projector, 2).await.unwrap();
    let partition = [partition];
    support::cluster::check_rows(&postgres, &partition).await;
    support::cluster::check_loaded(&postgres, &partition).await;

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
    let refuse = async |change: &str, undo: &str, what: &str| {
        db.batch_execute(change).await.unwrap();
        let error = refused(&url).await;
        assert!(error.to_string().contains(what) && !error.is_retryable(), "{error}, expected {what}");
        let to_read = Postgres::connect_to_read(test_settings(&url)).await.map(|_| ()).unwrap_err();
        assert_eq!(to_read.to_string(), error.to_string());
        db.batch_execute(undo).await.unwrap();
        Postgres::connect(test_settings(&url)).await.unwrap();
        error
    };
    let number = |number: i32| format!("UPDATE firstcome.form SET number = {number}");
    let error = refuse(&number(5), &number(4), "later version of this program: they have form 5").await;
    assert!(matches!(error, ConnectError::NewerTables { .. }));
    let error = refuse(&number(3), &number(4), "they have form 3").await;
    assert!(matches!(error, ConnectError::OtherTables { .. }));
    let (add, drop) = ("ALTER TABLE firstcome.claims ADD COLUMN colour text", "ALTER TABLE firstcome.claims DROP COLUMN colour");
    let error = refuse(add, drop, "this program does not know claims.colour").await;
    assert!(matches!(error, ConnectError::NewerTables { .. }));
    let (other, back) = (
        "ALTER TABLE firstcome.overrides ALTER COLUMN quota TYPE integer",
        "ALTER TABLE firstcome.overrides ALTER COLUMN quota TYPE bigint",
    );
    let error = refuse(other, back, "overrides.quota is integer NOT NULL there").await;
    assert!(matches!(error, ConnectError::OtherTables { .. }));
    let (rename, back) =
        ("ALTER TABLE firstcome.claims DROP COLUMN subject", "ALTER TABLE firstcome.claims ADD COLUMN subject text COLLATE \"C\" NOT NULL");
    refuse(rename, back, "claims.subject is not there").await;
    // A person's own table is none of our business.
    db.batch_execute("CREATE TABLE firstcome.reports (day date)").await.unwrap();
    Postgres::connect(test_settings(&url)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_from_before_the_first_release_are_refused_with_the_way_out() {
    let server = Services::start().unwrap();
    let url = server.new_database("unreleased").unwrap();
    let db = raw(&url).await;
    db.batch_execute("CREATE SCHEMA firstcome; CREATE TABLE firstcome.migrations (version integer)").await.unwrap();
    let error = refused(&url).await;
    assert!(
        matches!(error, ConnectError::UnreleasedTables { .. }) && error.to_string().contains("DROP SCHEMA firstcome CASCADE"),
        "{error}"
    );
    db.batch_execute("DROP SCHEMA firstcome CASCADE").await.unwrap();
    tables(&url, 1).await;
}

/// Tables of a program that knew fewer settings, one table less and no index get them, and keep their
/// rows: a setting that is new has the value that its absence in a record means.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_anew_is_added_and_rows_stay() {
    let server = Services::start().unwrap();
    let url = server.new_database("older").unwrap();
    let postgres = tables(&url, 1).await;
    let mut partition = support::cluster::Partition::new(0);
    let plain = domain::coupon::Settings { code_key: 0, closes_at: None, ..settings(5) };
    partition.plain(put("spring", plain), 1).plain(claim("spring", "ann"), 2);
    partition.project_all(&mut begin(&postgres).await).await;
    let db = raw(&url).await;
    let shape = "SELECT array_agg(concat_ws(' ', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, col_description(c.oid, a.attnum),
            pg_get_expr(d.adbin, d.adrelid)) ORDER BY c.relname, a.attname)::text
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'firstcome'::regnamespace AND 0 < a.attnum AND NOT a.attisdropped";
    let before: String = db.query_one(shape, &[]).await.unwrap().get(0);
    assert!(before.contains("Whose it is: an opaque id") && before.contains("Claims that may be pending;"), "{before}");
    let undo =
        "ALTER TABLE firstcome.campaigns DROP COLUMN mode, DROP COLUMN decisions_per_second_max, DROP COLUMN queue_max, DROP COLUMN paused;
        ALTER TABLE firstcome.claims DROP COLUMN changed_at;
        DROP TABLE firstcome.overrides; DROP TABLE firstcome.policies; DROP INDEX firstcome.claims_by_subject";
    db.batch_execute(undo).await.unwrap();
    let error = Postgres::connect_to_read(test_settings(&url)).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, ConnectError::OlderTables { .. }), "{error}");
    let postgres = Postgres::connect(test_settings(&url)).await.unwrap();
    assert_eq!(db.query_one(shape, &[]).await.unwrap().get::<_, String>(0), before);
    support::cluster::check_rows(&postgres, &[partition]).await;
    assert_eq!(postgres.entries_found(&CLAIMS, "ann", "", None, 5).await.unwrap().rows.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_start_at_once_and_agree() {
    let server = Services::start().unwrap();
    let url = server.new_database("crowd").unwrap();
    let start = |node: u32| {
        let url = url.clone();
        tokio::spawn(async move {
            let postgres = Postgres::connect(test_settings(&url)).await.unwrap();
            postgres.claim_origin(&Origin { topic_id: format!("t-{}", node % 2), ..origin(3) }).await
        })
    };
    let nodes: Vec<_> = (0..10).map(start).collect();
    let mut agreed = Vec::new();
    for node in nodes {
        agreed.push(node.await.unwrap().is_ok());
    }
    // All of one kind were let in, all of the other were not.
    assert_eq!(agreed.iter().filter(|ok| **ok).count(), 5, "{agreed:?}");
    assert!(agreed.chunks(2).all(|pair| pair == [agreed[0], agreed[1]]), "{agreed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_origin_is_refused_by_name() {
    let server = Services::start().unwrap();
    let postgres = tables(&server.new_database("origin").unwrap(), 3).await;
    postgres.claim_origin(&origin(3)).await.unwrap();
    for (other, what) in [
        (Origin { cluster_id: "c-2".to_owned(), ..origin(3) }, "the cluster id is c-1 there, and c-2 here"),
        (Origin { topic: "second".to_owned(), ..origin(3) }, "the topic is firstcome there, and second here"),
        (Origin { topic_id: "t-2".to_owned(), ..origin(3) }, "the topic id is t-1 there, and t-2 here"),
        (origin(4), "the number of partitions is 3 there, and 4 here"),
        (Origin { code_secret: "07he5".to_owned(), ..origin(3) }, "the fingerprint of code-secret is 5ec7e7 there, and 07he5 here"),
    ] {
        let error = postgres.claim_origin(&other).await.unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(postgres.origin().await.unwrap(), Some(origin(3)));
        assert_eq!(postgres.positions().await.unwrap().len(), 3);
    }
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
    partition.plain(put("spring", settings(5)), 1).plain(claim("spring", "ann"), 2);
    partition.project_all(&mut begin(&postgres).await).await;
    let db = raw(&url).await;
    db.batch_execute("BEGIN; LOCK TABLE firstcome.claims").await.unwrap();
    for _ in 0..2 {
        let error = postgres.entries_found(&CLAIMS, "ann", "", None, 10).await.unwrap_err();
        assert!(matches!(error, projection::ReadError::TooSlow(1_500)), "{error}");
        assert_eq!(postgres.aggregates(domain::Kind::Campaign).await.unwrap().0.len(), 1);
    }
    db.batch_execute("COMMIT").await.unwrap();
    assert_eq!(postgres.entries_found(&CLAIMS, "ann", "", None, 10).await.unwrap().rows.len(), 1);
    // Dropped in the middle, an export does not leave its connection behind either.
    let export = postgres.export(&CLAIMS, name("spring"), ALL).await.unwrap().unwrap();
    assert!(
        matches!(postgres.aggregates(domain::Kind::Campaign).await, Err(projection::ReadError::Unavailable(_))),
        "the pool has one connection"
    );
    drop(export);
    // Given back as it was, it would still show the tables of the instant of the export.
    let from = partition.marks().len() - 1;
    partition.plain(claim("spring", "bob"), 3);
    partition.project(&mut begin(&postgres).await, from..from + 1).await.unwrap();
    assert_eq!(postgres.entries_found(&CLAIMS, "bob", "", None, 10).await.unwrap().rows.len(), 1);
}
