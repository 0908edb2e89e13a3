//! Refusals as `application/problem+json` (RFC 9457): a stable code, whether anything took effect, and
//! what the caller needs to know next.

mod auth;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

/// What a handler returns.
pub type HandlerResult = Result<Response<Body>, Problem>;

/// What a code means. Statuses, titles and `docs/rejections.md` come from tables of these.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The stable word that clients match.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// A few words, the same for every occurrence.
    pub title: &'static str,
    /// What the code means and what the caller can do, for the documentation.
    pub meaning: &'static str,
}

/// A fault of the server.
pub const INTERNAL: CodeInfo = info("internal", 500, "Internal error", "A fault of the server; the log names the request by its id.");

/// A line of a table.
#[must_use]
pub const fn info(code: &'static str, status: u16, title: &'static str, meaning: &'static str) -> CodeInfo {
    CodeInfo { code, status, title, meaning }
}

/// The codes that do not depend on a workload.
pub const CODES: &[CodeInfo] = &[
    info(
        "rate_limited",
        429,
        "Too many requests",
        "The server limits requests per `policy`: `address`, `key` or `subject` (of a campaign). Ask again after `retry_after_ms`.",
    ),
    info(
        "credential_required",
        401,
        "Credential required",
        "The call needs a key, or an end user's token, as `Authorization: Bearer …`. A key is made with `firstcome key create`.",
    ),
    info(
        "credential_invalid",
        401,
        "Credential invalid",
        "The key is unknown, was revoked, or its secret is wrong; or the token is malformed, wrongly signed, for somebody else, or not valid yet.",
    ),
    info("token_expired", 401, "Token expired", "The end user's token was good until its `exp`. Get a new one and ask again."),
    info("scope_missing", 403, "Scope missing", "The key or token does not have the scope that the call needs, which is in `scope`."),
    info("key_required", 403, "Key required", "The call is about more than one subject, so that an end user's token is not enough."),
    info("campaign_forbidden", 403, "Campaign forbidden", "The key or token is for campaigns whose names begin with `campaigns`."),
    info("subject_forbidden", 403, "Subject forbidden", "An end user's token acts for its own `sub` only."),
    info(
        "host_forbidden",
        403,
        "Host forbidden",
        "Without keys the server answers only to requests that are addressed to this machine as `localhost` or by its loopback address.",
    ),
    info(
        "origin_forbidden",
        403,
        "Origin forbidden",
        "Without keys the server answers web pages of its own origin only, and of those that `--cors-origin` lists.",
    ),
    info("key_not_found", 404, "Key not found", "There is no key of this name."),
    info(
        "key_exists",
        409,
        "Key exists",
        "There is or was a key of this name. Names are not used again, because the record names callers by them.",
    ),
    info("key_revoked", 409, "Key revoked", "The key was revoked at `revoked_at`. Make another one."),
    info("last_admin_key", 409, "Last admin key", "It is the last key with the scope `admin`. Make another one first."),
    info("code_keys_full", 409, "Too many code keys", "There were 1,000 code keys, as many as there may be."),
    info(
        "key_overlaps_full",
        409,
        "Too many earlier secrets",
        "Four earlier secrets of the key are valid yet, as many as may be, and each was promised to be. The first ends at \
         `overlap_until`. A rotation without an overlap ends all of them at once.",
    ),
    info("keys_full", 409, "Too many keys", "There are 10,000 keys, revoked ones included, as many as there may be."),
    info("malformed_json", 400, "Malformed JSON", "The body is not JSON; `detail` says where it breaks."),
    info(
        "invalid_field",
        400,
        "Invalid field",
        "A field of the body is missing, unknown, repeated, of the wrong type or out of range; `field` names it.",
    ),
    info(
        "invalid_parameter",
        400,
        "Invalid parameter",
        "A part of the path or the query is malformed, out of range or unknown; `parameter` names it.",
    ),
    info(
        "invalid_header",
        400,
        "Invalid header",
        "A header is missing, malformed, given twice, or not known to this call; `header` names it.",
    ),
    info("unexpected_body", 400, "Unexpected body", "This call takes no body."),
    info("not_found", 404, "Not found", "There is nothing at this path. `/docs` lists what there is."),
    info("method_not_allowed", 405, "Method not allowed", "The path exists, but not with this method; `Allow` lists those that it has."),
    info("not_acceptable", 406, "Not acceptable", "The list comes as `application/json`, `application/x-ndjson` or `text/csv`."),
    info("body_timeout", 408, "Body too slow", "The body did not arrive in time."),
    info("body_too_large", 413, "Body too large", "The body is larger than 64 KiB."),
    info(
        "unsupported_media_type",
        415,
        "Unsupported media type",
        "The body must be `application/json` (`application/merge-patch+json` with PATCH), in UTF-8, without a `Content-Encoding`. `Accept`, `Accept-Patch` or `Accept-Encoding` says what is taken.",
    ),
    info(
        "busy",
        503,
        "Busy",
        "As many requests, writes, lists or connections are under way as may be, in all or of this caller. Ask again after `retry_after_ms`; nothing took effect.",
    ),
    info(
        "history_behind",
        503,
        "History behind",
        "The tables that lists read have not caught up with what was decided, or cannot be reached. Ask again after `retry_after_ms`.",
    ),
    info(
        "storage_full",
        507,
        "Disk full",
        "The disk of the server is full: nothing can be decided until there is room. Reads and repeats are still answered.",
    ),
    info(
        "memory_limit",
        507,
        "Memory limit reached",
        "As many of what `limit` names (claims, campaigns, policies, overrides, request keys) are in memory as the server may hold.",
    ),
    info(
        "stopping",
        503,
        "Stopping",
        "The server is about to stop and takes nothing more. Ask again after `retry_after_ms`; nothing took effect.",
    ),
    info(
        "not_caught_up",
        503,
        "Not caught up",
        "Across machines: this server does not know whether it knows everything that was decided up to now, so it says nothing. Ask again after `retry_after_ms`, or another server; nothing took effect.",
    ),
    info(
        "outcome_unknown",
        503,
        "Outcome unknown",
        "The command was taken, but whether it became durable is not known. Asking again is safe and tells.",
    ),
    INTERNAL,
];

/// The entry of a code in a table, if there is one.
#[must_use]
pub fn find(codes: &[CodeInfo], code: &str) -> Option<CodeInfo> {
    codes.iter().find(|info| info.code == code).copied()
}

/// A refusal on its way to the caller. It is a box because every function that can refuse returns one:
/// a large error type would make every `Result` large.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    info: CodeInfo,
    detail: String,
    retry_after_ms: Option<u64>,
    is_outcome_unknown: bool,
    /// Fields of the body beside the standard ones.
    extra: Map<String, Value>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with a code of [`CODES`]. A code that is not there is a fault of ours, and `internal`.
    #[must_use]
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self::of(find(CODES, code).unwrap_or(CodeInfo { code, ..INTERNAL }), detail)
    }

    /// A problem with a code of the program's own. Nothing took effect.
    #[must_use]
    pub fn of(info: CodeInfo, detail: impl Into<String>) -> Self {
        let (retry_after_ms, is_outcome_unknown, extra, headers) = (None, false, Map::new(), Vec::new());
        Self(Box::new(Parts { info, detail: detail.into(), retry_after_ms, is_outcome_unknown, extra, headers }))
    }

    /// The caller cannot know whether the command took effect.
    #[must_use]
    pub fn outcome_unknown(mut self) -> Self {
        self.0.is_outcome_unknown = true;
        self
    }

    /// A field of the body is wrong.
    #[must_use]
    pub fn field(field: &str, what: impl AsRef<str>) -> Self {
        Self::new("invalid_field", format!("{field} {}", what.as_ref())).with("field", json!(field))
    }

    /// A part of the path or the query is wrong.
    #[must_use]
    pub fn parameter(parameter: &str, what: impl AsRef<str>) -> Self {
        Self::new("invalid_parameter", format!("{parameter} {}", what.as_ref())).with("parameter", json!(parameter))
    }

    /// A header is wrong.
    #[must_use]
    pub fn header(name: &str, what: impl AsRef<str>) -> Self {
        Self::new("invalid_header", format!("{name} {}", what.as_ref())).with("header", json!(name))
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.0.extra.insert(field.to_owned(), value);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.push((name, value));
        }
        self
    }

    /// Adds the challenge of RFC 6750, 3.
    fn challenge(self, parameters: &str) -> Self {
        self.with_header(header::WWW_AUTHENTICATE, &format!("Bearer realm=\"firstcome\"{parameters}"))
    }

    /// Sets after how long to try again.
    #[must_use]
    pub fn retry_after_ms(mut self, millis: u64) -> Self {
        self.0.retry_after_ms = Some(millis);
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.info.code
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.info.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The response.
    #[must_use]
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let parts = *self.0;
        let info = parts.info;
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(format!("/docs#{}", info.code)));
        body.insert("title".to_owned(), json!(info.title));
        body.insert("status".to_owned(), json!(info.status));
        body.insert("detail".to_owned(), json!(parts.detail));
        body.insert("code".to_owned(), json!(info.code));
        body.insert("outcome".to_owned(), json!(if parts.is_outcome_unknown { "unknown" } else { "rejected" }));
        body.insert("request_id".to_owned(), json!(request_id));
        let retry_after = parts.retry_after_ms.inspect(|millis| {
            body.insert("retry_after_ms".to_owned(), json!(millis));
        });
        body.extend(parts.extra);
        let mut response = Response::new(Body::from(Value::Object(body).to_string()));
        *response.status_mut() = StatusCode::from_u16(info.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(millis) = retry_after {
            // The header has whole seconds only.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1_000)));
        }
        headers.extend(parts.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn each_source(folder: &Path, read: &mut impl FnMut(&str)) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                each_source(&path, read);
            } else {
                read(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_problem_of_this_crate_has_a_code_of_its_table() {
        let mut used = Vec::new();
        each_source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |text| {
            let begin = ["Problem::new(", "Self::new("];
            let calls = begin.iter().flat_map(|begin| text.split(begin).skip(1));
            let literal = calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split_once('"'));
            // Without this test's own text.
            let codes = literal.filter(|(code, _)| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            used.extend(codes.map(|(code, _)| code.to_owned()));
        });
        assert!(used.len() > 20 && used.iter().all(|code| find(CODES, code).is_some()), "{used:?}");
    }
}
