//! What the tables cannot say of requests over HTTP: headers, replays to the byte, restarts, and
//! the server's own pages.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::server;

use std::path::Path;

use firstcome::inspect::{self, Form, RecordRange};
use journal::Lsn;
use serde_json::{Value, json};
use tempfile::TempDir;

use http::{Client, Response};
use server::{TestServer, at_seconds};

const SPRING: &str = "/v1/campaigns/spring";
const CLAIMS: &str = "/v1/campaigns/spring/claims";
const START: u64 = 1_000;
const DAY: u64 = 24 * 60 * 60;

fn started() -> (TempDir, TestServer, Client) {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path(), START);
    let client = server.client();
    (folder, server, client)
}

fn keyed(client: &mut Client, method: &str, target: &str, key: &str, body: &str) -> Response {
    client.send(method, target, &[("idempotency-key", key)], body)
}

#[test]
fn a_campaign_has_an_etag_that_if_match_asks_for() {
    let (_folder, _server, mut client) = started();
    let created = client.put(SPRING, r#"{"stock":10}"#);
    assert_eq!((created.status, created.header("location"), created.header("etag")), (201, Some(SPRING), Some("\"1\"")));
    let replaced = client.send("PUT", SPRING, &[("if-match", "\"1\"")], r#"{"stock":11}"#);
    assert_eq!((replaced.status, replaced.header("location"), replaced.header("etag")), (200, None, Some("\"2\"")));
    let lost = client.send("PATCH", SPRING, &[("if-match", "\"1\"")], r#"{"stock":12}"#);
    assert_eq!((lost.status, lost.header("etag"), lost.json()["version"].as_u64()), (412, Some("\"2\""), Some(2)));
    let read = client.get(SPRING);
    assert_eq!((read.header("etag"), read.json()["stock"].as_u64()), (Some("\"2\""), Some(11)));
    let merged =
        client.send("PATCH", SPRING, &[("if-match", "\"2\""), ("content-type", "application/merge-patch+json")], r#"{"stock":12}"#);
    assert_eq!((merged.status, merged.header("etag")), (200, Some("\"3\"")));
}

/// Whoever reads, changes one field and writes sends all the others too.
#[test]
fn what_a_read_says_can_be_put_back() {
    let (_folder, _server, mut client) = started();
    client.put(SPRING, r#"{"stock":10,"per_subject_max":2,"opens_at":"1970-01-01T00:10:00Z"}"#);
    client.put("/v1/policies/api", r#"{"algorithm":"leaky_bucket","quota":10,"window_ms":1000,"burst":5}"#);
    client.put("/v1/policies/api/overrides/10.0.0.7", r#"{"quota":20,"window_ms":1000,"burst":5}"#);
    for target in [SPRING, "/v1/policies/api"] {
        let read = client.get(target);
        for method in ["PUT", "PATCH"] {
            let back = client.send(method, target, &[("if-match", "\"1\"")], read.text());
            assert_eq!((back.status, back.text()), (200, read.text()), "{method} {target}");
        }
    }
    let overrides = client.get("/v1/policies/api/overrides").json();
    let back = client.put("/v1/policies/api/overrides/10.0.0.7", &overrides["overrides"][0].to_string());
    assert_eq!((back.status, back.json()), (200, overrides["overrides"][0].clone()));
    let other = client.put("/v1/policies/api/overrides/10.0.0.8", &overrides["overrides"][0].to_string());
    assert_eq!((other.code(), other.json()["field"].clone()), ("invalid_field".to_owned(), json!("key")));
    // Alone they would be believed to have been set.
    for body in [r#"{"stock":10,"remaining":5}"#, r#"{"stock":10,"version":1}"#, r#"{"stock":10,"campaign":"spring","created_at":null}"#] {
        for method in ["PUT", "PATCH"] {
            let refused = client.send(method, SPRING, &[], body);
            let said = refused.json()["detail"].as_str().unwrap().to_owned();
            assert!(refused.code() == "invalid_field" && said.contains("only read"), "{method} {body}: {said}");
        }
    }
}

#[test]
fn a_claim_says_where_it_is_and_its_code_leads_back_to_it() {
    let (_folder, _server, mut client) = started();
    client.put(SPRING, r#"{"stock":10}"#);
    let claimed = client.claim("spring", "ann");
    assert_eq!((claimed.status, claimed.is_replayed()), (201, false));
    let location = claimed.header("location").unwrap();
    assert_eq!(location, format!("{CLAIMS}/ann"));
    let read = client.get(location).json();
    let code = claimed.json()["code"].as_str().unwrap().to_owned();
    assert_eq!((&read["code"], &read["status"], &read["claimed_at"]), (&json!(code), &json!("live"), &json!("1970-01-01T00:16:40.000Z")));
    let parted = |dash: &str| format!("{}{dash}{}", &code[..4], &code[4..]);
    // U+FF01 to U+FF5E.
    let full_width: String = code.chars().filter_map(|character| char::from_u32(u32::from(character) + 0xfee0)).collect();
    let full_width: String = full_width.bytes().map(|byte| format!("%{byte:02X}")).collect();
    // A blank, an en dash, an ideographic space, a zero-width space; a line end at the end.
    let pasted = ["%20", "-", "%E2%80%93", "%E3%80%80", "%E2%80%8B"].map(&parted);
    for spelled in [code.clone(), code.to_lowercase(), format!("{code}%0D%0A"), full_width].iter().chain(&pasted) {
        assert_eq!(client.get(&format!("{SPRING}/codes/{spelled}")).json(), read, "{spelled}");
    }
    for (wrong, says) in [(format!("%22{code}"), "U+0022"), (parted("%D0%A1"), "place 5"), (code[1..].to_owned(), "not 12")] {
        let refused = client.post(&format!("{SPRING}/codes/{wrong}/redeem"), "");
        assert!(refused.code() == "code_not_found" && refused.text().contains(says), "{wrong}: {}", refused.text());
    }
    let wrong = format!("{}{}", &code[..12], if code.ends_with('0') { '1' } else { '0' });
    assert!(client.get(&format!("{SPRING}/codes/{wrong}")).json()["detail"].as_str().unwrap().contains("check character"));
}

/// Requests with keys, and their first answers.
struct Keyed {
    asked: Vec<(&'static str, String, &'static str, String)>,
    answers: Vec<Response>,
}

impl Keyed {
    fn all(client: &mut Client) -> Self {
        let asked = vec![
            ("PUT", SPRING.to_owned(), "k-put", r#"{"stock":10,"per_subject_max":3}"#.to_owned()),
            ("PATCH", SPRING.to_owned(), "k-patch", r#"{"stock":20}"#.to_owned()),
            ("POST", CLAIMS.to_owned(), "k-1", r#"{"subject":"ann"}"#.to_owned()),
            ("POST", CLAIMS.to_owned(), "k-2", r#"{"subject":"bob"}"#.to_owned()),
            ("POST", format!("{CLAIMS}/ann/redeem"), "k-redeem", String::new()),
            ("DELETE", format!("{CLAIMS}/bob?serial=2"), "k-cancel", String::new()),
        ];
        let answers: Vec<Response> = asked.iter().map(|(method, target, key, body)| keyed(client, method, target, key, body)).collect();
        assert!(answers.iter().all(|answer| answer.status < 300 && !answer.is_replayed()), "{answers:?}");
        Self { asked, answers }
    }

    /// The settings have been changed, one claim used, the other given back: only the last is told.
    fn are_replayed(&self, client: &mut Client) {
        for ((method, target, key, body), first) in self.asked.iter().zip(&self.answers) {
            let again = keyed(client, method, target, key, body);
            assert!(again.is_replayed(), "{method} {target}");
            for header in ["content-type", "etag", "location"] {
                assert_eq!(again.header(header), first.header(header), "{method} {target}");
            }
            let since = again.text().split(",\"cancelled_at\"").next().unwrap_or_default().to_owned() + "}";
            let said = if *key == "k-2" { &since } else { again.text() };
            assert_eq!((again.status, said), (first.status, first.text()), "{method} {target}");
        }
    }
}

#[test]
fn a_replay_repeats_status_and_body_to_the_byte_also_after_a_restart_and_ends_after_a_day() {
    let (folder, mut server, mut client) = started();
    let keyed_requests = Keyed::all(&mut client);
    keyed_requests.are_replayed(&mut client);
    let before = server.fixed_point();
    server.stop();

    let mut server = TestServer::start(folder.path(), START + 5);
    let mut client = server.client();
    assert_eq!(server.fixed_point(), before);
    keyed_requests.are_replayed(&mut client);
    server.stop();
    std::fs::remove_dir_all(folder.path().join("snapshots")).unwrap();

    let server = TestServer::start(folder.path(), START + 5);
    let mut client = server.client();
    server.clock.set(at_seconds(START + DAY - 1));
    keyed_requests.are_replayed(&mut client);
    server.clock.set(at_seconds(START + DAY));
    let fresh = keyed(&mut client, "POST", CLAIMS, "k-1", r#"{"subject":"ann"}"#);
    assert_eq!((fresh.status, fresh.is_replayed(), &fresh.json()["serial"]), (201, false, &json!(3)));
}

#[test]
fn a_key_belongs_to_one_method_path_and_body() {
    let (_folder, _server, mut client) = started();
    client.put(SPRING, r#"{"stock":10,"per_subject_max":3}"#);
    assert_eq!(keyed(&mut client, "POST", CLAIMS, "k", r#"{"subject":"ann"}"#).status, 201);
    let others = [
        ("POST", CLAIMS.to_owned(), r#"{"subject":"bob"}"#),
        ("POST", format!("{CLAIMS}/ann/redeem"), ""),
        ("POST", format!("{CLAIMS}/ann/redeem?serial=1"), ""),
        ("DELETE", format!("{CLAIMS}/ann"), ""),
        ("PATCH", SPRING.to_owned(), r#"{"stock":11}"#),
        ("PUT", SPRING.to_owned(), r#"{"stock":11}"#),
    ];
    for (method, target, body) in others {
        let refused = keyed(&mut client, method, &target, "k", body);
        assert_eq!((refused.status, refused.code().as_str()), (422, "request_key_reused"), "{method} {target} {body}");
    }
}

#[test]
fn of_many_with_one_key_at_once_one_is_fresh_and_all_hear_the_same() {
    let (_folder, server, mut client) = started();
    client.put(SPRING, r#"{"stock":100,"per_subject_max":100}"#);
    for round in 0..10 {
        let key = format!("k-{round}");
        let answers: Vec<Response> = std::thread::scope(|scope| {
            let ask = || keyed(&mut server.client(), "POST", CLAIMS, &key, r#"{"subject":"ann"}"#);
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|answer| !answer.is_replayed()).count(), 1);
        assert!(answers.iter().all(|answer| (answer.status, &answer.body) == (201, &answers[0].body)));
        assert_eq!(answers[0].json()["serial"], json!(round + 1));
    }
}

// --- Lists ----------------------------------------------------------------------------------

/// Follows `next` to the end.
fn all_pages(client: &mut Client, target: &str, field: &str, limit: usize) -> Vec<Value> {
    let (mut entries, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("{target}?limit={limit}{after}")).json();
        let found = page[field].as_array().unwrap();
        assert!(found.len() <= limit && entries.len() < 1_000);
        entries.extend(found.iter().cloned());
        let Some(next) = page["next"].as_str() else { return entries };
        assert_eq!(found.len(), limit);
        // As clients do that encode whatever is not a letter or a digit.
        let encoded: String = next
            .bytes()
            .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect();
        after = format!("&after={encoded}");
    }
}

#[test]
fn lists_page_without_loss_or_repeat() {
    let (_folder, _server, mut client) = started();
    let campaigns = ["a", "a:1", "a:2", "a_b", "b.c", "z-9"];
    for name in campaigns {
        assert_eq!(client.put(&format!("/v1/campaigns/{name}"), r#"{"stock":100}"#).status, 201);
        client.claim(name, "ann");
    }
    for user in 0..25 {
        client.claim("a", &format!("user-{user}"));
    }
    for limit in [1, 2, 5, 6, 7, 26, 1_000] {
        let names = all_pages(&mut client, "/v1/campaigns", "campaigns", limit);
        assert_eq!(names.iter().map(|entry| entry["campaign"].as_str().unwrap()).collect::<Vec<_>>(), campaigns);
        let serials = all_pages(&mut client, "/v1/campaigns/a/claims", "claims", limit);
        assert_eq!(serials.iter().map(|claim| claim["serial"].as_u64().unwrap()).collect::<Vec<_>>(), (1..=26).collect::<Vec<_>>());
        let of_ann = all_pages(&mut client, "/v1/subjects/ann/claims", "claims", limit);
        assert_eq!(of_ann.iter().map(|claim| claim["campaign"].as_str().unwrap()).collect::<Vec<_>>(), campaigns);
    }
    assert_eq!(client.get("/v1/subjects/nobody/claims").json()["claims"], json!([]));
}

#[test]
fn a_list_is_right_immediately_after_a_claim() {
    let (_folder, server, mut client) = started();
    client.put(SPRING, r#"{"stock":1000}"#);
    for user in 1..=50 {
        let subject = format!("user-{user}");
        client.claim("spring", &subject);
        let durable = server.app.status().position;
        let list = client.get(&format!("{CLAIMS}?limit=1000")).json();
        assert_eq!(list["claims"].as_array().unwrap().len(), user);
        assert!(durable <= list["as_of"]["position"].as_u64().unwrap(), "{list}");
        assert_eq!(list["as_of"]["time"], json!("1970-01-01T00:16:40.000Z"));
        assert_eq!(client.get(&format!("/v1/subjects/{subject}/claims")).json()["claims"][0]["serial"], json!(user));
    }
}

#[test]
fn a_list_comes_in_the_form_that_is_asked_for() {
    let (_folder, _server, mut client) = started();
    client.put(SPRING, r#"{"stock":10}"#);
    for subject in ["-1+1", "ann", "bob"] {
        assert_eq!(client.claim("spring", subject).status, if subject.contains('+') { 400 } else { 201 });
    }
    assert_eq!(client.claim("spring", "-1").status, 201);
    client.post(&format!("{CLAIMS}/ann/redeem"), "");
    client.send("DELETE", &format!("{CLAIMS}/bob"), &[], "");
    let accepted = [
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv; charset=utf-8; header=present"),
        ("text/*", "text/csv; charset=utf-8; header=present"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/json;q=0.5, text/csv;q=0.6", "text/csv; charset=utf-8; header=present"),
        ("application/json;Q=0.5, text/csv;q=0.6", "text/csv; charset=utf-8; header=present"),
        ("text/csv;q=0.4, */*;q=0.5", "application/json"),
        ("application/*;q=0.1, application/json;q=0", "application/x-ndjson"),
        ("text/html, application/x-ndjson;q=0.001", "application/x-ndjson"),
    ];
    for (accept, media_type) in accepted {
        let answer = client.send("GET", CLAIMS, &[("accept", accept)], "");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media_type)), "{accept}");
    }
    for accept in ["text/html", "application/json;q=0", "image/*"] {
        assert_eq!(client.send("GET", CLAIMS, &[("accept", accept)], "").code(), "not_acceptable", "{accept}");
    }
    let listed = client.get(CLAIMS).json();
    let ndjson = client.send("GET", CLAIMS, &[("accept", "application/x-ndjson")], "");
    let lines: Vec<Value> = ndjson.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(lines), listed["claims"]);
    let position = listed["as_of"]["position"].as_u64().unwrap();
    assert_eq!(ndjson.header("firstcome-as-of"), Some(format!("position={position}, time=1970-01-01T00:16:40.000Z").as_str()));
    let csv = client.send("GET", CLAIMS, &[("accept", "text/csv")], "");
    let code = |place: usize| lines[place]["code"].as_str().unwrap();
    let at = "1970-01-01T00:16:40.000Z";
    let expected = format!(
        "campaign,serial,subject,code,claimed_at,status,redeemed_at,cancelled_at\r\nspring,1,ann,{},{at},redeemed,{at},\r\nspring,2,bob,{},{at},cancelled,,{at}\r\nspring,3,'-1,{},{at},live,,\r\n",
        code(0),
        code(1),
        code(2)
    );
    assert_eq!(csv.text(), expected);
    // For programs: every name as it was given, in the stream and in a page.
    for query in ["formulas=asis", "formulas=asis&limit=10"] {
        let as_is = client.send("GET", &format!("{CLAIMS}?{query}"), &[("accept", "text/csv")], "");
        assert_eq!(as_is.text(), expected.replace("'-1", "-1"), "{query}");
    }
    assert_eq!(client.get(&format!("{CLAIMS}?formulas=asis")).json()["claims"], listed["claims"]);
    let refused = client.get(&format!("{CLAIMS}?formulas=none"));
    assert_eq!((refused.code().as_str(), &refused.json()["parameter"]), ("invalid_parameter", &json!("formulas")));
    for (status, serial) in [("redeemed", 1), ("cancelled", 2), ("live", 3)] {
        let filtered = client.get(&format!("{CLAIMS}?status={status}")).json();
        assert_eq!((filtered["claims"].as_array().unwrap().len(), &filtered["claims"][0]["serial"]), (1, &json!(serial)));
        let exported = client.send("GET", &format!("{CLAIMS}?status={status}"), &[("accept", "application/x-ndjson")], "");
        assert_eq!(exported.text().lines().count(), 1);
    }
}

#[test]
fn a_history_that_is_gone_or_damaged_is_rebuilt_from_the_journal() {
    let (folder, mut server, mut client) = started();
    client.put(SPRING, r#"{"stock":1000}"#);
    for user in 0..200 {
        client.claim("spring", &format!("user-{user}"));
    }
    let expected = client.get(&format!("{CLAIMS}?limit=1000")).json();
    assert_eq!(expected["claims"].as_array().unwrap().len(), 200);
    server.stop();
    let path = folder.path().join("history.sqlite");
    let whole = checkpointed(&path);
    let mut torn_page = whole.clone();
    torn_page[4_096 * 2..4_096 * 3].fill(0xA5);
    let damages: [Option<&[u8]>; 5] = [None, Some(b"not a database at all"), Some(&[]), Some(&whole[..whole.len() / 2]), Some(&torn_page)];
    for (place, damage) in damages.into_iter().enumerate() {
        match damage {
            None => std::fs::remove_file(&path).unwrap(),
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        }
        let mut server = TestServer::start(folder.path(), START);
        let mut client = server.client();
        assert_eq!(client.get(&format!("{CLAIMS}?limit=1000")).json(), expected, "damage {place}");
        server.stop();
    }
}

/// The tables in one file, without the log beside it.
fn checkpointed(path: &Path) -> Vec<u8> {
    let db = rusqlite::Connection::open(path).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    std::fs::read(path).unwrap()
}

// --- The server itself ----------------------------------------------------------------------

#[test]
fn the_request_id_is_in_the_answer_the_problem_and_the_record() {
    let (folder, mut server, mut client) = started();
    let created = client.send("PUT", SPRING, &[("x-request-id", "order-77:a")], r#"{"stock":1}"#);
    assert_eq!(created.header("x-request-id"), Some("order-77:a"));
    let problem = client.send("GET", "/v1/campaigns/none", &[("x-request-id", "order-78")], "");
    assert_eq!((problem.header("x-request-id"), &problem.json()["request_id"]), (Some("order-78"), &json!("order-78")));
    let (first, second) = (client.get(SPRING), client.get(SPRING));
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    server.stop();
    let options = inspect::Options { records: Some(RecordRange { from: Lsn(1), limit: Some(1) }), form: Form::JsonLines };
    let mut told = Vec::new();
    inspect::run(folder.path(), &options, &mut told).unwrap();
    assert!(String::from_utf8(told).unwrap().contains("\"order-77:a\""));
}

#[test]
fn health_readiness_and_metrics_say_how_the_server_stands() {
    let (_folder, server, mut client) = started();
    client.put(SPRING, r#"{"stock":1}"#);
    client.claim("spring", "zoe-1");
    assert_eq!(client.claim("spring", "bob").code(), "sold_out");
    client.get(CLAIMS);
    assert_eq!(client.get("/healthz").json(), json!({ "status": "ok" }));
    let ready = client.get("/readyz").json();
    let expected = json!({ "ready": true, "reason": null, "read_only": false, "clock": { "leap_ms": null, "record_ahead_ms": 0 }, "position": 2, "history": { "position": 2, "broken": false }, "version": env!("CARGO_PKG_VERSION") });
    assert_eq!(ready, expected);
    let metrics = client.get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.text().contains("# TYPE firstcome_requests_total counter\n") && !metrics.text().contains("# EOF"));
    let open = client.send("GET", "/metrics", &[("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.3")], "");
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.text().contains("# TYPE firstcome_requests counter\n") && open.text().ends_with("# EOF\n"));
    for line in [
        r#"firstcome_requests_total{route="POST /v1/campaigns/{campaign}/claims",status="409",code="sold_out"} 1"#,
        r#"firstcome_requests_total{route="POST /v1/campaigns/{campaign}/claims",status="201",code=""} 1"#,
        "firstcome_position 2",
        "firstcome_history_position 2",
        "firstcome_claims 1",
        "firstcome_campaigns 1",
        "firstcome_read_only 0",
        "firstcome_connections 1",
        "firstcome_record_ahead_of_clock_seconds 0.0",
    ] {
        assert!(metrics.text().lines().any(|found| found == line), "{line}\n{}", metrics.text());
    }
    assert!(!metrics.text().contains("zoe") && !metrics.text().contains("spring"));
    server.app.stop();
    let stopping = client.try_send("GET", "/readyz", &[], "").unwrap();
    assert_eq!((stopping.status, &stopping.json()["reason"]), (503, &json!("stopping")));
}
