//! Engines shared by all tests of a program, each started on first use.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::addresses::Addresses;
use crate::error::ServiceError;
use crate::kafka::{Kafka, KafkaOptions};
use crate::postgres::{Postgres, PostgresOptions, new_database};
use crate::redis::Redis;
use crate::redis_cluster::RedisCluster;

/// The variable that names the file with the addresses of running engines.
pub const FILE_VARIABLE: &str = "FIRSTCOME_SERVICES";

type Started<T> = OnceLock<Result<T, ServiceError>>;

/// The engines shared by all tests of this process. Engines named by `FIRSTCOME_SERVICES` are used; for the
/// others private ones are started once, with one Kafka broker. They end with the process: nothing drops
/// them, but their guards detect its end.
///
/// Tests run concurrently: each uses its own names for topics, keys and databases.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| Shared { file: std::env::var_os(FILE_VARIABLE).map(PathBuf::from), ..Shared::default() })
}

/// The handle that [`shared`] returns.
#[derive(Debug, Default)]
pub struct Shared {
    file: Option<PathBuf>,
    given: Started<Addresses>,
    kafka: Started<String>,
    redis: Started<String>,
    redis_cluster: Started<Vec<String>>,
    postgres: Started<String>,
}

impl Shared {
    /// `host:port` of each Kafka broker, separated by commas.
    pub fn kafka(&'static self) -> Result<&'static str, &'static ServiceError> {
        let start = || {
            static KAFKA: OnceLock<Kafka> = OnceLock::new();
            Ok(kept(&KAFKA, Kafka::start(KafkaOptions::default())?).bootstrap())
        };
        self.find(&self.kafka, |given| given.kafka.as_ref(), start).map(String::as_str)
    }

    /// `redis://…` of a single server.
    pub fn redis(&'static self) -> Result<&'static str, &'static ServiceError> {
        let start = || {
            static REDIS: OnceLock<Redis> = OnceLock::new();
            Ok(kept(&REDIS, Redis::start()?).url())
        };
        self.find(&self.redis, |given| given.redis.as_ref(), start).map(String::as_str)
    }

    /// `redis://…` of each node of a cluster.
    pub fn redis_cluster(&'static self) -> Result<&'static [String], &'static ServiceError> {
        let start = || {
            static CLUSTER: OnceLock<RedisCluster> = OnceLock::new();
            Ok(kept(&CLUSTER, RedisCluster::start()?).urls())
        };
        self.find(&self.redis_cluster, |given| given.redis_cluster.as_ref(), start).map(Vec::as_slice)
    }

    /// `postgres://…` of a user that may create databases.
    pub fn postgres(&'static self) -> Result<&'static str, &'static ServiceError> {
        let start = || {
            static POSTGRES: OnceLock<Postgres> = OnceLock::new();
            let options = PostgresOptions { connections_max: 300, ..PostgresOptions::default() };
            Ok(kept(&POSTGRES, Postgres::start_with(&options)?).url())
        };
        self.find(&self.postgres, |given| given.postgres.as_ref(), start).map(String::as_str)
    }

    /// An empty database on the shared server, with a unique name that begins with `name`.
    pub fn new_database(&'static self, name: &str) -> Result<String, ServiceError> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let url = self.postgres().map_err(|error| ServiceError::Shared { error })?;
        new_database(url, &format!("{name}_{}_{number}", std::process::id()))
    }

    fn find<T: Clone>(
        &'static self,
        place: &'static Started<T>,
        given: impl FnOnce(&Addresses) -> Option<&T>,
        start: impl FnOnce() -> Result<T, ServiceError>,
    ) -> Result<&'static T, &'static ServiceError> {
        let all = self.given.get_or_init(|| self.file.as_deref().map_or(Ok(Addresses::default()), Addresses::read)).as_ref()?;
        place.get_or_init(|| given(all).cloned().map_or_else(start, Ok)).as_ref()
    }
}

/// Keeps an engine until the process ends.
fn kept<T>(place: &'static OnceLock<T>, engine: T) -> &'static T {
    place.get_or_init(|| engine)
}
