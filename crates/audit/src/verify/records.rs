//! Each record of a journal against what the oracle says of the question behind it.

use domain::Novelty;
use domain::state::Record;
use oracle::coupon::Effect as Coupon;
use oracle::keyring::Effect as Keyring;
use oracle::limit::Effect as Limit;
use oracle::{Aggregate, Effect, Happening, No, Oracle, Outcome, Ruling, Said, adapter};

use super::findings::Report;

/// Checks a record against the ones before it, and takes it in as it is written.
pub(super) fn check(oracle: &mut Oracle, record: &Record<'_>, report: &mut Report<'_>) {
    if record.at < oracle.time {
        let (at, before) = (record.at.millis(), oracle.time.millis());
        report.broken("time", &format!("the time goes back from {before} to {at} ms"));
    }
    let at = oracle.time.max(record.at);
    let effect = adapter::effect(&record.change);
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
            Novelty::Repeated if matches!(effect, Effect::Did(_, Happening::Coupon(_))) => {
                ("subject_limit", "and the subject had its claim before".to_owned())
            }
            Novelty::Repeated => ("no_change", "and it was so before".to_owned()),
            Novelty::Fresh => ("no_change", "and it was so before".to_owned()),
        }),
    }
}

/// The promise that a record breaks which the rules refuse.
fn promise_of(no: &No) -> &'static str {
    match no.code {
        "campaign_not_found" => "unknown_campaign",
        "campaign_exists" => "campaign_name",
        "policy_not_found" => "unknown_policy",
        "policy_exists" => "policy_name",
        "not_removable" => "not_removable",
        "not_one_group" | "half_done" => "group",
        "invalid_field" | "closes_before_opens" | "redeem_until_before_opens" => "settings",
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
        (Effect::Created { number, .. }, Effect::Created { number: other, .. }) if number != other => "number",
        (Effect::Created { .. } | Effect::Changed(..), _) => "settings",
        // What is asked for is taken from the record, which says only which one.
        (Effect::Removed(_), _) => "number",
        (Effect::Did(_, happening), Effect::Did(_, expected)) => broken_in(happening, expected),
        (Effect::Did(..), _) => "number",
        (Effect::DidBoth((_, first), (_, second)), Effect::DidBoth((_, one), (_, other))) => {
            if first == one {
                broken_in(second, other)
            } else {
                broken_in(first, one)
            }
        }
        (Effect::DidBoth(..), _) => "group",
        (Effect::KeysForgotten(_), _) => "request_key",
    }
}

fn broken_in(happening: &Happening, expected: &Happening) -> &'static str {
    match (happening, expected) {
        (
            Happening::Coupon(Coupon::Accepted(serial, _) | Coupon::Claimed(serial, _)),
            Happening::Coupon(Coupon::Accepted(other, _) | Coupon::Claimed(other, _)),
        ) if serial != other => "serial_gap",
        // Decided without waiting, or made to wait without a reason.
        (Happening::Coupon(_), _) => "pace",
        (Happening::Limit(_), _) => "policy",
        (Happening::Keyring(_), _) => "keyring",
    }
}

/// What a record says, for people.
fn in_words(effect: &Effect, oracle: &Oracle) -> String {
    match effect {
        Effect::Created { number, name, settings } => format!("{} {name} is created with number {number}", settings.kind().word()),
        Effect::Changed(number, _) => format!("{}: the settings are changed", named(*number, oracle)),
        Effect::Removed(number) => format!("{}: it is removed", named(*number, oracle)),
        Effect::Did(number, happening) => format!("{}: {}", named(*number, oracle), happening_in_words(happening)),
        Effect::DidBoth((number, first), (other, second)) => {
            let first = format!("{}: {}", named(*number, oracle), happening_in_words(first));
            format!("{first}, and {}: {}", named(*other, oracle), happening_in_words(second))
        }
        Effect::KeysForgotten(count) => format!("{count} request keys are forgotten"),
    }
}

/// `campaign spring`; what is not there is told by its number.
fn named(number: u32, oracle: &Oracle) -> String {
    let words = |aggregate: &Aggregate| format!("{} {}", aggregate.kind().word(), aggregate.head().name);
    oracle.at(number).map_or_else(|| format!("number {number}"), words)
}

fn happening_in_words(happening: &Happening) -> String {
    match happening {
        Happening::Coupon(Coupon::Accepted(serial, subject)) => format!("claim {} of {subject} is accepted", serial.get()),
        Happening::Coupon(Coupon::Claimed(serial, subject)) => format!("claim {} of {subject} is made", serial.get()),
        Happening::Coupon(Coupon::Decided(serial, subject)) => format!("claim {} of {subject} is decided", serial.get()),
        Happening::Coupon(Coupon::Redeemed(serial)) => format!("claim {} is redeemed", serial.get()),
        Happening::Coupon(Coupon::Cancelled(serial)) => format!("claim {} is cancelled", serial.get()),
        Happening::Limit(Limit::OverrideWritten(key, _)) => format!("the override of {key:?} is written"),
        Happening::Limit(Limit::OverrideRemoved(key)) => format!("the override of {key:?} is removed"),
        Happening::Keyring(Keyring::Created { key, .. }) => format!("the key {key} is made"),
        Happening::Keyring(Keyring::Rotated { key, .. }) => format!("the key {key} is rotated"),
        Happening::Keyring(Keyring::Revoked(key)) => format!("the key {key} is revoked"),
    }
}
