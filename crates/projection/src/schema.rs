//! SQLite's tables, made from the workloads' declarations. Times are milliseconds since 1970, a
//! missing value is NULL.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use domain::Kind;
use domain::fields::{Field, FieldKind};
use domain::hash::HashSeed;
use domain::rows::ColumnKind;
use rusqlite::{Connection, OpenFlags};

use crate::declared::{EntryTable, quoted};

/// Pages of the write-ahead log that trigger a checkpoint: fewer syncs than the default, at most 16 MiB to copy.
const CHECKPOINT_PAGES: u32 = 4_000;
/// The writer's page cache, in KiB: writes to the lookup indices are scattered.
const WRITER_CACHE_KIB: u32 = 64 << 10;
/// Time limit for a lock; only a checkpoint by another program can hold one.
const BUSY_MS: u64 = 5_000;
/// Size of the prepared-statement cache: a few statements for each table.
const STATEMENTS_MAX: usize = 128;

/// The number of records in a run, as a power of two. Lookup values arrive in no order, so with one index
/// over all rows nearly every row would dirty a page of its own. The index is therefore split into runs of
/// consecutive records: inserts go to the last run, which is small, and a lookup searches every run.
pub(crate) const RUN_RECORDS_LOG2: u32 = 16;

const POSITION: &str = "CREATE TABLE position (
    only         INTEGER PRIMARY KEY CHECK (only = 1),
    journal      BLOB    NOT NULL,
    applied      INTEGER NOT NULL,
    effective_at INTEGER NOT NULL
);\n";

/// All tables, and the number that identifies this set of tables. There are no migrations: the tables are
/// rebuilt from the journal instead.
pub(crate) struct Schema {
    pub(crate) tables: String,
    /// Stored as the file's `user_version`, from 1 to 2^31 - 1; 0 means a file without tables.
    pub(crate) number: i64,
}

pub(crate) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let aggregates = Kind::ALL.iter().map(|kind| aggregates_table(*kind));
    let tables: String = std::iter::once(POSITION.to_owned()).chain(aggregates).chain(EntryTable::all().map(entries_table)).collect();
    let hash = HashSeed(0, 0).hash(tables.as_bytes());
    Schema { number: i64::from((hash >> 33) as u32).max(1), tables }
});

fn aggregates_table(kind: Kind) -> String {
    let settings: String =
        kind.settings().iter().map(|field| format!("{},\n    ", column(field.name, field_type(field), field.is_nullable))).collect();
    format!(
        "CREATE TABLE {} (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    {settings}version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
);\n",
        quoted(kind.path())
    )
}

/// Entries of a removed aggregate are deleted with it.
fn entries_table(declared: EntryTable) -> String {
    let EntryTable { kind, table } = declared;
    let removal = if kind.is_removable() { " ON DELETE CASCADE" } else { "" };
    let mut columns = vec![format!("{} INTEGER NOT NULL REFERENCES {} (number){removal}", quoted(declared.owner()), quoted(kind.path()))];
    columns.extend(table.columns.iter().map(|it| column(it.name, column_type(it.kind), it.is_nullable)));
    if table.has_origin {
        columns.extend(["actor", "request_id"].map(|name| column(name, "TEXT", false)));
    }
    if table.found_by.is_some() {
        columns.push(column("run", "INTEGER", false));
    }
    let order = declared.order().join(", ");
    columns.push(format!("PRIMARY KEY ({order})"));
    let index = declared.found_by().map_or_else(String::new, |(index, found_by)| {
        format!("CREATE INDEX {} ON {} (run, {}, {order});\n", quoted(&index), quoted(table.name), quoted(found_by))
    });
    format!("CREATE TABLE {} (\n    {}\n) WITHOUT ROWID;\n{index}", quoted(table.name), columns.join(",\n    "))
}

fn column(name: &str, sql_type: &str, is_nullable: bool) -> String {
    format!("{} {sql_type}{}", quoted(name), if is_nullable { "" } else { " NOT NULL" })
}

fn field_type(field: &Field) -> &'static str {
    match field.kind {
        FieldKind::Bool | FieldKind::Number(..) | FieldKind::Time => "INTEGER",
        FieldKind::Word(_) => "TEXT",
    }
}

fn column_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Number | ColumnKind::Time | ColumnKind::Bool => "INTEGER",
        ColumnKind::Text => "TEXT",
    }
}

/// Opens the file for the one writer, creating it if needed.
pub(crate) fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    // In this order: the first statement fails if the file is not a database at all.
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "mmap_size", 0)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    db.pragma_update(None, "cache_size", -i64::from(WRITER_CACHE_KIB))?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(db)
}

/// Opens the existing file for reading.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    db.pragma_update(None, "mmap_size", 0)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(db)
}

/// The schema number of the file; 0 if it has no tables.
pub(crate) fn number_of(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Creates the tables, at position 0, in one transaction.
pub(crate) fn create(db: &mut Connection, journal_id: [u8; 16]) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    transaction.execute_batch(&SCHEMA.tables)?;
    transaction.execute("INSERT INTO position (only, journal, applied, effective_at) VALUES (1, ?1, 0, 0)", [journal_id])?;
    transaction.pragma_update(None, "user_version", SCHEMA.number)?;
    transaction.commit()
}

/// Removes the file and SQLite's files beside it.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    // The database file first: after a crash in between, a database without its write-ahead log could be
    // taken for complete, while SQLite drops a log without its database.
    for path in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
