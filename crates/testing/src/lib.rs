//! WHAT TESTS OF THE RUNNING SERVER SHARE (development only): the HTTP clients, and random numbers
//! that a seed repeats.
//!
//! - [`http`]: a blocking client that checks what is the same for every answer of the API;
//! - [`connection`]: an asynchronous one that shows which bytes were sent and which were answered.

pub mod connection;
pub mod http;
pub mod random;
