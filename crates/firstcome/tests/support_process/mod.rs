//! The real program as a process, a small HTTP client that shows what was sent and what was
//! answered, and random numbers that a seed repeats.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod http;
pub mod program;
pub mod queue;
pub mod random;
