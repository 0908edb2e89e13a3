//! The stampede: open-loop load against a first-come-first-served server, a
//! check of every answer, and a report of what was fast and what was broken.
//!
//! It speaks plain HTTP/1.1 to any server that has the API, and knows nothing
//! of how that server works. Open-loop means that a request has an instant at
//! which it should start, whatever the server does: a stall shows up in the
//! latency of everybody who came during it.

pub mod coupon;
pub mod format;
pub mod plot;

mod clock;
mod connection;
mod control;
mod error;
mod figures;
mod machine;
mod progress;
mod target;

pub use error::Error;

/// The style sheet of pages with results.
pub const STYLE: &str = include_str!("coupon/page.css");
