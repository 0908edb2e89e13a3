//! The schemas of the rate-limit calls.

use domain::Kind;
use domain::rate_limit::in_flight::IN_FLIGHT_MAX;
use domain::rate_limit::settings::{LOG_QUOTA_MAX, QUOTA_MAX, WINDOW_NS_MAX};
use serde_json::{Value, json};

use super::checks::{CHECKS_MAX, RESERVATION_MS_MAX};
use crate::http::aggregates::Use;
use crate::http::openapi::describe::{Parameter, example_name};
use crate::http::openapi::schema::{Schema, U32_MAX, body, count, flag, list, matching, name, number, number_from, object, text, word};

/// The name of a reservation or a lease in examples.
pub(super) const HELD: &str = "5f0c2a77d1e3b846-0";
const MS_NS: u64 = 1_000_000;

fn quota(max: u64) -> Schema {
    number(1, max)
}

fn window() -> Schema {
    number(1, WINDOW_NS_MAX / MS_NS)
}

fn burst() -> Schema {
    number(0, u64::from(QUOTA_MAX))
}

fn none() -> Schema {
    Schema::default().with("type", json!("null"))
}

fn no_burst() -> Schema {
    Schema::default().with("enum", json!([0, null]))
}

/// The ranges of a policy's settings. The declared fields do not limit them, so that each rejection has its
/// own code; which settings are allowed depends on the algorithm.
pub(super) fn narrowed(of: Use, schema: Schema) -> Schema {
    let (window_ms_max, quota_max) = (WINDOW_NS_MAX / MS_NS, u64::from(QUOTA_MAX));
    let schema = schema.within("quota", 1, quota_max).within("burst", 0, quota_max);
    let schema = schema.within("window_ms", 1, window_ms_max).within("timeout_ms", 1, window_ms_max);
    if of == Use::Put { by_algorithm(&schema) } else { schema }
}

fn by_algorithm(settings: &Schema) -> Schema {
    let of = |algorithms: &[&str]| settings.clone().narrowed("algorithm", word(algorithms));
    let rate = |algorithms: &[&str], quota_max| {
        let rate = of(algorithms).narrowed("quota", quota(quota_max)).narrowed("window_ms", window()).narrowed("timeout_ms", none());
        rate.requiring("window_ms")
    };
    let bucket = burst().nullable().with("default", json!(0));
    let in_flight = of(&["in_flight"]).narrowed("quota", quota(u64::from(IN_FLIGHT_MAX))).narrowed("window_ms", none());
    let variants = vec![
        rate(&["token_bucket", "leaky_bucket"], u64::from(QUOTA_MAX)).narrowed("burst", bucket),
        rate(&["fixed_window", "sliding_window_counter"], u64::from(QUOTA_MAX)).narrowed("burst", no_burst()),
        rate(&["sliding_window_log"], u64::from(LOG_QUOTA_MAX)).narrowed("burst", no_burst()),
        in_flight.narrowed("burst", no_burst()).narrowed("timeout_ms", window()).requiring("timeout_ms"),
    ];
    Schema::one_of("What a policy limits.", variants)
}

fn policy() -> Schema {
    name(example_name(Kind::Policy))
}

/// The counted key.
fn key() -> Schema {
    let about = "Who or what is counted: 1 to 255 bytes without control characters.";
    let key = matching(r"^[^\x00-\x1f\x7f-\x9f]+$").with("minLength", json!(1)).with("maxLength", json!(255));
    key.with("description", json!(about)).shown(json!("203.0.113.7"))
}

fn cost(example: u64) -> Schema {
    number(0, U32_MAX).shown(json!(example))
}

fn optional_cost() -> Schema {
    cost(1).nullable().with("default", json!(1)).shown(json!(1))
}

fn with_cost(schema: Schema) -> Schema {
    schema.may("cost", optional_cost(), "Units.").but(json!({ "cost": 1 }))
}

pub(super) fn check() -> Schema {
    with_cost(body("").has("key", key(), "")).named("Check")
}

pub(super) fn checks() -> Schema {
    let one = with_cost(body("").has("policy", policy(), "").has("key", key(), ""));
    let all = list(one).with("minItems", json!(1)).with("maxItems", json!(CHECKS_MAX));
    body("").has("checks", all, "").named("Checks")
}

pub(super) fn reserve() -> Schema {
    let timeout = number(1, RESERVATION_MS_MAX).shown(json!(30_000));
    let body = body("").has("key", key(), "").has("cost", cost(8), "Units.");
    body.has("timeout_ms", timeout, "In how many milliseconds it must be settled.").named("Reserve")
}

pub(super) fn refund() -> Schema {
    body("").has("key", key(), "").has("cost", cost(1), "Units.").named("Refund")
}

pub(super) fn reset() -> Schema {
    body("").has("key", key(), "").named("Reset")
}

pub(super) fn settle() -> Schema {
    body("").has("cost", cost(5), "Units.").named("Settle")
}

pub(super) fn settled() -> Schema {
    object("").has("reservation", text().shown(json!(HELD)), "").has("cost", cost(5), "Units.").named("Settled")
}

pub(super) fn ended() -> Schema {
    object("").has("lease", text().shown(json!(HELD)), "").named("EndedLease")
}

/// Adds the numbers of a policy that a single key may override.
fn with_numbers(schema: Schema, burst: Schema) -> Schema {
    schema
        .has("quota", quota(u64::from(QUOTA_MAX)).shown(json!(100)), "Units in a window. For `sliding_window_log` at most 10,000.")
        .has("window_ms", window().shown(json!(1_000)), "The window in milliseconds: up to 366 days.")
        .may("burst", burst, "Units that may come at once above one. For the buckets only; the bucket must fill within 100 years.")
        .but(json!({ "burst": 199 }))
}

pub(super) fn numbers() -> Schema {
    let own = "As the path names it; may be left out.";
    with_numbers(body(""), burst().nullable().with("default", json!(0)))
        .may("policy", policy().nullable(), own)
        .may("key", key().nullable(), own)
        .named("Numbers")
}

pub(super) fn overridden() -> Schema {
    with_numbers(object("").has("policy", policy(), "").has("key", key().shown(json!("partner-7")), ""), burst()).named("Override")
}

pub(super) fn removed_override() -> Schema {
    object("").has("policy", policy(), "").has("key", key().shown(json!("partner-7")), "").named("RemovedOverride")
}

pub(super) fn decision() -> Schema {
    let refusal = Schema::default().with("enum", json!(["not_until", "exceeds_burst", null])).shown(Value::Null);
    let why = "Why it does not conform: not before `retry_after_ms`, or never, because the cost is more than the limit. Under a policy \
               that is only watched it is allowed nevertheless.";
    let retry = "Milliseconds until the same request conforms, if nobody takes anything until then; rounded up.";
    object("How a key stands.")
        .has("policy", policy(), "")
        .has("key", key(), "")
        .has("allowed", flag(true), "Whether the request may go on.")
        .has("refusal", refusal, why)
        .has("limit", number(1, U32_MAX).shown(json!(20)), "Units that a full key has.")
        .has("remaining", number(0, U32_MAX).shown(json!(19)), "Units that are left.")
        .has("reset_after_ms", count(100), "Milliseconds until the key is full, if nothing more is taken; rounded up.")
        .has("retry_after_ms", number_from(1).or_null(), retry)
        .may("lease", text(), "Under an `in_flight` policy: to be given back.")
        .may("reservation", text(), "To be settled.")
        .named("Decision")
}

pub(super) fn decisions() -> Schema {
    let all = "Whether all of them are.";
    object("").has("allowed", flag(true), all).has("checks", list(decision()), "In the order asked.").named("Decisions")
}

pub(super) fn limit_key() -> Parameter {
    Parameter::path("limit_key", key().example(json!("partner-7")), "The key, percent-encoded.")
}

pub(super) fn after_limit_key() -> Parameter {
    Parameter::query("afterLimitKey", "after", text(), "`next` of the page before: goes on behind this key.")
}

pub(super) fn reservation() -> Parameter {
    Parameter::path("reservation", text().with("minLength", json!(1)).example(json!(HELD)), "As the reservation was answered.")
}

pub(super) fn lease() -> Parameter {
    Parameter::path("lease", text().with("minLength", json!(1)).example(json!(HELD)), "As the check was answered.")
}
