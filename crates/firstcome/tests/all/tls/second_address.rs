//! The second address: reached when the first one is full, with a limit of its own.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{Http, World, admin_address, connect, ended};

/// What its connections are limited to.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// The answer to a request on a new connection.
async fn asked(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(request.as_bytes()).await;
    String::from_utf8(ended(&mut stream).await).unwrap()
}

/// A connection that was served and stays.
async fn kept(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn each_address_has_its_own_limit_and_both_go_with_the_server() {
    let world = World::new();
    let server = world.serve_plainly(&["--admin-listen", "127.0.0.1:0", "--connections-max", "3"]);
    let (public, admin) = (server.address, admin_address(&server));
    assert!(server.stderr().contains(&format!("  Admin address         http://{admin}\n")), "{}", server.stderr());
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(kept(public).await);
    }
    assert!(asked(public, "GET /healthz").await.starts_with("HTTP/1.1 503"));
    let metrics = asked(admin, "GET /metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("firstcome_connections_refused_total 1\n"), "{metrics}");
    drop(open);
    let mut open = Vec::new();
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..ADMIN_CONNECTIONS_MAX {
        open.push(kept(admin).await);
    }
    assert!(asked(admin, "GET /healthz").await.starts_with("HTTP/1.1 503"));
    assert!(asked(public, "GET /healthz").await.starts_with("HTTP/1.1 200"));
    assert_eq!(server.terminate().0, Some(0));
    for address in [public, admin] {
        assert!(TcpStream::connect(address).await.is_err(), "{address} is still there");
    }
    for mut stream in open {
        ended(&mut stream).await;
    }
}

#[tokio::test]
async fn what_is_for_operators_is_on_the_second_address_only() {
    let world = World::new();
    let server = world.serve_plainly(&["--admin-listen", "127.0.0.1:0"]);
    let (public, admin) = (server.address, admin_address(&server));
    for target in ["GET /metrics", "GET /", "GET /v1/keys", "GET /v1/keys/a", "POST /v1/keys"] {
        let answer = asked(public, target).await;
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("not_found"), "{target}: {answer}");
        let answer = asked(admin, target).await;
        assert!(!answer.starts_with("HTTP/1.1 404") || answer.contains("key_not_found"), "{target}: {answer}");
    }
    for target in ["PUT /v1/campaigns/spring", "PATCH /v1/campaigns/spring"] {
        let answer = asked(public, target).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{target}: {answer}");
        assert!(asked(admin, target).await.starts_with("HTTP/1.1 415"), "{target}");
    }
    for target in ["GET /v1/campaigns", "GET /healthz", "GET /readyz", "GET /docs"] {
        for address in [public, admin] {
            assert!(asked(address, target).await.starts_with("HTTP/1.1 200"), "{target}");
        }
    }
}

#[tokio::test]
async fn with_tls_both_have_it_and_one_too_many_hears_an_alert() {
    let world = World::new();
    world.issue();
    let server = world.serve(&["--admin-listen", "127.0.0.1:0", "--connections-max", "1"]);
    let admin = admin_address(&server);
    assert!(server.stderr().contains(&format!("  Admin address         https://{admin}\n")), "{}", server.stderr());
    let client = world.client(&["h2"]);
    // Its place is taken from the first byte on, not only when it has shaken hands.
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(&[22, 3, 1]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let refusal = connect(&client, server.address).await.unwrap_err();
    assert!(refusal.to_string().contains("InternalError"), "{refusal}");
    assert_eq!(Http::open(&client, admin).await.status("/metrics").await, 200);
    drop(half);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(Http::open(&client, server.address).await.status("/healthz").await, 200);
}
