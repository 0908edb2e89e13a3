//! What records change in the history, as rows of declared tables. A workload says it once
//! ([`crate::workload::Workload::rows`]); both databases, lists, exports, live deltas and the
//! verifier's comparison read the same declaration.
//!
//! Each workload has, beside the tables that it declares, one table of its aggregates, named by the
//! kind's path: number, name, one column for each setting, version, and the times of creation and
//! of the last change. The frame writes that one.

use crate::types::Timestamp;

/// The most columns that a table declares.
pub const COLUMNS_MAX: usize = 16;

/// A table of entries. Its first column, which is not declared, is the number of the aggregate; it is
/// called what one of the kind is called ([`crate::workload::Kind::word`]): `campaign`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What it holds, in a sentence, for those who report from it.
    pub about: &'static str,
    /// What one row is called: `claim`.
    pub row: &'static str,
    /// The columns behind the aggregate's number, at most [`COLUMNS_MAX`].
    pub columns: &'static [Column],
    /// How many of the first columns, behind the aggregate's number, tell the rows apart.
    pub key_count: usize,
    /// The column that rows are looked for by, over all aggregates.
    pub found_by: Option<usize>,
    /// What the database across machines refuses by itself, whatever writes: a second line behind the
    /// rules.
    pub one_each: Option<OneEach>,
    /// Whether a row says who caused it and by which request: columns `actor` and `request_id`.
    pub has_origin: bool,
}

/// That rows of an aggregate are unique in a column, while a setting of the aggregate says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OneEach {
    /// The column.
    pub column: usize,
    /// The setting, a number.
    pub setting: &'static str,
    /// The setting's value, when a row is inserted, that makes the row count.
    pub is: u64,
    /// A column and the text in it with which a row does not count any more.
    pub unless: (usize, &'static str),
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
///
/// Who makes a change knows the event and not the aggregate, so that [`RowChange::Put`] is for what
/// may be new or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowChange<'a> {
    /// The row is new; a cell for each column.
    Insert(&'a [Cell<'a>]),
    /// The row with this key has these cells from now on, whether it is new or not; a cell for each
    /// column.
    Put(&'a [Cell<'a>]),
    /// The row with this key gets other cells in these columns.
    Update {
        /// The key's cells.
        key: &'a [Cell<'a>],
        /// The places of the columns that change, rising, with their new cells.
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

impl Table {
    /// The columns that tell the rows of an aggregate apart.
    ///
    /// # Panics
    /// If the declaration counts more key columns than there are columns.
    #[must_use]
    pub fn key(&self) -> &'static [Column] {
        let (key, _) = self.columns.split_at(self.key_count);
        key
    }
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
