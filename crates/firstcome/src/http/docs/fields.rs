//! Fields, parameters and objects: name, type, range, default and meaning.

use maud::{Markup, html};
use serde_json::Value;

use super::document::{Document, items, members, schema_name, text};
use super::text::{inline, joined, number, paragraphs};

/// Every object that answers are made of.
pub(super) fn objects(document: &Document<'_>) -> Markup {
    html! {
        section.group #objects {
            h2 { "Objects" }
            p { "What answers are made of." }
            @for (name, schema) in document.schemas().filter(|(_, schema)| schema.get("additionalProperties").is_none()) {
                section.call #{ "object-" (name) } {
                    h3 { (name) }
                    (paragraphs(text(schema, "description")))
                    (object(schema))
                }
            }
        }
    }
}

/// The fields of an object, one a line.
pub(super) fn object(schema: &Value) -> Markup {
    let required: Vec<&str> = items(&schema["required"]).filter_map(Value::as_str).collect();
    let is_request = schema.get("additionalProperties").is_some();
    let rows = members(&schema["properties"]).map(|(name, field)| {
        let presence = match (required.contains(&name), is_request) {
            (true, true) => "required",
            (false, false) => "sometimes",
            (true, false) | (false, true) => "",
        };
        row(name, field, presence)
    });
    list(rows)
}

/// The parameters of one place, one a line.
pub(super) fn parameters(parameters: &[&Value], place: &str) -> Markup {
    let rows = parameters.iter().filter(|parameter| text(parameter, "in") == place).map(|parameter| {
        let is_required = place != "path" && parameter.get("required").and_then(Value::as_bool) == Some(true);
        let field = merged(parameter);
        row(text(parameter, "name"), &field, if is_required { "required" } else { "" })
    });
    list(rows)
}

/// A type in a word or two, with its range.
pub(super) fn type_of(schema: &Value) -> Markup {
    if let Some(name) = schema_name(schema) {
        return html! { a href={ "#object-" (name) } { (name) } };
    }
    if let Some(constant) = schema.get("const") {
        return literal(constant);
    }
    if let Some(choices) = schema.get("anyOf") {
        return joined(items(choices).map(type_of), " or ");
    }
    let words: Vec<&str> = match &schema["type"] {
        Value::String(word) => vec![word.as_str()],
        other => items(other).filter_map(Value::as_str).collect(),
    };
    let base = words.iter().copied().find(|word| *word != "null").unwrap_or("any");
    html! { (one_type(schema, base)) @if words.contains(&"null") { " or " code { "null" } } }
}

fn one_type(schema: &Value, base: &str) -> Markup {
    if let Some(choices) = schema.get("enum") {
        return joined(items(choices).filter(|choice| !choice.is_null()).map(literal), " · ");
    }
    html! {
        @match base {
            "array" => { "list of " (type_of(&schema["items"])) }
            "integer" => { "integer" (range(schema)) }
            "string" if text(schema, "format") == "date-time" => "time",
            other => (other),
        }
    }
}

fn range(schema: &Value) -> String {
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64).map(number);
    match (bound("minimum"), bound("maximum")) {
        (Some(from), Some(to)) => format!(", {from} to {to}"),
        (Some(from), None) => format!(", from {from}"),
        (None, Some(to)) => format!(", up to {to}"),
        (None, None) => String::new(),
    }
}

fn list(rows: impl Iterator<Item = Markup>) -> Markup {
    let rows: Vec<Markup> = rows.collect();
    html! { @if !rows.is_empty() { dl.fields { @for row in &rows { (row) } } } }
}

fn row(name: &str, field: &Value, presence: &str) -> Markup {
    html! {
        dt {
            code { (name) } " " span.type { (type_of(field)) }
            @if let Some(default) = field.get("default") { " " span.default { "default " (literal(default)) } }
            @if !presence.is_empty() { " " span.(presence) { (presence) } }
        }
        dd {
            (inline(text(field, "description")))
            @if field.get("properties").is_some() { (object(field)) }
        }
    }
}

/// A parameter's schema with its description, as a field has both.
fn merged(parameter: &Value) -> Value {
    let mut field = parameter["schema"].clone();
    if let (Some(members), Some(description)) = (field.as_object_mut(), parameter.get("description")) {
        members.insert("description".to_owned(), description.clone());
    }
    field
}

fn literal(value: &Value) -> Markup {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    html! { code { (text) } }
}
