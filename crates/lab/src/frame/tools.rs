//! The tools of a strategy, and the errors that it can return.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

use super::error::LabError;
use super::kafka::Topic;
use super::postgres::{Database, PoolSize};

/// The tools of a strategy; each engine only if the strategy needs it.
pub(crate) struct Tools {
    pub(crate) postgres: Option<String>,
    pub(crate) redis: Option<String>,
    pub(crate) topic: Option<Arc<Topic>>,
    /// The prefix of its keys in Redis.
    pub(crate) prefix: String,
    pub(crate) faults: Faults,
}

impl Tools {
    /// A pool with open connections, so that a rush does not begin with logins.
    pub(crate) async fn database(&self, size: PoolSize) -> Result<Database, LabError> {
        let none = || LabError::Engine { engine: "PostgreSQL".to_owned(), why: "no URL".to_owned() };
        let database = Database::open(self.postgres.as_deref().ok_or_else(none)?, size)?;
        let failed = |trouble| LabError::Engine { engine: "PostgreSQL".to_owned(), why: format!("{trouble:?}") };
        database.warm().await.map_err(failed)?;
        Ok(database)
    }

    pub(crate) async fn redis(&self) -> Result<ConnectionManager, LabError> {
        let failed = |error: redis::RedisError| LabError::Engine { engine: "Redis".to_owned(), why: error.to_string() };
        let none = || LabError::Engine { engine: "Redis".to_owned(), why: "no URL".to_owned() };
        let client = redis::Client::open(self.redis.as_deref().ok_or_else(none)?).map_err(failed)?;
        let config = ConnectionManagerConfig::new().set_response_timeout(Some(std::time::Duration::from_secs(10)));
        ConnectionManager::new_with_config(client, config).await.map_err(failed)
    }

    pub(crate) fn topic(&self) -> Result<Arc<Topic>, LabError> {
        let none = || LabError::Engine { engine: "Kafka".to_owned(), why: "no topic".to_owned() };
        self.topic.clone().ok_or_else(none)
    }
}

/// Why a request gets no decision; reported as a 5xx.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// The capacity for requests is used up.
    Busy(String),
    /// Not decided yet: retry soon.
    Pending(String),
    /// An engine failed; the claim may have taken effect.
    Failed(String),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let detail = error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned());
        Self::Failed(format!("PostgreSQL: {detail}"))
    }
}

impl From<redis::RedisError> for Trouble {
    fn from(error: redis::RedisError) -> Self {
        Self::Failed(format!("Redis: {error}"))
    }
}

impl From<serde_json::Error> for Trouble {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The fault to inject, as sent to a strategy's server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FaultOrder {
    /// The name of the point in the code.
    pub(crate) at: String,
    /// The number of times that the point must be reached.
    pub(crate) count: u64,
    /// Whether to suspend the process instead of aborting it.
    pub(crate) is_pause: bool,
}

/// The named points between the steps of a strategy. They do nothing, except in the one run that injects a
/// fault at one of them.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    order: Option<FaultOrder>,
    reached: AtomicU64,
}

impl Faults {
    pub(crate) fn new(order: Option<FaultOrder>) -> Self {
        Self { order, reached: AtomicU64::new(0) }
    }

    /// Called at a named point. If it is the fault's point for the last time, the process stops here, without
    /// flushing or responding.
    pub(crate) fn reached(&self, point: &str) {
        let Some(order) = self.order.as_ref().filter(|order| order.at == point) else { return };
        if self.reached.fetch_add(1, Ordering::Relaxed) + 1 != order.count {
            return;
        }
        match order.is_pause {
            // It continues here when it is resumed.
            true => drop(kill_process(getpid(), Signal::STOP)),
            false => std::process::abort(),
        }
    }
}

pub(crate) fn random_number() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness names may collide, and creating the second one fails with an error.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// A unique name.
pub(crate) fn random() -> String {
    format!("{:016x}", random_number())
}
