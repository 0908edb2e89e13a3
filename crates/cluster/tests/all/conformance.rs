//! The tables of `conformance/coupon/`, asked of two nodes in turn that follow one log, with a gate
//! (C1). After each case both nodes, and a replay from the beginning, have the same state (J1).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::protocol::gate::{Away, Correct, Corrected, Enter, Entered, Gate, GateKey, GateServer, Mark};
use cluster::protocol::node::{Full, Log, Node, NodeLimits};
use cluster::protocol::record::{Body, Genesis, LogId, LogRecord, NodeId, Origin, Place, RULES_KNOWN, encode};
use cluster::protocol::replica::{Delivered, Replica, Topology, Unwatched};
use conformance::{Ask, Backend, CampaignReply, ClaimReply, Reply, Request, run_folder};
use domain::Command;
use domain::claims::Claim;
use domain::coupon::{Command as Coupon, Rejection as Why};
use domain::hash::HashSeed;
use domain::state::{CommandKind, Rejection};
use domain::types::{RequestId, SubjectId, Timestamp};
use engine::views::{Done, Effect, Refusal};
use tokio::runtime::{Builder, Runtime};

const PARTITIONS: u32 = 3;
const LOG: LogId = LogId([7; 16]);

#[test]
fn nodes_answer_as_the_tables_say_and_all_have_the_same_state() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/coupon");
    for has_gate in [true, false] {
        let summary = run_folder(&folder, || ClusterBackend::new(has_gate)).unwrap();
        assert!(80 < summary.cases_count, "{summary:?}");
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
}

#[derive(Debug, Default)]
struct Gates(Mutex<BTreeMap<String, Gate>>);

impl GateServer for Gates {
    async fn enter(&self, enter: &Enter) -> Result<Entered, Away> {
        Ok(Gate::enter(self.0.lock().unwrap().get_mut(&enter.key.campaign), enter, 1))
    }

    async fn correct(&self, correct: &Correct) -> Result<Corrected, Away> {
        let mut gates = self.0.lock().unwrap();
        let mut place = gates.remove(&correct.key.campaign);
        let corrected = Gate::correct(&mut place, correct, 1);
        place.into_iter().for_each(|gate| drop(gates.insert(correct.key.campaign.clone(), gate)));
        Ok(corrected)
    }

    async fn unmark(&self, key: &GateKey, mark: Mark) -> Result<(), Away> {
        self.0.lock().unwrap().get_mut(&key.campaign).into_iter().for_each(|gate| gate.unmark(mark));
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
            let record = LogRecord { origin: Origin { node: NodeId(0), sequence: 0 }, place: Place::Partition(partition), body };
            BrokerLog(Arc::clone(&broker)).append(partition, "", encode(&record)).unwrap();
        }
        let gates = has_gate.then(|| Arc::new(Gates::default()));
        let limits = NodeLimits { claims_max: 1_000, requests_max: 1_000, campaigns_max: 100 };
        let nodes = [1, 2].map(|id| {
            let replicas = (0..PARTITIONS).map(|partition| replica(partition, HashSeed(id, 7))).collect();
            Arc::new(Node::new(NodeId(id), LOG, BrokerLog(Arc::clone(&broker)), gates.clone(), limits, [0].into(), replicas))
        });
        for (node, lag) in nodes.iter().zip([1, 3]) {
            runtime.spawn(follow(Arc::clone(node), Arc::clone(&broker), Duration::from_millis(lag)));
        }
        Self { broker, nodes: nodes.to_vec(), asked_count: 0, runtime }
    }

    fn command(&mut self, request: &Request<'_>, coupon: Coupon<'_>) -> Reply {
        let command = Command { actor: request.actor, request: request.keyed(), kind: CommandKind::Coupon(coupon) };
        let node = self.next_node();
        match self.runtime.block_on(node.submit(&command, RequestId::new("table").unwrap())) {
            Ok(done) => reply_of(&done),
            Err(Refusal::Rejected(rejection)) => Reply::from(&rejection),
            Err(other) => Reply::Unexpected(format!("{other:?}")),
        }
    }

    /// Both nodes look at their queues until nothing is left to decide at this time.
    fn decide_due(&self) {
        self.runtime.block_on(async {
            // Where nobody asks, no record tells the nodes what time it is.
            for node in &self.nodes {
                node.pass_all_barriers().await.unwrap();
            }
            for _ in 0..3 {
                self.nodes.iter().for_each(|node| node.keep_queues());
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
            Ask::Command(coupon) => {
                let reply = self.command(request, coupon);
                self.decide_due();
                reply
            }
            Ask::ReadCampaign(name) => {
                let node = self.next_node();
                let campaign = self.runtime.block_on(node.campaign(name)).unwrap();
                campaign.map_or(refused(Why::CampaignNotFound), |campaign| Reply::Campaign(CampaignReply::from(&campaign.view)))
            }
            Ask::ReadClaim(target) => {
                let node = self.next_node();
                match self.runtime.block_on(node.claim_of(target.campaign, target.by)).unwrap() {
                    Ok(view) => {
                        let subject = SubjectId::new(&view.subject).unwrap();
                        let claim = Claim { serial: view.serial, subject, claimed_at: view.claimed_at, status: view.status };
                        Reply::Claim(ClaimReply::from(&claim))
                    }
                    Err(why) => refused(why),
                }
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

fn refused(why: Why) -> Reply {
    Reply::from(&Rejection::Coupon(why))
}

fn reply_of(done: &Done) -> Reply {
    let novelty = done.novelty;
    match &done.effect {
        Effect::Campaign { created, campaign } => Reply::Written { created: *created, version: campaign.view.version, novelty },
        Effect::Claimed(claim) => match claim.waiting {
            Some(waiting) => Reply::Accepted { place: waiting.place, is_again: novelty != domain::Novelty::Fresh },
            None => Reply::Claimed { serial: claim.serial, novelty },
        },
        Effect::Redeemed(claim) => Reply::Redeemed { serial: claim.serial, novelty },
        Effect::Cancelled(claim) => Reply::Cancelled { serial: claim.serial, novelty },
        Effect::Policy(view) => Reply::Unexpected(format!("policy {}", view.name)),
        Effect::Nothing => Reply::Unexpected("nothing took effect".into()),
    }
}
