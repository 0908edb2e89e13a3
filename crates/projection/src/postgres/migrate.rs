//! The tables' versions. What was applied once is never edited; what comes later is another file.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use domain::hash::HashSeed;
use tokio_postgres::Transaction;

use super::LOCK_SPACE;
use super::connection::within;
use super::error::ConnectError;
use super::failure::Failure;
use super::values::get;

/// How long all migrations together may take, waiting for another node's included.
const MIGRATE_MAX: Duration = Duration::from_secs(15 * 60);
const LOCK: i32 = 1;

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "tables", sql: include_str!("../../migrations/0001_tables.sql") },
    Migration { version: 2, name: "queue", sql: include_str!("../../migrations/0002_queue.sql") },
];

/// The schema and the list of what was applied; everything else is in the migrations.
const LIST: &str = "
    CREATE SCHEMA firstcome;
    COMMENT ON SCHEMA firstcome IS 'What firstcome decided: written by firstcome only, for everybody to read';
    CREATE TABLE firstcome.migrations (
        version     integer     PRIMARY KEY,
        name        text        NOT NULL,
        fingerprint bigint      NOT NULL,
        applied_at  timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON TABLE firstcome.migrations IS 'The versions of these tables that were applied';
    COMMENT ON COLUMN firstcome.migrations.version IS 'From 1 on';
    COMMENT ON COLUMN firstcome.migrations.name IS 'What it is about';
    COMMENT ON COLUMN firstcome.migrations.fingerprint IS 'A hash of its text, so that a changed one is noticed';
    COMMENT ON COLUMN firstcome.migrations.applied_at IS 'When, by the clock of this database';";

struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

impl Migration {
    fn fingerprint(&self) -> i64 {
        HashSeed(0, 0).hash(self.sql.as_bytes()).cast_signed()
    }
}

/// Brings the tables to this program's version. Any number of nodes may do so at once: one of them
/// does the work, the others wait for it. The connection is good for nothing else afterwards.
pub(super) async fn migrate(db: &mut ClientWrapper, limit: Duration, host: &str) -> Result<(), ConnectError> {
    let failed = |failure: Failure| ConnectError::from_failure(&failure, host);
    // A role that may only write rows can start a node whose tables are there.
    let applied = within(limit, applied(db)).await.map_err(failed)?;
    if check(&applied, host)? {
        return Ok(());
    }
    within(MIGRATE_MAX, locked(db, host)).await.map_err(failed)?
}

/// Whether the tables are there, in this program's version; nothing is changed.
pub(super) async fn are_there(db: &ClientWrapper, limit: Duration, host: &str) -> Result<bool, ConnectError> {
    let applied = within(limit, applied(db)).await.map_err(|failure| ConnectError::from_failure(&failure, host))?;
    if check(&applied, host)? || applied.is_empty() {
        return Ok(!applied.is_empty());
    }
    let version = |(version, _): &(i32, i64)| *version;
    let (found, known) = (applied.last().map_or(0, version), MIGRATIONS.last().map_or(0, |last| last.version));
    Err(ConnectError::OlderSchema { host: host.to_owned(), found, known })
}

async fn locked(db: &mut ClientWrapper, host: &str) -> Result<Result<(), ConnectError>, Failure> {
    db.batch_execute(&format!("SET statement_timeout = {}", MIGRATE_MAX.as_millis())).await?;
    // For the session, and before the transaction begins: a transaction that began before the lock
    // was had may still take the tables of another node for missing, by what it knew then. The
    // caller closes the connection, and with it the lock.
    db.query("SELECT pg_advisory_lock($1, $2)", &[&LOCK_SPACE, &LOCK]).await?;
    let transaction = tokio_postgres::Client::transaction(db).await?;
    let applied = applied(transaction.client()).await?;
    if let Err(error) = check(&applied, host) {
        return Ok(Err(error));
    }
    if applied.is_empty() {
        transaction.batch_execute(LIST).await?;
    }
    for migration in MIGRATIONS.iter().skip(applied.len()) {
        apply(&transaction, migration).await?;
    }
    transaction.commit().await?;
    Ok(Ok(()))
}

async fn apply(transaction: &Transaction<'_>, migration: &Migration) -> Result<(), Failure> {
    transaction.batch_execute(migration.sql).await?;
    let insert = "INSERT INTO firstcome.migrations (version, name, fingerprint) VALUES ($1, $2, $3)";
    transaction.execute(insert, &[&migration.version, &migration.name, &migration.fingerprint()]).await?;
    tracing::info!(version = migration.version, name = migration.name, "migrated the tables of the history");
    Ok(())
}

/// Version and fingerprint of each migration that was applied, in order; none where there are no
/// tables.
async fn applied(db: &tokio_postgres::Client) -> Result<Vec<(i32, i64)>, Failure> {
    let row = db.query_one("SELECT to_regclass('firstcome.migrations') IS NOT NULL", &[]).await?;
    if !get::<bool>(&row, 0)? {
        return Ok(Vec::new());
    }
    let rows = db.query("SELECT version, fingerprint FROM firstcome.migrations ORDER BY version", &[]).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

/// Whether everything was applied.
fn check(applied: &[(i32, i64)], host: &str) -> Result<bool, ConnectError> {
    for (place, (version, fingerprint)) in applied.iter().enumerate() {
        let host = || host.to_owned();
        let Some(migration) = MIGRATIONS.get(place) else {
            let found = applied.last().map_or(0, |(version, _)| *version);
            return Err(ConnectError::NewerSchema { host: host(), found, known: MIGRATIONS.last().map_or(0, |last| last.version) });
        };
        if migration.version != *version || migration.fingerprint() != *fingerprint {
            return Err(ConnectError::OtherMigration { host: host(), version: *version });
        }
    }
    Ok(applied.len() == MIGRATIONS.len())
}
