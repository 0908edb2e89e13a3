//! Appending: an idempotent producer that waits for all replicas. A record that the client gives up
//! on is not handed in again: nobody knows whether it arrived, until it comes by.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use super::{KafkaSettings, OpenError};
use crate::protocol::limits::{DELIVERY_TIME_MAX, PENDING_MAX};
use crate::protocol::node::{Full, Log};

/// The topic, to append to.
pub struct KafkaLog {
    settings: KafkaSettings,
    counts: Arc<Counts>,
    producer: RwLock<Arc<ThreadedProducer<Delivering>>>,
}

/// What became of records.
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
    /// A producer for the topic.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: &KafkaSettings) -> Result<Self, OpenError> {
        let counts = Arc::new(Counts::default());
        let producer = RwLock::new(Arc::new(producer(settings, &counts)?));
        Ok(Self { settings: settings.clone(), counts, producer })
    }

    /// Replaces a producer that cannot go on; to be called now and then.
    pub fn keep(&self) {
        let current = self.current();
        let Some((code, reason)) = current.client().fatal_error() else { return };
        tracing::error!(?code, reason, "the producer cannot go on; another one is made");
        match producer(&self.settings, &self.counts) {
            Ok(new) => *self.producer.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new),
            Err(error) => tracing::error!(%error, "no producer could be made"),
        }
    }

    /// Records that arrived.
    #[must_use]
    pub fn delivered_count(&self) -> u64 {
        self.counts.delivered.load(Ordering::Relaxed)
    }

    /// Records of which nobody knows whether they arrived.
    #[must_use]
    pub fn unclear_count(&self) -> u64 {
        self.counts.unclear.load(Ordering::Relaxed)
    }

    fn current(&self) -> Arc<ThreadedProducer<Delivering>> {
        Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner))
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
}

fn producer(settings: &KafkaSettings, counts: &Arc<Counts>) -> Result<ThreadedProducer<Delivering>, OpenError> {
    let mut config = settings.client();
    config.set("enable.idempotence", "true");
    config.set("acks", "all");
    config.set("max.in.flight.requests.per.connection", "5");
    config.set("message.timeout.ms", DELIVERY_TIME_MAX.as_millis().to_string());
    // What comes within this time goes together. Without any wait nearly every record is a request of
    // its own, and the broker's time for those is what a busy machine lacks first.
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
