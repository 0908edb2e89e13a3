//! The live stream of a campaign; and claims, counted for it.

use std::sync::Arc;

use domain::types::Name;
use domain::{Kind, Rejection};
use edge::auth::caller::Scope;
use edge::clock;
use edge::live::{self, Audience, ResumeAt, Subscriber, events_limit};
use edge::serve::Peer;

use super::answer::REPLAYED;
use super::context::Context;
use super::problem::{HandlerResult, Problem};
use crate::app::App;
use crate::backend::Declined;
use crate::live::{CampaignSource, Watched, watched};
use crate::workloads::coupon::claims;

/// `GET /v1/campaigns/{campaign}/live`
pub async fn live(mut context: Context) -> HandlerResult {
    let name = context.named("campaign")?;
    let [events] = context.query(["events"])?;
    let events_max = events.map(events_limit).transpose()?;
    let resume_at = context.header("last-event-id")?.and_then(ResumeAt::parse);
    let app = Arc::clone(&context.app);
    let seen = begin(&app, name).await?;
    let address = context.client_address();
    let peer = context.extensions.remove::<Peer>();
    let subscriber = Subscriber { address, caller: context.caller.clone(), audience: audience(&context), resume_at };
    // Before a permit is taken: a malformed handshake is refused.
    let upgrade = live::upgrade(&mut context).await?;
    let first = || CampaignSource::new(&app, &seen);
    let subscription = app.live.join(&app.edge, &seen.summary.head.name, first, subscriber);
    let subscription = subscription.inspect_err(|full| app.edge.metrics.live.refused(*full))?;
    Ok(live::respond(upgrade, subscription, events_max.unwrap_or(u64::MAX), peer, app.edge.limits.write_time))
}

/// The campaign as it was durable a moment ago. Across machines, a campaign that this server does not know
/// yet may exist: a read behind a barrier tells.
async fn begin(app: &App, name: Name<'_>) -> Result<Watched, Problem> {
    if let Some(seen) = watched(app, name).await? {
        return Ok(seen);
    }
    let not_found = || Declined::from(Rejection::NotFound(Kind::Campaign));
    let exists = app.backend.read((Kind::Campaign, name), |found, _| found.is_some()).await?;
    let seen = if exists { watched(app, name).await? } else { None };
    Ok(seen.ok_or_else(not_found)?)
}

/// `POST /v1/campaigns/{campaign}/claims`, counted.
pub async fn claim(context: Context) -> HandlerResult {
    let started = clock::elapsed();
    let app = Arc::clone(&context.app);
    let Ok(campaign) = context.named("campaign") else { return claims::claim(context).await };
    let known = app.tallies.find(campaign.as_str());
    let name = if known.is_none() { Some(campaign.as_str().to_owned()) } else { None };
    let answer = claims::claim(context).await;
    let outcome = outcome_of(&answer);
    let tally = known.or_else(|| name.filter(|_| is_of_a_campaign(&answer)).map(|name| app.tallies.of(&name)));
    if let Some(tally) = tally {
        tally.answered(outcome, clock::elapsed().saturating_sub(started));
    }
    answer
}

fn outcome_of(answer: &HandlerResult) -> &'static str {
    match answer {
        Ok(response) if response.headers().contains_key(REPLAYED) => "repeated",
        Ok(response) if response.status().as_u16() == 202 => "queued",
        Ok(_) => "claimed",
        Err(problem) => problem.code(),
    }
}

/// Whether the outcome shows that the campaign exists: invented names must not fill memory with counts.
fn is_of_a_campaign(answer: &HandlerResult) -> bool {
    match answer {
        Ok(_) => true,
        Err(problem) => matches!(problem.code(), "sold_out" | "queue_full" | "not_open" | "closed" | "paused" | "subject_limit_reached"),
    }
}

/// Those who may list claims see who has claimed; end users see counts only.
fn audience(context: &Context) -> Audience {
    let may_list = context.caller.may(Scope::Read) && context.caller.only_subject().is_none();
    if may_list { Audience::Private } else { Audience::Public }
}
