//! What is about the server itself: health, readiness, metrics, documentation.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::answer::{self, with_header};
use super::context::Context;
use super::problem::Problem;
use super::{docs as docs_page, openapi as document};
use crate::doors::Refusal;

type Answer = Result<Response<Body>, Problem>;

/// `GET /healthz`: the process works.
pub async fn healthz(_context: Context) -> Answer {
    Ok(answer::json(StatusCode::OK, &json!({ "status": "ok" })))
}

/// `GET /readyz`: the process should get requests.
pub async fn readyz(context: Context) -> Answer {
    let (app, status) = (&context.app, context.app.status());
    let reason = app.not_ready().await;
    let code = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": reason.is_none(),
        "reason": reason,
        "read_only": status.is_read_only,
        "position": status.position,
        "history": { "position": status.history_position, "broken": status.is_history_broken },
        "version": env!("CARGO_PKG_VERSION"),
    });
    Ok(answer::json(code, &body))
}

/// `GET /metrics`: for Prometheus.
pub async fn metrics(context: Context) -> Answer {
    // They are about all campaigns.
    if !context.caller.campaigns().is_empty() {
        return Err(Refusal::CampaignForbidden { campaigns: context.caller.campaigns().to_owned() }.into());
    }
    let text = context.app.metrics.text(&context.app).map_err(|error| Problem::new("internal", error.to_string()))?;
    Ok(typed(text, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
}

/// `GET /openapi.json`: the API for machines.
pub async fn openapi(_context: Context) -> Answer {
    Ok(typed(document::JSON, "application/json"))
}

/// `GET /docs`: the API for people; needs no network.
pub async fn docs(_context: Context) -> Answer {
    let response = typed(docs_page::html(), "text/html; charset=utf-8");
    Ok(with_header(
        response,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    ))
}

/// `GET /`: until there is a console, the way to the documentation.
pub async fn home(_context: Context) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    Ok(with_header(response, header::LOCATION, "/docs"))
}

fn typed(text: impl Into<Body>, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
