//! The schemas of a kind: settings, patch, read and page, generated from its declared fields.

use domain::fields::{Field, Value as FieldValue};
use domain::hash::HashSeed;
use domain::state::{Precondition, decide};
use domain::types::{ActorId, Name, RequestId};
use domain::{Action, Command, Decision, Kind, Record, State};
use serde_json::{Map, Value, json};

use super::describe::example_name;
use super::schema::{Schema, body, list, name, number_from, object, of_field, text, time};
use crate::http::settings::{self, patch_of, settings_of, value_as_json};
use crate::http::times;

/// When the examples' aggregates were created, and when they are read.
const TIMES: [&str; 2] = ["2026-01-30T08:00:00Z", "2026-01-31T10:00:00Z"];

/// The word with a capital first letter.
#[must_use]
pub fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The settings of a put.
#[must_use]
pub fn settings(kind: Kind) -> Schema {
    let about = format!("All settings of a {}; what is left out takes its default.", kind.word());
    fields(kind).fold(body(&about), |schema, (field, default)| {
        let of = of_field(field.kind, true);
        if field.is_required {
            return schema.has(field.name, of, field.about);
        }
        schema.may(field.name, of.nullable().with("default", value_as_json(default)), field.about)
    })
}

/// A merge patch of a kind's settings.
#[must_use]
pub fn patch(kind: Kind) -> Schema {
    let about = format!(
        "A JSON merge patch (RFC 7396) of a {}'s settings: what is left out stays as it is, `null` sets the default. What comes of \
         it must be what a {0} can be created with.",
        kind.word()
    );
    fields(kind).fold(body(&about), |schema, (field, default)| {
        let of = of_field(field.kind, true);
        if field.is_required {
            return schema.may(field.name, of, field.about);
        }
        let about = match default {
            FieldValue::Null => field.about.to_owned(),
            other => format!("{} `null` sets `{}`.", field.about, value_as_json(other).to_string().trim_matches('"')),
        };
        schema.may(field.name, of.nullable(), &about)
    })
}

/// The response of a read.
#[must_use]
pub fn shown(kind: Kind) -> Schema {
    let about = format!("A {}, exact at one instant.", kind.word());
    let named = object(&about).has(kind.word(), name(example_name(kind)), "Its name.");
    let all = kind.figures().iter().chain(kind.settings()).filter(|field| !field.is_internal);
    let schema = all.fold(named, |schema, field| {
        let of = of_field(field.kind, false);
        schema.has(field.name, if field.is_nullable { of.nullable() } else { of }, field.about)
    });
    let version = "The version of the settings: 1 at first, one more with each change. The `ETag` is the same number in quotes.";
    schema.has("version", number_from(1), version).has("created_at", time(""), "When it was created.")
}

/// A page of a kind.
#[must_use]
pub fn page(kind: Kind, shown: Schema) -> Schema {
    let all = kind.path();
    paged(all, shown, &format!("{} in the order of their names.", capital(all)))
}

/// A page of any items.
#[must_use]
pub fn paged(name: &str, of: Schema, about: &str) -> Schema {
    let next = "What to give as `after` for the next page; `null` on the last.";
    object(&format!("A page of {name}.")).has(name, list(of).with("maxItems", json!(1_000)), about).has("next", text().or_null(), next)
}

/// Every public field, with its default.
fn fields(kind: Kind) -> impl Iterator<Item = (&'static Field, FieldValue)> {
    let defaults = kind.least().values();
    defaults.into_iter().filter(|(field, _)| !field.is_internal)
}

/// What a read shows of an aggregate that was created with these settings and then patched, according to the rules.
///
/// # Panics
/// If the rules reject the settings: the program's examples are then wrong.
#[must_use]
pub fn example(kind: Kind, created_with: &Value, patches: &[Value]) -> Map<String, Value> {
    let mut state = State::new(HashSeed(0, 0));
    let (Ok(name), Ok(request_id)) = (Name::new(example_name(kind)), RequestId::new("example")) else {
        panic!("the names of examples are names")
    };
    let [Ok(created_at), Ok(seen_at)] = TIMES.map(times::parse) else { panic!("the times of examples are times") };
    let created = settings_of(kind, created_with.to_string().as_bytes()).map(|settings| {
        let precondition = Precondition::Always;
        Action::Put { name, settings, precondition }
    });
    let patched = patches.iter().map(|patch| {
        let patch = patch_of(kind, patch.to_string().as_bytes());
        patch.map(|patch| Action::Patch { name, patch, precondition: Precondition::Always })
    });
    for action in std::iter::once(created).chain(patched) {
        let action = action.unwrap_or_else(|problem| panic!("the example of a {} is wrong: {problem:?}", kind.word()));
        let Ok(Decision::Change(change)) = decide(&state, &Command::local(action), created_at) else {
            panic!("the rules refuse the example of a {}", kind.word())
        };
        state.evolve(&Record { at: created_at, actor: ActorId::LOCAL, request_id, request: None, change });
    }
    let Some(aggregate) = state.find(kind, name) else { panic!("the example of a {} was created", kind.word()) };
    settings::shown(&aggregate.summary(seen_at))
}
