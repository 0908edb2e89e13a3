//! The process that holds the engines: when it ends, in whatever way, their guards end them.

use std::io::Read;
use std::path::Path;
use std::thread;

use services::{Addresses, Kafka, KafkaOptions, Postgres, PostgresOptions, Redis, RedisCluster, ServiceError};

use crate::background::CommandError;
use crate::state::{ProcessId, State};

/// Starts all engines, writes their addresses, and holds them until it is killed.
pub(crate) fn until_killed(file: &Path, brokers: usize) -> Result<(), CommandError> {
    // A new session, so that closing the terminal does not end it. Fails only if it leads one already.
    let _ = rustix::process::setsid();
    let engines = Engines::start(brokers)?;
    engines.state().write(file)?;
    loop {
        thread::park();
    }
}

/// The same, until its stdin is closed.
pub(crate) fn until_input_ends(file: &Path) -> Result<(), CommandError> {
    let engines = Engines::start(1)?;
    engines.state().write(file)?;
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    // The process that should remove the file may be gone.
    let _ = std::fs::remove_file(file);
    Ok(())
}

struct Engines {
    kafka: Kafka,
    redis: Redis,
    redis_cluster: RedisCluster,
    postgres: Postgres,
}

impl Engines {
    /// All in parallel: each spends most of its start waiting.
    fn start(brokers: usize) -> Result<Self, ServiceError> {
        let postgres_options = PostgresOptions { connections_max: 300, ..PostgresOptions::default() };
        thread::scope(|scope| {
            let kafka = scope.spawn(|| Kafka::start(KafkaOptions { brokers, ..KafkaOptions::default() }));
            let redis_cluster = scope.spawn(RedisCluster::start);
            let postgres = scope.spawn(|| Postgres::start_with(&postgres_options));
            let redis = Redis::start();
            Ok(Self { kafka: joined(kafka)?, redis: redis?, redis_cluster: joined(redis_cluster)?, postgres: joined(postgres)? })
        })
    }

    fn state(&self) -> State {
        let ids = [self.redis.process_id(), self.postgres.process_id()].into_iter().flatten();
        let ids = ids.chain(self.kafka.process_ids()).chain(self.redis_cluster.process_ids());
        State {
            addresses: Addresses {
                kafka: Some(self.kafka.bootstrap()),
                redis: Some(self.redis.url()),
                redis_cluster: Some(self.redis_cluster.urls()),
                postgres: Some(self.postgres.url()),
            },
            holder: ProcessId::of(std::process::id()),
            processes: ids.filter_map(ProcessId::of).collect(),
            folders: [self.kafka.folder(), self.redis.folder(), self.redis_cluster.folder(), self.postgres.folder()]
                .map(Path::to_owned)
                .to_vec(),
        }
    }
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
