//! Campaigns and claims as JSON.

use domain::claims::ClaimStatus;
use domain::coupon::campaign_state;
use domain::types::Timestamp;
pub use edge::response::{REPLAYED, json, mark_replayed, with_header};
use engine::views::{ClaimView, NamedCampaign};
use serde::Serialize;

use super::times;
use crate::codes::CodeKeys;

/// A campaign as the API shows it.
#[derive(Debug, Serialize)]
pub struct CampaignJson<'a> {
    campaign: &'a str,
    state: &'static str,
    stock: u32,
    claimed: u32,
    remaining: u32,
    pending: u32,
    redeemed: u32,
    per_subject_max: u32,
    opens_at: Option<String>,
    closes_at: Option<String>,
    redeem_until: Option<String>,
    paused: bool,
    mode: &'static str,
    decisions_per_second_max: Option<u32>,
    queue_max: u32,
    version: u64,
    created_at: String,
}

impl<'a> CampaignJson<'a> {
    /// The campaign as it stood.
    #[must_use]
    pub fn new(campaign: &'a NamedCampaign) -> Self {
        let view = &campaign.view;
        let settings = &view.settings;
        Self {
            campaign: &campaign.name,
            state: campaign_state(settings, view.remaining, view.at).word(),
            stock: settings.stock.get(),
            claimed: view.claimed().get(),
            remaining: view.remaining.get(),
            pending: view.pending.get(),
            redeemed: view.redeemed.get(),
            per_subject_max: settings.per_subject_max,
            opens_at: settings.opens_at.map(times::format),
            closes_at: settings.closes_at.map(times::format),
            redeem_until: settings.redeem_until.map(times::format),
            paused: settings.paused,
            mode: settings.queue.mode.word(),
            decisions_per_second_max: settings.queue.decisions_per_second_max,
            queue_max: settings.queue.queue_max,
            version: view.version,
            created_at: times::format(view.created_at),
        }
    }
}

/// The `ETag` of a campaign: the version of its settings, not of its counts.
#[must_use]
pub fn etag(campaign: &NamedCampaign) -> String {
    format!("\"{}\"", campaign.view.version)
}

/// A claim as the answer to claiming shows it: only what never changes, so that it can be said
/// again.
#[derive(Debug, Serialize)]
pub struct ClaimedJson<'a> {
    campaign: &'a str,
    subject: &'a str,
    serial: u32,
    code: String,
    claimed_at: String,
}

impl<'a> ClaimedJson<'a> {
    /// The claim.
    #[must_use]
    pub fn new(keys: &CodeKeys, claim: &'a ClaimView) -> Self {
        Self {
            campaign: &claim.campaign,
            subject: &claim.subject,
            serial: claim.serial.get(),
            code: keys.code(claim.code_key, &claim.campaign, claim.serial),
            claimed_at: times::format(claim.claimed_at),
        }
    }
}

/// A claim as it stands.
#[derive(Debug, Serialize)]
pub struct ClaimJson<'a> {
    #[serde(flatten)]
    claimed: ClaimedJson<'a>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    redeemed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<String>,
}

impl<'a> ClaimJson<'a> {
    /// The claim.
    #[must_use]
    pub fn new(keys: &CodeKeys, claim: &'a ClaimView) -> Self {
        let (status, redeemed_at, cancelled_at) = status_parts(claim.status);
        Self {
            claimed: ClaimedJson::new(keys, claim),
            status,
            redeemed_at: redeemed_at.map(times::format),
            cancelled_at: cancelled_at.map(times::format),
        }
    }
}

/// A status in a word, and when it came about.
#[must_use]
pub fn status_parts(status: ClaimStatus) -> (&'static str, Option<Timestamp>, Option<Timestamp>) {
    match status {
        ClaimStatus::Pending => ("pending", None, None),
        ClaimStatus::Live => ("live", None, None),
        ClaimStatus::Redeemed { redeemed_at } => ("redeemed", Some(redeemed_at), None),
        ClaimStatus::Cancelled { cancelled_at } => ("cancelled", None, Some(cancelled_at)),
    }
}
