//! A request's way from the call to the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster::protocol::limits::{ANSWER_TIME_MAX, BARRIER_TIME_MAX, GATE_PATIENCE, UNGATED_MAX};
use cluster::protocol::record::{Body, Genesis, LogId, RULES_KNOWN, RulesVersion, decode};
use cluster::protocol::replica::{Delivered, Fault};
use domain::coupon::{self, ClaimView, Coupon, Settings, TargetBy};
use domain::types::{RequestId, Serial, Timestamp};
use domain::{Action, Command, Kind, Listed, Novelty, State};
use engine::limits::Limits;
use engine::views::{Done, Effect, Over, Refusal};
use tokio::task::JoinHandle;

use super::support::{
    LIMITS, TestNode, World, at, cancel, claim, commanded, keyed, name, of_group, of_partition, put, redeem, settings, subject,
};

pub(super) type Answer = Result<Done, Refusal>;

fn submit(node: &Arc<TestNode>, command: Command<'static>) -> JoinHandle<Answer> {
    let node = Arc::clone(node);
    tokio::spawn(async move { node.submit(&command, RequestId::new("request:1").unwrap()).await })
}

pub(super) async fn rest() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Submits and delivers until it is answered.
pub(super) async fn ask(world: &World, node: &Arc<TestNode>, command: Command<'static>) -> Answer {
    let asking = submit(node, command);
    while !asking.is_finished() {
        rest().await;
        world.deliver(node).unwrap();
    }
    asking.await.unwrap()
}

pub(super) fn serial(answer: &Answer) -> u32 {
    match answer.as_ref().unwrap().shown::<Coupon>().unwrap() {
        (coupon::Outcome::Claimed { serial }, _) => serial.get(),
        other => panic!("{other:?}"),
    }
}

/// What a campaign has left, read as callers read it.
fn remaining(state: &State, _now: Timestamp) -> Option<u32> {
    state.get::<Coupon>(name("spring")).map(|campaign| campaign.items.remaining.get())
}

fn claim_of_ann(state: &State, now: Timestamp) -> Option<ClaimView> {
    let campaign = state.get::<Coupon>(name("spring"))?;
    let claim = campaign.find(TargetBy::Subject { subject: subject("ann") }).ok()?;
    campaign.claim_view(claim.serial, now)
}

pub(super) fn code(answer: &Answer) -> &'static str {
    match answer {
        Err(Refusal::Rejected(rejection)) => rejection.code(),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn opened(stock: u32) -> (World, Arc<TestNode>) {
    opened_with(settings(stock)).await
}

async fn opened_with(settings: Settings) -> (World, Arc<TestNode>) {
    let world = World::new();
    let node = world.node(1);
    world.deliver(&node).unwrap();
    ask(&world, &node, put("spring", settings)).await.unwrap();
    (world, node)
}

/// The commands in the log, and how many barriers there are.
pub(super) fn appended(world: &World) -> (usize, usize) {
    let list = world.records.list();
    let is_barrier = |bytes: &[u8]| decode(bytes).unwrap().body == Body::Barrier;
    let is_command = |bytes: &[u8]| matches!(decode(bytes).unwrap().body, Body::Command { .. });
    (list.iter().filter(|(_, bytes)| is_command(bytes)).count(), list.iter().filter(|(_, bytes)| is_barrier(bytes)).count())
}

#[tokio::test(start_paused = true)]
async fn the_operator_sets_the_time_back_once() {
    let (world, node) = opened(2).await;
    world.records.add_at(90_000_000, of_partition(0, Body::Barrier));
    world.deliver(&node).unwrap();
    assert_eq!(node.status().effective_at, at(90_000_000));
    // Where the time is not ahead, nothing is appended beside the barrier.
    for (to, expected) in [(200_000_000, (at(90_000_001), 1)), (5_000, (at(5_000), 2))] {
        let setting = {
            let node = Arc::clone(&node);
            tokio::spawn(async move { node.set_time(at(to), RequestId::OPERATOR).await })
        };
        while !setting.is_finished() {
            rest().await;
            world.deliver(&node).unwrap();
        }
        assert_eq!(setting.await.unwrap(), Ok(()));
        assert_eq!((node.status().effective_at, appended(&world).0), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_answered_when_its_record_comes_by_and_not_before() {
    let (world, node) = opened(2).await;
    let asking = submit(&node, claim("spring", "ann"));
    rest().await;
    assert_eq!(appended(&world), (2, 0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!asking.is_finished());
    world.deliver(&node).unwrap();
    assert_eq!(serial(&asking.await.unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_a_barrier_that_was_appended_after_it_came() {
    let (world, node) = opened(5).await;
    let other = world.node(2);
    assert_eq!(serial(&ask(&world, &other, claim("spring", "ann")).await), 1);
    let reader = Arc::clone(&node);
    let reading = tokio::spawn(async move { reader.read_one(name("spring"), remaining).await });
    rest().await;
    assert!(!reading.is_finished());
    world.deliver(&node).unwrap();
    assert_eq!(reading.await.unwrap(), Ok(Some(4)));
    let found = {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.read_one(name("spring"), claim_of_ann).await })
    };
    world.settle(&[&node]).await;
    assert_eq!(found.await.unwrap().unwrap().unwrap().serial.get(), 1);
}

/// The node knows the answer already, and does not give it before it has caught up.
#[tokio::test(start_paused = true)]
async fn repeats_and_refusals_wait_for_a_barrier_too() {
    let (world, node) = opened(1).await;
    assert_eq!(serial(&ask(&world, &node, claim("spring", "ann")).await), 1);
    for command in [claim("spring", "ann"), claim("spring", "ben"), claim("winter", "ann"), cancel("spring", "ben")] {
        let (commands, barriers) = appended(&world);
        let asking = submit(&node, command);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!asking.is_finished());
        assert_eq!(appended(&world), (commands, barriers + 1));
        world.deliver(&node).unwrap();
        let answer = asking.await.unwrap();
        assert!(!matches!(answer, Err(Refusal::NotCaughtUp | Refusal::Unknown)), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_granted_if_the_barrier_shows_that_it_may_be() {
    let (world, node) = opened_with(Settings { opens_at: Some(at(1_009)), ..settings(3) }).await;
    assert_eq!(code(&ask(&world, &node, claim("spring", "ann")).await), "not_open");
    // Each record is a millisecond later: soon the barrier itself is late enough.
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(ask(&world, &node, claim("spring", "ann")).await);
    }
    assert_eq!(code(&answers[0]), "not_open");
    assert_eq!(serial(answers.last().unwrap()), 1);
    let (world, node) = opened(1).await;
    let other = world.node(2);
    assert_eq!(serial(&ask(&world, &node, claim("spring", "ann")).await), 1);
    ask(&world, &other, cancel("spring", "ann")).await.unwrap();
    assert_eq!(serial(&ask(&world, &node, claim("spring", "ben")).await), 2, "the node had not seen the cancellation");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_that_comes_twice_does_not_touch_a_later_claim() {
    for by in [cancel, redeem] {
        let (world, node) = opened(5).await;
        ask(&world, &node, claim("spring", "ann")).await.unwrap();
        ask(&world, &node, by("spring", "ann")).await.unwrap();
        let (_, record) = world.records.list().pop().unwrap();
        let Body::Command { command, .. } = decode(&record).unwrap().body else { panic!("it is the command's") };
        let Action::Do(step) = command.action else { panic!("{command:?}") };
        let Some(coupon::Command::Cancel { by } | coupon::Command::Redeem { by }) = Coupon::command(&step.command) else {
            panic!("{command:?}")
        };
        assert!(matches!(by, TargetBy::SubjectSerial { serial, .. } if serial.get() == 1));
        if ask(&world, &node, cancel("spring", "ann")).await.is_ok() {
            panic!("it is cancelled or redeemed");
        }
    }
    let (world, node) = opened(5).await;
    ask(&world, &node, claim("spring", "ann")).await.unwrap();
    ask(&world, &node, cancel("spring", "ann")).await.unwrap();
    let (_, record) = world.records.list().pop().unwrap();
    assert_eq!(serial(&ask(&world, &node, claim("spring", "ann")).await), 2);
    world.records.add(record);
    let again = ask(&world, &node, claim("spring", "ann")).await;
    assert_eq!((serial(&again), again.unwrap().novelty), (2, Novelty::Repeated));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_come_by_is_unknown_and_then_nothing_is_taken_until_something_does() {
    let (world, node) = opened(5).await;
    world.records.loses.store(true, Ordering::Relaxed);
    let asking = submit(&node, claim("spring", "ann"));
    tokio::time::sleep(ANSWER_TIME_MAX + Duration::from_millis(10)).await;
    assert_eq!(asking.await.unwrap(), Err(Refusal::Unknown));
    let before = tokio::time::Instant::now();
    assert_eq!(submit(&node, claim("spring", "ben")).await.unwrap(), Err(Refusal::NotCaughtUp));
    assert_eq!(node.read_one(name("spring"), remaining).await, Err(Refusal::NotCaughtUp));
    assert_eq!((before.elapsed(), node.status().cut_off), (Duration::ZERO, 1));
    world.records.loses.store(false, Ordering::Relaxed);
    node.keep();
    world.deliver(&node).unwrap();
    assert_eq!(node.status().cut_off, 0);
    // The lost claim is in flight as far as the gate knows; nothing else of it is left.
    assert_eq!(serial(&ask(&world, &node, claim("spring", "ben")).await), 1);
    assert_eq!(serial(&ask(&world, &node, claim("spring", "ann")).await), 2);
    assert_eq!(node.status().pending, 0);
}

#[tokio::test(start_paused = true)]
async fn a_read_without_a_barrier_in_time_is_refused_and_the_node_heals() {
    let (world, node) = opened(5).await;
    let before = tokio::time::Instant::now();
    assert_eq!(node.read_one(name("spring"), remaining).await, Err(Refusal::NotCaughtUp), "nothing is delivered");
    assert_eq!(before.elapsed(), BARRIER_TIME_MAX);
    assert_eq!(submit(&node, claim("spring", "ann")).await.unwrap(), Err(Refusal::NotCaughtUp));
    world.deliver(&node).unwrap();
    assert_eq!(serial(&ask(&world, &node, claim("spring", "ann")).await), 1);
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_room_for_is_not_appended() {
    let (world, node) = opened(5).await;
    world.records.is_full.store(true, Ordering::Relaxed);
    assert_eq!(submit(&node, claim("spring", "ann")).await.unwrap(), Err(Refusal::Busy));
    assert_eq!((appended(&world), node.status().pending), ((1, 0), 0));
    world.records.is_full.store(false, Ordering::Relaxed);
    let small = world.limited_node(3, Limits { entries_max: 1, requests_max: 1, aggregates_max: 1, ..LIMITS });
    world.deliver(&small).unwrap();
    assert_eq!(ask(&world, &small, put("winter", settings(5))).await, Err(Refusal::MemoryLimit("campaigns")));
    assert_eq!(serial(&ask(&world, &small, keyed(claim("spring", "ann"), "k1")).await), 1);
    assert_eq!(ask(&world, &small, keyed(cancel("spring", "ann"), "k2")).await, Err(Refusal::MemoryLimit("request_keys")));
    assert_eq!(ask(&world, &small, claim("spring", "ben")).await, Err(Refusal::MemoryLimit("claims")));
    assert_eq!(serial(&ask(&world, &small, claim("spring", "ann")).await), 1, "a repeat needs no room");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_failed_tells_everybody_that_nobody_knows_and_takes_nothing_more() {
    let (world, node) = opened(5).await;
    let reader = Arc::clone(&node);
    let (claiming, reading) =
        (submit(&node, claim("spring", "ann")), tokio::spawn(async move { reader.read_one(name("spring"), remaining).await }));
    rest().await;
    world.records.add(super::support::of_partition(0, Body::Rules(RulesVersion(RULES_KNOWN.0 + 1))));
    // The claim's record is before the fault and may be answered; what nobody heard is unknown.
    assert!(matches!(world.deliver(&node), Err(Fault::UnknownRules { .. })));
    node.fail();
    assert_eq!(claiming.await.unwrap(), Err(Refusal::Unknown));
    assert_eq!(reading.await.unwrap(), Err(Refusal::NotCaughtUp));
    assert_eq!(submit(&node, claim("spring", "ben")).await.unwrap(), Err(Refusal::Stopping));
    assert!(node.has_failed());
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_is_wrong_is_not_believed_for_long() {
    let (world, node) = opened(5).await;
    let other = world.node(2);
    world.deliver(&other).unwrap();
    // The other node lets five pass that never arrive.
    world.records.loses.store(true, Ordering::Relaxed);
    let names = ["a", "b", "c", "d", "e"];
    let lost: Vec<_> = names.map(|who| submit(&other, claim("spring", who))).into();
    rest().await;
    lost.iter().for_each(JoinHandle::abort);
    rest().await;
    world.records.loses.store(false, Ordering::Relaxed);
    let before = tokio::time::Instant::now();
    assert_eq!(serial(&ask(&world, &node, claim("spring", "ann")).await), 1, "the gate says sold out, the record does not");
    assert!(GATE_PATIENCE <= before.elapsed());
    assert_eq!(serial(&ask(&world, &node, claim("spring", "a")).await), 2, "the gate has a mark of whom it let pass");
}

#[tokio::test(start_paused = true)]
async fn without_the_gate_a_few_at_a_time_go_to_the_record() {
    let (world, node) = opened(200).await;
    world.gates.is_away.store(true, Ordering::Relaxed);
    let names: Vec<&'static str> = (0..150).map(|number| &*format!("user-{number}").leak()).collect();
    let asking: Vec<_> = names.iter().map(|who| submit(&node, claim("spring", who))).collect();
    rest().await;
    assert_eq!(appended(&world).0, 1 + UNGATED_MAX);
    world.settle(&[&node]).await;
    for one in asking {
        assert!(one.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_nothing_behind() {
    let (world, node) = opened(5).await;
    let asking = submit(&node, claim("spring", "ann"));
    rest().await;
    assert_eq!(node.status().pending, 1);
    asking.abort();
    rest().await;
    assert_eq!(serial(&ask(&world, &node, claim("spring", "ann")).await), 1, "the claim took effect");
    assert_eq!((appended(&world).0, node.status().pending), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_key_repeats_its_answer_on_another_node() {
    let (world, node) = opened(5).await;
    let other = world.node(2);
    let done = ask(&world, &node, keyed(cancel("spring", "ann"), "k1")).await;
    assert_eq!(code(&done), "claim_not_found");
    ask(&world, &node, claim("spring", "ann")).await.unwrap();
    ask(&world, &node, keyed(cancel("spring", "ann"), "k1")).await.unwrap();
    let again = ask(&world, &other, keyed(cancel("spring", "ann"), "k1")).await.unwrap();
    assert!(matches!(again.shown::<Coupon>(), Some((coupon::Outcome::Cancelled { .. }, _))));
    assert_eq!(again.novelty, Novelty::Replayed);
    assert_eq!(node.compare(0, &other.progress()[0]), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn records_of_other_nodes_answer_nobody_here() {
    let (world, node) = opened(5).await;
    let asking = submit(&node, claim("spring", "ann"));
    rest().await;
    // The same sequence, of another node.
    world.records.add(commanded("spring", claim("spring", "ben")));
    world.deliver(&node).unwrap();
    assert_eq!(serial(&asking.await.unwrap()), 1);
    assert_eq!(node.status().counts.kinds().find(|(kind, _, _)| *kind == Kind::Campaign), Some((Kind::Campaign, 1, 2)));
}

#[tokio::test(start_paused = true)]
async fn rules_are_switched_for_everybody_by_a_record() {
    let (world, node) = opened(5).await;
    node.switch_rules(RulesVersion(2)).unwrap();
    let fault = world.deliver(&node).unwrap_err();
    assert!(matches!(fault, Fault::UnknownRules { wanted: 2, known: 1, .. }), "{fault}");
}

/// A mark that stayed would hold its subject up until the gate is not believed any more.
#[tokio::test(start_paused = true)]
async fn whoever_was_refused_for_want_of_room_may_ask_again_at_once() {
    let (world, node) = opened(5).await;
    world.records.is_full.store(true, Ordering::Relaxed);
    assert_eq!(submit(&node, claim("spring", "ann")).await.unwrap(), Err(Refusal::Busy));
    world.records.is_full.store(false, Ordering::Relaxed);
    rest().await;
    let before = tokio::time::Instant::now();
    assert_eq!(serial(&ask(&world, &node, claim("spring", "ann")).await), 1);
    assert!(before.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_begins_otherwise_than_this_one_stops_the_node() {
    let world = World::new();
    let node = world.node(1);
    let other = Genesis { log: LogId([8; 16]), partitions: 1, rules: RULES_KNOWN };
    let bytes = of_partition(0, Body::Genesis(other));
    let delivered = node.apply(0, std::iter::once(Delivered { offset: 0, at: at(1), bytes: &bytes }));
    assert!(matches!(delivered, Err(Fault::Genesis { partition: 0, .. })), "{delivered:?}");
}

fn queued(stock: u32) -> Settings {
    Settings { mode: coupon::queue::Mode::Queued, decisions_per_second_max: Some(1), ..settings(stock) }
}

fn decide_next(serial: u32, who: &'static str) -> Command<'static> {
    let command = coupon::Command::DecideNext { serial: Serial::new(serial).unwrap(), subject: subject(who) };
    Command::local(Action::of::<Coupon>(name("spring"), command))
}

fn due_in_log(world: &World) -> usize {
    world.records.list().iter().filter(|(_, bytes)| matches!(decode(bytes).unwrap().body, Body::Due(_))).count()
}

/// A caller that gives the engine's own command, under the engine's own request id, gets an answer like
/// any caller: nothing is decided before its time, and no node takes it for another node's work.
#[tokio::test(start_paused = true)]
async fn what_a_caller_sends_never_passes_for_what_a_node_gave_because_it_was_due() {
    let (world, node) = opened_with(queued(5)).await;
    ask(&world, &node, claim("spring", "ann")).await.unwrap();
    ask(&world, &node, claim("spring", "ben")).await.unwrap();
    let forged = {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.submit(&decide_next(2, "ben"), RequestId::ENGINE).await })
    };
    world.settle(&[&node]).await;
    let answer = forged.await.unwrap().unwrap();
    assert_eq!((answer.effect, due_in_log(&world)), (Effect::Nothing, 0), "its time has not come");
    let pending = node.read_local(Over::All, at(0), |state, _| state.get::<Coupon>(name("spring")).unwrap().pending().get());
    assert_eq!(pending, [1]);
    // Of another node, in the log: when the time has come, it is decided as a caller's, and this node goes
    // on asking at once, because no other node has shown that it does.
    let body = Body::Command { request_id: RequestId::ENGINE, command: decide_next(2, "ben") };
    ask(&world, &node, claim("spring", "cat")).await.unwrap();
    world.records.add_at(5_000, of_group("spring", body));
    world.deliver(&node).unwrap();
    let pending = node.read_local(Over::All, at(0), |state, _| state.get::<Coupon>(name("spring")).unwrap().pending().get());
    assert_eq!(pending, [1], "ben is decided, cat waits");
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    node.do_due();
    assert_eq!(due_in_log(&world), 1, "cat is asked for, without waiting for another node");
}

/// Many are asked for at once, each once, by one of the nodes.
#[tokio::test(start_paused = true)]
async fn a_line_is_decided_by_one_node_at_once_and_by_the_other_when_that_one_stops() {
    let paced = Settings { decisions_per_second_max: Some(1_000), ..queued(1_000) };
    let (world, node) = opened_with(paced).await;
    let other = world.node(2);
    let names: Vec<&'static str> = (0..250).map(|number| &*format!("user-{number}").leak()).collect();
    for who in &names {
        world.records.add_at(1_500, commanded("spring", claim("spring", who)));
    }
    world.records.add_at(1_600, of_partition(0, Body::Barrier));
    let deliver = || [&node, &other].iter().for_each(|node| world.deliver(node).unwrap());
    let decided = |node: &TestNode| {
        let decided = |state: &State, _| state.get::<Coupon>(name("spring")).unwrap().claimed().get();
        node.read_local(Over::All, at(0), decided)[0]
    };
    deliver();
    let before = decided(&node);
    node.do_due();
    node.do_due();
    let asked = due_in_log(&world);
    assert_eq!(asked, 100, "what the pace allows at once, each once");
    deliver();
    assert_eq!((decided(&node), decided(&other)), (before + 100, before + 100), "each was decided");
    world.records.add_at(1_800, of_partition(0, Body::Barrier));
    deliver();
    other.do_due();
    assert_eq!(due_in_log(&world), asked, "the other node sees that this one goes on");
    tokio::time::sleep(Duration::from_millis(400)).await;
    world.records.add_at(2_100, of_partition(0, Body::Barrier));
    deliver();
    other.do_due();
    assert!(asked < due_in_log(&world), "it steps in when nothing is decided");
}

#[tokio::test(start_paused = true)]
async fn a_read_of_all_partitions_gives_a_value_for_each() {
    let (world, node) = opened(5).await;
    let reading = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.read(Over::Kind(Kind::Campaign), |state, _| state.count(Kind::Campaign)).await }
    });
    world.settle(&[&node]).await;
    assert_eq!(reading.await.unwrap(), Ok(vec![1]));
    let one = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.read(Over::One(Kind::Campaign, name("spring")), |state, now| (state.count(Kind::Campaign), state.time == now)).await }
    });
    world.settle(&[&node]).await;
    assert_eq!(one.await.unwrap(), Ok(vec![(1, true)]));
    let late = node.read_local(Over::All, at(99_000), |_, now| now);
    assert_eq!(late, [at(99_000)], "a live feed shows what the clock has brought about");
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_partition_that_the_log_does_not_have_stops_the_node() {
    let (world, node) = opened(1).await;
    let asked = submit(&node, claim("spring", "ann"));
    rest().await;
    let bytes = of_partition(3, Body::Barrier);
    let delivered = node.apply(3, std::iter::once(Delivered { offset: 0, at: at(1), bytes: &bytes }));
    let unknown = Fault::UnknownPartition { partition: 3, partitions: node.partitions_count() };
    assert_eq!(delivered, Err(unknown.clone()));
    assert!(unknown.to_string().contains("partition 3"), "{unknown}");
    node.fail();
    assert_eq!(asked.await.unwrap(), Err(Refusal::Unknown));
    drop(world);
}

#[tokio::test(start_paused = true)]
async fn a_position_of_a_partition_that_the_log_does_not_have_is_a_fault() {
    let (_world, node) = opened(1).await;
    let own = node.progress()[0];
    assert_eq!(node.compare(0, &own), Ok(()));
    let unknown = Fault::UnknownPartition { partition: 1, partitions: 1 };
    assert_eq!(node.compare(1, &own), Err(unknown));
}
