//! Creates the tables, and adds columns and tables that later declarations introduce. Any number of nodes may
//! do so at once: one of them does the work, the others wait for it.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;

use super::LOCK_SPACE;
use super::connection::within;
use super::error::ConnectError;
use super::failure::Failure;
use super::tables::{Found, Unfit, missing};
use super::values::get;

/// How long it may take, including the wait for another node.
const MIGRATE_MAX: Duration = Duration::from_secs(15 * 60);
const LOCK: i32 = 1;
/// The schema number of the tables in `base.sql`. There is no migration from one number to another yet.
const FORM: i32 = 4;
const BASE: &str = include_str!("base.sql");

const COLUMNS: &str =
    "SELECT tables.relname::text, columns.attname::text, format_type(columns.atttypid, columns.atttypmod), columns.attnotnull
    FROM pg_catalog.pg_attribute AS columns JOIN pg_catalog.pg_class AS tables ON tables.oid = columns.attrelid
    WHERE tables.relnamespace = to_regnamespace('firstcome') AND tables.relkind = 'r' AND 0 < columns.attnum AND NOT columns.attisdropped";
const INDICES: &str = "SELECT indexname::text FROM pg_catalog.pg_indexes WHERE schemaname = 'firstcome'";

/// The tables found in the database.
enum Standing {
    Nothing,
    /// Tables from before the first release, which had a list of migrations.
    Unreleased,
    Tables {
        form: i32,
        found: Found,
    },
}

/// Brings the tables to this program's schema. The connection must not be used for anything else afterwards.
pub(super) async fn migrate(db: &mut ClientWrapper, limit: Duration, host: &str) -> Result<(), ConnectError> {
    let failed = |failure: Failure| ConnectError::from_failure(&failure, host);
    // A role that may only write rows can still start a node if the tables exist.
    let standing = within(limit, standing(db)).await.map_err(failed)?;
    if steps(&standing, host)?.is_empty() {
        return Ok(());
    }
    within(MIGRATE_MAX, locked(db, host)).await.map_err(failed)?
}

/// Whether the tables exist with this program's schema; changes nothing.
pub(super) async fn are_there(db: &ClientWrapper, limit: Duration, host: &str) -> Result<bool, ConnectError> {
    let standing = within(limit, standing(db)).await.map_err(|failure| ConnectError::from_failure(&failure, host))?;
    if matches!(standing, Standing::Nothing) {
        return Ok(false);
    }
    if steps(&standing, host)?.is_empty() { Ok(true) } else { Err(ConnectError::OlderTables { host: host.to_owned() }) }
}

async fn locked(db: &mut ClientWrapper, host: &str) -> Result<Result<(), ConnectError>, Failure> {
    db.batch_execute(&format!("SET statement_timeout = {}", MIGRATE_MAX.as_millis())).await?;
    // A session lock, taken before the transaction begins: a transaction that began before it held the lock
    // could have an old snapshot and not see the tables that another node has just created. The caller closes
    // the connection, which releases the lock.
    db.query("SELECT pg_advisory_lock($1, $2)", &[&LOCK_SPACE, &LOCK]).await?;
    let transaction = tokio_postgres::Client::transaction(db).await?;
    let steps = match steps(&standing(transaction.client()).await?, host) {
        Ok(steps) => steps,
        Err(error) => return Ok(Err(error)),
    };
    for step in &steps {
        transaction.batch_execute(step).await?;
    }
    transaction.commit().await?;
    tracing::info!(statements_count = steps.len(), "the tables of the history have the form of this program");
    Ok(Ok(()))
}

/// The statements that still have to run.
fn steps(standing: &Standing, host: &str) -> Result<Vec<String>, ConnectError> {
    let (host, none) = (|| host.to_owned(), Found::default());
    let (base, found) = match standing {
        Standing::Unreleased => return Err(ConnectError::UnreleasedTables { host: host() }),
        Standing::Tables { form, .. } if FORM < *form => {
            return Err(ConnectError::NewerTables { host: host(), what: format!("they have form {form}, and this program knows {FORM}") });
        }
        Standing::Tables { form, .. } if *form < FORM => {
            return Err(ConnectError::OtherTables { host: host(), what: format!("they have form {form}, and this program makes {FORM}") });
        }
        Standing::Tables { found, .. } => (Vec::new(), found),
        Standing::Nothing => (vec![BASE.to_owned(), format!("INSERT INTO firstcome.form (number) VALUES ({FORM})")], &none),
    };
    let declared = missing(found).map_err(|unfit| match unfit {
        Unfit::Later(column) => ConnectError::NewerTables { host: host(), what: format!("this program does not know {column}") },
        Unfit::Other(what) => ConnectError::OtherTables { host: host(), what },
    })?;
    Ok(base.into_iter().chain(declared).collect())
}

async fn standing(db: &tokio_postgres::Client) -> Result<Standing, Failure> {
    let names = "SELECT to_regclass('firstcome.form') IS NOT NULL, to_regclass('firstcome.migrations') IS NOT NULL";
    let row = db.query_one(names, &[]).await?;
    if get::<bool>(&row, 1)? {
        return Ok(Standing::Unreleased);
    }
    if !get::<bool>(&row, 0)? {
        return Ok(Standing::Nothing);
    }
    let form = get(&db.query_one("SELECT number FROM firstcome.form", &[]).await?, 0)?;
    let mut found = Found::default();
    for row in db.query(COLUMNS, &[]).await? {
        let (sql_type, is_not_null): (String, bool) = (get(&row, 2)?, get(&row, 3)?);
        found.tables.entry(get(&row, 0)?).or_default().insert(get(&row, 1)?, (sql_type, !is_not_null));
    }
    for row in db.query(INDICES, &[]).await? {
        found.indices.insert(get(&row, 0)?);
    }
    Ok(Standing::Tables { form, found })
}
