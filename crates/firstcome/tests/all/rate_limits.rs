//! The tables of `conformance/rate-limit/`, over real HTTP: each case on a server of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::server;

use std::collections::HashMap;
use std::path::Path;

use conformance::limits::{LimitAsk, LimitBackend, LimitReply, run_limits};
use domain::rate_limit::{Decision, Mode, Moment, Settings, Verdict};
use domain::types::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use http::{Client, Response};
use server::TestServer;

const MS_NS: u64 = 1_000_000;

struct HttpLimits {
    server: TestServer,
    client: Client,
    now: Moment,
    /// The latest `now`: the service's time never runs backwards, and what it tells counts from here.
    latest: Moment,
    /// Reservations and leases by the tables' labels.
    held: HashMap<String, String>,
    _folder: TempDir,
}

impl HttpLimits {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::start(&folder.path().join("data"), 0);
        let client = server.client();
        Self { server, client, now: Moment::ZERO, latest: Moment::ZERO, held: HashMap::new(), _folder: folder }
    }

    fn send(&mut self, method: &str, target: &str, body: &Value) -> Response {
        let headers: &[(&str, &str)] = if body.is_null() { &[] } else { &[("content-type", "application/json")] };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.client.send(method, target, headers, &body)
    }

    fn done(&mut self, method: &str, target: &str, body: &Value) -> LimitReply {
        let answer = self.send(method, target, body);
        if answer.status < 300 { LimitReply::Done } else { LimitReply::Refused(answer.code()) }
    }

    /// What is held, if anything, comes under this label.
    fn decided(&mut self, target: &str, body: &Value, label: Option<&str>) -> LimitReply {
        let answer = self.send("POST", target, body);
        if answer.status != 200 {
            return LimitReply::Refused(answer.code());
        }
        let json = answer.json();
        let held = json["reservation"].as_str().or(json["lease"].as_str());
        if let (Some(label), Some(held)) = (label, held) {
            self.held.insert(label.to_owned(), held.to_owned());
        }
        let all = json["checks"].as_array().cloned().unwrap_or_else(|| vec![json.clone()]);
        LimitReply::Decided(all.iter().map(|one| self.decision(one)).collect())
    }

    fn decision(&self, json: &Value) -> Decision {
        let number = |field: &str| json[field].as_u64();
        let units = |field: &str| u32::try_from(number(field).unwrap()).unwrap();
        let verdict = match json["refusal"].as_str() {
            None => Verdict::Conforms,
            Some("not_until") => Verdict::NotUntil { at: self.latest.plus_nanos(number("retry_after_ms").unwrap() * MS_NS) },
            Some("exceeds_burst") => Verdict::ExceedsBurst { max: units("limit") },
            Some(other) => panic!("{other} is no refusal"),
        };
        let is_watched = verdict != Verdict::Conforms && json["allowed"] == true;
        Decision {
            verdict,
            mode: if is_watched { Mode::Shadow } else { Mode::Enforce },
            at: self.now,
            limit: units("limit"),
            remaining: units("remaining"),
            reset_after_ns: number("reset_after_ms").unwrap() * MS_NS + self.latest.nanos() - self.now.nanos(),
        }
    }

    fn check(&mut self, asked: &[(&str, &str, u32)]) -> LimitReply {
        if let [(policy, key, cost)] = asked {
            return self.decided(&format!("/v1/policies/{policy}/checks"), &json!({ "key": key, "cost": cost }), None);
        }
        let checks: Vec<Value> = asked.iter().map(|(policy, key, cost)| json!({ "policy": policy, "key": key, "cost": cost })).collect();
        self.decided("/v1/checks", &json!({ "checks": checks }), None)
    }

    fn held(&self, label: &str) -> String {
        self.held.get(label).cloned().unwrap_or_else(|| "nobody".to_owned())
    }
}

impl LimitBackend for HttpLimits {
    fn set_time(&mut self, at: Moment) {
        self.now = at;
        self.latest = self.latest.max(at);
        self.server.clock.set(Timestamp::from_millis(at.nanos() / MS_NS).unwrap());
    }

    fn run(&mut self, ask: &LimitAsk<'_>) -> LimitReply {
        match ask {
            LimitAsk::Policy(name, Settings { algorithm, quota, window_ns, burst, mode }) => {
                let mut body = json!({
                    "algorithm": algorithm.word(), "quota": quota, "window_ms": window_ns / MS_NS, "shadow": *mode == Mode::Shadow,
                });
                if *burst != 0 {
                    body["burst"] = json!(burst);
                }
                self.done("PUT", &format!("/v1/policies/{name}"), &body)
            }
            LimitAsk::Override(name, key, Some((quota, window_ns, burst))) => {
                let body = json!({ "quota": quota, "window_ms": window_ns / MS_NS, "burst": burst });
                self.done("PUT", &format!("/v1/policies/{name}/overrides/{key}"), &body)
            }
            LimitAsk::Override(name, key, None) => self.done("DELETE", &format!("/v1/policies/{name}/overrides/{key}"), &Value::Null),
            LimitAsk::Check(asked) => self.check(asked),
            LimitAsk::Reserve(name, key, cost, timeout_ns, label) => {
                let body = json!({ "key": key, "cost": cost, "timeout_ms": timeout_ns / MS_NS });
                self.decided(&format!("/v1/policies/{name}/reservations"), &body, Some(label))
            }
            LimitAsk::Settle(label, actual) => {
                let target = format!("/v1/reservations/{}/settle", self.held(label));
                self.done("POST", &target, &json!({ "cost": actual }))
            }
            LimitAsk::Refund(name, key, units) => {
                self.done("POST", &format!("/v1/policies/{name}/refunds"), &json!({ "key": key, "cost": units }))
            }
            LimitAsk::Reset(name, key) => self.done("POST", &format!("/v1/policies/{name}/resets"), &json!({ "key": key })),
            LimitAsk::InFlight(name, limit, timeout_ns, mode) => {
                let shadow = *mode == Mode::Shadow;
                let body = json!({ "algorithm": "in_flight", "quota": limit, "timeout_ms": timeout_ns / MS_NS, "shadow": shadow });
                self.done("PUT", &format!("/v1/policies/{name}"), &body)
            }
            LimitAsk::Start(name, key, label) => self.decided(&format!("/v1/policies/{name}/checks"), &json!({ "key": key }), Some(label)),
            LimitAsk::End(label) => {
                let target = format!("/v1/leases/{}", self.held(label));
                self.done("DELETE", &target, &Value::Null)
            }
        }
    }
}

#[test]
fn http_answers_as_the_tables_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/rate-limit");
    let summary = run_limits(&folder, |file| !file.contains("nanoseconds"), HttpLimits::new).unwrap();
    assert!(30 < summary.cases_count, "{summary:?}");
}

#[test]
fn policies_and_overrides_survive_a_restart_and_what_was_taken_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = TestServer::start(&data, 0);
    let put = |server: &TestServer, target: &str, body: &Value| {
        server.client().send("PUT", target, &[("content-type", "application/json")], &body.to_string())
    };
    let check = |server: &TestServer, key: &str| {
        let body = json!({ "key": key }).to_string();
        let answer = server.client().send("POST", "/v1/policies/api/checks", &[("content-type", "application/json")], &body);
        (answer.json()["allowed"] == true, answer.json()["remaining"].as_u64().unwrap())
    };
    assert_eq!(put(&server, "/v1/policies/api", &json!({ "algorithm": "fixed_window", "quota": 1, "window_ms": 60_000 })).status, 201);
    assert_eq!(put(&server, "/v1/policies/api/overrides/vip", &json!({ "quota": 3, "window_ms": 60_000 })).status, 200);
    assert_eq!([check(&server, "ann"), check(&server, "ann"), check(&server, "vip")], [(true, 0), (false, 0), (true, 2)]);
    let before = server.client().get("/v1/policies/api").json();
    server.stop();
    let server = TestServer::start(&data, 1);
    assert_eq!(server.client().get("/v1/policies/api").json(), before);
    assert_eq!([check(&server, "ann"), check(&server, "vip")], [(true, 0), (true, 2)]);
}

/// With other preconditions it is another request.
#[test]
fn a_request_key_does_not_repeat_under_other_preconditions() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(&folder.path().join("data"), 0);
    let mut client = server.client();
    let policy = r#"{"algorithm":"fixed_window","quota":5,"window_ms":3600000}"#;
    for (target, body) in [("/v1/policies/api", policy), ("/v1/campaigns/spring", r#"{"stock":5}"#)] {
        let mut put = |preconditions: &[(&str, &str)]| {
            let headers = [&[("content-type", "application/json"), ("idempotency-key", target)], preconditions].concat();
            let answer = client.send("PUT", target, &headers, body);
            (answer.status, answer.header("idempotent-replayed").is_some())
        };
        assert_eq!(put(&[("if-none-match", "AAA")]), (400, false));
        assert_eq!(put(&[("if-none-match", "*")]), (201, false));
        assert_eq!(put(&[("if-none-match", "*")]), (201, true));
        assert_eq!(put(&[]), (422, false));
        assert_eq!(put(&[("if-match", "*")]), (422, false));
        assert_eq!(put(&[("if-none-match", "AAA")]), (400, false));
    }
}

/// A check whose answer was lost is asked again under its key: it must not be charged twice.
#[test]
fn a_request_key_on_a_check_a_reservation_a_refund_or_a_lease_takes_effect_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(&folder.path().join("data"), 0);
    let mut client = server.client();
    let mut send = |method: &str, target: &str, key: &str, body: &Value| {
        let headers: &[(&str, &str)] = &[("content-type", "application/json"), ("idempotency-key", key)];
        let headers = if body.is_null() { &headers[1..] } else { headers };
        client.send(method, target, headers, &if body.is_null() { String::new() } else { body.to_string() })
    };
    let policy = json!({ "algorithm": "fixed_window", "quota": 5, "window_ms": 3_600_000 });
    assert_eq!(send("PUT", "/v1/policies/api", "p1", &policy).status, 201);
    let again = send("PUT", "/v1/policies/api", "p1", &policy);
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));

    let check = json!({ "key": "ann", "cost": 2 });
    let first = send("POST", "/v1/policies/api/checks", "c1", &check);
    assert_eq!((first.json()["remaining"].as_u64(), first.header("idempotent-replayed")), (Some(3), None));
    let again = send("POST", "/v1/policies/api/checks", "c1", &check);
    assert_eq!((again.json(), again.header("idempotent-replayed")), (first.json(), Some("true")));
    assert_eq!(again.header("ratelimit"), first.header("ratelimit"));
    assert_eq!(send("POST", "/v1/policies/api/checks", "c2", &check).json()["remaining"].as_u64(), Some(1));
    let other = send("POST", "/v1/policies/api/checks", "c1", &json!({ "key": "ann", "cost": 1 }));
    assert_eq!((other.status, other.code()), (422, "request_key_reused".to_owned()));

    // What was refused took nothing, and is decided again under its key.
    assert_eq!(send("POST", "/v1/policies/api/checks", "c3", &check).json()["allowed"], false);
    let refund = json!({ "key": "ann", "cost": 1 });
    for _ in 0..2 {
        assert_eq!(send("POST", "/v1/policies/api/refunds", "f1", &refund).json()["remaining"].as_u64(), Some(2));
    }
    let now = send("POST", "/v1/policies/api/checks", "c3", &check);
    assert_eq!((now.json()["allowed"].as_bool(), now.json()["remaining"].as_u64()), (Some(true), Some(0)));

    let estimate = json!({ "key": "bob", "cost": 4, "timeout_ms": 60_000 });
    let reserved = send("POST", "/v1/policies/api/reservations", "r1", &estimate).json();
    assert_eq!(send("POST", "/v1/policies/api/reservations", "r1", &estimate).json(), reserved);
    let settle = format!("/v1/reservations/{}/settle", reserved["reservation"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(send("POST", &settle, "s1", &json!({ "cost": 1 })).status, 200);
    }
    assert_eq!(send("POST", "/v1/policies/api/checks", "c4", &json!({ "key": "bob", "cost": 0 })).json()["remaining"].as_u64(), Some(4));

    let flight = json!({ "algorithm": "in_flight", "quota": 2, "timeout_ms": 60_000 });
    assert_eq!(send("PUT", "/v1/policies/flight", "p2", &flight).status, 201);
    let started = send("POST", "/v1/policies/flight/checks", "l1", &json!({ "key": "ann" })).json();
    assert_eq!(send("POST", "/v1/policies/flight/checks", "l1", &json!({ "key": "ann" })).json(), started);
    let lease = format!("/v1/leases/{}", started["lease"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(send("DELETE", &lease, "e1", &Value::Null).status, 200);
    }
    for _ in 0..2 {
        assert_eq!(send("DELETE", "/v1/policies/flight", "d1", &Value::Null).status, 200);
    }
}

#[test]
fn the_same_rule_again_changes_nothing_and_keeps_what_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(&folder.path().join("data"), 0);
    let mut client = server.client();
    let json_type = [("content-type", "application/json")];
    let rule = json!({ "algorithm": "fixed_window", "quota": 1, "window_ms": 60_000 }).to_string();
    assert_eq!(client.send("PUT", "/v1/policies/api", &json_type, &rule).status, 201);
    let ask = json!({ "key": "ann" }).to_string();
    assert_eq!(client.send("POST", "/v1/policies/api/checks", &json_type, &ask).json()["allowed"], true);
    let again = client.send("PUT", "/v1/policies/api", &json_type, &rule);
    assert_eq!((again.status, again.json()["version"].as_u64()), (200, Some(1)));
    let refused = client.send("POST", "/v1/policies/api/checks", &json_type, &ask);
    assert_eq!(refused.json()["allowed"], false);
    assert_eq!(refused.header("retry-after"), Some("60"));
    assert_eq!(refused.header("ratelimit"), Some("\"api\";r=0;t=60"));
    let removed = client.send("DELETE", "/v1/policies/api", &[], "");
    assert_eq!(removed.status, 200);
    assert_eq!(client.send("POST", "/v1/policies/api/checks", &json_type, &ask).code(), "policy_not_found");
}

#[test]
fn several_keys_at_once_are_all_taken_or_none_whoever_else_asks() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(&folder.path().join("data"), 0);
    let json_type = [("content-type", "application/json")];
    for (policy, quota) in [("narrow", 30), ("wide", 1_000)] {
        let rule = json!({ "algorithm": "fixed_window", "quota": quota, "window_ms": 3_600_000 }).to_string();
        assert_eq!(server.client().send("PUT", &format!("/v1/policies/{policy}"), &json_type, &rule).status, 201);
    }
    // Half of them name the keys in the other order.
    let ask = |turned: bool| {
        let mut checks = vec![json!({ "policy": "wide", "key": "ann" }), json!({ "policy": "narrow", "key": "all" })];
        if turned {
            checks.reverse();
        }
        let (mut client, body) = (server.client(), json!({ "checks": checks }).to_string());
        (0..20).filter(|_| client.send("POST", "/v1/checks", &json_type, &body).json()["allowed"] == true).count()
    };
    let granted: usize = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|one| {
                let ask = &ask;
                scope.spawn(move || ask(one % 2 == 0))
            })
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).sum()
    });
    let remaining = |policy: &str, key: &str| {
        let look = json!({ "key": key, "cost": 0 }).to_string();
        server.client().send("POST", &format!("/v1/policies/{policy}/checks"), &json_type, &look).json()["remaining"].as_u64()
    };
    assert_eq!((granted, remaining("narrow", "all"), remaining("wide", "ann")), (30, Some(0), Some(970)));
}
