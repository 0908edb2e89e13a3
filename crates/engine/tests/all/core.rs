//! The critical section by itself: what an answer rests on.
#![allow(clippy::unwrap_used)]

use crate::support::{claim as claim_by, name, put_with};
use domain::coupon::queue::Mode;
use domain::coupon::{self, Campaign, Coupon, Settings};
use domain::hash::HashSeed;
use domain::rate_limit::policies::{self, Limit, LimitAlgorithm, Numbers, PolicySettings};
use domain::state::Precondition;
use domain::types::{LimitKey, Quantity, RequestId, Timestamp};
use domain::{Action, Command, Kind, Listed, Number, Workload};
use engine::core::Core;
use engine::limits::Limits;
use engine::views::{Over, Refusal};
use journal::Lsn;
use journal::batch::Batch;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn five() -> Settings {
    Settings::plain(Quantity::new(5).unwrap())
}

/// A queue that decides one claim a second.
fn slow(settings: Settings) -> Settings {
    Settings { mode: Mode::Queued, decisions_per_second_max: Some(1), ..settings }
}

fn put(campaign: &str, closes_at: Option<u64>) -> Command<'_> {
    put_with(campaign, Settings { closes_at: closes_at.map(at), ..five() })
}

fn claim(campaign: &str) -> Command<'_> {
    claim_by(campaign, "ann")
}

fn campaign(core: &Core, number: u32) -> &Campaign {
    core.state().get_at::<Coupon>(Number(number)).unwrap()
}

fn policy() -> PolicySettings {
    let least = <PolicySettings as domain::fields::Fields>::least();
    PolicySettings { algorithm: LimitAlgorithm::FixedWindow, quota: 5, window_ms: Some(60_000), ..least }
}

fn put_policy(text: &str) -> Command<'_> {
    Command::local(Action::Put { name: name(text), settings: Limit::any_settings(policy()), precondition: Precondition::Always })
}

/// Where the clock has gone back, the time of an answer is that of a record that may be lost.
#[test]
fn an_answer_rests_on_the_record_that_its_time_comes_from() {
    let mut core = Core::new(HashSeed(1, 2), Limits::STANDARD);
    core.settle(1 << 20);
    let submit = |core: &mut Core, command: &Command<'_>, wall| core.submit(command, RequestId::ENGINE, at(wall));
    assert!(submit(&mut core, &put("spring", Some(80)), 10).value.is_ok());
    assert!(submit(&mut core, &put("autumn", None), 100).value.is_ok());
    assert!(submit(&mut core, &claim("autumn"), 100).value.is_ok());
    let closed = coupon::Rejection::Closed { closed_at: at(80) };
    let refused = Err(Refusal::Rejected(domain::Rejection::of::<Coupon>(closed)));
    let early = submit(&mut core, &claim("spring"), 50);
    assert_eq!((early.value, early.lsn), (refused.clone(), Lsn(2)), "the time is that of record 2");
    let late = submit(&mut core, &claim("spring"), 100);
    assert_eq!((late.value, late.lsn), (refused, Lsn(1)), "the clock itself says so");
    let rests_on = |over, wall| core.read(over, at(wall), |_, _| ()).lsn;
    let spring = Over::One(Kind::Campaign, name("spring"));
    assert_eq!((rests_on(spring, 50), rests_on(spring, 100)), (Lsn(2), Lsn(1)));
    assert_eq!(rests_on(Over::Kind(Kind::Campaign), 100), Lsn(3));
    assert_eq!((rests_on(Over::Kind(Kind::Policy), 50), rests_on(Over::Kind(Kind::Policy), 100)), (Lsn(2), Lsn(0)));
    assert_eq!(rests_on(Over::All, 100), Lsn(3));
}

/// Once what was left of a full journal fitted a record but not its batch, which was called busy for
/// ever.
#[test]
fn a_journal_that_is_full_is_never_called_busy() {
    let mut core = Core::new(HashSeed(1, 2), Limits::STANDARD);
    for room_bytes in 0..4_096 {
        core.settle(room_bytes);
        let is_read_only = core.is_read_only();
        let refusal = core.submit(&put("spring", None), RequestId::ENGINE, at(10)).value.err();
        assert_eq!(refusal, is_read_only.then_some(Refusal::StorageFull), "{room_bytes}");
        if !is_read_only {
            return;
        }
    }
    panic!("4,096 bytes fit one record");
}

/// That there is none is an answer too.
#[test]
fn where_an_aggregate_was_removed_the_answer_rests_on_that() {
    let mut core = Core::new(HashSeed(1, 2), Limits::STANDARD);
    core.settle(1 << 20);
    let mut submit = |command: &Command<'_>| core.submit(command, RequestId::ENGINE, at(10));
    assert!(submit(&put_policy("api")).value.is_ok());
    let remove = Command::local(Action::Remove { kind: Kind::Policy, name: name("api"), precondition: Precondition::Always });
    assert!(submit(&remove).value.is_ok());
    let again = submit(&remove);
    assert_eq!((again.value, again.lsn), (Err(Refusal::Rejected(domain::Rejection::NotFound(Kind::Policy))), Lsn(2)));
    let over = Over::One(Kind::Policy, name("api"));
    assert_eq!(core.read(over, at(10), |state, _| state.find(Kind::Policy, name("api")).is_none()).lsn, Lsn(2));
}

#[test]
fn the_first_in_a_queue_and_other_settings_of_one_are_told_as_due_earlier_and_nothing_else_is() {
    let mut core = Core::new(HashSeed(1, 2), Limits::STANDARD);
    core.settle(1 << 20);
    let mut is_earlier = |command: Command<'_>| {
        assert!(core.submit(&command, RequestId::ENGINE, Timestamp::ZERO).value.is_ok());
        core.take_due_earlier()
    };
    assert!(!is_earlier(put_with("spring", slow(five()))));
    assert_eq!(["ann", "bob", "cat", "bob"].map(|subject| is_earlier(claim_by("spring", subject))), [false, true, false, false]);
    assert!(is_earlier(put_with("spring", five())));
}

#[test]
fn a_pending_claim_counts_as_one_in_memory_and_is_decided_at_the_limit() {
    let mut core = Core::new(HashSeed(1, 2), Limits { entries_max: 3, ..Limits::STANDARD });
    core.settle(1 << 20);
    assert!(core.submit(&put_with("spring", slow(five())), RequestId::ENGINE, at(10)).value.is_ok());
    let submit = |core: &mut Core, subject| core.submit(&claim_by("spring", subject), RequestId::ENGINE, at(10)).value;
    for subject in ["ann", "bob", "cat"] {
        assert!(submit(&mut core, subject).is_ok(), "{subject}");
    }
    assert_eq!(submit(&mut core, "dan"), Err(Refusal::MemoryLimit("claims")));
    let pending = |core: &Core| campaign(core, 0).pending_count();
    assert_eq!((pending(&core), core.next_deadline()), (2, Some(at(1_010))));
    assert!(!core.tick(at(1_009)) && core.tick(at(1_010)) && !core.tick(at(1_010)));
    assert_eq!((pending(&core), core.state().entries_count(), core.next_deadline()), (1, 3, Some(at(2_010))));
}

#[test]
fn a_long_queue_without_a_pace_does_not_make_the_others_wait() {
    let mut core = Core::new(HashSeed(1, 2), Limits::STANDARD);
    core.settle(1 << 20);
    for campaign in ["spring", "summer", "autumn"] {
        assert!(core.submit(&put_with(campaign, slow(five())), RequestId::ENGINE, at(10)).value.is_ok());
        for subject in ["ann", "bob", "cat", "dan", "eve"] {
            assert!(core.submit(&claim_by(campaign, subject), RequestId::ENGINE, at(10)).value.is_ok());
        }
    }
    // Everybody who waits in the first and the last one is to be decided at once.
    for campaign in ["spring", "autumn"] {
        assert!(core.submit(&put_with(campaign, five()), RequestId::ENGINE, at(10)).value.is_ok());
    }
    let pending = |core: &Core| [0, 1, 2].map(|number| campaign(core, number).pending_count());
    assert_eq!(pending(&core), [4, 4, 4]);
    (0..3).for_each(|_| assert!(core.tick(at(1_010))));
    assert_eq!(pending(&core), [3, 3, 3], "one of each");
    (0..6).for_each(|_| assert!(core.tick(at(1_010))));
    assert!(!core.tick(at(1_010)));
    assert_eq!(pending(&core), [0, 3, 0]);
}

#[test]
fn what_is_decided_by_itself_leaves_room_for_those_who_ask() {
    let mut core = Core::new(HashSeed(1, 2), Limits::STANDARD);
    core.settle(1 << 30);
    let settings = Settings::plain(Quantity::MAX);
    assert!(core.submit(&put_with("spring", slow(settings)), RequestId::ENGINE, at(10)).value.is_ok());
    for subject in 0..20_000 {
        assert!(core.submit(&claim_by("spring", &format!("user-{subject}")), RequestId::ENGINE, at(10)).value.is_ok());
        core.take_staged(&mut Batch::new());
    }
    assert!(core.submit(&put_with("spring", settings), RequestId::ENGINE, at(10)).value.is_ok());
    while core.tick(at(10)) {}
    assert_ne!(campaign(&core, 0).pending_count(), 0, "it went on to the end");
    assert!(core.submit(&claim_by("spring", "ann"), RequestId::ENGINE, at(10)).value.is_ok());
}

#[test]
fn where_overrides_are_as_many_as_may_be_those_that_there_are_can_be_changed() {
    let mut core = Core::new(HashSeed(1, 2), Limits::STANDARD);
    let submit = |core: &mut Core, command: &Command<'_>| {
        core.settle(1 << 30);
        let answer = core.submit(command, RequestId::ENGINE, at(1)).value;
        core.take_staged(&mut Batch::new());
        answer.map(|_| ())
    };
    submit(&mut core, &put_policy("api")).unwrap();
    let mut put = |number: u64, quota| {
        let (key, numbers) = (format!("key-{number}"), Numbers { quota, window_ns: 60_000_000_000, burst: 0 });
        let put = policies::Command::PutOverride { key: LimitKey::new(&key).unwrap(), numbers };
        submit(&mut core, &Command::local(Action::of::<Limit>(name("api"), put)))
    };
    (0..Limit::ENTRIES_MAX).for_each(|number| put(number, 5).unwrap());
    assert_eq!(put(Limit::ENTRIES_MAX, 5), Err(Refusal::MemoryLimit("overrides")));
    assert_eq!(put(7, 6), Ok(()));
}
