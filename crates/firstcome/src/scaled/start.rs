//! Where a node starts to read the log: at its own snapshots, at the copies of the state in PostgreSQL, or at
//! the beginning. All three lead to the same state; they differ in how much of the log is left to read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::kafka::KafkaLog;
use cluster::protocol::limits::KEEP_EVERY;
use cluster::protocol::node::Node;
use cluster::protocol::record::{LogId, RULES_KNOWN};
use cluster::protocol::replica::Replica;
use cluster::redis::RedisGate;
use cluster::snapshots::{Resumed, Snapshots};
use domain::hash::HashSeed;
use journal::storage::FileStorage;
use projection::postgres::Postgres;

use super::{ScaledError, replica_of};

/// The node's own snapshots, in its data folder.
#[derive(Debug)]
pub(super) struct OwnSnapshots {
    snapshots: Snapshots<FileStorage>,
    /// The offset of each partition's newest snapshot.
    written: Vec<AtomicU64>,
    /// Held by the process that writes the snapshots.
    lock: Option<File>,
}

impl OwnSnapshots {
    /// Opens the snapshots of a data folder. Of several servers that share the folder, the first one writes
    /// them; the others only start from them.
    pub(super) fn open(data: &Path, log: LogId, partitions: u32) -> io::Result<Self> {
        let snapshots = Snapshots::open(data, log, partitions)?;
        let lock = data.join("log-snapshots").join("lock");
        let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(lock)?;
        let lock = match lock.try_lock() {
            Ok(()) => Some(lock),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        let written = (0..partitions).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { snapshots, written, lock })
    }

    /// A replica of each partition, at its newest snapshot or at the beginning.
    fn resume(&self, seed: HashSeed) -> io::Result<Vec<Replica>> {
        let resumed = (0..).zip(&self.written).map(|(partition, written)| {
            let Resumed { replica, refused } = self.snapshots.resume(partition, RULES_KNOWN, seed)?;
            for (offset, why) in refused {
                tracing::warn!(partition, offset, %why, "a snapshot cannot be used; the log alone is enough");
            }
            written.store(replica.offset_next(), Ordering::Relaxed);
            Ok(replica)
        });
        resumed.collect()
    }

    /// Writes a snapshot of each partition that has applied at least `records_min` records since the last
    /// one. A failed node writes none: its state may be wrong.
    pub(super) fn write(&self, node: &Node<KafkaLog, RedisGate>, records_min: u64) {
        if self.lock.is_none() {
            return;
        }
        for ((partition, written), progress) in (0..).zip(&self.written).zip(node.progress()) {
            let records = progress.offset_next.saturating_sub(written.load(Ordering::Relaxed));
            if records < records_min.max(1) || node.has_failed() {
                continue;
            }
            let frozen = node.freeze(partition);
            match self.snapshots.write(partition, &frozen) {
                Ok(()) => written.store(frozen.0.offset_next, Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, partition, "cannot write a snapshot; the log alone is enough"),
            }
        }
    }
}

/// A replica of each partition: from the node's own snapshot, else from the copy in the tables,
/// else at the beginning.
pub(super) async fn replicas(
    own: &Arc<OwnSnapshots>,
    postgres: &Postgres,
    partitions: u32,
    seed: HashSeed,
) -> Result<Vec<Replica>, ScaledError> {
    let reading = Arc::clone(own);
    let resumed = tokio::task::spawn_blocking(move || reading.resume(seed)).await.map_err(io::Error::from)??;
    if resumed.iter().all(|replica| 0 < replica.offset_next()) {
        return Ok(resumed);
    }
    let copies = postgres.load(seed).await?;
    let copies = copies.into_iter().map(|loaded| Ok(replica_of(loaded, partitions, seed)?)).collect::<Result<Vec<_>, ScaledError>>()?;
    let further = |own: Replica, copy: Replica| if own.offset_next() < copy.offset_next() { copy } else { own };
    Ok(resumed.into_iter().zip(copies).map(|(own, copy)| further(own, copy)).collect())
}

/// Writes snapshots while the node runs.
pub(super) async fn keep(own: Arc<OwnSnapshots>, node: Arc<Node<KafkaLog, RedisGate>>, records_min: u64) {
    let mut ticks = tokio::time::interval(KEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (own, node) = (Arc::clone(&own), Arc::clone(&node));
        if let Err(error) = tokio::task::spawn_blocking(move || own.write(&node, records_min)).await {
            tracing::error!(%error, "a snapshot broke off");
        }
    }
}
