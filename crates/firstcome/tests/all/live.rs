//! Watching a campaign: what is shown, to whom, how much, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_methods, reason = "a delay that was put in is measured by the real clock")]

use crate::live_client::stream;
use crate::live_client::websocket;
use crate::support::http;
use crate::support::process;
use crate::support::server;
use crate::support::tokens;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use edge::auth::caller::Scope;
use firstcome::cli::ServeArgs;
use serde_json::json;

use process::{Process, eventually, program_under, serve_args};
use server::TestServer;
use stream::{Shown, Stream, assert_no_gap};
use tokens::Signer;

const NOW: u64 = 1_000_000;

fn spring(args: ServeArgs) -> (TestServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_with(&folder.path().join("data"), NOW, args);
    assert_eq!(server.client().put("/v1/campaigns/spring", r#"{"stock":50}"#).status, 201);
    (server, folder)
}

fn claim_from_to(server: &TestServer, from: u32, to: u32) {
    let mut client = server.client();
    for subject in from..to {
        assert_eq!(client.claim("spring", &format!("u{subject}")).status, 201);
    }
}

#[test]
fn a_snapshot_comes_first_and_then_deltas_that_add_up_to_what_is() {
    let (server, _folder) = spring(ServeArgs::default());
    claim_from_to(&server, 0, 5);
    let mut stream = Stream::open(server.address, "spring", &[]);
    assert_eq!(stream.status, 200);
    assert!(stream.head.contains("content-type: text/event-stream") && stream.head.contains("cache-control: no-store"));
    let first = stream.next();
    assert!(first.is_snapshot());
    let mut shown = Shown::default();
    shown.take(&first);
    assert_eq!((shown.number("remaining"), shown.number("issued")), (45, 5));
    let mut events = vec![first];
    for round in 1..=4 {
        claim_from_to(&server, round * 5, round * 5 + 5);
        let wanted = u64::from(round) * 5 + 5;
        events.extend(stream.until(|event| event["issued"].as_u64() == Some(wanted)));
    }
    assert!(server.client().send("DELETE", "/v1/campaigns/spring/claims/u3", &[], "").status == 200);
    assert_eq!(server.client().claim("spring", "u4").status, 200);
    events.extend(stream.until(|event| event["remaining"] == 26));
    assert!(5 < events.len() && events.iter().skip(1).all(|event| !event.is_snapshot()));
    assert_no_gap(&events);
    events.iter().skip(1).for_each(|event| shown.take(event));
    // What was answered after the last look comes with the next one.
    while shown.fields["outcomes"]["repeated"] != 1 {
        shown.take(&stream.next());
    }
    assert_eq!(shown.fields["outcomes"], json!({ "claimed": 25, "repeated": 1 }));
    assert_eq!(shown.fields["last_claims"][0]["subject"], "u24");
    let read = server.client().get("/v1/campaigns/spring").json();
    for (name, value) in read.as_object().unwrap() {
        assert_eq!(&shown.fields[name], value, "{name}");
    }
}

#[test]
fn who_comes_back_in_the_middle_misses_nothing() {
    let (server, _folder) = spring(ServeArgs::default());
    let mut steady = Stream::open(server.address, "spring", &[]);
    let mut first_part = Stream::open(server.address, "spring", &[]);
    claim_from_to(&server, 0, 5);
    let before = first_part.until(|event| event["issued"] == 5);
    let last_id = before.last().unwrap().id.clone();
    drop(first_part);
    for round in 1..=3 {
        claim_from_to(&server, round * 5, round * 5 + 5);
        eventually("it was shown", || steady.next().json()["issued"].as_u64() == Some(u64::from(round) * 5 + 5));
    }
    let mut second_part = Stream::open(server.address, "spring", &[("last-event-id", &last_id)]);
    let after = second_part.until(|event| event["issued"] == 20);
    assert!(3 <= after.len() && after.iter().all(|event| !event.is_snapshot()));
    assert_no_gap(&[before.clone(), after.clone()].concat());
    // The same bytes as for somebody who has never been away.
    let mut again = Stream::open(server.address, "spring", &[("last-event-id", &before[0].id)]);
    let all = again.until(|event| event["issued"] == 20);
    assert_eq!(all, [&before[1..], &after[..]].concat());
    let mut shown = Shown::default();
    before.iter().chain(&after).for_each(|event| shown.take(event));
    assert_eq!(shown.number("remaining"), 30);
}

#[test]
fn an_id_of_another_server_or_of_the_future_begins_with_a_snapshot() {
    let (server, _folder) = spring(ServeArgs::default());
    let mut stream = Stream::open(server.address, "spring", &[]);
    let id = stream.next().id;
    let (channel, seq) = id.rsplit_once('-').unwrap();
    for foreign in [format!("0123456789abcdef-{seq}"), format!("{channel}-999"), format!("{channel}-x"), "nonsense".to_owned()] {
        let mut other = Stream::open(server.address, "spring", &[("last-event-id", &foreign)]);
        assert!(other.next().is_snapshot(), "{foreign}");
    }
    assert_eq!(Stream::open(server.address, "summer", &[]).status, 404);
    assert_eq!(server.client().get("/v1/campaigns/spring/live?events=0").code(), "invalid_parameter");
}

#[test]
fn who_has_claimed_is_for_readers_and_codes_are_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::hs256(b"a secret that is long enough for everybody");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret that is long enough for everybody").unwrap();
    let args = ServeArgs {
        jwt_secret: Some(secret),
        jwt_issuer: Some(tokens::ISSUER.to_owned()),
        jwt_audience: Some(tokens::AUDIENCE.to_owned()),
        ..ServeArgs::default()
    };
    let server = TestServer::start_with(&folder.path().join("data"), NOW, args);
    let bearer = |key: &str| format!("Bearer {key}");
    let admin = bearer(&server.make_key("admin", &[Scope::Admin], ""));
    let send = |method: &str, target: &str, body: &str| server.client().send(method, target, &[("authorization", &admin)], body);
    assert_eq!(send("PUT", "/v1/campaigns/spring", r#"{"stock":50}"#).status, 201);
    let claimed = send("POST", "/v1/campaigns/spring/claims", r#"{"subject":"somebody"}"#).json();
    let open = |credential: &str| Stream::open(server.address, "spring", &[("authorization", credential)]);
    let reader = open(&bearer(&server.make_key("reader", &[Scope::Read], ""))).next();
    assert_eq!(reader.json()["last_claims"][0]["subject"], "somebody");
    assert!(!reader.data.contains(claimed["code"].as_str().unwrap()));
    let mut user = open(&bearer(&signer.token(&tokens::claims("somebody-else", NOW + 60))));
    assert_eq!(send("POST", "/v1/campaigns/spring/claims", r#"{"subject":"somebody-new"}"#).status, 201);
    let events = user.until(|event| event["issued"] == 2);
    assert!(events.iter().all(|event| !event.data.contains("somebody") && !event.data.contains("last_claims")));
    for (name, scope) in [("issuer", Scope::Issue), ("redeemer", Scope::Redeem)] {
        assert_eq!(open(&bearer(&server.make_key(name, &[scope], ""))).status, 403);
    }
}

#[test]
fn a_stream_ends_with_its_key() {
    let (server, _folder) = spring(ServeArgs::default());
    server.make_key("admin", &[Scope::Admin], "");
    let reader = server.make_key("reader", &[Scope::Read], "");
    let mut stream = Stream::open(server.address, "spring", &[("authorization", &format!("Bearer {reader}"))]);
    assert!(stream.next().is_snapshot());
    server.revoke_key("reader");
    // Broken off, so that it is noticed; and not only silent.
    let broken = loop {
        match stream.try_next() {
            Ok(Some(_)) => {}
            Ok(None) => break !stream.has_ended_well,
            Err(error) => break [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()),
        }
    };
    assert!(broken);
}

#[test]
fn more_than_may_watch_are_told_so_and_a_place_is_given_back() {
    let args = ServeArgs { live_clients_max: Some(3), live_clients_per_address_max: Some(2), ..ServeArgs::default() };
    let (server, _folder) = spring(args);
    let first = Stream::open(server.address, "spring", &[]);
    let _second = websocket::open(server.address, "spring");
    let full = server.client().get("/v1/campaigns/spring/live");
    assert_eq!((full.status, full.code().as_str()), (503, "busy"));
    assert!(full.header("retry-after").is_some());
    drop(first);
    eventually("there is a place again", || server.app.live.clients_count() == 1);
    assert_eq!(Stream::open(server.address, "spring", &[]).status, 200);
}

#[test]
fn behind_a_proxy_that_is_trusted_each_who_watches_is_counted_by_their_own_address() {
    let trusted = |range: &str| ServeArgs {
        live_clients_per_address_max: Some(1),
        trusted_proxies: Some(vec![range.to_owned()]),
        ..ServeArgs::default()
    };
    let (server, _folder) = spring(trusted("127.0.0.0/8"));
    let watch = |address: &str| Stream::open(server.address, "spring", &[("x-forwarded-for", address)]);
    let watching = [watch("198.51.100.1"), watch("198.51.100.2")];
    assert_eq!(watching.each_ref().map(|stream| stream.status), [200, 200]);
    // What a client wrote stands left of what the proxy added.
    assert_eq!(["198.51.100.1", "9.9.9.9, 198.51.100.2"].map(|address| watch(address).status), [503, 503]);
    let (server, _folder) = spring(trusted("192.0.2.0/24"));
    let watch = |address: &str| Stream::open(server.address, "spring", &[("x-forwarded-for", address)]);
    let first = watch("198.51.100.1");
    assert_eq!((first.status, watch("198.51.100.2").status), (200, 503), "forged");
}

#[test]
fn nothing_is_shown_before_it_is_durable() {
    let runner = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=1500000"];
    if std::process::Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|status| !status.success()) {
        return println!("skipped: strace is not there or may not trace");
    }
    let folder = tempfile::tempdir().unwrap();
    // Every sync takes a second and a half: nothing of a claim can be durable earlier.
    let data = folder.path().join("data");
    // The tracer is what is killed in the end; without it the server must not go on.
    let args = [&serve_args(&data)[..], &["--end-with-parent"]].concat();
    let server = Process::start(program_under(&runner, &args));
    let mut client = http::Client::new(server.address);
    assert_eq!(client.put("/v1/campaigns/spring", r#"{"stock":50}"#).status, 201);
    let mut stream = Stream::open(server.address, "spring", &[]);
    assert!(stream.next().is_snapshot());
    let asked_at = Instant::now();
    let claiming = std::thread::spawn(move || client.claim("spring", "ann").status);
    stream.until(|event| event["issued"] == 1 || event["remaining"] == 49 || event["outcomes"]["claimed"] == 1);
    assert!(Duration::from_millis(1_500) <= asked_at.elapsed(), "shown after {:?}", asked_at.elapsed());
    assert_eq!(claiming.join().unwrap(), 201);
}

#[test]
fn streams_end_at_once_when_the_server_stops() {
    let (mut server, _folder) = spring(ServeArgs::default());
    let mut events = Stream::open(server.address, "spring", &[]);
    let mut socket = websocket::open(server.address, "spring");
    assert!(events.next().is_snapshot());
    assert!(websocket::event(&mut socket).contains("snapshot"));
    let stopped_at = Instant::now();
    server.stop();
    assert!(stopped_at.elapsed() < Duration::from_secs(8), "as long as if they were requests in flight");
    while events.try_next().unwrap().is_some() {}
    assert!(events.has_ended_well);
    assert_eq!(websocket::close_code(&mut socket), Some(1_001));
}

#[test]
fn a_websocket_carries_the_same_events() {
    let (server, _folder) = spring(ServeArgs::default());
    let mut stream = Stream::open(server.address, "spring", &[]);
    let mut socket = websocket::open(server.address, "spring");
    claim_from_to(&server, 0, 3);
    let events = stream.until(|event| event["issued"] == 3);
    let mut texts = Vec::new();
    while texts.last() != Some(&events.last().unwrap().data) {
        texts.push(websocket::event(&mut socket));
    }
    assert!(texts[0].contains(r#""event":"snapshot""#));
    for text in &texts[1..] {
        assert!(events.iter().any(|event| event.data == *text), "{text} is not among {events:?}");
    }
    let beginning = [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "12")];
    let refused = server.client().send("GET", "/v1/campaigns/spring/live", &beginning, "");
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_header"));
    assert_eq!(server.app.live.clients_count(), 2);
}
