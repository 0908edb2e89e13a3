//! HTTP/2 with prior knowledge: many streams at once, and streams that nobody reads.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::clients::{ONE_AT_A_TIME, SMALL_LIMITS, ordinary_clients, server, start_with_a_large_campaign};

type Sender = SendRequest<Full<Bytes>>;

async fn connect(address: SocketAddr, window_bytes: u32) -> (Sender, JoinHandle<()>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let handshake = builder.initial_stream_window_size(window_bytes).handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    let running = tokio::spawn(async move { drop(connection.await) });
    (sender, running)
}

fn get(address: SocketAddr, path: &str) -> Request<Full<Bytes>> {
    let request = Request::get(format!("http://{address}{path}")).header("accept", "application/x-ndjson");
    request.body(Full::default()).unwrap()
}

fn claim(address: SocketAddr, person: usize) -> Request<Full<Bytes>> {
    let request = Request::post(format!("http://{address}/v1/campaigns/spring/claims")).header("content-type", "application/json");
    request.body(Full::from(format!("{{\"subject\":\"p{person}\"}}"))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_streams_of_one_connection_are_answered() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = server(&[]).await;
    let (sender, _running) = connect(server.address, 1 << 20).await;
    let asking: Vec<_> = (0..100)
        .map(|person| {
            let (mut sender, request) = (sender.clone(), claim(server.address, person));
            tokio::spawn(async move {
                let response = sender.send_request(request).await.unwrap();
                assert_eq!((response.status().as_u16(), response.version()), (201, http::Version::HTTP_2));
                let body = response.into_body().collect().await.unwrap().to_bytes();
                serde_json::from_slice::<Value>(&body).unwrap()["serial"].as_u64().unwrap()
            })
        })
        .collect();
    let mut serials = Vec::new();
    for asked in asking {
        serials.push(asked.await.unwrap());
    }
    serials.sort_unstable();
    assert_eq!(serials, (1..=100).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_do_not_keep_others_from_lists() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = start_with_a_large_campaign(&SMALL_LIMITS).await;
    let (mut sender, running) = connect(server.address, 1_024).await;
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(sender.send_request(get(server.address, "/v1/campaigns/large/claims")).await.unwrap());
    }
    // One export more is refused, and a list is not.
    for (path, status) in [("/v1/campaigns/large/claims", 503), ("/v1/campaigns/large/claims?limit=5", 200)] {
        assert_eq!(sender.send_request(get(server.address, path)).await.unwrap().status().as_u16(), status, "{path}");
    }
    // The connection itself is busy with something else all the time.
    for _ in 0..30 {
        let response = sender.send_request(get(server.address, "/healthz")).await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.lists_again(Duration::from_secs(2)).await;
    let Some(response) = unread.pop() else { panic!("nothing was asked") };
    assert!(response.into_body().collect().await.is_err(), "a list that was cut off looks whole");
    drop((unread, sender, running));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_only_answers_pings_is_idle() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = server(&SMALL_LIMITS).await;
    let (mut sender, running) = connect(server.address, 1 << 20).await;
    assert_eq!(sender.send_request(get(server.address, "/healthz")).await.unwrap().status().as_u16(), 200);
    let ended = tokio::time::timeout(Duration::from_secs(5), running);
    let (ended, ()) = tokio::join!(ended, ordinary_clients(server.address, Duration::from_secs(1)));
    assert!(ended.is_ok(), "it is still open");
    drop(sender);
}
