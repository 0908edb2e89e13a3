//! The schemas of the coupon calls.

use domain::Kind;
use domain::coupon::PER_SUBJECT_MAX;
use domain::types::Quantity;
use serde_json::json;

use crate::http::lists::as_of;
use crate::http::openapi::describe::{Parameter, example_name};
use crate::http::openapi::kinds::paged;
use crate::http::openapi::problem::{Member, field};
use crate::http::openapi::schema::{Schema, U32_MAX, body, count, list, matching, name, number, number_from, object, text, time, word};

const CLAIMED_AT: &str = "2026-01-31T10:00:00.123Z";

fn serials() -> Schema {
    number(1, U32_MAX).example(json!(1))
}

fn campaign() -> Schema {
    name(example_name(Kind::Campaign))
}

/// The body of a claim.
pub(super) fn request() -> Schema {
    let about = "For whom: an opaque id of yours, never an e-mail address or phone number.";
    body("Who wants a unit.").has("subject", name("u1"), about).named("ClaimRequest")
}

fn claim_members(about: &str) -> Schema {
    let serial = "The claim's number in its campaign: 1 for the first, one more for each claim in the order of decision, never used \
                  twice. May exceed the stock after cancellations.";
    let code = "What the subject shows to use the claim: 12 characters that cannot be guessed and a check character, without look-alikes.";
    object(about)
        .has("campaign", campaign(), "The campaign.")
        .has("subject", name("u1"), "Who holds the claim.")
        .has("serial", serials(), serial)
        .has("code", matching("^[0-9A-HJKMNP-TV-Z]{13}$").example(json!("5ZJ0Q4M7K2T9X")), code)
        .has("claimed_at", time(CLAIMED_AT), "When it was decided.")
}

/// A claim in the response to claiming.
pub(super) fn claimed() -> Schema {
    let cancelled = "When the claim was given back: only in an answer that is given again, and only if it was. The code is no good then.";
    claim_members("What a claim got: what never changes, so that a repeat can say the same.")
        .may("cancelled_at", time(""), cancelled)
        .named("Claimed")
}

/// The current state of a claim.
pub(super) fn claim() -> Schema {
    claim_members("A claim as it stands.")
        .has("status", word(&["live", "redeemed", "cancelled"]), "Whether it can be used, was used, or was given back.")
        .may("redeemed_at", time(""), "When it was used; only if it was.")
        .may("cancelled_at", time(""), "When it was given back; only if it was.")
        .named("Claim")
}

/// A page of claims.
pub(super) fn claim_page() -> Schema {
    paged("claims", claim(), "Claims, cancelled ones included.").has("as_of", as_of(), "").named("ClaimPage")
}

/// A pending claim.
pub(super) fn pending() -> Schema {
    object("A claim that is accepted. It is no yes yet: it has no code.")
        .has("answer", text().example(json!("spring:7Q0ZJ4M52K9TX")), "The answer's name, under `/v1/answers/`.")
        .has("status", word(&["pending", "decided"]), "`decided`: the answer can be read now.")
        .has("campaign", campaign(), "The campaign.")
        .has("subject", name("u1"), "Who claims.")
        .has("place", number(0, U32_MAX).shown(json!(42)), "Its place in the queue: 1 is decided next; 0 once it is decided.")
        .has("wait_ms", count(410), "When it will be decided, going by place and pace, in milliseconds from now.")
        .may("accepted_at", time(""), "When it was accepted, by which it is judged; only while it is pending.")
        .may("retry_after_ms", number_from(1), "After how many milliseconds to look again; only while it is pending.")
        .but(json!({ "accepted_at": CLAIMED_AT, "retry_after_ms": 410 }))
        .named("PendingAnswer")
}

/// Members that the rules' rejections add.
pub(super) fn problem_members() -> Vec<Member> {
    let per_subject = number(1, u64::from(PER_SUBJECT_MAX));
    let claimed = number(0, u64::from(Quantity::MAX.get()));
    let serials = list(serials()).with("minItems", json!(2));
    vec![
        Member("claimed", claimed, "Units that are claimed.", &["stock_below_claimed"]),
        field(&["stock_below_claimed", "per_subject_max_lowered", "closes_before_opens", "redeem_until_before_opens"]),
        Member(
            "per_subject_max",
            per_subject,
            "The limit per subject as it stands.",
            &["subject_limit_reached", "per_subject_max_lowered"],
        ),
        Member("opens_at", time(""), "From when on claims are granted.", &["not_open"]),
        Member("closed_at", time(""), "Since when claims are refused.", &["closed"]),
        Member("serials", serials, "The serials that the subject holds, rising.", &["claim_ambiguous"]),
        Member("redeemed_at", time(""), "When the claim was used.", &["already_redeemed"]),
        Member("cancelled_at", time(""), "When the claim was given back.", &["cancelled"]),
        Member("redeem_until", time(""), "Until when claims could be redeemed.", &["expired"]),
        Member("queue_max", number_from(1), "Claims that may be pending.", &["queue_full"]),
    ]
}

pub(super) fn subject() -> Parameter {
    Parameter::path("subject", name("u1"), "An opaque id of yours, formed like a campaign's name; never an e-mail address or phone number.")
}

pub(super) fn code() -> Parameter {
    let about = "A claim's code: 13 letters and digits, as it was typed or pasted. Case, blanks, line ends, dashes, invisible \
                 characters, full-width letters and the look-alikes I, L and O do not matter.";
    Parameter::path("code", text().with("minLength", json!(1)).example(json!("5ZJ0Q4M7K2T9X")), about)
}

pub(super) fn answer() -> Parameter {
    let about = "The answer's name, as `Location` and `answer` of the 202 say it.";
    Parameter::path("answer", text().with("minLength", json!(1)).example(json!("spring:7Q0ZJ4M52K9TX")), about)
}

pub(super) fn serial() -> Parameter {
    let about = "Which of the subject's claims is meant. Needed only where it holds several.";
    Parameter::query("serial", "serial", number(1, U32_MAX), about)
}

pub(super) fn status() -> Parameter {
    let about = "Only claims that stand like this; without it all of them.";
    Parameter::query("status", "status", word(&["live", "redeemed", "cancelled"]), about)
}

pub(super) fn after_serial() -> Parameter {
    Parameter::query("afterSerial", "after", number(1, U32_MAX), "`next` of the page before: goes on behind this serial.")
}

pub(super) fn after_claim() -> Parameter {
    let pattern = "^(0|[1-9][0-9]{0,8})-([1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8})$";
    Parameter::query("afterClaim", "after", matching(pattern), "`next` of the page before.")
}

pub(super) fn prefer() -> Parameter {
    let about = "`respond-async` (RFC 7240): answer with 202 and the place of the decision.";
    Parameter::header("prefer", "Prefer", text().example(json!("respond-async")), about)
}

/// The request key of a claim.
pub(super) fn own_key() -> Parameter {
    let about = "Your name for this request: 1 to 255 visible ASCII characters. Required where `per_subject_max` is above 1; elsewhere \
                 the subject alone makes a repeat safe.";
    Parameter::header("IdempotencyKeyClaim", "Idempotency-Key", matching("^[!-~]{1,255}$"), about)
}
