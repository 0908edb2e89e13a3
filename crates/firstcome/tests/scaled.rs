//! The scaled mode with its real engines, and with their faults: the real program as several
//! processes, over Kafka, Redis and PostgreSQL, under the load of people who ask any server, remember
//! every answer, and ask until they are told yes or no.
//!
//! After each scenario: exactly the stock was given out, nobody has two, every yes is found on every
//! server and in the tables with its serial and code, no serial is left out, and all servers say the
//! same. While it runs: an answer never comes from the past, see `scaled/book.rs`.
//!
//! Scenarios run one after another: they stop engines that the next one uses, and their times mean
//! something only while nothing else runs.
//!
//! `FIRSTCOME_DRILL_SECONDS` repeats those with a fault for so long, with longer outages, at instants
//! that `FIRSTCOME_DRILL_SEED` gives (`cargo xtask drill`).
#![cfg(feature = "scaled")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::await_holding_lock, reason = "scenarios run alone: nobody else wants an engine meanwhile")]
#![allow(clippy::disallowed_methods, reason = "tests of the running program go by the real clock")]

/// Connections of those who watch.
mod http {
    use std::io;
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    /// One on which nobody waits for ever.
    pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(stream)
    }
}
#[path = "live/stream.rs"]
mod stream;
mod support_process;

/// What the scenarios are made of, and the scenarios.
mod scaled {
    pub mod book;
    pub mod brokers;
    pub mod check;
    pub mod clocks;
    pub mod crowd;
    pub mod cut_off;
    pub mod drill;
    pub mod engines;
    pub mod gate;
    pub mod proxy;
    pub mod queue;
    pub mod record;
    pub mod refusals;
    pub mod restart;
    pub mod rush;
    pub mod scenario;
    pub mod servers;
    pub mod tables;
    pub mod watch;
    pub mod world;
}
