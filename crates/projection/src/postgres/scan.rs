//! All contents of the tables as of one instant, to verify them against the log.

use std::fmt;
use std::time::Duration;

use domain::rows::{Cell, Table};
use domain::{Kind, Number};
use tokio_postgres::Row;

use super::Postgres;
use super::error::read_error;
use super::failure::Failure;
use super::lists::aggregates;
use super::origin::{Origin, POSITIONS, PartitionPosition, position_row, read_origin};
use super::reading::{Reading, Rows};
use super::tables::ONLY_ONE;
use super::values::{cells, get, half};
use crate::declared::{EntryTable, quoted};
use crate::error::ReadError;
use crate::rows::{AggregateRow, OwnedCell};

/// A row of a table of entries, with all its columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullEntry {
    /// The id of its aggregate ([`super::aggregate_id`]).
    pub number: Number,
    /// A cell for each declared column, in the order of the declaration.
    pub cells: Vec<OwnedCell>,
    /// The actor and the request that caused it, if the table stores them.
    pub origin: Option<(String, String)>,
    /// Whether its aggregate allowed one entry for each subject when the row was written, if the table
    /// declares that ([`Table::one_each`]).
    pub only_one: Option<bool>,
}

impl FullEntry {
    /// The cells, borrowed: the input of a workload's typed view.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell<'_>> {
        self.cells.iter().map(OwnedCell::cell).collect()
    }
}

/// The tables as of one instant.
pub struct Scan {
    reading: Reading,
    origin: Origin,
    positions: Vec<PartitionPosition>,
    time_max: Duration,
}

impl Postgres {
    /// Begins a scan; `None` if no log has been assigned to the tables.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn scan(&self) -> Result<Option<Scan>, ReadError> {
        let time_max = self.inner.settings.bulk_timeout;
        let begin = async {
            let reading = Reading::begin(self, time_max).await?;
            let Some(origin) = read_origin(&reading).await? else {
                reading.end().await?;
                return Ok(None);
            };
            let positions = reading.all(POSITIONS, &[]).await?.iter().map(position_row).collect::<Result<_, _>>()?;
            Ok(Some(Scan { reading, origin, positions, time_max }))
        };
        begin.await.map_err(|failure| read_error(&failure, time_max))
    }
}

impl Scan {
    /// The log that the tables belong to.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The position of each partition.
    #[must_use]
    pub fn positions(&self) -> &[PartitionPosition] {
        &self.positions
    }

    /// All aggregates of a kind, by ascending id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn aggregates(&self, kind: Kind) -> Result<Vec<AggregateRow>, ReadError> {
        aggregates(&self.reading, kind).await.map_err(|failure| read_error(&failure, self.time_max))
    }

    /// Streams the entries of a partition's aggregates, ordered by aggregate and key.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn entries(&self, table: &'static Table, partition: u32) -> Result<Entries, ReadError> {
        let declared = EntryTable::of(table);
        let owner = declared.owner();
        let mut columns = declared.columns();
        columns.push(quoted(owner));
        columns.extend(table.has_origin.then_some(["actor", "request_id"]).into_iter().flatten().map(quoted));
        columns.extend(table.one_each.map(|_| ONLY_ONE.to_owned()));
        let sql = format!(
            "SELECT {} FROM firstcome.{} WHERE {} % $1 = $2 ORDER BY {}",
            columns.join(", "),
            quoted(table.name),
            quoted(owner),
            declared.order().join(", ")
        );
        let (partitions, partition) = (i64::from(self.origin.partitions), i64::from(partition));
        let rows = self.reading.rows(&sql, &[&partitions, &partition]).await;
        let rows = rows.map_err(|failure| read_error(&failure, self.time_max))?;
        Ok(Entries { rows, table, time_max: self.time_max })
    }

    /// Returns the connection to the pool; if the scan is dropped instead, it is closed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn end(self) -> Result<(), ReadError> {
        let time_max = self.time_max;
        self.reading.end().await.map_err(|failure| read_error(&failure, time_max))
    }
}

/// A stream of entries.
pub struct Entries {
    rows: Rows,
    table: &'static Table,
    time_max: Duration,
}

impl Entries {
    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn next(&mut self) -> Result<Option<FullEntry>, ReadError> {
        let next = async { self.rows.next().await?.map(|row| entry_of(&row, self.table)).transpose() };
        next.await.map_err(|failure: Failure| read_error(&failure, self.time_max))
    }
}

fn entry_of(row: &Row, table: &Table) -> Result<FullEntry, Failure> {
    let owner_place = table.columns.len();
    let origin = if table.has_origin { Some((get(row, owner_place + 1)?, get(row, owner_place + 2)?)) } else { None };
    let only_one_place = owner_place + 1 + if table.has_origin { 2 } else { 0 };
    let only_one = if table.one_each.is_some() { Some(get(row, only_one_place)?) } else { None };
    Ok(FullEntry { number: Number(half(row, owner_place)?), cells: cells(row, 0, table)?, origin, only_one })
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("table", &self.table.name).finish_non_exhaustive()
    }
}
