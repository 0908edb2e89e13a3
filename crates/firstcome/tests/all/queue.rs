//! Claims that are answered with a place in the queue: what is said meanwhile and at the end, and that
//! `kill -9` loses nobody and decides nobody twice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::server;
use crate::support_process;

use std::io::{BufRead, BufReader, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use edge::auth::caller::Scope;
use firstcome::cli::ServeArgs;
use http::{Client, Response, connect};
use server::{TestServer, at_seconds};
use support_process::program::{Program, verify};
use support_process::queue::{Addresses, everybody, put_queued};

const START: u64 = 1_000;

/// A server with a queue of one claim a second.
fn queued() -> (TempDir, TestServer, Client) {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path(), START);
    let mut client = server.client();
    assert_eq!(client.put("/v1/campaigns/spring", r#"{"stock":4,"mode":"queued","decisions_per_second_max":1}"#).status, 201);
    (folder, server, client)
}

fn wait_until(server: &TestServer, seconds: u64) {
    server.clock.set(at_seconds(seconds));
    server.app.backend.engine().unwrap().do_due();
}

fn place_of(answer: &Response) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text());
    let place = answer.header("location").unwrap();
    assert_eq!(place, format!("/v1/answers/{}", answer.json()["answer"].as_str().unwrap()));
    place.to_owned()
}

#[test]
fn a_claim_has_a_place_and_then_the_answer_that_the_direct_call_gives() {
    let (_folder, server, mut client) = queued();
    let at_once = client.claim("spring", "ann");
    assert_eq!((&at_once.json()["status"], &at_once.json()["place"]), (&json!("decided"), &json!(0)));
    let decided = client.get(&place_of(&at_once));
    assert_eq!((decided.status, decided.header("location")), (201, Some("/v1/campaigns/spring/claims/ann")));

    let (bob, cat) = (client.claim("spring", "bob"), client.claim("spring", "cat"));
    let said = cat.json();
    assert_eq!((&said["status"], &said["place"], &said["wait_ms"]), (&json!("pending"), &json!(2), &json!(2_000)));
    assert_eq!((cat.header("retry-after"), said.get("code"), said.get("serial")), (Some("2"), None, None));
    let again = client.claim("spring", "cat");
    assert_eq!((again.is_replayed(), again.json()), (true, said));
    assert_eq!((client.get(&place_of(&cat)).json(), client.get(&place_of(&cat)).status), (cat.json(), 202));

    wait_until(&server, START + 1);
    assert_eq!((client.get(&place_of(&bob)).status, client.get(&place_of(&cat)).json()["place"].as_u64()), (201, Some(1)));
    wait_until(&server, START + 2);
    let answer = client.get(&place_of(&cat));
    let direct = client.claim("spring", "cat");
    assert_eq!((answer.status, direct.status, direct.is_replayed()), (201, 200, true));
    assert_eq!((answer.json(), answer.header("location")), (direct.json(), direct.header("location")));

    // It is what it was, whatever becomes of the claim, and says what became of it.
    let cancelled = client.send("DELETE", "/v1/campaigns/spring/claims/cat", &[], "").json();
    let mut expected = answer.json();
    expected["cancelled_at"] = cancelled["cancelled_at"].clone();
    assert_eq!((client.get(&place_of(&cat)).status, client.get(&place_of(&cat)).json()), (201, expected));
}

#[test]
fn what_is_pending_shows_in_the_counts_and_in_no_list() {
    let (_folder, server, mut client) = queued();
    for subject in ["ann", "bob", "cat"] {
        client.claim("spring", subject);
    }
    let counts = client.get("/v1/campaigns/spring").json();
    assert_eq!((&counts["claimed"], &counts["pending"], &counts["remaining"]), (&json!(1), &json!(2), &json!(1)));
    let listed = |client: &mut Client| client.get("/v1/campaigns/spring/claims").json()["claims"].as_array().unwrap().len();
    assert_eq!((listed(&mut client), client.get("/v1/subjects/bob/claims").json()["claims"].clone()), (1, json!([])));
    wait_until(&server, START + 1);
    assert_eq!(listed(&mut client), 2);
}

#[test]
fn whoever_prefers_it_reads_the_decision_later_in_any_campaign() {
    let (_folder, _server, mut client) = queued();
    client.put("/v1/campaigns/summer", r#"{"stock":1}"#);
    let claim = |client: &mut Client, subject: &str, prefer: &str| {
        client.send("POST", "/v1/campaigns/summer/claims", &[("prefer", prefer)], &format!(r#"{{"subject":"{subject}"}}"#))
    };
    let first = claim(&mut client, "ann", "wait=5, Respond-Async");
    assert_eq!(first.header("preference-applied"), Some("respond-async"));
    let decided = client.get(&place_of(&first));
    assert_eq!((decided.status, &decided.json()["subject"]), (201, &json!("ann")));
    // The field may come several times, and what is no text in it is nobody's concern.
    client.put("/v1/campaigns/autumn", r#"{"stock":2}"#);
    for (subject, prefer) in
        [("ann", [("prefer", "wait=5"), ("prefer", "respond-async")]), ("bob", [("prefer", "é"), ("prefer", "respond-async")])]
    {
        let claimed = client.send("POST", "/v1/campaigns/autumn/claims", &prefer, &format!(r#"{{"subject":"{subject}"}}"#));
        assert_eq!((claimed.status, claimed.header("preference-applied")), (202, Some("respond-async")), "{}", claimed.text());
    }
    // A refusal is certain, and said at once.
    let late = claim(&mut client, "bob", "respond-async");
    assert_eq!((late.status, late.code()), (409, "sold_out".to_owned()));
    assert_eq!(claim(&mut client, "ann", "return=minimal").status, 200);
}

#[test]
fn a_request_key_is_answered_with_its_place_and_then_with_its_claim() {
    let (_folder, server, mut client) = queued();
    client.claim("spring", "ann");
    let keyed =
        |client: &mut Client| client.send("POST", "/v1/campaigns/spring/claims", &[("idempotency-key", "k1")], r#"{"subject":"bob"}"#);
    let (first, again) = (keyed(&mut client), keyed(&mut client));
    assert_eq!((first.is_replayed(), again.is_replayed(), place_of(&first)), (false, true, place_of(&again)));
    wait_until(&server, START + 1);
    let decided = keyed(&mut client);
    assert_eq!((decided.status, decided.is_replayed(), decided.json()), (201, true, client.get(&place_of(&first)).json()));
}

#[test]
fn an_answer_that_nobody_was_given_is_not_found() {
    let (_folder, server, mut client) = queued();
    let place = place_of(&client.claim("spring", "ann"));
    let code = client.get(&place).json()["code"].as_str().unwrap().to_owned();
    let answer = place.rsplit('/').next().unwrap().to_owned();
    let (name, own) = answer.rsplit_once(':').unwrap();
    let mut wrong = own.to_owned();
    wrong.replace_range(3..4, if &own[3..4] == "7" { "8" } else { "7" });
    let next = server.app.codes.answer(1, "spring", domain::types::Serial::new(2).unwrap());
    for guess in
        ["x", ":", "spring", "spring:", own, &format!("{name}:{code}"), &format!("{name}:{wrong}"), &format!("summer:{own}"), &next]
    {
        for live in ["", "/live"] {
            let answer = client.get(&format!("/v1/answers/{guess}{live}"));
            assert_eq!((answer.status, answer.code()), (404, "answer_not_found".to_owned()), "{guess}");
        }
    }
    assert_eq!(client.get(&format!("{place}?x=1")).code(), "invalid_parameter");
}

#[test]
fn places_and_answers_are_the_same_after_a_restart() {
    let (folder, mut server, mut client) = queued();
    let places: Vec<String> = ["ann", "bob", "cat", "dan"].map(|subject| place_of(&client.claim("spring", subject))).into();
    wait_until(&server, START + 1);
    let before: Vec<Value> = places.iter().map(|place| client.get(place).json()).collect();
    server.stop();
    let server = TestServer::start(folder.path(), START + 1);
    let mut client = server.client();
    let after: Vec<Value> = places.iter().map(|place| client.get(place).json()).collect();
    assert_eq!(after, before);
    assert_eq!(client.claim("spring", "eve").code(), "sold_out");
    wait_until(&server, START + 2);
    assert_eq!(client.get(&places[2]).status, 201);
    wait_until(&server, START + 3);
    assert_eq!(client.get(&places[3]).json()["serial"], 4);
}

#[test]
fn settings_of_a_queue_are_checked_field_by_field() {
    let (_folder, _server, mut client) = queued();
    for (body, field) in [
        (r#"{"stock":4,"mode":"slow"}"#, "mode"),
        (r#"{"stock":4,"decisions_per_second_max":0}"#, "decisions_per_second_max"),
        (r#"{"stock":4,"decisions_per_second_max":1000001}"#, "decisions_per_second_max"),
        (r#"{"stock":4,"queue_max":0}"#, "queue_max"),
    ] {
        let answer = client.put("/v1/campaigns/other", body);
        assert_eq!((answer.code(), &answer.json()["field"]), ("invalid_field".to_owned(), &json!(field)), "{body}");
    }
    let patch = |client: &mut Client, body: &str| client.send("PATCH", "/v1/campaigns/spring", &[], body).json();
    let patched = patch(&mut client, r#"{"decisions_per_second_max":null,"queue_max":7}"#);
    assert_eq!(
        (&patched["mode"], &patched["decisions_per_second_max"], &patched["queue_max"]),
        (&json!("queued"), &json!(null), &json!(7))
    );
    let patched = patch(&mut client, r#"{"mode":null,"queue_max":null}"#);
    assert_eq!((&patched["mode"], &patched["queue_max"]), (&json!("direct"), &json!(1_000_000)));
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let (_folder, server, mut client) = queued();
    client.send("PATCH", "/v1/campaigns/spring", &[], r#"{"queue_max":1}"#);
    client.claim("spring", "ann");
    client.claim("spring", "bob");
    let full = client.claim("spring", "cat");
    assert_eq!((full.status, full.code(), &full.json()["outcome"]), (503, "queue_full".to_owned(), &json!("rejected")));
    assert_eq!((full.header("retry-after"), full.json()["queue_max"].as_u64()), (Some("1"), Some(1)));
    wait_until(&server, START + 1);
    assert_eq!(client.claim("spring", "cat").status, 202);
}

/// The next event of a stream, without comments.
fn next_event(stream: &mut impl BufRead) -> Option<(String, Value)> {
    let (mut name, mut data) = (None, None);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("event", text)) => name = Some(text.to_owned()),
            Some(("data", text)) => data = Some(serde_json::from_str(text).unwrap()),
            _ => {}
        }
        if let (Some(name), Some(data)) = (&name, &data) {
            return Some((String::clone(name), Value::clone(data)));
        }
    }
}

/// Follows an answer, and has read that it is pending.
fn follow(server: &TestServer, place: &str, credential: &str) -> BufReader<std::net::TcpStream> {
    let mut stream = connect(server.address).unwrap();
    write!(stream, "GET {place}/live HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {credential}\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut stream = BufReader::new(stream);
    assert_eq!(next_event(&mut stream).unwrap().0, "pending");
    stream
}

#[test]
fn who_follows_an_answer_with_a_key_that_ends_is_not_told_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path(), START);
    let [admin, shop] = [("admin", Scope::Admin), ("shop", Scope::Issue)].map(|(name, scope)| server.make_key(name, &[scope], ""));
    let put = |credential: &str, target: &str, method: &str, body: &str| {
        let headers = [("authorization", format!("Bearer {credential}")), ("content-type", "application/json".to_owned())];
        server.client().send(method, target, &headers.each_ref().map(|(name, value)| (*name, value.as_str())), body)
    };
    let queue = r#"{"stock":4,"mode":"queued","decisions_per_second_max":1}"#;
    assert_eq!(put(&admin, "/v1/campaigns/spring", "PUT", queue).status, 201);
    let claim = |subject: &str| put(&shop, "/v1/campaigns/spring/claims", "POST", &json!({ "subject": subject }).to_string());
    claim("ann");
    let place = place_of(&claim("bob"));
    let (mut ended, mut goes_on) = (follow(&server, &place, &shop), follow(&server, &place, &admin));
    server.revoke_key("shop");
    wait_until(&server, START + 1);
    assert_eq!(next_event(&mut ended), None);
    assert_eq!(next_event(&mut goes_on).unwrap().0, "answer");
}

#[test]
fn as_many_follow_from_one_address_as_may_and_streams_end_when_the_server_stops() {
    let folder = tempfile::tempdir().unwrap();
    let args = ServeArgs { live_clients_per_address_max: Some(1), ..ServeArgs::default() };
    let mut server = TestServer::start_with(folder.path(), START, args);
    let mut client = server.client();
    client.put("/v1/campaigns/spring", r#"{"stock":4,"mode":"queued","decisions_per_second_max":1}"#);
    client.claim("spring", "ann");
    let place = place_of(&client.claim("spring", "bob"));
    let mut first = follow(&server, &place, "");
    let second = client.get(&format!("{place}/live"));
    assert_eq!((second.status, second.code().as_str()), (503, "busy"));
    server.stop();
    assert_eq!(next_event(&mut first), None);
}

#[test]
fn an_answer_is_followed_live_until_it_is_there() {
    let (_folder, server, mut client) = queued();
    client.claim("spring", "ann");
    client.claim("spring", "bob");
    let place = place_of(&client.claim("spring", "cat"));
    let first = client.get(&format!("{place}/live?events=1"));
    assert!(first.text().starts_with("event: pending\n") && first.text().matches("event: ").count() == 1);
    let mut stream = connect(server.address).unwrap();
    write!(stream, "GET {place}/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let (name, data) = next_event(&mut stream).unwrap();
    assert_eq!((name.as_str(), &data["place"]), ("pending", &json!(2)));
    wait_until(&server, START + 1);
    let (name, data) = next_event(&mut stream).unwrap();
    assert_eq!((name.as_str(), &data["place"]), ("pending", &json!(1)));
    wait_until(&server, START + 2);
    let (name, data) = next_event(&mut stream).unwrap();
    assert_eq!((name.as_str(), &data["status"], &data["body"]), ("answer", &json!(201), &client.get(&place).json()));
    assert_eq!(next_event(&mut stream), None);
    let ended = client.get(&format!("{place}/live?events=1"));
    assert_eq!((ended.status, ended.text().matches("event: ").count()), (200, 1));
    assert_eq!(client.get(&format!("{place}/live?events=0")).code(), "invalid_parameter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nobody_in_the_queue_and_decides_nobody_twice() {
    const STOCK: u64 = 900;
    const PACE: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // A snapshot now and then, so that a start begins from one.
    let flags = ["--snapshot-every", "400"];
    let (mut program, address) = Program::start(&data, &flags);
    put_queued(address, "spring", STOCK, PACE).await;
    let addresses: Addresses = Arc::new(Mutex::new(vec![Some(address)]));
    let told = {
        let addresses = Arc::clone(&addresses);
        tokio::spawn(async move { everybody(&addresses, "spring", 1_500, 16).await })
    };
    let mut kills = 0;
    while !told.is_finished() {
        tokio::time::sleep(Duration::from_millis(150 + 70 * (kills % 5))).await;
        addresses.lock().unwrap()[0] = None;
        program.kill();
        kills += 1;
        let (next, address) = tokio::task::block_in_place(|| Program::start(&data, &flags));
        program = next;
        addresses.lock().unwrap()[0] = Some(address);
    }
    let told = told.await.unwrap();
    eprintln!("{kills} kills, {} places, {} told that nothing is left", told.places.len(), told.sold_out);
    assert!(5 < kills && 500 < told.places.len());
    told.check(&addresses, "spring", STOCK, usize::try_from(PACE).unwrap()).await;
    program.stop();
    verify(&data);
}
