//! State shared by all requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edge::auth::Auth;
use edge::clock::WallClock;
use edge::gateway::Gateway;
use edge::limits::HttpLimits;
use edge::live::Live;
use edge::shared::{Application, Edge, RequestIds};
use engine::clock::Clock;
use engine::limits::CLOCK_BEHIND_MS_MAX;

use crate::backend::{Backend, BackendStatus};
use crate::codes::CodeKeys;
use crate::demonstration::Demonstration;
use crate::http::once::Once;
use crate::limits::{LimitClock, Limits};
use crate::metrics::Metrics;
use crate::workloads::coupon::tally::Tallies;

/// State shared by all requests.
#[derive(Debug)]
pub struct App {
    /// The part that connections share too, independent of the workloads.
    pub edge: Arc<Edge>,
    /// Decides commands, and gives access to the tables that lists read.
    pub backend: Backend,
    /// Converts between serials and codes.
    pub codes: CodeKeys,
    /// The counters of rate limits as a service.
    pub rate_limits: Limits,
    /// Responses of rate limits by request key.
    pub once: Once,
    /// Locked while policy changes are applied to the counters.
    pub policy_changes: tokio::sync::Mutex<()>,
    /// Live streams.
    pub live: Arc<Live>,
    /// Counts of claim answers by outcome.
    pub tallies: Tallies,
    /// The demonstration rush, which a button in the console starts.
    pub demonstration: Demonstration,
    /// The wall clock.
    pub clock: Clock,
    /// The program's metrics.
    pub metrics: Metrics,
    /// Whether the operator accepts that the time stands.
    accepts_clock_behind: bool,
    is_stopping: AtomicBool,
}

/// The parts that an [`App`] is built from.
#[derive(Debug)]
pub struct Parts {
    /// Decides commands, and gives access to the tables that lists read.
    pub backend: Backend,
    /// Converts between serials and codes.
    pub codes: CodeKeys,
    /// Authentication and admission.
    pub auth: Arc<Auth>,
    /// Rate limits in front of every call.
    pub gateway: Gateway,
    /// The wall clock.
    pub clock: Clock,
    /// Whether the operator accepts that the last record is ahead of the clock.
    pub accepts_clock_behind: bool,
    /// Whether connections use TLS.
    pub uses_tls: bool,
}

impl App {
    /// Builds the application from its parts.
    #[must_use]
    pub fn new(parts: Parts, limits: HttpLimits, random: u64) -> Self {
        let Parts { backend, codes, auth, gateway, clock, accepts_clock_behind, uses_tls } = parts;
        let wall = clock.clone();
        let edge = Edge {
            auth,
            gateway,
            metrics: edge::metrics::Metrics::default(),
            limits,
            clock: WallClock::new(move || wall.now()),
            uses_tls,
            request_ids: RequestIds::new(random),
        };
        #[cfg(feature = "scaled")]
        let metrics = if matches!(backend, Backend::Scaled(_)) { Metrics::scaled(&edge.metrics) } else { Metrics::new(&edge.metrics) };
        #[cfg(not(feature = "scaled"))]
        let metrics = Metrics::new(&edge.metrics);
        let rate_limits = Limits::new(LimitClock::new(&clock), random);
        let policy_changes = tokio::sync::Mutex::default();
        Self {
            edge: Arc::new(edge),
            backend,
            codes,
            rate_limits,
            once: Once::default(),
            policy_changes,
            live: Arc::new(Live::new(limits.live)),
            tallies: Tallies::default(),
            demonstration: Demonstration::default(),
            clock,
            metrics,
            accepts_clock_behind,
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Whether the server is about to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Marks the server as not ready and ends all live streams.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.live.stop();
    }

    /// Why the server is not ready for requests; `None` if it is.
    pub async fn not_ready(&self) -> Option<&'static str> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Some("stopping");
        }
        if !self.accepts_clock_behind && CLOCK_BEHIND_MS_MAX < self.ahead_of_clock_ms() {
            return Some("the time stands: the last record is ahead of the clock");
        }
        self.backend.not_ready().await
    }

    /// The backend's status, for metrics.
    #[must_use]
    pub fn status(&self) -> BackendStatus {
        self.backend.status()
    }

    /// How far the last record's time is ahead of the clock, in milliseconds: so long the time stands.
    #[must_use]
    pub fn ahead_of_clock_ms(&self) -> u64 {
        self.backend.time().millis().saturating_sub(self.clock.now().millis())
    }
}

impl Application for App {
    fn edge(&self) -> &Edge {
        &self.edge
    }
}
