//! What these tests share: commands, records, and a log and a gate in memory that do what a test
//! tells them to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cluster::protocol::gate::{Away, Correct, Corrected, Enter, Entered, Gate, GateKey, GateServer, Mark};
use cluster::protocol::node::{Full, Log, Node};
use cluster::protocol::record::{Body, Genesis, LogId, LogRecord, NodeId, Origin, RULES_KNOWN, Routing, encode};
use cluster::protocol::replica::{Delivered, Fault, Replica, Topology};
use domain::coupon::{self, Coupon, Settings, TargetBy};
use domain::fields::{Fields, Value};
use domain::hash::HashSeed;
use domain::rate_limit::policies::{Limit, LimitAlgorithm, Numbers, PolicySettings};
use domain::request::{Fingerprint, Keyed};
use domain::state::Precondition;
use domain::types::{LimitKey, Name, Quantity, RequestId, RequestKey, SubjectId, Timestamp};
use domain::workload::{AnyPatch, AnySettings};
use domain::{Action, Command, Kind};
use engine::limits::Limits;

pub(crate) const LOG: LogId = LogId([7; 16]);
/// The code key that the servers have.
pub(crate) const CODE_KEY: u32 = 1;

pub(crate) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub(crate) fn name(name: &str) -> Name<'_> {
    Name::new(name).unwrap()
}

pub(crate) fn subject(subject: &str) -> SubjectId<'_> {
    SubjectId::new(subject).unwrap()
}

pub(crate) fn settings(stock: u32) -> Settings {
    let stock = Quantity::new(stock).unwrap();
    Settings::plain(stock)
}

pub(crate) fn keyed<'a>(command: Command<'a>, key: &'a str) -> Command<'a> {
    Command { request: Some(Keyed { key: RequestKey::new(key).unwrap(), fingerprint: Fingerprint([1; 16]) }), ..command }
}

pub(crate) fn put(campaign: &str, settings: Settings) -> Command<'_> {
    put_any(campaign, AnySettings::Campaign(Settings { code_key: CODE_KEY, ..settings }))
}

pub(crate) fn put_any(aggregate: &str, settings: AnySettings) -> Command<'_> {
    Command::local(Action::Put { name: name(aggregate), settings, precondition: Precondition::Always })
}

pub(crate) fn restock(campaign: &str, stock: u32) -> Command<'_> {
    let mut patch = AnyPatch::none(Kind::Campaign);
    patch.set("stock", Value::Number(stock.into())).unwrap();
    Command::local(Action::Patch { name: name(campaign), patch, precondition: Precondition::Always })
}

/// A policy of so many requests a second.
pub(crate) fn put_policy(policy: &str, quota: u64) -> Command<'_> {
    let settings = PolicySettings { algorithm: LimitAlgorithm::FixedWindow, quota, window_ms: Some(1_000), ..Fields::least() };
    put_any(policy, AnySettings::Policy(settings))
}

pub(crate) fn put_override<'a>(policy: &'a str, key: &'a str, quota: u32) -> Command<'a> {
    Command::local(Action::of::<Limit>(name(policy), overriding(key, quota)))
}

pub(crate) fn overriding(key: &str, quota: u32) -> domain::rate_limit::policies::Command<'_> {
    let numbers = Numbers { quota, window_ns: 1_000_000_000, burst: 0 };
    domain::rate_limit::policies::Command::PutOverride { key: LimitKey::new(key).unwrap(), numbers }
}

pub(crate) fn claim<'a>(campaign: &'a str, who: &'a str) -> Command<'a> {
    Command::local(Action::of::<Coupon>(name(campaign), coupon::Command::Claim { subject: subject(who) }))
}

pub(crate) fn cancel<'a>(campaign: &'a str, who: &'a str) -> Command<'a> {
    let by = TargetBy::Subject { subject: subject(who) };
    Command::local(Action::of::<Coupon>(name(campaign), coupon::Command::Cancel { by }))
}

pub(crate) fn redeem<'a>(campaign: &'a str, who: &'a str) -> Command<'a> {
    let by = TargetBy::Subject { subject: subject(who) };
    Command::local(Action::of::<Coupon>(name(campaign), coupon::Command::Redeem { by }))
}

pub(crate) fn genesis(partitions: u32) -> Vec<u8> {
    let genesis = Genesis { log: LOG, partitions, rules: RULES_KNOWN };
    of_partition(0, Body::Genesis(genesis))
}

pub(crate) fn of_partition(partition: u32, body: Body<'_>) -> Vec<u8> {
    encode(&LogRecord {
        origin: Origin { node: NodeId(9), sequence: 1 },
        sent_at: Timestamp::MAX,
        routing: Routing::Partition(partition),
        body,
    })
}

/// The record of a caller's command in a group, by some node.
pub(crate) fn commanded(group: &str, command: Command<'_>) -> Vec<u8> {
    let body = Body::Command { request_id: RequestId::new("request:1").unwrap(), command };
    of_group(group, body)
}

pub(crate) fn of_group(group: &str, body: Body<'_>) -> Vec<u8> {
    encode(&LogRecord { origin: Origin { node: NodeId(9), sequence: 1 }, sent_at: Timestamp::MAX, routing: Routing::Group(group), body })
}

/// What a log holds, and what it is told to do wrong. It has one partition.
#[derive(Debug, Default)]
pub(crate) struct Records {
    list: Mutex<Vec<(u64, Vec<u8>)>>,
    pub(crate) is_full: AtomicBool,
    /// What is appended from now on is lost.
    pub(crate) loses: AtomicBool,
}

#[derive(Clone, Debug)]
pub(crate) struct MemoryLog(pub(crate) Arc<Records>);

impl Log for MemoryLog {
    fn append(&self, _partition: u32, _key: &str, bytes: Vec<u8>) -> Result<(), Full> {
        if self.0.is_full.load(Ordering::Relaxed) {
            return Err(Full);
        }
        if !self.0.loses.load(Ordering::Relaxed) {
            self.0.add(bytes);
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        Timestamp::MAX
    }
}

impl Records {
    pub(crate) fn add(&self, bytes: Vec<u8>) {
        let mut list = self.list.lock().unwrap();
        let at = list.last().map_or(1_000, |(at, _)| at + 1);
        list.push((at, bytes));
    }

    /// The same, at a broker's time that is not before the last one's.
    pub(crate) fn add_at(&self, at: u64, bytes: Vec<u8>) {
        let mut list = self.list.lock().unwrap();
        let at = list.last().map_or(at, |(last, _)| at.max(*last));
        list.push((at, bytes));
    }

    pub(crate) fn list(&self) -> Vec<(u64, Vec<u8>)> {
        self.list.lock().unwrap().clone()
    }
}

/// Gates in memory, by the model; `is_away` refuses every call, `calls` counts them.
#[derive(Debug, Default)]
pub(crate) struct MemoryGates {
    pub(crate) gates: Mutex<BTreeMap<(Kind, String), Gate>>,
    pub(crate) is_away: AtomicBool,
    /// The effect takes place, and the answer is lost.
    pub(crate) loses_answers: AtomicBool,
    pub(crate) calls: Mutex<Vec<Call>>,
    pub(crate) millis: AtomicU64,
    /// How long a call takes.
    pub(crate) delay_millis: AtomicU64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Enter(Enter),
    Correct(Correct),
    Unmark(Mark),
}

impl MemoryGates {
    async fn call<T>(&self, call: Call, effect: impl FnOnce(&mut Option<Gate>, u64) -> T, key: &GateKey) -> Result<T, Away> {
        self.calls.lock().unwrap().push(call);
        let delay = self.delay_millis.load(Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
        if self.is_away.load(Ordering::Relaxed) {
            return Err(Away("it is told to be".to_owned()));
        }
        let value = {
            let mut gates = self.gates.lock().unwrap();
            let key = (key.kind, key.name.clone());
            let mut place = gates.remove(&key);
            let value = effect(&mut place, self.millis.load(Ordering::Relaxed));
            place.into_iter().for_each(|gate| drop(gates.insert(key.clone(), gate)));
            value
        };
        if self.loses_answers.load(Ordering::Relaxed) { Err(Away("its answer is lost".to_owned())) } else { Ok(value) }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn entered(&self) -> Vec<Enter> {
        let calls = self.calls().into_iter();
        calls.filter_map(|call| if let Call::Enter(enter) = call { Some(enter) } else { None }).collect()
    }
}

impl GateServer for MemoryGates {
    async fn enter(&self, enter: &Enter) -> Result<Entered, Away> {
        let call = Call::Enter(enter.clone());
        self.call(call, |gate, now| Gate::enter(gate.as_mut(), enter, now), &enter.key).await
    }

    async fn correct(&self, correct: &Correct) -> Result<Corrected, Away> {
        let call = Call::Correct(correct.clone());
        self.call(call, |gate, now| Gate::correct(gate, correct, now), &correct.key).await
    }

    async fn unmark(&self, key: &GateKey, mark: Mark) -> Result<(), Away> {
        self.call(Call::Unmark(mark), |gate, _| gate.iter_mut().for_each(|gate| gate.unmark(mark)), key).await
    }
}

pub(crate) type TestNode = Node<MemoryLog, MemoryGates>;

/// A log of one partition, a gate, and nodes on them that apply records when they are told to.
pub(crate) struct World {
    pub(crate) records: Arc<Records>,
    pub(crate) gates: Arc<MemoryGates>,
}

pub(crate) const LIMITS: Limits = Limits { entries_max: 1_000, requests_max: 100, aggregates_max: 10, ..Limits::STANDARD };

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { records: Arc::default(), gates: Arc::default() };
        world.records.add(genesis(1));
        world
    }

    pub(crate) fn node(&self, id: u64) -> Arc<TestNode> {
        self.limited_node(id, LIMITS)
    }

    pub(crate) fn limited_node(&self, id: u64, limits: Limits) -> Arc<TestNode> {
        self.node_with(id, limits, Replica::new(Topology { partition: 0, partitions: 1 }, RULES_KNOWN, HashSeed(id, 2)))
    }

    pub(crate) fn node_with(&self, id: u64, limits: Limits, replica: Replica) -> Arc<TestNode> {
        let log = MemoryLog(Arc::clone(&self.records));
        Arc::new(Node::new(NodeId(id), LOG, log, Some(Arc::clone(&self.gates)), limits, vec![replica]))
    }

    /// The node applies everything that is in the log.
    pub(crate) fn deliver(&self, node: &TestNode) -> Result<(), Fault> {
        let (from, list) = (node.progress()[0].offset_next, self.records.list());
        let records = (0..).zip(&list).skip(usize::try_from(from).unwrap());
        node.apply(0, records.map(|(offset, (millis, bytes))| Delivered { offset, at: at(*millis), bytes }))
    }

    /// The same, and everybody who waits has gone as far as they can.
    pub(crate) async fn settle(&self, nodes: &[&TestNode]) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
            nodes.iter().for_each(|node| self.deliver(node).unwrap());
        }
    }
}
