//! The live stream of an aggregate.

use std::sync::Arc;

use domain::types::Name;
use domain::{Kind, Rejection};
use edge::auth::Access;
use edge::auth::caller::Scope;
use edge::live::{self, Audience, ResumeAt, Subscriber, events_limit};
use edge::serve::Peer;
use serde_json::{Value as Json, json};

use super::calls::{self, Call};
use super::context::Context;
use super::openapi::describe::{Answer, Parameter, events, streamed};
use super::openapi::kinds::{self, capital};
use super::openapi::schema::text;
use super::problem::{HandlerResult, Problem};
use crate::app::App;
use crate::backend::Declined;
use crate::live::{AggregateSource, Show, see};

/// The call that streams an aggregate of a kind.
#[must_use]
pub fn watched<S: Show>(kind: Kind, readers: Access) -> Call {
    calls::get(format!("/v1/{}/{{{}}}/live", kind.path(), kind.word()), readers, move |context| watch::<S>(context, kind))
}

/// The same with its documentation; `example` is what the stream sends.
#[must_use]
pub fn declared<S: Show>(kind: Kind, readers: Access, tag: &'static str, example: &str) -> Call {
    let word = kind.word();
    let about = "Server-Sent Events without an end; with `Upgrade: websocket`, the same as a WebSocket, each event's JSON as a text \
                 message. First comes a `snapshot`, then a `delta` whenever something has changed, with the fields that are different.";
    let last = "The `id` of the last event that the client has; anything else is ignored.";
    let socket = "The connection is a WebSocket from here on. It is closed with 1001 when the server stops, and with 1008 when the key \
                  has ended.";
    watched::<S>(kind, readers)
        .about(format!("watch{}", capital(word)), tag, format!("Watch a {word}"), about)
        .takes([events(), Parameter::header("LastEventId", "Last-Event-ID", text().example(json!("9b1c0f3a55d2e871-1")), last)])
        .reads()
        .refuses(&[kind.not_found(), "stopping"])
        .refused(503, "As many clients watch as may, in all or from this address, or the server stops, or the disk has failed.")
        .answers(Answer::new(101, socket))
        .answers(Answer::new(200, "The events.").in_type("text/event-stream", streamed(example)))
}

/// The first event of the stream of an aggregate created with these settings.
#[must_use]
pub fn example(kind: Kind, settings: &Json) -> String {
    let mut event = json!({ "event": "snapshot", "id": "9b1c0f3a55d2e871-1", "seq": 1, "at": "2026-01-31T10:00:00.000Z" });
    if let Some(event) = event.as_object_mut() {
        event.extend(kinds::example(kind, settings, &[]));
    }
    format!("event: snapshot\nid: 9b1c0f3a55d2e871-1\ndata: {event}\n\n")
}

/// `GET /v1/{kind}/{name}/live`
async fn watch<S: Show>(mut context: Context, kind: Kind) -> HandlerResult {
    let name = context.named(kind.word())?;
    let [events] = context.query(["events"])?;
    let events_max = events.map(events_limit).transpose()?;
    let resume_at = context.header("last-event-id")?.and_then(ResumeAt::parse);
    let app = Arc::clone(&context.app);
    let seen = begin::<S>(&app, (kind, name)).await?;
    let (channel, name) = (format!("{}/{name}", kind.path()), name.as_str().to_owned());
    let first = || AggregateSource::<S>::new(&app, kind, name, seen);
    let address = context.client_address();
    let peer = context.extensions.remove::<Peer>();
    let subscriber = Subscriber { address, caller: context.caller.clone(), audience: audience(&context), resume_at };
    // Before a permit is taken: a malformed handshake is refused.
    let upgrade = live::upgrade(&mut context).await?;
    let subscription = app.live.join(&app.edge, &channel, first, subscriber);
    let subscription = subscription.inspect_err(|full| app.edge.metrics.live.refused(*full))?;
    Ok(live::respond(upgrade, subscription, events_max.unwrap_or(u64::MAX), peer, app.edge.limits.write_time))
}

/// The aggregate from this server's durable state. Across machines, an aggregate that this server does not
/// know yet may exist: then a read behind a barrier decides.
async fn begin<S: Show>(app: &App, one: (Kind, Name<'_>)) -> Result<S::Seen, Problem> {
    if let Some(seen) = see::<S>(app, one).await? {
        return Ok(seen);
    }
    let exists = app.backend.read(one, |found, _| found.is_some()).await?;
    let seen = if exists { see::<S>(app, one).await? } else { None };
    Ok(seen.ok_or_else(|| Declined::from(Rejection::NotFound(one.0)))?)
}

/// Callers that may list entries see private fields; end users see counts only.
fn audience(context: &Context) -> Audience {
    let may_list = context.caller.may(Scope::Read) && context.caller.only_subject().is_none();
    if may_list { Audience::Private } else { Audience::Public }
}
