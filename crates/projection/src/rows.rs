//! What is read from the history: rows of the declared tables, whatever the workload.

use std::sync::Arc;

use domain::rows::Cell;
use domain::types::Timestamp;
use domain::wire::Position;
use domain::workload::AnySettings;
use domain::{Kind, Number};

/// The record that an answer rests on: everything up to it is in, nothing after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AsOf {
    /// The last record that is in.
    pub position: Position,
    /// The effective time of that record.
    pub time: Timestamp,
}

/// One aggregate, with the settings that it has at the position that the row rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AggregateRow {
    /// Its place in the order of creation, over all kinds, from 0. Across machines it is the id over
    /// all partitions (`projection::postgres::aggregate_id`).
    pub number: Number,
    /// Its name.
    pub name: Arc<str>,
    /// Its settings, internal ones too; they say its kind.
    pub settings: AnySettings,
    /// 1 at first, one more with each change of settings.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its settings were last written.
    pub changed_at: Timestamp,
}

impl AggregateRow {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.settings.kind()
    }
}

/// The value of a column, apart from the row that it was read from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OwnedCell {
    /// None.
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

/// One entry while it is read: a cell for each declared column.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'r> {
    /// The aggregate that it is of.
    pub aggregate: &'r Arc<AggregateRow>,
    /// Its cells, in the order of the declaration.
    pub cells: &'r [Cell<'r>],
}

impl Entry<'_> {
    /// The entry, apart from where it was read.
    #[must_use]
    pub fn to_row(&self) -> EntryRow {
        EntryRow { aggregate: Arc::clone(self.aggregate), cells: self.cells.iter().map(|cell| OwnedCell::from(*cell)).collect() }
    }
}

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryRow {
    /// The aggregate that it is of, shared among its entries.
    pub aggregate: Arc<AggregateRow>,
    /// A cell for each declared column, in the order of the declaration.
    pub cells: Vec<OwnedCell>,
}

impl EntryRow {
    /// The cells, borrowed: what a workload's typed view is made of.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell<'_>> {
        self.cells.iter().map(OwnedCell::cell).collect()
    }

    /// Its place among the entries of all aggregates.
    pub(crate) fn key(&self, key_count: usize) -> EntryKey {
        EntryKey { number: self.aggregate.number, key: self.cells.iter().take(key_count).cloned().collect() }
    }
}

/// One row of a table of entries as it stands there, with all that the table holds and without what
/// its aggregate's row adds: for whoever checks the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BareEntry<'r> {
    /// The number of its aggregate.
    pub number: Number,
    /// A cell for each declared column, in the order of the declaration.
    pub cells: &'r [Cell<'r>],
    /// Who caused it and by which request, where the table holds that.
    pub origin: Option<(&'r str, &'r str)>,
}

/// The place of an entry among those of all aggregates.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EntryKey {
    /// The number of its aggregate.
    pub number: Number,
    /// The cells of its key.
    pub key: Vec<OwnedCell>,
}

/// Which entries of an aggregate are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Selection<'a> {
    /// Those behind the one with this key, in the order of keys; all where there is none.
    pub after: Option<&'a [OwnedCell]>,
    /// Those with this text in this column.
    pub having: Option<(usize, &'a str)>,
}

/// Some entries, in the order of their aggregates' numbers and of their keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryPage {
    /// The entries.
    pub rows: Vec<EntryRow>,
    /// After which one the next page starts; `None` if this is the last.
    pub next: Option<EntryKey>,
    /// What the page rests on.
    pub as_of: AsOf,
}

impl EntryPage {
    /// A page of at most `limit` rows out of up to one more, which tells whether this is the last.
    pub(crate) fn cut(mut rows: Vec<EntryRow>, limit: u32, key_count: usize, as_of: AsOf) -> Self {
        let is_last = rows.len() <= limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| !is_last).map(|row| row.key(key_count));
        Self { rows, next, as_of }
    }
}

/// One row more than is asked for.
pub(crate) fn one_more(limit: u32) -> i64 {
    i64::from(limit).saturating_add(1)
}
