//! One connection, watched: a client that says nothing, sends half a header, or never reads does
//! not keep its place for ever. hyper has a limit for headers that would also end idle
//! connections early, and none for clients that do not read; so each connection notes what it
//! waits for and since when, and one sweeper looks at all of them.
//!
//! What is watched is the TCP stream, below TLS: a record of TLS that has begun to come counts as
//! a header that has.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::pause::{Pause, TurnedAway, Waiting};
use crate::app::HttpLimits;

/// No request is open; the next may come.
const IDLE: u8 = 0;
/// Something of a header has come.
const HEADER: u8 = 1;
/// The handshake of TLS is not over.
const HANDSHAKE: u8 = 2;

/// What one connection waits for.
#[derive(Debug, Default)]
pub struct Watched {
    phase: AtomicU8,
    is_tls: bool,
    is_http2: AtomicBool,
    /// Milliseconds of the sweeper's clock at the last change of phase or progress.
    since_ms: AtomicU64,
    /// When writing last made no progress; 0 while it does.
    stuck_since_ms: AtomicU64,
    requests_open: AtomicU32,
    /// Its last request found no place: for how many microseconds the next one is not read.
    pause_us: AtomicU64,
    /// Whether the system shall keep little of what is written.
    keeps_little: AtomicBool,
}

/// All connections, and the clock that is read a few times a second instead of at every byte.
#[derive(Debug, Default)]
pub struct Connections {
    now_ms: AtomicU64,
    next_id: AtomicU64,
    watched: Mutex<HashMap<u64, (Arc<Watched>, AbortHandle)>>,
    waiting: Arc<Waiting>,
}

/// Why the sweeper ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overdue {
    /// No request came.
    Idle,
    /// A header did not become complete.
    Header,
    /// The handshake of TLS did not.
    Handshake,
    /// The client does not read.
    Write,
}

/// What the system keeps of an answer without an end; Linux takes it twice, for what it adds itself.
const ENDLESS_BUFFER_BYTES: usize = 32 * 1_024;
/// How often the sweeper looks.
pub const SWEEP: Duration = Duration::from_millis(250);

impl Connections {
    /// None yet; those who are turned away are counted here, over all addresses.
    #[must_use]
    pub fn new(waiting: Arc<Waiting>) -> Self {
        Self { waiting, ..Self::default() }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.watched().len()
    }

    /// A number for a new connection.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a connection that a task serves.
    pub fn add(&self, id: u64, watched: Arc<Watched>, task: AbortHandle) {
        self.watched().insert(id, (watched, task));
    }

    /// Forgets a connection.
    pub fn remove(&self, id: u64) {
        self.watched().remove(&id);
    }

    /// Sets the clock and ends every connection that is overdue; says how many and why.
    pub fn sweep(&self, now_ms: u64, limits: &HttpLimits) -> Vec<Overdue> {
        self.now_ms.store(now_ms, Ordering::Relaxed);
        let watched = self.watched();
        let overdue = watched.values().filter_map(|(watched, task)| watched.overdue(now_ms, limits).map(|why| (why, task)));
        overdue
            .map(|(why, task)| {
                task.abort();
                why
            })
            .collect()
    }

    /// The sweeper's clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<u64, (Arc<Watched>, AbortHandle)>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// A connection that begins with the handshake of TLS.
    #[must_use]
    pub fn in_handshake() -> Self {
        Self { phase: AtomicU8::new(HANDSHAKE), is_tls: true, ..Self::default() }
    }

    /// The handshake is over; of the first request, something may have come with its end.
    pub fn handshake_ended(&self, is_http2: bool, has_begun: bool, now_ms: u64) {
        self.is_http2.store(is_http2, Ordering::Relaxed);
        self.since_ms.store(now_ms, Ordering::Relaxed);
        self.phase.store(if has_begun { HEADER } else { IDLE }, Ordering::Relaxed);
    }

    /// A request's header is complete.
    pub fn request_opened(&self, is_http2: bool) {
        if is_http2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        self.requests_open.fetch_add(1, Ordering::Relaxed);
        self.phase.store(IDLE, Ordering::Relaxed);
    }

    /// A request is answered, as far as the handler goes.
    pub fn request_closed(&self, now_ms: u64) {
        self.requests_open.fetch_sub(1, Ordering::Relaxed);
        self.since_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Its request found no place: the next one is read after a pause.
    pub fn turn_away(&self, TurnedAway(time): TurnedAway) {
        self.pause_us.store(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What is sent from here on has no end: of what the client does not read, the system shall not
    /// keep megabytes.
    pub fn keep_little(&self) {
        self.keeps_little.store(true, Ordering::Relaxed);
    }

    /// More of an answer of HTTP/2 was taken.
    pub fn body_progressed(&self, now_ms: u64) {
        self.since_ms.store(now_ms, Ordering::Relaxed);
    }

    fn overdue(&self, now_ms: u64, limits: &HttpLimits) -> Option<Overdue> {
        // The clock was up to a sweep behind when the wait was noted: nobody is ended too early.
        let has_lasted = |since_ms: u64, limit: Duration| limit + SWEEP < Duration::from_millis(now_ms.saturating_sub(since_ms));
        let stuck_since = self.stuck_since_ms.load(Ordering::Relaxed);
        if stuck_since != 0 && has_lasted(stuck_since, limits.write_time) {
            return Some(Overdue::Write);
        }
        if self.requests_open.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let since = self.since_ms.load(Ordering::Relaxed);
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == HANDSHAKE {
            return has_lasted(since, limits.header_time).then_some(Overdue::Handshake);
        }
        if phase == HEADER && !self.is_http2.load(Ordering::Relaxed) && has_lasted(since, limits.header_time) {
            return Some(Overdue::Header);
        }
        has_lasted(since, limits.idle_time).then_some(Overdue::Idle)
    }

    fn is_in_handshake(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == HANDSHAKE
    }

    /// Bytes came while no request was open: a header begins.
    fn has_read(&self, bytes: &[u8], now_ms: u64) {
        if self.requests_open.load(Ordering::Relaxed) != 0 || self.is_in_handshake() {
            return;
        }
        if self.phase.swap(HEADER, Ordering::Relaxed) == IDLE {
            self.since_ms.store(now_ms, Ordering::Relaxed);
            // Below TLS, the handshake has told.
            if !self.is_tls && bytes.starts_with(b"PRI * HTTP/2") {
                self.is_http2.store(true, Ordering::Relaxed);
            }
        }
    }

    fn has_written(&self, has_progressed: bool, now_ms: u64) {
        if has_progressed {
            self.stuck_since_ms.store(0, Ordering::Relaxed);
            // Pings keep a connection of HTTP/2 alive, and are no use of it; a handshake has its
            // time as a whole.
            if !self.is_http2.load(Ordering::Relaxed) && !self.is_in_handshake() {
                self.since_ms.store(now_ms, Ordering::Relaxed);
            }
        } else if self.stuck_since_ms.load(Ordering::Relaxed) == 0 {
            self.stuck_since_ms.store(now_ms.max(1), Ordering::Relaxed);
        }
    }
}

/// A stream that notes its progress.
#[derive(Debug)]
pub struct WatchedStream {
    stream: TcpStream,
    watched: Arc<Watched>,
    connections: Arc<Connections>,
    pause: Pause,
}

impl WatchedStream {
    /// Watches a stream.
    #[must_use]
    pub fn new(stream: TcpStream, watched: Arc<Watched>, connections: Arc<Connections>) -> Self {
        watched.since_ms.store(connections.now_ms(), Ordering::Relaxed);
        let pause = Pause::none(Arc::clone(&connections.waiting));
        Self { stream, watched, connections, pause }
    }

    fn prepare_write(&self) {
        if self.watched.keeps_little.load(Ordering::Relaxed) && self.watched.keeps_little.swap(false, Ordering::Relaxed) {
            // Where the system refuses, its own limit holds.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&self.stream, ENDLESS_BUFFER_BYTES);
        }
    }

    fn note_write<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.watched.has_written(outcome.is_ready(), self.connections.now_ms());
        outcome
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pause_us = self.watched.pause_us.load(Ordering::Relaxed);
        if pause_us != 0 {
            self.watched.pause_us.store(0, Ordering::Relaxed);
            self.pause.begin(Duration::from_micros(pause_us));
        }
        std::task::ready!(self.pause.poll_over(context));
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.watched.has_read(bytes, self.connections.now_ms());
        }
        outcome
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.prepare_write();
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_write(outcome)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.prepare_write();
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_write(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HttpLimits = HttpLimits::STANDARD;
    const HEADER_MS: u64 = 5_000 + 250;
    const IDLE_MS: u64 = 75_000 + 250;

    #[test]
    fn a_handshake_has_its_time_as_a_whole() {
        let watched = Watched::in_handshake();
        watched.has_read(&[22, 3, 1], 2_000);
        watched.has_written(true, 4_000);
        assert_eq!(watched.overdue(HEADER_MS, &LIMITS), None);
        assert_eq!(watched.overdue(HEADER_MS + 1, &LIMITS), Some(Overdue::Handshake));
    }

    #[test]
    fn after_the_handshake_it_is_idle_unless_a_request_has_begun() {
        for (is_http2, has_begun, ends_ms, why) in [
            (false, false, IDLE_MS, Overdue::Idle),
            (false, true, HEADER_MS, Overdue::Header),
            (true, false, IDLE_MS, Overdue::Idle),
            (true, true, IDLE_MS, Overdue::Idle),
        ] {
            let watched = Watched::in_handshake();
            watched.has_read(&[22, 3, 1], 1_000);
            watched.handshake_ended(is_http2, has_begun, 4_000);
            assert_eq!(watched.overdue(4_000 + ends_ms, &LIMITS), None);
            assert_eq!(watched.overdue(4_001 + ends_ms, &LIMITS), Some(why));
        }
    }

    #[test]
    fn below_tls_nothing_that_looks_like_http2_is_taken_for_it() {
        let (plain, tls) = (Watched::default(), Watched::in_handshake());
        tls.handshake_ended(false, false, 0);
        for watched in [&plain, &tls] {
            watched.has_read(b"PRI * HTTP/2.0", 0);
        }
        assert_eq!(plain.overdue(HEADER_MS + 1, &LIMITS), None);
        assert_eq!(tls.overdue(HEADER_MS + 1, &LIMITS), Some(Overdue::Header));
    }
}
