//! The bytes of records, commands and state: those that were once written are read for ever (J2), and
//! what is not written by this program is refused, never a panic. `UPDATE_FIXTURES=1` writes the
//! fixtures of a new format.

use crate::common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{Parts, Sections, ask, at, encode, encode_ask, exact, lines_of, parts_of, rebuild, rules, sections, tell};
use domain::claims::ClaimStatus;
use domain::coupon::queue::Mode;
use domain::coupon::{self, Coupon, Settings, TargetBy};
use domain::fields::{Fields, Patch, Value};
use domain::hash::HashSeed;
use domain::keyring::{self, Asker, KeyName, Keyring, KeyringSettings, Prefix, Scope, SecretDigest};
use domain::rate_limit::policies::{self, Limit, LimitAlgorithm, Numbers, PolicySettings};
use domain::request::{Fingerprint, Keyed, Outcome};
use domain::state::{Done, Precondition};
use domain::types::{ActorId, LimitKey, Name, Quantity, RequestId, RequestKey, Serial, SubjectId};
use domain::wire::command::decode_command;
use domain::wire::decode_record;
use domain::workload::AnySettings;
use domain::{Action, Change, Command, Listed, Number, Record, Step};

const HASH: HashSeed = HashSeed(7, 8);

/// The lines of a fixture, or, if they are to be written anew, what they would be now.
fn fixture(name: &str, now: &[String]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&path, now.join("\n") + "\n").unwrap();
    }
    std::fs::read_to_string(path).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn records_2() -> Vec<Parts> {
    let now: Vec<String> = one_of_each().iter().map(encode).map(|(body, private)| format!("{}|{}", hex(&body), hex(&private))).collect();
    parts_of(&fixture("records-2.hex", &now))
}

fn commands_2() -> Vec<Vec<u8>> {
    let now: Vec<String> = commands_of_each_kind().iter().map(encode_ask).map(|bytes| hex(&bytes)).collect();
    lines_of(&fixture("commands-2.hex", &now))
}

fn state_3() -> Sections {
    let now: Vec<String> = sections(story().state()).iter().map(|section| hex(section)).collect();
    lines_of(&fixture("state-3.hex", &now))
}

/// The same story in the format before; nothing writes it any more.
fn state_2() -> Sections {
    lines_of(include_str!("../fixtures/state-2.hex"))
}

/// Campaigns in which claims are live, redeemed, cancelled and pending, policies with and without
/// overrides, one of them removed, and request keys of every outcome.
fn story() -> conformance::DomainBackend {
    let mut rules = rules();
    for line in [
        "campaign autumn stock 1",
        "policy gone fixed_window quota 1 window_ms 1000",
        "at 25h campaign spring stock 2 per-subject 2 opens 26h closes 40h redeem-until 50h key k1",
        "patch spring stock 9 key k2",
        "at 27h claim spring by ann key k3",
        "claim spring by ann key k4 as shop",
        "at 28h claim spring by bob key k5",
        "at 29h redeem spring by ann serial 2 key k6",
        "at 30h cancel spring by ann serial 1 key k7",
        "campaign queue stock 5 queued pace 1 queue-max 3 paused",
        "patch queue unpaused",
        "claim queue by ann",
        "claim queue by bob",
        "claim queue by cat key k8",
        "policy api token_bucket quota 5 window_ms 1000 burst 4 key k9",
        "override api for vip quota 7 window_ms 60000 burst 2 key k10",
        "override api for ann quota 8 window_ms 60000",
        "override api for bob quota 8 window_ms 60000",
        "override api for bob none key k11",
        "policy flight in_flight quota 3 timeout_ms 30000 shadow",
        "remove policy gone key k12",
    ] {
        let answer = ask(&mut rules, line);
        assert!(!answer.contains("unreadable") && !answer.contains("not_found") && !answer.contains("unexpected"), "{line}: {answer}");
    }
    rules
}

fn keyed() -> Option<Keyed<'static>> {
    Some(Keyed { key: RequestKey::new("a/b=c").unwrap(), fingerprint: Fingerprint(*b"0123456789abcdef") })
}

fn full_settings() -> Settings {
    Settings {
        per_subject_max: 100,
        opens_at: Some(at(10_000)),
        closes_at: Some(at(60_000)),
        redeem_until: Some(at(90_000)),
        paused: true,
        mode: Mode::Queued,
        decisions_per_second_max: Some(1_000_000),
        queue_max: 10_000_000,
        code_key: 3,
        ..Settings::plain(Quantity::MAX)
    }
}

fn policy_settings(algorithm: LimitAlgorithm) -> PolicySettings {
    let rate = PolicySettings { algorithm, quota: 7, window_ms: Some(60_000), burst: 3, shadow: true, ..PolicySettings::least() };
    match algorithm {
        LimitAlgorithm::InFlight => PolicySettings { window_ms: None, burst: 0, timeout_ms: Some(30_000), ..rate },
        LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket => rate,
        _ => PolicySettings { burst: 0, ..rate },
    }
}

static SECRET: SecretDigest = SecretDigest([0xA5; 32]);
static OTHER_SECRET: SecretDigest = SecretDigest([0x5A; 32]);

const NUMBERS: Numbers = Numbers { quota: 7, window_ns: 60_000_000_000, burst: 0 };

fn limit_key() -> LimitKey<'static> {
    LimitKey::new("Ann & Söhne").unwrap()
}

fn changes() -> Vec<Change<'static>> {
    let (number, serial, subject) = (Number(7), Serial::new(42).unwrap(), SubjectId::new("user:1").unwrap());
    let name = Name::new("spring-2026").unwrap();
    let did = |event| Change::Did(Done { number, event });
    let coupon = |event| did(Coupon::any_event(event));
    let policy = |event| did(Limit::any_event(event));
    let mut changes = vec![
        Change::Created { number, name, settings: Coupon::any_settings(full_settings()) },
        Change::Changed { number, settings: Coupon::any_settings(Settings::plain(Quantity::ONE)) },
        Change::Removed { number },
        coupon(coupon::Event::Claimed { serial, subject }),
        coupon(coupon::Event::Accepted { serial, subject }),
        coupon(coupon::Event::Decided { serial, subject }),
        coupon(coupon::Event::Redeemed { serial }),
        coupon(coupon::Event::Cancelled { serial }),
        policy(policies::Event::OverrideWritten { key: limit_key(), numbers: NUMBERS }),
        policy(policies::Event::OverrideRemoved { key: limit_key() }),
        Change::DidBoth(
            Done { number, event: Coupon::any_event(coupon::Event::Claimed { serial, subject }) },
            Done { number: Number(9), event: Limit::any_event(policies::Event::OverrideRemoved { key: limit_key() }) },
        ),
        Change::RequestsForgotten { count: 1_024 },
    ];
    let settings = LimitAlgorithm::ALL.iter().map(|algorithm| Limit::any_settings(policy_settings(*algorithm)));
    changes.extend(settings.map(|settings| Change::Created { number, name, settings }));
    let (key, campaigns, secret) = (KeyName::new("shop_7").unwrap(), Prefix::new("spring-").unwrap(), SECRET.shown());
    let scopes = [Scope::Issue, Scope::Read].into_iter().collect();
    changes.push(Change::Created { number, name: keyring::NAME, settings: Keyring::any_settings(KeyringSettings {}) });
    let events = [
        keyring::Event::KeyCreated { key, scopes, campaigns, secret },
        keyring::Event::KeyRotatedAlone { key, secret, overlap_ms: 3_600_000 },
        keyring::Event::KeyRevoked { key },
        keyring::Event::CodeKeyRotated { number: 2 },
        keyring::Event::KeyRotated { key, secret, overlap_ms: 3_600_000 },
    ];
    changes.extend(events.map(|event| did(Keyring::any_event(event))));
    changes.push(Change::TimeSet { from: at(1_767_398_400_000), to: at(1_767_225_600_123) });
    changes
}

/// One record of each kind, with and without a request key.
fn one_of_each() -> Vec<Record<'static>> {
    let (actor, request_id) = (ActorId::new("shop").unwrap(), RequestId::new("r-1").unwrap());
    let record = |(place, change): (usize, Change<'static>)| {
        let request = if place % 2 == 0 { keyed() } else { None };
        Record { at: at(1_767_225_600_123), actor, request_id, request, change }
    };
    changes().into_iter().enumerate().map(record).collect()
}

fn commands_of_each_kind() -> Vec<Command<'static>> {
    let name = Name::new("spring-2026").unwrap();
    let (serial, subject) = (Serial::new(42).unwrap(), SubjectId::new("user:1").unwrap());
    let mut patch = Patch::<Settings>::default();
    for (field, value) in [
        ("stock", Value::Number(1)),
        ("opens_at", Value::Null),
        ("closes_at", Value::Time(at(9))),
        ("paused", Value::Bool(false)),
        ("mode", Value::Word("queued")),
        ("decisions_per_second_max", Value::Null),
    ] {
        patch.set(field, value).unwrap();
    }
    let claim = |command| Step { name, command: Coupon::any_command(command) };
    let limit = |command| Step { name, command: Limit::any_command(command) };
    let put = |settings: AnySettings, precondition| Action::Put { name, settings, precondition };
    let mut actions = vec![
        put(Coupon::any_settings(full_settings()), Precondition::IsNew),
        put(Limit::any_settings(policy_settings(LimitAlgorithm::InFlight)), Precondition::Always),
        Action::Patch { name, patch: Coupon::any_patch(patch), precondition: Precondition::Version(7) },
        Action::Patch { name, patch: Limit::any_patch(Patch::default()), precondition: Precondition::Exists },
        Action::Remove { kind: domain::Kind::Policy, name, precondition: Precondition::Never },
    ];
    let steps = [
        claim(coupon::Command::Claim { subject }),
        claim(coupon::Command::Redeem { by: TargetBy::Code { serial } }),
        claim(coupon::Command::Redeem { by: TargetBy::Subject { subject } }),
        claim(coupon::Command::Cancel { by: TargetBy::SubjectSerial { subject, serial } }),
        claim(coupon::Command::DecideNext { serial, subject }),
        limit(policies::Command::PutOverride { key: limit_key(), numbers: NUMBERS }),
        limit(policies::Command::RemoveOverride { key: limit_key() }),
    ];
    let keys = keyring_commands().map(|command| Step { name: keyring::NAME, command: Keyring::any_command(command) });
    actions.extend(steps.map(Action::Do));
    actions.push(Action::DoBoth(steps[0], steps[5]));
    actions.push(Action::ForgetRequests);
    actions.extend(keys.map(Action::Do));
    actions.push(Action::SetTime { to: at(1_767_225_600_123) });
    let command = |(place, action)| Command { actor: ActorId::LOCAL, request: if place % 2 == 0 { keyed() } else { None }, action };
    actions.into_iter().enumerate().map(command).collect()
}

fn keyring_commands() -> [keyring::Command<'static>; 5] {
    let (key, secret) = (KeyName::new("shop_7").unwrap(), SECRET.shown());
    let by = Asker::Holder { key: KeyName::new("admin").unwrap(), secret: OTHER_SECRET.shown() };
    let scopes = [Scope::Admin].into_iter().collect();
    [
        keyring::Command::CreateKey { by: Asker::Anyone, key, scopes, campaigns: Prefix::new("").unwrap(), secret },
        keyring::Command::RotateKeyAlone { by: Asker::Operator, key, secret, overlap_ms: 0 },
        keyring::Command::RevokeKey { by, key },
        keyring::Command::RotateCodeKey { by },
        keyring::Command::RotateKey { by: Asker::Operator, key, secret, overlap_ms: 3_600_000 },
    ]
}

#[test]
fn records_of_format_2_are_read_for_ever() {
    let (fixture, expected) = (records_2(), one_of_each());
    assert_eq!(fixture.len(), expected.len());
    for ((body, private), expected) in fixture.iter().zip(expected) {
        assert_eq!(decode_record(body, Some(private)), Ok(expected));
        assert_eq!(encode(&expected), (body.clone(), private.clone()));
    }
}

/// A new kind of change or event gets a record in the fixture.
#[test]
fn the_fixture_has_a_record_of_each_kind() {
    let found: BTreeSet<&str> = one_of_each().iter().map(|record| kind_of(&record.change)).collect();
    let of_frame = ["both", "changed", "created", "forgotten", "removed", "time_set"];
    let events = [coupon::Event::VARIANTS, policies::Event::VARIANTS, keyring::Event::VARIANTS].concat();
    assert_eq!(found, of_frame.into_iter().chain(events).collect());
}

fn kind_of(change: &Change<'_>) -> &'static str {
    match change {
        Change::Created { .. } => "created",
        Change::Changed { .. } => "changed",
        Change::Removed { .. } => "removed",
        Change::Did(done) => done.event.variant(),
        Change::DidBoth(..) => "both",
        Change::RequestsForgotten { .. } => "forgotten",
        Change::TimeSet { .. } => "time_set",
    }
}

#[test]
fn commands_of_format_2_are_read_for_ever() {
    let (fixture, expected) = (commands_2(), commands_of_each_kind());
    assert_eq!(fixture, expected.iter().map(encode_ask).collect::<Vec<_>>());
    for (bytes, command) in fixture.iter().zip(expected) {
        assert_eq!(decode_command(bytes), Ok(command));
    }
}

#[test]
fn a_state_of_each_format_is_read_for_ever() {
    assert_eq!(sections(&rebuild(&state_2(), HASH).unwrap()), state_3());
    let state = rebuild(&state_3(), HASH).unwrap();
    assert_eq!(sections(&state), state_3());
    assert_eq!(state.time, at(30 * 3_600_000));
    let spring = state.get::<Coupon>(Name::new("spring").unwrap()).unwrap();
    assert_eq!((spring.head.number, spring.head.version, spring.head.created_at), (Number(2), 2, at(25 * 3_600_000)));
    assert_eq!((spring.settings.stock.get(), spring.settings.per_subject_max), (9, 2));
    assert_eq!((spring.items.remaining.get(), spring.items.redeemed.get(), spring.items.claims.count()), (7, 1, 3));
    let statuses: Vec<ClaimStatus> = spring.items.claims.iter().map(|claim| claim.status).collect();
    let (redeemed_at, cancelled_at) = (at(29 * 3_600_000), at(30 * 3_600_000));
    assert_eq!(statuses, [ClaimStatus::Cancelled { cancelled_at }, ClaimStatus::Redeemed { redeemed_at }, ClaimStatus::Live]);
    let queue = state.get::<Coupon>(Name::new("queue").unwrap()).unwrap();
    assert_eq!((queue.claimed().get(), queue.pending().get()), (1, 2));
    let api = state.get::<Limit>(Name::new("api").unwrap()).unwrap();
    assert_eq!(api.items.overrides.keys().map(|key| &**key).collect::<Vec<&str>>(), ["ann", "vip"]);
    assert_eq!((state.number_next(), state.at(Number(1)).is_none()), (Number(6), true));
    let outcomes: Vec<u8> = state.requests.iter().map(|known| outcome_number(&known.outcome)).collect();
    assert_eq!(outcomes, [1, 2, 4, 4, 4, 4, 4, 4, 1, 4, 4, 3]);
}

fn outcome_number(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Written { created: true, .. } => 1,
        Outcome::Written { created: false, .. } => 2,
        Outcome::Removed { .. } => 3,
        Outcome::Did(..) => 4,
        Outcome::DidBoth(..) => 5,
    }
}

#[test]
fn a_record_or_command_that_is_cut_short_or_goes_on_is_refused() {
    exact::no_record_is_cut_short_or_goes_on(&records_2());
    exact::no_command_is_cut_short_or_goes_on(&commands_2());
}

#[test]
fn a_record_without_its_private_part_is_refused_by_name() {
    for (body, _) in records_2() {
        let why = decode_record(&body, None).unwrap_err();
        assert_eq!(why.to_string(), "the record's private part has been erased");
    }
}

#[test]
fn what_is_changed_is_refused_or_is_something_else_with_just_these_bytes() {
    exact::a_changed_record_is_refused_or_another(&records_2());
    exact::a_changed_command_is_refused_or_another(&commands_2());
    exact::a_changed_or_truncated_section_is_refused_or_another(&state_3());
}

#[test]
fn nothing_that_names_a_person_is_in_the_body_of_a_record() {
    for (body, private) in records_2() {
        for name in [&b"user:1"[..], "Ann & Söhne".as_bytes(), b"a/b=c"] {
            let holds = |bytes: &[u8]| bytes.windows(name.len()).any(|window| window == name);
            assert!(!holds(&body), "{name:?} is in {body:?}, beside {private:?}");
        }
    }
}

#[test]
fn a_state_that_lacks_a_section_is_refused() {
    let whole = state_3();
    for missing in 0..whole.len() - 1 {
        let mut sections = whole.clone();
        sections.remove(missing);
        assert!(rebuild(&sections, HASH).is_err(), "section {missing}");
    }
}

#[test]
fn a_section_that_comes_twice_is_refused() {
    let whole = state_3();
    for twice in 0..whole.len() {
        let mut sections = whole.clone();
        sections.insert(twice, whole[twice].clone());
        exact::refused_or_same(&sections);
    }
}

#[test]
fn sections_in_another_order_are_refused() {
    let whole = state_3();
    for first in 0..whole.len() {
        for second in first + 1..whole.len() {
            let mut sections = whole.clone();
            sections.swap(first, second);
            exact::refused_or_same(&sections);
        }
    }
}

#[test]
fn an_aggregate_after_the_requests_is_refused() {
    let mut sections = state_3();
    let requests = sections.pop().unwrap();
    sections.insert(3, requests);
    assert!(rebuild(&sections, HASH).is_err());
}

#[test]
fn a_block_without_claims_is_refused() {
    let mut rules = rules();
    ask(&mut rules, "campaign a stock 1");
    let mut sections = sections(rules.state());
    // Items of aggregate 0, and nothing in them.
    sections.push(vec![3, 0, 0, 0, 0]);
    assert!(rebuild(&sections, HASH).is_err());
}

#[test]
fn two_aggregates_of_a_kind_and_name_are_no_state() {
    let mut rules = rules();
    tell(&mut rules, &[("campaign a stock 1", "created version 1"), ("campaign b stock 1", "created version 1")]);
    let mut sections = sections(rules.state());
    // Behind section, number, kind and the length of the name.
    sections[3][7] = b'a';
    assert!(rebuild(&sections, HASH).is_err());
}

#[test]
fn a_live_claim_that_was_changed_at_some_time_is_no_claim() {
    let mut rules = rules();
    ask(&mut rules, "campaign a stock 1");
    ask(&mut rules, "claim a by ann");
    let mut sections = sections(rules.state());
    // Behind section and number: the first word of the claim, then the one with the time of change.
    let changed_at = 1 + 4 + 8;
    sections[3][changed_at] = 1;
    assert!(rebuild(&sections, HASH).is_err());
}
