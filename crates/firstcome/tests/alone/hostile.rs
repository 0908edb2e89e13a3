//! Clients that say nothing, half of it, or never read: they lose their place in time, and while
//! they try, everybody else is served as before.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_methods, reason = "tests of the running program go by the real clock")]

#[path = "hostile/clients.rs"]
mod clients;
#[path = "hostile/http2.rs"]
mod http2;
use crate::support_process;

use std::time::{Duration, Instant};

use clients::{
    ONE_AT_A_TIME, SMALL_LIMITS, SlowReader, ended_within, idle_connections, ordinary_clients, server, start_with_a_large_campaign,
};
use rustix::process::Signal;
use support_process::http::{Connection, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HALF_A_HEADER: &[u8] = b"POST /v1/campaigns/spring/claims HTTP/1.1\r\nhost: localhost\r\nx-a: ";
const SLOW_BODY: &[u8] =
    b"POST /v1/campaigns/spring/claims HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_connections_disturb_nobody_and_are_ended_in_time() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = server(&["--idle-time-ms", "4000"]).await;
    let opened_at = Instant::now();
    let idle = idle_connections(server.address).await;
    ordinary_clients(server.address, Duration::from_secs(2)).await;
    assert!(opened_at.elapsed() < Duration::from_millis(3_900), "the machine is too slow for this test");
    for mut connection in idle {
        ended_within(&mut connection, Duration::from_secs(8)).await;
    }
    ordinary_clients(server.address, Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_header_is_ended_after_its_time_and_an_idle_connection_is_not() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = server(&SMALL_LIMITS).await;
    let mut idle = Connection::open(server.address).await.unwrap();
    assert_eq!(idle.ask(&Request::claim("spring", "early", None)).await.unwrap().status, 201);
    let begun_at = Instant::now();
    let mut halves = Vec::new();
    for _ in 0..100 {
        let mut connection = Connection::open(server.address).await.unwrap();
        connection.stream.write_all(HALF_A_HEADER).await.unwrap();
        halves.push(connection);
    }
    let trickling = tokio::spawn(trickle(Connection::open(server.address).await.unwrap(), HALF_A_HEADER, Duration::from_millis(100)));
    ordinary_clients(server.address, Duration::from_millis(300)).await;
    if Duration::from_millis(500) <= begun_at.elapsed() {
        eprintln!("skipped: the machine is too slow to tell a header's time from an idle connection's");
        return;
    }
    for mut connection in halves {
        ended_within(&mut connection, Duration::from_millis(2_000)).await;
    }
    assert!(Duration::from_millis(500) <= begun_at.elapsed(), "ended too early");
    // Also a header that grows all the time is half a header.
    let lasted = trickling.await.unwrap();
    assert!(lasted < Duration::from_millis(2_000), "{lasted:?}");
    // The idle one has outlived the time for a header, and is served.
    assert!(Duration::from_millis(500) < begun_at.elapsed());
    assert_eq!(idle.ask(&Request::claim("spring", "early", None)).await.unwrap().status, 200);
    ended_within(&mut idle, Duration::from_millis(3_000)).await;
}

/// Sends a byte at a time until the server has had enough; says how long that took.
async fn trickle(mut connection: Connection, begin: &[u8], pause: Duration) -> Duration {
    let begun_at = Instant::now();
    let _ = connection.stream.write_all(begin).await;
    let mut byte = [0];
    loop {
        tokio::select! {
            read = connection.stream.read(&mut byte) => if read.unwrap_or(0) == 0 { return begun_at.elapsed() },
            () = tokio::time::sleep(pause) => drop(connection.stream.write_all(b"a").await),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_trickles_is_refused_after_its_time() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = server(&SMALL_LIMITS).await;
    let slow = (0..50).map(|_| async {
        let mut connection = Connection::open(server.address).await.unwrap();
        connection.stream.write_all(SLOW_BODY).await.unwrap();
        let begun_at = Instant::now();
        let answer = connection.receive().await.unwrap();
        (answer, begun_at.elapsed())
    });
    let ordinary = ordinary_clients(server.address, Duration::from_millis(1_000));
    let (answers, ()) = tokio::join!(all(slow), ordinary);
    for (answer, lasted) in answers {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (408, Some("body_timeout")), "{}", answer.text());
        assert_eq!(answer.json()["outcome"], "rejected");
        assert!(lasted < Duration::from_millis(1_500), "{lasted:?}");
    }
    let lasted = trickle(Connection::open(server.address).await.unwrap(), SLOW_BODY, Duration::from_secs(1)).await;
    assert!(lasted < Duration::from_millis(3_500), "{lasted:?}");
}

async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pinned: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs = Vec::new();
    for future in &mut pinned {
        outputs.push(future.await);
    }
    outputs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_read_a_large_list_are_ended_and_cost_little_memory() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = start_with_a_large_campaign(&SMALL_LIMITS).await;
    let before = server.program.rss_kib();
    let mut readers = Vec::new();
    // As many exports as there may be at once.
    for _ in 0..4 {
        readers.push(SlowReader::ask_for_the_list(server.address).await);
    }
    ordinary_clients(server.address, Duration::from_millis(700)).await;
    let grown = server.program.rss_kib().saturating_sub(before);
    assert!(grown < 96 * 1_024, "{grown} KiB more for four clients that do not read");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for reader in readers {
        assert!(!reader.rest_is_whole().await, "a list that nobody read was kept for it");
    }
    server.lists_again(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order_and_unread_answers_do_not_pile_up() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = server(&SMALL_LIMITS).await;
    let mut connection = Connection::open(server.address).await.unwrap();
    let requests: String = (0..100).map(|person| Request::claim("spring", &format!("piped-{person}"), None).0).collect();
    connection.send(&Request(requests)).await.unwrap();
    for person in 0..100 {
        let answer = connection.receive().await.unwrap();
        assert_eq!((answer.status, answer.json()["subject"].as_str()), (201, Some(format!("piped-{person}").as_str())));
    }
    let before = server.program.rss_kib();
    let mut flood = Connection::open(server.address).await.unwrap();
    let flooding = async {
        let many = Request::new("GET", "/v1/campaigns/spring").0.repeat(1_000);
        let begun_at = Instant::now();
        while flood.stream.write_all(many.as_bytes()).await.is_ok() {
            assert!(begun_at.elapsed() < Duration::from_secs(15), "it is never ended");
        }
    };
    tokio::join!(flooding, ordinary_clients(server.address, Duration::from_millis(1_500)));
    let grown = server.program.rss_kib().saturating_sub(before);
    assert!(grown < 64 * 1_024, "{grown} KiB more for one client that does not read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_too_many_hears_503_and_the_others_go_on() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = server(&["--connections-max", "50"]).await;
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut connection = Connection::open(server.address).await.unwrap();
        assert_eq!(connection.ask(&Request::new("GET", "/healthz")).await.unwrap().status, 200);
        open.push(connection);
    }
    for sends_first in [false, true].repeat(100) {
        let mut connection = Connection::open(server.address).await.unwrap();
        if sends_first {
            let _ = connection.send(&Request::claim("spring", "too-many", None)).await;
        }
        let answer = connection.receive().await.expect("it should hear why");
        assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("busy")));
        assert_eq!(answer.header("connection"), Some("close"));
        ended_within(&mut connection, Duration::from_secs(2)).await;
        let place = open.len() - 1;
        assert_eq!(open[place].ask(&Request::new("GET", "/healthz")).await.unwrap().status, 200);
    }
    drop(open);
    tokio::time::sleep(Duration::from_millis(300)).await;
    ordinary_clients(server.address, Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_takes_no_longer_than_the_drain_time_whoever_is_connected() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let patient = ["--header-time-ms", "60000", "--body-time-ms", "60000", "--write-time-ms", "60000", "--drain-time-ms", "2000"];
    let mut server = start_with_a_large_campaign(&patient).await;
    let idle = idle_connections(server.address).await;
    let mut others = Vec::new();
    for begin in [HALF_A_HEADER, SLOW_BODY].repeat(50) {
        let mut connection = Connection::open(server.address).await.unwrap();
        connection.stream.write_all(begin).await.unwrap();
        others.push(connection);
    }
    let mut readers = Vec::new();
    for _ in 0..8 {
        readers.push(SlowReader::ask_for_the_list(server.address).await);
    }
    ordinary_clients(server.address, Duration::from_millis(500)).await;
    let asked_at = Instant::now();
    server.program.signal(Signal::TERM);
    let status = server.program.wait(Duration::from_secs(20)).expect("it does not stop");
    let lasted = asked_at.elapsed();
    assert!(status.success(), "{status}: {}", server.program.said());
    assert!(lasted < Duration::from_millis(3_000), "stopping took {lasted:?}");
    drop((idle, others, readers));
}
