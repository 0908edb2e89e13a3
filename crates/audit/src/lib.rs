//! THE AUDIT. What a record says, read without the code that wrote it.
//!
//! - [`verify`] recomputes every promise from the journal, or with the feature `scaled` from Kafka's
//!   record, by the rules as the oracle states them, and compares the tables with the result;
//! - [`inspect`] tells what a journal holds.

mod events;
pub mod inspect;
pub mod verify;
