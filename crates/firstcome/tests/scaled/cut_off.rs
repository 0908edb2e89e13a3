//! A server that people reach and that does not reach Kafka: it must never answer from what it knew.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use services::{Kafka, KafkaOptions};
use tokio::task::block_in_place;

use super::brokers::{PEOPLE, STOCK, only_refuses};
use super::proxy::{Network, Proxy};
use super::world::{Brokers, World};
use super::{check, engines, scenario};

/// How long after the network has failed a server may not have noticed.
const NOTICED_AFTER: Duration = Duration::from_millis(300);

#[test]
pub fn a_server_that_is_cut_off_from_kafka_answers_nothing_and_never_the_past() {
    scenario::alone(async {
        let [direct, by_proxy, controller, proxied] = free_ports();
        let _kafka = block_in_place(|| Kafka::start(options(direct, by_proxy, controller, proxied)).unwrap());
        let proxy = Proxy::start(proxied, SocketAddr::from(([127, 0, 0, 1], by_proxy))).await;
        let redis = engines::forgetful_redis();
        let brokers = Brokers::At(format!("127.0.0.1:{direct}"), true);
        let mut world = World::new("cut-off", &brokers, Some(redis.url())).with_servers(1, STOCK).await;
        let cut_off = world.add_server(&[("--kafka", &format!("127.0.0.1:{proxied}"))]);
        world.until_ready(cut_off).await;
        let crowd = world.crowd(PEOPLE, 32, 40);
        for (claims, network) in [(200, Network::Hangs), (450, Network::HidesAnswers), (700, Network::IsDown)] {
            crowd.until_claimed(claims).await;
            proxy.is_now(network);
            tokio::time::sleep(NOTICED_AFTER).await;
            let before = crowd.book().claims.len();
            only_refuses(&world, cut_off).await;
            // Also those whom the cut-off server kept waiting ask the other one by now.
            crowd.until_claimed(before + 50).await;
            proxy.is_now(Network::Works);
            world.until_ready(cut_off).await;
        }
        let book = crowd.finish(Duration::from_secs(90)).await;
        check::exactly(&world, &book, STOCK).await;
    });
}

/// A broker with a second listener, which tells its clients to come by way of the proxy.
fn options(direct: u16, by_proxy: u16, controller: u16, proxied: u16) -> KafkaOptions {
    let settings = vec![
        format!("listeners=PLAINTEXT://127.0.0.1:{direct},PROXIED://127.0.0.1:{by_proxy},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{direct},PROXIED://127.0.0.1:{proxied}"),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
        format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
    ];
    KafkaOptions { settings, ..KafkaOptions::default() }
}

fn free_ports() -> [u16; 4] {
    // All at once, so that they differ.
    let listeners = [(); 4].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
