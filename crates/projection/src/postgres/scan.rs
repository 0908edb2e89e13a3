//! Everything that is in the tables, of one instant, to check it against the record of decisions.

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

/// A row of a table of entries with every column that it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullEntry {
    /// The id of its aggregate ([`super::aggregate_id`]).
    pub number: Number,
    /// A cell for each declared column, in the order of the declaration.
    pub cells: Vec<OwnedCell>,
    /// Who caused it and by which request, where the table holds that.
    pub origin: Option<(String, String)>,
    /// Whether its aggregate gave one to each when it was written, where the table declares that
    /// ([`Table::one_each`]).
    pub only_one: Option<bool>,
}

impl FullEntry {
    /// The cells, borrowed: what a workload's typed view is made of.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell<'_>> {
        self.cells.iter().map(OwnedCell::cell).collect()
    }
}

/// The tables as they were at one instant.
pub struct Scan {
    reading: Reading,
    origin: Origin,
    positions: Vec<PartitionPosition>,
    time_max: Duration,
}

impl Postgres {
    /// Begins to read everything; `None` while the tables are those of no cluster.
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
    /// The record that the tables follow.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How far each partition is.
    #[must_use]
    pub fn positions(&self) -> &[PartitionPosition] {
        &self.positions
    }

    /// All aggregates of a kind, by rising id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn aggregates(&self, kind: Kind) -> Result<Vec<AggregateRow>, ReadError> {
        aggregates(&self.reading, kind).await.map_err(|failure| read_error(&failure, self.time_max))
    }

    /// The entries of a partition's aggregates, by aggregate and key, as they are taken.
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

    /// Gives the connection back; dropped instead, it is closed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn end(self) -> Result<(), ReadError> {
        let time_max = self.time_max;
        self.reading.end().await.map_err(|failure| read_error(&failure, time_max))
    }
}

/// Entries on their way.
pub struct Entries {
    rows: Rows,
    table: &'static Table,
    time_max: Duration,
}

impl Entries {
    /// The next one; `None` after the last.
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
