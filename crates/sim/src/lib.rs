//! THE WORLD, SEEDED. Engine and journal on a disk and a clock that fail as real ones do; one thread drives
//! everything, all randomness comes from a seed, and the same seed gives the same bytes.
//!
//! Layout, in reading order:
//! - [`rng`]: the only source of randomness;
//! - [`disk`]: two folders on one disk, with every call counted and faults planned for the Nth;
//! - [`ask`]: the clients' requests and the answers; `asks`: requests to other workloads than campaigns;
//! - [`world`]: one process, driven step by step; [`snapshots`] and [`recovery`] belong to it;
//! - [`expect`]: the oracle's answers, and a check of records against the oracle;
//! - [`history`]: the contents of the journal;
//! - [`checker`]: compares the answers with the durable records;
//! - [`run`]: one seed; [`clients`] generates its requests;
//! - [`systematic`]: a short script with a fault at every call;
//! - [`plant`]: planted bugs that the simulation must detect; `tamper` plays those of the disk;
//! - [`counts`]: rare events, which must occur; `lists` defines them and the plants;
//! - [`report`]: runs many seeds;
//! - [`cluster`]: the same across machines, with its own world.

#[macro_use]
mod lists;

pub mod ask;
mod asks;
pub mod checker;
mod clients;
pub mod cluster;
pub mod counts;
pub mod disk;
pub mod expect;
pub mod history;
pub mod plant;
pub mod recovery;
pub mod report;
pub mod rng;
pub mod run;
mod snapshots;
pub mod systematic;
mod tamper;
pub mod world;

pub use report::{Report, run_all};
pub use run::{Options, Outcome, run};
