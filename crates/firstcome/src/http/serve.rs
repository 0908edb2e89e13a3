//! The accept loops, one for each address: connections and their limits, and the way out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Response, Version};
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

use super::connection::{Connections, SWEEP, Watched, WatchedStream};
use super::pause::TurnedAway;
use crate::app::{App, HttpLimits};
use crate::clock;
use crate::tls::{HTTP2, Tls};

/// Connections that the system may hold before they are accepted: a rush connects all at once.
const BACKLOG: u32 = 4_096;
/// What a connection above the limit hears.
const TOO_MANY: &str = r#"{"type":"/docs#busy","title":"Busy","status":503,"detail":"as many connections are open as the server may have","code":"busy","outcome":"rejected","retry_after_ms":1000}"#;

/// Bytes of a connection that hyper gathers, each way.
const BUFFER_BYTES: usize = 64 * 1_024;

/// The same where TLS is expected: a fatal alert, `internal_error` (RFC 8446, 5.1 and 6).
const TLS_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

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

/// An address that is served, what is there, and to how many at once.
#[derive(Debug)]
pub struct Listening {
    /// Where connections come from.
    pub listener: TcpListener,
    /// What is served.
    pub router: Router,
    /// Connections at once, whatever comes to the other addresses.
    pub connections_max: usize,
    /// What handshakes use, if connections begin with one.
    pub tls: Option<Arc<Tls>>,
}

/// Serves every address until `stop` comes, then lets what is in flight finish, up to the limit.
/// Returns how many connections had to be cut off.
pub async fn serve(addresses: Vec<Listening>, app: &Arc<App>, stop: impl Future<Output = ()>) -> usize {
    let (stopping, _) = watch::channel(false);
    let serving = addresses.into_iter().map(|listening| {
        let (listener, door) = Door::new(listening, app, stopping.subscribe());
        Box::pin(door.serve(listener))
    });
    let stopped = async {
        stop.await;
        stopping.send_replace(true);
    };
    let (cut_off, ()) = tokio::join!(sum_of(serving.collect()), stopped);
    cut_off
}

/// Runs futures side by side, in this task: a panic in one of them ends it.
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

/// An address while it is served: its own connections, its own limit, its own way out.
struct Door {
    app: Arc<App>,
    router: Router,
    connections_max: usize,
    tls: Option<Arc<Tls>>,
    protocols: Arc<Protocols>,
    connections: Arc<Connections>,
    graceful: GracefulShutdown,
    stopping: watch::Receiver<bool>,
}

impl Door {
    fn new(listening: Listening, app: &Arc<App>, stopping: watch::Receiver<bool>) -> (TcpListener, Self) {
        let Listening { listener, router, connections_max, tls } = listening;
        let door = Self {
            app: Arc::clone(app),
            router,
            connections_max,
            tls,
            protocols: Arc::new(Protocols::new(&app.limits)),
            connections: Arc::new(Connections::new(Arc::clone(app.doors.waiting()))),
            graceful: GracefulShutdown::new(),
            stopping,
        };
        (listener, door)
    }

    async fn serve(self, listener: TcpListener) -> usize {
        let sweeper = tokio::spawn(sweep(Arc::clone(&self.connections), Arc::clone(&self.app)));
        let mut stop = std::pin::pin!(stopped(self.stopping.clone()));
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.start(stream, peer),
                    Err(error) => {
                        // Out of file descriptors, most likely: others may close soon.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        drop(listener);
        let finished = tokio::time::timeout(self.app.limits.drain_time, self.graceful.shutdown()).await;
        sweeper.abort();
        if finished.is_ok() { 0 } else { self.connections.count() }
    }

    fn start(&self, stream: TcpStream, address: SocketAddr) {
        if self.connections_max <= self.connections.count() {
            self.app.metrics.connection_refused();
            // A handshake is what there is no room for.
            let answer = if self.tls.is_some() { TLS_ALERT.to_vec() } else { too_many() };
            tokio::spawn(refuse(stream, answer));
            return;
        }
        // A delay of an answer that is ready helps nobody; without it the answer is only slower.
        let _ = stream.set_nodelay(true);
        let watched = Arc::new(if self.tls.is_some() { Watched::in_handshake() } else { Watched::default() });
        let stream = WatchedStream::new(stream, Arc::clone(&watched), Arc::clone(&self.connections));
        let id = self.connections.next_id();
        let gone = Arc::new(Gone { id, connections: Arc::clone(&self.connections), app: Arc::clone(&self.app) });
        let accepted = Accepted {
            watched: Arc::clone(&watched),
            connections: Arc::clone(&self.connections),
            router: self.router.clone(),
            watcher: self.graceful.watcher(),
            stopping: self.stopping.clone(),
            address,
            gone,
        };
        let protocols = Arc::clone(&self.protocols);
        let task = match &self.tls {
            None => tokio::spawn(async move { accepted.serve(stream, Speaks::Either(&protocols)).await }),
            Some(tls) => tokio::spawn(accepted.shake_hands(stream, tls.acceptor(), protocols, stopped(self.stopping.clone()))),
        };
        self.app.metrics.connection_opened();
        self.connections.add(id, watched, task.abort_handle());
        if task.is_finished() {
            self.connections.remove(id);
        }
    }
}

/// hyper's settings, by what is known of a connection.
struct Protocols {
    /// The first bytes tell.
    either: Builder<TokioExecutor>,
    http1: http1::Builder,
    http2: Builder<TokioExecutor>,
}

/// What a connection speaks.
#[derive(Clone, Copy)]
enum Speaks<'a> {
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
    // Not with `pipeline_flush`: it gathers the answers to pipelined requests without a limit, also
    // for a client that never reads them.
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

/// A connection that has its place.
struct Accepted {
    watched: Arc<Watched>,
    connections: Arc<Connections>,
    router: Router,
    watcher: Watcher,
    stopping: watch::Receiver<bool>,
    address: SocketAddr,
    gone: Arc<Gone>,
}

impl Accepted {
    /// The handshake of TLS, and then what was agreed in it. When the server stops, a handshake
    /// is simply dropped: nothing was asked yet.
    async fn shake_hands(self, stream: WatchedStream, acceptor: TlsAcceptor, protocols: Arc<Protocols>, stop: impl Future<Output = ()>) {
        let shaken = tokio::select! {
            shaken = acceptor.accept(stream) => shaken,
            () = stop => return,
        };
        let mut stream = match shaken {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a handshake failed");
                return;
            }
        };
        let tls = stream.get_mut().1;
        let is_http2 = tls.alpn_protocol() == Some(HTTP2);
        // An error shows again when the connection is read.
        let has_begun = tls.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() != 0);
        self.watched.handshake_ended(is_http2, has_begun, self.connections.now_ms());
        self.serve(stream, if is_http2 { Speaks::Http2(&protocols) } else { Speaks::Http1(&protocols) }).await;
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, speaks: Speaks<'_>) {
        let Self { watched, connections, router, watcher, stopping, address, gone } = self;
        let held = Arc::clone(&gone);
        let service = service_fn(move |request| {
            let peer = Peer { address, watched: Arc::clone(&watched), held: Arc::clone(&held) };
            one(request, peer, router.clone(), Arc::clone(&watched), Arc::clone(&connections))
        });
        let stream = TokioIo::new(stream);
        // hyper's own kinds of connections: only those of HTTP/1 can become a WebSocket.
        let ended = match speaks {
            Speaks::Either(with) => watcher.watch(with.either.serve_connection_with_upgrades(stream, service).into_owned()).await,
            Speaks::Http1(with) => {
                // What `watcher` does for the others; until it is dropped, the server waits for it.
                let mut connection = std::pin::pin!(with.http1.serve_connection(stream, service).with_upgrades());
                let ended = tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = stopped(stopping) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                drop(watcher);
                ended.map_err(Into::into)
            }
            Speaks::Http2(with) => watcher.watch(with.http2.serve_connection(stream, service).into_owned()).await,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
        drop(gone);
    }
}

/// Where a request comes from. Who keeps it keeps the connection's place, also after the connection
/// has become something else than HTTP.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address at the other end.
    pub address: SocketAddr,
    watched: Arc<Watched>,
    held: Arc<Gone>,
}

impl Peer {
    /// The answer has no end: what of it is not read shall not be kept.
    pub fn keep_little(&self) {
        self.watched.keep_little();
    }
}

/// Forgets a connection when its task ends, however it ends.
#[derive(Debug)]
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
    mut request: hyper::Request<Incoming>,
    peer: Peer,
    router: Router,
    watched: Arc<Watched>,
    connections: Arc<Connections>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let is_http2 = request.version() == Version::HTTP_2;
    watched.request_opened(is_http2);
    // Only those who watch are told apart by address, unless there is a limit for addresses: the
    // others are spared the cost.
    if request.method() == Method::GET || peer.held.app.gateway.counts_addresses() {
        request.extensions_mut().insert(peer);
    }
    let closed = Closed { watched: Arc::clone(&watched), connections: Arc::clone(&connections) };
    let response = router.oneshot(request).await?;
    drop(closed);
    if let Some(turned_away) = response.extensions().get::<TurnedAway>().filter(|_| !is_http2) {
        watched.turn_away(*turned_away);
    }
    // A list that goes out for longer than a connection may be idle shows its progress itself.
    Ok(response
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

fn too_many() -> Vec<u8> {
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\nconnection: close";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{TOO_MANY}", TOO_MANY.len()).into_bytes()
}

async fn refuse(mut stream: TcpStream, answer: Vec<u8>) {
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&answer)).await;
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that nobody serves any more.
    let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
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
