//! The tables' positions as last read by this process, and a comparison of their digests with this node's.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cluster::kafka::KafkaLog;
use cluster::protocol::node::Node;
use cluster::redis::RedisGate;
use projection::postgres::{PartitionPosition, Postgres};
use tokio::sync::{Notify, watch};

use super::progress_of;

/// How often the positions are read while no request waits, and while one does.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_FOR_SOMEBODY: Duration = Duration::from_millis(10);

/// The positions of the tables.
#[derive(Debug)]
pub struct Positions {
    known: watch::Sender<Vec<PartitionPosition>>,
    waiting_count: AtomicUsize,
    wake: Notify,
    is_reachable: AtomicBool,
}

impl Positions {
    pub(super) fn new(partitions: u32) -> Self {
        let known = watch::Sender::new((0..partitions).map(PartitionPosition::first).collect());
        Self { known, waiting_count: AtomicUsize::new(0), wake: Notify::new(), is_reachable: AtomicBool::new(true) }
    }

    /// Decisions in the tables, over all partitions.
    #[must_use]
    pub fn decisions(&self) -> u64 {
        self.known.borrow().iter().map(|position| position.decisions).sum()
    }

    /// Records applied to the tables, over all partitions.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.known.borrow().iter().map(|position| position.offset_next).sum()
    }

    /// Whether the last read of the positions succeeded.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.is_reachable.load(Ordering::Relaxed)
    }

    /// Waits until the tables hold everything before these offsets; partitions without one are ignored.
    ///
    /// # Errors
    /// The number of missing records.
    pub async fn wait_for(&self, wanted: &[(u32, u64)], at_most: Duration) -> Result<(), u64> {
        let _waiting = Waiting::new(self);
        let mut known = self.known.subscribe();
        let missing = |positions: &Vec<PartitionPosition>| -> u64 {
            let behind = |(partition, offset): &(u32, u64)| {
                positions.get(*partition as usize).map_or(0, |position| offset.saturating_sub(position.offset_next))
            };
            wanted.iter().map(behind).sum()
        };
        let reached = tokio::time::timeout(at_most, known.wait_for(|positions| missing(positions) == 0)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(missing(&self.known.borrow())),
        }
    }

    /// Reads the positions periodically, and compares the digests.
    pub(super) async fn follow(self: Arc<Self>, postgres: Postgres, node: Arc<Node<KafkaLog, RedisGate>>, failure: Arc<OnceLock<String>>) {
        loop {
            match postgres.positions().await {
                Ok(positions) => {
                    self.is_reachable.store(true, Ordering::Relaxed);
                    if let Err(fault) = compare(&node, &positions) {
                        tracing::error!(%fault, "stopping: this node has come to something else than the one that writes the tables");
                        let _ = failure.set(fault);
                        node.fail();
                        return;
                    }
                    self.take(positions);
                }
                Err(error) => {
                    if self.is_reachable.swap(false, Ordering::Relaxed) {
                        tracing::warn!(%error, "the tables do not answer; claims go on, lists do not");
                    }
                }
            }
            let wakes = self.wake.notified();
            if self.waiting_count.load(Ordering::Relaxed) == 0 {
                let _ = tokio::time::timeout(LOOK, wakes).await;
            } else {
                tokio::time::sleep(LOOK_FOR_SOMEBODY).await;
            }
        }
    }

    /// A partition that the tables do not contain yet is at its beginning.
    fn take(&self, positions: Vec<PartitionPosition>) {
        self.known.send_modify(|known| {
            for position in positions {
                if let Some(place) = known.get_mut(position.partition as usize) {
                    *place = position;
                }
            }
        });
    }
}

fn compare(node: &Node<KafkaLog, RedisGate>, positions: &[PartitionPosition]) -> Result<(), String> {
    for position in positions {
        if let Some(progress) = progress_of(position).map_err(|fault| fault.to_string())? {
            node.compare(position.partition, &progress).map_err(|fault| fault.to_string())?;
        }
    }
    Ok(())
}

/// Counts a waiting request, and triggers a read at once.
struct Waiting<'a>(&'a Positions);

impl<'a> Waiting<'a> {
    fn new(positions: &'a Positions) -> Self {
        positions.waiting_count.fetch_add(1, Ordering::Relaxed);
        positions.wake.notify_one();
        Self(positions)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting_count.fetch_sub(1, Ordering::Relaxed);
    }
}
