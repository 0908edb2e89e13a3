//! The critical section by itself: what an answer rests on.
#![allow(clippy::unwrap_used)]

use domain::Command;
use domain::coupon::queue::{Mode, QueueSettings};
use domain::coupon::{self, ClaimOne, Precondition, Put, Settings};
use domain::hash::HashSeed;
use domain::rate_limit::policies::{self, Numbers, Rule};
use domain::rate_limit::{self, Algorithm, Policy};
use domain::state::CommandKind;
use domain::types::{ActorId, CampaignName, LimitKey, PolicyName, Quantity, RequestId, SubjectId, Timestamp};
use engine::core::Core;
use engine::limits::{Limits, OVERRIDES_MAX};
use engine::views::Refusal;
use journal::Lsn;
use journal::batch::Batch;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn put(campaign: &str, closes_at: Option<u64>) -> Command<'_> {
    put_with(campaign, closes_at, QueueSettings::DIRECT)
}

fn put_with(campaign: &str, closes_at: Option<u64>, queue: QueueSettings) -> Command<'_> {
    let settings = Settings { closes_at: closes_at.map(at), queue, ..Settings::plain(Quantity::new(5).unwrap()) };
    let put = Put { campaign: CampaignName::new(campaign).unwrap(), settings, precondition: Precondition::Always, code_key: 1 };
    Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(coupon::Command::Put(put)) }
}

fn claim(campaign: &str) -> Command<'_> {
    claim_by(campaign, "ann")
}

fn claim_by<'a>(campaign: &'a str, subject: &'a str) -> Command<'a> {
    let claim = ClaimOne { campaign: CampaignName::new(campaign).unwrap(), subject: SubjectId::new(subject).unwrap() };
    Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(coupon::Command::Claim(claim)) }
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
    let refused = Err(Refusal::Rejected(closed.into()));
    let early = submit(&mut core, &claim("spring"), 50);
    assert_eq!((early.value, early.lsn), (refused.clone(), Lsn(2)), "the time is that of record 2");
    let late = submit(&mut core, &claim("spring"), 100);
    assert_eq!((late.value, late.lsn), (refused, Lsn(1)), "the clock itself says so");
    let name = CampaignName::new("spring").unwrap();
    assert_eq!((core.campaign(name, at(50)).lsn, core.campaign(name, at(100)).lsn), (Lsn(2), Lsn(1)));
    assert_eq!(core.campaigns(None, "", 1, at(50)).lsn, Lsn(3));
    assert_eq!(core.campaigns(Some("autumn"), "", 1, at(50)).lsn, Lsn(2));
}

#[test]
fn a_pending_claim_counts_as_one_in_memory_and_is_decided_at_the_limit() {
    let mut core = Core::new(HashSeed(1, 2), Limits { claims_max: 3, ..Limits::STANDARD });
    core.settle(1 << 20);
    let queue = QueueSettings { mode: Mode::Queued, decisions_per_second_max: Some(1), ..QueueSettings::DIRECT };
    assert!(core.submit(&put_with("spring", None, queue), RequestId::ENGINE, at(10)).value.is_ok());
    let submit = |core: &mut Core, subject| core.submit(&claim_by("spring", subject), RequestId::ENGINE, at(10)).value;
    for subject in ["ann", "bob", "cat"] {
        assert!(submit(&mut core, subject).is_ok(), "{subject}");
    }
    assert_eq!(submit(&mut core, "dan"), Err(Refusal::MemoryLimit("claims")));
    let pending = |core: &Core| core.state().campaigns()[0].pending_count();
    assert_eq!((pending(&core), core.next_deadline()), (2, Some(at(1_010))));
    assert!(!core.tick(at(1_009)) && core.tick(at(1_010)) && !core.tick(at(1_010)));
    assert_eq!((pending(&core), core.state().claims_count(), core.next_deadline()), (1, 3, Some(at(2_010))));
}

#[test]
fn a_long_queue_without_a_pace_does_not_make_the_others_wait() {
    let mut core = Core::new(HashSeed(1, 2), Limits::STANDARD);
    core.settle(1 << 20);
    let paced = QueueSettings { mode: Mode::Queued, decisions_per_second_max: Some(1), ..QueueSettings::DIRECT };
    for campaign in ["spring", "summer", "autumn"] {
        assert!(core.submit(&put_with(campaign, None, paced), RequestId::ENGINE, at(10)).value.is_ok());
        for subject in ["ann", "bob", "cat", "dan", "eve"] {
            assert!(core.submit(&claim_by(campaign, subject), RequestId::ENGINE, at(10)).value.is_ok());
        }
    }
    // Everybody who waits in the first and the last one is to be decided at once.
    for campaign in ["spring", "autumn"] {
        assert!(core.submit(&put_with(campaign, None, QueueSettings::DIRECT), RequestId::ENGINE, at(10)).value.is_ok());
    }
    let pending = |core: &Core| [0, 1, 2].map(|campaign| core.state().campaigns()[campaign].pending_count());
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
    let settings = Settings { queue: QueueSettings { mode: Mode::Queued, ..QueueSettings::DIRECT }, ..Settings::plain(Quantity::MAX) };
    let slow = QueueSettings { decisions_per_second_max: Some(1), ..settings.queue };
    let put = |queue| Put {
        campaign: CampaignName::new("spring").unwrap(),
        settings: Settings { queue, ..settings },
        precondition: Precondition::Always,
        code_key: 1,
    };
    let command = |put| Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(coupon::Command::Put(put)) };
    assert!(core.submit(&command(put(slow)), RequestId::ENGINE, at(10)).value.is_ok());
    for subject in 0..20_000 {
        assert!(core.submit(&claim_by("spring", &format!("user-{subject}")), RequestId::ENGINE, at(10)).value.is_ok());
        core.take_staged(&mut Batch::new());
    }
    assert!(core.submit(&command(put(QueueSettings::DIRECT)), RequestId::ENGINE, at(10)).value.is_ok());
    while core.tick(at(10)) {}
    assert_ne!(core.state().campaigns()[0].pending_count(), 0, "it went on to the end");
    assert!(core.submit(&claim_by("spring", "ann"), RequestId::ENGINE, at(10)).value.is_ok());
}

#[test]
fn where_overrides_are_as_many_as_may_be_those_that_there_are_can_be_changed() {
    let mut core = Core::new(HashSeed(1, 2), Limits::STANDARD);
    let policy = PolicyName::new("api").unwrap();
    let rule = Rule::Rate(Policy::new(rate_limit::Settings::per_minute(Algorithm::FixedWindow, 5)).unwrap());
    let submit = |core: &mut Core, command: policies::Command<'_>| {
        core.settle(1 << 30);
        let command = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Policy(command) };
        let answer = core.submit(&command, RequestId::ENGINE, at(1)).value;
        core.take_staged(&mut Batch::new());
        answer.map(|_| ())
    };
    submit(&mut core, policies::Command::Put { policy, rule, precondition: Precondition::Always }).unwrap();
    let mut put = |number: usize, quota| {
        let (key, numbers) = (format!("key-{number}"), Numbers { quota, window_ns: 60_000_000_000, burst: 0 });
        submit(&mut core, policies::Command::PutOverride { policy, key: LimitKey::new(&key).unwrap(), numbers })
    };
    (0..OVERRIDES_MAX).for_each(|number| put(number, 5).unwrap());
    assert_eq!(put(OVERRIDES_MAX, 5), Err(Refusal::MemoryLimit("overrides")));
    assert_eq!(put(7, 6), Ok(()));
}
