//! The scaled mode with its real engines, and with their faults: the real program as several
//! processes, over Kafka, Redis and PostgreSQL, under the load of people who ask any server, remember
//! every answer, and ask until they are told yes or no.
//!
//! After each scenario: exactly the stock was given out, nobody has two, every yes is found on every
//! server and in the tables with its serial and code, no serial is left out, and all servers say the
//! same. While it runs: an answer never comes from the past, see `book.rs`.
//!
//! Scenarios run one after another: they stop engines that the next one uses, and their times mean
//! something only while nothing else runs.
//!
//! Beside them, what else needs the engines: `verify --kafka`, and the lab. `cargo xtask test` runs all
//! of it in one thread.
//!
//! `FIRSTCOME_DRILL_SECONDS` repeats those with a fault for so long, with longer outages, at instants
//! that `FIRSTCOME_DRILL_SEED` gives (`cargo xtask drill`).
#![cfg(feature = "scaled")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::await_holding_lock, reason = "scenarios run alone: nobody else wants an engine meanwhile")]
#![allow(clippy::disallowed_methods, reason = "tests of the running program go by the real clock")]

#[path = "../live/mod.rs"]
mod live_client;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support_process/mod.rs"]
mod support_process;

mod book;
mod brokers;
mod check;
mod clocks;
#[cfg(feature = "example")]
mod counter;
mod crowd;
mod cut_off;
mod drill;
mod engines;
mod gate;
mod keys;
#[cfg(feature = "lab")]
mod lab;
mod policies;
mod proxy;
mod queue;
mod record;
mod refusals;
mod restart;
mod rush;
mod scenario;
mod servers;
mod tables;
mod verify;
mod watch;
mod world;
