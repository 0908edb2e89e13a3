//! THE WORLD, SEEDED. Engine and journal on a disk and a clock that fail as real ones do; one
//! thread drives it all, everything random comes from a seed, and the same seed gives the same
//! bytes.
//!
//! Layout, in reading order:
//! - [`rng`]: the only source of chance;
//! - [`disk`]: two folders on one disk, every call counted, faults planned for the Nth;
//! - [`ask`]: what clients ask and are told; `asks` has what is asked of other workloads than campaigns;
//! - [`world`]: one process, driven step by step; [`snapshots`] and [`recovery`] belong to it;
//! - [`expect`]: what the oracle says of a question and of a record;
//! - [`history`]: what stands in the journal;
//! - [`checker`]: whether what was told is what is durable;
//! - [`run`]: one seed; [`clients`] make up its requests;
//! - [`systematic`]: a short script with a fault at every call;
//! - [`plant`]: faults that are planted to show that they are noticed; `tamper` plays the disk's;
//! - [`counts`]: rare things, which must happen; `lists` names them and the plants;
//! - [`report`]: many seeds;
//! - [`cluster`]: the same across machines, with a world of its own.

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
