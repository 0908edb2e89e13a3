//! The program's calls over HTTP.
//!
//! A request's path: `edge` (connection, limits, authentication, admission) → [`calls`] (the routes) → a
//! handler ([`aggregates`] for the calls of every kind; [`crate::workloads`] for those of one kind), which
//! reads the request through [`context`] → the engine → [`answer`] or [`problem`].

pub(crate) mod accept;
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
