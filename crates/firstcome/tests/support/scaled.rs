//! A cluster for a test: real engines that all tests of a file share, a topic and a database of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use cluster::kafka::{KafkaLog, KafkaSettings};
use cluster::protocol::node::Log;
use engine::clock::Clock;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use services::{Kafka, KafkaOptions, Postgres, Redis};
use tempfile::TempDir;

use crate::support::http::Client;
use crate::support::process::{Process, eventually, program, run};

const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
const PARTITIONS: u32 = 4;

/// Kafka, PostgreSQL and Redis.
#[derive(Debug)]
pub struct Engines {
    pub kafka: Kafka,
    pub postgres: Postgres,
    pub redis: Redis,
}

/// Started by the first test that asks; what guards them ends them with this process.
pub fn engines() -> &'static Engines {
    static ENGINES: OnceLock<Engines> = OnceLock::new();
    ENGINES.get_or_init(|| Engines {
        kafka: Kafka::start(KafkaOptions::default()).unwrap(),
        postgres: Postgres::start().unwrap(),
        redis: Redis::start().unwrap(),
    })
}

/// A topic with its tables, and the data folder of its server.
pub struct Cluster {
    pub topic: String,
    pub url: String,
    data: TempDir,
    /// One test after the other: a rush beside another test would have that one wait for too long.
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Nothing has happened in it.
    pub fn new(name: &str) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock();
        let url = engines().postgres.new_database(name).unwrap();
        Self { topic: format!("topic-{name}"), url, data: tempfile::tempdir().unwrap(), _turn: turn }
    }

    /// Starts a server of it, and waits until it takes requests.
    pub fn serve(&self) -> Process {
        let Engines { kafka, redis, .. } = engines();
        let (kafka, redis, partitions) = (kafka.bootstrap(), redis.url(), PARTITIONS.to_string());
        let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--kafka-dev", "--kafka", &kafka, "--redis", &redis]);
        command.args(["--kafka-topic", &self.topic, "--kafka-partitions", &partitions, "--postgres", &self.url]);
        command.arg("--data").arg(self.data.path());
        let server = Process::start(command);
        let mut client = Client::new(server.address);
        eventually("the server is ready", || client.try_send("GET", "/readyz", &[], "").is_ok_and(|answer| answer.status == 200));
        server
    }

    /// The arguments that verify it against a database.
    pub fn verify_args<'a>(&'a self, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        static KAFKA: OnceLock<String> = OnceLock::new();
        let kafka = KAFKA.get_or_init(|| engines().kafka.bootstrap());
        [&["verify", "--kafka", kafka, "--kafka-topic", &self.topic, "--postgres", url], more].concat()
    }

    /// Verifies it against a database: exit code and JSON.
    pub fn verify_with(&self, url: &str, more: &[&str]) -> (Option<i32>, Value) {
        let (code, stdout, stderr) = run(program(&[&self.verify_args(url, more)[..], &["--json"]].concat()));
        let json = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        (code, json)
    }

    pub fn verify(&self) -> (Option<i32>, Value) {
        self.verify_with(&self.url, &[])
    }

    /// Verifies it, and expects no broken promise.
    pub fn verify_clean(&self, more: &[&str]) -> Value {
        let (code, json) = self.verify_with(&self.url, more);
        assert_eq!((code, &json["is_good"]), (Some(0), &true.into()), "{json}");
        json
    }

    /// Waits until the tables hold the whole record.
    pub fn wait_for_tables(&self) {
        eventually("the tables hold the whole record", || self.verify().1["history_behind"] == 0);
    }

    /// A copy of the tables; nobody may be connected to them.
    pub fn copy(&self, name: &str) -> String {
        let (server, database) = self.url.rsplit_once('/').unwrap();
        // A server that has ended may have left connections that the database has not noticed yet.
        eventually("the database can be copied", || {
            Command::new("psql")
                .arg(format!("{server}/postgres"))
                .args(QUIET)
                .args(["-c", &format!("CREATE DATABASE {name} TEMPLATE {database}")])
                .status()
                .unwrap()
                .success()
        });
        format!("{server}/{name}")
    }

    /// Appends bytes that no server has written.
    pub fn append(&self, partition: u32, bytes: Vec<u8>) {
        let settings =
            KafkaSettings { hosts: engines().kafka.bootstrap(), topic: self.topic.clone(), partitions: PARTITIONS, is_dev: true };
        let log = KafkaLog::open(&settings, Clock::System).unwrap();
        log.append(partition, "", bytes).unwrap();
        eventually("the record has arrived", || log.delivered_count() == 1);
    }

    /// Deletes the first record of a partition.
    pub fn delete_beginning(&self, partition: u32) {
        let file = self.data.path().join("offsets.json");
        let topic = &self.topic;
        std::fs::write(&file, format!(r#"{{"partitions":[{{"topic":"{topic}","partition":{partition},"offset":1}}],"version":1}}"#))
            .unwrap();
        let bootstrap = engines().kafka.bootstrap();
        engines().kafka.tool(DELETE_RECORDS, &["--bootstrap-server", &bootstrap, "--offset-json-file", file.to_str().unwrap()]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
}

const QUIET: [&str; 4] = ["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1"];

/// Does something to the tables behind everybody's back.
pub fn psql(url: &str, sql: &str) {
    let sql = format!("SET search_path = firstcome; {sql}");
    let status = Command::new("psql").arg(url).args(QUIET).args(["-c", &sql]).status().unwrap();
    assert!(status.success(), "{sql}");
}
