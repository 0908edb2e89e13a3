//! Counts of those who watch.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::live::{Ended, Live, LiveFull};

type Why = [(&'static str, &'static str); 1];

/// Counts of those who watch.
#[derive(Debug, Default)]
pub struct LiveCounts {
    clients: Gauge,
    campaigns: Gauge,
    refused: Family<Why, Counter>,
    ended: Family<Why, Counter>,
    skipped: Counter,
}

impl LiveCounts {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("live_clients", "Clients that watch a campaign", self.clients.clone());
        registry.register("live_campaigns", "Campaigns that are watched", self.campaigns.clone());
        registry.register("live_refused", "Clients that could not watch", self.refused.clone());
        registry.register("live_ended", "Streams that the server ended", self.ended.clone());
        registry.register("live_skipped", "Snapshots that slow clients got in the place of deltas", self.skipped.clone());
    }

    pub(super) fn set(&self, live: &Live) {
        self.clients.set(i64::from(live.clients_count()));
        self.campaigns.set(i64::try_from(live.campaigns_count()).unwrap_or(i64::MAX));
    }

    /// Somebody could not watch.
    pub fn refused(&self, why: LiveFull) {
        let why = match why {
            LiveFull::Clients => "clients",
            LiveFull::Address => "address",
            LiveFull::Campaigns => "campaigns",
            LiveFull::Stopping => "stopping",
        };
        self.refused.get_or_create(&[("why", why)]).inc();
    }

    /// A stream was ended.
    pub fn ended(&self, why: Ended) {
        let why = match why {
            Ended::Overdue => "overdue",
            Ended::Revoked => "revoked",
        };
        self.ended.get_or_create(&[("why", why)]).inc();
    }

    /// Slow clients got so many snapshots.
    pub fn skipped(&self, count: u64) {
        self.skipped.inc_by(count);
    }
}
