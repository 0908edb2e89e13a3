//! The tables of `conformance/`, asked of two nodes in turn that follow one log, with a gate and without
//! (C1). After each case both nodes, and a replay from the beginning, have the same state (J1).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::protocol::gate::{Away, Correct, Corrected, Enter, Entered, Gate, GateKey, GateServer, Mark};
use cluster::protocol::node::{Full, Log, Node};
use cluster::protocol::record::{Body, Genesis, LogId, LogRecord, NodeId, Origin, RULES_KNOWN, Routing, encode};
use cluster::protocol::replica::{Delivered, Replica, Topology, Unwatched};
use conformance::{AggregateReply, Ask, Backend, ClaimReply, Reply, Request, run_folder};
use domain::coupon::{Coupon, TargetBy};
use domain::hash::HashSeed;
use domain::types::{Name, RequestId, Timestamp};
use domain::{Action, Command, Kind, Rejection, State};
use engine::limits::Limits;
use engine::views::{Done, Effect, Refusal};
use tokio::runtime::{Builder, Runtime};

const PARTITIONS: u32 = 3;
const LOG: LogId = LogId([7; 16]);

#[test]
fn nodes_answer_as_the_tables_say_and_all_have_the_same_state() {
    for (kind, cases_min) in [("coupon", 80), ("policy", 6)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance").join(kind);
        for has_gate in [true, false] {
            let summary = run_folder(&folder, || ClusterBackend::new(has_gate)).unwrap();
            assert!(cases_min < summary.cases_count, "{kind}: {summary:?}");
        }
    }
}

/// A record, and the broker's time of it.
type Kept = (Timestamp, Vec<u8>);

/// Every partition's records with their broker's times, and that broker's clock.
#[derive(Debug, Default)]
struct Broker {
    partitions: Mutex<BTreeMap<u32, Vec<Kept>>>,
    clock: Mutex<Timestamp>,
}

#[derive(Clone, Debug)]
struct BrokerLog(Arc<Broker>);

impl Log for BrokerLog {
    fn append(&self, partition: u32, _key: &str, bytes: Vec<u8>) -> Result<(), Full> {
        let at = *self.0.clock.lock().unwrap();
        self.0.partitions.lock().unwrap().entry(partition).or_default().push((at, bytes));
        Ok(())
    }

    fn now(&self) -> Timestamp {
        *self.0.clock.lock().unwrap()
    }
}

#[derive(Debug, Default)]
struct Gates(Mutex<BTreeMap<(Kind, String), Gate>>);

fn place_of(key: &GateKey) -> (Kind, String) {
    (key.kind, key.name.clone())
}

impl GateServer for Gates {
    async fn enter(&self, enter: &Enter) -> Result<Entered, Away> {
        Ok(Gate::enter(self.0.lock().unwrap().get_mut(&place_of(&enter.key)), enter, 1))
    }

    async fn correct(&self, correct: &Correct) -> Result<Corrected, Away> {
        let mut gates = self.0.lock().unwrap();
        let mut place = gates.remove(&place_of(&correct.key));
        let corrected = Gate::correct(&mut place, correct, 1);
        place.into_iter().for_each(|gate| drop(gates.insert(place_of(&correct.key), gate)));
        Ok(corrected)
    }

    async fn unmark(&self, key: &GateKey, mark: Mark) -> Result<(), Away> {
        self.0.lock().unwrap().get_mut(&place_of(key)).into_iter().for_each(|gate| gate.unmark(mark));
        Ok(())
    }
}

struct ClusterBackend {
    broker: Arc<Broker>,
    nodes: Vec<Arc<Node<BrokerLog, Gates>>>,
    asked_count: usize,
    runtime: Runtime,
}

impl ClusterBackend {
    fn new(has_gate: bool) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let broker = Arc::new(Broker::default());
        for partition in 0..PARTITIONS {
            let body = Body::Genesis(Genesis { log: LOG, partitions: PARTITIONS, rules: RULES_KNOWN });
            let record = LogRecord {
                origin: Origin { node: NodeId(0), sequence: 0 },
                sent_at: Timestamp::MAX,
                routing: Routing::Partition(partition),
                body,
            };
            BrokerLog(Arc::clone(&broker)).append(partition, "", encode(&record)).unwrap();
        }
        let gates = has_gate.then(|| Arc::new(Gates::default()));
        let limits = Limits { entries_max: 1_000, requests_max: 1_000, aggregates_max: 100, ..Limits::STANDARD };
        let nodes = [1, 2].map(|id| {
            let replicas = (0..PARTITIONS).map(|partition| replica(partition, HashSeed(id, 7))).collect();
            Arc::new(Node::new(NodeId(id), LOG, BrokerLog(Arc::clone(&broker)), gates.clone(), limits, replicas))
        });
        for (node, lag) in nodes.iter().zip([1, 3]) {
            runtime.spawn(follow(Arc::clone(node), Arc::clone(&broker), Duration::from_millis(lag)));
        }
        Self { broker, nodes: nodes.to_vec(), asked_count: 0, runtime }
    }

    fn command(&mut self, request: &Request<'_>, action: Action<'_>) -> Reply {
        let command = Command { actor: request.actor, request: request.keyed(), action };
        let node = self.next_node();
        match self.runtime.block_on(node.submit(&command, RequestId::new("table").unwrap())) {
            Ok(done) => reply_of(&done),
            Err(Refusal::Rejected(rejection)) => Reply::from(&rejection),
            Err(other) => Reply::Unexpected(format!("{other:?}")),
        }
    }

    /// Both nodes look at what is due until nothing is at this time.
    fn decide_due(&self) {
        self.runtime.block_on(async {
            // Where nobody asks, no record tells the nodes what time it is.
            for node in &self.nodes {
                node.pass_all_barriers().await.unwrap();
            }
            for _ in 0..3 {
                self.nodes.iter().for_each(|node| node.do_due());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Each question goes to another node than the one before.
    fn next_node(&mut self) -> Arc<Node<BrokerLog, Gates>> {
        self.asked_count += 1;
        Arc::clone(&self.nodes[self.asked_count % self.nodes.len()])
    }
}

impl Backend for ClusterBackend {
    fn set_time(&mut self, at: Timestamp) {
        *self.broker.clock.lock().unwrap() = at;
        self.nodes.iter().for_each(|node| self.runtime.block_on(async { node.keep() }));
        self.decide_due();
    }

    fn run(&mut self, request: &Request<'_>) -> Reply {
        match request.ask {
            Ask::Act(action) => {
                let reply = self.command(request, action);
                self.decide_due();
                reply
            }
            Ask::Read(kind, name) => {
                let node = self.next_node();
                self.runtime.block_on(node.read_one(name, |state, now| aggregate_reply(state, now, kind, name))).unwrap()
            }
            Ask::ReadClaim(name, by) => {
                let node = self.next_node();
                self.runtime.block_on(node.read_one(name, |state, _| claim_reply(state, name, by))).unwrap()
            }
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        // Everything is delivered, to the slower node too.
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_secs(1)).await });
        let partitions = self.broker.partitions.lock().unwrap().clone();
        for (partition, records) in partitions {
            let mut replayed = replica(partition, HashSeed(9, 9));
            for (offset, (at, bytes)) in (0..).zip(&records) {
                let record = Delivered { offset, at: *at, bytes };
                replayed.apply(&record, &mut Unwatched).map_err(|fault| fault.to_string())?;
            }
            for node in &self.nodes {
                let progress = node.progress()[partition as usize];
                if progress != replayed.progress() {
                    return Err(format!("partition {partition}: {progress:?} on a node, {:?} replayed", replayed.progress()));
                }
            }
            replayed.core().state().check()?;
        }
        Ok(())
    }
}

fn replica(partition: u32, seed: HashSeed) -> Replica {
    Replica::new(Topology { partition, partitions: PARTITIONS }, RULES_KNOWN, seed)
}

async fn follow(node: Arc<Node<BrokerLog, Gates>>, broker: Arc<Broker>, lag: Duration) {
    let mut offsets = vec![0_usize; PARTITIONS as usize];
    loop {
        for (partition, offset) in (0..).zip(&mut offsets) {
            let records = broker.partitions.lock().unwrap().get(&partition).map(|records| records[*offset..].to_vec()).unwrap_or_default();
            let delivered = records.iter().zip(*offset as u64..).map(|((at, bytes), offset)| Delivered { offset, at: *at, bytes });
            node.apply(partition, delivered).unwrap();
            *offset += records.len();
        }
        tokio::time::sleep(lag).await;
    }
}

fn aggregate_reply(state: &State, now: Timestamp, kind: Kind, name: Name<'_>) -> Reply {
    match state.find(kind, name) {
        Some(aggregate) => Reply::Aggregate(AggregateReply::from(&aggregate.summary(now))),
        None => Reply::from(&Rejection::NotFound(kind)),
    }
}

fn claim_reply(state: &State, name: Name<'_>, by: TargetBy<'_>) -> Reply {
    let Some(campaign) = state.get::<Coupon>(name) else { return Reply::from(&Rejection::NotFound(Kind::Campaign)) };
    match campaign.find(by) {
        Ok(claim) => Reply::Claim(ClaimReply::from(&claim)),
        Err(rejection) => Reply::from(&Rejection::of::<Coupon>(rejection)),
    }
}

fn reply_of(done: &Done) -> Reply {
    let novelty = done.novelty;
    match &done.effect {
        Effect::Written { created, summary } => Reply::Written { created: *created, version: summary.head().version, novelty },
        Effect::Removed { summary } => Reply::Removed { version: summary.head().version, novelty },
        Effect::Did(shown) => Reply::did(&shown.outcome, shown.view.as_ref(), novelty),
        Effect::DidBoth(..) | Effect::Nothing => Reply::Unexpected(format!("{:?}", done.effect)),
    }
}
