//! The limits of connections, requests and live streams.

use std::time::Duration;

use crate::live::LiveLimits;

/// Limits of connections and requests.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Open connections.
    pub connections_max: usize,
    /// Requests in flight, without those of operators.
    pub requests_max: u32,
    /// Open streams on one connection of HTTP/2.
    pub http2_streams_max: u32,
    /// From the first byte of a header to its end, and for a TLS handshake.
    pub header_time: Duration,
    /// From the end of the header to the end of the body.
    pub body_time: Duration,
    /// Without a request on an open connection.
    pub idle_time: Duration,
    /// Without the client reading anything of a response.
    pub write_time: Duration,
    /// For requests in flight to complete when the server stops.
    pub drain_time: Duration,
    /// For a list to wait until the tables are up to date.
    pub history_time: Duration,
    /// Limits of live streams.
    pub live: LiveLimits,
}

impl HttpLimits {
    /// The defaults.
    pub const STANDARD: Self = Self {
        connections_max: 20_000,
        requests_max: 4_096,
        http2_streams_max: 128,
        header_time: Duration::from_secs(5),
        body_time: Duration::from_secs(10),
        idle_time: Duration::from_secs(75),
        write_time: Duration::from_secs(10),
        drain_time: Duration::from_secs(10),
        history_time: Duration::from_secs(5),
        live: LiveLimits::STANDARD,
    };
}
