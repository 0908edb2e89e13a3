//! The only place that knows HTTP and JSON.
//!
//! A request's way: [`serve`] (connection, limits) → [`routes`] (which handler; the doors) →
//! [`context`] (names, keys, body) → a handler ([`campaigns`], [`claims`], [`codes`], [`lists`],
//! [`keys`], [`meta`]) → the engine → [`answer`] (a yes) or [`problem`] (a no).

pub mod answer;
pub mod answers;
pub mod campaigns;
pub mod checks;
pub mod claims;
pub mod codes;
pub mod connection;
pub mod context;
pub mod demonstration;
pub mod docs;
pub mod input;
pub mod keys;
pub mod lists;
pub mod live;
pub mod meta;
pub mod openapi;
pub mod pause;
pub mod policies;
pub mod problem;
pub mod routes;
pub mod serve;
pub mod times;
pub mod web;
