//! ONE WRITER. The only place where durable state changes.
//!
//! A command is decided under one short lock, in the task that asks: decide, evolve, give the
//! record its number and stage its bytes. A committer thread takes whatever has been staged,
//! writes and syncs it once, and then everybody whose answer rests on it is answered.
//!
//! Layout, in reading order:
//! - [`limits`]: every limit has a name, here;
//! - [`clock`]: the only place that reads a clock;
//! - [`core`]: state, rules and staging: the critical section; knows no disk and no thread;
//! - [`digest`]: a digest of the state that is carried along;
//! - [`views`]: what an answer is made from;
//! - [`commit`]: taking what is staged to the journal;
//! - [`durable`]: waiting until a record is on disk;
//! - [`histogram`], [`meter`]: how long things took, and what the committer does;
//! - [`restart`]: a core from a snapshot and the journal's tail, and snapshots;
//! - [`feed`]: what was decided and is durable, in order;
//! - [`engine`]: all of it with its threads.
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
