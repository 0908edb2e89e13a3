//! The engines: their addresses and settings, and a separate place in each for one strategy.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::Serialize;

use super::about::{About, DurableBy};
use super::error::LabError;
use super::tools::random;
use super::{kafka, postgres};

/// The variable that names the file written by `cargo xtask services up`.
const FILE_VARIABLE: &str = "FIRSTCOME_SERVICES";

/// The engines' addresses; each may be missing.
#[derive(Clone, Debug, Default)]
pub struct Engines {
    /// `postgres://…` of a user that may create databases.
    pub postgres: Option<String>,
    /// `redis://…`
    pub redis: Option<String>,
    /// `host:port` of each broker, separated by commas.
    pub kafka: Option<String>,
}

impl Engines {
    /// Fills missing addresses with the engines started by `cargo xtask services up`, read from the file that
    /// `FIRSTCOME_SERVICES` names, or from the one in this program's target folder.
    ///
    /// # Errors
    /// [`LabError::Addresses`] if that file cannot be read.
    pub fn or_started(self) -> Result<Self, LabError> {
        let Some(file) = file_of_services() else { return Ok(self) };
        let text = std::fs::read_to_string(&file);
        let text = text.map_err(|error| LabError::Addresses { file: file.display().to_string(), why: error.to_string() })?;
        Ok(self.or_in(&text))
    }

    fn or_in(self, text: &str) -> Self {
        let value = |name: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
        };
        Self {
            postgres: self.postgres.or_else(|| value("postgres")),
            redis: self.redis.or_else(|| value("redis")),
            kafka: self.kafka.or_else(|| value("kafka")),
        }
    }

    /// Checks that every engine needed by these strategies has an address.
    pub(crate) fn check(&self, strategies: &[&'static About]) -> Result<(), LabError> {
        let all = [("PostgreSQL", "--postgres", &self.postgres), ("Redis", "--redis", &self.redis), ("Kafka", "--kafka", &self.kafka)];
        for (engine, flag, place) in all {
            if let (None, Some(about)) = (place, strategies.iter().find(|about| about.needs(engine))) {
                return Err(LabError::NoEngine { strategy: about.name, engine, flag });
            }
        }
        Ok(())
    }

    /// The engines' settings that affect durability.
    ///
    /// # Errors
    /// [`LabError::Engine`] if one does not respond.
    pub(crate) async fn settings(&self, strategies: &[&'static About]) -> Result<EngineSettings, LabError> {
        let is_needed = |engine: &str| strategies.iter().any(|about| about.needs(engine));
        let mut settings = EngineSettings::default();
        if let Some(url) = self.postgres.as_ref().filter(|_| is_needed("PostgreSQL")) {
            settings.postgres_fsync = postgres::once(url, "SHOW fsync").await?.pop();
            settings.postgres_synchronous_commit = postgres::once(url, "SHOW synchronous_commit").await?.pop();
            settings.postgres_version = postgres::once(url, "SHOW server_version").await?.pop();
        }
        if let Some(url) = self.redis.as_ref().filter(|_| is_needed("Redis")) {
            let mut redis = redis_connection(url).await?;
            settings.redis_appendonly = redis_setting(&mut redis, "appendonly").await;
            settings.redis_appendfsync = redis_setting(&mut redis, "appendfsync").await;
        }
        if let Some(hosts) = self.kafka.as_ref().filter(|_| is_needed("Kafka")) {
            settings.kafka_brokers = Some(kafka::brokers(hosts).await?);
        }
        Ok(settings)
    }
}

/// The file in which `cargo xtask services up` lists its engines, if they are running.
fn file_of_services() -> Option<PathBuf> {
    if let Some(file) = std::env::var_os(FILE_VARIABLE) {
        return Some(file.into());
    }
    // This program is in target/release, or a test in target/release/deps.
    let program = std::env::current_exe().ok()?;
    let beside = |target: &Path| target.join("services").join("state");
    program.ancestors().skip(2).take(2).map(beside).find(|file| file.is_file())
}

async fn redis_connection(url: &str) -> Result<redis::aio::MultiplexedConnection, LabError> {
    let failed = |error: redis::RedisError| LabError::Engine { engine: "Redis (--redis)".to_owned(), why: error.to_string() };
    redis::Client::open(url).map_err(failed)?.get_multiplexed_async_connection().await.map_err(failed)
}

/// `None` if the user is not allowed to ask.
async fn redis_setting(redis: &mut redis::aio::MultiplexedConnection, name: &str) -> Option<String> {
    let asked: Result<Vec<String>, _> = redis::cmd("CONFIG").arg("GET").arg(name).query_async(redis).await;
    asked.ok()?.pop()
}

/// The engines' settings; unneeded and unknown ones are omitted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EngineSettings {
    pub(crate) postgres_version: Option<String>,
    pub(crate) postgres_fsync: Option<String>,
    pub(crate) postgres_synchronous_commit: Option<String>,
    pub(crate) redis_appendonly: Option<String>,
    pub(crate) redis_appendfsync: Option<String>,
    pub(crate) kafka_brokers: Option<usize>,
}

/// Whether an acknowledged success survives a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Durable {
    /// It may be lost at any time.
    #[serde(rename = "no")]
    No,
    /// A success of the last second may be lost.
    #[serde(rename = "1 s window")]
    OneSecond,
    /// It survives.
    #[serde(rename = "yes")]
    Yes,
}

impl Durable {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Durable::No => "no",
            Durable::OneSecond => "1 s window",
            Durable::Yes => "yes",
        }
    }
}

impl EngineSettings {
    /// The durability of a success with these engine settings, and the reason.
    pub(crate) fn durable(&self, by: DurableBy) -> (Durable, String) {
        match by {
            DurableBy::Postgres => self.by_postgres(),
            DurableBy::Kafka => self.by_kafka(),
            DurableBy::Journal => (Durable::Yes, "the journal is synced before the answer".to_owned()),
            DurableBy::RedisAndKafka => {
                let (redis, of_redis) = self.by_redis();
                let (kafka, of_kafka) = self.by_kafka();
                (redis.min(kafka), format!("{of_redis}; {of_kafka}"))
            }
        }
    }

    fn by_postgres(&self) -> (Durable, String) {
        let (fsync, commit) = (self.postgres_fsync.as_deref(), self.postgres_synchronous_commit.as_deref());
        let why = format!("PostgreSQL has fsync {}, synchronous_commit {}", fsync.unwrap_or("unknown"), commit.unwrap_or("unknown"));
        let is_synced = fsync == Some("on") && commit.is_some_and(|commit| commit != "off");
        (if is_synced { Durable::Yes } else { Durable::No }, why)
    }

    fn by_redis(&self) -> (Durable, String) {
        let (file, sync) = (self.redis_appendonly.as_deref(), self.redis_appendfsync.as_deref());
        let why = format!("Redis has appendonly {}, appendfsync {}", file.unwrap_or("unknown"), sync.unwrap_or("unknown"));
        let durable = match (file, sync) {
            (Some("yes"), Some("always")) => Durable::Yes,
            (Some("yes"), Some("everysec")) => Durable::OneSecond,
            _ => Durable::No,
        };
        (durable, why)
    }

    fn by_kafka(&self) -> (Durable, String) {
        match self.kafka_brokers {
            Some(brokers) if 3 <= brokers => {
                (Durable::Yes, "Kafka has three brokers, two of which have a record before it counts".to_owned())
            }
            Some(_) | None => (Durable::No, "Kafka has one broker, which does not sync".to_owned()),
        }
    }

    /// A line of text for people.
    pub(crate) fn words(&self) -> String {
        let mut words = Vec::new();
        if let Some(version) = &self.postgres_version {
            words.push(format!("PostgreSQL {version}: {}", self.by_postgres().1.trim_start_matches("PostgreSQL has ")));
        }
        if self.redis_appendonly.is_some() {
            words.push(self.by_redis().1.replace(" has", ":"));
        }
        if let Some(brokers) = self.kafka_brokers {
            words.push(format!("Kafka: {brokers} {}", if brokers == 1 { "broker" } else { "brokers" }));
        }
        if words.is_empty() { "none needed".to_owned() } else { words.join("; ") }
    }
}

/// A separate place in each engine: a database, a topic, a prefix of keys.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    /// The URL of the new database.
    pub(crate) postgres: Option<String>,
    pub(crate) redis: Option<String>,
    pub(crate) kafka: Option<String>,
    server: Option<String>,
}

/// All existing places, so that every one is removed however a run ends.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<Vec<Place>>);

impl Places {
    /// Creates a place, with these tables in its database.
    pub(crate) async fn make(&self, engines: &Engines, about: &About, tables: &str) -> Result<Place, LabError> {
        let place = Place::new(engines, about);
        self.0.lock().push(place.clone());
        place.fill(tables).await?;
        Ok(place)
    }

    /// Removes all places.
    pub(crate) async fn remove_all(&self) -> Result<(), LabError> {
        let places = std::mem::take(&mut *self.0.lock());
        for place in places {
            place.remove().await?;
        }
        Ok(())
    }
}

impl Place {
    /// Names a place without creating anything.
    fn new(engines: &Engines, about: &About) -> Self {
        let name = format!("lab_{}_{}", about.name, random());
        let server = engines.postgres.clone().filter(|_| about.needs("PostgreSQL"));
        let postgres = server.as_ref().map(|url| postgres::with_database(url, &name));
        let redis = engines.redis.clone().filter(|_| about.needs("Redis"));
        let kafka = engines.kafka.clone().filter(|_| about.needs("Kafka"));
        Self { name, postgres, redis, kafka, server }
    }

    async fn fill(&self, tables: &str) -> Result<(), LabError> {
        let (Some(server), Some(own)) = (&self.server, &self.postgres) else { return Ok(()) };
        postgres::once(server, &format!("CREATE DATABASE {} TEMPLATE template0", self.name)).await?;
        if !tables.is_empty() {
            postgres::once(own, tables).await?;
        }
        Ok(())
    }

    /// Removes the place's database, topic and keys.
    async fn remove(&self) -> Result<(), LabError> {
        if let Some(url) = &self.server {
            postgres::once(url, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await?;
        }
        if let Some(hosts) = &self.kafka {
            kafka::remove(hosts, &self.name).await?;
        }
        if let Some(url) = &self.redis {
            let failed = |error: redis::RedisError| LabError::other("Redis")(&error);
            let mut redis = redis_connection(url).await?;
            let mut cursor: u64 = 0;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(format!("{}:*", self.name)).arg("COUNT").arg(1_000);
                let (next, keys): (u64, Vec<String>) = scan.query_async(&mut redis).await.map_err(failed)?;
                for key in keys {
                    redis::cmd("UNLINK").arg(key).exec_async(&mut redis).await.map_err(failed)?;
                }
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_wins_over_what_was_started() {
        let typed = Engines { redis: Some("redis://mine".to_owned()), ..Engines::default() };
        let engines = typed.or_in("kafka=a:1,b:2\nredis=redis://theirs\npostgres=postgres://u:p=w@h/d\nholder=1:2\n");
        assert_eq!(engines.redis.as_deref(), Some("redis://mine"));
        assert_eq!(engines.kafka.as_deref(), Some("a:1,b:2"));
        assert_eq!(engines.postgres.as_deref(), Some("postgres://u:p=w@h/d"));
    }

    #[test]
    fn a_yes_is_as_durable_as_the_weakest_engine_that_it_rests_on() {
        let on = |text: &str| Some(text.to_owned());
        let mut settings = EngineSettings {
            postgres_fsync: on("on"),
            postgres_synchronous_commit: on("on"),
            redis_appendonly: on("yes"),
            redis_appendfsync: on("everysec"),
            kafka_brokers: Some(3),
            ..EngineSettings::default()
        };
        let durable = |settings: &EngineSettings, by| settings.durable(by).0;
        assert_eq!(durable(&settings, DurableBy::Postgres), Durable::Yes);
        assert_eq!(durable(&settings, DurableBy::RedisAndKafka), Durable::OneSecond);
        settings.kafka_brokers = Some(1);
        assert_eq!(durable(&settings, DurableBy::RedisAndKafka), Durable::No);
        settings.postgres_synchronous_commit = on("off");
        assert_eq!(durable(&settings, DurableBy::Postgres), Durable::No);
        assert_eq!(durable(&EngineSettings::default(), DurableBy::Postgres), Durable::No);
    }
}
