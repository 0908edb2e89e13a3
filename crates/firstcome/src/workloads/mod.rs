//! The calls of each workload; the rules are in `domain`. Each workload has one file (and a folder) with its
//! requests, handlers and table of calls. [`crate::http::aggregates`] serves the calls that every kind has.

use domain::Kind;

use crate::http::calls::Call;
use crate::http::openapi::problem::Member;
use crate::http::problem::{CodeInfo, Wording};

#[cfg(feature = "example")]
pub mod counter;
pub mod coupon;
pub mod policy;

/// A workload's part of the API.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its kind.
    pub kind: Kind,
    /// Its calls.
    pub calls: fn() -> Vec<Call>,
    /// Its refusal codes.
    pub codes: &'static [CodeInfo],
    /// The texts of its rejections.
    pub wordings: &'static [Wording],
    /// The groups that its calls are shown in, with their descriptions.
    pub tags: &'static [(&'static str, &'static str)],
    /// The members that its refusals add.
    pub problem_members: fn() -> Vec<Member>,
}

/// The tables of all workloads.
pub const TABLES: &[Table] = &[
    coupon::TABLE,
    policy::TABLE,
    #[cfg(feature = "example")]
    counter::TABLE,
];
