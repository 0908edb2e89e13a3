//! The OpenAPI document against the program's own tables, against itself, and against its copy in
//! `docs/openapi.json`. `UPDATE_DOCS=1` writes the copy.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use axum::http::Method;
use edge::auth::Access;
use edge::gateway::UNLIMITED;
use firstcome::http::calls::{CALLS, Call};
use firstcome::http::openapi::{DOCUMENT, without_examples};
use firstcome::http::problem::CODES;
use serde_json::Value;

const COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

fn resolved(value: &Value) -> &Value {
    let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return value };
    DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// What the document says of a call.
fn written(call: &Call) -> &'static Value {
    &DOCUMENT["paths"][&*call.path][call.method.as_str().to_lowercase()]
}

/// The codes that the document names for a call, each with the status under which it does.
fn codes(written: &Value) -> BTreeMap<&str, u16> {
    let coded = members(&written["responses"]).flat_map(|(status, response)| {
        let schema = &resolved(response)["content"]["application/problem+json"]["schema"];
        let named = schema["allOf"][1]["properties"]["code"]["enum"].as_array().into_iter().flatten();
        named.map(move |code| (code.as_str().unwrap(), status.parse().unwrap()))
    });
    coded.collect()
}

fn each_value<'a>(value: &'a Value, see: &mut impl FnMut(&'a Value)) {
    see(value);
    match value {
        Value::Object(members) => members.values().for_each(|member| each_value(member, see)),
        Value::Array(items) => items.iter().for_each(|item| each_value(item, see)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_copy_in_docs_is_what_the_program_says() {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(COPY, without_examples()).unwrap();
    }
    let copy = fs::read_to_string(COPY).unwrap();
    assert!(
        copy == without_examples(),
        "docs/openapi.json is old: UPDATE_DOCS=1 cargo test --release --workspace --test all openapi writes it"
    );
}

#[test]
fn the_document_holds_exactly_the_calls_of_the_tables() {
    let count: usize = members(&DOCUMENT["paths"]).map(|(_, calls)| members(calls).count()).sum();
    assert_eq!(count, CALLS.len());
    let tags: BTreeSet<&str> = DOCUMENT["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    for call in CALLS.iter() {
        let text = |member: &str| written(call)[member].as_str().unwrap_or_default();
        assert!(!text("operationId").is_empty() && ids.insert(text("operationId")), "{call:?}");
        assert!(!text("summary").is_empty() && !text("description").is_empty(), "{call:?}");
        assert!(tags.contains(written(call)["tags"][0].as_str().unwrap()), "{call:?}");
        assert!(members(&written(call)["responses"]).any(|(status, _)| status.starts_with('2')), "{call:?}");
    }
}

#[test]
fn every_code_that_a_call_names_is_one_of_ours_and_each_of_ours_is_named() {
    let mut named = BTreeSet::from(["method_not_allowed"]);
    for call in CALLS.iter() {
        for code in call.refusals() {
            let info = CODES.iter().find(|info| info.code == code).unwrap_or_else(|| panic!("{call:?}: there is no code {code}"));
            assert_eq!(codes(written(call)).get(code), Some(&info.status), "{call:?}: {code}");
            named.insert(code);
        }
    }
    assert_eq!(named, CODES.iter().map(|info| info.code).collect());
}

/// What the layers before a handler refuse with, by what they can see of a call. Stated here apart from the
/// table, so that it can be wrong.
fn of_its_class(call: &Call) -> Vec<&'static str> {
    let mut codes = vec!["body_timeout", "body_too_large", "busy"];
    if call.access != Access::Anyone {
        codes.extend(["credential_required", "credential_invalid", "token_expired", "scope_missing", "host_forbidden", "origin_forbidden"]);
        codes.extend(["campaign_forbidden", "internal"]);
    }
    codes.extend(match call.access {
        Access::Anyone => None,
        Access::Scope(_) => Some("subject_forbidden"),
        Access::KeyScope(_) | Access::WholeScope(_) => Some("key_required"),
    });
    if !UNLIMITED.contains(&&*call.path) {
        codes.push("rate_limited");
    }
    if call.path.contains('{') {
        codes.extend(["invalid_parameter", "not_found"]);
    }
    let says = written(call);
    if says.get("requestBody").is_some() {
        codes.extend(["malformed_json", "invalid_field", "unsupported_media_type"]);
    } else if call.method != Method::GET {
        codes.push("unexpected_body");
    }
    let headers = says["parameters"].as_array().unwrap().iter().map(resolved).filter(|parameter| parameter["in"] == "header");
    let headers: Vec<&str> = headers.map(|parameter| parameter["name"].as_str().unwrap()).collect();
    if headers.contains(&"Idempotency-Key") {
        codes.extend(["invalid_header", "request_key_reused"]);
    }
    if headers.contains(&"If-Match") {
        codes.push("version_mismatch");
    }
    codes
}

#[test]
fn every_call_names_what_calls_of_its_class_are_refused_with() {
    for call in CALLS.iter() {
        let codes = codes(written(call));
        for code in of_its_class(call) {
            assert!(codes.contains_key(code), "{call:?} does not name {code}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_shared_part_is_used() {
    let mut used = BTreeSet::new();
    each_value(&DOCUMENT, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            resolved(value);
            used.insert(reference);
        }
    });
    for (kind, parts) in members(&DOCUMENT["components"]).filter(|(kind, _)| *kind != "securitySchemes") {
        for (name, _) in members(parts) {
            assert!(used.contains(&*format!("#/components/{kind}/{name}")), "nothing uses {kind}/{name}");
        }
    }
}

#[test]
fn every_link_leads_to_a_call_that_takes_its_parameters() {
    let calls: Vec<&Value> = CALLS.iter().map(written).collect();
    let links = calls.iter().flat_map(|call| members(&call["responses"])).flat_map(|(_, response)| members(&response["links"]));
    let mut count = 0;
    for (name, link) in links {
        let target = calls.iter().find(|call| call["operationId"] == link["operationId"]).unwrap_or_else(|| panic!("{name} leads nowhere"));
        let taken: Vec<&Value> = target["parameters"].as_array().unwrap().iter().map(|parameter| &resolved(parameter)["name"]).collect();
        assert!(members(&link["parameters"]).all(|(parameter, _)| taken.contains(&&Value::from(parameter))), "{name}");
        count += 1;
    }
    assert!(9 < count);
}
