//! Rate limits across machines: policies are everybody's, what keys have taken is each server's own.

use std::time::Duration;

use super::scenario;
use super::world::{Brokers, World, eventually};
use crate::support_process::http::{Connection, Request, Response};

/// A change on one server is followed by the others within this time.
const FOLLOWED_MAX: Duration = Duration::from_secs(10);
const POLICY: &str = "/v1/policies/api";

#[test]
pub fn a_policy_that_one_server_made_is_counted_by_all_and_its_changes_are_followed() {
    scenario::alone(async {
        let world = World::new("policies", &Brokers::One, None).with_servers(2, 1).await;
        world.until_ready(1).await;
        let made = ask(&world, 0, "PUT", POLICY, r#"{"algorithm":"fixed_window","quota":3,"window_ms":3600000}"#).await;
        assert_eq!((made.status, made.json()["version"].as_u64()), (201, Some(1)), "{}", made.text());
        // At once: who does not know a policy asks the log.
        for place in [1, 0] {
            let checked = ask(&world, place, "POST", &format!("{POLICY}/checks"), r#"{"key":"ann"}"#).await;
            assert_eq!((checked.status, checked.json()["remaining"].as_u64()), (200, Some(2)), "server {place}: {}", checked.text());
        }
        assert_eq!(ask(&world, 0, "PATCH", POLICY, r#"{"quota":7}"#).await.json()["version"].as_u64(), Some(2));
        until_limit(&world, 1, "ann", 7).await;
        let own = ask(&world, 1, "PUT", &format!("{POLICY}/overrides/vip"), r#"{"quota":50,"window_ms":3600000}"#).await;
        assert_eq!(own.status, 200, "{}", own.text());
        until_limit(&world, 0, "vip", 50).await;
        // Nobody made what nobody knows, also where it is asked for behind a barrier.
        let unknown = ask(&world, 1, "POST", "/v1/policies/none/checks", r#"{"key":"ann"}"#).await;
        assert_eq!((unknown.status, unknown.json()["code"].as_str()), (404, Some("policy_not_found")));
        assert_eq!(ask(&world, 1, "DELETE", POLICY, "").await.status, 200);
        eventually("a policy that is removed is not counted any more", FOLLOWED_MAX, async || {
            ask(&world, 0, "POST", &format!("{POLICY}/checks"), r#"{"key":"ann","cost":0}"#).await.status == 404
        })
        .await;
    });
}

async fn until_limit(world: &World, place: usize, key: &str, limit: u64) {
    let (path, body) = (format!("{POLICY}/checks"), format!(r#"{{"key":"{key}","cost":0}}"#));
    eventually("a change of a policy is followed", FOLLOWED_MAX, async || {
        ask(world, place, "POST", &path, &body).await.json()["limit"].as_u64() == Some(limit)
    })
    .await;
}

async fn ask(world: &World, place: usize, method: &str, path: &str, body: &str) -> Response {
    let request = if body.is_empty() { Request::new(method, path) } else { Request::json(method, path, "", body) };
    Connection::open(world.address(place)).await.unwrap().ask(&request).await.unwrap()
}
