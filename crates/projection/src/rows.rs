//! The results of reads from the history: rows of the declared tables of any workload.

use std::sync::Arc;

use domain::rows::Cell;
use domain::types::Timestamp;
use domain::wire::Position;
use domain::workload::AnySettings;
use domain::{Kind, Number};

/// The record that a read rests on: every record up to it is applied, none after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AsOf {
    /// The position of the last applied record.
    pub position: Position,
    /// The effective time of that record.
    pub time: Timestamp,
}

/// One aggregate, with its settings at the position that the read rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AggregateRow {
    /// Its number in the order of creation, over all kinds, from 0. Across machines, its id over all
    /// partitions (`projection::postgres::aggregate_id`).
    pub number: Number,
    /// Its name.
    pub name: Arc<str>,
    /// Its settings, including internal ones; they determine its kind.
    pub settings: AnySettings,
    /// 1 at creation, incremented by each change of settings.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its settings last changed.
    pub changed_at: Timestamp,
}

impl AggregateRow {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.settings.kind()
    }
}

/// An owned copy of a cell.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OwnedCell {
    /// No value.
    Null,
    /// A whole number.
    Number(u64),
    /// A text.
    Text(String),
    /// An instant.
    Time(Timestamp),
    /// Yes or no.
    Bool(bool),
}

impl OwnedCell {
    /// The value, borrowed.
    #[must_use]
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Number(number) => Cell::Number(*number),
            Self::Text(text) => Cell::Text(text),
            Self::Time(time) => Cell::Time(*time),
            Self::Bool(value) => Cell::Bool(*value),
        }
    }
}

impl From<Cell<'_>> for OwnedCell {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Number(number) => Self::Number(number),
            Cell::Text(text) => Self::Text(text.to_owned()),
            Cell::Time(time) => Self::Time(time),
            Cell::Bool(value) => Self::Bool(value),
        }
    }
}

/// One entry during a read: a cell for each declared column.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'r> {
    /// The aggregate that it belongs to.
    pub aggregate: &'r Arc<AggregateRow>,
    /// Its cells, in the order of the declaration.
    pub cells: &'r [Cell<'r>],
}

impl Entry<'_> {
    /// An owned copy of the entry.
    #[must_use]
    pub fn to_row(&self) -> EntryRow {
        EntryRow { aggregate: Arc::clone(self.aggregate), cells: self.cells.iter().map(|cell| OwnedCell::from(*cell)).collect() }
    }
}

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryRow {
    /// The aggregate that it belongs to, shared among its entries.
    pub aggregate: Arc<AggregateRow>,
    /// A cell for each declared column, in the order of the declaration.
    pub cells: Vec<OwnedCell>,
}

impl EntryRow {
    /// The cells, borrowed: the input of a workload's typed view.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell<'_>> {
        self.cells.iter().map(OwnedCell::cell).collect()
    }

    /// Its key among the entries of all aggregates.
    pub(crate) fn key(&self, key_count: usize) -> EntryKey {
        EntryKey { number: self.aggregate.number, key: self.cells.iter().take(key_count).cloned().collect() }
    }
}

/// One row of a table of entries with all its columns, without those of its aggregate: for
/// verification of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BareEntry<'r> {
    /// The number of its aggregate.
    pub number: Number,
    /// A cell for each declared column, in the order of the declaration.
    pub cells: &'r [Cell<'r>],
    /// The actor and the request that caused it, if the table stores them.
    pub origin: Option<(&'r str, &'r str)>,
}

/// The key of an entry among those of all aggregates.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EntryKey {
    /// The number of its aggregate.
    pub number: Number,
    /// The cells of its key.
    pub key: Vec<OwnedCell>,
}

/// Selects entries of an aggregate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Selection<'a> {
    /// Only entries after this key, in the order of keys; `None`: from the first.
    pub after: Option<&'a [OwnedCell]>,
    /// Only entries with this text in this column.
    pub having: Option<(usize, &'a str)>,
}

/// A page of entries, ordered by their aggregates' numbers and their keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryPage {
    /// The entries.
    pub rows: Vec<EntryRow>,
    /// The key after which the next page starts; `None` if this is the last page.
    pub next: Option<EntryKey>,
    /// What the page rests on.
    pub as_of: AsOf,
}

impl EntryPage {
    /// Cuts `rows` to `limit`; the caller reads one row more, which shows whether this is the last page.
    pub(crate) fn cut(mut rows: Vec<EntryRow>, limit: u32, key_count: usize, as_of: AsOf) -> Self {
        let is_last = rows.len() <= limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| !is_last).map(|row| row.key(key_count));
        Self { rows, next, as_of }
    }
}

/// One row more than the limit.
pub(crate) fn one_more(limit: u32) -> i64 {
    i64::from(limit).saturating_add(1)
}
