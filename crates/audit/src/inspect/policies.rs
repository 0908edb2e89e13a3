//! Records of rate limits' policies, for people and for programs.

use domain::rate_limit::in_flight::InFlight;
use domain::rate_limit::policies::{Event, Numbers, Rule};
use domain::rate_limit::{Mode, Settings};
use serde_json::{Value, json};

/// `policy_written api leaky_bucket quota=5 window_ns=1000000000 burst=4`
pub(super) fn text(event: &Event<'_>) -> String {
    let policy = event.policy();
    match event {
        Event::PolicyWritten { rule, .. } => format!("policy_written {policy} {}", rule_text(rule)),
        Event::PolicyRemoved { .. } => format!("policy_removed {policy}"),
        Event::OverrideWritten { key, numbers, .. } => {
            format!("override_written {policy} for={:?} {}", key.as_str(), numbers_text(*numbers))
        }
        Event::OverrideRemoved { key, .. } => format!("override_removed {policy} for={:?}", key.as_str()),
    }
}

fn rule_text(rule: &Rule) -> String {
    let shadow = |mode| if mode == Mode::Shadow { " shadow" } else { "" };
    match rule {
        Rule::Rate(policy) => {
            let Settings { algorithm, quota, window_ns, burst, mode } = *policy.settings();
            format!("{} {}{}", algorithm.word(), numbers_text(Numbers { quota, window_ns, burst }), shadow(mode))
        }
        Rule::InFlight(limit) => in_flight_text(limit) + shadow(limit.mode()),
    }
}

fn in_flight_text(limit: &InFlight) -> String {
    format!("in_flight limit={} timeout_ns={}", limit.limit(), limit.timeout_ns())
}

fn numbers_text(Numbers { quota, window_ns, burst }: Numbers) -> String {
    format!("quota={quota} window_ns={window_ns} burst={burst}")
}

/// `event`, `policy`, and what the event adds: `algorithm`, `quota`, `window_ns`, `burst`, `limit`,
/// `timeout_ns`, `shadow`, `key`.
pub(super) fn json(event: &Event<'_>) -> Value {
    let policy = event.policy().as_str();
    match event {
        Event::PolicyWritten { rule: Rule::Rate(rule), .. } => {
            let Settings { algorithm, quota, window_ns, burst, mode } = *rule.settings();
            json!({
                "event": "policy_written", "policy": policy, "algorithm": algorithm.word(), "quota": quota,
                "window_ns": window_ns, "burst": burst, "shadow": mode == Mode::Shadow,
            })
        }
        Event::PolicyWritten { rule: Rule::InFlight(limit), .. } => json!({
            "event": "policy_written", "policy": policy, "algorithm": "in_flight", "limit": limit.limit(),
            "timeout_ns": limit.timeout_ns(), "shadow": limit.mode() == Mode::Shadow,
        }),
        Event::PolicyRemoved { .. } => json!({ "event": "policy_removed", "policy": policy }),
        Event::OverrideWritten { key, numbers: Numbers { quota, window_ns, burst }, .. } => json!({
            "event": "override_written", "policy": policy, "key": key.as_str(), "quota": quota, "window_ns": window_ns, "burst": burst,
        }),
        Event::OverrideRemoved { key, .. } => json!({ "event": "override_removed", "policy": policy, "key": key.as_str() }),
    }
}
