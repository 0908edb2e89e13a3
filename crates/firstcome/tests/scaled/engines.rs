//! The engines: those that all scenarios share, each started when the first one needs it, and small
//! ones of a scenario's own. What a scenario stops goes on when it ends, also when it fails.

use std::ops::Range;
use std::sync::OnceLock;

use parking_lot::{Mutex, MutexGuard};
use services::{Kafka, KafkaOptions, Postgres, Redis, RedisOptions};

/// One broker: for servers with `--kafka-dev`.
pub fn one_broker() -> MutexGuard<'static, Kafka> {
    static KAFKA: OnceLock<Mutex<Kafka>> = OnceLock::new();
    KAFKA.get_or_init(|| Mutex::new(Kafka::start(KafkaOptions::default()).unwrap())).lock()
}

/// Three brokers, as in earnest. A broker that is gone is replaced soon: a test has no nine seconds.
pub fn three_brokers() -> MutexGuard<'static, Kafka> {
    static KAFKA: OnceLock<Mutex<Kafka>> = OnceLock::new();
    let settings = ["broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500", "replica.lag.time.max.ms=5000"];
    let options = KafkaOptions { brokers: 3, settings: settings.map(str::to_owned).to_vec(), ..KafkaOptions::default() };
    KAFKA.get_or_init(|| Mutex::new(Kafka::start(options).unwrap())).lock()
}

/// The tables' server.
pub fn postgres() -> MutexGuard<'static, Postgres> {
    static POSTGRES: OnceLock<Mutex<Postgres>> = OnceLock::new();
    POSTGRES.get_or_init(|| Mutex::new(Postgres::start().unwrap())).lock()
}

/// A gate of one's own, which has lost its memory when it is started again.
pub fn forgetful_redis() -> Redis {
    Redis::start_with(RedisOptions { persistent: false, ..RedisOptions::default() }).unwrap()
}

/// Brokers that are there and say nothing, until this is dropped.
pub struct Frozen<'a> {
    kafka: &'a mut Kafka,
    brokers: Range<usize>,
}

impl<'a> Frozen<'a> {
    pub fn all(kafka: &'a mut Kafka) -> Self {
        let count = kafka.process_ids().len();
        Self::some(kafka, 0..count)
    }

    pub fn one(kafka: &'a mut Kafka, broker: usize) -> Self {
        Self::some(kafka, broker..broker + 1)
    }

    fn some(kafka: &'a mut Kafka, brokers: Range<usize>) -> Self {
        brokers.clone().for_each(|broker| kafka.stop(broker).unwrap());
        Self { kafka, brokers }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.brokers.clone().for_each(|broker| self.kafka.resume(broker).unwrap());
    }
}
