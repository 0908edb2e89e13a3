//! ONE WRITER. The only place where durable state changes.
//!
//! A command is decided under one short lock, in the caller's task: decide, evolve, assign the LSN and stage
//! the record's bytes. A committer thread takes whatever has been staged, writes and syncs it once, and then
//! releases every answer that rests on it.
//!
//! Layout, in reading order:
//! - [`limits`]: every limit has a name, here;
//! - [`clock`]: the only place that reads a clock;
//! - [`core`]: state, rules and staging: the critical section, without disk or threads;
//! - [`digest`]: a digest of the state, updated incrementally;
//! - [`views`]: the copies of the state that answers are made from;
//! - [`commit`]: writes staged records to the journal;
//! - [`durable`]: waiting until a record is on disk;
//! - [`histogram`], [`meter`]: histograms of durations, and the committer's counters;
//! - [`restart`]: rebuilds a core from a snapshot and the journal's tail, and writes snapshots;
//! - [`feed`]: the durable decisions, in order;
//! - [`engine`]: all of the above with its threads.
#![warn(missing_docs)]

pub mod clock;
pub mod commit;
pub mod core;
pub mod digest;
pub mod durable;
pub mod engine;
pub mod feed;
pub mod histogram;
pub mod limits;
pub mod meter;
pub mod restart;
pub mod views;

pub use engine::Engine;
