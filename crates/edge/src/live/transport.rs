//! The transports of live streams: Server-Sent Events, and the same events as WebSocket messages.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderValue, Request, Response, header};
use bytes::Bytes;
use futures_util::{Stream, stream};

use super::{Ended, LiveFull, LiveItem, Subscription};
use crate::context::{Context, number};
use crate::problem::Problem;
use crate::serve::Peer;

/// Limit on messages from clients, which send only pings, pongs and the end.
const MESSAGE_BYTES_MAX: usize = 1_024;
/// Limit on what waits to be written to a WebSocket; an event has two kilobytes.
const WRITE_BYTES_MAX: usize = 64 * 1_024;
/// Limit on heartbeats in a row that a WebSocket client leaves unanswered.
const HEARTBEATS_UNANSWERED_MAX: u32 = 2;
/// A comment of Server-Sent Events, which clients ignore.
const COMMENT: &[u8] = b": still here\n\n";

impl From<LiveFull> for Problem {
    fn from(full: LiveFull) -> Self {
        match full {
            LiveFull::Clients => Self::new("busy", "as many clients watch as may").retry_after_ms(5_000),
            LiveFull::Address => Self::new("busy", "as many clients watch from this address as may").retry_after_ms(5_000),
            LiveFull::Channels => Self::new("busy", "as much is watched as may be").retry_after_ms(15_000),
            LiveFull::Stopping => Self::new("stopping", "the server is about to stop").retry_after_ms(1_000),
        }
    }
}

/// The number of events after which a stream ends, from the parameter `events`.
///
/// # Errors
/// A [`Problem`] if it is not a number in the range.
pub fn events_limit(text: &str) -> Result<u64, Problem> {
    let events = number(text).filter(|events| (1..=1_000_000).contains(events));
    events.ok_or_else(|| Problem::parameter("events", "must be a number from 1 to 1000000"))
}

/// The WebSocket that the request asks for, if it asks for one.
///
/// # Errors
/// A [`Problem`] if the request is not a valid opening handshake.
pub async fn upgrade<A>(context: &mut Context<A>) -> Result<Option<WebSocketUpgrade>, Problem> {
    let protocol = context.headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if !protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
        return Ok(None);
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.headers = context.headers.clone();
    parts.extensions = std::mem::take(&mut context.extensions);
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|error| Problem::header("upgrade", format!("cannot be done: {}", error.body_text())))?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(Some(upgrade.write_buffer_size(0).max_write_buffer_size(WRITE_BYTES_MAX)))
}

/// Streams a subscription, at most `left` events of it. `peer` is the client's end of the connection; one
/// write to a WebSocket may take `write_time`.
pub fn respond(
    upgrade: Option<WebSocketUpgrade>,
    subscription: Subscription,
    left: u64,
    peer: Option<Peer>,
    write_time: Duration,
) -> Response<Body> {
    if let Some(peer) = &peer {
        peer.shrink_send_buffer();
    }
    let Some(upgrade) = upgrade else { return sse_response(subscription, left) };
    upgrade.on_upgrade(move |socket| async move {
        send_messages(socket, subscription, left, write_time).await;
        // The connection counts as open until here.
        drop(peer);
    })
}

fn sse_response(subscription: Subscription, left: u64) -> Response<Body> {
    let stream = stream::unfold((subscription, left), |(mut subscription, left)| async move {
        let left_then = left.checked_sub(1)?;
        match subscription.next().await {
            Some(LiveItem::Event(frame)) => Some((Ok(frame.sse()), (subscription, left_then))),
            Some(LiveItem::Heartbeat) => Some((Ok(Bytes::from_static(COMMENT)), (subscription, left))),
            // An error breaks the response off, so that the client notices that its subscription was ended.
            // When the server stops, the response ends normally.
            None => subscription.why_ended().map(|_| (Err(io::ErrorKind::TimedOut.into()), (subscription, 0))),
        }
    });
    let stream = Box::pin(stream) as Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;
    event_stream(Body::from_stream(stream))
}

/// A response that continues as Server-Sent Events.
#[must_use]
pub fn event_stream(events: Body) -> Response<Body> {
    let mut response = Response::new(events);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that buffer responses would hold the events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Sends items until the client or the subscription ends.
async fn send_messages(mut socket: WebSocket, mut subscription: Subscription, mut left: u64, write_time: Duration) {
    let mut unanswered = 0;
    while left != 0 {
        let item = tokio::select! {
            item = subscription.next() => item,
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {
                    unanswered = 0;
                    continue;
                }
            },
        };
        let message = match item {
            Some(LiveItem::Event(frame)) => {
                left -= 1;
                text(frame.json())
            }
            Some(LiveItem::Heartbeat) if unanswered < HEARTBEATS_UNANSWERED_MAX => {
                unanswered += 1;
                Message::Ping(Bytes::new())
            }
            Some(LiveItem::Heartbeat) => return,
            None => break,
        };
        if !matches!(tokio::time::timeout(write_time, socket.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
    let code = match subscription.why_ended() {
        Some(Ended::Overdue) => return,
        Some(Ended::Revoked) => 1_008,
        None if left == 0 => 1_000,
        None => 1_001,
    };
    let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::default() }));
    let _ = tokio::time::timeout(Duration::from_secs(1), socket.send(close)).await;
}

fn text(json: Bytes) -> Message {
    // JSON is always UTF-8; an empty object is better than a panic in the stream of one client.
    Message::Text(Utf8Bytes::try_from(json).unwrap_or_else(|_| Utf8Bytes::from_static("{}")))
}
