//! One read-only transaction: all its reads are of one instant.

use std::pin::Pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};

use super::Postgres;
use super::connection::{Lease, within};
use super::failure::Failure;

pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A transaction on a connection of the pool.
pub(super) struct Reading {
    lease: Lease,
    answer_max: Duration,
}

impl Reading {
    /// Begins a transaction in which one statement may take `statement_max`.
    pub(super) async fn begin(postgres: &Postgres, statement_max: Duration) -> Result<Self, Failure> {
        let answer_max = postgres.inner.settings.answer_max();
        let reading = Self { lease: Lease::take(&postgres.inner.pool, answer_max).await?, answer_max };
        let millis = statement_max.as_millis();
        let begin = format!("START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = {millis}");
        if let Some(db) = reading.lease.connection() {
            within(answer_max, db.batch_execute(&begin)).await?;
        }
        Ok(reading)
    }

    /// A stream of a statement's rows.
    pub(super) async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Rows, Failure> {
        let Some(db) = self.lease.connection() else { return Err(Failure::Busy) };
        let statement = within(self.answer_max, db.prepare_cached(sql)).await?;
        let parameters = parameters.iter().copied();
        let stream = within(self.answer_max, db.query_raw(&statement, parameters)).await?;
        Ok(Rows { stream: Box::pin(stream), answer_max: self.answer_max })
    }

    /// All rows of a statement that returns few.
    pub(super) async fn all(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Failure> {
        let mut rows = self.rows(sql, parameters).await?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().await? {
            all.push(row);
        }
        Ok(all)
    }

    /// The first row, if there is one.
    pub(super) async fn first(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, Failure> {
        Ok(self.all(sql, parameters).await?.into_iter().next())
    }

    /// Ends the transaction, so that its connection can be used again.
    pub(super) async fn end(self) -> Result<(), Failure> {
        if let Some(db) = self.lease.connection() {
            within(self.answer_max, db.batch_execute("COMMIT")).await?;
        }
        self.lease.give_back();
        Ok(())
    }
}

/// A stream of rows. The database sends no faster than they are taken.
pub(super) struct Rows {
    stream: Pin<Box<RowStream>>,
    answer_max: Duration,
}

impl Rows {
    pub(super) async fn next(&mut self) -> Result<Option<Row>, Failure> {
        within(self.answer_max, self.stream.try_next()).await
    }
}
