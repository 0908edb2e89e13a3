//! The calls of each workload, beside the rules in `domain`: for each one file (and a folder) with its
//! requests, its handlers and its table of calls. What every kind of aggregate has is served by
//! [`crate::http::aggregates`].

use domain::Kind;

use crate::http::calls::Call;
use crate::http::openapi::problem::Member;
use crate::http::problem::{CodeInfo, Wording};

#[cfg(feature = "example")]
pub mod counter;
pub mod coupon;
pub mod policy;

/// What a workload adds to the API.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its kind.
    pub kind: Kind,
    /// Its calls.
    pub calls: fn() -> Vec<Call>,
    /// The codes that it refuses with.
    pub codes: &'static [CodeInfo],
    /// What is said of each rejection of its rules.
    pub wordings: &'static [Wording],
    /// The groups that its calls are shown in, and what they are about.
    pub tags: &'static [(&'static str, &'static str)],
    /// What its refusals tell beside their codes.
    pub problem_members: fn() -> Vec<Member>,
}

/// The tables of all workloads.
pub const TABLES: &[Table] = &[
    coupon::TABLE,
    policy::TABLE,
    #[cfg(feature = "example")]
    counter::TABLE,
];
