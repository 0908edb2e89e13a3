//! Ordinary clients and others.
#![allow(clippy::disallowed_methods, reason = "tests of the running program go by the real clock")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

use super::support_process::http::{Connection, Request};
use super::support_process::program::{Program, put_campaign, run};

/// These tests measure time, and so do not run side by side.
pub static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// Limits that a test can wait for.
pub const SMALL_LIMITS: [&str; 8] =
    ["--header-time-ms", "500", "--idle-time-ms", "1500", "--write-time-ms", "1000", "--body-time-ms", "500"];
/// The median round trip of an ordinary claim takes no longer, whatever else goes on.
const MEDIAN_MAX: Duration = Duration::from_millis(100);
const IDLE_WANTED: u64 = 5_000;
/// Claims of the large campaign: its list takes some 10 MB, more than the system buffers for a
/// connection.
const LARGE: &str = "60000";

/// A server with the campaign `spring`.
pub struct Server {
    pub program: Program,
    pub address: SocketAddr,
    _folder: TempDir,
}

/// Starts a server with the campaign `spring`.
pub async fn server(flags: &[&str]) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let (program, address) = start(folder.path(), flags).await;
    put_campaign(address, "spring", 1_000_000, 1).await;
    Server { program, address, _folder: folder }
}

/// The same with a large campaign, `large`, whose list can be read.
pub async fn start_with_a_large_campaign(flags: &[&str]) -> Server {
    let server = server(flags).await;
    let url = format!("http://{}", server.address);
    let fill = move || {
        let size = ["--users", LARGE, "--stock", LARGE, "--repeat-percent", "0", "--connections", "64"];
        run(&[&["rush", "coupon", "--url", url.as_str(), "--campaign", "large"], &size[..]].concat())
    };
    let output = tokio::task::spawn_blocking(fill).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    server
}

async fn start(folder: &Path, flags: &[&str]) -> (Program, SocketAddr) {
    let (folder, flags): (_, Vec<String>) = (folder.to_owned(), flags.iter().map(|flag| (*flag).to_owned()).collect());
    let starting = move || Program::start(&folder, &flags.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(starting).await.unwrap()
}

impl Server {
    /// Waits until lists are read again.
    pub async fn lists_again(&self, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        loop {
            let mut connection = Connection::open(self.address).await.unwrap();
            let answer = connection.ask(&list_request()).await.unwrap();
            if answer.status == 200 {
                let lines = answer.body.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(lines.to_string(), LARGE);
                return;
            }
            assert!(Instant::now() < deadline, "lists are not read any more: {}", answer.text());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn list_request() -> Request {
    Request::with_headers("GET", "/v1/campaigns/large/claims", "accept: application/x-ndjson\r\n")
}

/// Four clients that claim one after the other for a while: without an error, and quickly.
pub async fn ordinary_clients(address: SocketAddr, duration: Duration) {
    static PEOPLE: AtomicU64 = AtomicU64::new(0);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(async move {
                let (mut connection, until) = (Connection::open(address).await.unwrap(), Instant::now() + duration);
                let mut times = Vec::new();
                while Instant::now() < until {
                    let subject = format!("ordinary-{}", PEOPLE.fetch_add(1, Ordering::Relaxed));
                    let asked_at = Instant::now();
                    let answer = connection.ask(&Request::claim("spring", &subject, None)).await.expect("an ordinary client was cut off");
                    assert_eq!(answer.status, 201, "{}", answer.text());
                    times.push(asked_at.elapsed());
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.unwrap());
    }
    times.sort_unstable();
    let median = times[times.len() / 2];
    eprintln!("{} ordinary claims, median {median:?}, slowest {:?}", times.len(), times[times.len() - 1]);
    assert!(median < MEDIAN_MAX, "the median claim took {median:?}");
}

/// As many connections that say nothing as are wanted and fit.
pub async fn idle_connections(address: SocketAddr) -> Vec<Connection> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let fits = getrlimit(Resource::Nofile).current.map_or(IDLE_WANTED, |most| most.saturating_sub(500).min(IDLE_WANTED));
    eprintln!("{fits} idle connections");
    let mut connections = Vec::new();
    for _ in 0..fits {
        connections.push(Connection::open(address).await.unwrap());
    }
    connections
}

/// Waits until the server ends the connection, without a further byte.
pub async fn ended_within(connection: &mut Connection, at_most: Duration) {
    let mut byte = [0];
    let read = tokio::time::timeout(at_most, connection.stream.read(&mut byte)).await.expect("the connection is still open");
    // A reset is an end too.
    assert_eq!(read.unwrap_or(0), 0, "something came instead of the end");
}

/// A client that asks for a large list and does not read it.
pub struct SlowReader(Connection);

impl SlowReader {
    /// Asks. The client's own buffer is small, so that the server's fills.
    pub async fn ask_for_the_list(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let mut connection = Connection::over(stream);
        connection.send(&list_request()).await.unwrap();
        Self(connection)
    }

    /// Reads what is still to be had; whether that is the whole list.
    pub async fn rest_is_whole(mut self) -> bool {
        self.0.receive().await.is_ok()
    }
}
