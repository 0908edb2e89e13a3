//! THE RULES. No dependencies, no clock, no randomness, no I/O, no async.
//!
//! Layout, in reading order:
//! - [`types`]: names, numbers and times, each checked when it is made;
//! - [`coupon`]: the coupon workload: commands, events, rejections, `decide`, `evolve`;
//! - [`rate_limit`]: who may ask how often: five algorithms, and how many at once;
//! - [`request`]: idempotency: one request key, one outcome;
//! - [`state`]: all workloads together: the one `decide` and the one `evolve`;
//! - [`wire`]: records and state to bytes and back, numbered and versioned;
//! - [`restore`]: a state put together from rows, each checked;
//! - [`claims`], [`index`], [`hash`]: how millions of claims fit in memory.
#![warn(missing_docs)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod claims;
pub mod coupon;
pub mod hash;
pub mod index;
mod parallel;
pub mod rate_limit;
pub mod request;
pub mod restore;
pub mod state;
pub mod types;
pub mod wire;

pub use state::{Answer, Command, Decision, Event, Novelty, Rejection, State, decide};
