//! Entries as the history has them against entries as their records tell, both in the order of
//! aggregate and key, walked through together.

use std::cmp::Ordering;
use std::iter::Peekable;

use domain::Kind;
use domain::claims::ClaimStatus;
use domain::coupon::CLAIMS;
use domain::rate_limit::policies::OVERRIDES;
use domain::rows::{Cell, Table};
use domain::types::Serial;
use oracle::coupon::Claim;
use oracle::{Aggregate, Oracle};

use super::findings::{EXTRA, Fields, Findings, MISSING, compare_cells};

const MS_NS: u64 = 1_000_000;

/// Every table of entries, with the kind that it is of.
pub(super) fn tables() -> impl Iterator<Item = (Kind, &'static Table)> {
    Kind::ALL.iter().flat_map(|kind| kind.tables().iter().map(|table| (*kind, *table)))
}

/// A row that the history must have.
struct Expected<'a> {
    aggregate: &'a Aggregate,
    cells: Vec<Cell<'a>>,
}

/// The rows of an aggregate in a table of its kind, by key.
fn rows_of<'a>(aggregate: &'a Aggregate, table: &Table) -> Box<dyn Iterator<Item = Vec<Cell<'a>>> + 'a> {
    match aggregate {
        Aggregate::Coupon(campaign) if table.name == CLAIMS.name => {
            Box::new(campaign.claims().filter_map(|(serial, claim)| claim_row(serial, claim)))
        }
        Aggregate::Limit(policy) if table.name == OVERRIDES.name => Box::new(policy.overrides.iter().map(|(key, numbers)| {
            let number = |number: u32| Cell::Number(number.into());
            vec![Cell::Text(key), number(numbers.quota), Cell::Number(numbers.window_ns / MS_NS), number(numbers.burst)]
        })),
        Aggregate::Coupon(_) | Aggregate::Limit(_) | Aggregate::Keyring(_) => Box::new(std::iter::empty()),
    }
}

/// What is pending is in no table.
fn claim_row(serial: Serial, claim: &Claim) -> Option<Vec<Cell<'_>>> {
    let (status, changed_at) = match claim.status {
        ClaimStatus::Pending => return None,
        ClaimStatus::Live => ("live", Cell::Null),
        ClaimStatus::Redeemed { redeemed_at } => ("redeemed", Cell::Time(redeemed_at)),
        ClaimStatus::Cancelled { cancelled_at } => ("cancelled", Cell::Time(cancelled_at)),
    };
    let (serial, subject) = (Cell::Number(serial.get().into()), Cell::Text(claim.subject().as_str()));
    Some(vec![serial, subject, Cell::Time(claim.claimed_at), Cell::Text(status), changed_at])
}

/// The walk, at the next row that is expected.
pub(super) struct Merge<'a> {
    /// Where what is expected comes from, for people.
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
            Box::new(aggregates.flat_map(move |aggregate| rows_of(aggregate, table).map(move |cells| Expected { aggregate, cells })));
        Self { source, oracle, kind, table, expected: expected.peekable(), findings }
    }

    /// The history's next row.
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

    /// The history has no more.
    pub(super) fn end(mut self) {
        self.skip_to(None);
    }

    /// Reports what is expected before this one: the history does not have it.
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

/// The order of keys, which are numbers or texts.
fn cell_order(one: &Cell<'_>, other: &Cell<'_>) -> Ordering {
    match (one, other) {
        (Cell::Number(one), Cell::Number(other)) => one.cmp(other),
        (Cell::Text(one), Cell::Text(other)) => one.cmp(other),
        (Cell::Time(one), Cell::Time(other)) => one.cmp(other),
        (Cell::Bool(one), Cell::Bool(other)) => one.cmp(other),
        (Cell::Null | Cell::Number(_) | Cell::Text(_) | Cell::Time(_) | Cell::Bool(_), _) => Ordering::Equal,
    }
}
