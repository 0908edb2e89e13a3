//! The second address: reached when the first one is full, with a limit of its own.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{Http, World, admin_address, connect, ended};

/// What its connections are limited to.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// The beginning of an answer to a request on a new connection.
async fn asked(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
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
    assert!(asked(public).await.starts_with("HTTP/1.1 503"));
    let metrics = asked(admin).await;
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("firstcome_connections_refused_total 1\n"), "{metrics}");
    drop(open);
    let mut open = Vec::new();
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..ADMIN_CONNECTIONS_MAX {
        open.push(kept(admin).await);
    }
    assert!(asked(admin).await.starts_with("HTTP/1.1 503"));
    assert!(asked(public).await.starts_with("HTTP/1.1 200"));
    assert_eq!(server.terminate().0, Some(0));
    for address in [public, admin] {
        assert!(TcpStream::connect(address).await.is_err(), "{address} is still there");
    }
    for mut stream in open {
        ended(&mut stream).await;
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
