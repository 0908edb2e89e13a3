//! What an answer is made from: copies of the state, taken in the critical section, that outlive
//! it.

use domain::claims::ClaimStatus;
use domain::coupon::Campaign;
use domain::request::{CampaignView, Outcome};
use domain::types::{Serial, Timestamp};
use domain::{Novelty, Rejection, State};

/// A yes: what took effect, and what its answer shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// What took effect.
    pub effect: Effect,
    /// Whether this is the first time that it is said.
    pub novelty: Novelty,
}

/// What took effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A campaign was created, or its settings written, or were so already.
    Campaign {
        /// Whether it is new.
        created: bool,
        /// The campaign as it stood then.
        campaign: NamedCampaign,
    },
    /// The subject has a claim.
    Claimed(ClaimView),
    /// A claim was redeemed.
    Redeemed(ClaimView),
    /// A claim was cancelled.
    Cancelled(ClaimView),
    /// Nothing that anybody waits for.
    Nothing,
}

/// A campaign and its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedCampaign {
    /// Its name.
    pub name: String,
    /// How it stood.
    pub view: CampaignView,
}

/// A claim as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimView {
    /// The name of its campaign.
    pub campaign: String,
    /// The number of the key that its code comes from.
    pub code_key: u32,
    /// Whose it is.
    pub subject: String,
    /// Its number in the campaign.
    pub serial: Serial,
    /// When it was decided.
    pub claimed_at: Timestamp,
    /// What became of it.
    pub status: ClaimStatus,
}

/// A no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The rules.
    Rejected(Rejection),
    /// As much as fits is on its way to the disk; ask again in a moment.
    Busy,
    /// The disk is full; nothing can be written until there is room.
    StorageFull,
    /// As many claims, request keys or campaigns are in memory as may be; which, in a word.
    MemoryLimit(&'static str),
    /// The engine stops and takes nothing more.
    Stopping,
    /// The node does not know whether it knows everything up to now: nothing was done.
    NotCaughtUp,
    /// The disk failed after the command had been staged: nobody knows whether it took effect.
    Unknown,
}

/// A claim as it stands in the state.
pub(crate) fn claim_view(campaign: &Campaign, serial: Serial) -> Option<ClaimView> {
    let claim = campaign.claims.get(serial)?;
    Some(ClaimView {
        campaign: campaign.name.clone(),
        code_key: campaign.code_key,
        subject: claim.subject.as_str().to_owned(),
        serial,
        claimed_at: claim.claimed_at,
        status: claim.status,
    })
}

/// What an outcome shows.
pub(crate) fn effect_of(state: &State, outcome: &Outcome) -> Effect {
    let claim = |number, serial| state.campaign_at(number).and_then(|campaign| claim_view(campaign, serial));
    let effect = match outcome {
        Outcome::Campaign { created, view } => state
            .campaign_at(view.number)
            .map(|campaign| Effect::Campaign { created: *created, campaign: NamedCampaign { name: campaign.name.clone(), view: **view } }),
        Outcome::Claimed(number, serial) => claim(*number, *serial).map(Effect::Claimed),
        Outcome::Redeemed(number, serial) => claim(*number, *serial).map(Effect::Redeemed),
        Outcome::Cancelled(number, serial) => claim(*number, *serial).map(Effect::Cancelled),
    };
    effect.unwrap_or(Effect::Nothing)
}
