//! Processes: each follows all partitions with its own lag, is killed, and restarts from the beginning of the
//! log or from a copy of the state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::protocol::node::Node;
use cluster::protocol::record::{Body, Genesis, LogId, LogRecord, NodeId, Origin, RULES_KNOWN, Routing, RulesVersion, decode, encode};
use cluster::protocol::replica::{Delivered, Fault, Replica, Topology};
use domain::hash::HashSeed;
use domain::wire::state::StateBuilder;
use engine::limits::Limits;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{interval, sleep};

use super::broker::{Broker, SimLog, Stored, Wire, renumbered};
use super::counts::Rare;
use super::dice::{Dice, Signal};
use super::gates::SimGates;
use super::judge::{Judge, Kind, RULES_NEWEST, Snapshot};
use super::plant::Plant;
use super::trouble::Trouble;
use crate::world::{LIMITS, time};

/// The id of a run's log.
pub const LOG: LogId = LogId([7; 16]);
/// Most records that are applied together.
const BATCH_MAX: usize = 100;
/// Copies of the state that are kept.
const SNAPSHOTS_KEPT: usize = 3;

/// A simulated node.
pub type SimNode = Node<SimLog, SimGates>;

/// A slot in which a process runs.
#[derive(Debug)]
struct Slot {
    running: Mutex<Option<Running>>,
    is_cut: Arc<Signal<bool>>,
    /// The most that its consumers may lag, in milliseconds.
    lag_ms: AtomicU64,
    /// The newest rules that its program knows.
    rules: Mutex<RulesVersion>,
    /// The error of its own clock; used only by a plant.
    skew_ms: u64,
}

#[derive(Debug)]
struct Running {
    node: Arc<SimNode>,
    tasks: Vec<AbortHandle>,
    is_killed: Arc<Signal<bool>>,
}

/// All processes, and the state that they share.
#[derive(Debug)]
pub struct Fleet {
    dice: Dice,
    trouble: Arc<Trouble>,
    judge: Arc<Mutex<Judge>>,
    broker: Arc<Broker>,
    gates: Arc<SimGates>,
    slots: Vec<Slot>,
    snapshots: Mutex<VecDeque<Vec<Snapshot>>>,
    starts: AtomicU64,
    limits: Limits,
}

/// A running process.
#[derive(Debug)]
pub struct Found {
    /// The node.
    pub node: Arc<SimNode>,
    /// Becomes true when it is killed.
    pub is_killed: Arc<Signal<bool>>,
}

impl Fleet {
    /// One slot for each entry of `rules`, with a program that knows these rules; no process runs yet.
    #[must_use]
    pub fn new(
        dice: Dice,
        trouble: &Arc<Trouble>,
        judge: &Arc<Mutex<Judge>>,
        broker: &Arc<Broker>,
        gates: &Arc<SimGates>,
        rules: &[RulesVersion],
    ) -> Arc<Self> {
        let slot = |rules: &RulesVersion| Slot {
            running: Mutex::new(None),
            is_cut: Arc::default(),
            lag_ms: AtomicU64::new(3),
            rules: Mutex::new(*rules),
            skew_ms: dice.below(5_000),
        };
        let slots = rules.iter().map(slot).collect();
        let entries_max = if dice.one_in(5) { 150 } else { 100_000 };
        let limits = Limits { entries_max, requests_max: 10_000, aggregates_max: 10, ..LIMITS };
        Arc::new(Self {
            dice,
            trouble: Arc::clone(trouble),
            judge: Arc::clone(judge),
            broker: Arc::clone(broker),
            gates: Arc::clone(gates),
            slots,
            snapshots: Mutex::default(),
            starts: AtomicU64::new(0),
            limits,
        })
    }

    /// The number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no slots.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A node's capacity for claims.
    #[must_use]
    pub fn claims_max(&self) -> u64 {
        self.limits.entries_max
    }

    /// Writes the first record of every partition.
    pub async fn begin_log(&self) {
        let partitions = self.broker.partitions_count();
        for partition in 0..partitions {
            let genesis = Genesis { log: LOG, partitions, rules: RULES_KNOWN };
            let (origin, routing) = (Origin { node: NodeId(0), sequence: 0 }, Routing::Partition(partition));
            self.broker
                .append(
                    partition,
                    vec![encode(&LogRecord { origin, sent_at: time(self.broker.wall_ms()), routing, body: Body::Genesis(genesis) }).into()],
                )
                .await;
        }
    }

    /// The process in this slot, if it is running.
    #[must_use]
    pub fn find(&self, place: usize) -> Option<Found> {
        let running = self.slots[place].running.lock();
        running.as_ref().map(|running| Found { node: Arc::clone(&running.node), is_killed: Arc::clone(&running.is_killed) })
    }

    /// Stores a copy of the current states.
    pub fn keep_snapshot(&self) {
        let mut snapshots = self.snapshots.lock();
        snapshots.push_back(self.judge.lock().snapshots());
        if SNAPSHOTS_KEPT < snapshots.len() {
            snapshots.pop_front();
        }
    }

    /// Cuts a slot off the network, or reconnects it.
    pub fn set_cut(&self, place: usize, is_cut: bool) {
        if is_cut {
            self.trouble.saw(Rare::CutOff);
        }
        self.slots[place].is_cut.set(is_cut);
    }

    /// Sets the largest lag of a slot's consumers.
    pub fn set_lag(&self, place: usize, millis: u64) {
        if 100 < millis {
            self.trouble.saw(Rare::Lagged);
        }
        self.slots[place].lag_ms.store(millis, Ordering::Relaxed);
    }

    /// Installs the newest program in every slot; it runs from the next start on.
    pub fn install_newest(&self) {
        self.slots.iter().for_each(|slot| *slot.rules.lock() = RULES_NEWEST);
    }

    /// Kills the process in this slot.
    pub fn kill(&self, place: usize) {
        if let Some(running) = self.slots[place].running.lock().take() {
            self.trouble.saw(Rare::Killed);
            running.is_killed.set(true);
            running.tasks.iter().for_each(AbortHandle::abort);
        }
    }

    /// Starts a process, unless one is running or its program is too old.
    pub fn start(self: &Arc<Self>, place: usize) {
        let slot = &self.slots[place];
        if slot.running.lock().is_some() {
            return;
        }
        let rules = *slot.rules.lock();
        let replicas = match self.replicas(rules) {
            Ok(replicas) => replicas,
            Err(Fault::UnknownRules { .. }) if rules < RULES_NEWEST => return self.trouble.saw(Rare::OldRulesStopped),
            Err(fault) => return self.judge.lock().break_promise(Kind::Exactness, format!("a node did not start: {fault}")),
        };
        let id = NodeId(self.starts.fetch_add(1, Ordering::Relaxed) + 1);
        let cut = Arc::clone(&slot.is_cut);
        let wire = Arc::new(Wire::new(&self.broker, self.dice.clone(), &self.trouble, &self.judge, cut, place));
        let offsets: Vec<u64> = replicas.iter().map(Replica::offset_next).collect();
        let log = SimLog(Arc::clone(&wire));
        let node = Arc::new(Node::new(id, LOG, log, Some(Arc::clone(&self.gates)), self.limits, replicas));
        // The program does this too; without it the first answers are slower, and just as correct.
        if self.dice.one_in(2) {
            node.catch_up();
        }
        let mut tasks = Vec::new();
        for (partition, offset) in (0..).zip(offsets) {
            let (carrier, fleet) = (Arc::clone(&wire), Arc::clone(self));
            tasks.push(tokio::spawn(async move { carrier.carry(partition).await }).abort_handle());
            let follower =
                Follower { fleet, node: Arc::clone(&node), wire: Arc::clone(&wire), place, rules, partition, next: offset, shift: 0 };
            tasks.push(tokio::spawn(follower.follow()).abort_handle());
        }
        let keeper = Arc::clone(&node);
        let keep = async move {
            let mut seconds = interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                keeper.keep();
            }
        };
        tasks.push(tokio::spawn(keep).abort_handle());
        let (decider, dice) = (Arc::clone(&node), self.dice.clone());
        let decide = async move {
            loop {
                sleep(dice.millis(20, 150)).await;
                decider.do_due();
            }
        };
        tasks.push(tokio::spawn(decide).abort_handle());
        *slot.running.lock() = Some(Running { node, tasks, is_killed: Arc::default() });
    }

    /// The replicas from which a program that knows these rules starts.
    fn replicas(&self, rules: RulesVersion) -> Result<Vec<Replica>, Fault> {
        let known = if self.trouble.plant() == Some(Plant::RulesIgnored) { RULES_NEWEST } else { rules };
        let partitions = self.broker.partitions_count();
        let (seed, snapshots) = (HashSeed(self.dice.below(1_000), 3), self.snapshots.lock());
        if snapshots.is_empty() || self.dice.one_in(3) {
            self.trouble.saw(Rare::StartedAtZero);
            let topologies = (0..partitions).map(|partition| Topology { partition, partitions });
            return Ok(topologies.map(|topology| Replica::new(topology, known, seed)).collect());
        }
        let kept = &snapshots[self.dice.index(snapshots.len())];
        let replicas = (0..).zip(kept).map(|(partition, snapshot)| resume(Topology { partition, partitions }, known, seed, snapshot));
        let replicas = replicas.collect::<Result<Vec<_>, _>>()?;
        self.trouble.saw(Rare::StartedFromHistory);
        Ok(replicas)
    }

    fn stop(&self, place: usize, rules: RulesVersion, node: &SimNode, fault: &Fault) {
        if rules < RULES_NEWEST && matches!(fault, Fault::UnknownRules { .. }) {
            self.trouble.saw(Rare::OldRulesStopped);
        } else {
            self.judge.lock().break_promise(Kind::Exactness, format!("a node stopped: {fault}"));
        }
        node.fail();
        if let Some(running) = self.slots[place].running.lock().take() {
            running.tasks.iter().for_each(AbortHandle::abort);
        }
    }
}

fn resume(topology: Topology, rules: RulesVersion, seed: HashSeed, snapshot: &Snapshot) -> Result<Replica, Fault> {
    let mut builder = StateBuilder::new(seed);
    let built = snapshot.sections.iter().try_for_each(|section| builder.section(section)).and_then(|()| builder.finish());
    match built {
        Ok(state) => Replica::resume(topology, rules, state, &snapshot.progress),
        Err(error) => Err(Fault::Genesis { partition: topology.partition, what: error.to_string() }),
    }
}

/// One process's consumer of one partition.
struct Follower {
    fleet: Arc<Fleet>,
    node: Arc<SimNode>,
    wire: Arc<Wire>,
    place: usize,
    /// The newest rules that its program knows.
    rules: RulesVersion,
    partition: u32,
    /// The offset of the next record to read.
    next: u64,
    /// Records that the node was given and that the log does not contain; only with a plant.
    shift: u64,
}

impl Follower {
    async fn follow(mut self) {
        let committed = self.fleet.broker.follow(self.partition);
        loop {
            let has_more = |committed| self.next < committed as u64;
            let is_planted = self.fleet.trouble.plant() == Some(Plant::BarrierNotWaitedFor);
            tokio::select! {
                biased;
                () = self.wire.barrier_came(self.partition), if is_planted => {
                    self.give_barrier();
                    continue;
                }
                () = committed.wait_for(has_more) => {}
            }
            let lag_ms = self.fleet.slots[self.place].lag_ms.load(Ordering::Relaxed);
            sleep(self.fleet.dice.millis(0, lag_ms)).await;
            self.wire.wait_for_way().await;
            let batch = self.fleet.broker.read(self.partition, usize::try_from(self.next).unwrap_or(usize::MAX), BATCH_MAX);
            if let Err(fault) = self.give(&batch) {
                self.fleet.stop(self.place, self.rules, &self.node, &fault);
                return;
            }
        }
    }

    fn give(&mut self, batch: &[Stored]) -> Result<(), Fault> {
        let (slot, trouble) = (&self.fleet.slots[self.place], &self.fleet.trouble);
        let own: Vec<Vec<u8>> = batch.iter().map(|stored| self.as_read(stored, trouble.plant())).collect();
        let wall = self.fleet.broker.wall_ms() + slot.skew_ms;
        let at = |stored: &Stored| if trouble.plant() == Some(Plant::TimeFromOwnClock) { wall } else { stored.at };
        let records = (self.next + self.shift..).zip(batch.iter().zip(&own));
        let records = records.map(|(offset, (stored, bytes))| Delivered { offset, at: time(at(stored)), bytes });
        self.node.apply(self.partition, records)?;
        self.next += batch.len() as u64;
        let progress = self.node.progress()[self.partition as usize];
        self.fleet.judge.lock().compare(self.partition, self.next, progress.digest, self.rules);
        Ok(())
    }

    fn as_read(&self, stored: &Stored, plant: Option<Plant>) -> Vec<u8> {
        let is_own_barrier =
            || decode(&stored.bytes).is_ok_and(|record| record.body == Body::Barrier && record.origin.node == self.node.id());
        if plant == Some(Plant::OlderBarrierServes) && is_own_barrier() {
            return renumbered(&stored.bytes, self.wire.last_barrier(self.partition));
        }
        stored.bytes.to_vec()
    }

    /// Gives the node its barrier although the log does not contain it (a plant).
    fn give_barrier(&mut self) {
        let origin = Origin { node: self.node.id(), sequence: self.wire.last_barrier(self.partition) };
        let (sent_at, routing) = (time(0), Routing::Partition(self.partition));
        let bytes = encode(&LogRecord { origin, sent_at, routing, body: Body::Barrier });
        let record = Delivered { offset: self.next + self.shift, at: time(0), bytes: &bytes };
        if self.next != 0 && self.node.apply(self.partition, std::iter::once(record)).is_ok() {
            self.shift += 1;
        }
    }
}
