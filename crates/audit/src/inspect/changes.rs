//! The changes of records, as text and as JSON.

use domain::state::{Change, Done};
use domain::workload::AnySettings;
use serde_json::{Map, Value, json};

use super::summary::Summary;
use crate::events::{self, cell_json, cell_text};

/// `campaign_created spring stock=5`, `claimed spring serial=3 subject=ann`; a change of two aggregates as
/// both, one after the other.
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
        Change::TimeSet { from, to } => format!("time_set from={} to={}", events::rfc3339(*from), events::rfc3339(*to)),
    }
}

/// The required settings, and those that differ from their default.
fn settings_text(settings: &AnySettings) -> String {
    let defaults = settings.kind().least().values();
    let told = settings.values().into_iter().zip(defaults).filter(|((field, value), (_, default))| field.is_required || value != default);
    told.map(|((field, value), _)| format!(" {}={}", field.name, cell_text(&value.into()))).collect()
}

fn done_text(done: &Done<'_>, summary: &Summary) -> String {
    format!("{} {}{}", events::word(&done.event), summary.name_of(done.number), events::fields_text(&done.event))
}

/// `event`, the name of the change, with its members: the name of the aggregate under the word of its kind
/// (`campaign`, `policy`); `settings`; the fields of a workload's event by their names (`serial`, `subject`);
/// `count`; `from` and `to`. For a change of two aggregates `event` is `both`, and `events` has the two.
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
        Change::TimeSet { from, to } => json!({ "event": "time_set", "from": events::rfc3339(*from), "to": events::rfc3339(*to) }),
    }
}

/// All settings, including internal ones.
pub(super) fn settings_json(settings: &AnySettings) -> Value {
    let fields = settings.values().into_iter().map(|(field, value)| (field.name.to_owned(), cell_json(&value.into())));
    Value::Object(fields.collect())
}

fn done_json(done: &Done<'_>, summary: &Summary) -> Value {
    let named = [
        ("event".to_owned(), json!(events::word(&done.event))),
        (done.event.kind().word().to_owned(), json!(summary.name_of(done.number))),
    ];
    Value::Object(named.into_iter().chain(events::fields_json(&done.event)).collect())
}
