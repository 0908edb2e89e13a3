//! A wall clock that leaps: nothing is decided by it before it is confirmed, everybody is told, and there is a way
//! back that `verify` knows.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::clock::ManualSource;
use firstcome::clock::ClockAsk;
use serde_json::Value;

use crate::support::http::Client;
use crate::support::server::{TestServer, at_seconds};
use crate::support_process::program::verify;

/// 2026-01-31T10:00:00Z.
const START: u64 = 1_769_853_600;
const DAY_MS: i64 = 86_400_000;

fn started(folder: &Path) -> (Arc<ManualSource>, TestServer, Client) {
    let source = ManualSource::at(at_seconds(START));
    let server = TestServer::start_watched(folder, &source);
    let client = server.client();
    (source, server, client)
}

fn look(server: &TestServer) {
    let _ = server.app.clock.watched().unwrap().watch();
}

fn ready(client: &mut Client) -> (u16, Value) {
    // Not ready is no problem document.
    let answer = client.try_send("GET", "/readyz", &[], "").unwrap();
    (answer.status, answer.json())
}

fn metric(client: &mut Client, name: &str) -> f64 {
    let answer = client.get("/metrics");
    let line = answer.text().lines().find_map(|line| line.strip_prefix(&format!("firstcome_{name} "))).map(str::to_owned);
    line.unwrap().parse().unwrap()
}

#[test]
fn a_leap_ahead_decides_nothing_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (source, server, mut client) = started(folder.path());
    client.put("/v1/campaigns/closing", r#"{"stock":9,"closes_at":"2026-02-01T10:00:00Z"}"#);
    client.put("/v1/campaigns/opening", r#"{"stock":9,"opens_at":"2026-01-31T11:00:00Z"}"#);
    client.put("/v1/campaigns/several", r#"{"stock":9,"per_subject_max":3}"#);
    let body = r#"{"subject":"ann"}"#;
    let keyed = |client: &mut Client| {
        client.send("POST", "/v1/campaigns/several/claims", &[("idempotency-key", "k1")], body).json()["serial"].clone()
    };
    assert_eq!(keyed(&mut client), 1);

    source.step_ms(2 * DAY_MS);
    // Before anybody has looked, and after.
    for who in ["ann", "bob"] {
        assert_eq!(client.claim("closing", who).status, 201);
        assert_eq!(client.claim("opening", who).code(), "not_open");
        assert_eq!(keyed(&mut client), 1);
        look(&server);
    }
    let (status, body) = ready(&mut client);
    assert_eq!((status, &body["ready"], &body["clock"]["leap_ms"]), (200, &Value::Bool(true), &Value::from(2 * DAY_MS)));
    assert_eq!((metric(&mut client, "clock_leap_seconds"), metric(&mut client, "record_ahead_of_clock_seconds")), (172_800.0, 0.0));
    assert_eq!(metric(&mut client, "clock_leaps_total"), 1.0);

    source.step_ms(-2 * DAY_MS);
    look(&server);
    assert_eq!(ready(&mut client).1["clock"]["leap_ms"], Value::Null);
    assert_eq!(client.claim("closing", "cat").status, 201);
    assert_eq!((metric(&mut client, "clock_leap_seconds"), metric(&mut client, "record_ahead_of_clock_seconds")), (0.0, 0.0));
}

#[test]
fn a_time_that_was_wrong_is_set_back_with_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let (source, mut server, mut client) = started(folder.path());
    client.put("/v1/campaigns/closing", r#"{"stock":9,"closes_at":"2026-02-01T10:00:00Z"}"#);
    client.put("/v1/campaigns/queue", r#"{"stock":9,"mode":"queued","decisions_per_second_max":1}"#);
    assert!(!server.ask_clock(ClockAsk::SetBack).unwrap().changed);

    // The operator adopts the leap by mistake.
    source.step_ms(2 * DAY_MS);
    look(&server);
    assert!(server.ask_clock(ClockAsk::Confirm).unwrap().changed);
    assert_eq!(client.claim("closing", "ann").code(), "closed");
    let pending = |client: &mut Client| client.get("/v1/campaigns/queue").json()["pending"].clone();
    for who in ["ann", "bob"] {
        assert_eq!(client.claim("queue", who).status, 202);
    }
    assert_eq!(pending(&mut client), 1);

    source.step_ms(-2 * DAY_MS);
    look(&server);
    // What is not confirmed sets nothing back.
    assert!(server.ask_clock(ClockAsk::SetBack).is_err());
    assert!(server.ask_clock(ClockAsk::Confirm).unwrap().changed);
    let (status, body) = ready(&mut client);
    assert_eq!(status, 503);
    assert!(body["reason"].as_str().unwrap().starts_with("the time stands"), "{body}");
    let wait_ms = client.claim("queue", "bob").json()["wait_ms"].as_i64().unwrap();
    assert!(2 * DAY_MS <= wait_ms, "{wait_ms}");

    let set = server.ask_clock(ClockAsk::SetBack).unwrap();
    assert!(set.changed && set.record_ahead_ms == 0, "{set:?}");
    assert!(!server.ask_clock(ClockAsk::SetBack).unwrap().changed);
    assert_eq!(ready(&mut client).0, 200);
    assert_eq!(client.claim("closing", "ann").status, 201);
    server.app.backend.engine().unwrap().do_due();
    assert_eq!(pending(&mut client), 0);

    let before = server.fixed_point();
    server.stop();
    verify(folder.path());
    source.pass(Duration::from_secs(5));
    let again = TestServer::start_watched(folder.path(), &source);
    assert_eq!(again.fixed_point(), before);
}
