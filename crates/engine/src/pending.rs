//! Pending claims as commands: whoever looks after queues asks for decisions with these.

use domain::Command;
use domain::coupon::queue::DecideNext;
use domain::coupon::{self, Campaign};
use domain::state::CommandKind;
use domain::types::{ActorId, CampaignName, Serial, SubjectId, Timestamp};

/// A claim that is to be decided, apart from the state that it is in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingClaim {
    /// Of which campaign.
    pub campaign: String,
    /// Which claim.
    pub serial: Serial,
    /// Whose it is.
    pub subject: String,
}

impl PendingClaim {
    /// Asks for its decision.
    #[must_use]
    pub fn command(&self) -> Option<Command<'_>> {
        let (campaign, subject) = (CampaignName::new(&self.campaign).ok()?, SubjectId::new(&self.subject).ok()?);
        let next = coupon::Command::DecideNext(DecideNext { campaign, serial: self.serial, subject });
        Some(Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(next) })
    }
}

/// The claim of a campaign that is to be decided by `now`, if one is.
pub(crate) fn next_decidable(campaign: &Campaign, now: Timestamp) -> Option<PendingClaim> {
    let claim = campaign.first_pending().filter(|_| campaign.decides_at() <= now)?;
    Some(PendingClaim { campaign: campaign.name.clone(), serial: claim.serial, subject: claim.subject.as_str().to_owned() })
}
