//! The calls of each workload, beside the rules in `domain`: for each one file (and a folder) with its
//! requests, its handlers and its table of calls. What every kind of aggregate has is served by
//! [`crate::http::aggregates`].

use crate::http::calls::Call;
use crate::http::problem::Refusals;

#[cfg(feature = "example")]
pub mod counter;
pub mod coupon;
pub mod policy;

/// The tables of all workloads.
pub const TABLES: &[fn() -> Vec<Call>] = &[
    coupon::calls,
    policy::calls,
    #[cfg(feature = "example")]
    counter::calls,
];

/// The refusals of workloads beside those in [`crate::http::problem`].
pub const REFUSALS: &[Refusals] = &[
    #[cfg(feature = "example")]
    counter::REFUSALS,
];
