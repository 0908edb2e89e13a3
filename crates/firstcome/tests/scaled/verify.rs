//! `firstcome verify` in the scaled mode, with real engines: what a cluster did is clean, at rest and
//! in a rush; each forgery, in the tables or in the record, is found and named.
#![allow(clippy::unwrap_used)]

use crate::support::http;
use crate::support::process;
use crate::support::scaled;

use std::sync::atomic::{AtomicU32, Ordering};

use cluster::protocol::record::{Body, LogRecord, NodeId, Origin, Routing, encode};
use http::Client;
use scaled::{Cluster, engines, psql};
use serde_json::Value;

/// A campaign with claims, one of them cancelled and one redeemed, and one that allows several.
fn trade(cluster: &Cluster, client: &mut Client) {
    let put = |client: &mut Client, name: &str, body: &str| {
        assert_eq!(client.put(&format!("/v1/campaigns/{name}"), body).status, 201);
    };
    put(client, "spring", r#"{"stock":5}"#);
    put(client, "summer", r#"{"stock":9,"per_subject_max":2}"#);
    for subject in ["ann", "bob", "cat", "dan"] {
        assert_eq!(client.claim("spring", subject).status, 201);
    }
    assert_eq!(client.claim("spring", "ann").status, 200);
    assert_eq!(client.send("DELETE", "/v1/campaigns/spring/claims/bob", &[], "").status, 200);
    assert_eq!(client.post("/v1/campaigns/spring/claims/cat/redeem", "").status, 200);
    for key in ["k1", "k2", "k1"] {
        let claim = client.send("POST", "/v1/campaigns/summer/claims", &[("idempotency-key", key)], r#"{"subject":"ann"}"#);
        assert_eq!(claim.status, 201);
    }
    assert_eq!(client.send("PATCH", "/v1/campaigns/summer", &[], r#"{"stock":8}"#).status, 200);
    cluster.wait_for_tables();
}

fn promises(json: &Value) -> Vec<&str> {
    json["broken_counts"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn what_a_cluster_did_is_clean_and_each_forgery_of_the_tables_is_found() {
    let cluster = Cluster::new("forged");
    let server = cluster.serve();
    trade(&cluster, &mut Client::new(server.address));
    let json = cluster.verify_clean(&["--redis", &engines().redis.url()]);
    assert_eq!(json["claims"], serde_json::json!({ "live": 4, "pending": 0, "redeemed": 1, "cancelled": 1 }));
    assert_eq!((&json["campaigns"], &json["history_behind"], &json["notes"]), (&2.into(), &0.into(), &serde_json::json!([])));
    assert_eq!(json["decisions"], 11);
    assert_eq!(json["partitions"].as_array().unwrap().len(), 4);
    assert!(json["gates"].as_array().unwrap().iter().any(|gate| gate["campaign"] == "spring" && gate["remaining"] == 2), "{json}");
    server.terminate();

    for forgery in FORGERIES {
        assert_found(&cluster, *forgery);
    }
    cluster.verify_clean(&[]);
}

/// What is done to the tables, which promise it breaks, and what is said of it.
type Forgery<'a> = (&'a str, &'a str, &'a str);

/// It is the only promise that is broken in a copy of the tables to which this was done.
fn assert_found(cluster: &Cluster, (sql, promise, words): Forgery<'_>) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let url = cluster.copy(&format!("forgery_{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    psql(&url, sql);
    let (code, json) = cluster.verify_with(&url, &[]);
    assert_eq!((code, promises(&json)), (Some(1), vec![promise]), "{sql}: {json}");
    let told = json["broken"].as_array().unwrap();
    assert!(told.iter().any(|broken| broken["detail"].as_str().unwrap().contains(words)), "{sql}: {json}");
}

const FORGERIES: &[Forgery<'_>] = &[
    (
        "UPDATE claims SET subject = 'mallory' WHERE subject = 'ann' AND only_one",
        "history_different_row",
        "claim 1 of campaign spring; subject is \"mallory\", in the record \"ann\"",
    ),
    ("DELETE FROM claims WHERE subject = 'dan'", "history_missing_row", "claim 4 of campaign spring is not in the history"),
    (
        "INSERT INTO claims SELECT campaign, 5, 'mallory', claimed_at, 'live', NULL, actor, request_id, true FROM claims
         WHERE subject = 'dan'",
        "history_extra_row",
        "claim 5 of campaign spring is in the history only",
    ),
    (
        "UPDATE claims SET status = 'live', changed_at = NULL WHERE subject = 'cat'",
        "history_different_row",
        "claim 3 of campaign spring; status is \"live\", in the record \"redeemed\"",
    ),
    (
        "UPDATE claims SET changed_at = changed_at + interval '1 second' WHERE subject = 'bob'",
        "history_different_row",
        "claim 2 of campaign spring; changed_at is",
    ),
    (
        "UPDATE claims SET claimed_at = claimed_at - interval '1 ms' WHERE subject = 'dan'",
        "history_different_row",
        "claim 4 of campaign spring; claimed_at is",
    ),
    ("UPDATE campaigns SET stock = 6 WHERE name = 'spring'", "history_different_row", "campaign spring; stock is 6, in the record 5"),
    ("UPDATE campaigns SET version = 9 WHERE name = 'summer'", "history_different_row", "version is 9, in the record 2"),
    (
        "UPDATE campaigns SET paused = true WHERE name = 'summer'",
        "history_different_row",
        "campaign summer; paused is true, in the record false",
    ),
    ("UPDATE campaigns SET code_key = 7 WHERE name = 'summer'", "history_different_row", "campaign summer; code_key is 7"),
    ("UPDATE campaigns SET changed_at = created_at WHERE name = 'summer'", "history_different_row", "campaign summer; changed_at is"),
    (
        "INSERT INTO campaigns SELECT id + 4000, partition, 'winter', stock, per_subject_max, opens_at, closes_at, redeem_until, paused,
         mode, decisions_per_second_max, queue_max, code_key, version, created_at, changed_at FROM campaigns WHERE name = 'spring'",
        "history_extra_row",
        "campaign winter",
    ),
    (
        "DELETE FROM claims USING campaigns WHERE campaign = id AND name = 'summer'; DELETE FROM campaigns WHERE name = 'summer'",
        "history_missing_row",
        "campaign summer is not in the history",
    ),
    (
        "DELETE FROM state_copies WHERE partition NOT IN (SELECT partition FROM campaigns);
         DELETE FROM positions WHERE partition NOT IN (SELECT partition FROM campaigns)",
        "history_missing_row",
        "is not in the history",
    ),
    ("INSERT INTO positions VALUES (9, 0, 0, to_timestamp(0), 0, '')", "history_extra_row", "the position of partition 9"),
    ("UPDATE campaigns SET mode = 'lost' WHERE name = 'spring'", "history_damaged", "mode"),
    (
        "UPDATE positions SET digest = '\\x00' WHERE partition = (SELECT partition FROM campaigns WHERE name = 'spring')",
        "history_different_row",
        "digest is \"00\"",
    ),
    (
        "UPDATE positions SET decisions = decisions + 1 WHERE partition = 0",
        "history_different_row",
        "the position of partition 0; decisions",
    ),
    ("UPDATE positions SET offset_next = offset_next + 1000 WHERE partition = 1", "history_ahead", "of partition 1, but the record"),
    ("UPDATE origin SET topic_id = '00'", "history_other_record", "topic id is \"00\""),
];

#[test]
fn who_waits_in_the_queue_is_in_no_table() {
    let cluster = Cluster::new("queued");
    let server = cluster.serve();
    let mut client = Client::new(server.address);
    assert_eq!(client.put("/v1/campaigns/spring", r#"{"stock":90,"mode":"queued","decisions_per_second_max":1}"#).status, 201);
    for person in 0..60 {
        assert_eq!(client.claim("spring", &format!("user-{person}")).status, 202);
    }
    cluster.wait_for_tables();
    server.terminate();
    let json = cluster.verify_clean(&[]);
    assert!(json["claims"]["pending"].as_u64().unwrap() != 0, "{json}");
    let early = "INSERT INTO claims SELECT id, 60, 'user-59', date_trunc('milliseconds', now()), 'live', NULL, 'local', 'engine', true FROM campaigns";
    assert_found(&cluster, (early, "history_extra_row", "claim 60 of campaign spring is in the history only"));
}

#[test]
fn tables_that_are_behind_are_no_breach_and_foreign_records_are_found() {
    let cluster = Cluster::new("behind");
    let server = cluster.serve();
    trade(&cluster, &mut Client::new(server.address));
    server.terminate();
    let behind = cluster.copy("behind_then");
    let server = cluster.serve();
    let mut client = Client::new(server.address);
    assert_eq!(client.send("DELETE", "/v1/campaigns/spring/claims/ann", &[], "").status, 200);
    assert_eq!(client.claim("spring", "eve").status, 201);
    cluster.wait_for_tables();
    server.terminate();

    cluster.verify_clean(&[]);
    let (code, json) = cluster.verify_with(&behind, &[]);
    assert_eq!((code, promises(&json)), (Some(0), vec![]), "{json}");
    assert!(2 <= json["history_behind"].as_u64().unwrap(), "{json}");
    assert_eq!(json["notes"], serde_json::json!([]), "all of it is compared, each partition at its own place");
    psql(&behind, "UPDATE claims SET subject = 'mallory' WHERE subject = 'dan'");
    let (code, json) = cluster.verify_with(&behind, &[]);
    assert_eq!((code, promises(&json)), (Some(1), vec!["history_different_row"]), "{json}");
    let (code, json) = cluster.verify_with(&engines().postgres.new_database("behind_nothing").unwrap(), &[]);
    assert_eq!((code, &json["notes"]), (Some(0), &serde_json::json!(["there is no history to compare with"])), "{json}");

    let origin = Origin { node: NodeId(1), sequence: 1 };
    let elsewhere =
        encode(&LogRecord { origin, sent_at: domain::types::Timestamp::MAX, routing: Routing::Partition(3), body: Body::Barrier });
    cluster.append(0, b"foreign".to_vec());
    cluster.append(1, elsewhere);
    let (code, json) = cluster.verify();
    assert_eq!((code, promises(&json)), (Some(1), vec!["undecodable", "wrong_partition"]), "{json}");
    let told = json["broken"].to_string();
    assert!(told.contains("of partition 0") && told.contains("the record belongs to partition 3"), "{told}");
    assert!(json["notes"].to_string().contains("no server passes"), "{json}");
}

#[test]
fn a_cluster_in_a_rush_is_clean_at_every_look() {
    let cluster = Cluster::new("rushed");
    let server = cluster.serve();
    let url = format!("http://{}", server.address);
    let rush = process::program(&[
        "rush",
        "coupon",
        "--url",
        &url,
        "--users",
        "20000",
        "--stock",
        "3000",
        "--over",
        "6s",
        "--connections",
        "64",
        "--campaign",
        "rush",
    ]);
    let rushing = std::thread::spawn(move || process::run(rush));
    let mut looks = Vec::new();
    while !rushing.is_finished() {
        let json = cluster.verify_clean(&["--redis", &engines().redis.url()]);
        assert_eq!(json["notes"], serde_json::json!([]));
        looks.push(json["claims"]["live"].as_u64().unwrap());
    }
    let (code, stdout, stderr) = rushing.join().unwrap();
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    cluster.wait_for_tables();
    let json = cluster.verify_clean(&[]);
    assert_eq!((&json["claims"]["live"], &json["history_behind"]), (&3_000.into(), &0.into()));
    assert!(looks.iter().any(|live| (1..3_000).contains(live)), "no look was in the middle: {looks:?}");
    server.terminate();
}

#[test]
fn what_cannot_be_reached_is_named_by_its_setting() {
    let cluster = Cluster::new("away");
    let server = cluster.serve();
    trade(&cluster, &mut Client::new(server.address));
    server.terminate();
    let (kafka, postgres) = (engines().kafka.bootstrap(), cluster.url.as_str());
    let nobody = "127.0.0.1:9";
    for (args, code, words) in [
        (vec!["--kafka", nobody, "--postgres", postgres], 3, "(--kafka)"),
        (vec!["--kafka", &kafka, "--postgres", "postgres://shop:s3cret@127.0.0.1:9/x"], 3, "--postgres"),
        (vec!["--kafka", &kafka, "--postgres", postgres, "--kafka-topic", "nowhere"], 3, "--kafka-topic"),
        (vec!["--kafka", &kafka], 2, "--kafka needs --postgres"),
        (vec!["--postgres", postgres], 2, "--postgres needs --kafka"),
    ] {
        let (found, stdout, stderr) = process::run(process::program(&[&["verify"], &args[..]].concat()));
        assert_eq!((found, &*stdout), (Some(code), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(words) && !stderr.contains("s3cret"), "{args:?}: {stderr}");
    }
    let json = cluster.verify_clean(&["--redis", "redis://:s3cret@127.0.0.1:9"]);
    let notes = json["notes"].to_string();
    assert!(notes.contains("--redis") && !notes.contains("s3cret"), "{notes}");
    assert_eq!(json["gates"], Value::Null);
}

#[test]
fn settings_come_from_the_file_and_a_journal_beside_them_is_told_of() {
    let cluster = Cluster::new("filed");
    let server = cluster.serve();
    trade(&cluster, &mut Client::new(server.address));
    server.terminate();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("journal")).unwrap();
    let file = folder.path().join("firstcome.toml");
    let (kafka, topic, url) = (engines().kafka.bootstrap(), &cluster.topic, &cluster.url);
    let data = folder.path().to_str().unwrap();
    std::fs::write(&file, format!("data = \"{data}\"\nkafka = \"{kafka}\"\nkafka-topic = \"{topic}\"\npostgres = \"{url}\"\n")).unwrap();
    let (code, stdout, stderr) = process::run(process::program(&["verify", "--config", file.to_str().unwrap()]));
    assert_eq!((code, &*stderr), (Some(0), ""), "{stdout}");
    assert!(stdout.contains("the journal in") && stdout.trim_end().ends_with("every promise holds"), "{stdout}");
    assert!(stdout.contains("claims     4 live, 1 redeemed, 1 cancelled"), "{stdout}");
}

#[test]
fn a_record_whose_beginning_is_gone_is_no_verdict() {
    let cluster = Cluster::new("gone");
    let server = cluster.serve();
    trade(&cluster, &mut Client::new(server.address));
    server.terminate();
    cluster.delete_beginning(2);
    let (code, stdout, stderr) = process::run(process::program(&cluster.verify_args(&cluster.url, &[])));
    assert_eq!((code, &*stdout), (Some(3), ""), "{stderr}");
    assert!(stderr.contains("partition 2 starts at offset 1") && stderr.contains("--kafka-topic"), "{stderr}");
}
