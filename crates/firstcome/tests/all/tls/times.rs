//! Clients that stop in the middle: each limit of time, above and below the handshake.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConnection;
use tokio_rustls::rustls::pki_types::ServerName;

use super::world::{Http, NAME, World, connect, ended};

const LIMITS: [&str; 6] = ["--header-time-ms", "600", "--idle-time-ms", "3000", "--write-time-ms", "1000"];
const HEADER_TIME: Duration = Duration::from_millis(600);
/// The time for a header and what the sweeper may be late, with room for a slow machine, and still
/// far from the time for which a connection may be idle.
const SOON: Duration = Duration::from_millis(2_000);
const HALF_A_HEADER: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: loc";

/// The first bytes of a handshake, as this client would send them.
fn hello(client: &TlsConnector) -> Vec<u8> {
    let mut connection = ClientConnection::new(Arc::clone(client.config()), ServerName::try_from(NAME).unwrap()).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// How long the server bears a client that sends these bytes with pauses, and then nothing.
async fn borne(address: SocketAddr, bytes: &[u8], pause: Duration) -> Duration {
    let (stream, begun_at) = (TcpStream::connect(address).await.unwrap(), Instant::now());
    let (mut reader, mut writer) = stream.into_split();
    let ending = async {
        ended(&mut reader).await;
        begun_at.elapsed()
    };
    let writing = async {
        for byte in bytes {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        lasted = ending => lasted,
        () = writing => unreachable!(),
    }
}

/// A client whose first request begins in the same packet as the end of its handshake.
fn begin_with_the_handshake(client: &TlsConnector, address: SocketAddr) -> std::net::TcpStream {
    let mut connection = ClientConnection::new(Arc::clone(client.config()), ServerName::try_from(NAME).unwrap()).unwrap();
    connection.writer().write_all(HALF_A_HEADER).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(super::world::PATIENCE)).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).unwrap();
    }
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_begins_and_does_not_go_on_is_ended_in_the_time_for_a_header() {
    let world = World::new();
    world.issue();
    let server = world.serve(&LIMITS);
    let (address, client) = (server.address, world.client(&["http/1.1"]));
    let hello = hello(&client);
    let half = &hello[..hello.len() / 2];
    let after_handshake = async {
        let mut stream = connect(&client, address).await.unwrap();
        let begun_at = Instant::now();
        stream.write_all(HALF_A_HEADER).await.unwrap();
        ended(&mut stream).await;
        begun_at.elapsed()
    };
    let with_handshake = async {
        let (client, begun_at) = (client.clone(), Instant::now());
        let reading = tokio::task::spawn_blocking(move || {
            let mut stream = begin_with_the_handshake(&client, address);
            std::io::copy(&mut stream, &mut std::io::sink())
        });
        let _ = reading.await.unwrap();
        begun_at.elapsed()
    };
    let none = Duration::ZERO;
    let lasted = tokio::join!(
        borne(address, b"", none),
        borne(address, half, none),
        borne(address, half, Duration::from_millis(100)),
        // It sends all and then does not answer.
        borne(address, &hello, none),
        after_handshake,
        with_handshake,
    );
    let lasted = [lasted.0, lasted.1, lasted.2, lasted.3, lasted.4, lasted.5];
    assert!(lasted.iter().all(|lasted| HEADER_TIME <= *lasted && *lasted < SOON), "{lasted:?}");
    let metrics = Http::open(&client, address).await.ask("GET", "/openapi.json", "").await.unwrap();
    assert_eq!(metrics.0, 200);
}

#[tokio::test]
async fn after_the_handshake_a_connection_is_idle_until_its_first_request() {
    let world = World::new();
    world.issue();
    let server = world.serve(&LIMITS);
    let begun_at = Instant::now();
    let early = connect(&world.client(&["http/1.1"]), server.address).await.unwrap();
    let mut never = connect(&world.client(&["http/1.1"]), server.address).await.unwrap();
    tokio::time::sleep(3 * HEADER_TIME).await;
    if Duration::from_millis(2_800) < begun_at.elapsed() {
        eprintln!("skipped: the machine is too slow to tell a header's time from an idle connection's");
        return;
    }
    let mut http = Http::over(early).await;
    assert_eq!(http.status("/healthz").await, 200);
    // Without `close_notify` this is an error.
    assert_eq!(never.read(&mut [0]).await.unwrap(), 0);
    let lasted = begun_at.elapsed();
    assert!(Duration::from_millis(3_000) <= lasted && lasted < Duration::from_millis(5_500), "{lasted:?}");
}

/// The pings of HTTP/2 go to and fro all the time, and no request comes, from the first byte on.
#[tokio::test]
async fn http2_that_only_answers_pings_is_idle() {
    let world = World::new();
    world.issue();
    let server = world.serve(&["--header-time-ms", "400", "--idle-time-ms", "1500"]);
    let stream = connect(&world.client(&["h2"]), server.address).await.unwrap();
    let begun_at = Instant::now();
    let handshake = http2::Builder::new(TokioExecutor::new()).handshake::<_, Full<bytes::Bytes>>(TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(6), connection).await.expect("it is still open");
    let lasted = begun_at.elapsed();
    assert!(Duration::from_millis(1_500) <= lasted, "{lasted:?}");
    drop(sender);
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_its_answers_is_ended() {
    let world = World::new();
    world.issue();
    let server = world.serve(&LIMITS);
    let mut stream = connect(&world.client(&["http/1.1"]), server.address).await.unwrap();
    let many = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    let flooding = async { while stream.write_all(&many).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(8), flooding).await.expect("it is never ended");
    assert_eq!(Http::open(&world.client(&["h2"]), server.address).await.status("/healthz").await, 200);
}
