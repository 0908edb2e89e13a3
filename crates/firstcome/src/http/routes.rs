//! Which handler serves which path. The OpenAPI document is held against this table by a test.

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

use super::answer::REPLAYED;
use super::context::{Context, IDEMPOTENCY_KEY, X_REQUEST_ID, request_id_of, unread};
use super::lists::AS_OF;
use super::pause::TurnedAway;
use super::problem::Problem;
use super::{answers, campaigns, checks, claims, codes, demonstration, keys, lists, live, meta, policies, web};
use crate::app::App;
use crate::clock;
use crate::doors::admission::Place;
use crate::doors::caller::{Caller, Scope};
use crate::doors::{Access, Knock, Lane};
use crate::gateway::{Passage, UNLIMITED};

/// The path's parameters, or what about them is no text.
type Params = Result<RawPathParams, RawPathParamsRejection>;

/// A path, a method, who may call, and who serves it.
#[derive(Debug)]
pub struct Route {
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// The method.
    pub method: Method,
    /// Who may call.
    pub access: Access,
    /// Whose call it is: an operator's is on the admin address, where there is one.
    pub lane: Lane,
    serve: MethodRouter<Arc<App>>,
}

/// How long a browser may remember what it may ask.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);
const READ: Access = Access::Scope(Scope::Read);
const ISSUE: Access = Access::Scope(Scope::Issue);
const REDEEM: Access = Access::Scope(Scope::Redeem);
/// Rate limits are asked by services, not by end users, and belong to no campaign.
const COUNTED: Access = Access::WholeScope(Scope::Issue);
const ADMIN: Access = Access::KeyScope(Scope::Admin);

/// Every path and method that the program serves.
#[must_use]
pub fn table() -> Vec<Route> {
    vec![
        route("/v1/campaigns", Method::GET, READ, campaigns::list),
        route("/v1/campaigns/{campaign}", Method::GET, READ, campaigns::read),
        operators("/v1/campaigns/{campaign}", Method::PUT, ADMIN, campaigns::put),
        operators("/v1/campaigns/{campaign}", Method::PATCH, ADMIN, campaigns::patch),
        route("/v1/campaigns/{campaign}/claims", Method::GET, Access::KeyScope(Scope::Read), lists::of_campaign),
        route("/v1/campaigns/{campaign}/claims", Method::POST, ISSUE, live::claim),
        route("/v1/campaigns/{campaign}/live", Method::GET, READ, live::live),
        route("/v1/campaigns/{campaign}/claims/{subject}", Method::GET, READ, claims::read),
        route("/v1/campaigns/{campaign}/claims/{subject}", Method::DELETE, ISSUE, claims::cancel),
        route("/v1/campaigns/{campaign}/claims/{subject}/redeem", Method::POST, REDEEM, claims::redeem),
        route("/v1/campaigns/{campaign}/codes/{code}", Method::GET, READ, codes::read),
        route("/v1/campaigns/{campaign}/codes/{code}/redeem", Method::POST, REDEEM, codes::redeem),
        route("/v1/subjects/{subject}/claims", Method::GET, READ, lists::of_subject),
        route("/v1/answers/{answer}", Method::GET, ISSUE, answers::read),
        route("/v1/answers/{answer}/live", Method::GET, ISSUE, answers::live),
        route("/v1/policies", Method::GET, COUNTED, policies::list),
        route("/v1/policies/{policy}", Method::GET, COUNTED, policies::read),
        operators("/v1/policies/{policy}", Method::PUT, ADMIN, policies::put),
        operators("/v1/policies/{policy}", Method::DELETE, ADMIN, policies::remove),
        operators("/v1/policies/{policy}/overrides", Method::GET, ADMIN, policies::overrides),
        operators("/v1/policies/{policy}/overrides/{limit_key}", Method::PUT, ADMIN, policies::put_override),
        operators("/v1/policies/{policy}/overrides/{limit_key}", Method::DELETE, ADMIN, policies::remove_override),
        route("/v1/policies/{policy}/checks", Method::POST, COUNTED, checks::check),
        route("/v1/policies/{policy}/reservations", Method::POST, COUNTED, checks::reserve),
        route("/v1/policies/{policy}/refunds", Method::POST, COUNTED, checks::refund),
        route("/v1/policies/{policy}/resets", Method::POST, COUNTED, checks::reset),
        route("/v1/checks", Method::POST, COUNTED, checks::check_all),
        route("/v1/reservations/{reservation}/settle", Method::POST, COUNTED, checks::settle),
        route("/v1/leases/{lease}", Method::DELETE, COUNTED, checks::end),
        operators("/v1/server", Method::GET, Access::WholeScope(Scope::Read), meta::server),
        operators("/v1/demonstration", Method::GET, Access::KeyScope(Scope::Read), demonstration::read),
        operators("/v1/demonstration", Method::POST, ADMIN, demonstration::start),
        operators("/v1/keys", Method::GET, ADMIN, keys::list),
        operators("/v1/keys", Method::POST, ADMIN, keys::create),
        operators("/v1/keys/{key}", Method::GET, ADMIN, keys::read),
        operators("/v1/keys/{key}", Method::DELETE, ADMIN, keys::revoke),
        operators("/v1/keys/{key}/rotate", Method::POST, ADMIN, keys::rotate),
        route("/healthz", Method::GET, Access::Anyone, meta::healthz),
        route("/readyz", Method::GET, Access::Anyone, meta::readyz),
        operators("/metrics", Method::GET, Access::WholeScope(Scope::Read), meta::metrics),
        route("/openapi.json", Method::GET, Access::Anyone, meta::openapi),
        route("/docs", Method::GET, Access::Anyone, meta::docs),
        operators("/", Method::GET, Access::Anyone, web::console),
        route("/c/{campaign}", Method::GET, Access::Anyone, web::claim),
        route("/assets/{asset}", Method::GET, Access::Anyone, web::asset),
    ]
}

/// The part of a table that is served where operators have an address of their own.
#[must_use]
pub fn without_operators(table: Vec<Route>) -> Vec<Route> {
    table.into_iter().filter(|route| route.lane != Lane::Operators).collect()
}

/// The router over a table: [`table`], a part of it, or that and more.
pub fn router(app: Arc<App>, table: Vec<Route>) -> Router {
    let cors = cors(app.doors.origins());
    let router = table.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.serve));
    let missing = |State(app): State<Arc<App>>, request: Request| async move {
        refuse(&app, request, Problem::new("not_found", "there is nothing at this path; /docs lists what there is"))
    };
    let wrong_method = |State(app): State<Arc<App>>, request: Request| async move {
        refuse(&app, request, Problem::new("method_not_allowed", "the path exists, but not with this method"))
    };
    let router = router.fallback(missing).method_not_allowed_fallback(wrong_method).with_state(app);
    cors.map_or(router.clone(), |cors| router.layer(cors))
}

/// What pages of these origins may ask and see; nothing if there are none.
fn cors(origins: &[HeaderValue]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let prefer = HeaderName::from_static("prefer");
    let sent =
        [header::AUTHORIZATION, prefer, header::CONTENT_TYPE, header::IF_MATCH, header::IF_NONE_MATCH, IDEMPOTENCY_KEY, X_REQUEST_ID];
    let limits = [HeaderName::from_static("ratelimit-policy"), HeaderName::from_static("ratelimit")];
    let seen = [header::ETAG, header::LOCATION, header::RETRY_AFTER, REPLAYED, AS_OF, X_REQUEST_ID].into_iter().chain(limits);
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
pub fn route<H, F>(path: &'static str, method: Method, access: Access, handler: H) -> Route
where
    H: Fn(Context) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Problem>> + Send,
{
    line(path, method, access, Lane::Public, handler)
}

/// A line of the table that is for operators.
pub fn operators<H, F>(path: &'static str, method: Method, access: Access, handler: H) -> Route
where
    H: Fn(Context) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Problem>> + Send,
{
    line(path, method, access, Lane::Operators, handler)
}

fn line<H, F>(path: &'static str, method: Method, access: Access, lane: Lane, handler: H) -> Route
where
    H: Fn(Context) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Problem>> + Send,
{
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    let is_limited = !UNLIMITED.contains(&path);
    let place = Arc::new(Placed { path, method: method.clone(), access, lane, is_limited });
    let serve = on(filter, move |State(app): State<Arc<App>>, params: Params, request: Request| {
        let (handler, place) = (handler.clone(), Arc::clone(&place));
        async move { serve_one(app, params, request, &handler, &place).await }
    });
    Route { path, method, access, lane, serve }
}

/// What a request's answer needs to know of its line in the table.
struct Placed {
    path: &'static str,
    method: Method,
    access: Access,
    lane: Lane,
    /// Whether the gateway counts it.
    is_limited: bool,
}

/// One request, from its header to its answer.
async fn serve_one<H, F>(app: Arc<App>, params: Params, mut request: Request, handler: &H, placed: &Placed) -> Response<Body>
where
    H: Fn(Context) -> F,
    F: Future<Output = Result<Response<Body>, Problem>>,
{
    let started = clock::elapsed();
    let request_id = request_id_of(&app, request.headers());
    let (mut turned_away, mut passage) = (None, Passage::default());
    // Whatever shows it shows that it is there, and not what it is.
    if let Some(credential) = request.headers_mut().get_mut(header::AUTHORIZATION) {
        credential.set_sensitive(true);
    }
    let answer = match enter(&app, &request, placed, &mut passage) {
        Ok((caller, _place)) => {
            // What anybody may ask for has no body, and nobody's body is kept for it.
            let request = if placed.access == Access::Anyone { request.map(|_| Body::empty()) } else { request };
            let context = Context::read(Arc::clone(&app), request_id.clone(), caller, params, request).await;
            match context.and_then(|context| admit(&app, context, placed, &mut passage)) {
                Ok(context) => handler(context).await.inspect_err(|problem| app.gateway.refused(&mut passage, problem)),
                Err(problem) => Err(problem),
            }
        }
        Err((problem, pause)) => {
            turned_away = pause.map(TurnedAway);
            Err(unread(problem, request))
        }
    };
    let (mut response, code) = match answer {
        Ok(response) => (response, ""),
        Err(problem) => (problem.clone().into_response(&request_id), problem.code()),
    };
    app.gateway.add_fields(&passage, response.headers_mut());
    if let Some(turned_away) = turned_away {
        response.extensions_mut().insert(turned_away);
    }
    let seconds = clock::elapsed().saturating_sub(started).as_secs_f64();
    app.metrics.answered(placed.path, &placed.method, response.status(), code, seconds);
    log(&request_id, placed, response.status(), code, seconds);
    finished(&app, response, &request_id)
}

/// Who calls, and the place that the request takes; or why it goes no further, and how long its
/// connection is then not read.
type Entered = Result<(Caller, Option<Place>), (Problem, Option<Duration>)>;

fn enter(app: &App, request: &Request, placed: &Placed, passage: &mut Passage) -> Entered {
    if placed.is_limited {
        app.gateway.arrive(request, passage, &app.metrics).map_err(|limited| (limited, None))?;
    }
    let knock = Knock { headers: request.headers(), uri: request.uri(), now: app.clock.now() };
    app.doors.enter(&knock, placed.access, placed.lane).map_err(|refusal| {
        let pause = refusal.pause();
        (refusal.into(), pause)
    })
}

/// The request, if its caller may ask as often. Of those who need no key, nobody knows who they are.
fn admit(app: &App, mut context: Context, placed: &Placed, passage: &mut Passage) -> Result<Context, Problem> {
    if placed.is_limited && placed.access != Access::Anyone {
        app.gateway.admit(&mut context, passage, &app.metrics)?;
    }
    Ok(context)
}

fn log(request_id: &str, Placed { path, method, .. }: &Placed, status: StatusCode, code: &str, seconds: f64) {
    let status = status.as_u16();
    if 500 <= status {
        tracing::warn!(request_id, %method, path, status, code, seconds, "answered");
    } else {
        tracing::debug!(request_id, %method, path, status, code, seconds, "answered");
    }
}

fn refuse(app: &App, request: Request, problem: Problem) -> Response<Body> {
    let request_id = request_id_of(app, request.headers());
    let mut passage = Passage::default();
    let problem = app.gateway.arrive(&request, &mut passage, &app.metrics).err().unwrap_or(problem);
    app.metrics.answered("other", &Method::GET, problem.status(), problem.code(), 0.0);
    tracing::debug!(request_id, method = %request.method(), path = request.uri().path(), code = problem.code(), "answered");
    let mut response = unread(problem, request).into_response(&request_id);
    app.gateway.add_fields(&passage, response.headers_mut());
    finished(app, response, &request_id)
}

/// What every answer carries. Answers hold codes and names: no cache keeps them, and no page shows
/// them as its own.
fn finished(app: &App, mut response: Response<Body>, request_id: &str) -> Response<Body> {
    let headers = response.headers_mut();
    if app.uses_tls {
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
