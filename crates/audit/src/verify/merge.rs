//! Compares the history's entries with the expected entries: both are ordered by aggregate and key, and are
//! walked in parallel.

use std::cmp::Ordering;
use std::iter::Peekable;

use domain::Kind;
use domain::rows::{Cell, Table};
use oracle::{Aggregate, Oracle};

use super::findings::{EXTRA, Fields, Findings, MISSING, compare_cells};

/// Every table of entries, with its kind.
pub(super) fn tables() -> impl Iterator<Item = (Kind, &'static Table)> {
    Kind::ALL.iter().flat_map(|kind| kind.tables().iter().map(|table| (*kind, *table)))
}

/// A row that the history must contain.
struct Expected<'a> {
    aggregate: &'a Aggregate,
    cells: Vec<Cell<'a>>,
}

/// The walk, at the next expected row.
pub(super) struct Merge<'a> {
    /// The name of the source of expected values, in messages.
    source: &'static str,
    oracle: &'a Oracle,
    kind: Kind,
    table: &'static Table,
    expected: Peekable<Box<dyn Iterator<Item = Expected<'a>> + 'a>>,
    findings: &'a mut Findings,
}

impl<'a> Merge<'a> {
    pub(super) fn new(source: &'static str, oracle: &'a Oracle, (kind, table): (Kind, &'static Table), findings: &'a mut Findings) -> Self {
        let aggregates = oracle.aggregates().filter(move |aggregate| aggregate.kind() == kind);
        let expected: Box<dyn Iterator<Item = Expected<'a>> + 'a> =
            Box::new(aggregates.flat_map(move |aggregate| aggregate.rows(table).map(move |cells| Expected { aggregate, cells })));
        Self { source, oracle, kind, table, expected: expected.peekable(), findings }
    }

    /// Takes the history's next row.
    pub(super) fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
        self.skip_to(Some((number, cells)));
        let key_count = self.table.key_count;
        match self.expected.next_if(|expected| expected.order(number, cells, key_count) == Ordering::Equal) {
            Some(expected) => self.compare(&expected, cells),
            None => {
                let aggregate = self.oracle.at(number);
                let name = aggregate.map_or_else(|| format!("number {number}"), |aggregate| aggregate.head().name.to_string());
                let what = self.words_of(cells, &name);
                self.findings.broken(EXTRA, format!("{what} is in the history only"));
            }
        }
    }

    /// The history has no more rows.
    pub(super) fn end(mut self) {
        self.skip_to(None);
    }

    /// Reports the expected rows before this one as missing.
    fn skip_to(&mut self, next: Option<(u32, &[Cell<'_>])>) {
        let key_count = self.table.key_count;
        let is_before =
            |expected: &Expected<'_>| next.is_none_or(|(number, cells)| expected.order(number, cells, key_count) == Ordering::Less);
        while let Some(missing) = self.expected.next_if(is_before) {
            let what = self.words_of(&missing.cells, &missing.aggregate.head().name);
            self.findings.broken(MISSING, format!("{what} is not in the history"));
        }
    }

    fn compare(&mut self, expected: &Expected<'_>, cells: &[Cell<'_>]) {
        let mut fields = Fields::of(self.source);
        for ((column, found), expected) in self.table.columns.iter().zip(cells).zip(&expected.cells) {
            compare_cells(&mut fields, column.name, *found, *expected);
        }
        let what = self.words_of(cells, &expected.aggregate.head().name);
        fields.report(|| what, self.findings);
    }

    /// `claim 3 of campaign spring`.
    fn words_of(&self, cells: &[Cell<'_>], name: &str) -> String {
        let key = cells.iter().take(self.table.key_count).map(|cell| match cell {
            Cell::Text(text) => (*text).to_owned(),
            Cell::Number(number) => number.to_string(),
            Cell::Null | Cell::Time(_) | Cell::Bool(_) => format!("{cell:?}"),
        });
        format!("{} {} of {} {name}", self.table.row, key.collect::<Vec<_>>().join(" "), self.kind.word())
    }
}

impl Expected<'_> {
    fn order(&self, number: u32, cells: &[Cell<'_>], key_count: usize) -> Ordering {
        let keys = self.cells.iter().zip(cells).take(key_count);
        let by_key = || keys.map(|(one, other)| cell_order(one, other)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal);
        self.aggregate.head().number.cmp(&number).then_with(by_key)
    }
}

/// Orders key cells, which are numbers or texts.
fn cell_order(one: &Cell<'_>, other: &Cell<'_>) -> Ordering {
    match (one, other) {
        (Cell::Number(one), Cell::Number(other)) => one.cmp(other),
        (Cell::Text(one), Cell::Text(other)) => one.cmp(other),
        (Cell::Time(one), Cell::Time(other)) => one.cmp(other),
        (Cell::Bool(one), Cell::Bool(other)) => one.cmp(other),
        (Cell::Null | Cell::Number(_) | Cell::Text(_) | Cell::Time(_) | Cell::Bool(_), _) => Ordering::Equal,
    }
}
