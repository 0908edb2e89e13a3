//! Watching a campaign across machines: whichever server is asked, all of them show it.

use std::time::Duration;

use super::world::{Brokers, World};
use super::{check, engines, scenario};
use crate::live_client::stream::{Shown, Stream, assert_no_gap};

const STOCK: u64 = 300;

#[test]
pub fn who_watches_one_server_sees_what_all_were_asked() {
    scenario::alone(async {
        let redis = engines::forgetful_redis();
        let world = World::new("watched", &Brokers::One, Some(redis.url())).with_servers(2, STOCK).await;
        let watching = [0, 1].map(|place| {
            let (address, campaign) = (world.address(place), world.name.clone());
            std::thread::spawn(move || {
                let mut stream = Stream::open(address, &campaign, &[]);
                assert_eq!(stream.status, 200);
                let events = stream.until(|event| event["issued"].as_u64() == Some(STOCK));
                assert!(events[0].is_snapshot());
                assert_no_gap(&events);
                let mut shown = Shown::default();
                events.iter().for_each(|event| shown.take(event));
                assert_eq!((shown.number("remaining"), shown.number("claimed")), (0, STOCK));
            })
        });
        let book = world.crowd(1_000, 16, 0).finish(Duration::from_secs(60)).await;
        for watching in watching {
            tokio::task::block_in_place(|| watching.join().unwrap());
        }
        check::exactly(&world, &book, STOCK).await;
    });
}
