//! Claims as JSON.

use domain::claims::ClaimStatus;
use domain::coupon::ClaimView;
use domain::types::Timestamp;
use edge::times;
use serde::Serialize;

use crate::codes::CodeKeys;

/// A claim in the response to claiming: fields that never change, so that a retry gets the same body; and, in
/// an answer that is given again, that the claim was cancelled since.
#[derive(Debug, Serialize)]
pub struct ClaimedJson<'a> {
    campaign: &'a str,
    subject: &'a str,
    serial: u32,
    code: String,
    claimed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<String>,
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
            cancelled_at: status_parts(claim.status).2.map(times::format),
        }
    }
}

/// The current state of a claim.
#[derive(Debug, Serialize)]
pub struct ClaimJson<'a> {
    #[serde(flatten)]
    claimed: ClaimedJson<'a>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    redeemed_at: Option<String>,
}

impl<'a> ClaimJson<'a> {
    /// The claim.
    #[must_use]
    pub fn new(keys: &CodeKeys, claim: &'a ClaimView) -> Self {
        let (status, redeemed_at, _) = status_parts(claim.status);
        Self { claimed: ClaimedJson::new(keys, claim), status, redeemed_at: redeemed_at.map(times::format) }
    }
}

/// The word for a status, and when it began.
#[must_use]
pub fn status_parts(status: ClaimStatus) -> (&'static str, Option<Timestamp>, Option<Timestamp>) {
    match status {
        ClaimStatus::Pending => ("pending", None, None),
        ClaimStatus::Live => ("live", None, None),
        ClaimStatus::Redeemed { redeemed_at } => ("redeemed", Some(redeemed_at), None),
        ClaimStatus::Cancelled { cancelled_at } => ("cancelled", None, Some(cancelled_at)),
    }
}
