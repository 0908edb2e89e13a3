//! What records change, for people and for programs.

use domain::coupon::Event as CouponEvent;
use domain::fields::Value as FieldValue;
use domain::keyring::{Event as KeyringEvent, Scope};
use domain::rate_limit::policies::{Event as LimitEvent, Numbers};
use domain::state::{Change, Done};
use domain::workload::{AnyEvent, AnySettings};
use serde_json::{Map, Value, json};

use super::rfc3339;
use super::summary::Summary;

/// `campaign_created spring stock=5`, `claimed spring serial=3 subject=ann`; of two at once the one
/// behind the other.
pub(super) fn text(change: &Change<'_>, summary: &Summary) -> String {
    match change {
        Change::Created { name, settings, .. } => format!("{}_created {name}{}", settings.kind().word(), settings_text(settings)),
        Change::Changed { number, settings } => {
            format!("{}_changed {}{}", settings.kind().word(), summary.name_of(*number), settings_text(settings))
        }
        Change::Removed { number } => format!("{}_removed {}", summary.word_of(*number), summary.name_of(*number)),
        Change::Did(done) => done_text(done, summary),
        Change::DidBoth(first, second) => format!("{} and {}", done_text(first, summary), done_text(second, summary)),
        Change::RequestsForgotten { count } => format!("requests_forgotten count={count}"),
    }
}

/// Those that must be given, and those that are not at their default.
fn settings_text(settings: &AnySettings) -> String {
    let defaults = settings.kind().least().values();
    let told = settings.values().into_iter().zip(defaults).filter(|((field, value), (_, default))| field.is_required || value != default);
    told.map(|((field, value), _)| match value {
        FieldValue::Null => format!(" {}=none", field.name),
        FieldValue::Bool(value) => format!(" {}={value}", field.name),
        FieldValue::Number(number) => format!(" {}={number}", field.name),
        FieldValue::Time(time) => format!(" {}={}", field.name, rfc3339(time)),
        FieldValue::Word(word) => format!(" {}={word}", field.name),
    })
    .collect()
}

fn done_text(done: &Done<'_>, summary: &Summary) -> String {
    let name = summary.name_of(done.number);
    let claim = |what: &str, serial: domain::types::Serial| format!("{what} {name} serial={}", serial.get());
    match done.event {
        AnyEvent::Campaign(CouponEvent::Accepted { serial, subject }) => format!("{} subject={subject}", claim("accepted", serial)),
        AnyEvent::Campaign(CouponEvent::Claimed { serial, subject }) => format!("{} subject={subject}", claim("claimed", serial)),
        AnyEvent::Campaign(CouponEvent::Decided { serial, subject }) => format!("{} subject={subject}", claim("decided", serial)),
        AnyEvent::Campaign(CouponEvent::Redeemed { serial }) => claim("redeemed", serial),
        AnyEvent::Campaign(CouponEvent::Cancelled { serial }) => claim("cancelled", serial),
        AnyEvent::Policy(LimitEvent::OverrideWritten { key, numbers: Numbers { quota, window_ns, burst } }) => {
            format!("override_written {name} for={:?} quota={quota} window_ns={window_ns} burst={burst}", key.as_str())
        }
        AnyEvent::Policy(LimitEvent::OverrideRemoved { key }) => format!("override_removed {name} for={:?}", key.as_str()),
        AnyEvent::Keyring(KeyringEvent::KeyCreated { key, scopes, campaigns, .. }) => {
            format!("key_created {} scopes={scopes} campaigns={:?}", key.as_str(), campaigns.as_str())
        }
        AnyEvent::Keyring(KeyringEvent::KeyRotated { key, overlap_ms, .. }) => {
            format!("key_rotated {} overlap_ms={overlap_ms}", key.as_str())
        }
        AnyEvent::Keyring(KeyringEvent::KeyRevoked { key }) => format!("key_revoked {}", key.as_str()),
    }
}

/// `event`, which says what happened, and what that adds: the name of the aggregate by the word of its
/// kind (`campaign`, `policy`); `settings`; `serial` and `subject` of a claim; `key`, `quota`,
/// `window_ns` and `burst` of an override; `key`, `scopes`, `campaigns` and `overlap_ms` of an API key; `count`. Of two at once `event` is `both`, and `events` has
/// the two.
pub(super) fn json(change: &Change<'_>, summary: &Summary) -> Value {
    let named = |what: &str, word: &str, name: String, settings: Option<&AnySettings>| {
        let mut line = Map::from_iter([("event".to_owned(), json!(format!("{word}_{what}"))), (word.to_owned(), json!(name))]);
        line.extend(settings.map(|settings| ("settings".to_owned(), settings_json(settings))));
        Value::Object(line)
    };
    match change {
        Change::Created { name, settings, .. } => named("created", settings.kind().word(), name.to_string(), Some(settings)),
        Change::Changed { number, settings } => named("changed", settings.kind().word(), summary.name_of(*number), Some(settings)),
        Change::Removed { number } => named("removed", summary.word_of(*number), summary.name_of(*number), None),
        Change::Did(done) => done_json(done, summary),
        Change::DidBoth(first, second) => {
            json!({ "event": "both", "events": [done_json(first, summary), done_json(second, summary)] })
        }
        Change::RequestsForgotten { count } => json!({ "event": "requests_forgotten", "count": count }),
    }
}

/// All of them, internal ones too.
fn settings_json(settings: &AnySettings) -> Value {
    let fields = settings.values().into_iter().map(|(field, value)| {
        let value = match value {
            FieldValue::Null => Value::Null,
            FieldValue::Bool(value) => json!(value),
            FieldValue::Number(number) => json!(number),
            FieldValue::Time(time) => json!(rfc3339(time)),
            FieldValue::Word(word) => json!(word),
        };
        (field.name.to_owned(), value)
    });
    Value::Object(fields.collect())
}

fn done_json(done: &Done<'_>, summary: &Summary) -> Value {
    let name = summary.name_of(done.number);
    match done.event {
        AnyEvent::Campaign(event) => {
            let (what, serial, subject) = match event {
                CouponEvent::Accepted { serial, subject } => ("accepted", serial, Some(subject)),
                CouponEvent::Claimed { serial, subject } => ("claimed", serial, Some(subject)),
                CouponEvent::Decided { serial, subject } => ("decided", serial, Some(subject)),
                CouponEvent::Redeemed { serial } => ("redeemed", serial, None),
                CouponEvent::Cancelled { serial } => ("cancelled", serial, None),
            };
            let mut line = json!({ "event": what, "campaign": name, "serial": serial.get() });
            if let (Some(line), Some(subject)) = (line.as_object_mut(), subject) {
                line.insert("subject".to_owned(), json!(subject.as_str()));
            }
            line
        }
        AnyEvent::Policy(LimitEvent::OverrideWritten { key, numbers: Numbers { quota, window_ns, burst } }) => json!({
            "event": "override_written", "policy": name, "key": key.as_str(), "quota": quota, "window_ns": window_ns, "burst": burst,
        }),
        AnyEvent::Policy(LimitEvent::OverrideRemoved { key }) => {
            json!({ "event": "override_removed", "policy": name, "key": key.as_str() })
        }
        AnyEvent::Keyring(KeyringEvent::KeyCreated { key, scopes, campaigns, .. }) => {
            let scopes: Vec<&str> = scopes.listed().into_iter().map(Scope::word).collect();
            json!({ "event": "key_created", "key": key.as_str(), "scopes": scopes, "campaigns": campaigns.as_str() })
        }
        AnyEvent::Keyring(KeyringEvent::KeyRotated { key, overlap_ms, .. }) => {
            json!({ "event": "key_rotated", "key": key.as_str(), "overlap_ms": overlap_ms })
        }
        AnyEvent::Keyring(KeyringEvent::KeyRevoked { key }) => json!({ "event": "key_revoked", "key": key.as_str() }),
    }
}
