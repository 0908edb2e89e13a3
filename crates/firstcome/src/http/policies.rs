//! Policies of rate limits: put, read, list, remove, and other numbers for single keys.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use domain::Command;
use domain::rate_limit::in_flight::{IN_FLIGHT_MAX, InFlight};
use domain::rate_limit::policies::{self, Numbers, Rejection, Rule};
use domain::rate_limit::settings::WINDOW_NS_MAX;
use domain::rate_limit::{Algorithm, Mode, Policy, PolicyError, Settings};
use domain::state::CommandKind;
use domain::types::{LimitKey, PolicyName};
use engine::views::{Done, Effect, PolicyView};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{self, with_header};
use super::context::{Context, request_id};
use super::input::{Whole, parse};
use super::problem::{HandlerResult, Problem, problem};
use super::times;
use crate::backend::Declined;
use edge::request::{page_limit, precondition};

const MS_NS: u64 = 1_000_000;
/// The word for a limit on what is in flight, where the others name an algorithm.
const IN_FLIGHT: &str = "in_flight";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyBody {
    algorithm: String,
    quota: Whole,
    #[serde(default)]
    window_ms: Option<Whole>,
    #[serde(default)]
    burst: Option<Whole>,
    #[serde(default)]
    timeout_ms: Option<Whole>,
    #[serde(default)]
    shadow: Option<bool>,
}

impl PolicyBody {
    fn rule(&self) -> Result<Rule, Problem> {
        let mode = if self.shadow.unwrap_or(false) { Mode::Shadow } else { Mode::Enforce };
        if self.algorithm == IN_FLIGHT {
            return self.in_flight(mode);
        }
        let Some(algorithm) = Algorithm::from_word(&self.algorithm) else {
            let words: Vec<&str> = Algorithm::ALL.iter().map(|algorithm| algorithm.word()).chain([IN_FLIGHT]).collect();
            return Err(Problem::field("algorithm", format!("must be one of {}", words.join(", "))));
        };
        if self.timeout_ms.is_some() {
            return Err(Problem::field("timeout_ms", "is for in_flight only"));
        }
        let window_ms = self.window_ms.ok_or_else(|| Problem::field("window_ms", "is missing"))?;
        let Numbers { quota, window_ns, burst } = numbers(self.quota, window_ms, self.burst)?;
        Policy::new(Settings { algorithm, quota, window_ns, burst, mode }).map(Rule::Rate).map_err(out_of_range)
    }

    fn in_flight(&self, mode: Mode) -> Result<Rule, Problem> {
        for (field, is_given) in [("window_ms", self.window_ms.is_some()), ("burst", self.burst.is_some())] {
            if is_given {
                return Err(Problem::field(field, "is not for in_flight, which takes quota and timeout_ms"));
            }
        }
        let Whole(timeout_ms) = self.timeout_ms.ok_or_else(|| Problem::field("timeout_ms", "is missing"))?;
        let quota = u32::try_from(self.quota.0).ok().filter(|quota| (1..=IN_FLIGHT_MAX).contains(quota));
        let wrong = |field, detail: String| problem("in_flight_out_of_range", detail).with("field", json!(field));
        let quota = quota.ok_or_else(|| wrong("quota", format!("the quota must be 1 to {IN_FLIGHT_MAX}")))?;
        let timeout_ns = Some(timeout_ms).filter(|timeout| 0 < *timeout).and_then(|timeout| timeout.checked_mul(MS_NS));
        let timeout_ns = timeout_ns.filter(|timeout| *timeout <= WINDOW_NS_MAX);
        let limit = timeout_ns.and_then(|timeout| InFlight::new(quota, timeout, mode));
        limit.map(Rule::InFlight).ok_or_else(|| wrong("timeout_ms", "the timeout must be a millisecond to 366 days".to_owned()))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideBody {
    quota: Whole,
    window_ms: Whole,
    #[serde(default)]
    burst: Option<Whole>,
}

fn numbers(Whole(quota): Whole, Whole(window_ms): Whole, burst: Option<Whole>) -> Result<Numbers, Problem> {
    let quota = u32::try_from(quota).map_err(|_| out_of_range(PolicyError::QuotaOutOfRange))?;
    let window_ns = window_ms.checked_mul(MS_NS).ok_or_else(|| out_of_range(PolicyError::WindowOutOfRange))?;
    let burst = u32::try_from(burst.map_or(0, |Whole(burst)| burst)).map_err(|_| out_of_range(PolicyError::BurstOutOfRange))?;
    Ok(Numbers { quota, window_ns, burst })
}

/// The field that a policy's numbers are wrong in.
pub(super) fn out_of_range(error: PolicyError) -> Problem {
    let field = match error {
        PolicyError::QuotaOutOfRange | PolicyError::LogQuotaOutOfRange => "quota",
        PolicyError::WindowOutOfRange => "window_ms",
        PolicyError::BurstOutOfRange | PolicyError::BurstNotUsed => "burst",
    };
    problem(error.code(), error.to_string()).with("field", json!(field))
}

/// A policy as the API shows it.
#[derive(Debug, Serialize)]
struct PolicyJson<'a> {
    policy: &'a str,
    algorithm: &'static str,
    quota: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    shadow: bool,
    overrides: usize,
    version: u64,
    created_at: String,
}

impl<'a> PolicyJson<'a> {
    fn new(view: &'a PolicyView) -> Self {
        let (algorithm, quota, window_ms, burst, timeout_ms, mode) = match &view.rule {
            Rule::Rate(policy) => {
                let Settings { algorithm, quota, window_ns, burst, mode } = *policy.settings();
                (algorithm.word(), quota, Some(window_ns / MS_NS), algorithm.has_burst().then_some(burst), None, mode)
            }
            Rule::InFlight(limit) => (IN_FLIGHT, limit.limit(), None, None, Some(limit.timeout_ns() / MS_NS), limit.mode()),
        };
        let (shadow, overrides) = (mode == Mode::Shadow, view.overrides.len());
        let created_at = times::format(view.created_at);
        Self { policy: &view.name, algorithm, quota, window_ms, burst, timeout_ms, shadow, overrides, version: view.version, created_at }
    }
}

fn shown(status: StatusCode, view: &PolicyView) -> Response<Body> {
    let response = answer::json(status, &PolicyJson::new(view));
    with_header(response, header::ETAG, &format!("\"{}\"", view.version))
}

/// The policy that the path names.
///
/// # Errors
/// A [`Problem`] if it is no name.
pub fn policy_of(context: &Context) -> Result<PolicyName<'_>, Problem> {
    PolicyName::new(context.param("policy")).map_err(|error| Problem::parameter("policy", error.to_string()))
}

fn key_of(context: &Context) -> Result<LimitKey<'_>, Problem> {
    LimitKey::new(context.param("limit_key")).map_err(|error| Problem::parameter("limit_key", error.to_string()))
}

/// `PUT /v1/policies/{policy}`
pub async fn put(context: Context) -> HandlerResult {
    let Changed { before, done, .. } = change(context, put_asked).await?;
    let view = view_of(&done)?;
    if before.is_some() {
        return Ok(shown(StatusCode::OK, view));
    }
    Ok(with_header(shown(StatusCode::CREATED, view), header::LOCATION, &format!("/v1/policies/{}", view.name)))
}

fn put_asked(context: &Context) -> Result<policies::Command<'_>, Problem> {
    let policy = policy_of(context)?;
    context.query([])?;
    let body: PolicyBody = parse(context.json_body("application/json")?)?;
    Ok(policies::Command::Put { policy, rule: body.rule()?, precondition: precondition(context)? })
}

fn view_of(done: &Done) -> Result<&PolicyView, Problem> {
    let Effect::Policy(view) = &done.effect else { return Err(Problem::new("internal", "the answer is of another kind")) };
    Ok(view)
}

/// `GET /v1/policies/{policy}`
pub async fn read(context: Context) -> HandlerResult {
    let policy = policy_of(&context)?;
    context.query([])?;
    let view = context.app.backend.policy(policy).await?.ok_or_else(not_found)?;
    Ok(shown(StatusCode::OK, &view))
}

/// `GET /v1/policies`
pub async fn list(context: Context) -> HandlerResult {
    let [after, limit] = context.query(["after", "limit"])?;
    let limit = page_limit(limit)?;
    after.map(PolicyName::new).transpose().map_err(|error| Problem::parameter("after", error.to_string()))?;
    let policies = context.app.backend.policies(after, limit + 1).await?;
    let page = policies.get(..limit.min(policies.len())).unwrap_or_default();
    let next = if limit < policies.len() { page.last().map(|view| view.name.as_str()) } else { None };
    let policies: Vec<PolicyJson<'_>> = page.iter().map(PolicyJson::new).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "policies": policies, "next": next })))
}

/// `DELETE /v1/policies/{policy}`
pub async fn remove(context: Context) -> HandlerResult {
    let Changed { before, .. } = change(context, remove_asked).await?;
    before.map_or_else(|| Err(not_found()), |view| Ok(shown(StatusCode::OK, &view)))
}

fn remove_asked(context: &Context) -> Result<policies::Command<'_>, Problem> {
    let policy = policy_of(context)?;
    context.query([])?;
    context.no_body()?;
    Ok(policies::Command::Remove { policy, precondition: precondition(context)? })
}

/// `GET /v1/policies/{policy}/overrides`
pub async fn overrides(context: Context) -> HandlerResult {
    let policy = policy_of(&context)?;
    let [after, limit] = context.query(["after", "limit"])?;
    let limit = page_limit(limit)?;
    let view = context.app.backend.policy(policy).await?.ok_or_else(not_found)?;
    let mut rest = view.overrides.iter().filter(|(key, _)| after.is_none_or(|after| after < &**key)).peekable();
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let next = rest.peek().and(page.last()).map(|(key, _)| key);
    let overrides: Vec<_> = page.iter().map(|(key, numbers)| override_json(&view.name, key, numbers, &view.rule)).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "overrides": overrides, "next": next })))
}

/// `PUT /v1/policies/{policy}/overrides/{key}`
pub async fn put_override(context: Context) -> HandlerResult {
    let Changed { context, done, .. } = change(context, put_override_asked).await?;
    let (view, key) = (view_of(&done)?, key_of(&context)?);
    let numbers = view.overrides.iter().find(|(known, _)| **known == *key.as_str()).map(|(_, numbers)| numbers);
    let numbers = numbers.ok_or_else(|| Problem::new("internal", "the override is not there"))?;
    Ok(answer::json(StatusCode::OK, &override_json(&view.name, key.as_str(), numbers, &view.rule)))
}

fn put_override_asked(context: &Context) -> Result<policies::Command<'_>, Problem> {
    let (policy, key) = (policy_of(context)?, key_of(context)?);
    context.query([])?;
    let OverrideBody { quota, window_ms, burst } = parse(context.json_body("application/json")?)?;
    Ok(policies::Command::PutOverride { policy, key, numbers: numbers(quota, window_ms, burst)? })
}

/// `DELETE /v1/policies/{policy}/overrides/{key}`
pub async fn remove_override(context: Context) -> HandlerResult {
    let Changed { context, .. } = change(context, remove_override_asked).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "policy": policy_of(&context)?.as_str(), "key": key_of(&context)?.as_str() })))
}

fn remove_override_asked(context: &Context) -> Result<policies::Command<'_>, Problem> {
    let (policy, key) = (policy_of(context)?, key_of(context)?);
    context.query([])?;
    context.no_body()?;
    Ok(policies::Command::RemoveOverride { policy, key })
}

fn override_json(policy: &str, key: &str, numbers: &Numbers, rule: &Rule) -> serde_json::Value {
    let has_burst = matches!(rule, Rule::Rate(policy) if policy.settings().algorithm.has_burst());
    let (quota, window_ms) = (numbers.quota, numbers.window_ns / MS_NS);
    let mut shown = json!({ "policy": policy, "key": key, "quota": quota, "window_ms": window_ms });
    if let Some(shown) = shown.as_object_mut().filter(|_| has_burst) {
        shown.insert("burst".to_owned(), json!(numbers.burst));
    }
    shown
}

pub(super) fn not_found() -> Problem {
    Declined::from(Rejection::PolicyNotFound).into()
}

/// What a request asks to be changed.
type CommandOf = for<'a> fn(&'a Context) -> Result<policies::Command<'a>, Problem>;

/// A change that was made.
struct Changed {
    context: Context,
    /// The policy as it was, if there was one.
    before: Option<PolicyView>,
    done: Done,
}

/// Has a change decided and, once it is durable, takes it over into the counters: one change after
/// the other, and to its end even if the caller goes away.
async fn change(context: Context, command_of: CommandOf) -> Result<Changed, Problem> {
    let task = tokio::spawn(async move {
        let app = Arc::clone(&context.app);
        let asked = command_of(&context)?;
        let command = Command { actor: context.caller.actor(), request: None, kind: CommandKind::Policy(asked) };
        let request_id = request_id(&context);
        let _turn = app.policy_changes.lock().await;
        let before = app.backend.policy(asked.policy()).await?;
        let done = app.backend.submit(&command, request_id).await;
        // Also where the answer is a no: it may come after a change whose outcome nobody was told.
        let kept = app.backend.policy(asked.policy()).await;
        let (done, kept) = (done?, kept?);
        app.rate_limits.follow(asked.policy().as_str(), kept).map_err(out_of_range)?;
        Ok(Changed { before, done, context })
    });
    task.await.unwrap_or_else(|_| Err(Problem::new("internal", "the change could not be taken over")))
}
