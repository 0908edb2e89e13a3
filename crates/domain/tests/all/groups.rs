//! A group shares one order, so that one command may touch two aggregates of it, of two kinds: both
//! take effect, or neither.
#![allow(clippy::unwrap_used)]

use crate::common;

use common::at;
use domain::coupon::{self, Coupon, Settings};
use domain::hash::HashSeed;
use domain::rate_limit::policies::{self, Limit, LimitAlgorithm, Numbers, PolicySettings};
use domain::request::{Fingerprint, Keyed};
use domain::state::{Precondition, decide};
use domain::types::{ActorId, LimitKey, Name, Quantity, RequestId, RequestKey, SubjectId};
use domain::wire::{decode_record, encode_record};
use domain::{Action, Answer, Command, Decision, Listed, Novelty, Record, Rejection, State, Step};

struct Group(State);

fn name(text: &str) -> Name<'_> {
    Name::new(text).unwrap()
}

fn claim<'a>(campaign: &'a str, subject: &'a str) -> Step<'a> {
    let command = coupon::Command::Claim { subject: SubjectId::new(subject).unwrap() };
    Step { name: name(campaign), command: Coupon::any_command(command) }
}

fn raise<'a>(policy: &'a str, key: &'a str, quota: u32) -> Step<'a> {
    let numbers = Numbers { quota, window_ns: 1_000_000_000, burst: 0 };
    let command = policies::Command::PutOverride { key: LimitKey::new(key).unwrap(), numbers };
    Step { name: name(policy), command: Limit::any_command(command) }
}

impl Group {
    /// A campaign with one unit, and a policy of the same group.
    fn new() -> Self {
        let mut group = Self(State::new(HashSeed(1, 2)));
        let settings = Coupon::any_settings(Settings::plain(Quantity::ONE));
        group.put("spring", settings);
        let fields = <PolicySettings as domain::fields::Fields>::least();
        let policy = PolicySettings { algorithm: LimitAlgorithm::FixedWindow, quota: 1, window_ms: Some(1_000), ..fields };
        for policy_name in ["spring:api", "autumn:api"] {
            group.put(policy_name, Limit::any_settings(policy));
        }
        group
    }

    fn put(&mut self, text: &str, settings: domain::workload::AnySettings) {
        let put = Action::Put { name: name(text), settings, precondition: Precondition::Always };
        assert!(self.give(&Command::local(put)).is_ok());
    }

    /// What is written is read back before it takes effect.
    fn give(&mut self, command: &Command<'_>) -> Result<Option<Answer>, Rejection> {
        let change = match decide(&self.0, command, at(1))? {
            Decision::Change(change) => change,
            Decision::Answer(answer) => return Ok(Some(answer)),
            Decision::Nothing => return Ok(None),
        };
        let record = Record { at: at(1), actor: command.actor, request_id: RequestId::ENGINE, request: command.request, change };
        let (mut body, mut private) = (Vec::new(), Vec::new());
        encode_record(&record, &mut body, &mut private);
        assert_eq!(decode_record(&body, Some(&private)), Ok(record));
        assert!(self.0.fits(&record));
        let outcome = self.0.evolve(&record).unwrap();
        Ok(Some(Answer { outcome, novelty: Novelty::Fresh }))
    }

    /// Units that are claimed, and overrides.
    fn counts(&self) -> (u32, usize) {
        let campaign = self.0.get::<Coupon>(name("spring")).unwrap();
        (campaign.claimed().get(), self.0.get::<Limit>(name("spring:api")).unwrap().items.overrides.len())
    }
}

#[test]
fn both_take_effect_at_once_and_a_replay_repeats_both() {
    let mut group = Group::new();
    let keyed = Keyed { key: RequestKey::new("k1").unwrap(), fingerprint: Fingerprint([1; 16]) };
    let action = Action::DoBoth(claim("spring", "ann"), raise("spring:api", "ann", 5));
    let command = Command { actor: ActorId::LOCAL, request: Some(keyed), action };
    let first = group.give(&command).unwrap().unwrap();
    assert_eq!((first.novelty, group.counts()), (Novelty::Fresh, (1, 1)));
    let again = group.give(&command).unwrap().unwrap();
    assert_eq!((again.outcome, again.novelty, group.counts()), (first.outcome, Novelty::Replayed, (1, 1)));
}

#[test]
fn neither_takes_effect_where_either_is_refused() {
    let mut group = Group::new();
    let give = |group: &mut Group, first, second| group.give(&Command::local(Action::DoBoth(first, second)));
    let out_of_range = give(&mut group, claim("spring", "ann"), raise("spring:api", "ann", 0));
    assert_eq!(out_of_range, Err(Rejection::of::<Limit>(policies::Rejection::QuotaOutOfRange)));
    assert_eq!(group.counts(), (0, 0));
    assert!(give(&mut group, claim("spring", "bob"), raise("spring:api", "bob", 5)).is_ok());
    let sold_out = give(&mut group, raise("spring:api", "ann", 5), claim("spring", "ann"));
    assert_eq!(sold_out, Err(Rejection::of::<Coupon>(coupon::Rejection::SoldOut)));
    assert_eq!(group.counts(), (1, 1));
}

#[test]
fn where_one_half_is_so_already_the_other_does_not_happen() {
    let mut group = Group::new();
    let both = |quota| Command::local(Action::DoBoth(claim("spring", "ann"), raise("spring:api", "ann", quota)));
    assert!(group.give(&both(5)).is_ok());
    assert_eq!(group.give(&both(6)), Err(Rejection::HalfDone));
    assert_eq!(group.give(&both(5)).unwrap().map(|answer| answer.novelty), Some(Novelty::Repeated));
    assert_eq!(group.counts(), (1, 1));
}

#[test]
fn two_groups_and_one_aggregate_twice_are_refused() {
    let mut group = Group::new();
    for (first, second) in [
        (claim("spring", "ann"), raise("autumn:api", "ann", 5)),
        (claim("spring", "ann"), claim("spring", "bob")),
        (raise("spring:api", "ann", 5), raise("spring:api", "bob", 5)),
    ] {
        assert_eq!(group.give(&Command::local(Action::DoBoth(first, second))), Err(Rejection::NotOneGroup));
    }
    assert_eq!(group.counts(), (0, 0));
}

#[test]
fn a_record_of_both_that_does_not_fit_one_of_them_fits_neither() {
    let mut group = Group::new();
    let action = Action::DoBoth(claim("spring", "ann"), raise("spring:api", "ann", 5));
    let command = Command::local(action);
    let Ok(Decision::Change(change)) = decide(&group.0, &command, at(1)) else { panic!("nothing was decided") };
    let record = Record { at: at(1), actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, change };
    assert!(group.0.fits(&record));
    assert!(group.give(&Command::local(Action::Do(claim("spring", "bob")))).is_ok());
    assert!(!group.0.fits(&record), "the serial is used, and nothing is left");
}
