//! JSON schemas built in code, each with an example and the named schemas that it refers to.

use domain::fields::FieldKind;
use serde_json::{Map, Value, json};

/// The pattern of names: campaigns, subjects, policies and others.
pub const NAME: &str = r"^(?!\.{1,2}$)[A-Za-z0-9_.:-]{1,128}$";
/// A time as responses show it.
const TIME: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$";
/// A time as requests may give it.
const TIME_READ: &str =
    r"^(19[7-9][0-9]|[2-9][0-9]{3})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$";
/// The largest number of 32 bits.
pub const U32_MAX: u64 = 0xffff_ffff;

/// A JSON Schema, a matching example, and the named schemas that it refers to.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub(super) value: Map<String, Value>,
    /// [`Value::Null`] if there is no example, or if the example is null.
    pub(super) example: Value,
    pub(super) parts: Vec<(String, Value)>,
}

fn of_type(word: &str) -> Schema {
    Schema::default().with("type", json!(word))
}

/// Any text.
#[must_use]
pub fn text() -> Schema {
    of_type("string")
}

/// Text that matches a regular expression.
#[must_use]
pub fn matching(pattern: &str) -> Schema {
    text().with("pattern", json!(pattern))
}

/// The name of an aggregate or a subject.
#[must_use]
pub fn name(example: &str) -> Schema {
    matching(NAME).example(json!(example))
}

/// One of these words; the first is the example.
#[must_use]
pub fn word(words: &[&str]) -> Schema {
    text().with("enum", json!(words)).shown(json!(words.first()))
}

/// A whole number.
#[must_use]
pub fn number(min: u64, max: u64) -> Schema {
    number_from(min).with("maximum", json!(max))
}

/// A whole number without an upper limit.
#[must_use]
pub fn number_from(min: u64) -> Schema {
    of_type("integer").with("minimum", json!(min)).shown(json!(min))
}

/// A count.
#[must_use]
pub fn count(example: u64) -> Schema {
    number_from(0).shown(json!(example))
}

/// A boolean.
#[must_use]
pub fn flag(example: bool) -> Schema {
    of_type("boolean").shown(json!(example))
}

/// A time in a response.
#[must_use]
pub fn time(example: &str) -> Schema {
    matching(TIME).with("format", json!("date-time")).shown(json!(example))
}

/// An array of items.
#[must_use]
pub fn list(of: Schema) -> Schema {
    let mut list = of_type("array").with("items", Value::Object(of.value)).shown(json!([of.example]));
    list.parts = of.parts;
    list
}

/// An object; [`Schema::has`] and [`Schema::may`] add members.
#[must_use]
pub fn object(about: &str) -> Schema {
    let object = of_type("object").with("properties", json!({})).with("required", json!([])).shown(json!({}));
    if about.is_empty() { object } else { object.with("description", json!(about)) }
}

/// An object in a request body: unknown members are refused.
#[must_use]
pub fn body(about: &str) -> Schema {
    object(about).with("additionalProperties", json!(false))
}

/// The values of a declared field.
#[must_use]
pub(super) fn of_field(kind: FieldKind, is_read: bool) -> Schema {
    match kind {
        FieldKind::Bool => flag(false),
        FieldKind::Number(min, max) => number(min, max),
        FieldKind::Time => text().with("format", json!("date-time")).with("pattern", json!(if is_read { TIME_READ } else { TIME })),
        FieldKind::Word(words) => word(words),
    }
}

impl Schema {
    /// Adds a keyword of JSON Schema.
    #[must_use]
    pub fn with(mut self, keyword: &str, value: Value) -> Self {
        self.value.insert(keyword.to_owned(), value);
        self
    }

    /// Sets an example that the schema itself shows too.
    #[must_use]
    pub fn example(self, example: Value) -> Self {
        self.with("examples", json!([example])).shown(example)
    }

    /// Sets the example that is used inside objects.
    #[must_use]
    pub fn shown(mut self, example: Value) -> Self {
        self.example = example;
        self
    }

    /// The example as compact JSON.
    #[must_use]
    pub fn example_text(&self) -> String {
        self.example.to_string()
    }

    /// Replaces members of the example.
    #[must_use]
    pub fn but(mut self, members: Value) -> Self {
        if let (Value::Object(example), Value::Object(members)) = (&mut self.example, members) {
            example.extend(members);
        }
        self
    }

    /// Allows null, which becomes the example.
    #[must_use]
    pub fn or_null(self) -> Self {
        self.nullable().shown(Value::Null)
    }

    /// Allows null.
    #[must_use]
    pub fn nullable(mut self) -> Self {
        if let Some(word) = self.value.get("type").cloned() {
            self = self.with("type", json!([word, "null"]));
        }
        if let Some(Value::Array(words)) = self.value.get_mut("enum") {
            words.push(Value::Null);
        }
        self
    }

    /// Adds a member that is always present.
    #[must_use]
    pub fn has(mut self, name: &str, schema: Schema, about: &str) -> Self {
        if let Some(Value::Array(required)) = self.value.get_mut("required") {
            required.push(json!(name));
        }
        if let Value::Object(example) = &mut self.example {
            example.insert(name.to_owned(), schema.example.clone());
        }
        self.may(name, schema, about)
    }

    /// Adds an optional member, which the example omits.
    #[must_use]
    pub fn may(mut self, name: &str, schema: Schema, about: &str) -> Self {
        let schema = if about.is_empty() { schema } else { schema.with("description", json!(about)) };
        self.parts.extend(schema.parts);
        if let Some(Value::Object(properties)) = self.value.get_mut("properties") {
            properties.insert(name.to_owned(), Value::Object(schema.value));
        }
        self
    }

    /// Sets the range of an existing member.
    #[must_use]
    pub fn within(mut self, name: &str, min: u64, max: u64) -> Self {
        let member = self.value.get_mut("properties").and_then(|properties| properties.get_mut(name));
        let Some(Value::Object(member)) = member else { panic!("there is no member {name} to be limited") };
        member.extend([("minimum".to_owned(), json!(min)), ("maximum".to_owned(), json!(max))]);
        self
    }

    /// Replaces the schema of an existing member.
    #[must_use]
    pub fn narrowed(mut self, name: &str, to: Schema) -> Self {
        let member = self.value.get_mut("properties").and_then(|properties| properties.get_mut(name));
        let Some(Value::Object(member)) = member else { panic!("there is no member {name} to be narrowed") };
        let about = member.get("description").cloned();
        *member = to.value;
        member.extend(about.map(|about| ("description".to_owned(), about)));
        self
    }

    /// Makes a member required.
    #[must_use]
    pub fn requiring(mut self, name: &str) -> Self {
        if let Some(Value::Array(required)) = self.value.get_mut("required") {
            required.push(json!(name));
        }
        self
    }

    /// Turns the schema into a named one that others refer to.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        let Self { value, example, mut parts } = self;
        let name = name.into();
        let reference = Schema::default().with("$ref", json!(format!("#/components/schemas/{name}"))).shown(example);
        parts.insert(0, (name, Value::Object(value)));
        Self { parts, ..reference }
    }

    /// Exactly one of several variants.
    #[must_use]
    pub fn one_of(about: &str, variants: Vec<Schema>) -> Self {
        let example = variants.first().map_or(Value::Null, |first| first.example.clone());
        let values: Vec<Value> = variants.into_iter().map(|variant| Value::Object(variant.value)).collect();
        Schema::default().with("description", json!(about)).with("oneOf", json!(values)).shown(example)
    }
}
