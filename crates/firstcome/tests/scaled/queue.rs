//! Queued claims over several servers, with servers and brokers killed meanwhile.

use std::sync::Arc;
use std::time::Duration;

use cluster::protocol::partition::partition_of;
use tokio::task::block_in_place;

use super::world::{Brokers, World};
use super::{brokers, engines, scenario};
use crate::support_process::queue::{everybody, put_queued};

const STOCK: u64 = 900;
const PACE: u64 = 300;
const PEOPLE: usize = 1_500;

#[test]
fn killed_servers_lose_nobody_in_the_queue_and_the_others_go_on_deciding() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let mut world = World::new("queue", &Brokers::One, Some(redis.url())).with_servers(2, 1).await;
        put_queued(world.address(0), "queued", STOCK, PACE).await;
        let addresses = Arc::clone(&world.addresses);
        let told = tokio::spawn(async move { everybody(&addresses, "queued", PEOPLE, 16).await });
        for place in [0, 1, 0] {
            tokio::time::sleep(Duration::from_millis(700)).await;
            world.kill(place);
            tokio::time::sleep(Duration::from_millis(300)).await;
            world.start(place);
        }
        let told = told.await.unwrap();
        assert!(STOCK < 2 * told.places.len() as u64, "hardly anybody had to wait");
        told.check(&world.addresses, "queued", STOCK, usize::try_from(PACE).unwrap()).await;
    });
}

#[test]
fn a_killed_broker_loses_nobody_in_the_queue() {
    scenario::alone(async {
        let world = World::new("queue-broker", &Brokers::Three, None).with_servers(2, 1).await;
        put_queued(world.address(0), "queued", STOCK, PACE).await;
        let addresses = Arc::clone(&world.addresses);
        let told = tokio::spawn(async move { everybody(&addresses, "queued", PEOPLE, 16).await });
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let mut kafka = engines::three_brokers();
        let leader = block_in_place(|| brokers::leaders(&kafka, &world))[partition_of("queued", world.kafka.partitions) as usize];
        kafka.kill(leader).unwrap();
        let told = told.await.unwrap();
        block_in_place(|| kafka.restart(leader).unwrap());
        told.check(&world.addresses, "queued", STOCK, usize::try_from(PACE).unwrap()).await;
    });
}
