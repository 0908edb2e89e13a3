//! Watching a campaign: Server-Sent Events, and the same by WebSocket. And claims, counted for
//! those who watch.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderValue, Request, Response, header};
use bytes::Bytes;
use domain::coupon::Rejection;
use domain::types::CampaignName;
use engine::views::WatchedCampaign;
use futures_util::stream;

use super::answer::REPLAYED;
use super::claims;
use super::context::{Context, number};
use super::problem::Problem;
use super::serve::Peer;
use crate::app::App;
use crate::clock;
use crate::doors::caller::Scope;
use crate::live::{Audience, Comer, Ended, LAST_CLAIMS, LiveFull, ResumeAt, Shown, Viewer};

type Answer = Result<Response<Body>, Problem>;

/// What a client may send: pings, pongs and the end.
const MESSAGE_BYTES_MAX: usize = 1_024;
/// What waits to be written to a WebSocket at most; an event has two kilobytes.
const WRITE_BYTES_MAX: usize = 64 * 1_024;
/// Beats that a WebSocket may leave unanswered.
const BEATS_UNANSWERED_MAX: u32 = 2;
/// A comment of Server-Sent Events, which clients pass over.
const COMMENT: &[u8] = b": still here\n\n";

impl From<LiveFull> for Problem {
    fn from(full: LiveFull) -> Self {
        match full {
            LiveFull::Clients => Self::new("busy", "as many clients watch as may").retry_after_ms(5_000),
            LiveFull::Address => Self::new("busy", "as many clients watch from this address as may").retry_after_ms(5_000),
            LiveFull::Campaigns => Self::new("busy", "as many campaigns are watched as may be").retry_after_ms(15_000),
            LiveFull::Stopping => Self::new("stopping", "the server is about to stop").retry_after_ms(1_000),
        }
    }
}

/// `GET /v1/campaigns/{campaign}/live`
pub async fn live(mut context: Context) -> Answer {
    let name = context.campaign()?;
    let [events] = context.query(["events"])?;
    let events_max = events.map(events_of).transpose()?;
    let resume_at = context.header("last-event-id")?.and_then(ResumeAt::parse);
    let app = Arc::clone(&context.app);
    let watched = begin(&app, name).await?;
    let address = context.client_address();
    let peer = context.extensions.remove::<Peer>();
    let comer = Comer { address, caller: context.caller.clone(), audience: audience(&context), resume_at };
    // Before a place is taken: what is no WebSocket's beginning is refused.
    let upgrade = if is_upgrade(&context) { Some(upgrade(&mut context).await?) } else { None };
    let viewer = app.live.join(&app, &watched, comer).inspect_err(|full| app.metrics.live.refused(*full))?;
    if let Some(peer) = &peer {
        peer.keep_little();
    }
    let left = events_max.unwrap_or(u64::MAX);
    let Some(upgrade) = upgrade else { return Ok(events_response(viewer, left)) };
    let write_time = app.limits.write_time;
    Ok(upgrade.on_upgrade(move |socket| async move {
        pass_on(socket, viewer, left, write_time).await;
        // The connection counts until here.
        drop(peer);
    }))
}

/// A campaign as it stands. A server that has not heard of it asks whether the others have.
async fn begin(app: &App, name: CampaignName<'_>) -> Result<WatchedCampaign, Problem> {
    let watched = app.backend.watched(name, LAST_CLAIMS, app.clock.now()).await?;
    if let Some(watched) = watched {
        return Ok(watched);
    }
    app.backend.campaign(name).await?.ok_or(Rejection::CampaignNotFound)?;
    let watched = app.backend.watched(name, LAST_CLAIMS, app.clock.now()).await?;
    Ok(watched.ok_or(Rejection::CampaignNotFound)?)
}

/// `POST /v1/campaigns/{campaign}/claims`, counted.
pub async fn claim(context: Context) -> Answer {
    let started = clock::elapsed();
    let app = Arc::clone(&context.app);
    let Ok(campaign) = context.campaign() else { return claims::claim(context).await };
    let known = app.live.tallies.find(campaign.as_str());
    let name = if known.is_none() { Some(campaign.as_str().to_owned()) } else { None };
    let answer = claims::claim(context).await;
    let outcome = outcome_of(&answer);
    let tally = known.or_else(|| name.filter(|_| is_of_a_campaign(&answer)).map(|name| app.live.tallies.of(&name)));
    if let Some(tally) = tally {
        tally.answered(outcome, clock::elapsed().saturating_sub(started));
    }
    answer
}

fn outcome_of(answer: &Answer) -> &'static str {
    match answer {
        Ok(response) if response.headers().contains_key(REPLAYED) => "repeated",
        Ok(response) if response.status().as_u16() == 202 => "queued",
        Ok(_) => "claimed",
        Err(problem) => problem.code(),
    }
}

/// Only campaigns that there are have counts: other answers may be about any name.
fn is_of_a_campaign(answer: &Answer) -> bool {
    match answer {
        Ok(_) => true,
        Err(problem) => matches!(problem.code(), "sold_out" | "queue_full" | "not_open" | "closed" | "paused" | "subject_limit_reached"),
    }
}

/// Who has claimed is shown to those who may list claims; an end user sees counts only.
fn audience(context: &Context) -> Audience {
    let may_list = context.caller.may(Scope::Read) && context.caller.only_subject().is_none();
    if may_list { Audience::WithClaims } else { Audience::Public }
}

/// After how many events a stream ends.
///
/// # Errors
/// A [`Problem`] if it is no number in the range.
pub(super) fn events_of(text: &str) -> Result<u64, Problem> {
    let events = number(text).filter(|events| (1..=1_000_000).contains(events));
    events.ok_or_else(|| Problem::parameter("events", "must be a number from 1 to 1000000"))
}

fn events_response(viewer: Viewer, left: u64) -> Response<Body> {
    let stream = stream::unfold((viewer, left), |(mut viewer, left)| async move {
        let left_then = left.checked_sub(1)?;
        match viewer.next().await {
            Some(Shown::Event(event)) => Some((Ok(event.sse()), (viewer, left_then))),
            Some(Shown::Beat) => Some((Ok(Bytes::from_static(COMMENT)), (viewer, left))),
            // Broken off and not ended, so that it is noticed; the server's end is an ordinary one.
            None => viewer.why_ended().map(|_| (Err(std::io::ErrorKind::TimedOut.into()), (viewer, 0))),
        }
    });
    let stream = Box::pin(stream) as std::pin::Pin<Box<dyn futures_util::Stream<Item = std::io::Result<Bytes>> + Send>>;
    event_stream(Body::from_stream(stream))
}

/// An answer that goes on as Server-Sent Events.
pub(super) fn event_stream(events: Body) -> Response<Body> {
    let mut response = Response::new(events);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that gather answers would hold it back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn is_upgrade(context: &Context) -> bool {
    let named = context.headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    named.is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

async fn upgrade(context: &mut Context) -> Result<WebSocketUpgrade, Problem> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.headers = context.headers.clone();
    parts.extensions = std::mem::take(&mut context.extensions);
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|error| Problem::header("upgrade", format!("cannot be done: {}", error.body_text())))?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.write_buffer_size(0).max_write_buffer_size(WRITE_BYTES_MAX))
}

/// Sends what comes until one of both ends.
async fn pass_on(mut socket: WebSocket, mut viewer: Viewer, mut left: u64, write_time: Duration) {
    let mut unanswered = 0;
    while left != 0 {
        let shown = tokio::select! {
            shown = viewer.next() => shown,
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {
                    unanswered = 0;
                    continue;
                }
            },
        };
        let message = match shown {
            Some(Shown::Event(event)) => {
                left -= 1;
                text(event.json())
            }
            Some(Shown::Beat) if unanswered < BEATS_UNANSWERED_MAX => {
                unanswered += 1;
                Message::Ping(Bytes::new())
            }
            Some(Shown::Beat) => return,
            None => break,
        };
        if !matches!(tokio::time::timeout(write_time, socket.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
    let code = match viewer.why_ended() {
        Some(Ended::Overdue) => return,
        Some(Ended::Revoked) => 1_008,
        None if left == 0 => 1_000,
        None => 1_001,
    };
    let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::default() }));
    let _ = tokio::time::timeout(Duration::from_secs(1), socket.send(close)).await;
}

fn text(json: Bytes) -> Message {
    // JSON is text; if it were not, saying so is better than saying nothing.
    Message::Text(Utf8Bytes::try_from(json).unwrap_or_else(|_| Utf8Bytes::from_static("{}")))
}
