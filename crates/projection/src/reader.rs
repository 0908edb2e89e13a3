//! Concurrent readers beside the one writer. Every call blocks; async callers use a blocking thread. A reader
//! sees the tables as of one position, whatever is written meanwhile.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::fields::{Field, FieldKind, Value};
use domain::rows::{COLUMNS_MAX, Cell, Column, ColumnKind, Table};
use domain::types::{Name, Timestamp};
use domain::wire::Position;
use domain::{Kind, Number};
use rusqlite::types::{Type, Value as SqlValue};
use rusqlite::{Connection, ErrorCode, Params, Row, Transaction, params_from_iter};

use crate::clock::TimeLimit;
use crate::declared::{EntryTable, column_at, millis_of, quoted, signed};
use crate::error::{ReadError, is_damage};
use crate::history::{read_position, time_of};
use crate::rows::{AggregateRow, AsOf, BareEntry, Entry, EntryKey, EntryPage, EntryRow, Selection, one_more};
use crate::schema::{self, RUN_RECORDS_LOG2, SCHEMA};

/// Time limit of one call: while it reads, the write-ahead log cannot be truncated.
pub const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// SQLite instructions between two checks of the time limit.
const STEPS_PER_LOOK: i32 = 10_000;
/// The columns of an aggregate's table before its settings.
const HEAD_COLUMNS: usize = 5;

/// A reader with a connection of its own. A caller keeps a few of them.
#[derive(Debug)]
pub struct HistoryReader {
    path: PathBuf,
    db: Connection,
    file: FileIdentity,
    time_max: Duration,
}

/// Distinguishes a file from another one that has replaced it under the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FileIdentity {
    device: u64,
    inode: u64,
}

impl HistoryReader {
    /// Opens the history for reading.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = identity_of(path)?;
        let db = schema::open_reader(path).map_err(other_error)?;
        let found = schema::number_of(&db).map_err(other_error)?;
        if found != SCHEMA.number {
            return Err(ReadError::OtherSchema { found, wanted: SCHEMA.number });
        }
        Ok(Self { path: path.to_owned(), db, file, time_max: READ_TIME_MAX })
    }

    /// Sets another time limit than [`READ_TIME_MAX`] for each call or view: an export takes longer than a page.
    #[must_use]
    pub fn with_time_max(mut self, time_max: Duration) -> Self {
        self.time_max = time_max;
        self
    }

    /// A view of the tables as of now, for several reads that rest on the same position.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn view(&mut self) -> Result<HistoryView<'_>, ReadError> {
        if identity_of(&self.path)? != self.file {
            // The history was rebuilt: the file is another one.
            *self = Self::open(&self.path)?.with_time_max(self.time_max);
        }
        let time_max = self.time_max;
        let limit = TimeLimit::from_now(time_max);
        self.db.progress_handler(STEPS_PER_LOOK, Some(move || limit.has_passed())).map_err(other_error)?;
        let transaction = self.db.transaction().map_err(other_error)?;
        let (journal_id, as_of) = read_position(&transaction).map_err(other_error)?;
        Ok(HistoryView { transaction, journal_id, as_of, time_max })
    }

    /// The position of the last applied record.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn position(&mut self) -> Result<Position, ReadError> {
        Ok(self.view()?.as_of.position)
    }

    /// All aggregates of a kind in the order of creation, and what the list rests on.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn aggregates(&mut self, kind: Kind) -> Result<(Vec<AggregateRow>, AsOf), ReadError> {
        let view = self.view()?;
        Ok((view.aggregates(kind)?, view.as_of))
    }

    /// At most `limit` entries of an aggregate, ordered by key; none if there is no such aggregate.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entries(&mut self, table: &'static Table, name: Name<'_>, selection: Selection<'_>, limit: u32) -> Result<EntryPage, ReadError> {
        self.view()?.entries(table, name, selection, limit)
    }

    /// At most `limit` entries with `by` in the lookup column ([`Table::found_by`]), over all aggregates
    /// whose names begin with `prefix`, starting after `after`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entries_found(
        &mut self,
        table: &'static Table,
        by: &str,
        prefix: &str,
        after: Option<&EntryKey>,
        limit: u32,
    ) -> Result<EntryPage, ReadError> {
        self.view()?.entries_found(table, by, prefix, after, limit)
    }

    /// Passes entries of an aggregate to `take`, ordered by key, until it breaks; returns what they rest on.
    ///
    /// # Errors
    /// [`ReadError`]; `take` may have seen some entries by then.
    pub fn for_each_entry(
        &mut self,
        table: &'static Table,
        name: Name<'_>,
        selection: Selection<'_>,
        take: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<AsOf, ReadError> {
        let view = self.view()?;
        view.for_each_entry(table, name, selection, take)?;
        Ok(view.as_of)
    }
}

/// The tables as of one position.
#[derive(Debug)]
pub struct HistoryView<'r> {
    transaction: Transaction<'r>,
    journal_id: [u8; 16],
    as_of: AsOf,
    time_max: Duration,
}

impl HistoryView<'_> {
    /// What all reads of this view rest on.
    #[must_use]
    pub fn as_of(&self) -> AsOf {
        self.as_of
    }

    /// The journal that the history belongs to.
    #[must_use]
    pub fn journal_id(&self) -> [u8; 16] {
        self.journal_id
    }

    /// All aggregates of a kind in the order of creation.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn aggregates(&self, kind: Kind) -> Result<Vec<AggregateRow>, ReadError> {
        let sql = format!("SELECT {} FROM {table} ORDER BY number", aggregate_columns(kind), table = quoted(kind.path()));
        let mut rows = Vec::new();
        self.for_each_row(&sql, [], |row| {
            rows.push(aggregate_row(row, kind, 0)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// The aggregate of this kind and name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn aggregate(&self, kind: Kind, name: Name<'_>) -> Result<Option<AggregateRow>, ReadError> {
        let sql = format!("SELECT {} FROM {table} WHERE name = ?1", aggregate_columns(kind), table = quoted(kind.path()));
        let mut found = None;
        self.for_each_row(&sql, [name.as_str()], |row| {
            found = Some(aggregate_row(row, kind, 0)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// See [`HistoryReader::entries`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entries(&self, table: &'static Table, name: Name<'_>, selection: Selection<'_>, limit: u32) -> Result<EntryPage, ReadError> {
        let mut rows = Vec::new();
        self.select(table, name, selection, Some(one_more(limit)), |entry| {
            rows.push(entry.to_row());
            ControlFlow::Continue(())
        })?;
        Ok(EntryPage::cut(rows, limit, table.key_count, self.as_of))
    }

    /// See [`HistoryReader::entries_found`].
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// # Panics
    /// If the table has no lookup column.
    pub fn entries_found(
        &self,
        table: &'static Table,
        by: &str,
        prefix: &str,
        after: Option<&EntryKey>,
        limit: u32,
    ) -> Result<EntryPage, ReadError> {
        let declared = EntryTable::of(table);
        let (sql, columns_count) = found_sql(declared, after.is_some());
        let mut parameters = vec![SqlValue::from(by.to_owned()), SqlValue::from(prefix.to_owned()), SqlValue::from(one_more(limit))];
        if let Some(after) = after {
            parameters.push(SqlValue::from(after.number.0));
            for cell in &after.key {
                parameters.push(parameter_of(cell.cell())?);
            }
        }
        let (mut rows, mut last) = (Vec::<EntryRow>::new(), None::<Arc<AggregateRow>>);
        self.for_each_row(&sql, params_from_iter(parameters), |row| {
            // Consecutive rows share their aggregate.
            let number = number_at(row, columns_count)?;
            let aggregate = match last.take().filter(|last| last.number == number) {
                Some(last) => last,
                None => Arc::new(aggregate_row(row, declared.kind, columns_count)?),
            };
            rows.push(with_cells(row, 0, table, |cells| Entry { aggregate: &aggregate, cells }.to_row())?);
            last = Some(aggregate);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(EntryPage::cut(rows, limit, table.key_count, self.as_of))
    }

    /// See [`HistoryReader::for_each_entry`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn for_each_entry(
        &self,
        table: &'static Table,
        name: Name<'_>,
        selection: Selection<'_>,
        take: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.select(table, name, selection, None, take)
    }

    /// Passes every row of a table of entries to `take`, ordered by the aggregate's number and the key, until
    /// it breaks; includes rows whose aggregate's row is missing.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn for_each_bare_entry(
        &self,
        table: &'static Table,
        mut take: impl FnMut(BareEntry<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let declared = EntryTable::of(table);
        let mut columns = declared.columns();
        let owner_place = columns.len();
        columns.push(quoted(declared.owner()));
        columns.extend(table.has_origin.then_some(["actor", "request_id"]).into_iter().flatten().map(quoted));
        let sql = format!("SELECT {} FROM {} ORDER BY {}", columns.join(", "), quoted(table.name), declared.order().join(", "));
        self.for_each_row(&sql, [], |row| {
            let number = number_at(row, owner_place)?;
            let text = |place: usize| Ok::<_, rusqlite::Error>(row.get_ref(place)?.as_str()?);
            let origin = if table.has_origin { Some((text(owner_place + 1)?, text(owner_place + 2)?)) } else { None };
            with_cells(row, 0, table, |cells| take(BareEntry { number, cells, origin }))
        })
    }

    fn select(
        &self,
        table: &'static Table,
        name: Name<'_>,
        selection: Selection<'_>,
        limit: Option<i64>,
        mut take: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let declared = EntryTable::of(table);
        let Some(aggregate) = self.aggregate(declared.kind, name)? else { return Ok(()) };
        let aggregate = Arc::new(aggregate);
        let mut parameters = vec![SqlValue::from(aggregate.number.0)];
        let mut conditions = vec![format!("{} = ?1", quoted(declared.owner()))];
        let (_, key) = split_order(declared);
        if let Some(after) = selection.after {
            conditions.push(format!("({}) > ({})", key.join(", "), numbered(parameters.len() + 1, after.len())));
            for cell in after {
                parameters.push(parameter_of(cell.cell())?);
            }
        }
        if let Some((place, text)) = selection.having {
            parameters.push(SqlValue::from(text.to_owned()));
            conditions.push(format!("{} = ?{}", quoted(column_at(table, place).name), parameters.len()));
        }
        let limit = limit.map_or_else(String::new, |limit| {
            parameters.push(SqlValue::from(limit));
            format!(" LIMIT ?{}", parameters.len())
        });
        let (columns, from) = (declared.columns().join(", "), quoted(table.name));
        let sql = format!("SELECT {columns} FROM {from} WHERE {} ORDER BY {}{limit}", conditions.join(" AND "), key.join(", "));
        self.for_each_row(&sql, params_from_iter(parameters), |row| {
            with_cells(row, 0, table, |cells| take(Entry { aggregate: &aggregate, cells }))
        })
    }

    fn for_each_row(
        &self,
        sql: &str,
        parameters: impl Params,
        mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<ControlFlow<()>>,
    ) -> Result<(), ReadError> {
        let read = || {
            let mut statement = self.transaction.prepare_cached(sql)?;
            let mut rows = statement.query(parameters)?;
            while let Some(row) = rows.next()? {
                if take(row)?.is_break() {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|error| read_error(error, self.time_max))
    }
}

/// Searches every run for rows with `?1` in the lookup column, of aggregates whose names begin with `?2`, at
/// most `?3`, after the key that starts at `?4`. Also returns how many columns precede the aggregate's.
fn found_sql(declared: EntryTable, has_after: bool) -> (String, usize) {
    let EntryTable { kind, table } = declared;
    let Some((index, found_by)) = declared.found_by() else { panic!("rows of {} are found by nothing", table.name) };
    let (entries, aggregates) = (quoted(table.name), quoted(kind.path()));
    let columns: Vec<String> = declared.columns().iter().map(|column| format!("{entries}.{column}")).collect();
    let order: Vec<String> = declared.order().iter().map(|column| format!("{entries}.{column}")).collect();
    let order_text = order.join(", ");
    let after = if has_after { format!(" AND ({order_text}) > ({})", numbered(4, order.len())) } else { String::new() };
    let owner = quoted(declared.owner());
    let sql = format!(
        "WITH RECURSIVE runs (run) AS (
             SELECT 0 UNION ALL SELECT run + 1 FROM runs WHERE run < (SELECT applied >> {RUN_RECORDS_LOG2} FROM position)
         )
         SELECT {}, {}
         FROM runs CROSS JOIN {entries} INDEXED BY {} ON {entries}.run = runs.run
                   CROSS JOIN {aggregates} ON {aggregates}.number = {entries}.{owner}
         WHERE {entries}.{} = ?1 AND substr({aggregates}.name, 1, length(?2)) = ?2{after}
         ORDER BY {order_text} LIMIT ?3",
        columns.join(", "),
        aggregate_columns(kind),
        quoted(&index),
        quoted(found_by),
    );
    (sql, columns.len())
}

/// The column of the aggregate's number, and the columns of the key.
fn split_order(declared: EntryTable) -> (String, Vec<String>) {
    let mut order = declared.order();
    let key = order.split_off(1);
    (order.concat(), key)
}

fn numbered(first: usize, count: usize) -> String {
    let places: Vec<String> = (first..).take(count).map(|place| format!("?{place}")).collect();
    places.join(", ")
}

/// Number, name, version and times, then the settings in the order of their declaration.
fn aggregate_columns(kind: Kind) -> String {
    let table = quoted(kind.path());
    let head = ["number", "name", "version", "created_at", "changed_at"];
    let columns = head.into_iter().chain(kind.settings().iter().map(|field| field.name));
    let columns: Vec<String> = columns.map(|column| format!("{table}.{}", quoted(column))).collect();
    columns.join(", ")
}

fn aggregate_row(row: &Row<'_>, kind: Kind, first: usize) -> rusqlite::Result<AggregateRow> {
    let mut settings = kind.least();
    for (place, field) in (first + HEAD_COLUMNS..).zip(kind.settings()) {
        let value = field_at(row, place, field)?;
        let set = settings.set(field.name, value);
        set.map_err(|error| damage(place, format!("{} {} {error}, and is {value:?}", kind.path(), field.name)))?;
    }
    let version: i64 = row.get(first + 2)?;
    Ok(AggregateRow {
        number: number_at(row, first)?,
        name: row.get_ref(first + 1)?.as_str()?.into(),
        settings,
        version: u64::try_from(version).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(first + 2, version))?,
        created_at: time_at(row, first + 3)?,
        changed_at: time_at(row, first + 4)?,
    })
}

fn field_at(row: &Row<'_>, place: usize, field: &Field) -> rusqlite::Result<Value> {
    if row.get_ref(place)? == rusqlite::types::ValueRef::Null {
        return Ok(Value::Null);
    }
    Ok(match field.kind {
        FieldKind::Bool => Value::Bool(row.get(place)?),
        FieldKind::Number(..) => Value::Number(unsigned_at(row, place)?),
        FieldKind::Time => Value::Time(time_at(row, place)?),
        FieldKind::Word(_) => {
            let text = row.get_ref(place)?.as_str()?;
            Value::Word(field.word(text).ok_or_else(|| damage(place, format!("{} {}, and is {text:?}", field.name, field.kind)))?)
        }
    })
}

/// Calls `work` with the cells of a row, starting at column `first`.
fn with_cells<T>(row: &Row<'_>, first: usize, table: &Table, work: impl FnOnce(&[Cell<'_>]) -> T) -> rusqlite::Result<T> {
    let mut cells = [Cell::Null; COLUMNS_MAX];
    for ((cell, column), place) in cells.iter_mut().zip(table.columns).zip(first..) {
        *cell = cell_at(row, place, column)?;
    }
    let (cells, _) = cells.split_at(table.columns.len());
    Ok(work(cells))
}

fn cell_at<'r>(row: &'r Row<'_>, place: usize, column: &Column) -> rusqlite::Result<Cell<'r>> {
    let value = row.get_ref(place)?;
    if value == rusqlite::types::ValueRef::Null && column.is_nullable {
        return Ok(Cell::Null);
    }
    Ok(match column.kind {
        ColumnKind::Number => Cell::Number(unsigned_at(row, place)?),
        ColumnKind::Text => Cell::Text(value.as_str()?),
        ColumnKind::Time => Cell::Time(time_at(row, place)?),
        ColumnKind::Bool => Cell::Bool(row.get(place)?),
    })
}

/// A cell as an SQLite parameter.
fn parameter_of(cell: Cell<'_>) -> Result<SqlValue, ReadError> {
    Ok(match cell {
        Cell::Null => SqlValue::Null,
        Cell::Number(number) => SqlValue::from(signed(number).map_err(|what| ReadError::Store(what.into()))?),
        Cell::Text(text) => SqlValue::from(text.to_owned()),
        Cell::Time(time) => SqlValue::from(millis_of(time)),
        Cell::Bool(value) => SqlValue::from(value),
    })
}

fn number_at(row: &Row<'_>, place: usize) -> rusqlite::Result<Number> {
    Ok(Number(row.get(place)?))
}

fn unsigned_at(row: &Row<'_>, place: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(place)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(place, number))
}

fn time_at(row: &Row<'_>, place: usize) -> rusqlite::Result<Timestamp> {
    let millis = row.get(place)?;
    time_of(millis).ok_or(rusqlite::Error::IntegralValueOutOfRange(place, millis))
}

fn damage(place: usize, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(place, Type::Text, what.into())
}

fn identity_of(path: &Path) -> Result<FileIdentity, ReadError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(FileIdentity { device: metadata.dev(), inode: metadata.ino() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ReadError::Missing(path.to_owned())),
        Err(error) => Err(ReadError::Store(error.into())),
    }
}

fn read_error(error: rusqlite::Error, time_max: Duration) -> ReadError {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => ReadError::TooSlow(time_max.as_millis()),
        _ => other_error(error),
    }
}

fn other_error(error: rusqlite::Error) -> ReadError {
    if is_damage(&error) { ReadError::Damaged(error.to_string()) } else { ReadError::Store(error.into()) }
}
