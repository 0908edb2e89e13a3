//! Which handler serves which path. The OpenAPI document is held against this table by a test.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::context::{Context, request_id_of};
use super::problem::Problem;
use super::{campaigns, claims, codes, lists, meta};
use crate::app::App;
use crate::clock;

/// The path's parameters, or what about them is no text.
type Params = Result<RawPathParams, RawPathParamsRejection>;

/// A path, a method, and who serves it.
#[derive(Debug)]
pub struct Route {
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// The method.
    pub method: Method,
    serve: MethodRouter<Arc<App>>,
}

/// Every path and method that the program serves.
#[must_use]
pub fn table() -> Vec<Route> {
    vec![
        route("/v1/campaigns", Method::GET, campaigns::list),
        route("/v1/campaigns/{campaign}", Method::GET, campaigns::read),
        route("/v1/campaigns/{campaign}", Method::PUT, campaigns::put),
        route("/v1/campaigns/{campaign}", Method::PATCH, campaigns::patch),
        route("/v1/campaigns/{campaign}/claims", Method::GET, lists::of_campaign),
        route("/v1/campaigns/{campaign}/claims", Method::POST, claims::claim),
        route("/v1/campaigns/{campaign}/claims/{subject}", Method::GET, claims::read),
        route("/v1/campaigns/{campaign}/claims/{subject}", Method::DELETE, claims::cancel),
        route("/v1/campaigns/{campaign}/claims/{subject}/redeem", Method::POST, claims::redeem),
        route("/v1/campaigns/{campaign}/codes/{code}", Method::GET, codes::read),
        route("/v1/campaigns/{campaign}/codes/{code}/redeem", Method::POST, codes::redeem),
        route("/v1/subjects/{subject}/claims", Method::GET, lists::of_subject),
        route("/healthz", Method::GET, meta::healthz),
        route("/readyz", Method::GET, meta::readyz),
        route("/metrics", Method::GET, meta::metrics),
        route("/openapi.json", Method::GET, meta::openapi),
        route("/docs", Method::GET, meta::docs),
        route("/", Method::GET, meta::home),
    ]
}

/// The router over a table: [`table`], or that and more.
pub fn router(app: Arc<App>, table: Vec<Route>) -> Router {
    let router = table.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.serve));
    let missing = |State(app): State<Arc<App>>, request: Request| async move {
        refuse(&app, &request, Problem::new("not_found", "there is nothing at this path; /docs lists what there is"))
    };
    let wrong_method = |State(app): State<Arc<App>>, request: Request| async move {
        refuse(&app, &request, Problem::new("method_not_allowed", "the path exists, but not with this method"))
    };
    router.fallback(missing).method_not_allowed_fallback(wrong_method).with_state(app)
}

/// A line of the table.
pub fn route<H, F>(path: &'static str, method: Method, handler: H) -> Route
where
    H: Fn(Context) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Problem>> + Send,
{
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    let labels = (path, method.clone());
    let serve = on(filter, move |State(app): State<Arc<App>>, params: Params, request: Request| {
        let (handler, labels) = (handler.clone(), labels.clone());
        async move { serve_one(app, params, request, &handler, &labels).await }
    });
    Route { path, method, serve }
}

/// One request, from its header to its answer.
async fn serve_one<H, F>(app: Arc<App>, params: Params, request: Request, handler: &H, labels: &(&'static str, Method)) -> Response<Body>
where
    H: Fn(Context) -> F,
    F: Future<Output = Result<Response<Body>, Problem>>,
{
    let started = clock::elapsed();
    let request_id = request_id_of(&app, request.headers());
    let answer = match Context::read(Arc::clone(&app), request_id.clone(), params, request).await {
        Ok(context) => handler(context).await,
        Err(problem) => Err(problem),
    };
    let (response, code) = match answer {
        Ok(response) => (response, ""),
        Err(problem) => (problem.clone().into_response(&request_id), problem.code()),
    };
    let seconds = clock::elapsed().saturating_sub(started).as_secs_f64();
    app.metrics.answered(labels, response.status(), code, seconds);
    log(&request_id, labels, response.status(), code, seconds);
    with_request_id(response, &request_id)
}

fn log(request_id: &str, (path, method): &(&'static str, Method), status: StatusCode, code: &str, seconds: f64) {
    let status = status.as_u16();
    if 500 <= status {
        tracing::warn!(request_id, %method, path, status, code, seconds, "answered");
    } else {
        tracing::debug!(request_id, %method, path, status, code, seconds, "answered");
    }
}

fn refuse(app: &App, request: &Request, problem: Problem) -> Response<Body> {
    let request_id = request_id_of(app, request.headers());
    app.metrics.answered(&("other", Method::GET), problem.status(), problem.code(), 0.0);
    tracing::debug!(request_id, method = %request.method(), path = request.uri().path(), code = problem.code(), "answered");
    with_request_id(problem.into_response(&request_id), &request_id)
}

fn with_request_id(mut response: Response<Body>, request_id: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
    }
    response
}
