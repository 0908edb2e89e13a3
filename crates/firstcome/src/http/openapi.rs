//! The API for machines: an OpenAPI 3.1 document, generated from the tables of calls and from the declared
//! fields of each kind. A copy of it is in `docs/openapi.json`.

pub mod describe;
pub mod kinds;
pub mod problem;
pub mod refusals;
pub mod schema;

use std::sync::LazyLock;

use domain::Kind;
use edge::auth::Access;
use serde_json::{Map, Value, json};

use self::describe::{Answer, Header, Parameter, replayed};
use self::refusals::request_id;
use self::schema::{Schema, text};
use super::calls::{CALLS, Call};
use crate::workloads::TABLES;

/// The document.
pub static JSON: LazyLock<String> = LazyLock::new(|| written(&DOCUMENT));

/// The document as a JSON value.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document(|_| true));

/// The document without example workloads, which no shipped program has.
#[must_use]
pub fn without_examples() -> String {
    written(&document(|kind| !kind.is_example()))
}

fn written(document: &Value) -> String {
    let mut text = format!("{document:#}");
    text.push('\n');
    text
}

/// Groups of calls that belong to no workload, in display order, after those of the workloads.
const TAGS: &[(&str, &str)] = &[("Keys", "Who may call."), ("Server", "The program itself.")];

/// Components that several calls use, by their names, in the order in which they were first used.
#[derive(Default)]
struct Components {
    schemas: Map<String, Value>,
    parameters: Map<String, Value>,
    headers: Map<String, Value>,
    responses: Vec<&'static str>,
}

fn document(is_wanted: fn(Kind) -> bool) -> Value {
    let mut components = Components::default();
    let tables = || TABLES.iter().filter(|table| is_wanted(table.kind));
    let members = tables().flat_map(|table| (table.problem_members)()).collect();
    components.schema(problem::schema(members).named("Problem"));
    let mut paths: Map<String, Value> = Map::new();
    for call in CALLS.iter().filter(|call| call.kind().is_none_or(is_wanted)) {
        let described = components.call(call);
        let path = paths.entry(&*call.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(call.method.as_str().to_lowercase(), described);
        }
    }
    let tags = tables().flat_map(|table| table.tags).chain(TAGS);
    let tags: Vec<Value> = tags.map(|(name, about)| json!({ "name": name, "description": about })).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Firstcome",
            "version": "1",
            "summary": "First come, first served, exactly.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": include_str!("openapi/about.md").trim_end(),
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": components.written(),
    })
}

impl Components {
    fn written(mut self) -> Value {
        let used = std::mem::take(&mut self.responses);
        let responses = refusals::shared_responses(&used, &mut |header| self.header(header));
        json!({
            "securitySchemes": security_schemes(),
            "schemas": self.schemas,
            "parameters": self.parameters,
            "headers": self.headers,
            "responses": responses,
        })
    }

    fn call(&mut self, call: &Call) -> Value {
        let description = &call.description;
        let mut written = json!({
            "operationId": description.id,
            "security": security(call.access),
            "tags": [description.tag],
            "summary": description.summary,
            "description": description.about,
            "parameters": self.parameters(call),
        });
        if let Some(body) = &description.body {
            let schema = self.schema(body.schema.clone());
            let content: Map<String, Value> =
                body.media_types.iter().map(|of| ((*of).to_owned(), content(schema.clone(), &body.schema.example))).collect();
            written["requestBody"] = json!({ "required": body.is_required, "content": content });
        }
        written["responses"] = Value::Object(self.responses(call));
        written
    }

    /// The path's parameters in order, the declared ones, and the one that every call has.
    fn parameters(&mut self, call: &Call) -> Vec<Value> {
        let declared = &call.description.parameters;
        let in_path = call.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let in_path = in_path.map(|name| {
            let of_kind = || Kind::ALL.iter().find(|kind| kind.is_served() && kind.word() == name).map(|kind| Parameter::of_kind(*kind));
            let own = declared.iter().find(|parameter| parameter.place == "path" && parameter.name == name).cloned();
            own.or_else(of_kind).unwrap_or_else(|| panic!("{call:?} does not say what {name} is"))
        });
        let others = declared.iter().filter(|parameter| parameter.place != "path").cloned();
        let all: Vec<Parameter> = in_path.chain(others).chain([own_request_id()]).collect();
        all.iter().map(|parameter| self.parameter(parameter)).collect()
    }

    fn parameter(&mut self, parameter: &Parameter) -> Value {
        let mut written = json!({ "name": parameter.name, "in": parameter.place, "description": parameter.about });
        if parameter.place == "path" {
            written["required"] = json!(true);
        }
        let mut schema = parameter.schema.value.clone();
        schema.shift_remove("examples");
        written["schema"] = Value::Object(schema);
        if parameter.schema.value.contains_key("examples") {
            written["example"] = parameter.schema.example.clone();
        }
        shared(&mut self.parameters, "parameters", &parameter.component, written)
    }

    fn header(&mut self, header: &Header) -> Value {
        let mut written = json!({ "description": header.about, "schema": header.schema.value });
        if header.is_required {
            written["required"] = json!(true);
        }
        shared(&mut self.headers, "headers", header.component, written)
    }

    /// Adds the schema's named parts to the components.
    fn schema(&mut self, schema: Schema) -> Value {
        for (name, part) in schema.parts {
            shared(&mut self.schemas, "schemas", &name, part);
        }
        Value::Object(schema.value)
    }

    fn responses(&mut self, call: &Call) -> Map<String, Value> {
        let mut written: Vec<(u16, Value)> = Vec::new();
        for answer in &call.description.answers {
            written.push((answer.status, self.answer(call, answer)));
        }
        for (status, codes) in call.refusals_by_status() {
            let about = call.meaning(status, &codes);
            if let Some((_, answer)) = written.iter_mut().find(|(known, _)| *known == status) {
                answer["content"]["application/problem+json"] = json!({ "schema": refusals::schema(status, &codes) });
                let headers = refusals::headers(status).into_iter().map(|of| (of.name.to_owned(), self.header(&of)));
                answer["headers"] = Value::Object(headers.collect());
            } else if let Some(name) = call.shared(status, &codes) {
                self.responses.push(name);
                written.push((status, json!({ "$ref": format!("#/components/responses/{name}") })));
            } else {
                written.push((status, refusals::response(status, &codes, about, &mut |header| self.header(header))));
            }
        }
        written.sort_by_key(|(status, _)| *status);
        written.into_iter().map(|(status, response)| (status.to_string(), response)).collect()
    }

    fn answer(&mut self, call: &Call, answer: &Answer) -> Value {
        let mut headers: Vec<Header> = vec![request_id()];
        headers.extend(answer.headers.iter().cloned());
        if call.is_keyed() {
            headers.push(replayed());
        }
        let headers: Map<String, Value> = headers.iter().map(|header| (header.name.to_owned(), self.header(header))).collect();
        let mut written = json!({ "description": answer.about });
        // A 101 response, which becomes a WebSocket, has none of the usual headers.
        if answer.status != 101 {
            written["headers"] = Value::Object(headers);
        }
        if !answer.content.is_empty() {
            let contents = answer.content.iter().map(|(media_type, schema)| {
                let example = schema.example.clone();
                ((*media_type).to_owned(), content(self.schema(schema.clone()), &example))
            });
            written["content"] = Value::Object(contents.collect());
        }
        if !answer.links.is_empty() {
            let links = answer.links.iter().map(|link| {
                let parameters: Map<String, Value> = link.parameters.iter().map(|(name, from)| ((*name).to_owned(), json!(from))).collect();
                (link.name.to_owned(), json!({ "operationId": link.id, "parameters": parameters, "description": link.about }))
            });
            written["links"] = Value::Object(links.collect());
        }
        written
    }
}

/// Adds a part that is written once and referred to by name.
///
/// # Panics
/// If another part has the same name.
fn shared(parts: &mut Map<String, Value>, place: &str, name: &str, part: Value) -> Value {
    let known = parts.entry(name).or_insert_with(|| part.clone());
    assert_eq!(*known, part, "two different parts of the document have the name {place}/{name}");
    json!({ "$ref": format!("#/components/{place}/{name}") })
}

fn content(schema: Value, example: &Value) -> Value {
    let mut content = Map::new();
    if schema != json!({}) {
        content.insert("schema".to_owned(), schema);
    }
    if !example.is_null() {
        content.insert("example".to_owned(), example.clone());
    }
    Value::Object(content)
}

fn security(access: Access) -> Value {
    match access {
        Access::Anyone => json!([]),
        Access::Scope(scope) => json!([{ "key": [scope.word()] }, { "user": [scope.word()] }]),
        Access::KeyScope(scope) | Access::WholeScope(scope) => json!([{ "key": [scope.word()] }]),
    }
}

fn security_schemes() -> Value {
    json!({
        "key": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "firstcome_NAME_SECRET",
            "description": "A key with the scope that the call names. Made with `firstcome key create`, or by `POST /v1/keys`. Without \
                            any key the server answers to this machine only, and asks for none.",
        },
        "user": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An end user's token (HS256, RS256, ES256 or EdDSA), where the server is given the keys to check it. It acts \
                            for its own `sub` only, with the scopes that the server's settings give to end users.",
        },
    })
}

fn own_request_id() -> Parameter {
    let about = "An id of yours for this request, 1 to 64 of `A-Z a-z 0-9 _ . : -`. It comes back in `X-Request-Id`, in problems, in \
                 the log and in the record. Anything else is ignored and the server makes one.";
    Parameter::header("RequestId", "X-Request-Id", text(), about)
}
