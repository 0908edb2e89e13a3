//! The rejections of the coupon rules: codes and texts.

use crate::http::problem::{CodeInfo, Wording, info, says, says_later, says_of};

/// The codes.
pub(super) const CODES: &[CodeInfo] = &[
    info(
        "request_key_required",
        400,
        "Request key required",
        "The campaign allows several claims per subject, so a repeat can only be told from a new wish by an `Idempotency-Key`.",
    ),
    info("closes_before_opens", 422, "Closes before it opens", "`closes_at` must be after `opens_at`."),
    info("redeem_until_before_opens", 422, "Redemption ends before it opens", "`redeem_until` must be after `opens_at`."),
    info(
        "stock_below_claimed",
        409,
        "Stock below what is claimed",
        "The stock may not fall below the claims that are held, whose number is in `claimed`.",
    ),
    info(
        "per_subject_max_lowered",
        409,
        "Limit per subject lowered",
        "Once there are claims, the limit per subject may only grow. It stands at `per_subject_max`.",
    ),
    info("not_open", 409, "Not open yet", "Claims are granted from `opens_at` on."),
    info("closed", 409, "Closed", "Claims are refused since `closed_at`. A claim from before is still answered."),
    info("paused", 409, "Paused", "The campaign's runner has paused it."),
    info("subject_limit_reached", 409, "Subject limit reached", "The subject holds `per_subject_max` claims, as many as it may."),
    info("sold_out", 409, "Sold out", "Nothing is left. A cancellation may bring a unit back."),
    info(
        "queue_full",
        503,
        "Queue full",
        "As many claims are pending as may be (`queue_max`). Nothing was done; ask again after `retry_after_ms`.",
    ),
    info(
        "claim_pending",
        409,
        "Claim pending",
        "The claim is in the queue: it can be read, redeemed or cancelled once it is decided. Its answer says when that will be.",
    ),
    info("answer_not_found", 404, "Answer not found", "There is no answer of this name. It comes in the `Location` of a 202."),
    info("claim_not_found", 404, "Claim not found", "The subject holds no claim in this campaign, or not the one that `serial` names."),
    info("claim_ambiguous", 409, "Several claims", "The subject holds several claims; pick one of `serials` with `?serial=`."),
    info(
        "code_not_found",
        404,
        "Code not found",
        "No claim of this campaign has this code; `detail` says which character is in no code, or that one is missing, or that the check character is wrong, which means a typing error.",
    ),
    info("already_redeemed", 409, "Already redeemed", "The claim was used at `redeemed_at`. It cannot be used again or cancelled."),
    info("cancelled", 409, "Cancelled", "The claim was given back at `cancelled_at`."),
    info("expired", 409, "Expired", "Claims of this campaign could be redeemed until just before `redeem_until`."),
];

/// The text of each rejection.
pub(super) const WORDINGS: &[Wording] = &[
    says_of("closes_before_opens", "closes_at", "closes_at must be after opens_at"),
    says_of("redeem_until_before_opens", "redeem_until", "redeem_until must be after opens_at"),
    says_of("stock_below_claimed", "stock", "{claimed} are claimed, and the stock may not be less"),
    says_of("per_subject_max_lowered", "per_subject_max", "there are claims, so per_subject_max may not fall below {per_subject_max}"),
    says("request_key_required", "several claims per subject are allowed: send an Idempotency-Key"),
    says("not_open", "the campaign is not open yet"),
    says("closed", "the campaign is closed"),
    says("paused", "the campaign is paused"),
    says("subject_limit_reached", "the subject holds {per_subject_max}, as many as it may"),
    says("sold_out", "nothing is left"),
    says_later("queue_full", "{queue_max} claims are pending, as many as may be"),
    says("claim_not_found", "the subject holds no such claim"),
    says_later("claim_pending", "the claim is in the queue and not decided yet"),
    says("claim_ambiguous", "the subject holds several claims; pick one with ?serial="),
    says("code_not_found", "no claim of this campaign has this code"),
    says("already_redeemed", "the claim was used before"),
    says("cancelled", "the claim was given back"),
    says("expired", "it is too late to use the claim"),
];
