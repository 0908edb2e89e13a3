//! The accept loops, one for each address, with their limits and an orderly shutdown.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Response, Version, header};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::connection::{Activity, Connections, ObservedStream, SWEEP};
use crate::limits::HttpLimits;
use crate::linger::Linger;
use crate::pause::PauseFor;
use crate::shared::Edge;
use crate::tls::{HTTP2, Tls};

/// Connections that the system queues before they are accepted: in a rush, all clients connect at once.
const BACKLOG: u32 = 4_096;
/// The response sent to connections over the limit.
const TOO_MANY: &str = r#"{"type":"/docs#busy","title":"Busy","status":503,"detail":"as many connections are open as the server may have","code":"busy","outcome":"rejected","retry_after_ms":1000}"#;

/// hyper's buffer for one connection, in each direction.
const BUFFER_BYTES: usize = 64 * 1_024;

/// The alert sent to connections over the limit where TLS is expected: a fatal alert, `internal_error` (RFC 8446, 5.1 and 6).
const TLS_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// Listens on the address.
///
/// # Errors
/// The system's error.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// An address to be served.
#[derive(Debug)]
pub struct Endpoint {
    /// The listening socket.
    pub listener: TcpListener,
    /// The routes at this address.
    pub router: Router,
    /// Limit on open connections to this address.
    pub connections_max: usize,
    /// The certificate, if connections use TLS.
    pub tls: Option<Arc<Tls>>,
}

/// Serves every address until `stop` completes, then lets requests in flight complete, up to
/// [`HttpLimits::drain_time`]. Returns the number of connections that were cut off.
pub async fn serve(endpoints: Vec<Endpoint>, edge: &Arc<Edge>, stop: impl Future<Output = ()>) -> usize {
    let (stopping, _) = watch::channel(false);
    let serving = endpoints.into_iter().map(|endpoint| {
        let (listener, server) = Server::new(endpoint, edge, stopping.subscribe());
        Box::pin(server.serve(listener))
    });
    let stopped = async {
        stop.await;
        stopping.send_replace(true);
    };
    let (cut_off, ()) = tokio::join!(sum_of(serving.collect()), stopped);
    cut_off
}

/// Runs futures concurrently in this task, so that a panic in one of them ends the task.
async fn sum_of<F: Future<Output = usize>>(mut running: Vec<Pin<Box<F>>>) -> usize {
    let mut sum = 0;
    std::future::poll_fn(|context| {
        running.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Ready(count) => {
                sum += count;
                false
            }
            Poll::Pending => true,
        });
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    sum
}

/// One address while it is served, with its own connections and limit.
struct Server {
    edge: Arc<Edge>,
    router: Router,
    connections_max: usize,
    tls: Option<Arc<Tls>>,
    protocols: Arc<Protocols>,
    connections: Arc<Connections>,
    graceful: GracefulShutdown,
    stopping: watch::Receiver<bool>,
}

impl Server {
    fn new(endpoint: Endpoint, edge: &Arc<Edge>, stopping: watch::Receiver<bool>) -> (TcpListener, Self) {
        let Endpoint { listener, router, connections_max, tls } = endpoint;
        let server = Self {
            edge: Arc::clone(edge),
            router,
            connections_max,
            tls,
            protocols: Arc::new(Protocols::new(&edge.limits)),
            connections: Arc::new(Connections::new(Arc::clone(edge.auth.paused()))),
            graceful: GracefulShutdown::new(),
            stopping,
        };
        (listener, server)
    }

    async fn serve(self, listener: TcpListener) -> usize {
        let sweeper = tokio::spawn(sweep(Arc::clone(&self.connections), Arc::clone(&self.edge)));
        let mut stop = std::pin::pin!(stopped(self.stopping.clone()));
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.start(stream, peer),
                    Err(error) => {
                        // Most likely out of file descriptors: other connections may close soon.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        drop(listener);
        let finished = tokio::time::timeout(self.edge.limits.drain_time, self.graceful.shutdown()).await;
        sweeper.abort();
        if finished.is_ok() { 0 } else { self.connections.count() }
    }

    fn start(&self, stream: TcpStream, address: SocketAddr) {
        if self.connections_max <= self.connections.count() {
            self.edge.metrics.connection_refused();
            // A TLS handshake would cost more than the connection is refused for.
            let response = if self.tls.is_some() { TLS_ALERT.to_vec() } else { too_many() };
            tokio::spawn(refuse(stream, response));
            return;
        }
        // Nagle's algorithm would delay responses that are ready. If this fails, they are only slower.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(if self.tls.is_some() { Activity::in_handshake() } else { Activity::default() });
        let stream = ObservedStream::new(stream, Arc::clone(&activity), Arc::clone(&self.connections));
        let id = self.connections.next_id();
        let guard = Arc::new(ConnectionGuard { id, connections: Arc::clone(&self.connections), edge: Arc::clone(&self.edge) });
        let accepted = Accepted {
            activity: Arc::clone(&activity),
            connections: Arc::clone(&self.connections),
            router: self.router.clone(),
            watcher: self.graceful.watcher(),
            stopping: self.stopping.clone(),
            address,
            guard,
        };
        let protocols = Arc::clone(&self.protocols);
        let task = match &self.tls {
            None => tokio::spawn(async move { accepted.serve(stream, Protocol::Either(&protocols)).await }),
            Some(tls) => tokio::spawn(accepted.handshake(stream, tls.acceptor(), protocols, stopped(self.stopping.clone()))),
        };
        self.edge.metrics.connection_opened();
        self.connections.add(id, activity, task.abort_handle());
        // It may have ended before it was added.
        if task.is_finished() {
            self.connections.remove(id);
        }
    }
}

/// hyper's settings for each protocol.
struct Protocols {
    /// Detects the protocol from the first bytes.
    either: Builder<TokioExecutor>,
    http1: http1::Builder,
    http2: Builder<TokioExecutor>,
}

/// The protocol of a connection.
#[derive(Clone, Copy)]
enum Protocol<'a> {
    Either(&'a Protocols),
    Http1(&'a Protocols),
    Http2(&'a Protocols),
}

impl Protocols {
    fn new(limits: &HttpLimits) -> Self {
        let either = builder(limits);
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(BUFFER_BYTES);
        Self { http1, http2: either.clone().http2_only(), either }
    }
}

fn builder(limits: &HttpLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Without `pipeline_flush`: it buffers the responses to pipelined requests without a limit, even for
    // a client that never reads them.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(32 * 1_024)
        .keep_alive_interval(limits.idle_time / 2)
        .keep_alive_timeout(limits.header_time);
    builder
}

/// An accepted connection.
struct Accepted {
    activity: Arc<Activity>,
    connections: Arc<Connections>,
    router: Router,
    watcher: Watcher,
    stopping: watch::Receiver<bool>,
    address: SocketAddr,
    guard: Arc<ConnectionGuard>,
}

impl Accepted {
    /// Completes the TLS handshake, then serves the negotiated protocol. When the server stops, a
    /// handshake is dropped, as there is no request yet.
    async fn handshake(self, stream: ObservedStream, acceptor: TlsAcceptor, protocols: Arc<Protocols>, stop: impl Future<Output = ()>) {
        let accepted = tokio::select! {
            accepted = acceptor.accept(stream) => accepted,
            () = stop => return,
        };
        let mut stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a handshake failed");
                return;
            }
        };
        let tls = stream.get_mut().1;
        let is_http2 = tls.alpn_protocol() == Some(HTTP2);
        // An error shows up again when the connection is read.
        let has_begun = tls.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() != 0);
        self.activity.handshake_ended(is_http2, has_begun, self.connections.now_ms());
        self.serve(stream, if is_http2 { Protocol::Http2(&protocols) } else { Protocol::Http1(&protocols) }).await;
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, protocol: Protocol<'_>) {
        let Self { activity, connections, router, watcher, stopping, address, guard } = self;
        let (held, asked) = (Arc::clone(&guard), Arc::clone(&activity));
        let service = service_fn(move |request| {
            let peer = Peer { address, activity: Arc::clone(&activity), guard: Arc::clone(&held) };
            respond(request, peer, router.clone(), Arc::clone(&activity), Arc::clone(&connections))
        });
        let stream = TokioIo::new(stream);
        let ends = async {
            tokio::select! {
                () = stopped(stopping) => {}
                () = asked.asked_to_end() => {}
            }
        };
        // hyper has a type for each protocol: only connections of HTTP/1 can become a WebSocket.
        let ended = match protocol {
            Protocol::Either(with) => {
                let connection = with.either.serve_connection_with_upgrades(stream, service).into_owned();
                run(connection, |connection| connection.graceful_shutdown(), ends).await
            }
            Protocol::Http1(with) => {
                let connection = with.http1.serve_connection(stream, service).with_upgrades();
                run(connection, |connection| connection.graceful_shutdown(), ends).await.map_err(Into::into)
            }
            Protocol::Http2(with) => {
                let connection = with.http2.serve_connection(stream, service).into_owned();
                run(connection, |connection| connection.graceful_shutdown(), ends).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
        drop(guard);
        // The server waits until every `watcher` is dropped.
        drop(watcher);
    }
}

/// Runs a connection to its end. After `ends`, it accepts no more requests and completes those in flight.
async fn run<C: Future>(connection: C, shut_down: fn(Pin<&mut C>), ends: impl Future<Output = ()>) -> C::Output {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = ends => {}
    }
    shut_down(connection.as_mut());
    connection.await
}

/// The client's end of a connection. The connection counts as open while a value of this exists, even
/// after it has become a WebSocket.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    activity: Arc<Activity>,
    guard: Arc<ConnectionGuard>,
}

impl Peer {
    /// The response has no end: the system must not buffer megabytes for a client that does not read.
    pub fn shrink_send_buffer(&self) {
        self.activity.shrink_send_buffer();
    }
}

/// Removes a connection when its task ends, however it ends.
#[derive(Debug)]
struct ConnectionGuard {
    id: u64,
    connections: Arc<Connections>,
    edge: Arc<Edge>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.connections.remove(self.id);
        self.edge.metrics.connection_closed();
    }
}

async fn respond(
    mut request: hyper::Request<Incoming>,
    peer: Peer,
    router: Router,
    activity: Arc<Activity>,
    connections: Arc<Connections>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let is_http2 = request.version() == Version::HTTP_2;
    activity.request_opened(is_http2);
    // Only live streams need the address, unless there is a rate limit for addresses: other requests
    // are spared the cost.
    if request.method() == Method::GET || peer.guard.edge.gateway.counts_addresses() {
        request.extensions_mut().insert(peer);
    }
    let guard = RequestGuard { activity: Arc::clone(&activity), connections: Arc::clone(&connections) };
    let response = router.oneshot(request).await?;
    drop(guard);
    if !is_http2 && response.headers().get(header::CONNECTION).is_some_and(|value| value == "close") {
        activity.leave_unread();
    }
    if let Some(pause) = response.extensions().get::<PauseFor>().filter(|_| !is_http2) {
        activity.pause(*pause);
    }
    // On HTTP/1, writing shows progress. On HTTP/2, a body that takes longer than a connection may be idle
    // must show it itself.
    Ok(response.map(|body| {
        if is_http2 && body.size_hint().exact().is_none() { Body::new(Streamed { body, activity, connections }) } else { body }
    }))
}

/// A body of HTTP/2 that records when more of it is taken.
struct Streamed {
    body: Body,
    activity: Arc<Activity>,
    connections: Arc<Connections>,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.activity.body_progressed(self.connections.now_ms());
        }
        frame
    }
}

/// Records the end of a request, even if its connection is cut off.
struct RequestGuard {
    activity: Arc<Activity>,
    connections: Arc<Connections>,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.activity.request_closed(self.connections.now_ms());
    }
}

fn too_many() -> Vec<u8> {
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\nconnection: close";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{TOO_MANY}", TOO_MANY.len()).into_bytes()
}

async fn refuse(mut stream: TcpStream, response: Vec<u8>) {
    let mut linger = Linger::default();
    let refusing = async {
        stream.write_all(&response).await?;
        stream.shutdown().await?;
        std::future::poll_fn(|context| linger.poll_over(&mut stream, context)).await;
        Ok::<_, io::Error>(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), refusing).await;
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the server has ended.
    let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
}

async fn sweep(connections: Arc<Connections>, edge: Arc<Edge>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for why in connections.sweep(&edge.limits) {
            edge.metrics.connection_overdue(why);
        }
    }
}
