//! What stands on every node beside campaigns, and commands on two aggregates of a group.

use std::sync::{Arc, Mutex};

use cluster::protocol::limits::GATE_PATIENCE;
use cluster::protocol::node::{Full, Log, Node};
use cluster::protocol::record::{Body, NodeId, RULES_KNOWN, decode};
use cluster::protocol::replica::{Replica, Topology};
use domain::coupon::{self, Coupon, TargetBy};
use domain::hash::HashSeed;
use domain::rate_limit::policies::{self, Limit};
use domain::state::Precondition;
use domain::types::RequestId;
use domain::{Action, Command, Kind, Listed, Novelty};
use engine::views::{Done, Effect, Over};

use super::node::{Answer, appended, ask, code, opened, rest, serial};
use super::support::{LIMITS, LOG, MemoryGates, World, at, cancel, claim, keyed, name, put_override, put_policy};

#[tokio::test(start_paused = true)]
async fn policies_stand_on_every_node_and_every_node_may_change_them() {
    let world = World::new();
    let (node, other) = (world.node(1), world.node(2));
    ask(&world, &node, put_policy("api", 100)).await.unwrap();
    let quota = |answer: &Answer| answer.as_ref().unwrap().summary::<Limit>().map(|summary| (summary.head.version, summary.settings.quota));
    let done = ask(&world, &other, put_policy("api", 50)).await;
    assert_eq!(quota(&done), Some((2, 50)));
    ask(&world, &node, put_override("api", "ann", 7)).await.unwrap();
    let looking = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.read_one(name("api"), |state, _| state.get::<Limit>(name("api")).map(|policy| policy.items.overrides.len())).await }
    });
    world.settle(&[&node, &other]).await;
    assert_eq!(looking.await.unwrap(), Ok(Some(1)));
    // A request key repeats the first answer on another node, also to a policy.
    let keyed_put = keyed(put_override("api", "ben", 8), "k1");
    assert_eq!(ask(&world, &node, keyed_put).await.unwrap().novelty, Novelty::Fresh);
    let again = ask(&world, &other, keyed_put).await.unwrap();
    assert_eq!(again.novelty, Novelty::Replayed);
    assert!(matches!(again.shown::<Limit>(), Some((policies::Outcome::OverrideWritten { numbers, .. }, _)) if numbers.quota == 8));
    let remove = Command::local(Action::Remove { kind: Kind::Policy, name: name("api"), precondition: Precondition::Version(2) });
    assert!(matches!(ask(&world, &other, remove).await, Ok(Done { effect: Effect::Removed { .. }, .. })));
    assert_eq!(code(&ask(&world, &node, put_override("api", "ann", 7)).await), "policy_not_found");
    assert_eq!(code(&ask(&world, &node, remove).await), "policy_not_found");
    world.deliver(&other).unwrap();
    assert_eq!(node.progress(), other.progress());
}

fn both(first: Command<'static>, second: Command<'static>) -> Command<'static> {
    match (first.action, second.action) {
        (Action::Do(first), Action::Do(second)) => Command::local(Action::DoBoth(first, second)),
        other => panic!("{other:?}"),
    }
}

fn claim_and_override(campaign: &'static str, policy: &'static str, who: &'static str) -> Command<'static> {
    both(claim(campaign, who), put_override(policy, who, 5))
}

/// Where records go, of a log of several partitions.
#[derive(Debug, Default)]
struct Destinations(Mutex<Vec<(u32, String)>>);

impl Log for Destinations {
    fn append(&self, partition: u32, key: &str, _bytes: Vec<u8>) -> Result<(), Full> {
        self.0.lock().unwrap().push((partition, key.to_owned()));
        Ok(())
    }

    fn now(&self) -> domain::types::Timestamp {
        domain::types::Timestamp::MAX
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_one_group_goes_to_one_partition() {
    let replica = |partition| Replica::new(Topology { partition, partitions: 8 }, RULES_KNOWN, HashSeed(1, 2));
    let replicas = (0..8).map(replica).collect();
    let node: Node<Destinations, MemoryGates> = Node::new(NodeId(1), LOG, Destinations::default(), None, LIMITS, replicas);
    let node = Arc::new(node);
    for name in ["spring", "spring:vip", "spring:api:1", "a", "a:spring"] {
        let node = Arc::clone(&node);
        let asking = tokio::spawn(async move { node.submit(&put_policy(name, 1), RequestId::new("request:1").unwrap()).await });
        rest().await;
        asking.abort();
    }
    let (spring, a) = ((4, "spring".to_owned()), (5, "a".to_owned()));
    assert_eq!(*node.log().0.lock().unwrap(), [spring.clone(), spring.clone(), spring, a.clone(), a]);
}

/// The same command a second time touches no other entry, and the subject may have a unit again.
#[tokio::test(start_paused = true)]
async fn a_command_on_two_aggregates_names_its_entries_and_its_subjects_mark_is_forgotten() {
    let (world, node) = opened(5).await;
    ask(&world, &node, put_policy("spring:api", 100)).await.unwrap();
    ask(&world, &node, claim("spring", "ann")).await.unwrap();
    ask(&world, &node, both(cancel("spring", "ann"), put_override("spring:api", "ann", 1))).await.unwrap();
    let (_, record) = world.records.list().pop().unwrap();
    let Body::Command { command, .. } = decode(&record).unwrap().body else { panic!("it is the command's") };
    let step = command.action.steps().next().unwrap();
    let Some(coupon::Command::Cancel { by: TargetBy::SubjectSerial { serial: named, .. } }) = Coupon::command(&step.command) else {
        panic!("{step:?}")
    };
    assert_eq!(named.get(), 1);
    rest().await;
    let before = tokio::time::Instant::now();
    assert_eq!(serial(&ask(&world, &node, claim("spring", "ann")).await), 2);
    assert!(before.elapsed() < GATE_PATIENCE, "the gate has no mark of ann any more");
}

#[tokio::test(start_paused = true)]
async fn two_aggregates_of_a_group_change_in_one_decision_whichever_node_is_asked() {
    let (world, node) = opened(2).await;
    let other = world.node(2);
    ask(&world, &other, put_policy("spring:api", 100)).await.unwrap();
    let (commands, _) = appended(&world);
    for (node, who) in [(&node, "ann"), (&other, "ben")] {
        let done = ask(&world, node, claim_and_override("spring", "spring:api", who)).await.unwrap();
        assert!(matches!(done.effect, Effect::DidBoth(..)), "{done:?}");
    }
    assert_eq!(appended(&world).0, commands + 2);
    assert_eq!(code(&ask(&world, &node, claim_and_override("spring", "spring:api", "cat")).await), "sold_out");
    let again = ask(&world, &node, claim_and_override("spring", "spring:api", "ann")).await.unwrap();
    assert_eq!(again.novelty, Novelty::Repeated);
    ask(&world, &other, put_override("spring:api", "ann", 6)).await.unwrap();
    assert_eq!(code(&ask(&world, &node, claim_and_override("spring", "spring:api", "ann")).await), "half_done");
    assert_eq!(code(&ask(&world, &node, claim_and_override("spring", "autumn:api", "cat")).await), "not_one_group");
    assert_eq!(appended(&world).0, commands + 3, "what was refused is not in the log");
    world.deliver(&other).unwrap();
    assert_eq!(node.progress(), other.progress());
    let overrides = node.read_local(Over::One(Kind::Policy, name("spring:api")), at(0), |state, _| {
        state.get::<Limit>(name("spring:api")).unwrap().items.overrides.len()
    });
    assert_eq!(overrides, [2]);
}

/// The gate counts a command that takes a unit among other things as well.
#[tokio::test(start_paused = true)]
async fn a_command_on_two_aggregates_passes_the_gate_of_the_one_that_gives_units_out() {
    let (world, node) = opened(5).await;
    ask(&world, &node, put_policy("spring:api", 100)).await.unwrap();
    assert!(world.gates.entered().is_empty());
    ask(&world, &node, claim_and_override("spring", "spring:api", "ann")).await.unwrap();
    ask(&world, &node, put_override("spring:api", "ben", 3)).await.unwrap();
    let entered = world.gates.entered();
    assert!(!entered.is_empty() && entered.iter().all(|enter| (enter.key.kind, &*enter.key.name) == (Kind::Campaign, "spring")));
    assert_eq!(entered.last().unwrap().marks.len(), 1);
}
