//! The only writer: rows and position change in the same transaction.

use std::fmt;
use std::path::{Path, PathBuf};

use domain::rows::{Cell, RowChange, Rows, Table};
use domain::state::Done;
use domain::types::Timestamp;
use domain::wire::Position;
use domain::workload::AnySettings;
use domain::{Change, Kind, Number, Record};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, ToSql, TransactionBehavior, params_from_iter};

use crate::declared::{EntryTable, Form, FormAction, cells_of, contradiction, millis_of, quoted, signed};
use crate::error::{ApplyError, OpenError, is_damage};
use crate::rows::AsOf;
use crate::schema::{self, RUN_RECORDS_LOG2, SCHEMA};

/// Why a history was rebuilt; the text of [`fmt::Display`] is meant for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rebuilt {
    /// There was no file.
    Missing,
    /// The file belonged to another journal.
    OtherJournal,
    /// Another version of the program wrote the file, with this schema number.
    OtherSchema(i64),
    /// The file was damaged; the text says how.
    Damaged(String),
    /// The history held records that the journal does not have.
    Ahead {
        /// The history's last record.
        history: Position,
        /// The journal's last record.
        journal: Position,
    },
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "there was no history"),
            Self::OtherJournal => write!(f, "the history was that of another journal"),
            Self::OtherSchema(found) => write!(f, "the history had tables of another form ({found}, not {})", SCHEMA.number),
            Self::Damaged(what) => write!(f, "the history was damaged: {what}"),
            Self::Ahead { history, journal } => {
                write!(f, "the history held record {}, but the journal ends at record {}", history.0, journal.0)
            }
        }
    }
}

/// The history, open for writing. Only one process at a time: the program holds a lock on the folder.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    journal_id: [u8; 16],
    db: Connection,
    as_of: AsOf,
    rebuilt: Option<Rebuilt>,
}

impl History {
    /// Opens the history of a journal. If the file is missing, damaged, of another journal or another
    /// version, the history is rebuilt from position 0; [`History::rebuilt`] returns the reason.
    ///
    /// # Errors
    /// [`OpenError`]; an I/O error or a lock is no reason to rebuild.
    pub fn open(path: &Path, journal_id: [u8; 16]) -> Result<Self, OpenError> {
        let reason = match Self::resume(path, journal_id)? {
            Ok(history) => return Ok(history),
            Err(reason) => reason,
        };
        schema::remove(path).map_err(|source| OpenError::Remove { path: path.to_owned(), source })?;
        let db = create(path, journal_id).map_err(|error| store_error(path, error))?;
        Ok(Self { path: path.to_owned(), journal_id, db, as_of: AsOf::default(), rebuilt: Some(reason) })
    }

    /// Why the history was rebuilt, if it was.
    #[must_use]
    pub fn rebuilt(&self) -> Option<&Rebuilt> {
        self.rebuilt.as_ref()
    }

    /// The position of the last applied record.
    #[must_use]
    pub fn position(&self) -> Position {
        self.as_of.position
    }

    /// The position of the last applied record, with its effective time.
    #[must_use]
    pub fn as_of(&self) -> AsOf {
        self.as_of
    }

    /// Rebuilds the history if it holds records after `last`, the journal's last one; returns whether it did.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn reset_if_ahead(&mut self, last: Position) -> Result<bool, OpenError> {
        let history = self.as_of.position;
        if history <= last {
            return Ok(false);
        }
        self.begin_anew(Rebuilt::Ahead { history, journal: last })?;
        Ok(true)
    }

    /// Drops all rows and returns to position 0. Readers detect the new file by themselves.
    ///
    /// # Errors
    /// [`OpenError`]; the history must not be used after it.
    pub fn begin_anew(&mut self, reason: Rebuilt) -> Result<(), OpenError> {
        schema::remove(&self.path).map_err(|source| OpenError::Remove { path: self.path.clone(), source })?;
        self.db = create(&self.path, self.journal_id).map_err(|error| store_error(&self.path, error))?;
        self.as_of = AsOf::default();
        self.rebuilt = Some(reason);
        Ok(())
    }

    /// Applies records in order, all or none. Records already applied are skipped, so applying a record twice
    /// is harmless; the first new one must follow [`History::position`].
    ///
    /// # Errors
    /// [`ApplyError`]; rows and position are then unchanged.
    pub fn apply<'r>(&mut self, records: impl IntoIterator<Item = (Position, Record<'r>)>) -> Result<AsOf, ApplyError> {
        let before = self.as_of.position;
        let mut records = records.into_iter().skip_while(|(position, _)| *position <= before).peekable();
        if records.peek().is_none() {
            return Ok(self.as_of);
        }
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let writer = Writer { db: &transaction, entries: Vec::new() };
        let as_of = writer.write_all(self.as_of, records)?;
        transaction.commit()?;
        self.as_of = as_of;
        Ok(as_of)
    }

    fn resume(path: &Path, journal_id: [u8; 16]) -> Result<Result<Self, Rebuilt>, OpenError> {
        if !path.exists() {
            return Ok(Err(Rebuilt::Missing));
        }
        match resume(path, journal_id) {
            Ok(Ok((db, as_of))) => Ok(Ok(Self { path: path.to_owned(), journal_id, db, as_of, rebuilt: None })),
            Ok(Err(reason)) => Ok(Err(reason)),
            Err(error) if is_damage(&error) || has_no_such_table(&error) => Ok(Err(Rebuilt::Damaged(error.to_string()))),
            Err(error) => Err(store_error(path, error)),
        }
    }
}

fn resume(path: &Path, journal_id: [u8; 16]) -> rusqlite::Result<Result<(Connection, AsOf), Rebuilt>> {
    let db = schema::open_writer(path)?;
    let found = schema::number_of(&db)?;
    if found != SCHEMA.number {
        return Ok(Err(Rebuilt::OtherSchema(found)));
    }
    let (journal, as_of) = read_position(&db)?;
    if journal != journal_id {
        return Ok(Err(Rebuilt::OtherJournal));
    }
    Ok(Ok((db, as_of)))
}

fn create(path: &Path, journal_id: [u8; 16]) -> rusqlite::Result<Connection> {
    let mut db = schema::open_writer(path)?;
    schema::create(&mut db, journal_id)?;
    Ok(db)
}

/// The journal that the tables belong to, and the last applied record.
pub(crate) fn read_position(db: &Connection) -> rusqlite::Result<([u8; 16], AsOf)> {
    let mut statement = db.prepare_cached("SELECT journal, applied, effective_at FROM position WHERE only = 1")?;
    statement.query_row([], |row| {
        let time = time_of(row.get(2)?).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, row.get(2)?))?;
        let position = u64::try_from(row.get::<_, i64>(1)?).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(1, 0))?;
        Ok((row.get(0)?, AsOf { position: Position(position), time }))
    })
}

/// `None` for a value that is not a valid time.
pub(crate) fn time_of(millis: i64) -> Option<Timestamp> {
    u64::try_from(millis).ok().and_then(Timestamp::from_millis)
}

fn run_of(position: Position) -> i64 {
    // Shifted right by at least one bit, any position fits an `i64`.
    (position.0 >> RUN_RECORDS_LOG2).cast_signed()
}

/// A file with this version's schema number but other tables.
fn has_no_such_table(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::Unknown)
}

fn store_error(path: &Path, error: rusqlite::Error) -> OpenError {
    OpenError::Store { path: path.to_owned(), source: error.into() }
}

/// The statements of one transaction. Plain inserts, and changes of exactly one row: anything else is a conflict.
struct Writer<'db> {
    db: &'db Connection,
    /// The statements that change entries, each prepared when first needed.
    entries: Vec<(Form, CachedStatement<'db>)>,
}

/// The record that is being written.
struct Place<'r> {
    position: Position,
    record: &'r Record<'r>,
}

impl<'db> Writer<'db> {
    fn write_all<'r>(mut self, before: AsOf, records: impl Iterator<Item = (Position, Record<'r>)>) -> Result<AsOf, ApplyError> {
        let mut as_of = before;
        for (position, record) in records {
            let expected = Position(as_of.position.0.saturating_add(1));
            if position != expected {
                return Err(ApplyError::Gap { expected, found: position });
            }
            self.write(&Place { position, record: &record })?;
            as_of = AsOf { position, time: record.at };
        }
        let applied = i64::try_from(as_of.position.0).map_err(|error| ApplyError::Store(error.into()))?;
        let mut statement = self.db.prepare_cached("UPDATE position SET applied = ?1, effective_at = ?2 WHERE only = 1")?;
        statement.execute((applied, millis_of(as_of.time)))?;
        Ok(as_of)
    }

    fn write(&mut self, place: &Place<'_>) -> Result<(), ApplyError> {
        match &place.record.change {
            Change::Created { number, name, settings } => self.create(place, *number, name.as_str(), settings),
            Change::Changed { number, settings } => self.change(place, *number, settings),
            Change::Removed { number } => self.remove(place, *number),
            Change::Did(done) => self.write_entries(place, done),
            Change::DidBoth(first, second) => {
                self.write_entries(place, first)?;
                self.write_entries(place, second)
            }
            // No table holds request keys, and each row has the time at which it was decided.
            Change::RequestsForgotten { .. } | Change::TimeSet { .. } => Ok(()),
        }
    }

    fn create(&mut self, place: &Place<'_>, number: Number, name: &str, settings: &AnySettings) -> Result<(), ApplyError> {
        let kind = settings.kind();
        let columns: String = settings.values().iter().map(|(field, _)| format!(", {}", quoted(field.name))).collect();
        let values: String = (4..).take(settings.values().len()).map(|place| format!(", ?{place}")).collect();
        let table = quoted(kind.path());
        let sql =
            format!("INSERT INTO {table} (number, name, version, created_at, changed_at{columns}) VALUES (?1, ?2, 1, ?3, ?3{values})");
        let what = || format!("there is a {} {}, or one named {name}, already", kind.word(), number.0);
        self.write_aggregate(place, &sql, &[&number.0, &name, &millis_of(place.record.at)], settings, what)
    }

    fn change(&mut self, place: &Place<'_>, number: Number, settings: &AnySettings) -> Result<(), ApplyError> {
        let kind = settings.kind();
        let values = settings.values();
        let columns: String = (3..).zip(&values).map(|(place, (field, _))| format!(", {} = ?{place}", quoted(field.name))).collect();
        let sql = format!("UPDATE {} SET version = version + 1, changed_at = ?2{columns} WHERE number = ?1", quoted(kind.path()));
        let what = || format!("there is no {} {} to change", kind.word(), number.0);
        self.write_aggregate(place, &sql, &[&number.0, &millis_of(place.record.at)], settings, what)
    }

    fn write_aggregate(
        &mut self,
        place: &Place<'_>,
        sql: &str,
        first: &[&dyn ToSql],
        settings: &AnySettings,
        what: impl FnOnce() -> String,
    ) -> Result<(), ApplyError> {
        let values: Result<Vec<Sql<'_>>, String> = settings.values().iter().map(|(_, value)| cell_of((*value).into())).collect();
        let values = values.map_err(|what| ApplyError::Conflict { position: place.position, what })?;
        let parameters = first.iter().copied().chain(values.iter().map(|value| value as &dyn ToSql));
        let written = self.db.prepare_cached(sql)?.execute(params_from_iter(parameters));
        exactly_one(place, written, what)
    }

    /// The record does not name the aggregate's kind, so each kind's table is tried; only one has its number.
    fn remove(&mut self, place: &Place<'_>, number: Number) -> Result<(), ApplyError> {
        let mut removed_count = 0;
        for kind in Kind::ALL.iter().filter(|kind| kind.is_removable()) {
            let sql = format!("DELETE FROM {} WHERE number = ?1", quoted(kind.path()));
            removed_count += self.db.prepare_cached(&sql)?.execute([number.0])?;
        }
        exactly_one(place, Ok(removed_count), || format!("there is no aggregate {} to remove", number.0))
    }

    fn write_entries(&mut self, place: &Place<'_>, done: &Done<'_>) -> Result<(), ApplyError> {
        let mut changes = EntryChanges { writer: self, place, number: done.number, outcome: Ok(()) };
        done.event.rows(place.record.at, &mut changes);
        changes.outcome
    }

    fn change_entry(&mut self, place: &Place<'_>, number: Number, table: &'static Table, change: &RowChange<'_>) -> Result<(), ApplyError> {
        let form = Form::of(table, change);
        let statement = self.statement(form)?;
        statement.raw_bind_parameter(1, number.0)?;
        let mut next = 2..;
        let mut bind = |value: Sql<'_>| next.next().map_or(Ok(()), |place: usize| statement.raw_bind_parameter(place, value));
        for cell in cells_of(change) {
            bind(cell_of(*cell).map_err(|what| ApplyError::Conflict { position: place.position, what })?)?;
        }
        if form.has_origin() {
            bind(Sql::Text(place.record.actor.as_str()))?;
            bind(Sql::Text(place.record.request_id.as_str()))?;
        }
        if has_run(form) {
            bind(Sql::Number(run_of(place.position)))?;
        }
        let written = statement.raw_execute();
        exactly_one(place, written, || contradiction(EntryTable::of(table), number, change))
    }

    fn statement(&mut self, form: Form) -> rusqlite::Result<&mut CachedStatement<'db>> {
        let known = self.entries.iter().position(|(known, _)| *known == form);
        let place = match known {
            Some(place) => place,
            None => {
                self.entries.push((form, self.db.prepare_cached(&sql_of(form))?));
                self.entries.len() - 1
            }
        };
        let Some((_, statement)) = self.entries.get_mut(place) else { panic!("a statement that was just prepared is gone") };
        Ok(statement)
    }
}

/// Writes the row changes of an event; stops at the first conflict.
struct EntryChanges<'w, 'db, 'p> {
    writer: &'w mut Writer<'db>,
    place: &'p Place<'p>,
    number: Number,
    outcome: Result<(), ApplyError>,
}

impl Rows for EntryChanges<'_, '_, '_> {
    fn change(&mut self, table: &'static Table, change: RowChange<'_>) {
        if self.outcome.is_ok() {
            self.outcome = self.writer.change_entry(self.place, self.number, table, &change);
        }
    }
}

/// The SQL of a form: parameters are the aggregate's number, the cells in the order of
/// [`cells_of`], then origin and run.
fn sql_of(form: Form) -> String {
    let declared = EntryTable::of(form.table);
    let (table, owner) = (quoted(form.table.name), quoted(declared.owner()));
    let columns: Vec<(String, usize)> = form.columns().map(|column| quoted(column.name)).zip(2..).collect();
    let (key, others) = columns.split_at(form.table.key_count);
    let key: String = key.iter().map(|(column, place)| format!(" AND {column} = ?{place}")).collect();
    let is_it = format!("{owner} = ?1{key}");
    match form.action {
        FormAction::Insert | FormAction::Put => {
            let mut columns: Vec<String> = std::iter::once(owner).chain(columns.into_iter().map(|(column, _)| column)).collect();
            columns.extend(form.has_origin().then_some(["actor", "request_id"]).into_iter().flatten().map(quoted));
            columns.extend(has_run(form).then(|| quoted("run")));
            let values: Vec<String> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
            let insert = format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), values.join(", "));
            if form.action == FormAction::Insert {
                return insert;
            }
            let replaced: Vec<String> = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect();
            format!("{insert} ON CONFLICT ({}) DO UPDATE SET {}", declared.order().join(", "), replaced.join(", "))
        }
        FormAction::Update { was, .. } => {
            let (changed, was) = others.split_at(others.len() - usize::from(was.is_some()));
            let changed: Vec<String> = changed.iter().map(|(column, place)| format!("{column} = ?{place}")).collect();
            // IS treats two NULLs as equal.
            let was: String = was.iter().map(|(column, place)| format!(" AND {column} IS ?{place}")).collect();
            format!("UPDATE {table} SET {} WHERE {is_it}{was}", changed.join(", "))
        }
        FormAction::Delete => format!("DELETE FROM {table} WHERE {is_it}"),
    }
}

fn has_run(form: Form) -> bool {
    form.table.found_by.is_some() && matches!(form.action, FormAction::Insert | FormAction::Put)
}

/// A cell or column value as an SQLite parameter.
#[derive(Clone, Copy)]
enum Sql<'a> {
    Null,
    Number(i64),
    Text(&'a str),
}

impl ToSql for Sql<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Number(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn cell_of(cell: Cell<'_>) -> Result<Sql<'_>, String> {
    Ok(match cell {
        Cell::Null => Sql::Null,
        Cell::Number(number) => Sql::Number(signed(number)?),
        Cell::Text(text) => Sql::Text(text),
        Cell::Time(time) => Sql::Number(millis_of(time)),
        Cell::Bool(value) => Sql::Number(i64::from(value)),
    })
}

/// Maps a change that the database refuses, or that hits another number of rows than one, to a conflict.
fn exactly_one(place: &Place<'_>, written: rusqlite::Result<usize>, what: impl FnOnce() -> String) -> Result<(), ApplyError> {
    let rows_count = match written {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => 0,
        written => written?,
    };
    if rows_count == 1 { Ok(()) } else { Err(ApplyError::Conflict { position: place.position, what: what() }) }
}

#[cfg(test)]
mod tests {
    use domain::Listed;
    use domain::coupon::{Coupon, Event, Settings};
    use domain::types::{ActorId, Name, Quantity, RequestId, Serial, SubjectId};

    use super::*;

    fn record(change: Change<'_>) -> Record<'_> {
        Record { at: Timestamp::ZERO, actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, change }
    }

    #[test]
    fn a_full_disk_loses_nothing_and_the_same_records_go_in_once_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History::open(&folder.path().join("history.sqlite"), [1; 16]).unwrap();
        let (number, name) = (Number(0), Name::new("spring").unwrap());
        let settings = Coupon::any_settings(Settings::plain(Quantity::MAX));
        history.apply([(Position(1), record(Change::Created { number, name, settings }))]).unwrap();

        let subjects: Vec<String> = (0..20_000).map(|user| format!("user-{user}")).collect();
        let claims = subjects.iter().zip(1..).map(|(subject, serial)| {
            let (serial, subject) = (Serial::new(serial).unwrap(), SubjectId::new(subject).unwrap());
            let event = Coupon::any_event(Event::Claimed { serial, subject });
            (Position(u64::from(serial.get()) + 1), record(Change::Did(Done { number, event })))
        });
        history.db.pragma_update(None, "max_page_count", 40).unwrap();
        assert!(matches!(history.apply(claims.clone()), Err(ApplyError::Full)));
        assert_eq!(history.position(), Position(1));
        assert_eq!(read_position(&history.db).unwrap().1.position, Position(1));
        history.db.pragma_update(None, "max_page_count", 1_000_000).unwrap();
        assert_eq!(history.apply(claims).unwrap().position, Position(20_001));
    }
}
