//! WHAT WAS DECIDED, AS TABLES: the history, to query and to report from. The only place with SQL.
//!
//! The tables follow the record of decisions and decide nothing. The position (the last record that
//! they hold) is written in the same transaction as the rows, so that after any crash the caller
//! goes on at position + 1; and because the record alone gives the same tables again, a file that
//! is missing, damaged or not ours is begun anew rather than repaired.
//!
//! Layout, in reading order:
//! - `declared`: the tables that workloads declare, as both databases see them;
//! - [`rows`]: what is read: rows, pages, and the position that they rest on;
//! - [`history`]: the one writer: [`History`];
//! - [`reader`]: any number of readers beside it: [`HistoryReader`] and [`HistoryView`];
//! - [`error`]: what can go wrong;
//! - `schema`: SQLite's tables, made from the declarations;
//! - [`postgres`]: the history across machines, and the copy of the state that nodes start from.
//!
//! Nothing here knows a workload.
#![warn(missing_docs)]

mod clock;
mod declared;
pub mod error;
pub mod history;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod reader;
pub mod rows;
mod schema;

pub use error::{ApplyError, OpenError, ReadError};
pub use history::{History, Rebuilt};
pub use reader::{HistoryReader, HistoryView};
pub use rows::{AggregateRow, AsOf, BareEntry, Entry, EntryKey, EntryPage, EntryRow, OwnedCell, Selection};
