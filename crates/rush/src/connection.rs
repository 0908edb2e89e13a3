//! One keep-alive connection of the load. The task that waits for the response also polls the protocol driver: a
//! task of its own would cost two wake-ups per request, processor time that the server needs on a shared machine.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::clock;
use crate::target::{Outgoing, Target};

/// A response to a claim has a few hundred bytes; anything longer than this is not one.
const BODY_BYTES_MAX: usize = 1 << 20;

type Driver = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Pin<Box<Driver>>,
    timer: Pin<Box<Sleep>>,
    timeout: Duration,
}

pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// Why there is no response. The connection cannot be used any more.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No byte of the request was sent: a retry cannot repeat its effect.
    Unsent(String),
    /// The request may have taken effect.
    Lost(String),
}

impl Connection {
    pub(crate) async fn open(target: &Target, timeout: Duration) -> io::Result<Connection> {
        let stream = tokio::time::timeout(timeout, target.dial()).await??;
        // Header and body are small: one plain write is cheaper than a vectored one.
        let (sender, driver) = http1::Builder::new().writev(false).handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        Ok(Connection { sender, driver: Box::pin(driver), timer: Box::pin(tokio::time::sleep(timeout)), timeout })
    }

    /// Sends one request and reads its whole response.
    pub(crate) async fn exchange(&mut self, request: Outgoing) -> Result<Response, Failure> {
        let deadline = clock::now() + self.timeout;
        let mut reply = pin!(read_answer(self.sender.try_send_request(request)));
        poll_fn(|cx| {
            // The first round yields the response's header, the second its body.
            for _ in 0..2 {
                if let Poll::Ready(done) = reply.as_mut().poll(cx) {
                    return Poll::Ready(done);
                }
                if self.driver.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(last_word(reply.as_mut(), cx));
                }
            }
            if let Poll::Ready(done) = reply.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            overdue(self.timer.as_mut(), deadline, cx)
        })
        .await
    }

    /// Whether a request can be sent. Detects that the server has closed the connection while it was idle, so
    /// that the next request does not end with an unknown outcome.
    pub(crate) async fn is_ready(&mut self) -> bool {
        poll_fn(|cx| match self.driver.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending => self.sender.poll_ready(cx).map(|ready| ready.is_ok()),
        })
        .await
    }
}

/// The driver has ended: either the response is complete by now, or it never will be.
fn last_word<F>(reply: Pin<&mut F>, cx: &mut Context<'_>) -> Result<Response, Failure>
where
    F: Future<Output = Result<Response, Failure>>,
{
    match reply.poll(cx) {
        Poll::Ready(done) => done,
        Poll::Pending => Err(Failure::Lost("connection closed".to_owned())),
    }
}

/// The timer is reset only when it fires, not for every request: all requests have the same timeout, so it
/// never fires too late.
fn overdue(mut timer: Pin<&mut Sleep>, deadline: Instant, cx: &mut Context<'_>) -> Poll<Result<Response, Failure>> {
    while timer.as_mut().poll(cx).is_ready() {
        if deadline <= timer.deadline().into_std() {
            return Poll::Ready(Err(Failure::Lost("no answer in time".to_owned())));
        }
        timer.as_mut().reset(deadline.into());
    }
    Poll::Pending
}

async fn read_answer<F>(sent: F) -> Result<Response, Failure>
where
    F: Future<Output = Result<http::Response<Incoming>, TrySendError<Outgoing>>>,
{
    let response = sent.await.map_err(|mut refused| {
        let unsent = refused.take_message().is_some();
        let detail = refused.into_error().to_string();
        match unsent {
            true => Failure::Unsent(detail),
            false => Failure::Lost(detail),
        }
    })?;
    let (head, body) = response.into_parts();
    Ok(Response { status: head.status, retry_after: retry_after(&head.headers), body: read_body(body).await? })
}

/// Almost every body arrives in one piece, which is then not copied.
async fn read_body(mut body: Incoming) -> Result<Bytes, Failure> {
    let first = next_piece(&mut body).await?.unwrap_or_default();
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut whole = BytesMut::from(&first[..]);
    while let Some(piece) = next_piece(&mut body).await? {
        if BODY_BYTES_MAX < whole.len() + piece.len() {
            return Err(Failure::Lost("the answer does not end".to_owned()));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    let Some(frame) = body.frame().await else {
        return Ok(None);
    };
    let frame = frame.map_err(|error| Failure::Lost(error.to_string()))?;
    Ok(Some(frame.into_data().unwrap_or_default()))
}

/// Only the form in seconds is supported; the other one, a date, needs synchronised clocks.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.parse().ok().map(Duration::from_secs)
}
