//! The refusals of calls: those implied by callers, path and body, and groups that several calls share.

use edge::auth::Access;
use edge::gateway::UNLIMITED;
use serde_json::{Map, Value, json};

use super::describe::{Header, rate_limit_fields, retry_after};
use super::schema::{matching, text};
use crate::http::calls::Call;
use crate::http::problem::info_of;
use axum::http::Method;

/// Codes of a call that reads this server's state.
pub const READS: &[&str] = &["not_caught_up", "outcome_unknown"];
/// Codes of a call whose effect is recorded.
pub const DECIDES: &[&str] = &["stopping", "not_caught_up", "outcome_unknown", "storage_full", "memory_limit"];
/// Codes of a call that reads the tables.
pub const LISTS: &[&str] = &["history_behind", "not_caught_up", "outcome_unknown"];

const EVERY_CALL: &[&str] = &["body_timeout", "body_too_large", "busy", "invalid_header"];
const GUARDED: &[&str] = &[
    "credential_required",
    "credential_invalid",
    "token_expired",
    "scope_missing",
    "campaign_forbidden",
    "host_forbidden",
    "origin_forbidden",
    "internal",
];
const WITH_BODY: &[&str] = &["malformed_json", "invalid_field", "unsupported_media_type"];

const WAIT: &str = "Ask again after `Retry-After`. With `outcome_unknown` it may have taken effect, and asking again is safe and tells; \
                    otherwise nothing took effect.";

/// Refusals that several calls share: a name in the document, the codes, and their meaning.
const SHARED: &[(&str, &[&str], &str)] = &[
    (
        "Unauthenticated",
        &["credential_required", "credential_invalid", "token_expired"],
        "There are keys, and no usable key or token came.",
    ),
    (
        "Forbidden",
        &["scope_missing", "campaign_forbidden", "host_forbidden", "origin_forbidden", "subject_forbidden"],
        "The caller may not do this.",
    ),
    (
        "KeysOnly",
        &["scope_missing", "campaign_forbidden", "host_forbidden", "origin_forbidden", "key_required"],
        "The caller may not do this.",
    ),
    ("BodyTooSlow", &["body_timeout"], "The body did not arrive within 10 seconds. The connection closes."),
    ("BodyTooLarge", &["body_too_large"], "The body is larger than 64 KiB. The connection closes."),
    (
        "UnsupportedMediaType",
        &["unsupported_media_type"],
        "The body is declared as something else than JSON in UTF-8, or has a `Content-Encoding`.",
    ),
    (
        "RateLimited",
        &["rate_limited"],
        "The server limits requests per client address, key, or subject of a campaign, and one of them is used up; `policy` says which.",
    ),
    ("RequestKeyReused", &["request_key_reused"], "The request key took effect for another request."),
    ("Internal", &["internal"], "A fault of the server. The log names the request by its id."),
    ("Unavailable", &["busy"], "The server has as many connections or requests as it may."),
    (
        "ReadUnavailable",
        &["busy", "not_caught_up", "outcome_unknown"],
        "Busy, or the disk has failed. Across machines also where the server does not know whether it knows everything.",
    ),
    (
        "ListUnavailable",
        &["busy", "history_behind", "not_caught_up", "outcome_unknown"],
        "Nothing is wrong with the request: ask again after `Retry-After`.",
    ),
    ("WriteUnavailable", &["busy", "stopping", "not_caught_up", "outcome_unknown"], WAIT),
    ("NoRoom", &["storage_full", "memory_limit"], "The server has no room for a new decision. Reads and repeats are still answered."),
    ("NoMemory", &["memory_limit"], "As many keys are counted, or reservations and leases held, as may be."),
];

impl Call {
    /// Every refusal code of the call, in document order.
    #[must_use]
    pub fn refusals(&self) -> Vec<&'static str> {
        let description = &self.description;
        let has_path = self.path.contains('{');
        let mut codes: Vec<&'static str> = EVERY_CALL.to_vec();
        match self.access {
            Access::Anyone => {}
            Access::Scope(_) => codes.extend(GUARDED.iter().chain(&["subject_forbidden"])),
            Access::KeyScope(_) | Access::WholeScope(_) => codes.extend(GUARDED.iter().chain(&["key_required"])),
        }
        if !UNLIMITED.contains(&&*self.path) {
            codes.push("rate_limited");
        }
        if description.body.is_some() {
            codes.extend(WITH_BODY);
        } else if self.method != Method::GET {
            codes.push("unexpected_body");
        }
        if has_path || self.checks_query() {
            codes.push("invalid_parameter");
        }
        codes.extend(&description.refusals);
        if has_path {
            codes.push("not_found");
        }
        codes
    }

    /// Whether unknown parts of the query are refused.
    fn checks_query(&self) -> bool {
        self.access != Access::Anyone && self.path.starts_with("/v1/")
    }

    /// The refusals by status, each with its codes.
    pub(super) fn refusals_by_status(&self) -> Vec<(u16, Vec<&'static str>)> {
        let mut by_status: Vec<(u16, Vec<&'static str>)> = Vec::new();
        for code in self.refusals() {
            let status = info_of(code).status;
            match by_status.iter_mut().find(|(known, _)| *known == status) {
                Some((_, codes)) if codes.contains(&code) => {}
                Some((_, codes)) => codes.push(code),
                None => by_status.push((status, vec![code])),
            }
        }
        by_status.sort_by_key(|(status, _)| *status);
        by_status
    }

    /// The name of the shared response with exactly these codes, unless the call has its own description.
    pub(super) fn shared(&self, status: u16, codes: &[&str]) -> Option<&'static str> {
        let is_noted = self.description.notes.iter().any(|(known, _)| *known == status);
        let shared = SHARED.iter().find(|(_, known, _)| *known == codes).filter(|_| !is_noted);
        shared.map(|(name, ..)| *name)
    }

    /// The description of the call's refusals with a status.
    pub(super) fn meaning(&self, status: u16, codes: &[&str]) -> &str {
        let note = self.description.notes.iter().find(|(known, _)| *known == status).map(|(_, note)| &**note);
        let shared = || SHARED.iter().find(|(_, known, _)| *known == codes).map(|(_, _, about)| *about);
        note.or_else(shared).unwrap_or_else(|| usually(status))
    }
}

fn usually(status: u16) -> &'static str {
    match status {
        400 => "The request is malformed; `detail` says where.",
        403 => "The caller may not do this.",
        404 => "There is no such thing.",
        409 => "The rules say no; nothing took effect.",
        412 => "The condition of `If-Match` or `If-None-Match` does not hold; nothing took effect.",
        503 => WAIT,
        422 => "The values do not go together, or the request key took effect for another request.",
        _ => "Nothing took effect.",
    }
}

/// A refusal in the document.
pub(super) fn response(status: u16, codes: &[&str], about: &str, header: &mut impl FnMut(&Header) -> Value) -> Value {
    let headers: Map<String, Value> = headers(status).iter().map(|of| (of.name.to_owned(), header(of))).collect();
    json!({ "description": about, "headers": headers, "content": { "application/problem+json": { "schema": schema(status, codes) } } })
}

/// The problem's schema, with these codes.
pub(super) fn schema(status: u16, codes: &[&str]) -> Value {
    let narrowed = json!({ "properties": { "status": { "const": status }, "code": { "enum": codes } } });
    json!({ "allOf": [{ "$ref": "#/components/schemas/Problem" }, narrowed] })
}

/// The headers of refusals of a status.
pub(super) fn headers(status: u16) -> Vec<Header> {
    let mut headers = vec![request_id()];
    match status {
        401 => headers.push(Header::new(
            "Challenge",
            "WWW-Authenticate",
            text(),
            "`Bearer`, with `error` where something was shown (RFC 6750).",
        )),
        412 => {
            let version = matching("^\"[0-9]+\"$");
            headers.push(Header::new("CurrentETag", "ETag", version, "The version that the settings have, with `version_mismatch`."));
        }
        429 => headers.extend(rate_limit_fields().into_iter().chain([retry_after()])),
        503 | 507 => headers.push(retry_after()),
        _ => {}
    }
    headers
}

/// The header of every response.
pub(super) fn request_id() -> Header {
    let about = "The request's id: the caller's own, or one that the server made.";
    Header::new("RequestId", "X-Request-Id", matching("^[A-Za-z0-9_.:-]{1,64}$"), about)
}

/// The shared responses in use, by name.
pub(super) fn shared_responses(used: &[&str], header: &mut impl FnMut(&Header) -> Value) -> Map<String, Value> {
    let used = SHARED.iter().filter(|(name, ..)| used.contains(name));
    used.map(|(name, codes, about)| {
        let status = codes.first().map_or(500, |code| info_of(code).status);
        ((*name).to_owned(), response(status, codes, about, header))
    })
    .collect()
}
