//! Clients that watch a campaign: as a stream of events, and over a WebSocket.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod stream;
pub mod websocket;
