//! Servers that are killed, stopped or frozen in the middle of a rush.

use std::time::Duration;

use rustix::process::Signal;

use super::world::{Brokers, World, eventually};
use super::{check, engines, scenario};

/// Units, and people who come.
const STOCK: u64 = 1_500;
const PEOPLE: u64 = 3_000;

#[test]
pub fn when_a_server_is_killed_the_other_goes_on_and_the_killed_one_catches_up() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let mut world = World::new("killed", &Brokers::One, Some(redis.url())).with_servers(2, STOCK).await;
        let crowd = world.crowd(PEOPLE, 32, 10);
        crowd.until_claimed(scenario::strikes_at(300)).await;
        let survivor = world.projecting().await;
        let victim = 1 - survivor;
        world.kill(victim);
        let before = crowd.book().claims.len();
        crowd.until_claimed(before + 200).await;
        world.start(victim);
        world.until_ready(victim).await;
        let book = crowd.finish(Duration::from_secs(60)).await;
        check::exactly(&world, &book, STOCK).await;
    });
}

#[test]
pub fn when_the_server_that_writes_the_tables_is_killed_another_one_writes_them() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let mut world = World::new("projector-killed", &Brokers::One, Some(redis.url())).with_servers(2, STOCK).await;
        let crowd = world.crowd(PEOPLE, 32, 10);
        crowd.until_claimed(scenario::strikes_at(300)).await;
        let victim = world.projecting().await;
        world.kill(victim);
        let successor = world.projecting().await;
        assert_ne!(successor, victim);
        crowd.until_claimed(scenario::strikes_at(600)).await;
        world.start(victim);
        let book = crowd.finish(Duration::from_secs(60)).await;
        check::exactly(&world, &book, STOCK).await;
        assert_eq!(world.metric(victim, "projecting").await, 0, "two write the tables");
    });
}

/// The database gives its lock to another one; the first one does not know, and must change nothing.
#[test]
pub fn a_projector_that_was_given_up_for_dead_doubles_nothing_when_it_wakes() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let world = World::new("two-projectors", &Brokers::One, Some(redis.url())).with_servers(2, STOCK).await;
        let crowd = world.crowd(PEOPLE, 32, 10);
        crowd.until_claimed(scenario::strikes_at(300)).await;
        let first = world.projecting().await;
        let second = 1 - first;
        world.program(first).signal(Signal::STOP);
        let database = check::connect(&world.postgres).await;
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let ended: i64 = database.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(ended, 1, "one connection held the lock");
        eventually("the other one writes the tables", Duration::from_secs(30), async || world.metric(second, "projecting").await == 1)
            .await;
        let before = world.metric(second, "projected_total").await;
        eventually("it writes", Duration::from_secs(30), async || before < world.metric(second, "projected_total").await).await;
        world.program(first).signal(Signal::CONT);
        eventually("the first one has noticed", Duration::from_secs(30), async || world.metric(first, "projecting").await == 0).await;
        let book = crowd.finish(Duration::from_secs(60)).await;
        check::exactly(&world, &book, STOCK).await;
        for place in [first, second] {
            assert_eq!(world.metric(place, "history_broken").await, 0);
        }
        let is_projecting = world.metric(second, "projecting").await;
        assert_eq!(is_projecting, 1, "it has lost its right to the one that woke: {}", world.program(second).said());
    });
}
