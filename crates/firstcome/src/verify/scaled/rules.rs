//! What the commands of one partition add up to.

use std::collections::HashMap;

use cluster::protocol::record::RulesVersion;
use domain::Command;
use domain::coupon::{self, CampaignNumber};
use domain::hash::HashSeed;
use domain::request::{Outcome, Remembered};
use domain::restore::{RestoreError, RestoredCampaign, Restorer};
use domain::state::{Answer, CommandKind, Novelty, Rejection};
use domain::types::{CampaignName, Serial, SubjectId, Timestamp};
use engine::digest::{DIGEST_BYTES, RunningDigest};

use super::campaign::{Asked, Came, Campaign, create};
use super::keys::Keys;
use crate::verify::findings::Findings;
use crate::verify::names::Names;

/// The rules that are told here: all versions up to this one.
pub(super) const RULES_TOLD: RulesVersion = RulesVersion(1);

/// What was answered; nothing where nobody waits for an answer.
pub(super) type Decided = Result<Option<Answer>, Rejection>;

/// One partition's state.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The largest broker's time so far.
    pub(super) time: Timestamp,
    /// Commands that changed something.
    pub(super) decisions: u64,
    pub(super) subjects: Names,
    /// In the order of creation.
    pub(super) campaigns: Vec<Campaign>,
    pub(super) keys: Keys,
    by_name: HashMap<String, CampaignNumber>,
}

impl Rules {
    /// Time never goes back, whatever the brokers' clocks do.
    pub(super) fn pass(&mut self, at: Timestamp) {
        self.time = self.time.max(at);
    }

    /// Decides a command at the broker's time of its record, and makes it so.
    pub(super) fn take(&mut self, command: &Command<'_>, at: Timestamp) -> Decided {
        self.pass(at);
        match &command.kind {
            CommandKind::Coupon(coupon) => self.ask(command, coupon),
            // There are none in this log; servers refuse it.
            CommandKind::Policy(_) => Ok(None),
            CommandKind::ForgetRequests => {
                self.decisions += u64::from(0 < self.keys.forget(self.time));
                Ok(None)
            }
        }
    }

    /// Every promise, counted anew from the claims.
    pub(super) fn check(&self, findings: &mut Findings) {
        self.campaigns.iter().for_each(|campaign| campaign.check(&self.subjects, findings));
    }

    /// The digest that servers have of the same state; nothing but its format is shared with them.
    pub(super) fn digest(&self) -> Result<[u8; DIGEST_BYTES], RestoreError> {
        let mut restorer = Restorer::new(HashSeed(0, 0));
        for campaign in &self.campaigns {
            let Ok(name) = CampaignName::new(&campaign.name) else { continue };
            let Campaign { number, settings, version, code_key, created_at, .. } = *campaign;
            restorer.campaign(RestoredCampaign { number, name, settings, version, code_key, created_at })?;
        }
        let mut digest = RunningDigest::of(&restorer.finish(self.time)?);
        for campaign in &self.campaigns {
            for claim in &campaign.claims {
                let (serial, subject) = (Serial::new(claim.serial), SubjectId::new(self.subjects.text(claim.subject)));
                let (Some(serial), Ok(subject)) = (serial, subject) else { continue };
                let claim = domain::claims::Claim { serial, subject, claimed_at: claim.claimed_at, status: claim.status() };
                digest.add_claim(campaign.number, &claim);
            }
        }
        self.keys.iter().for_each(|(_, known)| digest.add_request(known));
        Ok(digest.value(self.time, self.decisions))
    }

    fn ask(&mut self, command: &Command<'_>, coupon: &coupon::Command<'_>) -> Result<Option<Answer>, Rejection> {
        let (at, actor) = (self.time, command.actor.as_str());
        let number = self.by_name.get(coupon.campaign().as_str()).copied();
        if let Some((number, keyed)) = number.zip(command.request.as_ref())
            && let Some(known) = self.keys.known(number.0, actor, keyed.key.as_str(), at)
        {
            let is_same = known.fingerprint == keyed.fingerprint;
            let answer = Answer { outcome: known.outcome.clone(), novelty: Novelty::Replayed };
            return is_same.then_some(Some(answer)).ok_or(Rejection::RequestKeyReused);
        }
        let campaign = number.and_then(|number| self.campaigns.get_mut(number.0 as usize));
        let came = match campaign {
            Some(campaign) => campaign.ask(coupon, &mut self.subjects, Asked { at, has_key: command.request.is_some() })?,
            None => Came::To(self.create(coupon)?),
        };
        let outcome = match came {
            Came::To(outcome) => outcome,
            Came::Already(answer) => return Ok(Some(answer)),
            Came::Nothing => return Ok(None),
        };
        self.decisions += 1;
        if let Some((keyed, campaign)) = command.request.as_ref().zip(self.by_name.get(coupon.campaign().as_str())) {
            let known = Remembered {
                campaign: *campaign,
                actor: actor.into(),
                key: keyed.key.as_str().into(),
                fingerprint: keyed.fingerprint,
                recorded_at: at,
                outcome: outcome.clone(),
            };
            self.keys.remember(self.decisions, known);
        }
        Ok(Some(Answer { outcome, novelty: Novelty::Fresh }))
    }

    fn create(&mut self, coupon: &coupon::Command<'_>) -> Result<Outcome, coupon::Rejection> {
        let number = CampaignNumber(u32::try_from(self.campaigns.len()).unwrap_or(u32::MAX));
        let campaign = create(coupon, number, self.time)?;
        let outcome = Outcome::Campaign { created: true, view: Box::new(campaign.view(self.time)) };
        self.by_name.insert(campaign.name.clone(), number);
        self.campaigns.push(campaign);
        Ok(outcome)
    }
}
