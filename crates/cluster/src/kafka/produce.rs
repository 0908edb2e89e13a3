//! Appends to the log with an idempotent producer that waits for all in-sync replicas. A record that the client
//! gives up on is not sent again: whether it was written is unknown until it is read back from the log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::types::Timestamp;
use engine::clock::Clock;
use parking_lot::RwLock;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use super::{KafkaSettings, OpenError};
use crate::protocol::limits::{DELIVERY_TIME_MAX, PENDING_MAX};
use crate::protocol::node::{Full, Log};

/// The topic, for appending.
pub struct KafkaLog {
    settings: KafkaSettings,
    clock: Clock,
    counts: Arc<Counts>,
    producer: RwLock<Arc<ThreadedProducer<Delivering>>>,
}

/// Delivery results of records.
#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    unclear: AtomicU64,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("topic", &self.settings.topic).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Opens a producer for the topic.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: &KafkaSettings, clock: Clock) -> Result<Self, OpenError> {
        let counts = Arc::new(Counts::default());
        let producer = RwLock::new(Arc::new(producer(settings, &counts)?));
        Ok(Self { settings: settings.clone(), clock, counts, producer })
    }

    /// Replaces a producer after a fatal error; to be called periodically.
    pub fn keep(&self) {
        let current = self.current();
        let Some((code, reason)) = current.client().fatal_error() else { return };
        tracing::error!(?code, reason, "the producer cannot go on; another one is made");
        match producer(&self.settings, &self.counts) {
            Ok(new) => *self.producer.write() = Arc::new(new),
            Err(error) => tracing::error!(%error, "no producer could be made"),
        }
    }

    /// The number of records that the brokers acknowledged.
    #[must_use]
    pub fn delivered_count(&self) -> u64 {
        self.counts.delivered.load(Ordering::Relaxed)
    }

    /// The number of records whose delivery is unknown.
    #[must_use]
    pub fn unclear_count(&self) -> u64 {
        self.counts.unclear.load(Ordering::Relaxed)
    }

    fn current(&self) -> Arc<ThreadedProducer<Delivering>> {
        Arc::clone(&self.producer.read())
    }
}

impl Log for KafkaLog {
    fn append(&self, partition: u32, key: &str, bytes: Vec<u8>) -> Result<(), Full> {
        let Ok(partition) = i32::try_from(partition) else { panic!("a topic has fewer than 2^31 partitions, not {partition}") };
        let record = BaseRecord::to(&self.settings.topic).partition(partition).key(key).payload(&bytes);
        let producer = self.current();
        producer.send(record).map_err(|(error, _)| {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                tracing::warn!(%error, "a record was not taken by the producer");
            }
            Full
        })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn producer(settings: &KafkaSettings, counts: &Arc<Counts>) -> Result<ThreadedProducer<Delivering>, OpenError> {
    let mut config = settings.client();
    config.set("enable.idempotence", "true");
    config.set("acks", "all");
    config.set("max.in.flight.requests.per.connection", "5");
    config.set("message.timeout.ms", DELIVERY_TIME_MAX.as_millis().to_string());
    // Records appended within this time share a request. Without any wait nearly every record is a request of
    // its own, and the broker's time for those is the first bottleneck of a busy machine.
    config.set("linger.ms", "1");
    config.set("queue.buffering.max.messages", (2 * PENDING_MAX).to_string());
    config.set("queue.buffering.max.kbytes", "131072");
    let context = Delivering { counts: Arc::clone(counts) };
    ThreadedProducer::from_config_and_context(&config, context).map_err(|error| settings.failed(error))
}

struct Delivering {
    counts: Arc<Counts>,
}

impl ClientContext for Delivering {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka");
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "Kafka");
    }
}

impl ProducerContext for Delivering {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.counts.delivered.fetch_add(1, Ordering::Relaxed),
            Err((error, _)) => {
                tracing::debug!(%error, "nobody knows whether a record arrived");
                self.counts.unclear.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}
