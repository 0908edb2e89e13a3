//! Calls about the server itself: health, readiness, metrics, documentation.

mod schemas;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use engine::meter::JournalWork;
use serde_json::{Value, json};

use super::accept::accepted;
use super::answer::{self, with_header};
use super::calls::{Call, get};
use super::context::Context;
use super::openapi::describe::{Answer, shown_as};
use super::openapi::schema::{self, object};
use super::problem::{HandlerResult, Problem};
use super::{docs as docs_page, openapi as document, times};
use crate::metrics::text::{self, OPEN_METRICS, PLAIN};
use edge::auth::Access;
use edge::auth::caller::Scope;
use edge::clock;

const TAG: &str = "Server";
/// Reads by monitoring and operators.
const WHOLE_READ: Access = Access::WholeScope(Scope::Read);

/// The calls.
#[must_use]
pub fn calls() -> Vec<Call> {
    let not_ready = "It should not: it stops, or the disk has failed. With a problem: as many connections are open as may be.";
    let document = object("").requiring("openapi").requiring("info").requiring("paths").shown(Value::Null);
    let plain_counts =
        "# HELP firstcome_claims Claims in memory, cancelled ones included.\n# TYPE firstcome_claims gauge\nfirstcome_claims 1\n";
    let counts =
        "# HELP firstcome_claims Claims in memory, cancelled ones included.\n# TYPE firstcome_claims gauge\nfirstcome_claims 1\n# EOF\n";
    vec![
        get("/v1/server", WHOLE_READ, server)
            .of_operators()
            .about(
                "readServer",
                TAG,
                "How the server does",
                "What `/metrics` has for machines, for people who look after the server. Not for keys that are limited to some campaigns.",
            )
            .answers(Answer::json(200, "How it does.", schemas::server())),
        get("/healthz", Access::Anyone, healthz)
            .about("healthz", TAG, "Is the process alive?", "200 as long as the process answers. For a liveness probe.")
            .answers(Answer::json(200, "It is.", schemas::health())),
        get("/readyz", Access::Anyone, readyz)
            .about(
                "readyz",
                TAG,
                "Should it get requests?",
                "For a readiness probe or a load balancer. Says no as soon as the server begins to stop, while it still answers what is in \
                 flight.",
            )
            .answers(Answer::json(200, "It should.", schemas::readiness()))
            .answers(Answer::json(503, not_ready, schemas::readiness().but(json!({ "ready": false, "reason": "stopping" })))),
        get("/metrics", WHOLE_READ, metrics)
            .of_operators()
            .about(
                "metrics",
                TAG,
                "Metrics",
                "Counts for Prometheus: in its text format 0.0.4, or as OpenMetrics where `Accept` names that.",
            )
            .answers(
                Answer::new(200, "The counts.")
                    .in_type("text/plain", shown_as(plain_counts, "The text format, version 0.0.4."))
                    .in_type("application/openmetrics-text", shown_as(counts, "OpenMetrics 1.0.")),
            ),
        get("/openapi.json", Access::Anyone, openapi)
            .about("openapi", TAG, "This document", "The API for machines, as OpenAPI 3.1.")
            .answers(Answer::json(200, "The document.", document)),
        get("/docs", Access::Anyone, docs)
            .about("docs", TAG, "The reference", "The API for people: one page that needs no network and no script.")
            .answers(Answer::new(200, "The page.").in_type("text/html", schema::text())),
    ]
}

/// `GET /healthz`: the process is running.
pub async fn healthz(_context: Context) -> HandlerResult {
    Ok(answer::json(StatusCode::OK, &json!({ "status": "ok" })))
}

/// `GET /readyz`: whether the server is ready for requests.
pub async fn readyz(context: Context) -> HandlerResult {
    let (app, status) = (&context.app, context.app.status());
    let reason = app.not_ready().await;
    let code = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": reason.is_none(),
        "reason": reason,
        "read_only": status.is_read_only,
        "clock": {
            "leap_ms": app.clock.watched().and_then(|clock| clock.leapt()).map(|leap| leap.by_ms),
            "record_ahead_ms": app.ahead_of_clock_ms(),
        },
        "position": status.position,
        "history": { "position": status.history_position, "broken": status.is_history_broken },
        "version": env!("CARGO_PKG_VERSION"),
    });
    Ok(answer::json(code, &body))
}

/// `GET /v1/server`: the server's status, for operators.
pub async fn server(context: Context) -> HandlerResult {
    context.query([])?;
    let (app, status) = (&context.app, context.app.status());
    let journal = app.backend.engine().map(|engine| journal(&engine.journal_work()));
    let mut body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "mode": if journal.is_some() { "single" } else { "scaled" },
        "time": times::format(app.clock.now()),
        "uptime_ms": clock::elapsed_ms(),
        "read_only": status.is_read_only,
        "position": status.position,
        "snapshot_position": status.snapshot_position,
        "history": { "position": status.history_position, "broken": status.is_history_broken },
        "journal": journal,
        "requests_in_flight": app.edge.auth.in_flight(),
        "requests_max": app.edge.limits.requests_max,
        "live_clients": app.live.clients_count(),
        "live_campaigns": app.live.channels_count(),
        "request_keys": status.counts.requests,
        "keys": !app.edge.auth.needs_no_credential(),
    });
    if let Some(body) = body.as_object_mut() {
        // The number of keys is shown only to callers that may list them.
        for (kind, aggregates, entries) in status.counts.kinds().filter(|(kind, ..)| kind.is_served()) {
            body.insert(kind.path().to_owned(), json!(aggregates));
            body.insert(kind.entries().to_owned(), json!(entries));
        }
    }
    Ok(answer::json(StatusCode::OK, &body))
}

fn journal(work: &JournalWork) -> Value {
    let micros = |per_mille| work.times.quantile(per_mille).and_then(|time| u64::try_from(time.as_micros()).ok());
    json!({
        "commits": work.commits,
        "records": work.records,
        "batch_records_last": work.records_last,
        "batch_records_max": work.records_max,
        "records_waiting": work.waiting,
        "sync_p50_us": micros(500),
        "sync_p99_us": micros(990),
        "sync_max_us": micros(1_000),
    })
}

/// `GET /metrics`: for Prometheus.
pub async fn metrics(context: Context) -> HandlerResult {
    let open = context.app.metrics.text(&context.app).map_err(|error| Problem::new("internal", error.to_string()))?;
    let mut response =
        if text::wants_open_metrics(&accepted(&context.headers)) { typed(open, OPEN_METRICS) } else { typed(text::plain(&open), PLAIN) };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// `GET /openapi.json`: the API for machines.
pub async fn openapi(_context: Context) -> HandlerResult {
    Ok(typed(document::JSON.as_str(), "application/json"))
}

/// `GET /docs`: the API for people; needs no network.
pub async fn docs(_context: Context) -> HandlerResult {
    let response = typed(docs_page::html(), "text/html; charset=utf-8");
    Ok(with_header(
        response,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    ))
}

fn typed(text: impl Into<Body>, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
