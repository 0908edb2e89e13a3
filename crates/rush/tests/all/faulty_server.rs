//! A server that is honest and in trouble: whoever gets no answer asks again,
//! and the figures say so.

use crate::support;

use std::time::Duration;

use rush::coupon::{self, CurvePoint};
use support::{Behaviour, Drops, Server, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_connections_leave_outcomes_open_that_asking_again_settles() {
    let server = Server::start(Behaviour { drops: Drops::Every(20), ..Behaviour::default() }).await;
    let report = coupon::run(&options(&server)).await.unwrap();
    assert_eq!(report.broken(), []);
    assert_eq!((report.errors, report.claimed), (0, 100));
    assert!(20 <= server.dropped(), "{}", server.dropped());
    assert_eq!(report.unknown_outcomes, server.dropped());
    // The last one may have had nothing more to do.
    assert!((1..=server.dropped()).contains(&report.reconnects));
    // The answers that were lost come back as repeats.
    assert!(report.fresh < 100, "{}", report.fresh);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_people_who_never_got_an_answer_are_allowed_in_the_record() {
    let server = Server::start(Behaviour { drops: Drops::Always, ..Behaviour::default() }).await;
    let report = coupon::run(&options(&server)).await.unwrap();
    assert_eq!(report.broken(), []);
    assert_eq!((report.errors, report.claimed), (600, 0));
    assert_eq!(report.unknown_outcomes, 1_200);
    assert_eq!(report.findings.settled_in_record, 100);
    assert_eq!(report.error_samples.len(), 5);
    assert!(report.error_samples[0].contains("no answer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_busy_is_asked_again_after_the_given_time() {
    let server = Server::start(Behaviour { busy: Some((40, "1")), ..Behaviour::default() }).await;
    let report = coupon::run(&options(&server)).await.unwrap();
    assert_eq!(report.broken(), []);
    assert_eq!((report.asked_again, report.errors), (40, 0));
    assert!(Duration::from_secs(1) <= report.duration, "{:?}", report.duration);
    assert!(1_000_000 <= report.latency.max_us);
    assert_eq!(report.fresh + report.repeats + report.sold_out, 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_busy_ends_in_errors() {
    let server = Server::start(Behaviour { busy: Some((u64::MAX, "0")), ..Behaviour::default() }).await;
    let report = coupon::run(&options(&server)).await.unwrap();
    assert_eq!((report.errors, report.asked_again), (600, 12_000));
    assert_eq!(server.asked(), 12_600);
    assert!(report.error_samples[0].contains("still after 20 tries: 503"));
    assert_eq!(report.broken(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_internal_error_is_an_unknown_outcome() {
    let server = Server::start(Behaviour { failing: 10, ..Behaviour::default() }).await;
    let report = coupon::run(&options(&server)).await.unwrap();
    assert_eq!(report.unknown_outcomes, 10);
    assert_eq!(report.broken(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_in_time_is_an_unknown_outcome() {
    let server = Server::start(Behaviour { stall: Some((100, Duration::from_millis(300))), ..Behaviour::default() }).await;
    let mut options = options(&server);
    options.request_timeout = Duration::from_millis(200);
    let report = coupon::run(&options).await.unwrap();
    assert!((1..=16).contains(&report.unknown_outcomes), "{}", report.unknown_outcomes);
    assert_eq!(report.broken(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_closes_are_opened_again() {
    let server = Server::start(Behaviour { closes_after_answer: true, ..Behaviour::default() }).await;
    let report = coupon::run(&options(&server)).await.unwrap();
    assert_eq!(report.broken(), []);
    assert_eq!((report.errors, report.unknown_outcomes), (0, 0), "{:?}", report.error_samples);
    assert!(500 < report.reconnects, "{}", report.reconnects);
}

/// With a closed loop only the few requests that were under way would be slow:
/// four of a thousand here, far beyond the 90th percentile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_shows_in_the_latency_of_everybody_who_was_due_in_it() {
    let server = Server::start(Behaviour { stall: Some((300, Duration::from_millis(300))), ..Behaviour::default() }).await;
    let mut options = options(&server);
    options.users = 1_000;
    options.repeat_percent = 0;
    options.connections = 4;
    options.over = Duration::from_secs(1);
    let report = coupon::run(&options).await.unwrap();
    let at = |curve: &[CurvePoint], percentile| curve.iter().find(|point| percentile <= point.percentile).unwrap().us;
    assert!(150_000 <= at(&report.latency_curve, 89.9), "{:?}", report.latency);
    // Only the few requests under way saw it on the wire.
    assert!(at(&report.service_curve, 98.0) < 150_000, "{:?}", report.service_time);
    assert!(290_000 <= report.service_time.max_us);
}
