//! Tests of the running program that mean something only while nothing else runs: crowds, hostile
//! clients, readers that are slow, kills. `cargo xtask test` runs them in one thread; by hand:
//! `cargo test --release -p firstcome --test alone -- --test-threads 1`.

#[path = "../live/mod.rs"]
mod live_client;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support_process/mod.rs"]
mod support_process;

mod hostile;
mod kill;
mod live_slow;
mod overload;
mod rush;
mod suspended;
