//! What every kind of aggregate has: put, patch, read, list, remove.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use domain::fields::Value;
use domain::types::Name;
use domain::workload::{AnySettings, AnySummary};
use domain::{Action, Kind, Novelty, Rejection};
use edge::request::{page_limit, precondition};
use engine::views::{Done, Effect};
use serde_json::{Value as Json, json};

use super::answer::{self, mark_replayed, with_header};
use super::context::{Context, submit};
use super::problem::{HandlerResult, Problem};
use super::settings::{patch_of, settings_of, shown};
use crate::app::App;
use crate::backend::Declined;

/// Whether the API serves a kind by these calls, and counts it for everybody who may read. The keyring has
/// calls of its own (`keys.rs`), for those who may manage keys.
#[must_use]
pub fn is_served(kind: Kind) -> bool {
    kind != Kind::Keyring
}

/// `PUT /v1/{kind}/{name}`
pub async fn put(context: Context, kind: Kind) -> HandlerResult {
    let name = named(&context, kind)?;
    context.query([])?;
    let settings = complete(&context.app, settings_of(kind, context.json_body("application/json")?)?)?;
    let precondition = precondition(&context)?;
    written(submit(&context, Action::Put { name, settings, precondition }).await?)
}

/// `PATCH /v1/{kind}/{name}`
pub async fn patch(context: Context, kind: Kind) -> HandlerResult {
    let name = named(&context, kind)?;
    context.query([])?;
    let patch = patch_of(kind, context.json_body("application/merge-patch+json")?)?;
    let precondition = precondition(&context)?;
    written(submit(&context, Action::Patch { name, patch, precondition }).await?)
}

/// `GET /v1/{kind}/{name}`
pub async fn read(context: Context, kind: Kind) -> HandlerResult {
    let name = named(&context, kind)?;
    context.query([])?;
    let summary = context.app.backend.read((kind, name), |found, now| found.map(|aggregate| aggregate.summary(now))).await?;
    let summary = summary.ok_or(Declined::from(Rejection::NotFound(kind)))?;
    Ok(with_version(answer::json(StatusCode::OK, &shown(&summary)), &summary))
}

/// `GET /v1/{kind}`
pub async fn list(context: Context, kind: Kind) -> HandlerResult {
    let [after, limit] = context.query(["after", "limit"])?;
    let limit = page_limit(limit)?;
    after.map(Name::new).transpose().map_err(|error| Problem::parameter("after", error.to_string()))?;
    let summaries = context.app.backend.summaries(kind, after, context.caller.campaigns(), limit + 1).await?;
    let page = summaries.get(..limit.min(summaries.len())).unwrap_or(&summaries);
    let next = if limit < summaries.len() { page.last().map(|summary| &*summary.head().name) } else { None };
    let entries: Vec<Json> = page.iter().map(|summary| Json::Object(shown(summary))).collect();
    Ok(answer::json(StatusCode::OK, &json!({ kind.path(): entries, "next": next })))
}

/// `DELETE /v1/{kind}/{name}`
pub async fn remove(context: Context, kind: Kind) -> HandlerResult {
    let name = named(&context, kind)?;
    context.query([])?;
    context.no_body()?;
    let precondition = precondition(&context)?;
    let done = submit(&context, Action::Remove { kind, name, precondition }).await?;
    let Effect::Removed { summary } = &done.effect else { return Err(of_another_kind(&done)) };
    let response = with_version(answer::json(StatusCode::OK, &shown(summary)), summary);
    Ok(mark_replayed(response, done.novelty == Novelty::Replayed))
}

fn named(context: &Context, kind: Kind) -> Result<Name<'_>, Problem> {
    context.named(kind.word())
}

/// The answer to a workload's command that is of another kind than what was asked: a fault.
#[must_use]
pub fn of_another_kind(done: &Done) -> Problem {
    tracing::error!(?done, "a command was answered with what another one does");
    Problem::new("internal", "the answer is of another kind")
}

/// Fills in what the program sets itself.
fn complete(app: &App, mut settings: AnySettings) -> Result<AnySettings, Problem> {
    for field in settings.kind().settings().iter().filter(|field| field.is_internal) {
        let value = match field.name {
            "code_key" => Value::Number(u64::from(app.codes.newest())),
            other => return Err(Problem::new("internal", format!("nobody sets {other}"))),
        };
        settings.set(field.name, value).map_err(|error| Problem::new("internal", format!("{} {error}", field.name)))?;
    }
    Ok(settings)
}

fn written(done: Done) -> HandlerResult {
    let Effect::Written { created, summary } = &done.effect else { return Err(of_another_kind(&done)) };
    let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = with_version(answer::json(status, &shown(summary)), summary);
    if *created {
        response = with_header(response, header::LOCATION, &format!("/v1/{}/{}", summary.kind().path(), summary.head().name));
    }
    Ok(mark_replayed(response, done.novelty == Novelty::Replayed))
}

/// The `ETag` is the version of the settings, not of the figures.
fn with_version(response: Response<Body>, summary: &AnySummary) -> Response<Body> {
    with_header(response, header::ETAG, &format!("\"{}\"", summary.head().version))
}
