//! The ordered log in Kafka: one topic, every partition of which each node reads from its own offset on. No consumer
//! groups and no transactions: each node applies every record, and only a record's offset gives it effect.

mod begin;
mod follow;
mod prepare;
mod produce;
mod read;

use parking_lot::Mutex;
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

/// How to reach Kafka, and which topic to use.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub hosts: String,
    /// The topic; created if it does not exist.
    pub topic: String,
    /// The number of partitions of a newly created topic.
    pub partitions: u32,
    /// Whether fewer than three replicas are accepted, for development.
    pub is_dev: bool,
}

/// Why Kafka cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No broker responds.
    #[error("no Kafka broker answers at {hosts} (--kafka): {why}")]
    Unreachable {
        /// The configured brokers, `host:port`, separated by commas.
        hosts: String,
        /// The client's error text.
        why: String,
    },
    /// The topic does not exist, and the call must not create it.
    #[error("there is no topic {topic} (--kafka-topic) at {hosts} (--kafka)")]
    NoTopic {
        /// The topic's name.
        topic: String,
        /// The configured brokers.
        hosts: String,
    },
    /// The topic cannot be created.
    #[error("cannot make the topic {topic} (--kafka-topic): {why}")]
    Create {
        /// The topic's name.
        topic: String,
        /// The client's error text.
        why: String,
    },
    /// The topic's settings would allow records to be lost or reordered.
    #[error("the topic {topic} must not be used as it is set: {}", .wrong.join("; "))]
    Settings {
        /// The topic's name.
        topic: String,
        /// One text for each wrong setting.
        wrong: Vec<String>,
    },
    /// The log's contents are not valid.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The client reports an error.
    #[error("Kafka at {hosts} (--kafka): {source}")]
    Client {
        /// The configured brokers.
        hosts: String,
        /// The client's error.
        source: KafkaError,
    },
}

impl KafkaSettings {
    /// The settings that all Kafka clients of this program share.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.hosts);
        config.set("client.id", "firstcome");
        config.set("socket.keepalive.enable", "true");
        config.set("socket.nagle.disable", "true");
        config.set("reconnect.backoff.ms", "50");
        config.set("reconnect.backoff.max.ms", "1000");
        // Finds a new leader soon.
        config.set("topic.metadata.refresh.interval.ms", "10000");
        config.set("topic.metadata.refresh.fast.interval.ms", "100");
        // Connection errors go to the log by way of the context instead.
        config.set("log.connection.close", "false");
        config
    }

    fn failed(&self, source: KafkaError) -> OpenError {
        OpenError::Client { hosts: self.hosts.clone(), source }
    }
}

/// The client's context: keeps the last error text and forwards the client's log.
#[derive(Debug, Default)]
pub struct Hearing {
    last: Mutex<String>,
}

impl Hearing {
    fn last(&self) -> String {
        self.last.lock().clone()
    }
}

impl ClientContext for Hearing {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka");
        reason.clone_into(&mut self.last.lock());
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "Kafka");
    }
}

impl ConsumerContext for Hearing {}
