//! A refusal reaches the client, however much of its request is still under way (issue 16, number 7); and a
//! connection that the server ends because it is idle is ended in order.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http::{Response, connect, read_answer};
use crate::support::server::TestServer;

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use edge::auth::caller::Scope;
use firstcome::cli::ServeArgs;

const CLAIMS: &str = "/v1/campaigns/spring/claims";
/// More than the buffers of both systems hold, so that the client is still sending when it is refused.
const MANY_BYTES: usize = 5_000_000;

/// Sends everything before it reads, as blocking clients do; a reset fails the test.
fn ask(server: &TestServer, head: &str, body: &[u8]) -> Response {
    let mut stream = connect(server.address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    for part in body.chunks(50_000) {
        stream.write_all(part).unwrap();
    }
    let mut stream = BufReader::new(stream);
    let answer = read_answer(&mut stream, false).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection ends in order");
    answer
}

fn post(key: &str, framing: &str) -> String {
    format!(
        "POST {CLAIMS} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
    )
}

#[test]
fn a_refusal_is_read_by_a_client_that_is_still_sending() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path(), 1_000);
    let key = server.make_key("shop", &[Scope::Admin], "");
    let body = vec![b'x'; MANY_BYTES];
    let length = format!("content-length: {MANY_BYTES}");
    for _ in 0..5 {
        assert_eq!(ask(&server, &post("fc_wrong_key", &length), &body).code(), "credential_invalid");
        assert_eq!(ask(&server, &post(&key, &length), &body).code(), "body_too_large");
        let chunk = [format!("{MANY_BYTES:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
        assert_eq!(ask(&server, &post(&key, "transfer-encoding: chunked"), &chunk).code(), "body_too_large");
    }
}

#[test]
fn a_refusal_of_a_header_is_read_by_a_client_that_is_still_sending() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path(), 1_000);
    for _ in 0..5 {
        let answer = ask(&server, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-long: ", &vec![b'x'; MANY_BYTES]);
        assert_eq!(answer.status, 431);
    }
}

#[test]
fn a_connection_over_the_limit_reads_its_refusal_though_it_is_still_sending() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_with(folder.path(), 1_000, ServeArgs { connections_max: Some(1), ..ServeArgs::default() });
    let mut first = server.client();
    assert_eq!(first.get("/healthz").status, 200);
    for _ in 0..5 {
        let answer = ask(&server, &post("", &format!("content-length: {MANY_BYTES}")), &vec![b'x'; MANY_BYTES]);
        assert_eq!(answer.json()["code"], "busy");
    }
}

/// The client closes neither its connection nor its request: the server does, in the end.
#[test]
fn a_client_that_never_ends_its_request_does_not_keep_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::start(folder.path(), 1_000);
    server.make_key("shop", &[Scope::Admin], "");
    let mut stream = connect(server.address).unwrap();
    stream.write_all(post("fc_wrong_key", "content-length: 1000").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    assert_eq!(read_answer(&mut reader, false).unwrap().code(), "credential_invalid");
    server.stop();
    assert_eq!(reader.read(&mut [0]).unwrap_or(0), 0);
}

// --- HTTP/2, frame by frame -------------------------------------------------------------------

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literal fields, without compression (RFC 7541, 6.2.2).
fn fields(all: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    all.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn read_frame(stream: &mut TcpStream) -> Option<(u8, u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).unwrap();
    if head[3] == PING && head[4] != ACK {
        stream.write_all(&frame(PING, ACK, 0, &payload)).unwrap();
    }
    Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
}

fn open_http2(server: &TestServer) -> TcpStream {
    let mut stream = connect(server.address).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream
}

#[test]
fn a_refused_stream_of_http2_is_not_reset_while_its_body_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path(), 1_000);
    server.make_key("shop", &[Scope::Admin], "");
    let mut stream = open_http2(&server);
    let head = [(":method", "POST"), (":scheme", "http"), (":path", CLAIMS), (":authority", "localhost")];
    let head = fields(&[&head[..], &[("authorization", "Bearer fc_wrong"), ("content-type", "application/json")]].concat());
    stream.write_all(&frame(HEADERS, END_HEADERS, 1, &head)).unwrap();
    // The whole response, while the body has not even begun.
    let mut kinds = Vec::new();
    while !kinds.ends_with(&[(DATA, END_STREAM, 1)]) {
        kinds.push(read_frame(&mut stream).expect("a response"));
    }
    assert!(kinds.iter().any(|(kind, _, id)| (*kind, *id) == (HEADERS, 1)), "{kinds:?}");
    stream.write_all(&frame(DATA, 0, 1, b"{\"subject\":")).unwrap();
    stream.write_all(&frame(DATA, END_STREAM, 1, b"\"ann\"}")).unwrap();
    stream.write_all(&frame(PING, 0, 0, &[7; 8])).unwrap();
    loop {
        let (kind, flags, id) = read_frame(&mut stream).expect("the connection stays");
        assert_ne!((kind, id), (RST_STREAM, 1));
        if (kind, flags) == (PING, ACK) {
            break;
        }
    }
}

#[test]
fn an_idle_connection_of_http2_ends_with_goaway() {
    let folder = tempfile::tempdir().unwrap();
    let args = ServeArgs { idle_time_ms: Some(500), ..ServeArgs::default() };
    let server = TestServer::start_with(folder.path(), 1_000, args);
    let mut stream = open_http2(&server);
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let kinds: Vec<u8> = std::iter::from_fn(|| read_frame(&mut stream)).map(|(kind, ..)| kind).collect();
    assert_eq!(kinds.last(), Some(&GOAWAY), "{kinds:?}");
}
