//! Kafka in pieces: a broker that is killed, and all of them silent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cluster::protocol::partition::partition_of;
use services::Kafka;
use tokio::task::block_in_place;

use super::engines::Frozen;
use super::world::{Brokers, World};
use super::{check, engines, scenario};
use crate::support_process::http::{Connection, Request};

pub const STOCK: u64 = 1_500;
pub const PEOPLE: u64 = 3_000;
/// As many may have been in flight when something failed.
const CLIENTS_OF_A_CROWD: usize = 32;
/// No answer takes longer, whatever hangs.
const ANSWER_MAX: Duration = Duration::from_secs(9);
/// By how much a server may grow that is asked for what it cannot give.
const GROWTH_KIB_MAX: u64 = 96 << 10;
/// Requests in vain, those who send them, and people who have asked before.
const IN_VAIN: u64 = 5_000;
const CLIENTS: u64 = 50;
const KNOWN_BEFORE: u64 = 200;

#[test]
pub fn when_the_broker_that_leads_the_campaigns_partition_is_killed_another_one_leads() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let world = World::new("leader-killed", &Brokers::Three, Some(redis.url())).with_servers(2, STOCK).await;
        let mut kafka = engines::three_brokers();
        let leader = block_in_place(|| leader_of(&kafka, &world));
        let crowd = world.crowd(PEOPLE, CLIENTS_OF_A_CROWD as u64, 10);
        crowd.until_claimed(scenario::strikes_at(300)).await;
        kafka.kill(leader).unwrap();
        let before = crowd.book().claims.len();
        crowd.until_claimed(before + CLIENTS_OF_A_CROWD + 100).await;
        tokio::time::sleep(scenario::outage()).await;
        block_in_place(|| kafka.restart(leader).unwrap());
        let book = crowd.finish(Duration::from_secs(90)).await;
        check::exactly(&world, &book, STOCK).await;
    });
}

/// It hangs for longer than the others wait for it, and wakes as one that is still sure to lead.
#[test]
pub fn when_the_leading_broker_hangs_another_one_leads_and_nothing_changes_when_it_wakes() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let world = World::new("leader-hangs", &Brokers::Three, Some(redis.url())).with_servers(2, STOCK).await;
        let mut kafka = engines::three_brokers();
        let leader = block_in_place(|| leader_of(&kafka, &world));
        let crowd = world.crowd(PEOPLE, CLIENTS_OF_A_CROWD as u64, 10);
        crowd.until_claimed(scenario::strikes_at(300)).await;
        let frozen = Frozen::one(&mut kafka, leader);
        let before = crowd.book().claims.len();
        crowd.until_claimed(before + CLIENTS_OF_A_CROWD + 100).await;
        tokio::time::sleep(scenario::outage()).await;
        drop(frozen);
        let book = crowd.finish(Duration::from_secs(90)).await;
        check::exactly(&world, &book, STOCK).await;
    });
}

#[test]
pub fn while_all_brokers_are_silent_nothing_is_answered_and_afterwards_everything_heals_by_itself() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let world = World::new("silent", &Brokers::Three, Some(redis.url())).with_servers(2, STOCK).await;
        let mut kafka = engines::three_brokers();
        let crowd = world.crowd(PEOPLE, CLIENTS_OF_A_CROWD as u64, 10);
        crowd.until_claimed(scenario::strikes_at(300)).await;
        let frozen = Frozen::all(&mut kafka);
        // What was on its way before has come by.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = crowd.book().claims.len();
        tokio::join!(only_refuses(&world, 0), only_refuses(&world, 1), tokio::time::sleep(scenario::outage()));
        assert_eq!(before, crowd.book().claims.len(), "a yes without a record");
        drop(frozen);
        for place in world.running() {
            world.until_ready(place).await;
        }
        let book = crowd.finish(Duration::from_secs(90)).await;
        check::exactly(&world, &book, STOCK).await;
    });
}

#[test]
pub fn five_thousand_requests_while_kafka_is_silent_are_refused_in_time_and_fill_no_memory() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let world = World::new("long-silence", &Brokers::One, Some(redis.url())).with_servers(1, STOCK).await;
        let crowd = world.crowd(KNOWN_BEFORE, 16, 0);
        crowd.finish(Duration::from_secs(60)).await;
        let mut kafka = engines::one_broker();
        let before = world.program(0).rss_kib();
        let frozen = Frozen::all(&mut kafka);
        let asking = (0..CLIENTS).map(|client| tokio::spawn(ask_in_vain(world.address(0), world.name.clone(), client)));
        for one in asking.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        let grown = world.program(0).rss_kib().saturating_sub(before);
        eprintln!("after 5000 requests in vain it has grown by {grown} KiB");
        assert!(grown < GROWTH_KIB_MAX, "it has grown by {grown} KiB");
        drop(frozen);
        world.until_ready(0).await;
        drop(kafka);
        // Those who asked in vain are among them.
        let crowd = world.crowd(2 * IN_VAIN, 16, 0);
        let book = crowd.finish(Duration::from_secs(60)).await;
        check::exactly(&world, &book, STOCK).await;
    });
}

/// The index of the broker that leads the partition of a campaign.
fn leader_of(kafka: &Kafka, world: &World) -> usize {
    leaders(kafka, world)[partition_of(&world.name, world.kafka.partitions) as usize]
}

/// The index of the broker that leads each partition of the world's topic.
pub fn leaders(kafka: &Kafka, world: &World) -> Vec<usize> {
    let arguments = ["--bootstrap-server", &kafka.bootstrap(), "--describe", "--topic", &world.kafka.topic];
    let described = kafka.tool("org.apache.kafka.tools.TopicCommand", &arguments).unwrap();
    let leaders = described.lines().filter_map(|line| line.split_once("Leader: ")?.1.split_whitespace().next()?.parse::<usize>().ok());
    // Kafka's numbers begin with 1; lines come in the order of partitions.
    leaders.map(|leader| leader - 1).collect()
}

/// Asks a server that cannot know for everything, and expects a 503 in time each time. The claim may
/// be decided yet: it is one of the last person, who comes and asks again.
pub async fn only_refuses(world: &World, place: usize) {
    let (address, campaign) = (world.address(place), &world.name);
    let requests = [
        Request::claim(campaign, &format!("person-{}", PEOPLE - 1), None),
        Request::new("GET", &format!("/v1/campaigns/{campaign}")),
        Request::new("GET", &format!("/v1/campaigns/{campaign}/claims")),
        Request::new("GET", &format!("/v1/campaigns/{campaign}/claims/person-1")),
        Request::claim(campaign, "person-1", None),
        Request::new("GET", "/v1/campaigns"),
        Request::new("GET", "/readyz"),
    ];
    for request in requests {
        let started = Instant::now();
        let answer = Connection::open(address).await.unwrap().ask(&request).await.unwrap();
        let (took, asked) = (started.elapsed(), request.0.lines().next().unwrap());
        assert_eq!(answer.status, 503, "{asked}: {}", answer.text());
        assert!(took < ANSWER_MAX, "{asked} took {took:?}");
        let problem = answer.json();
        let code = problem["code"].as_str().unwrap_or("not_caught_up");
        assert!(["not_caught_up", "outcome_unknown"].contains(&code), "{asked}: {problem}");
    }
}

async fn ask_in_vain(address: SocketAddr, campaign: String, client: u64) {
    let mut connection = Connection::open(address).await.unwrap();
    for number in 0..IN_VAIN / CLIENTS {
        let started = Instant::now();
        let person = format!("person-{}", KNOWN_BEFORE + number * CLIENTS + client);
        let answer = connection.ask(&Request::claim(&campaign, &person, None)).await.unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(started.elapsed() < ANSWER_MAX, "it took {:?}", started.elapsed());
    }
}
