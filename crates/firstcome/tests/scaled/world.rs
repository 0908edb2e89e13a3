//! Servers of one cluster, with a topic, a database and a campaign of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cluster::kafka::KafkaSettings;
use tempfile::TempDir;
use tokio::task::block_in_place;

use super::crowd::{Addresses, Crowd, Plan};
use super::engines;
use crate::support_process::http::{Connection, Request, Response};
use crate::support_process::program::{Program, program, put_campaign};

/// Partitions: as many as there are by default.
const PARTITIONS: u32 = 8;
/// What is logged.
const LOG: &str = "info";

/// Which Kafka a cluster has.
pub enum Brokers {
    /// The shared single one.
    One,
    /// The shared three.
    Three,
    /// Another one, by its addresses, and whether it is a single broker.
    At(String, bool),
}

/// A cluster.
pub struct World {
    pub name: String,
    pub kafka: KafkaSettings,
    pub postgres: String,
    pub redis: Option<String>,
    pub servers: Vec<Server>,
    pub addresses: Addresses,
    folder: TempDir,
}

/// A place for a server, which may be away.
pub struct Server {
    pub program: Option<Program>,
    /// What it said before it was started again.
    said_before: String,
}

impl World {
    /// A cluster without a server yet. Its name is in the names of everything that is its own.
    pub fn new(name: &str, brokers: &Brokers, redis: Option<String>) -> Self {
        let (hosts, is_dev) = match brokers {
            Brokers::One => (engines::one_broker().bootstrap(), true),
            Brokers::Three => (engines::three_brokers().bootstrap(), false),
            Brokers::At(hosts, is_dev) => (hosts.clone(), *is_dev),
        };
        let own = unique(name);
        let postgres = engines::postgres().new_database(&own).unwrap();
        let kafka = KafkaSettings { hosts, topic: own, partitions: PARTITIONS, is_dev };
        let folder = tempfile::tempdir().unwrap();
        Self { name: name.to_owned(), kafka, postgres, redis, servers: Vec::new(), addresses: Addresses::default(), folder }
    }

    /// The same with servers that serve, and a campaign.
    pub async fn with_servers(mut self, count: usize, stock: u64) -> Self {
        for _ in 0..count {
            self.add_server(&[]);
        }
        self.until_ready(0).await;
        put_campaign(self.address(0), &self.name, stock, 1).await;
        self
    }

    /// Where keys are; all servers share it.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder for what a scenario makes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The flags of a server that say where everything is.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec!["--kafka", &self.kafka.hosts, "--kafka-topic", &self.kafka.topic, "--postgres", &self.postgres];
        flags.extend(self.redis.iter().flat_map(|url| ["--redis", url]));
        if self.kafka.is_dev {
            flags.push("--kafka-dev");
        }
        flags.into_iter().map(str::to_owned).collect()
    }

    /// Starts one more server and waits until it serves; settings that are given replace the usual
    /// ones.
    pub fn add_server(&mut self, settings: &[(&str, &str)]) -> usize {
        let place = self.servers.len();
        self.servers.push(Server { program: None, said_before: String::new() });
        self.addresses.lock().unwrap().push(None);
        self.start_with(place, settings);
        place
    }

    /// Starts the server of this place, which is away, again.
    pub fn start(&mut self, place: usize) {
        self.start_with(place, &[]);
    }

    fn start_with(&mut self, place: usize, settings: &[(&str, &str)]) {
        let mut program = Program::spawn_command(self.command(settings));
        let address = block_in_place(|| program.wait_for_address());
        self.servers[place].program = Some(program);
        self.addresses.lock().unwrap()[place] = Some(address);
    }

    fn command(&self, settings: &[(&str, &str)]) -> std::process::Command {
        let mut flags = self.flags();
        for (name, value) in settings {
            let place = flags.iter().position(|flag| flag == name).unwrap();
            (*value).clone_into(&mut flags[place + 1]);
        }
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", LOG, "--data"]).arg(self.data()).args(flags);
        command
    }

    /// `kill -9` of a server.
    pub fn kill(&mut self, place: usize) {
        self.addresses.lock().unwrap()[place] = None;
        let server = &mut self.servers[place];
        let mut program = server.program.take().unwrap();
        program.kill();
        server.said_before.push_str(&program.said());
    }

    /// Asks a server to stop, as one does to replace it.
    pub fn stop(&mut self, place: usize) {
        let mut program = self.servers[place].program.take().unwrap();
        block_in_place(|| program.stop());
        self.addresses.lock().unwrap()[place] = None;
        self.servers[place].said_before.push_str(&program.said());
    }

    pub fn program(&self, place: usize) -> &Program {
        self.servers[place].program.as_ref().unwrap()
    }

    pub fn address(&self, place: usize) -> SocketAddr {
        self.addresses.lock().unwrap()[place].unwrap()
    }

    /// The places of servers that are there.
    pub fn running(&self) -> Vec<usize> {
        (0..self.servers.len()).filter(|place| self.servers[*place].program.is_some()).collect()
    }

    /// All that a server of this place has said.
    pub fn said(&self, place: usize) -> String {
        let server = &self.servers[place];
        server.said_before.clone() + &server.program.as_ref().map(Program::said).unwrap_or_default()
    }

    /// People who come.
    pub fn crowd(&self, people: u64, clients: u64, rest_ms: u64) -> Crowd {
        let plan = Plan { campaign: self.name.clone(), people, clients, rest: Duration::from_millis(rest_ms) };
        Crowd::start(&self.addresses, plan)
    }

    /// Asks a server something.
    pub async fn get(&self, place: usize, path: &str) -> Option<Response> {
        let mut connection = Connection::open(self.address(place)).await.ok()?;
        connection.ask(&Request::new("GET", path)).await.ok()
    }

    /// Waits until a server says that it should get requests.
    pub async fn until_ready(&self, place: usize) {
        eventually("the server is ready", Duration::from_secs(60), async || {
            self.get(place, "/readyz").await.is_some_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// One of a server's counts.
    pub async fn metric(&self, place: usize, name: &str) -> u64 {
        let text = self.get(place, "/metrics").await.unwrap().text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("firstcome_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
    }

    /// The server that writes the tables, once there is one.
    pub async fn projecting(&self) -> usize {
        let mut found = None;
        eventually("one server writes the tables", Duration::from_secs(60), async || {
            for place in self.running() {
                if self.metric(place, "projecting").await == 1 {
                    found = Some(place);
                }
            }
            found.is_some()
        })
        .await;
        found.unwrap()
    }
}

/// Waits until it is so.
pub async fn eventually(what: &str, at_most: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + at_most;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {at_most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A name that no other world has, also in a drill that runs scenarios again.
fn unique(name: &str) -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{}_{count}", name.replace('-', "_"))
}
