//! The policies' own calls: a change is applied to the counters, and keys can have overrides.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use domain::rate_limit::policies::{Command, Limit, Numbers, Outcome, Rejection, Rule};
use domain::types::{LimitKey, Name};
use domain::{Action, Aggregate, Kind, Novelty};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::backend::Declined;
use crate::http::aggregates::{self, of_another_kind};
use crate::http::answer::{self, mark_replayed};
use crate::http::context::{Context, submit};
use crate::http::problem::{HandlerResult, Problem};
use edge::input::{Whole, parse};
use edge::request::page_limit;

const MS_NS: u64 = 1_000_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideBody {
    /// Whose they are, as a read says it: so that an entry of a list can be put back.
    #[serde(default)]
    policy: Option<String>,
    #[serde(default)]
    key: Option<String>,
    quota: Whole,
    window_ms: Whole,
    #[serde(default)]
    burst: Option<Whole>,
}

impl OverrideBody {
    /// Checks that the body is about what the path names.
    fn check_names(&self, policy: Name<'_>, key: LimitKey<'_>) -> Result<(), Problem> {
        let named = [("policy", &self.policy, policy.as_str()), ("key", &self.key, key.as_str())];
        match named.into_iter().find(|(_, given, own)| given.as_deref().is_some_and(|given| given != *own)) {
            Some((field, ..)) => Err(Problem::field(field, "is another one than the path names")),
            None => Ok(()),
        }
    }

    /// Numbers too large for the record are refused in the same way as those out of the rules' range.
    fn numbers(&self) -> Result<Numbers, Problem> {
        let refused = |rejection: Rejection| Problem::from(Declined::from(domain::Rejection::of::<Limit>(rejection)));
        let quota = u32::try_from(self.quota.0).map_err(|_| refused(Rejection::QuotaOutOfRange))?;
        let window_ns = self.window_ms.0.checked_mul(MS_NS).ok_or_else(|| refused(Rejection::WindowOutOfRange))?;
        let burst = u32::try_from(self.burst.map_or(0, |Whole(burst)| burst)).map_err(|_| refused(Rejection::BurstOutOfRange))?;
        Ok(Numbers { quota, window_ns, burst })
    }
}

/// The policy that the path names.
///
/// # Errors
/// A [`Problem`] if it is not a valid name.
pub fn policy_of(context: &Context) -> Result<Name<'_>, Problem> {
    context.named(Kind::Policy.word())
}

fn key_of(context: &Context) -> Result<LimitKey<'_>, Problem> {
    LimitKey::new(context.param("limit_key")).map_err(|error| Problem::parameter("limit_key", error.to_string()))
}

/// `PUT /v1/policies/{policy}`
pub async fn put(context: Context) -> HandlerResult {
    change(context, |context| aggregates::put(context, Kind::Policy)).await
}

/// `PATCH /v1/policies/{policy}`
pub async fn patch(context: Context) -> HandlerResult {
    change(context, |context| aggregates::patch(context, Kind::Policy)).await
}

/// `DELETE /v1/policies/{policy}`
pub async fn remove(context: Context) -> HandlerResult {
    change(context, |context| aggregates::remove(context, Kind::Policy)).await
}

/// `PUT /v1/policies/{policy}/overrides/{limit_key}`
pub async fn put_override(context: Context) -> HandlerResult {
    change(context, written_override).await
}

/// `DELETE /v1/policies/{policy}/overrides/{limit_key}`
pub async fn remove_override(context: Context) -> HandlerResult {
    change(context, removed_override).await
}

/// Makes a change and, once it is durable, applies it to the counters: completed even if the client disconnects.
async fn change<F>(context: Context, make: impl FnOnce(Context) -> F + Send + 'static) -> HandlerResult
where
    F: Future<Output = HandlerResult> + Send,
{
    let task = tokio::spawn(async move {
        let (app, policy) = (Arc::clone(&context.app), policy_of(&context).map(|name| name.as_str().to_owned()));
        let answer = make(context).await;
        // Also after an error: it may follow a change that took effect although its outcome was reported as unknown.
        if let Some(name) = policy.as_deref().ok().and_then(|policy| Name::new(policy).ok()) {
            follow(&app, name).await?;
        }
        answer
    });
    task.await.unwrap_or_else(|_| Err(Problem::new("internal", "the change could not be taken over")))
}

/// The part of a policy that the counters need.
type Kept = (Rule, Arc<BTreeMap<Box<str>, Numbers>>);

fn kept(policy: &Aggregate<Limit>) -> Kept {
    (policy.items.rule, Arc::clone(&policy.items.overrides))
}

/// Applies this process's own state of a policy to the counters. One call at a time: an older state must not
/// overwrite a newer one.
///
/// # Errors
/// A [`Problem`] if it cannot be read.
pub async fn follow(app: &App, name: Name<'_>) -> Result<(), Problem> {
    let _turn = app.policy_changes.lock().await;
    let policy = app.backend.read_local_of::<Limit, _>(name, app.clock.now(), |policy, _| policy.map(kept)).await?;
    app.rate_limits.follow(name.as_str(), policy).map_err(|error| Problem::new("internal", error.to_string()))
}

/// The same for all policies.
///
/// # Errors
/// A [`Problem`] if they cannot be read.
pub async fn follow_all(app: &App) -> Result<(), Problem> {
    let _turn = app.policy_changes.lock().await;
    let look = |policy: &Aggregate<Limit>| (Arc::clone(&policy.head.name), kept(policy));
    let policies = app.backend.each_local::<Limit, _>(app.clock.now(), look).await?;
    app.rate_limits.follow_all(policies).map_err(|error| Problem::new("internal", error.to_string()))
}

/// Ensures that an existing policy is counted. Across machines, a policy that this server does not know may
/// have been created on another one: it is looked up once, behind a barrier.
///
/// # Errors
/// A [`Problem`] if the server cannot say whether there is one.
pub async fn find(app: &App, name: Name<'_>) -> Result<(), Problem> {
    if app.rate_limits.knows(name) || app.backend.engine().is_some() {
        return Ok(());
    }
    if app.backend.read((Kind::Policy, name), |found, _| found.is_some()).await? {
        follow(app, name).await?;
    }
    Ok(())
}

/// `GET /v1/policies/{policy}/overrides`
pub async fn overrides(context: Context) -> HandlerResult {
    let policy = policy_of(&context)?;
    let [after, limit] = context.query(["after", "limit"])?;
    let limit = page_limit(limit)?;
    let found = context.app.backend.read_of::<Limit, _>(policy, |policy, _| policy.map(kept)).await?;
    let (rule, overrides) = found.ok_or(Declined::from(domain::Rejection::NotFound(Kind::Policy)))?;
    let mut rest = overrides.iter().filter(|(key, _)| after.is_none_or(|after| after < &***key)).peekable();
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let next = rest.peek().and(page.last()).map(|(key, _)| key);
    let has_burst = matches!(rule, Rule::Rate(policy) if policy.settings().algorithm.has_burst());
    let overrides: Vec<Value> = page.iter().map(|(key, numbers)| override_json(policy, key, numbers, has_burst)).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "overrides": overrides, "next": next })))
}

async fn written_override(context: Context) -> HandlerResult {
    let (policy, key) = (policy_of(&context)?, key_of(&context)?);
    context.query([])?;
    let body: OverrideBody = parse(context.json_body("application/json")?)?;
    body.check_names(policy, key)?;
    let command = Command::PutOverride { key, numbers: body.numbers()? };
    let done = submit(&context, Action::of::<Limit>(policy, command)).await?;
    let Some((Outcome::OverrideWritten { numbers, has_burst }, _)) = done.shown::<Limit>() else { return Err(of_another_kind(&done)) };
    let response = answer::json(StatusCode::OK, &override_json(policy, key.as_str(), &numbers, has_burst));
    Ok(mark_replayed(response, done.novelty == Novelty::Replayed))
}

async fn removed_override(context: Context) -> HandlerResult {
    let (policy, key) = (policy_of(&context)?, key_of(&context)?);
    context.query([])?;
    context.no_body()?;
    let done = submit(&context, Action::of::<Limit>(policy, Command::RemoveOverride { key })).await?;
    let response = answer::json(StatusCode::OK, &json!({ "policy": policy.as_str(), "key": key.as_str() }));
    Ok(mark_replayed(response, done.novelty == Novelty::Replayed))
}

fn override_json(policy: Name<'_>, key: &str, numbers: &Numbers, has_burst: bool) -> Value {
    let (quota, window_ms) = (numbers.quota, numbers.window_ns / MS_NS);
    let mut shown = json!({ "policy": policy.as_str(), "key": key, "quota": quota, "window_ms": window_ms });
    if let Some(shown) = shown.as_object_mut().filter(|_| has_burst) {
        shown.insert("burst".to_owned(), json!(numbers.burst));
    }
    shown
}
