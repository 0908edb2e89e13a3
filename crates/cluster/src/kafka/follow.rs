//! Reading: all partitions from given places on, in a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use domain::types::Timestamp;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::{Hearing, KafkaSettings, OpenError};
use crate::protocol::replica::{Delivered, Fault};

/// Records that are applied together at most.
const BATCH_MAX: usize = 1_024;
/// How long to wait for a record before looking whether to stop.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// In bulk, a fetch waits for so many bytes, some hundred records, ...
const BULK_BYTES: u32 = 65_536;
/// ... or for so long.
const BULK_WAIT_MS: u32 = 50;
/// How long the first record of a partition may take.
const FIRST_TIME_MAX: u32 = 200;

/// Why nothing more is read.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log is not what it should be.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Kafka will not give the records.
    #[error("the log cannot be read: {0}")]
    Kafka(#[from] KafkaError),
    /// The sink will not take more.
    #[error("{0}")]
    Sink(String),
}

/// Takes records in.
pub trait Sink: Send + 'static {
    /// The next records of a partition.
    ///
    /// # Errors
    /// [`FollowError`]; nothing more is given then.
    fn apply(&mut self, partition: u32, records: &[Delivered<'_>]) -> Result<(), FollowError>;

    /// Nothing more is there just now, or much was given.
    ///
    /// # Errors
    /// [`FollowError`]; nothing more is given then.
    fn pause(&mut self) -> Result<(), FollowError> {
        Ok(())
    }

    /// Reading has ended, by itself or because it was told to.
    fn ended(&mut self, outcome: Result<(), FollowError>);
}

/// How soon a reader wants to have what is new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Each record at once: somebody waits for it.
    AtOnce,
    /// Much together, after [`BULK_WAIT_MS`] at the latest: that is less work for everybody.
    InBulk,
}

/// A thread that reads.
#[derive(Debug)]
pub struct Follower {
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Reads each partition from its offset on.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn start(settings: &KafkaSettings, offsets: &[u64], pace: Pace, mut sink: impl Sink) -> Result<Self, OpenError> {
        let mut config = config(settings);
        if pace == Pace::InBulk {
            config.set("fetch.min.bytes", BULK_BYTES.to_string());
            config.set("fetch.wait.max.ms", BULK_WAIT_MS.to_string());
        }
        let consumer = consumer(settings, &config, offsets.iter().zip(0..).map(|(offset, partition)| (partition, *offset)))?;
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopping);
        let work = move || {
            let outcome = follow(&consumer, &stop, &mut sink);
            sink.ended(outcome);
        };
        let started = thread::Builder::new().name("follower".to_owned()).spawn(work);
        let thread = started.map_err(|error| OpenError::Unreachable { hosts: settings.hosts.clone(), why: error.to_string() })?;
        Ok(Self { is_stopping, thread: Some(thread) })
    }

    /// Tells it to end, without waiting.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != thread::current().id()) {
            // A panic in it has been told already.
            let _ = thread.join();
        }
    }
}

/// What every reader of ours is set to.
pub(super) fn config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = settings.client();
    // The client wants a name for a group even where none is joined.
    config.set("group.id", "firstcome-none");
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    // An offset that is not there is a fault, never a reason to begin elsewhere.
    config.set("auto.offset.reset", "error");
    config.set("fetch.min.bytes", "1");
    config.set("fetch.wait.max.ms", "100");
    config.set("fetch.error.backoff.ms", "50");
    config.set("queued.max.messages.kbytes", "32768");
    config.set("allow.auto.create.topics", "false");
    config.set("check.crcs", "true");
    // A sink that takes its time is no reason to stop reading.
    config.set("max.poll.interval.ms", "86400000");
    config
}

/// Reads each of these partitions from its offset on.
pub(super) fn consumer(
    settings: &KafkaSettings,
    config: &ClientConfig,
    offsets: impl Iterator<Item = (u32, u64)>,
) -> Result<BaseConsumer<Hearing>, OpenError> {
    let consumer = BaseConsumer::from_config_and_context(config, Hearing::default()).map_err(|error| settings.failed(error))?;
    let mut places = TopicPartitionList::new();
    for (partition, offset) in offsets {
        let (partition, offset) = (i32::try_from(partition).unwrap_or(i32::MAX), i64::try_from(offset).unwrap_or(i64::MAX));
        places.add_partition_offset(&settings.topic, partition, Offset::Offset(offset)).map_err(|error| settings.failed(error))?;
    }
    consumer.assign(&places).map_err(|error| settings.failed(error))?;
    Ok(consumer)
}

fn follow(consumer: &BaseConsumer<Hearing>, is_stopping: &AtomicBool, sink: &mut impl Sink) -> Result<(), FollowError> {
    let mut messages: Vec<BorrowedMessage<'_>> = Vec::with_capacity(BATCH_MAX);
    while !is_stopping.load(Ordering::Relaxed) {
        let mut wait = POLL;
        while messages.len() < BATCH_MAX {
            match consumer.poll(wait) {
                Some(Ok(message)) => messages.push(message),
                Some(Err(error)) => check(error)?,
                None => break,
            }
            wait = Duration::ZERO;
        }
        apply(&messages, sink)?;
        messages.clear();
        sink.pause()?;
    }
    Ok(())
}

/// Most of what the client reports heals by itself; what does not is an end.
pub(super) fn check(error: KafkaError) -> Result<(), KafkaError> {
    use RDKafkaErrorCode::{AutoOffsetReset, Fatal, OffsetOutOfRange, TopicAuthorizationFailed};
    let code = error.rdkafka_error_code();
    if matches!(code, Some(AutoOffsetReset | Fatal | OffsetOutOfRange | TopicAuthorizationFailed)) {
        return Err(error);
    }
    tracing::debug!(%error, "Kafka");
    Ok(())
}

fn apply(messages: &[BorrowedMessage<'_>], sink: &mut impl Sink) -> Result<(), FollowError> {
    // The client gives records of one partition in a row.
    for run in messages.chunk_by(|one, other| one.partition() == other.partition()) {
        let records: Vec<Delivered<'_>> = run.iter().map(delivered).collect();
        if let Some(first) = run.first() {
            sink.apply(u32::try_from(first.partition()).unwrap_or(u32::MAX), &records)?;
        }
    }
    Ok(())
}

pub(super) fn delivered<'a>(message: &'a BorrowedMessage<'_>) -> Delivered<'a> {
    let millis = message.timestamp().to_millis().and_then(|millis| u64::try_from(millis).ok());
    Delivered {
        offset: u64::try_from(message.offset()).unwrap_or(u64::MAX),
        at: millis.and_then(Timestamp::from_millis).unwrap_or(Timestamp::ZERO),
        bytes: message.payload().unwrap_or_default(),
    }
}

/// The bytes of a partition's first record, which is at offset 0. It blocks.
///
/// # Errors
/// [`OpenError`].
pub fn read_first(settings: &KafkaSettings, partition: u32) -> Result<Vec<u8>, OpenError> {
    let consumer = consumer(settings, &config(settings), std::iter::once((partition, 0)))?;
    for _ in 0..FIRST_TIME_MAX {
        match consumer.poll(POLL) {
            Some(Ok(message)) => return Ok(message.payload().unwrap_or_default().to_vec()),
            Some(Err(error)) => check(error).map_err(|error| settings.failed(error))?,
            None => {}
        }
    }
    Err(OpenError::Unreachable { hosts: settings.hosts.clone(), why: format!("partition {partition} gave no first record") })
}
