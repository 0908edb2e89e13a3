//! Preconditions in every form in which they arrive, and on every call (issue 16, number 12).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::server::TestServer;

use axum::http::Method;
use firstcome::http::calls::CALLS;
use serde_json::json;

const SPRING: &str = "/v1/campaigns/spring";

/// Behind nginx with gzip, and behind Apache with mod_deflate, a client never sees the tag as it was sent.
#[test]
fn a_tag_that_a_proxy_has_changed_is_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path(), 1_000);
    let mut client = server.client();
    client.put(SPRING, r#"{"stock":10}"#);
    let forms = ["W/\"1\"", "\"2-gzip\"", "\"1\", W/\"3\"", "\"4\",\"9\"", "\"x\",\"5\""];
    for (stock, tag) in (11..).zip(forms) {
        let answer = client.send("PATCH", SPRING, &[("if-match", tag)], &format!("{{\"stock\":{stock}}}"));
        assert_eq!(answer.status, 200, "{tag}: {}", answer.text());
    }
    let lines = client.send("PUT", SPRING, &[("if-match", "\"1\""), ("if-match", "W/\"6\"")], r#"{"stock":20}"#);
    assert_eq!((lines.status, lines.header("etag")), (200, Some("\"7\"")));
    for tag in ["W/\"6\"", "\"1\",\"2\"", "\"\""] {
        let lost = client.send("PUT", SPRING, &[("if-match", tag)], r#"{"stock":30}"#);
        assert_eq!((lost.status, lost.header("etag"), lost.json()["version"].as_u64()), (412, Some("\"7\""), Some(7)), "{tag}");
    }
    let none = client.send("PUT", "/v1/campaigns/new", &[("if-match", "\"1\",\"2\"")], r#"{"stock":30}"#);
    assert_eq!(none.code(), "campaign_not_found");
    let policy = r#"{"algorithm":"leaky_bucket","quota":5,"window_ms":1000,"burst":5}"#;
    assert_eq!(client.put("/v1/policies/api", policy).status, 201);
    assert_eq!(client.send("DELETE", "/v1/policies/api", &[("if-match", "W/\"2\",W/\"1\"")], "").status, 200);
}

#[test]
fn a_precondition_that_a_call_would_ignore_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path(), 1_000);
    let mut client = server.client();
    client.put(SPRING, r#"{"stock":10}"#);
    let before = server.fixed_point();
    let mut refused = 0;
    for call in CALLS.iter().filter(|call| call.method != Method::GET) {
        let path: Vec<&str> = call.path.split('/').map(|part| if part.starts_with('{') { "spring" } else { part }).collect();
        for (name, value) in [("if-match", "\"1\""), ("if-none-match", "*"), ("if-unmodified-since", "Tue, 01 Dec 2026 00:00:00 GMT")] {
            let reads = |name| call.description.reads_header(name);
            // `If-None-Match` is read where `If-Match` is: a change of what must not exist yet never holds.
            if reads(name) || (name == "if-none-match" && reads("if-match")) {
                continue;
            }
            let answer = client.send(call.method.as_str(), &path.join("/"), &[(name, value)], "");
            assert_eq!((answer.code().as_str(), &answer.json()["header"]), ("invalid_header", &json!(name)), "{call:?}");
            assert!(call.refusals().contains(&"invalid_header"), "{call:?}");
            refused += 1;
        }
    }
    assert!(30 < refused);
    assert_eq!(server.fixed_point(), before);
    assert_eq!(client.claim("spring", "ann").status, 201);
}
