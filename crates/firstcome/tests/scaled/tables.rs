//! PostgreSQL away for a while: claims do not need it, lists say so, and nothing is missing afterwards.

use std::time::{Duration, Instant};

use tokio::task::block_in_place;

use super::world::{Brokers, World};
use super::{check, engines, scenario};
use crate::support_process::http::{Connection, Request};

const STOCK: u64 = 2_000;
const PEOPLE: u64 = 4_000;
/// A list that cannot be read says so by then.
const REFUSED_MAX: Duration = Duration::from_secs(15);

#[test]
pub fn while_the_tables_are_away_claims_go_on_and_afterwards_everything_is_in_them() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let world = World::new("tables-killed", &Brokers::One, Some(redis.url())).with_servers(2, STOCK).await;
        let crowd = world.crowd(PEOPLE, 32, 20);
        crowd.until_claimed(scenario::strikes_at(300)).await;
        let mut postgres = engines::postgres();
        block_in_place(|| postgres.kill().unwrap());
        let before = crowd.book().claims.len();
        let refused = async {
            for place in world.running() {
                list_is_refused(&world, place).await;
            }
        };
        tokio::join!(refused, tokio::time::sleep(scenario::outage()));
        let during = crowd.book().claims.len();
        assert!(before + 200 < during, "claims do not go on: {before}, then {during}");
        assert_eq!(crowd.book().unclear.len(), 0, "claims were answered otherwise than before");
        block_in_place(|| postgres.restart().unwrap());
        drop(postgres);
        let book = crowd.finish(Duration::from_secs(60)).await;
        check::exactly(&world, &book, STOCK).await;
    });
}

async fn list_is_refused(world: &World, place: usize) {
    let path = format!("/v1/campaigns/{}/claims", world.name);
    let started = Instant::now();
    let answer = Connection::open(world.address(place)).await.unwrap().ask(&Request::new("GET", &path)).await.unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(started.elapsed() < REFUSED_MAX, "it took {:?}", started.elapsed());
}
