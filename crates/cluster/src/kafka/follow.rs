//! Reads all partitions from given offsets on, in a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use domain::types::Timestamp;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, Timestamp as KafkaTimestamp, TopicPartitionList};

use super::{Hearing, KafkaSettings, OpenError};
use crate::protocol::record::MalformedRecord;
use crate::protocol::replica::{Delivered, Fault};

/// Most records that are applied together.
const BATCH_MAX: usize = 1_024;
/// How long to wait for a record before checking whether to stop.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// With [`Pace::InBulk`], a fetch waits for this many bytes, some hundred records, ...
const BULK_BYTES: u32 = 65_536;
/// ... or for this long.
const BULK_WAIT_MS: u32 = 50;
/// Most polls of [`POLL`] to wait for the first record of a partition.
const FIRST_TIME_MAX: u32 = 200;

/// Why reading has ended.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log's contents are not valid.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Kafka reports an error that does not heal by itself.
    #[error("the log cannot be read: {0}")]
    Kafka(#[from] KafkaError),
    /// A fault of this program, which has been reported already.
    #[error("the thread that reads the log has panicked")]
    Panicked,
    /// The sink refused the records; the text says why.
    #[error("{0}")]
    Sink(String),
}

/// Receives the records that are read.
pub trait Sink: Send + 'static {
    /// Applies the next records of a partition.
    ///
    /// # Errors
    /// [`FollowError`]; reading ends then.
    fn apply(&mut self, partition: u32, records: &[Delivered<'_>]) -> Result<(), FollowError>;

    /// Called after each batch, and while no record arrives.
    ///
    /// # Errors
    /// [`FollowError`]; reading ends then.
    fn pause(&mut self) -> Result<(), FollowError> {
        Ok(())
    }

    /// Reading has ended, after an error or because it was told to.
    fn ended(&mut self, outcome: Result<(), FollowError>);
}

/// Whether a reader optimises for latency or for throughput.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Each record at once: a caller waits for it.
    AtOnce,
    /// In large fetches, after [`BULK_WAIT_MS`] at the latest: less work for reader and broker.
    InBulk,
}

/// A thread that reads the log.
#[derive(Debug)]
pub struct Follower {
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts a thread that reads each partition from its offset on.
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
            let outcome = unless_panicked(|| follow(&consumer, &stop, &mut sink));
            sink.ended(outcome);
        };
        let started = thread::Builder::new().name("follower".to_owned()).spawn(work);
        let thread = started.map_err(|error| OpenError::Unreachable { hosts: settings.hosts.clone(), why: error.to_string() })?;
        Ok(Self { is_stopping, thread: Some(thread) })
    }

    /// Tells the thread to end, without waiting for it.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != thread::current().id()) {
            // The sink has already been told of a panic in the thread.
            let _ = thread.join();
        }
    }
}

/// The settings that all consumers of this program share.
pub(super) fn config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = settings.client();
    // The client requires a group id even if no group is joined.
    config.set("group.id", "firstcome-none");
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    // A missing offset is a fault, never a reason to start elsewhere.
    config.set("auto.offset.reset", "error");
    config.set("fetch.min.bytes", "1");
    config.set("fetch.wait.max.ms", "100");
    config.set("fetch.error.backoff.ms", "50");
    config.set("queued.max.messages.kbytes", "32768");
    config.set("allow.auto.create.topics", "false");
    config.set("check.crcs", "true");
    // A slow sink is no reason to stop reading.
    config.set("max.poll.interval.ms", "86400000");
    config
}

/// A consumer that reads each of these partitions from its offset on.
pub(super) fn consumer(
    settings: &KafkaSettings,
    config: &ClientConfig,
    offsets: impl Iterator<Item = (u32, u64)>,
) -> Result<BaseConsumer<Hearing>, OpenError> {
    let consumer = BaseConsumer::from_config_and_context(config, Hearing::default()).map_err(|error| settings.failed(error))?;
    let mut places = TopicPartitionList::new();
    for (partition, offset) in offsets {
        let (Ok(partition), Ok(offset)) = (i32::try_from(partition), i64::try_from(offset)) else {
            panic!("Kafka's numbers, and the tables', are below 2^31 and 2^63, not {partition} and {offset}")
        };
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

/// Most errors that the client reports heal by themselves; only these end the reading.
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
    // The client delivers the records of one partition in runs.
    for run in messages.chunk_by(|one, other| one.partition() == other.partition()) {
        let mut records = Vec::with_capacity(run.len());
        let mut of_partition = None;
        for message in run {
            let (partition, record) = delivered(message)?;
            of_partition = Some(partition);
            records.push(record);
        }
        if let Some(partition) = of_partition {
            sink.apply(partition, &records)?;
        }
    }
    Ok(())
}

/// A message as a record, and its partition. Message keys and headers are for other tools; the node uses only
/// the value's bytes.
pub(super) fn delivered(message: &impl Message) -> Result<(u32, Delivered<'_>), Fault> {
    let (Ok(partition), Ok(offset)) = (u32::try_from(message.partition()), u64::try_from(message.offset())) else {
        return Err(Fault::Nowhere { partition: message.partition(), offset: message.offset() });
    };
    let at = match message.timestamp() {
        KafkaTimestamp::LogAppendTime(millis) => u64::try_from(millis).ok().and_then(Timestamp::from_millis),
        KafkaTimestamp::CreateTime(_) | KafkaTimestamp::NotAvailable => None,
    };
    let at = at.ok_or(Fault::NoBrokersTime { partition, offset })?;
    let bytes = message.payload().ok_or(Fault::Malformed { partition, offset, what: MalformedRecord("it has no value") })?;
    Ok((partition, Delivered { offset, at, bytes }))
}

/// A thread that ended silently would leave its node waiting for records for ever.
fn unless_panicked(work: impl FnOnce() -> Result<(), FollowError>) -> Result<(), FollowError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(FollowError::Panicked))
}

/// The bytes of a partition's first record, at offset 0. Blocks.
///
/// # Errors
/// [`OpenError`].
pub fn read_first(settings: &KafkaSettings, partition: u32) -> Result<Vec<u8>, OpenError> {
    let consumer = consumer(settings, &config(settings), std::iter::once((partition, 0)))?;
    for _ in 0..FIRST_TIME_MAX {
        match consumer.poll(POLL) {
            // A message without a value is not a record of ours; its empty bytes fail to decode.
            Some(Ok(message)) => return Ok(message.payload().unwrap_or_default().to_vec()),
            Some(Err(error)) => check(error).map_err(|error| settings.failed(error))?,
            None => {}
        }
    }
    Err(OpenError::Unreachable { hosts: settings.hosts.clone(), why: format!("partition {partition} gave no first record") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::OwnedMessage;

    fn message(bytes: Option<&[u8]>, at: KafkaTimestamp, partition: i32, offset: i64) -> OwnedMessage {
        OwnedMessage::new(bytes.map(<[u8]>::to_vec), None, "topic".to_owned(), at, partition, offset, None)
    }

    #[test]
    fn a_message_is_a_record_at_the_brokers_time() {
        let message = message(Some(b"abc"), KafkaTimestamp::LogAppendTime(1_000), 3, 7);
        let (partition, record) = delivered(&message).unwrap();
        assert_eq!((partition, record.offset, record.at.millis(), record.bytes), (3, 7, 1_000, &b"abc"[..]));
    }

    #[test]
    fn a_record_without_the_brokers_time_is_a_fault() {
        let fault = Fault::NoBrokersTime { partition: 3, offset: 7 };
        for at in [KafkaTimestamp::NotAvailable, KafkaTimestamp::CreateTime(1_000), KafkaTimestamp::LogAppendTime(-1)] {
            assert_eq!(delivered(&message(Some(b"abc"), at, 3, 7)).map(|_| ()), Err(fault.clone()), "{at:?}");
        }
    }

    #[test]
    fn a_record_without_a_value_or_a_place_is_a_fault() {
        let at = KafkaTimestamp::LogAppendTime(1_000);
        assert!(matches!(delivered(&message(None, at, 3, 7)), Err(Fault::Malformed { partition: 3, offset: 7, .. })));
        assert!(matches!(delivered(&message(Some(b"abc"), at, -1, 7)), Err(Fault::Nowhere { partition: -1, offset: 7 })));
        assert!(matches!(delivered(&message(Some(b"abc"), at, 3, -1001)), Err(Fault::Nowhere { partition: 3, offset: -1001 })));
    }

    #[test]
    fn a_panic_while_reading_is_an_end_that_the_sink_hears_of() {
        assert!(matches!(unless_panicked(|| panic!("as planned")), Err(FollowError::Panicked)));
        assert!(matches!(unless_panicked(|| Ok(())), Ok(())));
    }
}
