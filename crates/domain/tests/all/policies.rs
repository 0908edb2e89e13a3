//! Policies of rate limits as they are kept: versions, conditions, overrides, and the way back from
//! bytes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use domain::coupon::Precondition;
use domain::hash::HashSeed;
use domain::rate_limit::in_flight::InFlight;
use domain::rate_limit::policies::{Command as Ask, Numbers, Rejection as Why, Rule};
use domain::rate_limit::{Algorithm, Mode, Policy, PolicyError, Settings};
use domain::state::{Command, CommandKind, Decision, Record, State, decide};
use domain::types::{ActorId, LimitKey, PolicyName, RequestId, Timestamp};
use domain::wire::state::StateBuilder;
use domain::{Rejection, wire};

fn name(name: &str) -> PolicyName<'_> {
    PolicyName::new(name).unwrap()
}

fn key(key: &str) -> LimitKey<'_> {
    LimitKey::new(key).unwrap()
}

fn rate(algorithm: Algorithm, quota: u32) -> Rule {
    Rule::Rate(Policy::new(Settings::per_second(algorithm, quota)).unwrap())
}

fn put(policy: &str, rule: Rule, precondition: Precondition) -> Ask<'_> {
    Ask::Put { policy: name(policy), rule, precondition }
}

const NUMBERS: Numbers = Numbers { quota: 7, window_ns: 1_000_000_000, burst: 0 };

/// The state, and every record as it is written.
struct Kept(State);

impl Kept {
    fn new() -> Self {
        Self(State::new(HashSeed(1, 2)))
    }

    /// Whether it changed anything. What is written is read back before it takes effect.
    fn ask(&mut self, kind: Ask<'_>) -> Result<bool, Why> {
        let command = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Policy(kind) };
        let at = Timestamp::from_millis(self.0.time.millis() + 1).unwrap();
        let event = match decide(&self.0, &command, at) {
            Ok(Decision::Event(event)) => event,
            Ok(Decision::Answer(_) | Decision::Nothing) => return Ok(false),
            Err(Rejection::Policy(why)) => return Err(why),
            Err(other) => panic!("{other:?}"),
        };
        let record = Record { at, actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, event };
        let (mut body, mut private) = (Vec::new(), Vec::new());
        wire::encode_record(&record, &mut body, &mut private);
        assert_eq!(wire::decode_record(&body, Some(&private)), Ok(record));
        self.0.evolve(&record);
        assert_eq!(self.0.check(), Ok(()));
        Ok(true)
    }

    fn version(&self, policy: &str) -> Option<u64> {
        self.0.policies.get(name(policy)).map(|kept| kept.version)
    }
}

#[test]
fn a_rule_that_is_written_gets_the_next_version_and_the_same_rule_again_changes_nothing() {
    let mut kept = Kept::new();
    let (one, other) = (rate(Algorithm::LeakyBucket, 1), rate(Algorithm::FixedWindow, 2));
    assert_eq!(kept.ask(put("api", one, Precondition::Always)), Ok(true));
    assert_eq!(kept.ask(put("api", one, Precondition::Always)), Ok(false));
    assert_eq!(kept.version("api"), Some(1));
    assert_eq!(kept.ask(put("api", other, Precondition::Version(1))), Ok(true));
    assert_eq!(kept.version("api"), Some(2));
}

#[test]
fn conditions_are_those_of_the_version_that_is_there() {
    let mut kept = Kept::new();
    let rule = rate(Algorithm::LeakyBucket, 1);
    for missing in [Precondition::Exists, Precondition::Version(1), Precondition::Never] {
        assert_eq!(kept.ask(put("api", rule, missing)), Err(Why::PolicyNotFound));
    }
    assert_eq!(kept.ask(put("api", rule, Precondition::IsNew)), Ok(true));
    assert_eq!(kept.ask(put("api", rule, Precondition::IsNew)), Err(Why::PolicyExists));
    for stale in [Precondition::Version(2), Precondition::Never] {
        assert_eq!(kept.ask(put("api", rule, stale)), Err(Why::VersionMismatch { version: 1 }));
        assert_eq!(kept.ask(Ask::Remove { policy: name("api"), precondition: stale }), Err(Why::VersionMismatch { version: 1 }));
    }
    assert_eq!(kept.ask(Ask::Remove { policy: name("api"), precondition: Precondition::Version(1) }), Ok(true));
    assert_eq!(kept.ask(Ask::Remove { policy: name("api"), precondition: Precondition::Always }), Err(Why::PolicyNotFound));
}

#[test]
fn an_override_fits_its_policy_and_stands_in_the_way_of_another_algorithm() {
    let mut kept = Kept::new();
    kept.ask(put("api", rate(Algorithm::FixedWindow, 1), Precondition::Always)).unwrap();
    let over = |numbers| Ask::PutOverride { policy: name("api"), key: key("ann"), numbers };
    let burst = Why::NumbersOutOfRange(PolicyError::BurstNotUsed);
    assert_eq!(kept.ask(over(Numbers { burst: 1, ..NUMBERS })), Err(burst));
    assert_eq!(kept.ask(over(NUMBERS)), Ok(true));
    assert_eq!(kept.ask(over(NUMBERS)), Ok(false));
    assert_eq!((kept.0.policies.overrides_count(), kept.version("api")), (1, Some(1)));
    assert_eq!(kept.ask(put("api", rate(Algorithm::FixedWindow, 5), Precondition::Always)), Ok(true));
    assert_eq!(kept.ask(put("api", rate(Algorithm::LeakyBucket, 5), Precondition::Always)), Err(Why::PolicyHasOverrides));
    let remove = Ask::RemoveOverride { policy: name("api"), key: key("ann") };
    assert_eq!([kept.ask(remove), kept.ask(remove)], [Ok(true), Err(Why::OverrideNotFound)]);
    assert_eq!(kept.ask(put("api", rate(Algorithm::LeakyBucket, 5), Precondition::Always)), Ok(true));
    let in_flight = Rule::InFlight(InFlight::new(2, 1_000_000_000, Mode::Enforce).unwrap());
    assert_eq!(kept.ask(put("flight", in_flight, Precondition::Always)), Ok(true));
    let numbers = Ask::PutOverride { policy: name("flight"), key: key("ann"), numbers: NUMBERS };
    assert_eq!(kept.ask(numbers), Err(Why::OverrideNotPossible));
}

#[test]
fn a_policy_that_is_removed_takes_its_overrides_with_it() {
    let mut kept = Kept::new();
    kept.ask(put("api", rate(Algorithm::FixedWindow, 1), Precondition::Always)).unwrap();
    kept.ask(Ask::PutOverride { policy: name("api"), key: key("ann"), numbers: NUMBERS }).unwrap();
    kept.ask(Ask::Remove { policy: name("api"), precondition: Precondition::Always }).unwrap();
    assert_eq!((kept.0.policies.len(), kept.0.policies.overrides_count()), (0, 0));
    kept.ask(put("api", rate(Algorithm::FixedWindow, 1), Precondition::IsNew)).unwrap();
    assert_eq!(kept.ask(Ask::RemoveOverride { policy: name("api"), key: key("ann") }), Err(Why::OverrideNotFound));
}

#[test]
fn the_state_comes_back_from_its_bytes_with_every_policy() {
    let mut kept = Kept::new();
    for (place, algorithm) in Algorithm::ALL.into_iter().enumerate() {
        kept.ask(put(algorithm.word(), rate(algorithm, u32::try_from(place).unwrap() + 1), Precondition::Always)).unwrap();
        kept.ask(Ask::PutOverride { policy: name(algorithm.word()), key: key("Ann & Söhne"), numbers: NUMBERS }).unwrap();
    }
    let shadow = Rule::InFlight(InFlight::new(2, 1_000_000_000, Mode::Shadow).unwrap());
    kept.ask(put("flight", shadow, Precondition::Always)).unwrap();
    let sections: Vec<Vec<u8>> = kept.0.freeze().sections().collect();
    let rebuilt = |sections: &[Vec<u8>]| {
        let mut builder = StateBuilder::new(HashSeed(3, 4));
        sections.iter().try_for_each(|section| builder.section(section)).and_then(|()| builder.finish())
    };
    let state = rebuilt(&sections).unwrap();
    assert_eq!(state.policies, kept.0.policies);
    assert_eq!(state.freeze().sections().collect::<Vec<_>>(), sections);
    let mut swapped = sections.clone();
    let last = swapped.len() - 1;
    swapped.swap(last, last - 1);
    assert!(rebuilt(&swapped).is_err(), "policies are in the order of their names");
    swapped[last] = swapped[last - 1].clone();
    assert!(rebuilt(&swapped).is_err(), "each policy is there once");
}
