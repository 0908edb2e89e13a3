//! Whatever a caller sends, the answer is a clear problem that names what is wrong, nothing
//! changes, and the server goes on serving. What is not HTTP at all gets a 4xx or a closed
//! connection.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::server;

use std::io::{BufReader, Read, Write};

use serde_json::{Value, json};
use tempfile::TempDir;

use http::{Client, Response, connect, read_answer};
use server::TestServer;

const SPRING: &str = "/v1/campaigns/spring";
const CLAIMS: &str = "/v1/campaigns/spring/claims";

/// A server with one campaign and one claim, and the promise that nothing changes them.
struct Unmoved {
    server: TestServer,
    client: Client,
    before: (u64, [u8; 32]),
    _folder: TempDir,
}

impl Unmoved {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::start(folder.path(), 1_000);
        let mut client = server.client();
        assert_eq!(client.put(SPRING, r#"{"stock":10}"#).status, 201);
        assert_eq!(client.claim("spring", "ann").status, 201);
        let before = server.fixed_point();
        Self { server, client, before, _folder: folder }
    }

    /// Sends it and expects this code; `naming` is the field, parameter or header that is named.
    fn refuses(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str, code: &str, naming: &str) -> Response {
        let answer = self.client.send(method, target, headers, body);
        self.judge(&answer, code, naming, &format!("{method} {target} {headers:?} {body:.200}"));
        answer
    }

    fn refuses_body(&mut self, method: &str, target: &str, body: &str, code: &str, naming: &str) {
        self.refuses(method, target, &[], body, code, naming);
    }

    fn refuses_bytes(&mut self, bytes: &[u8], code: &str, naming: &str) {
        let sent = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let answer = self.client.exchange(bytes, false).unwrap_or_else(|error| panic!("{error}: {sent}"));
        answer.check();
        self.judge(&answer, code, naming, &sent);
    }

    fn judge(&self, answer: &Response, code: &str, naming: &str, sent: &str) {
        let problem = answer.json();
        let named = ["field", "parameter", "header"].iter().find_map(|kind| problem[kind].as_str()).unwrap_or_default();
        assert_eq!((answer.code().as_str(), named), (code, naming), "{sent}\n{problem}");
        assert_eq!(self.server.fixed_point(), self.before, "{sent}");
    }

    fn still_serves(mut self) {
        assert_eq!(self.server.fixed_point(), self.before);
        let mut fresh = self.server.client();
        assert_eq!(fresh.claim("spring", "ann").status, 200);
        assert_eq!(fresh.claim("spring", "zoe").status, 201);
        self.server.stop();
    }
}

#[test]
fn a_body_that_is_not_json_is_malformed() {
    let mut unmoved = Unmoved::new();
    for body in ["{", "}", "nonsense", r#"{"subject":"eve""#, r#"{"subject":"eve"}x"#, r#"{"subject":"eve",}"#, r#"{'subject':'eve'}"#] {
        unmoved.refuses_body("POST", CLAIMS, body, "malformed_json", "");
    }
    for body in [r#"{"stock":1e400}"#, r#"{"stock":01}"#, r#"{"stock":+1}"#, r#"{"stock":NaN}"#, "\u{feff}{\"stock\":1}"] {
        unmoved.refuses_body("PUT", "/v1/campaigns/new", body, "malformed_json", "");
    }
    unmoved.refuses("POST", CLAIMS, &[("content-type", "application/json")], "", "malformed_json", "");
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    for body in [format!(r#"{{"subject":{deep}}}"#), format!(r#"{{"other":{deep}}}"#), deep] {
        let answer = unmoved.client.send("POST", CLAIMS, &[], &body);
        assert_eq!(answer.status, 400);
        assert!(answer.body.len() < 1_000);
    }
    unmoved.still_serves();
}

#[test]
fn a_field_that_is_unknown_repeated_missing_or_of_the_wrong_type_is_named() {
    let mut unmoved = Unmoved::new();
    let claims = [
        ("{}", "subject"),
        (r#"{"subject":"eve","more":1}"#, "more"),
        (r#"{"Subject":"eve"}"#, "Subject"),
        (r#"{"subject":"eve","subject":"bob"}"#, "subject"),
        (r#"{"subject":7}"#, "subject"),
        (r#"{"subject":null}"#, "subject"),
        (r#"{"subject":["eve"]}"#, "subject"),
        ("null", "body"),
        ("7", "body"),
        (r#""eve""#, "body"),
        (r#"["eve"]"#, "body"),
        ("[]", "body"),
    ];
    for (body, field) in claims {
        unmoved.refuses_body("POST", CLAIMS, body, "invalid_field", field);
    }
    let puts = [
        ("{}", "stock"),
        (r#"{"stock":"10"}"#, "stock"),
        (r#"{"stock":null}"#, "stock"),
        (r#"{"stock":true}"#, "stock"),
        (r#"{"stock":10,"stock":10}"#, "stock"),
        (r#"{"stock":10,"limit":1}"#, "limit"),
        (r#"{"stock":10,"per_subject_max":"1"}"#, "per_subject_max"),
        (r#"{"stock":10,"paused":"no"}"#, "paused"),
        (r#"{"stock":10,"paused":1}"#, "paused"),
        (r#"{"stock":10,"opens_at":1700000000}"#, "opens_at"),
        (r#"{"stock":10,"closes_at":{}}"#, "closes_at"),
        (r#"[10,1,null,null,null,false]"#, "body"),
    ];
    for (body, field) in puts {
        unmoved.refuses_body("PUT", "/v1/campaigns/new", body, "invalid_field", field);
    }
    let patches = [
        (r#"{"stock":null}"#, "stock"),
        (r#"{"stock":"7"}"#, "stock"),
        (r#"{"paused":0}"#, "paused"),
        (r#"{"name":"x"}"#, "name"),
        ("[11]", "body"),
    ];
    for (body, field) in patches {
        unmoved.refuses_body("PATCH", SPRING, body, "invalid_field", field);
    }
    unmoved.still_serves();
}

#[test]
fn a_number_out_of_range_or_with_a_fraction_is_named() {
    let mut unmoved = Unmoved::new();
    for number in [
        "0",
        "-1",
        "-0",
        "0.0",
        "1.5",
        "15e-1",
        "-1e3",
        "1e10",
        "1000000001",
        "4294967306",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        unmoved.refuses_body("PUT", "/v1/campaigns/new", &format!(r#"{{"stock":{number}}}"#), "invalid_field", "stock");
        unmoved.refuses_body("PATCH", SPRING, &format!(r#"{{"stock":{number}}}"#), "invalid_field", "stock");
    }
    for number in ["0", "101", "-1", "1.5", "4294967297"] {
        let body = format!(r#"{{"stock":10,"per_subject_max":{number}}}"#);
        unmoved.refuses_body("PUT", "/v1/campaigns/new", &body, "invalid_field", "per_subject_max");
    }
    unmoved.still_serves();
}

#[test]
fn a_time_without_offset_or_out_of_order_is_named() {
    let mut unmoved = Unmoved::new();
    for time in
        ["2030-01-01T00:00:00", "2030-01-01", "tomorrow", "", "2030-13-01T00:00:00Z", "1969-12-31T23:59:59Z", "2030-01-01T00:00:00+25:00"]
    {
        for field in ["opens_at", "closes_at", "redeem_until"] {
            let body = format!(r#"{{"stock":10,"{field}":"{time}"}}"#);
            unmoved.refuses_body("PUT", "/v1/campaigns/new", &body, "invalid_field", field);
        }
    }
    let ordered = r#"{"stock":10,"opens_at":"2030-01-02T00:00:00Z","closes_at":"2030-01-01T00:00:00Z"}"#;
    unmoved.refuses_body("PUT", "/v1/campaigns/new", ordered, "closes_before_opens", "closes_at");
    unmoved.refuses_body(
        "PUT",
        "/v1/campaigns/new",
        &ordered.replace("closes_at", "redeem_until"),
        "redeem_until_before_opens",
        "redeem_until",
    );
    unmoved.still_serves();
}

#[test]
fn a_name_outside_the_form_is_refused_in_path_and_body() {
    let mut unmoved = Unmoved::new();
    let long = "x".repeat(129);
    for name in [".", "..", "a b", "a/b", "größe", "a@b.example", "", "a\\u0000b", "a\\nb", &long] {
        unmoved.refuses_body("POST", CLAIMS, &format!(r#"{{"subject":"{name}"}}"#), "invalid_field", "subject");
    }
    for name in ["%2e", "%2E%2e", ".", "..", "a%20b", "a%2Fb", "gr%C3%B6%C3%9Fe", "%00", "a%0ab", "a+b", "a~b", "%25", &long] {
        unmoved.refuses_body("PUT", &format!("/v1/campaigns/{name}"), r#"{"stock":1}"#, "invalid_parameter", "campaign");
        unmoved.refuses_body("GET", &format!("/v1/campaigns/{name}"), "", "invalid_parameter", "campaign");
        unmoved.refuses_body("POST", &format!("/v1/campaigns/{name}/claims"), r#"{"subject":"eve"}"#, "invalid_parameter", "campaign");
        unmoved.refuses_body("DELETE", &format!("{CLAIMS}/{name}"), "", "invalid_parameter", "subject");
        unmoved.refuses_body("GET", &format!("/v1/subjects/{name}/claims"), "", "invalid_parameter", "subject");
    }
    // Percent signs in the path that are no encoding of a text.
    for name in ["%ff", "%C3", "%ED%A0%80"] {
        let answer = unmoved.refuses("GET", &format!("/v1/campaigns/{name}"), &[], "", "invalid_parameter", "campaign");
        assert_eq!(answer.status, 400);
        unmoved.refuses("GET", &format!("{CLAIMS}/{name}"), &[], "", "invalid_parameter", "subject");
    }
    // An encoding that was not necessary means the same name.
    assert_eq!(unmoved.client.get("/v1/campaigns/%73pring").json()["campaign"], "spring");
    let longest = "y".repeat(128);
    assert_eq!(unmoved.client.get(&format!("/v1/campaigns/{longest}")).code(), "campaign_not_found");
    for code in ["x", "0000000000000", "ZZZZZZZZZZZZZ", "%2e%2e", "ab-cd"] {
        assert_eq!(unmoved.client.get(&format!("{SPRING}/codes/{code}")).code(), "code_not_found", "{code}");
        assert_eq!(unmoved.client.post(&format!("{SPRING}/codes/{code}/redeem"), "").code(), "code_not_found", "{code}");
    }
    unmoved.still_serves();
}

#[test]
fn a_body_above_64_kib_is_refused_however_it_comes() {
    let mut unmoved = Unmoved::new();
    let huge = format!(r#"{{"subject":"{}"}}"#, "x".repeat(10_000_000));
    let with_length = format!(
        "POST {CLAIMS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{huge}",
        huge.len()
    );
    unmoved.refuses_bytes(with_length.as_bytes(), "body_too_large", "");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let chunked = format!(
        "POST {CLAIMS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(150)
    );
    unmoved.refuses_bytes(chunked.as_bytes(), "body_too_large", "");
    let fits = format!(r#"{{"subject":"{}"}}"#, "x".repeat(65_536 - 14));
    assert_eq!(fits.len(), 65_536);
    unmoved.refuses_body("POST", CLAIMS, &fits, "invalid_field", "subject");
    unmoved.refuses_body("POST", CLAIMS, &format!("{fits} "), "body_too_large", "");
    unmoved.refuses_body("DELETE", &format!("{CLAIMS}/ann"), "{}", "unexpected_body", "");
    unmoved.refuses_body("POST", &format!("{CLAIMS}/ann/redeem"), "{}", "unexpected_body", "");
    unmoved.still_serves();
}

#[test]
fn a_wrong_method_says_which_are_allowed_and_an_unknown_path_that_there_is_nothing() {
    let mut unmoved = Unmoved::new();
    let wrong = [
        ("DELETE", SPRING, "GET,HEAD,PATCH,PUT"),
        ("POST", SPRING, "GET,HEAD,PATCH,PUT"),
        ("PUT", CLAIMS, "GET,HEAD,POST"),
        ("POST", "/v1/campaigns", "GET,HEAD"),
        ("PATCH", "/v1/campaigns/spring/claims/ann", "DELETE,GET,HEAD"),
        ("GET", "/v1/campaigns/spring/claims/ann/redeem", "POST"),
        ("OPTIONS", "/healthz", "GET,HEAD"),
        ("BREW", "/metrics", "GET,HEAD"),
        ("TRACE", "/", "GET,HEAD"),
    ];
    for (method, target, allowed) in wrong {
        let answer = unmoved.refuses(method, target, &[], "", "method_not_allowed", "");
        let mut allow: Vec<&str> =
            answer.header("allow").unwrap_or_else(|| panic!("no Allow: {target}")).split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{method} {target}");
    }
    for target in [
        "/v1",
        "/v1/campaigns/",
        "/v2/campaigns",
        "/v1/campaigns/spring/",
        "/v1/campaigns/spring/claims/ann/redeem/x",
        "//",
        "/%ff",
        "/favicon.ico",
        "/v1//campaigns",
    ] {
        unmoved.refuses("GET", target, &[], "", "not_found", "");
    }
    for target in [SPRING, "/healthz"] {
        let bytes = format!("HEAD {target} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let answer = unmoved.client.exchange(bytes.as_bytes(), true).unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    }
    unmoved.still_serves();
}

#[test]
fn a_query_with_an_unknown_double_or_malformed_parameter_is_refused() {
    let mut unmoved = Unmoved::new();
    for (target, parameter) in [
        (format!("{SPRING}?x=1"), "x"),
        (format!("{CLAIMS}?limit=1&limit=1"), "limit"),
        (format!("{CLAIMS}?after=1&after=2"), "after"),
        (format!("{CLAIMS}?Limit=1"), "Limit"),
        (format!("{CLAIMS}?limit=0"), "limit"),
        (format!("{CLAIMS}?limit=1001"), "limit"),
        (format!("{CLAIMS}?limit=-1"), "limit"),
        (format!("{CLAIMS}?limit="), "limit"),
        (format!("{CLAIMS}?limit=99999999999999999999999"), "limit"),
        (format!("{CLAIMS}?after=x"), "after"),
        (format!("{CLAIMS}?after=0"), "after"),
        (format!("{CLAIMS}?after=%ff"), "after"),
        (format!("{CLAIMS}?status=open"), "status"),
        (format!("{CLAIMS}/ann?serial=0"), "serial"),
        (format!("{CLAIMS}/ann?serial=4294967296"), "serial"),
        (format!("{CLAIMS}/ann?serial=1.0"), "serial"),
        ("/v1/subjects/ann/claims?after=1".to_owned(), "after"),
        ("/v1/subjects/ann/claims?after=1-0".to_owned(), "after"),
        ("/v1/campaigns?limit=x".to_owned(), "limit"),
        ("/v1/campaigns?after=a%20b".to_owned(), "after"),
    ] {
        unmoved.refuses("GET", &target, &[], "", "invalid_parameter", parameter);
    }
    unmoved.refuses_body("POST", &format!("{CLAIMS}?dry=1"), r#"{"subject":"eve"}"#, "invalid_parameter", "dry");
    unmoved.refuses_body("PUT", "/v1/campaigns/new?dry=1", r#"{"stock":1}"#, "invalid_parameter", "dry");
    unmoved.still_serves();
}

#[test]
fn a_header_that_is_double_malformed_or_of_another_media_type_is_refused() {
    let mut unmoved = Unmoved::new();
    let (claim, key) = (r#"{"subject":"eve"}"#, "idempotency-key");
    let long = "k".repeat(256);
    for value in ["", "a b", "k\tk", &long] {
        unmoved.refuses("POST", CLAIMS, &[(key, value)], claim, "invalid_header", key);
    }
    unmoved.refuses("POST", CLAIMS, &[(key, "k1"), (key, "k1")], claim, "invalid_header", key);
    let latin1 = format!(
        "POST {CLAIMS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{key}: k\u{e9}\r\ncontent-length: {}\r\n\r\n{claim}",
        claim.len()
    );
    unmoved.refuses_bytes(latin1.as_bytes(), "invalid_header", key);
    for value in ["1", "\"1", "1\"", "w/\"1\"", "\"1\" \"2\"", "\"1\",*", "\"1\"x", "", "**"] {
        unmoved.refuses("PUT", SPRING, &[("if-match", value)], r#"{"stock":11}"#, "invalid_header", "if-match");
    }
    for headers in [vec![("if-none-match", "\"1\"")], vec![("if-none-match", "*"), ("if-match", "*")]] {
        unmoved.refuses("PUT", SPRING, &headers, r#"{"stock":11}"#, "invalid_header", "if-none-match");
    }
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "json", "application/merge-patch+json"] {
        unmoved.refuses("POST", CLAIMS, &[("content-type", media_type)], claim, "unsupported_media_type", "");
    }
    let untyped = format!("POST {CLAIMS} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{claim}", claim.len());
    unmoved.refuses_bytes(untyped.as_bytes(), "unsupported_media_type", "");
    for media_type in ["application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(unmoved.client.send("POST", CLAIMS, &[("content-type", media_type)], r#"{"subject":"ann"}"#).status, 200);
    }
    unmoved.still_serves();
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let mut unmoved = Unmoved::new();
    for subject in [&b"\xff\xfe"[..], b"\xc3", b"\xed\xa0\x80", b"\x00", b"a\x80"] {
        let body = [&b"{\"subject\":\""[..], subject, b"\"}"].concat();
        let head = format!(
            "POST {CLAIMS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        unmoved.refuses_bytes(&[head.as_bytes(), &body].concat(), "malformed_json", "");
    }
    unmoved.still_serves();
}

#[test]
fn http_1_0_and_expect_continue_are_served() {
    let unmoved = Unmoved::new();
    let mut stream = connect(unmoved.server.address).unwrap();
    stream.write_all(format!("GET {SPRING} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.0 200 "), "{text}");

    let body = r#"{"subject":"ann"}"#;
    let mut stream = BufReader::new(connect(unmoved.server.address).unwrap());
    let head = format!(
        "POST {CLAIMS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    let mut line = [0; 25];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line[..], &b"HTTP/1.1 100 Continue\r\n\r\n"[..]);
    stream.get_mut().write_all(body.as_bytes()).unwrap();
    let answer = read_answer(&mut stream, false).unwrap();
    answer.check();
    assert_eq!(answer.status, 200);
    unmoved.still_serves();
}

#[test]
fn what_is_no_http_at_all_is_refused_or_cut_off_and_harms_nobody() {
    let unmoved = Unmoved::new();
    let many = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x-more: 1\r\n".repeat(5_000));
    let huge = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx-huge: {}\r\n\r\n", "x".repeat(1_000_000));
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(200_000));
    let garbage: [&[u8]; 12] = [
        b"hello\r\n\r\n",
        b"\r\n\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/3.7\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST /v1/campaigns/spring/claims HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/campaigns/spring/claims HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        many.as_bytes(),
        huge.as_bytes(),
        long.as_bytes(),
    ];
    for bytes in garbage {
        let mut stream = connect(unmoved.server.address).unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
        assert_eq!(unmoved.server.fixed_point(), unmoved.before);
    }
    // A body that breaks off in the middle changes nothing.
    let mut stream = connect(unmoved.server.address).unwrap();
    let half = format!(
        "POST {CLAIMS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{{\"subject\":\"e"
    );
    stream.write_all(half.as_bytes()).unwrap();
    drop(stream);
    unmoved.still_serves();
}

#[test]
fn a_request_id_that_cannot_be_used_is_replaced() {
    let mut unmoved = Unmoved::new();
    let long = "i".repeat(65);
    // Records of the server itself carry "engine".
    for given in ["", "a b", "\"quoted\"", "<script>", &long, "engine"] {
        let answer = unmoved.client.send("GET", SPRING, &[("x-request-id", given)], "");
        assert_ne!(answer.header("x-request-id"), Some(given));
    }
    let problem: Value = unmoved.client.send("GET", "/nothing", &[("x-request-id", "mine-1")], "").json();
    assert_eq!(problem["request_id"], json!("mine-1"));
    unmoved.still_serves();
}
