//! The rules as the oracle states them: the tables say whether the second statement is right too.

use domain::coupon::TargetBy;
use domain::types::{Name, Timestamp};
use domain::{Action, Command, Kind, Novelty};
use oracle::{Answer, Ask as Question, No, Oracle, Outcome, Ruling, View, What, adapter, coupon, limit};

use crate::domain_backend::Forgetting;
use crate::reply::{AggregateReply, ClaimReply, Refusal, Reply};
use crate::request::{Ask, Request};
use crate::run::Backend;

/// The oracle, and the time.
#[derive(Clone, Debug)]
pub struct OracleBackend {
    oracle: Oracle,
    now: Timestamp,
    forgetting: Forgetting,
}

impl OracleBackend {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(forgetting: Forgetting) -> Self {
        Self { oracle: Oracle::default(), now: Timestamp::ZERO, forgetting }
    }

    /// Everything that has happened.
    #[must_use]
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    fn command(&mut self, request: &Request<'_>, action: Action<'_>) -> Reply {
        let command = Command { actor: request.actor, request: request.keyed(), action };
        match self.oracle.take(&adapter::ask(&command), self.now) {
            Ok(Ruling { outcome, novelty, .. }) => self.reply(&outcome, novelty),
            Err(no) => refused(&no),
        }
    }

    fn reply(&self, outcome: &Outcome, novelty: Novelty) -> Reply {
        match outcome {
            Outcome::Written { created, view } => Reply::Written { created: *created, version: view.version, novelty },
            Outcome::Removed(view) => Reply::Removed { version: view.version, novelty },
            Outcome::Did(number, Answer::Coupon(outcome)) => self.claim_reply(*number, *outcome, novelty),
            Outcome::Did(_, Answer::Limit(outcome)) => override_reply(*outcome, novelty),
            // Of other workloads no table says anything yet.
            other => Reply::Unexpected(format!("a command of a table comes to {other:?}")),
        }
    }

    fn claim_reply(&self, number: u32, outcome: coupon::Outcome, novelty: Novelty) -> Reply {
        match outcome {
            coupon::Outcome::Claimed(serial) => match self.oracle.campaign_at(number).and_then(|campaign| campaign.place(serial)) {
                Some(place) => Reply::Accepted { place, is_again: novelty != Novelty::Fresh },
                None => Reply::Claimed { serial, novelty },
            },
            coupon::Outcome::Redeemed(serial) => Reply::Redeemed { serial, novelty },
            coupon::Outcome::Cancelled(serial) => Reply::Cancelled { serial, novelty },
            coupon::Outcome::Nothing(why) => Reply::Unexpected(why.to_owned()),
        }
    }

    /// Decides the pending claims that the pace allows.
    fn decide_due(&mut self) {
        loop {
            let before = self.oracle.clone();
            let Some(due) = before.due(self.now) else { return };
            if self.oracle.take(&due, self.now).is_err() {
                return;
            }
        }
    }

    fn read(&self, kind: Kind, name: Name<'_>) -> Reply {
        let aggregate = self.oracle.find(kind, name.as_str());
        let reply = aggregate.map(|aggregate| Reply::Aggregate(aggregate_reply(kind, &aggregate.view(self.now))));
        reply.unwrap_or_else(|| refused(&not_found(kind)))
    }

    fn read_claim(&self, name: Name<'_>, by: TargetBy<'_>) -> Result<Reply, No> {
        let campaign = self.oracle.campaign(name.as_str()).ok_or_else(|| not_found(Kind::Campaign))?;
        let serial = campaign.find(by)?;
        let Some(claim) = campaign.claim(serial) else { return Ok(Reply::Unexpected(format!("claim {} is not there", serial.get()))) };
        let subject = claim.subject().as_str().to_owned();
        Ok(Reply::Claim(ClaimReply { serial, subject, claimed_at: claim.claimed_at, status: claim.status }))
    }
}

impl Backend for OracleBackend {
    fn set_time(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        self.decide_due();
        if self.forgetting == Forgetting::WhenDue {
            while self.oracle.keys().due_count(self.now) != 0 {
                let forgetting = Question { key: None, what: What::ForgetKeys };
                if self.oracle.take(&forgetting, self.now).is_err() {
                    return;
                }
            }
        }
    }

    fn run(&mut self, request: &Request<'_>) -> Reply {
        match request.ask {
            Ask::Act(action) => {
                let reply = self.command(request, action);
                self.decide_due();
                reply
            }
            Ask::Read(kind, name) => self.read(kind, name),
            Ask::ReadClaim(name, by) => self.read_claim(name, by).unwrap_or_else(|no| refused(&no)),
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        self.oracle.check().map_err(|broken| format!("{broken:?}"))
    }
}

fn override_reply(outcome: limit::Outcome, novelty: Novelty) -> Reply {
    let is_replayed = novelty == Novelty::Replayed;
    match outcome {
        limit::Outcome::Overridden { numbers, has_burst } => Reply::Overridden {
            quota: numbers.quota,
            window_ms: numbers.window_ns / 1_000_000,
            burst: has_burst.then_some(numbers.burst),
            is_replayed,
        },
        limit::Outcome::OverrideRemoved => Reply::OverrideRemoved { is_replayed },
    }
}

/// Internal settings are at their defaults in a reply.
fn aggregate_reply(kind: Kind, view: &View) -> AggregateReply {
    let mut settings = view.settings;
    for (field, value) in kind.least().values().into_iter().filter(|(field, _)| field.is_internal) {
        let set = settings.set(field.name, value);
        assert!(set.is_ok(), "a field takes its default");
    }
    AggregateReply { settings, version: view.version, figures: view.figures.clone() }
}

fn not_found(kind: Kind) -> No {
    No { code: kind.not_found(), details: Vec::new() }
}

fn refused(no: &No) -> Reply {
    Reply::Refused(no.details.iter().fold(Refusal::of(no.code), |refusal, (name, detail)| refusal.with(name, detail)))
}
