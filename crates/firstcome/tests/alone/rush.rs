//! `firstcome rush` as people run it: exact counts, exit codes, the report, cheating servers, and
//! nothing left behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_methods, reason = "tests of the running program go by the real clock")]

#[path = "../../../rush/tests/all/support/mod.rs"]
#[allow(clippy::pedantic, unreachable_pub)]
mod cheating;
use crate::support_process;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use cheating::{Behaviour, Cheat};
use rustix::process::Signal;
use serde_json::Value;
use support_process::http::{Connection, Request};
use support_process::program::{Program, program, put_campaign, run, signal_to, verify};

fn rush_json(arguments: &[&str]) -> (Value, Output) {
    let output = run(&[&["rush", "coupon", "--json"], arguments].concat());
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (json, output)
}

#[test]
fn a_thousand_people_take_exactly_a_hundred_coupons() {
    let (json, output) = rush_json(&["--users", "1000", "--stock", "100"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(json["claimed"], 100);
    assert_eq!(json["settings"]["users"], 1_000);
    assert_eq!(json["settings"]["stock"], 100);
    assert_eq!(json["asked"], 1_050);
    assert_eq!(json["errors"], 0);
    assert_eq!(json["broken"], serde_json::json!([]));
    assert_eq!(json["findings"]["record_live"], 100);
    assert_eq!(json["fresh"], 100);
    let ends = ["fresh", "repeats", "sold_out"].map(|name| json[name].as_u64().unwrap());
    assert_eq!(ends.iter().sum::<u64>(), 1_050);
    for name in ["p50_us", "p99_us", "p999_us", "max_us"] {
        assert!(json["latency"][name].is_u64() && json["service_time"][name].is_u64(), "{name}");
    }
    assert!(output.stderr.is_empty(), "there is no progress bar in a pipe: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_hundred_thousand_people_take_exactly_ten_thousand_coupons() {
    let (json, output) = rush_json(&[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((json["claimed"].as_u64(), json["findings"]["record_live"].as_u64()), (Some(10_000), Some(10_000)));
    assert_eq!((json["settings"]["users"].as_u64(), json["asked"].as_u64()), (Some(100_000), Some(105_000)));
    assert_eq!(json["broken"], serde_json::json!([]));
}

#[test]
fn a_queued_rush_ends_with_exactly_the_stock_and_tells_both_times() {
    let (json, output) = rush_json(&["--users", "2000", "--stock", "200", "--queued", "--decisions-per-second", "200"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((json["claimed"].as_u64(), json["fresh"].as_u64(), &json["broken"]), (Some(200), Some(200), &serde_json::json!([])));
    let queued = &json["queued"];
    assert_eq!((queued["accepted"].as_u64(), queued["over_pace"].as_u64()), (Some(200), Some(0)));
    let median = |which: &str| queued[which]["p50_us"].as_u64().unwrap();
    assert!(median("accept") < median("decision") && 800 <= queued["decided_over_ms"].as_u64().unwrap(), "{queued}");
}

#[test]
fn behind_limits_that_refuse_nobody_gets_two_and_everybody_is_answered_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let limits = ["--limit-address", "1000000/1s", "--limit-subject", "1/2s"];
    let (_server, address) = Program::start(folder.path(), &limits);
    let url = format!("http://{address}");
    let (json, output) = rush_json(&["--url", &url, "--users", "400", "--stock", "40", "--repeat-percent", "100"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((json["claimed"].as_u64(), json["findings"]["record_live"].as_u64()), (Some(40), Some(40)));
    assert_eq!((json["errors"].as_u64(), &json["broken"]), (Some(0), &serde_json::json!([])));
    assert!(json["asked_again"].as_u64().unwrap() != 0, "somebody was told to come back: {json}");
}

#[test]
fn the_report_is_one_page_that_asks_no_network() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let output = run(&["rush", "coupon", "--users", "500", "--stock", "50", "--report", page.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.to_ascii_lowercase().starts_with("<!doctype html>"));
    for loads in ["src=", "href=\"http", "@import", "url(", "<script src", "<link", "fetch("] {
        assert!(!html.contains(loads), "the page has {loads}");
    }
    // The names of the SVG and XHTML languages are no addresses to load.
    let addresses = html.match_indices("://").map(|(place, _)| &html[place.saturating_sub(8)..(place + 24).min(html.len())]);
    let foreign: Vec<&str> = addresses.filter(|text| !text.contains("www.w3.org") && !text.contains("127.0.0.1")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("50"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_at_once_get_what_there_is_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, address) = Program::start(folder.path(), &[]);
    put_campaign(address, "spring", 100, 1).await;
    let mut connections = Vec::new();
    for _ in 0..1_000 {
        connections.push(Connection::open(address).await.unwrap());
    }
    let ready = std::sync::Arc::new(tokio::sync::Barrier::new(connections.len()));
    let asking = connections.into_iter().enumerate().map(|(person, mut connection)| {
        let ready = std::sync::Arc::clone(&ready);
        tokio::spawn(async move {
            ready.wait().await;
            let answer = connection.ask(&Request::claim("spring", &format!("p{person}"), None)).await.unwrap();
            (answer.status, answer.json())
        })
    });
    let (mut serials, mut refused) = (Vec::new(), 0);
    for asked in asking.collect::<Vec<_>>() {
        let (status, body) = asked.await.unwrap();
        match status {
            201 => serials.push(body["serial"].as_u64().unwrap()),
            409 if body["code"] == "sold_out" => refused += 1,
            _ => panic!("{status}: {body}"),
        }
    }
    serials.sort_unstable();
    assert_eq!(serials, (1..=100).collect::<Vec<u64>>());
    assert_eq!(refused, 900);
    server.stop();
    verify(folder.path());
}

/// What the program says of a server that breaks a promise.
async fn caught(cheat: Cheat, name: &str) {
    let server = cheating::Server::start(Behaviour { cheat: Some(cheat), ..Behaviour::default() }).await;
    let url = server.url.clone();
    let arguments = ["rush", "coupon", "--users", "500", "--stock", "100", "--connections", "16", "--repeat-percent", "20", "--url"];
    let run_it = move |more: &'static [&'static str]| {
        let (arguments, url) = (arguments, url.clone());
        tokio::task::spawn_blocking(move || run(&[&arguments[..], &[url.as_str()], more].concat()))
    };
    let output = run_it(&["--json", "--campaign", "one"]).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{cheat:?}: {output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let broken: Vec<&str> = json["broken"].as_array().unwrap().iter().map(|promise| promise["name"].as_str().unwrap()).collect();
    // Some lies do not agree with the campaign's own counts either.
    assert!(broken.first() == Some(&name) && broken.iter().skip(1).all(|other| *other == "counts"), "{cheat:?}: {broken:?}");
    let sentence = json["broken"][0]["sentence"].as_str().unwrap().to_owned();
    // The people who read a table are told the same.
    let server = cheating::Server::start(Behaviour { cheat: Some(cheat), ..Behaviour::default() }).await;
    let url = server.url.clone();
    let output = tokio::task::spawn_blocking(move || run(&[&arguments[..], &[url.as_str()]].concat())).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{cheat:?}: {output:?}");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains(&sentence), "{cheat:?}: {table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_gives_one_coupon_too_many_is_caught() {
    caught(Cheat::GivesOneTooMany, "over_issued").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_gives_one_person_two_is_caught() {
    caught(Cheat::GivesOnePersonTwo, "two_for_one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_record_does_not_hold_an_answer_is_caught() {
    caught(Cheat::ForgetsOneInTheRecord, "answers_not_in_record").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_addresses_of_one_server_pass() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, address) = Program::start(folder.path(), &[]);
    let urls = format!("http://{address},http://localhost:{}", address.port());
    let (json, output) =
        tokio::task::spawn_blocking(move || rush_json(&["--users", "3000", "--stock", "1500", "--url", &urls])).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!((json["claimed"].as_u64(), json["errors"].as_u64()), (Some(1_500), Some(0)));
    assert_eq!(json["broken"], serde_json::json!([]));
    let elsewhere = &json["findings"]["elsewhere"];
    assert_eq!((elsewhere["asked"].as_u64(), elsewhere["servers_differ"].as_bool()), (Some(750), Some(false)));
    server.stop();
    verify(folder.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_that_share_nothing_are_found_out() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (mut one, first) = Program::start(folders[0].path(), &[]);
    let (mut other, second) = Program::start(folders[1].path(), &[]);
    for knows_the_campaign in [false, true] {
        let campaign = format!("shared-{knows_the_campaign}");
        if knows_the_campaign {
            put_campaign(second, &campaign, 50, 1).await;
        }
        let urls = format!("http://{first},http://{second}");
        let run_it = move || rush_json(&["--users", "500", "--stock", "50", "--campaign", &campaign, "--url", &urls]);
        let (json, output) = tokio::task::spawn_blocking(run_it).await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let broken: Vec<&str> = json["broken"].as_array().unwrap().iter().map(|promise| promise["name"].as_str().unwrap()).collect();
        assert!(broken.contains(&"unknown_elsewhere") && broken.contains(&"not_repeated_elsewhere"), "{broken:?}");
        assert_eq!(broken.contains(&"servers_differ"), !knows_the_campaign, "{broken:?}");
    }
    one.stop();
    other.stop();
}

/// A rush that takes half a minute unless somebody ends it, with its temporary folder in `folder`.
fn long_rush(folder: &Path) -> (Child, u32) {
    let mut command = program();
    command.args(["rush", "coupon", "--users", "3000", "--stock", "100", "--over", "30s"]).env("TMPDIR", folder);
    let rush = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let server = wait_for("its server", || server_of(rush.id()));
    wait_for("the campaign", || holds_a_journal(folder).then_some(()));
    (rush, server)
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The process that this process has started.
fn server_of(parent: u32) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    processes.into_iter().find(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    })
}

fn holds_a_journal(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).unwrap().filter_map(Result::ok);
    entries.into_iter().any(|entry| entry.path().join("data/history.sqlite").exists())
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
    state.is_some_and(|state| state != 'Z')
}

fn entries_of(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_rush_that_ends_leaves_neither_server_nor_folder_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = program().args(["rush", "coupon", "--users", "200", "--stock", "20"]).env("TMPDIR", folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(entries_of(folder.path()), 0);
}

#[test]
fn a_rush_that_is_interrupted_leaves_neither_server_nor_folder_behind() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut rush, server) = long_rush(folder.path());
        assert_eq!(entries_of(folder.path()), 1);
        signal_to(rush.id(), signal);
        let status = rush.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{status}");
        assert!(!is_running(server));
        assert_eq!(entries_of(folder.path()), 0, "the temporary folder is still there");
    }
}

#[test]
fn the_server_of_a_rush_that_is_killed_ends_too() {
    let folder = tempfile::tempdir().unwrap();
    let (mut rush, server) = long_rush(folder.path());
    rush.kill().unwrap();
    rush.wait().unwrap();
    wait_for("the server's end", || (!is_running(server)).then_some(()));
}

#[test]
fn what_cannot_be_rushed_is_said_in_one_line() {
    let nobody: SocketAddr = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let there = format!("http://{nobody}");
    for (url, word) in
        [(there.as_str(), "cannot connect"), ("https://127.0.0.1:1", "TLS"), ("localhost:7070", "http://"), ("http://", "URL")]
    {
        let output = run(&["rush", "coupon", "--url", url, "--users", "10", "--stock", "1"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{url}: {said}");
        assert!(output.stdout.is_empty());
        assert!(said.contains(word) && said.trim_end().lines().count() == 1, "{url}: {said}");
    }
}
