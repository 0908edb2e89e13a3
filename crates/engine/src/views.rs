//! What an answer is made from: copies of the state, taken in the critical section, that outlive
//! it.

use domain::claims::ClaimStatus;
use domain::coupon::Campaign;
use domain::coupon::queue::{Mode, Waiting};
use domain::rate_limit::policies::{KeptPolicy, Numbers, Rule};
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
    /// A policy was created, or its rule written, or was so already; or an override of it changed.
    Policy(PolicyView),
    /// Nothing that anybody waits for.
    Nothing,
}

/// A policy of a rate limit as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyView {
    /// Its name.
    pub name: String,
    /// What it limits.
    pub rule: Rule,
    /// 1 at first, one more with each rule that is written.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Keys with numbers of their own, in order.
    pub overrides: Vec<(Box<str>, Numbers)>,
}

impl PolicyView {
    pub(crate) fn new(name: &str, kept: &KeptPolicy) -> Self {
        let overrides = kept.overrides.iter().map(|(key, numbers)| (key.clone(), *numbers)).collect();
        Self { name: name.to_owned(), rule: kept.rule, version: kept.version, created_at: kept.created_at, overrides }
    }
}

/// A campaign and its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedCampaign {
    /// Its name.
    pub name: String,
    /// How it stood.
    pub view: CampaignView,
}

/// A campaign as somebody who watches it sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchedCampaign {
    /// The campaign.
    pub campaign: NamedCampaign,
    /// Claims that were ever granted, cancelled ones included.
    pub issued: u64,
    /// The last of them, the newest first.
    pub last: Vec<ClaimView>,
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
    /// How its campaign answers claims.
    pub mode: Mode,
    /// Its place in the queue; `None` once it is decided.
    pub waiting: Option<Waiting>,
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
    /// Rate limits are not shared between machines yet.
    NotAcrossMachines,
    /// The node does not know whether it knows everything up to now: nothing was done.
    NotCaughtUp,
    /// The disk failed after the command had been staged: nobody knows whether it took effect.
    Unknown,
}

/// A claim as it stands in the state.
pub(crate) fn claim_view(campaign: &Campaign, serial: Serial, now: Timestamp) -> Option<ClaimView> {
    let claim = campaign.claims.get(serial)?;
    Some(ClaimView {
        campaign: campaign.name.clone(),
        code_key: campaign.code_key,
        subject: claim.subject.as_str().to_owned(),
        serial,
        claimed_at: claim.claimed_at,
        status: claim.status,
        mode: campaign.settings.queue.mode,
        waiting: campaign.waiting(serial, now),
    })
}

/// The last claims of a campaign that were decided, the newest first.
pub(crate) fn last_claims(campaign: &Campaign, last_max: u32) -> Vec<ClaimView> {
    let newest = u32::try_from(campaign.claims.decided_count()).unwrap_or(u32::MAX);
    let serials = (1..=newest).rev().take(last_max as usize).filter_map(Serial::new);
    serials.filter_map(|serial| claim_view(campaign, serial, campaign.created_at)).collect()
}

/// What an outcome shows.
pub(crate) fn effect_of(state: &State, outcome: &Outcome) -> Effect {
    let claim = |number, serial| state.campaign_at(number).and_then(|campaign| claim_view(campaign, serial, state.time));
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
