//! Time limits of connections: a client that sends nothing, sends half a header, or never reads does not
//! keep its connection for ever. hyper's own limit for headers would also end idle connections early, and
//! hyper has no limit for clients that do not read. So each connection records what it waits for and
//! since when, and one sweeper task checks all of them.
//!
//! The TCP stream is observed, below TLS: the beginning of a TLS record counts as the beginning of a
//! header.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::limits::HttpLimits;
use crate::linger::Linger;
use crate::pause::{Pause, PauseFor, PausedConnections};

/// No request is open.
const IDLE: u8 = 0;
/// A part of a header has arrived.
const HEADER: u8 = 1;
/// The TLS handshake is not complete.
const HANDSHAKE: u8 = 2;

/// What one connection waits for, and since when.
#[derive(Debug, Default)]
pub struct Activity {
    phase: AtomicU8,
    is_tls: bool,
    is_http2: AtomicBool,
    /// The sweeper's clock at the last change of phase or progress.
    since_ms: AtomicU64,
    /// Since when writing makes no progress; 0 while it does.
    stuck_since_ms: AtomicU64,
    requests_open: AtomicU32,
    /// Its last request was refused as busy: for how long the next one is not read.
    pause_us: AtomicU64,
    /// Whether the system's send buffer is to be made small before the next write.
    shrinks_send_buffer: AtomicBool,
    /// Whether a request was refused before all of it was read.
    has_unread: AtomicBool,
    /// Asks the task that serves the connection to end it in order.
    ends: Notify,
    /// Since when the task has been asked; 0 while it has not.
    ending_since_ms: AtomicU64,
}

/// All connections, and the clock that advances a few times a second instead of being read at every byte.
/// It counts sweeps, which are never less than [`SWEEP`] apart: time in which the program itself did not
/// run (a first sweep that came late, a suspended machine) is not charged to the clients.
#[derive(Debug, Default)]
pub struct Connections {
    now_ms: AtomicU64,
    next_id: AtomicU64,
    by_id: Mutex<HashMap<u64, (Arc<Activity>, AbortHandle)>>,
    paused: Arc<PausedConnections>,
}

/// Why the sweeper ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overdue {
    /// No request arrived in time.
    Idle,
    /// A header was not complete in time.
    Header,
    /// The TLS handshake was not complete in time.
    Handshake,
    /// The client does not read the response.
    Write,
}

/// The system's send buffer for a response without an end. Linux doubles it for its own bookkeeping.
const ENDLESS_BUFFER_BYTES: usize = 32 * 1_024;
/// How long an idle connection may take to end in order (GOAWAY, `close_notify`) before it is cut off.
const ENDING_TIME: Duration = Duration::from_secs(1);
/// How often the sweeper checks all connections.
pub const SWEEP: Duration = Duration::from_millis(SWEEP_MS);
const SWEEP_MS: u64 = 250;

impl Connections {
    /// No connections. `paused` counts the paused ones of all addresses together.
    #[must_use]
    pub fn new(paused: Arc<PausedConnections>) -> Self {
        Self { paused, ..Self::default() }
    }

    /// The number of connections.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_id().len()
    }

    /// A new connection's id.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a connection and the task that serves it.
    pub fn add(&self, id: u64, activity: Arc<Activity>, task: AbortHandle) {
        self.by_id().insert(id, (activity, task));
    }

    /// Removes a connection.
    pub fn remove(&self, id: u64) {
        self.by_id().remove(&id);
    }

    /// Advances the clock by one sweep and ends every connection that is overdue; returns the reasons. An
    /// idle connection is ended in order, so that the client knows that no request was lost with it.
    pub fn sweep(&self, limits: &HttpLimits) -> Vec<Overdue> {
        let now_ms = SWEEP_MS + self.now_ms.fetch_add(SWEEP_MS, Ordering::Relaxed);
        let connections = self.by_id();
        let overdue = connections.values().filter_map(|(activity, task)| activity.overdue(now_ms, limits).map(|why| (why, activity, task)));
        overdue
            .filter_map(|(why, activity, task)| {
                if why == Overdue::Idle && activity.ask_to_end(now_ms) {
                    return Some(why);
                }
                task.abort();
                // A connection that did not end in order was counted when it was asked to.
                (why != Overdue::Idle).then_some(why)
            })
            .collect()
    }

    /// The clock, in milliseconds of sweeps.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn by_id(&self) -> MutexGuard<'_, HashMap<u64, (Arc<Activity>, AbortHandle)>> {
        self.by_id.lock()
    }
}

impl Activity {
    /// A connection that begins with a TLS handshake.
    #[must_use]
    pub fn in_handshake() -> Self {
        Self { phase: AtomicU8::new(HANDSHAKE), is_tls: true, ..Self::default() }
    }

    /// The handshake is complete; a part of the first request may have arrived with it.
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

    /// The handler has returned a response.
    pub fn request_closed(&self, now_ms: u64) {
        self.requests_open.fetch_sub(1, Ordering::Relaxed);
        self.since_ms.store(now_ms, Ordering::Relaxed);
    }

    /// A request was refused as busy: the next one is read after a pause.
    pub fn pause(&self, PauseFor(time): PauseFor) {
        self.pause_us.store(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The response has no end: the system must not buffer megabytes for a client that does not read.
    pub fn shrink_send_buffer(&self) {
        self.shrinks_send_buffer.store(true, Ordering::Relaxed);
    }

    /// The client took more of a response of HTTP/2.
    pub fn body_progressed(&self, now_ms: u64) {
        self.since_ms.store(now_ms, Ordering::Relaxed);
    }

    /// A request was refused before all of it was read: the rest is discarded before the connection closes.
    pub fn leave_unread(&self) {
        self.has_unread.store(true, Ordering::Relaxed);
    }

    /// Completes when the sweeper asks for the connection's end.
    pub async fn asked_to_end(&self) {
        self.ends.notified().await;
    }

    /// Asks for the connection's end; `false` if this was done before.
    fn ask_to_end(&self, now_ms: u64) -> bool {
        let is_first = self.ending_since_ms.swap(now_ms, Ordering::Relaxed) == 0;
        if is_first {
            self.ends.notify_one();
        }
        is_first
    }

    fn overdue(&self, now_ms: u64, limits: &HttpLimits) -> Option<Overdue> {
        // The clock may have been one sweep behind when the wait began: no connection ends too early.
        let has_lasted = |since_ms: u64, limit: Duration| limit + SWEEP < Duration::from_millis(now_ms.saturating_sub(since_ms));
        let stuck_since = self.stuck_since_ms.load(Ordering::Relaxed);
        if stuck_since != 0 && has_lasted(stuck_since, limits.write_time) {
            return Some(Overdue::Write);
        }
        if self.requests_open.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let since = self.since_ms.load(Ordering::Relaxed);
        let ending_since = self.ending_since_ms.load(Ordering::Relaxed);
        if ending_since != 0 {
            // The last response may still be under way.
            return has_lasted(since.max(ending_since), ENDING_TIME).then_some(Overdue::Idle);
        }
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

    /// Bytes that arrive while no request is open begin a header.
    fn has_read(&self, bytes: &[u8], now_ms: u64) {
        if self.requests_open.load(Ordering::Relaxed) != 0 || self.is_in_handshake() {
            return;
        }
        if self.phase.swap(HEADER, Ordering::Relaxed) == IDLE {
            self.since_ms.store(now_ms, Ordering::Relaxed);
            // With TLS, the handshake has negotiated the protocol.
            if !self.is_tls && bytes.starts_with(b"PRI * HTTP/2") {
                self.is_http2.store(true, Ordering::Relaxed);
            }
        }
    }

    fn has_written(&self, has_progressed: bool, now_ms: u64) {
        if has_progressed {
            self.stuck_since_ms.store(0, Ordering::Relaxed);
            // Pings of HTTP/2 are progress of writing, but not of requests; a handshake has one limit
            // as a whole.
            if !self.is_http2.load(Ordering::Relaxed) && !self.is_in_handshake() {
                self.since_ms.store(now_ms, Ordering::Relaxed);
            }
        } else if self.stuck_since_ms.load(Ordering::Relaxed) == 0 {
            self.stuck_since_ms.store(now_ms.max(1), Ordering::Relaxed);
        }
    }
}

/// A stream that records its progress.
#[derive(Debug)]
pub struct ObservedStream {
    stream: TcpStream,
    activity: Arc<Activity>,
    connections: Arc<Connections>,
    pause: Pause,
    linger: Linger,
}

impl ObservedStream {
    /// Records the progress of `stream` in `activity`.
    #[must_use]
    pub fn new(stream: TcpStream, activity: Arc<Activity>, connections: Arc<Connections>) -> Self {
        activity.since_ms.store(connections.now_ms(), Ordering::Relaxed);
        let pause = Pause::none(Arc::clone(&connections.paused));
        Self { stream, activity, connections, pause, linger: Linger::default() }
    }

    fn prepare_write(&self) {
        if self.activity.shrinks_send_buffer.load(Ordering::Relaxed) && self.activity.shrinks_send_buffer.swap(false, Ordering::Relaxed) {
            // If the system refuses, its own limit applies.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&self.stream, ENDLESS_BUFFER_BYTES);
        }
    }

    fn note_write<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.activity.has_written(outcome.is_ready(), self.connections.now_ms());
        outcome
    }
}

impl AsyncRead for ObservedStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pause_us = self.activity.pause_us.load(Ordering::Relaxed);
        if pause_us != 0 {
            self.activity.pause_us.store(0, Ordering::Relaxed);
            self.pause.begin(Duration::from_micros(pause_us));
        }
        std::task::ready!(self.pause.poll_over(context));
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.activity.has_read(bytes, self.connections.now_ms());
        }
        outcome
    }
}

impl AsyncWrite for ObservedStream {
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

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, activity, linger, .. } = self.get_mut();
        if !linger.has_begun() {
            std::task::ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
        }
        // Also after a header that could not be read.
        if activity.has_unread.load(Ordering::Relaxed) || activity.phase.load(Ordering::Relaxed) == HEADER {
            std::task::ready!(linger.poll_over(stream, context));
        }
        Poll::Ready(Ok(()))
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
        let activity = Activity::in_handshake();
        activity.has_read(&[22, 3, 1], 2_000);
        activity.has_written(true, 4_000);
        assert_eq!(activity.overdue(HEADER_MS, &LIMITS), None);
        assert_eq!(activity.overdue(HEADER_MS + 1, &LIMITS), Some(Overdue::Handshake));
    }

    #[test]
    fn after_the_handshake_it_is_idle_unless_a_request_has_begun() {
        for (is_http2, has_begun, ends_ms, why) in [
            (false, false, IDLE_MS, Overdue::Idle),
            (false, true, HEADER_MS, Overdue::Header),
            (true, false, IDLE_MS, Overdue::Idle),
            (true, true, IDLE_MS, Overdue::Idle),
        ] {
            let activity = Activity::in_handshake();
            activity.has_read(&[22, 3, 1], 1_000);
            activity.handshake_ended(is_http2, has_begun, 4_000);
            assert_eq!(activity.overdue(4_000 + ends_ms, &LIMITS), None);
            assert_eq!(activity.overdue(4_001 + ends_ms, &LIMITS), Some(why));
        }
    }

    /// A server in a process that has run for an hour, whose first sweep comes late, once ended every
    /// connection that had begun before it.
    #[tokio::test]
    async fn a_connection_is_charged_for_sweeps_only() {
        let connections = Connections::default();
        let activity = Arc::new(Activity::default());
        activity.has_read(b"GET / HT", connections.now_ms());
        connections.add(connections.next_id(), activity, tokio::spawn(std::future::pending::<()>()).abort_handle());
        for _ in 0..HEADER_MS / SWEEP_MS {
            assert_eq!(connections.sweep(&LIMITS), []);
        }
        assert_eq!(connections.sweep(&LIMITS), [Overdue::Header]);
    }

    #[test]
    fn below_tls_nothing_that_looks_like_http2_is_taken_for_it() {
        let (plain, tls) = (Activity::default(), Activity::in_handshake());
        tls.handshake_ended(false, false, 0);
        for activity in [&plain, &tls] {
            activity.has_read(b"PRI * HTTP/2.0", 0);
        }
        assert_eq!(plain.overdue(HEADER_MS + 1, &LIMITS), None);
        assert_eq!(tls.overdue(HEADER_MS + 1, &LIMITS), Some(Overdue::Header));
    }
}
