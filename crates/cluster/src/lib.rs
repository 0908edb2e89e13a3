//! THE SAME RULES ACROSS MACHINES: Kafka's order decides, every node runs the rules over it, and
//! Redis turns away the hopeless. The only place that knows Kafka and Redis.
//!
//! Layout, in reading order:
//! - [`protocol`]: all that makes it exact, free of I/O;
//! - [`snapshots`]: from where a restarted node reads on;
//! - [`kafka`]: the order;
//! - [`redis`]: the gate.
#![warn(missing_docs)]

#[cfg(feature = "kafka")]
pub mod kafka;
pub mod protocol;
#[cfg(feature = "redis")]
pub mod redis;
pub mod snapshots;
