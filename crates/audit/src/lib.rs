//! THE AUDIT. The contents of a journal or log, read without the code that wrote it.
//!
//! - [`verify`] recomputes every promise from the journal, or with the feature `scaled` from Kafka's log, by
//!   the rules as the oracle states them, and compares the tables with the result;
//! - [`inspect`] shows the contents of a journal.

mod events;
pub mod inspect;
pub mod verify;
