//! THE PROGRAM: the calls over HTTP, and the terminal.
//!
//! Layout, in reading order:
//! - [`cli`]: the command line;
//! - [`serve`]: from settings to a server, and its shutdown;
//! - [`data`], [`codes`]: the data folder and the code keys in it; [`keys`], [`operator`]: changes of API
//!   keys, and the socket for operators;
//! - [`backend`]: decides commands: this process alone, or, in [`scaled`], a node of a cluster;
//! - [`app`]: state shared by all requests; [`http`]: the HTTP calls; [`workloads`]: the calls of each workload;
//! - [`history`]: the tables that lists read; [`live`]: the contents of live streams; [`demonstration`]: the
//!   demonstration rush; [`metrics`]: metrics;
//! - `left_out`: the replacements in builds without the features `scaled` and `lab`;
//! - [`commands`]: the commands beside `serve`, with [`rush`], [`lab`], [`key`], and [`verify`] and
//!   [`inspect`] of the crate `audit`; [`output`]: what they write.

/// The program makes many small allocations that another thread frees; with the system's allocator these take
/// a tenth of the server's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod app;
pub mod backend;
pub mod cli;
pub mod clock;
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
pub mod output;
pub mod rush;
#[cfg(feature = "scaled")]
pub mod scaled;
#[cfg(not(feature = "scaled"))]
#[path = "left_out/scaled.rs"]
pub mod scaled;
/// Also compiled into the tests of a full build, so that they cover it.
#[cfg(all(test, feature = "scaled"))]
#[path = "left_out/scaled.rs"]
pub mod scaled_left_out;
pub mod serve;
pub mod workloads;

pub use audit::{inspect, verify};
