//! The accept loop: connections and their limits, and the way out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, Version};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tower::ServiceExt;

use super::connection::{Connections, SWEEP, Watched, WatchedStream};
use crate::app::{App, HttpLimits};
use crate::clock;

/// Connections that the system may hold before they are accepted: a rush connects all at once.
const BACKLOG: u32 = 4_096;
/// What a connection above the limit hears.
const TOO_MANY: &str = r#"{"type":"/docs#busy","title":"Busy","status":503,"detail":"as many connections are open as the server may have","code":"busy","outcome":"rejected","retry_after_ms":1000}"#;

/// Opens the address.
///
/// # Errors
/// What the system says.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` comes, then lets what is in flight finish, up to the limit. Returns how
/// many connections had to be cut off.
pub async fn serve(listener: TcpListener, app: Arc<App>, router: Router, stop: impl Future<Output = ()>) -> usize {
    let connections = Arc::new(Connections::default());
    let graceful = GracefulShutdown::new();
    let sweeper = tokio::spawn(sweep(Arc::clone(&connections), Arc::clone(&app)));
    let builder = builder(&app.limits);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => start(stream, &builder, &graceful, &connections, &app, &router),
                Err(error) => {
                    // Out of file descriptors, most likely: others may close soon.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    let finished = tokio::time::timeout(app.limits.drain_time, graceful.shutdown()).await;
    sweeper.abort();
    if finished.is_ok() { 0 } else { connections.count() }
}

fn builder(limits: &HttpLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Not with `pipeline_flush`: it gathers the answers to pipelined requests without a limit, also
    // for a client that never reads them.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(64 * 1_024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(32 * 1_024)
        .keep_alive_interval(limits.idle_time / 2)
        .keep_alive_timeout(limits.header_time);
    builder
}

fn start(
    stream: TcpStream,
    builder: &Builder<TokioExecutor>,
    graceful: &GracefulShutdown,
    connections: &Arc<Connections>,
    app: &Arc<App>,
    router: &Router,
) {
    if app.limits.connections_max <= connections.count() {
        app.metrics.connection_refused();
        tokio::spawn(refuse(stream));
        return;
    }
    // A delay of an answer that is ready helps nobody; without it the answer is only slower.
    let _ = stream.set_nodelay(true);
    let watched = Arc::new(Watched::default());
    let io = TokioIo::new(WatchedStream::new(stream, Arc::clone(&watched), Arc::clone(connections)));
    let service = {
        let (watched, connections, router) = (Arc::clone(&watched), Arc::clone(connections), router.clone());
        service_fn(move |request| one(request, router.clone(), Arc::clone(&watched), Arc::clone(&connections)))
    };
    let connection = graceful.watch(builder.serve_connection(io, service).into_owned());
    let id = connections.next_id();
    let task = tokio::spawn({
        let connections = Arc::clone(connections);
        let app = Arc::clone(app);
        async move {
            let _gone = Gone { id, connections, app };
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        }
    });
    app.metrics.connection_opened();
    connections.add(id, watched, task.abort_handle());
    if task.is_finished() {
        connections.remove(id);
    }
}

/// Forgets a connection when its task ends, however it ends.
struct Gone {
    id: u64,
    connections: Arc<Connections>,
    app: Arc<App>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.connections.remove(self.id);
        self.app.metrics.connection_closed();
    }
}

async fn one(
    request: hyper::Request<Incoming>,
    router: Router,
    watched: Arc<Watched>,
    connections: Arc<Connections>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let is_http2 = request.version() == Version::HTTP_2;
    watched.request_opened(is_http2);
    let closed = Closed { watched: Arc::clone(&watched), connections: Arc::clone(&connections) };
    let response = router.oneshot(request).await;
    drop(closed);
    // A list that goes out for longer than a connection may be idle shows its progress itself.
    Ok(response?
        .map(|body| if is_http2 && body.size_hint().exact().is_none() { Body::new(Streamed { body, watched, connections }) } else { body }))
}

/// A body of HTTP/2 that notes when more of it is taken.
struct Streamed {
    body: Body,
    watched: Arc<Watched>,
    connections: Arc<Connections>,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.watched.body_progressed(self.connections.now_ms());
        }
        frame
    }
}

/// Notes the end of a request, also where its connection is cut off in the middle.
struct Closed {
    watched: Arc<Watched>,
    connections: Arc<Connections>,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.watched.request_closed(self.connections.now_ms());
    }
}

async fn refuse(mut stream: TcpStream) {
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{TOO_MANY}", TOO_MANY.len());
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(answer.as_bytes())).await;
}

async fn sweep(connections: Arc<Connections>, app: Arc<App>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for why in connections.sweep(clock::elapsed_ms(), &app.limits) {
            app.metrics.connection_overdue(why);
        }
    }
}

/// Numbers for request ids, unlike those of another process.
#[derive(Debug)]
pub struct RequestIds {
    next: AtomicU64,
}

impl RequestIds {
    /// Starts at a random number.
    #[must_use]
    pub fn new(random: u64) -> Self {
        Self { next: AtomicU64::new(random) }
    }

    /// The next id: 16 hexadecimal digits that look unlike the one before (a step of Weyl's
    /// sequence, mixed), so that nobody reads an order into them.
    pub fn next(&self) -> String {
        let number = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (number ^ number >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        format!("{:016x}", mixed ^ mixed >> 32)
    }
}
