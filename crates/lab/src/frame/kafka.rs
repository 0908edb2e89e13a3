//! A strategy's topic: appends that wait for the acknowledgement, and one consumer that takes the records one
//! after the other, each at least once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::error::LabError;
use super::tools::Trouble;

/// How long a broker may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Poll interval of the consumer, between checks whether to commit its offset.
const POLL: Duration = Duration::from_millis(20);
/// The offset is committed after this many records at the latest.
const NOTE_EVERY: i64 = 64;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How long to wait until all appended records are consumed.
const CATCH_UP_MAX: Duration = Duration::from_secs(50);
const ONLY: i32 = 0;

/// A topic with one partition, which keeps one campaign's requests in order.
pub(crate) struct Topic {
    name: String,
    hosts: String,
    producer: ThreadedProducer<Delivering>,
    /// The next offset to consume.
    next: AtomicI64,
}

impl Topic {
    pub(crate) fn open(hosts: &str, name: &str) -> Result<Self, LabError> {
        let mut config = client(hosts);
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "0");
        let producer = ThreadedProducer::from_config_and_context(&config, Delivering).map_err(|error| failed(hosts, &error))?;
        Ok(Self { name: name.to_owned(), hosts: hosts.to_owned(), producer, next: AtomicI64::new(0) })
    }

    /// Appends a record, and waits until every in-sync replica has it.
    pub(crate) async fn append(&self, key: &str, payload: &[u8]) -> Result<(), Trouble> {
        let (sender, delivered) = oneshot::channel();
        let record = BaseRecord::with_opaque_to(&self.name, Box::new(sender)).partition(ONLY).key(key).payload(payload);
        self.producer.send(record).map_err(|(error, _)| Trouble::Failed(format!("Kafka: {error}")))?;
        match delivered.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Trouble::Failed(format!("Kafka: {error}"))),
            Err(_) => Err(Trouble::Failed("Kafka: nobody knows whether the record arrived".to_owned())),
        }
    }

    /// Passes every record from the committed offset on to `consume`, in a thread of its own.
    pub(crate) fn follow(self: &Arc<Self>, consume: impl Fn(&[u8]) -> Result<(), Trouble> + Send + 'static) -> Result<(), LabError> {
        let (consumer, start) = self.consumer().map_err(|error| failed(&self.hosts, &error))?;
        self.next.store(start, Ordering::Release);
        let topic = Arc::clone(self);
        let work = move || topic.consume_all(&consumer, &consume);
        let started = thread::Builder::new().name("consumer".to_owned()).spawn(work);
        started.map(drop).map_err(|error| LabError::Other { what: "no thread", why: error.to_string() })
    }

    /// Assigned manually: a killed member of a consumer group would keep the partition for 45 s.
    fn consumer(&self) -> Result<(BaseConsumer, i64), KafkaError> {
        let mut config = client(&self.hosts);
        config.set("group.id", &self.name).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("fetch.wait.max.ms", "50");
        let consumer = BaseConsumer::from_config(&config)?;
        let mut places = TopicPartitionList::new();
        places.add_partition(&self.name, ONLY);
        let noted = consumer.committed_offsets(places.clone(), ANSWER_MAX)?;
        let start = match noted.find_partition(&self.name, ONLY).map(|place| place.offset()) {
            Some(Offset::Offset(offset)) => offset,
            _ => 0,
        };
        places.set_partition_offset(&self.name, ONLY, Offset::Offset(start))?;
        consumer.assign(&places)?;
        Ok((consumer, start))
    }

    fn consume_all(&self, consumer: &BaseConsumer, consume: &impl Fn(&[u8]) -> Result<(), Trouble>) {
        let mut noted = self.next.load(Ordering::Acquire);
        loop {
            let next = self.next.load(Ordering::Acquire);
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    until_done(consume, message.payload().unwrap_or_default());
                    self.next.store(message.offset() + 1, Ordering::Release);
                }
                Some(Err(error)) => eprintln!("consumer: {error}"),
                None if noted < next => noted = self.note(consumer, next),
                None => {}
            }
            if noted + NOTE_EVERY <= next {
                noted = self.note(consumer, next);
            }
        }
    }

    /// Commits the offset to start from after a crash: later records are delivered again.
    fn note(&self, consumer: &BaseConsumer, next: i64) -> i64 {
        let mut places = TopicPartitionList::new();
        let added = places.add_partition_offset(&self.name, ONLY, Offset::Offset(next));
        if let Err(error) = added.and_then(|()| consumer.commit(&places, CommitMode::Async)) {
            eprintln!("consumer: the place is not noted: {error}");
        }
        next
    }

    /// Waits until every record appended before is consumed.
    pub(crate) async fn caught_up(self: &Arc<Self>) -> Result<(), Trouble> {
        let topic = Arc::clone(self);
        let ask = move || topic.producer.client().fetch_watermarks(&topic.name, ONLY, ANSWER_MAX);
        let asked = tokio::task::spawn_blocking(ask).await.map_err(|error| Trouble::Failed(error.to_string()))?;
        let (_, end) = asked.map_err(|error| Trouble::Failed(format!("Kafka: {error}")))?;
        let stopwatch = super::clock::Stopwatch::start();
        while self.next.load(Ordering::Acquire) < end {
            if CATCH_UP_MAX < stopwatch.elapsed() {
                return Err(Trouble::Pending("the consumer is behind".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

/// Retries until the record is processed; the next one waits.
fn until_done(consume: &impl Fn(&[u8]) -> Result<(), Trouble>, payload: &[u8]) {
    while let Err(trouble) = consume(payload) {
        eprintln!("consumer: {trouble:?}");
        thread::sleep(TRY_AGAIN_AFTER);
    }
}

/// Creates a topic with one partition, with three replicas if there are three brokers.
pub(crate) async fn create(hosts: &str, name: &str) -> Result<(), LabError> {
    let admin = admin(hosts)?;
    let replicas = if 3 <= brokers(hosts).await? { 3 } else { 1 };
    let in_sync = if replicas == 3 { "2" } else { "1" };
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(replicas)).set("min.insync.replicas", in_sync);
    let made = admin.create_topics([&topic], &AdminOptions::new().operation_timeout(Some(ANSWER_MAX))).await;
    let made = made.map_err(|error| failed(hosts, &error))?;
    match made.into_iter().next() {
        Some(Err((_, code))) => Err(failed(hosts, &KafkaError::AdminOp(code))),
        _ => Ok(()),
    }
}

/// Removes a topic, if it exists.
pub(crate) async fn remove(hosts: &str, name: &str) -> Result<(), LabError> {
    let removed = admin(hosts)?.delete_topics(&[name], &AdminOptions::new()).await;
    removed.map(drop).map_err(|error| failed(hosts, &error))
}

/// The number of brokers.
pub(crate) async fn brokers(hosts: &str) -> Result<usize, LabError> {
    let (admin, place) = (admin(hosts)?, hosts.to_owned());
    let ask = move || admin.inner().fetch_metadata(None, ANSWER_MAX).map(|metadata| metadata.brokers().len());
    let asked = tokio::task::spawn_blocking(ask).await.map_err(|error| LabError::other("Kafka")(&error))?;
    asked.map_err(|error| failed(&place, &error))
}

fn admin(hosts: &str) -> Result<AdminClient<DefaultClientContext>, LabError> {
    AdminClient::from_config(&client(hosts)).map_err(|error| failed(hosts, &error))
}

fn client(hosts: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", hosts).set("client.id", "firstcome-lab").set("socket.nagle.disable", "true");
    // Errors are reported by the calls; the client's own log lines are suppressed.
    config.set("log_level", "0").set("log.connection.close", "false");
    config.set("topic.metadata.refresh.fast.interval.ms", "50").set("message.timeout.ms", "20000");
    config
}

fn failed(hosts: &str, error: &KafkaError) -> LabError {
    LabError::Engine { engine: format!("Kafka at {hosts}"), why: error.to_string() }
}

struct Delivering;

impl ClientContext for Delivering {}

impl ProducerContext for Delivering {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        // The caller may have been cancelled.
        let _ = sender.send(result.as_ref().map(drop).map_err(|(error, _)| error.clone()));
    }
}
