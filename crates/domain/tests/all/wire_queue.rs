//! The bytes of queues: settings, what is accepted, and what is pending in the state. Those that were
//! once written are read for ever (J2), and what is not written by this program is refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::common;

use common::{Parts, Sections, at, encode, encode_ask, exact, lines_of, parts_of, rebuild, rules, sections, tell};
use domain::claims::ClaimStatus;
use domain::coupon::queue::{DecideNext, Mode, PACE_MAX, QUEUE_MAX, QueuePatch, QueueSettings};
use domain::coupon::{self, CampaignNumber, Patch, Precondition, Put, Settings};
use domain::hash::HashSeed;
use domain::request::{Fingerprint, Keyed, Outcome};
use domain::state::{Command, CommandKind, Event, Record};
use domain::types::{ActorId, CampaignName, Quantity, RequestId, RequestKey, Serial, SubjectId};
use domain::wire::command::decode_command;
use domain::wire::decode_record;

const RECORDS: &str = include_str!("../fixtures/queue-records-1.hex");
const COMMANDS: &str = include_str!("../fixtures/queue-commands-1.hex");
const STATE: &str = include_str!("../fixtures/queue-state-1.hex");

const HASH: HashSeed = HashSeed(7, 8);

fn name() -> CampaignName<'static> {
    CampaignName::new("spring-2026").unwrap()
}

fn keyed() -> Keyed<'static> {
    Keyed { key: RequestKey::new("a/b=c").unwrap(), fingerprint: Fingerprint(*b"0123456789abcdef") }
}

fn settings(paused: bool, queue: QueueSettings) -> Settings {
    Settings { stock: Quantity::ONE, per_subject_max: 2, opens_at: Some(at(5)), closes_at: None, redeem_until: None, paused, queue }
}

/// Queues of which each is no default in another way.
fn queues() -> [QueueSettings; 4] {
    let queued = QueueSettings { mode: Mode::Queued, ..QueueSettings::DIRECT };
    [
        queued,
        QueueSettings { decisions_per_second_max: Some(PACE_MAX), ..queued },
        QueueSettings { decisions_per_second_max: Some(1), ..QueueSettings::DIRECT },
        QueueSettings { queue_max: QUEUE_MAX, ..QueueSettings::DIRECT },
    ]
}

fn records() -> Vec<Record<'static>> {
    let (campaign, serial, subject) = (CampaignNumber(7), Serial::new(42).unwrap(), SubjectId::new("user:1").unwrap());
    let changed = |(place, queue): (usize, QueueSettings)| {
        (None, coupon::Event::CampaignChanged { campaign, settings: settings(place.is_multiple_of(2), queue) })
    };
    let others = [
        (None, coupon::Event::CampaignCreated { campaign, name: name(), settings: settings(false, queues()[1]), code_key: 3 }),
        (None, coupon::Event::Accepted { campaign, serial, subject }),
        (Some(keyed()), coupon::Event::Accepted { campaign, serial, subject }),
    ];
    let (time, actor, request_id) = (at(1_767_225_600_123), ActorId::new("shop").unwrap(), RequestId::new("r-1").unwrap());
    let events = queues().into_iter().enumerate().map(changed).chain(others);
    events.map(|(request, event)| Record { at: time, actor, request_id, request, event: Event::Coupon(event) }).collect()
}

fn commands() -> Vec<Command<'static>> {
    let campaign = name();
    let puts = queues().map(|queue| {
        coupon::Command::Put(Put { campaign, settings: settings(true, queue), precondition: Precondition::Always, code_key: 3 })
    });
    let patch = |queue, paused| {
        let precondition = Precondition::Version(7);
        let (opens_at, closes_at, redeem_until) = (None, None, None);
        coupon::Command::Patch(Patch {
            campaign,
            precondition,
            stock: None,
            per_subject_max: None,
            opens_at,
            closes_at,
            redeem_until,
            paused,
            queue,
        })
    };
    let nothing = QueuePatch::default();
    let patches = [
        patch(QueuePatch { mode: Some(Mode::Queued), ..nothing }, None),
        patch(QueuePatch { mode: Some(Mode::Direct), queue_max: Some(5), ..nothing }, Some(true)),
        patch(QueuePatch { decisions_per_second_max: Some(None), ..nothing }, Some(false)),
        patch(QueuePatch { decisions_per_second_max: Some(Some(100)), queue_max: Some(QUEUE_MAX), ..nothing }, None),
    ];
    let subject = SubjectId::new("user:1").unwrap();
    let next = coupon::Command::DecideNext(DecideNext { campaign, serial: Serial::new(42).unwrap(), subject });
    let all = puts.into_iter().chain(patches).chain([next]);
    all.map(|command| Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(command) }).collect()
}

/// Two campaigns with pending claims, and a request that was answered while there were some.
fn state() -> Sections {
    let mut rules = rules();
    tell(
        &mut rules,
        &[
            ("campaign spring stock 9 queued pace 1", "created version 1"),
            ("campaign summer stock 9 queued pace 1 queue-max 3", "created version 1"),
            ("campaign autumn stock 9", "created version 1"),
            ("at 10s claim spring by ann", "claimed serial 1"),
            ("claim spring by bob key k1", "accepted place 1"),
            ("claim spring by cat", "accepted place 2"),
            ("claim summer by ann", "claimed serial 1"),
            ("claim summer by bob", "accepted place 1"),
            ("claim autumn by ann", "claimed serial 1"),
            ("patch spring stock 8 key k2", "replaced version 2"),
            ("at 11s claim spring by dan", "accepted place 2"),
        ],
    );
    sections(rules.state())
}

#[test]
fn records_are_read_for_ever() {
    let (fixture, expected): (Vec<Parts>, _) = (parts_of(RECORDS), records());
    assert_eq!(expected.iter().map(encode).collect::<Vec<Parts>>(), fixture);
    for ((body, private), expected) in fixture.iter().zip(expected) {
        assert_eq!(decode_record(body, Some(private)), Ok(expected));
    }
}

#[test]
fn commands_are_read_for_ever() {
    let (fixture, expected) = (lines_of(COMMANDS), commands());
    assert_eq!(expected.iter().map(encode_ask).collect::<Vec<_>>(), fixture);
    for (bytes, command) in fixture.iter().zip(expected) {
        assert_eq!(decode_command(bytes), Ok(command));
    }
}

#[test]
fn a_state_with_pending_claims_is_read_for_ever() {
    let fixture: Sections = lines_of(STATE);
    assert_eq!(state(), fixture);
    let read = rebuild(&fixture, HASH).unwrap();
    assert_eq!(sections(&read), fixture);
    assert_eq!(read.queues().map(|campaign| (campaign.name.as_str(), campaign.pending_count())).collect::<Vec<_>>(), [("spring", 2)]);
    let spring = read.campaign(CampaignName::new("spring").unwrap()).unwrap();
    let status = |serial| spring.claims.get(Serial::new(serial).unwrap()).unwrap().status;
    assert_eq!([1, 2, 3, 4].map(status), [ClaimStatus::Live, ClaimStatus::Live, ClaimStatus::Pending, ClaimStatus::Pending]);
    assert_eq!((spring.claimed().get(), spring.pending().get(), spring.remaining.get()), (2, 2, 4));
    let pending: Vec<u32> = read.requests.iter().filter_map(|known| pending_in(&known.outcome)).collect();
    assert_eq!(pending, [2]);
}

fn pending_in(outcome: &Outcome) -> Option<u32> {
    let Outcome::Campaign { view, .. } = outcome else { return None };
    Some(view.pending.get())
}

#[test]
fn more_pending_claims_than_there_are_or_ended_ones_are_refused() {
    let fixture: Sections = lines_of(STATE);
    let head = fixture.iter().position(|section| section[0] == 2).unwrap();
    // The last four bytes of a campaign with pending claims are their number.
    for (count, is_right) in [(0, false), (1, true), (2, true), (4, true), (5, false), (u32::MAX, false)] {
        let mut changed = fixture.clone();
        let length = changed[head].len();
        changed[head].splice(length - 4.., u32::to_le_bytes(count));
        assert_eq!(rebuild(&changed, HASH).is_ok(), is_right, "{count}");
    }
}

#[test]
fn what_is_cut_short_or_goes_on_is_refused() {
    exact::no_record_is_cut_short_or_goes_on(&parts_of(RECORDS));
    exact::no_command_is_cut_short_or_goes_on(&lines_of(COMMANDS));
}

#[test]
fn what_is_changed_is_refused_or_is_something_else_with_just_these_bytes() {
    exact::a_changed_record_is_refused_or_another(&parts_of(RECORDS));
    exact::a_changed_command_is_refused_or_another(&lines_of(COMMANDS));
    exact::a_changed_or_truncated_section_is_refused_or_another(&lines_of(STATE));
}
