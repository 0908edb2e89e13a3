//! The calls on the counters: checks, reservations, refunds, resets, leases.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use domain::types::{LimitKey, Name};
use domain::{Kind, Rejection};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rules::{find, policy_of};
use crate::backend::Declined;
use crate::http::answer;
use crate::http::context::Context;
use crate::http::problem::{HandlerResult, Problem, problem};
use crate::limits::{Check, LimitRefusal, Limited};
use edge::input::{Whole, parse};

/// Most checks in one call.
pub const CHECKS_MAX: usize = 16;
/// The longest time in which a reservation can be settled, in milliseconds: a day.
pub(super) const RESERVATION_MS_MAX: u64 = 86_400_000;
const MS_NS: u64 = 1_000_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckBody {
    key: String,
    #[serde(default)]
    cost: Option<Whole>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedCheckBody {
    policy: String,
    key: String,
    #[serde(default)]
    cost: Option<Whole>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChecksBody {
    checks: Vec<NamedCheckBody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReserveBody {
    key: String,
    cost: Whole,
    timeout_ms: Whole,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CostBody {
    key: String,
    cost: Whole,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    key: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettleBody {
    cost: Whole,
}

/// A decision in the API. Times are in milliseconds, rounded up.
#[derive(Debug, Serialize)]
struct DecisionJson<'a> {
    policy: &'a str,
    key: &'a str,
    allowed: bool,
    /// Why the request does not conform: `not_until` or `exceeds_burst`; null if it does. In shadow mode, a
    /// request that does not conform is allowed.
    refusal: Option<&'static str>,
    limit: u32,
    remaining: u32,
    reset_after_ms: u64,
    retry_after_ms: Option<u64>,
}

impl<'a> DecisionJson<'a> {
    fn new(limited: &'a Limited, key: &'a str) -> Self {
        let decision = &limited.decision;
        Self {
            policy: &limited.policy,
            key,
            allowed: decision.is_allowed(),
            refusal: decision.verdict.code(),
            limit: decision.limit,
            remaining: decision.remaining,
            reset_after_ms: decision.reset_after_ns.div_ceil(MS_NS),
            retry_after_ms: decision.retry_after_ns().map(|nanos| nanos.div_ceil(MS_NS)),
        }
    }
}

/// `POST /v1/policies/{policy}/checks`
pub async fn check(context: Context) -> HandlerResult {
    let (policy, body): (_, CheckBody) = asked(&context).await?;
    let check = Check { policy, key: key_of(&body.key)?, cost: cost_of(body.cost.unwrap_or(Whole(1)))? };
    let limited = context.app.rate_limits.check(&check)?;
    Ok(told(&limited, &body.key, "lease"))
}

/// `POST /v1/checks`
pub async fn check_all(context: Context) -> HandlerResult {
    context.query([])?;
    let body: ChecksBody = parse(context.json_body("application/json")?)?;
    if !(1..=CHECKS_MAX).contains(&body.checks.len()) {
        return Err(Problem::field("checks", format!("must hold 1 to {CHECKS_MAX} checks")));
    }
    let checks = body.checks.iter().map(|check| {
        let policy = Name::new(&check.policy).map_err(|error| Problem::field("policy", error.to_string()))?;
        Ok(Check { policy, key: key_of(&check.key)?, cost: cost_of(check.cost.unwrap_or(Whole(1)))? })
    });
    let checks = checks.collect::<Result<Vec<_>, Problem>>()?;
    for check in &checks {
        find(&context.app, check.policy).await?;
    }
    let limited = context.app.rate_limits.check_all(&checks)?;
    let allowed = limited.iter().all(|limited| limited.decision.is_allowed());
    let each: Vec<_> = limited.iter().zip(&checks).map(|(limited, check)| DecisionJson::new(limited, check.key.as_str())).collect();
    let response = answer::json(StatusCode::OK, &json!({ "allowed": allowed, "checks": each }));
    Ok(with_fields(response, &limited))
}

/// `POST /v1/policies/{policy}/reservations`
pub async fn reserve(context: Context) -> HandlerResult {
    let (policy, body): (_, ReserveBody) = asked(&context).await?;
    let check = Check { policy, key: key_of(&body.key)?, cost: cost_of(body.cost)? };
    let timeout_ms = Some(body.timeout_ms.0).filter(|timeout| (1..=RESERVATION_MS_MAX).contains(timeout));
    let timeout_ms = timeout_ms.ok_or_else(|| Problem::field("timeout_ms", format!("must be from 1 to {RESERVATION_MS_MAX}")))?;
    let limited = context.app.rate_limits.reserve(&check, timeout_ms.saturating_mul(MS_NS))?;
    Ok(told(&limited, &body.key, "reservation"))
}

/// `POST /v1/reservations/{reservation}/settle`
pub async fn settle(context: Context) -> HandlerResult {
    context.query([])?;
    let SettleBody { cost } = parse(context.json_body("application/json")?)?;
    let reservation = context.param("reservation");
    context.app.rate_limits.settle(reservation, cost_of(cost)?)?;
    Ok(answer::json(StatusCode::OK, &json!({ "reservation": reservation, "cost": cost.0 })))
}

/// `POST /v1/policies/{policy}/refunds`
pub async fn refund(context: Context) -> HandlerResult {
    let (policy, body): (_, CostBody) = asked(&context).await?;
    let check = Check { policy, key: key_of(&body.key)?, cost: cost_of(body.cost)? };
    Ok(told(&context.app.rate_limits.refund(&check)?, &body.key, "lease"))
}

/// `POST /v1/policies/{policy}/resets`
pub async fn reset(context: Context) -> HandlerResult {
    let (policy, body): (_, KeyBody) = asked(&context).await?;
    let check = Check { policy, key: key_of(&body.key)?, cost: 0 };
    Ok(told(&context.app.rate_limits.reset(&check)?, &body.key, "lease"))
}

/// `DELETE /v1/leases/{lease}`
pub async fn end(context: Context) -> HandlerResult {
    context.query([])?;
    context.no_body()?;
    let lease = context.param("lease");
    context.app.rate_limits.end(lease)?;
    Ok(answer::json(StatusCode::OK, &json!({ "lease": lease })))
}

async fn asked<'a, T: Deserialize<'a>>(context: &'a Context) -> Result<(Name<'a>, T), Problem> {
    let policy = policy_of(context)?;
    context.query([])?;
    let body = parse(context.json_body("application/json")?)?;
    find(&context.app, policy).await?;
    Ok((policy, body))
}

fn key_of(key: &str) -> Result<LimitKey<'_>, Problem> {
    LimitKey::new(key).map_err(|error| Problem::field("key", error.to_string()))
}

fn cost_of(Whole(cost): Whole) -> Result<u32, Problem> {
    u32::try_from(cost).map_err(|_| Problem::field("cost", "must be from 0 to 4294967295"))
}

/// A decision's response; `held` names the member for the reservation or lease.
fn told(limited: &Limited, key: &str, held: &str) -> Response<Body> {
    let mut body = json!(DecisionJson::new(limited, key));
    if let (Some(id), Some(body)) = (&limited.held, body.as_object_mut()) {
        body.insert(held.to_owned(), Value::String(id.clone()));
    }
    with_fields(answer::json(StatusCode::OK, &body), std::slice::from_ref(limited))
}

/// Adds `RateLimit-Policy`, `RateLimit` and `Retry-After`.
fn with_fields(mut response: Response<Body>, limited: &[Limited]) -> Response<Body> {
    let decisions = || limited.iter().map(|limited| (limited.policy.as_str(), &limited.decision));
    rate_limit_layer::fields::add_all(response.headers_mut(), decisions());
    let retry_after =
        limited.iter().filter(|limited| !limited.decision.is_allowed()).filter_map(|limited| limited.decision.retry_after_ns());
    if let Some(nanos) = retry_after.max() {
        let seconds = rate_limit_layer::fields::seconds_up(nanos);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

impl From<LimitRefusal> for Problem {
    fn from(refusal: LimitRefusal) -> Self {
        match refusal {
            LimitRefusal::PolicyNotFound => Declined::from(Rejection::NotFound(Kind::Policy)).into(),
            LimitRefusal::OtherKind => problem("policy_of_other_kind", "in_flight policies take checks of cost 1 and nothing else"),
            LimitRefusal::KeysFull => {
                Self::new("memory_limit", "as many keys are counted under the policy as may be").with("limit", json!("keys"))
            }
            LimitRefusal::HeldFull => {
                Self::new("memory_limit", "as many reservations or leases are held as may be").with("limit", json!("held"))
            }
            LimitRefusal::ReservationNotFound => problem("reservation_not_found", "it never was, has run out, or has been settled"),
            LimitRefusal::ReservationExpired => problem("reservation_expired", "it is too late; the estimate stays taken"),
            LimitRefusal::LeaseNotFound => problem("lease_not_found", "it never was, was given back, or has ended by itself"),
        }
    }
}
