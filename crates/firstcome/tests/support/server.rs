//! The program's server in this process: on a free port, in a folder of the test, with a clock
//! that is moved by hand.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use domain::types::Timestamp;
use edge::auth::caller::Scope;
use engine::clock::{CONFIRM_AFTER, Clock, ManualClock, ManualSource, WatchedClock};
use firstcome::app::App;
use firstcome::cli::ServeArgs;
use firstcome::clock::{ClockAsk, ClockJson};
use firstcome::keys::{self, Change, Decider, KeyError};
use firstcome::operator::ORIGIN;
use firstcome::serve::{ServeSettings, Server};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::http::Client;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

/// A server that serves until it is stopped or dropped.
pub struct TestServer {
    pub address: SocketAddr,
    pub admin_address: Option<SocketAddr>,
    pub clock: Arc<ManualClock>,
    pub app: Arc<App>,
    stop: Option<oneshot::Sender<()>>,
    done: Option<JoinHandle<()>>,
}

impl TestServer {
    /// Starts in `folder` at this many seconds after 1970.
    pub fn start(folder: &Path, seconds: u64) -> Self {
        Self::start_with(folder, seconds, ServeArgs::default())
    }

    /// The same with settings, address and folder aside.
    pub fn start_with(folder: &Path, seconds: u64, args: ServeArgs) -> Self {
        let clock = ManualClock::at(at_seconds(seconds));
        Self::start_at(folder, Clock::Manual(Arc::clone(&clock)), clock, args)
    }

    /// A server whose wall clock can leap.
    pub fn start_watched(folder: &Path, source: &Arc<ManualSource>) -> Self {
        let watched = WatchedClock::manual(source, CONFIRM_AFTER);
        Self::start_at(folder, Clock::Watched(watched), ManualClock::at(at_seconds(0)), ServeArgs::default())
    }

    fn start_at(folder: &Path, used: Clock, clock: Arc<ManualClock>, args: ServeArgs) -> Self {
        let args = ServeArgs { listen: Some("127.0.0.1:0".parse().unwrap()), data: Some(folder.to_owned()), segment_mib: Some(4), ..args };
        let mut settings = ServeSettings::new(&args).unwrap();
        settings.clock = used;
        let server = RUNTIME.block_on(Server::open(&settings)).unwrap();
        let (address, app) = (server.address().unwrap(), Arc::clone(server.app()));
        let admin_address = server.admin_address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let done = RUNTIME.spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.run(stopped).await.unwrap();
        });
        Self { address, admin_address, clock, app, stop: Some(stop), done: Some(done) }
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Makes a key and gives what its holder sends.
    pub fn make_key(&self, name: &str, scopes: &[Scope], campaigns: &str) -> String {
        let scopes = scopes.iter().map(|scope| scope.word().to_owned()).collect();
        let change = Change::Create { key: name.to_owned(), scopes, campaigns: Some(campaigns.to_owned()).filter(|text| !text.is_empty()) };
        self.change_key(&change).unwrap()
    }

    /// Ends a key.
    pub fn revoke_key(&self, name: &str) {
        self.change_key(&Change::Revoke { key: name.to_owned() });
    }

    /// As an operator would, at the socket.
    fn change_key(&self, change: &Change) -> Option<String> {
        let changed = RUNTIME.block_on(keys::change(Decider::Server(&self.app), &ORIGIN, change)).unwrap();
        changed.secret
    }

    /// Stops it as a signal would, and waits until it has closed its folder.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(done) = self.done.take() {
            RUNTIME.block_on(done).unwrap();
        }
    }

    /// Asks about the clock, as an operator would at the socket.
    pub fn ask_clock(&self, ask: ClockAsk) -> Result<ClockJson, KeyError> {
        RUNTIME.block_on(firstcome::clock::answer(Decider::Server(&self.app), ask, self.app.clock.now()))
    }

    /// All that requests can change.
    pub fn fixed_point(&self) -> (u64, [u8; 32]) {
        (self.app.status().position, self.app.backend.engine().unwrap().state_digest())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

pub fn at_seconds(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000).unwrap()
}
