//! The problems of the workloads and of the engine: their codes, and what the caller needs to know next.

use std::sync::LazyLock;

use axum::http::header;
use domain::Rejection;
use domain::rejections::Detail;
use engine::views::Refusal;
use serde_json::{Value, json};

use edge::problem::{self, info};
pub use edge::problem::{CodeInfo, HandlerResult, Problem};

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
            Refusal::Rejected(rejection) => of_rejection(&rejection),
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

/// What is said of a rejection in one case, beside its code's title.
#[derive(Clone, Copy, Debug)]
struct Wording {
    code: &'static str,
    /// `{name}` stands for what the rejection tells by this name.
    detail: &'static str,
    /// The field of the body to look at.
    field: Option<&'static str>,
    /// After how long to ask again, in milliseconds.
    retry_after_ms: Option<u64>,
}

const fn says(code: &'static str, detail: &'static str) -> Wording {
    Wording { code, detail, field: None, retry_after_ms: None }
}

const fn says_of(code: &'static str, field: &'static str, detail: &'static str) -> Wording {
    Wording { code, detail, field: Some(field), retry_after_ms: None }
}

const fn says_later(code: &'static str, detail: &'static str) -> Wording {
    Wording { code, detail, field: None, retry_after_ms: Some(QUEUE_RETRY_MS) }
}

/// One for each rejection that a call can get.
const WORDINGS: &[Wording] = &[
    says("request_key_reused", "this Idempotency-Key took effect for another request"),
    says("campaign_not_found", "there is no campaign of this name"),
    says("campaign_exists", "there is a campaign of this name"),
    says("policy_not_found", "there is no policy of this name"),
    says("policy_exists", "there is a policy of this name"),
    says("version_mismatch", "the settings have version {version}"),
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
    says_of("quota_out_of_range", "quota", "the quota must be 1 to 1000000000"),
    says_of(
        "log_quota_out_of_range",
        "quota",
        "the quota of a sliding_window_log must be 1 to 10000, because it remembers every request of a window; \
         sliding_window_counter and leaky_bucket take more",
    ),
    says_of("window_out_of_range", "window_ms", "the window must be a millisecond to 366 days"),
    says_of("burst_out_of_range", "burst", "the burst must be 0 to 1000000000, and the bucket must fill within 100 years"),
    says_of("burst_not_used", "burst", "only token_bucket and leaky_bucket have a burst"),
    says("in_flight_out_of_range", "{field} is out of range: 1 to 10000 may be in flight, and the timeout is a millisecond to 366 days"),
    says("policy_has_overrides", "keys have numbers of their own for this algorithm; remove them before another one is taken"),
    says("override_not_possible", "a limit on what is in flight has one number for all keys"),
    says("override_not_found", "the key has no numbers of its own"),
];

fn of_rejection(rejection: &Rejection) -> Problem {
    if let Rejection::Settings(issue) = rejection {
        return Problem::field(issue.field, &issue.what);
    }
    let Some(wording) = WORDINGS.iter().find(|wording| wording.code == rejection.code()) else {
        tracing::error!(?rejection, "nothing is known to be said of this rejection");
        return Problem::new("internal", "the rejection has no words");
    };
    let details = rejection.details();
    let mut refused = problem(wording.code, filled(wording.detail, &details));
    if let Some(field) = wording.field {
        refused = refused.with("field", json!(field));
    }
    if let Some(millis) = wording.retry_after_ms {
        refused = refused.retry_after_ms(millis);
    }
    if let Rejection::VersionMismatch { version } = rejection {
        refused = refused.with_header(header::ETAG, &format!("\"{version}\""));
    }
    details.iter().fold(refused, |refused, (name, detail)| refused.with(name, as_json(detail)))
}

/// A text with what a rejection tells in the places of `{name}`.
fn filled(text: &str, details: &[(&str, Detail)]) -> String {
    details.iter().fold(text.to_owned(), |text, (name, detail)| {
        let value = as_json(detail);
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.replace(&format!("{{{name}}}"), &value)
    })
}

fn as_json(detail: &Detail) -> Value {
    match detail {
        Detail::Number(number) => json!(number),
        Detail::Time(time) => json!(times::format(*time)),
        Detail::Numbers(numbers) => json!(numbers),
        Detail::Word(word) => json!(word),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::coupon::{self, Coupon};
    use domain::rate_limit::policies;
    use domain::types::{Quantity, Serial, Timestamp};

    use super::*;

    /// Every code that the rules can refuse with has a status and words, and no words are left over.
    #[test]
    fn every_rejection_has_words_and_a_status() {
        // What is not served has calls of its own, with words of their own (`keys.rs`).
        let served = domain::Kind::ALL.iter().filter(|kind| crate::http::aggregates::is_served(**kind));
        let of_kinds = served.flat_map(|kind| [kind.not_found(), kind.exists()]);
        // No call asks for two changes at once, or removes what cannot be removed.
        let of_frame = ["request_key_reused", "version_mismatch"];
        let of_workloads = [coupon::Rejection::CODES, policies::Rejection::CODES].concat();
        let wanted: BTreeSet<&str> = of_kinds.chain(of_frame).chain(of_workloads).collect();
        let worded: BTreeSet<&str> = WORDINGS.iter().map(|wording| wording.code).collect();
        assert_eq!(wanted, worded);
        assert_eq!(worded.len(), WORDINGS.len());
        for code in worded {
            assert!(problem::find(WORKLOAD_CODES, code).is_some(), "{code}");
        }
    }

    #[test]
    fn what_a_rejection_tells_is_in_its_words_and_beside_them() {
        let told = |rejection: coupon::Rejection| format!("{:?}", Problem::from(Declined::from(Rejection::of::<Coupon>(rejection))));
        let text = told(coupon::Rejection::StockBelowClaimed { claimed: Quantity::new(7).unwrap() });
        assert!(
            text.contains("7 are claimed") && text.contains(r#""claimed": Number(7)"#) && text.contains(r#""field": String("stock")"#),
            "{text}"
        );
        let text = told(coupon::Rejection::ClaimAmbiguous { serials: vec![Serial::new(2).unwrap(), Serial::new(5).unwrap()] });
        assert!(text.contains(r#""serials": Array [Number(2), Number(5)]"#), "{text}");
        let text = told(coupon::Rejection::NotOpen { opens_at: Timestamp::from_millis(0).unwrap() });
        assert!(text.contains(r#""opens_at": String("1970-01-01T00:00:00"#), "{text}");
        let text = told(coupon::Rejection::QueueFull { queue_max: 9 });
        assert!(text.contains("9 claims are pending") && text.contains("retry_after_ms: Some(1000)"), "{text}");
        let text = format!("{:?}", Problem::from(Declined::from(Rejection::VersionMismatch { version: 3 })));
        assert!(text.contains(r#""version": Number(3)"#) && text.contains(r#"("etag", "\"3\"")"#), "{text}");
    }

    /// Nothing is left of a place that no detail fills.
    #[test]
    fn every_place_in_the_words_is_filled() {
        let field = Rejection::of::<policies::Limit>(policies::Rejection::InFlightOutOfRange { field: "timeout_ms" });
        let limit = Rejection::of::<Coupon>(coupon::Rejection::SubjectLimitReached { per_subject_max: 4 });
        let lowered = Rejection::of::<Coupon>(coupon::Rejection::PerSubjectMaxLowered { per_subject_max: 4 });
        let claimed = Rejection::of::<Coupon>(coupon::Rejection::StockBelowClaimed { claimed: Quantity::ONE });
        let full = Rejection::of::<Coupon>(coupon::Rejection::QueueFull { queue_max: 9 });
        let with_places: Vec<Rejection> = vec![field, limit, lowered, claimed, full, Rejection::VersionMismatch { version: 3 }];
        assert_eq!(with_places.len(), WORDINGS.iter().filter(|wording| wording.detail.contains('{')).count());
        for rejection in with_places {
            let wording = WORDINGS.iter().find(|wording| wording.code == rejection.code()).unwrap();
            let said = filled(wording.detail, &rejection.details());
            assert!(wording.detail.contains('{') && !said.contains('{'), "{said}");
        }
    }
}
