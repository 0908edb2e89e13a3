//! The example workload across machines: made on one server, added to on another, read and listed on
//! both, started again, and verified from Kafka's record with PostgreSQL's tables.

use std::time::Duration;

use tokio::task::block_in_place;

use super::world::{Brokers, World, eventually};
use super::{check, engines, scenario};
use crate::live_client::stream::Stream;
use crate::support_process::http::{Connection, Request, Response};

const GATE: &str = "/v1/counters/gate";
const ADDITIONS: &str = "/v1/counters/gate/additions";
/// How long the tables may take to follow.
const FOLLOWED_MAX: Duration = Duration::from_secs(30);

#[test]
pub fn a_counter_that_one_server_made_counts_on_all_and_is_verified() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let mut world = World::new("counter", &Brokers::One, Some(redis.url())).with_servers(2, 1).await;
        world.until_ready(1).await;
        let made = ask(&world, 0, "PUT", GATE, r#"{"limit":100,"step_max":5}"#).await;
        assert_eq!((made.status, made.json()["version"].as_u64()), (201, Some(1)), "{}", made.text());
        let mut stream = block_in_place(|| Stream::of(world.address(0), "counters/gate", &[]));
        // In turn on both: each counts on from what the other one did.
        for number in 1..=20_u64 {
            let place = usize::try_from(number % 2).unwrap();
            let added = ask(&world, place, "POST", ADDITIONS, &format!(r#"{{"subject":"u{number}","amount":5}}"#)).await;
            let found = (added.status, added.json()["number"].as_u64(), added.json()["total"].as_u64());
            assert_eq!(found, (201, Some(number), Some(5 * number)), "{}", added.text());
        }
        let refused = ask(&world, 1, "POST", ADDITIONS, r#"{"subject":"late","amount":1}"#).await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("limit_reached")), "{}", refused.text());
        block_in_place(|| stream.until(|event| event["total"] == 100));
        for place in [0, 1] {
            is_full(&world, place).await;
        }
        // A server that starts again, from its own snapshot, says the same.
        world.stop(1);
        world.start(1);
        world.until_ready(1).await;
        is_full(&world, 1).await;
        block_in_place(|| check::verified(&world));
    });
}

/// The counter is at its limit on this server, and its list has every addition.
async fn is_full(world: &World, place: usize) {
    let read = ask(world, place, "GET", GATE, "").await.json();
    assert_eq!((read["total"].as_u64(), read["additions"].as_u64()), (Some(100), Some(20)), "server {place}: {read}");
    eventually("the tables have caught up", FOLLOWED_MAX, async || {
        let listed = ask(world, place, "GET", ADDITIONS, "").await;
        listed.status == 200 && listed.json()["additions"].as_array().is_some_and(|additions| additions.len() == 20)
    })
    .await;
}

async fn ask(world: &World, place: usize, method: &str, path: &str, body: &str) -> Response {
    let request = if body.is_empty() { Request::new(method, path) } else { Request::json(method, path, "", body) };
    Connection::open(world.address(place)).await.unwrap().ask(&request).await.unwrap()
}
