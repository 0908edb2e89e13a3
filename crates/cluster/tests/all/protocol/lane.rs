//! The way of an aggregate's commands through the gate on one node.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use cluster::protocol::gate::{GateKey, GateVerdict, Mark, Settled};
use cluster::protocol::lane::{Lane, LaneVerdict, Standing};
use cluster::protocol::limits::{GATE_CALL_MAX, LANE_WAITING_MAX, UNGATED_MAX};
use cluster::protocol::record::NodeId;
use domain::Kind;
use domain::workload::Units;
use proptest::prelude::*;

use super::support::{Call, LOG, MemoryGates};

type TestLane = Arc<Lane<MemoryGates>>;

const PASSED: LaneVerdict = LaneVerdict::Gate(GateVerdict::Passed);
const SOLD_OUT: LaneVerdict = LaneVerdict::Gate(GateVerdict::SoldOut);

fn key() -> GateKey {
    GateKey { log: LOG, partition: 0, kind: Kind::Campaign, name: "spring".to_owned() }
}

fn lane(gates: &Arc<MemoryGates>, node: u64) -> TestLane {
    Lane::new(Some(Arc::clone(gates)), key(), NodeId(node))
}

fn standing(offset_next: u64, remaining: u64) -> Standing {
    Standing { offset_next, units: Units { remaining, stock: 100 } }
}

fn mark(number: usize) -> Option<Mark> {
    Some(Mark { set: 0, number: i32::try_from(number).unwrap() })
}

fn spawn(lane: &TestLane, number: usize, standing: Standing) -> tokio::task::JoinHandle<LaneVerdict> {
    let lane = Arc::clone(lane);
    tokio::spawn(async move { lane.enter(mark(number), standing).await })
}

async fn rest() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test(start_paused = true)]
async fn claims_that_come_during_a_call_go_together_with_the_next() {
    let gates = Arc::new(MemoryGates::default());
    gates.delay_millis.store(5, Ordering::Relaxed);
    let lane = lane(&gates, 1);
    let first = spawn(&lane, 0, standing(10, 600));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let others: Vec<_> = (1..=GATE_CALL_MAX + 4).map(|number| spawn(&lane, number, standing(10, 600))).collect();
    assert_eq!(first.await.unwrap(), PASSED);
    for other in others {
        assert_eq!(other.await.unwrap(), PASSED);
    }
    // The first found the gate empty, filled it and asked again.
    let counts: Vec<usize> = gates.entered().iter().map(|enter| enter.marks.len()).collect();
    assert_eq!(counts, [1, 1, GATE_CALL_MAX, 4]);
    assert!(!lane.is_idle(), "they are in flight");
}

/// A correction is due every second, and each call to a gate that hangs takes as long.
#[tokio::test(start_paused = true)]
async fn while_the_gate_hangs_corrections_do_not_keep_claims_waiting() {
    let gates = Arc::new(MemoryGates::default());
    gates.is_away.store(true, Ordering::Relaxed);
    gates.delay_millis.store(1_000, Ordering::Relaxed);
    let lane = lane(&gates, 1);
    let keeping = tokio::spawn({
        let lane = Arc::clone(&lane);
        async move {
            loop {
                lane.correct(standing(10, 1));
                tokio::time::sleep(Duration::from_millis(990)).await;
            }
        }
    });
    rest().await;
    for number in 0..3 {
        let told = tokio::time::timeout(Duration::from_millis(2_500), spawn(&lane, number, standing(10, 1))).await;
        assert_eq!(told.expect("a claim waits for ever").unwrap(), LaneVerdict::Away);
    }
    let corrections = gates.calls().iter().filter(|call| matches!(call, Call::Correct(_))).count();
    assert!(2 <= corrections, "claims do not keep corrections waiting either");
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_during_the_call_gives_the_unit_back() {
    let gates = Arc::new(MemoryGates::default());
    gates.delay_millis.store(5, Ordering::Relaxed);
    let lane = lane(&gates, 1);
    let gone = spawn(&lane, 0, standing(10, 1));
    tokio::time::sleep(Duration::from_millis(1)).await;
    gone.abort();
    rest().await;
    assert!(lane.is_idle());
    assert_eq!(spawn(&lane, 1, standing(10, 1)).await.unwrap(), PASSED);
    assert_eq!(gates.entered().last().unwrap().settled, Settled { taken: 0, returned: 1, offset: 0 });
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_before_hearing_the_verdict_gives_the_unit_back() {
    let gates = Arc::new(MemoryGates::default());
    let lane = lane(&gates, 1);
    {
        let mut entering = pin!(lane.enter(mark(0), standing(10, 1)));
        let is_waiting = poll_fn(|context| Poll::Ready(entering.as_mut().poll(context).is_pending())).await;
        assert!(is_waiting);
        rest().await;
        assert!(!lane.is_idle(), "the verdict is there, and nobody has heard it");
    }
    assert!(lane.is_idle());
    assert_eq!(spawn(&lane, 1, standing(10, 1)).await.unwrap(), PASSED);
}

/// The correction that fills a lost gate says all that is in flight; what was settled before it
/// must not be told a second time.
#[tokio::test(start_paused = true)]
async fn what_was_settled_is_not_told_again_after_a_refill() {
    let gates = Arc::new(MemoryGates::default());
    let lane = lane(&gates, 1);
    for number in 0..4 {
        assert_eq!(spawn(&lane, number, standing(10, 4)).await.unwrap(), PASSED);
    }
    lane.returned();
    lane.returned();
    gates.gates.lock().unwrap().clear();
    // Two are in flight, and two of the four are free.
    for number in 4..6 {
        assert_eq!(spawn(&lane, number, standing(10, 4)).await.unwrap(), PASSED);
    }
    assert_eq!(spawn(&lane, 6, standing(10, 4)).await.unwrap(), SOLD_OUT);
}

#[tokio::test(start_paused = true)]
async fn where_the_gate_is_away_everybody_is_told_and_it_goes_on_when_it_is_back() {
    let gates = Arc::new(MemoryGates::default());
    let lane = lane(&gates, 1);
    gates.is_away.store(true, Ordering::Relaxed);
    let asking: Vec<_> = (0..3).map(|number| spawn(&lane, number, standing(10, 5))).collect();
    for one in asking {
        assert_eq!(one.await.unwrap(), LaneVerdict::Away);
    }
    gates.is_away.store(false, Ordering::Relaxed);
    gates.loses_answers.store(true, Ordering::Relaxed);
    assert_eq!(spawn(&lane, 3, standing(10, 5)).await.unwrap(), LaneVerdict::Away);
    gates.loses_answers.store(false, Ordering::Relaxed);
    // It was filled, and the first claim may have been let pass; a correction makes up for it.
    lane.correct(standing(10, 5));
    rest().await;
    let asking: Vec<_> = (4..10).map(|number| spawn(&lane, number, standing(10, 5))).collect();
    let mut passed = 0;
    for one in asking {
        passed += usize::from(one.await.unwrap() == PASSED);
    }
    assert_eq!(passed, 5);
}

#[tokio::test(start_paused = true)]
async fn without_a_gate_nobody_is_asked() {
    let lane: TestLane = Lane::new(None, key(), NodeId(1));
    assert_eq!(lane.enter(mark(0), standing(10, 5)).await, LaneVerdict::Away);
    lane.correct(standing(10, 5));
    lane.unmark(Mark { set: 0, number: 0 });
    assert!(lane.is_idle());
}

#[tokio::test(start_paused = true)]
async fn only_so_many_wait() {
    let gates = Arc::new(MemoryGates::default());
    gates.delay_millis.store(1_000, Ordering::Relaxed);
    let lane = lane(&gates, 1);
    let waiting: Vec<_> = (0..=LANE_WAITING_MAX + 1).map(|_| spawn(&lane, 0, standing(10, 5))).collect();
    rest().await;
    assert!(waiting.last().unwrap().is_finished());
    assert_eq!(waiting.iter().filter(|one| one.is_finished()).count(), 2, "those above the limit, while one call is under way");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn only_a_few_go_without_the_gates_leave() {
    let lane: TestLane = Lane::new(None, key(), NodeId(1));
    let mut places = Vec::new();
    for _ in 0..UNGATED_MAX {
        places.push(lane.ungated().await.unwrap());
    }
    let next = tokio::spawn({
        let lane = Arc::clone(&lane);
        async move { lane.ungated().await.is_some() }
    });
    rest().await;
    assert!(!next.is_finished());
    places.pop();
    assert!(next.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_correction_that_would_not_know_what_was_settled_is_not_sent() {
    let gates = Arc::new(MemoryGates::default());
    let lane = lane(&gates, 1);
    assert_eq!(spawn(&lane, 0, standing(10, 1)).await.unwrap(), PASSED);
    let corrections = |gates: &MemoryGates| gates.calls().iter().filter(|call| matches!(call, Call::Correct(_))).count();
    let before = corrections(&gates);
    lane.taken(Some(10));
    lane.correct(standing(10, 1));
    rest().await;
    assert_eq!(corrections(&gates), before);
    lane.correct(standing(11, 0));
    rest().await;
    assert_eq!(corrections(&gates), before + 1);
    assert_eq!(spawn(&lane, 1, standing(11, 0)).await.unwrap(), SOLD_OUT);
}

/// Two nodes on one gate and one record. Claims that passed are decided in any order; each node
/// knows the record up to a place of its own, and settles and corrects whenever it likes.
struct Nodes {
    lanes: [TestLane; 2],
    stock: u64,
    /// Of each node: passed, and not in the record yet.
    passed: [u64; 2],
    /// Whose claim is at each place from offset 2 on.
    record: Vec<usize>,
    /// How much of the record each knows, and has settled.
    known: [usize; 2],
    settled: [usize; 2],
    passed_count: u64,
    asked: usize,
}

impl Nodes {
    fn standing(&self, node: usize) -> Standing {
        let known = self.known[node] as u64;
        standing(2 + known, self.stock - known)
    }

    async fn step(&mut self, step: u8) {
        let node = usize::from(step % 2);
        match step / 2 % 8 {
            0..=2 => {
                self.asked += 1;
                if spawn(&self.lanes[node], self.asked, self.standing(node)).await.unwrap() == PASSED {
                    self.passed[node] += 1;
                    self.passed_count += 1;
                }
            }
            3 if 0 < self.passed[node] => {
                self.passed[node] -= 1;
                self.record.push(node);
            }
            4 if self.known[node] < self.record.len() => self.known[node] += 1,
            5 | 6 => {
                while self.settled[node] < self.known[node] {
                    let place = self.settled[node];
                    if self.record[place] == node {
                        self.lanes[node].taken(Some(2 + place as u64));
                    }
                    self.settled[node] += 1;
                }
            }
            _ => {
                self.lanes[node].correct(self.standing(node));
                rest().await;
            }
        }
    }
}

proptest! {
    /// Nobody goes away, nothing is lost: then the gate lets no more pass than there is.
    #[test]
    fn corrections_while_claims_are_settling_let_no_more_pass_than_there_is(
        steps in prop::collection::vec(any::<u8>(), 0..300),
        stock in 1..12_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let gates = Arc::new(MemoryGates::default());
            let lanes = [lane(&gates, 1), lane(&gates, 2)];
            let (passed, known, settled) = ([0, 0], [0, 0], [0, 0]);
            let mut nodes = Nodes { lanes, stock, passed, record: Vec::new(), known, settled, passed_count: 0, asked: 0 };
            for step in steps {
                nodes.step(step).await;
                prop_assert!(nodes.passed_count <= stock, "{} of {} passed", nodes.passed_count, stock);
            }
            Ok(())
        })?;
    }
}
