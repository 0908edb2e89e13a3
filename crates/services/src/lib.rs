//! THE REAL ENGINES, STARTED (development only): private instances of Kafka, Redis and PostgreSQL without Docker, on
//! free ports and in temporary folders, for tests, benchmarks and `cargo xtask services`. Dropping an instance stops
//! it and removes its folder; if the starting process dies in any way, a guard does the same.

mod addresses;
mod clock;
mod error;
mod folder;
mod kafka;
mod ports;
mod postgres;
mod process;
mod programs;
mod redis;
mod redis_cluster;
mod shared;

pub use addresses::Addresses;
pub use error::ServiceError;
pub use kafka::{Kafka, KafkaOptions};
pub use postgres::{Postgres, PostgresOptions, new_database};
pub use redis::{Redis, RedisOptions};
pub use redis_cluster::{RedisCluster, RedisClusterOptions};
pub use shared::{FILE_VARIABLE, Shared, shared};
