//! Metrics of live streams.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::live::{Ended, LiveFull};

type Why = [(&'static str, &'static str); 1];

/// Metrics of live streams.
#[derive(Debug, Default)]
pub struct LiveMetrics {
    clients: Gauge,
    campaigns: Gauge,
    refused: Family<Why, Counter>,
    ended: Family<Why, Counter>,
    skipped: Counter,
}

impl LiveMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("live_clients", "Clients that watch a campaign", self.clients.clone());
        registry.register("live_campaigns", "Campaigns that are watched", self.campaigns.clone());
        registry.register("live_refused", "Clients that could not watch", self.refused.clone());
        registry.register("live_ended", "Streams that the server ended", self.ended.clone());
        registry.register("live_skipped", "Snapshots that slow clients got in the place of deltas", self.skipped.clone());
    }

    /// Sets the gauges, for the next read of the registry.
    pub fn set(&self, clients: u32, campaigns: usize) {
        self.clients.set(i64::from(clients));
        self.campaigns.set(i64::try_from(campaigns).unwrap_or(i64::MAX));
    }

    /// Counts a subscriber that was not admitted.
    pub fn refused(&self, why: LiveFull) {
        let why = match why {
            LiveFull::Clients => "clients",
            LiveFull::Address => "address",
            LiveFull::Channels => "campaigns",
            LiveFull::Stopping => "stopping",
        };
        self.refused.get_or_create(&[("why", why)]).inc();
    }

    /// Counts a stream that the server ended.
    pub fn ended(&self, why: Ended) {
        let why = match why {
            Ended::Overdue => "overdue",
            Ended::Revoked => "revoked",
        };
        self.ended.get_or_create(&[("why", why)]).inc();
    }

    /// Counts snapshots that slow clients got instead of deltas.
    pub fn skipped(&self, count: u64) {
        self.skipped.inc_by(count);
    }
}
