//! THE DECISIONS AS TABLES: the history, for queries and reports. The only crate with SQL.
//!
//! The tables are derived from the decided records and no decision depends on them. The position (the last
//! applied record) is written in the same transaction as the rows, so that after a crash the caller continues
//! at position + 1; and because the records alone rebuild the tables, a file that is missing, damaged or
//! foreign is rebuilt rather than repaired.
//!
//! Layout, in reading order:
//! - `declared`: the tables that workloads declare, as both databases use them;
//! - [`rows`]: the results of reads: rows, pages, and the position that they rest on;
//! - [`history`]: the only writer, [`History`];
//! - [`reader`]: concurrent readers, [`HistoryReader`] and [`HistoryView`];
//! - [`error`]: the errors;
//! - `schema`: SQLite's tables, made from the declarations;
//! - [`postgres`]: the history across machines, and the copies of the state that nodes start from.
//!
//! No module here knows a workload.
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
