//! Clocks that are wrong: neither a broker's clock that is ahead nor a server's moves the time on alone, and it
//! never goes back.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cluster::protocol::partition::partition_of;
use domain::types::Timestamp;
use edge::times;
use serde_json::{Value, json};
use services::{Kafka, KafkaOptions};
use tokio::task::block_in_place;

use super::brokers::leaders;
use super::world::{Brokers, World};
use super::{engines, scenario};
use crate::support_process::http::{Request, Response};
use crate::support_process::program::ask;

/// By how much a clock is wrong.
const HOUR: u64 = 3_600_000;

#[test]
fn a_brokers_clock_that_is_ahead_decides_nothing() {
    if library().is_none() {
        eprintln!("skipped: clocks cannot be changed here; on Debian and Ubuntu: apt-get install libfaketime");
        return;
    }
    scenario::alone(async {
        let options = KafkaOptions { brokers: 3, clock_offsets_s: vec![(0, 3_600)], ..KafkaOptions::default() };
        let mut kafka = block_in_place(|| Kafka::start(options).unwrap());
        let redis = engines::forgetful_redis();
        let brokers = Brokers::At(kafka.bootstrap(), false);
        let mut world = World::new("clocks", &brokers, Some(redis.url()));
        // The servers' clocks are right, and so are those of the other brokers.
        world.add_server(&[]);
        world.add_server(&[]);
        for place in world.running() {
            world.until_ready(place).await;
        }
        // A campaign whose partition is led by the broker with the wrong clock.
        let leaders = block_in_place(|| leaders(&kafka, &world));
        let is_led_by_it = |name: &String| leaders[partition_of(name, world.kafka.partitions) as usize] == 0;
        world.name = (0..1_000).map(|number| format!("clocks-{number}")).find(is_led_by_it).unwrap();
        let soon = now() + HOUR / 2;
        put(&world, json!({ "stock": 100, "opens_at": time(soon) })).await;
        for place in world.running() {
            let answer = claim(&world, place, "cat").await;
            assert_eq!(answer.json()["code"], "not_open", "only by the broker's clock it is open: {}", answer.text());
        }
        put(&world, json!({ "stock": 100, "closes_at": time(soon) })).await;
        for (place, person) in [(0, "ann"), (1, "bob")] {
            let answer = claim(&world, place, person).await;
            assert_eq!(answer.status, 201, "only by the broker's clock it is over: {}", answer.text());
            assert!(claimed_at(&answer) < time(now() + 60_000), "{}", answer.text());
        }
        put(&world, json!({ "stock": 100 })).await;
        let last = claimed_at(&claim_until_told(&world, 0, "dan").await);
        kafka.kill(0).unwrap();
        // The new leader's clock is right.
        for (place, person) in [(0, "eve"), (1, "fay")] {
            let answer = claim_until_told(&world, place, person).await;
            assert!(last <= claimed_at(&answer), "time went back from {last}: {}", answer.text());
        }
    });
}

/// What tells a program another time, where it is installed.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file())
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn time(millis: u64) -> String {
    times::format(Timestamp::from_millis(millis).unwrap())
}

fn claimed_at(answer: &Response) -> String {
    answer.json()["claimed_at"].as_str().unwrap().to_owned()
}

async fn put(world: &World, settings: Value) {
    let path = format!("/v1/campaigns/{}", world.name);
    let answer = ask(world.address(0), &Request::json("PUT", &path, "", &settings.to_string())).await;
    assert!(answer.status == 200 || answer.status == 201, "{}", answer.text());
}

async fn claim(world: &World, place: usize, person: &str) -> Response {
    ask(world.address(place), &Request::claim(&world.name, person, None)).await
}

async fn claim_until_told(world: &World, place: usize, person: &str) -> Response {
    for _ in 0..300 {
        let answer = claim(world, place, person).await;
        if answer.status == 200 || answer.status == 201 {
            return answer;
        }
        assert_eq!(answer.status, 503, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{person} was told nothing for half a minute");
}
