//! THE PROGRAM. The only place that knows HTTP, JSON and the terminal.
//!
//! Layout, in reading order:
//! - [`cli`], [`logging`]: what is typed, what is logged;
//! - [`serve`]: from settings to a server and back out; [`tls`]: its certificate; [`reload`]: what
//!   is read again while it serves;
//! - [`data`], [`codes`]: the data folder and the keys in it;
//! - [`doors`], [`tokens`]: who may call, and how many at once;
//! - [`backend`]: who decides: this process alone, or, in [`scaled`], the order of a log;
//! - [`app`]: what all requests share; [`http`]: how they come and go;
//! - [`history`]: the tables that lists read; [`live`]: who watches; [`demonstration`]: the rush that
//!   a button starts; [`metrics`]: counts;
//! - [`commands`]: the commands beside `serve`, with [`rush`], [`lab`], [`key`], and
//!   [`verify`] and [`inspect`] of the crate `audit`.

/// Many small allocations, freed by another thread than the one that made them, are what this
/// program does all day; the system's allocator spends a tenth of the server's time on that.
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
pub mod doors;
pub mod gateway;
pub mod history;
pub mod http;
pub mod key;
pub mod lab;
pub mod limits;
pub mod live;
pub mod logging;
pub mod metrics;
pub mod reload;
pub mod rush;
pub mod scaled;
pub mod serve;
pub mod tls;
pub mod tokens;

pub use audit::{inspect, verify};
