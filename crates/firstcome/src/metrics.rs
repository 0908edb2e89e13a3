//! Metrics of decisions and tables for Prometheus; those of connections and requests are `edge`'s.

#[cfg(feature = "scaled")]
mod scaled;
pub mod text;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::Kind;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::app::App;
#[cfg(feature = "scaled")]
use crate::backend::Backend;
#[cfg(feature = "scaled")]
use scaled::ScaledGauges;

type Count = Gauge<u64, AtomicU64>;
type Total = Counter;
type Seconds = Gauge<f64, AtomicU64>;

/// Sets a counter to a count that is kept elsewhere and only grows.
fn set_total(total: &Total, count: u64) {
    total.inner().store(count, Ordering::Relaxed);
}

/// All metrics of the program.
pub struct Metrics {
    registry: Registry,
    gauges: Gauges,
    #[cfg(feature = "scaled")]
    scaled: Option<ScaledGauges>,
}

struct Gauges {
    position: Count,
    snapshot_position: Count,
    history_position: Count,
    commits: Total,
    request_keys: Count,
    /// Aggregates of each kind, and their entries.
    kinds: Vec<(Kind, Count, Count)>,
    read_only: Gauge,
    history_broken: Gauge,
    ahead_of_clock: Seconds,
    clock_leap: Seconds,
    clock_leaps: Total,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// The program's metrics beside those of `edge`.
    #[must_use]
    pub fn new(edge: &edge::metrics::Metrics) -> Self {
        let (mut registry, gauges) = (Registry::with_prefix("firstcome"), Gauges::default());
        edge.register(&mut registry);
        gauges.register(&mut registry);
        Self {
            registry,
            gauges,
            #[cfg(feature = "scaled")]
            scaled: None,
        }
    }

    /// The same with the metrics of the scaled mode.
    #[cfg(feature = "scaled")]
    #[must_use]
    pub fn scaled(edge: &edge::metrics::Metrics) -> Self {
        let mut metrics = Self::new(edge);
        let gauges = ScaledGauges::default();
        gauges.register(&mut metrics.registry);
        metrics.scaled = Some(gauges);
        metrics
    }

    /// All metrics as text.
    ///
    /// # Errors
    /// None in practice: it writes to memory.
    pub fn text(&self, app: &App) -> Result<String, fmt::Error> {
        let (status, gauges) = (app.status(), &self.gauges);
        app.edge.metrics.set_in_flight(app.edge.auth.in_flight());
        app.edge.metrics.live.set(app.live.clients_count(), app.live.channels_count());
        gauges.position.set(status.position);
        gauges.snapshot_position.set(status.snapshot_position);
        gauges.history_position.set(status.history_position);
        set_total(&gauges.commits, status.commits_count);
        gauges.request_keys.set(status.counts.requests);
        for ((_, aggregates_gauge, entries_gauge), (_, aggregates, entries)) in
            gauges.kinds.iter().zip(status.counts.kinds().filter(|(kind, ..)| kind.is_served()))
        {
            aggregates_gauge.set(aggregates);
            entries_gauge.set(entries);
        }
        gauges.read_only.set(i64::from(status.is_read_only));
        gauges.history_broken.set(i64::from(status.is_history_broken));
        let ahead_ms = i64::try_from(app.ahead_of_clock_ms()).unwrap_or(i64::MAX);
        gauges.ahead_of_clock.set(seconds(ahead_ms));
        if let Some(clock) = app.clock.watched() {
            gauges.clock_leap.set(clock.leapt().map_or(0.0, |leap| seconds(leap.by_ms)));
            set_total(&gauges.clock_leaps, clock.leaps_count());
        }
        #[cfg(feature = "scaled")]
        if let (Some(gauges), Backend::Scaled(scaled)) = (&self.scaled, &app.backend) {
            gauges.set(scaled);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time of more than 200,000 years is not shown to the millisecond")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

impl Default for Gauges {
    fn default() -> Self {
        Self {
            position: Gauge::default(),
            snapshot_position: Gauge::default(),
            history_position: Gauge::default(),
            commits: Total::default(),
            request_keys: Gauge::default(),
            kinds: Kind::ALL.iter().filter(|kind| kind.is_served()).map(|kind| (*kind, Gauge::default(), Gauge::default())).collect(),
            read_only: Gauge::default(),
            history_broken: Gauge::default(),
            ahead_of_clock: Gauge::default(),
            clock_leap: Gauge::default(),
            clock_leaps: Total::default(),
        }
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        registry.register("position", "The last durable record", self.position.clone());
        registry.register("snapshot_position", "The record of the last snapshot", self.snapshot_position.clone());
        registry.register("history_position", "The last record in the tables that lists read", self.history_position.clone());
        registry.register("commits", "Writes and syncs of the journal since the start", self.commits.clone());
        registry.register("request_keys", "Request keys in memory", self.request_keys.clone());
        for (kind, aggregates, entries) in &self.kinds {
            let (path, grown) = (kind.path(), kind.entries());
            registry.register(path, format!("What there is under /v1/{path}"), aggregates.clone());
            registry.register(grown, format!("How many {grown} are in memory, over all {path}"), entries.clone());
        }
        registry.register("read_only", "1 if the journal has no room left", self.read_only.clone());
        registry.register("history_broken", "1 if the tables cannot follow the journal", self.history_broken.clone());
        registry.register(
            "record_ahead_of_clock_seconds",
            "How far the last record's time is ahead of the clock; above 60 the clock was set back or was wrong before",
            self.ahead_of_clock.clone(),
        );
        let leap = "The wall clock minus the server's time, while the clock has leapt and that is not adopted; otherwise 0";
        registry.register("clock_leap_seconds", leap, self.clock_leap.clone());
        registry.register("clock_leaps", "Leaps of the wall clock since the start", self.clock_leaps.clone());
    }
}
