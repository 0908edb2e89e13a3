//! Writes decisions with statements on many rows each. Consecutive changes of one form ([`Form`]) are written
//! together; in a rush nearly all are claims. The order between forms is kept, because it matters: a subject
//! may claim, give back and claim again.
//!
//! Plain inserts, and statements that must hit as many rows as there are changes: anything else is a
//! conflict, never ignored.

use std::collections::BTreeSet;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use domain::rows::{Cell, Column, ColumnKind, RowChange, Rows, Table};
use domain::wire::Position;
use domain::workload::AnySettings;
use domain::{Change, Kind, Number};
use tokio_postgres::types::ToSql;

use super::connection::within;
use super::failure::{Failure, Kind as FailureKind};
use super::projector::Decided;
use super::reading::Parameters;
use super::tables::ONLY_ONE;
use super::values::{Parameter, Time, aggregate_id, signed_small};
use crate::declared::{EntryTable, Form, FormAction, cells_of, column_at, key_of, quoted, signed};
use crate::rows::OwnedCell;

/// Most rows of one statement.
const ROWS_MAX: usize = 5_000;

/// Why decisions were not written.
pub(super) enum BatchError {
    Failure(Failure),
    Conflict { position: Position, what: String },
}

impl From<Failure> for BatchError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Writes one partition's decisions in the open transaction of a connection.
pub(super) struct Batch<'c> {
    pub(super) db: &'c ClientWrapper,
    pub(super) answer_max: Duration,
    pub(super) partition: u32,
    pub(super) partitions: u32,
}

impl Batch<'_> {
    pub(super) async fn write(&self, decided: &[Decided<'_>]) -> Result<(), BatchError> {
        for step in self.steps(decided)? {
            match step {
                Step::Entries(run) => self.write_run(&run).await?,
                Step::Aggregate(decided) => self.write_aggregate(decided).await?,
            }
        }
        Ok(())
    }

    fn steps<'d, 'a>(&self, decided: &'d [Decided<'a>]) -> Result<Vec<Step<'d, 'a>>, BatchError> {
        let mut steps = Vec::new();
        for one in decided {
            match one.record.change {
                Change::Created { .. } | Change::Changed { .. } | Change::Removed { .. } => steps.push(Step::Aggregate(one)),
                Change::Did(_) | Change::DidBoth(..) => {
                    for done in one.record.change.events() {
                        let id = self.id(one.position, done.number)?;
                        let mut changes = EntryChanges { steps: &mut steps, decided: one, id, outcome: Ok(()) };
                        done.event.rows(one.record.at, &mut changes);
                        changes.outcome?;
                    }
                }
                // No table holds request keys, and each row has the time at which it was decided.
                Change::RequestsForgotten { .. } | Change::TimeSet { .. } => {}
            }
        }
        Ok(steps)
    }

    async fn write_run(&self, run: &Run) -> Result<(), BatchError> {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&run.ids];
        parameters.extend(run.columns.iter().map(Array::parameter));
        if run.form.has_origin() {
            parameters.push(&run.actors);
            parameters.push(&run.request_ids);
        }
        let count = run.ids.len() as u64;
        self.exactly((run.first, count), &sql_of(run.form), &parameters, &contradiction(run.form)).await
    }

    async fn write_aggregate(&self, decided: &Decided<'_>) -> Result<(), BatchError> {
        let position = decided.position;
        match &decided.record.change {
            Change::Created { number, name, settings } => self.create(decided, *number, name.as_str(), settings).await,
            Change::Changed { number, settings } => self.change(decided, *number, settings).await,
            Change::Removed { number } => self.remove(position, *number).await,
            Change::Did(_) | Change::DidBoth(..) | Change::RequestsForgotten { .. } | Change::TimeSet { .. } => Ok(()),
        }
    }

    async fn create(&self, decided: &Decided<'_>, number: Number, name: &str, settings: &AnySettings) -> Result<(), BatchError> {
        let (position, kind) = (decided.position, settings.kind());
        let (id, partition, at) = (self.id(position, number)?, signed_small(self.partition)?, Time(decided.record.at));
        let columns: String = kind.settings().iter().map(|field| format!(", {}", quoted(field.name))).collect();
        let places: String = (5..).take(kind.settings().len()).map(|place| format!(", ${place}")).collect();
        let sql = format!(
            "INSERT INTO firstcome.{} (id, partition, name, version, created_at, changed_at{columns}) VALUES ($1, $2, $3, 1, $4, $4{places})",
            quoted(kind.path())
        );
        let what = format!("there is a {} {id}, or one named {name}, already", kind.word());
        self.with_settings(position, &sql, &[&id, &partition, &name, &at], settings, &what).await
    }

    async fn change(&self, decided: &Decided<'_>, number: Number, settings: &AnySettings) -> Result<(), BatchError> {
        let (position, kind) = (decided.position, settings.kind());
        let (id, at) = (self.id(position, number)?, Time(decided.record.at));
        let columns = (3..).zip(kind.settings());
        let columns: String = columns.map(|(place, field)| format!(", {} = ${place}", quoted(field.name))).collect();
        let table = quoted(kind.path());
        let sql = format!("UPDATE firstcome.{table} SET version = version + 1, changed_at = $2{columns} WHERE id = $1");
        let what = format!("there is no {} {id} to change", kind.word());
        self.with_settings(position, &sql, &[&id, &at], settings, &what).await
    }

    async fn with_settings(
        &self,
        position: Position,
        sql: &str,
        first: Parameters<'_>,
        settings: &AnySettings,
        what: &str,
    ) -> Result<(), BatchError> {
        let values: Result<Vec<Parameter>, String> =
            settings.values().iter().map(|(_, value)| Parameter::of_cell((*value).into())).collect();
        let values = values.map_err(|what| BatchError::Conflict { position, what })?;
        let mut parameters = first.to_vec();
        parameters.extend(values.iter().map(|value| value as &(dyn ToSql + Sync)));
        self.exactly((position, 1), sql, &parameters, what).await
    }

    /// The record does not name the aggregate's kind, so each kind's table is tried; only one has its number.
    async fn remove(&self, position: Position, number: Number) -> Result<(), BatchError> {
        let id = self.id(position, number)?;
        let mut removed_count = 0;
        for kind in Kind::ALL.iter().filter(|kind| kind.is_removable()) {
            let sql = format!("DELETE FROM firstcome.{} WHERE id = $1", quoted(kind.path()));
            let statement = within(self.answer_max, self.db.prepare_cached(&sql)).await?;
            removed_count += within(self.answer_max, self.db.execute(&statement, &[&id])).await?;
        }
        if removed_count == 1 {
            return Ok(());
        }
        Err(BatchError::Conflict { position, what: format!("there is no aggregate {id} to remove") })
    }

    /// Runs one statement, which must write exactly the given number of rows.
    async fn exactly(
        &self,
        (position, count): (Position, u64),
        sql: &str,
        parameters: Parameters<'_>,
        what: &str,
    ) -> Result<(), BatchError> {
        let statement = within(self.answer_max, self.db.prepare_cached(sql)).await?;
        match within(self.answer_max, self.db.execute(&statement, parameters)).await {
            Ok(found) if found == count => Ok(()),
            Ok(found) => Err(BatchError::Conflict { position, what: format!("{what} ({found} rows were written instead of {count})") }),
            Err(failure) if failure.kind() == FailureKind::Contradiction => {
                Err(BatchError::Conflict { position, what: format!("{what}: {}", failure.describe()) })
            }
            Err(failure) => Err(failure.into()),
        }
    }

    fn id(&self, position: Position, number: Number) -> Result<i64, BatchError> {
        match aggregate_id(number, self.partition, self.partitions) {
            Some(id) => Ok(i64::from(id.0)),
            None => Err(BatchError::Conflict { position, what: format!("aggregate {} has no id in these tables", number.0) }),
        }
    }
}

/// One write; the steps run in order.
enum Step<'d, 'a> {
    /// A decision about the aggregate itself.
    Aggregate(&'d Decided<'a>),
    Entries(Run),
}

/// Consecutive changes of one form, stored as one array for each column.
struct Run {
    form: Form,
    /// The position of the first decision among them.
    first: Position,
    ids: Vec<i64>,
    columns: Vec<Array>,
    actors: Vec<String>,
    request_ids: Vec<String>,
    /// The keys changed so far, except by plain inserts: one statement can change a row only once.
    changed: BTreeSet<(i64, Vec<OwnedCell>)>,
}

impl Run {
    fn new(form: Form, first: Position) -> Self {
        Self {
            form,
            first,
            columns: form.columns().map(Array::new).collect(),
            ids: Vec::new(),
            actors: Vec::new(),
            request_ids: Vec::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Adds a change to the run; returns false if it needs a run of its own.
    fn take(&mut self, form: Form, decided: &Decided<'_>, id: i64, change: &RowChange<'_>) -> Result<bool, String> {
        if self.form != form || ROWS_MAX <= self.ids.len() {
            return Ok(false);
        }
        if form.action != FormAction::Insert {
            let key = key_of(form.table, change).map(|cell| OwnedCell::from(*cell)).collect();
            if !self.changed.insert((id, key)) {
                return Ok(false);
            }
        }
        for (column, cell) in self.columns.iter_mut().zip(cells_of(change)) {
            column.push(*cell)?;
        }
        self.ids.push(id);
        if form.has_origin() {
            self.actors.push(decided.record.actor.as_str().to_owned());
            self.request_ids.push(decided.record.request_id.as_str().to_owned());
        }
        Ok(true)
    }
}

/// Collects the row changes of an event; stops at the first conflict.
struct EntryChanges<'s, 'd, 'a> {
    steps: &'s mut Vec<Step<'d, 'a>>,
    decided: &'d Decided<'a>,
    id: i64,
    outcome: Result<(), BatchError>,
}

impl Rows for EntryChanges<'_, '_, '_> {
    fn change(&mut self, table: &'static Table, change: RowChange<'_>) {
        if self.outcome.is_ok() {
            let taken = self.take(table, &change);
            self.outcome = taken.map_err(|what| BatchError::Conflict { position: self.decided.position, what });
        }
    }
}

impl EntryChanges<'_, '_, '_> {
    fn take(&mut self, table: &'static Table, change: &RowChange<'_>) -> Result<(), String> {
        let form = Form::of(table, change);
        if let Some(Step::Entries(run)) = self.steps.last_mut()
            && run.take(form, self.decided, self.id, change)?
        {
            return Ok(());
        }
        let mut run = Run::new(form, self.decided.position);
        let is_taken = run.take(form, self.decided, self.id, change)?;
        assert!(is_taken, "an empty run takes any change");
        self.steps.push(Step::Entries(run));
        Ok(())
    }
}

/// The cells of one column.
enum Array {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Times(Vec<Option<Time>>),
    Bools(Vec<Option<bool>>),
}

impl Array {
    fn new(column: &Column) -> Self {
        match column.kind {
            ColumnKind::Number => Self::Numbers(Vec::new()),
            ColumnKind::Text => Self::Texts(Vec::new()),
            ColumnKind::Time => Self::Times(Vec::new()),
            ColumnKind::Bool => Self::Bools(Vec::new()),
        }
    }

    fn push(&mut self, cell: Cell<'_>) -> Result<(), String> {
        match (self, cell) {
            (Self::Numbers(cells), Cell::Null) => cells.push(None),
            (Self::Texts(cells), Cell::Null) => cells.push(None),
            (Self::Times(cells), Cell::Null) => cells.push(None),
            (Self::Bools(cells), Cell::Null) => cells.push(None),
            (Self::Numbers(cells), Cell::Number(number)) => cells.push(Some(signed(number)?)),
            (Self::Texts(cells), Cell::Text(text)) => cells.push(Some(text.to_owned())),
            (Self::Times(cells), Cell::Time(time)) => cells.push(Some(Time(time))),
            (Self::Bools(cells), Cell::Bool(value)) => cells.push(Some(value)),
            (Self::Numbers(_) | Self::Texts(_) | Self::Times(_) | Self::Bools(_), _) => panic!("a form has checked its cells"),
        }
        Ok(())
    }

    fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Numbers(cells) => cells,
            Self::Texts(cells) => cells,
            Self::Times(cells) => cells,
            Self::Bools(cells) => cells,
        }
    }
}

/// The SQL for rows given as arrays: the aggregates' ids, one array for each column of the form, and the origin.
fn sql_of(form: Form) -> String {
    let declared = EntryTable::of(form.table);
    let (table, owner) = (format!("firstcome.{}", quoted(form.table.name)), quoted(declared.owner()));
    let columns: Vec<(String, &str)> = form.columns().map(|column| (quoted(column.name), array_of(column.kind))).collect();
    let origin = form.has_origin().then_some(["actor", "request_id"].map(|name| (quoted(name), "text")));
    let arrays = columns.iter().map(|(_, sql_type)| *sql_type).chain(origin.iter().flatten().map(|(_, sql_type)| *sql_type));
    let arrays: Vec<String> = (2..).zip(arrays).map(|(place, sql_type)| format!("${place}::{sql_type}[]")).collect();
    let names: Vec<String> = (0..arrays.len()).map(|place| format!("c{place}")).collect();
    let new = format!("unnest($1::bigint[], {}) AS new (id, {})", arrays.join(", "), names.join(", "));
    // Each column with the expression of its new value.
    let pairs: Vec<(String, String)> = columns
        .into_iter()
        .chain(origin.into_iter().flatten())
        .map(|(column, _)| column)
        .zip(names.iter().map(|name| format!("new.{name}")))
        .collect();
    let (key, others) = pairs.split_at(form.table.key_count);
    let is_it: String = key.iter().map(|(column, value)| format!(" AND it.{column} = {value}")).collect();
    let is_it = format!("it.{owner} = new.id{is_it}");
    match form.action {
        FormAction::Insert | FormAction::Put => insert_sql(declared, form.action, &new, &pairs),
        FormAction::Update { was, .. } => {
            let (changed, was) = others.split_at(others.len() - usize::from(was.is_some()));
            let changed: Vec<String> = changed.iter().map(|(column, value)| format!("{column} = {value}")).collect();
            let was: String = was.iter().map(|(column, value)| format!(" AND it.{column} IS NOT DISTINCT FROM {value}")).collect();
            format!("UPDATE {table} AS it SET {} FROM {new} WHERE {is_it}{was}", changed.join(", "))
        }
        FormAction::Delete => format!("DELETE FROM {table} AS it USING {new} WHERE {is_it}"),
    }
}

fn insert_sql(declared: EntryTable, action: FormAction, new: &str, pairs: &[(String, String)]) -> String {
    let EntryTable { kind, table } = declared;
    let mut columns: Vec<&str> = pairs.iter().map(|(column, _)| column.as_str()).collect();
    let mut values: Vec<&str> = pairs.iter().map(|(_, value)| value.as_str()).collect();
    let owner = quoted(declared.owner());
    columns.insert(0, &owner);
    values.insert(0, "new.id");
    let (mut from, is_one) = match table.one_each {
        None => (new.to_owned(), None),
        Some(one_each) => {
            let owners = format!("{new} JOIN firstcome.{} AS owners ON owners.id = new.id", quoted(kind.path()));
            (owners, Some(format!("owners.{} = {}", quoted(one_each.setting), one_each.is)))
        }
    };
    if let Some(is_one) = &is_one {
        columns.push(ONLY_ONE);
        values.push(is_one);
    }
    if action == FormAction::Put {
        let replaced: Vec<String> = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect();
        // Without WHERE, the parser would take ON CONFLICT for a join condition.
        from = format!("{from} WHERE true ON CONFLICT ({}) DO UPDATE SET {}", declared.order().join(", "), replaced.join(", "));
    }
    format!("INSERT INTO firstcome.{} ({}) SELECT {} FROM {from}", quoted(table.name), columns.join(", "), values.join(", "))
}

fn array_of(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Number => "bigint",
        ColumnKind::Text => "text",
        ColumnKind::Time => "timestamptz",
        ColumnKind::Bool => "boolean",
    }
}

/// Describes changes that did not hit as many rows as there were changes. Keys are not named: the database
/// does not report which change it was.
fn contradiction(form: Form) -> String {
    let declared = EntryTable::of(form.table);
    let (row, owner) = (form.table.row, declared.owner());
    match form.action {
        FormAction::Insert if form.table.one_each.is_some() => {
            format!("a new {row} is there already, another {row} excludes it, or its {owner} is not there")
        }
        FormAction::Insert => format!("a new {row} is there already, or its {owner} is not there"),
        FormAction::Put => format!("the {owner} of a written {row} is not there"),
        FormAction::Update { was: Some(place), .. } => {
            let column = column_at(form.table, place).name;
            format!("a changed {row} is not there, or its {column} is another one than it must have been")
        }
        FormAction::Update { was: None, .. } => format!("a changed {row} is not there"),
        FormAction::Delete => format!("a deleted {row} is not there"),
    }
}
