//! Settings as JSON: parsed from bodies and merge patches, and rendered, by their declarations.

use std::fmt;

use domain::Kind;
use domain::fields::{Field, FieldKind, Value};
use domain::rows::Cell;
use domain::workload::{AnyPatch, AnySettings, AnySummary};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json, json};

use super::problem::Problem;
use super::times;
use edge::input::{parse, whole_of};

/// The members of a JSON object, without duplicates.
#[derive(Debug)]
struct Members(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Json>()? {
            if members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format!("duplicate field `{name}`")));
            }
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

/// Parses the body of a put: a missing or null member takes its default.
///
/// # Errors
/// A [`Problem`] that names the field.
pub fn settings_of(kind: Kind, body: &[u8]) -> Result<AnySettings, Problem> {
    let members = changeable(kind, parse(body)?);
    let mut settings = kind.least();
    for (name, value) in &members {
        let field = field_of(kind, name)?;
        if value.is_null() && !field.is_required {
            continue;
        }
        settings.set(field.name, value_of(field, value)?).map_err(|error| Problem::field(field.name, error.to_string()))?;
    }
    let is_missing = |field: &&Field| field.is_required && members.iter().all(|(name, _)| name != field.name);
    match kind.settings().iter().find(is_missing) {
        Some(field) => Err(Problem::field(field.name, "is missing")),
        None => settings.issue().map_or(Ok(settings), |issue| Err(Problem::field(issue.field, issue.what))),
    }
}

/// Parses a JSON merge patch (RFC 7396); null resets a field to its default.
///
/// # Errors
/// A [`Problem`] that names the field.
pub fn patch_of(kind: Kind, body: &[u8]) -> Result<AnyPatch, Problem> {
    let members = changeable(kind, parse(body)?);
    let (mut patch, defaults) = (AnyPatch::none(kind), kind.least().values());
    for (name, value) in &members {
        let field = field_of(kind, name)?;
        let value = match defaults.iter().find(|(known, _)| known.name == field.name) {
            Some(_) if value.is_null() && field.is_required => return Err(Problem::field(field.name, "cannot be removed")),
            Some((_, default)) if value.is_null() => *default,
            _ => value_of(field, value)?,
        };
        patch.set(field.name, value).map_err(|error| Problem::field(field.name, error.to_string()))?;
    }
    Ok(patch)
}

/// An aggregate in the API: name, figures, settings, version and creation time.
#[must_use]
pub fn shown(summary: &AnySummary) -> Map<String, Json> {
    let head = summary.head();
    let mut members = Map::new();
    members.insert(summary.kind().word().to_owned(), json!(&*head.name));
    let settings = summary.settings().values();
    for (field, value) in summary.figures().into_iter().chain(settings).filter(|(field, _)| !field.is_internal) {
        members.insert(field.name.to_owned(), value_as_json(value));
    }
    members.insert("version".to_owned(), json!(head.version));
    members.insert("created_at".to_owned(), json!(times::format(head.created_at)));
    members
}

/// The value of a setting or figure as JSON.
#[must_use]
pub fn value_as_json(value: Value) -> Json {
    cell_as_json(&value.into())
}

/// A cell of a row as JSON.
#[must_use]
pub fn cell_as_json(cell: &Cell<'_>) -> Json {
    match *cell {
        Cell::Null => Json::Null,
        Cell::Bool(value) => json!(value),
        Cell::Number(number) => json!(number),
        Cell::Time(time) => json!(times::format(time)),
        Cell::Text(text) => json!(text),
    }
}

/// The members that can be set. A whole answer of a read can be sent back, changed or not: then its other
/// members are left out. Alone, each of them is refused, so that nobody believes to have set it.
fn changeable(kind: Kind, Members(mut members): Members) -> Vec<(String, Json)> {
    let is_there = |name: &str| members.iter().any(|(known, _)| known == name);
    if only_read(kind).all(is_there) {
        members.retain(|(name, _)| only_read(kind).all(|only_read| only_read != name));
    }
    members
}

/// The members of [`shown`] that cannot be set.
fn only_read(kind: Kind) -> impl Iterator<Item = &'static str> {
    let figures = kind.figures().iter().filter(|field| !field.is_internal).map(|field| field.name);
    figures.chain([kind.word(), "version", "created_at"])
}

fn field_of(kind: Kind, name: &str) -> Result<&'static Field, Problem> {
    let mut known = kind.settings().iter().filter(|field| !field.is_internal);
    known.clone().find(|field| field.name == name).ok_or_else(|| {
        if only_read(kind).any(|only_read| only_read == name) {
            return Problem::field(name, "is only read; it cannot be set");
        }
        let names: Vec<&str> = known.by_ref().map(|field| field.name).collect();
        Problem::field(name, format!("is unknown; known are {}", names.join(", ")))
    })
}

fn value_of(field: &Field, value: &Json) -> Result<Value, Problem> {
    let wrong = || Problem::field(field.name, field.kind.to_string());
    match (field.kind, value) {
        (_, Json::Null) if field.is_nullable => Ok(Value::Null),
        (FieldKind::Bool, Json::Bool(flag)) => Ok(Value::Bool(*flag)),
        (FieldKind::Number(..), Json::Number(number)) => whole(number).map(Value::Number).ok_or_else(wrong),
        (FieldKind::Time, Json::String(text)) => times::parse(text).map(Value::Time).map_err(|what| Problem::field(field.name, what)),
        (FieldKind::Word(_), Json::String(word)) => field.word(word).map(Value::Word).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// JSON does not distinguish 5 from 5.0, and some clients write every number with a fraction.
fn whole(number: &serde_json::Number) -> Option<u64> {
    number.as_u64().or_else(|| number.as_f64().and_then(whole_of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::code_and_field;

    fn field_named(body: &str) -> (String, String) {
        code_and_field(&settings_of(Kind::Campaign, body.as_bytes()).unwrap_err())
    }

    #[test]
    fn every_wrong_field_is_named() {
        let invalid = |field: &str| ("invalid_field".to_owned(), field.to_owned());
        assert_eq!(field_named(r#"{"stock":-1}"#), invalid("stock"));
        assert_eq!(field_named(r#"{"stock":1.5}"#), invalid("stock"));
        assert_eq!(field_named(r#"{"stock":1,"paused":"yes"}"#), invalid("paused"));
        assert_eq!(field_named(r#"{"stock":1,"opens_at":5}"#), invalid("opens_at"));
        assert_eq!(field_named(r#"{"stock":1,"stock":1}"#), invalid("stock"));
        assert_eq!(field_named(r#"{"stock":1,"code_key":1}"#), invalid("code_key"));
        assert_eq!(field_named("{}"), invalid("stock"));
        assert!(patch_of(Kind::Campaign, br#"{"stock":"1"}"#).is_err());
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction() {
        let settings = |body: &str| settings_of(Kind::Campaign, body.as_bytes());
        assert_eq!(settings(r#"{"stock":5.0}"#).unwrap(), settings(r#"{"stock":5}"#).unwrap());
        assert_eq!(settings(r#"{"stock":1e3}"#).unwrap(), settings(r#"{"stock":1000}"#).unwrap());
        for stock in ["0", "0.0", "-5.0", "5.5", "1e10", "1e300"] {
            assert_eq!(settings(&format!(r#"{{"stock":{stock}}}"#)).unwrap_err().code(), "invalid_field", "{stock}");
        }
    }

    #[test]
    fn null_in_a_patch_is_the_default_and_not_the_same_as_nothing() {
        let patch = |body: &str| patch_of(Kind::Campaign, body.as_bytes());
        let with = |name: &str, value: Value| {
            let mut patch = AnyPatch::none(Kind::Campaign);
            patch.set(name, value).unwrap();
            patch
        };
        assert_eq!(patch("{}").unwrap(), AnyPatch::none(Kind::Campaign));
        assert_eq!(patch(r#"{"opens_at":null}"#).unwrap(), with("opens_at", Value::Null));
        assert_eq!(patch(r#"{"per_subject_max":null}"#).unwrap(), with("per_subject_max", Value::Number(1)));
        assert_eq!(patch(r#"{"paused":null}"#).unwrap(), with("paused", Value::Bool(false)));
        assert!(patch(r#"{"stock":null}"#).is_err());
    }
}
