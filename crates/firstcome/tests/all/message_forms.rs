//! How requests are framed and encoded: what is not read as it was meant is refused by name (issue 16, number 13).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http::{Client, Response};
use crate::support::server::TestServer;

use serde_json::json;

const SPRING: &str = "/v1/campaigns/spring";
const CLAIMS: &str = "/v1/campaigns/spring/claims";
const ANN: &str = r#"{"subject":"ann"}"#;

fn spring() -> (tempfile::TempDir, TestServer, Client) {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path(), 1_000);
    let mut client = server.client();
    assert_eq!(client.put(SPRING, r#"{"stock":10}"#).status, 201);
    (folder, server, client)
}

fn raw(client: &mut Client, text: &str) -> Response {
    let answer = client.exchange(text.as_bytes(), false).unwrap();
    answer.check();
    answer
}

#[test]
fn a_body_with_a_coding_or_a_foreign_charset_is_415_and_says_what_is_taken() {
    let (_folder, server, mut client) = spring();
    let before = server.fixed_point();
    for coding in ["gzip", "banana", "identity, br", "gzip, chunked"] {
        for (method, target, body) in [("POST", CLAIMS, ANN), ("PUT", SPRING, r#"{"stock":11}"#), ("PATCH", SPRING, r#"{"stock":11}"#)] {
            let answer = client.send(method, target, &[("content-encoding", coding)], body);
            assert_eq!(
                (answer.code().as_str(), answer.header("accept-encoding")),
                ("unsupported_media_type", Some("identity")),
                "{coding}"
            );
        }
    }
    for charset in ["utf-16", "\"ISO-8859-1\"", "utf-8; charset=latin1"] {
        let declared = format!("application/json; charset={charset}");
        let answer = client.send("POST", CLAIMS, &[("content-type", &declared)], ANN);
        assert_eq!((answer.code().as_str(), answer.header("accept")), ("unsupported_media_type", Some("application/json")), "{charset}");
    }
    let patch = client.send("PATCH", SPRING, &[("content-type", "application/json-patch+json")], "[]");
    assert_eq!((patch.status, patch.header("accept-patch")), (415, Some("application/merge-patch+json, application/json")));
    assert_eq!(server.fixed_point(), before);
    let plain = [("content-encoding", "identity"), ("content-type", "application/json;charset=\"UTF-8\"")];
    assert_eq!(client.send("POST", CLAIMS, &plain, ANN).status, 201);
}

#[test]
fn a_transfer_coding_beside_chunked_is_refused_by_name() {
    let (_folder, server, mut client) = spring();
    let before = server.fixed_point();
    let head = format!("POST {CLAIMS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    let body = format!("{:x}\r\n{ANN}\r\n0\r\n\r\n", ANN.len());
    for coding in ["transfer-encoding: gzip, chunked", "transfer-encoding: gzip\r\ntransfer-encoding: chunked"] {
        let answer = raw(&mut client, &format!("{head}{coding}\r\n\r\n{body}"));
        assert_eq!((answer.code().as_str(), &answer.json()["header"]), ("invalid_header", &json!("transfer-encoding")), "{coding}");
    }
    assert_eq!(server.fixed_point(), before);
    assert_eq!(raw(&mut client, &format!("{head}transfer-encoding: Chunked\r\n\r\n{body}")).status, 201);
}

#[test]
fn a_request_names_its_host_once() {
    let (_folder, _server, mut client) = spring();
    for target in ["/healthz", SPRING, "/nothing", "/docs"] {
        for hosts in ["", "host: localhost\r\nhost: localhost\r\n", "host: localhost\r\nhost: other\r\n"] {
            let answer = raw(&mut client, &format!("GET {target} HTTP/1.1\r\n{hosts}\r\n"));
            assert_eq!((answer.code().as_str(), &answer.json()["header"]), ("invalid_header", &json!("host")), "{target} {hosts}");
        }
    }
    assert_eq!(raw(&mut client, &format!("GET {SPRING} HTTP/1.1\r\nHost: localhost\r\n\r\n")).status, 200);
}
