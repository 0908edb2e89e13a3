//! The gate with and without its memory: it may lose it, get an older one back, be away, or hang.
//! Whatever it says, the record decides, and nothing stays unsold while people ask.

use std::time::Duration;

use redis::{Commands, Connection};
use services::Redis;
use tokio::task::block_in_place;

use super::crowd::Crowd;
use super::world::{Brokers, World};
use super::{check, engines, record, scenario};

const STOCK: u64 = 1_500;
const PEOPLE: u64 = 4_000;
/// Nobody waits for long: neither for a gate that hangs, nor for units that it does not give back.
const WAIT_MAX: Duration = Duration::from_secs(4);
/// How long people may have to ask after the last fault.
const TOLD_MAX: Duration = Duration::from_secs(60);

/// A rush in the middle of which something happens to the gate.
async fn rush(name: &str, mut redis: Redis, fault: impl AsyncFnOnce(&mut Redis, &Crowd)) {
    let world = World::new(name, &Brokers::One, Some(redis.url())).with_servers(2, STOCK).await;
    let crowd = world.crowd(PEOPLE, 32, 10);
    crowd.until_claimed(scenario::strikes_at(200)).await;
    fault(&mut redis, &crowd).await;
    let book = crowd.finish(TOLD_MAX).await;
    assert!(book.slowest < WAIT_MAX, "somebody waited for {:?}", book.slowest);
    check::exactly(&world, &book, STOCK).await;
    let commands = record::read(&world.kafka).await.commands[&world.name];
    eprintln!("{name}: {commands} commands for {STOCK} coupons");
}

fn connect(redis: &Redis) -> Connection {
    redis::Client::open(redis.url()).unwrap().get_connection().unwrap()
}

#[test]
pub fn a_gate_that_is_flushed_in_the_middle_is_filled_again() {
    scenario::alone(rush("flushed", engines::forgetful_redis(), async |redis, crowd| {
        for claims in [300, 600, 900] {
            crowd.until_claimed(claims).await;
            block_in_place(|| redis::cmd("FLUSHALL").exec(&mut connect(redis)).unwrap());
        }
    }));
}

#[test]
pub fn a_gate_that_comes_back_from_an_old_copy_gives_nothing_twice() {
    scenario::alone(rush("old-copy", engines::forgetful_redis(), async |redis, crowd| {
        let copy = block_in_place(|| copy_of(&mut connect(redis)));
        assert!(!copy.is_empty(), "there is nothing at the gate");
        crowd.until_claimed(800).await;
        block_in_place(|| put_back(&mut connect(redis), &copy));
    }));
}

#[test]
pub fn a_gate_that_is_killed_for_good_slows_down_and_changes_nothing() {
    scenario::alone(rush("gate-killed", engines::forgetful_redis(), async |redis, _| redis.kill().unwrap()));
}

#[test]
pub fn a_gate_that_hangs_for_a_while_changes_nothing() {
    scenario::alone(rush("gate-frozen", engines::forgetful_redis(), async |redis, crowd| {
        let before = crowd.book().claims.len();
        redis.stop().unwrap();
        tokio::time::sleep(scenario::outage()).await;
        let after = crowd.book().claims.len();
        redis.resume().unwrap();
        assert!(before + 100 < after, "claims hardly go on while the gate hangs: {before}, then {after}");
    }));
}

#[test]
pub fn a_gate_that_was_started_again_empty_is_filled_again() {
    scenario::alone(rush("gate-restarted", engines::forgetful_redis(), async |redis, crowd| {
        crowd.until_claimed(500).await;
        redis.kill().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        block_in_place(|| redis.restart().unwrap());
    }));
}

/// Every key with its value.
fn copy_of(connection: &mut Connection) -> Vec<(String, Vec<u8>)> {
    let names: Vec<String> = connection.keys("*").unwrap();
    let dump = |name: String| {
        let value = redis::cmd("DUMP").arg(&name).query(connection).unwrap();
        (name, value)
    };
    names.into_iter().map(dump).collect()
}

fn put_back(connection: &mut Connection, copy: &[(String, Vec<u8>)]) {
    let mut all = redis::pipe();
    all.atomic().cmd("FLUSHALL").ignore();
    for (name, value) in copy {
        all.cmd("RESTORE").arg(name).arg(0).arg(value).ignore();
    }
    all.query::<()>(connection).unwrap();
}
