//! THE SAME RULES ACROSS MACHINES: Kafka orders the commands, every node runs the rules over that order, and
//! a gate in Redis turns away commands that cannot succeed. The only crate that knows Kafka and Redis.
//!
//! Layout, in reading order:
//! - [`protocol`]: all that makes the scaled mode exact, free of I/O;
//! - [`snapshots`]: a node's snapshots, which shorten its restart;
//! - [`kafka`]: the ordered log;
//! - [`redis`]: the gate.
#![warn(missing_docs)]

#[cfg(feature = "kafka")]
pub mod kafka;
pub mod protocol;
#[cfg(feature = "redis")]
pub mod redis;
pub mod snapshots;
