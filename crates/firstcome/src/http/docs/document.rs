//! The OpenAPI document as the page reads it: references followed, calls in their written order.

use serde_json::Value;

/// The document.
pub(super) struct Document<'a> {
    root: &'a Value,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) path: &'a str,
    pub(super) method: String,
    pub(super) value: &'a Value,
}

impl<'a> Document<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root }
    }

    /// A text at a place, empty if there is none.
    pub(super) fn text(&self, pointer: &str) -> &'a str {
        self.root.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// What a reference means; anything else means itself.
    pub(super) fn resolved(&self, value: &'a Value) -> &'a Value {
        let target = value.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
        target.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(value)
    }

    /// The groups of calls, with what they are about.
    pub(super) fn tags(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        items(&self.root["tags"]).map(|tag| (text(tag, "name"), text(tag, "description")))
    }

    /// Every call.
    pub(super) fn calls(&self) -> Vec<Call<'a>> {
        let paths = members(&self.root["paths"]);
        let calls =
            paths.flat_map(|(path, calls)| members(calls).map(move |(method, value)| Call { path, method: method.to_uppercase(), value }));
        calls.collect()
    }

    /// The shared schemas by name.
    pub(super) fn schemas(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        members(&self.root["components"]["schemas"])
    }

    /// The parameters of a call.
    pub(super) fn parameters(&self, call: &Call<'a>) -> Vec<&'a Value> {
        items(&call.value["parameters"]).map(|parameter| self.resolved(parameter)).collect()
    }

    /// The answers of a call: status and answer.
    pub(super) fn answers(&self, call: &Call<'a>) -> Vec<(&'a str, &'a Value)> {
        members(&call.value["responses"]).map(|(status, answer)| (status, self.resolved(answer))).collect()
    }
}

impl<'a> Call<'a> {
    /// The group that it belongs to.
    pub(super) fn tag(&self) -> &'a str {
        items(&self.value["tags"]).next().and_then(Value::as_str).unwrap_or_default()
    }

    /// What it does, in a few words.
    pub(super) fn summary(&self) -> &'a str {
        text(self.value, "summary")
    }

    /// Its place in the page.
    pub(super) fn anchor(&self) -> String {
        format!("call-{}", text(self.value, "operationId"))
    }
}

/// The codes that an answer may come with.
pub(super) fn codes_of(answer: &Value) -> impl Iterator<Item = &str> {
    items(&answer["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]).filter_map(Value::as_str)
}

/// The name of the schema that a reference leads to.
pub(super) fn schema_name(schema: &Value) -> Option<&str> {
    schema.get("$ref").and_then(Value::as_str)?.strip_prefix("#/components/schemas/")
}

/// A text member, empty if there is none.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The members of an object in their written order.
pub(super) fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// The items of an array.
pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A heading as the name of its place.
pub(super) fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace(' ', "-")
}
