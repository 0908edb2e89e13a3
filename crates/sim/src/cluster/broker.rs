//! The log, and the network between it and the nodes. An append takes time, may fail silently, may happen late, or
//! twice; a new leader may lack records that were not replicated, and has its own clock. Committed records stay.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::protocol::node::{Full, Log};
use cluster::protocol::record::{Body, LogRecord, Origin, decode, encode};
use domain::coupon::{Command as Of, Coupon, TargetBy};
use domain::state::{Action, Step};
use domain::types::Timestamp;
use domain::workload::AnyCommand;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::counts::Rare;
use super::dice::{Dice, Signal};
use super::judge::Judge;
use super::plant::Plant;
use super::trouble::Trouble;
use crate::world::time;

/// The broker's time at the start of a run.
pub const EPOCH_MS: u64 = 1_700_000_000_000;
/// Capacity for records in transit from one node to one partition, for each process.
const QUEUE_MAX: [usize; 2] = [60, 2_000];
/// How long a client tries to deliver a record.
const DELIVERY: Duration = Duration::from_secs(5);

/// A record as stored in the log.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The broker's time of the record.
    pub at: u64,
    /// The record's bytes.
    pub bytes: Arc<[u8]>,
}

#[derive(Debug)]
struct Partition {
    records: Vec<Stored>,
    leader_from: Instant,
    skew_ms: i64,
    committed: Arc<Signal<usize>>,
}

/// All partitions and their leaders.
#[derive(Debug)]
pub struct Broker {
    dice: Dice,
    began: Instant,
    trouble: Arc<Trouble>,
    judge: Arc<Mutex<Judge>>,
    partitions: Vec<Mutex<Partition>>,
}

impl Broker {
    /// An empty log.
    #[must_use]
    pub fn new(dice: Dice, partitions: u32, trouble: Arc<Trouble>, judge: Arc<Mutex<Judge>>) -> Arc<Self> {
        let began = Instant::now();
        let partition = |_| Mutex::new(Partition { records: Vec::new(), leader_from: began, skew_ms: 0, committed: Arc::default() });
        Arc::new(Self { dice, began, trouble, judge, partitions: (0..partitions).map(partition).collect() })
    }

    /// The number of partitions.
    #[must_use]
    pub fn partitions_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(0)
    }

    /// The number of committed records, as a value that can be waited for.
    #[must_use]
    pub fn follow(&self, partition: u32) -> Arc<Signal<usize>> {
        Arc::clone(&self.partitions[partition as usize].lock().committed)
    }

    /// Up to `count` committed records, starting at `from`.
    #[must_use]
    pub fn read(&self, partition: u32, from: usize, count: usize) -> Vec<Stored> {
        let place = self.partitions[partition as usize].lock();
        let committed = place.committed.get();
        place.records[from.min(committed)..(from + count).min(committed)].to_vec()
    }

    /// The correct wall time, in milliseconds.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        EPOCH_MS + u64::try_from(self.began.elapsed().as_millis()).unwrap_or(0)
    }

    /// The time on the clock of a partition's leader.
    #[must_use]
    pub fn clock_ms(&self, partition: u32) -> u64 {
        self.shown_to(&self.partitions[partition as usize].lock())
    }

    fn shown_to(&self, leader: &Partition) -> u64 {
        self.wall_ms().saturating_add_signed(leader.skew_ms)
    }

    /// Appends records and commits them. If the caller is cancelled in between, they are committed with the
    /// next ones, or lost with a leader.
    pub async fn append(&self, partition: u32, batch: Vec<Arc<[u8]>>) {
        let place = &self.partitions[partition as usize];
        loop {
            let leader_from = place.lock().leader_from;
            if leader_from <= Instant::now() {
                break;
            }
            sleep_until(leader_from).await;
        }
        let target = {
            let mut place = place.lock();
            let at = self.shown_to(&place);
            place.records.extend(batch.into_iter().map(|bytes| Stored { at, bytes }));
            place.records.len()
        };
        sleep(self.dice.millis(0, 4)).await;
        self.commit(partition, target);
    }

    fn commit(&self, partition: u32, target: usize) {
        let place = self.partitions[partition as usize].lock();
        let (from, target) = (place.committed.get(), target.min(place.records.len()));
        let mut judge = self.judge.lock();
        for stored in place.records.iter().take(target).skip(from) {
            judge.commit(partition, stored.at, &stored.bytes);
        }
        place.committed.set(target.max(from));
    }

    /// Moves a partition to another leader, after a while.
    pub fn change_leader(&self, partition: u32) {
        let mut place = self.partitions[partition as usize].lock();
        let committed = place.committed.get();
        if committed < place.records.len() && self.dice.one_in(2) {
            place.records.truncate(committed);
            self.trouble.saw(Rare::TailLost);
        }
        place.leader_from = Instant::now() + self.dice.millis(20, 2_500);
        self.set_clock(&mut place);
    }

    fn set_clock(&self, place: &mut Partition) {
        let before = place.skew_ms;
        place.skew_ms = match self.dice.below(8) {
            0 => 3_600_000,
            1 | 2 => -i64::try_from(self.dice.below(60_000)).unwrap_or(0),
            _ => i64::try_from(self.dice.below(200)).unwrap_or(0),
        };
        if place.skew_ms < before {
            self.trouble.saw(Rare::ClockWentBack);
        }
        if place.skew_ms == 3_600_000 {
            self.trouble.saw(Rare::ClockAhead);
        }
    }
}

/// The connection of one process to the log.
#[derive(Debug)]
pub struct Wire {
    broker: Arc<Broker>,
    dice: Dice,
    trouble: Arc<Trouble>,
    judge: Arc<Mutex<Judge>>,
    /// Whether the connection is currently cut.
    is_cut: Arc<Signal<bool>>,
    queues: Vec<Queue>,
    queue_max: usize,
    /// The index of the process among those running at once.
    place: usize,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<(Instant, Arc<[u8]>)>>,
    filled: Notify,
    /// The last barrier of the process, for plants.
    barrier: AtomicU64,
    barrier_came: Notify,
}

impl Wire {
    /// A connection for a process.
    #[must_use]
    pub fn new(
        broker: &Arc<Broker>,
        dice: Dice,
        trouble: &Arc<Trouble>,
        judge: &Arc<Mutex<Judge>>,
        is_cut: Arc<Signal<bool>>,
        place: usize,
    ) -> Self {
        let queues = (0..broker.partitions_count()).map(|_| Queue::default()).collect();
        let queue_max = dice.pick(&QUEUE_MAX);
        Self { queue_max, broker: Arc::clone(broker), dice, trouble: Arc::clone(trouble), judge: Arc::clone(judge), is_cut, queues, place }
    }

    /// Delivers the process's records to one partition; never returns.
    pub async fn carry(&self, partition: u32) {
        let queue = &self.queues[partition as usize];
        loop {
            let batch: Vec<_> = queue.waiting.lock().drain(..).collect();
            if batch.is_empty() {
                queue.filled.notified().await;
                continue;
            }
            sleep(self.way()).await;
            self.wait_for_way().await;
            let arriving: Vec<Arc<[u8]>> = batch.into_iter().filter_map(|(handed_in, bytes)| self.arrives(handed_in, bytes)).collect();
            arriving.iter().for_each(|bytes| self.perhaps_twice(partition, bytes));
            if !arriving.is_empty() {
                self.broker.append(partition, arriving).await;
            }
        }
    }

    /// Waits until the connection is not cut.
    pub async fn wait_for_way(&self) {
        self.is_cut.wait_for(|is_cut| !is_cut).await;
    }

    /// The last barrier that the process appended in a partition.
    #[must_use]
    pub fn last_barrier(&self, partition: u32) -> u64 {
        self.queues[partition as usize].barrier.load(Ordering::Relaxed)
    }

    /// Waits until the process appends a barrier.
    pub async fn barrier_came(&self, partition: u32) {
        self.queues[partition as usize].barrier_came.notified().await;
    }

    fn way(&self) -> Duration {
        if !self.trouble.has_broker() {
            return self.dice.millis(0, self.trouble.way_ms());
        }
        match self.dice.below(400) {
            0 => self.dice.millis(5_000, 9_000),
            1..=4 => self.dice.millis(100, 900),
            _ => self.dice.millis(0, 8),
        }
    }

    fn arrives(&self, handed_in: Instant, bytes: Arc<[u8]>) -> Option<Arc<[u8]>> {
        let is_late = DELIVERY < handed_in.elapsed();
        if (is_late && self.dice.one_in(2)) || (self.trouble.has_broker() && self.dice.one_in(250)) {
            self.trouble.saw(Rare::RecordLost);
            return None;
        }
        if is_late {
            self.trouble.saw(Rare::RecordLate);
        }
        Some(bytes)
    }

    /// Idempotent producers never duplicate; a broker or a tool in between might.
    fn perhaps_twice(&self, partition: u32, bytes: &Arc<[u8]>) {
        if !self.trouble.has_broker() || !self.dice.one_in(20) {
            return;
        }
        let after = if self.dice.one_in(4) { self.dice.millis(2_000, 12_000) } else { self.dice.millis(0, 500) };
        self.trouble.saw(if Duration::from_secs(2) <= after { Rare::RecordTwiceLate } else { Rare::RecordTwice });
        let (broker, bytes) = (Arc::clone(&self.broker), Arc::clone(bytes));
        tokio::spawn(async move {
            sleep(after).await;
            broker.append(partition, vec![bytes]).await;
        });
    }

    fn planted(&self, partition: u32, bytes: Vec<u8>) -> (u32, Vec<u8>) {
        match self.trouble.plant() {
            Some(Plant::PartitionDiffers) if self.place == 1 => ((partition + 1) % self.broker.partitions_count(), bytes),
            Some(Plant::CancelBySubject) => (partition, without_serial(bytes)),
            _ => (partition, bytes),
        }
    }
}

/// The log as a node sees it.
#[derive(Clone, Debug)]
pub struct SimLog(pub Arc<Wire>);

impl Log for SimLog {
    fn append(&self, partition: u32, _key: &str, bytes: Vec<u8>) -> Result<(), Full> {
        let (wire, read) = (&self.0, decode(&bytes).ok());
        let queue = &wire.queues[partition as usize];
        if wire.queue_max <= queue.waiting.lock().len() {
            return Err(Full);
        }
        match read {
            Some(LogRecord { body: Body::Barrier, origin, .. }) => {
                queue.barrier.fetch_max(origin.sequence, Ordering::Relaxed);
                queue.barrier_came.notify_one();
            }
            Some(LogRecord { body: Body::Command { request_id, .. }, .. }) => wire.judge.lock().appended(request_id.as_str()),
            _ => {}
        }
        let (partition, bytes) = wire.planted(partition, bytes);
        let queue = &wire.queues[partition as usize];
        queue.waiting.lock().push_back((Instant::now(), bytes.into()));
        queue.filled.notify_one();
        Ok(())
    }

    /// The nodes' clocks are right; only those of the leaders are not.
    fn now(&self) -> Timestamp {
        time(self.0.broker.wall_ms())
    }
}

fn without_serial(bytes: Vec<u8>) -> Vec<u8> {
    let Ok(record) = decode(&bytes) else { return bytes };
    let Body::Command { request_id, mut command } = record.body else { return bytes };
    let Action::Do(Step { name, command: AnyCommand::Campaign(Of::Cancel { by: TargetBy::SubjectSerial { subject, .. } }) }) =
        command.action
    else {
        return bytes;
    };
    command.action = Action::of::<Coupon>(name, Of::Cancel { by: TargetBy::Subject { subject } });
    encode(&LogRecord { body: Body::Command { request_id, command }, ..record })
}

/// The same record under another sequence number of its node.
#[must_use]
pub fn renumbered(bytes: &[u8], sequence: u64) -> Vec<u8> {
    match decode(bytes) {
        Ok(record) => encode(&LogRecord { origin: Origin { sequence, ..record.origin }, ..record }),
        Err(_) => bytes.to_vec(),
    }
}
