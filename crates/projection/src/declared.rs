//! The tables that workloads declare ([`domain::rows`]), as SQLite and PostgreSQL both use them.
//!
//! Each kind of aggregate has one table, named by the kind's path: number, name, one column for each setting,
//! version, and the times of creation and of the last change. Each declared table of entries starts with the
//! number of the aggregate, in a column named by the kind's singular word.

use domain::rows::{COLUMNS_MAX, Cell, Column, ColumnKind, RowChange, Table};
use domain::types::Timestamp;
use domain::{Kind, Number};

/// A declared table of entries, with the kind of their aggregates.
#[derive(Clone, Copy)]
pub(crate) struct EntryTable {
    pub(crate) kind: Kind,
    pub(crate) table: &'static Table,
}

impl EntryTable {
    /// Every declared table, in the order of the kinds.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Kind::ALL.iter().flat_map(|kind| kind.tables().iter().map(|table| Self { kind: *kind, table }))
    }

    /// The declared table with its kind.
    pub(crate) fn of(table: &'static Table) -> Self {
        let Some(found) = Self::all().find(|declared| declared.table.name == table.name) else {
            panic!("no workload declares the table {}", table.name)
        };
        found
    }

    /// The column that holds the aggregate's number.
    pub(crate) fn owner(self) -> &'static str {
        self.kind.word()
    }

    /// The declared columns, quoted: a workload may name a column by an SQL keyword.
    pub(crate) fn columns(self) -> Vec<String> {
        self.table.columns.iter().map(|column| quoted(column.name)).collect()
    }

    /// The columns that order all rows: the aggregate's number, then the key.
    pub(crate) fn order(self) -> Vec<String> {
        std::iter::once(self.owner()).chain(self.table.key().iter().map(|column| column.name)).map(quoted).collect()
    }

    /// The name of the lookup index and its column ([`Table::found_by`]), if the table has one.
    pub(crate) fn found_by(self) -> Option<(String, &'static str)> {
        let place = self.table.found_by?;
        let found_by = column_at(self.table, place).name;
        Some((format!("{}_by_{found_by}", self.table.name), found_by))
    }
}

/// The declared column at an index.
pub(crate) fn column_at(table: &Table, place: usize) -> &'static Column {
    let Some(column) = table.columns.get(place) else { panic!("{} has no column {place}", table.name) };
    column
}

/// A quoted SQL identifier. Declared names contain no quotes: a test checks them.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// The shape of one prepared statement that changes one row of a table of entries.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    pub(crate) table: &'static Table,
    pub(crate) action: FormAction,
}

/// Compared for each written row, so tables are compared by address, not by their declarations. Two
/// statements for one table would do no harm.
impl PartialEq for Form {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.table, other.table) && self.action == other.action
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormAction {
    Insert,
    Put,
    /// `changed` has a bit for each column that gets a new cell; `was` is the column whose old cell is checked.
    Update {
        changed: u32,
        was: Option<usize>,
    },
    Delete,
}

impl Form {
    /// The form of a change. The change must fit the declaration.
    pub(crate) fn of(table: &'static Table, change: &RowChange<'_>) -> Self {
        let action = match change {
            RowChange::Insert(_) => FormAction::Insert,
            RowChange::Put(_) => FormAction::Put,
            RowChange::Update { cells, was, .. } => {
                assert!(cells.is_sorted_by_key(|(place, _)| place), "an update of {} names its columns in another order", table.name);
                let changed = cells.iter().fold(0, |changed, (place, _)| changed | bit(*place));
                FormAction::Update { changed, was: was.map(|(place, _)| place) }
            }
            RowChange::Delete { .. } => FormAction::Delete,
        };
        let form = Self { table, action };
        let mut columns = form.columns();
        for cell in cells_of(change) {
            let is_of_kind = columns.next().is_some_and(|column| match (cell, column.kind) {
                (Cell::Null, _) => column.is_nullable,
                (Cell::Number(_), ColumnKind::Number)
                | (Cell::Text(_), ColumnKind::Text)
                | (Cell::Time(_), ColumnKind::Time)
                | (Cell::Bool(_), ColumnKind::Bool) => true,
                (Cell::Number(_) | Cell::Text(_) | Cell::Time(_) | Cell::Bool(_), _) => false,
            });
            assert!(is_of_kind, "a change of {} does not fit the table's declaration", table.name);
        }
        assert!(columns.next().is_none(), "a change of {} has fewer cells than the table's declaration", table.name);
        form
    }

    /// The indices of the columns of [`cells_of`], in order.
    pub(crate) fn places(self) -> impl Iterator<Item = usize> {
        let (all, key) = (self.table.columns.len(), self.table.key_count);
        let (first, changed, was) = match self.action {
            FormAction::Insert | FormAction::Put => (all, 0, None),
            FormAction::Update { changed, was } => (key, changed, was),
            FormAction::Delete => (key, 0, None),
        };
        (0..first).chain((0..all).filter(move |place| changed & bit(*place) != 0)).chain(was)
    }

    /// The columns of [`cells_of`], as declared.
    pub(crate) fn columns(self) -> impl Iterator<Item = &'static Column> {
        self.places().map(move |place| column_at(self.table, place))
    }

    /// Whether a row of this form stores the actor and request that caused it.
    pub(crate) fn has_origin(self) -> bool {
        self.table.has_origin && matches!(self.action, FormAction::Insert | FormAction::Put)
    }
}

/// The cells of a change: the whole row, or the key, the changed columns and the cell that must
/// have been there before.
pub(crate) fn cells_of<'c, 'a>(change: &'c RowChange<'a>) -> impl Iterator<Item = &'c Cell<'a>> {
    let (first, changed, was): (&[Cell<'a>], &[(usize, Cell<'a>)], _) = match change {
        RowChange::Insert(cells) | RowChange::Put(cells) => (cells, &[], None),
        RowChange::Update { key, cells, was } => (key, cells, was.as_ref()),
        RowChange::Delete { key } => (key, &[], None),
    };
    first.iter().chain(changed.iter().map(|(_, cell)| cell)).chain(was.map(|(_, cell)| cell))
}

/// The key cells of a change.
pub(crate) fn key_of<'c, 'a>(table: &Table, change: &'c RowChange<'a>) -> impl Iterator<Item = &'c Cell<'a>> {
    cells_of(change).take(table.key_count)
}

fn bit(place: usize) -> u32 {
    assert!(place < COLUMNS_MAX, "a table has more columns than {COLUMNS_MAX}");
    1 << place
}

/// Describes a change that did not hit exactly one row. Texts in keys are left out: they may name a person.
pub(crate) fn contradiction(declared: EntryTable, number: Number, change: &RowChange<'_>) -> String {
    let (row, word, number) = (declared.table.row, declared.kind.word(), number.0);
    let key: Option<Vec<String>> =
        key_of(declared.table, change).map(|cell| if let Cell::Number(number) = cell { Some(number.to_string()) } else { None }).collect();
    let row = key.map_or_else(|| format!("{row} with this key"), |key| format!("{row} {}", key.join("-")));
    match change {
        RowChange::Insert(_) => format!("{row} of {word} {number} is there already, or the {word} is not"),
        RowChange::Put(_) => format!("there is no {word} {number} for its {row}"),
        RowChange::Update { was, .. } => {
            let with = match was {
                Some((place, Cell::Text(text))) => format!(" with the {} {text}", column_at(declared.table, *place).name),
                Some((place, _)) => format!(" with the {} that it must have had", column_at(declared.table, *place).name),
                None => String::new(),
            };
            format!("there is no {row} of {word} {number}{with}")
        }
        RowChange::Delete { .. } => format!("there is no {row} of {word} {number} to delete"),
    }
}

/// An integer as both databases store it: they have no unsigned type.
pub(crate) fn signed(number: u64) -> Result<i64, String> {
    i64::try_from(number).map_err(|_| format!("{number} is more than a column can hold"))
}

/// A time in milliseconds since 1970; it has 48 bits.
pub(crate) fn millis_of(time: Timestamp) -> i64 {
    let Ok(millis) = i64::try_from(time.millis()) else { panic!("a time has more than 48 bits") };
    millis
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn is_plain(name: &str) -> bool {
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
    }

    #[test]
    fn declared_tables_and_columns_have_plain_names_of_their_own() {
        let mut tables = BTreeSet::new();
        for kind in Kind::ALL {
            let settings = kind.settings().iter().map(|field| field.name);
            let columns: Vec<&str> =
                ["number", "id", "partition", "name", "version", "created_at", "changed_at"].into_iter().chain(settings).collect();
            assert_eq!(columns.iter().collect::<BTreeSet<_>>().len(), columns.len(), "{columns:?}");
            assert!(tables.insert(kind.path()) && columns.iter().all(|name| is_plain(name)), "{columns:?}");
        }
        for declared in EntryTable::all() {
            let EntryTable { table, .. } = declared;
            let own = table.columns.iter().map(|column| column.name);
            let columns: Vec<&str> = [declared.owner(), "actor", "request_id", "run", "only_one"].into_iter().chain(own).collect();
            assert_eq!(columns.iter().collect::<BTreeSet<_>>().len(), columns.len(), "{columns:?}");
            assert!(tables.insert(table.name) && is_plain(table.name) && columns.iter().all(|name| is_plain(name)), "{columns:?}");
            assert!(0 < table.key_count && table.key_count <= table.columns.len() && table.columns.len() <= COLUMNS_MAX, "{}", table.name);
            assert!(table.key().iter().all(|column| !column.is_nullable), "{}", table.name);
            assert!(table.found_by.is_none_or(|place| place < table.columns.len()), "{}", table.name);
            if let Some(one_each) = table.one_each {
                assert!(one_each.column.max(one_each.unless.0) < table.columns.len(), "{}", table.name);
                assert!(declared.kind.settings().iter().any(|field| field.name == one_each.setting), "{}", table.name);
            }
        }
    }
}
