//! Metrics of connections and requests for Prometheus. No label comes from a request, so that the number
//! of time series is bounded.

mod live;

use std::collections::HashMap;
use std::fmt;

use axum::http::{Method, StatusCode};
use parking_lot::RwLock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rate_limit_layer::Mode;

use crate::connection::Overdue;
pub use live::LiveMetrics;

type Labels = [(&'static str, String); 3];
/// The labels of a response as they are known when it is sent, so that counting it allocates nothing
/// after the first time.
type KnownLabels = (&'static str, u16, &'static str);

/// Upper bounds of the latency's buckets, in seconds.
const LATENCY_BUCKETS: [f64; 14] = [0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0, 5.0];

/// Metrics of connections and requests.
pub struct Metrics {
    requests: Family<Labels, Counter>,
    known: RwLock<HashMap<(KnownLabels, Method), Counter>>,
    latency: Histogram,
    connections_open: Gauge,
    connections_refused: Counter,
    connections_overdue: Family<[(&'static str, &'static str); 1], Counter>,
    limited: Family<[(&'static str, String); 2], Counter>,
    requests_in_flight: Gauge,
    /// Metrics of live streams.
    pub live: LiveMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            known: RwLock::default(),
            latency: Histogram::new(LATENCY_BUCKETS),
            connections_open: Gauge::default(),
            connections_refused: Counter::default(),
            connections_overdue: Family::default(),
            limited: Family::default(),
            requests_in_flight: Gauge::default(),
            live: LiveMetrics::default(),
        }
    }
}

impl Metrics {
    /// Adds all metrics to the registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("requests", "Answered requests by route, status and problem code", self.requests.clone());
        registry.register("request_seconds", "From the end of the header to the answer", self.latency.clone());
        registry.register("connections", "Open connections", self.connections_open.clone());
        registry.register("connections_refused", "Connections above the limit", self.connections_refused.clone());
        registry.register("connections_overdue", "Connections ended because a limit of time had passed", self.connections_overdue.clone());
        let limited = "Requests that a limit in front of every call refused, or in shadow mode would have refused";
        registry.register("limited", limited, self.limited.clone());
        self.live.register(registry);
        registry.register("requests_in_flight", "Requests in flight, operators' aside", self.requests_in_flight.clone());
    }

    /// Sets the number of requests in flight, for the next read of the registry.
    pub fn set_in_flight(&self, count: u32) {
        self.requests_in_flight.set(i64::from(count));
    }

    /// Counts a response.
    pub fn answered(&self, path: &'static str, method: &Method, status: StatusCode, code: &'static str, seconds: f64) {
        self.latency.observe(seconds);
        let key = ((path, status.as_u16(), code), method.clone());
        if let Some(counter) = self.known.read().get(&key) {
            counter.inc();
            return;
        }
        let labels = [("route", format!("{method} {path}")), ("status", status.as_u16().to_string()), ("code", code.to_owned())];
        let counter = self.requests.get_or_create(&labels).clone();
        counter.inc();
        self.known.write().insert(key, counter);
    }

    /// Counts an accepted connection.
    pub fn connection_opened(&self) {
        self.connections_open.inc();
    }

    /// Counts the end of a connection.
    pub fn connection_closed(&self) {
        self.connections_open.dec();
    }

    /// Counts a connection over the limit.
    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// Counts a request that a rate limit refused, or in shadow mode would have refused.
    pub fn limited(&self, limit: &str, mode: Mode) {
        let mode = if mode == Mode::Shadow { "shadow" } else { "enforce" };
        self.limited.get_or_create(&[("limit", limit.to_owned()), ("mode", mode.to_owned())]).inc();
    }

    /// Counts a connection that a time limit ended.
    pub fn connection_overdue(&self, why: Overdue) {
        let why = match why {
            Overdue::Idle => "idle",
            Overdue::Header => "header",
            Overdue::Handshake => "handshake",
            Overdue::Write => "write",
        };
        self.connections_overdue.get_or_create(&[("why", why)]).inc();
    }
}
