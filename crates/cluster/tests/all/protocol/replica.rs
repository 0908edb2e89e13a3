//! One partition's state: the same records give the same state, and what no log should hold stops
//! the node.

use cluster::protocol::record::{Body, Genesis, LogId, LogRecord, NodeId, Origin, RULES_KNOWN, Routing, RulesVersion, encode};
use cluster::protocol::replica::{Applied, Delivered, Fault, Progress, Replica, Topology, Unwatched};
use domain::coupon::{self, Coupon};
use domain::hash::HashSeed;
use domain::rate_limit::policies::Limit;
use domain::state::Precondition;
use domain::types::{RequestId, Serial, Timestamp};
use domain::wire::state::StateBuilder;
use domain::{Action, Command, Kind, Novelty, Number, Rejection, State};
use engine::digest::RunningDigest;
use engine::views::Done;
use proptest::prelude::*;

use super::support::{
    LOG, at, cancel, claim, commanded, genesis, keyed, name, of_group, of_partition, put, put_override, put_policy, redeem, restock,
    settings, subject,
};

const ALONE: Topology = Topology { partition: 0, partitions: 1 };
const DAY_MS: u64 = 86_400_000;

fn replica() -> Replica {
    Replica::new(ALONE, RULES_KNOWN, HashSeed(1, 2))
}

fn give(replica: &mut Replica, millis: u64, bytes: &[u8]) -> Result<Applied, Fault> {
    let offset = replica.offset_next();
    replica.apply(&Delivered { offset, at: at(millis), bytes }, &mut Unwatched)
}

fn begun() -> Replica {
    let mut replica = replica();
    give(&mut replica, 10, &genesis(1)).unwrap();
    replica
}

fn told(applied: Result<Applied, Fault>) -> Result<Done, Rejection> {
    match applied.unwrap() {
        Applied::Command { answer, .. } => answer,
        other => panic!("{other:?}"),
    }
}

fn copy(state: &State) -> State {
    let mut builder = StateBuilder::new(HashSeed(8, 9));
    state.freeze().sections().for_each(|section| builder.section(&section).unwrap());
    builder.finish().unwrap()
}

#[test]
fn a_gap_or_a_record_a_second_time_stops_the_node() {
    let mut replica = begun();
    let barrier = of_partition(0, Body::Barrier);
    for found in [0, 2, 9] {
        let record = Delivered { offset: found, at: at(20), bytes: &barrier };
        assert_eq!(replica.apply(&record, &mut Unwatched), Err(Fault::Gap { partition: 0, expected: 1, found }));
    }
    assert!(give(&mut replica, 20, &barrier).is_ok());
}

/// A claim's record that its node appended at this time.
fn claimed_at(sent_at: Timestamp, who: &str) -> Vec<u8> {
    let body = Body::Command { request_id: RequestId::new("request:1").unwrap(), command: claim("spring", who) };
    encode(&LogRecord { origin: Origin { node: NodeId(9), sequence: 1 }, sent_at, routing: Routing::Group("spring"), body })
}

#[test]
fn a_clock_that_is_ahead_alone_moves_no_time() {
    let mut replica = begun();
    let window = coupon::Settings { opens_at: Some(at(5_000)), closes_at: Some(at(DAY_MS)), ..settings(9) };
    give(&mut replica, 1_000, &commanded("spring", put("spring", window))).unwrap();
    // The broker's is two days ahead.
    let refused = told(give(&mut replica, 2 * DAY_MS, &claimed_at(at(2_000), "ann")));
    assert_eq!(refused.unwrap_err().code(), "not_open");
    assert_eq!(replica.progress().effective_at, at(3_000));
    // The node's is.
    assert!(told(give(&mut replica, 6_000, &claimed_at(at(2 * DAY_MS), "ann"))).is_ok());
    assert_eq!(replica.progress().effective_at, at(6_000));
    // Up to a second they differ by themselves.
    assert!(told(give(&mut replica, 8_000, &claimed_at(at(7_000), "bob"))).is_ok());
    assert_eq!(replica.progress().effective_at, at(8_000));
}

#[test]
fn the_time_is_set_back_by_a_record_and_by_none_set_on() {
    let mut replica = begun();
    let window = coupon::Settings { closes_at: Some(at(DAY_MS)), ..settings(9) };
    give(&mut replica, 1_000, &commanded("spring", put("spring", window))).unwrap();
    let far = told(give(&mut replica, 2 * DAY_MS, &claimed_at(at(2 * DAY_MS), "ann")));
    assert_eq!(far.unwrap_err().code(), "closed");
    let set = |to| {
        let command = Command::local(Action::SetTime { to });
        of_partition(0, Body::Command { request_id: RequestId::new("request:2").unwrap(), command })
    };
    assert!(give(&mut replica, 2_000, &set(at(3 * DAY_MS))).is_ok());
    assert_eq!(replica.progress().effective_at, at(2 * DAY_MS));
    assert!(give(&mut replica, 2_000, &set(at(2_000))).is_ok());
    assert_eq!(replica.progress().effective_at, at(2_000));
    assert!(told(give(&mut replica, 3_000, &claimed_at(at(3_000), "ann"))).is_ok());
    assert_eq!(RunningDigest::of(replica.core().state()).value(at(3_000), 3), replica.progress().digest);
}

#[test]
fn a_record_in_the_wrong_partition_stops_the_node() {
    let mut replica = Replica::new(Topology { partition: 4, partitions: 8 }, RULES_KNOWN, HashSeed(1, 2));
    let begins = of_partition(4, Body::Genesis(Genesis { log: LOG, partitions: 8, rules: RULES_KNOWN }));
    give(&mut replica, 10, &begins).unwrap();
    assert!(give(&mut replica, 10, &commanded("spring", put("spring", settings(1)))).is_ok(), "spring is in partition 4 of 8");
    let foreign = give(&mut replica, 10, &commanded("a", put("a", settings(1))));
    assert_eq!(foreign, Err(Fault::WrongPartition { partition: 4, offset: 2, belongs: 5 }));
    let barrier = give(&mut replica, 10, &of_partition(3, Body::Barrier));
    assert_eq!(barrier, Err(Fault::WrongPartition { partition: 4, offset: 2, belongs: 3 }));
}

#[test]
fn a_command_that_is_about_something_else_than_its_group_stops_the_node() {
    let about = |routing, command| {
        let body = Body::Command { request_id: RequestId::ENGINE, command };
        encode(&LogRecord { origin: Origin { node: NodeId(9), sequence: 1 }, sent_at: Timestamp::MAX, routing, body })
    };
    let due = Body::Due(put("spring", settings(1)));
    for bytes in [
        commanded("autumn", claim("spring", "ann")),
        commanded("spring:api", put_policy("spring:api", 1)),
        about(Routing::Partition(0), claim("spring", "ann")),
        about(Routing::Partition(0), Command::local(Action::ForgetRequests)),
        of_group("spring", due),
    ] {
        assert!(matches!(give(&mut begun(), 1, &bytes), Err(Fault::Malformed { partition: 0, offset: 1, .. })));
    }
}

/// Aggregates of a group are in one partition, whatever their kinds, so that one command can be about
/// two of them.
#[test]
fn two_aggregates_of_a_group_change_together_or_not_at_all() {
    let mut replica = begun();
    told(give(&mut replica, 20, &commanded("spring", put("spring", settings(1))))).unwrap();
    told(give(&mut replica, 20, &commanded("spring", put_policy("spring:api", 100)))).unwrap();
    let both = |who| {
        let (Action::Do(first), Action::Do(second)) = (claim("spring", who).action, put_override("spring:api", who, 5).action) else {
            panic!("they are commands of workloads")
        };
        commanded("spring", Command::local(Action::DoBoth(first, second)))
    };
    told(give(&mut replica, 30, &both("ann"))).unwrap();
    assert_eq!(told(give(&mut replica, 40, &both("ben"))).unwrap_err().code(), "sold_out");
    let state = replica.core().state();
    assert_eq!(state.get::<Coupon>(name("spring")).unwrap().claimed().get(), 1);
    let policy = state.get::<Limit>(name("spring:api")).unwrap();
    assert_eq!(policy.items.overrides.keys().map(|key| &**key).collect::<Vec<_>>(), ["ann"]);
    assert_eq!(RunningDigest::of(state).value(state.time, 3), replica.progress().digest);
}

#[test]
fn what_is_due_is_done_once_when_its_time_has_come_and_says_in_which_aggregate() {
    let mut replica = begun();
    let queued = coupon::Settings { mode: coupon::queue::Mode::Queued, decisions_per_second_max: Some(1), ..settings(5) };
    told(give(&mut replica, 20, &commanded("spring", put("spring", queued)))).unwrap();
    let due = |serial, who| {
        let command = coupon::Command::DecideNext { serial: Serial::new(serial).unwrap(), subject: subject(who) };
        Command::local(Action::of::<Coupon>(name("spring"), command))
    };
    let origin = Origin { node: NodeId(9), sequence: 1 };
    let came = |has_effect| Ok(Applied::Due { origin, number: Some(Number(0)), has_effect });
    // The first is granted at once, the next one waits for a second.
    told(give(&mut replica, 1_000, &commanded("spring", claim("spring", "ann")))).unwrap();
    told(give(&mut replica, 1_000, &commanded("spring", claim("spring", "ben")))).unwrap();
    let record = of_group("spring", Body::Due(due(2, "ben")));
    assert_eq!(give(&mut replica, 1_999, &record), came(false));
    assert_eq!(give(&mut replica, 2_000, &record), came(true));
    assert_eq!(give(&mut replica, 2_000, &record), came(false));
    // A caller's command of the same kind is a caller's command.
    let asked = give(&mut replica, 2_000, &commanded("spring", due(2, "ben"))).unwrap();
    assert!(matches!(asked, Applied::Command { .. }), "{asked:?}");
    let nowhere = of_group(
        "autumn",
        Body::Due(Command::local(Action::of::<Coupon>(
            name("autumn"),
            coupon::Command::DecideNext { serial: Serial::new(1).unwrap(), subject: subject("ann") },
        ))),
    );
    assert_eq!(give(&mut replica, 2_000, &nowhere), Ok(Applied::Due { origin, number: None, has_effect: false }));
    let forget = of_partition(0, Body::Due(Command::local(Action::ForgetRequests)));
    assert_eq!(give(&mut replica, 2_000, &forget), Ok(Applied::Due { origin, number: None, has_effect: false }));
}

#[test]
fn what_is_no_record_stops_the_node_with_its_place() {
    let fault = give(&mut begun(), 10, b"what is this").unwrap_err();
    assert!(matches!(fault, Fault::Malformed { partition: 0, offset: 1, .. }), "{fault}");
}

#[test]
fn the_first_record_begins_the_log_and_later_ones_of_the_kind_change_nothing() {
    let fault = give(&mut replica(), 10, &of_partition(0, Body::Barrier)).unwrap_err();
    assert!(matches!(fault, Fault::Genesis { .. }), "{fault}");
    let fault = give(&mut replica(), 10, &genesis(3)).unwrap_err();
    assert!(fault.to_string().contains("3 partitions, and the topic has 1"), "{fault}");
    let newer = of_partition(0, Body::Genesis(Genesis { log: LOG, partitions: 1, rules: RulesVersion(9) }));
    assert_eq!(give(&mut replica(), 10, &newer), Err(Fault::UnknownRules { partition: 0, offset: 0, wanted: 9, known: 1 }));
    let mut replica = begun();
    let another = of_partition(0, Body::Genesis(Genesis { log: LogId([8; 16]), partitions: 7, rules: RulesVersion(9) }));
    assert_eq!(give(&mut replica, 20, &another), Ok(Applied::Other));
    assert_eq!((replica.log(), replica.progress().rules), (Some(LOG), RULES_KNOWN));
}

#[test]
fn rules_are_switched_by_a_record_never_go_back_and_unknown_ones_stop_the_node() {
    let mut newer = Replica::new(ALONE, RulesVersion(3), HashSeed(1, 2));
    give(&mut newer, 10, &genesis(1)).unwrap();
    for (version, decides) in [(2, 2), (3, 3), (1, 3)] {
        assert_eq!(give(&mut newer, 10, &of_partition(0, Body::Rules(RulesVersion(version)))), Ok(Applied::Other));
        assert_eq!(newer.progress().rules, RulesVersion(decides));
    }
    let mut older = begun();
    let switch = give(&mut older, 10, &of_partition(0, Body::Rules(RulesVersion(2))));
    assert_eq!(switch, Err(Fault::UnknownRules { partition: 0, offset: 1, wanted: 2, known: 1 }));
    let resumed = Replica::resume(ALONE, RULES_KNOWN, copy(newer.core().state()), &newer.progress());
    assert!(matches!(resumed, Err(Fault::UnknownRules { wanted: 3, .. })));
}

#[test]
fn effective_time_is_the_largest_of_the_brokers_and_decides() {
    let mut replica = begun();
    let late = coupon::Settings { opens_at: Some(at(5_000)), ..settings(5) };
    told(give(&mut replica, 4_000, &commanded("spring", put("spring", late)))).unwrap();
    let refused = told(give(&mut replica, 4_999, &commanded("spring", claim("spring", "ann"))));
    assert_eq!(refused.unwrap_err().code(), "not_open");
    give(&mut replica, 5_000, &of_partition(0, Body::Barrier)).unwrap();
    let done = told(give(&mut replica, 7, &commanded("spring", claim("spring", "ann")))).unwrap();
    let (_, view) = done.shown::<Coupon>().unwrap();
    assert_eq!(view.claimed_at, at(5_000), "the broker's clock went back, the time that decides does not");
    assert_eq!(replica.progress().effective_at, at(5_000));
}

#[test]
fn the_same_command_twice_gives_one_claim() {
    let mut replica = begun();
    told(give(&mut replica, 20, &commanded("spring", put("spring", settings(5))))).unwrap();
    let ann = commanded("spring", claim("spring", "ann"));
    assert_eq!(told(give(&mut replica, 20, &ann)).unwrap().novelty, Novelty::Fresh);
    assert_eq!(told(give(&mut replica, 20, &ann)).unwrap().novelty, Novelty::Repeated);
    assert_eq!(replica.core().state().entries_count_of(Kind::Campaign), 1);
    assert_eq!(replica.progress().decisions, 2);
}

#[test]
fn a_replica_goes_on_from_a_state_that_has_the_digest_it_should_have() {
    let mut replica = begun();
    told(give(&mut replica, 20, &commanded("spring", put("spring", settings(5))))).unwrap();
    told(give(&mut replica, 30, &commanded("spring", keyed(claim("spring", "ann"), "k1")))).unwrap();
    give(&mut replica, 9_000, &of_partition(0, Body::Barrier)).unwrap();
    let progress = replica.progress();
    let mut resumed = Replica::resume(ALONE, RULES_KNOWN, copy(replica.core().state()), &progress).unwrap();
    assert_eq!(resumed.progress(), progress);
    let next = commanded("spring", claim("spring", "ben"));
    assert_eq!(give(&mut resumed, 9_500, &next), give(&mut replica, 9_500, &next));
    assert_eq!(resumed.progress(), replica.progress());
    for other in [Progress { digest: [0; 16], ..progress }, Progress { decisions: progress.decisions + 1, ..progress }] {
        let refused = Replica::resume(ALONE, RULES_KNOWN, copy(replica.core().state()), &other);
        assert!(matches!(refused, Err(Fault::Disagreement { .. })));
    }
}

#[test]
fn another_state_at_the_same_place_is_noticed_also_after_going_on() {
    let (mut one, mut other) = (begun(), begun());
    told(give(&mut one, 20, &commanded("spring", put("spring", settings(5))))).unwrap();
    told(give(&mut other, 20, &commanded("spring", put("spring", settings(6))))).unwrap();
    let before = one.progress();
    assert_eq!(one.compare(&before), Ok(()));
    assert!(matches!(other.compare(&before), Err(Fault::Disagreement { offset_next: 2, .. })));
    for _ in 0..10 {
        give(&mut other, 20, &of_partition(0, Body::Barrier)).unwrap();
        assert!(matches!(other.compare(&before), Err(Fault::Disagreement { offset_next: 2, .. })));
    }
    let ahead = Progress { offset_next: 99, ..before };
    assert_eq!(other.compare(&ahead), Ok(()), "it does not know yet");
}

#[test]
fn the_time_alone_makes_a_difference() {
    let (mut one, mut other) = (begun(), begun());
    give(&mut one, 20, &of_partition(0, Body::Barrier)).unwrap();
    give(&mut other, 21, &of_partition(0, Body::Barrier)).unwrap();
    assert!(matches!(other.compare(&one.progress()), Err(Fault::Disagreement { .. })));
}

/// One record: what, of which group and subject, and how much later.
type Step = (u8, u8, u8, u64);

fn bytes_of((what, group, who, _): Step) -> Vec<u8> {
    let (group, who) = (format!("group-{}", group % 3), format!("user-{}", who % 12));
    let (key, policy) = (format!("key-{what}-{who}"), format!("{group}:api"));
    if what % 14 == 7 {
        return of_partition(0, Body::Due(Command::local(Action::ForgetRequests)));
    }
    let (Action::Do(first), Action::Do(second)) = (claim(&group, &who).action, put_override(&policy, &who, 1 + u32::from(what)).action)
    else {
        panic!("they are commands of workloads")
    };
    commanded(
        &group,
        match what % 14 {
            0 => put(&group, settings(1 + u32::from(what) % 9)),
            1 => restock(&group, 1 + u32::from(what) % 9),
            2 => cancel(&group, &who),
            3 => redeem(&group, &who),
            4 | 5 => keyed(claim(&group, &who), &key),
            6 => keyed(cancel(&group, &who), &key),
            8 => put_policy(&policy, 1 + u64::from(what)),
            9 => put_override(&policy, &who, 1 + u32::from(what)),
            10 => keyed(put_policy(&policy, 1 + u64::from(what)), &key),
            11 => keyed(Command::local(Action::DoBoth(first, second)), &key),
            12 if what < 20 => {
                Command::local(Action::Remove { kind: Kind::Policy, name: name(&policy), precondition: Precondition::Always })
            }
            _ => claim(&group, &who),
        },
    )
}

proptest! {
    #[test]
    fn the_digest_that_is_carried_along_is_that_of_the_whole_state(
        steps in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), prop_oneof![0..2_000_u64, Just(DAY_MS / 2)]), 0..200),
        cut in 0..200_usize,
    ) {
        let (mut replica, mut resumed, mut millis) = (begun(), None, 1_000);
        for (place, step) in steps.iter().enumerate() {
            millis += step.3;
            let applied = give(&mut replica, millis, &bytes_of(*step)).unwrap();
            if let Some(resumed) = &mut resumed {
                prop_assert_eq!(give(resumed, millis, &bytes_of(*step)).unwrap(), applied);
            }
            let progress = replica.progress();
            let whole = RunningDigest::of(replica.core().state());
            prop_assert_eq!(whole.value(progress.effective_at, progress.decisions), progress.digest);
            if place == cut {
                resumed = Some(Replica::resume(ALONE, RULES_KNOWN, copy(replica.core().state()), &progress).unwrap());
            }
        }
        if let Some(resumed) = resumed {
            prop_assert_eq!(resumed.progress(), replica.progress());
        }
    }
}
