//! Metrics of the scaled mode: the log, the gate, and the tables.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::scaled::Scaled;

type Count = Gauge<u64, AtomicU64>;

/// Gauges that are set at each scrape.
#[derive(Debug, Default)]
pub(super) struct ScaledGauges {
    log_records: Count,
    log_pending: Count,
    log_unclear: Count,
    partitions_cut_off: Count,
    gate_calls: Count,
    gate_failures: Count,
    history_records_behind: Count,
    history_reachable: Count,
    projecting: Count,
    projected: Count,
    projector_failures: Count,
}

impl ScaledGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("log_records", "Records of the log that were applied, over all partitions", self.log_records.clone());
        registry.register("log_pending", "Commands of this server whose records have not come by yet", self.log_pending.clone());
        registry.register("log_unclear", "Records of which nobody knows whether they arrived", self.log_unclear.clone());
        registry.register("partitions_cut_off", "Partitions that do not answer this server in time", self.partitions_cut_off.clone());
        registry.register("gate_calls", "Calls to the gate since the start", self.gate_calls.clone());
        registry.register("gate_failures", "Calls to the gate that failed", self.gate_failures.clone());
        registry.register("history_records_behind", "Records whose effects are not in the tables yet", self.history_records_behind.clone());
        registry.register("history_reachable", "1 if the tables answered when they were last asked", self.history_reachable.clone());
        registry.register("projecting", "1 if this server writes the tables", self.projecting.clone());
        registry.register("projected", "Decisions that this server has written to the tables", self.projected.clone());
        registry.register("projector_failures", "How often writing the tables was broken off here", self.projector_failures.clone());
    }

    pub(super) fn set(&self, scaled: &Scaled) {
        let (status, projecting) = (scaled.node.status(), &scaled.projecting);
        self.log_records.set(status.records);
        self.log_pending.set(status.pending as u64);
        self.log_unclear.set(scaled.node.log().unclear_count());
        self.partitions_cut_off.set(status.cut_off as u64);
        self.gate_calls.set(scaled.node.gate().map_or(0, |gate| gate.calls_count()));
        self.gate_failures.set(scaled.node.gate().map_or(0, |gate| gate.failures_count()));
        self.history_records_behind.set(status.records.saturating_sub(scaled.positions.records()));
        self.history_reachable.set(u64::from(scaled.positions.is_reachable()));
        self.projecting.set(u64::from(projecting.is_at_work.load(Ordering::Relaxed)));
        self.projected.set(projecting.decisions_count.load(Ordering::Relaxed));
        self.projector_failures.set(projecting.failures_count.load(Ordering::Relaxed));
    }
}
