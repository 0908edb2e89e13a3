//! THE RULES. No dependencies, no clock, no randomness, no I/O, no async.
//!
//! Layout, in reading order:
//! - [`types`]: names, numbers and times, each checked when it is made;
//! - [`workload`]: what the frame needs to know of a workload, and the list of workloads;
//! - [`fields`], [`rejections`], [`rows`]: settings, refusals and rows of the history, each declared
//!   once;
//! - [`coupon`]: the coupon workload: commands, events, rejections, `decide`, `evolve`;
//! - `counter`: the smallest workload, an example that is compiled for tests only;
//! - [`rate_limit`]: who may ask how often: five algorithms, how many at once, and their policies;
//! - [`keyring`]: who may call: API keys, with the digests of their secrets;
//! - [`request`]: idempotency: one request key, one outcome;
//! - [`state`]: all workloads together: the one `decide` and the one `evolve`;
//! - [`wire`]: records and state to bytes and back, numbered and versioned;
//! - [`claims`], [`index`], [`hash`]: how millions of claims fit in memory.
#![warn(missing_docs)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod claims;
#[cfg(feature = "example")]
pub mod counter;
pub mod coupon;
pub mod fields;
pub mod hash;
pub mod index;
pub mod keyring;
mod parallel;
pub mod rate_limit;
pub mod rejections;
pub mod request;
pub mod rows;
pub mod state;
pub mod types;
pub mod wire;
pub mod workload;

pub use state::{Action, Answer, Change, Command, Decision, Novelty, Record, Rejection, State, Step, decide};
pub use workload::{Aggregate, Kind, Listed, Number, Workload};
