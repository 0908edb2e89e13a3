//! Several servers of one cluster: what one has answered, another must know.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

use crate::support;

use rush::coupon::{self, Elsewhere, Report};
use support::{Behaviour, Cheat, Server, broken_names, options};

/// Two servers that share everything.
async fn run_against_two(behaviour: Behaviour) -> Report {
    let server = Server::start(behaviour).await;
    let mut options = options(&server);
    options.other_urls = vec![server.second().await];
    coupon::run(&options).await.unwrap()
}

fn elsewhere(report: &Report) -> &Elsewhere {
    report.findings.elsewhere.as_ref().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_share_everything_agree() {
    let report = run_against_two(Behaviour::default()).await;
    assert_eq!(report.broken(), []);
    assert_eq!((report.asked, report.claimed, report.fresh), (600, 100, 100));
    let found = elsewhere(&report);
    assert_eq!((found.asked, found.unknown, found.not_repeated), (100, 0, 0));
    assert_eq!(found.servers.len(), 2);
    assert_eq!(found.servers[0].campaign, found.servers[1].campaign);
    assert!(report.table().contains("not so on another server"));
    assert_eq!(report.to_json()["findings"]["elsewhere"]["asked"], 100);
    let servers = report.settings.server.split(',').collect::<Vec<_>>();
    assert_eq!(servers, [found.servers[0].server.as_str(), &found.servers[1].server]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_is_not_asked_for_what_others_know() {
    let report = support::run_against(Behaviour::default()).await;
    assert!(report.findings.elsewhere.is_none());
    assert!(report.to_json()["findings"].get("elsewhere").is_none());
    assert!(!report.table().contains("another server"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_of_many_claims_are_asked_for() {
    let server = Server::start(Behaviour::default()).await;
    let mut options = options(&server);
    options.other_urls = vec![server.second().await, server.second().await];
    (options.users, options.stock) = (3_000, 2_500);
    let report = coupon::run(&options).await.unwrap();
    assert_eq!(report.broken(), []);
    let asked = elsewhere(&report).asked;
    assert!((800..=1_000).contains(&asked), "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_another_server_does_not_show_is_found() {
    let report = run_against_two(Behaviour { cheat: Some(Cheat::HidesAClaimWhenAsked), ..Behaviour::default() }).await;
    assert_eq!(broken_names(&report), ["unknown_elsewhere"]);
    assert_eq!(elsewhere(&report).unknown, 1);
    assert!(elsewhere(&report).samples[0].contains("shows 404"), "{:?}", elsewhere(&report).samples);
    assert!(report.html().contains("1 coupon that another server does not show as it was given"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_what_another_has_given_is_found() {
    let report = run_against_two(Behaviour { cheat: Some(Cheat::RefusesWhoAsksAgain), ..Behaviour::default() }).await;
    assert!(broken_names(&report).contains(&"not_repeated_elsewhere"));
    assert_eq!(elsewhere(&report).not_repeated, 100);
    assert_eq!(elsewhere(&report).samples.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_share_nothing_are_found() {
    let (one, other) = (Server::start(Behaviour::default()).await, Server::start(Behaviour::default()).await);
    let mut options = options(&one);
    options.other_urls = vec![other.url.clone()];
    // The second one knows the campaign too, and gives out its own coupons.
    coupon::run(&coupon::Options { url: other.url.clone(), other_urls: Vec::new(), users: 1, repeat_percent: 0, ..options.clone() })
        .await
        .unwrap();
    let report = coupon::run(&options).await.unwrap();
    let broken = broken_names(&report);
    for name in ["one_for_two", "answers_not_in_record", "unknown_elsewhere", "not_repeated_elsewhere"] {
        assert!(broken.contains(&name), "{name}: {broken:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_know_the_campaign_is_found() {
    let (one, other) = (Server::start(Behaviour::default()).await, Server::start(Behaviour::default()).await);
    let mut options = options(&one);
    options.other_urls = vec![other.url.clone()];
    let report = coupon::run(&options).await.unwrap();
    assert!(broken_names(&report).contains(&"servers_differ"), "{:?}", report.broken());
    let found = elsewhere(&report);
    assert!(found.servers[0].campaign.is_some() && found.servers[1].campaign.is_none());
    assert!(report.table().contains("does not know the campaign"), "{}", report.table());
}

#[tokio::test]
async fn a_connection_for_each_server_is_needed() {
    let server = Server::start(Behaviour::default()).await;
    let mut options = options(&server);
    options.other_urls = vec![server.second().await];
    options.connections = 1;
    let error = coupon::run(&options).await.unwrap_err().to_string();
    assert!(error.starts_with("connections"), "{error}");
}
