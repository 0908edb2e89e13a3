//! The API for machines: an OpenAPI 3.1 document, written by hand and held against the program.

/// The document.
pub const JSON: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::http::calls::CALLS;
    use crate::http::problem::{documented, info_of};
    use edge::auth::Access;
    use edge::auth::caller::Scope;

    fn document() -> Value {
        serde_json::from_str(JSON).unwrap()
    }

    fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return value };
        document.pointer(reference.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
        value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }

    fn calls(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
        members(&document["paths"]).flat_map(|(path, calls)| members(calls).map(move |(method, call)| (path, method, call)))
    }

    /// Every code that the document names, with the status under which it does.
    fn codes(document: &Value) -> BTreeSet<(String, u16)> {
        let answers = calls(document).flat_map(|(_, _, call)| members(&call["responses"]));
        let coded = answers.flat_map(|(status, answer)| {
            let schema = &resolved(document, answer)["content"]["application/problem+json"]["schema"];
            let named = schema["allOf"][1]["properties"]["code"]["enum"].as_array().into_iter().flatten();
            named.map(move |code| (code.as_str().unwrap().to_owned(), status.parse().unwrap()))
        });
        coded.collect()
    }

    fn each_reference(value: &Value, see: &mut impl FnMut(&Value)) {
        see(value);
        match value {
            Value::Object(members) => members.values().for_each(|member| each_reference(member, see)),
            Value::Array(items) => items.iter().for_each(|item| each_reference(item, see)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn the_document_and_the_router_know_the_same_calls() {
        let document = document();
        let written: BTreeSet<(String, String)> =
            calls(&document).map(|(path, method, _)| (path.to_owned(), method.to_uppercase())).collect();
        let served = CALLS.iter().filter(|call| !call.is_example()).map(|call| (call.path.to_string(), call.method.to_string())).collect();
        assert_eq!(written, served);
    }

    #[test]
    fn the_document_and_the_router_let_the_same_callers_in() {
        let document = document();
        for route in CALLS.iter().filter(|call| !call.is_example()) {
            let call = &document["paths"][&*route.path][route.method.as_str().to_lowercase()];
            let with = |scheme: &str, scope: Scope| json!({ scheme: [scope.word()] });
            let expected = match route.access {
                Access::Anyone => json!([]),
                Access::Scope(scope) => json!([with("key", scope), with("user", scope)]),
                Access::KeyScope(scope) | Access::WholeScope(scope) => json!([with("key", scope)]),
            };
            assert_eq!(call["security"], expected, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn every_code_of_the_document_is_one_of_ours_with_its_status() {
        for (code, status) in codes(&document()) {
            let info = info_of(&code);
            assert_eq!((info.code, info.status), (code.as_str(), status));
        }
    }

    #[test]
    fn every_code_of_ours_is_named_by_a_call() {
        let named = codes(&document());
        // A wrong method is no call of any route.
        for info in documented().into_iter().filter(|info| info.code != "method_not_allowed") {
            assert!(named.contains(&(info.code.to_owned(), info.status)), "no call of openapi.json names {}", info.code);
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_shared_part_is_used() {
        let document = document();
        let mut used = BTreeSet::new();
        each_reference(&document, &mut |value| {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                resolved(&document, value);
                used.insert(reference.to_owned());
            }
        });
        for (kind, parts) in members(&document["components"]).filter(|(kind, _)| *kind != "securitySchemes") {
            for (name, _) in members(parts) {
                assert!(used.contains(&format!("#/components/{kind}/{name}")), "nothing uses {kind}/{name}");
            }
        }
    }

    #[test]
    fn every_call_declares_the_parameters_of_its_path() {
        let document = document();
        for (path, method, call) in calls(&document) {
            let in_path: BTreeSet<&str> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            let parameters = call["parameters"].as_array().into_iter().flatten().map(|parameter| resolved(&document, parameter));
            let declared = parameters.filter(|parameter| parameter["in"] == "path").filter_map(|parameter| parameter["name"].as_str());
            assert_eq!(in_path, declared.collect(), "{method} {path}");
        }
    }
}
