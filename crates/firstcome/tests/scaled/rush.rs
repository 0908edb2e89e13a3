//! A rush over two servers while nothing fails.

use std::time::Duration;

use super::world::{Brokers, World};
use super::{check, engines, record, scenario};

#[test]
fn twenty_thousand_people_at_two_servers_take_exactly_two_thousand_coupons() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let world = World::new("exact", &Brokers::One, Some(redis.url())).with_servers(2, 2_000).await;
        let book = world.crowd(20_000, 128, 0).finish(Duration::from_secs(120)).await;
        check::exactly(&world, &book, 2_000).await;
        let record = record::read(&world.kafka).await;
        let commands = record.commands[&world.name];
        eprintln!("{commands} commands and {} records for 2000 coupons", record.records_count);
        // One of them made the campaign.
        assert!(commands <= 2_101, "{commands} commands reached the record: the gate does not keep people away");
    });
}

#[test]
fn without_a_gate_it_is_as_exact() {
    scenario::alone(async {
        let world = World::new("gateless", &Brokers::One, None).with_servers(2, 500).await;
        let book = world.crowd(2_000, 64, 0).finish(Duration::from_secs(120)).await;
        check::exactly(&world, &book, 500).await;
    });
}
