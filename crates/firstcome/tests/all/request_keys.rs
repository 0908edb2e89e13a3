//! Request keys: what every call that changes something does with one. One test asks every call twice under
//! one key, and the table in `docs/api.md` is compared with the tables of calls.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use axum::http::Method;
use firstcome::http::calls::{CALLS, Call};
use firstcome::http::openapi::describe::RequestKeyUse;
use serde_json::{Value, json};

use crate::support::http::{Client, Response};
use crate::support::server::TestServer;

const START: u64 = 1_000;
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");
const BEGIN: &str = "<!-- Generated from the calls' tables, see tests/all/request_keys.rs. -->\n";
const END: &str = "\n<!-- The end of the table. -->";

/// Calls that change something, without those of the example workload.
fn changing() -> impl Iterator<Item = &'static Call> {
    CALLS.iter().filter(|call| call.method != Method::GET && !call.path.starts_with("/v1/counters"))
}

fn named(call: &Call) -> String {
    format!("{} {}", call.method, call.path)
}

fn table() -> String {
    let mut table = "\n| call | `Idempotency-Key` |\n|---|---|\n".to_owned();
    for call in changing() {
        let kept = match call.description.request_key {
            RequestKeyUse::Ignored => panic!("{call:?} neither keeps a request key nor refuses it"),
            RequestKeyUse::InRecord => "kept for 24 hours, in the record".to_owned(),
            RequestKeyUse::InMemory => "kept for an hour, in memory".to_owned(),
            RequestKeyUse::Refused(reason) => format!("400 `invalid_header`: {reason}"),
        };
        writeln!(table, "| `{}` | {kept} |", named(call)).unwrap();
    }
    table
}

#[test]
fn the_table_in_the_docs_says_what_each_call_does_with_a_key() {
    let docs = fs::read_to_string(DOCS).unwrap();
    let (before, rest) = docs.split_once(BEGIN).expect("the table's beginning is marked");
    let (found, after) = rest.split_once(END).expect("the table's end is marked");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(DOCS, [before, BEGIN, &table(), END, after].concat()).unwrap();
        return;
    }
    assert!(found == table(), "docs/api.md is old: UPDATE_DOCS=1 writes it\n{}", table());
}

/// A server, and what each request has said.
struct World {
    _folder: tempfile::TempDir,
    _server: TestServer,
    client: Client,
    asked: BTreeSet<String>,
    keys: u32,
    admin: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::start(folder.path(), START);
        let client = server.client();
        Self { _folder: folder, _server: server, client, asked: BTreeSet::new(), keys: 0, admin: String::new() }
    }

    fn send(&mut self, call: &str, target: &str, key: Option<&str>, body: &str) -> Response {
        let authorization = format!("Bearer {}", self.admin);
        let key = key.map(|key| ("idempotency-key", key));
        let headers: Vec<_> = key.into_iter().chain((!self.admin.is_empty()).then_some(("authorization", &*authorization))).collect();
        self.client.send(call.split_once(' ').unwrap().0, target, &headers, body)
    }

    /// Asks twice under one key: the same answer, marked, and nothing happens.
    fn keeps(&mut self, call: &str, target: &str, body: &str) -> Value {
        self.keys += 1;
        let key = format!("twice-{}", self.keys);
        let first = self.send(call, target, Some(&key), body);
        assert!(first.status < 300 && !first.is_replayed(), "{call}: {}", first.text());
        // In quotes it is the same key.
        let again = self.send(call, target, Some(&format!("\"{key}\"")), body);
        assert_eq!((again.status, again.text(), again.is_replayed()), (first.status, first.text(), true), "{call}");
        self.asked.insert(call.to_owned());
        first.json()
    }
}

#[test]
fn every_call_that_changes_something_keeps_a_request_key_or_refuses_it_by_name() {
    let mut world = World::new();
    let campaign = "/v1/campaigns/spring";
    world.keeps("PUT /v1/campaigns/{campaign}", campaign, r#"{"stock":10}"#);
    world.keeps("PATCH /v1/campaigns/{campaign}", campaign, r#"{"stock":11}"#);
    for subject in ["ann", "bob", "cat"] {
        world.keeps("POST /v1/campaigns/{campaign}/claims", &format!("{campaign}/claims"), &json!({ "subject": subject }).to_string());
    }
    let code = world.client.get(&format!("{campaign}/claims/cat")).json()["code"].as_str().unwrap().to_owned();
    world.keeps("POST /v1/campaigns/{campaign}/claims/{subject}/redeem", &format!("{campaign}/claims/ann/redeem"), "");
    world.keeps("DELETE /v1/campaigns/{campaign}/claims/{subject}", &format!("{campaign}/claims/bob"), "");
    world.keeps("POST /v1/campaigns/{campaign}/codes/{code}/redeem", &format!("{campaign}/codes/{code}/redeem"), "");
    limits(&mut world);
    world.keeps("POST /v1/code-key/rotate", "/v1/code-key/rotate", "");
    refused(&mut world, "POST /v1/demonstration", "/v1/demonstration", "");
    keys(&mut world);
    assert_eq!(world.asked, changing().map(named).collect());
}

/// Whoever asks again may write the same otherwise: another library, another proxy, another person.
#[test]
fn the_same_asked_in_other_words_is_a_replay() {
    let mut world = World::new();
    let (campaign, api) = ("/v1/campaigns/spring", "/v1/policies/api");
    world.client.put(campaign, r#"{"stock":10}"#);
    world.client.put(api, r#"{"algorithm":"fixed_window","quota":10,"window_ms":1000}"#);
    let code = world.client.claim("spring", "bob").json()["code"].as_str().unwrap().to_owned();
    let redeem = |code: &str| format!("{campaign}/codes/{code}/redeem");
    let claims = format!("{campaign}/claims");
    let cases: [(&str, [&str; 2], [&str; 2]); 7] = [
        ("POST claim", [&claims, "/v1/campaigns/%73pring/claims"], [r#"{"subject":"ann"}"#, " { \"subject\" :\n\"\\u0061nn\" } "]),
        ("PUT settings", ["/v1/campaigns/late"; 2], [r#"{"stock":5,"paused":true}"#, r#"{"paused":true,"opens_at":null,"stock":5.0}"#]),
        ("PATCH settings", [campaign; 2], [r#"{"stock":11,"paused":null}"#, r#"{ "paused":null, "stock":1.1e1 }"#]),
        ("POST code", [&redeem(&code), &redeem(&format!("{}-{}", &code[..4], &code[4..]).to_lowercase())], [""; 2]),
        ("POST check", [&format!("{api}/checks"), "/v1/policies/ap%69/checks"], [r#"{"key":"a"}"#, r#"{"cost":null,"key":"a"}"#]),
        (
            "PUT override",
            ["/v1/policies/api/overrides/k", "/v1/policies/%61pi/overrides/%6b"],
            [r#"{"quota":20,"window_ms":1000}"#, r#"{"window_ms":1e3,"quota":20,"burst":null}"#],
        ),
        ("DELETE claim", [&format!("{claims}/ann?serial=2"), &format!("{claims}/%61nn?%73erial=2")], [""; 2]),
    ];
    for (place, (call, targets, bodies)) in cases.into_iter().enumerate() {
        let key = format!("words-{place}");
        let first = world.send(call, targets[0], Some(&key), bodies[0]);
        assert!(first.status < 300, "{call}: {}", first.text());
        let again = world.send(call, targets[1], Some(&key), bodies[1]);
        assert_eq!((again.status, again.text(), again.is_replayed()), (first.status, first.text(), true), "{call}");
    }
    // In a merge patch null is the default, and not nothing.
    let other = world.send("PATCH settings", campaign, Some("words-2"), r#"{"stock":11}"#);
    assert_eq!(other.code(), "request_key_reused");
    for malformed in ["\"k", "\"k\"q\"", "\"k\";a=1", "\"\"", "\"a b\""] {
        let refused = world.send("POST claim", &claims, Some(malformed), r#"{"subject":"eve"}"#);
        assert_eq!((refused.code().as_str(), &refused.json()["header"]), ("invalid_header", &json!("idempotency-key")), "{malformed}");
    }
}

/// What the free retry does not cover is told where it shows.
#[test]
fn an_answer_that_is_given_again_says_that_its_claim_was_cancelled_since() {
    let mut world = World::new();
    let (campaign, claims) = ("/v1/campaigns/spring", "/v1/campaigns/spring/claims");
    world.client.put(campaign, r#"{"stock":10}"#);
    let claim = |world: &mut World| world.send("POST claim", claims, Some("first"), r#"{"subject":"ann"}"#);
    let first = claim(&mut world);
    assert_eq!((claim(&mut world).text(), first.json().get("cancelled_at")), (first.text(), None));
    let cancelled = world.send("DELETE claim", &format!("{claims}/ann?serial=1"), None, "").json();
    let mut expected = first.json();
    expected["cancelled_at"] = cancelled["cancelled_at"].clone();
    assert!(expected["cancelled_at"].is_string());
    let replay = claim(&mut world);
    assert_eq!((replay.status, replay.is_replayed(), replay.json()), (201, true, expected));
    // A new claim of the subject is not confused with it.
    let again = world.client.claim("spring", "ann");
    assert_eq!((again.status, &again.json()["serial"], again.json().get("cancelled_at")), (201, &json!(2), None));
    // Without a key, a repeated cancellation means the claim that is there; by its serial, the one that it says.
    let repeated = world.send("DELETE claim", &format!("{claims}/ann?serial=1"), None, "");
    assert_eq!((repeated.status, repeated.code()), (409, "cancelled".to_owned()));
    let newer = world.send("DELETE claim", &format!("{claims}/ann"), None, "");
    assert_eq!((newer.status, &newer.json()["serial"]), (200, &json!(2)));
}

fn limits(world: &mut World) {
    let (api, jobs) = ("/v1/policies/api", "/v1/policies/jobs");
    let rate = r#"{"algorithm":"leaky_bucket","quota":10,"window_ms":1000,"burst":19}"#;
    world.keeps("PUT /v1/policies/{policy}", api, rate);
    world.keeps("PATCH /v1/policies/{policy}", api, r#"{"quota":20}"#);
    world.client.put(jobs, r#"{"algorithm":"in_flight","quota":5,"timeout_ms":60000}"#);
    let override_path = "/v1/policies/{policy}/overrides/{limit_key}";
    world.keeps(&format!("PUT {override_path}"), &format!("{api}/overrides/k"), r#"{"quota":20,"window_ms":1000}"#);
    world.keeps(&format!("DELETE {override_path}"), &format!("{api}/overrides/k"), "");
    let checked = world.keeps("POST /v1/policies/{policy}/checks", &format!("{api}/checks"), r#"{"key":"a","cost":5}"#);
    world.keeps("POST /v1/policies/{policy}/refunds", &format!("{api}/refunds"), r#"{"key":"a","cost":1}"#);
    let left = world.client.post(&format!("{api}/checks"), r#"{"key":"a","cost":0}"#).json();
    assert_eq!(left["remaining"].as_u64().unwrap(), checked["remaining"].as_u64().unwrap() + 1, "once taken, once given back");
    world.keeps("POST /v1/policies/{policy}/resets", &format!("{api}/resets"), r#"{"key":"a"}"#);
    world.keeps("POST /v1/checks", "/v1/checks", r#"{"checks":[{"policy":"api","key":"b"}]}"#);
    let reserve = r#"{"key":"c","cost":2,"timeout_ms":60000}"#;
    let reserved = world.keeps("POST /v1/policies/{policy}/reservations", &format!("{api}/reservations"), reserve);
    let settle = format!("/v1/reservations/{}/settle", reserved["reservation"].as_str().unwrap());
    world.keeps("POST /v1/reservations/{reservation}/settle", &settle, r#"{"cost":1}"#);
    let lease = world.client.post(&format!("{jobs}/checks"), r#"{"key":"d"}"#).json()["lease"].as_str().unwrap().to_owned();
    world.keeps("DELETE /v1/leases/{lease}", &format!("/v1/leases/{lease}"), "");
    world.keeps("DELETE /v1/policies/{policy}", jobs, "");
}

fn keys(world: &mut World) {
    refused(world, "POST /v1/keys", "/v1/keys", r#"{"key":"admin","scopes":["admin"]}"#);
    let made = world.client.post("/v1/keys", r#"{"key":"admin","scopes":["admin"]}"#).json();
    world.admin = made["secret"].as_str().unwrap().to_owned();
    assert_eq!(world.send("POST /v1/keys", "/v1/keys", None, r#"{"key":"shop","scopes":["read"]}"#).status, 201);
    refused(world, "POST /v1/keys/{key}/rotate", "/v1/keys/shop/rotate", "");
    let revoked = world.keeps("DELETE /v1/keys/{key}", "/v1/keys/shop", "");
    assert!(revoked["revoked_at"].is_string());
}

/// A call that cannot give the same answer twice must not let the caller believe that it does.
fn refused(world: &mut World, call: &str, target: &str, body: &str) {
    let answer = world.send(call, target, Some("once"), body);
    let problem = answer.json();
    assert_eq!((answer.code().as_str(), &problem["header"]), ("invalid_header", &json!("idempotency-key")), "{call}: {problem}");
    world.asked.insert(call.to_owned());
}
