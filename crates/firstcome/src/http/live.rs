//! The live stream of an aggregate.

use std::sync::Arc;

use domain::types::Name;
use domain::{Kind, Rejection};
use edge::auth::Access;
use edge::auth::caller::Scope;
use edge::live::{self, Audience, ResumeAt, Subscriber, events_limit};
use edge::serve::Peer;

use super::calls::{self, Call};
use super::context::Context;
use super::problem::{HandlerResult, Problem};
use crate::app::App;
use crate::backend::Declined;
use crate::live::{AggregateSource, Show, see};

/// The call that shows one of a kind live.
#[must_use]
pub fn watched<S: Show>(kind: Kind, readers: Access) -> Call {
    calls::get(format!("/v1/{}/{{{}}}/live", kind.path(), kind.word()), readers, move |context| watch::<S>(context, kind))
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

/// The aggregate as it was durable a moment ago. Across machines, one that this server does not know yet
/// may exist: a read behind a barrier tells.
async fn begin<S: Show>(app: &App, one: (Kind, Name<'_>)) -> Result<S::Seen, Problem> {
    if let Some(seen) = see::<S>(app, one).await? {
        return Ok(seen);
    }
    let exists = app.backend.read(one, |found, _| found.is_some()).await?;
    let seen = if exists { see::<S>(app, one).await? } else { None };
    Ok(seen.ok_or_else(|| Declined::from(Rejection::NotFound(one.0)))?)
}

/// Those who may list entries see who did what; end users see counts only.
fn audience(context: &Context) -> Audience {
    let may_list = context.caller.may(Scope::Read) && context.caller.only_subject().is_none();
    if may_list { Audience::Private } else { Audience::Public }
}
