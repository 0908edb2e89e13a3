//! A no: `application/problem+json` (RFC 9457), with a stable code, whether anything took effect,
//! and what the caller needs next.

mod doors;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use domain::coupon::Rejection;
use domain::rate_limit::policies;
use engine::views::Refusal;
use serde_json::{Map, Value, json};

use super::policies::out_of_range;
use super::times;

/// After how long to look at a queue again, in milliseconds.
const QUEUE_RETRY_MS: u64 = 1_000;

/// What a code means. The table is the one source of statuses, titles and `docs/rejections.md`.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The stable word that clients match.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// A few words, the same for every occurrence.
    pub title: &'static str,
    /// What it means and what the caller can do, for the documentation.
    pub meaning: &'static str,
}

const fn info(code: &'static str, status: u16, title: &'static str, meaning: &'static str) -> CodeInfo {
    CodeInfo { code, status, title, meaning }
}

/// Every code of the API, the rules' first.
pub const CODES: &[CodeInfo] = &[
    info(
        "request_key_reused",
        422,
        "Request key reused",
        "The `Idempotency-Key` took effect for another request within the last 24 hours. Use a new key for a new request.",
    ),
    info(
        "request_key_required",
        400,
        "Request key required",
        "The campaign allows several claims per subject, so a repeat can only be told from a new wish by an `Idempotency-Key`.",
    ),
    info("campaign_not_found", 404, "Campaign not found", "There is no campaign of this name."),
    info("campaign_exists", 412, "Campaign exists", "`If-None-Match: *` was given and the campaign exists."),
    info(
        "version_mismatch",
        412,
        "Settings have changed",
        "`If-Match` names another version of the settings than the current one, which is in `version` and `ETag`. Read, then try again.",
    ),
    info("closes_before_opens", 422, "Closes before it opens", "`closes_at` must be after `opens_at`."),
    info("redeem_until_before_opens", 422, "Redemption ends before it opens", "`redeem_until` must be after `opens_at`."),
    info(
        "stock_below_claimed",
        409,
        "Stock below what is claimed",
        "The stock may not fall below the claims that are held, whose number is in `claimed`.",
    ),
    info(
        "per_subject_max_lowered",
        409,
        "Limit per subject lowered",
        "Once there are claims, the limit per subject may only grow. It stands at `per_subject_max`.",
    ),
    info("not_open", 409, "Not open yet", "Claims are granted from `opens_at` on."),
    info("closed", 409, "Closed", "Claims are refused since `closed_at`. A claim from before is still answered."),
    info("paused", 409, "Paused", "The campaign's runner has paused it."),
    info("subject_limit_reached", 409, "Subject limit reached", "The subject holds `per_subject_max` claims, as many as it may."),
    info("sold_out", 409, "Sold out", "Nothing is left. A cancellation may bring a unit back."),
    info(
        "queue_full",
        503,
        "Queue full",
        "As many claims are pending as may be (`queue_max`). Nothing was done; ask again after `retry_after_ms`.",
    ),
    info(
        "claim_pending",
        409,
        "Claim pending",
        "The claim is in the queue: it can be read, redeemed or cancelled once it is decided. Its answer says when that will be.",
    ),
    info("answer_not_found", 404, "Answer not found", "There is no answer of this name. It comes in the `Location` of a 202."),
    info("claim_not_found", 404, "Claim not found", "The subject holds no claim in this campaign, or not the one that `serial` names."),
    info("claim_ambiguous", 409, "Several claims", "The subject holds several claims; pick one of `serials` with `?serial=`."),
    info(
        "code_not_found",
        404,
        "Code not found",
        "No claim of this campaign has this code; `detail` says if the check character is wrong, which means a typing error.",
    ),
    info("already_redeemed", 409, "Already redeemed", "The claim was used at `redeemed_at`. It cannot be used again or cancelled."),
    info("cancelled", 409, "Cancelled", "The claim was given back at `cancelled_at`."),
    info("expired", 409, "Expired", "Claims of this campaign could be redeemed until just before `redeem_until`."),
    info("policy_not_found", 404, "Policy not found", "There is no policy of this name."),
    info("quota_out_of_range", 422, "Quota out of range", "A quota is 1 to 1,000,000,000 units."),
    info(
        "log_quota_out_of_range",
        422,
        "Quota of a log out of range",
        "A `sliding_window_log` remembers every request of a window, so its quota is 1 to 10,000.",
    ),
    info("window_out_of_range", 422, "Window out of range", "A window is a millisecond to 366 days."),
    info(
        "burst_out_of_range",
        422,
        "Burst out of range",
        "A burst is 0 to 1,000,000,000 units, and the bucket must fill within 100 years.",
    ),
    info("burst_not_used", 422, "No burst here", "Only `token_bucket` and `leaky_bucket` have a burst."),
    info("in_flight_out_of_range", 422, "Limit out of range", "At most 10,000 may be in flight; the timeout is a millisecond to 366 days."),
    info("policy_exists", 412, "Policy exists", "`If-None-Match: *` was given and the policy exists."),
    info(
        "policy_has_overrides",
        409,
        "Policy has overrides",
        "Keys have numbers of their own for the policy's algorithm. Remove them, then take another algorithm.",
    ),
    info("override_not_possible", 409, "No overrides here", "A limit on what is in flight has one number for all keys."),
    info("override_not_found", 404, "Override not found", "The key has no numbers of its own under this policy."),
    info(
        "policy_of_other_kind",
        409,
        "Policy of another kind",
        "`in_flight` policies take checks of cost 1, and no reservations, refunds or resets.",
    ),
    info("reservation_not_found", 404, "Reservation not found", "It never was, has run out, or has been settled."),
    info("reservation_expired", 409, "Reservation expired", "It is too late to settle it; the estimate stays taken."),
    info("lease_not_found", 404, "Lease not found", "It never was, was given back, or has ended by itself."),
    info(
        "not_across_machines",
        501,
        "Not across machines",
        "Rate limits are kept by one server; servers that share a log (`--kafka`) do not have them yet.",
    ),
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
    info("invalid_header", 400, "Invalid header", "A header is malformed or given twice; `header` names it."),
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
        "The body must be `application/json` (`application/merge-patch+json` with PATCH).",
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
        "As many claims, request keys or campaigns (`limit`) are in memory as the server may hold.",
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
    info(
        "demonstration_forbidden",
        403,
        "No demonstration here",
        "The small rush runs only where nobody has to show a key, and over plain HTTP.",
    ),
    info("demonstration_running", 409, "Demonstration is running", "One is running, in `campaign`; there is one at a time."),
    info("internal", 500, "Internal error", "A fault of the server; the log names the request by its id."),
];

/// What is known of a code.
#[must_use]
pub fn info_of(code: &str) -> CodeInfo {
    let unknown = CodeInfo { code: "internal", status: 500, title: "Internal error", meaning: "" };
    CODES.iter().find(|info| info.code == code).copied().unwrap_or(unknown)
}

/// A no on its way to the caller. Small, because every function that can refuse returns room for
/// it.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    code: &'static str,
    detail: String,
    retry_after_ms: Option<u64>,
    is_outcome_unknown: bool,
    /// What the caller needs next.
    extra: Map<String, Value>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of this code; nothing took effect.
    #[must_use]
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        let (retry_after_ms, is_outcome_unknown, extra, headers) = (None, false, Map::new(), Vec::new());
        Self(Box::new(Parts { code, detail: detail.into(), retry_after_ms, is_outcome_unknown, extra, headers }))
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

    /// Says how to show who one is (RFC 6750, 3).
    fn challenge(self, parameters: &str) -> Self {
        self.with_header(header::WWW_AUTHENTICATE, &format!("Bearer realm=\"firstcome\"{parameters}"))
    }

    /// Says when to ask again.
    #[must_use]
    pub fn retry_after_ms(mut self, millis: u64) -> Self {
        self.0.retry_after_ms = Some(millis);
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(info_of(self.0.code).status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer.
    #[must_use]
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let parts = *self.0;
        let info = info_of(parts.code);
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(format!("/docs#{}", parts.code)));
        body.insert("title".to_owned(), json!(info.title));
        body.insert("status".to_owned(), json!(info.status));
        body.insert("detail".to_owned(), json!(parts.detail));
        body.insert("code".to_owned(), json!(parts.code));
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
            // The header knows whole seconds only.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1_000)));
        }
        headers.extend(parts.headers);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rejected(domain::Rejection::Coupon(rejection)) => rejection.into(),
            Refusal::Rejected(domain::Rejection::Policy(rejection)) => rejection.into(),
            Refusal::NotAcrossMachines => Self::new("not_across_machines", "rate limits are not shared between machines yet"),
            Refusal::Rejected(domain::Rejection::RequestKeyReused) => {
                Self::new("request_key_reused", "this Idempotency-Key took effect for another request")
            }
            Refusal::Busy => Self::new("busy", "as much as fits is on its way to the disk").retry_after_ms(100),
            Refusal::StorageFull => Self::new("storage_full", "the server's disk is full").retry_after_ms(5_000),
            Refusal::MemoryLimit(limit) => {
                Self::new("memory_limit", format!("the server holds as many {} in memory as it may", limit.replace('_', " ")))
                    .with("limit", json!(limit))
            }
            Refusal::Stopping => Self::new("stopping", "the server is about to stop").retry_after_ms(1_000),
            Refusal::NotCaughtUp => Self::new("not_caught_up", "the server has not heard from the log in time").retry_after_ms(1_000),
            Refusal::Unknown => {
                let mut problem =
                    Self::new("outcome_unknown", "the disk or the log failed or did not answer in time; ask again to learn the outcome");
                problem.0.is_outcome_unknown = true;
                problem.retry_after_ms(1_000)
            }
        }
    }
}

impl From<policies::Rejection> for Problem {
    fn from(rejection: policies::Rejection) -> Self {
        let code = rejection.code();
        match rejection {
            policies::Rejection::PolicyNotFound => Self::new(code, "there is no policy of this name"),
            policies::Rejection::PolicyExists => Self::new(code, "there is a policy of this name"),
            policies::Rejection::VersionMismatch { version } => {
                let problem = Self::new(code, format!("the policy has version {version}")).with("version", json!(version));
                problem.with_header(header::ETAG, &format!("\"{version}\""))
            }
            policies::Rejection::PolicyHasOverrides => {
                Self::new(code, "keys have numbers of their own for this algorithm; remove them before another one is taken")
            }
            policies::Rejection::OverrideNotPossible => Self::new(code, "a limit on what is in flight has one number for all keys"),
            policies::Rejection::NumbersOutOfRange(error) => out_of_range(error),
            policies::Rejection::OverrideNotFound => Self::new(code, "the key has no numbers of its own"),
        }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let code = rejection.code();
        match rejection {
            Rejection::CampaignNotFound => Self::new(code, "there is no campaign of this name"),
            Rejection::CampaignExists => Self::new(code, "there is a campaign of this name"),
            Rejection::VersionMismatch { version } => {
                let problem = Self::new(code, format!("the settings have version {version}")).with("version", json!(version));
                problem.with_header(header::ETAG, &format!("\"{version}\""))
            }
            Rejection::ClosesBeforeOpens => Self::new(code, "closes_at must be after opens_at").with("field", json!("closes_at")),
            Rejection::RedeemUntilBeforeOpens => {
                Self::new(code, "redeem_until must be after opens_at").with("field", json!("redeem_until"))
            }
            Rejection::StockBelowClaimed { claimed } => {
                let detail = format!("{} are claimed, and the stock may not be less", claimed.get());
                Self::new(code, detail).with("claimed", json!(claimed.get())).with("field", json!("stock"))
            }
            Rejection::PerSubjectMaxLowered { per_subject_max } => {
                let detail = format!("there are claims, so per_subject_max may not fall below {per_subject_max}");
                Self::new(code, detail).with("per_subject_max", json!(per_subject_max)).with("field", json!("per_subject_max"))
            }
            Rejection::RequestKeyRequired => Self::new(code, "several claims per subject are allowed: send an Idempotency-Key"),
            Rejection::NotOpen { opens_at } => {
                Self::new(code, "the campaign is not open yet").with("opens_at", json!(times::format(opens_at)))
            }
            Rejection::Closed { closed_at } => Self::new(code, "the campaign is closed").with("closed_at", json!(times::format(closed_at))),
            Rejection::Paused => Self::new(code, "the campaign is paused"),
            Rejection::SubjectLimitReached { per_subject_max } => {
                let detail = format!("the subject holds {per_subject_max}, as many as it may");
                Self::new(code, detail).with("per_subject_max", json!(per_subject_max))
            }
            Rejection::SoldOut => Self::new(code, "nothing is left"),
            Rejection::QueueFull { queue_max } => {
                let problem = Self::new(code, format!("{queue_max} claims are pending, as many as may be"));
                problem.with("queue_max", json!(queue_max)).retry_after_ms(QUEUE_RETRY_MS)
            }
            Rejection::ClaimPending => Self::new(code, "the claim is in the queue and not decided yet").retry_after_ms(QUEUE_RETRY_MS),
            Rejection::ClaimNotFound => Self::new(code, "the subject holds no such claim"),
            Rejection::ClaimAmbiguous { serials } => {
                let serials: Vec<u32> = serials.iter().map(|serial| serial.get()).collect();
                Self::new(code, "the subject holds several claims; pick one with ?serial=").with("serials", json!(serials))
            }
            Rejection::CodeNotFound => Self::new(code, "no claim of this campaign has this code"),
            Rejection::AlreadyRedeemed { redeemed_at } => {
                Self::new(code, "the claim was used before").with("redeemed_at", json!(times::format(redeemed_at)))
            }
            Rejection::Cancelled { cancelled_at } => {
                Self::new(code, "the claim was given back").with("cancelled_at", json!(times::format(cancelled_at)))
            }
            Rejection::Expired { redeem_until } => {
                Self::new(code, "it is too late to use the claim").with("redeem_until", json!(times::format(redeem_until)))
            }
        }
    }
}
