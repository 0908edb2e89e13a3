//! Lists for display and export, as the same rows that one machine's history returns. Each call sees the
//! tables as of one instant.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use domain::Kind;
use domain::rows::Table;
use domain::types::Name;
use domain::wire::Position;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::error::read_error;
use super::failure::Failure;
use super::origin::{POSITIONS, position_row};
use super::reading::{Reading, Rows};
use super::values::{Parameter, aggregate_columns, aggregate_row, cells, half, time, unsigned};
use crate::declared::{EntryTable, column_at, quoted};
use crate::error::ReadError;
use crate::rows::{AggregateRow, AsOf, EntryKey, EntryPage, EntryRow, Selection, one_more};

impl Postgres {
    /// All aggregates of a kind by ascending id ([`super::aggregate_id`]), and what the list rests on: the
    /// number of decisions of all partitions together, and the latest of their times.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn aggregates(&self, kind: Kind) -> Result<(Vec<AggregateRow>, AsOf), ReadError> {
        let time_max = self.inner.settings.statement_timeout;
        let read = async {
            let reading = Reading::begin(self, time_max).await?;
            let as_of = as_of_all(&reading).await?;
            let aggregates = aggregates(&reading, kind).await?;
            reading.end().await?;
            Ok((aggregates, as_of))
        };
        read.await.map_err(|failure| read_error(&failure, time_max))
    }

    /// At most `limit` entries of an aggregate, ordered by key; none if the aggregate is not in the tables.
    /// They rest on the decisions of the aggregate's partition.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn entries(
        &self,
        table: &'static Table,
        name: Name<'_>,
        selection: Selection<'_>,
        limit: u32,
    ) -> Result<EntryPage, ReadError> {
        let time_max = self.inner.settings.statement_timeout;
        let read = async {
            let mut export = Export::begin(self, (table, name), selection, Some(limit), time_max).await?;
            let mut rows = Vec::new();
            while let Some(row) = export.next_row().await? {
                rows.push(row);
            }
            let as_of = export.as_of;
            export.give_back().await?;
            Ok(EntryPage::cut(rows, limit, table.key_count, as_of))
        };
        read.await.map_err(|failure| read_error(&failure, time_max))
    }

    /// At most `limit` entries with `by` in the lookup column ([`Table::found_by`]), over all aggregates
    /// whose names begin with `prefix`, ordered by aggregate and key, starting after `after`. They rest on
    /// the decisions of all partitions together.
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// # Panics
    /// If the table has no lookup column.
    pub async fn entries_found(
        &self,
        table: &'static Table,
        by: &str,
        prefix: &str,
        after: Option<&EntryKey>,
        limit: u32,
    ) -> Result<EntryPage, ReadError> {
        let time_max = self.inner.settings.statement_timeout;
        let declared = EntryTable::of(table);
        let read = async {
            let reading = Reading::begin(self, time_max).await?;
            let as_of = as_of_all(&reading).await?;
            let key = after.map(key_parameters).transpose()?;
            let one_more = one_more(limit);
            let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&by, &prefix, &one_more];
            parameters.extend(key.iter().flatten().map(|cell| cell as &(dyn ToSql + Sync)));
            let rows = found_rows(&reading.all(&found_sql(declared, after.is_some()), &parameters).await?, declared)?;
            reading.end().await?;
            Ok(EntryPage::cut(rows, limit, table.key_count, as_of))
        };
        read.await.map_err(|failure| read_error(&failure, time_max))
    }

    /// Streams the entries of an aggregate, ordered by key; `None` if the aggregate is not in the tables.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn export(&self, table: &'static Table, name: Name<'_>, selection: Selection<'_>) -> Result<Option<Export>, ReadError> {
        let time_max = self.inner.settings.bulk_timeout;
        let begun = Export::begin(self, (table, name), selection, None, time_max).await;
        let export = begun.map_err(|failure| read_error(&failure, time_max))?;
        if export.rows.is_some() {
            return Ok(Some(export));
        }
        export.end().await?;
        Ok(None)
    }

    /// Passes entries of an aggregate to `take`, ordered by key, until it breaks; returns what they rest on.
    ///
    /// # Errors
    /// [`ReadError`]; `take` may have seen some entries by then.
    pub async fn for_each_entry(
        &self,
        table: &'static Table,
        name: Name<'_>,
        selection: Selection<'_>,
        mut take: impl FnMut(EntryRow) -> ControlFlow<()>,
    ) -> Result<AsOf, ReadError> {
        let Some(mut export) = self.export(table, name, selection).await? else { return Ok(AsOf::default()) };
        while let Some(row) = export.next().await? {
            if take(row).is_break() {
                return Ok(export.as_of());
            }
        }
        let as_of = export.as_of();
        export.end().await?;
        Ok(as_of)
    }
}

/// A stream of entries, all of one instant. The database sends no faster than they are taken.
pub struct Export {
    reading: Reading,
    /// `None` if there is no such aggregate.
    rows: Option<(Rows, Arc<AggregateRow>)>,
    table: &'static Table,
    as_of: AsOf,
    time_max: Duration,
}

impl Export {
    async fn begin(
        postgres: &Postgres,
        (table, name): (&'static Table, Name<'_>),
        selection: Selection<'_>,
        limit: Option<u32>,
        time_max: Duration,
    ) -> Result<Self, Failure> {
        let reading = Reading::begin(postgres, time_max).await?;
        let declared = EntryTable::of(table);
        let Some((aggregate, as_of)) = find(&reading, declared.kind, name).await? else {
            return Ok(Self { reading, rows: None, table, as_of: AsOf::default(), time_max });
        };
        let mut values = vec![Parameter::Number(i64::from(aggregate.number.0))];
        for cell in selection.after.unwrap_or_default() {
            values.push(Parameter::of_cell(cell.cell()).map_err(Failure::Row)?);
        }
        values.extend(selection.having.map(|(_, text)| Parameter::Text(text.to_owned())));
        values.extend(limit.map(|limit| Parameter::Number(one_more(limit))));
        let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let rows = reading.rows(&entries_sql(declared, selection, limit.is_some()), &parameters).await?;
        Ok(Self { reading, rows: Some((rows, Arc::new(aggregate))), table, as_of, time_max })
    }

    /// What all entries rest on.
    #[must_use]
    pub fn as_of(&self) -> AsOf {
        self.as_of
    }

    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn next(&mut self) -> Result<Option<EntryRow>, ReadError> {
        self.next_row().await.map_err(|failure| read_error(&failure, self.time_max))
    }

    async fn next_row(&mut self) -> Result<Option<EntryRow>, Failure> {
        let Some((rows, aggregate)) = &mut self.rows else { return Ok(None) };
        let Some(row) = rows.next().await? else { return Ok(None) };
        Ok(Some(EntryRow { aggregate: Arc::clone(aggregate), cells: cells(&row, 0, self.table)? }))
    }

    /// Returns the connection to the pool, after the last entry; if the export is dropped instead, it is closed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn end(self) -> Result<(), ReadError> {
        let time_max = self.time_max;
        self.give_back().await.map_err(|failure| read_error(&failure, time_max))
    }

    async fn give_back(self) -> Result<(), Failure> {
        let Self { reading, rows, .. } = self;
        drop(rows);
        reading.end().await
    }
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("as_of", &self.as_of).finish_non_exhaustive()
    }
}

pub(super) async fn aggregates(reading: &Reading, kind: Kind) -> Result<Vec<AggregateRow>, Failure> {
    let sql = format!("SELECT {} FROM firstcome.{} ORDER BY id", aggregate_columns(kind), quoted(kind.path()));
    let rows = reading.all(&sql, &[]).await?;
    rows.iter().map(|row| aggregate_row(row, kind, 0)).collect()
}

async fn find(reading: &Reading, kind: Kind, name: Name<'_>) -> Result<Option<(AggregateRow, AsOf)>, Failure> {
    let sql = format!(
        "SELECT positions.decisions, positions.effective_at, {} FROM firstcome.{table} JOIN firstcome.positions USING (partition) WHERE {table}.name = $1",
        aggregate_columns(kind),
        table = quoted(kind.path())
    );
    let Some(row) = reading.first(&sql, &[&name.as_str()]).await? else { return Ok(None) };
    Ok(Some((aggregate_row(&row, kind, 2)?, AsOf { position: Position(unsigned(&row, 0)?), time: time(&row, 1)? })))
}

async fn as_of_all(reading: &Reading) -> Result<AsOf, Failure> {
    let mut as_of = AsOf::default();
    for row in reading.all(POSITIONS, &[]).await? {
        let position = position_row(&row)?;
        as_of.position.0 = as_of.position.0.saturating_add(position.decisions);
        as_of.time = as_of.time.max(position.effective_at);
    }
    Ok(as_of)
}

/// The entries of aggregate `$1`, after the key that starts at `$2`, with the selected text as the next
/// parameter, and the limit as the last.
fn entries_sql(declared: EntryTable, selection: Selection<'_>, has_limit: bool) -> String {
    let (columns, order) = (declared.columns(), declared.order());
    let key: Vec<&str> = order.iter().skip(1).map(String::as_str).collect();
    let mut conditions = vec![format!("{} = $1", quoted(declared.owner()))];
    let mut place = 2;
    if let Some(after) = selection.after {
        conditions.push(format!("({}) > ({})", key.join(", "), numbered(place, after.len())));
        place += after.len();
    }
    if let Some((having, _)) = selection.having {
        conditions.push(format!("{} = ${place}", quoted(column_at(declared.table, having).name)));
        place += 1;
    }
    let limit = if has_limit { format!(" LIMIT ${place}") } else { String::new() };
    let (conditions, table) = (conditions.join(" AND "), quoted(declared.table.name));
    format!("SELECT {} FROM firstcome.{table} WHERE {conditions} ORDER BY {}{limit}", columns.join(", "), key.join(", "))
}

/// The entries with `$1` in the lookup column, of aggregates whose names begin with `$2`, at most `$3`, after
/// the key that starts at `$4`.
fn found_sql(declared: EntryTable, has_after: bool) -> String {
    let EntryTable { kind, table } = declared;
    let Some((_, found_by)) = declared.found_by() else { panic!("rows of {} are found by nothing", table.name) };
    let (entries, aggregates, owner) = (quoted(table.name), quoted(kind.path()), quoted(declared.owner()));
    let columns: Vec<String> = declared.columns().iter().map(|column| format!("{entries}.{column}")).collect();
    let order: Vec<String> = declared.order().iter().map(|column| format!("{entries}.{column}")).collect();
    let order_text = order.join(", ");
    let after = if has_after { format!(" AND ({order_text}) > ({})", numbered(4, order.len())) } else { String::new() };
    format!(
        "SELECT {}, {} FROM firstcome.{entries} JOIN firstcome.{aggregates} ON {aggregates}.id = {entries}.{owner}
         WHERE {entries}.{} = $1 AND starts_with({aggregates}.name, $2){after} ORDER BY {order_text} LIMIT $3",
        columns.join(", "),
        aggregate_columns(kind),
        quoted(found_by),
    )
}

fn found_rows(rows: &[Row], declared: EntryTable) -> Result<Vec<EntryRow>, Failure> {
    let columns_count = declared.table.columns.len();
    let mut last: Option<Arc<AggregateRow>> = None;
    let read = |row: &Row| {
        // Consecutive rows share their aggregate.
        let id = half(row, columns_count)?;
        let aggregate = match last.take().filter(|last| last.number.0 == id) {
            Some(last) => last,
            None => Arc::new(aggregate_row(row, declared.kind, columns_count)?),
        };
        last = Some(Arc::clone(&aggregate));
        Ok(EntryRow { aggregate, cells: cells(row, 0, declared.table)? })
    };
    rows.iter().map(read).collect()
}

fn key_parameters(after: &EntryKey) -> Result<Vec<Parameter>, Failure> {
    let key = after.key.iter().map(|cell| Parameter::of_cell(cell.cell()).map_err(Failure::Row));
    std::iter::once(Ok(Parameter::Number(i64::from(after.number.0)))).chain(key).collect()
}

fn numbered(first: usize, count: usize) -> String {
    let places: Vec<String> = (first..).take(count).map(|place| format!("${place}")).collect();
    places.join(", ")
}
