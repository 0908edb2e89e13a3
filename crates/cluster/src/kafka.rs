//! The order, by Kafka: one topic, whose partitions every node reads from the place that it knows
//! on. No consumer group and no transactions: each node applies every record, and a record counts
//! because of its place alone.

mod begin;
mod follow;
mod prepare;
mod produce;
mod read;

use std::sync::Mutex;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use crate::protocol::replica::Fault;
pub use begin::begin;
pub use follow::{FollowError, Follower, Pace, Sink, read_first};
pub use prepare::{Topic, check_settings, find, look, prepare};
pub use produce::KafkaLog;
pub use read::read_ranges;

/// How Kafka is reached.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub hosts: String,
    /// The topic; it is made if it is not there.
    pub topic: String,
    /// How many partitions it gets then.
    pub partitions: u32,
    /// Whether less than three replicas are enough.
    pub is_dev: bool,
}

/// Why Kafka cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No broker answers.
    #[error("no Kafka broker answers at {hosts} (--kafka): {why}")]
    Unreachable {
        /// Where.
        hosts: String,
        /// Why.
        why: String,
    },
    /// There is no such topic, and it must not be made.
    #[error("there is no topic {topic} (--kafka-topic) at {hosts} (--kafka)")]
    NoTopic {
        /// Which.
        topic: String,
        /// Where.
        hosts: String,
    },
    /// The topic cannot be made.
    #[error("cannot make the topic {topic} (--kafka-topic): {why}")]
    Create {
        /// Which.
        topic: String,
        /// Why.
        why: String,
    },
    /// The topic does not keep what it is given, or not in the order that it was given.
    #[error("the topic {topic} must not be used as it is set: {}", .wrong.join("; "))]
    Settings {
        /// Which.
        topic: String,
        /// What is set wrong.
        wrong: Vec<String>,
    },
    /// The log is not what it should be.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The client says no.
    #[error("Kafka at {hosts} (--kafka): {source}")]
    Client {
        /// Where.
        hosts: String,
        /// What it says.
        source: KafkaError,
    },
}

impl KafkaSettings {
    /// What every client of ours is set to.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.hosts);
        config.set("client.id", "firstcome");
        config.set("socket.keepalive.enable", "true");
        config.set("socket.nagle.disable", "true");
        config.set("reconnect.backoff.ms", "50");
        config.set("reconnect.backoff.max.ms", "1000");
        // A new leader is found soon.
        config.set("topic.metadata.refresh.interval.ms", "10000");
        config.set("topic.metadata.refresh.fast.interval.ms", "100");
        // What connections say goes to the log by way of the context.
        config.set("log.connection.close", "false");
        config
    }

    fn failed(&self, source: KafkaError) -> OpenError {
        OpenError::Client { hosts: self.hosts.clone(), source }
    }
}

/// Hears what the client has to say.
#[derive(Debug, Default)]
pub struct Hearing {
    last: Mutex<String>,
}

impl Hearing {
    fn last(&self) -> String {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl ClientContext for Hearing {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka");
        reason.clone_into(&mut self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "Kafka");
    }
}

impl ConsumerContext for Hearing {}
