//! From a table of routes to a router: a request's path through rate limits, authentication, admission and
//! its handler to a response.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::routing::{MethodFilter, MethodRouter, on};
use tower_http::cors::CorsLayer;

use crate::auth::admission::Permit;
use crate::auth::caller::Caller;
use crate::auth::{Access, Pool, RequestHead};
use crate::clock;
use crate::context::{Context, IDEMPOTENCY_KEY, X_REQUEST_ID, request_id_of, unread};
use crate::gateway::{LimitDecisions, UNLIMITED};
use crate::message;
use crate::pause::PauseFor;
use crate::problem::{HandlerResult, Problem};
use crate::response::{REPLAYED, with_header};
use crate::shared::{Application, Edge};

/// The path's parameters, or which of them is not UTF-8.
type Params = Result<RawPathParams, RawPathParamsRejection>;

/// A line of the table of routes of the application `A`.
#[derive(Debug)]
pub struct Route<A> {
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// The method.
    pub method: Method,
    /// Who may call.
    pub access: Access,
    /// Which capacity the call counts against. Calls for operators are served at the admin address only,
    /// where there is one.
    pub pool: Pool,
    serve: MethodRouter<Arc<A>>,
}

/// How long a browser may cache the response to a preflight request.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);

/// The routes of the public address, where operators have an address of their own.
#[must_use]
pub fn without_operators<A>(table: Vec<Route<A>>) -> Vec<Route<A>> {
    table.into_iter().filter(|route| route.pool != Pool::Operators).collect()
}

/// The router over a table. `exposed` names the application's own response headers that web pages of other
/// origins may read.
pub fn router<A: Application>(app: Arc<A>, table: Vec<Route<A>>, exposed: &[HeaderName]) -> Router {
    let cors = cors(app.edge().auth.origins(), exposed);
    let router = table.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.serve));
    let missing = |State(app): State<Arc<A>>, request: Request| async move {
        if let Some(location) = without_slash(&request) {
            return moved(app.edge(), request, &location);
        }
        refuse(app.edge(), request, Problem::new("not_found", "there is nothing at this path; /docs lists what there is"))
    };
    let wrong_method = |State(app): State<Arc<A>>, request: Request| async move {
        refuse(app.edge(), request, Problem::new("method_not_allowed", "the path exists, but not with this method"))
    };
    let router = router.fallback(missing).method_not_allowed_fallback(wrong_method).with_state(app);
    cors.map_or(router.clone(), |cors| router.layer(cors))
}

/// Where a page's path with a slash at its end leads without it, as people and content systems type it:
/// `/c/spring/`. Relative, so that it is right behind a proxy that adds a path, and can name no other host.
/// Calls of the API have one path each: a program that asks for another one has a mistake to be told of.
fn without_slash(request: &Request) -> Option<String> {
    let path = request.uri().path();
    let (_, last) = path.strip_suffix('/').filter(|_| [Method::GET, Method::HEAD].contains(request.method()))?.rsplit_once('/')?;
    if last.is_empty() || path.starts_with("/v1/") {
        return None;
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("../{last}{query}"))
}

/// What web pages of these origins may send and read.
fn cors(origins: &[HeaderValue], exposed: &[HeaderName]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let prefer = HeaderName::from_static("prefer");
    let sent =
        [header::AUTHORIZATION, prefer, header::CONTENT_TYPE, header::IF_MATCH, header::IF_NONE_MATCH, IDEMPOTENCY_KEY, X_REQUEST_ID];
    let limits = [HeaderName::from_static("ratelimit-policy"), HeaderName::from_static("ratelimit")];
    let seen = [header::ETAG, header::LOCATION, header::RETRY_AFTER, REPLAYED].into_iter().chain(exposed.iter().cloned());
    let seen = seen.chain([X_REQUEST_ID]).chain(limits);
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    Some(
        CorsLayer::new()
            .allow_origin(origins.to_vec())
            .allow_methods(methods)
            .allow_headers(sent)
            .expose_headers(seen.collect::<Vec<_>>())
            .max_age(CORS_MAX_AGE),
    )
}

/// A line of the table.
pub fn route<A, H, F>(path: &'static str, method: Method, access: Access, handler: H) -> Route<A>
where
    A: Application,
    H: Fn(Context<A>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = HandlerResult> + Send,
{
    line(path, method, access, Pool::Public, handler)
}

/// A line of the table for a call of operators.
pub fn operators<A, H, F>(path: &'static str, method: Method, access: Access, handler: H) -> Route<A>
where
    A: Application,
    H: Fn(Context<A>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = HandlerResult> + Send,
{
    line(path, method, access, Pool::Operators, handler)
}

fn line<A, H, F>(path: &'static str, method: Method, access: Access, pool: Pool, handler: H) -> Route<A>
where
    A: Application,
    H: Fn(Context<A>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = HandlerResult> + Send,
{
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    let is_limited = !UNLIMITED.contains(&path);
    let info = Arc::new(RouteInfo { path, method: method.clone(), access, pool, is_limited });
    let serve = on(filter, move |State(app): State<Arc<A>>, params: Params, request: Request| {
        let (handler, info) = (handler.clone(), Arc::clone(&info));
        async move { serve_one(app, params, request, &handler, &info).await }
    });
    Route { path, method, access, pool, serve }
}

/// The parts of a route that serving a request needs.
struct RouteInfo {
    path: &'static str,
    method: Method,
    access: Access,
    pool: Pool,
    /// Whether the rate limits in front apply.
    is_limited: bool,
}

/// Serves one request.
async fn serve_one<A, H, F>(app: Arc<A>, params: Params, mut request: Request, handler: &H, route: &RouteInfo) -> Response<Body>
where
    A: Application,
    H: Fn(Context<A>) -> F,
    F: Future<Output = HandlerResult>,
{
    let edge = app.edge();
    let started = clock::elapsed();
    let request_id = request_id_of(edge, request.headers());
    let (mut pause_for, mut limits) = (None, LimitDecisions::default());
    // Debug output of the headers then shows that there is a credential, but not its value.
    if let Some(credential) = request.headers_mut().get_mut(header::AUTHORIZATION) {
        credential.set_sensitive(true);
    }
    let result = match admit(edge, &request, route, &mut limits) {
        // The permit is held until the handler returns.
        Ok((caller, _permit)) => {
            // Calls for anyone take no body, and an anonymous client's body is not kept in memory.
            let request = if route.access == Access::Anyone { request.map(|_| Body::empty()) } else { request };
            let context = Context::read(Arc::clone(&app), request_id.clone(), caller, params, request).await;
            match context.and_then(|context| limit_caller(edge, context, route, &mut limits)) {
                Ok(context) => handler(context).await.inspect_err(|problem| edge.gateway.return_subject(&mut limits, problem)),
                Err(problem) => Err(problem),
            }
        }
        Err((problem, pause)) => {
            pause_for = pause.map(PauseFor);
            Err(unread(problem, request))
        }
    };
    let (mut response, code) = match result {
        Ok(response) => (response, ""),
        Err(problem) => (problem.clone().into_response(&request_id), problem.code()),
    };
    edge.gateway.add_fields(&limits, response.headers_mut());
    if let Some(pause_for) = pause_for {
        response.extensions_mut().insert(pause_for);
    }
    let seconds = clock::elapsed().saturating_sub(started).as_secs_f64();
    edge.metrics.answered(route.path, &route.method, response.status(), code, seconds);
    log(&request_id, route, response.status(), code, seconds);
    finished(edge, response, &request_id)
}

/// The caller and its permit; or the refusal, and how long the connection is then not read.
type Admitted = Result<(Caller, Option<Permit>), (Problem, Option<Duration>)>;

fn admit(edge: &Edge, request: &Request, route: &RouteInfo, limits: &mut LimitDecisions) -> Admitted {
    message::check(request).map_err(|malformed| (malformed, None))?;
    if route.is_limited {
        edge.gateway.check_address(request, limits, &edge.metrics).map_err(|limited| (limited, None))?;
    }
    let head = RequestHead { headers: request.headers(), uri: request.uri(), now: edge.clock.now() };
    edge.auth.admit(&head, route.access, route.pool).map_err(|denied| {
        let pause = denied.pause();
        (denied.into(), pause)
    })
}

/// Applies the limits per key and per subject. A call for anyone has no caller to count.
fn limit_caller<A>(edge: &Edge, mut context: Context<A>, route: &RouteInfo, limits: &mut LimitDecisions) -> Result<Context<A>, Problem> {
    if route.is_limited && route.access != Access::Anyone {
        edge.gateway.check_caller(&mut context, limits, &edge.metrics)?;
    }
    Ok(context)
}

fn log(request_id: &str, RouteInfo { path, method, .. }: &RouteInfo, status: StatusCode, code: &str, seconds: f64) {
    let status = status.as_u16();
    if 500 <= status {
        tracing::warn!(request_id, %method, path, status, code, seconds, "answered");
    } else {
        tracing::debug!(request_id, %method, path, status, code, seconds, "answered");
    }
}

fn moved(edge: &Edge, request: Request, location: &str) -> Response<Body> {
    let mut limits = LimitDecisions::default();
    if let Err(limited) = edge.gateway.check_address(&request, &mut limits, &edge.metrics) {
        return refuse(edge, request, limited);
    }
    let request_id = request_id_of(edge, request.headers());
    edge.metrics.answered("other", &Method::GET, StatusCode::PERMANENT_REDIRECT, "", 0.0);
    let mut response = with_header(Response::new(Body::empty()), header::LOCATION, location);
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    edge.gateway.add_fields(&limits, response.headers_mut());
    finished(edge, response, &request_id)
}

fn refuse(edge: &Edge, request: Request, problem: Problem) -> Response<Body> {
    let request_id = request_id_of(edge, request.headers());
    let mut limits = LimitDecisions::default();
    let checked = message::check(&request).and_then(|()| edge.gateway.check_address(&request, &mut limits, &edge.metrics));
    let problem = checked.err().unwrap_or(problem);
    edge.metrics.answered("other", &Method::GET, problem.status(), problem.code(), 0.0);
    tracing::debug!(request_id, method = %request.method(), path = request.uri().path(), code = problem.code(), "answered");
    let mut response = unread(problem, request).into_response(&request_id);
    edge.gateway.add_fields(&limits, response.headers_mut());
    finished(edge, response, &request_id)
}

/// Adds the headers of every response. Responses contain coupon codes and names: caches must not store
/// them, and pages must not embed them.
fn finished(edge: &Edge, mut response: Response<Body>, request_id: &str) -> Response<Body> {
    let headers = response.headers_mut();
    if edge.uses_tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, value);
    }
    response
}
