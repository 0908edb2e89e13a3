//! A server that answers claims with a place in its queue.
#![allow(clippy::unwrap_used)]

use crate::support;

use rush::coupon::{self, Report};
use support::{Behaviour, Cheat, Server, broken_names, options};

/// The record says that all claims were decided in one second.
async fn run_at_pace(pace: u32, cheat: Option<Cheat>) -> Report {
    let server = Server::start(Behaviour { queues: true, cheat, ..Behaviour::default() }).await;
    coupon::run(&coupon::Options { decisions_per_second: Some(pace), ..options(&server) }).await.unwrap()
}

#[tokio::test]
async fn places_are_followed_to_their_claims_and_every_ask_has_one_end() {
    let report = run_at_pace(100, None).await;
    assert_eq!(broken_names(&report), [""; 0]);
    assert_eq!((report.fresh, report.fresh + report.repeats + report.sold_out), (100, report.asked));
    let queued = report.queued.unwrap();
    assert_eq!((queued.accepted, queued.decided_in_a_second_max, queued.over_pace), (100, 100, 0));
    assert!(queued.still_pending != 0);
}

#[tokio::test]
async fn more_decisions_in_a_second_than_the_pace_allows_are_found() {
    assert_eq!(broken_names(&run_at_pace(99, None).await), ["pace"]);
}

#[tokio::test]
async fn a_place_that_comes_to_nothing_is_a_yes_taken_back() {
    let broken = broken_names(&run_at_pace(100, Some(Cheat::TakesAPlaceBack)).await);
    assert!(broken.contains(&"yes_taken_back"), "{broken:?}");
}
