//! The problems of the workloads and of the engine: their codes, and what the caller needs to know next.

use std::sync::LazyLock;

use axum::http::header;
use domain::coupon::Rejection;
use domain::rate_limit::policies;
use engine::views::Refusal;
use serde_json::json;

use edge::problem::{self, info};
pub use edge::problem::{CodeInfo, HandlerResult, Problem};

use super::policies::out_of_range;
use super::times;
use crate::backend::Declined;

/// After how long to look at a queue again, in milliseconds.
const QUEUE_RETRY_MS: u64 = 1_000;

/// The codes of the workloads.
const WORKLOAD_CODES: &[CodeInfo] = &[
    info(
        "request_key_reused",
        422,
        "Request key reused",
        "The `Idempotency-Key` took effect for another request within the last 24 hours. Use a new key for a new request.",
    ),
    info(
        "request_key_required",
        400,
        "Request key required",
        "The campaign allows several claims per subject, so a repeat can only be told from a new wish by an `Idempotency-Key`.",
    ),
    info("campaign_not_found", 404, "Campaign not found", "There is no campaign of this name."),
    info("campaign_exists", 412, "Campaign exists", "`If-None-Match: *` was given and the campaign exists."),
    info(
        "version_mismatch",
        412,
        "Settings have changed",
        "`If-Match` names another version of the settings than the current one, which is in `version` and `ETag`. Read, then try again.",
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
        "No claim of this campaign has this code; `detail` says if the check character is wrong, which means a typing error.",
    ),
    info("already_redeemed", 409, "Already redeemed", "The claim was used at `redeemed_at`. It cannot be used again or cancelled."),
    info("cancelled", 409, "Cancelled", "The claim was given back at `cancelled_at`."),
    info("expired", 409, "Expired", "Claims of this campaign could be redeemed until just before `redeem_until`."),
    info("policy_not_found", 404, "Policy not found", "There is no policy of this name."),
    info("quota_out_of_range", 422, "Quota out of range", "A quota is 1 to 1,000,000,000 units."),
    info(
        "log_quota_out_of_range",
        422,
        "Quota of a log out of range",
        "A `sliding_window_log` remembers every request of a window, so its quota is 1 to 10,000.",
    ),
    info("window_out_of_range", 422, "Window out of range", "A window is a millisecond to 366 days."),
    info(
        "burst_out_of_range",
        422,
        "Burst out of range",
        "A burst is 0 to 1,000,000,000 units, and the bucket must fill within 100 years.",
    ),
    info("burst_not_used", 422, "No burst here", "Only `token_bucket` and `leaky_bucket` have a burst."),
    info("in_flight_out_of_range", 422, "Limit out of range", "At most 10,000 may be in flight; the timeout is a millisecond to 366 days."),
    info("policy_exists", 412, "Policy exists", "`If-None-Match: *` was given and the policy exists."),
    info(
        "policy_has_overrides",
        409,
        "Policy has overrides",
        "Keys have numbers of their own for the policy's algorithm. Remove them, then take another algorithm.",
    ),
    info("override_not_possible", 409, "No overrides here", "A limit on what is in flight has one number for all keys."),
    info("override_not_found", 404, "Override not found", "The key has no numbers of its own under this policy."),
    info(
        "policy_of_other_kind",
        409,
        "Policy of another kind",
        "`in_flight` policies take checks of cost 1, and no reservations, refunds or resets.",
    ),
    info("reservation_not_found", 404, "Reservation not found", "It never was, has run out, or has been settled."),
    info("reservation_expired", 409, "Reservation expired", "It is too late to settle it; the estimate stays taken."),
    info("lease_not_found", 404, "Lease not found", "It never was, was given back, or has ended by itself."),
    info(
        "not_across_machines",
        501,
        "Not across machines",
        "Rate limits are kept by one server; servers that share a log (`--kafka`) do not have them yet.",
    ),
    info(
        "demonstration_forbidden",
        403,
        "No demonstration here",
        "The small rush runs only where nobody has to show a key, and over plain HTTP.",
    ),
    info("demonstration_running", 409, "Demonstration is running", "One is running, in `campaign`; there is one at a time."),
];

/// Every code of the API: those of the workloads, then those of every server.
pub static CODES: LazyLock<Vec<CodeInfo>> = LazyLock::new(|| [WORKLOAD_CODES, problem::CODES].concat());

/// The meaning of a code; that of `internal` if it is unknown.
#[must_use]
pub fn info_of(code: &str) -> CodeInfo {
    problem::find(&CODES, code).unwrap_or(problem::INTERNAL)
}

/// A problem with any code of [`CODES`].
#[must_use]
pub fn problem(code: &'static str, detail: impl Into<String>) -> Problem {
    match problem::find(WORKLOAD_CODES, code) {
        Some(info) => Problem::of(info, detail),
        None => Problem::new(code, detail),
    }
}

impl From<Declined> for Problem {
    fn from(Declined(refusal): Declined) -> Self {
        match refusal {
            Refusal::Rejected(domain::Rejection::Coupon(rejection)) => of_coupon(rejection),
            Refusal::Rejected(domain::Rejection::Policy(rejection)) => of_policy(rejection),
            Refusal::NotAcrossMachines => problem("not_across_machines", "rate limits are not shared between machines yet"),
            Refusal::Rejected(domain::Rejection::RequestKeyReused) => {
                problem("request_key_reused", "this Idempotency-Key took effect for another request")
            }
            Refusal::Busy => problem("busy", "as much as fits is on its way to the disk").retry_after_ms(100),
            Refusal::StorageFull => problem("storage_full", "the server's disk is full").retry_after_ms(5_000),
            Refusal::MemoryLimit(limit) => {
                problem("memory_limit", format!("the server holds as many {} in memory as it may", limit.replace('_', " ")))
                    .with("limit", json!(limit))
            }
            Refusal::Stopping => problem("stopping", "the server is about to stop").retry_after_ms(1_000),
            Refusal::NotCaughtUp => problem("not_caught_up", "the server has not heard from the log in time").retry_after_ms(1_000),
            Refusal::Unknown => {
                problem("outcome_unknown", "the disk or the log failed or did not answer in time; ask again to learn the outcome")
                    .outcome_unknown()
                    .retry_after_ms(1_000)
            }
        }
    }
}

fn of_policy(rejection: policies::Rejection) -> Problem {
    let code = rejection.code();
    match rejection {
        policies::Rejection::PolicyNotFound => problem(code, "there is no policy of this name"),
        policies::Rejection::PolicyExists => problem(code, "there is a policy of this name"),
        policies::Rejection::VersionMismatch { version } => {
            let refused = problem(code, format!("the policy has version {version}")).with("version", json!(version));
            refused.with_header(header::ETAG, &format!("\"{version}\""))
        }
        policies::Rejection::PolicyHasOverrides => {
            problem(code, "keys have numbers of their own for this algorithm; remove them before another one is taken")
        }
        policies::Rejection::OverrideNotPossible => problem(code, "a limit on what is in flight has one number for all keys"),
        policies::Rejection::NumbersOutOfRange(error) => out_of_range(error),
        policies::Rejection::OverrideNotFound => problem(code, "the key has no numbers of its own"),
    }
}

fn of_coupon(rejection: Rejection) -> Problem {
    let code = rejection.code();
    match rejection {
        Rejection::CampaignNotFound => problem(code, "there is no campaign of this name"),
        Rejection::CampaignExists => problem(code, "there is a campaign of this name"),
        Rejection::VersionMismatch { version } => {
            let refused = problem(code, format!("the settings have version {version}")).with("version", json!(version));
            refused.with_header(header::ETAG, &format!("\"{version}\""))
        }
        Rejection::ClosesBeforeOpens => problem(code, "closes_at must be after opens_at").with("field", json!("closes_at")),
        Rejection::RedeemUntilBeforeOpens => problem(code, "redeem_until must be after opens_at").with("field", json!("redeem_until")),
        Rejection::StockBelowClaimed { claimed } => {
            let detail = format!("{} are claimed, and the stock may not be less", claimed.get());
            problem(code, detail).with("claimed", json!(claimed.get())).with("field", json!("stock"))
        }
        Rejection::PerSubjectMaxLowered { per_subject_max } => {
            let detail = format!("there are claims, so per_subject_max may not fall below {per_subject_max}");
            problem(code, detail).with("per_subject_max", json!(per_subject_max)).with("field", json!("per_subject_max"))
        }
        Rejection::RequestKeyRequired => problem(code, "several claims per subject are allowed: send an Idempotency-Key"),
        Rejection::NotOpen { opens_at } => problem(code, "the campaign is not open yet").with("opens_at", json!(times::format(opens_at))),
        Rejection::Closed { closed_at } => problem(code, "the campaign is closed").with("closed_at", json!(times::format(closed_at))),
        Rejection::Paused => problem(code, "the campaign is paused"),
        Rejection::SubjectLimitReached { per_subject_max } => {
            let detail = format!("the subject holds {per_subject_max}, as many as it may");
            problem(code, detail).with("per_subject_max", json!(per_subject_max))
        }
        Rejection::SoldOut => problem(code, "nothing is left"),
        Rejection::QueueFull { queue_max } => {
            let refused = problem(code, format!("{queue_max} claims are pending, as many as may be"));
            refused.with("queue_max", json!(queue_max)).retry_after_ms(QUEUE_RETRY_MS)
        }
        Rejection::ClaimPending => problem(code, "the claim is in the queue and not decided yet").retry_after_ms(QUEUE_RETRY_MS),
        Rejection::ClaimNotFound => problem(code, "the subject holds no such claim"),
        Rejection::ClaimAmbiguous { serials } => {
            let serials: Vec<u32> = serials.iter().map(|serial| serial.get()).collect();
            problem(code, "the subject holds several claims; pick one with ?serial=").with("serials", json!(serials))
        }
        Rejection::CodeNotFound => problem(code, "no claim of this campaign has this code"),
        Rejection::AlreadyRedeemed { redeemed_at } => {
            problem(code, "the claim was used before").with("redeemed_at", json!(times::format(redeemed_at)))
        }
        Rejection::Cancelled { cancelled_at } => {
            problem(code, "the claim was given back").with("cancelled_at", json!(times::format(cancelled_at)))
        }
        Rejection::Expired { redeem_until } => {
            problem(code, "it is too late to use the claim").with("redeem_until", json!(times::format(redeem_until)))
        }
    }
}
