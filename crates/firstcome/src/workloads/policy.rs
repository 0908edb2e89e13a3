//! Rate limits as a service: policies, the numbers of single keys, checks.

pub mod checks;
pub mod rules;

use domain::Kind;
use edge::auth::Access;
use edge::auth::caller::Scope;

use crate::http::aggregates;
use crate::http::calls::{ADMIN, Call, delete, get, patch, post, put};
use crate::http::once::once;

/// Rate limits are for services, not for end users, and belong to no campaign.
const COUNTED: Access = Access::WholeScope(Scope::Issue);

/// The calls.
#[must_use]
pub fn calls() -> Vec<Call> {
    vec![
        aggregates::listed(Kind::Policy, COUNTED),
        aggregates::shown(Kind::Policy, COUNTED),
        put("/v1/policies/{policy}", ADMIN, rules::put).of_operators(),
        patch("/v1/policies/{policy}", ADMIN, rules::patch).of_operators(),
        delete("/v1/policies/{policy}", ADMIN, rules::remove).of_operators(),
        get("/v1/policies/{policy}/overrides", ADMIN, rules::overrides).of_operators(),
        put("/v1/policies/{policy}/overrides/{limit_key}", ADMIN, rules::put_override).of_operators(),
        delete("/v1/policies/{policy}/overrides/{limit_key}", ADMIN, rules::remove_override).of_operators(),
        post("/v1/policies/{policy}/checks", COUNTED, |context| once(context, checks::check)),
        post("/v1/policies/{policy}/reservations", COUNTED, |context| once(context, checks::reserve)),
        post("/v1/policies/{policy}/refunds", COUNTED, |context| once(context, checks::refund)),
        post("/v1/policies/{policy}/resets", COUNTED, |context| once(context, checks::reset)),
        post("/v1/checks", COUNTED, |context| once(context, checks::check_all)),
        post("/v1/reservations/{reservation}/settle", COUNTED, |context| once(context, checks::settle)),
        delete("/v1/leases/{lease}", COUNTED, |context| once(context, checks::end)),
    ]
}
