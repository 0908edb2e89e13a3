//! HELPERS FOR TESTS OF THE RUNNING SERVER (development only): HTTP clients, and reproducible random numbers.
//!
//! - [`http`]: a blocking client that checks the rules for all responses of the API;
//! - [`connection`]: an asynchronous client that shows which bytes were sent and received.

pub mod connection;
pub mod http;
pub mod random;
