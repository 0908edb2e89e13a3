//! For any sequence of commands, the oracle decides as the servers do and arrives at their digest. Every
//! command is encoded as a record of a log.

use cluster::protocol::partition;
use cluster::protocol::record::{Body, Genesis, LogId, LogRecord, NodeId, Origin, RULES_KNOWN, Routing, RulesVersion, encode};
use cluster::protocol::replica::{Delivered, Replica, Topology, Unwatched};
use domain::Command;
use domain::coupon::queue::Mode;
use domain::coupon::{self, Coupon, Settings, TargetBy};
use domain::fields::{Patch, Value};
use domain::hash::HashSeed;
use domain::rate_limit::policies::{self, Limit, LimitAlgorithm, Numbers, PolicySettings};
use domain::request::{Fingerprint, Keyed};
use domain::state::{Action, Decision, Precondition, Record as Written, State, Step};
use domain::types::{ActorId, LimitKey, Name, Quantity, RequestId, RequestKey, Serial, SubjectId, Timestamp};
use domain::workload::{AnyCommand, Kind, Listed};
use oracle::adapter::{self, Decided};
use oracle::{Effect, Happening, No, Said};
use proptest::prelude::*;
use proptest::sample::select;

use super::digest::digest;
use super::partition::{Partition, RULES_TOLD, partition_of};
use crate::verify::findings::Findings;

const LOG: LogId = LogId([7; 16]);
const ORIGIN: Origin = Origin { node: NodeId(1), sequence: 1 };

/// A log with one partition, written and read.
struct Log {
    partition: Partition,
    findings: Findings,
    records: Vec<(Timestamp, Vec<u8>)>,
}

impl Log {
    fn begun(at: Timestamp) -> Self {
        let mut log = Self { partition: Partition::new(0, 1), findings: Findings::default(), records: Vec::new() };
        log.append(Routing::Partition(0), Body::Genesis(Genesis { log: LOG, partitions: 1, rules: RULES_KNOWN }), at);
        log
    }

    fn append(&mut self, routing: Routing<'_>, body: Body<'_>, at: Timestamp) -> Option<Said> {
        self.append_bytes(encode(&LogRecord { origin: ORIGIN, sent_at: Timestamp::MAX, routing, body }), at)
    }

    fn append_bytes(&mut self, bytes: Vec<u8>, at: Timestamp) -> Option<Said> {
        let offset = self.records.len() as u64;
        let decided = self.partition.take(&Delivered { offset, at, bytes: &bytes }, &mut self.findings);
        self.records.push((at, bytes));
        decided
    }

    fn command(&mut self, command: Command<'_>, at: Timestamp) -> Said {
        let routing = command.action.group().map_or(Routing::Partition(0), Routing::Group);
        let body = match command.action {
            Action::ForgetRequests => Body::Due(command),
            _ => Body::Command { request_id: RequestId::ENGINE, command },
        };
        self.append(routing, body, at).unwrap()
    }

    /// The servers' replica after the same records.
    fn replica(&self) -> Replica {
        let mut replica = Replica::new(Topology { partition: 0, partitions: 1 }, RULES_KNOWN, HashSeed(3, 4));
        for (offset, (at, bytes)) in (0..).zip(&self.records) {
            replica.apply(&Delivered { offset, at: *at, bytes }, &mut Unwatched).unwrap();
        }
        replica
    }

    fn promises(&self) -> Vec<&'static str> {
        self.findings.broken.iter().map(|broken| broken.promise).collect()
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn name(text: &str) -> Name<'_> {
    Name::new(text).unwrap()
}

/// A command that decides a pending claim: campaign, serial, subject.
fn decide_next((campaign, serial, subject): &(String, u32, String)) -> Command<'_> {
    let (serial, subject) = (Serial::new(*serial).unwrap(), SubjectId::new(subject).unwrap());
    Command::local(Action::of::<Coupon>(name(campaign), coupon::Command::DecideNext { serial, subject }))
}

// --- Random commands ----------------------------------------------------------------------

/// Two names are in one group.
const NAMES: [&str; 3] = ["spring", "spring:b", "summer"];
const SUBJECTS: [&str; 5] = ["ann", "bob", "cat", "dan", "eve"];
const KEYS: [&str; 6] = ["k1", "k2", "k3", "k4", "k5", "k6"];
const ACTORS: [&str; 2] = ["shop", "desk"];

fn times() -> impl Strategy<Value = Option<Timestamp>> {
    prop_oneof![2 => Just(None), 1 => (0..200_000_000_u64).prop_map(Timestamp::from_millis)]
}

fn preconditions() -> impl Strategy<Value = Precondition> {
    prop_oneof![
        6 => Just(Precondition::Always),
        1 => Just(Precondition::Exists),
        1 => Just(Precondition::IsNew),
        1 => Just(Precondition::Never),
        2 => (1..4_u64).prop_map(Precondition::Version),
    ]
}

fn names() -> impl Strategy<Value = Name<'static>> {
    select(&NAMES[..]).prop_map(name)
}

fn settings() -> impl Strategy<Value = Settings> {
    let counts = (1..8_u32, 1..4_u32, prop::bool::weighted(0.1), queues(), 0..3_u32);
    (counts, times(), times(), times()).prop_map(
        |((stock, per_subject_max, paused, (mode, pace, queue_max), code_key), opens_at, closes_at, redeem_until)| {
            let plain = Settings::plain(Quantity::new(stock).unwrap());
            Settings {
                per_subject_max,
                opens_at,
                closes_at,
                redeem_until,
                paused,
                mode: mode.unwrap_or(plain.mode),
                decisions_per_second_max: pace.unwrap_or(plain.decisions_per_second_max),
                queue_max: queue_max.unwrap_or(plain.queue_max),
                code_key,
                ..plain
            }
        },
    )
}

/// The settings of a queue, each optional.
type Queue = (Option<Mode>, Option<Option<u32>>, Option<u32>);

/// Queues whose pace and length matter even with few claims.
fn queues() -> impl Strategy<Value = Queue> {
    let pace = prop::option::weighted(0.9, prop_oneof![1..4_u32, 10..13_u32]);
    let mode = prop_oneof![2 => Just(Mode::Queued), 1 => Just(Mode::Direct)];
    (prop::option::of(mode), prop::option::of(pace), prop::option::weighted(0.3, 1..4_u32))
}

fn patches() -> impl Strategy<Value = Patch<Settings>> {
    let number = |number: u32| Value::Number(number.into());
    let time = |time: Option<Timestamp>| time.map_or(Value::Null, Value::Time);
    let times = move || prop::option::of(times().prop_map(time));
    let rest = (prop::option::of(1..8_u32), prop::option::of(1..4_u32), prop::option::of(any::<bool>()), queues());
    (rest, times(), times(), times()).prop_map(move |((stock, per_subject_max, paused, queue), opens_at, closes_at, redeem_until)| {
        let mut patch = Patch::default();
        let (mode, pace, queue_max) = queue;
        for (field, value) in [
            ("stock", stock.map(number)),
            ("per_subject_max", per_subject_max.map(number)),
            ("paused", paused.map(Value::Bool)),
            ("opens_at", opens_at),
            ("closes_at", closes_at),
            ("redeem_until", redeem_until),
            ("mode", mode.map(|mode| Value::Word(mode.word()))),
            ("decisions_per_second_max", pace.map(|pace| pace.map_or(Value::Null, number))),
            ("queue_max", queue_max.map(number)),
        ] {
            value.into_iter().for_each(|value| patch.set(field, value).unwrap());
        }
        patch
    })
}

fn targets() -> impl Strategy<Value = TargetBy<'static>> {
    (0..3_u8, select(&SUBJECTS[..]), 1..12_u32).prop_map(|(way, subject, serial)| {
        let (subject, serial) = (SubjectId::new(subject).unwrap(), Serial::new(serial).unwrap());
        match way {
            0 => TargetBy::Subject { subject },
            1 => TargetBy::SubjectSerial { subject, serial },
            _ => TargetBy::Code { serial },
        }
    })
}

/// Random steps on an aggregate of either kind.
fn steps_of() -> impl Strategy<Value = Step<'static>> {
    let coupons = prop_oneof![
        8 => select(&SUBJECTS[..]).prop_map(|subject| coupon::Command::Claim { subject: SubjectId::new(subject).unwrap() }),
        2 => targets().prop_map(|by| coupon::Command::Redeem { by }),
        4 => targets().prop_map(|by| coupon::Command::Cancel { by }),
    ];
    let key = || select(&SUBJECTS[..]).prop_map(|key| LimitKey::new(key).unwrap());
    let numbers = (1..4_u32).prop_map(|quota| Numbers { quota, window_ns: 1_000_000, burst: 0 });
    let limits = prop_oneof![
        2 => (key(), numbers).prop_map(|(key, numbers)| policies::Command::PutOverride { key, numbers }),
        1 => key().prop_map(|key| policies::Command::RemoveOverride { key }),
    ];
    let command = prop_oneof![6 => coupons.prop_map(AnyCommand::Campaign), 1 => limits.prop_map(AnyCommand::Policy)];
    (names(), command).prop_map(|(name, command)| Step { name, command })
}

fn actions() -> impl Strategy<Value = Action<'static>> {
    let policy = (1..4_u64, any::<bool>()).prop_map(|(quota, shadow)| {
        let algorithm = LimitAlgorithm::FixedWindow;
        Limit::any_settings(PolicySettings { algorithm, quota, window_ms: Some(1_000), burst: 0, timeout_ms: None, shadow })
    });
    let settings = prop_oneof![3 => settings().prop_map(Coupon::any_settings), 1 => policy];
    let puts = (names(), settings, preconditions()).prop_map(|(name, settings, precondition)| Action::Put { name, settings, precondition });
    let patches = (names(), patches(), preconditions()).prop_map(|(name, patch, precondition)| Action::Patch {
        name,
        patch: Coupon::any_patch(patch),
        precondition,
    });
    let removals =
        (select(Kind::ALL), names(), preconditions()).prop_map(|(kind, name, precondition)| Action::Remove { kind, name, precondition });
    let both =
        (steps_of(), steps_of()).prop_filter("the log takes commands of one group", |(one, other)| one.name.group() == other.name.group());
    prop_oneof![
        5 => puts,
        4 => patches,
        1 => removals,
        28 => steps_of().prop_map(Action::Do),
        4 => both.prop_map(|(first, second)| Action::DoBoth(first, second)),
    ]
}

fn commands() -> impl Strategy<Value = Command<'static>> {
    let keyed = (select(&KEYS[..]), 1..3_u8)
        .prop_map(|(key, fingerprint)| Keyed { key: RequestKey::new(key).unwrap(), fingerprint: Fingerprint([fingerprint; 16]) });
    let asked = (select(&ACTORS[..]), prop::option::weighted(0.6, keyed), actions()).prop_map(|(actor, request, action)| Command {
        actor: ActorId::new(actor).unwrap(),
        request,
        action,
    });
    let set_time = (0..200_000_000_u64).prop_map(|to| Command::local(Action::SetTime { to: at(to) }));
    prop_oneof![12 => asked, 1 => Just(Command::local(Action::ForgetRequests)), 1 => set_time]
}

/// The difference to the next record's time: mostly a little later, sometimes earlier or much later.
fn steps() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0..2_000_i64, 1 => -5_000..0_i64, 1 => 0..90_000_000_i64, 1 => Just(86_400_000)]
}

/// The decisions of the servers' rules and of the oracle.
fn both(state: &mut State, log: &mut Log, command: &Command<'_>, at: Timestamp) -> [Result<Decided, No>; 2] {
    state.time = state.time.max(at);
    let decided = domain::decide(state, command, state.time);
    let theirs = adapter::said(&decided);
    if let Ok(Decision::Change(change)) = decided {
        let (at, actor, request) = (change.decided_at(state.time), command.actor, command.request);
        state.evolve(&Written { at, actor, request_id: RequestId::ENGINE, request, change });
    }
    [theirs, adapter::decided(log.command(*command, at))]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn whatever_is_asked_is_decided_as_the_servers_decide_it(asked in proptest::collection::vec((commands(), steps(), any::<bool>()), 1..120)) {
        let mut log = Log::begun(at(1_000));
        let mut state = State::new(HashSeed(1, 2));
        state.time = at(1_000);
        let mut millis = 1_000_u64;
        for (command, step, decides) in asked {
            millis = millis.saturating_add_signed(step);
            let head = state.all::<Coupon>().filter(|_| decides).find_map(|campaign| {
                let claim = campaign.first_pending()?;
                Some((campaign.head.name.to_string(), claim.serial.get(), claim.subject.as_str().to_owned()))
            });
            if let Some(head) = &head {
                let next = decide_next(head);
                let [theirs, own] = both(&mut state, &mut log, &next, at(millis));
                prop_assert_eq!(own, theirs, "{:?} at {}", next, millis);
            }
            let [theirs, own] = both(&mut state, &mut log, &command, at(millis));
            prop_assert_eq!(own, theirs, "{:?} at {}", command, millis);
        }
        let (oracle, replica) = (&log.partition.oracle, log.replica());
        prop_assert_eq!(digest(oracle), replica.progress().digest);
        prop_assert_eq!((oracle.decisions, oracle.time), (replica.progress().decisions, replica.progress().effective_at));
        prop_assert_eq!((oracle.check(), log.promises()), (Ok(()), Vec::<&str>::new()));
        prop_assert_eq!(adapter::compare(oracle, &state), Ok(()));
    }

    #[test]
    fn groups_are_placed_where_the_servers_place_them(name in "[A-Za-z0-9_.:-]{1,128}", partitions in 1..1_000_u32) {
        prop_assert_eq!(partition_of(&name, partitions), partition::partition_of(&name, partitions));
    }
}

#[test]
fn as_many_request_keys_are_forgotten_at_once_as_by_the_servers() {
    let mut log = Log::begun(at(1));
    log.command(put("spring"), at(1)).unwrap();
    let keys: Vec<String> = (0..1_500).map(|number| format!("k{number}")).collect();
    for (stock, key) in (10..).zip(&keys) {
        let mut patch = Patch::<Settings>::default();
        patch.set("stock", Value::Number(stock)).unwrap();
        let (name, patch) = (name("spring"), Coupon::any_patch(patch));
        let request = Some(Keyed { key: RequestKey::new(key).unwrap(), fingerprint: Fingerprint([1; 16]) });
        let action = Action::Patch { name, patch, precondition: Precondition::Always };
        log.command(Command { actor: ActorId::LOCAL, request, action }, at(2)).unwrap();
    }
    let forgetting = Command::local(Action::ForgetRequests);
    for left in [476, 0, 0] {
        log.command(forgetting, at(86_400_002)).unwrap();
        assert_eq!(log.partition.oracle.keys().count(), left);
        assert_eq!(digest(&log.partition.oracle), log.replica().progress().digest);
    }
}

#[test]
fn what_the_rules_could_not_have_led_to_is_counted_anew_and_found() {
    let forged = |claims: &[(&str, u32)]| {
        let mut log = Log::begun(at(1));
        log.command(put("spring"), at(1)).unwrap();
        for (subject, serial) in claims {
            let claim = oracle::coupon::Effect::Claimed(Serial::new(*serial).unwrap(), (*subject).into());
            log.partition.oracle.apply(&Effect::Did(0, Happening::Coupon(claim)), at(1));
        }
        let broken = log.partition.oracle.check().err().unwrap_or_default();
        broken.into_iter().map(|(promise, _)| promise).collect::<Vec<&str>>()
    };
    let five = [("ann", 1), ("bob", 2), ("cat", 3), ("dan", 4), ("eve", 5)];
    assert_eq!(forged(&five), Vec::<&str>::new());
    assert_eq!(forged(&[&five[..], &[("fay", 6)]].concat()), ["over_issued"]);
    assert_eq!(forged(&[("ann", 1), ("ann", 2)]), ["subject_limit"]);
    assert_eq!(forged(&[("ann", 1), ("bob", 3)]), ["serial_gap"]);
}

// --- The log itself -------------------------------------------------------------------------

fn put(text: &str) -> Command<'_> {
    let settings = Coupon::any_settings(Settings::plain(Quantity::new(5).unwrap()));
    Command::local(Action::Put { name: name(text), settings, precondition: Precondition::Always })
}

#[test]
fn the_rules_are_those_that_the_servers_know() {
    assert_eq!(RULES_TOLD, RULES_KNOWN);
}

#[test]
fn nothing_is_decided_behind_a_record_that_no_server_passes() {
    let mut log = Log::begun(at(1));
    assert!(log.append_bytes(b"foreign".to_vec(), at(2)).is_none());
    let command = Body::Command { request_id: RequestId::ENGINE, command: put("spring") };
    assert!(log.append(Routing::Group("spring"), command, at(3)).is_none());
    assert_eq!((log.promises(), log.partition.offset_next), (vec!["undecodable"], 3));
    assert!(log.partition.oracle.campaigns().count() == 0);
    assert_eq!(log.partition.stopped.map(|stopped| stopped.offset), Some(1));
}

#[test]
fn a_record_in_another_partition_than_its_own_is_found() {
    let mut log = Log::begun(at(1));
    assert!(log.append(Routing::Partition(1), Body::Barrier, at(2)).is_none());
    assert_eq!(log.promises(), ["wrong_partition"]);
}

/// No server decides such a command.
#[test]
fn a_command_that_is_routed_by_another_group_than_its_own_is_found_and_not_decided() {
    let mut log = Log::begun(at(1));
    let command = Body::Command { request_id: RequestId::ENGINE, command: put("summer") };
    assert!(log.append(Routing::Group("spring"), command, at(2)).is_none());
    assert_eq!(log.promises(), ["wrong_partition"]);
    assert_eq!((log.partition.oracle.aggregates().count(), log.partition.stopped.is_some()), (0, true));
}

#[test]
fn a_gap_in_the_offsets_or_at_the_end_is_found() {
    let mut log = Log::begun(at(1));
    let barrier = encode(&LogRecord { origin: ORIGIN, sent_at: Timestamp::MAX, routing: Routing::Partition(0), body: Body::Barrier });
    log.partition.take(&Delivered { offset: 3, at: at(2), bytes: &barrier }, &mut log.findings);
    assert_eq!((log.promises(), log.partition.offset_next), (vec!["offset_gap"], 4));
    let mut log = Log::begun(at(1));
    log.partition.reach(1, &mut log.findings);
    assert_eq!(log.promises(), Vec::<&str>::new());
    log.partition.reach(2, &mut log.findings);
    assert_eq!((log.promises(), log.partition.offset_next), (vec!["offset_gap"], 2));
    let mut log = Log::begun(at(1));
    log.partition.take(&Delivered { offset: 0, at: at(2), bytes: &barrier }, &mut log.findings);
    assert_eq!(log.promises(), ["offset_gap"]);
}

#[test]
fn a_log_that_does_not_begin_as_it_should_is_found() {
    let first = |body: Body<'_>| {
        let mut log = Log { partition: Partition::new(0, 1), findings: Findings::default(), records: Vec::new() };
        log.append(Routing::Partition(0), body, at(1));
        (log.promises().first().copied(), log.partition.log)
    };
    let genesis = Genesis { log: LOG, partitions: 1, rules: RULES_KNOWN };
    assert_eq!(first(Body::Genesis(genesis)), (None, Some(LOG)));
    assert_eq!(first(Body::Barrier), (Some("genesis"), None));
    assert_eq!(first(Body::Genesis(Genesis { partitions: 2, ..genesis })), (Some("genesis"), None));
    assert_eq!(first(Body::Genesis(Genesis { rules: RulesVersion(2), ..genesis })), (Some("unknown_rules"), None));
}

#[test]
fn rules_that_are_not_told_here_are_found() {
    let mut log = Log::begun(at(1));
    log.append(Routing::Partition(0), Body::Rules(RulesVersion(1)), at(2));
    assert_eq!(log.promises(), Vec::<&str>::new());
    log.append(Routing::Partition(0), Body::Rules(RulesVersion(2)), at(3));
    assert_eq!(log.promises(), ["unknown_rules"]);
}

#[test]
fn a_second_beginning_and_a_time_that_goes_back_are_none_of_our_business() {
    let mut log = Log::begun(at(10));
    let other = Genesis { log: LogId([9; 16]), partitions: 1, rules: RULES_KNOWN };
    log.append(Routing::Partition(0), Body::Genesis(other), at(5));
    log.command(put("spring"), at(7)).unwrap();
    assert_eq!(log.promises(), Vec::<&str>::new());
    assert_eq!((log.partition.log, log.partition.oracle.at(0).unwrap().head().created_at), (Some(LOG), at(10)));
}
