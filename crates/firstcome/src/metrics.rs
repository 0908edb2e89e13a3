//! Metrics of decisions and tables for Prometheus; those of connections and requests are `edge`'s.

#[cfg(feature = "scaled")]
mod scaled;

use std::fmt;
use std::sync::atomic::AtomicU64;

use domain::Kind;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::app::App;
#[cfg(feature = "scaled")]
use crate::backend::Backend;
#[cfg(feature = "scaled")]
use scaled::ScaledGauges;

type Count = Gauge<u64, AtomicU64>;

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
    commits: Count,
    request_keys: Count,
    /// Aggregates of each kind, and their entries.
    kinds: Vec<(Kind, Count, Count)>,
    read_only: Gauge,
    history_broken: Gauge,
    ahead_of_clock_ms: Count,
    clock_leap_ms: Gauge,
    clock_leaps: Count,
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
        gauges.commits.set(status.commits_count);
        gauges.request_keys.set(status.counts.requests);
        for ((_, aggregates_gauge, entries_gauge), (_, aggregates, entries)) in
            gauges.kinds.iter().zip(status.counts.kinds().filter(|(kind, ..)| kind.is_served()))
        {
            aggregates_gauge.set(aggregates);
            entries_gauge.set(entries);
        }
        gauges.read_only.set(i64::from(status.is_read_only));
        gauges.history_broken.set(i64::from(status.is_history_broken));
        gauges.ahead_of_clock_ms.set(status.ahead_of_clock_ms);
        if let Some(clock) = app.clock.watched() {
            gauges.clock_leap_ms.set(clock.leapt().map_or(0, |leap| leap.by_ms));
            gauges.clock_leaps.set(clock.leaps_count());
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

impl Default for Gauges {
    fn default() -> Self {
        Self {
            position: Gauge::default(),
            snapshot_position: Gauge::default(),
            history_position: Gauge::default(),
            commits: Gauge::default(),
            request_keys: Gauge::default(),
            kinds: Kind::ALL.iter().filter(|kind| kind.is_served()).map(|kind| (*kind, Gauge::default(), Gauge::default())).collect(),
            read_only: Gauge::default(),
            history_broken: Gauge::default(),
            ahead_of_clock_ms: Gauge::default(),
            clock_leap_ms: Gauge::default(),
            clock_leaps: Gauge::default(),
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
            "record_ahead_of_clock_ms",
            "How far the last record's time is ahead of the clock; above 60000 the clock was set back or was wrong before",
            self.ahead_of_clock_ms.clone(),
        );
        let leap = "The wall clock minus the server's time, while the clock has leapt and that is not adopted; otherwise 0";
        registry.register("clock_leap_ms", leap, self.clock_leap_ms.clone());
        registry.register("clock_leaps", "Leaps of the wall clock since the start", self.clock_leaps.clone());
    }
}
