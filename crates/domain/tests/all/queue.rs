//! The queue where nobody looks after it in time, and where anybody asks for decisions: neither the
//! order nor the pace depends on who asks, or when.
#![allow(clippy::unwrap_used)]

use crate::common;

use common::at;
use domain::claims::ClaimStatus;
use domain::coupon::queue::{DecideNext, Mode, QueueSettings};
use domain::coupon::{Campaign, ClaimOne, Command as Coupon, Event as CouponEvent, Precondition, Put, Settings};
use domain::hash::HashSeed;
use domain::state::{Command, CommandKind, Decision, Event, Record, State, decide};
use domain::types::{ActorId, CampaignName, Quantity, RequestId, Serial, SubjectId};

/// A campaign whose pace is one claim a second.
struct Queue(State);

impl Queue {
    fn new() -> Self {
        let mut queue = Self(State::new(HashSeed(1, 2)));
        let queue_settings = QueueSettings { mode: Mode::Queued, decisions_per_second_max: Some(1), ..QueueSettings::DIRECT };
        let settings = Settings { queue: queue_settings, ..Settings::plain(Quantity::new(9).unwrap()) };
        queue.ask(Coupon::Put(Put { campaign: name(), settings, precondition: Precondition::Always, code_key: 0 }), 0);
        queue
    }

    /// What was decided, if anything was.
    fn ask(&mut self, coupon: Coupon<'_>, now: u64) -> Option<&'static str> {
        let command = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(coupon) };
        let Ok(Decision::Event(event)) = decide(&self.0, &command, at(now)) else { return None };
        self.0.evolve(&Record { at: at(now), actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, event });
        assert_eq!(self.0.check(), Ok(()));
        Some(match event {
            Event::Coupon(CouponEvent::Accepted { .. }) => "accepted",
            Event::Coupon(CouponEvent::Claimed { .. }) => "claimed",
            _ => "something else",
        })
    }

    fn claim(&mut self, subject: &str, now: u64) -> Option<&'static str> {
        self.ask(Coupon::Claim(ClaimOne { campaign: name(), subject: SubjectId::new(subject).unwrap() }), now)
    }

    fn decide(&mut self, serial: u32, subject: &str, now: u64) -> Option<&'static str> {
        let (serial, subject) = (Serial::new(serial).unwrap(), SubjectId::new(subject).unwrap());
        self.ask(Coupon::DecideNext(DecideNext { campaign: name(), serial, subject }), now)
    }

    fn campaign(&self) -> &Campaign {
        self.0.campaign(name()).unwrap()
    }
}

fn name() -> CampaignName<'static> {
    CampaignName::new("spring").unwrap()
}

#[test]
fn who_comes_while_somebody_is_pending_is_behind_them_however_late_they_are() {
    let mut queue = Queue::new();
    assert_eq!((queue.claim("ann", 10), queue.claim("bob", 10)), (Some("claimed"), Some("accepted")));
    // Nobody has asked for bob's decision, which has been due for long.
    assert_eq!(queue.claim("cat", 60_000), Some("accepted"));
    assert_eq!(queue.decide(3, "cat", 60_000), None);
    assert_eq!((queue.decide(2, "bob", 60_000), queue.decide(3, "cat", 60_999)), (Some("claimed"), None));
    assert_eq!(queue.decide(3, "cat", 61_000), Some("claimed"));
    assert_eq!((queue.claim("dan", 61_999), queue.claim("eve", 62_000)), (Some("accepted"), Some("accepted")));
}

#[test]
fn a_decision_is_made_at_its_time_and_once_whoever_asks() {
    let mut queue = Queue::new();
    queue.claim("ann", 10);
    queue.claim("bob", 500);
    for (serial, subject, now) in
        [(2, "bob", 500), (2, "bob", 1_009), (2, "ann", 1_010), (1, "ann", 1_010), (3, "bob", 1_010), (3, "cat", 1_010)]
    {
        assert_eq!(queue.decide(serial, subject, now), None, "{subject} {serial} at {now}");
    }
    assert_eq!((queue.decide(2, "bob", 1_010), queue.decide(2, "bob", 9_999)), (Some("claimed"), None));
    let claim = queue.campaign().claims.get(Serial::new(2).unwrap()).unwrap();
    assert_eq!((claim.status, claim.claimed_at), (ClaimStatus::Live, at(1_010)));
}

#[test]
fn what_falls_due_is_known_and_nothing_else() {
    let mut queue = Queue::new();
    assert_eq!((queue.0.next_deadline(), queue.0.queues().count()), (None, 0));
    queue.claim("ann", 10);
    assert_eq!(queue.0.next_deadline(), None);
    queue.claim("bob", 20);
    assert_eq!((queue.0.next_deadline(), queue.0.queues().count(), queue.0.claims_count()), (Some(at(1_010)), 1, 2));
    queue.decide(2, "bob", 1_010);
    assert_eq!((queue.0.next_deadline(), queue.0.queues().count(), queue.0.claims_count()), (None, 0, 2));
}
