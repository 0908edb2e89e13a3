//! The rules as the oracle states them: the tables say whether the second statement is right too.

use domain::Novelty;
use domain::coupon::{Command as CouponCommand, Target, campaign_state};
use domain::state::{Command, CommandKind};
use domain::types::{CampaignName, Quantity, Timestamp};
use oracle::coupon::{Campaign, Outcome as CouponOutcome, View};
use oracle::{Ask as Question, Detail, No, Oracle, Outcome, Ruling, What, adapter};

use crate::domain_backend::Forgetting;
use crate::reply::{CampaignReply, ClaimReply, Refusal, Reply};
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

    fn command(&mut self, request: &Request<'_>, command: CouponCommand<'_>) -> Reply {
        let command = Command { actor: request.actor, request: request.keyed(), kind: CommandKind::Coupon(command) };
        match self.oracle.take(&adapter::ask(&command), self.now) {
            Ok(Ruling { outcome: Outcome::Coupon(number, outcome), novelty, .. }) => self.reply(number, &outcome, novelty),
            Ok(yes) => Reply::Unexpected(format!("a command of a table comes to {yes:?}")),
            Err(no) => refused(&no),
        }
    }

    fn reply(&self, number: u32, outcome: &CouponOutcome, novelty: Novelty) -> Reply {
        match outcome {
            CouponOutcome::Written { created, view } => Reply::Written { created: *created, version: view.version, novelty },
            CouponOutcome::Claimed(serial) => match self.oracle.campaign_at(number).and_then(|campaign| campaign.place(*serial)) {
                Some(place) => Reply::Accepted { place, is_again: novelty != Novelty::Fresh },
                None => Reply::Claimed { serial: *serial, novelty },
            },
            CouponOutcome::Redeemed(serial) => Reply::Redeemed { serial: *serial, novelty },
            CouponOutcome::Cancelled(serial) => Reply::Cancelled { serial: *serial, novelty },
            CouponOutcome::Nothing(why) => Reply::Unexpected((*why).to_owned()),
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

    fn campaign(&self, name: CampaignName<'_>) -> Result<&Campaign, No> {
        self.oracle.campaign(name.as_str()).ok_or(No { code: "campaign_not_found", details: Vec::new() })
    }

    fn read_claim(&self, target: &Target<'_>) -> Result<Reply, No> {
        let campaign = self.campaign(target.campaign)?;
        let serial = campaign.find(target.by)?;
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
                drop(self.oracle.take(&forgetting, self.now));
            }
        }
    }

    fn run(&mut self, request: &Request<'_>) -> Reply {
        match request.ask {
            Ask::Command(command) => {
                let reply = self.command(request, command);
                self.decide_due();
                reply
            }
            Ask::ReadCampaign(name) => {
                self.campaign(name).map_or_else(|no| refused(&no), |campaign| Reply::Campaign(campaign_reply(&campaign.view(self.now))))
            }
            Ask::ReadClaim(target) => self.read_claim(&target).unwrap_or_else(|no| refused(&no)),
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        self.oracle.check().map_err(|broken| format!("{broken:?}"))
    }
}

fn campaign_reply(view: &View) -> CampaignReply {
    let quantity = |units| Quantity::new(units).unwrap_or(Quantity::MAX);
    let remaining = quantity(view.remaining());
    let state = campaign_state(&view.settings, remaining, view.at);
    let &View { settings, version, taken, pending, redeemed, .. } = view;
    let (claimed, pending, redeemed) = (quantity(taken - pending), quantity(pending), quantity(redeemed));
    CampaignReply { state, settings, version, claimed, remaining, pending, redeemed }
}

fn refused(no: &No) -> Reply {
    let mut refusal = Refusal { code: no.code.to_owned(), ..Refusal::default() };
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    for (name, detail) in &no.details {
        match (*name, detail) {
            ("opens_at", Detail::Time(time)) => refusal.opens_at = Some(*time),
            ("closed_at", Detail::Time(time)) => refusal.closed_at = Some(*time),
            ("redeem_until", Detail::Time(time)) => refusal.redeem_until = Some(*time),
            ("redeemed_at", Detail::Time(time)) => refusal.redeemed_at = Some(*time),
            ("cancelled_at", Detail::Time(time)) => refusal.cancelled_at = Some(*time),
            ("version", Detail::Number(number)) => refusal.version = Some(*number),
            ("claimed", Detail::Number(number)) => refusal.claimed = Some(narrow(*number)),
            ("per_subject_max", Detail::Number(number)) => refusal.per_subject_max = Some(narrow(*number)),
            ("queue_max", Detail::Number(number)) => refusal.queue_max = Some(narrow(*number)),
            ("serials", Detail::Numbers(numbers)) => refusal.serials = numbers.iter().map(|number| narrow(*number)).collect(),
            (name, detail) => return Reply::Unexpected(format!("{} tells {name} {detail:?}", no.code)),
        }
    }
    Reply::Refused(refusal)
}
