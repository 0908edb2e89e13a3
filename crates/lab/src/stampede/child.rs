//! The server of one strategy, as a separate process.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::api;
use crate::coupon::check_then_act::{self, CheckThenAct};
use crate::coupon::conditional_update::{self, ConditionalUpdate};
use crate::coupon::kafka_first::{self, KafkaFirst};
use crate::coupon::optimistic_version::{self, OptimisticVersion};
use crate::coupon::redis_lock::{self, RedisLock};
use crate::coupon::redis_then_kafka::{self, RedisThenKafka};
use crate::coupon::select_for_update::{self, SelectForUpdate};
use crate::coupon::small_pool::{self, SmallPool};
use crate::frame::error::LabError;
use crate::frame::kafka::Topic;
use crate::frame::tools::{FaultOrder, Faults, Tools};

/// The line that it prints once it is ready.
pub(crate) const GREETING: &str = "the strategy serves at";

/// The settings that the process reads from stdin, as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChildSettings {
    pub(crate) strategy: String,
    pub(crate) port: u16,
    pub(crate) postgres: Option<String>,
    pub(crate) redis: Option<String>,
    pub(crate) kafka: Option<String>,
    /// The topic's name, and the prefix of keys in Redis.
    pub(crate) place: String,
    pub(crate) fault: Option<FaultOrder>,
}

/// Reads the settings from stdin and serves until stdin ends, which happens when the parent process is gone.
///
/// # Errors
/// [`LabError`].
pub fn serve_from_stdin() -> Result<(), LabError> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| LabError::Settings(error.to_string()))?;
    let settings: ChildSettings = serde_json::from_str(&line).map_err(|error| LabError::Settings(error.to_string()))?;
    let other = LabError::other("cannot serve");
    std::thread::Builder::new()
        .spawn(|| {
            let _ = io::stdin().lock().read_to_end(&mut Vec::new());
            std::process::exit(0);
        })
        .map_err(|error| other(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| other(&error))?;
    runtime.block_on(serve(&settings))
}

async fn serve(settings: &ChildSettings) -> Result<(), LabError> {
    let name = settings.strategy.as_str();
    if name == check_then_act::ABOUT.name {
        api::serve::<CheckThenAct>(settings).await
    } else if name == select_for_update::ABOUT.name {
        api::serve::<SelectForUpdate>(settings).await
    } else if name == conditional_update::ABOUT.name {
        api::serve::<ConditionalUpdate>(settings).await
    } else if name == optimistic_version::ABOUT.name {
        api::serve::<OptimisticVersion>(settings).await
    } else if name == small_pool::ABOUT.name {
        api::serve::<SmallPool>(settings).await
    } else if name == redis_lock::ABOUT.name {
        api::serve::<RedisLock>(settings).await
    } else if name == redis_then_kafka::ABOUT.name {
        api::serve::<RedisThenKafka>(settings).await
    } else if name == kafka_first::ABOUT.name {
        api::serve::<KafkaFirst>(settings).await
    } else {
        Err(LabError::Settings(format!("{name:?} is no strategy with a server here")))
    }
}

impl ChildSettings {
    pub(crate) fn tools(&self) -> Result<Tools, LabError> {
        let topic = self.kafka.as_deref().map(|hosts| Topic::open(hosts, &self.place)).transpose()?;
        Ok(Tools {
            postgres: self.postgres.clone(),
            redis: self.redis.clone(),
            topic: topic.map(Arc::new),
            prefix: self.place.clone(),
            faults: Faults::new(self.fault.clone()),
        })
    }
}
