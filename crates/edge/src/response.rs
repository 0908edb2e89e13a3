//! Successful responses: JSON bodies and their headers.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// Marks a response that repeats an earlier one.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A response with a JSON body.
#[must_use]
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    // Serializing fails only for maps whose keys are not strings; there are none here.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Sets a header; a value that is not visible ASCII is left out.
#[must_use]
pub fn with_header(mut response: Response<Body>, name: HeaderName, value: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Sets [`REPLAYED`] if the response repeats an earlier one.
#[must_use]
pub fn mark_replayed(response: Response<Body>, is_replayed: bool) -> Response<Body> {
    if is_replayed { with_header(response, REPLAYED, "true") } else { response }
}
