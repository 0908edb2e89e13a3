//! Deferred answers: a claim's place in the queue, and later its decision.
//!
//! The name of an answer is derived from the claim, so nothing is stored for it: it exists as long as the
//! claim, across restarts and on every server.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use bytes::Bytes;
use domain::coupon::{ClaimView, Coupon};
use domain::types::{Name, Serial, SubjectId};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::claims::claimed;
use super::json::ClaimedJson;
use crate::http::answer::{self, with_header};
use crate::http::context::Context;
use crate::http::problem::{HandlerResult, Problem, problem};
use crate::http::times;
use edge::clock;
use edge::live::{SubscriberPermit, event_stream, events_limit, may_stay};
use edge::serve::Peer;

/// Bounds of the retry delay, in milliseconds. The delay is the expected time of the decision, so that
/// waiting clients cause little load; it is bounded because the pace may be raised.
const LOOK_MS_MIN: u64 = 100;
const LOOK_MS_MAX: u64 = 10_000;
/// Longest interval between updates of the place for clients that follow an answer live.
const FOLLOW_MS_MAX: u64 = 2_000;
/// A client that reads nothing for this long is disconnected.
const TAKE_MAX: Duration = Duration::from_secs(15);

/// The state of an answer: pending, or decided.
#[derive(Debug, Serialize)]
struct PendingJson<'a> {
    answer: String,
    status: &'static str,
    campaign: &'a str,
    subject: &'a str,
    /// 1 for the claim that is decided next, 0 for a decided one.
    place: u32,
    wait_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl<'a> PendingJson<'a> {
    fn new(context: &Context, claim: &'a ClaimView) -> Self {
        let waiting = claim.waiting;
        // While the time stands, nothing is decided.
        let stands_ms = if waiting.is_some() { context.app.ahead_of_clock_ms() } else { 0 };
        let wait_ms = waiting.map_or(0, |waiting| waiting.wait_ms.saturating_add(stands_ms));
        Self {
            answer: context.app.codes.answer(claim.code_key, &claim.campaign, claim.serial),
            status: if waiting.is_some() { "pending" } else { "decided" },
            campaign: &claim.campaign,
            subject: &claim.subject,
            place: waiting.map_or(0, |waiting| waiting.place),
            wait_ms,
            accepted_at: waiting.map(|_| times::format(claim.claimed_at)),
            retry_after_ms: waiting.map(|_| look_after(wait_ms)),
        }
    }

    fn into_response(self) -> Response<Body> {
        let response = answer::json(StatusCode::ACCEPTED, &self);
        let Some(millis) = self.retry_after_ms else { return response };
        with_header(response, header::RETRY_AFTER, &millis.div_ceil(1_000).to_string())
    }
}

fn look_after(wait_ms: u64) -> u64 {
    wait_ms.clamp(LOOK_MS_MIN, LOOK_MS_MAX)
}

/// 202 with the place of the answer: the claim is durable, and is decided now or later.
pub fn accepted(context: &Context, claim: &ClaimView) -> Response<Body> {
    let pending = PendingJson::new(context, claim);
    let location = format!("/v1/answers/{}", pending.answer);
    with_header(pending.into_response(), header::LOCATION, &location)
}

/// `GET /v1/answers/{answer}`
pub async fn read(context: Context) -> HandlerResult {
    context.query([])?;
    let claim = Named::of(&context).await?.claim(&context).await?;
    if claim.waiting.is_some() {
        return Ok(PendingJson::new(&context, &claim).into_response());
    }
    Ok(claimed(&context, StatusCode::CREATED, &claim))
}

/// `GET /v1/answers/{answer}/live`: Server-Sent Events, `pending` at each new place and `answer` once, at the end.
pub async fn live(mut context: Context) -> HandlerResult {
    let [events] = context.query(["events"])?;
    let left = events.map_or(Ok(u64::MAX), events_limit)?;
    let named = Named::of(&context).await?;
    let claim = named.claim(&context).await?;
    let permit = context.app.live.follow(context.client_address())?;
    if let Some(peer) = context.extensions.get::<Peer>() {
        peer.shrink_send_buffer();
    }
    context.drop_body();
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(follow(context, (named, claim), left, sender, permit));
    Ok(event_stream(Body::from_stream(ReceiverStream::new(receiver))))
}

/// Sends each new place to the client, until the decision, or until `left` events have been sent.
async fn follow(
    context: Context,
    (named, mut claim): (Named, ClaimView),
    mut left: u64,
    reader: mpsc::Sender<Result<Bytes, Infallible>>,
    _permit: SubscriberPermit,
) {
    let (mut told, mut stopping) = (None, context.app.live.stopping());
    let joined_ms = clock::elapsed_ms();
    loop {
        let Some(waiting) = claim.waiting else {
            let body = ClaimedJson::new(&context.app.codes, &claim);
            send(&reader, event("answer", &json!({ "status": StatusCode::CREATED.as_u16(), "body": body }))).await;
            return;
        };
        let news = if told == Some(waiting.place) {
            ": still there\n\n".to_owned()
        } else {
            left -= 1;
            event("pending", &PendingJson::new(&context, &claim))
        };
        told = Some(waiting.place);
        if !send(&reader, news).await || left == 0 {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(look_after(waiting.wait_ms / 2).min(FOLLOW_MS_MAX))) => {}
            () = reader.closed() => return,
            // The sender lives as long as the program.
            _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
        }
        // If the claim cannot be read now, the next attempt may succeed.
        if let Ok(now) = named.claim(&context).await {
            claim = now;
        }
        // A caller whose key was revoked meanwhile must not learn the code.
        if !may_stay(&context.app.edge, &context.caller, joined_ms) {
            return;
        }
    }
}

async fn send(reader: &mpsc::Sender<Result<Bytes, Infallible>>, text: String) -> bool {
    matches!(tokio::time::timeout(TAKE_MAX, reader.send(Ok(text.into()))).await, Ok(Ok(())))
}

fn event<T: Serialize>(name: &str, data: &T) -> String {
    format!("event: {name}\ndata: {}\n\n", serde_json::to_string(data).unwrap_or_default())
}

/// The claim that the answer in the path belongs to.
struct Named {
    campaign: String,
    serial: Serial,
}

impl Named {
    async fn of(context: &Context) -> Result<Self, Problem> {
        let (campaign, code) = context.param("answer").rsplit_once(':').ok_or_else(not_found)?;
        let name = context.usable(Name::new(campaign).map_err(|_| not_found())?)?;
        let known =
            context.app.backend.read_of::<Coupon, _>(name, |campaign, _| campaign.map(|campaign| campaign.settings.code_key)).await?;
        let serial = context.app.codes.answered(known.ok_or_else(not_found)?, campaign, code).map_err(|_| not_found())?;
        Ok(Self { campaign: campaign.to_owned(), serial })
    }

    async fn claim(&self, context: &Context) -> Result<ClaimView, Problem> {
        let name = Name::new(&self.campaign).map_err(|_| not_found())?;
        let claim = context.app.backend.claim_at(name, self.serial).await?.ok_or_else(not_found)?;
        // End users must not learn that another subject's answer exists.
        let subject = SubjectId::new(&claim.subject).map_err(|_| not_found())?;
        context.acting_for(subject).map_err(|_| not_found())?;
        Ok(claim)
    }
}

fn not_found() -> Problem {
    problem("answer_not_found", "there is no answer of this name")
}
