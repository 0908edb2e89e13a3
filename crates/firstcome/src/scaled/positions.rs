//! How far the tables are, as this process knows it, and whether what they have come to is what this
//! node has come to.

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

/// How often the tables are asked while nobody waits, and while somebody does.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_FOR_SOMEBODY: Duration = Duration::from_millis(10);

/// How far the tables are.
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

    /// Records whose effects are in the tables, over all partitions.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.known.borrow().iter().map(|position| position.offset_next).sum()
    }

    /// Whether the tables answered when they were last asked.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.is_reachable.load(Ordering::Relaxed)
    }

    /// Waits until the tables hold everything before these offsets; partitions without one do not
    /// matter.
    ///
    /// # Errors
    /// How many records are missing.
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

    /// Asks the tables now and then how far they are, and compares.
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

    /// Partitions that the tables do not know yet are at their beginning.
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

/// Counts somebody who waits, and has the tables asked at once.
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
