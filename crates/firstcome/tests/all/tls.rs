//! TLS as it is met from outside: what is agreed, what is read again while the server goes on,
//! what is refused at the start, and what becomes of clients that do not behave. The real program,
//! as a process.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_methods, reason = "tests of the running program go by the real clock")]

use crate::support::process;
#[path = "tls/refusals.rs"]
mod refusals;
#[path = "tls/second_address.rs"]
mod second_address;
#[path = "tls/times.rs"]
mod times;
#[path = "tls/world.rs"]
mod world;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use process::{program, run, serve_args};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use world::{Http, World, certificate_in, client_of, connect, ended, hang_up, shown, text};

const READ_AGAIN: &str = "SIGHUP: read again";
const NOT_READ: &str = "SIGHUP: cannot be read; what was read before stays";

// --- What is agreed -------------------------------------------------------------------------

#[tokio::test]
async fn claims_work_over_both_versions_of_http() {
    let world = World::new();
    world.issue();
    let server = world.serve(&[]);
    assert!(server.stderr().contains(&format!("Firstcome serves at   https://{}\n", server.address)), "{}", server.stderr());
    let mut without = Http::open(&world.client(&[]), server.address).await;
    let (status, _) = without.ask("PUT", "/v1/campaigns/spring", r#"{"stock":3}"#).await.unwrap();
    assert_eq!(status, 201);
    for (serial, protocols) in [(1, &["http/1.1"][..]), (2, &["h2", "http/1.1"]), (3, &["h2"])] {
        let mut http = Http::open(&world.client(protocols), server.address).await;
        assert_eq!(matches!(http, Http::Two(_)), protocols[0] == "h2");
        let subject = format!("person-{serial}");
        let (status, claim) = http.claim(&subject).await;
        assert_eq!((status, claim["serial"].as_u64()), (201, Some(serial)));
        assert_eq!(http.claim(&subject).await, (200, claim));
    }
    assert_eq!(without.claim("late").await.0, 409);
    assert!(connect(&world.client(&["imap"]), server.address).await.is_err(), "nothing was agreed");
    assert!(!server.stderr().contains("WARN"), "{}", server.stderr());
}

#[tokio::test]
async fn the_old_forms_of_keys_are_read_also_from_the_certificates_file() {
    for name in ["pkcs1.pem", "sec1.pem"] {
        let world = World::new();
        let both = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/tls").join(name);
        let server = world.serve_plainly(&["--tls-cert", text(&both), "--tls-key", text(&both)]);
        let mut http = Http::open(&client_of(&certificate_in(&both), &["h2"]), server.address).await;
        assert_eq!(http.status("/healthz").await, 200, "{name}");
    }
}

#[tokio::test]
async fn plain_http_is_turned_away_and_disturbs_nobody() {
    let world = World::new();
    world.issue();
    let server = world.serve(&[]);
    let asked_at = Instant::now();
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let answer = ended(&mut plain).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert!(asked_at.elapsed() < Duration::from_secs(3), "it took {:?}", asked_at.elapsed());
    assert_eq!(Http::open(&world.client(&[]), server.address).await.status("/healthz").await, 200);
    assert!(server.stderr().contains("a handshake failed"), "{}", server.stderr());
}

// --- What is read again ---------------------------------------------------------------------

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_old_ones_go_on() {
    let world = World::new();
    let first = world.issue();
    let server = world.serve(&[]);
    let client = world.client(&["http/1.1"]);
    let stream = connect(&client, server.address).await.unwrap();
    assert_eq!(shown(&stream), first);
    let mut old = Http::over(stream).await;
    assert_eq!(old.status("/healthz").await, 200);
    let second = world.issue();
    assert_eq!(shown(&connect(&client, server.address).await.unwrap()), first, "nobody has asked it to read again");
    hang_up(&server, READ_AGAIN);
    // The same client, which would resume its session if it could.
    let stream = connect(&client, server.address).await.unwrap();
    assert_eq!(shown(&stream), second);
    assert_eq!(Http::over(stream).await.status("/healthz").await, 200);
    assert_eq!(old.status("/healthz").await, 200);
    assert_eq!(server.terminate().0, Some(0));
}

#[tokio::test]
async fn bad_new_files_are_named_and_the_old_ones_stay() {
    let world = World::new();
    let first = world.issue();
    let (certificate, key) = (world.certificate_path(), world.key_path());
    let (good_certificate, good_key) = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
    let server = world.serve(&[]);
    world.issue();
    let (other_certificate, other_key) = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
    // The new certificate is there, its key is not yet: what a renewal looks like in the middle.
    let bad = [(&other_certificate, &good_key, &key), (&good_certificate, &other_key, &key), (&good_certificate, &Vec::new(), &key)];
    for (new_certificate, new_key, named) in bad.into_iter().chain([(&Vec::new(), &good_key, &certificate)]) {
        fs::write(&certificate, new_certificate).unwrap();
        fs::write(&key, new_key).unwrap();
        hang_up(&server, NOT_READ);
        let said = server.stderr();
        let line = said.lines().rfind(|line| line.contains(NOT_READ)).unwrap();
        assert!(line.contains("\"level\":\"ERROR\"") && line.contains(text(named)), "{line}");
        assert_eq!(shown(&connect(&world.client(&[]), server.address).await.unwrap()), first);
    }
    fs::remove_file(&key).unwrap();
    hang_up(&server, NOT_READ);
    assert_eq!(shown(&connect(&world.client(&[]), server.address).await.unwrap()), first);
    let last = world.issue();
    hang_up(&server, READ_AGAIN);
    assert_eq!(shown(&connect(&world.client(&[]), server.address).await.unwrap()), last);
}

#[tokio::test]
async fn sighup_ends_nobody_where_there_is_nothing_to_read_again() {
    let world = World::new();
    let server = world.serve_plainly(&[]);
    hang_up(&server, "SIGHUP: there is nothing to read again");
    assert!(!server.stderr().contains(READ_AGAIN));
    assert_eq!(server.terminate().0, Some(0));
}

/// What happens when the terminal is closed in which the server was started.
#[tokio::test]
async fn a_server_whose_stderr_is_gone_goes_on() {
    let world = World::new();
    let mut child = program(&serve_args(&world.data())).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("Firstcome serves at")).unwrap();
    let address = line.split_once("http://").unwrap().1.to_owned();
    let mut greeting = lines.skip_while(|line| !line.contains("POST"));
    assert!(greeting.next().is_some());
    drop(greeting);
    let pid = Pid::from_child(&child);
    for _ in 0..3 {
        kill_process(pid, Signal::HUP).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(ended(&mut stream).await.starts_with(b"HTTP/1.1 200"));
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

// --- The end --------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_idle_connections_nor_handshakes_keep_the_server_from_its_end() {
    let world = World::new();
    world.issue();
    let server = world.serve(&["--header-time-ms", "60000", "--drain-time-ms", "8000"]);
    let mut idle = connect(&world.client(&["http/1.1"]), server.address).await.unwrap();
    let mut used = Http::open(&world.client(&["h2"]), server.address).await;
    assert_eq!(used.status("/healthz").await, 200);
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let silent = TcpStream::connect(server.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked_at = Instant::now();
    let (code, said) = server.terminate();
    assert_eq!(code, Some(0), "{said}");
    assert!(asked_at.elapsed() < Duration::from_secs(4), "it took {:?}", asked_at.elapsed());
    assert!(!said.contains("cut off"), "{said}");
    // The end of TLS was said, so that nobody takes it for an attack.
    let mut byte = [0];
    assert_eq!(idle.read(&mut byte).await.unwrap(), 0);
    assert_eq!(half.read(&mut byte).await.unwrap_or(0), 0);
    drop(silent);
}

fn refused(flags: &[&str], world: &World) -> (Option<i32>, String) {
    let (code, stdout, stderr) = run(program(&[&serve_args(&world.data())[..], flags].concat()));
    assert_eq!(stdout, "");
    (code, stderr)
}
