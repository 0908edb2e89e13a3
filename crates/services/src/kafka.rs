//! Apache Kafka in KRaft mode, run from its published jars with plain `java`: one broker, or three that
//! replicate every record.

mod broker;
mod clock_offset;
mod jars;
mod prepare;
mod settings;

use std::path::Path;
use std::process::Command;

use broker::{Broker, Start};
use settings::Node;

use crate::error::ServiceError;
use crate::folder::Folder;
use crate::programs;

/// The options of a Kafka cluster.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// 1, or 3: then each record has three replicas, and two must have it before it is acknowledged.
    pub brokers: usize,
    /// The largest heap of each broker, in MiB.
    pub heap_mb: u32,
    /// Starts fast but runs slower: for tests, not for benchmarks.
    pub is_for_tests: bool,
    /// Additional lines of `server.properties`; they override earlier ones of the same name.
    pub settings: Vec<String>,
    /// Brokers with a wrong clock: index and offset in seconds. Needs libfaketime.
    pub clock_offsets_s: Vec<(usize, i64)>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { brokers: 1, heap_mb: 320, is_for_tests: true, settings: Vec::new(), clock_offsets_s: Vec::new() }
    }
}

/// A running Kafka cluster.
#[derive(Debug)]
pub struct Kafka {
    // Dropped before the folder that the brokers write to.
    brokers: Vec<Broker>,
    folder: Folder,
    nodes: Vec<Node>,
    options: KafkaOptions,
}

impl Kafka {
    /// Starts the brokers, after downloading Kafka if it was never started on this machine.
    pub fn start(options: KafkaOptions) -> Result<Self, ServiceError> {
        let jars = jars::get()?;
        let folder = Folder::new("kafka")?;
        let nodes = settings::nodes(options.brokers)?;
        let mut brokers: Vec<Broker> = (0..options.brokers).map(Broker::new).collect();
        let start = Start { jars, folder: &folder, nodes: &nodes, options: &options };
        brokers.iter_mut().try_for_each(|broker| broker.start(&start))?;
        brokers.iter_mut().try_for_each(Broker::wait_until_ready)?;
        Ok(Self { brokers, folder, nodes, options })
    }

    /// `host:port` of each broker, separated by commas.
    pub fn bootstrap(&self) -> String {
        let addresses = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.broker_port));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The ids of the running processes.
    pub fn process_ids(&self) -> Vec<u32> {
        self.brokers.iter().filter_map(Broker::process_id).collect()
    }

    /// Kills a broker (0, 1, 2) with `kill -9`.
    pub fn kill(&mut self, broker: usize) -> Result<(), ServiceError> {
        self.find(broker)?.kill()
    }

    /// Kills a broker (0, 1, 2) if it runs, and restarts it on its port with its data.
    pub fn restart(&mut self, broker: usize) -> Result<(), ServiceError> {
        self.find(broker)?.kill()?;
        let start = Start { jars: jars::get()?, folder: &self.folder, nodes: &self.nodes, options: &self.options };
        let Some(broker) = self.brokers.get_mut(broker) else { return Ok(()) };
        broker.start(&start)?;
        broker.wait_until_ready()
    }

    /// Kills every broker and restarts them together: two of three must run before any is ready.
    pub fn restart_all(&mut self) -> Result<(), ServiceError> {
        self.brokers.iter_mut().try_for_each(Broker::kill)?;
        let start = Start { jars: jars::get()?, folder: &self.folder, nodes: &self.nodes, options: &self.options };
        self.brokers.iter_mut().try_for_each(|broker| broker.start(&start))?;
        self.brokers.iter_mut().try_for_each(Broker::wait_until_ready)
    }

    /// Suspends a broker (0, 1, 2) with `SIGSTOP`.
    pub fn stop(&mut self, broker: usize) -> Result<(), ServiceError> {
        self.find(broker)?.stop()
    }

    /// Resumes a broker (0, 1, 2) with `SIGCONT`.
    pub fn resume(&mut self, broker: usize) -> Result<(), ServiceError> {
        self.find(broker)?.resume()
    }

    /// The folder with its data and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs one of Kafka's own tools and returns its output; the caller passes the brokers' addresses.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<String, ServiceError> {
        let jars = jars::get()?;
        let mut tool = Command::new(&jars.java);
        tool.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]);
        tool.arg(format!("-XX:SharedArchiveFile={}", jars.archive.display()));
        programs::output(tool.args(["-cp", &jars.class_path, class]).args(arguments))
    }

    fn find(&mut self, index: usize) -> Result<&mut Broker, ServiceError> {
        let count = self.brokers.len();
        self.brokers.get_mut(index).ok_or(ServiceError::NoSuchNode { index, count })
    }
}
