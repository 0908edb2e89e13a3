//! THE PROGRAM: the calls over HTTP, and the terminal.
//!
//! Layout, in reading order:
//! - [`cli`]: the command line;
//! - [`serve`]: from settings to a server, and its shutdown;
//! - [`data`], [`codes`]: the data folder and the code keys in it; [`keys`], [`operator`]: changes of API
//!   keys, and the socket at which an operator asks for them;
//! - [`backend`]: who decides: this process alone, or, in [`scaled`], the order of a log;
//! - [`app`]: what all requests share; [`http`]: how they come and go; [`workloads`]: the calls of each
//!   workload;
//! - [`history`]: the tables that lists read; [`live`]: what live streams show; [`demonstration`]: the
//!   rush that a button starts; [`metrics`]: metrics;
//! - `left_out`: what a build without the features `scaled` and `lab` has in their place;
//! - [`commands`]: the commands beside `serve`, with [`rush`], [`lab`], [`key`], and [`verify`] and
//!   [`inspect`] of the crate `audit`.

/// Many small allocations, freed by another thread than the one that made them, are what this
/// program does all day; the system's allocator spends a tenth of the server's time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod app;
pub mod backend;
pub mod cli;
pub mod codes;
pub mod commands;
pub mod data;
pub mod demonstration;
pub mod history;
pub mod http;
pub mod key;
pub mod keys;
#[cfg(feature = "lab")]
pub mod lab;
#[cfg(not(feature = "lab"))]
#[path = "left_out/lab.rs"]
pub mod lab;
pub mod limits;
pub mod live;
pub mod metrics;
pub mod operator;
pub mod rush;
#[cfg(feature = "scaled")]
pub mod scaled;
#[cfg(not(feature = "scaled"))]
#[path = "left_out/scaled.rs"]
pub mod scaled;
/// So that the tests of a build with everything run it too.
#[cfg(all(test, feature = "scaled"))]
#[path = "left_out/scaled.rs"]
pub mod scaled_left_out;
pub mod serve;
pub mod workloads;

pub use audit::{inspect, verify};
