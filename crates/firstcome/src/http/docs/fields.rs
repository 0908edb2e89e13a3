//! Fields, parameters and objects: name, type, range, default and meaning.

use std::fmt::Write;

use serde_json::Value;

use super::document::{Document, items, members, schema_name, text};
use super::text::{escaped, inline, number, paragraphs};

/// Every object that answers are made of.
pub(super) fn objects(document: &Document<'_>) -> String {
    let mut html = "<section class=\"group\" id=\"objects\">\n<h2>Objects</h2>\n<p>What answers are made of.</p>\n".to_owned();
    for (name, schema) in document.schemas().filter(|(_, schema)| schema.get("additionalProperties").is_none()) {
        let _ = write!(html, "<section class=\"call\" id=\"object-{0}\">\n<h3>{0}</h3>\n", escaped(name));
        html.push_str(&paragraphs(text(schema, "description")));
        html.push_str(&object(schema));
        html.push_str("</section>\n");
    }
    html.push_str("</section>\n");
    html
}

/// The fields of an object, one a line.
pub(super) fn object(schema: &Value) -> String {
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
pub(super) fn parameters(parameters: &[&Value], place: &str) -> String {
    let rows = parameters.iter().filter(|parameter| text(parameter, "in") == place).map(|parameter| {
        let is_required = place != "path" && parameter.get("required").and_then(Value::as_bool) == Some(true);
        let field = merged(parameter);
        row(text(parameter, "name"), &field, if is_required { "required" } else { "" })
    });
    list(rows)
}

/// A type in a word or two, with its range.
pub(super) fn type_of(schema: &Value) -> String {
    if let Some(name) = schema_name(schema) {
        return format!("<a href=\"#object-{0}\">{0}</a>", escaped(name));
    }
    if let Some(constant) = schema.get("const") {
        return literal(constant);
    }
    if let Some(choices) = schema.get("anyOf") {
        let choices: Vec<String> = items(choices).map(type_of).collect();
        return choices.join(" or ");
    }
    let words: Vec<&str> = match &schema["type"] {
        Value::String(word) => vec![word.as_str()],
        other => items(other).filter_map(Value::as_str).collect(),
    };
    let base = words.iter().copied().find(|word| *word != "null").unwrap_or("any");
    let or_null = if words.contains(&"null") { " or <code>null</code>" } else { "" };
    format!("{}{or_null}", one_type(schema, base))
}

fn one_type(schema: &Value, base: &str) -> String {
    if let Some(choices) = schema.get("enum") {
        let choices: Vec<String> = items(choices).filter(|choice| !choice.is_null()).map(literal).collect();
        return choices.join(" · ");
    }
    match base {
        "array" => format!("list of {}", type_of(&schema["items"])),
        "integer" => format!("integer{}", range(schema)),
        "string" if text(schema, "format") == "date-time" => "time".to_owned(),
        other => escaped(other),
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

fn list(rows: impl Iterator<Item = String>) -> String {
    let rows: String = rows.collect();
    if rows.is_empty() { rows } else { format!("<dl class=\"fields\">\n{rows}</dl>\n") }
}

fn row(name: &str, field: &Value, presence: &str) -> String {
    let presence = if presence.is_empty() { String::new() } else { format!(" <span class=\"{presence}\">{presence}</span>") };
    let default = field.get("default").map(|default| format!(" <span class=\"default\">default {}</span>", literal(default)));
    let mut html = format!(
        "<dt><code>{}</code> <span class=\"type\">{}</span>{}{presence}</dt>\n<dd>{}",
        escaped(name),
        type_of(field),
        default.unwrap_or_default(),
        inline(text(field, "description"))
    );
    if field.get("properties").is_some() {
        html.push_str(&object(field));
    }
    html.push_str("</dd>\n");
    html
}

/// A parameter's schema with its description, as a field has both.
fn merged(parameter: &Value) -> Value {
    let mut field = parameter["schema"].clone();
    if let (Some(members), Some(description)) = (field.as_object_mut(), parameter.get("description")) {
        members.insert("description".to_owned(), description.clone());
    }
    field
}

fn literal(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("<code>{}</code>", escaped(&text))
}
