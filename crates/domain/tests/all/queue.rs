//! The queue where nobody looks after it in time, and where anybody asks for decisions: neither the
//! order nor the pace depends on who asks, or when.
#![allow(clippy::unwrap_used)]

use crate::common;

use common::at;
use domain::claims::ClaimStatus;
use domain::coupon::queue::Mode;
use domain::coupon::{Campaign, Command as Ask, Coupon, Event, Settings};
use domain::hash::HashSeed;
use domain::state::{Precondition, decide};
use domain::types::{ActorId, Name, Quantity, RequestId, Serial, SubjectId};
use domain::{Action, Change, Command, Decision, Listed, Record, State};

/// A campaign whose pace is one claim a second.
struct Queue(State);

impl Queue {
    fn new() -> Self {
        let mut queue = Self(State::new(HashSeed(1, 2)));
        let plain = Settings::plain(Quantity::new(9).unwrap());
        let settings = Coupon::any_settings(Settings { mode: Mode::Queued, decisions_per_second_max: Some(1), ..plain });
        queue.give(Action::Put { name: name(), settings, precondition: Precondition::Always }, 0);
        queue
    }

    /// What was decided, if anything was.
    fn give(&mut self, action: Action<'_>, now: u64) -> Option<&'static str> {
        let Ok(Decision::Change(change)) = decide(&self.0, &Command::local(action), at(now)) else { return None };
        self.0.evolve(&Record { at: at(now), actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, change });
        assert_eq!(self.0.check(), Ok(()));
        let Change::Did(done) = change else { return Some("something else") };
        Some(match Coupon::event(&done.event) {
            Some(Event::Accepted { .. }) => "accepted",
            Some(Event::Claimed { .. }) => "claimed",
            Some(Event::Decided { .. }) => "decided",
            _ => "something else",
        })
    }

    fn ask(&mut self, command: Ask<'_>, now: u64) -> Option<&'static str> {
        self.give(Action::of::<Coupon>(name(), command), now)
    }

    fn claim(&mut self, subject: &str, now: u64) -> Option<&'static str> {
        self.ask(Ask::Claim { subject: SubjectId::new(subject).unwrap() }, now)
    }

    fn decide(&mut self, serial: u32, subject: &str, now: u64) -> Option<&'static str> {
        let (serial, subject) = (Serial::new(serial).unwrap(), SubjectId::new(subject).unwrap());
        self.ask(Ask::DecideNext { serial, subject }, now)
    }

    fn campaign(&self) -> &Campaign {
        self.0.get::<Coupon>(name()).unwrap()
    }
}

fn name() -> Name<'static> {
    Name::new("spring").unwrap()
}

#[test]
fn who_comes_while_somebody_is_pending_is_behind_them_however_late_they_are() {
    let mut queue = Queue::new();
    assert_eq!((queue.claim("ann", 10), queue.claim("bob", 10)), (Some("claimed"), Some("accepted")));
    // Nobody has asked for bob's decision, which has been due for long.
    assert_eq!(queue.claim("cat", 60_000), Some("accepted"));
    assert_eq!(queue.decide(3, "cat", 60_000), None);
    assert_eq!((queue.decide(2, "bob", 60_000), queue.decide(3, "cat", 60_999)), (Some("decided"), None));
    assert_eq!(queue.decide(3, "cat", 61_000), Some("decided"));
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
    assert_eq!((queue.decide(2, "bob", 1_010), queue.decide(2, "bob", 9_999)), (Some("decided"), None));
    let claim = queue.campaign().items.claims.get(Serial::new(2).unwrap()).unwrap();
    assert_eq!((claim.status, claim.claimed_at), (ClaimStatus::Live, at(1_010)));
}

#[test]
fn what_falls_due_is_known_and_nothing_else() {
    let mut queue = Queue::new();
    assert_eq!((queue.0.next_deadline(), queue.0.due().count()), (None, 0));
    queue.claim("ann", 10);
    assert_eq!(queue.0.next_deadline(), None);
    queue.claim("bob", 20);
    assert_eq!((queue.0.next_deadline(), queue.0.due().count(), queue.0.entries_count()), (Some(at(1_010)), 1, 2));
    assert_eq!(queue.0.due_after(None, at(1_009)), None);
    assert!(queue.0.due_after(None, at(1_010)).is_some());
    queue.decide(2, "bob", 1_010);
    assert_eq!((queue.0.next_deadline(), queue.0.due().count(), queue.0.entries_count()), (None, 0, 2));
}
