//! The real program as a process, and people in a queue; with the client and the random numbers
//! of `testing` under the names that tests use.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod program;
pub mod queue;

pub use testing::connection as http;
pub use testing::random;
