//! The response fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10)
//! and `Retry-After` (RFC 9110), whose unit is the second: rounded up, so that nobody comes early.

use std::fmt::Write;
use std::sync::Arc;

use domain::rate_limit::{Decision, Policy};
use http::{HeaderMap, HeaderName, HeaderValue};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const SECOND_NS: u64 = 1_000_000_000;

/// The item of `RateLimit-Policy`: `"name";q=100;w=60`. The window is left out where it is no
/// whole number of seconds, which is all that the field can say.
pub(crate) fn policy_item(name: &str, policy: &Policy) -> String {
    let window_ns = policy.limit_window_ns();
    let whole = window_ns.is_multiple_of(SECOND_NS).then_some(window_ns / SECOND_NS);
    let window = whole.map_or_else(String::new, |seconds| format!(";w={seconds}"));
    format!("\"{name}\";q={}{window}", policy.limit())
}

/// Adds both fields for decisions whose policies are known by name only: an item for each, in their
/// order, `q` being the limit.
pub fn add_all<'a>(headers: &mut HeaderMap, decisions: impl Iterator<Item = (&'a str, &'a Decision)>) {
    let (mut policies, mut items) = (String::new(), String::new());
    for (name, decision) in decisions {
        let separator = if items.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(policies, "{separator}\"{name}\";q={}", decision.limit);
        let _ = write!(items, "{separator}\"{name}\";r={};t={}", decision.remaining, seconds_up(decision.reset_after_ns));
    }
    for (field, value) in [(POLICY, policies), (LIMIT, items)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.append(field, value);
        }
    }
}

/// Adds both fields: an item for each policy, in their order.
pub(crate) fn add(headers: &mut HeaderMap, policies: &HeaderValue, decisions: &[(Arc<str>, Decision)]) {
    let mut items = String::with_capacity(decisions.len() * 32);
    for (name, decision) in decisions {
        let separator = if items.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(items, "{separator}\"{name}\";r={};t={}", decision.remaining, seconds_up(decision.reset_after_ns));
    }
    headers.append(POLICY, policies.clone());
    if let Ok(value) = HeaderValue::try_from(items) {
        headers.append(LIMIT, value);
    }
}

/// Whole seconds, rounded up.
#[must_use]
pub const fn seconds_up(nanos: u64) -> u64 {
    nanos.div_ceil(SECOND_NS)
}
