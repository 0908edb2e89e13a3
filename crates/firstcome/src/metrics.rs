//! Counts for Prometheus. Nothing in a label comes from a request.

mod live;
#[cfg(feature = "scaled")]
mod scaled;

use std::fmt;
use std::sync::atomic::AtomicU64;

use axum::http::{Method, StatusCode};
use domain::rate_limit::Mode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::app::App;
#[cfg(feature = "scaled")]
use crate::backend::Backend;
use crate::http::connection::Overdue;
pub use live::LiveCounts;
#[cfg(feature = "scaled")]
use scaled::ScaledGauges;

type Labels = [(&'static str, String); 3];
/// The labels of an answer as they are known where it is given, so that counting one allocates
/// nothing after the first.
type Answered = (&'static str, u16, &'static str);

/// Upper bounds of the latency's buckets, in seconds.
const LATENCY_BUCKETS: [f64; 14] = [0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0, 5.0];

/// What the program counts.
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    known: std::sync::RwLock<std::collections::HashMap<(Answered, Method), Counter>>,
    latency: Histogram,
    connections_open: Gauge,
    connections_refused: Counter,
    connections_overdue: Family<[(&'static str, &'static str); 1], Counter>,
    limited: Family<[(&'static str, String); 2], Counter>,
    gauges: Gauges,
    /// Who watches.
    pub live: LiveCounts,
    #[cfg(feature = "scaled")]
    scaled: Option<ScaledGauges>,
}

#[derive(Default)]
struct Gauges {
    position: Gauge<u64, AtomicU64>,
    snapshot_position: Gauge<u64, AtomicU64>,
    history_position: Gauge<u64, AtomicU64>,
    commits: Gauge<u64, AtomicU64>,
    claims: Gauge<u64, AtomicU64>,
    request_keys: Gauge<u64, AtomicU64>,
    campaigns: Gauge<u64, AtomicU64>,
    read_only: Gauge,
    history_broken: Gauge,
    ahead_of_clock_ms: Gauge<u64, AtomicU64>,
    requests_in_flight: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("firstcome"),
            requests: Family::default(),
            known: std::sync::RwLock::default(),
            latency: Histogram::new(LATENCY_BUCKETS),
            connections_open: Gauge::default(),
            connections_refused: Counter::default(),
            connections_overdue: Family::default(),
            limited: Family::default(),
            gauges: Gauges::default(),
            live: LiveCounts::default(),
            #[cfg(feature = "scaled")]
            scaled: None,
        };
        metrics.registered()
    }

    /// The same with the counts of the scaled mode.
    #[cfg(feature = "scaled")]
    #[must_use]
    pub fn scaled() -> Self {
        let mut metrics = Self::new();
        let gauges = ScaledGauges::default();
        gauges.register(&mut metrics.registry);
        metrics.scaled = Some(gauges);
        metrics
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("requests", "Answered requests by route, status and problem code", self.requests.clone());
        registry.register("request_seconds", "From the end of the header to the answer", self.latency.clone());
        registry.register("connections", "Open connections", self.connections_open.clone());
        registry.register("connections_refused", "Connections above the limit", self.connections_refused.clone());
        registry.register("connections_overdue", "Connections ended because a limit of time had passed", self.connections_overdue.clone());
        let limited = "Requests that a limit in front of every call refused, or in shadow mode would have refused";
        registry.register("limited", limited, self.limited.clone());
        self.live.register(registry);
        let gauges = &self.gauges;
        registry.register("requests_in_flight", "Requests in flight, operators' aside", gauges.requests_in_flight.clone());
        registry.register("position", "The last durable record", gauges.position.clone());
        registry.register("snapshot_position", "The record of the last snapshot", gauges.snapshot_position.clone());
        registry.register("history_position", "The last record in the tables that lists read", gauges.history_position.clone());
        registry.register("commits", "Writes and syncs of the journal since the start", gauges.commits.clone());
        registry.register("claims", "Claims in memory, cancelled ones included", gauges.claims.clone());
        registry.register("request_keys", "Request keys in memory", gauges.request_keys.clone());
        registry.register("campaigns", "Campaigns", gauges.campaigns.clone());
        registry.register("read_only", "1 if the journal has no room left", gauges.read_only.clone());
        registry.register("history_broken", "1 if the tables cannot follow the journal", gauges.history_broken.clone());
        registry.register(
            "record_ahead_of_clock_ms",
            "How far the last record's time is ahead of the clock; above 60000 the clock was set back or was wrong before",
            gauges.ahead_of_clock_ms.clone(),
        );
        self
    }

    /// An answer was given.
    pub fn answered(&self, path: &'static str, method: &Method, status: StatusCode, code: &'static str, seconds: f64) {
        self.latency.observe(seconds);
        let key = ((path, status.as_u16(), code), method.clone());
        if let Some(counter) = self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&key) {
            counter.inc();
            return;
        }
        let labels = [("route", format!("{method} {path}")), ("status", status.as_u16().to_string()), ("code", code.to_owned())];
        let counter = self.requests.get_or_create(&labels).clone();
        counter.inc();
        self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(key, counter);
    }

    /// A connection was accepted.
    pub fn connection_opened(&self) {
        self.connections_open.inc();
    }

    /// A connection has ended.
    pub fn connection_closed(&self) {
        self.connections_open.dec();
    }

    /// A connection above the limit was refused.
    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// A limit refused a request, or would have.
    pub fn limited(&self, limit: &str, mode: Mode) {
        let mode = if mode == Mode::Shadow { "shadow" } else { "enforce" };
        self.limited.get_or_create(&[("limit", limit.to_owned()), ("mode", mode.to_owned())]).inc();
    }

    /// A connection was ended because a limit of time had passed.
    pub fn connection_overdue(&self, why: Overdue) {
        let why = match why {
            Overdue::Idle => "idle",
            Overdue::Header => "header",
            Overdue::Handshake => "handshake",
            Overdue::Write => "write",
        };
        self.connections_overdue.get_or_create(&[("why", why)]).inc();
    }

    /// Everything as text.
    ///
    /// # Errors
    /// None that can happen: writing to memory.
    pub fn text(&self, app: &App) -> Result<String, fmt::Error> {
        let (status, gauges) = (app.status(), &self.gauges);
        gauges.requests_in_flight.set(i64::from(app.doors.in_flight()));
        self.live.set(&app.live);
        gauges.position.set(status.position);
        gauges.snapshot_position.set(status.snapshot_position);
        gauges.history_position.set(status.history_position);
        gauges.commits.set(status.commits_count);
        gauges.claims.set(status.claims_count);
        gauges.request_keys.set(status.requests_count);
        gauges.campaigns.set(status.campaigns_count);
        gauges.read_only.set(i64::from(status.is_read_only));
        gauges.history_broken.set(i64::from(status.is_history_broken));
        gauges.ahead_of_clock_ms.set(status.ahead_of_clock_ms);
        #[cfg(feature = "scaled")]
        if let (Some(gauges), Backend::Scaled(scaled)) = (&self.scaled, &app.backend) {
            gauges.set(scaled);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
