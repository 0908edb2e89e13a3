//! The table of routes. Tests compare it with the OpenAPI document.

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use domain::Kind;
use edge::auth::Access;
use edge::auth::caller::Scope;
pub use edge::route::{operators, route, without_operators};

use super::lists::AS_OF;
use super::once::once;
use super::{aggregates, answers, checks, claims, codes, demonstration, keys, lists, live, meta, policies, web};
use crate::app::App;

/// A line of the table.
pub type Route = edge::route::Route<App>;

const READ: Access = Access::Scope(Scope::Read);
const ISSUE: Access = Access::Scope(Scope::Issue);
const REDEEM: Access = Access::Scope(Scope::Redeem);
/// Rate limits are for services, not for end users, and belong to no campaign.
const COUNTED: Access = Access::WholeScope(Scope::Issue);
const ADMIN: Access = Access::KeyScope(Scope::Admin);

/// Every path and method of the program.
#[must_use]
pub fn table() -> Vec<Route> {
    vec![
        route("/v1/campaigns", Method::GET, READ, |context| aggregates::list(context, Kind::Campaign)),
        route("/v1/campaigns/{campaign}", Method::GET, READ, |context| aggregates::read(context, Kind::Campaign)),
        operators("/v1/campaigns/{campaign}", Method::PUT, ADMIN, |context| aggregates::put(context, Kind::Campaign)),
        operators("/v1/campaigns/{campaign}", Method::PATCH, ADMIN, |context| aggregates::patch(context, Kind::Campaign)),
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
        route("/v1/policies", Method::GET, COUNTED, |context| aggregates::list(context, Kind::Policy)),
        route("/v1/policies/{policy}", Method::GET, COUNTED, |context| aggregates::read(context, Kind::Policy)),
        operators("/v1/policies/{policy}", Method::PUT, ADMIN, policies::put),
        operators("/v1/policies/{policy}", Method::PATCH, ADMIN, policies::patch),
        operators("/v1/policies/{policy}", Method::DELETE, ADMIN, policies::remove),
        operators("/v1/policies/{policy}/overrides", Method::GET, ADMIN, policies::overrides),
        operators("/v1/policies/{policy}/overrides/{limit_key}", Method::PUT, ADMIN, policies::put_override),
        operators("/v1/policies/{policy}/overrides/{limit_key}", Method::DELETE, ADMIN, policies::remove_override),
        route("/v1/policies/{policy}/checks", Method::POST, COUNTED, |context| once(context, checks::check)),
        route("/v1/policies/{policy}/reservations", Method::POST, COUNTED, |context| once(context, checks::reserve)),
        route("/v1/policies/{policy}/refunds", Method::POST, COUNTED, |context| once(context, checks::refund)),
        route("/v1/policies/{policy}/resets", Method::POST, COUNTED, |context| once(context, checks::reset)),
        route("/v1/checks", Method::POST, COUNTED, |context| once(context, checks::check_all)),
        route("/v1/reservations/{reservation}/settle", Method::POST, COUNTED, |context| once(context, checks::settle)),
        route("/v1/leases/{lease}", Method::DELETE, COUNTED, |context| once(context, checks::end)),
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

/// The router over a table: [`table`], a part of it, or that and more.
pub fn router(app: Arc<App>, table: Vec<Route>) -> Router {
    edge::route::router(app, table, &[AS_OF])
}
