//! The example workload on one machine: everything that the frame gives to a workload that only
//! declares itself.
#![allow(clippy::unwrap_used)]

use crate::live_client::stream::Stream;
use crate::live_client::websocket;
use crate::support::http::connect;
use crate::support::server::TestServer;
use crate::support::{Data, did, kinds, record};

use std::time::Duration;

use domain::counter::{Counter, Event, Settings};
use domain::hash::HashSeed;
use domain::state::{Change, Record, State};
use domain::types::{Name, Serial, SubjectId};
use domain::{Listed, Number};
use engine::digest::RunningDigest;
use firstcome::inspect::{self, Form, Options, RecordRange};
use firstcome::verify;
use serde_json::json;

const GATE: &str = "/v1/counters/gate";
const ADDITIONS: &str = "/v1/counters/gate/additions";

/// A counter to 10, with 4 of ann and 3 of bob.
fn gate(server: &TestServer) {
    let mut client = server.client();
    assert_eq!(client.put(GATE, r#"{"limit":10,"step_max":5}"#).status, 201);
    for (subject, amount, total) in [("ann", 4, 4), ("bob", 3, 7)] {
        let answer = client.post(ADDITIONS, &json!({ "subject": subject, "amount": amount }).to_string());
        assert_eq!((answer.status, &answer.json()["total"]), (201, &json!(total)));
    }
}

#[test]
fn it_is_made_changed_read_listed_and_removed_and_its_rules_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(&folder.path().join("data"), 5);
    gate(&server);
    let mut client = server.client();
    let at = "1970-01-01T00:00:05.000Z";
    let read = client.get(GATE);
    let wanted = json!({ "counter": "gate", "total": 7, "additions": 2, "limit": 10, "step_max": 5, "version": 1, "created_at": at });
    assert_eq!((read.json(), read.header("etag")), (wanted.clone(), Some("\"1\"")));
    assert_eq!(client.get("/v1/counters").json(), json!({ "counters": [wanted], "next": null }));

    let mut add = |amount: u32, key: &str| {
        let body = json!({ "subject": "cat", "amount": amount }).to_string();
        client.send("POST", ADDITIONS, &[("idempotency-key", key)], &body)
    };
    let above = add(4, "k1");
    assert_eq!((above.status, above.code().as_str(), &above.json()["left"]), (409, "limit_reached", &json!(3)));
    let large = add(6, "k1");
    assert_eq!((large.status, large.code().as_str(), &large.json()["step_max"]), (422, "amount_out_of_range", &json!(5)));
    // The key is that of what took effect: what was refused wrote nothing.
    let (first, again) = (add(3, "k1"), add(3, "k1"));
    assert_eq!((first.status, first.json()), (201, json!({ "number": 3, "total": 10 })));
    assert_eq!((again.status, again.json(), again.header("idempotent-replayed")), (201, first.json(), Some("true")));

    let patched = client.send("PATCH", GATE, &[("content-type", "application/merge-patch+json")], r#"{"limit":12}"#);
    assert_eq!((patched.status, &patched.json()["version"], &patched.json()["total"]), (200, &json!(2), &json!(10)));
    assert_eq!(client.put(GATE, r#"{"step_max":5}"#).code(), "invalid_field");
    assert!(client.get("/metrics").text().contains("\nfirstcome_counters 1\n"));
    assert_eq!(client.send("DELETE", GATE, &[], "").status, 200);
    assert_eq!(client.get(GATE).code(), "counter_not_found");
    assert_eq!(client.get(ADDITIONS).code(), "counter_not_found");
}

#[test]
fn its_entries_are_listed_in_pages_as_lines_and_as_csv() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(&folder.path().join("data"), 5);
    gate(&server);
    let mut client = server.client();
    let row = |number: u32, subject: &str, amount: u32| json!({ "counter": "gate", "number": number, "subject": subject, "amount": amount, "added_at": "1970-01-01T00:00:05.000Z" });
    let all = client.get(ADDITIONS).json();
    assert_eq!((&all["additions"], &all["next"]), (&json!([row(1, "ann", 4), row(2, "bob", 3)]), &json!(null)));
    let first = client.get(&format!("{ADDITIONS}?limit=1")).json();
    assert_eq!((&first["additions"], &first["next"], &first["as_of"]["position"]), (&json!([row(1, "ann", 4)]), &json!("1"), &json!(3)));
    assert_eq!(client.get(&format!("{ADDITIONS}?limit=1&after=1")).json()["additions"], json!([row(2, "bob", 3)]));
    let mut listed_as = |media_type: &str| client.send("GET", ADDITIONS, &[("accept", media_type)], "").text().to_owned();
    assert_eq!(listed_as("application/x-ndjson"), format!("{}\n{}\n", row(1, "ann", 4), row(2, "bob", 3)));
    let csv =
        "counter,number,subject,amount,added_at\r\ngate,1,ann,4,1970-01-01T00:00:05.000Z\r\ngate,2,bob,3,1970-01-01T00:00:05.000Z\r\n";
    assert_eq!(listed_as("text/csv"), csv);
}

#[test]
fn its_live_stream_shows_the_figures_over_both_transports() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(&folder.path().join("data"), 5);
    gate(&server);
    let mut stream = Stream::of(server.address, "counters/gate", &[]);
    let first = stream.next();
    assert!(first.is_snapshot());
    assert_eq!((&first.json()["counter"], &first.json()["total"]), (&json!("gate"), &json!(7)));
    let mut socket = websocket::of(connect(server.address).unwrap(), "counters/gate");
    assert!(websocket::event(&mut socket).contains(r#""total":7"#));
    assert_eq!(server.client().post(ADDITIONS, r#"{"subject":"cat","amount":2}"#).status, 201);
    let last = stream.until(|event| event["total"] == 9).pop().unwrap();
    assert_eq!((last.kind.as_str(), &last.json()["additions"]), ("delta", &json!(3)));
    assert!(websocket::event(&mut socket).contains(r#""total":9"#));
    assert_eq!(Stream::of(server.address, "counters/none", &[]).status, 404);
}

#[test]
fn it_survives_a_restart_is_verified_and_is_told_by_inspect() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = TestServer::start(&data, 5);
    gate(&server);
    let before = (server.client().get(GATE).json(), server.fixed_point());
    server.stop();
    // From the snapshot of the first stop, then with a record behind it.
    let mut server = TestServer::start(&data, 6);
    assert_eq!((server.client().get(GATE).json(), server.fixed_point()), before);
    assert_eq!(server.client().post(ADDITIONS, r#"{"subject":"cat","amount":1}"#).json()["number"], 3);
    while server.app.status().history_position < server.app.status().position {
        std::thread::sleep(Duration::from_millis(10));
    }
    server.stop();
    let verdict = verify::run(&data).unwrap();
    assert!(verdict.is_good(), "{}", verdict.to_text());
    assert_eq!((&verdict.to_json()["counters"], verdict.history_position), (&json!(1), Some(4)));
    let mut told = Vec::new();
    let options = Options { records: Some(RecordRange::default()), form: Form::Text };
    inspect::run(&data, &options, &mut told).unwrap();
    let told = String::from_utf8(told).unwrap();
    assert!(
        told.contains(" counter_created gate limit=10 step_max=5\n") && told.contains(" added gate number=3 subject=cat amount=1\n"),
        "{told}"
    );
    assert!(told.contains("counter     gate limit=10 added=3\n"), "{told}");
}

fn added(number: u32, subject: &str, amount: u32) -> Record<'_> {
    let (number, subject) = (Serial::new(number).unwrap(), SubjectId::new(subject).unwrap());
    record(20, did::<Counter>(0, Event::Added { number, subject, amount }))
}

/// A counter to 10.
fn created() -> Record<'static> {
    let settings = Counter::any_settings(Settings { limit: 10, step_max: 5 });
    record(10, Change::Created { number: Number(0), name: Name::new("gate").unwrap(), settings })
}

/// Verifies it with these additions.
fn found(additions: &[Record<'_>]) -> Vec<&'static str> {
    let mut data = Data::new();
    data.append(&[created()]);
    data.append(additions);
    kinds(&data.verify())
}

#[test]
fn each_forged_addition_is_found() {
    let honest = [added(1, "ann", 4), added(2, "bob", 5)];
    assert_eq!(found(&honest), [""; 0]);
    for forged in [added(3, "cat", 2), added(3, "cat", 0), added(3, "cat", 6), added(4, "cat", 1)] {
        assert_eq!(found(&[honest[0], honest[1], forged]), ["counter"], "{forged:?}");
    }
}

/// What servers compare across machines: an aggregate of a fixed size has an entry from its first record
/// to its last.
#[test]
fn the_digest_that_is_carried_along_is_that_of_a_walk_over_the_state() {
    let (mut state, mut digest) = (State::new(HashSeed(1, 2)), RunningDigest::default());
    let removed = record(30, Change::Removed { number: Number(0) });
    for record in [created(), added(1, "ann", 4), added(2, "bob", 5), removed] {
        digest.before(&record, &state);
        state.evolve(&record);
        digest.after(&record, &state);
        assert_eq!(digest, RunningDigest::of(&state), "{record:?}");
    }
}

#[test]
fn a_row_that_the_record_does_not_have_is_found() {
    let mut data = Data::new();
    data.append(&[created(), added(1, "ann", 4)]);
    data.project(2);
    assert_eq!(kinds(&data.verify()), [""; 0]);
    data.forge_rows("UPDATE additions SET amount = 5");
    assert_eq!(kinds(&data.verify()), ["history_different_row"]);
}
