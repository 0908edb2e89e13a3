//! What a refused request is told: `application/problem+json` (RFC 9457), as everywhere in
//! Firstcome: a stable `code`, and what the caller needs next.

use domain::rate_limit::Decision;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::fields::seconds_up;

/// Milliseconds after which a client may try again where there was no room for its key.
const FULL_RETRY_MS: u64 = 1_000;

/// 429. Without `Retry-After` where waiting does not help.
pub(crate) fn limited<B: From<String>>(policy: &str, decision: &Decision) -> Response<B> {
    let retry_ns = decision.retry_after_ns();
    let Some(code) = decision.verdict.code() else { unreachable!("only a refusal is answered with 429") };
    let (title, detail) = match retry_ns {
        Some(_) => ("Too many requests", "as much as the policy allows has been used; ask again after retry_after_ms"),
        None => ("Too large a request", "the request costs more than the policy ever allows at once"),
    };
    let retry = retry_ns.map_or_else(String::new, |nanos| format!(",\"retry_after_ms\":{}", nanos.div_ceil(1_000_000)));
    let body = format!(
        "{{\"type\":\"/docs#{code}\",\"title\":\"{title}\",\"status\":429,\"detail\":\"{detail}\",\"code\":\"{code}\",\
         \"outcome\":\"rejected\",\"policy\":\"{policy}\",\"limit\":{},\"remaining\":{},\"reset_after_ms\":{}{retry}}}",
        decision.limit,
        decision.remaining,
        decision.reset_after_ns.div_ceil(1_000_000),
    );
    problem(StatusCode::TOO_MANY_REQUESTS, body, retry_ns.map(|nanos| seconds_up(nanos).max(1)))
}

/// 503: it says nothing about this caller.
pub(crate) fn keys_full<B: From<String>>() -> Response<B> {
    let body = format!(
        "{{\"type\":\"/docs#keys_full\",\"title\":\"Too many callers\",\"status\":503,\"detail\":\"more callers are counted than fit; \
         ask again after retry_after_ms\",\"code\":\"keys_full\",\"outcome\":\"rejected\",\"retry_after_ms\":{FULL_RETRY_MS}}}"
    );
    problem(StatusCode::SERVICE_UNAVAILABLE, body, Some(FULL_RETRY_MS.div_ceil(1_000)))
}

fn problem<B: From<String>>(status: StatusCode, body: String, retry_after: Option<u64>) -> Response<B> {
    let mut response = Response::new(B::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
