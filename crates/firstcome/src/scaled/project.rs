//! The projector: one process at a time applies the log to the tables.
//!
//! It has its own state, loaded from the copies beside the tables, and follows the log from there: so it does
//! not depend on the node in the same process, buffers nothing while the tables are unreachable, and its
//! digest can be compared with the node's. It skips decisions that are already in the tables. After any error
//! it starts again from the copies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster::kafka::{FollowError, Follower, KafkaSettings, OpenError, Pace, Sink};
use cluster::protocol::decided::DecidedRecords;
use cluster::protocol::replica::{Delivered, Fault, Replica};
use domain::hash::HashSeed;
use domain::wire::state::FrozenState;
use projection::postgres::{Decided, LoadError, PartitionPosition, Postgres, ProjectError, Projector, not_yet_in};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Projecting, position_of, replica_of};

/// Pause between attempts to become the projector.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How long decisions are collected before they are written.
const GATHER: Duration = Duration::from_millis(20);
/// Approximate number of decisions in one transaction.
const DECISIONS_MAX: usize = 5_000;
/// Batches queued between reading and writing; when the queue is full, reading waits.
const BATCHES_MAX: usize = 16;
/// Least time between two copies of a partition's state.
const COPY_EVERY: Duration = Duration::from_secs(60);
/// Pause after a copy, in multiples of its duration, during which no rows were written.
const COPY_REST_FACTOR: u32 = 50;
/// Records without a decision after which a copy is worthwhile; after a restart these only have to be read again.
const COPY_RECORDS: u64 = 100_000;
/// How often to check whether a copy is due.
const COPY_LOOK: Duration = Duration::from_secs(1);

/// The parts that the projector uses.
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

/// Decisions of one partition, and the position after them.
struct Batch {
    after: PartitionPosition,
    decided: DecidedRecords,
    /// The state at that position or an earlier one, if a copy was requested.
    copy: Option<StateCopy>,
}

/// A partition's state at a position.
struct StateCopy {
    at: PartitionPosition,
    state: FrozenState,
}

/// When a partition's state is copied.
struct Copying {
    /// Set by the writing task; cleared by the reading thread, which freezes the state.
    is_wanted: Arc<AtomicBool>,
    /// Whether a requested copy is still outstanding.
    is_awaited: bool,
    /// The position of the last copy.
    last: PartitionPosition,
    next: Instant,
}

impl Copying {
    /// The first copy is made at once, because other nodes may wait for one.
    fn new(last: PartitionPosition) -> Self {
        let next = if last.offset_next == 0 { Instant::now() } else { Instant::now() + COPY_EVERY };
        Self { is_wanted: Arc::default(), is_awaited: false, last, next }
    }

    /// Requests a copy if enough has changed since the last one.
    fn ask(&mut self, tables: &PartitionPosition, records_min: u64) {
        let records = tables.offset_next.saturating_sub(self.last.offset_next);
        if !self.is_awaited && (self.last.decisions < tables.decisions || records_min <= records) {
            self.is_awaited = true;
            self.is_wanted.store(true, Ordering::Relaxed);
        }
    }

    async fn store(&mut self, projector: &mut Projector, copy: StateCopy) -> Result<(), ProjectError> {
        let began = Instant::now();
        projector.store_copy(&copy.at, copy.state.sections()).await?;
        (self.is_awaited, self.last) = (false, copy.at);
        self.next = Instant::now() + COPY_EVERY.max(began.elapsed() * COPY_REST_FACTOR);
        Ok(())
    }
}

/// What to do after projecting ended.
enum Next {
    /// Try again.
    Again,
    /// Stop: the process is ending.
    Nothing,
}

/// Tries to become the projector, until the process ends.
pub(super) async fn run(parts: Parts) {
    loop {
        let outcome = begin(&parts).await;
        parts.state.is_at_work.store(false, Ordering::Relaxed);
        match outcome {
            Ok(Next::Again) => {}
            Ok(Next::Nothing) => return,
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
        tokio::select! {
            () = tokio::time::sleep(TRY_EVERY) => {}
            () = parts.state.ends.notified() => return,
        }
    }
}

/// Writes until an error occurs; returns at once while another process holds the lock.
async fn begin(parts: &Parts) -> Result<Next, ProjectingError> {
    let Some(mut projector) = Projector::try_begin(&parts.postgres).await? else { return Ok(Next::Again) };
    // Loaded only now, because the previous projector has stopped writing.
    let loaded = parts.postgres.load(parts.seed).await?;
    let mut positions: Vec<PartitionPosition> = loaded.iter().map(|loaded| loaded.tables.clone()).collect();
    let mut copying: Vec<Copying> = loaded.iter().map(|loaded| Copying::new(loaded.position.clone())).collect();
    let replicas = loaded.into_iter().map(|loaded| replica_of(loaded, parts.partitions, parts.seed)).collect::<Result<Vec<_>, Fault>>()?;
    let offsets: Vec<u64> = replicas.iter().map(Replica::offset_next).collect();
    let (sender, mut receiver) = mpsc::channel(BATCHES_MAX);
    let partitions = replicas.into_iter().zip(&copying).map(|(replica, copying)| {
        let copied = replica.offset_next();
        ReadPartition { replica, is_copy_wanted: Arc::clone(&copying.is_wanted), copied }
    });
    let reading = Reading { partitions: partitions.collect(), sender };
    // Joining its thread would block other tasks.
    let _follower = Detached(Some(Follower::start(&parts.kafka, &offsets, Pace::InBulk, reading)?));
    parts.state.is_at_work.store(true, Ordering::Relaxed);
    tracing::info!(?offsets, "this process writes the tables");
    let mut ticks = tokio::time::interval(COPY_LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_ending = false;
    loop {
        let first = tokio::select! {
            received = receiver.recv() => received,
            _ = ticks.tick() => {
                let due = copying.iter_mut().zip(&positions).filter(|(copying, _)| copying.next <= Instant::now());
                due.for_each(|(copying, tables)| copying.ask(tables, COPY_RECORDS));
                continue;
            }
            () = parts.state.ends.notified(), if !is_ending => {
                // A last copy shortens the next start, here or on another node.
                is_ending = true;
                copying.iter_mut().zip(&positions).for_each(|(copying, tables)| copying.ask(tables, 1));
                if copying.iter().all(|copying| !copying.is_awaited) {
                    return Ok(Next::Nothing);
                }
                continue;
            }
        };
        let Some(first) = first else { return Err(ProjectingError::Follow("its reader has ended".to_owned())) };
        for batch in gather(first?, &mut receiver).await? {
            // A batch comes from its partition's replica, and each partition has a position.
            let place = batch.after.partition as usize;
            write(&mut projector, &mut positions[place], &batch, &parts.state).await?;
            if let Some(copy) = batch.copy {
                copying[place].store(&mut projector, copy).await?;
            }
        }
        if is_ending && copying.iter().all(|copying| !copying.is_awaited) {
            return Ok(Next::Nothing);
        }
    }
}

/// Writes the part of a batch that is not in the tables yet.
async fn write(
    projector: &mut Projector,
    before: &mut PartitionPosition,
    batch: &Batch,
    state: &Projecting,
) -> Result<(), ProjectingError> {
    let decided: Vec<Decided<'_>> = batch.decided.iter().map(|(position, record)| Decided { position, record }).collect();
    let Some(rest) = not_yet_in(before, &batch.after, &decided)? else { return Ok(()) };
    projector.apply(before, &batch.after, rest).await?;
    state.has_conflict.store(false, Ordering::Relaxed);
    state.decisions_count.fetch_add(rest.len() as u64, Ordering::Relaxed);
    before.clone_from(&batch.after);
    Ok(())
}

/// Merges batches that arrive within a short time, by partition.
async fn gather(first: Batch, receiver: &mut mpsc::Receiver<Result<Batch, ProjectingError>>) -> Result<Vec<Batch>, ProjectingError> {
    let mut gathered = vec![first];
    let until = Instant::now() + GATHER;
    while gathered.iter().map(|batch| batch.decided.len()).sum::<usize>() < DECISIONS_MAX {
        let Ok(Some(next)) = tokio::time::timeout_at(until, receiver.recv()).await else { break };
        let next = next?;
        match gathered.iter_mut().find(|batch| batch.after.partition == next.after.partition) {
            Some(batch) => {
                batch.decided.append(&next.decided);
                batch.after = next.after;
                // A newer copy replaces an older one.
                batch.copy = next.copy.or(batch.copy.take());
            }
            None => gathered.push(next),
        }
    }
    Ok(gathered)
}

/// Applies the records that are read, and passes on the decisions.
struct Reading {
    partitions: Vec<ReadPartition>,
    sender: mpsc::Sender<Result<Batch, ProjectingError>>,
}

struct ReadPartition {
    replica: Replica,
    /// Whether a copy is requested.
    is_copy_wanted: Arc<AtomicBool>,
    /// The offset of the last copy. A projector that succeeds another one starts from the copies and is behind
    /// the tables at first: a copy made before it has read a record would only repeat the last one.
    copied: u64,
}

impl Sink for Reading {
    fn apply(&mut self, partition: u32, records: &[Delivered<'_>]) -> Result<(), FollowError> {
        let Ok(partitions) = u32::try_from(self.partitions.len()) else { panic!("a topic has fewer partitions than 2^32") };
        let read = self.partitions.get_mut(partition as usize).ok_or(Fault::UnknownPartition { partition, partitions })?;
        let replica = &mut read.replica;
        let mut decided = DecidedRecords::default();
        for record in records {
            replica.apply(record, &mut decided)?;
        }
        let batch = Batch { after: position_of(partition, &replica.progress()), decided, copy: None };
        pass(&self.sender, batch)
    }

    fn pause(&mut self) -> Result<(), FollowError> {
        for (partition, read) in (0..).zip(&mut self.partitions) {
            if read.copied < read.replica.offset_next() && read.is_copy_wanted.swap(false, Ordering::Relaxed) {
                let (progress, state) = read.replica.freeze();
                read.copied = progress.offset_next;
                let at = position_of(partition, &progress);
                pass(&self.sender, Batch { after: at.clone(), decided: DecidedRecords::default(), copy: Some(StateCopy { at, state }) })?;
            }
        }
        Ok(())
    }

    fn ended(&mut self, outcome: Result<(), FollowError>) {
        if let Err(error) = outcome {
            let _ = self.sender.try_send(Err(ProjectingError::Follow(error.to_string())));
        }
    }
}

fn pass(sender: &mpsc::Sender<Result<Batch, ProjectingError>>, batch: Batch) -> Result<(), FollowError> {
    sender.blocking_send(Ok(batch)).map_err(|_| FollowError::Sink("nobody writes any more".to_owned()))
}

/// Ends a follower on a thread where blocking is allowed.
struct Detached(Option<Follower>);

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(follower) = self.0.take() {
            follower.stop();
            tokio::task::spawn_blocking(move || drop(follower));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::protocol::record::{Body, Genesis, LogId, LogRecord, NodeId, Origin, RULES_KNOWN, Routing, encode};
    use cluster::protocol::replica::Topology;
    use domain::types::Timestamp;

    /// The database refuses a copy of nothing, and the projector would begin anew each second.
    #[test]
    fn a_partition_of_which_nothing_was_read_since_the_last_copy_is_not_copied() {
        let (sender, mut receiver) = mpsc::channel(4);
        let wanted = Arc::new(AtomicBool::new(true));
        let replica = Replica::new(Topology { partition: 0, partitions: 1 }, RULES_KNOWN, HashSeed(1, 2));
        let read = ReadPartition { replica, is_copy_wanted: Arc::clone(&wanted), copied: 0 };
        let mut reading = Reading { partitions: vec![read], sender };
        let mut copies = |reading: &mut Reading| {
            reading.pause().unwrap();
            std::iter::from_fn(|| receiver.try_recv().ok())
                .filter_map(|batch| batch.unwrap().copy)
                .map(|copy| copy.at.offset_next)
                .collect()
        };
        let none: Vec<u64> = copies(&mut reading);
        assert_eq!((none, wanted.load(Ordering::Relaxed)), (Vec::new(), true));
        let genesis = Body::Genesis(Genesis { log: LogId([7; 16]), partitions: 1, rules: RULES_KNOWN });
        let record = LogRecord {
            origin: Origin { node: NodeId(1), sequence: 0 },
            sent_at: Timestamp::MAX,
            routing: Routing::Partition(0),
            body: genesis,
        };
        reading.apply(0, &[Delivered { offset: 0, at: Timestamp::default(), bytes: &encode(&record) }]).unwrap();
        assert_eq!(copies(&mut reading), [1]);
        wanted.store(true, Ordering::Relaxed);
        assert!(copies(&mut reading).is_empty());
    }
}
