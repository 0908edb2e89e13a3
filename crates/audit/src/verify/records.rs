//! Checks each record of a journal against the oracle's answer to the request behind it.

use domain::state::{Change, Done, Record};
use domain::types::Timestamp;
use domain::{Kind, Novelty};
use oracle::{Aggregate, Effect, No, Oracle, Outcome, Ruling, Said, adapter};

use super::findings::Report;
use crate::events;

/// Checks a record against those before it, and then applies it as written.
pub(super) fn check(oracle: &mut Oracle, record: &Record<'_>, report: &mut Report<'_>) {
    let at = time_of(oracle, record, report);
    let effect = adapter::effect(&record.change);
    let what = in_words(&record.change, oracle);
    let kind = kind_of(&effect, oracle);
    let said = oracle.follow(&effect, adapter::key_of(record), at);
    if let Some((promise, why)) = difference(&effect, kind, &said) {
        report.broken(promise, &format!("{what} at {} ms, {why}", at.millis()));
    }
}

/// The time at which a record counts. It never goes back, unless the record says so itself.
fn time_of(oracle: &Oracle, record: &Record<'_>, report: &mut Report<'_>) -> Timestamp {
    let (at, before) = (record.at.millis(), oracle.time.millis());
    match record.change {
        Change::TimeSet { to, .. } if to == record.at => return record.at,
        Change::TimeSet { to, .. } => report.broken("time", &format!("the time is set to {} by a record of {at} ms", to.millis())),
        _ if at < before => report.broken("time", &format!("the time goes back from {before} to {at} ms")),
        _ => {}
    }
    oracle.time.max(record.at)
}

/// The promise that a record breaks, and the reason; `None` if the record is correct.
fn difference(effect: &Effect, kind: Option<Kind>, said: &Said) -> Option<(&'static str, String)> {
    let Ruling { outcome, novelty, effect: expected } = match said {
        Ok(yes) => yes,
        Err(no) => return Some((promise_of(no, kind), format!("which the rules refuse: {}", no.code))),
    };
    match (expected, outcome) {
        (Some(expected), _) if expected == effect => None,
        (Some(expected), _) => Some((broken_by(effect, expected), format!("and the rules say {expected:?}"))),
        (None, Outcome::Nothing(promise)) => Some((promise, "and nothing was due".to_owned())),
        (None, _) => Some(match novelty {
            Novelty::Replayed => ("request_key", "and its request key took effect before".to_owned()),
            Novelty::Repeated | Novelty::Fresh => {
                let (promise, why) = repeated(effect);
                (promise, why.to_owned())
            }
        }),
    }
}

fn repeated(effect: &Effect) -> (&'static str, &'static str) {
    if let Effect::Did(_, happening) = effect { happening.repeated() } else { ("no_change", "and it was so before") }
}

/// The kind of the record's aggregate.
fn kind_of(effect: &Effect, oracle: &Oracle) -> Option<Kind> {
    match effect {
        Effect::Created { settings, .. } | Effect::Changed(_, settings) => Some(settings.kind()),
        Effect::Removed(number) => oracle.at(*number).map(Aggregate::kind),
        Effect::Did(_, happening) | Effect::DidBoth((_, happening), _) => Some(happening.kind()),
        Effect::KeysForgotten(_) | Effect::TimeSet { .. } => None,
    }
}

/// The promise that a record breaks if the rules reject it; by default the word of its kind.
fn promise_of(no: &No, kind: Option<Kind>) -> &'static str {
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
        _ => kind.map_or("settings", Kind::word),
    }
}

/// The promise that a record breaks if the rules require another effect.
fn broken_by(effect: &Effect, expected: &Effect) -> &'static str {
    match (effect, expected) {
        (Effect::Created { number, .. }, Effect::Created { number: other, .. }) if number != other => "number",
        (Effect::Created { .. } | Effect::Changed(..), _) => "settings",
        // The expected effect comes from the record itself, so only the number can differ.
        (Effect::Removed(_), _) => "number",
        (Effect::Did(_, happening), Effect::Did(_, expected)) => happening.broken_by(expected),
        (Effect::Did(..), _) => "number",
        (Effect::DidBoth((_, first), (_, second)), Effect::DidBoth((_, one), (_, other))) => {
            if first == one {
                second.broken_by(other)
            } else {
                first.broken_by(one)
            }
        }
        (Effect::DidBoth(..), _) => "group",
        (Effect::KeysForgotten(_), _) => "request_key",
        (Effect::TimeSet { .. }, _) => "time",
    }
}

/// A record's change, for people.
fn in_words(change: &Change<'_>, oracle: &Oracle) -> String {
    let did = |done: &Done<'_>| format!("{}: {}", named(done.number.0, oracle), events::text(&done.event));
    match change {
        Change::Created { number, name, settings } => format!("{} {name} is created with number {}", settings.kind().word(), number.0),
        Change::Changed { number, .. } => format!("{}: the settings are changed", named(number.0, oracle)),
        Change::Removed { number } => format!("{}: it is removed", named(number.0, oracle)),
        Change::Did(done) => did(done),
        Change::DidBoth(first, second) => format!("{}, and {}", did(first), did(second)),
        Change::RequestsForgotten { count } => format!("{count} request keys are forgotten"),
        Change::TimeSet { from, to } => format!("the time is set back from {} to {} ms", from.millis(), to.millis()),
    }
}

/// `campaign spring`; an unknown aggregate is named by its number.
fn named(number: u32, oracle: &Oracle) -> String {
    let words = |aggregate: &Aggregate| format!("{} {}", aggregate.kind().word(), aggregate.head().name);
    oracle.at(number).map_or_else(|| format!("number {number}"), words)
}
