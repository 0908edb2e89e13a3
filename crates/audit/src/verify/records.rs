//! Each record of a journal against what the oracle says of the question behind it.

use domain::Novelty;
use domain::state::Record;
use oracle::coupon::Effect as Coupon;
use oracle::{Effect, No, Oracle, Outcome, Ruling, Said, adapter};

use super::findings::Report;

/// Checks a record against the ones before it, and takes it in as it is written.
pub(super) fn check(oracle: &mut Oracle, record: &Record<'_>, report: &mut Report<'_>) {
    if record.at < oracle.time {
        let (at, before) = (record.at.millis(), oracle.time.millis());
        report.broken("time", &format!("the time goes back from {before} to {at} ms"));
    }
    let at = oracle.time.max(record.at);
    let effect = adapter::effect(oracle, &record.event);
    let what = in_words(&effect, oracle);
    let said = oracle.follow(&effect, adapter::key_of(record), at);
    if let Some((promise, why)) = difference(&effect, &said) {
        report.broken(promise, &format!("{what} at {} ms, {why}", at.millis()));
    }
}

/// The promise that a record breaks, and the reason; `None` if the record is what it must be.
fn difference(effect: &Effect, said: &Said) -> Option<(&'static str, String)> {
    let Ruling { outcome, novelty, effect: expected } = match said {
        Ok(yes) => yes,
        Err(no) => return Some((promise_of(no), format!("which the rules refuse: {}", no.code))),
    };
    match (expected, outcome) {
        (Some(expected), _) if expected == effect => None,
        (Some(expected), _) => Some((broken_by(effect, expected), format!("and the rules say {expected:?}"))),
        (None, Outcome::Nothing(promise)) => Some((promise, "and nothing was due".to_owned())),
        (None, _) => Some(match novelty {
            Novelty::Replayed => ("request_key", "and its request key took effect before".to_owned()),
            Novelty::Repeated => ("subject_limit", "and the subject had its claim before".to_owned()),
            Novelty::Fresh if matches!(effect, Effect::Limit(..)) => ("policy", "and it was so before".to_owned()),
            Novelty::Fresh => ("no_change", "and it was so before".to_owned()),
        }),
    }
}

/// The promise that a record breaks which the rules refuse.
fn promise_of(no: &No) -> &'static str {
    match no.code {
        "campaign_not_found" => "unknown_campaign",
        "campaign_exists" => "campaign_name",
        "closes_before_opens" | "redeem_until_before_opens" => "settings",
        "stock_below_claimed" => "stock_below_claimed",
        "request_key_required" | "request_key_reused" => "request_key",
        "not_open" | "closed" | "paused" => "window",
        "per_subject_max_lowered" | "subject_limit_reached" => "subject_limit",
        "sold_out" => "over_issued",
        "queue_full" => "queue_full",
        "claim_not_found" | "code_not_found" => "unknown_claim",
        "claim_pending" => "claim_pending",
        "already_redeemed" | "cancelled" => "claim_ended",
        "expired" => "redeemed_late",
        _ => "policy",
    }
}

/// The promise that a record breaks which is another one than the rules say.
fn broken_by(effect: &Effect, expected: &Effect) -> &'static str {
    match (effect, expected) {
        (Effect::Coupon(number, _), Effect::Coupon(other, _)) if number != other => "campaign_number",
        (
            Effect::Coupon(_, Coupon::Accepted(serial, _) | Coupon::Claimed(serial, _)),
            Effect::Coupon(_, Coupon::Accepted(other, _) | Coupon::Claimed(other, _)),
        ) if serial != other => "serial_gap",
        // Decided without waiting, or made to wait without a reason.
        (Effect::Coupon(..), _) => "pace",
        (Effect::Limit(..), _) => "policy",
        (Effect::KeysForgotten(_), _) => "request_key",
    }
}

/// What a record says, for people.
fn in_words(effect: &Effect, oracle: &Oracle) -> String {
    let (number, effect) = match effect {
        Effect::Coupon(number, effect) => (number, effect),
        Effect::Limit(name, effect) => return format!("policy {name}: {effect:?}"),
        Effect::KeysForgotten(count) => return format!("{count} request keys are forgotten"),
    };
    let name = oracle.campaign_at(*number).map_or_else(|| format!("number {number}"), |campaign| campaign.name.to_string());
    let what = match effect {
        Coupon::Created { name, .. } => return format!("campaign {name} is created with number {number}"),
        Coupon::Changed(_) => "the settings are changed".to_owned(),
        Coupon::Accepted(serial, subject) => format!("claim {} of {subject} is accepted", serial.get()),
        Coupon::Claimed(serial, subject) => format!("claim {} of {subject} is made", serial.get()),
        Coupon::Decided(serial, subject) => format!("claim {} of {subject} is decided", serial.get()),
        Coupon::Redeemed(serial) => format!("claim {} is redeemed", serial.get()),
        Coupon::Cancelled(serial) => format!("claim {} is cancelled", serial.get()),
    };
    format!("campaign {name}: {what}")
}
