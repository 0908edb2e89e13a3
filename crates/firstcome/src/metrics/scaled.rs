//! Metrics of the scaled mode: the log, the gate, and the tables.

use std::sync::atomic::Ordering;

use prometheus_client::registry::Registry;

use super::{Count, Total, set_total};
use crate::scaled::Scaled;

/// Gauges that are set at each scrape.
#[derive(Debug, Default)]
pub(super) struct ScaledGauges {
    log_records: Count,
    log_pending: Count,
    log_unclear: Total,
    partitions_cut_off: Count,
    gate_calls: Total,
    gate_failures: Total,
    history_records_behind: Count,
    history_reachable: Count,
    projecting: Count,
    projected: Total,
    projector_failures: Total,
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
        set_total(&self.log_unclear, scaled.node.log().unclear_count());
        self.partitions_cut_off.set(status.cut_off as u64);
        set_total(&self.gate_calls, scaled.node.gate().map_or(0, |gate| gate.calls_count()));
        set_total(&self.gate_failures, scaled.node.gate().map_or(0, |gate| gate.failures_count()));
        self.history_records_behind.set(status.records.saturating_sub(scaled.positions.records()));
        self.history_reachable.set(u64::from(scaled.positions.is_reachable()));
        self.projecting.set(u64::from(projecting.is_at_work.load(Ordering::Relaxed)));
        set_total(&self.projected, projecting.decisions_count.load(Ordering::Relaxed));
        set_total(&self.projector_failures, projecting.failures_count.load(Ordering::Relaxed));
    }
}
