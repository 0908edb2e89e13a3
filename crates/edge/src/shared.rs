//! State shared by all connections and requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::auth::Auth;
use crate::clock::WallClock;
use crate::gateway::Gateway;
use crate::limits::HttpLimits;
use crate::metrics::Metrics;

/// State shared by all connections and requests.
#[derive(Debug)]
pub struct Edge {
    /// Authentication and admission.
    pub auth: Arc<Auth>,
    /// Rate limits in front of every call.
    pub gateway: Gateway,
    /// Counters of connections and requests.
    pub metrics: Metrics,
    /// Limits of connections and requests.
    pub limits: HttpLimits,
    /// The wall clock.
    pub clock: WallClock,
    /// Whether connections use TLS.
    pub uses_tls: bool,
    /// Ids for requests that have none.
    pub request_ids: RequestIds,
}

/// An application behind this server.
pub trait Application: Send + Sync + 'static {
    /// The state that it shares with its connections.
    fn edge(&self) -> &Edge;
}

/// Generates ids of requests.
#[derive(Debug)]
pub struct RequestIds {
    next: AtomicU64,
}

impl RequestIds {
    /// Starts at a random number, so that the ids differ from those of other processes.
    #[must_use]
    pub fn new(random: u64) -> Self {
        Self { next: AtomicU64::new(random) }
    }

    /// The next id: 16 hexadecimal digits that show no order (a Weyl sequence, mixed).
    pub fn next(&self) -> String {
        let number = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (number ^ number >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        format!("{:016x}", mixed ^ mixed >> 32)
    }
}
