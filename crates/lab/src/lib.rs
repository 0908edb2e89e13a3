//! THE STRATEGIES, side by side: common ways to give out limited goods, each in a file of its own, to be
//! read, rushed and crashed.
//!
//! Layout, in reading order:
//! - [`coupon`]: the strategies for coupons, one file each; begin with `check_then_act.rs`;
//! - [`frame`]: the parts that every workload's strategies need: engines, processes, faults, tables, pages;
//! - [`stampede`]: the coupons' part: the HTTP API that all strategies serve, the rush, the crash, and the report.
//!
//! The only crate beside `projection` and `cluster` that knows SQL, Redis and Kafka, because it shows how
//! others use them.

pub mod coupon;
pub mod frame;
pub mod stampede;

pub use frame::engines::Engines;
pub use frame::error::LabError;
pub use stampede::options::{Options, Programs};
pub use stampede::report::Report;
pub use stampede::{run, serve_from_stdin};
