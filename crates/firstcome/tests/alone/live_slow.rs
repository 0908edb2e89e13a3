//! Clients that watch and do not read: they get no queue, lose their place in time, and disturb
//! nobody.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::live_client::stream;
use crate::live_client::websocket;
use crate::support::process;
use crate::support::server;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use firstcome::cli::ServeArgs;
use tokio::net::TcpSocket;

use process::eventually;
use server::TestServer;
use stream::{Shown, Stream, assert_no_gap};

const NOW: u64 = 1_000_000;

/// A connection for which the system keeps as little as it can, so that a client that does not read
/// is soon one that takes nothing.
fn small_connection(address: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2_048).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// A campaign of which something large is new all the time: subjects with the longest names.
struct Busy {
    server: TestServer,
    claimed: u32,
    _folder: tempfile::TempDir,
}

impl Busy {
    fn start(write_time_ms: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let args = ServeArgs { write_time_ms: Some(write_time_ms), ..ServeArgs::default() };
        let server = TestServer::start_with(&folder.path().join("data"), NOW, args);
        assert_eq!(server.client().put("/v1/campaigns/spring", r#"{"stock":1000000}"#).status, 201);
        Self { server, claimed: 0, _folder: folder }
    }

    fn claim(&mut self) -> u64 {
        self.claimed += 1;
        let subject = format!("{:0>128}", self.claimed);
        assert_eq!(self.server.client().claim("spring", &subject).status, 201);
        u64::from(self.claimed)
    }
}

#[test]
fn a_client_that_never_reads_loses_its_place_and_disturbs_nobody() {
    let mut busy = Busy::start(500);
    let address = busy.server.address;
    let mut reader = Stream::open(address, "spring", &[]);
    let _silent = Stream::over(small_connection(address), "spring", &[]);
    let _silent_socket = websocket::over(small_connection(address), "spring");
    let live = std::sync::Arc::clone(&busy.server.app);
    assert_eq!(live.live.clients_count(), 3);
    let mut events = Vec::new();
    eventually("both are ended", || {
        let issued = busy.claim();
        events.extend(reader.until(|event| event["issued"].as_u64() == Some(issued)));
        live.live.clients_count() == 1
    });
    assert!(events.iter().skip(1).all(|event| !event.is_snapshot()));
    assert_no_gap(&events);
}

#[test]
fn a_slow_client_gets_the_newest_snapshot_and_not_what_it_has_missed() {
    let mut busy = Busy::start(120_000);
    let address = busy.server.address;
    let mut reader = Stream::open(address, "spring", &[]);
    let mut slow = Stream::over(small_connection(address), "spring", &[]);
    // More than all buffers on the way can hold, though nobody knows how much that is.
    let mut published = 0;
    while published < 400_000 {
        let issued = busy.claim();
        let events = reader.until(|event| event["issued"].as_u64() == Some(issued));
        published += events.iter().map(|event| event.data.len()).sum::<usize>();
    }
    let issued = busy.claim();
    let last = reader.until(|event| event["issued"].as_u64() == Some(issued)).pop().unwrap();
    let events = slow.until(|event| event["issued"].as_u64() == Some(issued));
    assert_no_gap(&events);
    let snapshots = events.iter().skip(1).filter(|event| event.is_snapshot()).count();
    assert!(snapshots != 0, "{} events without a snapshot", events.len());
    assert!((events.len() as u64) < last.seq(), "it got all {} events", events.len());
    let mut shown = Shown::default();
    events.iter().for_each(|event| shown.take(event));
    assert_eq!(shown.number("remaining"), 1_000_000 - issued);
}
