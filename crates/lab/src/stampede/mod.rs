//! Coupons: the same API, rush and crash for every strategy, and the report about them.

pub mod options;
pub mod report;

mod api;
mod child;
mod crowd;
mod harm;
mod page;
mod plots;
mod results;
mod rushes;
mod servers;
mod summary;

pub use child::serve_from_stdin;
pub use results::write as write_results;
pub use rushes::run;
