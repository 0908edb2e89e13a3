//! The schema of refusals: the common members, and those that each code adds.

use serde_json::{Value, json};

use super::schema::{Schema, matching, number, number_from, object, text, time, word};

/// A member of some refusals: its name, schema and description, and the codes that always have it.
#[derive(Debug)]
pub struct Member(pub &'static str, pub Schema, pub &'static str, pub &'static [&'static str]);

/// The `field` member, which these codes always have.
#[must_use]
pub fn field(codes: &'static [&'static str]) -> Member {
    Member("field", text(), "The field of the body that is wrong.", codes)
}

/// Members that do not depend on a workload.
fn common() -> Vec<Member> {
    let later = &["busy", "history_behind", "stopping", "not_caught_up", "storage_full", "outcome_unknown"];
    let when = "Milliseconds after which asking again makes sense. `Retry-After` says the same in whole seconds.";
    vec![
        Member("retry_after_ms", number_from(0), when, later),
        field(&["invalid_field"]),
        Member("parameter", text(), "The part of the path or the query that is wrong.", &["invalid_parameter"]),
        Member("header", text(), "The header that is wrong.", &["invalid_header"]),
        Member("scope", word(&["admin", "issue", "redeem", "read"]), "The scope that the call needs.", &["scope_missing"]),
        Member("campaigns", text(), "What the names of the caller's campaigns begin with.", &[]),
        Member("revoked_at", time(""), "Since when the key is of no use.", &["key_revoked"]),
        Member("overlap_until", time(""), "When the first of the earlier secrets ends.", &["key_overlaps_full"]),
        Member("policy", text(), "The rate limit that is used up.", &["rate_limited"]),
        Member("campaign", text(), "The campaign of the demonstration that is running.", &["demonstration_running"]),
        Member("version", number_from(1), "The version that the settings have.", &["version_mismatch"]),
        Member("limit", text(), "What the server holds as many of as it may.", &["memory_limit"]),
    ]
}

/// The schema.
pub(super) fn schema(of_workloads: Vec<Member>) -> Schema {
    let about = "A refusal (RFC 9457). `code` decides which of the later fields are there; ignore fields that you do not know.";
    let schema = object(about)
        .has("type", text().with("format", json!("uri-reference")), "Where the code is explained: `/docs#` and the code.")
        .has("title", text(), "A few words, the same for every occurrence.")
        .has("status", number(400, 599), "The HTTP status.")
        .has("detail", text(), "What is wrong this time, for people. Its wording may improve; match `code` instead.")
        .has("code", matching("^[a-z_]+$"), "The stable word that clients match.")
        .has(
            "outcome",
            word(&["rejected", "unknown"]),
            "`rejected`: surely nothing took effect. `unknown`: it may have; asking again is safe and tells.",
        )
        .has(
            "request_id",
            text().or_null(),
            "The request's id, also in the log; `null` if the connection was refused before anything was read.",
        );
    let members: Vec<Member> = common().into_iter().chain(of_workloads).collect();
    let mut by_code: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, code) in members.iter().flat_map(|Member(name, .., codes)| codes.iter().map(|code| (*name, *code))) {
        match by_code.iter_mut().find(|(known, _)| *known == code) {
            Some((_, names)) => names.push(name),
            None => by_code.push((code, vec![name])),
        }
    }
    let conditions: Vec<Value> = by_code
        .iter()
        .map(|(code, names)| json!({ "if": { "properties": { "code": { "const": code } } }, "then": { "required": names } }))
        .collect();
    let schema = members.into_iter().fold(schema, |schema, Member(name, of, about, _)| schema.may(name, of, about));
    schema.with("allOf", json!(conditions))
}
