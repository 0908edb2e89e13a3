//! A server that keeps its promises: nothing is broken, and the figures are exact.

use crate::support;

use std::time::Duration;

use rush::coupon;
use support::{Behaviour, Server, broken_names, options, run_against};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_broken_and_every_ask_has_one_end() {
    let report = run_against(Behaviour::default()).await;
    assert_eq!(report.broken(), []);
    assert_eq!((report.asked, report.claimed, report.fresh), (600, 100, 100));
    assert_eq!(report.fresh + report.repeats + report.sold_out, 600);
    assert!((1..=100).contains(&report.repeats), "{}", report.repeats);
    assert_eq!((report.errors, report.skipped, report.reconnects), (0, 0, 0));
    assert_eq!(report.findings.record_live, 100);
    assert_eq!(report.findings.campaign.remaining, 0);
    assert_eq!(report.timeline.iter().map(|slot| slot.answers).sum::<u64>(), 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fewer_people_than_coupons_is_not_undersold() {
    let server = Server::start(Behaviour::default()).await;
    let mut options = options(&server);
    options.users = 60;
    let report = coupon::run(&options).await.unwrap();
    assert_eq!(report.broken(), []);
    assert_eq!((report.claimed, report.sold_out), (60, 0));
    assert_eq!(report.repeats, 12);
}

#[tokio::test]
async fn it_runs_on_a_single_thread_and_sends_the_token() {
    let server = Server::start(Behaviour::default()).await;
    let mut options = options(&server);
    options.token = Some("secret".to_owned());
    let report = coupon::run(&options).await.unwrap();
    assert_eq!(report.claimed, 100);
    assert_eq!(server.last_token().as_deref(), Some("Bearer secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrivals_are_spread_over_the_given_span() {
    let server = Server::start(Behaviour::default()).await;
    let mut options = options(&server);
    options.over = Duration::from_millis(400);
    let report = coupon::run(&options).await.unwrap();
    assert!(Duration::from_millis(350) < report.duration, "{:?}", report.duration);
    let early = report.timeline.iter().filter(|slot| slot.end_us <= 100_000);
    let early: u64 = early.map(|slot| slot.answers).sum();
    assert!((60..=240).contains(&early), "{early} of 600 in the first quarter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_is_in_use_is_refused_and_left_as_it_is() {
    let server = Server::start(Behaviour::default()).await;
    let mut options = options(&server);
    coupon::run(&options).await.unwrap();
    let asked = server.asked();
    options.stock = 1_000;
    let error = coupon::run(&options).await.unwrap_err();
    assert!(matches!(error, rush::Error::CampaignInUse { claimed: 100, .. }), "{error}");
    assert_eq!(server.asked(), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_not_ready_is_asked_for_again() {
    let report = run_against(Behaviour { record_busy: 3, ..Behaviour::default() }).await;
    assert_eq!(broken_names(&report), [""; 0]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_that_names_it() {
    let server = Server::start(Behaviour::default()).await;
    let mut options = options(&server);
    options.url = support::nobody().await;
    let error = coupon::run(&options).await.unwrap_err().to_string();
    let address = options.url.trim_start_matches("http://");
    assert!(error.starts_with(&format!("cannot connect to {address}")), "{error}");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_by_name() {
    let server = Server::start(Behaviour::default()).await;
    let valid = options(&server);
    for (name, change) in [
        ("users", (|options| options.users = 0) as fn(&mut coupon::Options)),
        ("stock", |options| options.stock = 0),
        ("connections", |options| options.connections = 0),
        ("repeat_percent", |options| options.repeat_percent = 101),
        ("campaign", |options| options.campaign = "a/b".to_owned()),
    ] {
        let mut options = valid.clone();
        change(&mut options);
        let error = coupon::run(&options).await.unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
    assert_eq!(server.asked(), 0);
}
