//! The program's calls over HTTP.
//!
//! A request's way: `edge` (connection, limits, authentication, admission) → [`calls`] (which handler) →
//! a handler ([`aggregates`] for what every kind has; [`crate::workloads`] for what one kind has), which
//! reads it through [`context`] → the engine → [`answer`] or [`problem`].

pub mod aggregates;
pub mod answer;
pub mod calls;
pub mod code_key;
pub mod context;
pub mod demonstration;
pub mod docs;
pub mod keys;
pub mod lists;
pub mod live;
pub mod meta;
pub mod once;
pub mod openapi;
pub mod problem;
pub mod settings;
pub mod web;

pub use edge::times;
