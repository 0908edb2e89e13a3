//! Starts each engine once and prints how long each took.
#![expect(clippy::print_stdout, reason = "what it prints is its result")]
#![expect(clippy::disallowed_methods, reason = "how long an engine takes to start is what is measured")]

use std::time::Instant;

use services::{Kafka, KafkaOptions, Postgres, Redis, RedisCluster, ServiceError};

fn main() -> Result<(), ServiceError> {
    let kafka = |brokers| KafkaOptions { brokers, ..KafkaOptions::default() };
    // The first one may fetch what it needs.
    drop(Kafka::start(kafka(1))?);
    timed("redis", Redis::start)?;
    timed("redis cluster", RedisCluster::start)?;
    timed("postgres", Postgres::start)?;
    timed("kafka, 1 broker", || Kafka::start(kafka(1)))?;
    timed("kafka, 3 brokers", || Kafka::start(kafka(3)))
}

fn timed<T>(name: &str, start: impl FnOnce() -> Result<T, ServiceError>) -> Result<(), ServiceError> {
    let started = Instant::now();
    let engine = start()?;
    println!("{name:<18} {:>6.2} s", started.elapsed().as_secs_f64());
    drop(engine);
    Ok(())
}
