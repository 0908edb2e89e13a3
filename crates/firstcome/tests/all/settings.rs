//! Adding a setting touches its declaration, the rule that uses it and a conformance table, and nothing
//! else: every declared field of every kind is in the bytes of records, in the calls that put, patch and
//! read, in the OpenAPI document, in the tables, and in what `inspect` tells, without a word about it here.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use domain::fields::{Field, FieldKind, Value};
use domain::hash::HashSeed;
use domain::state::{Change, Precondition, Record};
use domain::types::{Name, Timestamp};
use domain::wire::{decode_record, encode_record};
use domain::workload::AnySettings;
use domain::{Action, Command, Kind, Number, State, decide};
use firstcome::http::openapi::DOCUMENT;
use firstcome::http::settings::value_as_json;
use firstcome::inspect::{self, Form, Options, RecordRange};
use firstcome::verify;
use rusqlite::types::Value as Sql;
use serde_json::{Map, Value as Json, json};

use crate::support::record;
use crate::support::server::TestServer;

/// Two settings that the rules accept, and that differ in one field only.
struct Pair {
    field: &'static Field,
    before: AnySettings,
    after: AnySettings,
    /// The field's value in `after`, which is not its default.
    value: Value,
}

/// Values that a field takes: its default and others.
fn values(field: &Field, default: Value) -> Vec<Value> {
    let others = match field.kind {
        FieldKind::Bool => vec![Value::Bool(false), Value::Bool(true)],
        FieldKind::Number(min, _) => vec![Value::Number(min + 5), Value::Number(min + 6)],
        FieldKind::Time => [5_000, 6_000].map(|millis| Value::Time(Timestamp::from_millis(millis).unwrap())).to_vec(),
        FieldKind::Word(words) => words.iter().map(|word| Value::Word(word)).collect(),
    };
    std::iter::once(default).chain(others).collect()
}

fn is_accepted(settings: AnySettings) -> bool {
    let action = Action::Put { name: Name::new("spring").unwrap(), settings, precondition: Precondition::Always };
    decide(&State::new(HashSeed(0, 0)), &Command::local(action), Timestamp::ZERO).is_ok()
}

/// Every combination of [`values`] that the rules accept.
fn accepted(kind: Kind) -> Vec<AnySettings> {
    let mut all = vec![kind.least()];
    for (field, default) in kind.least().values() {
        let with = |settings: &AnySettings, value: Value| {
            let mut settings = *settings;
            settings.set(field.name, value).map(|()| settings).ok()
        };
        all = all.iter().flat_map(|settings| values(field, default).into_iter().filter_map(move |value| with(settings, value))).collect();
    }
    all.into_iter().filter(|settings| is_accepted(*settings)).collect()
}

/// A pair for every field.
fn pairs(kind: Kind) -> Vec<Pair> {
    let (accepted, defaults) = (accepted(kind), kind.least().values());
    let pair_of = |place: usize, (field, default): (&'static Field, Value)| {
        let found = accepted.iter().find_map(|after| {
            let (_, value) = after.values()[place];
            let before = values(field, default).into_iter().filter(|other| *other != value).find_map(|other| {
                let mut before = *after;
                before.set(field.name, other).ok().filter(|()| is_accepted(before)).map(|()| before)
            });
            before.filter(|_| value != default).map(|before| Pair { field, before, after: *after, value })
        });
        found.unwrap_or_else(|| panic!("no two settings of a {} differ in {} only", kind.word(), field.name))
    };
    defaults.into_iter().enumerate().map(|(place, field)| pair_of(place, field)).collect()
}

fn body(settings: &AnySettings) -> String {
    let shown = settings.values().into_iter().filter(|(field, _)| !field.is_internal);
    Json::Object(shown.map(|(field, value)| (field.name.to_owned(), value_as_json(value))).collect::<Map<_, _>>()).to_string()
}

#[test]
fn every_setting_is_in_the_bytes_of_records() {
    for kind in Kind::ALL {
        for Pair { field, after, .. } in pairs(*kind) {
            let name = Name::new("spring").unwrap();
            let created = Change::Created { number: Number(0), name, settings: after };
            for change in [created, Change::Changed { number: Number(0), settings: after }] {
                let (mut bytes, mut private) = (Vec::new(), Vec::new());
                let written: Record<'_> = record(7, change);
                encode_record(&written, &mut bytes, &mut private);
                assert_eq!(decode_record(&bytes, Some(&private)).unwrap(), written, "{} of a {}", field.name, kind.word());
            }
        }
    }
}

#[test]
fn every_setting_is_put_patched_and_read() {
    for kind in Kind::ALL.iter().filter(|kind| kind.is_served()) {
        let folder = tempfile::tempdir().unwrap();
        let mut server = TestServer::start(folder.path(), 1);
        let mut client = server.client();
        let pairs: Vec<Pair> = pairs(*kind).into_iter().filter(|pair| !pair.field.is_internal).collect();
        for Pair { field, before, after, value } in &pairs {
            let wanted = value_as_json(*value);
            let (put, patched) = (format!("/v1/{}/{}", kind.path(), field.name), format!("/v1/{}/{}-patched", kind.path(), field.name));
            assert_eq!(client.put(&put, &body(after)).status, 201, "{put}");
            assert_eq!(client.get(&put).json()[field.name], wanted, "{put}");
            assert_eq!(client.put(&patched, &body(before)).status, 201, "{patched}");
            assert_ne!(client.get(&patched).json()[field.name], wanted, "{patched}");
            let patch = json!({ field.name: wanted }).to_string();
            let answer = client.send("PATCH", &patched, &[("content-type", "application/merge-patch+json")], &patch);
            assert_eq!((answer.status, &answer.json()[field.name]), (200, &wanted), "{patched}");
        }
        while server.app.status().history_position < server.app.status().position {
            std::thread::sleep(Duration::from_millis(10));
        }
        server.stop();
        is_told(folder.path(), *kind, &pairs);
        assert!(verify::run(folder.path()).unwrap().is_good());
        is_in_the_tables(folder.path(), *kind, &pairs);
    }
}

/// Each change of a setting is in what `inspect` tells.
fn is_told(folder: &Path, kind: Kind, pairs: &[Pair]) {
    let mut text = Vec::new();
    inspect::run(folder, &Options { records: Some(RecordRange::default()), form: Form::JsonLines }, &mut text).unwrap();
    let lines: Vec<Json> = String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for Pair { field, value, .. } in pairs {
        let name = format!("{}-patched", field.name);
        let change = lines.iter().find(|line| line["event"] == format!("{}_changed", kind.word()) && line[kind.word()] == *name);
        let change = change.unwrap_or_else(|| panic!("the change of {name} is not told"));
        assert_eq!(change["settings"][field.name], value_as_json(*value), "{name}");
    }
}

/// Each setting is a column of its kind's table.
fn is_in_the_tables(folder: &Path, kind: Kind, pairs: &[Pair]) {
    let db = rusqlite::Connection::open(folder.join("history.sqlite")).unwrap();
    for Pair { field, value, .. } in pairs {
        let sql = format!("SELECT \"{}\" FROM \"{}\" WHERE name = ?1", field.name, kind.path());
        let cell: Sql = db.query_row(&sql, [field.name], |row| row.get(0)).unwrap();
        let number = |number: u64| Sql::Integer(i64::try_from(number).unwrap());
        let wanted = match value {
            Value::Null => Sql::Null,
            Value::Bool(flag) => number(u64::from(*flag)),
            Value::Number(value) => number(*value),
            Value::Time(time) => number(time.millis()),
            Value::Word(word) => Sql::Text((*word).to_owned()),
        };
        assert_eq!(cell, wanted, "{sql}");
    }
}

#[test]
fn every_setting_and_figure_is_described() {
    for kind in Kind::ALL.iter().filter(|kind| kind.is_served()) {
        let path = format!("/paths/~1v1~1{}~1{{{}}}", kind.path(), kind.word());
        let schema_at = |place: &str| {
            let schema = DOCUMENT.pointer(&format!("{path}/{place}/schema")).unwrap_or_else(|| panic!("{path}/{place}"));
            DOCUMENT.pointer(schema["$ref"].as_str().unwrap().strip_prefix('#').unwrap()).unwrap()
        };
        let (put, patch) =
            (schema_at("put/requestBody/content/application~1json"), schema_at("patch/requestBody/content/application~1json"));
        let read = schema_at("get/responses/200/content/application~1json");
        // Where the values of one field depend on another, the schema has variants.
        let variants = put["oneOf"].as_array().cloned().unwrap_or_else(|| vec![put.clone()]);
        let about = |schema: &Json, field: &Field| schema["properties"][field.name]["description"].as_str().unwrap_or_default().to_owned();
        for field in kind.settings().iter().filter(|field| !field.is_internal) {
            assert!(variants.iter().all(|variant| about(variant, field) == field.about), "{}: {}", kind.word(), field.name);
            assert!(about(patch, field).starts_with(field.about), "{}: {}", kind.word(), field.name);
            assert_eq!(about(read, field), field.about, "{}", kind.word());
        }
        for field in kind.figures() {
            assert_eq!(about(read, field), field.about, "{}", kind.word());
        }
    }
}
