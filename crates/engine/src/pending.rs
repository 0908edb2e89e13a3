//! Pending claims as commands: whoever looks after queues asks for decisions with these.

use domain::coupon::queue::DecideNext;
use domain::coupon::{self, CampaignNumber};
use domain::state::CommandKind;
use domain::types::{ActorId, CampaignName, Serial, SubjectId, Timestamp};
use domain::{Command, State};

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

/// A claim that is to be decided by `now`, if there is one: of the first campaign behind the one that had
/// the last turn, so that a long queue without a pace does not make the others wait.
pub(crate) fn next_decidable(state: &State, last: CampaignNumber, now: Timestamp) -> Option<(CampaignNumber, PendingClaim)> {
    let behind = state.queues().filter(|campaign| last < campaign.number);
    let before = state.queues().filter(|campaign| campaign.number <= last);
    behind.chain(before).find_map(|campaign| {
        let claim = campaign.first_pending().filter(|_| campaign.decides_at() <= now)?;
        let subject = claim.subject.as_str().to_owned();
        Some((campaign.number, PendingClaim { campaign: campaign.name.clone(), serial: claim.serial, subject }))
    })
}
