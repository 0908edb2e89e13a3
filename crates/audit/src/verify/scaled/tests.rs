//! The oracle decides whatever is asked as the servers do, and comes to their digest. Everything is asked
//! as records of a log, in their bytes.

use cluster::protocol::partition;
use cluster::protocol::record::{Body, Genesis, LogId, LogRecord, NodeId, Origin, Place, RULES_KNOWN, RulesVersion, encode};
use cluster::protocol::replica::{Delivered, Replica, Topology, Unwatched};
use domain::Command;
use domain::coupon::queue::{DecideNext, Mode, QueuePatch, QueueSettings};
use domain::coupon::{self, ClaimOne, Patch, Precondition, Put, Settings, Target, TargetBy};
use domain::hash::HashSeed;
use domain::request::{Fingerprint, Keyed};
use domain::state::{CommandKind, Decision, Record as Written, State};
use domain::types::{ActorId, CampaignName, Quantity, RequestId, RequestKey, Serial, SubjectId, Timestamp};
use oracle::adapter::{self, Decided};
use oracle::{Effect, No, Said};
use proptest::prelude::*;
use proptest::sample::select;

use super::digest::digest;
use super::partition::{Partition, RULES_TOLD, partition_of};
use crate::verify::findings::Findings;

const LOG: LogId = LogId([7; 16]);
const ORIGIN: Origin = Origin { node: NodeId(1), sequence: 1 };

/// One partition of a log of one, written and read.
struct Log {
    partition: Partition,
    findings: Findings,
    records: Vec<(Timestamp, Vec<u8>)>,
}

impl Log {
    fn begun(at: Timestamp) -> Self {
        let mut log = Self { partition: Partition::new(0, 1), findings: Findings::default(), records: Vec::new() };
        log.append(Place::Partition(0), Body::Genesis(Genesis { log: LOG, partitions: 1, rules: RULES_KNOWN }), at);
        log
    }

    fn append(&mut self, place: Place<'_>, body: Body<'_>, at: Timestamp) -> Option<Said> {
        self.append_bytes(encode(&LogRecord { origin: ORIGIN, place, body }), at)
    }

    fn append_bytes(&mut self, bytes: Vec<u8>, at: Timestamp) -> Option<Said> {
        let offset = self.records.len() as u64;
        let decided = self.partition.take(&Delivered { offset, at, bytes: &bytes }, &mut self.findings);
        self.records.push((at, bytes));
        decided
    }

    fn command(&mut self, command: Command<'_>, at: Timestamp) -> Said {
        let place = match &command.kind {
            CommandKind::Coupon(coupon) => Place::Group(coupon.campaign().as_str()),
            CommandKind::ForgetRequests => Place::Partition(0),
            CommandKind::Policy(policy) => Place::Group(policy.policy().as_str()),
        };
        self.append(place, Body::Command { request_id: RequestId::ENGINE, command }, at).unwrap()
    }

    /// What servers have come to by the same records.
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

/// Asks for the decision of a pending claim: campaign, serial, subject.
fn decide_next((campaign, serial, subject): &(String, u32, String)) -> Command<'_> {
    let (campaign, subject) = (CampaignName::new(campaign).unwrap(), SubjectId::new(subject).unwrap());
    let next = coupon::Command::DecideNext(DecideNext { campaign, serial: Serial::new(*serial).unwrap(), subject });
    Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(next) }
}

// --- Whatever is asked ----------------------------------------------------------------------

const CAMPAIGNS: [&str; 2] = ["spring", "summer"];
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

fn settings() -> impl Strategy<Value = Settings> {
    let counts = (1..8_u32, 1..4_u32, prop::bool::weighted(0.1), queues());
    (counts, times(), times(), times()).prop_map(|((stock, per_subject_max, paused, queue), opens_at, closes_at, redeem_until)| Settings {
        stock: Quantity::new(stock).unwrap(),
        per_subject_max,
        opens_at,
        closes_at,
        redeem_until,
        paused,
        queue: queue.apply(QueueSettings::DIRECT),
    })
}

/// Queues whose pace and length matter with as few claims as there are.
fn queues() -> impl Strategy<Value = QueuePatch> {
    let pace = prop::option::weighted(0.9, prop_oneof![1..4_u32, 10..13_u32]);
    let mode = prop_oneof![2 => Just(Mode::Queued), 1 => Just(Mode::Direct)];
    (prop::option::of(mode), prop::option::of(pace), prop::option::weighted(0.3, 1..4_u32))
        .prop_map(|(mode, decisions_per_second_max, queue_max)| QueuePatch { mode, decisions_per_second_max, queue_max })
}

fn patches() -> impl Strategy<Value = Patch<'static>> {
    let times = || prop::option::of(times());
    let rest = (prop::option::of(1..8_u32), prop::option::of(1..4_u32), prop::option::of(any::<bool>()), queues());
    (select(&CAMPAIGNS[..]), preconditions(), rest, times(), times(), times()).prop_map(
        |(campaign, precondition, (stock, per_subject_max, paused, queue), opens_at, closes_at, redeem_until)| Patch {
            campaign: CampaignName::new(campaign).unwrap(),
            precondition,
            stock: stock.and_then(Quantity::new),
            per_subject_max,
            opens_at,
            closes_at,
            redeem_until,
            paused,
            queue,
        },
    )
}

fn targets() -> impl Strategy<Value = Target<'static>> {
    (select(&CAMPAIGNS[..]), 0..3_u8, select(&SUBJECTS[..]), 1..12_u32).prop_map(|(campaign, way, subject, serial)| {
        let (subject, serial) = (SubjectId::new(subject).unwrap(), Serial::new(serial).unwrap());
        let by = match way {
            0 => TargetBy::Subject(subject),
            1 => TargetBy::SubjectSerial(subject, serial),
            _ => TargetBy::Code(serial),
        };
        Target { campaign: CampaignName::new(campaign).unwrap(), by }
    })
}

fn coupons() -> impl Strategy<Value = coupon::Command<'static>> {
    let campaign = || select(&CAMPAIGNS[..]).prop_map(|name| CampaignName::new(name).unwrap());
    let puts = (campaign(), settings(), preconditions(), 0..3_u32)
        .prop_map(|(campaign, settings, precondition, code_key)| coupon::Command::Put(Put { campaign, settings, precondition, code_key }));
    let claims = (campaign(), select(&SUBJECTS[..]))
        .prop_map(|(campaign, subject)| coupon::Command::Claim(ClaimOne { campaign, subject: SubjectId::new(subject).unwrap() }));
    prop_oneof![
        2 => puts,
        2 => patches().prop_map(coupon::Command::Patch),
        8 => claims,
        2 => targets().prop_map(coupon::Command::Redeem),
        4 => targets().prop_map(coupon::Command::Cancel),
    ]
}

fn commands() -> impl Strategy<Value = Command<'static>> {
    let keyed = (select(&KEYS[..]), 1..3_u8)
        .prop_map(|(key, fingerprint)| Keyed { key: RequestKey::new(key).unwrap(), fingerprint: Fingerprint([fingerprint; 16]) });
    let asked = (select(&ACTORS[..]), prop::option::weighted(0.6, keyed), coupons()).prop_map(|(actor, request, coupon)| Command {
        actor: ActorId::new(actor).unwrap(),
        request,
        kind: CommandKind::Coupon(coupon),
    });
    let forgetting = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::ForgetRequests };
    prop_oneof![12 => asked, 1 => Just(forgetting)]
}

/// How the time of the next record differs: mostly a little later, sometimes earlier or much later.
fn steps() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0..2_000_i64, 1 => -5_000..0_i64, 1 => 0..90_000_000_i64, 1 => Just(86_400_000)]
}

/// What the servers' rules make of it, and what the oracle does.
fn both(state: &mut State, log: &mut Log, command: &Command<'_>, at: Timestamp) -> [Result<Decided, No>; 2] {
    state.time = state.time.max(at);
    let decided = domain::decide(state, command, state.time);
    let theirs = adapter::said(&log.partition.oracle, &decided);
    if let Ok(Decision::Event(event)) = decided {
        let (at, actor, request) = (state.time, command.actor, command.request);
        state.evolve(&Written { at, actor, request_id: RequestId::ENGINE, request, event });
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
            let head = state.queues().filter(|_| decides).find_map(|campaign| {
                let claim = campaign.first_pending()?;
                Some((campaign.name.clone(), claim.serial.get(), claim.subject.as_str().to_owned()))
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
        prop_assert_eq!(digest(oracle).unwrap(), replica.progress().digest);
        prop_assert_eq!((oracle.decisions, oracle.time), (replica.progress().decisions, replica.progress().effective_at));
        prop_assert_eq!((oracle.check(), log.promises()), (Ok(()), Vec::<&str>::new()));
        prop_assert_eq!(adapter::compare(oracle, &state), Ok(()));
    }

    #[test]
    fn campaigns_are_placed_where_the_servers_place_them(name in "[A-Za-z0-9_.:-]{1,128}", partitions in 1..1_000_u32) {
        prop_assert_eq!(partition_of(&name, partitions), partition::partition_of(&name, partitions));
    }
}

#[test]
fn as_many_request_keys_are_forgotten_at_once_as_by_the_servers() {
    let mut log = Log::begun(at(1));
    log.command(put("spring"), at(1)).unwrap();
    let keys: Vec<String> = (0..1_500).map(|number| format!("k{number}")).collect();
    for (stock, key) in (10..).zip(&keys) {
        let stock = Quantity::new(stock);
        let (campaign, precondition) = (CampaignName::new("spring").unwrap(), Precondition::Always);
        let (opens_at, closes_at, redeem_until) = (None, None, None);
        let patch = Patch {
            campaign,
            precondition,
            stock,
            per_subject_max: None,
            opens_at,
            closes_at,
            redeem_until,
            paused: None,
            queue: QueuePatch::default(),
        };
        let request = Some(Keyed { key: RequestKey::new(key).unwrap(), fingerprint: Fingerprint([1; 16]) });
        let command = Command { actor: ActorId::LOCAL, request, kind: CommandKind::Coupon(coupon::Command::Patch(patch)) };
        log.command(command, at(2)).unwrap();
    }
    let forgetting = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::ForgetRequests };
    for left in [476, 0, 0] {
        log.command(forgetting, at(86_400_002)).unwrap();
        assert_eq!(log.partition.oracle.keys().count(), left);
        assert_eq!(digest(&log.partition.oracle).unwrap(), log.replica().progress().digest);
    }
}

#[test]
fn what_the_rules_could_not_have_led_to_is_counted_anew_and_found() {
    let forged = |claims: &[(&str, u32)]| {
        let mut log = Log::begun(at(1));
        log.command(put("spring"), at(1)).unwrap();
        for (subject, serial) in claims {
            let claim = oracle::coupon::Effect::Claimed(Serial::new(*serial).unwrap(), (*subject).into());
            log.partition.oracle.apply(&Effect::Coupon(0, claim), at(1));
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

fn put(name: &str) -> Command<'_> {
    let stock = Quantity::new(5).unwrap();
    let settings = Settings::plain(stock);
    let campaign = CampaignName::new(name).unwrap();
    let put = Put { campaign, settings, precondition: Precondition::Always, code_key: 0 };
    Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(coupon::Command::Put(put)) }
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
    assert!(log.append(Place::Group("spring"), command, at(3)).is_none());
    assert_eq!((log.promises(), log.partition.offset_next), (vec!["undecodable"], 3));
    assert!(log.partition.oracle.campaigns().count() == 0);
    assert_eq!(log.partition.stopped.map(|stopped| stopped.offset), Some(1));
}

#[test]
fn a_record_in_another_partition_than_its_own_is_found() {
    let mut log = Log::begun(at(1));
    assert!(log.append(Place::Partition(1), Body::Barrier, at(2)).is_none());
    assert_eq!(log.promises(), ["wrong_partition"]);
}

#[test]
fn a_command_under_another_name_than_its_campaigns_is_found_and_decided() {
    let names: Vec<String> = (0..50).map(|name| format!("c{name}")).collect();
    let in_first = |name: &&String| partition_of(name, 2) == 0;
    let (here, elsewhere) = (names.iter().find(in_first).unwrap(), names.iter().find(|name| !in_first(name)).unwrap());
    let (mut partition, mut findings) = (Partition::new(0, 2), Findings::default());
    let genesis = Body::Genesis(Genesis { log: LOG, partitions: 2, rules: RULES_KNOWN });
    let command = Body::Command { request_id: RequestId::ENGINE, command: put(elsewhere) };
    for (offset, (place, body)) in (0..).zip([(Place::Partition(0), genesis), (Place::Group(here), command)]) {
        let bytes = encode(&LogRecord { origin: ORIGIN, place, body });
        partition.take(&Delivered { offset, at: at(1), bytes: &bytes }, &mut findings);
    }
    assert_eq!(findings.broken.iter().map(|broken| broken.promise).collect::<Vec<_>>(), ["wrong_partition"]);
    assert_eq!((partition.oracle.campaigns().count(), partition.stopped.is_some()), (1, false));
}

#[test]
fn a_gap_in_the_offsets_or_at_the_end_is_found() {
    let mut log = Log::begun(at(1));
    let barrier = encode(&LogRecord { origin: ORIGIN, place: Place::Partition(0), body: Body::Barrier });
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
        log.append(Place::Partition(0), body, at(1));
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
    log.append(Place::Partition(0), Body::Rules(RulesVersion(1)), at(2));
    assert_eq!(log.promises(), Vec::<&str>::new());
    log.append(Place::Partition(0), Body::Rules(RulesVersion(2)), at(3));
    assert_eq!(log.promises(), ["unknown_rules"]);
}

#[test]
fn a_second_beginning_and_a_time_that_goes_back_are_none_of_our_business() {
    let mut log = Log::begun(at(10));
    let other = Genesis { log: LogId([9; 16]), partitions: 1, rules: RULES_KNOWN };
    log.append(Place::Partition(0), Body::Genesis(other), at(5));
    log.command(put("spring"), at(7)).unwrap();
    assert_eq!(log.promises(), Vec::<&str>::new());
    assert_eq!((log.partition.log, log.partition.oracle.campaign_at(0).unwrap().created_at), (Some(LOG), at(10)));
}
