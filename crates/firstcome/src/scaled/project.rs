//! The projector: one process at a time brings the tables after the log.
//!
//! It has a state of its own, read from the tables that it is about to write, and follows the log
//! from their position on: so it needs nothing from the node beside it, keeps nothing while the
//! tables are away, and what the two have come to can be compared. Whatever goes wrong, it begins
//! again from the tables.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster::kafka::{FollowError, Follower, KafkaSettings, OpenError, Pace, Sink};
use cluster::protocol::decided::DecidedRecords;
use cluster::protocol::replica::{Delivered, Fault, Replica};
use domain::hash::HashSeed;
use projection::postgres::{Decided, LoadError, PartitionPosition, Postgres, ProjectError, Projector};
use tokio::sync::mpsc;

use super::{Projecting, position_of, replica_of};

/// Between two tries to become the projector.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How long what is decided gathers before it is written.
const GATHER: Duration = Duration::from_millis(20);
/// Decisions that are written in one transaction, about.
const DECISIONS_MAX: usize = 5_000;
/// Batches between reading and writing; reading waits for more than that.
const BATCHES_MAX: usize = 16;

/// What the projector is made of.
pub(super) struct Parts {
    pub(super) kafka: KafkaSettings,
    pub(super) postgres: Postgres,
    pub(super) partitions: u32,
    pub(super) seed: HashSeed,
    pub(super) state: Arc<Projecting>,
}

/// Why projecting ended.
#[derive(Debug, thiserror::Error)]
enum ProjectingError {
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Kafka(#[from] OpenError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("the log is not read any more: {0}")]
    Follow(String),
}

/// Some decisions of one partition, and how far it is with them.
struct Batch {
    after: PartitionPosition,
    decided: DecidedRecords,
}

/// Tries to become the projector, for ever.
pub(super) async fn run(parts: Parts) {
    loop {
        let outcome = begin(&parts).await;
        parts.state.is_at_work.store(false, Ordering::Relaxed);
        match outcome {
            Ok(()) => {}
            Err(ProjectingError::Project(error @ ProjectError::Conflict { .. })) => {
                parts.state.failures_count.fetch_add(1, Ordering::Relaxed);
                if !parts.state.has_conflict.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "the tables contradict the record of decisions, which must never happen; nothing is written to them");
                }
            }
            Err(error) => {
                parts.state.failures_count.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "the tables are not written from here for now");
            }
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Writes until something goes wrong; at once done while another process writes.
async fn begin(parts: &Parts) -> Result<(), ProjectingError> {
    let Some(mut projector) = Projector::try_begin(&parts.postgres).await? else { return Ok(()) };
    // Only now: whoever wrote before has ended.
    let loaded = parts.postgres.load(parts.seed).await?;
    let mut positions: Vec<PartitionPosition> = loaded.iter().map(|loaded| loaded.position.clone()).collect();
    let replicas = loaded.into_iter().map(|loaded| replica_of(loaded, parts.partitions, parts.seed)).collect::<Result<Vec<_>, Fault>>()?;
    let offsets: Vec<u64> = replicas.iter().map(Replica::offset_next).collect();
    let (sender, mut receiver) = mpsc::channel(BATCHES_MAX);
    let follower = Follower::start(&parts.kafka, &offsets, Pace::InBulk, Reading { replicas, partitions: parts.partitions, sender })?;
    // Waiting for its thread must not keep others from running.
    let follower = Detached(Some(follower));
    parts.state.is_at_work.store(true, Ordering::Relaxed);
    tracing::info!(?offsets, "this process writes the tables");
    while let Some(first) = receiver.recv().await {
        let gathered = gather(first?, &mut receiver).await?;
        for batch in gathered {
            // A batch comes from the replica of its partition, and there is a position for each.
            let before = &mut positions[batch.after.partition as usize];
            let decided: Vec<Decided<'_>> =
                batch.decided.iter().map(|(position, record, remembered)| Decided { position, record, remembered }).collect();
            projector.apply(before, &batch.after, &decided).await?;
            parts.state.has_conflict.store(false, Ordering::Relaxed);
            parts.state.decisions_count.fetch_add(decided.len() as u64, Ordering::Relaxed);
            *before = batch.after.clone();
        }
    }
    drop(follower);
    Err(ProjectingError::Follow("its reader has ended".to_owned()))
}

/// What comes within a moment goes together, partition by partition.
async fn gather(first: Batch, receiver: &mut mpsc::Receiver<Result<Batch, ProjectingError>>) -> Result<Vec<Batch>, ProjectingError> {
    let mut gathered = vec![first];
    let until = tokio::time::Instant::now() + GATHER;
    while gathered.iter().map(|batch| batch.decided.len()).sum::<usize>() < DECISIONS_MAX {
        let Ok(Some(next)) = tokio::time::timeout_at(until, receiver.recv()).await else { break };
        let next = next?;
        match gathered.iter_mut().find(|batch| batch.after.partition == next.after.partition) {
            Some(batch) => {
                batch.decided.append(&next.decided);
                batch.after = next.after;
            }
            None => gathered.push(next),
        }
    }
    Ok(gathered)
}

/// Applies what is read, and passes on what was decided.
struct Reading {
    replicas: Vec<Replica>,
    partitions: u32,
    sender: mpsc::Sender<Result<Batch, ProjectingError>>,
}

impl Sink for Reading {
    fn apply(&mut self, partition: u32, records: &[Delivered<'_>]) -> Result<(), FollowError> {
        let partitions = self.partitions;
        let replica = self.replicas.get_mut(partition as usize).ok_or(Fault::UnknownPartition { partition, partitions })?;
        let mut decided = DecidedRecords::default();
        for record in records {
            replica.apply(record, &mut decided)?;
        }
        let batch = Batch { after: position_of(partition, &replica.progress()), decided };
        self.sender.blocking_send(Ok(batch)).map_err(|_| FollowError::Sink("nobody writes any more".to_owned()))
    }

    fn ended(&mut self, outcome: Result<(), FollowError>) {
        if let Err(error) = outcome {
            let _ = self.sender.try_send(Err(ProjectingError::Follow(error.to_string())));
        }
    }
}

/// Ends a follower on a thread where waiting disturbs nobody.
struct Detached(Option<Follower>);

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(follower) = self.0.take() {
            follower.stop();
            tokio::task::spawn_blocking(move || drop(follower));
        }
    }
}
