//! Apache Kafka in KRaft mode, from its published jars, by plain `java`: one broker, or three that
//! keep everything three times.

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

/// How Kafka is started.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// 1, or 3: then each record is kept three times, and two must have it before it counts.
    pub brokers: usize,
    /// The heap of each broker at most, in MiB.
    pub heap_mb: u32,
    /// Starts fast and stays slower: for tests, not for benchmarks.
    pub is_for_tests: bool,
    /// More lines of `server.properties`; they replace earlier ones of the same name.
    pub settings: Vec<String>,
    /// By how many seconds the clock of a broker is wrong: its index and the offset. Needs
    /// libfaketime.
    pub clock_offsets_s: Vec<(usize, i64)>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { brokers: 1, heap_mb: 320, is_for_tests: true, settings: Vec::new(), clock_offsets_s: Vec::new() }
    }
}

/// A running Kafka.
#[derive(Debug)]
pub struct Kafka {
    // Dropped before the folder that they write to.
    brokers: Vec<Broker>,
    folder: Folder,
    nodes: Vec<Node>,
    options: KafkaOptions,
}

impl Kafka {
    /// Starts it, and fetches it before if it was never started on this machine.
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

    /// `host:port` of each broker, with commas.
    pub fn bootstrap(&self) -> String {
        let addresses = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.broker_port));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The ids of the processes that run.
    pub fn process_ids(&self) -> Vec<u32> {
        self.brokers.iter().filter_map(Broker::process_id).collect()
    }

    /// `kill -9` of a broker (0, 1, 2).
    pub fn kill(&mut self, broker: usize) -> Result<(), ServiceError> {
        self.find(broker)?.kill()
    }

    /// Kills a broker (0, 1, 2) if it runs, and starts it again at its port with its data.
    pub fn restart(&mut self, broker: usize) -> Result<(), ServiceError> {
        self.find(broker)?.kill()?;
        let start = Start { jars: jars::get()?, folder: &self.folder, nodes: &self.nodes, options: &self.options };
        let Some(broker) = self.brokers.get_mut(broker) else { return Ok(()) };
        broker.start(&start)?;
        broker.wait_until_ready()
    }

    /// Kills every broker and starts them again together: two of three must be there to be ready.
    pub fn restart_all(&mut self) -> Result<(), ServiceError> {
        self.brokers.iter_mut().try_for_each(Broker::kill)?;
        let start = Start { jars: jars::get()?, folder: &self.folder, nodes: &self.nodes, options: &self.options };
        self.brokers.iter_mut().try_for_each(|broker| broker.start(&start))?;
        self.brokers.iter_mut().try_for_each(Broker::wait_until_ready)
    }

    /// `SIGSTOP` of a broker (0, 1, 2): it is there and says nothing.
    pub fn stop(&mut self, broker: usize) -> Result<(), ServiceError> {
        self.find(broker)?.stop()
    }

    /// `SIGCONT` of a broker (0, 1, 2), after `stop`.
    pub fn resume(&mut self, broker: usize) -> Result<(), ServiceError> {
        self.find(broker)?.resume()
    }

    /// Where its data and its logs are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs one of Kafka's own tools, which is told itself where the brokers are, and gives what it
    /// printed.
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
