//! What records change in the history, as rows of declared tables. A workload says it once
//! ([`crate::workload::Workload::rows`]); both databases, lists, exports, live deltas and the
//! verifier's comparison read the same declaration.
//!
//! Each workload has, beside the tables that it declares, one table of its aggregates, named by the
//! kind's path: number, name, one column for each setting, version, and the times of creation and
//! of the last change. The frame writes that one.

use crate::types::Timestamp;

/// A table of entries. Its first column is always the number of the aggregate, `aggregate`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What it holds, in a sentence, for those who report from it.
    pub about: &'static str,
    /// The columns behind the aggregate's number.
    pub columns: &'static [Column],
    /// How many of the first columns, behind the aggregate's number, tell the rows apart.
    pub key_count: usize,
    /// The column that rows are looked for by, over all aggregates.
    pub found_by: Option<usize>,
    /// Whether a row says who caused it and by which request: columns `actor` and `request_id`.
    pub has_origin: bool,
}

/// A column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether it may be without a value.
    pub is_nullable: bool,
    /// What it means, in a sentence.
    pub about: &'static str,
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnKind {
    /// A whole number, 0 to 2^63 - 1.
    Number,
    /// A text.
    Text,
    /// An instant.
    Time,
    /// Yes or no.
    Bool,
}

/// The value of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell<'a> {
    /// None.
    Null,
    /// A whole number, 0 to 2^63 - 1.
    Number(u64),
    /// A text.
    Text(&'a str),
    /// An instant.
    Time(Timestamp),
    /// Yes or no.
    Bool(bool),
}

/// A change of one row of an aggregate. It must hit exactly one row: whatever else it would do is a
/// conflict between the tables and the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowChange<'a> {
    /// The row is new; a cell for each column.
    Insert(&'a [Cell<'a>]),
    /// The row with this key gets other cells in these columns.
    Update {
        /// The key's cells.
        key: &'a [Cell<'a>],
        /// The places of the columns that change, with their new cells.
        cells: &'a [(usize, Cell<'a>)],
        /// A column that must have had this cell: what cannot have been otherwise is checked.
        was: Option<(usize, Cell<'a>)>,
    },
    /// The row with this key is gone.
    Delete {
        /// The key's cells.
        key: &'a [Cell<'a>],
    },
}

/// Takes the changes of one record, in their order.
pub trait Rows {
    /// Takes a change of a table's row.
    fn change(&mut self, table: &'static Table, change: RowChange<'_>);
}

impl Column {
    /// A column that always has a value.
    #[must_use]
    pub const fn of(name: &'static str, kind: ColumnKind, about: &'static str) -> Self {
        Self { name, kind, is_nullable: false, about }
    }

    /// A column that may be without one.
    #[must_use]
    pub const fn optional(name: &'static str, kind: ColumnKind, about: &'static str) -> Self {
        Self { name, kind, is_nullable: true, about }
    }
}
