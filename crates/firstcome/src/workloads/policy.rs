//! Rate limits as a service: policies, overrides for single keys, checks.

pub mod checks;
mod refusals;
pub mod rules;
mod schemas;

use axum::http::Method;
use domain::Kind;
use edge::auth::Access;
use edge::auth::caller::Scope;
use serde_json::json;

use self::schemas::{
    after_limit_key, check, checks as several, decision, decisions, ended, lease, limit_key, narrowed, numbers, overridden, refund,
    removed_override, reservation, reserve, reset, settle, settled,
};
use super::Table;
use crate::http::aggregates::Served;
use crate::http::calls::{ADMIN, Call, delete, get, post, put};
use crate::http::once::once;
use crate::http::openapi::describe::{Answer, limit, rate_limit_fields};
use crate::http::openapi::kinds::paged;
use crate::http::openapi::problem::field;
use crate::http::openapi::refusals::DECIDES;
use crate::http::openapi::schema::Schema;

/// Rate limits are for services, not for end users, and belong to no campaign.
const COUNTED: Access = Access::WholeScope(Scope::Issue);
const TAG: &str = "Rate limits";
const OUT_OF_RANGE: &[&str] =
    &["quota_out_of_range", "log_quota_out_of_range", "window_out_of_range", "burst_out_of_range", "burst_not_used"];

/// The rate limits' part of the API.
pub const TABLE: Table = Table {
    kind: Kind::Policy,
    calls,
    codes: refusals::CODES,
    wordings: refusals::WORDINGS,
    tags: &[(TAG, "Who may ask how often, for services of yours.")],
    problem_members: || vec![field(OUT_OF_RANGE)],
};

/// The calls.
fn calls() -> Vec<Call> {
    let policies = policies().calls().into_iter().map(|call| match call.method {
        Method::PUT => call.served_by(rules::put),
        Method::PATCH => call.served_by(rules::patch),
        Method::DELETE => call.served_by(rules::remove),
        _ => call,
    });
    policies.chain(of_overrides()).chain(of_checks()).chain(of_reservations()).collect()
}

fn policies() -> Served {
    let example = json!({ "algorithm": "leaky_bucket", "quota": 10, "window_ms": 1_000, "burst": 19 });
    Served {
        patch_example: json!({ "quota": 20 }),
        refusals: &[
            "policy_has_overrides",
            "quota_out_of_range",
            "log_quota_out_of_range",
            "window_out_of_range",
            "burst_out_of_range",
            "burst_not_used",
            "in_flight_out_of_range",
        ],
        notes: [
            " The policy is kept like a campaign; what its keys have taken is in the memory of each server. If the rule differs from \
             the one before, every key is full again.",
            " If the rule differs from the one before, every key is full again.",
            " Its overrides end with it, and checks of it are refused from then on.",
        ],
        narrowed,
        ..Served::plain(Kind::Policy, COUNTED, TAG, example)
    }
}

fn of_overrides() -> [Call; 3] {
    let path = "/v1/policies/{policy}/overrides/{limit_key}";
    [
        get("/v1/policies/{policy}/overrides", ADMIN, rules::overrides)
            .about("listOverrides", TAG, "List overrides", "The keys that have numbers of their own, in order.")
            .takes([after_limit_key(), limit()])
            .reads()
            .refuses(&["policy_not_found"])
            .answers(Answer::json(200, "A page of them.", paged("overrides", overridden(), "").named("OverridePage"))),
        put(path, ADMIN, rules::put_override)
            .about(
                "putOverride",
                TAG,
                "Give one key other numbers",
                "The key has these numbers instead of the policy's. If they differ from the ones before, it is full again. Journaled.",
            )
            .takes([limit_key()])
            .keyed()
            .body(numbers())
            .refuses(DECIDES)
            .refuses(&["policy_not_found", "override_not_possible"])
            .refuses(OUT_OF_RANGE)
            .refused(409, "The policy limits what is in flight.")
            .answers(Answer::json(200, "The override.", overridden())),
        delete(path, ADMIN, rules::remove_override)
            .about("removeOverride", TAG, "Give one key the policy's numbers again", "The key is full again.")
            .takes([limit_key()])
            .keyed()
            .refuses(DECIDES)
            .refuses(&["policy_not_found", "override_not_found"])
            .answers(Answer::json(200, "Which it was.", removed_override())),
    ]
    .map(Call::of_operators)
}

/// The common parts of calls on a policy's counters.
fn counted(call: Call, body: Schema, answer: Answer) -> Call {
    call.keyed_in_memory()
        .body(body)
        .reads()
        .refuses(&["policy_not_found", "policy_of_other_kind", "memory_limit"])
        .refused(409, "The policy limits something else.")
        .answers(answer.headed(rate_limit_fields()).later())
}

fn of_checks() -> [Call; 5] {
    let as_decided = decision().but(json!({ "remaining": 12, "reservation": schemas::HELD }));
    let as_reset = decision().but(json!({ "remaining": 20, "reset_after_ms": 0 }));
    let checked = post("/v1/policies/{policy}/checks", COUNTED, |context| once(context, checks::check)).about(
        "check",
        TAG,
        "Check a key",
        "Takes `cost` from the key if it conforms, and nothing otherwise. A cost of 0 only looks. 200 whether it may go on or not: \
         `allowed` says so. Under an `in_flight` policy what is allowed holds a `lease`, to be given back.",
    );
    let reserved = post("/v1/policies/{policy}/reservations", COUNTED, |context| once(context, checks::reserve)).about(
        "reserve",
        TAG,
        "Reserve an estimate",
        "Takes an estimate now, to be settled with the actual cost. An estimate that is not settled in time stays taken.",
    );
    let refunded = post("/v1/policies/{policy}/refunds", COUNTED, |context| once(context, checks::refund));
    let forgotten = post("/v1/policies/{policy}/resets", COUNTED, |context| once(context, checks::reset));
    let several_checked = post("/v1/checks", COUNTED, |context| once(context, checks::check_all)).about(
        "checkAll",
        TAG,
        "Check several keys at once",
        "Each takes its cost if all are allowed; otherwise none takes anything. The same key of the same policy twice is asked for the \
         sum.",
    );
    [
        counted(checked, check(), Answer::json(200, "The decision.", decision())),
        counted(reserved, reserve(), Answer::json(200, "The decision, and the `reservation` if it conforms.", as_decided)),
        counted(
            refunded.about("refund", TAG, "Give units back", "A key never has more left than its limit."),
            refund(),
            Answer::json(200, "How the key stands.", decision()),
        ),
        counted(
            forgotten.about("reset", TAG, "Forget what a key has taken", "It is full again."),
            reset(),
            Answer::json(200, "How the key stands.", as_reset),
        ),
        counted(several_checked, several(), Answer::json(200, "The decisions, in the order asked.", decisions())),
    ]
}

fn of_reservations() -> [Call; 2] {
    [
        post("/v1/reservations/{reservation}/settle", COUNTED, |context| once(context, checks::settle))
            .about(
                "settle",
                TAG,
                "Settle a reservation",
                "Puts the actual cost in the place of the estimate, once. What was too much comes back, as far as time has not brought it \
                 back already; what was too little is taken on top.",
            )
            .takes([reservation()])
            .keyed_in_memory()
            .body(settle())
            .reads()
            .refuses(&["reservation_not_found", "reservation_expired", "memory_limit"])
            .refused(409, "It is too late.")
            .answers(Answer::json(200, "It is settled.", settled())),
        delete("/v1/leases/{lease}", COUNTED, |context| once(context, checks::end))
            .about("endLease", TAG, "Give a lease back", "The request that held it is over.")
            .takes([lease()])
            .keyed_in_memory()
            .reads()
            .refuses(&["lease_not_found", "memory_limit"])
            .answers(Answer::json(200, "It was held.", ended())),
    ]
}
