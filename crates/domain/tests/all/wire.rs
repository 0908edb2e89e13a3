//! The bytes of records and state: those that were once written are read for ever (J2), and what
//! is not written by this program is refused, never a panic.

use crate::common;

use common::{Parts, Sections, ask, at, encode, encode_ask, exact, lines_of, parts_of, rebuild, rules, sections};
use domain::claims::ClaimStatus;
use domain::coupon::queue::{QueuePatch, QueueSettings};
use domain::coupon::{self, CampaignNumber, ClaimOne, Patch, Precondition, Put, Settings, Target, TargetBy};
use domain::hash::HashSeed;
use domain::request::{Fingerprint, Keyed, Outcome};
use domain::state::{Command, CommandKind, Event, Record};
use domain::types::{ActorId, CampaignName, Quantity, RequestId, RequestKey, Serial, SubjectId};
use domain::wire::command::decode_command;
use domain::wire::decode_record;

const RECORDS_1: &str = include_str!("../fixtures/records-1.hex");
const COMMANDS_1: &str = include_str!("../fixtures/commands-1.hex");
const STATE_1: &str = include_str!("../fixtures/state-1.hex");

fn records_1() -> Vec<Parts> {
    parts_of(RECORDS_1)
}

fn state_1() -> Sections {
    lines_of(STATE_1)
}

/// One record of each kind, as the fixture has them.
fn one_of_each() -> Vec<Record<'static>> {
    let full = Settings {
        stock: Quantity::MAX,
        per_subject_max: 100,
        opens_at: Some(at(10_000)),
        closes_at: Some(at(60_000)),
        redeem_until: Some(at(90_000)),
        paused: true,
        queue: QueueSettings::DIRECT,
    };
    let bare = Settings::plain(Quantity::ONE);
    let name = CampaignName::new("spring-2026").unwrap();
    let (campaign, serial, subject) = (CampaignNumber(7), Serial::new(42).unwrap(), SubjectId::new("user:1").unwrap());
    let key = Some(Keyed { key: RequestKey::new("a/b=c").unwrap(), fingerprint: Fingerprint(*b"0123456789abcdef") });
    let coupons = [
        (None, coupon::Event::CampaignCreated { campaign, name, settings: full, code_key: 3 }),
        (key, coupon::Event::CampaignChanged { campaign, settings: bare }),
        (None, coupon::Event::Claimed { campaign, serial, subject }),
        (key, coupon::Event::Claimed { campaign, serial, subject }),
        (key, coupon::Event::Redeemed { campaign, serial }),
        (None, coupon::Event::Cancelled { campaign, serial }),
    ];
    let (time, actor, request_id) = (at(1_767_225_600_123), ActorId::new("shop").unwrap(), RequestId::new("r-1").unwrap());
    let coupons = coupons.map(|(request, event)| Record { at: time, actor, request_id, request, event: Event::Coupon(event) });
    let forgotten = Event::RequestsForgotten { count: 1_024 };
    let forgotten = Record { at: time, actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, event: forgotten };
    coupons.into_iter().chain([forgotten]).collect()
}

#[test]
fn records_of_format_1_are_read_for_ever() {
    let (fixture, expected) = (records_1(), one_of_each());
    assert_eq!(fixture.len(), expected.len());
    for ((body, private), expected) in fixture.iter().zip(expected) {
        assert_eq!(decode_record(body, Some(private)), Ok(expected));
        assert_eq!(encode(&expected), (body.clone(), private.clone()));
    }
}

#[test]
fn the_fixture_has_a_record_of_each_kind() {
    let kinds: std::collections::BTreeSet<u8> = records_1().iter().map(|(body, _)| body[1]).collect();
    for record in one_of_each() {
        // A new kind of event gets a line in this list and in a fixture.
        let kind = match record.event {
            Event::Coupon(coupon::Event::CampaignCreated { .. }) => 1,
            Event::Coupon(coupon::Event::CampaignChanged { .. }) => 2,
            Event::Coupon(coupon::Event::Claimed { .. }) => 3,
            Event::Coupon(coupon::Event::Redeemed { .. }) => 4,
            Event::Coupon(coupon::Event::Cancelled { .. }) => 5,
            Event::Coupon(coupon::Event::Accepted { .. }) => unreachable!("queues have fixtures of their own: tests/wire_queue.rs"),
            Event::RequestsForgotten { .. } => 100,
            Event::Policy(_) => unreachable!("policies have fixtures of their own: tests/wire_policies.rs"),
        };
        assert!(kinds.contains(&kind));
    }
    assert_eq!(kinds.into_iter().collect::<Vec<u8>>(), [1, 2, 3, 4, 5, 100]);
}

#[test]
fn a_state_of_format_1_is_read_for_ever() {
    let state = rebuild(&state_1(), HashSeed(7, 8)).unwrap();
    assert_eq!(sections(&state), state_1());
    assert_eq!(state.time, at(31 * 3_600_000));
    let spring = state.campaign(CampaignName::new("spring").unwrap()).unwrap();
    assert_eq!((spring.number, spring.version, spring.code_key, spring.created_at), (CampaignNumber(1), 2, 3, at(25 * 3_600_000)));
    assert_eq!((spring.settings.stock.get(), spring.settings.per_subject_max), (9, 2));
    assert_eq!((spring.remaining.get(), spring.redeemed.get(), spring.claims.count()), (7, 1, 3));
    let statuses: Vec<ClaimStatus> = (1..=3).map(|serial| spring.claims.get(Serial::new(serial).unwrap()).unwrap().status).collect();
    let (redeemed_at, cancelled_at) = (at(29 * 3_600_000), at(30 * 3_600_000));
    assert_eq!(statuses, [ClaimStatus::Cancelled { cancelled_at }, ClaimStatus::Redeemed { redeemed_at }, ClaimStatus::Live]);
    let outcomes: Vec<u8> = state.requests.iter().map(|known| outcome_number(&known.outcome)).collect();
    assert_eq!(outcomes, [1, 1, 2, 2, 2, 3, 4]);
}

fn outcome_number(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Campaign { .. } => 1,
        Outcome::Claimed(..) => 2,
        Outcome::Redeemed(..) => 3,
        Outcome::Cancelled(..) => 4,
    }
}

#[test]
fn a_record_or_command_that_is_cut_short_or_goes_on_is_refused() {
    exact::no_record_is_cut_short_or_goes_on(&records_1());
    exact::no_command_is_cut_short_or_goes_on(&lines_of(COMMANDS_1));
}

#[test]
fn a_record_without_its_private_part_is_refused_by_name() {
    for (body, _) in records_1() {
        let why = decode_record(&body, None).unwrap_err();
        assert_eq!(why.to_string(), "the record's private part has been erased");
    }
}

#[test]
fn what_is_changed_is_refused_or_is_something_else_with_just_these_bytes() {
    exact::a_changed_record_is_refused_or_another(&records_1());
    exact::a_changed_command_is_refused_or_another(&lines_of(COMMANDS_1));
    exact::a_changed_or_truncated_section_is_refused_or_another(&state_1());
}

#[test]
fn a_state_that_lacks_a_section_of_a_campaign_is_refused() {
    let whole = state_1();
    for missing in 0..whole.len() - 1 {
        let mut sections = whole.clone();
        sections.remove(missing);
        assert!(rebuild(&sections, HashSeed(7, 8)).is_err(), "section {missing}");
    }
}

#[test]
fn a_section_that_comes_twice_is_refused() {
    let whole = state_1();
    for twice in 0..whole.len() {
        let mut sections = whole.clone();
        sections.insert(twice, whole[twice].clone());
        exact::refused_or_same(&sections);
    }
}

#[test]
fn sections_in_another_order_are_refused() {
    let whole = state_1();
    for first in 0..whole.len() {
        for second in first + 1..whole.len() {
            let mut sections = whole.clone();
            sections.swap(first, second);
            exact::refused_or_same(&sections);
        }
    }
}

#[test]
fn a_campaign_after_the_requests_is_refused() {
    let mut sections = state_1();
    let requests = sections.remove(5);
    sections.insert(3, requests);
    assert!(rebuild(&sections, HashSeed(7, 8)).is_err());
}

#[test]
fn a_block_without_claims_is_refused() {
    let mut rules = rules();
    ask(&mut rules, "campaign a stock 1");
    let mut sections = sections(rules.state());
    sections.push([&[3][..], &[0; 8]].concat());
    assert!(rebuild(&sections, HashSeed(7, 8)).is_err());
}

#[test]
fn two_campaigns_of_one_name_are_no_state() {
    let mut rules = rules();
    ask(&mut rules, "campaign a stock 1");
    ask(&mut rules, "campaign b stock 1");
    let mut sections = sections(rules.state());
    sections[2][2] = b'a';
    assert!(rebuild(&sections, HashSeed(7, 8)).is_err());
}

#[test]
fn a_live_claim_that_was_changed_at_some_time_is_no_claim() {
    let mut rules = rules();
    ask(&mut rules, "campaign a stock 1");
    ask(&mut rules, "claim a by ann");
    let mut sections = sections(rules.state());
    let changed_at = 1 + 4 + 4 + 8;
    sections[2][changed_at] = 1;
    assert!(rebuild(&sections, HashSeed(7, 8)).is_err());
}

/// One command of each kind, as the fixture has them.
fn commands_of_each_kind() -> Vec<Command<'static>> {
    let settings = Settings {
        stock: Quantity::MAX,
        per_subject_max: 100,
        opens_at: Some(at(1)),
        closes_at: None,
        redeem_until: Some(at(3)),
        paused: true,
        queue: QueueSettings::DIRECT,
    };
    let campaign = CampaignName::new("spring-2026").unwrap();
    let (serial, subject) = (Serial::new(42).unwrap(), SubjectId::new("user:1").unwrap());
    let patch = Patch {
        campaign,
        precondition: Precondition::Version(7),
        stock: Some(Quantity::ONE),
        per_subject_max: None,
        opens_at: Some(None),
        closes_at: Some(Some(at(9))),
        redeem_until: None,
        paused: Some(false),
        queue: QueuePatch::default(),
    };
    let untouched = Patch { stock: None, per_subject_max: Some(2), opens_at: None, closes_at: None, paused: None, ..patch };
    let target = |by| Target { campaign, by };
    let kinds = [
        coupon::Command::Put(Put { campaign, settings, precondition: Precondition::IsNew, code_key: 3 }),
        coupon::Command::Patch(patch),
        coupon::Command::Patch(Patch { precondition: Precondition::Never, ..untouched }),
        coupon::Command::Patch(Patch { precondition: Precondition::Exists, ..untouched }),
        coupon::Command::Patch(Patch { precondition: Precondition::Always, ..untouched }),
        coupon::Command::Claim(ClaimOne { campaign, subject }),
        coupon::Command::Redeem(target(TargetBy::Code(serial))),
        coupon::Command::Redeem(target(TargetBy::Subject(subject))),
        coupon::Command::Cancel(target(TargetBy::SubjectSerial(subject, serial))),
    ];
    let key = Some(Keyed { key: RequestKey::new("a/b=c").unwrap(), fingerprint: Fingerprint(*b"0123456789abcdef") });
    let actor = ActorId::new("shop").unwrap();
    let coupons = kinds.map(CommandKind::Coupon);
    let keyed = coupons.iter().map(|kind| Command { actor, request: key, kind: *kind });
    let forget = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::ForgetRequests };
    keyed.chain([forget]).collect()
}

#[test]
fn commands_of_format_1_are_read_for_ever() {
    let encoded: Vec<Vec<u8>> = commands_of_each_kind().iter().map(encode_ask).collect();
    let fixture: Vec<Vec<u8>> = lines_of(COMMANDS_1);
    assert_eq!(encoded, fixture);
    for (bytes, command) in fixture.iter().zip(commands_of_each_kind()) {
        assert_eq!(decode_command(bytes), Ok(command));
    }
}
