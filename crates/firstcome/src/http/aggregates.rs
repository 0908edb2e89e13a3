//! The calls that every kind of aggregate has: put, patch, read, list, remove.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use domain::fields::Value;
use domain::state::Precondition;
use domain::types::Name;
use domain::workload::{AnySettings, AnySummary};
use domain::{Action, Kind, Novelty, Rejection};
use edge::auth::Access;
use edge::request::{Condition, condition, page_limit};
use engine::views::{Done, Effect};
use serde_json::{Value as Json, json};

use super::answer::{self, mark_replayed, with_header};
use super::calls::{self, ADMIN, Call};
use super::context::{Context, submit};
use super::openapi::describe::{Answer, Link, after_name, etag, limit, location};
use super::openapi::kinds::{self, capital};
use super::openapi::refusals::DECIDES;
use super::openapi::schema::Schema;
use super::problem::{HandlerResult, Problem};
use super::settings::{self, patch_of, settings_of};
use crate::app::App;
use crate::backend::Declined;
use crate::keys;

/// The purpose of a schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// The settings of a put.
    Put,
    /// A merge patch.
    Patch,
    /// The response of a read.
    Read,
}

/// How a kind is served: the parts that differ between kinds.
#[derive(Clone, Debug)]
pub struct Served {
    /// The kind.
    pub kind: Kind,
    /// The callers that may read.
    pub readers: Access,
    /// The group of calls in the documentation.
    pub tag: &'static str,
    /// Settings that create an aggregate.
    pub example: Json,
    /// A patch of these settings.
    pub patch_example: Json,
    /// The kind's own rejections of a put or a patch.
    pub refusals: &'static [&'static str],
    /// Additional remarks on put, patch and remove.
    pub notes: [&'static str; 3],
    /// Narrows the schema of a put, a patch or a read where the declared fields do not.
    pub narrowed: fn(Use, Schema) -> Schema,
    /// Links to calls that follow.
    pub links: Vec<Link>,
}

impl Served {
    /// A kind without any additions.
    #[must_use]
    pub fn plain(kind: Kind, readers: Access, tag: &'static str, example: Json) -> Self {
        let patch_example = example.clone();
        Self { kind, readers, tag, example, patch_example, refusals: &[], notes: [""; 3], narrowed: |_, schema| schema, links: Vec::new() }
    }

    /// The calls: list, read, put, patch, and remove if the kind allows it.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let (kind, path) = (self.kind, format!("/v1/{}/{{{}}}", self.kind.path(), self.kind.word()));
        let all = format!("/v1/{}", kind.path());
        let mut calls = vec![
            self.listing(calls::get(all, self.readers, move |context| list(context, kind))),
            self.reading(calls::get(path.clone(), self.readers, move |context| read(context, kind))),
            self.putting(calls::put(path.clone(), ADMIN, move |context| put(context, kind)).of_operators()),
            self.patching(calls::patch(path.clone(), ADMIN, move |context| patch(context, kind)).of_operators()),
        ];
        if kind.is_removable() {
            calls.push(self.removing(calls::delete(path, ADMIN, move |context| remove(context, kind)).of_operators()));
        }
        calls
    }

    fn listing(&self, call: Call) -> Call {
        let all = self.kind.path();
        let about = format!("All {all} in the order of their names, each exact at one instant.\n\nSafe to ask again at any time.");
        let page = kinds::page(self.kind, self.shown(&[])).named(format!("{}Page", self.name()));
        call.about(format!("list{}", capital(all)), self.tag, format!("List {all}"), about)
            .takes([after_name(), limit()])
            .reads()
            .answers(Answer::json(200, format!("A page of {all}."), page))
    }

    fn reading(&self, call: Call) -> Call {
        let word = self.kind.word();
        let about = "Settings and figures, exact at one instant: everything that was answered before this call is in them.\n\nSafe to \
                     ask again at any time.";
        let answer = Answer::json(200, format!("The {word}."), self.shown(&[])).headed([etag()]).linked(self.links.clone());
        call.about(format!("get{}", self.name()), self.tag, format!("Read a {word}"), about)
            .reads()
            .refuses(&[self.kind.not_found()])
            .answers(answer)
    }

    fn putting(&self, call: Call) -> Call {
        let (word, [note, ..]) = (self.kind.word(), self.notes);
        let about = format!(
            "Creates the {word}, or gives it exactly these settings: what is left out takes its default.{note} A read's whole \
             answer can be sent back: what is only read in it is ignored.\n\nAsking again is \
             safe: the same settings once more are 200 and change nothing, not even `version`. Send `If-None-Match: *` to create only, \
             `If-Match` to replace only what you have read. On a replay of the same `Idempotency-Key` the first status and body come \
             again."
        );
        let answer = |status, about| Answer::json(status, about, self.shown(&[])).headed([etag()]).linked(self.all_links());
        let location = location("AggregateLocation", "Its path.");
        let settings = (self.narrowed)(Use::Put, kinds::settings(self.kind)).shown(self.example.clone());
        self.writing(call)
            .about(format!("put{}", self.name()), self.tag, format!("Create or replace a {word}"), about)
            .conditional(self.kind, true)
            .body(settings.named(format!("{}Settings", self.name())))
            .answers(answer(200, "It existed, and has these settings."))
            .answers(answer(201, "It was created.").headed([location]))
            .refused(404, "`If-Match` was given and there is none of this name.")
    }

    fn patching(&self, call: Call) -> Call {
        let (word, [_, note, _]) = (self.kind.word(), self.notes);
        let about = format!(
            "Changes the settings that the body names and leaves the others (JSON merge patch).{note}\n\nAsking again is safe: a patch \
             that changes nothing is 200. Send `If-Match` so that two people who edit at once do not undo each other."
        );
        let shown = self.shown(std::slice::from_ref(&self.patch_example));
        let patch =
            (self.narrowed)(Use::Patch, kinds::patch(self.kind)).shown(self.patch_example.clone()).named(format!("{}Patch", self.name()));
        self.writing(call)
            .about(format!("patch{}", self.name()), self.tag, format!("Change a {word}"), about)
            .conditional(self.kind, false)
            .merge_patch(patch)
            .answers(Answer::json(200, format!("The {word} with its new settings."), shown).headed([etag()]).linked(self.all_links()))
    }

    fn removing(&self, call: Call) -> Call {
        let (word, [.., note]) = (self.kind.word(), self.notes);
        call.about(format!("remove{}", self.name()), self.tag, format!("Remove a {word}"), format!("Ends a {word}.{note}"))
            .keyed()
            .conditional(self.kind, true)
            .refuses(DECIDES)
            .refuses(&[self.kind.not_found()])
            .answers(Answer::json(200, format!("The {word} as it was."), self.shown(&[])).headed([etag()]))
    }

    fn writing(&self, call: Call) -> Call {
        call.keyed().refuses(DECIDES).refuses(&[self.kind.not_found()]).refuses(self.refusals)
    }

    fn name(&self) -> String {
        capital(self.kind.word())
    }

    /// The schema of a read, with the example after these patches.
    fn shown(&self, patches: &[Json]) -> Schema {
        let example = kinds::example(self.kind, &self.example, patches);
        (self.narrowed)(Use::Read, kinds::shown(self.kind)).shown(Json::Object(example)).named(self.name())
    }

    fn all_links(&self) -> Vec<Link> {
        let own = Link::same("read", format!("get{}", self.name()), self.kind.word(), "As it stands.");
        std::iter::once(own).chain(self.links.iter().cloned()).collect()
    }
}

/// `PUT /v1/{kind}/{name}`
pub async fn put(context: Context, kind: Kind) -> HandlerResult {
    let name = named(&context, kind)?;
    context.query([])?;
    let settings = complete(&context.app, settings_of(kind, context.json_body("application/json")?)?).await?;
    let precondition = precondition(&context, (kind, name)).await?;
    written(submit(&context, Action::Put { name, settings, precondition }).await?)
}

/// `PATCH /v1/{kind}/{name}`
pub async fn patch(context: Context, kind: Kind) -> HandlerResult {
    let name = named(&context, kind)?;
    context.query([])?;
    let patch = patch_of(kind, context.json_body("application/merge-patch+json")?)?;
    let precondition = precondition(&context, (kind, name)).await?;
    written(submit(&context, Action::Patch { name, patch, precondition }).await?)
}

/// `GET /v1/{kind}/{name}`
pub async fn read(context: Context, kind: Kind) -> HandlerResult {
    let name = named(&context, kind)?;
    context.query([])?;
    let summary = context.app.backend.read((kind, name), |found, now| found.map(|aggregate| aggregate.summary(now))).await?;
    let summary = summary.ok_or(Declined::from(Rejection::NotFound(kind)))?;
    Ok(with_version(answer::json(StatusCode::OK, &settings::shown(&summary)), &summary))
}

/// `GET /v1/{kind}`
pub async fn list(context: Context, kind: Kind) -> HandlerResult {
    let [after, limit] = context.query(["after", "limit"])?;
    let limit = page_limit(limit)?;
    after.map(Name::new).transpose().map_err(|error| Problem::parameter("after", error.to_string()))?;
    let summaries = context.app.backend.summaries(kind, after, context.caller.campaigns(), limit + 1).await?;
    let page = summaries.get(..limit.min(summaries.len())).unwrap_or(&summaries);
    let next = if limit < summaries.len() { page.last().map(|summary| &*summary.head().name) } else { None };
    let entries: Vec<Json> = page.iter().map(|summary| Json::Object(settings::shown(summary))).collect();
    Ok(answer::json(StatusCode::OK, &json!({ kind.path(): entries, "next": next })))
}

/// `DELETE /v1/{kind}/{name}`
pub async fn remove(context: Context, kind: Kind) -> HandlerResult {
    let name = named(&context, kind)?;
    context.query([])?;
    context.no_body()?;
    let precondition = precondition(&context, (kind, name)).await?;
    let done = submit(&context, Action::Remove { kind, name, precondition }).await?;
    let Effect::Removed { summary } = &done.effect else { return Err(of_another_kind(&done)) };
    let response = with_version(answer::json(StatusCode::OK, &settings::shown(summary)), summary);
    Ok(mark_replayed(response, done.novelty == Novelty::Replayed))
}

/// The precondition of a change. Of several versions, the current one is the one to be kept: if it changes
/// before the command is decided, the command is refused, and the caller reads again.
async fn precondition(context: &Context, one: (Kind, Name<'_>)) -> Result<Precondition, Problem> {
    let versions = match condition(context)? {
        Condition::One(precondition) => return Ok(precondition),
        Condition::AnyOf(versions) => versions,
    };
    let current = context.app.backend.read(one, |found, now| found.map(|aggregate| aggregate.summary(now).head().version)).await?;
    let kept = versions.iter().find(|version| Some(**version) == current).or(versions.first());
    Ok(kept.map_or(Precondition::Never, |version| Precondition::Version(*version)))
}

fn named(context: &Context, kind: Kind) -> Result<Name<'_>, Problem> {
    context.named(kind.word())
}

/// The engine answered a workload's command with a result of another kind: a fault.
#[must_use]
pub fn of_another_kind(done: &Done) -> Problem {
    tracing::error!(?done, "a command was answered with what another one does");
    Problem::new("internal", "the answer is of another kind")
}

/// Sets the fields that the program sets itself.
async fn complete(app: &App, mut settings: AnySettings) -> Result<AnySettings, Problem> {
    for field in settings.kind().settings().iter().filter(|field| field.is_internal) {
        let value = match field.name {
            "code_key" => Value::Number(u64::from(keys::ring_of(&app.backend).await?.code_key)),
            other => return Err(Problem::new("internal", format!("nobody sets {other}"))),
        };
        settings.set(field.name, value).map_err(|error| Problem::new("internal", format!("{} {error}", field.name)))?;
    }
    Ok(settings)
}

fn written(done: Done) -> HandlerResult {
    let Effect::Written { created, summary } = &done.effect else { return Err(of_another_kind(&done)) };
    let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = with_version(answer::json(status, &settings::shown(summary)), summary);
    if *created {
        response = with_header(response, header::LOCATION, &format!("/v1/{}/{}", summary.kind().path(), summary.head().name));
    }
    Ok(mark_replayed(response, done.novelty == Novelty::Replayed))
}

/// Sets the `ETag` to the version of the settings; figures do not change it.
fn with_version(response: Response<Body>, summary: &AnySummary) -> Response<Body> {
    with_header(response, header::ETAG, &format!("\"{}\"", summary.head().version))
}
