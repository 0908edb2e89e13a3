//! The tables. Times are milliseconds since 1970, a missing one is NULL.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

/// The version of these tables. There are no migrations: the record gives other tables as well.
pub(crate) const SCHEMA: i64 = 2;

/// Pages of the write-ahead log after which it is copied back: fewer syncs than the default, at
/// most 16 MiB to copy.
const CHECKPOINT_PAGES: u32 = 4_000;
/// Memory for pages of the writer, in KiB: the index by subject is written all over.
const WRITER_CACHE_KIB: u32 = 64 << 10;
/// How long to wait for a lock; only a checkpoint by another program can hold one.
const BUSY_MS: u64 = 5_000;

/// Records of one run, as a power of two. Subjects come in no order, so that one index over all
/// claims would have a page written for nearly each claim. The index is therefore kept in runs of
/// records that follow each other: what is added goes to the last run, which is small, and who
/// looks for a subject asks every run.
pub(crate) const RUN_RECORDS_LOG2: u32 = 16;

const TABLES: &str = "
    CREATE TABLE position (
        only         INTEGER PRIMARY KEY CHECK (only = 1),
        journal      BLOB    NOT NULL,
        applied      INTEGER NOT NULL,
        effective_at INTEGER NOT NULL
    );
    CREATE TABLE campaigns (
        number          INTEGER PRIMARY KEY,
        name            TEXT    NOT NULL UNIQUE,
        stock           INTEGER NOT NULL,
        per_subject_max INTEGER NOT NULL,
        opens_at        INTEGER,
        closes_at       INTEGER,
        redeem_until    INTEGER,
        paused          INTEGER NOT NULL,
        mode            TEXT    NOT NULL,
        decisions_per_second_max INTEGER,
        queue_max       INTEGER NOT NULL,
        version         INTEGER NOT NULL,
        code_key        INTEGER NOT NULL,
        created_at      INTEGER NOT NULL,
        changed_at      INTEGER NOT NULL
    );
    CREATE TABLE claims (
        campaign   INTEGER NOT NULL REFERENCES campaigns (number),
        serial     INTEGER NOT NULL,
        subject    TEXT    NOT NULL,
        claimed_at INTEGER NOT NULL,
        status     TEXT    NOT NULL,
        changed_at INTEGER,
        actor      TEXT    NOT NULL,
        request_id TEXT    NOT NULL,
        run        INTEGER NOT NULL,
        PRIMARY KEY (campaign, serial)
    ) WITHOUT ROWID;
    CREATE INDEX claims_by_subject ON claims (run, subject, campaign, serial);
";

/// Opens the file for the one writer, making it if it is not there.
pub(crate) fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    // In this order: the answer of the first says whether the file is a database at all.
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "mmap_size", 0)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    db.pragma_update(None, "cache_size", -i64::from(WRITER_CACHE_KIB))?;
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(db)
}

/// Opens the file to read it; it must be there.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    db.pragma_update(None, "mmap_size", 0)?;
    Ok(db)
}

/// The version of the tables in the file; 0 if it has none.
pub(crate) fn version_of(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Makes the tables, at position 0, all at once.
pub(crate) fn create(db: &mut Connection, journal_id: [u8; 16]) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO position (only, journal, applied, effective_at) VALUES (1, ?1, 0, 0)", [journal_id])?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()
}

/// Removes the file and what the database keeps beside it.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    // The file first: without its log it might be taken for whole after a crash in between, while
    // the database drops a log that is left without its file.
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
