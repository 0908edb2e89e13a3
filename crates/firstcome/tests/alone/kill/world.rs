//! One data folder through many rounds: load, a blow, a new start, and the comparison.
#![allow(clippy::disallowed_methods, reason = "tests of the running program go by the real clock")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::check::{self, Unanswered};
use super::client::{CAMPAIGNS, Client};
use super::support_process::program::{Program, put_campaign, verify};
use super::support_process::random::Random;

const CLIENTS_COUNT: u64 = 48;
const FLAGS: [&str; 6] = ["--segment-mib", "4", "--snapshot-every", "2000", "--log", "info"];
/// How long the load may take to make the server begin a snapshot or a segment.
const WATCH_TIME: Duration = Duration::from_secs(30);

/// How a round ends the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blow {
    /// SIGKILL after 50 to 800 ms.
    Timed,
    /// SIGKILL when a snapshot is seen being written.
    AtSnapshot,
    /// SIGKILL when the next spare segment is seen being made, which is when the last one has just
    /// been taken into use.
    AtSegment,
    /// SIGSTOP for two seconds, SIGCONT, and SIGKILL a little later.
    Frozen,
    /// SIGTERM.
    Terminated,
}

/// What a round has seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Requests that were sent and not answered.
    pub unanswered_count: usize,
    /// What became of those that change something.
    pub unanswered: Unanswered,
    /// Answers before the blow.
    pub answered: u64,
    /// The server was gone while this was half made: it is still there under its unfinished name.
    pub has_left_snapshot: bool,
    /// The same of a segment.
    pub has_left_segment: bool,
    /// Starts that were killed before they served.
    pub starts_killed: u32,
}

/// A data folder and those who use it.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    clients: Vec<Client>,
    random: Random,
    is_new: bool,
}

struct Load {
    answered: Arc<AtomicU64>,
    working: Vec<JoinHandle<Client>>,
}

impl World {
    /// An empty folder.
    pub fn new(seed: u64) -> Self {
        let shared = Arc::default();
        let clients = (0..CLIENTS_COUNT).map(|id| Client::new(id, seed, &shared)).collect();
        Self { folder: tempfile::tempdir().unwrap(), clients, random: Random(seed), is_new: true }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// One round. The server is gone afterwards, and everything was compared.
    pub async fn round(&mut self, blow: Blow, is_recovery_killed: bool) -> Seen {
        let (mut program, address) = Program::start(&self.data(), &FLAGS);
        if std::mem::take(&mut self.is_new) {
            for (campaign, stock, per_subject_max) in CAMPAIGNS {
                put_campaign(address, campaign, stock, per_subject_max).await;
            }
        }
        let before = Unfinished::in_folder(&self.data());
        let load = self.start_load(address);
        self.strike(blow, &mut program, address, &load, &before).await;
        let answered = load.answered.load(Ordering::Relaxed);
        self.clients = end_load(load).await;
        drop(program);
        let left = Unfinished::in_folder(&self.data());
        let unanswered_count = self.clients.iter().filter(|client| client.pending.is_some()).count();
        let starts_killed = if is_recovery_killed { self.kill_starts() } else { 0 };
        let (mut program, address) = Program::start(&self.data(), &FLAGS);
        let unanswered = check::check(address, &mut self.clients, &mut self.random).await;
        program.kill();
        Seen {
            unanswered_count,
            unanswered,
            answered,
            has_left_snapshot: left.has_new("snapshots", &before),
            has_left_segment: left.has_new("journal", &before),
            starts_killed,
        }
    }

    /// What the program itself says of the folder.
    pub fn verify(&self) {
        verify(&self.data());
    }

    fn start_load(&mut self, address: SocketAddr) -> Load {
        let answered = Arc::new(AtomicU64::new(0));
        let clients = std::mem::take(&mut self.clients);
        let start = |client: Client| tokio::spawn(client.work(address, Arc::clone(&answered)));
        let working = clients.into_iter().map(start).collect();
        Load { answered, working }
    }

    async fn strike(&mut self, blow: Blow, program: &mut Program, address: SocketAddr, load: &Load, before: &Unfinished) {
        let delay = Duration::from_millis(50 + self.random.below(751));
        match blow {
            Blow::Timed => tokio::time::sleep(delay).await,
            Blow::AtSnapshot => watch(&self.data(), "snapshots", before).await,
            Blow::AtSegment => watch(&self.data(), "journal", before).await,
            Blow::Frozen => freeze(program, load, delay).await,
            Blow::Terminated => return terminate(program, address, delay).await,
        }
        program.kill();
    }

    /// Starts the server a few times and kills it in its first milliseconds.
    fn kill_starts(&mut self) -> u32 {
        let mut killed_before_serving = 0;
        for _ in 0..6 {
            let mut program = Program::spawn(&self.data(), &FLAGS);
            std::thread::sleep(Duration::from_micros(500 + self.random.below(12_000)));
            let serves = program.address().is_some();
            program.kill();
            killed_before_serving += u32::from(!serves);
        }
        killed_before_serving
    }
}

async fn end_load(load: Load) -> Vec<Client> {
    let mut clients = Vec::with_capacity(load.working.len());
    for working in load.working {
        let ended = tokio::time::timeout(Duration::from_secs(20), working).await;
        clients.push(ended.expect("a client hangs although its server is gone").unwrap());
    }
    clients
}

/// Waits until something new is being made in a folder.
async fn watch(data: &Path, folder: &'static str, before: &Unfinished) {
    let (data, before) = (data.to_owned(), before.clone());
    let watching = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + WATCH_TIME;
        while !Unfinished::in_folder(&data).has_new(folder, &before) {
            assert!(Instant::now() < deadline, "nothing was begun in {folder}");
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    watching.await.unwrap();
}

/// Stops the process for two seconds. Its clients wait, and go on when it does.
async fn freeze(program: &Program, load: &Load, delay: Duration) {
    tokio::time::sleep(delay).await;
    program.signal(Signal::STOP);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let frozen = load.answered.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    assert_eq!(load.answered.load(Ordering::Relaxed), frozen, "a stopped server has answered");
    program.signal(Signal::CONT);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(frozen < load.answered.load(Ordering::Relaxed), "it does not go on");
    assert!(load.working.iter().all(|client| !client.is_finished()), "a connection was lost");
}

/// Asks the process to stop under load: it ends well and in time, and takes no new connection.
async fn terminate(program: &mut Program, address: SocketAddr, delay: Duration) {
    tokio::time::sleep(delay).await;
    program.signal(Signal::TERM);
    let status = program.wait(Duration::from_secs(12)).expect("it does not stop");
    assert!(status.success(), "it ended with {status}: {}", program.said());
    assert!(TcpStream::connect(address).await.is_err(), "it still takes connections");
}

/// Files that are being made, by their names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfinished(Vec<(&'static str, String)>);

impl Unfinished {
    fn in_folder(data: &Path) -> Self {
        let mut names = Vec::new();
        for folder in ["snapshots", "journal"] {
            let Ok(entries) = std::fs::read_dir(data.join(folder)) else { continue };
            let found = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.extend(found.filter(|name| name.ends_with(".new")).map(|name| (folder, name)));
        }
        Self(names)
    }

    fn has_new(&self, folder: &str, before: &Self) -> bool {
        self.0.iter().any(|found| found.0 == folder && !before.0.contains(found))
    }
}
