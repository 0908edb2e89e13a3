//! The bytes of policies: records, commands and the section of the state. Those that were once
//! written are read for ever (J2), and what is not written by this program is refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::common;

use common::{Parts, Sections, at, encode, encode_ask, exact, lines_of, parts_of, rebuild, sections};
use domain::coupon::Precondition;
use domain::hash::HashSeed;
use domain::rate_limit::in_flight::InFlight;
use domain::rate_limit::policies::{Command as Ask, Event, Numbers, Rule};
use domain::rate_limit::{Algorithm, Mode, Policy, Settings};
use domain::request::{Fingerprint, Keyed};
use domain::state::{self, Command, CommandKind, Record, State};
use domain::types::{ActorId, LimitKey, PolicyName, RequestId, RequestKey};
use domain::wire::command::decode_command;
use domain::wire::decode_record;

const RECORDS: &str = include_str!("../fixtures/policies-records-1.hex");
const COMMANDS: &str = include_str!("../fixtures/policies-commands-1.hex");
const STATE: &str = include_str!("../fixtures/policies-state-1.hex");
/// Without a policy, from before there were any.
const STATE_1: &str = include_str!("../fixtures/state-1.hex");

const NUMBERS: Numbers = Numbers { quota: 7, window_ns: 60_000_000_000, burst: 0 };
const HASH: HashSeed = HashSeed(7, 8);

fn name() -> PolicyName<'static> {
    PolicyName::new("api.v1").unwrap()
}

fn key() -> LimitKey<'static> {
    LimitKey::new("Ann & Söhne").unwrap()
}

/// A rule of every algorithm, no two with the same numbers.
fn rules() -> Vec<Rule> {
    let settings = |place: u32, algorithm: Algorithm| {
        let burst = if algorithm.has_burst() { 3 + place } else { 0 };
        let mode = if place == 0 { Mode::Shadow } else { Mode::Enforce };
        Settings { algorithm, quota: 10 + place, window_ns: 1_000_000_000 + u64::from(place), burst, mode }
    };
    let rates = (0..).zip(Algorithm::ALL).map(|(place, algorithm)| Rule::Rate(Policy::new(settings(place, algorithm)).unwrap()));
    rates.chain([Rule::InFlight(InFlight::new(5, 30_000_000_000, Mode::Shadow).unwrap())]).collect()
}

fn keyed() -> Keyed<'static> {
    Keyed { key: RequestKey::new("a/b=c").unwrap(), fingerprint: Fingerprint(*b"0123456789abcdef") }
}

/// Each kind, as the fixture has them.
fn events() -> Vec<Event<'static>> {
    let written = rules().into_iter().map(|rule| Event::PolicyWritten { policy: name(), rule });
    let others = [
        Event::OverrideWritten { policy: name(), key: key(), numbers: NUMBERS },
        Event::OverrideRemoved { policy: name(), key: key() },
        Event::PolicyRemoved { policy: name() },
    ];
    written.chain(others).collect()
}

fn records() -> Vec<Record<'static>> {
    let (time, request_id) = (at(1_767_225_600_123), RequestId::new("r-1").unwrap());
    let record =
        |event| Record { at: time, actor: ActorId::new("shop").unwrap(), request_id, request: None, event: state::Event::Policy(event) };
    let mut records: Vec<Record<'static>> = events().into_iter().map(record).collect();
    let first = Record { request: Some(keyed()), ..records[0] };
    records.push(first);
    records
}

fn commands() -> Vec<Command<'static>> {
    let puts = rules().into_iter().map(|rule| Ask::Put { policy: name(), rule, precondition: Precondition::IsNew });
    let others = [
        Ask::Remove { policy: name(), precondition: Precondition::Version(7) },
        Ask::PutOverride { policy: name(), key: key(), numbers: NUMBERS },
        Ask::RemoveOverride { policy: name(), key: key() },
    ];
    let actor = ActorId::new("shop").unwrap();
    puts.chain(others).map(|ask| Command { actor, request: Some(keyed()), kind: CommandKind::Policy(ask) }).collect()
}

/// The state in which every event but the removal of the policy has happened, under one name for
/// each rule.
fn state() -> State {
    let mut state = State::new(HASH);
    let mut evolve = |event| {
        let record = Record { event: state::Event::Policy(event), ..records()[0] };
        state.evolve(&Record { request: None, ..record });
    };
    for (rule, policy) in rules().into_iter().zip(["a", "b", "c", "d", "e", "f"]) {
        evolve(Event::PolicyWritten { policy: PolicyName::new(policy).unwrap(), rule });
    }
    let of_a = PolicyName::new("a").unwrap();
    evolve(Event::OverrideWritten { policy: of_a, key: key(), numbers: NUMBERS });
    evolve(Event::OverrideWritten { policy: of_a, key: LimitKey::new("bob").unwrap(), numbers: Numbers { quota: 1, ..NUMBERS } });
    state
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
fn the_fixture_has_a_record_of_each_kind() {
    let kinds: std::collections::BTreeSet<u8> = parts_of(RECORDS).iter().map(|(body, _)| body[1]).collect();
    for event in events() {
        // A new kind of event gets a line in this list and in a fixture.
        let kind = match event {
            Event::PolicyWritten { .. } => 20,
            Event::PolicyRemoved { .. } => 21,
            Event::OverrideWritten { .. } => 22,
            Event::OverrideRemoved { .. } => 23,
        };
        assert!(kinds.contains(&kind));
    }
    assert_eq!(kinds.into_iter().collect::<Vec<u8>>(), [20, 21, 22, 23]);
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
fn a_state_with_policies_is_read_for_ever() {
    let fixture: Sections = lines_of(STATE);
    assert_eq!(sections(&state()), fixture);
    let read = rebuild(&fixture, HASH).unwrap();
    assert_eq!(read.policies, state().policies);
    assert_eq!(read.check(), Ok(()));
}

#[test]
fn a_state_from_before_there_were_policies_has_none() {
    assert!(rebuild(&lines_of(STATE_1), HASH).unwrap().policies.is_empty());
}

#[test]
fn policies_come_after_everything_else_in_the_state() {
    let (mut both, policies) = (lines_of(STATE_1), lines_of(STATE)[1..].to_vec());
    both.extend(policies.clone());
    assert!(rebuild(&both, HASH).is_ok());
    let requests = lines_of(STATE_1).len() - 1;
    for place in 1..=requests {
        let mut early = lines_of(STATE_1);
        early.splice(place..place, policies.clone());
        assert!(rebuild(&early, HASH).is_err(), "policies before section {place}");
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
