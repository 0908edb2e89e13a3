//! The path of a request from the call to the answer.
//!
//! First the node predicts from its own state what the command would do. If nothing would change (a repeat, a
//! rejection), it waits for a barrier and predicts again: only then the prediction is an answer. Otherwise it
//! appends the command, with the gate's permission if it takes a unit, and the answer is the rules' decision
//! when the record is read back from the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use domain::types::{Name, Timestamp};
use domain::wire::state::FrozenState;
use domain::workload::AnyAggregate;
use domain::{Action, Command, Kind, Rejection, State};
use due::DueWork;
use engine::engine::Counts;
use engine::limits::Limits;
use engine::views::{Done, Over, Refusal};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::barrier::{Barriers, NotCaughtUp};
use super::gate::GateServer;
use super::lane::{Lane, Standing};
use super::limits::LANE_IDLE;
use super::partition::partition_of;
use super::record::{Body, LogId, LogRecord, NodeId, Origin, Routing, RulesVersion, encode};
use super::replica::{Applied, Delivered, Fault, Progress, Replica, Unwatched};

mod due;
mod submit;

/// The record was certainly not appended: the capacity for records in flight is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The ordered log.
pub trait Log: Send + Sync + 'static {
    /// Hands a record to the log, in the order of the calls, without waiting. Whether it was written is known
    /// only when it is read back.
    ///
    /// # Errors
    /// [`Full`].
    fn append(&self, partition: u32, key: &str, bytes: Vec<u8>) -> Result<(), Full>;

    /// This process's clock: a record says when it was appended.
    fn now(&self) -> Timestamp;
}

/// One serving process.
#[derive(Debug)]
pub struct Node<L, G> {
    id: NodeId,
    log_id: LogId,
    log: L,
    gate: Option<Arc<G>>,
    limits: Limits,
    partitions: Vec<Partition<G>>,
    sequence: AtomicU64,
    pending: Mutex<BTreeMap<u64, oneshot::Sender<Answered>>>,
    is_stopping: AtomicBool,
    has_failed: AtomicBool,
}

/// An answer, with the offset of its record.
type Answered = (u64, Result<Done, Rejection>);

/// Lanes by kind and name of the aggregate.
type Lanes<G> = BTreeMap<(Kind, String), Arc<Lane<G>>>;

#[derive(Debug)]
struct Partition<G> {
    replica: Mutex<Replica>,
    barriers: Barriers,
    /// Whether a record that this node appended was not read back in time.
    is_cut_off: AtomicBool,
    lanes: Mutex<Lanes<G>>,
    due: Mutex<DueWork>,
}

/// A node's status, for metrics.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeStatus {
    /// Aggregates, entries and request keys in memory, over all partitions.
    pub counts: Counts,
    /// Decided records, over all partitions.
    pub decisions: u64,
    /// Applied records, over all partitions.
    pub records: u64,
    /// Commands whose answers have not been read back yet.
    pub pending: usize,
    /// Partitions whose records are not read back in time.
    pub cut_off: usize,
    /// The largest effective time of all partitions.
    pub effective_at: Timestamp,
}

impl<L: Log, G: GateServer> Node<L, G> {
    /// A node with these replicas, one for each partition, in order. `limits` apply to each partition.
    #[must_use]
    pub fn new(id: NodeId, log_id: LogId, log: L, gate: Option<Arc<G>>, limits: Limits, replicas: Vec<Replica>) -> Self {
        let partitions = replicas.into_iter().map(|replica| Partition {
            replica: Mutex::new(replica),
            barriers: Barriers::default(),
            is_cut_off: AtomicBool::new(false),
            lanes: Mutex::new(BTreeMap::new()),
            due: Mutex::default(),
        });
        Self {
            id,
            log_id,
            log,
            gate,
            limits,
            partitions: partitions.collect(),
            sequence: AtomicU64::new(0),
            pending: Mutex::new(BTreeMap::new()),
            is_stopping: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        }
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The log that the node appends to.
    #[must_use]
    pub fn log(&self) -> &L {
        &self.log
    }

    /// The gate, if one is configured.
    #[must_use]
    pub fn gate(&self) -> Option<&Arc<G>> {
        self.gate.as_ref()
    }

    /// The id of the log.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Answers and accepts nothing until every record now in the log has been applied.
    pub fn catch_up(&self) {
        for (partition, place) in (0..).zip(&self.partitions) {
            place.is_cut_off.store(true, Ordering::Relaxed);
            place.barriers.keep(true, |number| self.append_barrier(partition, number));
        }
    }

    /// The number of the log's partitions.
    #[must_use]
    pub fn partitions_count(&self) -> u32 {
        let Ok(count) = u32::try_from(self.partitions.len()) else { panic!("a log has at most 2^32 - 1 partitions") };
        count
    }

    /// Applies the next records of a partition, and answers those that this node appended.
    ///
    /// # Errors
    /// [`Fault`]; the node must not be used after it, see [`Node::fail`].
    pub fn apply<'a>(&self, partition: u32, records: impl Iterator<Item = Delivered<'a>>) -> Result<(), Fault> {
        let place = self.partitions.get(partition as usize).ok_or(self.unknown(partition))?;
        let (mut answers, mut barrier) = (Vec::new(), 0);
        {
            let mut replica = place.replica.lock();
            for record in records {
                match replica.apply(&record, &mut Unwatched)? {
                    Applied::Command { origin, answer } if origin.node == self.id => {
                        answers.push((origin.sequence, (record.offset, answer)));
                    }
                    Applied::Barrier { origin } if origin.node == self.id => barrier = barrier.max(origin.sequence),
                    Applied::Due { origin, number, has_effect } => {
                        place.due.lock().came_by(origin.node == self.id, number, has_effect);
                    }
                    Applied::Command { .. } | Applied::Barrier { .. } | Applied::Other => {}
                }
            }
            place.due.lock().applied();
            // Before any caller is answered: a successful answer may carry a code.
            self.check(partition, &replica)?;
        }
        if !answers.is_empty() || barrier != 0 {
            place.is_cut_off.store(false, Ordering::Relaxed);
        }
        let waiting: Vec<_> = {
            let mut pending = self.pending.lock();
            answers.into_iter().filter_map(|(sequence, answer)| Some((pending.remove(&sequence)?, answer))).collect()
        };
        for (sender, answer) in waiting {
            // The caller may have been cancelled.
            let _ = sender.send(answer);
        }
        if barrier != 0 {
            place.barriers.applied(barrier, |number| self.append_barrier(partition, number));
        }
        Ok(())
    }

    /// Reads the current state: everything that any node answered before the call is in it. `look` is called
    /// for each partition in the scope of `over` (one, if that is one aggregate), with the time up to which
    /// the partition is known; the values are in the order of the partitions.
    ///
    /// # Errors
    /// [`Refusal::NotCaughtUp`].
    pub async fn read<T>(&self, over: Over<'_>, look: impl FnMut(&State, Timestamp) -> T) -> Result<Vec<T>, Refusal> {
        match over {
            Over::One(_, name) => self.pass_barrier(self.partition_of(name)).await?,
            Over::Kind(_) | Over::All => self.pass_all_barriers().await?,
        }
        Ok(self.read_local(over, Timestamp::ZERO, look))
    }

    /// As [`Node::read`], for the partition of one group.
    ///
    /// # Errors
    /// [`Refusal::NotCaughtUp`].
    pub async fn read_one<T>(&self, name: Name<'_>, look: impl FnOnce(&State, Timestamp) -> T) -> Result<T, Refusal> {
        let partition = self.partition_of(name);
        self.pass_barrier(partition).await?;
        Ok(self.with_replica(partition, |replica| look_at(replica, Timestamp::ZERO, look)))
    }

    /// Reads this node's own state as of `wall`, or the last record's time if that is later. Other nodes may be
    /// ahead: for live feeds, never for an answer. Everything in it is durable, because it came from the log.
    pub fn read_local<T>(&self, over: Over<'_>, wall: Timestamp, mut look: impl FnMut(&State, Timestamp) -> T) -> Vec<T> {
        let partitions = match over {
            Over::One(_, name) => self.partition_of(name)..self.partition_of(name) + 1,
            Over::Kind(_) | Over::All => 0..self.partitions_count(),
        };
        partitions.map(|partition| self.with_replica(partition, |replica| look_at(replica, wall, &mut look))).collect()
    }

    /// Waits until the node has applied everything that any node answered before the call.
    ///
    /// # Errors
    /// [`Refusal::NotCaughtUp`].
    pub async fn pass_all_barriers(&self) -> Result<(), Refusal> {
        // The barriers of all partitions are in flight at the same time.
        let mut waiting: Vec<_> = (0..self.partitions_count()).map(|partition| Box::pin(self.pass_barrier(partition))).collect();
        let mut is_behind = false;
        std::future::poll_fn(|context| {
            waiting.retain_mut(|pass| match pass.as_mut().poll(context) {
                std::task::Poll::Ready(outcome) => {
                    is_behind |= outcome.is_err();
                    false
                }
                std::task::Poll::Pending => true,
            });
            if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        if is_behind { Err(Refusal::NotCaughtUp) } else { Ok(()) }
    }

    /// The same for the partition of one group; returns the partition and its progress then.
    ///
    /// # Errors
    /// [`Refusal::NotCaughtUp`].
    pub async fn caught_up_with(&self, name: Name<'_>) -> Result<(u32, Progress), Refusal> {
        let partition = self.partition_of(name);
        self.pass_barrier(partition).await?;
        Ok((partition, self.with_replica(partition, Replica::progress)))
    }

    /// A partition's current state, shared rather than copied, and its progress.
    ///
    /// # Panics
    /// If the partition does not exist.
    #[must_use]
    pub fn freeze(&self, partition: u32) -> (Progress, FrozenState) {
        self.with_replica(partition, Replica::freeze)
    }

    /// The progress of each partition.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        self.partitions.iter().map(|place| place.replica.lock().progress()).collect()
    }

    /// Compares this node's digest with another node's at the same offset.
    ///
    /// # Errors
    /// [`Fault::Disagreement`], and [`Fault::UnknownPartition`].
    pub fn compare(&self, partition: u32, other: &Progress) -> Result<(), Fault> {
        let place = self.partitions.get(partition as usize).ok_or(self.unknown(partition))?;
        place.replica.lock().compare(other)
    }

    /// Periodic work, once a second: corrects gates, appends the removal of expired request keys, and tests
    /// with a barrier whether a partition that did not answer works again.
    pub fn keep(&self) {
        for (partition, place) in (0..).zip(&self.partitions) {
            let (is_due, standings) = {
                let replica = place.replica.lock();
                let state = replica.core().state();
                let is_due = state.requests.next_deadline().is_some_and(|deadline| deadline <= state.time);
                let lanes = place.lanes.lock();
                let standings: Vec<_> =
                    lanes.iter().filter_map(|(key, lane)| Some((Arc::clone(lane), standing_of(&replica, key)?))).collect();
                (is_due, standings)
            };
            let is_cut_off = place.is_cut_off.load(Ordering::Relaxed);
            place.barriers.keep(is_cut_off, |number| self.append_barrier(partition, number));
            for (lane, standing) in standings {
                lane.correct(standing);
            }
            place.lanes.lock().retain(|_, lane| lane.used_at().elapsed() < LANE_IDLE || !lane.is_idle());
            if is_due {
                let forget = Body::Due(Command::local(Action::ForgetRequests));
                // Repeated a second later: losing the record does no harm.
                let _ = self.append_record(partition, Routing::Partition(partition), self.next_sequence(), forget);
            }
        }
    }

    /// Switches all partitions to another version of the rules.
    ///
    /// # Errors
    /// [`Full`].
    pub fn switch_rules(&self, version: RulesVersion) -> Result<(), Full> {
        (0..self.partitions_count()).try_for_each(|partition| {
            self.append_record(partition, Routing::Partition(partition), self.next_sequence(), Body::Rules(version))
        })
    }

    /// Rejects every further command.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Marks the node as failed and releases every waiting caller with an error.
    pub fn fail(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
        self.stop();
        self.pending.lock().clear();
        self.partitions.iter().for_each(|place| place.barriers.fail());
    }

    /// Whether the node has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// The largest effective time of all partitions.
    #[must_use]
    pub fn effective_at(&self) -> Timestamp {
        let times = self.partitions.iter().map(|place| place.replica.lock().core().state().time);
        times.max().unwrap_or_default()
    }

    /// The node's status, for metrics.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let mut status = NodeStatus { pending: self.pending.lock().len(), ..NodeStatus::default() };
        for place in &self.partitions {
            let replica = place.replica.lock();
            let (state, progress) = (replica.core().state(), replica.progress());
            status.counts += Counts::of(state);
            status.decisions += progress.decisions;
            status.records += progress.offset_next;
            status.effective_at = status.effective_at.max(progress.effective_at);
            status.cut_off += usize::from(place.is_cut_off.load(Ordering::Relaxed));
        }
        status
    }

    /// Checks that the partition belongs to the log that this node follows.
    fn check(&self, partition: u32, replica: &Replica) -> Result<(), Fault> {
        match replica.log().filter(|log| *log != self.log_id) {
            Some(log) => {
                let what = format!("it belongs to log {log}, and this server follows log {}", self.log_id);
                Err(Fault::Genesis { partition, what })
            }
            None => Ok(()),
        }
    }

    fn append_barrier(&self, partition: u32, number: u64) -> bool {
        self.append_record(partition, Routing::Partition(partition), number, Body::Barrier).is_ok()
    }

    fn append_record(&self, partition: u32, routing: Routing<'_>, sequence: u64, body: Body<'_>) -> Result<(), Full> {
        let key = match routing {
            Routing::Group(group) => group,
            Routing::Partition(_) => "",
        };
        let record = LogRecord { origin: Origin { node: self.id, sequence }, sent_at: self.log.now(), routing, body };
        // Every node stops at a record that fails this check, so it must not get into the log.
        assert_eq!(record.check(), Ok(()), "a node was about to append what no log may hold");
        self.log.append(partition, key, encode(&record))
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn pass_barrier(&self, partition: u32) -> Result<(), Refusal> {
        let place = self.partition(partition);
        if place.is_cut_off.load(Ordering::Relaxed) {
            return Err(Refusal::NotCaughtUp);
        }
        let passed = place.barriers.pass(|number| self.append_barrier(partition, number)).await;
        passed.map_err(|NotCaughtUp| {
            self.cut_off(partition);
            Refusal::NotCaughtUp
        })
    }

    fn cut_off(&self, partition: u32) {
        self.partition(partition).is_cut_off.store(true, Ordering::Relaxed);
    }

    /// The partition of a name's group.
    #[must_use]
    pub fn partition_of(&self, name: Name<'_>) -> u32 {
        partition_of(name.group(), self.partitions_count())
    }

    fn with_replica<T>(&self, partition: u32, look: impl FnOnce(&Replica) -> T) -> T {
        look(&self.partition(partition).replica.lock())
    }

    /// A partition by a number that this node itself computed with [`partition_of`].
    fn partition(&self, partition: u32) -> &Partition<G> {
        let Some(place) = self.partitions.get(partition as usize) else {
            panic!("a name belongs to one of the log's {} partitions, not to {partition}", self.partitions.len())
        };
        place
    }

    fn unknown(&self, partition: u32) -> Fault {
        Fault::UnknownPartition { partition, partitions: self.partitions_count() }
    }
}

fn look_at<T>(replica: &Replica, wall: Timestamp, look: impl FnOnce(&State, Timestamp) -> T) -> T {
    let state = replica.core().state();
    look(state, state.time.max(wall))
}

fn standing_of(replica: &Replica, (kind, name): &(Kind, String)) -> Option<Standing> {
    let Ok(name) = Name::new(name) else { panic!("a lane has the name of an aggregate, not {name:?}") };
    let aggregate = replica.core().state().find(*kind, name)?;
    standing(replica, aggregate)
}

fn standing(replica: &Replica, aggregate: &AnyAggregate) -> Option<Standing> {
    Some(Standing { offset_next: replica.offset_next(), units: aggregate.units()? })
}
