//! A network between two ends that fails when it is told to: it may hang, lose one direction, or
//! refuse.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// They arrive.
    Works,
    /// They wait until it works again.
    Hangs,
    /// What is asked arrives, and answers wait.
    HidesAnswers,
    /// Connections are closed, and new ones too.
    IsDown,
}

/// A port that leads to another one.
pub struct Proxy {
    state: watch::Sender<Network>,
}

impl Proxy {
    /// Takes connections at a port of this machine and leads them to `target`.
    pub async fn start(port: u16, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let state = watch::Sender::new(Network::Works);
        let seen = state.subscribe();
        tokio::spawn(async move {
            while let Ok((incoming, _)) = listener.accept().await {
                tokio::spawn(lead(incoming, target, seen.clone()));
            }
        });
        Self { state }
    }

    pub fn is_now(&self, network: Network) {
        self.state.send_replace(network);
    }
}

async fn lead(incoming: TcpStream, target: SocketAddr, seen: watch::Receiver<Network>) {
    let Ok(outgoing) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = incoming.into_split();
    let (from_server, to_server) = outgoing.into_split();
    let mut down = seen.clone();
    tokio::select! {
        _ = down.wait_for(|network| *network == Network::IsDown) => {}
        () = pass(from_client, to_server, seen.clone(), &[Network::Works, Network::HidesAnswers]) => {}
        () = pass(from_server, to_client, seen, &[Network::Works]) => {}
    }
}

/// Passes bytes on while the network is in one of these states.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut seen: watch::Receiver<Network>, passes_in: &[Network]) {
    let mut bytes = vec![0; 64 * 1_024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let passes = seen.wait_for(|network| passes_in.contains(network)).await.is_ok();
        if !passes || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
