//! What all requests share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::clock::Clock;

use crate::backend::{Backend, BackendStatus};
use crate::codes::CodeKeys;
use crate::demonstration::Demonstration;
use crate::doors::Doors;
use crate::gateway::Gateway;
use crate::http::serve::RequestIds;
use crate::limits::{LimitClock, Limits};
use crate::live::{Live, LiveLimits};
use crate::metrics::Metrics;

/// What HTTP takes on at most.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Connections at once.
    pub connections_max: usize,
    /// Requests in flight at once, operators' aside.
    pub requests_max: u32,
    /// Streams at once on a connection of HTTP/2.
    pub http2_streams_max: u32,
    /// From the first byte of a header to its end.
    pub header_time: Duration,
    /// From the end of the header to the end of the body.
    pub body_time: Duration,
    /// Without a request.
    pub idle_time: Duration,
    /// Without the client reading anything of an answer.
    pub write_time: Duration,
    /// For requests in flight when the server stops.
    pub drain_time: Duration,
    /// For a list to wait for the history.
    pub history_time: Duration,
    /// Who may watch.
    pub live: LiveLimits,
}

impl HttpLimits {
    /// What is used where the settings do not say.
    pub const STANDARD: Self = Self {
        connections_max: 20_000,
        requests_max: 4_096,
        http2_streams_max: 128,
        header_time: Duration::from_secs(5),
        body_time: Duration::from_secs(10),
        idle_time: Duration::from_secs(75),
        write_time: Duration::from_secs(10),
        drain_time: Duration::from_secs(10),
        history_time: Duration::from_secs(5),
        live: LiveLimits::STANDARD,
    };
}

/// What all requests share.
#[derive(Debug)]
pub struct App {
    /// Who decides, and the tables that lists read.
    pub backend: Backend,
    /// From serials to codes and back.
    pub codes: CodeKeys,
    /// Who may call, and how many at once.
    pub doors: Doors,
    /// How often.
    pub gateway: Gateway,
    /// What keys of rate limits have taken.
    pub rate_limits: Limits,
    /// Held by whoever changes a policy, until the counters have the change.
    pub policy_changes: tokio::sync::Mutex<()>,
    /// Who watches.
    pub live: Live,
    /// The small rush that a button starts.
    pub demonstration: Demonstration,
    /// The wall clock.
    pub clock: Clock,
    /// Whether connections begin with TLS.
    pub uses_tls: bool,
    /// Counts.
    pub metrics: Metrics,
    /// What HTTP takes on at most.
    pub limits: HttpLimits,
    request_ids: RequestIds,
    is_stopping: AtomicBool,
}

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Who decides, and the tables that lists read.
    pub backend: Backend,
    /// From serials to codes and back.
    pub codes: CodeKeys,
    /// Who may call.
    pub doors: Doors,
    /// How often.
    pub gateway: Gateway,
    /// The wall clock.
    pub clock: Clock,
    /// Whether connections begin with TLS.
    pub uses_tls: bool,
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts, limits: HttpLimits, random: u64) -> Self {
        let Parts { backend, codes, doors, gateway, clock, uses_tls } = parts;
        #[cfg(feature = "scaled")]
        let metrics = if matches!(backend, Backend::Scaled(_)) { Metrics::scaled() } else { Metrics::new() };
        #[cfg(not(feature = "scaled"))]
        let metrics = Metrics::new();
        let request_ids = RequestIds::new(random);
        let rate_limits = Limits::new(LimitClock::new(&clock), random);
        let policy_changes = tokio::sync::Mutex::default();
        Self {
            backend,
            codes,
            doors,
            gateway,
            rate_limits,
            policy_changes,
            live: Live::new(limits.live),
            demonstration: Demonstration::default(),
            clock,
            uses_tls,
            metrics,
            limits,
            request_ids,
            is_stopping: AtomicBool::new(false),
        }
    }

    /// An id for a request that came without one.
    pub fn next_request_id(&self) -> String {
        self.request_ids.next()
    }

    /// Whether it is about to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// From now on `/readyz` says no, and nobody watches.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.live.stop();
    }

    /// Why the server should get no requests; `None` if it should.
    pub async fn not_ready(&self) -> Option<&'static str> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Some("stopping");
        }
        self.backend.not_ready().await
    }

    /// Counts, for metrics.
    #[must_use]
    pub fn status(&self) -> BackendStatus {
        self.backend.status(self.clock.now().millis())
    }
}
